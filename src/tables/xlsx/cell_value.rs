//! The value of a cell: from calamine's type to text, or to the type of a column. Pure.

use calamine::{CellErrorType, DataRef, ExcelDateTime};
use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde_json::Number;

use super::clean_value::FIRST_INEXACT;
use crate::lake::table::Type;
use crate::lenient::SERIAL_DAYS;
use crate::tables::report::node::Node;

/// Most days that Excel can count: up to the year 9999. Calamine has no limit.
const MOST_DAYS: f64 = 3e6;
/// The days between the first days of Excel's two calendars.
const DAYS_TO_1904: f64 = 1462.0;
/// The years that an instant may have.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2200;
/// Larger numbers are not serial days, and may be seconds or milliseconds since the epoch.
const FIRST_EPOCH: f64 = 1e8;
/// Stands for a value that exists and can't be read; nothing reads it as an instant.
pub(super) const UNREADABLE: &str = "#";

/// A value of a cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CellValue {
    /// Text that is not blank.
    Text(String),
    /// A number whose digits a double holds.
    Number(f64),
    /// A truth value.
    Truth(bool),
    /// A date, in UTC.
    Instant(DateTime<Utc>),
    /// A length of time, or a time of day without a date, in milliseconds.
    Span(i64),
}

/// The reason why a cell has no value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoValue {
    /// The cell is blank.
    Blank,
    /// The cell holds an error of a formula, or something that no cell can hold.
    Wrong,
}

impl CellValue {
    /// Converts the value that calamine read.
    pub fn of(value: &DataRef<'_>) -> Result<Self, NoValue> {
        match value {
            DataRef::Empty => Err(NoValue::Blank),
            DataRef::Error(_) => Err(NoValue::Wrong),
            DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => {
                Self::text_of(text)
            }
            DataRef::SharedString(text) => Self::text_of(text),
            DataRef::Bool(truth) => Ok(Self::Truth(*truth)),
            #[expect(clippy::cast_precision_loss, reason = "longer numbers come as texts")]
            DataRef::Int(number) => Ok(Self::Number(*number as f64)),
            DataRef::Float(number) => Ok(Self::Number(*number)),
            DataRef::DateTime(date) => Ok(Self::date(*date)),
        }
    }

    /// A number with a date format: a length of time, an instant, or the number itself if it is neither.
    fn date(date: ExcelDateTime) -> Self {
        let number = date.as_f64();
        let datum = match date.is_duration() || (0.0..1.0).contains(&number) {
            true => span(date),
            false => instant(date).map(Self::Instant),
        };
        datum.unwrap_or(Self::Number(number))
    }

    fn text_of(text: &str) -> Result<Self, NoValue> {
        match text.trim() {
            "" => Err(NoValue::Blank),
            // Some programs write the error of a formula as text.
            text if text.parse::<CellErrorType>().is_ok() => Err(NoValue::Wrong),
            _ => Ok(Self::Text(text.to_owned())),
        }
    }

    /// The bytes that it holds on the heap.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 0,
        }
    }

    /// The value as text for `report_rows`.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value) => match number(*value) {
                Node::Number(number) => number.to_string(),
                _ => String::new(),
            },
            Self::Truth(truth) => truth.to_string(),
            Self::Instant(at) => rfc3339(*at),
            Self::Span(ms) => clock(*ms),
        }
    }

    /// The value as a column of a type reads it. A date has no zone. A length of time is text for a column of lengths, and
    /// seconds for other numbers. `from_1904` is the workbook's calendar.
    pub fn node(&self, kind: Type, is_length: bool, from_1904: bool) -> Node<'_> {
        match (self, kind) {
            (Self::Text(text), Type::Timestamp) if from_1904 => match text.trim().parse() {
                Ok(number) => moment(number, from_1904),
                Err(_) => self.plain(),
            },
            (Self::Number(number), Type::Timestamp) => moment(*number, from_1904),
            (Self::Instant(at), Type::Timestamp) => Node::Text(at.naive_utc().to_string().into()),
            // Day 0 is an empty cell with a date format.
            (Self::Span(0), Type::Timestamp) => Node::Null,
            #[expect(clippy::cast_precision_loss, reason = "no span has 2^53 milliseconds")]
            (Self::Span(ms), Type::Double | Type::Int64) if !is_length => number(*ms as f64 / 1e3),
            _ => self.plain(),
        }
    }

    fn plain(&self) -> Node<'_> {
        match self {
            Self::Text(text) => Node::Text(text.trim().into()),
            Self::Truth(truth) => Node::Bool(*truth),
            Self::Instant(at) => Node::Text(rfc3339(*at).into()),
            Self::Span(ms) => Node::Text(clock(*ms).into()),
            Self::Number(value) => number(*value),
        }
    }
}

/// A number; an id 17 is not 17.0.
fn number(value: f64) -> Node<'static> {
    #[expect(clippy::cast_possible_truncation, reason = "exact below 2^53")]
    match value.fract() == 0.0 && value.abs() < FIRST_INEXACT {
        true => Node::Number((value as i64).into()),
        false => Number::from_f64(value).map_or(Node::Null, Node::Number),
    }
}

/// A number in the place of an instant: a serial day, or seconds or milliseconds since the epoch. Any other number
/// becomes a text that nothing reads as an instant.
fn moment(value: f64, from_1904: bool) -> Node<'static> {
    let day = match from_1904 {
        true => value + DAYS_TO_1904,
        false => value,
    };
    if value == 0.0 {
        Node::Null
    } else if SERIAL_DAYS.contains(&day) {
        number(day)
    } else if value < FIRST_EPOCH {
        Node::Text(format!("day {value}").into())
    } else {
        number(value)
    }
}

/// The instant of a serial day, to the millisecond; none outside the years 1970 to 2200.
fn instant(date: ExcelDateTime) -> Option<DateTime<Utc>> {
    let at = countable(date)?.as_datetime()?;
    Some(at.and_utc()).filter(|at| YEARS.contains(&at.year()))
}

/// Calamine's arithmetic overflows if there are too many days.
fn countable(date: ExcelDateTime) -> Option<ExcelDateTime> {
    (date.as_f64().abs() <= MOST_DAYS).then_some(date)
}

/// A length of time; none if it is longer than Excel can count.
fn span(date: ExcelDateTime) -> Option<CellValue> {
    let span = countable(date)?.as_duration()?;
    Some(CellValue::Span(span.num_milliseconds()))
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
    use calamine::ExcelDateTimeType;
    use serde_json::json;

    use super::*;
    use crate::lenient::{self, Reading};

    #[test]
    fn a_number_without_a_fraction_is_whole() {
        let text = |number: f64| CellValue::Number(number).text();
        assert_eq!([17.0, -0.0, 1.5, 1e-7].map(text), ["17", "0", "1.5", "1e-7"]);
        let json = |number: f64| {
            CellValue::Number(number)
                .node(Type::String, false, false)
                .to_value()
        };
        assert_eq!(json(17.0), json!(17));
        assert_eq!(json(9_007_199_254_740_991.0), json!(9_007_199_254_740_991_i64));
        assert_eq!(json(1e300), json!(1e300));
    }

    #[test]
    fn a_number_as_instant_is_a_serial_day_or_an_epoch_or_unreadable() {
        let node = |number: f64, kind: Option<ExcelDateTimeType>, from_1904: bool| {
            let value = match kind {
                Some(kind) => DataRef::DateTime(ExcelDateTime::new(number, kind, from_1904)),
                None => DataRef::Float(number),
            };
            let value = CellValue::of(&value).expect("a value");
            value.node(Type::Timestamp, false, from_1904).to_value()
        };
        let read = |number, kind, from_1904| match lenient::read_instant(&node(number, kind, from_1904)) {
            Reading::Read(at) => rfc3339(at),
            other => format!("{other:?}"),
        };
        let (date, length) = (ExcelDateTimeType::DateTime, ExcelDateTimeType::TimeDelta);
        for format in [None, Some(date)] {
            let day = "2026-11-22T10:30:00Z";
            assert_eq!(read(46_348.437_5, format, false), day);
            assert_eq!(read(44_886.437_5, format, true), day);
            assert_eq!(read(25_569.0, format, false), "1970-01-01T00:00:00Z");
            assert_eq!(read(109_939.5, format, false), "2200-12-31T12:00:00Z");
            assert_eq!(read(1_795_343_400.0, format, false), "2026-11-22T10:30:00Z");
            assert_eq!(read(0.0, format, false), "Absent");
            for nonsense in [25_568.99, 109_940.0, 2_958_466.0, -1.0, 12_345_678.0, 1e7] {
                assert_eq!(read(nonsense, format, false), "Unreadable", "{nonsense}");
            }
        }
        let text = |text: &str, from_1904| {
            let cell = CellValue::Text(text.into());
            lenient::instant(&cell.node(Type::Timestamp, false, from_1904).to_value()).map(rfc3339)
        };
        assert_eq!(
            text(" 46348.4375 ", false).as_deref(),
            Some("2026-11-22T10:30:00Z")
        );
        assert_eq!(
            text(" 44886.4375 ", true).as_deref(),
            Some("2026-11-22T10:30:00Z")
        );
        assert_eq!(
            text("22.11.2026 10:30", true).as_deref(),
            Some("2026-11-22T10:30:00Z")
        );
        assert_eq!(node(0.25, Some(date), false), "06:00:00");
        assert_eq!(node(1.5, Some(length), false), "36:00:00");
        assert_eq!(node(1e300, Some(length), false), json!(1e300));
    }

    #[test]
    fn a_length_of_time_is_text_where_a_column_reads_lengths() {
        let value = |is_length| {
            CellValue::Span(3_723_500)
                .node(Type::Double, is_length, false)
                .to_value()
        };
        assert_eq!(
            (value(true), value(false)),
            (json!("01:02:03.500"), json!(3723.5))
        );
    }

    #[test]
    fn a_formula_error_as_text_is_wrong_and_a_blank_text_is_no_value() {
        let read = |text: &'static str| CellValue::of(&DataRef::SharedString(text));
        assert_eq!(read(" #N/A"), Err(NoValue::Wrong));
        assert_eq!(read(" "), Err(NoValue::Blank));
        assert_eq!(read("#1"), Ok(CellValue::Text("#1".into())));
    }
}
