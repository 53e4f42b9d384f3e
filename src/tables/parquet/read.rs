//! Reads a table's file: as text, for people to look at, or cell by cell. Pure; called by `demo` and by `attendance`.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, ErrorKind, Result};

/// The rows of a Parquet file: the named columns as text, nulls as empty text.
///
/// # Errors
/// `Store` if the bytes are not Parquet, or have no such column.
pub fn read_text(file: Bytes, columns: &[&str]) -> Result<Vec<Vec<String>>> {
    let damaged = |why: &dyn std::fmt::Display| Error::new(ErrorKind::Store, "Parquet file", why.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).build().map_err(|e| damaged(&e))?;
    let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S"));
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| damaged(&e))?;
        let formatters = columns
            .iter()
            .map(|name| {
                let column = batch
                    .column_by_name(name)
                    .ok_or_else(|| damaged(&format!("it has no column {name}")))?;
                ArrayFormatter::try_new(column.as_ref(), &options).map_err(|e| damaged(&e))
            })
            .collect::<Result<Vec<_>>>()?;
        rows.extend((0..batch.num_rows()).map(|row| {
            formatters
                .iter()
                .map(|cell| cell.value(row).to_string())
                .collect()
        }));
    }
    Ok(rows)
}

/// Some rows of a file. A cell is none if it is null, has another type, or if the file is older than its column.
#[derive(Debug)]
pub struct RowBatch(RecordBatch);

impl RowBatch {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.0.num_rows()
    }

    fn cell(&self, column: &str, row: usize) -> Option<&dyn Array> {
        let column = self.0.column_by_name(column)?.as_ref();
        column.is_valid(row).then_some(column)
    }

    /// A text.
    pub fn text(&self, column: &str, row: usize) -> Option<&str> {
        Some(self.cell(column, row)?.as_string_opt::<i32>()?.value(row))
    }

    /// A list of texts; empty for none.
    pub fn texts(&self, column: &str, row: usize) -> Vec<&str> {
        let list = self.cell(column, row).and_then(|cell| cell.as_list_opt::<i32>());
        let Some((list, values)) = list.and_then(|list| Some((list, list.values().as_string_opt::<i32>()?)))
        else {
            return Vec::new();
        };
        let offsets = list.value_offsets();
        let (Ok(start), Ok(end)) = (usize::try_from(offsets[row]), usize::try_from(offsets[row + 1])) else {
            return Vec::new();
        };
        (start..end)
            .filter(|at| values.is_valid(*at))
            .map(|at| values.value(at))
            .collect()
    }

    /// A truth value.
    pub fn truth(&self, column: &str, row: usize) -> Option<bool> {
        Some(self.cell(column, row)?.as_boolean_opt()?.value(row))
    }

    /// A number.
    pub fn number(&self, column: &str, row: usize) -> Option<f64> {
        Some(
            self.cell(column, row)?
                .as_primitive_opt::<Float64Type>()?
                .value(row),
        )
    }

    /// An instant.
    pub fn instant(&self, column: &str, row: usize) -> Option<DateTime<Utc>> {
        let array = self
            .cell(column, row)?
            .as_primitive_opt::<TimestampMicrosecondType>()?;
        DateTime::from_timestamp_micros(array.value(row))
    }
}

/// The rows of a Parquet file with these columns.
///
/// # Errors
/// `Store` if the bytes are not Parquet.
pub fn read_rows(file: Bytes, columns: &[&str]) -> Result<Vec<RowBatch>> {
    let damaged = |why: &dyn std::fmt::Display| Error::new(ErrorKind::Store, "Parquet file", why.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).build().map_err(|e| damaged(&e))?;
    reader
        .map(|batch| batch.map(RowBatch).map_err(|e| damaged(&e)))
        .collect()
}
