//! Converts a cell's value for the clean copy. Pure.

use std::borrow::Cow;

use quick_xml::escape::partial_escape;

/// The value of a cell that holds an error, or something that no cell can hold.
pub(super) const FAILED: &str = "#VALUE!";
/// Whole numbers from here on may have more digits than a double can hold.
pub(super) const FIRST_INEXACT: f64 = 9_007_199_254_740_992.0;
/// Most digits of a whole number that are kept as they are.
const MOST_DIGITS: usize = 40;

/// The value of a cell: its type and its text as XML.
pub(super) type CleanValue<'t> = (&'static str, Cow<'t, str>);

/// The value in a form that calamine reads without an error; none if the cell is blank.
pub(super) fn clean_value<'t>(kind: Option<&str>, text: &'t str, strings: usize) -> Option<CleanValue<'t>> {
    let plain = text.trim();
    if plain.is_empty() {
        return None;
    }
    let value = match kind.unwrap_or_default() {
        "" | "n" => match number(plain) {
            // A text whose type is missing.
            None if kind.is_none() => Some(("str", escaped(text))),
            number => number,
        },
        "s" => {
            let place = plain.parse().ok().filter(|place: &usize| *place < strings);
            place.map(|place| ("s", place.to_string().into()))
        }
        "b" => match plain.to_ascii_lowercase().as_str() {
            "0" | "false" => Some(("b", "0".into())),
            "1" | "true" => Some(("b", "1".into())),
            _ => None,
        },
        "str" => Some(("str", escaped(text))),
        // A date by ISO 8601.
        "d" => Some(("d", escaped(text))),
        _ => None,
    };
    Some(value.unwrap_or(("e", FAILED.into())))
}

/// A number; as text if a double can't hold its digits, such as those of an id.
fn number(text: &str) -> Option<CleanValue<'static>> {
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    let digits = whole(text).filter(|_| number.abs() >= FIRST_INEXACT);
    Some(match digits {
        Some(digits) => ("str", digits.into()),
        None => ("n", format!("{number:e}").into()),
    })
}

/// The digits of a number without a fraction, however it is written: `17`, `17.0`, `1.7E+1`.
fn whole(text: &str) -> Option<String> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => ("-", text),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{integer}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let exponent: i64 = exponent.parse().ok()?;
    let point = i64::try_from(integer.len()).ok()?.checked_add(exponent)?;
    let point = usize::try_from(point.max(0)).ok()?;
    if point > MOST_DIGITS {
        return None;
    }
    while digits.len() < point {
        digits.push('0');
    }
    let (before, behind) = digits.split_at(point);
    if behind.bytes().any(|digit| digit != b'0') {
        return None;
    }
    Some(match before.trim_start_matches('0') {
        "" => "0".to_owned(),
        before => format!("{sign}{before}"),
    })
}

/// Text escaped for XML. A plain carriage return would be read as the end of a line.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    let text = partial_escape(text);
    match text.contains('\r') {
        true => text.replace('\r', "&#13;").into(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_keeps_its_digits() {
        for (text, digits) in [
            ("17", "17"),
            ("1.0", "1"),
            ("-0.0", "0"),
            ("007", "7"),
            ("1.2345678901234567E+16", "12345678901234567"),
            ("1.7E1", "17"),
            ("1700E-2", "17"),
            ("100000000000000000001", "100000000000000000001"),
        ] {
            assert_eq!(whole(text).as_deref(), Some(digits), "{text}");
        }
        for text in ["1.5", "1.75E1", "1E-7", "1E300", "", "x"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn a_value_is_written_as_calamine_reads_it() {
        let failed = ("e", FAILED);
        for (kind, text, expected) in [
            (Some("s"), "1", ("s", "1")),
            (Some("s"), "2", failed),
            (Some("s"), "x", failed),
            (Some("b"), "TRUE", ("b", "1")),
            (Some("b"), "0", ("b", "0")),
            (Some("b"), "2", failed),
            (Some("e"), "#N/A", failed),
            (Some("e"), "#SPILL!", failed),
            (Some("str"), "a\r<&", ("str", "a&#13;&lt;&amp;")),
            (Some("d"), "2026-11-22T10:30:00", ("d", "2026-11-22T10:30:00")),
            (Some("n"), "many", failed),
            (Some("n"), "NaN", failed),
            (Some("n"), "1e400", failed),
            (Some("n"), " 9007199254740991 ", ("n", "9.007199254740991e15")),
            (Some("n"), "9007199254740993", ("str", "9007199254740993")),
            (Some("n"), "1E300", ("n", "1e300")),
            (Some("new"), "1", failed),
            (None, "+46348.4375", ("n", "4.63484375e4")),
            (None, "many", ("str", "many")),
        ] {
            let expected = Some((expected.0, expected.1.into()));
            assert_eq!(clean_value(kind, text, 2), expected, "{kind:?} {text}");
        }
        assert_eq!(clean_value(None, " ", 2), None);
    }
}
