//! The coverage of one day, computed from its manifest. Pure.

use chrono::NaiveDate;
use serde::Serialize;

use super::missing::{Lack, missing_recordings, missing_reports};
use crate::ids::{RoomId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::{Landing, Manifest, Quality, Status};
use crate::lake::tally::Tally;
use crate::lake::tally_json;

/// The coverage of a day.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DayStatus {
    /// The date.
    pub date: NaiveDate,
    /// The space's id; the manifest's key if the manifest can't be read.
    pub space_id: SpaceId,
    /// The space's name.
    pub space_name: Option<String>,
    /// True if every room was asked for the whole date.
    pub listed: bool,
    /// True if the tables are built from all landed reports. A day with nothing to build is built.
    pub built: bool,
    /// Calls.
    pub calls: u64,
    /// Participants of these calls, as the API counts them.
    pub participants: u64,
    /// Calls that are going on, or ended less than `scope.settle` ago.
    pub calls_pending: u64,
    /// The reports by status.
    #[serde(flatten, with = "tally_json::reports")]
    pub reports: Tally,
    /// The recordings by status.
    #[serde(flatten, with = "tally_json::records")]
    pub records: Tally,
    /// Rooms whose calls could not be listed; see `space_missed` for a space whose rooms are unknown.
    pub rooms_missed: u64,
    /// The ids of these rooms.
    #[serde(skip)]
    pub rooms_to_ask: Vec<RoomId>,
    /// Rooms that were deleted before they were asked, and were given up.
    pub rooms_gone: u64,
    /// True if not all of the space's rooms could be listed.
    pub space_missed: bool,
    /// Bytes of recordings in the lake.
    pub recorded_bytes: u64,
    /// The length of these recordings, in seconds.
    pub recorded_s: u64,
    /// The match between lesson data and participants.
    #[serde(flatten)]
    pub quality: Quality,
    /// Bytes of the day's reports, recordings and tables in the lake.
    pub lake_bytes: u64,
    /// True if all calls, reports and recordings of the day are in the lake and in its tables.
    pub complete: bool,
    /// The most important reason why the day is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reports and recordings that are missing, and why.
    pub missing: Vec<Lack>,
}

impl DayStatus {
    /// The coverage of a day.
    pub fn of(manifest: &Manifest) -> Self {
        let calls = manifest.calls.values();
        let participants = calls.clone().filter_map(|call| call.participants);
        let files = manifest.records.values().map(|record| record.file.status);
        let mut day = Self {
            date: manifest.date,
            space_id: manifest.space_id.clone(),
            space_name: manifest.space_name.clone(),
            listed: manifest.is_listed_whole(),
            built: manifest.is_built(),
            calls: calls.len() as u64,
            participants: participants.filter_map(|count| u64::try_from(count).ok()).sum(),
            calls_pending: calls.clone().filter(|call| call.pending.is_some()).count() as u64,
            reports: calls
                .flat_map(|call| call.reports.values().map(status_of_report))
                .collect(),
            records: files.collect(),
            rooms_missed: manifest.missed.rooms.len() as u64,
            rooms_to_ask: manifest.missed.rooms.iter().cloned().collect(),
            rooms_gone: manifest.missed.gone.len() as u64,
            space_missed: manifest.missed.space || manifest.missed.partial,
            quality: manifest
                .built
                .as_ref()
                .map(|built| built.quality)
                .unwrap_or_default(),
            lake_bytes: bytes_of(manifest),
            missing: missing_reports(manifest)
                .chain(missing_recordings(manifest))
                .collect(),
            ..Self::default()
        };
        (day.recorded_bytes, day.recorded_s) = recorded(manifest);
        let missing = day.calls_pending + day.reports.missing() + day.records.missing();
        day.complete = day.listed && day.built && missing == 0;
        day.reason = (!day.complete).then(|| day.first_reason());
        day
    }

    /// True if the day's manifest can't be read: then `space_id` is its key.
    pub fn is_damaged(&self) -> bool {
        self.space_id.starts_with(key::DAYS)
    }

    /// The most important reason why the day is not complete.
    fn first_reason(&self) -> String {
        let first = self
            .missing
            .iter()
            .find(|lack| lack.status != Status::Unavailable);
        if self.space_missed {
            "the space's rooms could not all be listed".into()
        } else if self.rooms_missed > 0 {
            format!("{} rooms could not be listed", self.rooms_missed)
        } else if let Some(lack) = first {
            lack.reason
                .clone()
                .unwrap_or_else(|| format!("the {} is {}", lack.what, lack.state()))
        } else if self.calls_pending > 0 {
            format!("{} calls have not settled", self.calls_pending)
        } else if !self.built {
            NOT_BUILT.into()
        } else if self.rooms_gone > 0 {
            format!(
                "{} rooms were deleted before they could be asked",
                self.rooms_gone
            )
        } else {
            "not every room was asked for the whole date".into()
        }
    }
}

/// The reason of a day whose tables are not built from all landed reports.
pub const NOT_BUILT: &str = "its tables were not built from what was landed";

/// The status of a report. The platform gives up recordings alone, so that an unavailable report would be a pending one.
fn status_of_report(report: &Landing) -> Status {
    match report.status {
        Status::Unavailable => Status::Pending,
        status => status,
    }
}

/// The bytes and the seconds of the recordings in the lake.
fn recorded(manifest: &Manifest) -> (u64, u64) {
    let copied = manifest
        .records
        .values()
        .filter_map(|record| Some((record, record.file.stored().filter(|landed| landed.usable)?)));
    copied.fold((0, 0), |(bytes, seconds), (record, landed)| {
        let times = record.started_at.zip(record.finished_at);
        let lasted = times.map_or(0, |(start, end)| (end - start).num_seconds());
        let lasted = u64::try_from(lasted).unwrap_or_default();
        (bytes + landed.bytes, seconds + lasted)
    })
}

/// The bytes of a day's reports, recordings and tables in the lake.
fn bytes_of(manifest: &Manifest) -> u64 {
    let reports = manifest.calls.values().flat_map(|call| call.reports.values());
    let files = manifest.records.values().map(|record| &record.file);
    let landed = reports.chain(files).filter_map(Landing::stored);
    let tables = manifest.built.iter().flat_map(|built| built.tables.values());
    landed.map(|landed| landed.bytes).sum::<u64>() + tables.map(|table| table.bytes).sum::<u64>()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A day with one call whose report has landed.
    pub(in crate::status) fn landed() -> Manifest {
        serde_json::from_value(serde_json::json!({
            "version": 1, "date": "2026-11-20", "space_id": "s1", "space_name": "School", "listed": true,
            "rooms": {"r1": {"name": "Room 7", "alias": null, "type": "lesson"}},
            "calls": {"c1": {
                "room_id": "r1", "started_at": "2026-11-20T09:00:00Z", "finished_at": "2026-11-20T10:00:00Z", "call": {},
                "reports": {"json": {"status": "done", "landed": {
                    "key": "raw/c1.json", "bytes": 1000, "sha256": "", "landed_at": "2026-11-21T00:00:00Z", "usable": true,
                }}},
            }},
            "records": {}, "built": null,
        }))
        .expect("a manifest")
    }

    pub(in crate::status) fn built() -> crate::lake::manifest::Built {
        serde_json::from_value(serde_json::json!({
            "fingerprint": "f", "built_at": "2026-11-21T00:00:00Z", "meetings": {"m1": null},
            "tables": {"calls": {"key": "calls/x.parquet", "rows": 1, "bytes": 24, "sha256": ""}},
        }))
        .expect("what was built")
    }

    #[test]
    fn a_day_whose_tables_were_never_built_is_not_complete_and_says_so() {
        let mut manifest = landed();
        let day = DayStatus::of(&manifest);
        assert!(!day.built && !day.complete);
        assert_eq!(day.reason.as_deref(), Some(NOT_BUILT));
        let told = serde_json::to_value(&day).expect("JSON");
        assert_eq!(told["built"], false);
        assert_eq!(told["complete"], false);
        manifest.built = Some(built());
        let day = DayStatus::of(&manifest);
        assert!(day.built && day.complete && day.reason.is_none());
        manifest.building = Some("a build that was killed".into());
        assert!(
            !DayStatus::of(&manifest).complete,
            "its tables may be of another state"
        );
        // There was no call, so that there is nothing to build.
        let mut empty = Manifest::new("2026-11-20".parse().expect("date"), "s1");
        empty.listed = true;
        let day = DayStatus::of(&empty);
        assert!(day.built && day.complete);
    }

    #[test]
    fn the_bytes_of_reports_and_tables_are_counted() {
        let mut manifest = landed();
        manifest.built = Some(built());
        let day = DayStatus::of(&manifest);
        assert_eq!(day.lake_bytes, 1024);
    }

    #[test]
    fn items_are_counted_by_status_and_named_unless_they_are_done() {
        let mut manifest = landed();
        let json = serde_json::json!({
            "r1": {"status": "done", "landed": {
                "key": "media/r1.mp4", "bytes": 500, "sha256": "", "landed_at": "2026-11-21T00:00:00Z", "usable": true,
            }},
            "r2": {"status": "unavailable"},
            "r3": {"status": "failed", "reason": "503", "attempts": 2},
        });
        let records = json.as_object().expect("records").iter().map(|(id, file)| {
            let record = serde_json::json!({
                "room_id": "r1", "call_id": "c1", "started_at": "2026-11-20T09:00:00Z",
                "finished_at": "2026-11-20T09:01:00Z", "record": {}, "file": file,
            });
            (
                id.as_str().into(),
                serde_json::from_value(record).expect("a record"),
            )
        });
        manifest.records = records.collect();
        manifest.built = Some(built());
        let day = DayStatus::of(&manifest);
        assert_eq!(
            (day.reports.done, day.records.total(), day.records.missing()),
            (1, 3, 1)
        );
        assert_eq!((day.recorded_bytes, day.recorded_s), (500, 60));
        let missing: Vec<_> = day
            .missing
            .iter()
            .map(|lack| (lack.state(), lack.attempts))
            .collect();
        assert_eq!(missing, [("unavailable", 0), ("failed", 2)]);
        assert_eq!(
            day.reason.as_deref(),
            Some("503"),
            "a recording that will never exist is no reason"
        );
    }

    #[test]
    fn a_report_of_a_call_that_is_going_on_gives_the_reason_of_the_call() {
        let mut manifest = landed();
        let call = manifest.calls.values_mut().next().expect("a call");
        call.pending = Some("still going on".into());
        call.reports
            .values_mut()
            .for_each(|report| *report = Landing::pending("not asked"));
        let day = DayStatus::of(&manifest);
        assert_eq!((day.calls_pending, day.reports.pending), (1, 1));
        assert_eq!(day.missing[0].reason.as_deref(), Some("still going on"));
    }
}
