//! Edits the rows of a table's file: removes rows or replaces columns. Pure; called by `pipeline` for a day whose tables
//! can't be built again.
//!
//! The file keeps its own schema and metadata, so that a file of an earlier version or of a table that the mapping no longer
//! has can be edited too.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use sha2::{Digest, Sha256};

use super::sink::{BATCH_ROWS, writer_with};
use crate::error::{Error, ErrorKind, Result};

/// The result of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditedFile {
    /// No row has changed.
    Unchanged,
    /// The file has other rows now.
    Changed {
        /// The number of its rows; never 0.
        rows: u64,
        /// The Parquet.
        bytes: Bytes,
        /// The SHA-256 of the Parquet, in hex.
        sha256: String,
    },
    /// No row is left.
    Empty,
}

/// Edits a file batch by batch. `edit` gets some rows and returns those that stay, with the same columns. The same rows give
/// the same bytes.
///
/// # Errors
/// `Store` if the bytes are not Parquet; `Internal` if `edit` returns other columns; any error of `edit`.
pub fn edit_file(
    file: Bytes,
    mut edit: impl FnMut(RecordBatch) -> Result<RecordBatch>,
) -> Result<EditedFile> {
    let damaged =
        |error: &dyn std::fmt::Display| Error::new(ErrorKind::Store, "Parquet file", error.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
    let metadata = Arc::clone(builder.metadata());
    let schema = Arc::clone(builder.schema());
    let mut rewriter = Rewriter::new(&metadata, &schema)?;
    let mut is_changed = false;
    for batch in builder
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|e| damaged(&e))?
    {
        let before = batch.map_err(|e| damaged(&e))?;
        let after = edit(before.clone())?;
        is_changed |= after != before;
        rewriter.push(after)?;
    }
    match is_changed {
        true => rewriter.finish(),
        false => Ok(EditedFile::Unchanged),
    }
}

/// Writes the rows that stay, in batches of the size that a build writes.
struct Rewriter {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    waiting: Vec<RecordBatch>,
    rows: u64,
}

impl Rewriter {
    fn new(metadata: &ParquetMetaData, schema: &SchemaRef) -> Result<Self> {
        let group = metadata.row_groups().first();
        let sorted_by = group.and_then(|group| group.sorting_columns()).cloned();
        // The columns without statistics are those of JSON texts.
        let columns = group.into_iter().flat_map(|group| group.columns());
        let json = columns
            .filter(|column| column.statistics().is_none())
            .map(|column| column.column_path().string());
        let json: Vec<_> = json.collect();
        let own = metadata.file_metadata().key_value_metadata();
        let (arrow, own): (Vec<_>, Vec<_>) = own
            .into_iter()
            .flatten()
            .cloned()
            .partition(|pair| pair.key == ARROW_SCHEMA_META_KEY);
        let json = json.iter().map(String::as_str);
        let writer = writer_with(schema, sorted_by, json, !arrow.is_empty(), own);
        Ok(Self {
            schema: Arc::clone(schema),
            writer: writer.map_err(|error| fault(&error))?,
            waiting: Vec::new(),
            rows: 0,
        })
    }

    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.waiting.push(batch);
        let waiting: usize = self.waiting.iter().map(RecordBatch::num_rows).sum();
        if waiting < BATCH_ROWS {
            return Ok(());
        }
        let mut rows = self.take()?;
        while rows.num_rows() >= BATCH_ROWS {
            self.write(&rows.slice(0, BATCH_ROWS))?;
            rows = rows.slice(BATCH_ROWS, rows.num_rows() - BATCH_ROWS);
        }
        self.waiting.push(rows);
        Ok(())
    }

    fn take(&mut self) -> Result<RecordBatch> {
        let waiting = std::mem::take(&mut self.waiting);
        concat_batches(&self.schema, &waiting).map_err(|error| fault(&error))
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(|error| fault(&error))
    }

    fn finish(mut self) -> Result<EditedFile> {
        if self.rows == 0 {
            return Ok(EditedFile::Empty);
        }
        let rest = self.take()?;
        if rest.num_rows() > 0 {
            self.write(&rest)?;
        }
        let bytes = self.writer.into_inner().map_err(|error| fault(&error))?;
        Ok(EditedFile::Changed {
            rows: self.rows,
            sha256: hex::encode(Sha256::digest(&bytes)),
            bytes: bytes.into(),
        })
    }
}

fn fault(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, "edit of a table", error.to_string())
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, BooleanArray};
    use arrow::compute::filter_record_batch;

    use super::*;
    use crate::tables::{Mapping, build_rooms};

    /// The table of rooms with some names; each is the room's id too.
    fn rooms(names: &[String]) -> Bytes {
        let rooms = names
            .iter()
            .map(|name| {
                (
                    name.clone(),
                    (&serde_json::json!({"name": name, "extra": [name]})).into(),
                )
            })
            .collect();
        let mapping = Mapping::builtin().expect("the built-in mapping");
        let file = build_rooms(&"space".into(), &rooms, &mapping).expect("builds");
        file.expect("has rows").bytes
    }

    fn keep(rows: &RecordBatch, is_kept: impl Fn(&str) -> bool) -> Result<RecordBatch> {
        let names = rows.column_by_name("name").expect("names").as_string::<i32>();
        let kept: BooleanArray = names.iter().map(|name| name.map(&is_kept)).collect();
        Ok(filter_record_batch(rows, &kept).expect("filtered"))
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("room {at:05}")).collect()
    }

    #[test]
    fn the_file_of_the_rows_that_stay_is_the_one_that_a_build_of_them_writes() {
        // Several batches, so that rows move from one to another.
        for count in [3, 5_000] {
            let all = names(count);
            let is_kept = |name: &str| !name.ends_with('1') && !name.ends_with("00");
            let kept: Vec<_> = all.iter().filter(|name| is_kept(name)).cloned().collect();
            let edited = edit_file(rooms(&all), |rows| keep(&rows, is_kept)).expect("edited");
            let EditedFile::Changed { rows, bytes, .. } = edited else {
                panic!("{edited:?}")
            };
            assert_eq!(rows, kept.len() as u64);
            assert!(bytes == rooms(&kept), "{count} rooms");
        }
    }

    #[test]
    fn a_file_that_keeps_all_rows_is_unchanged_and_one_that_loses_all_is_empty() {
        let file = rooms(&names(3));
        assert_eq!(edit_file(file.clone(), Ok).expect("read"), EditedFile::Unchanged);
        let emptied = edit_file(file, |rows| keep(&rows, |_| false));
        assert_eq!(emptied.expect("edited"), EditedFile::Empty);
    }

    #[test]
    fn bytes_that_are_no_parquet_are_an_error() {
        let error = edit_file(Bytes::from_static(b"PAR1"), Ok).expect_err("no Parquet");
        assert_eq!(error.kind(), ErrorKind::Store);
    }
}
