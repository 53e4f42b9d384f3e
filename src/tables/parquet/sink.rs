//! Writes rows to a Parquet file in memory, because a day's table is small. Pure.
//!
//! The same rows give the same bytes: nothing depends on the clock, the machine or the order of a hash map.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use super::columns::{Columns, size_of_row};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::table::{SCHEMA_VERSION, SCHEMA_VERSION_KEY, Table, Type, builtin};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::TableRow;
use crate::tables::privacy::policy::PrivacyPolicy;
use crate::tables::privacy::rows::RowTreater;

/// Rows of a row group: large enough to compress and skip well, small enough to read one at a time.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Bytes of a row group, for tables of long texts.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Rows, and bytes, that are collected as Arrow arrays before they are encoded.
pub(super) const BATCH_ROWS: usize = 2 * 1024;
const BATCH_BYTES: usize = 4 << 20;

/// A finished table file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// The table's name.
    pub table: String,
    /// The object's key.
    pub key: String,
    /// The number of its rows; never 0.
    pub rows: u64,
    /// The Parquet.
    pub bytes: Bytes,
    /// The SHA-256 of the Parquet, in hex.
    pub sha256: String,
}

/// A table's file while it is written. `[privacy]` is applied here, so that no table can bypass it.
pub(crate) struct Sink<'t> {
    /// With the descriptions of the columns as they are written.
    table: Cow<'t, Table>,
    columns: Columns,
    /// The approximate size of the rows in `columns`.
    bytes: usize,
    extra: Option<usize>,
    writer: Option<ArrowWriter<Vec<u8>>>,
    rows: u64,
    treater: Option<RowTreater<'t>>,
    resorted: Option<ResortedRows>,
}

/// Rows whose order follows from values that were treated. They are sorted again, because the order of the plain values would
/// tell something of them.
struct ResortedRows {
    /// The indexes of the columns of the table's order.
    order: Vec<usize>,
    /// The number of the first ones of these whose values are kept.
    kept: usize,
    /// Rows that are equal in these.
    rows: Vec<Vec<Cell<'static>>>,
}

impl ResortedRows {
    fn compare(order: &[usize], a: &[Cell<'_>], b: &[Cell<'_>]) -> std::cmp::Ordering {
        let orders = order.iter().map(|index| a[*index].order(&b[*index]));
        orders
            .into_iter()
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    }

    /// Adds a row. Returns the rows before it, sorted, if it differs from them in the kept columns.
    fn add(&mut self, row: Vec<Cell<'static>>) -> Vec<Vec<Cell<'static>>> {
        let is_next = self
            .rows
            .last()
            .is_some_and(|last| Self::compare(&self.order[..self.kept], last, &row).is_ne());
        let done = if is_next { self.take() } else { Vec::new() };
        self.rows.push(row);
        done
    }

    fn take(&mut self) -> Vec<Vec<Cell<'static>>> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by(|a, b| Self::compare(&self.order, a, b));
        rows
    }
}

impl<'t> Sink<'t> {
    /// A file of a table, whose rows are treated as the policy says.
    pub fn new(table: &'t Table, policy: &'t PrivacyPolicy) -> Self {
        Self::knowing(table, policy, BTreeSet::new())
    }

    /// The same, with some ids that are pseudonyms already.
    pub fn knowing(table: &'t Table, policy: &'t PrivacyPolicy, pseudonyms: BTreeSet<String>) -> Self {
        let treater = RowTreater::new(table, policy, pseudonyms);
        let kept = treater.as_ref().and_then(|treater| treater.kept_order(table));
        let described = policy.describe(table);
        Self {
            columns: Columns::new(&described),
            bytes: 0,
            extra: table.index(builtin::rest::extra),
            writer: None,
            rows: 0,
            treater,
            resorted: kept.map(|kept| ResortedRows {
                order: table.order.iter().filter_map(|name| table.index(name)).collect(),
                kept,
                rows: Vec::new(),
            }),
            table: described,
        }
    }

    /// Appends a row. Rows must come in the order of the table.
    pub fn push(&mut self, row: &mut TableRow<'_>) -> Result<()> {
        self.push_all(std::slice::from_mut(row))
    }

    /// Appends rows, as [`Sink::push`] does.
    pub fn push_all(&mut self, rows: &mut [TableRow<'_>]) -> Result<()> {
        for row in &mut *rows {
            row.seal(self.extra);
            if let Some(treater) = &self.treater {
                treater.treat(row)?;
            }
        }
        let Some(resorted) = &mut self.resorted else {
            return self.append(rows);
        };
        let mut sorted = Vec::new();
        for row in rows {
            let cells = std::mem::take(&mut row.cells).into_iter();
            sorted.extend(resorted.add(cells.map(Cell::into_owned).collect()));
        }
        self.append(&sorted)
    }

    fn append<'v>(&mut self, mut rows: &[impl AsRef<[Cell<'v>]>]) -> Result<()> {
        while !rows.is_empty() {
            let (batch, later) = rows.split_at(self.fill(rows));
            self.columns.append(batch).map_err(|error| self.fault(&error))?;
            self.rows += batch.len() as u64;
            if self.is_full(0) {
                self.flush()?;
            }
            rows = later;
        }
        Ok(())
    }

    /// Counts the bytes of the first rows, up to a full batch, and returns how many they are.
    fn fill<'v>(&mut self, rows: &[impl AsRef<[Cell<'v>]>]) -> usize {
        let mut count = 0;
        while count < rows.len() && !self.is_full(count) {
            self.bytes += size_of_row(rows[count].as_ref());
            count += 1;
        }
        count
    }

    /// True if the batch has enough rows to be encoded, with so many more of which only the bytes are counted.
    fn is_full(&self, more: usize) -> bool {
        self.columns.rows() + more >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Appends rows that are Arrow already.
    pub fn push_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.write(batch)?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The finished file; none if there are no rows.
    pub fn finish(mut self, key: String) -> Result<Option<TableFile>> {
        let last = self.resorted.as_mut().map(ResortedRows::take);
        self.append(&last.unwrap_or_default())?;
        if self.columns.rows() > 0 {
            self.flush()?;
        }
        let Some(writer) = self.writer.take() else {
            return Ok(None);
        };
        let bytes = writer.into_inner().map_err(|error| self.fault(&error))?;
        Ok(Some(TableFile {
            table: self.table.name.to_string(),
            key,
            rows: self.rows,
            sha256: hex::encode(Sha256::digest(&bytes)),
            bytes: bytes.into(),
        }))
    }

    fn flush(&mut self) -> Result<()> {
        self.bytes = 0;
        let batch = self.columns.take().map_err(|error| self.fault(&error))?;
        self.write(&batch)
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.writer()?,
        };
        writer.write(batch).map_err(|error| self.fault(&error))?;
        self.writer = Some(writer);
        Ok(())
    }

    fn writer(&self) -> Result<ArrowWriter<Vec<u8>>> {
        let sorted_by = self.table.order_leaves().into_iter().map(|leaf| SortingColumn {
            column_idx: i32::try_from(leaf).unwrap_or(i32::MAX),
            descending: false,
            nulls_first: true,
        });
        let json = self
            .table
            .columns
            .iter()
            .filter(|column| column.kind == Type::Json);
        let json = json.map(|column| &*column.name);
        file_writer(self.columns.schema(), Some(sorted_by.collect()), json, true)
            .map_err(|error| self.fault(&error))
    }

    /// An encoder's error is a fault of the program, because the rows were checked before.
    fn fault(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Internal,
            format!("table {}", self.table.name),
            error.to_string(),
        )
    }
}

/// A writer of a table's file in memory. Of the columns of JSON texts each text is another one, and nobody asks for a range
/// of them: they get no dictionary and no statistics. The Arrow schema, which carries the descriptions of the columns, takes
/// up to a third of a small file.
pub(super) fn file_writer<'c>(
    schema: &SchemaRef,
    sorted_by: Option<Vec<SortingColumn>>,
    json: impl Iterator<Item = &'c str>,
    has_arrow_schema: bool,
) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let version = KeyValue::new(SCHEMA_VERSION_KEY.to_owned(), SCHEMA_VERSION.to_owned());
    writer_with(schema, sorted_by, json, has_arrow_schema, vec![version])
}

/// [`file_writer`] with the metadata of another file.
pub(super) fn writer_with<'c>(
    schema: &SchemaRef,
    sorted_by: Option<Vec<SortingColumn>>,
    json: impl Iterator<Item = &'c str>,
    has_arrow_schema: bool,
    metadata: Vec<KeyValue>,
) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by("telelake".into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_sorting_columns(sorted_by)
        .set_key_value_metadata(Some(metadata));
    for column in json {
        let path = ColumnPath::from(column.to_owned());
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None);
    }
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(!has_arrow_schema);
    ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(schema), options)
}
