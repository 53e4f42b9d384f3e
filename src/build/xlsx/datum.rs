//! One cell's value: from the workbook's to text, or to what a column reads. Pure.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Number, Value};

use super::formats::Format;
use super::strings::unescape;
use crate::lake::table::Type;

/// Days from Excel's day 0 (1899-12-30, as it counts after its 29 February 1900) to the epoch.
const EPOCH_DAY: f64 = 25_569.0;
/// Days between Excel's two calendars.
const DAYS_TO_1904: f64 = 1462.0;
/// Milliseconds of a day: Excel's own precision.
const DAY_MS: f64 = 86_400_000.0;
/// Serial days that are instants: the years 1970 to 2200.
const SERIALS: std::ops::Range<f64> = EPOCH_DAY..109_940.0;
/// Numbers from here on are no serial days, and may be seconds or milliseconds since the epoch.
const FIRST_EPOCH: f64 = 1e8;
/// Digits of a whole number that are kept as they are.
const MOST_DIGITS: usize = 40;
/// In the place of a value that is there and can't be read: nothing reads it as an instant.
pub(super) const UNREADABLE: &str = "#";
/// What Excel shows where a formula failed; some programs write it as text.
const ERRORS: [&str; 7] = ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"];

/// A value that is there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datum {
    /// Text that is not blank.
    Text(String),
    /// A whole number by its digits: an id has more of them than a double can hold.
    Whole(String),
    /// Another number.
    Number(f64),
    /// A truth value.
    Truth(bool),
    /// A date, in UTC.
    Instant(DateTime<Utc>),
    /// A length of time, or a time of day without a date, in milliseconds.
    Span(i64),
}

/// What is in a cell instead of a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoDatum {
    /// Nothing.
    Blank,
    /// An error of a formula, or something that no cell holds.
    Wrong,
}

/// What a workbook says of its cells' values in other places.
pub(super) struct Meaning {
    /// The texts that cells share; none where one is too long.
    pub strings: Vec<Option<String>>,
    /// The formats, by the number that a cell names.
    pub formats: Vec<Format>,
    /// Whether serial days count from 1904.
    pub from_1904: bool,
}

impl Meaning {
    /// The value of a cell by its type, its format and its text.
    pub fn datum(&self, kind: Option<&str>, format: Option<&str>, text: &str) -> Result<Datum, NoDatum> {
        if text.trim().is_empty() {
            return Err(NoDatum::Blank);
        }
        match kind.unwrap_or_default() {
            "" | "n" => {
                let format = format.and_then(|number| self.formats.get(number.parse::<usize>().ok()?));
                match self.number(text.trim(), format.copied().unwrap_or_default()) {
                    // A text whose type was forgotten.
                    None if kind.is_none() => Datum::text_of(text),
                    number => number.ok_or(NoDatum::Wrong),
                }
            }
            "s" => {
                let number: usize = text.trim().parse().map_err(|_| NoDatum::Wrong)?;
                let shared = self.strings.get(number).and_then(Option::as_deref);
                Datum::text_of(shared.ok_or(NoDatum::Wrong)?)
            }
            "b" => match text.trim().to_ascii_lowercase().as_str() {
                "0" | "false" => Ok(Datum::Truth(false)),
                "1" | "true" => Ok(Datum::Truth(true)),
                _ => Err(NoDatum::Wrong),
            },
            "str" => Datum::text_of(&unescape(text)),
            // Dates by ISO 8601, and texts that have been read as such.
            "d" | "inlineStr" | "is" => Datum::text_of(text),
            _ => Err(NoDatum::Wrong),
        }
    }

    fn number(&self, text: &str, format: Format) -> Option<Datum> {
        let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
        let datum = whole(text).map_or(Datum::Number(number), Datum::Whole);
        let is_clock = (0.0..1.0).contains(&number);
        Some(match format {
            Format::Span => span(number).unwrap_or(datum),
            Format::Date if is_clock => span(number).unwrap_or(datum),
            Format::Date => serial(number, self.from_1904).map_or(datum, Datum::Instant),
            Format::Number => datum,
        })
    }
}

impl Datum {
    fn text_of(text: &str) -> Result<Self, NoDatum> {
        match text.trim() {
            "" => Err(NoDatum::Blank),
            text if ERRORS.contains(&text) => Err(NoDatum::Wrong),
            _ => Ok(Self::Text(text.to_owned())),
        }
    }

    /// The bytes that it holds besides itself.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) | Self::Whole(text) => text.len(),
            _ => 0,
        }
    }

    /// The value as text, as `report_rows` has it.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) | Self::Whole(text) => text.clone(),
            Self::Number(_) => match self.json() {
                Value::Number(number) => number.to_string(),
                _ => String::new(),
            },
            Self::Truth(truth) => truth.to_string(),
            Self::Instant(at) => rfc3339(*at),
            Self::Span(ms) => clock(*ms),
        }
    }

    /// The value as a column of a type reads it; `from_1904` is the workbook's calendar.
    pub fn value(&self, kind: Type, from_1904: bool) -> Value {
        match (self, kind) {
            // Also a date whose number format was lost.
            (Self::Text(text) | Self::Whole(text), Type::Timestamp) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => moment(number, from_1904),
                _ => self.json(),
            },
            (Self::Number(number), Type::Timestamp) => moment(*number, from_1904),
            // Day 0: an empty cell with a format of dates.
            (Self::Span(0), Type::Timestamp) => Value::Null,
            // Exact: no span that is there has 2^53 milliseconds.
            #[allow(clippy::cast_precision_loss)]
            (Self::Span(ms), Type::Double | Type::Int64) => match ms % 1000 {
                0 => (ms / 1000).into(),
                _ => Self::Number(*ms as f64 / 1e3).json(),
            },
            _ => self.json(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.trim().into(),
            Self::Truth(truth) => (*truth).into(),
            Self::Instant(at) => rfc3339(*at).into(),
            Self::Span(ms) => clock(*ms).into(),
            // What no number of JSON's holds keeps its digits as text.
            Self::Whole(digits) => digits
                .parse::<i64>()
                .map_or_else(|_| digits.as_str().into(), Into::into),
            Self::Number(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        }
    }
}

/// A number in the place of an instant: a serial day, or seconds or milliseconds since the epoch. What is none of them
/// becomes a text that nothing reads as an instant.
fn moment(number: f64, from_1904: bool) -> Value {
    if number == 0.0 {
        return Value::Null;
    }
    if let Some(at) = serial(number, from_1904) {
        return rfc3339(at).into();
    }
    match number < FIRST_EPOCH {
        true => format!("day {number}").into(),
        false => Number::from_f64(number).map_or(Value::Null, Value::Number),
    }
}

/// The instant of a serial day, to the millisecond; none outside the years 1970 to 2200.
fn serial(number: f64, from_1904: bool) -> Option<DateTime<Utc>> {
    let number = if from_1904 { number + DAYS_TO_1904 } else { number };
    if !SERIALS.contains(&number) {
        return None;
    }
    // In range by the check above.
    #[allow(clippy::cast_possible_truncation)]
    DateTime::from_timestamp_millis(((number - EPOCH_DAY) * DAY_MS).round() as i64)
}

/// A length of time in days; none where it is longer than Excel can count.
fn span(days: f64) -> Option<Datum> {
    // In range by the check.
    #[allow(clippy::cast_possible_truncation)]
    (days.abs() <= 3e6).then(|| Datum::Span((days * DAY_MS).round() as i64))
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

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn clock(ms: i64) -> String {
    let (sign, ms) = (if ms < 0 { "-" } else { "" }, ms.unsigned_abs());
    let (hours, minutes, seconds, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let fraction = if rest > 0 {
        format!(".{rest:03}")
    } else {
        String::new()
    };
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{fraction}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meaning(from_1904: bool) -> Meaning {
        Meaning {
            strings: vec![Some("Анна".into()), None],
            formats: vec![Format::Number, Format::Date, Format::Span],
            from_1904,
        }
    }

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
            ("12345678901234567", "12345678901234567"),
            ("100000000000000000001", "100000000000000000001"),
            ("100000000000000000002", "100000000000000000002"),
        ] {
            let datum = meaning(false).datum(Some("n"), None, text);
            assert_eq!(datum, Ok(Datum::Whole(digits.into())), "{text}");
        }
        for (text, number) in [("1.5", 1.5), ("1.75E1", 17.5), ("1E-7", 1e-7), ("1E300", 1e300)] {
            assert_eq!(
                meaning(false).datum(None, None, text),
                Ok(Datum::Number(number)),
                "{text}"
            );
        }
        let json = |digits: &str| Datum::Whole(digits.into()).value(Type::String, false);
        assert_eq!(json("17"), json!(17));
        assert_eq!(json("9007199254740993"), json!(9_007_199_254_740_993_i64));
        assert_eq!(json("100000000000000000001"), json!("100000000000000000001"));
    }

    #[test]
    fn a_number_in_the_place_of_an_instant_is_a_day_or_an_epoch_or_nothing() {
        let read = |text: &str, format: &str, from_1904: bool| {
            let datum = meaning(from_1904).datum(None, Some(format), text).expect(text);
            datum.value(Type::Timestamp, from_1904)
        };
        for format in ["0", "1"] {
            let day = "2026-11-22T10:30:00Z";
            assert_eq!(read("46348.4375", format, false), day);
            assert_eq!(read("44886.4375", format, true), day);
            assert_eq!(read("25569", format, false), "1970-01-01T00:00:00Z");
            assert_eq!(read("109939.5", format, false), "2200-12-31T12:00:00Z");
            assert_eq!(read("1795343400", format, false), json!(1_795_343_400.0));
            assert_eq!(read("0", format, false), Value::Null);
            for nonsense in ["25568.99", "109940", "2958466", "-1", "12345678", "1E7"] {
                let value = read(nonsense, format, false);
                assert!(
                    crate::lenient::instant(&value).is_none() && value.is_string(),
                    "{value}"
                );
            }
        }
        let text = |text: &str| Datum::Text(text.into()).value(Type::Timestamp, false);
        assert_eq!(text(" 46348.4375 "), "2026-11-22T10:30:00Z");
        assert_eq!(text("22.11.2026 10:30"), "22.11.2026 10:30");
        assert_eq!(read("0.25", "1", false), "06:00:00");
        assert_eq!(read("1.5", "2", false), "36:00:00");
    }

    #[test]
    fn a_cell_is_read_by_its_type() {
        let meaning = meaning(false);
        let text = |text: &str| Ok(Datum::Text(text.into()));
        for (kind, value, expected) in [
            (Some("s"), "0", text("Анна")),
            (Some("s"), "1", Err(NoDatum::Wrong)),
            (Some("s"), "2", Err(NoDatum::Wrong)),
            (Some("s"), "x", Err(NoDatum::Wrong)),
            (Some("b"), "TRUE", Ok(Datum::Truth(true))),
            (Some("b"), "0", Ok(Datum::Truth(false))),
            (Some("b"), "2", Err(NoDatum::Wrong)),
            (Some("e"), "#N/A", Err(NoDatum::Wrong)),
            (Some("e"), "#SPILL!", Err(NoDatum::Wrong)),
            (Some("str"), "#N/A", Err(NoDatum::Wrong)),
            (Some("str"), "a_x000D_", text("a\r")),
            (Some("d"), "2026-11-22T10:30:00", text("2026-11-22T10:30:00")),
            (Some("n"), "many", Err(NoDatum::Wrong)),
            (Some("n"), "NaN", Err(NoDatum::Wrong)),
            (Some("n"), "1e400", Err(NoDatum::Wrong)),
            (Some("new"), "1", Err(NoDatum::Wrong)),
            (None, "many", text("many")),
            (None, " ", Err(NoDatum::Blank)),
        ] {
            assert_eq!(meaning.datum(kind, None, value), expected, "{kind:?} {value}");
        }
    }
}
