//! One cell's value: from calamine's to text, or to what a column reads. Pure.

use calamine::{DataRef, ExcelDateTime};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Number, Value};

use crate::lake::table::Type;

/// Days from Excel's day 0 (1899-12-30, as it counts after its 29 February 1900) to the epoch.
const EPOCH_DAY: f64 = 25_569.0;
/// Days between Excel's two calendars.
const DAYS_TO_1904: f64 = 1462.0;
/// Milliseconds of a day: Excel's own precision.
const DAY_MS: f64 = 86_400_000.0;
/// Serial days that are instants: 1954 to 2173. Numbers outside are epochs, or nothing.
const SERIALS: std::ops::Range<f64> = 20_000.0..100_000.0;
/// Characters of a cell; Excel's own bound is 32767.
const MOST_TEXT: usize = 1 << 20;

/// A value that is there.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datum {
    /// Text that is not blank.
    Text(String),
    /// A number without a format of dates.
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

impl Datum {
    pub fn of(value: &DataRef<'_>) -> Result<Self, NoDatum> {
        match value {
            DataRef::Empty => Err(NoDatum::Blank),
            DataRef::Error(_) => Err(NoDatum::Wrong),
            DataRef::String(text) => Self::text_of(text),
            DataRef::SharedString(text) => Self::text_of(text),
            DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Self::text_of(text),
            DataRef::Bool(truth) => Ok(Self::Truth(*truth)),
            // Excel's numbers are doubles: nothing is lost that was there.
            #[allow(clippy::cast_precision_loss)]
            DataRef::Int(number) => Ok(Self::Number(*number as f64)),
            DataRef::Float(number) if number.is_finite() => Ok(Self::Number(*number)),
            DataRef::Float(_) => Err(NoDatum::Wrong),
            DataRef::DateTime(date) => Self::date(*date).ok_or(NoDatum::Wrong),
        }
    }

    fn text_of(text: &str) -> Result<Self, NoDatum> {
        if text.len() > MOST_TEXT {
            return Err(NoDatum::Wrong);
        }
        match text.trim().is_empty() {
            true => Err(NoDatum::Blank),
            false => Ok(Self::Text(text.to_owned())),
        }
    }

    fn date(date: ExcelDateTime) -> Option<Self> {
        let serial = date.as_f64();
        if !serial.is_finite() || serial.abs() > 3e6 {
            return None;
        }
        if date.is_duration() || (0.0..1.0).contains(&serial) {
            // In range by the check above.
            #[allow(clippy::cast_possible_truncation)]
            return Some(Self::Span((serial * DAY_MS).round() as i64));
        }
        // Calamine keeps to itself which calendar the workbook has, but shows the date that it stands for.
        let from_1904 = date == ExcelDateTime::new(serial, calamine::ExcelDateTimeType::DateTime, true);
        instant(if from_1904 { serial + DAYS_TO_1904 } else { serial }).map(Self::Instant)
    }

    /// The bytes that it holds besides itself.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 0,
        }
    }

    /// The value as text, as `report_rows` has it.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(_) => match self.json() {
                Value::Number(number) => number.to_string(),
                _ => String::new(),
            },
            Self::Truth(truth) => truth.to_string(),
            Self::Instant(at) => rfc3339(*at),
            Self::Span(ms) => clock(*ms),
        }
    }

    /// The value as a column of a type reads it.
    pub fn value(&self, kind: Type) -> Value {
        match (self, kind) {
            // A date whose number format was lost.
            (Self::Number(number), Type::Timestamp) if SERIALS.contains(number) => {
                instant(*number).map_or(Value::Null, |at| rfc3339(at).into())
            }
            // Exact: no span that is there has 2^53 milliseconds.
            #[allow(clippy::cast_precision_loss)]
            (Self::Span(ms), Type::Double | Type::Int64) => Datum::Number(*ms as f64 / 1e3).json(),
            _ => self.json(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => text.trim().into(),
            Self::Truth(truth) => (*truth).into(),
            Self::Instant(at) => rfc3339(*at).into(),
            Self::Span(ms) => clock(*ms).into(),
            // Whole numbers as such: an id 17 is not 17.0. Exact below 2^53.
            #[allow(clippy::cast_possible_truncation)]
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => (*number as i64).into(),
            Self::Number(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        }
    }
}

/// The instant of a serial day of the calendar of 1900, to the millisecond.
fn instant(serial: f64) -> Option<DateTime<Utc>> {
    // In range: serials are bounded before.
    #[allow(clippy::cast_possible_truncation)]
    DateTime::from_timestamp_millis(((serial - EPOCH_DAY) * DAY_MS).round() as i64)
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
