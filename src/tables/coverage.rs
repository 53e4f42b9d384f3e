//! The rows of `coverage`: what the lake has of each room's day, and what is missing. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::listed::cells;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::manifest::{Landing, Manifest, Status};
use crate::lake::table::builtin;
use crate::lake::tally::Tally;
use crate::tables::parquet::cell::Cell;
use crate::tables::report::rows::Row;

#[derive(Default)]
struct Room<'m> {
    calls: i64,
    calls_pending: i64,
    reports: Tally,
    records: Tally,
    recorded_bytes: u64,
    not_listed: bool,
    reason: Option<&'m str>,
}

impl<'m> Room<'m> {
    fn missing(&mut self, landing: &'m Landing) {
        if !matches!(landing.status, Status::Done | Status::Unavailable) && self.reason.is_none() {
            self.reason = landing.reason.as_deref();
        }
    }

    fn complete(&self) -> bool {
        !self.not_listed
            && self.calls_pending == 0
            && self.reports.missing() == 0
            && self.records.missing() == 0
    }
}

/// A row for each room with a call or a record on the day, and for each that could not be listed.
pub(super) fn rows(manifest: &Manifest, checked_at: DateTime<Utc>) -> Result<Vec<Row<'_>>> {
    let table = builtin::get("coverage")
        .ok_or_else(|| Error::new(ErrorKind::Internal, "coverage", "there is no such table"))?;
    Ok(tally(manifest)
        .into_iter()
        .map(|(id, room)| {
            let cells = cells(
                table,
                [
                    ("space_id", manifest.space_id.as_str().into()),
                    ("room_id", id.into()),
                    ("calls", room.calls.into()),
                    ("calls_pending", room.calls_pending.into()),
                    ("reports_done", Cell::count(room.reports.done)),
                    ("reports_pending", Cell::count(room.reports.pending)),
                    (
                        "reports_failed",
                        Cell::count(room.reports.failed + room.reports.unavailable),
                    ),
                    ("reports_denied", Cell::count(room.reports.denied)),
                    ("reports_lost", Cell::count(room.reports.lost)),
                    ("records_done", Cell::count(room.records.done)),
                    ("records_pending", Cell::count(room.records.pending)),
                    (
                        "records_failed",
                        Cell::count(room.records.failed + room.records.denied),
                    ),
                    ("records_unavailable", Cell::count(room.records.unavailable)),
                    ("records_lost", Cell::count(room.records.lost)),
                    ("recorded_bytes", Cell::count(room.recorded_bytes)),
                    ("complete", room.complete().into()),
                    ("reason", room.reason.into()),
                    ("checked_at", checked_at.into()),
                ],
            );
            Row {
                cells,
                ..Row::default()
            }
        })
        .collect())
}

fn tally(manifest: &Manifest) -> BTreeMap<&str, Room<'_>> {
    let mut rooms: BTreeMap<&str, Room<'_>> = BTreeMap::new();
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
        if let (Status::Done, Some(landed)) = (record.file.status, &record.file.landed) {
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
