//! The mapping file as TOML says it, before anything is resolved. Pure; read by [`crate::tables::mapping`].
//!
//! Unknown keys are refused. The mapping's digest is that of its canonical form, so that comments and layout do not
//! count.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feed::Feed;
use super::names::{Names, Texts};
use crate::tables::xlsx::SheetRules;

/// A whole mapping file.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The version of the format.
    #[serde(default)]
    pub version: Option<u32>,
    /// The zone of times that state none, as an IANA name.
    #[serde(default)]
    pub zone: Option<String>,
    /// Formats of instants, tried before the built-in notations.
    #[serde(default)]
    pub formats: Names,
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
    /// The zone of this table's times, instead of the file's.
    #[serde(default)]
    pub zone: Option<String>,
    /// The formats of this table's instants, instead of the file's.
    #[serde(default)]
    pub formats: Names,
    /// The texts that a row must have, by path.
    #[serde(default, rename = "where")]
    pub only: BTreeMap<String, Texts>,
    /// The texts that exclude a row, by path.
    #[serde(default)]
    pub skip: BTreeMap<String, Texts>,
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

    /// A fault of the rules for workbooks; `at` are the keys below `xlsx`.
    pub fn of_sheet(table: &str, at: &[&str], reason: impl Into<String>) -> Self {
        let mut fault = Self::of_key(table, "xlsx", reason);
        fault.at.extend(at.iter().map(ToString::to_string));
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

/// The keys that lead to a byte of a TOML text, outermost first; as far as the text is TOML.
pub(crate) fn keys_at(text: &str, at: usize) -> Vec<String> {
    fn search(table: &toml::de::DeTable<'_>, at: usize) -> Option<Vec<String>> {
        for (name, value) in table {
            let inner = value.get_ref().as_table().and_then(|table| search(table, at));
            let is_here = name.span().contains(&at) || value.span().contains(&at);
            let found = inner.or_else(|| is_here.then(Vec::new));
            if let Some(mut keys) = found {
                keys.insert(0, name.get_ref().to_string());
                return Some(keys);
            }
        }
        None
    }
    let document = toml::de::DeTable::parse(text).ok();
    let keys = document.and_then(|document| search(document.get_ref(), at));
    keys.unwrap_or_default()
}

/// The line of a byte in a text, from 1.
pub(crate) fn line_at(text: &str, start: usize) -> usize {
    1 + text.bytes().take(start).filter(|byte| *byte == b'\n').count()
}
