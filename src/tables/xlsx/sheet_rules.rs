//! A table's `xlsx` rules in the mapping file, and how those of one file are laid over another's. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::tables::mapping::names::Names;

/// A table's `xlsx` rules in the mapping file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SheetRules {
    /// The names of its sheets.
    #[serde(default)]
    pub sheets: Names,
    /// The headers of its columns, by column.
    #[serde(default)]
    pub columns: BTreeMap<String, Headers>,
    /// Replacements for values, by column and value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, BTreeMap<String, Names>>,
    /// The texts of rows that are skipped, by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skip: BTreeMap<String, Names>,
    /// True if the rules of the mapping below are discarded.
    #[serde(default, skip_serializing)]
    pub replace: bool,
}

/// The headers of a column.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Headers {
    /// Their texts; the first that exists wins.
    pub names: Names,
    /// True if the texts of the mapping below are discarded.
    pub replace: bool,
}

/// The keys of headers that are a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderKeys {
    from: Names,
    #[serde(default)]
    replace: bool,
}

impl SheetRules {
    /// Lays these rules over others: these come first, and the rules below still apply.
    pub fn over(self, mut below: Self) -> Self {
        if self.replace {
            return self;
        }
        below.sheets = self.sheets.before(below.sheets);
        for (column, headers) in self.columns {
            // A header feeds one column: the one that named it last.
            take_away(below.columns.values_mut().map(|of| &mut of.names), &headers.names);
            let known = below.columns.entry(column).or_default();
            *known = match headers.replace {
                true => headers,
                false => Headers {
                    names: headers.names.before(std::mem::take(&mut known.names)),
                    replace: false,
                },
            };
        }
        let gone = |name: &String| below.columns.get(name).is_some_and(|of| of.names.0.is_empty());
        below.values.retain(|name, _| !gone(name));
        below.skip.retain(|name, _| !gone(name));
        below.columns.retain(|_, headers| !headers.names.0.is_empty());
        for (column, values) in self.values {
            let known = below.values.entry(column).or_default();
            for (value, texts) in values {
                take_away(known.values_mut(), &texts);
                let names = known.entry(value).or_default();
                *names = texts.before(std::mem::take(names));
            }
        }
        for (column, texts) in self.skip {
            let names = below.skip.entry(column).or_default();
            *names = texts.before(std::mem::take(names));
        }
        below
    }
}

/// A text without the differences in how people write it: case, spaces, and the dots of ё.
pub(super) fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace())
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ё' { 'е' } else { c })
        .collect()
}

/// Removes texts from others, however they are spelled.
fn take_away<'n>(from: impl Iterator<Item = &'n mut Names>, taken: &Names) {
    let taken: Vec<_> = taken.0.iter().map(|text| fold(text)).collect();
    for names in from {
        names.0.retain(|text| !taken.contains(&fold(text)));
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header's text, a list of them, or a table with `from`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Headers, E> {
                Ok(Headers {
                    names: Names(vec![name.to_owned()]),
                    replace: false,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Headers, A::Error> {
                Ok(Headers {
                    names: Names::deserialize(SeqAccessDeserializer::new(seq))?,
                    replace: false,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Headers, A::Error> {
                let keys = HeaderKeys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Headers {
                    names: keys.from,
                    replace: keys.replace,
                })
            }
        }
        deserializer.deserialize_any(Forms)
    }
}
