//! Lenient readings of JSON values: what the vendor and the schools' systems send, as the type that a column or a
//! decision needs. Pure; used by `api` and `build`, so that both read one value the same way.
//!
//! A value that does not fit reads as `None`; nothing here fails.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Utc};
use serde_json::{Number, Value};

/// A JSON value that is no list and no object, whichever tree it stands in.
#[derive(Debug, Clone, Copy)]
pub enum Scalar<'v> {
    /// `null`, or no scalar.
    None,
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
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text),
            Value::Null | Value::Array(_) | Value::Object(_) => Self::None,
        }
    }
}

/// Epoch numbers from here on are milliseconds: as seconds they would lie beyond the year 5138.
const FIRST_MILLISECONDS: f64 = 1e11;
/// Beyond this (the year 5138 in milliseconds) a number is no instant.
const END_OF_MILLISECONDS: f64 = 1e14;

/// An instant: RFC 3339, epoch seconds or milliseconds, `YYYY-MM-DD HH:MM[:SS[.fff]]`, `DD.MM.YYYY HH:MM[:SS[.fff]]` as
/// Russian spreadsheets write it, or a date; what names no zone is in UTC.
pub fn instant<'v>(value: impl Into<Scalar<'v>>) -> Option<DateTime<Utc>> {
    match value.into() {
        Scalar::Text(text) => instant_text(text.trim()),
        Scalar::Number(number) => epoch(number.as_f64()?),
        _ => None,
    }
}

fn instant_text(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc());
    }
    const FORMS: [&str; 6] = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%d.%m.%Y %H:%M:%S%.f",
        "%d.%m.%Y %H:%M",
    ];
    if let Some(naive) = FORMS
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        // A year of two digits could be of any century.
        .filter(|naive| naive.year() >= 1000)
    {
        return Some(naive.and_utc());
    }
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    // A year alone is no epoch.
    (text.len() >= 9)
        .then(|| text.parse().ok())
        .flatten()
        .and_then(epoch)
}

/// An instant as seconds or milliseconds since the epoch.
pub fn epoch(number: f64) -> Option<DateTime<Utc>> {
    if !number.is_finite() || number.abs() >= END_OF_MILLISECONDS {
        return None;
    }
    let milliseconds = if number.abs() < FIRST_MILLISECONDS {
        number * 1e3
    } else {
        number
    };
    // In range by the check above.
    #[allow(clippy::cast_possible_truncation)]
    DateTime::from_timestamp_micros((milliseconds * 1e3).round() as i64)
}

/// A whole number: a JSON number without a fraction, or text of one.
pub fn integer<'v>(value: impl Into<Scalar<'v>>) -> Option<i64> {
    match value.into() {
        Scalar::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
        Scalar::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A number without a fraction. Beyond 2^53 a double no longer tells whole numbers apart.
pub fn whole(number: f64) -> Option<i64> {
    // Exact by the check.
    #[allow(clippy::cast_possible_truncation)]
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

/// Text: a JSON string as it is, a number or truth value as JSON writes it. Empty text is none.
pub fn text<'v>(value: impl Into<Scalar<'v>>) -> Option<String> {
    match value.into() {
        Scalar::Text(text) => (!text.is_empty()).then(|| text.to_owned()),
        Scalar::Number(number) => Some(number.to_string()),
        Scalar::Bool(truth) => Some(truth.to_string()),
        Scalar::None => None,
    }
}

/// Whether a value is nested no deeper than `depth`; a scalar has depth 0, `{}` and `[]` have 1.
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
    fn instants_come_in_every_form_of_the_contract() {
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
        for value in [
            json!("soon"),
            json!(""),
            json!(null),
            json!("2024"),
            json!({}),
            json!(1e300),
            json!("2024-13-01 00:00"),
            json!("13.31.2024 00:00"),
            json!("12.12.24 00:00"),
        ] {
            assert_eq!(instant(&value), None, "{value}");
        }
    }

    #[test]
    fn nesting_is_counted() {
        assert!(is_within(&json!(1), 0) && !is_within(&json!([]), 0));
        assert!(is_within(&json!({"a": [1], "b": 2}), 2));
        assert!(!is_within(&json!({"a": [[1]], "b": 2}), 2));
    }

    #[test]
    fn numbers_and_truth_come_as_text_too() {
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
