//! The day's manifest: the single truth about one space × one date. Pure.
//!
//! It holds the call and record objects as the API gave them, what was landed of each, what is missing and why, and
//! what was built. `export` writes it last; `build` and `cli status` read it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::Value;
use serde_json::value::RawValue;

use super::unknown::UnknownFields;
use crate::config::ReportFormat;
use crate::ids::{CallId, MeetingId, RecordId, RoomId, SpaceId};
use crate::lenient;

/// The version of the manifest's shape. A newer one is neither read nor written over.
pub const VERSION: u32 = 1;

/// One day: what was found, landed and built.
// With `remote` the derived functions are the type's own; the traits below add the unknown fields to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Manifest {
    /// [`VERSION`] at the time of writing.
    pub version: u32,
    /// The day's date in the configured zone.
    pub date: NaiveDate,
    /// The space's id.
    pub space_id: SpaceId,
    /// The space's name as last seen with the day.
    pub space_name: Option<String>,
    /// Whether every room of the space was asked for this date after it had ended. A day that is known only from calls
    /// that other dates' requests brought is not.
    pub listed: bool,
    /// What could not be listed.
    #[serde(default, skip_serializing_if = "Missed::is_none")]
    pub missed: Missed,
    /// The rooms that have something on the day, by id.
    pub rooms: BTreeMap<RoomId, RoomEntry>,
    /// The day's calls, by id.
    pub calls: BTreeMap<CallId, CallEntry>,
    /// The day's records, by id.
    pub records: BTreeMap<RecordId, RecordEntry>,
    /// Keys of reports and recordings that the day gave up, as their calls turned out to lie on another one: still to
    /// be removed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub evicted: BTreeSet<String>,
    /// What was built of all this, and from which state of it.
    pub built: Option<Built>,
    /// Who writes the day's tables at this moment, or did when it was killed: an id of that work alone. While it is
    /// there, the tables may be of another state than `built` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<String>,
    /// The fields that this version does not know, at every level.
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
            return Err(de::Error::custom("of a newer version"));
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

/// What could not be listed of a day when it was last asked for; later runs ask again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Whether the space's rooms themselves could not be listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub space: bool,
    /// Whether the list of the space's rooms was longer than what came of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Runs in a row that found the list longer than what came.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partial_runs: u32,
    /// The rooms that gave no answer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rooms: BTreeSet<RoomId>,
    /// Rooms that were no longer listed, that the API refused by their id, and that were given up.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<RoomId>,
}

impl Missed {
    /// Whether all was listed.
    pub fn is_none(&self) -> bool {
        !self.is_open() && self.gone.is_empty()
    }

    /// Whether later runs have to ask again.
    pub fn is_open(&self) -> bool {
        self.space || self.partial || !self.rooms.is_empty()
    }
}

/// What the tables need of a room.
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
    /// Participants that the API counts: the largest of its counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participants: Option<i64>,
    /// The object as the API gave it.
    pub call: Value,
    /// Why the call itself is pending (it runs, or has not settled); none once it has settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Its reports by format.
    pub reports: BTreeMap<ReportFormat, Landing>,
}

impl CallEntry {
    /// Whether the API says when the call ended, in a way that can't be read.
    pub fn end_is_unreadable(&self) -> bool {
        has_unreadable_end(&self.call)
    }
}

impl RecordEntry {
    /// Whether the API says when the record ended, in a way that can't be read.
    pub fn end_is_unreadable(&self) -> bool {
        has_unreadable_end(&self.record)
    }
}

fn has_unreadable_end(object: &Value) -> bool {
    object
        .get("finishedAt")
        .is_some_and(|end| lenient::read_instant(end).is_unreadable())
}

/// A record and its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordEntry {
    /// The room it was made in.
    pub room_id: RoomId,
    /// The call it is of, where the API says so.
    pub call_id: Option<CallId>,
    /// Its start.
    pub started_at: Option<DateTime<Utc>>,
    /// Its end; none while it runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// The object as the API gave it.
    pub record: Value,
    /// The MP4.
    pub file: Landing,
}

impl CallEntry {
    /// Whether the report that feeds the tables tells who was in the call: the JSON, or the workbook where no JSON can be
    /// read.
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

/// How far something to be landed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is in the lake.
    Done,
    /// It is not there yet; later runs ask again.
    Pending,
    /// The API refuses it to this token or tariff.
    Denied,
    /// It could not be had or not be used; later runs ask again.
    Failed,
    /// It will never come: the platform says so itself.
    Unavailable,
    /// It has not come within `export.give_up`; only a backfill of its date asks again.
    Lost,
}

/// What a report in the lake lacks to be taken for its call's. Its bytes are kept: another mapping may read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shortfall {
    /// It can no longer be read as its format.
    Unreadable,
    /// The call counts participants, and the mapping finds none.
    Nobody,
    /// None of its session times can be read, or it says of everybody that they were not there though the call counts
    /// participants.
    Timeless,
}

impl Shortfall {
    /// The reason for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unreadable => "the report in the lake can't be read",
            Self::Nobody => {
                "the call counts participants, the report has none where the mapping looks for them"
            }
            Self::Timeless => {
                "no session time of the report can be read, so it does not say who was there when"
            }
        }
    }

    /// The status of a report that falls short so.
    pub fn status(self) -> Status {
        match self {
            Self::Unreadable => Status::Failed,
            // Perhaps it is not ready, perhaps its shape is not mapped yet.
            Self::Nobody | Self::Timeless => Status::Pending,
        }
    }
}

/// What became of one thing to be landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landing {
    /// How far it has come.
    pub status: Status,
    /// Why it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Attempts that did not end in `done`, since the last one that did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// The bytes that lie in the lake, also those of an earlier attempt or of an answer that can't be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed: Option<Landed>,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Landing {
    /// Nothing tried yet.
    pub fn pending(reason: impl Into<String>) -> Self {
        Self {
            status: Status::Pending,
            reason: Some(reason.into()),
            attempts: 0,
            landed: None,
        }
    }

    /// The better of two processes' findings about one thing: what has usable bytes, then what is newer.
    fn better(self, other: Self) -> Self {
        let rank = |landing: &Self| {
            let landed_at = landing.landed.as_ref().map(|landed| landed.landed_at);
            (
                landing.usable().is_some(),
                landing.status == Status::Done,
                landed_at,
                landing.attempts,
            )
        };
        if rank(&other) > rank(&self) { other } else { self }
    }

    /// Takes the landed bytes for good.
    pub fn finish(&mut self) {
        self.status = Status::Done;
        self.reason = None;
        self.attempts = 0;
    }

    /// What the report in the lake lacks.
    pub fn shortfall(&self) -> Option<Shortfall> {
        let landed = self.usable()?;
        // Manifests of earlier versions say it by the count alone.
        let is_empty = landed.participants == Some(0) && self.status != Status::Done;
        landed.shortfall.or_else(|| is_empty.then_some(Shortfall::Nobody))
    }

    /// True if it is left alone because the program died of it twice.
    pub fn is_put_aside(&self) -> bool {
        self.landed.as_ref().is_some_and(|landed| landed.put_aside)
    }

    /// Takes the landed report off the tables, since the program died of it twice.
    pub fn put_aside(&mut self, reason: &str) {
        self.status = Status::Failed;
        self.reason = Some(reason.into());
        self.attempts += 1;
        if let Some(landed) = &mut self.landed {
            landed.usable = false;
            landed.put_aside = true;
        }
    }

    /// Has a report that was put aside read once more. The build that reads it says what it is worth.
    pub fn take_up_again(&mut self) {
        if let Some(landed) = self.landed.as_mut().filter(|landed| landed.put_aside) {
            landed.put_aside = false;
            landed.usable = true;
            landed.shortfall = Some(Shortfall::Unreadable);
        }
    }

    /// The landed bytes, where tables may be built from them.
    pub fn usable(&self) -> Option<&Landed> {
        self.landed.as_ref().filter(|landed| landed.usable)
    }
}

/// Bytes in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// Their key.
    pub key: String,
    /// Their number.
    pub bytes: u64,
    /// Their SHA-256, in hex.
    pub sha256: String,
    /// When they were taken.
    pub landed_at: DateTime<Utc>,
    /// Whether they are what they should be; an answer that is not is kept all the same.
    pub usable: bool,
    /// Participants that a report counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participants: Option<u64>,
    /// What the report lacks to be taken for its call's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
    /// Digest of the call's state that the report was taken for: another state asks for another report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// True if the program died of it twice: it is neither read nor asked for again unless a person says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub put_aside: bool,
}

/// What was built of a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Digest of all that the tables were built from; empty once something else was landed.
    pub fingerprint: String,
    /// `coverage.checked_at`: when the day last changed.
    pub checked_at: DateTime<Utc>,
    /// The files, by table.
    pub tables: BTreeMap<String, TableEntry>,
    /// The meetings of the day's calls, with the start of the first one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub meetings: BTreeMap<MeetingId, Option<DateTime<Utc>>>,
    /// Digest of the meta of these meetings; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub meta: String,
    /// Digest of what other days have of these meetings; empty where none has any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub beside: String,
    /// How well meta and participants fit together.
    #[serde(default, skip_serializing_if = "Quality::is_none")]
    pub quality: Quality,
}

/// How well lesson data and reports of a day fit together: counts, never who.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quality {
    /// Participants with a user and a meeting for whom no meta came.
    pub participants_without_meta: u64,
    /// Users of the day's meetings, expected by their meta, who were in no call.
    pub meta_without_participants: u64,
    /// Users of the day's meetings whose role is none of student, teacher, parent and assistant.
    pub unknown_roles: u64,
    /// Participants of one call who share user and meeting with another one.
    pub duplicate_external_ids: u64,
}

impl Quality {
    /// Adds another day's.
    pub fn add(&mut self, other: &Self) {
        self.participants_without_meta += other.participants_without_meta;
        self.meta_without_participants += other.meta_without_participants;
        self.unknown_roles += other.unknown_roles;
        self.duplicate_external_ids += other.duplicate_external_ids;
    }

    /// Whether there is nothing to say.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A table's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Its key.
    pub key: String,
    /// Its rows.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of a day of which nothing is known.
    pub fn new(date: NaiveDate, space_id: impl Into<SpaceId>) -> Self {
        Self {
            version: VERSION,
            date,
            space_id: space_id.into(),
            space_name: None,
            listed: false,
            missed: Missed::default(),
            rooms: BTreeMap::new(),
            calls: BTreeMap::new(),
            records: BTreeMap::new(),
            evicted: BTreeSet::new(),
            built: None,
            building: None,
            unknown: UnknownFields::default(),
        }
    }

    /// Whether the day was listed after it had ended, and no part of the listing is missing.
    pub fn is_listed_whole(&self) -> bool {
        self.listed && self.missed.is_none()
    }

    /// True if the tables are those of the landed state: a build was carried through, and nothing was landed since. A day
    /// on which nothing was found, and nothing missed, has nothing to build.
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

    /// The ids of the day's calls in the order of every table: by room, start and id.
    pub fn calls_in_order(&self) -> Vec<&str> {
        let mut calls: Vec<_> = self.calls.iter().collect();
        calls.sort_by(|(a_id, a), (b_id, b)| {
            (&a.room_id, a.started_at, a_id).cmp(&(&b.room_id, b.started_at, b_id))
        });
        calls.into_iter().map(|(id, _)| id.as_str()).collect()
    }

    /// Takes in what another process committed of the same day meanwhile: nothing of either is lost. What is built is
    /// what it says: it was the last to commit.
    pub fn absorb(&mut self, other: Self) {
        self.listed |= other.listed;
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
        self.unknown = other.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(fingerprint: &str) -> Built {
        Built {
            fingerprint: fingerprint.into(),
            checked_at: DateTime::UNIX_EPOCH,
            tables: BTreeMap::new(),
            meetings: BTreeMap::new(),
            meta: String::new(),
            beside: String::new(),
            quality: Quality::default(),
        }
    }

    #[test]
    fn fields_of_a_newer_program_survive_and_those_of_a_newer_version_are_refused() {
        let text = r#"{"version":1,"date":"2026-11-22","space_id":"s","space_name":null,"listed":true,"rooms":{},
            "calls":{"c":{"room_id":"r","started_at":null,"finished_at":null,"call":{"any":{"thing":1}},"tone":"new",
              "reports":{"json":{"status":"done","mood":2,"landed":{"key":"k","bytes":1,"sha256":"a",
                "landed_at":"2026-11-22T00:00:00Z","usable":true,"crc":"9"}}}}},
            "records":{},"built":{"fingerprint":"f","checked_at":"2026-11-22T00:00:00Z","tables":{},"engine":[1]},
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
    fn a_day_is_built_when_its_tables_are_of_the_landed_state() {
        let mut day = Manifest::new(NaiveDate::default(), "s");
        assert!(day.is_built(), "there is nothing to build");
        day.missed.rooms.insert("r".into());
        assert!(
            !day.is_built(),
            "the room that was missed has a row in `coverage`"
        );
        day.built = Some(built("f"));
        assert!(day.is_built());
        day.building = Some("id".into());
        assert!(!day.is_built(), "its tables are being replaced");
        day.building = None;
        day.built = Some(built(""));
        assert!(!day.is_built(), "something was landed since");
    }
}
