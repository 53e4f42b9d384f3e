//! A text or a list of texts in the mapping file. Pure.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A text or a list of texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Names(pub Vec<String>);

impl Names {
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
