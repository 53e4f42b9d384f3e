//! How a source value becomes that of its column: its type, notations, scale, and other words for it. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::feed::ValueOptions;
use super::names::{Names, fold};
use crate::config::parse_zone;
use crate::lake::table::Type;
use crate::lenient::{self, InstantRules, Reading};
use crate::tables::parquet::cell::{Cell, Misfit};
use crate::tables::report::node::Node;

/// Most bytes of a text that may be one of a mapping's words. Folding a longer one costs time.
const MOST_WORD: usize = 1024;

/// The rules by which a column's values are read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValueRules {
    pub kind: Type,
    /// True for a column of seconds, which reads lengths of time in words.
    is_seconds: bool,
    scale: Option<f64>,
    pub instants: InstantRules,
    words: Option<Box<Words>>,
}

/// Other words for values.
#[derive(Debug, Clone, Default, PartialEq)]
struct Words {
    /// The values by folded text.
    values: HashMap<String, Cell<'static>>,
    default: Option<Cell<'static>>,
}

impl ValueRules {
    /// Resolves the options of a column; the error is only the reason. `outer` are the table's rules for instants.
    pub fn resolve(
        kind: Type,
        name: &str,
        options: &ValueOptions,
        outer: &InstantRules,
    ) -> Result<Self, String> {
        check_scale(kind, options.scale)?;
        let has_times = matches!(kind, Type::Timestamp | Type::Sessions);
        if !has_times && (options.zone.is_some() || !options.formats.is_empty()) {
            return Err("only instants and sessions have a `zone` and `formats`".into());
        }
        Ok(Self {
            kind,
            is_seconds: kind == Type::Double && name.ends_with("_s"),
            scale: options.scale,
            instants: instants(outer, options.zone.as_deref(), &options.formats)?,
            words: Words::resolve(kind, &options.values, options.default.as_ref())?,
        })
    }

    /// Adds texts that stand for a value; the error is only the reason.
    pub fn add_words(&mut self, value: &str, texts: &Names) -> Result<(), String> {
        let cell = fitting(self.kind, &Value::from(value))?;
        let words = self.words.get_or_insert_default();
        for text in &texts.0 {
            words.values.entry(fold(text)).or_insert_with(|| cell.clone());
        }
        Ok(())
    }

    /// True if its numbers are seconds.
    pub fn is_length(&self) -> bool {
        self.is_seconds
    }

    /// Reads a value. Null and empty text become null, or the default if there is one.
    pub fn read<'v>(&self, value: &Node<'v>) -> Result<Cell<'v>, Misfit> {
        // Most columns have nothing of all this.
        if self.words.is_none() && self.scale.is_none() && !self.is_seconds {
            return self.plain(value);
        }
        if let Some(words) = &self.words
            && let Some(cell) = words.value_of(value)
        {
            return Ok(cell);
        }
        match (self.kind, self.scale) {
            (Type::Double, scale) if self.is_seconds => self.seconds(value, scale),
            (kind, Some(scale)) => match lenient::number(value) {
                Some(number) => Cell::scaled(number, kind, scale),
                None => self.plain(value),
            },
            _ => self.plain(value),
        }
    }

    /// The value where the object has none.
    pub fn default(&self) -> Cell<'static> {
        let default = self.words.as_ref().and_then(|words| words.default.clone());
        default.unwrap_or_default()
    }

    /// True if it gives a value to rows that have none.
    pub fn has_default(&self) -> bool {
        self.words.as_ref().is_some_and(|words| words.default.is_some())
    }

    /// Reads an instant.
    pub fn instant(&self, value: &Node<'_>) -> Reading<DateTime<Utc>> {
        match self
            .scale
            .filter(|_| self.kind == Type::Timestamp)
            .zip(lenient::number(value))
        {
            Some((scale, number)) => match Cell::scaled(number, Type::Timestamp, scale) {
                Ok(Cell::Time(micros)) => {
                    DateTime::from_timestamp_micros(micros).map_or(Reading::Unreadable, Reading::Read)
                }
                _ => Reading::Unreadable,
            },
            None => self.instants.read(value),
        }
    }

    /// Reads a length of time in seconds.
    pub fn length(&self, value: &Node<'_>) -> Option<f64> {
        match (lenient::number(value), self.scale) {
            (Some(number), Some(scale)) => Some(number * scale),
            _ => lenient::seconds(value),
        }
    }

    fn plain<'v>(&self, value: &Node<'v>) -> Result<Cell<'v>, Misfit> {
        match self.kind {
            Type::Timestamp => match self.instants.read(value) {
                Reading::Read(instant) => Ok(Cell::time(instant)),
                Reading::Absent => Ok(Cell::Null),
                Reading::Unreadable => Err(Misfit),
            },
            kind => Cell::read(value, kind),
        }
    }

    fn seconds<'v>(&self, value: &Node<'v>, scale: Option<f64>) -> Result<Cell<'v>, Misfit> {
        match (value, scale) {
            (Node::Number(_), None) | (Node::Null, _) => Cell::read(value, Type::Double),
            (Node::Text(text), _) if text.trim().is_empty() => Ok(Cell::Null),
            (_, scale) => match (lenient::number(value), scale) {
                (Some(number), Some(scale)) => Cell::scaled(number, Type::Double, scale),
                _ => lenient::seconds(value).map(Cell::Double).ok_or(Misfit),
            },
        }
    }
}

impl Words {
    fn resolve(
        kind: Type,
        values: &BTreeMap<String, Value>,
        default: Option<&Value>,
    ) -> Result<Option<Box<Self>>, String> {
        if values.is_empty() && default.is_none() {
            return Ok(None);
        }
        if !matches!(kind, Type::String | Type::Int64 | Type::Double | Type::Bool) {
            return Err("only texts, numbers and truth values have `values` and a `default`".into());
        }
        let mut known = HashMap::new();
        for (text, value) in values {
            // An empty text says that a word means nothing.
            let is_nothing = value.as_str().is_some_and(str::is_empty);
            let cell = if is_nothing {
                Ok(Cell::Null)
            } else {
                fitting(kind, value)
            };
            let cell = cell.map_err(|reason| format!("`values`: `{text}`: {reason}"))?;
            known.insert(fold(text), cell);
        }
        let default = default.map(|value| fitting(kind, value)).transpose();
        let default = default.map_err(|reason| format!("`default`: {reason}"))?;
        Ok(Some(Box::new(Self {
            values: known,
            default,
        })))
    }

    /// The value that a source value stands for; none if it stands for itself.
    fn value_of(&self, value: &Node<'_>) -> Option<Cell<'static>> {
        let text = match value {
            Node::Text(text) => Cow::Borrowed(&**text),
            _ => lenient::text(value).map(Cow::Owned)?,
        };
        let known = match text.len() <= MOST_WORD {
            true => self.values.get(&fold(&text)),
            false => None,
        };
        known.or(self.default.as_ref()).cloned()
    }
}

/// A value of the mapping as a cell of a type; the error is only the reason.
fn fitting(kind: Type, value: &Value) -> Result<Cell<'static>, String> {
    match Cell::read(&Node::from(value), kind) {
        Ok(Cell::Text(text)) => Ok(Cell::from(text.into_owned())),
        Ok(Cell::Int(number)) => Ok(Cell::Int(number)),
        Ok(Cell::Double(number)) => Ok(Cell::Double(number)),
        Ok(Cell::Bool(truth)) => Ok(Cell::Bool(truth)),
        _ => Err(format!("{value} does not fit the type {}", kind.name())),
    }
}

/// A wrong `zone` or wrong `formats`.
pub(crate) struct InstantFault {
    /// The key.
    pub key: &'static str,
    /// The reason, with the key.
    pub reason: String,
}

impl InstantFault {
    fn of(key: &'static str, reason: &str) -> Self {
        Self {
            key,
            reason: format!("`{key}`: {reason}"),
        }
    }
}

impl From<InstantFault> for String {
    fn from(fault: InstantFault) -> Self {
        fault.reason
    }
}

/// The rules for instants where a zone or formats may replace those around them.
pub(crate) fn instants(
    outer: &InstantRules,
    zone: Option<&str>,
    formats: &Names,
) -> Result<InstantRules, InstantFault> {
    let mut rules = match formats.is_empty() {
        true => outer.clone(),
        false => InstantRules::new(outer.zone, &formats.0)
            .map_err(|reason| InstantFault::of("formats", &reason))?,
    };
    if let Some(zone) = zone {
        rules.zone = parse_zone(zone).map_err(|reason| InstantFault::of("zone", &reason))?;
    }
    Ok(rules)
}

fn check_scale(kind: Type, scale: Option<f64>) -> Result<(), String> {
    let Some(scale) = scale else {
        return Ok(());
    };
    if !matches!(
        kind,
        Type::Int64 | Type::Double | Type::Timestamp | Type::Sessions
    ) {
        return Err("only numbers, instants and the `duration_s` of sessions have a `scale`".into());
    }
    if !scale.is_finite() || scale <= 0.0 {
        return Err("`scale` must be more than 0".into());
    }
    Ok(())
}
