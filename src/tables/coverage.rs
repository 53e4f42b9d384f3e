//! What is in the lake of each room's day, and what is not: the rows of `coverage`. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::listed::cells;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::manifest::{Landing, Manifest, Status};
use crate::lake::table::builtin;
use crate::tables::parquet::cell::Cell;
use crate::tables::report::rows::Row;

/// How many of something have come how far.
#[derive(Default)]
struct Tally {
    done: i64,
    pending: i64,
    failed: i64,
    denied: i64,
    unavailable: i64,
    lost: i64,
}

impl Tally {
    fn add(&mut self, landing: &Landing) {
        *match landing.status {
            Status::Done => &mut self.done,
            Status::Pending => &mut self.pending,
            Status::Failed => &mut self.failed,
            Status::Denied => &mut self.denied,
            Status::Unavailable => &mut self.unavailable,
            Status::Lost => &mut self.lost,
        } += 1;
    }

    /// Whether all that there is has been had. What the platform itself has given up is not there.
    fn complete(&self) -> bool {
        self.pending == 0 && self.failed == 0 && self.denied == 0 && self.lost == 0
    }
}

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
        !self.not_listed && self.calls_pending == 0 && self.reports.complete() && self.records.complete()
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
                    ("reports_done", room.reports.done.into()),
                    ("reports_pending", room.reports.pending.into()),
                    (
                        "reports_failed",
                        (room.reports.failed + room.reports.unavailable).into(),
                    ),
                    ("reports_denied", room.reports.denied.into()),
                    ("reports_lost", room.reports.lost.into()),
                    ("records_done", room.records.done.into()),
                    ("records_pending", room.records.pending.into()),
                    (
                        "records_failed",
                        (room.records.failed + room.records.denied).into(),
                    ),
                    ("records_unavailable", room.records.unavailable.into()),
                    ("records_lost", room.records.lost.into()),
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
            room.reports.add(landing);
            room.missing(landing);
        }
    }
    let mut records: Vec<_> = manifest.records.iter().collect();
    records.sort_by_key(|(id, record)| (record.started_at, *id));
    for (_, record) in records {
        let room = rooms.entry(&record.room_id).or_default();
        room.records.add(&record.file);
        room.missing(&record.file);
        if let (Status::Done, Some(landed)) = (record.file.status, &record.file.landed) {
            room.recorded_bytes = room.recorded_bytes.saturating_add(landed.bytes);
        }
    }
    if !manifest.listed {
        for room in rooms.values_mut() {
            room.not_listed = true;
            room.reason = room.reason.or(Some("the day has not been listed whole"));
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
            .or(Some("lost: the room was deleted before it could be asked"));
    }
    rooms
}
