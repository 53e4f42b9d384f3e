//! Takes people out of maps and JSON for which no column is known. Pure.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::treatment::EntryTreatment;
use super::words::{KnownMeanings, NameMeaning, looks_like_contact};
use crate::tables::erase::contains_word;

/// Takes people out of data: by names, by the form of values, and by the values that the row has of its own person.
pub(crate) struct Cleaner<'c> {
    /// Gives the pseudonym of an id.
    pub pseudonym: &'c dyn Fn(&str) -> String,
    /// The personal values of the row that its columns lose.
    pub own: &'c [String],
    /// The meanings of names.
    pub meanings: &'c KnownMeanings,
}

impl Cleaner<'_> {
    /// The value of an entry as it may be written; none if it must be left out.
    fn text<'v>(&self, path: &str, value: Cow<'v, str>) -> Option<Cow<'v, str>> {
        match self.meanings.of(path) {
            NameMeaning::Neutral => self.is_neutral(&value).then_some(value),
            NameMeaning::PersonId => Some((self.pseudonym)(&value).into()),
            NameMeaning::Personal => None,
        }
    }

    /// True if a text says nothing of a person by itself, and does not contain what the row says of its own person.
    pub fn is_neutral(&self, text: &str) -> bool {
        !looks_like_contact(text) && !self.own.iter().any(|own| contains_word(text, own))
    }

    /// The entries of a map that may be written.
    pub fn map<'v>(&self, entries: Vec<(Cow<'v, str>, Cow<'v, str>)>) -> Vec<(Cow<'v, str>, Cow<'v, str>)> {
        let entries = entries.into_iter();
        entries
            .filter_map(|(path, value)| {
                let value = self.text(&path, value)?;
                Some((path, value))
            })
            .collect()
    }

    /// The entries of a map, of which more is known than their names.
    pub fn entries<'v>(
        &self,
        entries: Vec<(Cow<'v, str>, Cow<'v, str>)>,
        treatments: &[EntryTreatment],
    ) -> Vec<(Cow<'v, str>, Cow<'v, str>)> {
        let entries = entries.into_iter().zip(treatments);
        entries
            .filter_map(|((name, value), treatment)| {
                let value = match treatment {
                    EntryTreatment::Keep => value,
                    EntryTreatment::Drop => return None,
                    EntryTreatment::Hash => (self.pseudonym)(&value).into(),
                    EntryTreatment::Clean => self.text(&name, value)?,
                };
                Some((name, value))
            })
            .collect()
    }

    /// A JSON text without people; none if nothing is left. What is no JSON is left out.
    pub fn json(&self, text: &str) -> Option<String> {
        let value = serde_json::from_str(text).ok()?;
        let value = self.value(&mut String::new(), value)?;
        Some(value.to_string())
    }

    fn value(&self, path: &mut String, value: Value) -> Option<Value> {
        match value {
            Value::Object(fields) => {
                let mut kept = Map::new();
                for (name, value) in fields {
                    let end = path.len();
                    push(path, &name);
                    let value = self.value(path, value);
                    path.truncate(end);
                    // An object below the name of a person is gone through for its ids.
                    kept.extend(value.map(|value| (name, value)));
                }
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(elements) => {
                let elements = elements.into_iter();
                let kept: Vec<Value> = elements.filter_map(|element| self.value(path, element)).collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            Value::String(text) => self
                .text(path, text.into())
                .map(|text| Value::String(text.into_owned())),
            Value::Null => None,
            scalar => {
                let text = scalar.to_string();
                let cleaned = self.text(path, Cow::Borrowed(&text))?;
                match cleaned == text {
                    true => Some(scalar),
                    false => Some(Value::String(cleaned.into_owned())),
                }
            }
        }
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}
