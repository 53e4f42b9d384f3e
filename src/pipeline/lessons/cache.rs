//! What a run knows of lessons: the lesson data of a day's meetings, and the days that share a meeting. Both are found
//! by their keys, whatever their dates, and read when they are first asked for: a day is built, and noted, with one and
//! the same state of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

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
use crate::pipeline::lessons::import::Index;
use crate::pipeline::lessons::lesson_days::{find_on, read_shelf};
use crate::pipeline::lessons::meeting_days::MeetingDays;
use crate::pipeline::run_context::RunContext;
use crate::store::json::get_json;
use crate::tables::Presence;
use crate::tables::lessons::{Entry, Meta};

/// Bytes of shelves, compressed as they are, that are kept for the days to come.
const SHELVES_BYTES: usize = 32 << 20;
/// Bytes of a shelf that is small enough to be read whole before it is known whose lesson data a day needs.
const NEAR_BYTES: usize = 256 << 10;
/// Days looked at at once.
const READ_AT_ONCE: usize = 8;

/// A day: date and space.

/// What a day that was built has of meetings.
#[derive(Debug, Clone, Default)]
struct DayLessons {
    meetings: BTreeMap<MeetingId, Option<DateTime<Utc>>>,
    /// Key and digest of its participants.
    participants: Option<(String, String)>,
    meta: String,
    beside: String,
}

impl From<&Built> for DayLessons {
    fn from(built: &Built) -> Self {
        let participants = built.tables.get("participants");
        Self {
            meetings: built.meetings.clone(),
            participants: participants.map(|table| (table.key.clone(), table.sha256.clone())),
            meta: built.meta.clone(),
            beside: built.beside.clone(),
        }
    }
}

/// What other days have of a day's meetings.
#[derive(Debug, Default)]
pub(crate) struct SharedMeetings {
    /// The days, with the key of their participants and the meetings that they share.
    days: Vec<(String, BTreeSet<MeetingId>)>,
    /// Of the shared meetings, those whose first call lies on another day.
    pub away: BTreeSet<MeetingId>,
    /// Of all this; empty where nothing is shared.
    pub digest: String,
}

/// See the module.
#[derive(Default)]
pub(crate) struct LessonCache {
    shelves: Mutex<Shelves>,
    meetings: MeetingDays,
    days: Mutex<KnownDays>,
}

#[derive(Default)]
struct Shelves {
    /// The parts of the index that there are; none before they were listed.
    listed: Option<BTreeSet<String>>,
    /// Those that were read, and the dates in them by the marks of meetings.
    parts: BTreeSet<String>,
    dates: BTreeSet<(u64, NaiveDate)>,
    /// The shelves that were read; none for a date without one.
    read: HashMap<NaiveDate, Option<Bytes>>,
}

impl Shelves {
    /// Whether there is any lesson data.
    async fn has_some(&mut self, run: &RunContext) -> Result<bool> {
        if self.listed.is_none() {
            let listed = run.store.list(key::META_INDEX).await?;
            self.listed = Some(listed.into_iter().map(|entry| entry.key).collect());
        }
        Ok(self.listed.as_ref().is_some_and(|listed| !listed.is_empty()))
    }

    /// The dates on whose shelves some meetings have lesson data.
    async fn dates_of(&mut self, run: &RunContext, meetings: &BTreeSet<&str>) -> Result<BTreeSet<NaiveDate>> {
        let mut dates = BTreeSet::new();
        if !self.has_some(run).await? {
            return Ok(dates);
        }
        for meeting in meetings {
            let part = key::meta_index(meeting);
            if !self.parts.contains(&part) && self.listed.as_ref().is_some_and(|all| all.contains(&part)) {
                let index = get_json::<Index>(&*run.store, &part).await?;
                for (meeting, dates) in index.map(|(index, _)| index).unwrap_or_default() {
                    let mark = key::mark(&meeting);
                    self.dates.extend(dates.into_iter().map(|date| (mark, date)));
                }
                // Not before: what could not be read is asked for again.
                self.parts.insert(part);
            }
            let mark = key::mark(meeting);
            let of_meeting = self.dates.range((mark, NaiveDate::MIN)..=(mark, NaiveDate::MAX));
            dates.extend(of_meeting.map(|(_, date)| *date));
        }
        Ok(dates)
    }

    /// A date's shelf, where there is one.
    async fn shelf(&mut self, run: &RunContext, date: NaiveDate) -> Result<Option<Bytes>> {
        if let Some(shelf) = self.read.get(&date) {
            return Ok(shelf.clone());
        }
        let shelf = read_shelf(&*run.store, date).await?;
        let shelf = shelf.map(|object| object.bytes);
        self.make_room(date, shelf.as_ref().map_or(0, Bytes::len));
        self.read.insert(date, shelf.clone());
        Ok(shelf)
    }

    /// Forgets the shelves that lie furthest from a date: days come in the order of their dates, and a run of years
    /// must not hold the lesson data of all of them.
    fn make_room(&mut self, date: NaiveDate, bytes: usize) {
        let held: usize = self.read.values().flatten().map(Bytes::len).sum();
        if held + bytes <= SHELVES_BYTES {
            return;
        }
        let mut dates: Vec<_> = self.read.keys().copied().collect();
        dates.sort_unstable_by_key(|known| (*known - date).num_days().abs());
        let mut held = bytes;
        for known in dates {
            held += self
                .read
                .get(&known)
                .and_then(Option::as_ref)
                .map_or(0, Bytes::len);
            if held > SHELVES_BYTES / 2 {
                self.read.remove(&known);
            }
        }
    }
}

#[derive(Default)]
struct KnownDays {
    /// The days that this run has built itself: newer than what it reads.
    built: BTreeMap<DayId, DayLessons>,
    read: BTreeMap<DayId, DayLessons>,
}

impl LessonCache {
    /// The lesson data of some meetings, whatever its dates.
    ///
    /// # Errors
    /// Of the store.
    pub async fn meta<'m>(
        &self,
        run: &RunContext,
        meetings: impl IntoIterator<Item = &'m str>,
    ) -> Result<Meta> {
        let mut shelves = self.shelves.lock().await;
        let meetings: BTreeSet<&str> = meetings.into_iter().collect();
        let entries = entries(run, &mut shelves, &meetings).await?;
        let some = shelves.has_some(run).await?;
        Ok(Meta::of(entries, some))
    }

    /// The lesson data that a day needs as far as can be told before its reports are read: that of the meetings that
    /// it is known to have, and that which carries a date near its own.
    ///
    /// # Errors
    /// Of the store.
    pub async fn guess(&self, run: &RunContext, date: NaiveDate, built: Option<&Built>) -> Result<Meta> {
        let mut shelves = self.shelves.lock().await;
        let meetings = built.iter().flat_map(|built| built.meetings.keys());
        let meetings: BTreeSet<&str> = meetings.map(MeetingId::as_str).collect();
        let mut entries = entries(run, &mut shelves, &meetings).await?;
        let some = shelves.has_some(run).await?;
        let near = [
            date.checked_sub_days(Days::new(1)),
            Some(date),
            date.checked_add_days(Days::new(1)),
        ];
        for date in near.into_iter().flatten().filter(|_| some) {
            let shelf = shelves.shelf(run, date).await?;
            if let Some(shelf) = shelf.filter(|shelf| shelf.len() <= NEAR_BYTES) {
                entries.extend(find_on(date, shelf, |_, _| true).await?);
            }
        }
        Ok(Meta::of(entries, some))
    }

    /// Takes in the meta that a day's reports hold; says whether it brought anything new.
    ///
    /// # Errors
    /// Of the store.
    pub async fn take_embedded(&self, run: &RunContext, entries: Vec<Entry>) -> Result<bool> {
        // Hold the lock during the import, so that concurrent days import one at a time even on stores without
        // conditional writes.
        let mut shelves = self.shelves.lock().await;
        let meetings: BTreeSet<MeetingId> = entries.iter().map(|entry| entry.meeting.clone()).collect();
        let taken = import::take_embedded(
            &*run.store,
            run.config.timezone,
            run.now,
            run.conditional.load(Ordering::Relaxed),
            entries,
        )
        .await?;
        run.writes.fetch_add(taken.writes, Ordering::Relaxed);
        for date in &taken.dates {
            shelves.read.remove(date);
            let marks = meetings.iter().map(|meeting| (key::mark(meeting), *date));
            shelves.dates.extend(marks);
        }
        if !taken.dates.is_empty()
            && let Some(listed) = &mut shelves.listed
        {
            listed.extend(meetings.iter().map(|meeting| key::meta_index(meeting)));
        }
        Ok(!taken.dates.is_empty())
    }

    /// What other days have of the meetings of a day.
    ///
    /// # Errors
    /// Of the store; also where a day that shares a meeting can't be read.
    pub async fn beside(
        &self,
        run: &RunContext,
        day: &DayId,
        meetings: &BTreeMap<MeetingId, Option<DateTime<Utc>>>,
    ) -> Result<SharedMeetings> {
        let mut beside = SharedMeetings::default();
        if meetings.is_empty() {
            return Ok(beside);
        }
        let marks = meetings.keys().map(|meeting| key::mark(meeting)).collect();
        let mut hasher = Sha256::new();
        let rank = |start: &Option<DateTime<Utc>>, day: &DayId| (start.is_none(), *start, day.clone());
        for other in self.meetings.days_of(run, &marks).await? {
            if other == *day {
                continue;
            }
            let theirs = self.day(run, &other).await?;
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
                    beside.away.insert(id.to_string().into());
                }
            }
            if !shared.is_empty() {
                hasher.update(format!("{}\0{}\0{sha256}\0", other.date, other.space));
                beside.days.push((key.clone(), shared));
            }
        }
        if !beside.days.is_empty() {
            beside.digest = hex::encode(hasher.finalize());
        }
        Ok(beside)
    }

    /// Takes note of a day that is being built, here and in the store: other days find it by its meetings.
    ///
    /// # Errors
    /// Of the store.
    pub async fn register(&self, run: &RunContext, day: &DayId, built: &Built) -> Result<()> {
        self.meetings.add(run, day, built).await?;
        self.days.lock().await.built.insert(day.clone(), built.into());
        Ok(())
    }

    /// Takes note of a day as it was committed.
    ///
    /// # Errors
    /// Of the store.
    pub async fn settle(&self, run: &RunContext, day: &DayId, built: &Built) -> Result<()> {
        self.meetings.settle(run, day, built).await
    }

    /// Forgets what was noted of a day and reads its manifest again when it is next asked for: another process has
    /// changed it.
    pub async fn forget(&self, day: &DayId) {
        let mut known = self.days.lock().await;
        known.built.remove(day);
        known.read.remove(day);
    }

    /// Takes note that a day changes what others have of its meetings; see [`MeetingDays::touch`].
    ///
    /// # Errors
    /// Of the store.
    pub async fn touch(&self, run: &RunContext, beside: &SharedMeetings) -> Result<()> {
        let shared = beside.days.iter().flat_map(|(_, meetings)| meetings);
        let marks = shared.map(|meeting| key::mark(&meeting)).collect();
        self.meetings.touch(run, marks).await
    }

    /// The marks of the meetings that were touched since this was last asked.
    pub async fn take_touched(&self) -> BTreeSet<u64> {
        self.meetings.take_touched().await
    }

    /// The markers of the meetings whose other days were looked at: to be removed.
    pub async fn take_markers(&self) -> Vec<String> {
        self.meetings.take_markers().await
    }

    /// The days with some meetings, by their marks, whose tables are not of the present meta, or of what other days
    /// have of their meetings. A day that can't be read is among them: it is told when it is worked on.
    ///
    /// # Errors
    /// Of the store.
    pub async fn stale(&self, run: &RunContext, marks: &BTreeSet<u64>) -> Result<Vec<DayId>> {
        // Other processes may have committed meanwhile.
        self.days.lock().await.read.clear();
        let days = self.meetings.days_of(run, marks).await?;
        let looked = stream::iter(days)
            .map(|day| async move {
                let stale = self.is_stale(run, &day).await.unwrap_or(true);
                stale.then_some(day)
            })
            .buffered(READ_AT_ONCE);
        Ok(looked.filter_map(std::future::ready).collect().await)
    }

    async fn is_stale(&self, run: &RunContext, day: &DayId) -> Result<bool> {
        let lessons = self.day(run, day).await?;
        if lessons.meetings.is_empty() {
            return Ok(false);
        }
        let meetings = || lessons.meetings.keys().map(MeetingId::as_str);
        let meta = self.meta(run, meetings()).await?;
        Ok(meta.digest(meetings()) != lessons.meta
            || self.beside(run, day, &lessons.meetings).await?.digest != lessons.beside)
    }

    /// What a day has of meetings; nothing where it is not built.
    async fn day(&self, run: &RunContext, day: &DayId) -> Result<DayLessons> {
        {
            let known = self.days.lock().await;
            if let Some(lessons) = known.built.get(day).or_else(|| known.read.get(day)) {
                return Ok(lessons.clone());
            }
        }
        let manifest = get_json::<Manifest>(&*run.store, &key::manifest(day.date, &day.space)).await?;
        let built = manifest.and_then(|(manifest, _)| manifest.built);
        let lessons = built.as_ref().map(DayLessons::from).unwrap_or_default();
        // Not before: what could not be read is asked for again.
        self.days.lock().await.read.insert(day.clone(), lessons.clone());
        Ok(lessons)
    }
}

/// The entries of some meetings, on whichever shelves they lie.
async fn entries(run: &RunContext, shelves: &mut Shelves, meetings: &BTreeSet<&str>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for date in shelves.dates_of(run, meetings).await? {
        let Some(shelf) = shelves.shelf(run, date).await? else {
            continue;
        };
        let wanted: BTreeSet<MeetingId> = meetings.iter().map(|meeting| (*meeting).into()).collect();
        entries.extend(find_on(date, shelf, move |meeting, _| wanted.contains(meeting)).await?);
    }
    Ok(entries)
}

impl SharedMeetings {
    /// Reads who was in the shared meetings on the other days.
    pub async fn presences(&self, run: &RunContext) -> Result<Vec<Presence>> {
        let mut presences = Vec::new();
        for (key, shared) in &self.days {
            presences.push(Presence::read(run.store.read(key).await?, shared)?);
        }
        Ok(presences)
    }
}
