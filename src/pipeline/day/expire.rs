//! The data of a day whose retention is over: what its manifest says of it. Pure. [`retention`](crate::pipeline::retention)
//! and the work on a day delete the objects after the manifest was committed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};

use super::recording::record_state;
use crate::ids::{CallId, RecordId, SpaceId};
use crate::lake::key;
use crate::lake::landing::ERASED;
use crate::lake::manifest::{Landed, Landing, Manifest, RecordEntry, Status};
use crate::pipeline::cutoffs::{CutOffs, DataKind};

/// The reason of a recording that was deleted.
pub(crate) const DELETED: &str = "deleted after retention.recordings";
/// The reason of a recording that was too old to be copied when it was listed.
pub(crate) const NOT_COPIED: &str = "not copied: it is older than retention.recordings";

/// Notes that all landed reports of the day are deleted.
pub(crate) fn delete_reports(manifest: &mut Manifest, now: DateTime<Utc>) {
    let reports = manifest
        .calls
        .values_mut()
        .flat_map(|call| call.reports.values_mut());
    for landed in reports.filter_map(|landing| landing.landed.as_mut()) {
        landed.deleted_at.get_or_insert(now);
    }
}

/// Notes that a landed report is no longer in the store because its retention is over, and with it all reports that landed
/// before this run. Returns true if the day had a report with this key, and has tables to keep.
pub(super) fn note_expired(manifest: &mut Manifest, key: &str, now: DateTime<Utc>) -> bool {
    let tables = manifest.built.as_ref().map(|built| &built.tables);
    if tables.is_none_or(BTreeMap::is_empty) {
        return false;
    }
    let reports = manifest
        .calls
        .values_mut()
        .flat_map(|call| call.reports.values_mut());
    let landed: Vec<_> = reports.filter_map(|landing| landing.landed.as_mut()).collect();
    if !landed.iter().any(|landed| landed.key == key) {
        return false;
    }
    for landed in landed {
        if landed.key == key || landed.landed_at < now {
            landed.deleted_at.get_or_insert(now);
        }
    }
    true
}

/// Notes that all recordings of the day are deleted, and that those that were not copied will not be.
pub(crate) fn delete_recordings(manifest: &mut Manifest, now: DateTime<Utc>) {
    for record in manifest.records.values_mut() {
        if let Some(landed) = record.file.landed.as_mut().filter(|landed| !landed.is_deleted()) {
            landed.deleted_at = Some(now);
            record.file.status = Status::Done;
            record.file.reason = Some(DELETED.into());
            record.file.attempts = 0;
        }
    }
    refuse_recordings(manifest, now);
}

/// Notes that the recordings of some calls are deleted, because people were erased.
pub(crate) fn delete_recordings_of(
    manifest: &mut Manifest,
    is_one: impl Fn(&CallId) -> bool,
    now: DateTime<Utc>,
) {
    let (date, space) = (manifest.date, manifest.space_id.clone());
    for (id, record) in &mut manifest.records {
        if !record.call_id.as_ref().is_some_and(&is_one) || record.file.is_deleted() {
            continue;
        }
        let mut landed = record
            .file
            .landed
            .take()
            .unwrap_or_else(|| not_copied(date, &space, id, record, now));
        landed.deleted_at = Some(now);
        record.file = Landing {
            status: Status::Done,
            reason: Some(ERASED.into()),
            attempts: 0,
            landed: Some(landed),
        };
    }
}

/// Notes that the recordings of the day that were not copied will not be.
pub(crate) fn refuse_recordings(manifest: &mut Manifest, now: DateTime<Utc>) {
    let (date, space) = (manifest.date, manifest.space_id.clone());
    let waiting = |record: &RecordEntry| {
        // The platform has no file of an unavailable one.
        record.file.landed.is_none() && record.file.status != Status::Unavailable
    };
    let records = manifest.records.iter_mut();
    for (id, record) in records.filter(|(_, record)| waiting(record)) {
        let landed = not_copied(date, &space, id, record, now);
        record.file = Landing {
            status: Status::Done,
            reason: Some(NOT_COPIED.into()),
            attempts: 0,
            landed: Some(landed),
        };
    }
}

/// The file of a recording that will not be copied.
fn not_copied(
    date: NaiveDate,
    space: &SpaceId,
    id: &RecordId,
    record: &RecordEntry,
    now: DateTime<Utc>,
) -> Landed {
    Landed {
        key: key::recording(date, space, &record.room_id, record.call_id.as_ref(), id),
        bytes: 0,
        sha256: String::new(),
        landed_at: now,
        usable: true,
        participants: None,
        shortfall: None,
        of: Some(record_state(record)),
        put_aside: false,
        erased: BTreeSet::new(),
        deleted_at: Some(now),
    }
}

/// Notes what a day that is about to be built must leave out, because its retention is over: recordings that were not copied,
/// and messages. The tables of a frozen day are edited instead, see [`retention`](crate::pipeline::retention).
pub(crate) fn leave_out(manifest: &mut Manifest, cutoffs: &CutOffs, now: DateTime<Utc>) {
    if manifest.is_frozen() {
        return;
    }
    if cutoffs.is_over(DataKind::Recordings, manifest.date) {
        refuse_recordings(manifest, now);
    }
    if cutoffs.is_over(DataKind::Messages, manifest.date) && !manifest.calls.is_empty() {
        manifest.messages_deleted_at.get_or_insert(now);
    }
}

/// The landings of reports and recordings that the manifest says are deleted.
pub(crate) fn deleted(manifest: &Manifest) -> impl Iterator<Item = &Landed> {
    let reports = manifest.calls.values().flat_map(|call| call.reports.values());
    let files = manifest.records.values().map(|record| &record.file);
    let landed = reports.chain(files).filter_map(|landing| landing.landed.as_ref());
    landed.filter(|landed| landed.is_deleted())
}

/// True if a report of the day is to be in the lake.
pub(crate) fn has_reports(manifest: &Manifest) -> bool {
    let mut reports = manifest.calls.values().flat_map(|call| call.reports.values());
    reports.any(|landing| landing.stored().is_some())
}

/// True if a frozen day has got or lost a call or a record that its tables do not know. `before` is the day before its listing.
pub(crate) fn has_news(manifest: &Manifest, before: &Manifest) -> bool {
    !manifest.calls.keys().eq(before.calls.keys()) || !manifest.records.keys().eq(before.records.keys())
}

/// True if a landing has brought bytes that the tables of a frozen day do not know.
pub(crate) fn is_news(landing: &Landing, before: Option<&Landing>) -> bool {
    fn content(landed: &Landed) -> (&str, u64, &str) {
        (&landed.key, landed.bytes, &landed.sha256)
    }
    let before = before.and_then(Landing::stored);
    landing.stored().map(content) != before.map(content) && landing.stored().is_some()
}
