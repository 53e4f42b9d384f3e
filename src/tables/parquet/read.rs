//! Reads a table's file as text, for people to look at. Pure; called by `demo`.

use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
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
