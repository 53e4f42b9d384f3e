//! The lesson cache of a run: the lesson data of a day's meetings, and the neighbour days, which have calls of the same
//! meetings. Both are looked up by meeting, whatever their dates, and read once. So a day is built, and its digests are
//! written, from one state of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, Utc};
use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::Result;
use crate::ids::{DayId, MeetingId};
use crate::lake::key;
use crate::lake::manifest::{Built, Manifest};
use crate::pipeline::lessons::import;
use crate::pipeline::lessons::import::MeetingIndex;
use crate::pipeline::lessons::lake::LessonLake;
use crate::pipeline::lessons::lesson_days::{read_entries, read_lesson_day};
use crate::pipeline::lessons::meeting_days::MeetingDays;
use crate::store::json::get_json;
use crate::tables::Presence;
use crate::tables::lessons::{LessonEntry, LessonIndex};

/// Bytes of lesson days, compressed as they are, that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;
/// A lesson day of up to so many bytes is read whole before it is known whose entries a day needs.
const NEAR_BYTES: usize = 256 << 10;
/// Days compared at once.
const READ_AT_ONCE: usize = 8;

/// The meetings of a day that was built, and the digests that its tables were built with.
#[derive(Debug, Clone, Default)]
struct DayMeetings {
    meetings: BTreeMap<MeetingId, Option<DateTime<Utc>>>,
    /// The key and the digest of the day's table of participants.
    participants: Option<(String, String)>,
    meta: String,
    neighbours: String,
}

impl From<&Built> for DayMeetings {
    fn from(built: &Built) -> Self {
        let participants = built.tables.get("participants");
        Self {
            meetings: built.meetings.clone(),
            participants: participants.map(|table| (table.key.clone(), table.sha256.clone())),
            meta: built.meta.clone(),
            neighbours: built.beside.clone(),
        }
    }
}

/// The neighbour days of a day: other days with calls of the same meetings.
#[derive(Debug, Default)]
pub(crate) struct NeighbourDays {
    /// For each of them, the key of its table of participants and the meetings that it shares.
    days: Vec<(String, BTreeSet<MeetingId>)>,
    /// The shared meetings whose first call lies on a neighbour day.
    pub started_elsewhere: BTreeSet<MeetingId>,
    /// A digest of all this; empty without neighbours.
    pub digest: String,
}

/// The lesson data and the neighbour days that a run has read so far.
pub(crate) struct LessonCache {
    lake: LessonLake,
    lesson_days: Mutex<LessonDays>,
    meetings: MeetingDays,
    days: Mutex<MeetingsByDay>,
}

#[derive(Default)]
struct LessonDays {
    /// The keys of the index's parts; `None` before they were listed.
    listed: Option<BTreeSet<String>>,
    /// The parts that were read, and the dates that they give for each meeting's mark.
    parts: BTreeSet<String>,
    dates: BTreeSet<(u64, NaiveDate)>,
    /// The lesson days that were read; `None` for a date without one.
    read: HashMap<NaiveDate, Option<Bytes>>,
}

impl LessonDays {
    /// True if the lake has any lesson data.
    async fn has_some(&mut self, lake: &LessonLake) -> Result<bool> {
        if self.listed.is_none() {
            let listed = lake.store.list(key::META_INDEX).await?;
            self.listed = Some(listed.into_iter().map(|entry| entry.key).collect());
        }
        Ok(self.listed.as_ref().is_some_and(|listed| !listed.is_empty()))
    }

    /// The dates whose lesson days have entries of some meetings.
    async fn dates_of(
        &mut self,
        lake: &LessonLake,
        meetings: &BTreeSet<&str>,
    ) -> Result<BTreeSet<NaiveDate>> {
        let mut dates = BTreeSet::new();
        if !self.has_some(lake).await? {
            return Ok(dates);
        }
        for meeting in meetings {
            let part = key::meta_index(meeting);
            if !self.parts.contains(&part) && self.listed.as_ref().is_some_and(|all| all.contains(&part)) {
                let index = get_json::<MeetingIndex>(&*lake.store, &part).await?;
                for (meeting, dates) in index.map(|(index, _)| index).unwrap_or_default() {
                    let mark = key::mark(&meeting);
                    self.dates.extend(dates.into_iter().map(|date| (mark, date)));
                }
                // Only now, because a read that failed is repeated.
                self.parts.insert(part);
            }
            let mark = key::mark(meeting);
            let of_meeting = self.dates.range((mark, NaiveDate::MIN)..=(mark, NaiveDate::MAX));
            dates.extend(of_meeting.map(|(_, date)| *date));
        }
        Ok(dates)
    }

    /// The lesson day of a date, if there is one.
    async fn lesson_day(&mut self, lake: &LessonLake, date: NaiveDate) -> Result<Option<Bytes>> {
        if let Some(lesson_day) = self.read.get(&date) {
            return Ok(lesson_day.clone());
        }
        let lesson_day = read_lesson_day(&*lake.store, date).await?;
        let lesson_day = lesson_day.map(|object| object.bytes);
        self.make_room(date, lesson_day.as_ref().map_or(0, Bytes::len));
        self.read.insert(date, lesson_day.clone());
        Ok(lesson_day)
    }

    /// Drops the lesson days that are furthest from a date. Days come in the order of their dates, and a run of years must
    /// not keep all lesson data in memory.
    fn make_room(&mut self, date: NaiveDate, bytes: usize) {
        let cached: usize = self.read.values().flatten().map(Bytes::len).sum();
        if cached + bytes <= CACHE_BYTES {
            return;
        }
        let mut dates: Vec<_> = self.read.keys().copied().collect();
        dates.sort_unstable_by_key(|known| (*known - date).num_days().abs());
        let mut kept = bytes;
        for known in dates {
            kept += self
                .read
                .get(&known)
                .and_then(Option::as_ref)
                .map_or(0, Bytes::len);
            if kept > CACHE_BYTES / 2 {
                self.read.remove(&known);
            }
        }
    }
}

#[derive(Default)]
struct MeetingsByDay {
    /// The days that this run has built: newer than the manifests it has read.
    built: BTreeMap<DayId, DayMeetings>,
    read: BTreeMap<DayId, DayMeetings>,
}

impl LessonCache {
    /// An empty cache.
    pub fn new(lake: LessonLake) -> Self {
        Self {
            lake,
            lesson_days: Mutex::default(),
            meetings: MeetingDays::default(),
            days: Mutex::default(),
        }
    }

    /// The lesson data of some meetings, whatever its dates.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn meta<'m>(&self, meetings: impl IntoIterator<Item = &'m str>) -> Result<LessonIndex> {
        let mut lesson_days = self.lesson_days.lock().await;
        let meetings: BTreeSet<&str> = meetings.into_iter().collect();
        let entries = entries(&self.lake, &mut lesson_days, &meetings).await?;
        let some = lesson_days.has_some(&self.lake).await?;
        Ok(LessonIndex::of(entries, some))
    }

    /// The lesson data that a day probably needs, before its reports are read: that of the meetings known to be on the day,
    /// and all that carries a date near the day's.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn guess(&self, date: NaiveDate, built: Option<&Built>) -> Result<LessonIndex> {
        let mut lesson_days = self.lesson_days.lock().await;
        let meetings = built.iter().flat_map(|built| built.meetings.keys());
        let meetings: BTreeSet<&str> = meetings.map(MeetingId::as_str).collect();
        let mut entries = entries(&self.lake, &mut lesson_days, &meetings).await?;
        let some = lesson_days.has_some(&self.lake).await?;
        let near = [
            date.checked_sub_days(Days::new(1)),
            Some(date),
            date.checked_add_days(Days::new(1)),
        ];
        for date in near.into_iter().flatten().filter(|_| some) {
            let lesson_day = lesson_days.lesson_day(&self.lake, date).await?;
            if let Some(lesson_day) = lesson_day.filter(|lesson_day| lesson_day.len() <= NEAR_BYTES) {
                entries.extend(read_entries(date, lesson_day, |_, _| true).await?);
            }
        }
        Ok(LessonIndex::of(entries, some))
    }

    /// Does an import while no day reads lesson data, then forgets the lesson data that was read before it. Days that are
    /// built meanwhile wait as soon as they need lesson data.
    pub async fn during_import<T>(&self, import: impl Future<Output = T>) -> T {
        let mut lesson_days = self.lesson_days.lock().await;
        let imported = import.await;
        *lesson_days = LessonDays::default();
        imported
    }

    /// Imports the lesson data that a day's reports contain. True if any of it was new.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn take_embedded(&self, entries: Vec<LessonEntry>) -> Result<bool> {
        // Hold the lock during the import, so that concurrent days import one at a time even on stores without
        // conditional writes.
        let mut lesson_days = self.lesson_days.lock().await;
        let meetings: BTreeSet<MeetingId> = entries.iter().map(|entry| entry.meeting.clone()).collect();
        let taken = import::take_embedded(&*self.lake.store, self.lake.zone, self.lake.now, entries).await?;
        self.lake.count_writes(taken.writes);
        for date in &taken.dates {
            lesson_days.read.remove(date);
            let marks = meetings.iter().map(|meeting| (key::mark(meeting), *date));
            lesson_days.dates.extend(marks);
        }
        if !taken.dates.is_empty()
            && let Some(listed) = &mut lesson_days.listed
        {
            listed.extend(meetings.iter().map(|meeting| key::meta_index(meeting)));
        }
        Ok(!taken.dates.is_empty())
    }

    /// The neighbour days of a day with these meetings.
    ///
    /// # Errors
    /// Any error of the store, also if a neighbour day can't be read.
    pub async fn neighbours(
        &self,
        day: &DayId,
        meetings: &BTreeMap<MeetingId, Option<DateTime<Utc>>>,
    ) -> Result<NeighbourDays> {
        let mut neighbours = NeighbourDays::default();
        if meetings.is_empty() {
            return Ok(neighbours);
        }
        let marks = meetings.keys().map(|meeting| key::mark(meeting)).collect();
        let mut hasher = Sha256::new();
        let rank = |start: &Option<DateTime<Utc>>, day: &DayId| (start.is_none(), *start, day.clone());
        for other in self.meetings.days_of(&self.lake, &marks).await? {
            if other == *day {
                continue;
            }
            let theirs = self.day(&other).await?;
            let Some((key, sha256)) = &theirs.participants else {
                continue;
            };
            let mut shared = BTreeSet::new();
            for (id, start) in meetings {
                let Some(their_start) = theirs.meetings.get(id) else {
                    continue;
                };
                shared.insert(id.clone());
                if rank(their_start, &other) < rank(start, day) {
                    neighbours.started_elsewhere.insert(id.clone());
                }
            }
            if !shared.is_empty() {
                hasher.update(format!("{}\0{}\0{sha256}\0", other.date, other.space));
                neighbours.days.push((key.clone(), shared));
            }
        }
        if !neighbours.days.is_empty() {
            neighbours.digest = hex::encode(hasher.finalize());
        }
        Ok(neighbours)
    }

    /// Registers a day that is being built, in memory and in the store, so that other days find it by its meetings.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn register(&self, day: &DayId, built: &Built) -> Result<()> {
        self.meetings.add(&self.lake, day, built).await?;
        self.days.lock().await.built.insert(day.clone(), built.into());
        Ok(())
    }

    /// Registers the meetings of a day that was committed.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn prune(&self, day: &DayId, built: &Built) -> Result<()> {
        self.meetings.prune(&self.lake, day, built).await
    }

    /// Forgets a day because another process has changed it. Its manifest is read again when it is next needed.
    pub async fn forget(&self, day: &DayId) {
        let mut known = self.days.lock().await;
        known.built.remove(day);
        known.read.remove(day);
    }

    /// Records that the attendance of a day's neighbours must be built again; see [`MeetingDays::touch`].
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn touch(&self, neighbours: &NeighbourDays) -> Result<()> {
        let shared = neighbours.days.iter().flat_map(|(_, meetings)| meetings);
        let marks = shared.map(|meeting| key::mark(meeting)).collect();
        self.meetings.touch(&self.lake, marks).await
    }

    /// The marks of the meetings touched since the last call.
    pub async fn take_touched(&self) -> BTreeSet<u64> {
        self.meetings.take_touched().await
    }

    /// The markers of the meetings whose neighbour days were built again: the caller removes them.
    pub async fn take_markers(&self) -> Vec<String> {
        self.meetings.take_markers().await
    }

    /// The days with some meetings (given by their marks) whose tables are stale: lesson data or neighbour days have changed
    /// since. A day that can't be read is among them; the work on it reports why.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn stale(&self, marks: &BTreeSet<u64>) -> Result<Vec<DayId>> {
        // Other processes may have committed meanwhile.
        self.days.lock().await.read.clear();
        let days = self.meetings.days_of(&self.lake, marks).await?;
        let stale = stream::iter(days)
            .map(|day| async move {
                let is_stale = self.is_stale(&day).await.unwrap_or(true);
                is_stale.then_some(day)
            })
            .buffered(READ_AT_ONCE);
        Ok(stale.filter_map(std::future::ready).collect().await)
    }

    async fn is_stale(&self, day: &DayId) -> Result<bool> {
        let lessons = self.day(day).await?;
        if lessons.meetings.is_empty() {
            return Ok(false);
        }
        let meetings = || lessons.meetings.keys().map(MeetingId::as_str);
        let meta = self.meta(meetings()).await?;
        Ok(meta.digest(meetings()) != lessons.meta
            || self.neighbours(day, &lessons.meetings).await?.digest != lessons.neighbours)
    }

    /// The meetings of a day; empty if the day is not built.
    async fn day(&self, day: &DayId) -> Result<DayMeetings> {
        {
            let known = self.days.lock().await;
            if let Some(lessons) = known.built.get(day).or_else(|| known.read.get(day)) {
                return Ok(lessons.clone());
            }
        }
        let manifest = get_json::<Manifest>(&*self.lake.store, &key::manifest(day.date, &day.space)).await?;
        let built = manifest.and_then(|(manifest, _)| manifest.built);
        let lessons = built.as_ref().map(DayMeetings::from).unwrap_or_default();
        // Only now, because a read that failed is repeated.
        self.days.lock().await.read.insert(day.clone(), lessons.clone());
        Ok(lessons)
    }

    /// Reads from the neighbour days who was in the shared meetings.
    ///
    /// # Errors
    /// Any error of the store; `Store` if a table of participants is damaged.
    pub async fn presences(&self, neighbours: &NeighbourDays) -> Result<Vec<Presence>> {
        let mut presences = Vec::new();
        for (key, shared) in &neighbours.days {
            presences.push(Presence::read(self.lake.store.read(key).await?, shared)?);
        }
        Ok(presences)
    }

    /// Builds the tables of a date's lesson data if they are stale, because an import may have been killed before it.
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the lesson day; else any error of the store.
    pub async fn rebuild_tables(&self, date: NaiveDate) -> Result<()> {
        let mut writer = self.lake.writer();
        let built = writer.build_tables(date).await;
        self.lake.count_writes(writer.writes);
        built
    }
}

/// The entries of some meetings, on whichever lesson days they lie.
async fn entries(
    lake: &LessonLake,
    lesson_days: &mut LessonDays,
    meetings: &BTreeSet<&str>,
) -> Result<Vec<LessonEntry>> {
    let mut entries = Vec::new();
    for date in lesson_days.dates_of(lake, meetings).await? {
        let Some(lesson_day) = lesson_days.lesson_day(lake, date).await? else {
            continue;
        };
        let wanted: BTreeSet<MeetingId> = meetings.iter().map(|meeting| (*meeting).into()).collect();
        entries.extend(read_entries(date, lesson_day, move |meeting, _| wanted.contains(meeting)).await?);
    }
    Ok(entries)
}
