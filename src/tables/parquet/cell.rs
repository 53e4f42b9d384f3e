//! A cell: a value between JSON and a column. Pure.
//!
//! Text is borrowed from the report, so that a row costs no copy before it is written.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::lake::table::Type;
use crate::lenient;
use crate::tables::report::node::Node;
use chrono::{DateTime, NaiveDate, Utc};

/// A value of a column's type. Lists are boxed slices, so that a cell is no larger than a text: a row may have 40 of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Cell<'v> {
    /// No value.
    #[default]
    Null,
    /// A `String` or `Json`.
    Text(Cow<'v, str>),
    /// An `Int64`.
    Int(i64),
    /// A `Double`; finite.
    Double(f64),
    /// A `Bool`.
    Bool(bool),
    /// A `Timestamp`, in microseconds since the epoch.
    Time(i64),
    /// `Strings`.
    Texts(Box<[Cow<'v, str>]>),
    /// `Sessions`.
    Sessions(Box<[Session]>),
    /// A `Map`.
    Map(Box<[(Cow<'v, str>, Cow<'v, str>)]>),
    /// A `Date`, in days since the epoch.
    Date(i32),
    /// `Options`.
    Options(Box<[PollOption<'v>]>),
    /// `Counts`.
    Counts(Box<[(Cow<'v, str>, i64)]>),
}

/// An option of a poll.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PollOption<'v> {
    /// Its id.
    pub id: Option<Cow<'v, str>>,
    /// Its text.
    pub text: Option<Cow<'v, str>>,
    /// True if it is a right answer.
    pub is_right: Option<bool>,
}

/// A stay in a call, in microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session {
    /// Its start.
    pub joined: i64,
    /// Its end; none if it is open.
    pub left: Option<i64>,
}

/// The value does not fit the type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit;

impl<'v> Cell<'v> {
    /// Reads a value as a type. `null` and empty text become null; a value that does not fit is a [`Misfit`].
    pub fn read(value: &Node<'v>, kind: Type) -> Result<Self, Misfit> {
        match value {
            Node::Null => return Ok(Self::Null),
            Node::Text(text) if text.is_empty() => return Ok(Self::Null),
            Node::Text(text) if kind == Type::String => return Ok(Self::Text(text.clone())),
            Node::Text(text) if kind != Type::Json && text.trim().is_empty() => return Ok(Self::Null),
            _ => {}
        }
        match kind {
            Type::String => lenient::text(value).map(|text| Self::Text(text.into())),
            Type::Json => Some(Self::Text(value.to_value().to_string().into())),
            Type::Int64 => lenient::integer(value).map(Self::Int),
            Type::Double => lenient::number(value).map(Self::Double),
            Type::Bool => lenient::boolean(value).map(Self::Bool),
            Type::Timestamp => lenient::instant(value).map(Self::time),
            Type::Strings => texts(value),
            Type::Map => map(value),
            // Sessions and options are read field by field; the program itself fills the others.
            Type::Sessions | Type::Options | Type::Date | Type::Counts => None,
        }
        .ok_or(Misfit)
    }

    /// A number as a type after multiplying it.
    pub fn scaled(number: f64, kind: Type, scale: f64) -> Result<Self, Misfit> {
        // 0.001 is not exact in binary, but 1000 is: dividing by the inverse keeps exact values exact.
        let inverse = (1.0 / scale).round();
        let number = if inverse > 1.0 && (inverse * scale - 1.0).abs() < 1e-12 {
            number / inverse
        } else {
            number * scale
        };
        match kind {
            Type::Int64 => lenient::whole(number.round()).map(Self::Int),
            Type::Timestamp => lenient::epoch(number).map(Self::time),
            _ => number.is_finite().then_some(Self::Double(number)),
        }
        .ok_or(Misfit)
    }

    /// An instant.
    pub fn time(instant: DateTime<Utc>) -> Self {
        Self::Time(instant.timestamp_micros())
    }

    /// A date.
    pub fn date(date: NaiveDate) -> Self {
        Self::Date(date.to_epoch_days())
    }

    /// A count.
    pub fn count(count: impl TryInto<i64>) -> Self {
        count.try_into().map_or(Self::Null, Self::Int)
    }

    /// The same, without anything borrowed.
    pub fn into_owned(self) -> Cell<'static> {
        let owned = |text: Cow<'v, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Null => Cell::Null,
            Self::Text(text) => Cell::Text(owned(text)),
            Self::Int(number) => Cell::Int(number),
            Self::Double(number) => Cell::Double(number),
            Self::Bool(truth) => Cell::Bool(truth),
            Self::Time(micros) => Cell::Time(micros),
            Self::Texts(texts) => Cell::Texts(texts.into_iter().map(owned).collect()),
            Self::Sessions(sessions) => Cell::Sessions(sessions),
            Self::Map(entries) => {
                let entries = entries.into_iter();
                Cell::Map(entries.map(|(key, value)| (owned(key), owned(value))).collect())
            }
            Self::Date(days) => Cell::Date(days),
            Self::Options(options) => {
                let options = options.into_iter().map(|option| PollOption {
                    id: option.id.map(owned),
                    text: option.text.map(owned),
                    is_right: option.is_right,
                });
                Cell::Options(options.collect())
            }
            Self::Counts(counts) => Cell::Counts(
                counts
                    .into_iter()
                    .map(|(key, count)| (owned(key), count))
                    .collect(),
            ),
        }
    }

    /// The text of a text cell.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// True if there is a value.
    pub fn is_some(&self) -> bool {
        !matches!(self, Self::Null)
    }

    /// The order of rows in a file: nulls first, then by value.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Less,
            (_, Self::Null) => Ordering::Greater,
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Date(a), Self::Date(b)) => a.cmp(b),
            // A column has one type, and no file is sorted by lists.
            _ => Ordering::Equal,
        }
    }
}

impl<'v> From<&'v str> for Cell<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'v> From<Cow<'v, str>> for Cell<'v> {
    fn from(text: Cow<'v, str>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Cell<'_> {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<bool> for Cell<'_> {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<DateTime<Utc>> for Cell<'_> {
    fn from(instant: DateTime<Utc>) -> Self {
        Self::time(instant)
    }
}

impl<'v, T: Into<Cell<'v>>> From<Option<T>> for Cell<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

fn scalar<'v>(value: &Node<'v>) -> Option<Cow<'v, str>> {
    match value {
        Node::Text(text) => Some(text.clone()),
        _ => lenient::text(value).map(Cow::Owned),
    }
}

fn texts<'v>(value: &Node<'v>) -> Option<Cell<'v>> {
    value
        .as_list()
        .unwrap_or(std::slice::from_ref(value))
        .iter()
        .filter(|element| !element.is_null())
        .map(scalar)
        .collect::<Option<_>>()
        .map(Cell::Texts)
}

fn map<'v>(value: &Node<'v>) -> Option<Cell<'v>> {
    let Node::Object(object) = value else {
        return None;
    };
    object
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| Some((key.clone(), scalar(value)?)))
        .collect::<Option<_>>()
        .map(Cell::Map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cell_is_no_larger_than_a_text() {
        assert_eq!(size_of::<Cell<'_>>(), size_of::<Cow<'_, str>>());
    }

    #[test]
    fn values_become_cells_or_misfits() {
        let values = [json!("x"), json!(5), json!(["a", 1, null]), json!(" ")];
        let [text, number, list, empty] = values.each_ref().map(Node::from);
        assert_eq!(Cell::read(&text, Type::String), Ok(Cell::from("x")));
        assert_eq!(Cell::read(&text, Type::Json), Ok(Cell::from("\"x\"")));
        assert_eq!(Cell::read(&text, Type::Int64), Err(Misfit));
        assert_eq!(Cell::read(&number, Type::String), Ok(Cell::from("5")));
        assert_eq!(Cell::read(&number, Type::Double), Ok(Cell::Double(5.0)));
        assert_eq!(
            Cell::read(&list, Type::Strings),
            Ok(Cell::Texts(["a".into(), "1".into()].into()))
        );
        assert_eq!(Cell::read(&list, Type::String), Err(Misfit));
        assert_eq!(Cell::read(&empty, Type::Timestamp), Ok(Cell::Null));
        assert_eq!(Cell::read(&empty, Type::String), Ok(Cell::from(" ")));
    }
}
