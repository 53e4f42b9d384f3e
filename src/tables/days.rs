//! The table `days` of a space: a row for each day that has a manifest. Pure.
//!
//! The rows are kept as Arrow, so that the row of one day can be replaced without those of the others being understood.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Date32Type;
use bytes::Bytes;
use chrono::NaiveDate;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::coverage::{self, RoomCoverage};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::SpaceId;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::lake::table::builtin::{days, participants};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::columns::Columns;
use crate::tables::parquet::row::{TableRow, cells};
use crate::tables::parquet::sink::{Sink, TableFile};
use crate::tables::privacy::policy::PrivacyPolicy;
use crate::tables::privacy::rows::RowTreater;

/// A day's row, to be compared with another one.
#[derive(Debug, Clone, PartialEq)]
pub struct DayRow(RecordBatch);

impl DayRow {
    /// The row that a manifest gives. `zone` is the time zone of the lake.
    ///
    /// # Errors
    /// Only a fault of the program itself.
    pub fn of(manifest: &Manifest, zone: &str, policy: &PrivacyPolicy) -> Result<Self> {
        let mut columns = Columns::new(days::table());
        let mut row = TableRow::new(day_cells(manifest, zone));
        if let Some(treater) = RowTreater::new(days::table(), policy, BTreeSet::new()) {
            treater.treat(&mut row)?;
        }
        let row = columns.append(&[row]);
        let batch = row.and_then(|()| columns.take()).map_err(|error| fault(&error))?;
        // A run keeps the rows of all days, and the columns have room for a thousand rows each.
        let (schema, mut columns, _) = batch.into_parts();
        for column in &mut columns {
            Array::shrink_to_fit(column);
        }
        let batch = RecordBatch::try_new(schema, columns).map_err(|error| fault(&error))?;
        Ok(Self(batch))
    }

    /// The bytes that the row takes in memory.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        self.0.get_array_memory_size()
    }

    /// A hash of the row. Equal rows have equal hashes within a process.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", self.0.columns()).hash(&mut hasher);
        hasher.finish()
    }
}

/// The rows of a space's days, by date.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SpaceDays {
    rows: BTreeMap<NaiveDate, DayRow>,
}

impl SpaceDays {
    /// Reads the file of a space.
    ///
    /// # Errors
    /// `Store` if the bytes are not a file of the table as this version of the program writes it.
    pub fn read(file: Bytes) -> Result<Self> {
        let damaged =
            |why: &dyn std::fmt::Display| Error::new(ErrorKind::Store, "table days", why.to_string());
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(&e))?;
        let mut read = Self::default();
        for batch in builder.build().map_err(|e| damaged(&e))? {
            let batch = batch.map_err(|e| damaged(&e))?;
            let names = batch.schema();
            let expected = days::table().columns.iter().map(|column| column.name.as_ref());
            if !names
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .eq(expected)
            {
                return Err(damaged(&"it has other columns"));
            }
            let batch = RecordBatch::try_new(days::table().schema(), batch.columns().to_vec());
            let batch = batch.map_err(|e| damaged(&e))?;
            let dates = batch.column_by_name(days::date);
            let dates = dates.and_then(|column| column.as_primitive_opt::<Date32Type>());
            let dates = dates.ok_or_else(|| damaged(&"it has no dates"))?;
            for at in 0..batch.num_rows() {
                let date = NaiveDate::from_epoch_days(dates.value(at));
                let date = date.ok_or_else(|| damaged(&"a date can't be read"))?;
                let row = DayRow(batch.slice(at, 1));
                if read.rows.insert(date, row).is_some() {
                    return Err(damaged(&format!("two rows of {date}")));
                }
            }
        }
        Ok(read)
    }

    /// Replaces the row of a date; none removes it.
    pub fn set(&mut self, date: NaiveDate, row: Option<DayRow>) {
        match row {
            Some(row) => drop(self.rows.insert(date, row)),
            None => drop(self.rows.remove(&date)),
        }
    }

    /// The row of a date.
    pub fn get(&self, date: NaiveDate) -> Option<&DayRow> {
        self.rows.get(&date)
    }

    /// The dates that have a row, in order.
    pub fn dates(&self) -> impl Iterator<Item = NaiveDate> {
        self.rows.keys().copied()
    }

    /// The file of the rows; none if there are none.
    ///
    /// # Errors
    /// Only a fault of the program itself.
    pub fn file(&self, space: &SpaceId, policy: &PrivacyPolicy) -> Result<Option<TableFile>> {
        let mut sink = Sink::new(days::table(), policy);
        if !self.rows.is_empty() {
            let rows = self.rows.values().map(|DayRow(batch)| batch);
            let rows = concat_batches(&days::table().schema(), rows).map_err(|error| fault(&error))?;
            sink.push_batch(&rows)?;
        }
        sink.finish(key::days(space))
    }
}

fn fault(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, "table days", error.to_string())
}

fn day_cells<'m>(manifest: &'m Manifest, zone: &'m str) -> Vec<Cell<'m>> {
    let rooms = coverage::tally(manifest);
    let reason = incomplete(manifest, rooms.values());
    let mut whole = RoomCoverage::default();
    rooms.values().for_each(|room| whole.add(room));
    let built = manifest.built.as_ref();
    let text = |text: &'m String| Some(text.as_str()).filter(|text| !text.is_empty());
    let tables = built.map(|built| &built.tables);
    let rows = tables.into_iter().flatten();
    let rows = rows.map(|(name, table)| {
        (
            name.as_str().into(),
            i64::try_from(table.rows).unwrap_or(i64::MAX),
        )
    });
    let people = tables.and_then(|tables| tables.get(participants::NAME));
    let own = [
        (days::space_id, manifest.space_id.as_str().into()),
        (days::date, Cell::date(manifest.date)),
        (days::space_name, manifest.space_name.as_deref().into()),
        (days::time_zone, zone.into()),
        (days::listed_at, manifest.listed_at.into()),
        (days::built_at, built.map(|built| built.built_at).into()),
        (days::complete, reason.is_none().into()),
        (days::reason, reason.into()),
        (days::calls, whole.calls.into()),
        (
            days::participants,
            Cell::count(people.map_or(0, |table| table.rows)),
        ),
        (days::rows, Cell::Counts(rows.collect())),
        (
            days::fingerprint,
            built.and_then(|built| text(&built.fingerprint)).into(),
        ),
        (
            days::mapping_digest,
            built.and_then(|built| text(&built.mapping)).into(),
        ),
        (
            days::program_version,
            built.and_then(|built| text(&built.program)).into(),
        ),
    ];
    cells(days::table(), own.into_iter().chain(whole.state_cells()))
}

/// The reason why a day is not complete; none if it is.
fn incomplete<'r, 'm: 'r>(
    manifest: &'m Manifest,
    mut rooms: impl Iterator<Item = &'r RoomCoverage<'m>>,
) -> Option<&'m str> {
    if let Some(room) = rooms.find(|room| !room.complete()) {
        return room.reason.or(Some("a room is not complete"));
    }
    if manifest.missed.space || manifest.missed.partial {
        return Some("the space's rooms could not all be listed");
    }
    if !manifest.is_listed_whole() {
        return Some("the day's listing is not complete");
    }
    (!manifest.is_built()).then_some("the tables were not built from what was landed")
}
