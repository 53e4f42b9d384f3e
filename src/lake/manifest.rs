//! The manifest of a day (one space × one date): the only record of what the lake has of it. Pure.
//!
//! It holds the calls and records as the API listed them, what has landed of each, what is missing and why, and what
//! was built. `pipeline` writes it last; `tables` and `status` read it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::Value;
use serde_json::value::RawValue;

pub use super::landing::{Landed, Landing, Shortfall, Status};

use super::landing::is_zero;
use super::unknown::UnknownFields;
use crate::config::ReportFormat;
use crate::ids::{CallId, MeetingId, RecordId, RoomId, SpaceId};
use crate::json::RawJson;
use crate::lenient;
use crate::small_map::SmallMap;

/// The version of the manifest's shape. A newer one is neither read nor written over.
pub const VERSION: u32 = 1;

/// A day as its manifest stores it: the calls and records that were listed, what has landed, and what was built.
// `remote = "Self"` makes the derived functions inherent. The trait impls below call them and add the unknown fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Manifest {
    /// [`VERSION`] at the time of writing.
    pub version: u32,
    /// The day's date in the configured zone.
    pub date: NaiveDate,
    /// The space's id.
    pub space_id: SpaceId,
    /// The space's name when the day was last listed.
    pub space_name: Option<String>,
    /// True if every room of the space was asked for this date after the date had ended. False for a day that is known
    /// only from calls that the requests for other dates returned.
    pub listed: bool,
    /// The start of the run that last asked all rooms of the space for this date. A listing that changed nothing of the day
    /// is not noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<DateTime<Utc>>,
    /// The parts of the listing that are missing.
    #[serde(default, skip_serializing_if = "Missed::is_none")]
    pub missed: Missed,
    /// The rooms that have a call or a record on the day, by id.
    pub rooms: BTreeMap<RoomId, RoomEntry>,
    /// The day's calls, by id.
    pub calls: BTreeMap<CallId, CallEntry>,
    /// The day's records, by id.
    pub records: BTreeMap<RecordId, RecordEntry>,
    /// Keys of reports and recordings that the day no longer owns, because their calls turned out to lie on another
    /// date. They are still to be removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub evicted: BTreeSet<String>,
    /// The tables that were built, and the state that they were built from.
    pub built: Option<Built>,
    /// Id of the build that is writing the day's tables now, or was when its process died. While it is set, the tables
    /// may differ from what `built` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<String>,
    /// The time when the day's chat messages were deleted on purpose, because their retention was over. Builds leave them
    /// out from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_deleted_at: Option<DateTime<Utc>>,
    /// The time since when the deleted reports of the day are requested again, because something has landed that its tables
    /// lack. None if nothing is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reports_wanted_at: Option<DateTime<Utc>>,
    /// Set if all of the day was deleted on purpose, because its retention was over. Then nothing else is known of the day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<DeletedDay>,
    /// The fields that this version does not know, at every level; they are written back unchanged.
    #[serde(skip)]
    pub unknown: UnknownFields,
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.unknown.is_none() {
            return Self::serialize(self, serializer);
        }
        let mut whole = Self::serialize(self, serde_json::value::Serializer).map_err(ser::Error::custom)?;
        self.unknown.put_back(&mut whole);
        whole.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let mut has_unknown = false;
        let mut reader = serde_json::Deserializer::from_str(text.get());
        let mut note = |_: serde_ignored::Path<'_>| has_unknown = true;
        let reader = serde_ignored::Deserializer::new(&mut reader, &mut note);
        let mut manifest = Self::deserialize(reader).map_err(de::Error::custom)?;
        if manifest.version > VERSION {
            return Err(de::Error::custom("a newer version wrote it"));
        }
        if has_unknown {
            let whole: Value = serde_json::from_str(text.get()).map_err(de::Error::custom)?;
            let known =
                Self::serialize(&manifest, serde_json::value::Serializer).map_err(de::Error::custom)?;
            manifest.unknown = UnknownFields::of(&whole, &known);
        }
        Ok(manifest)
    }
}

/// The deletion of a whole day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedDay {
    /// The time of the deletion.
    pub at: DateTime<Utc>,
    /// The id of the run that deleted the day.
    pub run: String,
}

/// The parts of a day's listing that were missing when it was last asked for; later runs ask again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// True if the rooms of the space could not be listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub space: bool,
    /// True if the space has more rooms than the API listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Consecutive runs in which the list of rooms was incomplete.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partial_runs: u32,
    /// The rooms that did not answer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rooms: BTreeSet<RoomId>,
    /// The rooms that were given up: they are no longer listed, and the API refuses their ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<RoomId>,
}

impl Missed {
    /// True if nothing is missing.
    pub fn is_none(&self) -> bool {
        !self.is_open() && self.gone.is_empty()
    }

    /// True if later runs have to ask again.
    pub fn is_open(&self) -> bool {
        self.space || self.partial || !self.rooms.is_empty()
    }
}

/// The properties of a room that the tables need.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RoomEntry {
    /// The room's name.
    pub name: Option<String>,
    /// Its short link.
    pub alias: Option<String>,
    /// `lesson` or `webinar`.
    #[serde(rename = "type")]
    pub room_type: Option<String>,
}

/// A call and its reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallEntry {
    /// The room it was held in.
    pub room_id: RoomId,
    /// Its start.
    pub started_at: Option<DateTime<Utc>>,
    /// Its end; none while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// The number of participants: the largest of the API's counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participants: Option<i64>,
    /// The object as the API gave it.
    pub call: RawJson,
    /// The reason why the call itself is pending (it runs, or has not settled); none once it has settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Its reports by format.
    pub reports: SmallMap<ReportFormat, Landing>,
}

impl CallEntry {
    /// True if the API gives an end of the call that can't be read.
    pub fn end_is_unreadable(&self) -> bool {
        has_unreadable_end(&self.call)
    }

    /// The keyed hashes of the names of people who were erased from any of its reports.
    pub fn erased_names(&self) -> BTreeSet<String> {
        let landed = self
            .reports
            .values()
            .filter_map(|landing| landing.landed.as_ref());
        landed.flat_map(|landed| landed.erased.iter().cloned()).collect()
    }

    /// The number of participants that a report is held against: none if people were erased from it.
    pub fn counted_in(&self, format: ReportFormat) -> Option<i64> {
        let landed = self
            .reports
            .get(&format)
            .and_then(|landing| landing.landed.as_ref());
        self.participants
            .filter(|_| landed.is_none_or(|landed| landed.erased.is_empty()))
    }

    /// True if the report that feeds the tables says who was in the call. That is the JSON report, or the workbook if
    /// no JSON can be read.
    pub fn tells_people(&self) -> bool {
        let formats = [ReportFormat::Json, ReportFormat::Xlsx];
        let readable = |landing: &&Landing| {
            landing.usable().is_some() && landing.shortfall() != Some(Shortfall::Unreadable)
        };
        let mut reports = formats.iter().filter_map(|format| self.reports.get(format));
        let feeding = reports.find(readable);
        feeding.is_some_and(|landing| landing.shortfall() != Some(Shortfall::Nobody))
    }
}

impl RecordEntry {
    /// True if the API gives an end of the record that can't be read.
    pub fn end_is_unreadable(&self) -> bool {
        has_unreadable_end(&self.record)
    }
}

fn has_unreadable_end(object: &RawJson) -> bool {
    object
        .field("finishedAt")
        .is_some_and(|end| lenient::read_instant(&end).is_unreadable())
}

/// A record and its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordEntry {
    /// The room it was made in.
    pub room_id: RoomId,
    /// The call that it was recorded in, if the API says so.
    pub call_id: Option<CallId>,
    /// Its start.
    pub started_at: Option<DateTime<Utc>>,
    /// Its end; none while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// The object as the API gave it.
    pub record: RawJson,
    /// The state of its MP4 file.
    pub file: Landing,
}

/// The result of the last build of a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Digest of all inputs of the tables; empty after something else has landed.
    pub fingerprint: String,
    /// The start of the run that built the tables from the inputs of this fingerprint.
    pub built_at: DateTime<Utc>,
    /// The digest of the mapping that they were built with.
    #[serde(default)]
    pub mapping: String,
    /// The version of the program that built them.
    #[serde(default)]
    pub program: String,
    /// The table files, by table.
    pub tables: BTreeMap<String, TableEntry>,
    /// The meetings of the day's calls, with the start of each meeting's first call.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meetings: BTreeMap<MeetingId, Option<DateTime<Utc>>>,
    /// Digest of the lesson data of these meetings; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meta: String,
    /// Digest of the presence of neighbour days in these meetings, and of their calls without a report; empty if there is
    /// neither.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub beside: String,
    /// The time of these meetings.
    #[serde(default, skip_serializing_if = "LessonSpan::is_unknown")]
    pub lessons: LessonSpan,
    /// The day's calls without a report of who was there. The attendance of neighbour days counts them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreported: BTreeMap<CallId, UnreportedCall>,
    /// Counts of mismatches between lesson data and participants.
    #[serde(default, skip_serializing_if = "Quality::is_none")]
    pub quality: Quality,
}

/// A call without a report of who was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreportedCall {
    /// The room it was held in.
    pub room_id: RoomId,
    /// Its start.
    pub started_at: Option<DateTime<Utc>>,
    /// Its end; none while it runs.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The time from the earliest to the latest instant of some meetings, by their schedules, or else by their calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LessonSpan {
    /// The earliest instant; none if it is unknown.
    pub from: Option<DateTime<Utc>>,
    /// The latest instant; none if it is unknown.
    pub to: Option<DateTime<Utc>>,
}

impl LessonSpan {
    /// True if nothing is known of the time.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }

    /// True if a call may have been held within the time. Instants that are unknown count as within it.
    pub fn overlaps(&self, call: &UnreportedCall) -> bool {
        let before_end = call.started_at.zip(self.to).is_none_or(|(began, to)| began < to);
        before_end
            && call
                .finished_at
                .zip(self.from)
                .is_none_or(|(ended, from)| ended > from)
    }

    /// The time of two spans together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            from: self.from.zip(other.from).map(|(one, other)| one.min(other)),
            to: self.to.zip(other.to).map(|(one, other)| one.max(other)),
        }
    }
}

/// Counts of mismatches between the lesson data and the reports of a day. They name nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quality {
    /// Participants with a user and a meeting for whom no lesson data came.
    pub participants_without_meta: u64,
    /// Users with lesson data for a meeting of the day who were in no call.
    pub meta_without_participants: u64,
    /// Users of the day's meetings with a role other than student, teacher, parent and assistant.
    pub unknown_roles: u64,
    /// Participants who share their user and meeting with another participant of the same call.
    pub duplicate_external_ids: u64,
}

impl Quality {
    /// Adds the counts of another day.
    pub fn add(&mut self, other: &Self) {
        self.participants_without_meta += other.participants_without_meta;
        self.meta_without_participants += other.meta_without_participants;
        self.unknown_roles += other.unknown_roles;
        self.duplicate_external_ids += other.duplicate_external_ids;
    }

    /// True if all counts are 0.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The file of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Its key.
    pub key: String,
    /// The number of its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl Manifest {
    /// An empty manifest.
    pub fn new(date: NaiveDate, space_id: impl Into<SpaceId>) -> Self {
        Self {
            version: VERSION,
            date,
            space_id: space_id.into(),
            space_name: None,
            listed: false,
            listed_at: None,
            missed: Missed::default(),
            rooms: BTreeMap::new(),
            calls: BTreeMap::new(),
            records: BTreeMap::new(),
            evicted: BTreeSet::new(),
            built: None,
            building: None,
            messages_deleted_at: None,
            reports_wanted_at: None,
            deleted: None,
            unknown: UnknownFields::default(),
        }
    }

    /// True if the day was listed after it had ended, and no part of the listing is missing.
    pub fn is_listed_whole(&self) -> bool {
        self.listed && self.missed.is_none()
    }

    /// True if the tables match what has landed: a build was completed, and nothing has landed since. A day without
    /// calls, records or missed rooms has nothing to build.
    pub fn is_built(&self) -> bool {
        match &self.built {
            _ if self.building.is_some() => false,
            Some(built) => !built.fingerprint.is_empty(),
            None => {
                let missed = &self.missed;
                self.calls.is_empty()
                    && self.records.is_empty()
                    && missed.rooms.is_empty()
                    && missed.gone.is_empty()
            }
        }
    }

    /// True if the day has tables and some of its reports were deleted on purpose: its tables can't be built again.
    pub fn is_frozen(&self) -> bool {
        let mut reports = self.calls.values().flat_map(|call| call.reports.values());
        self.built.is_some() && reports.any(Landing::is_deleted)
    }

    /// The ids of the day's calls in the order of every table: by room, start and id.
    pub fn calls_in_order(&self) -> Vec<&str> {
        let mut calls: Vec<_> = self.calls.iter().collect();
        calls.sort_by(|(a_id, a), (b_id, b)| {
            (&a.room_id, a.started_at, a_id).cmp(&(&b.room_id, b.started_at, b_id))
        });
        calls.into_iter().map(|(id, _)| id.as_str()).collect()
    }

    /// The calls without a report of who was there.
    pub fn unreported_calls(&self) -> BTreeMap<CallId, UnreportedCall> {
        let unreported = self.calls.iter().filter(|(_, entry)| !entry.tells_people());
        unreported
            .map(|(id, entry)| {
                let call = UnreportedCall {
                    room_id: entry.room_id.clone(),
                    started_at: entry.started_at,
                    finished_at: entry.finished_at,
                };
                (id.clone(), call)
            })
            .collect()
    }

    /// Notes that a landed report is no longer in the store. Returns true if the day had a report with this key.
    pub fn lose_report(&mut self, key: &str) -> bool {
        let reports = self.calls.values_mut().flat_map(|call| call.reports.values_mut());
        let lost = reports.filter(|landing| landing.landed.as_ref().is_some_and(|landed| landed.key == key));
        let mut found = false;
        for landing in lost {
            *landing = Landing::pending("the landed report is gone from the store");
            found = true;
        }
        found
    }

    /// Merges the manifest that another process has committed meanwhile, so that nothing of either is lost. `built` is
    /// taken from `other`, because it was committed last.
    pub fn absorb(&mut self, other: Self) {
        if other.deleted.is_some() {
            // Nothing of the day may come back.
            *self = other;
            return;
        }
        self.listed |= other.listed;
        self.listed_at = self.listed_at.max(other.listed_at);
        self.missed.space |= other.missed.space;
        self.missed.partial |= other.missed.partial;
        self.missed.rooms.extend(other.missed.rooms);
        self.missed.gone.extend(other.missed.gone);
        self.space_name = self.space_name.take().or(other.space_name);
        for (id, room) in other.rooms {
            self.rooms.entry(id).or_insert(room);
        }
        for (id, theirs) in other.calls {
            match self.calls.get_mut(&id) {
                None => drop(self.calls.insert(id, theirs)),
                Some(ours) => {
                    for (format, landing) in theirs.reports {
                        let merged = match ours.reports.remove(&format) {
                            Some(mine) => mine.better(landing),
                            None => landing,
                        };
                        ours.reports.insert(format, merged);
                    }
                }
            }
        }
        for (id, theirs) in other.records {
            match self.records.get_mut(&id) {
                None => drop(self.records.insert(id, theirs)),
                Some(ours) => {
                    let mine = std::mem::replace(&mut ours.file, Landing::pending(""));
                    ours.file = mine.better(theirs.file);
                }
            }
        }
        self.evicted.extend(other.evicted);
        self.built = other.built;
        self.building = other.building;
        self.messages_deleted_at = self.messages_deleted_at.max(other.messages_deleted_at);
        self.reports_wanted_at = self.reports_wanted_at.or(other.reports_wanted_at);
        self.unknown = other.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(fingerprint: &str) -> Built {
        Built {
            fingerprint: fingerprint.into(),
            built_at: DateTime::UNIX_EPOCH,
            mapping: String::new(),
            program: String::new(),
            tables: BTreeMap::new(),
            meetings: BTreeMap::new(),
            meta: String::new(),
            beside: String::new(),
            lessons: LessonSpan::default(),
            unreported: BTreeMap::new(),
            quality: Quality::default(),
        }
    }

    #[test]
    fn unknown_fields_survive_and_a_newer_version_is_refused() {
        let text = r#"{"version":1,"date":"2026-11-22","space_id":"s","space_name":null,"listed":true,"rooms":{},
            "calls":{"c":{"room_id":"r","started_at":null,"finished_at":null,"call":{"any":{"thing":1}},"tone":"new",
              "reports":{"json":{"status":"done","mood":2,"landed":{"key":"k","bytes":1,"sha256":"a",
                "landed_at":"2026-11-22T00:00:00Z","usable":true,"crc":"9"}}}}},
            "records":{},"built":{"fingerprint":"f","built_at":"2026-11-22T00:00:00Z","mapping":"m","program":"1","tables":{},"engine":[1]},
            "shards":{"of":3}}"#;
        let mut day: Manifest = serde_json::from_str(text).expect("a manifest");
        assert!(!day.unknown.is_none());
        day.space_name = Some("name".into());
        let written = serde_json::to_value(&day).expect("JSON");
        let mut expected: Value = serde_json::from_str(text).expect("JSON");
        expected["space_name"] = "name".into();
        assert_eq!(written, expected);
        let landing = written["calls"]["c"]["reports"]["json"].clone();
        assert_eq!(
            (&landing["mood"], &landing["landed"]["crc"]),
            (&2.into(), &"9".into())
        );
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert!(serde_json::from_str::<Manifest>(&newer).is_err());
        let plain: Manifest = serde_json::from_value(
            serde_json::to_value(Manifest::new(NaiveDate::default(), "s")).expect("JSON"),
        )
        .expect("a manifest");
        assert!(plain.unknown.is_none());
    }

    #[test]
    fn a_day_is_built_if_its_tables_match_what_has_landed() {
        let mut day = Manifest::new(NaiveDate::default(), "s");
        assert!(day.is_built(), "there is nothing to build");
        day.missed.rooms.insert("r".into());
        assert!(!day.is_built(), "the missed room has a row in `coverage`");
        day.built = Some(built("f"));
        assert!(day.is_built());
        day.building = Some("id".into());
        assert!(!day.is_built(), "its tables are being replaced");
        day.building = None;
        day.built = Some(built(""));
        assert!(!day.is_built(), "something has landed since");
    }
}
