//! Texts and lists of texts in the mapping file. Pure.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A text or a list of texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Names(pub Vec<String>);

impl Names {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These names, followed by those of `others` that are not among them.
    pub fn before(self, others: Self) -> Self {
        let mut names = self.0;
        for name in others.0 {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self(names)
    }
}

/// A text without the differences in how people write it: case, spaces, and the dots of ё.
pub(crate) fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ё' { 'е' } else { c })
        .collect()
}

pub(super) struct NamesForms;

impl<'de> Visitor<'de> for NamesForms {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Names, E> {
        Ok(Names(vec![name.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = seq.next_element()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesForms)
    }
}

/// Values of a report that a mapping names: one text, number or truth value, or a list of them. Held as texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Texts(pub Vec<String>);

impl Texts {
    /// The texts without the differences in how people write them.
    pub fn folded<C: FromIterator<String>>(&self) -> C {
        self.0.iter().map(|text| fold(text)).collect()
    }

    /// These texts, followed by those of `others` that are not among them.
    pub fn before(self, others: Self) -> Self {
        Self(Names(self.0).before(Names(others.0)).0)
    }
}

/// A text, a number or a truth value, as text.
struct OneText(String);

impl<'de> Deserialize<'de> for OneText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = deserializer.deserialize_any(TextsForms { is_one: true })?;
        Ok(Self(texts.0.into_iter().next().unwrap_or_default()))
    }
}

struct TextsForms {
    /// True inside of a list.
    is_one: bool,
}

impl<'de> Visitor<'de> for TextsForms {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_one {
            true => "a text, a number or a truth value",
            false => {
                "a text, a number, a truth value, or a list of these (a path with dots stands in quotes)"
            }
        })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<Texts, E> {
        Ok(Texts(vec![truth.to_string()]))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Texts, E> {
        Ok(Texts(vec![number.to_string()]))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Texts, E> {
        Ok(Texts(vec![number.to_string()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(OneText(text)) = seq.next_element()? {
            texts.push(text);
        }
        if texts.is_empty() && !self.is_one {
            return Err(serde::de::Error::custom(
                "the list is empty: no row could have such a value",
            ));
        }
        match self.is_one {
            true => Err(serde::de::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
            false => Ok(Texts(texts)),
        }
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsForms { is_one: false })
    }
}
