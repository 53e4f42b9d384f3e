//! Lenient readings of JSON values: the values that the vendor and the schools' systems send, as the type that a column or
//! a decision needs. Pure; used by `api` and `tables`, so that both read a value the same way.
//!
//! A value has three states, see [`Reading`]: it was read, it is absent, or it is there and can't be read. Nothing here
//! fails. Only [`read_instant`] and [`InstantRules`] decide what is an instant, and only [`seconds`] what is a length of time.

mod duration;
mod instant;
mod moment;

use serde_json::{Number, Value};

pub use duration::seconds;
pub(crate) use instant::SERIAL_DAYS;
pub use instant::{InstantRules, epoch, instant, is_sane, read_instant};

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
