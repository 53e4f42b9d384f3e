//! The mapping file as TOML says it, before anything is resolved. Pure; read by [`crate::tables::mapping`].
//!
//! Unknown keys are refused. The mapping's digest is that of its canonical form, so that comments and layout do not
//! count.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::names::{Names, NamesForms};
use crate::tables::xlsx::SheetRules;

/// A whole mapping file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The version of the format.
    pub version: u32,
    /// Fields that need no column, by source.
    #[serde(default)]
    pub ignore: BTreeMap<TableSource, Names>,
    /// The tables, by name.
    #[serde(default)]
    pub table: BTreeMap<String, TableRules>,
}

/// The kind of object that a table is read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TableSource {
    /// A call's JSON report.
    #[default]
    Report,
    /// A call as the API lists it.
    Call,
    /// A record as the API lists it.
    Record,
    /// A room as the API lists it.
    Room,
    /// A space as the API lists it.
    Space,
}

impl TableSource {
    /// Its name in the mapping.
    pub fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            source => source.prefix(),
        }
    }

    /// The prefix of its fields in the notes; none for reports, whose paths speak for themselves.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Report => "",
            Self::Call => "call",
            Self::Record => "record",
            Self::Room => "room",
            Self::Space => "space",
        }
    }
}

/// The rules of a table: where its rows are, and what feeds its columns.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableRules {
    /// The kind of object; a report if the rules name none.
    #[serde(default)]
    pub source: Option<TableSource>,
    /// The paths of its rows.
    #[serde(default)]
    pub rows: Names,
    /// The feeds of its columns, by name.
    #[serde(default)]
    pub columns: BTreeMap<String, Feed>,
    /// For a user-defined table: the meaning of a row.
    #[serde(default)]
    pub row: Option<String>,
    /// The rules for its sheet in a workbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xlsx: Option<SheetRules>,
}

impl TableRules {
    /// The kind of object that the table is read from.
    pub fn source(&self) -> TableSource {
        self.source.unwrap_or_default()
    }
}

/// An error in a mapping, and the keys under which it stands.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The keys, outermost first.
    pub at: Vec<String>,
    /// The reason, with its place in words.
    pub reason: String,
}

impl Fault {
    /// A fault of the whole file, or of a key at its top.
    pub fn of_file(key: &str, reason: impl Into<String>) -> Self {
        Self {
            at: vec![key.to_owned()],
            reason: reason.into(),
        }
    }

    /// A fault of a table.
    pub fn of_table(table: &str, reason: impl Into<String>) -> Self {
        Self {
            at: vec!["table".to_owned(), table.to_owned()],
            reason: format!("[table.{table}] {}", reason.into()),
        }
    }

    /// A fault of a key of a table.
    pub fn of_key(table: &str, key: &str, reason: impl Into<String>) -> Self {
        let mut fault = Self::of_table(table, format!("`{key}`: {}", reason.into()));
        fault.at.push(key.to_owned());
        fault
    }

    /// A fault of a column.
    pub fn of_column(table: &str, column: &str, reason: impl Into<String>) -> Self {
        let mut fault = Self::of_table(table, format!("column `{column}`: {}", reason.into()));
        fault.at.extend(["columns".to_owned(), column.to_owned()]);
        fault
    }

    /// The line of the fault in a file, from 1, as precisely as the file has its keys.
    pub fn line(&self, text: &str) -> Option<usize> {
        let document = toml::de::DeTable::parse(text).ok()?;
        let mut table = document.get_ref();
        let mut start = None;
        for key in &self.at {
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == key) else {
                break;
            };
            start = Some(name.span().start);
            match value.get_ref().as_table() {
                Some(inner) => table = inner,
                None => break,
            }
        }
        start.map(|start| line_at(text, start))
    }
}

/// The line of a byte in a text, from 1.
pub(crate) fn line_at(text: &str, start: usize) -> usize {
    1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
}

/// The feed of a column: only paths, or a table with more keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Feed {
    /// Paths; the first that exists wins.
    pub from: Names,
    /// For sessions: the paths of a session's own fields, by name.
    pub fields: BTreeMap<String, Names>,
    /// The lookup for a value that no path has.
    pub lookup: Option<Lookup>,
    /// The factor for numbers: from milliseconds to a column of seconds, 0.001.
    pub scale: Option<f64>,
    /// For a user-defined table: the type.
    pub kind: Option<String>,
    /// For a user-defined table: the meaning of the column.
    pub doc: Option<String>,
    /// True if the names of the mapping below are discarded.
    #[serde(skip)]
    pub replace: bool,
}

/// A value from another element of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Lookup {
    /// The array to search.
    pub find: String,
    /// The fields of its elements to compare; any of them may be equal.
    pub key: Names,
    /// The row's value to compare with.
    pub by: Names,
    /// The fields of the element found; the first that exists wins.
    pub take: Names,
}

/// The keys of a feed that is a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeedKeys {
    #[serde(default)]
    from: Names,
    #[serde(default)]
    fields: BTreeMap<String, Names>,
    find: Option<String>,
    key: Option<Names>,
    by: Option<Names>,
    take: Option<Names>,
    scale: Option<f64>,
    r#type: Option<String>,
    doc: Option<String>,
    #[serde(default)]
    replace: bool,
}

impl<'de> Deserialize<'de> for Feed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Feed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a source path, a list of them, or a table with `from`")
            }

            fn visit_str<E: serde::de::Error>(self, path: &str) -> Result<Feed, E> {
                Ok(Feed {
                    from: Names(vec![path.to_owned()]),
                    ..Feed::default()
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Feed, A::Error> {
                Ok(Feed {
                    from: NamesForms.visit_seq(seq)?,
                    ..Feed::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Feed, A::Error> {
                FeedKeys::deserialize(MapAccessDeserializer::new(map))?
                    .feed()
                    .map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

impl FeedKeys {
    fn feed(self) -> Result<Feed, &'static str> {
        let lookup = match (self.find, self.key, self.by, self.take) {
            (None, None, None, None) => None,
            (Some(find), Some(key), Some(by), Some(take)) => Some(Lookup { find, key, by, take }),
            _ => return Err("a lookup needs all of `find`, `key`, `by` and `take`"),
        };
        // Only fields: they add names to those of the mapping below.
        if self.from.0.is_empty() && lookup.is_none() && self.fields.is_empty() {
            return Err("nothing feeds the column: `from` is missing");
        }
        Ok(Feed {
            from: self.from,
            fields: self.fields,
            lookup,
            scale: self.scale,
            kind: self.r#type,
            doc: self.doc,
            replace: self.replace,
        })
    }
}
