//! The coverage of the lake: for each day, the items that are done, pending, failed or denied, and why. Read from the
//! manifests, without the API. Used by `cli status` and by the daemon, which keeps what it read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::lake::manifest::{Manifest, Quality, Status};
use crate::lake::{self, key};
use crate::store::json::get_json;
use crate::store::{Entry, Store};
use crate::{ErrorKind, Result};

/// Manifests read at once.
const READ_AT_ONCE: usize = 16;
/// Listings at once.
const LISTINGS_AT_ONCE: usize = 8;
/// A longer range of years is listed by a single prefix.
const MOST_YEARS: i32 = 30;
/// A manifest that was written less than this before it was read is read again, because it may have been written again
/// with the same size and time. The clocks of store and machine may differ by as much.
const UNCERTAIN: TimeDelta = TimeDelta::seconds(90);

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
    /// Reports in the lake.
    pub reports_done: u64,
    /// Reports that are not ready.
    pub reports_pending: u64,
    /// Reports that failed.
    pub reports_failed: u64,
    /// Reports that the API refuses.
    pub reports_denied: u64,
    /// Reports that did not come within `export.give_up`.
    pub reports_lost: u64,
    /// Recordings in the lake.
    pub records_done: u64,
    /// Recordings that are not ready.
    pub records_pending: u64,
    /// Recordings that failed.
    pub records_failed: u64,
    /// Recordings that the API refuses.
    pub records_denied: u64,
    /// Recordings that the platform itself has given up.
    pub records_unavailable: u64,
    /// Recordings that did not come within `export.give_up`.
    pub records_lost: u64,
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
    /// How well lesson data and participants match.
    #[serde(flatten)]
    pub quality: Quality,
    /// Bytes of the day's reports, recordings and tables in the lake.
    pub lake_bytes: u64,
    /// True if all calls, reports and recordings of the day are in the lake and in its tables.
    pub complete: bool,
    /// The most important reason why the day is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Sorted hashes of the day's ids: rooms, calls, records and meetings.
    #[serde(skip)]
    pub marks: Box<[u32]>,
    /// The reports and recordings that are missing, and why.
    pub missing: Vec<Lack>,
}

/// A report or a recording that is not in the lake, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Lack {
    /// The room.
    pub room_id: RoomId,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<RecordId>,
    /// `json`, `xlsx` or `recording`.
    pub what: &'static str,
    /// The state of its transfer.
    pub status: Status,
    /// The reason.
    pub reason: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
}

/// The coverage of a day, with the size and time of the manifest that it was read from.
struct Known {
    bytes: u64,
    modified: Option<DateTime<Utc>>,
    read_at: DateTime<Utc>,
    day: Arc<DayStatus>,
}

impl Known {
    fn is_current(&self, entry: &Entry) -> bool {
        self.bytes == entry.bytes
            && self.modified.is_some()
            && self.modified == entry.modified
            && self.modified.is_some_and(|at| at + UNCERTAIN < self.read_at)
    }
}

/// Reads coverage and caches it: a manifest that has not changed is not read again.
#[derive(Default)]
pub struct Coverage {
    days: Mutex<HashMap<String, Known>>,
    /// The latest name of each room, with the date that it is from.
    rooms: Mutex<RoomNames>,
}

/// By the ids of space and room: a date, and the room's name on that date.
type RoomNames = BTreeMap<(SpaceId, RoomId), (NaiveDate, Option<String>)>;

/// A room that the lake has calls or recordings of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRoom {
    /// The space's id.
    pub space_id: SpaceId,
    /// The room's id.
    pub room_id: RoomId,
    /// The room's latest name.
    pub name: Option<String>,
}

/// The open days, by the keys of their markers: the next nightly run works on them.
#[derive(Debug, Default)]
pub struct MarkedDays(HashSet<String>);

impl MarkedDays {
    /// Reads the markers.
    ///
    /// # Errors
    /// The store fails.
    pub async fn read(store: &dyn Store) -> Result<Self> {
        let markers = store.list(key::OPEN_DAYS).await?;
        Ok(Self(markers.into_iter().map(|marker| marker.key).collect()))
    }

    /// True if a day has a marker.
    pub fn has(&self, date: NaiveDate, space: &SpaceId) -> bool {
        self.0.contains(&key::open_day(date, space))
    }
}

fn lock<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Coverage {
    /// At most `most` rooms whose name or id contains a text, in upper or lower case, sorted by name; of the days read so
    /// far.
    pub fn rooms_like(&self, text: &str, most: usize) -> Vec<KnownRoom> {
        let wanted = text.to_lowercase();
        let is_like = |name: &str| name.to_lowercase().contains(&wanted);
        let rooms = lock(&self.rooms);
        let found = rooms
            .iter()
            .filter(|((_, id), (_, name))| is_like(id) || name.as_deref().is_some_and(is_like));
        let mut found: Vec<KnownRoom> = found
            .map(|((space_id, room_id), (_, name))| KnownRoom {
                space_id: space_id.clone().into(),
                room_id: room_id.clone().into(),
                name: name.clone(),
            })
            .collect();
        found.sort_by(|a, b| (&a.name, &a.room_id).cmp(&(&b.name, &b.room_id)));
        found.truncate(most);
        found
    }

    /// The latest name of a room, if any day has one.
    pub fn room_name(&self, space: &str, room: &str) -> Option<String> {
        let rooms = lock(&self.rooms);
        rooms
            .get(&(space.into(), room.into()))
            .and_then(|(_, name)| name.clone())
    }

    /// Records the names of a day's rooms; the name of the latest day wins.
    fn note_rooms(&self, manifest: &Manifest) {
        let mut rooms = lock(&self.rooms);
        for (id, room) in &manifest.rooms {
            let entry = rooms
                .entry((manifest.space_id.to_string().into(), id.to_string().into()))
                .or_insert((manifest.date, None));
            if manifest.date >= entry.0 || entry.1.is_none() {
                *entry = (manifest.date, room.name.clone());
            }
        }
    }

    /// The days of the lake from `from` to `to`, by date and space; each end may be open. A day whose manifest is damaged
    /// is reported as not complete.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn days(
        &self,
        store: &dyn Store,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
    ) -> Result<Vec<Arc<DayStatus>>> {
        self.latest(store, from, to, usize::MAX).await
    }

    /// As [`Coverage::days`], but only of the last `count` dates that the lake has.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn latest(
        &self,
        store: &dyn Store,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
        count: usize,
    ) -> Result<Vec<Arc<DayStatus>>> {
        let now = Utc::now();
        let mut found = list(store, from, to).await?;
        let mut dates: Vec<NaiveDate> = found.iter().map(|(date, _)| *date).collect();
        dates.dedup();
        if let Some(first) = dates.iter().rev().nth(count.saturating_sub(1)).copied() {
            found.retain(|(date, _)| *date >= first);
        }
        let days = stream::iter(found)
            .map(|(date, entry)| self.day(store, date, entry, now))
            .buffered(READ_AT_ONCE);
        days.try_filter_map(|day| std::future::ready(Ok(day)))
            .try_collect()
            .await
    }

    async fn day(
        &self,
        store: &dyn Store,
        date: NaiveDate,
        entry: Entry,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<DayStatus>>> {
        if let Some(day) = self.known(&entry) {
            return Ok(Some(day));
        }
        let day = match get_json::<Manifest>(store, &entry.key).await {
            Ok(Some((manifest, _))) => {
                self.note_rooms(&manifest);
                Arc::new(DayStatus::of(&manifest))
            }
            Ok(None) => return Ok(None),
            // One damaged day must not hide the others.
            Err(error) if error.kind() == ErrorKind::Store => {
                tracing::error!(%error, "a day can't be read");
                return Ok(Some(Arc::new(DayStatus {
                    date,
                    space_id: entry.key.into(),
                    reason: Some("its manifest can't be read".into()),
                    ..DayStatus::default()
                })));
            }
            Err(error) => return Err(error),
        };
        let known = Known {
            bytes: entry.bytes,
            modified: entry.modified,
            read_at: now,
            day: Arc::clone(&day),
        };
        lock(&self.days).insert(entry.key, known);
        Ok(Some(day))
    }

    fn known(&self, entry: &Entry) -> Option<Arc<DayStatus>> {
        let all = lock(&self.days);
        let known = all.get(&entry.key).filter(|known| known.is_current(entry))?;
        Some(Arc::clone(&known.day))
    }
}

/// The manifests of some dates, by date and key. If both ends are known, the years (or, of a single year, its months)
/// are listed in parallel.
async fn list(
    store: &dyn Store,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
) -> Result<Vec<(NaiveDate, Entry)>> {
    let prefixes = match (from, to) {
        (Some(from), Some(to)) => prefixes(from, to),
        _ => vec![key::DAYS.to_owned()],
    };
    let listings: Vec<Vec<Entry>> = stream::iter(prefixes)
        .map(|prefix| async move { store.list(&prefix).await })
        .buffered(LISTINGS_AT_ONCE)
        .try_collect()
        .await?;
    let mut found: Vec<(NaiveDate, Entry)> = listings
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((key::date_in(&entry.key)?, entry)))
        .filter(|(date, _)| from.is_none_or(|from| *date >= from) && to.is_none_or(|to| *date <= to))
        .collect();
    found.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    Ok(found)
}

/// The prefixes below which the manifests of some dates lie.
fn prefixes(from: NaiveDate, to: NaiveDate) -> Vec<String> {
    let (first, last) = (from.year(), to.year());
    if first == last {
        return (from.month()..=to.month())
            .map(|month| format!("{}date={first:04}-{month:02}-", key::DAYS))
            .collect();
    }
    if last.saturating_sub(first) > MOST_YEARS {
        return vec![key::DAYS.to_owned()];
    }
    (first..=last)
        .map(|year| format!("{}date={year:04}-", key::DAYS))
        .collect()
}

/// Counts the missing items by what they are and by the age of their day. Reads only the open days, so that it costs
/// little.
///
/// # Errors
/// Any error of the store.
pub async fn pending_by_age(
    store: &dyn Store,
    zone: Tz,
    now: DateTime<Utc>,
) -> Result<BTreeMap<(&'static str, &'static str), u64>> {
    let today = lake::date_of(now, zone);
    let mut pending = BTreeMap::new();
    for what in ["call", "report", "recording", "listing", "build"] {
        for age in ["1d", "3d", "7d", "older"] {
            pending.insert((what, age), 0);
        }
    }
    let mut markers = store.list(key::OPEN_DAYS).await?;
    markers.retain(|marker| key::date_in(&marker.key).is_none_or(|date| date <= today));
    let manifests = stream::iter(markers)
        .map(|marker| async move {
            let key = marker.key.replacen(key::OPEN_DAYS, key::DAYS, 1) + ".json";
            get_json::<Manifest>(store, &key).await
        })
        .buffer_unordered(READ_AT_ONCE);
    let manifests: Vec<_> = manifests.collect().await;
    for manifest in manifests {
        // `status` and the next run report a manifest that can't be read.
        let Ok(Some((manifest, _))) = manifest else {
            continue;
        };
        let day = DayStatus::of(&manifest);
        let age = match (today - day.date).num_days() {
            ..=1 => "1d",
            2..=3 => "3d",
            4..=7 => "7d",
            _ => "older",
        };
        for (what, count) in [
            ("call", day.calls_pending),
            ("report", day.reports_pending + day.reports_failed),
            ("recording", day.records_pending + day.records_failed),
            ("listing", day.rooms_missed + u64::from(day.space_missed)),
            ("build", u64::from(!day.built)),
        ] {
            *pending.entry((what, age)).or_default() += count;
        }
    }
    Ok(pending)
}

impl DayStatus {
    /// The coverage of a day.
    pub fn of(manifest: &Manifest) -> Self {
        let mut day = Self {
            date: manifest.date,
            space_id: manifest.space_id.clone(),
            space_name: manifest.space_name.clone(),
            listed: manifest.is_listed_whole(),
            built: manifest.is_built(),
            lake_bytes: bytes_of(manifest),
            marks: marks_of(manifest),
            rooms_missed: manifest.missed.rooms.len() as u64,
            rooms_to_ask: manifest.missed.rooms.iter().cloned().collect(),
            rooms_gone: manifest.missed.gone.len() as u64,
            space_missed: manifest.missed.space || manifest.missed.partial,
            calls: manifest.calls.len() as u64,
            quality: manifest
                .built
                .as_ref()
                .map_or(Quality::default(), |built| built.quality),
            ..Self::default()
        };
        for (id, entry) in &manifest.calls {
            day.calls_pending += u64::from(entry.pending.is_some());
            let participants = entry.participants.unwrap_or_default();
            day.participants += u64::try_from(participants).unwrap_or_default();
            for (format, landing) in &entry.reports {
                *match landing.status {
                    Status::Done => &mut day.reports_done,
                    Status::Pending | Status::Unavailable => &mut day.reports_pending,
                    Status::Failed => &mut day.reports_failed,
                    Status::Denied => &mut day.reports_denied,
                    Status::Lost => &mut day.reports_lost,
                } += 1;
                if landing.status != Status::Done {
                    day.missing.push(Lack {
                        room_id: entry.room_id.clone(),
                        call_id: Some(id.clone()),
                        record_id: None,
                        what: format.as_str(),
                        status: landing.status,
                        reason: entry.pending.clone().or_else(|| landing.reason.clone()),
                        attempts: landing.attempts,
                    });
                }
            }
        }
        for (id, entry) in &manifest.records {
            *match entry.file.status {
                Status::Done => &mut day.records_done,
                Status::Pending => &mut day.records_pending,
                Status::Unavailable => &mut day.records_unavailable,
                Status::Failed => &mut day.records_failed,
                Status::Denied => &mut day.records_denied,
                Status::Lost => &mut day.records_lost,
            } += 1;
            if let Some(landed) = entry.file.usable() {
                day.recorded_bytes += landed.bytes;
                let lasted = entry
                    .started_at
                    .zip(entry.finished_at)
                    .map(|(start, end)| end - start);
                let seconds = lasted.map_or(0, |lasted| lasted.num_seconds());
                day.recorded_s += u64::try_from(seconds).unwrap_or_default();
            }
            if entry.file.status != Status::Done {
                day.missing.push(Lack {
                    room_id: entry.room_id.clone(),
                    call_id: entry.call_id.clone(),
                    record_id: Some(id.clone()),
                    what: "recording",
                    status: entry.file.status,
                    reason: entry.file.reason.clone(),
                    attempts: entry.file.attempts,
                });
            }
        }
        let open = day.calls_pending
            + day.reports_pending
            + day.reports_failed
            + day.records_pending
            + day.records_failed;
        let closed = day.reports_denied + day.records_denied + day.reports_lost + day.records_lost;
        day.complete = day.listed && day.built && open + closed == 0;
        day.reason = (!day.complete).then(|| day.first_reason());
        day
    }

    /// True if the day's manifest can't be read: then `space_id` is its key.
    pub fn is_damaged(&self) -> bool {
        self.space_id.starts_with(key::DAYS)
    }

    /// True if the day may have an object with this id. Its manifest says whether it does.
    pub fn may_have(&self, id: &str) -> bool {
        self.marks.binary_search(&mark(id)).is_ok()
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

impl Lack {
    /// The state, in a word.
    pub fn state(&self) -> &'static str {
        match self.status {
            Status::Done => "done",
            Status::Pending => "pending",
            Status::Denied => "denied",
            Status::Failed => "failed",
            Status::Unavailable => "unavailable",
            Status::Lost => "lost",
        }
    }
}

/// The bytes of a day's reports, recordings and tables in the lake.
fn bytes_of(manifest: &Manifest) -> u64 {
    let reports = manifest.calls.values().flat_map(|call| call.reports.values());
    let files = manifest.records.values().map(|record| &record.file);
    let landed = reports.chain(files).filter_map(|landing| landing.landed.as_ref());
    let tables = manifest.built.iter().flat_map(|built| built.tables.values());
    landed.map(|landed| landed.bytes).sum::<u64>() + tables.map(|table| table.bytes).sum::<u64>()
}

/// A short hash of an id, valid within this process, so that years of calls fit into memory.
fn mark(id: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    // The low half is as good as the other.
    (hasher.finish() & u64::from(u32::MAX)) as u32
}

fn marks_of(manifest: &Manifest) -> Box<[u32]> {
    let of_calls = manifest.calls.iter().flat_map(|(id, call)| [id.as_str(), call.room_id.as_str()]);
    let of_records = manifest.records.iter().flat_map(|(id, record)| {
        [Some(id.as_str()), Some(record.room_id.as_str()), record.call_id.as_deref()]
            .into_iter()
            .flatten()
    });
    let meetings = manifest.built.iter().flat_map(|built| built.meetings.keys().map(|id| id.as_str()));
    let ids = of_calls
        .chain(of_records)
        .chain(meetings)
        .chain(manifest.missed.rooms.iter().map(|id| id.as_str()));
    let mut marks: Vec<u32> = ids.map(mark).collect();
    marks.sort_unstable();
    marks.dedup();
    marks.into()
}

/// The spans of dates without a manifest, up to yesterday or the last date asked for: no run has covered them.
pub fn never_looked_at(
    today: NaiveDate,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    days: &[Arc<DayStatus>],
) -> Vec<(NaiveDate, NaiveDate)> {
    let Some(first) = from.or(days.first().map(|day| day.date)) else {
        return Vec::new();
    };
    let yesterday = today - Days::new(1);
    let last = to.map_or(yesterday, |to| to.min(yesterday));
    let mut spans: Vec<(NaiveDate, NaiveDate)> = Vec::new();
    let absent = first
        .iter_days()
        .take_while(|date| *date <= last)
        .filter(|date| days.binary_search_by_key(date, |day| day.date).is_err());
    for date in absent {
        match spans.last_mut() {
            Some((_, end)) if *end + Days::new(1) == date => *end = date,
            _ => spans.push((date, date)),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Condition, folder::FolderStore};

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    #[test]
    fn years_or_months_are_listed_in_parallel_and_a_very_long_range_at_once() {
        let of = |from: &str, to: &str| prefixes(date(from), date(to)).join(" ");
        assert_eq!(
            of("2025-12-31", "2026-02-01"),
            "_telelake/days/date=2025- _telelake/days/date=2026-"
        );
        assert_eq!(
            of("2026-01-31", "2026-02-01"),
            "_telelake/days/date=2026-01- _telelake/days/date=2026-02-"
        );
        assert_eq!(of("1926-01-01", "2026-02-01"), "_telelake/days/");
        assert_eq!(of("2026-02-01", "2025-02-01"), "");
        assert_eq!(of("2026-02-01", "2026-01-01"), "");
    }

    /// A day with one call whose report has landed.
    fn landed() -> Manifest {
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

    fn built() -> crate::lake::manifest::Built {
        serde_json::from_value(serde_json::json!({
            "fingerprint": "f", "checked_at": "2026-11-21T00:00:00Z", "meetings": {"m1": null},
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
        let mut empty = Manifest::new(date("2026-11-20"), "s1");
        empty.listed = true;
        let day = DayStatus::of(&empty);
        assert!(day.built && day.complete);
    }

    #[test]
    fn a_day_finds_its_ids_and_counts_its_bytes() {
        let mut manifest = landed();
        manifest.built = Some(built());
        let day = DayStatus::of(&manifest);
        for id in ["r1", "c1", "m1"] {
            assert!(day.may_have(id), "{id}");
        }
        assert!(!day.may_have("c2") && !day.may_have(""));
        assert_eq!(day.lake_bytes, 1024);
    }

    #[tokio::test]
    async fn days_that_were_not_built_are_counted_by_age() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let manifest = landed();
        let keys = [
            (key::open_day(manifest.date, &"s1".into()), bytes::Bytes::new()),
            (
                key::manifest(manifest.date, &"s1".into()),
                serde_json::to_vec(&manifest).expect("JSON").into(),
            ),
        ];
        for (key, bytes) in keys {
            store.put(&key, bytes, Condition::Any).await.expect("put");
        }
        let now = "2026-11-22T10:00:00Z".parse().expect("instant");
        let pending = pending_by_age(&store, Tz::UTC, now).await.expect("counted");
        assert_eq!(pending[&("build", "3d")], 1);
        assert_eq!(pending[&("build", "1d")], 0);
        assert_eq!(pending[&("report", "3d")], 0);
        let marked = MarkedDays::read(&store).await.expect("read");
        assert!(marked.has(manifest.date, &"s1".into()) && !marked.has(manifest.date, &"s2".into()));
    }

    #[tokio::test]
    async fn rooms_are_found_by_a_part_of_their_latest_name_or_id() {
        let coverage = Coverage::default();
        let mut manifest = landed();
        coverage.note_rooms(&manifest);
        manifest.date = date("2026-11-19");
        manifest.rooms.get_mut("r1").expect("room").name = Some("Older".into());
        coverage.note_rooms(&manifest);
        let names = |text: &str| -> Vec<_> {
            let found = coverage.rooms_like(text, 10).into_iter();
            found.map(|room| room.name.expect("a name")).collect()
        };
        assert_eq!(names("ROOM"), ["Room 7"]);
        assert_eq!(names("r1"), ["Room 7"]);
        assert!(names("older").is_empty());
        assert_eq!(coverage.room_name("s1", "r1").as_deref(), Some("Room 7"));
    }

    #[tokio::test]
    async fn what_was_read_is_kept_until_it_changes() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let day = date("2026-11-20");
        let key = key::manifest(day, &"s1".into());
        let write = async |name: &str, age: u64| {
            let mut manifest = Manifest::new(day, "s1");
            manifest.space_name = Some(name.into());
            let bytes = serde_json::to_vec(&manifest).expect("JSON");
            store.put(&key, bytes.into(), Condition::Any).await.expect("put");
            let at = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            let file = std::fs::File::options()
                .write(true)
                .open(folder.path().join(&key));
            file.expect("file").set_modified(at).expect("time");
        };
        let coverage = Coverage::default();
        let name = async || {
            let days = coverage.days(&store, Some(day), Some(day)).await.expect("days");
            days[0].space_name.clone().expect("name")
        };
        write("old", 3600).await;
        assert_eq!(name().await, "old");
        // The listing shows the change.
        write("newer", 1800).await;
        assert_eq!(name().await, "newer");
        // Written just now: with the same size and time, it may be another one.
        write("later", 0).await;
        assert_eq!(name().await, "later");
        let time = std::fs::metadata(folder.path().join(&key))
            .expect("file")
            .modified()
            .expect("time");
        write("again", 0).await;
        let file = std::fs::File::options()
            .write(true)
            .open(folder.path().join(&key));
        file.expect("file").set_modified(time).expect("time");
        assert_eq!(name().await, "again");
    }
}
