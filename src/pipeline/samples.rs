//! Small values for the unit tests of the pipeline's pure core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::{Value, json};

use super::job::{Again, Command, Job};
use super::rules::JobRules;
use super::walk::found::{DayWork, RoomsAsked};
use crate::api::{Call, Item, Record};
use crate::config::{Config, ReportFormat};
use crate::lake::manifest::{Landed, Landing, Manifest, Missed, Status};

/// The date of the sample day.
pub(crate) const DATE: &str = "2026-11-20";

pub(crate) fn date(text: &str) -> NaiveDate {
    text.parse().expect("a date")
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("an instant")
}

/// The rules of a backfill of the sample day, made at noon of the next day: JSON reports and recordings, a settle time of
/// 30 minutes, 14 days until something is given up.
pub(crate) fn rules() -> JobRules {
    let job = Job::over(Command::Backfill, date(DATE), date(DATE));
    rules_at("2026-11-21T12:00:00Z", &job)
}

/// The same rules for another job and present.
pub(crate) fn rules_at(now: &str, job: &Job) -> JobRules {
    let rules = JobRules::new(&Config::default(), job, Again::new(), at(now));
    JobRules {
        zone: chrono_tz::Tz::UTC,
        settle: TimeDelta::minutes(30),
        formats: vec![ReportFormat::Json],
        recordings: true,
        ..rules
    }
}

/// A nightly run of the sample date at an instant.
pub(crate) fn nightly_rules(now: &str) -> JobRules {
    rules_at(now, &Job::nightly(date(DATE), date(DATE)))
}

/// A call of room `r`. Its end is left out if it is empty.
pub(crate) fn call(id: &str, start: &str, end: &str) -> Call {
    let mut raw = json!({"id": id, "roomId": "r", "startedAt": start, "participantsCount": 5});
    if !end.is_empty() {
        raw["finishedAt"] = end.into();
    }
    Call::from_raw(raw).expect("a call")
}

/// A call of an hour at ten o'clock on the sample date.
pub(crate) fn settled_call(id: &str) -> Call {
    call(id, "2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z")
}

/// A record of room `r`; the fields of `more` are added.
pub(crate) fn record(id: &str, more: Value) -> Record {
    let mut raw = json!({"id": id, "roomId": "r"});
    if let (Value::Object(raw), Value::Object(more)) = (&mut raw, more) {
        raw.extend(more);
    }
    Record::from_raw(raw).expect("a record")
}

/// A record of call `c` that can be copied.
pub(crate) fn finished_record(id: &str) -> Record {
    let more = json!({"callId": "c", "startedAt": "2026-11-20T10:00:00Z",
        "finishedAt": "2026-11-20T11:00:00Z", "fileSize": 7});
    record(id, more)
}

/// The findings of a walk that asked all rooms of the sample day and found nothing.
pub(crate) fn work() -> DayWork {
    DayWork {
        date: date(DATE),
        space_id: "s".into(),
        space_name: None,
        listed: true,
        asked: RoomsAsked::All,
        missed: Missed::default(),
        refused: BTreeMap::new(),
        heard_gone: BTreeSet::new(),
        listed_rooms: Arc::new(["r".into(), "q".into()].into_iter().collect()),
        is_more: false,
        has_marker: false,
        unlisted_beside: Vec::new(),
        evict_calls: BTreeSet::new(),
        evict_records: BTreeSet::new(),
        rooms: BTreeMap::new(),
        calls: BTreeMap::new(),
        records: BTreeMap::new(),
    }
}

/// The same with some calls and records of room `r`.
pub(crate) fn work_with(calls: Vec<Call>, records: Vec<Record>) -> DayWork {
    let calls = calls
        .into_iter()
        .map(|call| (call.id.clone(), ("r".into(), call)));
    let records = records
        .into_iter()
        .map(|record| (record.id.clone(), ("r".into(), record)));
    DayWork {
        calls: calls.collect(),
        records: records.collect(),
        ..work()
    }
}

/// The empty manifest of the sample day.
pub(crate) fn manifest() -> Manifest {
    Manifest::new(date(DATE), "s")
}

/// A landing with usable bytes.
pub(crate) fn landed(status: Status, of: &str) -> Landing {
    Landing {
        status,
        reason: None,
        attempts: 0,
        landed: Some(Landed {
            key: "k".into(),
            bytes: 1,
            sha256: "before".into(),
            landed_at: DateTime::UNIX_EPOCH,
            usable: true,
            participants: Some(5),
            shortfall: None,
            of: Some(of.into()),
            put_aside: false,
            erased: Default::default(),
            deleted_at: None,
        }),
    }
}
