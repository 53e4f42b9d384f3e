//! The lesson cache of a run: the lesson data of a day's meetings, and the neighbour days. These have calls of the same
//! meetings, whatever their dates, or they are the date before or after, with calls without a report at the time of a
//! meeting. All of it is read once. So a day is built, and its digests are written, from one state of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::Result;
use crate::ids::{CallId, DayId, MeetingId};
use crate::lake::key;
use crate::lake::manifest::{Built, LessonSpan, Manifest, UnreportedCall};
use crate::pipeline::lessons::import;
use crate::pipeline::lessons::lake::LessonLake;
use crate::pipeline::lessons::lesson_days::AT_ONCE;
use crate::pipeline::lessons::lesson_reader::LessonReader;
use crate::pipeline::lessons::meeting_days::MeetingDays;
use crate::store::json::get_json;
use crate::tables::lessons::{LessonEntry, LessonIndex};
use crate::tables::{OtherDays, Presence};

/// The meetings of a day that was built, and the digests that its tables were built with.
#[derive(Debug, Clone, Default)]
struct DayMeetings {
    meetings: BTreeMap<MeetingId, Option<DateTime<Utc>>>,
    /// The key and the digest of the day's table of participants.
    participants: Option<(String, String)>,
    lessons: LessonSpan,
    unreported: BTreeMap<CallId, UnreportedCall>,
    meta: String,
    neighbours: String,
}

impl From<&Built> for DayMeetings {
    fn from(built: &Built) -> Self {
        let participants = built.tables.get("participants");
        Self {
            meetings: built.meetings.clone(),
            participants: participants.map(|table| (table.key.clone(), table.sha256.clone())),
            lessons: built.lessons,
            unreported: built.unreported.clone(),
            meta: built.meta.clone(),
            neighbours: built.beside.clone(),
        }
    }
}

/// The neighbour days of a day: other days with calls of the same meetings, and the dates before and after with calls
/// without a report at the time of a meeting.
#[derive(Debug, Default)]
pub(crate) struct NeighbourDays {
    /// For each of them, the key of its table of participants and the meetings that it shares.
    days: Vec<(String, BTreeSet<MeetingId>)>,
    /// A digest of these; empty without any.
    pub presence_digest: String,
    /// Their calls without a report.
    pub unreported: BTreeMap<CallId, UnreportedCall>,
    /// The shared meetings whose first call lies on a neighbour day.
    pub started_elsewhere: BTreeSet<MeetingId>,
    /// A digest of all this; empty without neighbours.
    pub digest: String,
}

/// The lesson data and the neighbour days that a run has read so far.
pub(crate) struct LessonCache {
    lake: LessonLake,
    reader: Mutex<LessonReader>,
    meetings: MeetingDays,
    days: Mutex<MeetingsByDay>,
}

#[derive(Default)]
struct MeetingsByDay {
    /// The days that this run has built: newer than the manifests it has read.
    built: BTreeMap<DayId, Arc<DayMeetings>>,
    read: BTreeMap<DayId, Arc<DayMeetings>>,
}

impl LessonCache {
    /// An empty cache.
    pub fn new(lake: LessonLake) -> Self {
        Self {
            lake,
            reader: Mutex::default(),
            meetings: MeetingDays::default(),
            days: Mutex::default(),
        }
    }

    /// The lesson data of some meetings, whatever its dates.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn meta<'m>(&self, meetings: impl IntoIterator<Item = &'m str>) -> Result<LessonIndex> {
        let mut reader = self.reader.lock().await;
        let meetings: BTreeSet<&str> = meetings.into_iter().collect();
        let entries = reader.of_meetings(&self.lake, &meetings).await?;
        let some = reader.has_some(&self.lake).await?;
        Ok(LessonIndex::of(entries, some))
    }

    /// The lesson data that a day probably needs, before its reports are read: that of the meetings known to be on the day,
    /// and all that carries a date near the day's.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn guess(&self, date: NaiveDate, built: Option<&Built>) -> Result<LessonIndex> {
        let mut reader = self.reader.lock().await;
        let meetings = built.iter().flat_map(|built| built.meetings.keys());
        let meetings: BTreeSet<&str> = meetings.map(MeetingId::as_str).collect();
        let mut entries = reader.of_meetings(&self.lake, &meetings).await?;
        entries.extend(reader.near(&self.lake, date).await?);
        let some = reader.has_some(&self.lake).await?;
        Ok(LessonIndex::of(entries, some))
    }

    /// Does an import while no day reads lesson data, then forgets the lesson data that was read before it. Days that are
    /// built meanwhile wait as soon as they need lesson data.
    pub async fn during_import<T>(&self, import: impl Future<Output = T>) -> T {
        let mut reader = self.reader.lock().await;
        let imported = import.await;
        *reader = LessonReader::default();
        imported
    }

    /// Forgets the lesson data that was read, because people were erased from it.
    pub async fn read_again(&self) {
        *self.reader.lock().await = LessonReader::default();
    }

    /// Forgets all that was read, because other processes have imported lesson data and built days.
    pub async fn read_all_again(&self) {
        self.read_again().await;
        self.meetings.read_again().await;
        *self.days.lock().await = MeetingsByDay::default();
    }

    /// Imports the lesson data that a day's reports contain. True if any of it was new.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn take_embedded(&self, entries: Vec<LessonEntry>) -> Result<bool> {
        // Hold the lock during the import, so that concurrent days import one at a time even on stores without
        // conditional writes.
        let mut reader = self.reader.lock().await;
        let meetings: BTreeSet<MeetingId> = entries.iter().map(|entry| entry.meeting.clone()).collect();
        let taken = import::take_embedded(&self.lake, entries).await?;
        self.lake.count_writes(taken.writes);
        reader.note_added(&meetings, &taken.dates);
        Ok(!taken.dates.is_empty())
    }

    /// The neighbour days of a day with these meetings, which are held within `lessons`.
    ///
    /// # Errors
    /// Any error of the store, also if a neighbour day can't be read.
    pub async fn neighbours(
        &self,
        day: &DayId,
        meetings: &BTreeMap<MeetingId, Option<DateTime<Utc>>>,
        lessons: &LessonSpan,
    ) -> Result<NeighbourDays> {
        let mut neighbours = NeighbourDays::default();
        if meetings.is_empty() {
            return Ok(neighbours);
        }
        let marks = meetings.keys().map(|meeting| key::mark(meeting)).collect();
        let mut hasher = Sha256::new();
        let rank = |start: &Option<DateTime<Utc>>, day: &DayId| (start.is_none(), *start, day.clone());
        let mut others = self.meetings.days_of(&self.lake, &marks).await?;
        others.remove(day);
        let beside = self.meetings.unreported_beside(&self.lake, day).await?;
        others.extend(beside.iter().cloned());
        let mut others = stream::iter(others)
            .map(|other| async move {
                let theirs = self.day(&other).await?;
                Ok((other, theirs))
            })
            .buffered(AT_ONCE);
        while let Some((other, theirs)) = others.try_next().await? {
            let mut shared = BTreeSet::new();
            for (id, start) in meetings.iter().filter(|_| theirs.participants.is_some()) {
                let Some(their_start) = theirs.meetings.get(id) else {
                    continue;
                };
                shared.insert(id.clone());
                if rank(their_start, &other) < rank(start, day) {
                    neighbours.started_elsewhere.insert(id.clone());
                }
            }
            let unreported = theirs.unreported.iter().filter(|(_, call)| {
                !shared.is_empty() || (beside.contains(&other) && lessons.overlaps(call))
            });
            let unreported = unreported.map(|(id, call)| (id.clone(), call.clone()));
            neighbours.unreported.extend(unreported);
            if let Some((key, sha256)) = theirs.participants.as_ref().filter(|_| !shared.is_empty()) {
                hasher.update(format!("{}\0{}\0{sha256}\0", other.date, other.space));
                neighbours.days.push((key.clone(), shared));
            }
        }
        if !neighbours.days.is_empty() {
            neighbours.presence_digest = hex::encode(hasher.finalize());
        }
        neighbours.digest.clone_from(&neighbours.presence_digest);
        if !neighbours.unreported.is_empty() {
            let all = serde_json::to_vec(&(&neighbours.presence_digest, &neighbours.unreported));
            neighbours.digest = hex::encode(Sha256::digest(all.unwrap_or_default()));
        }
        Ok(neighbours)
    }

    /// Registers a day that is being built, in memory and in the store, so that other days find it by its meetings.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn register(&self, day: &DayId, built: &Built) -> Result<()> {
        self.meetings.add(&self.lake, day, built).await?;
        let meetings = Arc::new(DayMeetings::from(built));
        self.days.lock().await.built.insert(day.clone(), meetings);
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

    /// Records that the attendance of a day's neighbours, now or before, must be built again; see [`MeetingDays::touch`].
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn touch(&self, neighbours: [&NeighbourDays; 2]) -> Result<()> {
        let days = neighbours.into_iter().flat_map(|neighbours| &neighbours.days);
        let shared = days.flat_map(|(_, meetings)| meetings);
        let marks = shared.map(|meeting| key::mark(meeting)).collect();
        self.meetings.touch(&self.lake, marks).await
    }

    /// Records that the attendance of the dates before and after a day must be built again if one of these calls, which got or
    /// lost a report, may have been held at the time of a meeting of theirs; see [`MeetingDays::touch`].
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn touch_beside(&self, day: &DayId, calls: &[&UnreportedCall]) -> Result<()> {
        let mut marks = BTreeSet::new();
        if !calls.is_empty() {
            for other in self.meetings.held_beside(&self.lake, day).await? {
                let theirs = self.day(&other).await?;
                if calls.iter().any(|call| theirs.lessons.overlaps(call)) {
                    marks.extend(theirs.meetings.keys().map(|meeting| key::mark(meeting)));
                }
            }
        }
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
            .buffered(AT_ONCE);
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
            || self
                .neighbours(day, &lessons.meetings, &lessons.lessons)
                .await?
                .digest
                != lessons.neighbours)
    }

    /// The meetings of a day; empty if the day is not built.
    async fn day(&self, day: &DayId) -> Result<Arc<DayMeetings>> {
        {
            let known = self.days.lock().await;
            if let Some(lessons) = known.built.get(day).or_else(|| known.read.get(day)) {
                return Ok(Arc::clone(lessons));
            }
        }
        let manifest = get_json::<Manifest>(&*self.lake.store, &key::manifest(day.date, &day.space)).await?;
        let built = manifest.and_then(|(manifest, _)| manifest.built);
        let lessons = Arc::new(built.as_ref().map(DayMeetings::from).unwrap_or_default());
        // Only now, because a read that failed is repeated.
        let mut known = self.days.lock().await;
        known.read.insert(day.clone(), Arc::clone(&lessons));
        Ok(lessons)
    }

    /// Reads from the neighbour days who was in the shared meetings. Users have their plain ids if the presence of the day
    /// itself or its lesson data has them.
    ///
    /// # Errors
    /// Any error of the store; `Store` if a table of participants is damaged.
    pub async fn other_days(
        &self,
        neighbours: &NeighbourDays,
        own: &Presence,
        meta: &LessonIndex,
    ) -> Result<OtherDays> {
        let presences = stream::iter(0..neighbours.days.len())
            .map(|at| async move {
                let (key, shared) = &neighbours.days[at];
                Presence::read(self.lake.store.read(key).await?, shared, &self.lake.privacy)
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut others = OtherDays {
            presences,
            started_elsewhere: neighbours.started_elsewhere.clone(),
            unreported: neighbours.unreported.clone(),
            pseudonyms: BTreeSet::new(),
        };
        others.recognize(own, meta, &self.lake.privacy)?;
        Ok(others)
    }

    /// Builds the tables of a date's lesson data if they are stale, because an import may have been killed before it.
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the lesson day; else any error of the store.
    pub async fn rebuild_tables(&self, date: NaiveDate) -> Result<()> {
        let writer = self.lake.writer();
        let built = writer.build_tables(date).await;
        self.lake.count_writes(writer.writes());
        self.lake
            .table_writes
            .fetch_add(writer.writes(), Ordering::Relaxed);
        built
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::pipeline::lake_state::erasures::KnownErasures;
    use crate::pipeline::lessons::meta_file::MetaFile;
    use crate::store::folder::FolderStore;
    use crate::tables::PrivacyPolicy;

    #[tokio::test]
    async fn lesson_data_that_was_read_before_an_import_is_read_again_after_it() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let store: Arc<dyn crate::store::Store> = Arc::new(store);
        let (zone, now) = (chrono_tz::Tz::UTC, "2026-11-22T10:00:00Z".parse().expect("time"));
        let cache = LessonCache::new(LessonLake {
            erasures: Arc::new(KnownErasures::default()),
            store: Arc::clone(&store),
            writes: Arc::new(AtomicU64::new(0)),
            table_writes: Arc::new(AtomicU64::new(0)),
            zone,
            now,
            privacy: PrivacyPolicy::default(),
        });
        let user = async || {
            let meta = cache.meta(["m"]).await.expect("read");
            let guess = cache.guess(now.date_naive(), None).await.expect("read");
            assert_eq!(meta.get("m", "u"), guess.get("m", "u"));
            meta.get("m", "u").and_then(|entry| entry.meta.clone())
        };
        assert_eq!(user().await, None);
        for name in ["a", "b"] {
            let payload = format!(
                r#"{{"externalUserId":"u","externalMeetingId":"m","meta":{{"user_fullname":"{name}"}}}}"#
            );
            let file = MetaFile {
                name: name.into(),
                bytes: payload.into(),
            };
            let privacy = PrivacyPolicy::default();
            let importing = import::import_meta(&*store, zone, now, &privacy, vec![file]);
            Box::pin(cache.during_import(importing)).await.expect("imported");
            assert_eq!(user().await, Some(format!(r#"{{"user_fullname":"{name}"}}"#)));
        }
    }
}
