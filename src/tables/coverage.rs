//! The rows of `coverage`: what the lake has of each room's day, and what is missing. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::lake::manifest::{Landing, Manifest, Status};
use crate::lake::table::builtin::coverage;
use crate::lake::tally::Tally;
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::{TableRow, cells};

#[derive(Default)]
pub(super) struct RoomCoverage<'m> {
    pub calls: i64,
    calls_pending: i64,
    reports: Tally,
    records: Tally,
    recorded_bytes: u64,
    not_listed: bool,
    /// The reason of the first thing that is not done.
    pub reason: Option<&'m str>,
}

impl<'m> RoomCoverage<'m> {
    fn missing(&mut self, landing: &'m Landing) {
        if !matches!(landing.status, Status::Done | Status::Unavailable) && self.reason.is_none() {
            self.reason = landing.reason.as_deref();
        }
    }

    /// Adds the counts of another room.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.calls_pending += other.calls_pending;
        self.reports += other.reports;
        self.records += other.records;
        self.recorded_bytes = self.recorded_bytes.saturating_add(other.recorded_bytes);
    }

    /// The cells of reports and records by state, which `coverage` and `days` have in common.
    pub fn state_cells<'v>(&self) -> [(&'static str, Cell<'v>); 11] {
        let (reports, records) = (&self.reports, &self.records);
        [
            (coverage::reports_done, Cell::count(reports.done)),
            (coverage::reports_pending, Cell::count(reports.pending)),
            (
                coverage::reports_failed,
                Cell::count(reports.failed + reports.unavailable),
            ),
            (coverage::reports_denied, Cell::count(reports.denied)),
            (coverage::reports_lost, Cell::count(reports.lost)),
            (coverage::records_done, Cell::count(records.done)),
            (coverage::records_pending, Cell::count(records.pending)),
            (
                coverage::records_failed,
                Cell::count(records.failed + records.denied),
            ),
            (coverage::records_unavailable, Cell::count(records.unavailable)),
            (coverage::records_lost, Cell::count(records.lost)),
            (coverage::recorded_bytes, Cell::count(self.recorded_bytes)),
        ]
    }

    /// True if everything that exists was fetched.
    pub fn complete(&self) -> bool {
        !self.not_listed
            && self.calls_pending == 0
            && self.reports.missing() == 0
            && self.records.missing() == 0
    }
}

/// The rows of a day's coverage: one for each room with a call or a record on the day, and for each that could not be listed.
pub(super) fn rows(manifest: &Manifest, built_at: DateTime<Utc>) -> Vec<TableRow<'_>> {
    let table = coverage::table();
    tally(manifest)
        .into_iter()
        .map(|(id, room)| {
            let cells = cells(
                table,
                [
                    (coverage::space_id, manifest.space_id.as_str().into()),
                    (coverage::room_id, id.into()),
                    (coverage::calls, room.calls.into()),
                    (coverage::calls_pending, room.calls_pending.into()),
                    (coverage::complete, room.complete().into()),
                    (coverage::reason, room.reason.into()),
                    (coverage::listed_at, manifest.listed_at.into()),
                    (coverage::built_at, built_at.into()),
                ]
                .into_iter()
                .chain(room.state_cells()),
            );
            TableRow::new(cells)
        })
        .collect()
}

/// The coverage of each room of a day.
pub(super) fn tally(manifest: &Manifest) -> BTreeMap<&str, RoomCoverage<'_>> {
    let mut rooms: BTreeMap<&str, RoomCoverage<'_>> = BTreeMap::new();
    for id in manifest.calls_in_order() {
        let call = &manifest.calls[id];
        let room = rooms.entry(&call.room_id).or_default();
        room.calls += 1;
        if let Some(reason) = &call.pending {
            room.calls_pending += 1;
            room.reason = room.reason.or(Some(reason));
        }
        for landing in call.reports.values() {
            room.reports.add(landing.status);
            room.missing(landing);
        }
    }
    let mut records: Vec<_> = manifest.records.iter().collect();
    records.sort_by_key(|(id, record)| (record.started_at, *id));
    for (_, record) in records {
        let room = rooms.entry(&record.room_id).or_default();
        room.records.add(record.file.status);
        room.missing(&record.file);
        if let (Status::Done, Some(landed)) = (record.file.status, record.file.stored()) {
            room.recorded_bytes = room.recorded_bytes.saturating_add(landed.bytes);
        }
    }
    if !manifest.listed {
        for room in rooms.values_mut() {
            room.not_listed = true;
            room.reason = room.reason.or(Some("the day's listing is not complete"));
        }
    }
    for id in &manifest.missed.rooms {
        let room = rooms.entry(id).or_default();
        room.not_listed = true;
        room.reason = room.reason.or(Some("the room could not be listed"));
    }
    for id in &manifest.missed.gone {
        let room = rooms.entry(id).or_default();
        room.not_listed = true;
        room.reason = room
            .reason
            .or(Some("lost: the room was deleted before it could be listed"));
    }
    rooms
}
