//! A table's `xlsx` rules in the mapping file, and how those of one file are laid over another's. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::tables::mapping::feed::ValueOptions;
use crate::tables::mapping::names::{Names, Texts, fold};

/// A table's `xlsx` rules in the mapping file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SheetRules {
    /// The names of its sheets, perhaps with `*` and `?`.
    #[serde(default)]
    pub sheets: Names,
    /// The zone of the workbook's times, instead of the table's.
    #[serde(default)]
    pub zone: Option<String>,
    /// The formats of the workbook's instants, instead of the table's.
    #[serde(default)]
    pub formats: Names,
    /// The headers of its columns, by column.
    #[serde(default)]
    pub columns: BTreeMap<String, Headers>,
    /// Replacements for values, by column and value.
    #[serde(default)]
    pub values: BTreeMap<String, BTreeMap<String, Names>>,
    /// The texts that a row must have, by column or header.
    #[serde(default, rename = "where")]
    pub only: BTreeMap<String, Texts>,
    /// The texts of rows that are skipped, by column or header.
    #[serde(default)]
    pub skip: BTreeMap<String, Texts>,
    /// True if the rules of the mapping below are discarded.
    #[serde(default, skip_serializing)]
    pub replace: bool,
}

/// The headers of a column.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Headers {
    /// Their texts; the first that exists wins.
    pub names: Names,
    /// The headers of texts that are joined by spaces. They come before `names`.
    pub concat: Names,
    /// How a value is read.
    pub options: ValueOptions,
    /// True if the texts of the mapping below are discarded.
    #[serde(skip)]
    pub replace: bool,
}

/// The keys of headers that are a table.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HeaderKeys {
    from: Names,
    concat: Names,
    scale: Option<f64>,
    values: BTreeMap<String, Value>,
    default: Option<Value>,
    zone: Option<String>,
    formats: Names,
    replace: bool,
}

impl SheetRules {
    /// Lays these rules over others: these come first, and the rules below still apply.
    pub fn over(self, mut below: Self) -> Self {
        if self.replace {
            return self;
        }
        below.sheets = self.sheets.before(below.sheets);
        below.zone = self.zone.or(below.zone);
        if !self.formats.is_empty() {
            below.formats = self.formats;
        }
        for (column, headers) in self.columns {
            // A header feeds one column: the one that named it last.
            for taken in [&headers.names, &headers.concat] {
                take_away(below.columns.values_mut().map(|of| &mut of.names), taken);
            }
            let known = below.columns.entry(column).or_default();
            *known = headers.over(std::mem::take(known));
        }
        let gone = |name: &String| below.columns.get(name).is_some_and(|of| !of.is_fed());
        below.values.retain(|name, _| !gone(name));
        below.skip.retain(|name, _| !gone(name));
        let is_empty = |headers: &Headers| !headers.is_fed() && headers.options == ValueOptions::default();
        below.columns.retain(|_, headers| !is_empty(headers));
        for (column, values) in self.values {
            let known = below.values.entry(column).or_default();
            for (value, texts) in values {
                take_away(known.values_mut(), &texts);
                let names = known.entry(value).or_default();
                *names = texts.before(std::mem::take(names));
            }
        }
        below.only.extend(self.only);
        for (column, texts) in self.skip {
            let names = below.skip.entry(column).or_default();
            *names = texts.before(std::mem::take(names));
        }
        below
    }
}

impl Headers {
    fn is_fed(&self) -> bool {
        !self.names.is_empty() || !self.concat.is_empty()
    }

    fn over(self, below: Self) -> Self {
        if self.replace {
            return self;
        }
        Self {
            names: self.names.before(below.names),
            concat: if self.concat.is_empty() {
                below.concat
            } else {
                self.concat
            },
            options: self.options.over(below.options),
            replace: false,
        }
    }
}

/// Removes texts from others, however they are spelled.
fn take_away<'n>(from: impl Iterator<Item = &'n mut Names>, taken: &Names) {
    let taken: Vec<_> = taken.0.iter().map(|text| fold(text)).collect();
    for names in from {
        names.0.retain(|text| !taken.contains(&fold(text)));
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
                    ..Headers::default()
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Headers, A::Error> {
                Ok(Headers {
                    names: Names::deserialize(SeqAccessDeserializer::new(seq))?,
                    ..Headers::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Headers, A::Error> {
                let keys = HeaderKeys::deserialize(MapAccessDeserializer::new(map))?;
                let headers = Headers {
                    names: keys.from,
                    concat: keys.concat,
                    options: ValueOptions {
                        scale: keys.scale,
                        values: keys.values,
                        default: keys.default,
                        zone: keys.zone,
                        formats: keys.formats,
                    },
                    replace: keys.replace,
                };
                // Without a header it adds to the mapping below.
                match headers.is_fed() || (headers.options != ValueOptions::default() && !headers.replace) {
                    true => Ok(headers),
                    false => Err(serde::de::Error::missing_field("from")),
                }
            }
        }
        deserializer.deserialize_any(Forms)
    }
}
