//! Reads lesson data by meeting, whatever its dates. Each object is read once in a run: the parts of the index, and the lesson
//! days.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{Days, NaiveDate};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::Result;
use crate::ids::MeetingId;
use crate::lake::key;
use crate::pipeline::lessons::index::MeetingIndex;
use crate::pipeline::lessons::lake::LessonLake;
use crate::pipeline::lessons::lesson_days::{AT_ONCE, all_entries, read_entries, read_lesson_day};
use crate::store::json::get_json;
use crate::tables::lessons::LessonEntry;

/// Bytes of lesson days, compressed as they are, that are kept in memory.
const CACHE_BYTES: usize = 32 << 20;
/// Bytes of entries that are kept in memory besides.
const ENTRY_BYTES: usize = 32 << 20;
/// The entries of a lesson day are kept in memory up to so many bytes.
const MOST_ENTRY_BYTES: usize = 16 << 20;
/// A neighbouring lesson day of up to so many bytes is used before it is known whose entries a day needs.
const NEAR_BYTES: usize = 256 << 10;

/// The lesson data that a run has read so far.
#[derive(Default)]
pub(super) struct LessonReader {
    /// The keys of the index's parts; `None` before they were listed.
    listed: Option<BTreeSet<String>>,
    /// The parts that were read, and the dates that they give for each meeting's mark.
    parts: BTreeSet<String>,
    dates: BTreeSet<(u64, NaiveDate)>,
    /// The lesson days that were read; `None` for a date without one.
    lesson_days: HashMap<NaiveDate, Option<Bytes>>,
    /// The entries of some of them, shared with the builds that use them; `None` if they are too many.
    entries: HashMap<NaiveDate, Option<DayEntries>>,
}

/// The entries of a lesson day, by meeting and user.
#[derive(Clone)]
struct DayEntries {
    entries: Arc<[Arc<LessonEntry>]>,
    bytes: usize,
}

impl DayEntries {
    fn of_meeting(&self, meeting: &str) -> &[Arc<LessonEntry>] {
        let start = self
            .entries
            .partition_point(|entry| entry.meeting.as_str() < meeting);
        let entries = &self.entries[start..];
        let end = entries.partition_point(|entry| entry.meeting.as_str() == meeting);
        &entries[..end]
    }
}

impl LessonReader {
    /// True if the lake has any lesson data.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn has_some(&mut self, lake: &LessonLake) -> Result<bool> {
        if self.listed.is_none() {
            let listed = lake.store.list(key::META_INDEX).await?;
            self.listed = Some(listed.into_iter().map(|entry| entry.key).collect());
        }
        Ok(self.listed.as_ref().is_some_and(|listed| !listed.is_empty()))
    }

    /// The entries of some meetings, on whichever lesson days they lie.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn of_meetings(
        &mut self,
        lake: &LessonLake,
        meetings: &BTreeSet<&str>,
    ) -> Result<Vec<Arc<LessonEntry>>> {
        let mut entries = Vec::new();
        let dates: Vec<_> = self.dates_of(lake, meetings).await?.into_iter().collect();
        for dates in dates.chunks(AT_ONCE) {
            for (date, lesson_day) in self.lesson_days(lake, dates).await? {
                if let Some(all) = self.all_of(date, &lesson_day).await? {
                    let of_meetings = meetings.iter().flat_map(|meeting| all.of_meeting(meeting));
                    entries.extend(of_meetings.cloned());
                } else {
                    let wanted: BTreeSet<MeetingId> =
                        meetings.iter().map(|meeting| (*meeting).into()).collect();
                    let is_wanted = move |meeting: &str, _: &str| wanted.contains(meeting);
                    let some = read_entries(date, lesson_day, is_wanted).await?;
                    entries.extend(some.into_iter().map(Arc::new));
                }
            }
        }
        Ok(entries)
    }

    /// The entries that carry a date, or one beside it, unless they are very many.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn near(&mut self, lake: &LessonLake, date: NaiveDate) -> Result<Vec<Arc<LessonEntry>>> {
        let mut entries = Vec::new();
        if !self.has_some(lake).await? {
            return Ok(entries);
        }
        let beside = [
            date.checked_sub_days(Days::new(1)),
            date.checked_add_days(Days::new(1)),
        ];
        let dates: Vec<_> = beside.into_iter().flatten().chain([date]).collect();
        for (near, lesson_day) in self.lesson_days(lake, &dates).await? {
            if near == date || lesson_day.len() <= NEAR_BYTES {
                let all = self.all_of(near, &lesson_day).await?;
                entries.extend(all.iter().flat_map(|all| all.entries.iter().cloned()));
            }
        }
        Ok(entries)
    }

    /// Forgets the lesson days of some dates, because entries of some meetings were added to them.
    pub fn note_added(&mut self, meetings: &BTreeSet<MeetingId>, dates: &BTreeSet<NaiveDate>) {
        for date in dates {
            self.lesson_days.remove(date);
            self.entries.remove(date);
            let marks = meetings.iter().map(|meeting| (key::mark(meeting), *date));
            self.dates.extend(marks);
        }
        if let Some(listed) = self.listed.as_mut().filter(|_| !dates.is_empty()) {
            listed.extend(meetings.iter().map(|meeting| key::meta_index(meeting)));
        }
    }

    /// The dates whose lesson days have entries of some meetings.
    async fn dates_of(
        &mut self,
        lake: &LessonLake,
        meetings: &BTreeSet<&str>,
    ) -> Result<BTreeSet<NaiveDate>> {
        if !self.has_some(lake).await? {
            return Ok(BTreeSet::new());
        }
        let listed = self.listed.iter().flatten();
        let unread: Vec<_> = {
            let parts: BTreeSet<_> = meetings.iter().map(|meeting| key::meta_index(meeting)).collect();
            let unread = listed.filter(|part| parts.contains(*part) && !self.parts.contains(*part));
            unread.cloned().collect()
        };
        let mut reading = stream::iter(unread)
            .map(|part| async move {
                let index = get_json::<MeetingIndex>(&*lake.store, &part).await?;
                Ok((part, index.map(|(index, _)| index).unwrap_or_default()))
            })
            .buffered(AT_ONCE);
        while let Some((part, index)) = reading.try_next().await? {
            for (meeting, dates) in index {
                let mark = key::mark(&meeting);
                self.dates.extend(dates.into_iter().map(|date| (mark, date)));
            }
            // Only now, because a read that failed is repeated.
            self.parts.insert(part);
        }
        let marks = meetings.iter().map(|meeting| key::mark(meeting));
        let dates = marks.flat_map(|mark| self.dates.range((mark, NaiveDate::MIN)..=(mark, NaiveDate::MAX)));
        Ok(dates.map(|(_, date)| *date).collect())
    }

    /// The lesson days of a few dates, in their order; those that exist.
    async fn lesson_days(
        &mut self,
        lake: &LessonLake,
        dates: &[NaiveDate],
    ) -> Result<Vec<(NaiveDate, Bytes)>> {
        let unread = dates.iter().filter(|date| !self.lesson_days.contains_key(date));
        let unread: Vec<_> = unread.copied().collect();
        let read: HashMap<NaiveDate, Option<Bytes>> = stream::iter(unread)
            .map(|date| async move {
                let lesson_day = read_lesson_day(&*lake.store, date).await?;
                Ok((date, lesson_day.map(|object| object.bytes)))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let all = dates.iter().filter_map(|date| {
            let lesson_day = read.get(date).or_else(|| self.lesson_days.get(date));
            Some((*date, lesson_day?.clone()?))
        });
        let all = all.collect();
        for (date, lesson_day) in read {
            let bytes = lesson_day.as_ref().map_or(0, Bytes::len);
            make_room(&mut self.lesson_days, date, bytes, CACHE_BYTES, |lesson_day| {
                lesson_day.as_ref().map_or(0, Bytes::len)
            });
            self.lesson_days.insert(date, lesson_day);
        }
        Ok(all)
    }

    /// All entries of a lesson day; none if they are too many.
    async fn all_of(&mut self, date: NaiveDate, lesson_day: &Bytes) -> Result<Option<DayEntries>> {
        if let Some(entries) = self.entries.get(&date) {
            return Ok(entries.clone());
        }
        let entries = all_entries(date, lesson_day.clone(), MOST_ENTRY_BYTES).await?;
        let entries = entries.map(|entries| DayEntries {
            bytes: entries.iter().map(LessonEntry::weight).sum(),
            entries: entries.into_iter().map(Arc::new).collect(),
        });
        let size = |entries: &Option<DayEntries>| entries.as_ref().map_or(0, |entries| entries.bytes);
        make_room(&mut self.entries, date, size(&entries), ENTRY_BYTES, size);
        self.entries.insert(date, entries.clone());
        Ok(entries)
    }
}

/// Drops the dates that are furthest from a date to which `bytes` are added. Days come in the order of their dates, and a
/// run of years must not keep all lesson data in memory.
fn make_room<T>(
    cache: &mut HashMap<NaiveDate, T>,
    date: NaiveDate,
    bytes: usize,
    most: usize,
    size: impl Fn(&T) -> usize,
) {
    let cached: usize = cache.values().map(&size).sum();
    if cached + bytes <= most {
        return;
    }
    let mut dates: Vec<_> = cache.keys().copied().collect();
    dates.sort_unstable_by_key(|known| (*known - date).num_days().abs());
    let mut kept = bytes;
    for known in dates {
        kept += cache.get(&known).map_or(0, &size);
        if kept > most / 2 {
            cache.remove(&known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).expect("date")
    }

    #[test]
    fn the_dates_nearest_to_the_last_one_stay_in_memory() {
        let mut cache: HashMap<NaiveDate, usize> = HashMap::new();
        for day in 1..=30 {
            make_room(&mut cache, date(day), 10, 100, |bytes| *bytes);
            cache.insert(date(day), 10);
            assert!(cache.values().sum::<usize>() <= 100);
        }
        assert!((27..=30).all(|day| cache.contains_key(&date(day))));
        assert!(!cache.contains_key(&date(1)));
    }

    #[test]
    fn the_entries_of_a_meeting_are_found_among_those_of_a_date() {
        let entry = |meeting: &str, user: &str| {
            Arc::new(LessonEntry {
                meeting: meeting.into(),
                user: user.into(),
                received_at: chrono::DateTime::UNIX_EPOCH,
                file: "f".into(),
                line: 1,
                meta: None,
                start: None,
                known: Default::default(),
            })
        };
        let all = DayEntries {
            entries: [entry("a", "u"), entry("b", "u"), entry("b", "v"), entry("d", "u")].into(),
            bytes: 0,
        };
        let users = |meeting: &str| -> Vec<String> {
            let entries = all.of_meeting(meeting).iter();
            entries
                .map(|entry| format!("{}{}", entry.meeting, entry.user))
                .collect()
        };
        assert_eq!(users("b"), ["bu", "bv"]);
        assert_eq!((users("a").len(), users("d").len()), (1, 1));
        assert_eq!((users("").len(), users("c").len(), users("e").len()), (0, 0, 0));
    }
}
