//! The definitions of the tables: what a row is, and each column's name, type and meaning. Pure.
//!
//! A table has a single definition ([`Table`], the built-in ones in [`builtin`]). The Arrow schema, the order of the rows
//! and the data dictionary all come from it. Used by `tables` to write and by `cli` to explain.

pub mod builtin;
pub mod dictionary;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use sha2::{Digest, Sha256};

/// The version of the tables' shape, in every file's metadata. Columns are only ever added.
pub const SCHEMA_VERSION: &str = "1";
/// Raise it if the program computes a column in another way and the column's description stays the same. Then days that
/// are already built are built again.
const COMPUTATION_VERSION: u32 = 1;
/// The file metadata key of [`SCHEMA_VERSION`].
pub const SCHEMA_VERSION_KEY: &str = "telelake.schema_version";
/// The field metadata key of a column's description.
pub const DESCRIPTION_KEY: &str = "description";

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text.
    String,
    /// Text that holds JSON.
    Json,
    /// A whole number, such as a count.
    Int64,
    /// A number; a duration in seconds if the name ends in `_s`.
    Double,
    /// A truth value.
    Bool,
    /// An instant in UTC, to the microsecond.
    Timestamp,
    /// A list of texts.
    Strings,
    /// Stays in a call: `joined_at`, `left_at`.
    Sessions,
    /// A map from text to text.
    Map,
    /// A calendar date.
    Date,
    /// The options of a poll: `option_id`, `text`, `is_right`.
    Options,
    /// A map from text to a whole number.
    Counts,
}

impl Type {
    /// The type's name in the dictionary.
    pub fn name(self) -> &'static str {
        match self {
            Self::String | Self::Json => "string",
            Self::Int64 => "int64",
            Self::Double => "double",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp[us, UTC]",
            Self::Strings => "list<string>",
            Self::Sessions => "list<struct<joined_at: timestamp[us, UTC], left_at: timestamp[us, UTC]>>",
            Self::Map => "map<string, string>",
            Self::Date => "date",
            Self::Options => "list<struct<option_id: string, text: string, is_right: bool>>",
            Self::Counts => "map<string, int64>",
        }
    }

    /// The Arrow type. The names inside lists and maps are those of the Parquet specification.
    pub fn arrow(self) -> DataType {
        match self {
            Self::String | Self::Json => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Timestamp => timestamp(),
            Self::Strings => DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))),
            Self::Sessions => list_of(session_fields()),
            Self::Options => list_of(option_fields()),
            Self::Map => map_to(DataType::Utf8),
            Self::Counts => map_to(DataType::Int64),
            Self::Date => DataType::Date32,
        }
    }

    /// The number of Parquet leaves of a column of this type.
    fn leaves(self) -> usize {
        match self {
            Self::Sessions | Self::Map | Self::Counts => 2,
            Self::Options => 3,
            _ => 1,
        }
    }
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn list_of(fields: Fields) -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Struct(fields), true)))
}

fn map_to(value: DataType) -> DataType {
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ]);
    DataType::Map(
        Arc::new(Field::new("key_value", DataType::Struct(entry), false)),
        false,
    )
}

/// The fields of one option of a poll.
pub fn option_fields() -> Fields {
    Fields::from(vec![
        Field::new("option_id", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("is_right", DataType::Boolean, true),
    ])
}

/// The fields of one session.
pub fn session_fields() -> Fields {
    Fields::from(vec![
        Field::new("joined_at", timestamp(), true),
        Field::new("left_at", timestamp(), true),
    ])
}

/// What a column says of people. `[privacy]` treats the columns by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PersonalData {
    /// Nothing by itself: times, counts, ids and names of rooms, lessons, courses and groups.
    #[default]
    No,
    /// Ids of people.
    PersonId,
    /// Names of people.
    PersonName,
    /// E-mails and telephones.
    Contact,
    /// Texts that people wrote.
    Words,
    /// Lesson data as received, with everything in it.
    AsReceived,
    /// Values by name that no column is known for: `extra` and `attributes`.
    Unknown,
    /// JSON of which the column is known and the content is not.
    Open,
    /// Cells of a workbook by the text of their header.
    SheetCells,
    /// Ids of entities, which may be people: it depends on the row.
    EntityId,
    /// Names of such entities.
    EntityName,
}

impl PersonalData {
    /// The name of the class in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no personal data",
            Self::PersonId => "ids of people",
            Self::PersonName => "names of people",
            Self::Contact => "e-mails and telephones",
            Self::Words => "texts",
            Self::AsReceived => "lesson data as received",
            Self::Unknown => "unknown data",
            Self::Open => "open JSON",
            Self::SheetCells => "cells of workbooks",
            Self::EntityId => "ids of entities",
            Self::EntityName => "names of entities",
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: Type,
    /// Its description, with the unit and the source.
    pub doc: Cow<'static, str>,
    /// True if it belongs to the table's key: it is never null, and unique together with the key's other columns.
    pub key: bool,
    /// What it says of people.
    pub personal: PersonalData,
}

/// The files that a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableScope {
    /// A file for each day (space × date).
    PerDay,
    /// A file for each date, because lesson data belongs to no space.
    PerDate,
    /// A file for each space.
    PerSpace,
    /// A single file.
    Single,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name, which is also the name of its folder.
    pub name: Cow<'static, str>,
    /// The meaning of a row.
    pub row: Cow<'static, str>,
    /// The files that it has.
    pub scope: TableScope,
    /// Its columns in the order of the file.
    pub columns: Vec<Column>,
    /// The columns by which the rows of a file are sorted: ascending, nulls first.
    pub order: Vec<Cow<'static, str>>,
}

impl Table {
    /// True if its files lie below a `date=` folder.
    pub fn is_dated(&self) -> bool {
        matches!(self.scope, TableScope::PerDay | TableScope::PerDate)
    }

    /// The index of a column.
    pub fn index(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// The Arrow schema: the version is in its metadata, the descriptions are in the fields' metadata, and only columns of
    /// the key are not nullable.
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| {
                // A single entry, because several would be written in no fixed order.
                let metadata = HashMap::from([(DESCRIPTION_KEY.to_owned(), column.doc.to_string())]);
                Field::new(column.name.as_ref(), column.kind.arrow(), !column.key).with_metadata(metadata)
            })
            .collect();
        // It is also in the file's own metadata, but readers that restore the Arrow schema look only here.
        let version = HashMap::from([(SCHEMA_VERSION_KEY.to_owned(), SCHEMA_VERSION.to_owned())]);
        Arc::new(Schema::new_with_metadata(fields, version))
    }

    /// The Parquet leaf of each column of [`Table::order`].
    pub fn order_leaves(&self) -> Vec<usize> {
        self.order
            .iter()
            .filter_map(|name| self.index(name))
            .map(|index| self.columns[..index].iter().map(|c| c.kind.leaves()).sum())
            .collect()
    }
}

/// The SHA-256 of the tables' definitions, in hex: names, columns with types and descriptions, and the order of the rows.
pub fn digest<'t>(tables: impl IntoIterator<Item = &'t Table>) -> String {
    let mut hasher = Sha256::new();
    // Hash the length before each text, so that no two definitions give the same bytes.
    let mut take = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    take(SCHEMA_VERSION);
    take(&COMPUTATION_VERSION.to_string());
    for table in tables {
        take(&table.name);
        take(&table.columns.len().to_string());
        for column in &table.columns {
            let is_json = if column.kind == Type::Json { "json" } else { "" };
            let is_key = if column.key { "key" } else { "" };
            [&column.name, &column.doc, column.kind.name(), is_json, is_key]
                .into_iter()
                .for_each(&mut take);
        }
        take(&table.order.join(","));
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_schemas_are_those_of_the_contract() {
        let mut text = String::new();
        for table in builtin::all() {
            let _ = writeln!(text, "{}: {}", table.name, table.row);
            for column in &table.columns {
                let key = if column.key { " (key)" } else { "" };
                let _ = writeln!(
                    text,
                    "  {}: {}{key} -- {}",
                    column.name,
                    column.kind.name(),
                    column.doc
                );
            }
            let _ = writeln!(text, "  order: {}\n", table.order.join(", "));
        }
        insta::assert_snapshot!("schemas", text);
    }

    /// A new column of text appears here with its class, so that nobody forgets to give it one.
    #[test]
    fn every_column_of_texts_has_a_class_of_personal_data() {
        let mut text = String::new();
        for table in builtin::all() {
            for column in &table.columns {
                let holds_texts = matches!(
                    column.kind,
                    Type::String | Type::Json | Type::Strings | Type::Map | Type::Options | Type::Counts
                );
                if holds_texts {
                    let _ = writeln!(text, "{}.{}: {}", table.name, column.name, column.personal.name());
                } else {
                    assert_eq!(
                        column.personal,
                        PersonalData::No,
                        "{}.{}",
                        table.name,
                        column.name
                    );
                }
            }
        }
        insta::assert_snapshot!("personal_data", text);
    }

    #[test]
    fn every_table_is_well_formed() {
        for table in builtin::all() {
            let mut names: Vec<_> = table.columns.iter().map(|c| &c.name).collect();
            names.sort();
            names.dedup();
            assert_eq!(
                names.len(),
                table.columns.len(),
                "{}: two columns of one name",
                table.name
            );
            assert!(
                table.order.iter().all(|name| table.index(name).is_some()),
                "{}",
                table.name
            );
            for (column, field) in table.columns.iter().zip(table.schema().fields()) {
                assert!(
                    !column.doc.is_empty(),
                    "{}.{} has no doc",
                    table.name,
                    column.name
                );
                assert_eq!(field.is_nullable(), !column.key);
                assert_eq!(
                    field.metadata().get(DESCRIPTION_KEY).map(String::as_str),
                    Some(&*column.doc)
                );
                assert!(!column.name.ends_with("_s") || column.kind == Type::Double);
            }
        }
    }
}
