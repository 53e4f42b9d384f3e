//! The rows of a day's tables after some of its data was deleted on purpose, because its retention was over. Pure; for days
//! whose reports are gone, so that no build can make the tables.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;

use super::listed::DELETED;
use super::{coverage, mapping::Mapping};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::manifest::{Landing, Manifest};
use crate::lake::table::builtin::{self, messages, recordings, report_rows};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::columns::Columns;

/// The rows of a table as they are to be with this manifest: without messages if these were deleted, and with the present
/// state of the recordings. The same again changes nothing.
///
/// # Errors
/// `Internal` if the rows have not the columns of the table.
pub fn rows_after_deletion(
    mapping: &Mapping,
    manifest: &Manifest,
    table: &str,
    rows: RecordBatch,
) -> Result<RecordBatch> {
    let has_messages = manifest.messages_deleted_at.is_none();
    match table {
        messages::NAME if !has_messages => Ok(rows.slice(0, 0)),
        report_rows::NAME if !has_messages => without_chat(mapping, &rows),
        recordings::NAME => with_recordings(manifest, &rows),
        builtin::coverage::NAME => with_coverage(manifest, rows),
        _ => Ok(rows),
    }
}

fn fault(table: &str, why: impl ToString) -> Error {
    Error::new(ErrorKind::Internal, format!("table {table}"), why.to_string())
}

/// A column of texts.
fn texts<'r>(rows: &'r RecordBatch, table: &str, column: &str) -> Result<&'r StringArray> {
    let array = rows.column_by_name(column);
    let texts = array.and_then(|array| array.as_string_opt::<i32>());
    texts.ok_or_else(|| fault(table, format!("{column} is no column of texts")))
}

/// The rows of workbooks without those of the sheets that feed `messages`.
fn without_chat(mapping: &Mapping, rows: &RecordBatch) -> Result<RecordBatch> {
    let sheets = texts(rows, report_rows::NAME, report_rows::sheet)?;
    let mut known: HashMap<&str, bool> = HashMap::new();
    let kept: BooleanArray = sheets
        .iter()
        .map(|sheet| {
            let is_chat = |sheet| *known.entry(sheet).or_insert_with(|| mapping.is_chat(sheet));
            Some(!sheet.is_some_and(is_chat))
        })
        .collect();
    filter_record_batch(rows, &kept).map_err(|error| fault(report_rows::NAME, error))
}

/// The rows of recordings, with the state of those that were deleted.
fn with_recordings(manifest: &Manifest, rows: &RecordBatch) -> Result<RecordBatch> {
    let deleted = |id: Option<&str>| -> Option<&Landing> {
        let record = manifest.records.get(id?)?;
        Some(&record.file).filter(|file| file.is_deleted())
    };
    let ids = texts(rows, recordings::NAME, recordings::record_id)?;
    let column = |name: &str, value: &dyn Fn(&Landing) -> Option<String>| -> Result<ArrayRef> {
        let before = texts(rows, recordings::NAME, name)?;
        let after: StringArray = ids
            .iter()
            .zip(before)
            .map(|(id, before)| match deleted(id) {
                Some(file) => value(file),
                None => before.map(str::to_owned),
            })
            .collect();
        Ok(Arc::new(after))
    };
    let mut columns = rows.columns().to_vec();
    let changes: [(&str, ArrayRef); 3] = [
        (
            recordings::status,
            column(recordings::status, &|_| Some(DELETED.into()))?,
        ),
        (recordings::uri, column(recordings::uri, &|_| None)?),
        (
            recordings::error,
            column(recordings::error, &|file| file.reason.clone())?,
        ),
    ];
    for (name, array) in changes {
        let index = rows.schema().index_of(name);
        columns[index.map_err(|error| fault(recordings::NAME, error))?] = array;
    }
    RecordBatch::try_new(rows.schema(), columns).map_err(|error| fault(recordings::NAME, error))
}

/// The rows of coverage as the manifest gives them. A file of an earlier version, with other columns, stays as it is.
fn with_coverage(manifest: &Manifest, rows: RecordBatch) -> Result<RecordBatch> {
    let table = builtin::coverage::table();
    let name = builtin::coverage::NAME;
    let Some(built) = &manifest.built else {
        return Ok(rows);
    };
    let ids = texts(&rows, name, builtin::coverage::room_id)?;
    let ids: BTreeSet<&str> = ids.iter().flatten().collect();
    let mut columns = Columns::new(table);
    let room = table.index(builtin::coverage::room_id);
    for row in coverage::rows(manifest, built.built_at) {
        let id = room.and_then(|room| row.cells.get(room));
        if matches!(id, Some(Cell::Text(id)) if ids.contains(&**id)) {
            columns.append(&[row]).map_err(|error| fault(name, error))?;
        }
    }
    let after = columns.take().map_err(|error| fault(name, error))?;
    let has_same_columns = after.num_rows() == rows.num_rows()
        && after
            .schema()
            .fields()
            .iter()
            .map(|field| (field.name(), field.data_type()))
            .eq(rows
                .schema()
                .fields()
                .iter()
                .map(|field| (field.name(), field.data_type())));
    match has_same_columns {
        true => {
            RecordBatch::try_new(rows.schema(), after.columns().to_vec()).map_err(|error| fault(name, error))
        }
        false => Ok(rows),
    }
}
