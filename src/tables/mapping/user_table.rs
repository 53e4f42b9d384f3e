//! User-defined tables: their definition from the mapping. Pure.

use super::feed::Feed;
use super::mapping_file::{Fault, TableRules, TableSource};
use crate::lake::table::builtin::{self, call};
use crate::lake::table::{Column, Table, TableScope, Type};
use crate::tables::privacy::words;

/// Names below the lake's URL that a user can't take; the names of other built-in tables are handled before.
const RESERVED: [&str; 9] = [
    "raw",
    "media",
    "delta",
    "tmp",
    builtin::days::NAME,
    builtin::report_rows::NAME,
    builtin::user_meta::NAME,
    builtin::hierarchy::NAME,
    builtin::lesson_attendance::NAME,
];
/// Columns that have a meaning for the program or for readers: `date` is that of the partition.
const RESERVED_COLUMNS: [&str; 2] = ["date", builtin::lesson::meta_matched];
/// Most bytes of a name.
const LONGEST: usize = 63;

/// The types that a mapping can name.
const TYPES: [(&str, Type); 8] = [
    ("string", Type::String),
    ("int64", Type::Int64),
    ("double", Type::Double),
    ("bool", Type::Bool),
    ("timestamp", Type::Timestamp),
    ("json", Type::Json),
    ("list", Type::Strings),
    ("map", Type::Map),
];

/// Defines a table: the columns that identify a row's call, those that the mapping names, and `extra`.
pub(crate) fn define(name: &str, rules: &TableRules) -> Result<Table, Fault> {
    if rules.columns.is_empty() || rules.columns.values().all(|feed| feed.kind.is_none()) {
        let names: Vec<_> = builtin::all().iter().map(|table| table.name.as_ref()).collect();
        let reason = format!(
            "there is no such table; there are {}, and in a table of your own every column has a `type`",
            names.join(", ")
        );
        return Err(Fault::of_table(name, reason));
    }
    if !is_plain(name) {
        return Err(Fault::of_table(name, NOT_PLAIN));
    }
    if RESERVED.contains(&name) {
        return Err(Fault::of_table(name, "the name is the program's own"));
    }
    if rules.source() != TableSource::Report {
        let reason = "a table of your own has its rows in the report";
        return Err(Fault::of_key(name, "source", reason));
    }
    let mut columns = call::call();
    for (column, feed) in &rules.columns {
        columns.push(define_column(name, column, feed)?);
    }
    columns.extend(builtin::rest::rest());
    Ok(Table {
        name: name.to_owned().into(),
        row: rules
            .row
            .clone()
            .unwrap_or_else(|| rules.rows.0.join(", "))
            .into(),
        columns,
        scope: TableScope::PerDay,
        order: [call::room_id, call::call_started_at, call::call_id]
            .map(Into::into)
            .into(),
    })
}

fn define_column(table: &str, name: &str, feed: &Feed) -> Result<Column, Fault> {
    let refuse = |reason: String| Fault::of_column(table, name, reason);
    if !is_plain(name) {
        return Err(refuse(NOT_PLAIN.into()));
    }
    if RESERVED_COLUMNS.contains(&name) {
        return Err(refuse("the name is the program's own".into()));
    }
    let wanted = feed.kind.as_deref().unwrap_or_default();
    let kind = TYPES.iter().find(|(type_name, _)| *type_name == wanted);
    let Some((_, kind)) = kind else {
        let names: Vec<_> = TYPES.iter().map(|(type_name, _)| *type_name).collect();
        return Err(refuse(format!("`type` must be one of {}", names.join(", "))));
    };
    let doc = feed
        .doc
        .clone()
        .unwrap_or_else(|| format!("{} (report)", feed.from.0.join(", ")));
    Ok(Column {
        name: name.to_owned().into(),
        kind: *kind,
        doc: doc.into(),
        key: false,
        personal: words::class_of(name, *kind),
    })
}

const NOT_PLAIN: &str = "a name has small Latin letters, digits and `_` alone, begins with a letter and has no more than 63 characters";

/// True if a name means the same to every file system and every query engine.
fn is_plain(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}
