//! The actions of the Delta Lake protocol that the program writes and reads. Pure.
//!
//! A commit is a text with an action on each line. Actions and fields that the program does not know are skipped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line of a commit: one of its fields is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(rename = "metaData", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Add>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Remove>,
}

/// The versions of the protocol that readers and writers of the table must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
}

/// The oldest protocol with statistics: every reader knows it.
pub(crate) const PROTOCOL: Protocol = Protocol {
    min_reader_version: 1,
    min_writer_version: 2,
};

/// The schema of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    pub format: Format,
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    #[serde(default)]
    pub created_time: Option<i64>,
}

/// The format of the data files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Values by name, such as partition values and tags.
pub(crate) type Names = BTreeMap<String, Option<String>>;

/// A data file becomes a part of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// The path relative to the table.
    pub path: String,
    pub partition_values: Names,
    pub size: i64,
    /// Milliseconds since 1970.
    pub modification_time: i64,
    /// False if the file holds rows that other files held before.
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Names>,
}

/// A data file is no longer a part of the table. Older versions need it until it is vacuumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub path: String,
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<i64>,
    pub data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<Names>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
}

impl Add {
    /// The action that takes the file out again at a time in milliseconds.
    pub fn removed(&self, at: i64, data_change: bool) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(at),
            data_change,
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values.clone()),
            size: Some(self.size),
        }
    }
}

impl From<Add> for Action {
    fn from(add: Add) -> Self {
        Self {
            add: Some(add),
            ..Self::default()
        }
    }
}

impl From<Remove> for Action {
    fn from(remove: Remove) -> Self {
        Self {
            remove: Some(remove),
            ..Self::default()
        }
    }
}

impl From<Metadata> for Action {
    fn from(metadata: Metadata) -> Self {
        Self {
            metadata: Some(metadata),
            ..Self::default()
        }
    }
}

impl From<Protocol> for Action {
    fn from(protocol: Protocol) -> Self {
        Self {
            protocol: Some(protocol),
            ..Self::default()
        }
    }
}

/// The text of a commit.
///
/// # Errors
/// Only a fault of the program itself.
pub(crate) fn to_lines(actions: &[Action]) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut text, action)?;
        text.push(b'\n');
    }
    Ok(text)
}

/// The actions of a commit's text.
///
/// # Errors
/// A line is no JSON, or lacks a field.
pub(crate) fn from_lines(text: &[u8]) -> serde_json::Result<Vec<Action>> {
    serde_json::Deserializer::from_slice(text).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_read_as_it_was_written_and_what_is_not_known_is_skipped() {
        let add = Add {
            path: "date=2026-11-22/s.parquet".into(),
            partition_values: [("date".to_owned(), Some("2026-11-22".to_owned()))].into(),
            size: 7,
            modification_time: 1,
            data_change: true,
            stats: Some("{}".into()),
            tags: None,
        };
        let actions = [PROTOCOL.into(), add.clone().into(), add.removed(2, true).into()];
        let text = to_lines(&actions).expect("JSON");
        assert_eq!(from_lines(&text).expect("actions"), actions);
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.starts_with("{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n"),
            "{text}"
        );
        assert!(text.contains(r#""partitionValues":{"date":"2026-11-22"},"size":7,"modificationTime":1"#));
        let strange = br#"{"txn":{"appId":"a","version":1}}
{"protocol":{"minReaderVersion":1,"minWriterVersion":2,"more":[1]}}"#;
        let read = from_lines(strange).expect("actions");
        assert_eq!(read, [Action::default(), PROTOCOL.into()]);
    }
}
