//! Lenient readings of JSON values: the values that the vendor and the schools' systems send, as the type that a column or
//! a decision needs. Pure; used by `api` and `tables`, so that both read a value the same way.
//!
//! A value has three states, see [`Reading`]: it was read, it is absent, or it is there and can't be read. Nothing here
//! fails. Only [`read_instant`] decides what is an instant.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use serde_json::{Number, Value};

/// The three states of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading<T> {
    /// Nothing is there: the field is missing, null or empty, or holds a placeholder for nothing.
    Absent,
    /// The value.
    Read(T),
    /// Something is there, and it is not of the expected type.
    Unreadable,
}

impl<T> Reading<T> {
    /// The value, if it was read.
    pub fn ok(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Absent | Self::Unreadable => None,
        }
    }

    /// True if a value is there that could not be read.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable)
    }

    /// The reading of a value that is there.
    fn of(read: Option<T>) -> Self {
        read.map_or(Self::Unreadable, Self::Read)
    }
}

/// A JSON value that is no list and no object, independent of the tree that it comes from.
#[derive(Debug, Clone, Copy)]
pub enum Scalar<'v> {
    /// `null`.
    Null,
    /// A list or an object.
    Nested,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(&'v Number),
    /// Text.
    Text(&'v str),
}

impl<'v> From<&'v Value> for Scalar<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text),
            Value::Array(_) | Value::Object(_) => Self::Nested,
        }
    }
}

/// The first epoch number that is read as milliseconds, because as seconds it would lie beyond the year 5138.
const FIRST_MILLISECONDS: f64 = 1e11;
/// The first number that is no instant: the year 5138 in milliseconds.
const END_OF_MILLISECONDS: f64 = 1e14;
/// The years in which an instant may lie. Date arithmetic panics far outside of them.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2200;

/// Reads an instant, in any of these notations:
///
/// - RFC 3339, also with the offset as `+0300` or `+03`, and without seconds;
/// - `YYYY-MM-DD HH:MM[:SS[.f]]` and `DD.MM.YYYY HH:MM[:SS[.f]]`, a year of two digits is of this century, each with or
///   without a zone behind it: an offset, `Z`, `UTC` or `GMT`;
/// - a date alone, which stands for its first moment; RFC 2822;
/// - seconds or milliseconds since the epoch, as a number or as text of one.
///
/// Without a zone it is UTC. Empty text, `-`, `0` and `false` are placeholders for nothing that some systems write.
/// An instant outside of the years 1970 to 2200 is unreadable.
pub fn read_instant<'v>(value: impl Into<Scalar<'v>>) -> Reading<DateTime<Utc>> {
    match value.into() {
        Scalar::Null | Scalar::Bool(false) => Reading::Absent,
        Scalar::Bool(true) | Scalar::Nested => Reading::Unreadable,
        Scalar::Number(number) if number.as_f64() == Some(0.0) => Reading::Absent,
        Scalar::Number(number) => Reading::of(number.as_f64().and_then(epoch)),
        Scalar::Text(text) => match text.trim() {
            "" | "-" | "–" | "—" | "0" => Reading::Absent,
            text => Reading::of(instant_text(text).filter(is_sane)),
        },
    }
}

/// The instant that [`read_instant`] reads, if it reads one.
pub fn instant<'v>(value: impl Into<Scalar<'v>>) -> Option<DateTime<Utc>> {
    read_instant(value).ok()
}

/// True if an instant lies in a year in which a lesson can take place.
pub fn is_sane(instant: &DateTime<Utc>) -> bool {
    YEARS.contains(&instant.year())
}

fn instant_text(text: &str) -> Option<DateTime<Utc>> {
    plain_instant(text).or_else(|| other_instant(text))
}

fn other_instant(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc());
    }
    // A year alone is no epoch.
    if text.len() >= 9
        && let Ok(number) = text.parse()
    {
        return epoch(number);
    }
    let read = || {
        let (local, offset) = split_zone(text)?;
        local_text(local.trim_end())?.checked_sub_signed(offset)
    };
    match read() {
        Some(utc) => Some(utc.and_utc()),
        None => DateTime::parse_from_rfc2822(text)
            .ok()
            .map(|instant| instant.to_utc()),
    }
}

/// A date and a time, or a date alone.
fn local_text(text: &str) -> Option<NaiveDateTime> {
    Some(match text.split_once([' ', 'T', 't']) {
        Some((date, time)) => date_text(date.trim_end_matches(','))?.and_time(time_text(time.trim())?),
        None => date_text(text)?.and_time(NaiveTime::MIN),
    })
}

/// Splits a zone off the end of a date and time: `Z`, `UTC`, `GMT`, `+03:00`, `+0300` or `+03`. None is UTC.
fn split_zone(text: &str) -> Option<(&str, TimeDelta)> {
    for name in ["UTC", "GMT", "Z"] {
        let at = text.len().saturating_sub(name.len());
        if text.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(name)) {
            return Some((&text[..at], TimeDelta::zero()));
        }
    }
    // A date has signs too, so only a sign behind a time begins an offset.
    let signs = |time: usize| text[time..].find(['+', '-']).map(|at| time + at);
    let Some(sign) = text.find(':').and_then(signs) else {
        return Some((text, TimeDelta::zero()));
    };
    let digits: String = text[sign + 1..].split(':').collect();
    let number: i64 = digits.parse().ok()?;
    let minutes = match digits.len() {
        1 | 2 => number * 60,
        4 => number / 100 * 60 + number % 100,
        _ => return None,
    };
    let minutes = if text[sign..].starts_with('-') {
        -minutes
    } else {
        minutes
    };
    (minutes.abs() < 24 * 60).then(|| (&text[..sign], TimeDelta::minutes(minutes)))
}

/// `YYYY-MM-DD`, `DD.MM.YYYY` or `DD.MM.YY`.
fn date_text(text: &str) -> Option<NaiveDate> {
    let number = |text: &str, lengths: &[usize]| -> Option<u32> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && lengths.contains(&text.len());
        plain.then(|| text.parse().ok()).flatten()
    };
    let has_dots = text.contains('.');
    let mut parts = text.split(if has_dots { '.' } else { '-' });
    let (first, month, last) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (year, day) = if has_dots {
        let year = number(last, &[2, 4])?;
        (if last.len() == 2 { 2000 + year } else { year }, first)
    } else {
        (number(first, &[4])?, last)
    };
    NaiveDate::from_ymd_opt(
        year.try_into().ok()?,
        number(month, &[1, 2])?,
        number(day, &[1, 2])?,
    )
}

/// `HH:MM[:SS[.f]]`.
fn time_text(text: &str) -> Option<NaiveTime> {
    plain_time(text).or_else(|| {
        ["%H:%M:%S%.f", "%H:%M"]
            .iter()
            .find_map(|form| NaiveTime::parse_from_str(text, form).ok())
    })
}

/// The two most common forms of a time, without a parser of formats.
fn plain_time(text: &str) -> Option<NaiveTime> {
    let (hour, minute, second) = match *text.as_bytes() {
        [h, i, b':', m, n] => (pair(h, i), pair(m, n), Some(0)),
        [h, i, b':', m, n, b':', s, t] => (pair(h, i), pair(m, n), pair(s, t)),
        _ => return None,
    };
    NaiveTime::from_hms_opt(hour?, minute?, second?)
}

/// The most common forms of an instant: `YYYY-MM-DD HH:MM[:SS]` in UTC, also with `T`, and with `Z` behind seconds.
fn plain_instant(text: &str) -> Option<DateTime<Utc>> {
    let (date, rest) = text.as_bytes().split_at_checked(11)?;
    let &[c, y, e, a, b'-', m, n, b'-', d, f, b' ' | b'T'] = date else {
        return None;
    };
    let year = pair(c, y)? * 100 + pair(e, a)?;
    let date = NaiveDate::from_ymd_opt(year.try_into().ok()?, pair(m, n)?, pair(d, f)?)?;
    let time = match rest.len() {
        9 => rest.strip_suffix(b"Z")?,
        _ => rest,
    };
    Some(
        date.and_time(plain_time(std::str::from_utf8(time).ok()?)?)
            .and_utc(),
    )
}

/// The number of two digits.
fn pair(tens: u8, ones: u8) -> Option<u32> {
    let is_number = tens.is_ascii_digit() && ones.is_ascii_digit();
    is_number.then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

/// An instant as seconds or milliseconds since the epoch, if it lies in a year of [`is_sane`].
pub fn epoch(number: f64) -> Option<DateTime<Utc>> {
    if !number.is_finite() || number.abs() >= END_OF_MILLISECONDS {
        return None;
    }
    let milliseconds = if number.abs() < FIRST_MILLISECONDS {
        number * 1e3
    } else {
        number
    };
    DateTime::from_timestamp_micros((milliseconds * 1e3).round() as i64).filter(is_sane)
}

/// A whole number: a JSON number without a fraction, or text of one.
pub fn integer<'v>(value: impl Into<Scalar<'v>>) -> Option<i64> {
    match value.into() {
        Scalar::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Scalar::Text(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| whole(text.parse().ok()?))
        }
        _ => None,
    }
}

/// A number without a fraction, up to 2^53, because beyond it a double does not tell whole numbers apart.
pub fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

/// A number: a JSON number, or text of one. Never infinite, never NaN.
pub fn number<'v>(value: impl Into<Scalar<'v>>) -> Option<f64> {
    match value.into() {
        Scalar::Number(number) => number.as_f64(),
        Scalar::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number: &f64| number.is_finite())
}

/// A truth value: `true`, `"true"`, `1` and their opposites.
pub fn boolean<'v>(value: impl Into<Scalar<'v>>) -> Option<bool> {
    match value.into() {
        Scalar::Bool(truth) => Some(truth),
        Scalar::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Scalar::Text(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Scalar::Text(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Text: a JSON string as it is, a truth value as in JSON, a number by its digits (`1.0` is `1`, and a large number has no
/// exponent). Empty text is none.
pub fn text<'v>(value: impl Into<Scalar<'v>>) -> Option<String> {
    match value.into() {
        Scalar::Text(text) => (!text.is_empty()).then(|| text.to_owned()),
        Scalar::Number(number) => Some(digits(number)),
        Scalar::Bool(truth) => Some(truth.to_string()),
        Scalar::Null | Scalar::Nested => None,
    }
}

/// A number in the digits that people write.
fn digits(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float.fract() == 0.0 => format!("{float:.0}"),
        Some(float) => float.to_string(),
        None => number.to_string(),
    }
}

/// True if a value is nested no deeper than `depth`. A scalar has depth 0; `{}` and `[]` have depth 1.
pub fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(elements) => depth > 0 && elements.iter().all(|element| is_within(element, depth - 1)),
        Value::Object(fields) => depth > 0 && fields.values().all(|field| is_within(field, depth - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_instant_is_read_from_every_documented_form() {
        let expected = instant(&json!("2024-12-12T09:00:00Z"));
        assert!(expected.is_some());
        for value in [
            json!("2024-12-12T12:00:00.000+03:00"),
            json!("2024-12-12 09:00"),
            json!("2024-12-12 09:00:00"),
            json!("2024-12-12T09:00:00"),
            json!("12.12.2024 09:00"),
            json!("12.12.2024 09:00:00"),
            json!(1_733_994_000),
            json!(1_733_994_000_000_i64),
            json!("1733994000"),
            json!(1_733_994_000.0),
        ] {
            assert_eq!(instant(&value), expected, "{value}");
        }
        assert_eq!(instant(&json!("2024-12-12")), instant(&json!("2024-12-12 00:00")));
    }

    proptest::proptest! {
        /// The reference is the reading of all forms.
        #[test]
        fn the_short_way_reads_what_the_long_way_reads(
            text in "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-6][0-9](:[0-6][0-9])?Z?[0-9]?",
        ) {
            if let Some(instant) = plain_instant(&text) {
                proptest::prop_assert_eq!(Some(instant), other_instant(&text), "{}", text);
            }
        }
    }

    #[test]
    fn the_most_common_forms_need_no_parser_of_formats() {
        for text in ["2024-12-12 09:00", "2024-12-12T09:00:59", "2024-12-12T09:00:00Z"] {
            assert!(plain_instant(text).is_some(), "{text}");
        }
        for text in ["2024-12-12T09:00Z", "2024-13-12 09:00", "2024-12-12 09:00:60"] {
            assert_eq!(plain_instant(text), None, "{text}");
        }
    }

    #[test]
    fn an_instant_is_read_with_and_without_a_zone() {
        let expected = Reading::Read(DateTime::from_timestamp(1_795_341_600, 0).expect("instant"));
        for text in [
            "2026-11-22T10:00:00+0000",
            "2026-11-22T13:00:00+0300",
            "2026-11-22T13:00:00+03",
            "2026-11-22T13:00+03:00",
            "2026-11-22T10:00Z",
            "2026-11-22t10:00z",
            "2026-11-22 10:00:00 UTC",
            "2026-11-22 10:00:00.000 GMT",
            "2026-11-22 13:00:00 +0300",
            "2026-11-22 05:30 -04:30",
            "22.11.2026 10:00",
            "22.11.2026, 10:00:00",
            "22.11.2026 13:00 +03:00",
            "22.11.26 10:00",
            "22.11.26 10:00:00 UTC",
            "Sun, 22 Nov 2026 10:00:00 GMT",
            " 2026-11-22 10:00 ",
        ] {
            assert_eq!(read_instant(&json!(text)), expected, "{text}");
        }
        assert_eq!(
            read_instant(&json!("22.11.2026")),
            read_instant(&json!("2026-11-22"))
        );
        assert_eq!(
            read_instant(&json!("5.3.2026 9:05")),
            read_instant(&json!("2026-03-05 09:05"))
        );
    }

    #[test]
    fn absent_unreadable_and_insane_instants_are_told_apart() {
        for value in [
            json!(null),
            json!(""),
            json!("  "),
            json!("-"),
            json!("—"),
            json!("0"),
            json!(0),
            json!(0.0),
            json!(false),
        ] {
            assert_eq!(read_instant(&value), Reading::Absent, "{value}");
        }
        for value in [
            json!("soon"),
            json!("2024"),
            json!({}),
            json!([]),
            json!(true),
            json!(1e300),
            json!(-5),
            json!("2024-13-01 00:00"),
            json!("13.31.2024 00:00"),
            json!("2026-11-22T10:00:00+99:99"),
            json!("2026-11-22 10:00 MSK"),
            json!("+262142-12-31 23:00"),
            json!("+262142-12-31"),
            json!("0001-01-01T00:00:00Z"),
            json!("0000-00-00 00:00:00"),
            json!("1969-12-31T23:59:59Z"),
            json!("2201-01-01T00:00:00Z"),
            json!("9999-12-31T23:59:59Z"),
            json!("10:00"),
            json!("é: +"),
        ] {
            assert_eq!(read_instant(&value), Reading::Unreadable, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic_and_into_the_allowed_years(
            text in "\\PC*|[-+0-9TZ:. ]{0,40}|[0-9]{1,6}[-.][0-9]{1,2}[-.][0-9]{1,6}[ T][0-9]{1,2}:[0-9]{2}[-+:0-9Z ]{0,8}",
        ) {
            if let Reading::Read(instant) = read_instant(&json!(text)) {
                proptest::prop_assert!(is_sane(&instant));
            }
        }
    }

    #[test]
    fn numeric_ids_keep_their_digits() {
        for (value, digits) in [
            (json!(1.0), "1"),
            (json!(1e20), "100000000000000000000"),
            (json!(12_345_678_901_234_567_u64), "12345678901234567"),
            (json!(-3), "-3"),
            (json!(1.5), "1.5"),
        ] {
            assert_eq!(text(&value).as_deref(), Some(digits));
        }
    }

    #[test]
    fn nesting_is_counted() {
        assert!(is_within(&json!(1), 0) && !is_within(&json!([]), 0));
        assert!(is_within(&json!({"a": [1], "b": 2}), 2));
        assert!(!is_within(&json!({"a": [[1]], "b": 2}), 2));
    }

    #[test]
    fn numbers_and_truth_values_are_read_from_text_too() {
        assert_eq!(
            (
                integer(&json!("12")),
                integer(&json!(12.0)),
                integer(&json!(12.5))
            ),
            (Some(12), Some(12), None)
        );
        assert_eq!(
            (number(&json!("1.5")), number(&json!("NaN")), number(&json!([]))),
            (Some(1.5), None, None)
        );
        assert_eq!(
            (boolean(&json!("True")), boolean(&json!(0)), boolean(&json!(2))),
            (Some(true), Some(false), None)
        );
        assert_eq!(
            (text(&json!(7)), text(&json!("")), text(&json!(null))),
            (Some("7".into()), None, None)
        );
    }
}
