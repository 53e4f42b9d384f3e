//! The index of lesson data in the store: the dates on which each meeting has some. A few objects, the parts, share all
//! meetings.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::lesson_days::{AT_ONCE, LessonDayWriter};
use crate::ids::MeetingId;
use crate::lake::key;
use crate::store::json::{get_json, to_json};
use crate::store::{Condition, Version};
use crate::tables::lessons::LatestEntries;
use crate::{ErrorKind, Result};

/// The dates that have lesson data of each meeting. A date too many does no harm.
pub(crate) type MeetingIndex = BTreeMap<String, BTreeSet<NaiveDate>>;

/// A part with more meetings is not kept in memory between reading and writing it.
const MOST_MEETINGS: usize = 10_000;

/// The parts of the index that some meetings belong to, as they were read.
#[derive(Default)]
pub(super) struct IndexParts(BTreeMap<String, IndexPart>);

struct IndexPart {
    /// The dates of all meetings of a small part; of a large one, of the meetings that were asked for.
    dates: MeetingIndex,
    is_whole: bool,
    /// None if there is no such object yet.
    version: Option<Version>,
}

impl IndexParts {
    /// Reads the parts that the meetings of some entries belong to.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn read(writer: &LessonDayWriter<'_>, entries: &LatestEntries) -> Result<Self> {
        let mut of_parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for meeting in entries.meetings() {
            let part = of_parts.entry(key::meta_index(meeting)).or_default();
            part.insert(meeting.to_string());
        }
        let store = writer.store;
        let parts = stream::iter(of_parts)
            .map(|(key, meetings)| async move {
                let (mut dates, version) = get_json::<MeetingIndex>(store, &key).await?.unzip();
                let is_whole = dates.as_ref().is_none_or(|dates| dates.len() <= MOST_MEETINGS);
                if let Some(dates) = dates.as_mut().filter(|_| !is_whole) {
                    dates.retain(|meeting, _| meetings.contains(meeting));
                }
                let part = IndexPart {
                    dates: dates.unwrap_or_default(),
                    is_whole,
                    version,
                };
                Ok((key, part))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self(parts))
    }

    /// The dates of the meetings of some entries.
    pub fn dates(&self, entries: &LatestEntries) -> BTreeSet<NaiveDate> {
        let dates = entries.meetings().filter_map(|meeting| {
            let part = self.0.get(&key::meta_index(meeting))?;
            part.dates.get(meeting.as_str())
        });
        dates.flatten().copied().collect()
    }

    /// The parts that lack the dates of some meetings, with what they lack.
    pub fn lacking<'m>(self, dates: impl Iterator<Item = (&'m MeetingId, NaiveDate)>) -> LackingParts {
        let Self(mut parts) = self;
        let mut lacking: BTreeMap<String, MeetingIndex> = BTreeMap::new();
        for (meeting, date) in dates {
            let part = key::meta_index(meeting);
            let known = parts.get(&part).and_then(|part| part.dates.get(meeting.as_str()));
            if !known.is_some_and(|dates| dates.contains(&date)) {
                let index = lacking.entry(part).or_default();
                index.entry(meeting.to_string()).or_default().insert(date);
            }
        }
        let lacking = lacking.into_iter();
        let parts = lacking.map(|(key, lacks)| {
            let part = parts.remove(&key);
            (key, part, lacks)
        });
        LackingParts(parts.collect())
    }
}

/// Parts of the index and the dates that are to be added to them.
pub(super) struct LackingParts(Vec<(String, Option<IndexPart>, MeetingIndex)>);

impl LackingParts {
    /// Writes the parts.
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the index; else any error of the store.
    pub async fn write(self, writer: &LessonDayWriter<'_>) -> Result<()> {
        stream::iter(self.0)
            .map(|(key, part, lacks)| write(writer, key, part, lacks))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }
}

/// Writes a part with more dates. Unless it is large, it is not read again before.
async fn write(
    writer: &LessonDayWriter<'_>,
    key: String,
    part: Option<IndexPart>,
    lacks: MeetingIndex,
) -> Result<()> {
    if let Some(mut part) = part.filter(|part| part.is_whole) {
        merge(&mut part.dates, &lacks);
        let condition = part.version.map_or(Condition::Absent, Condition::Unchanged);
        match writer.put(&key, to_json(&part.dates)?, condition).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {}
            written => return written.map(drop),
        }
    }
    let merge = |index: &mut MeetingIndex| merge(index, &lacks);
    writer.update(&key, merge).await.map(drop)
}

fn merge(index: &mut MeetingIndex, lacks: &MeetingIndex) {
    for (meeting, dates) in lacks {
        match index.get_mut(meeting) {
            Some(known) => known.extend(dates),
            None => drop(index.insert(meeting.clone(), dates.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::folder::FolderStore;
    use crate::tables::lessons::LessonEntry;

    fn entries(meetings: impl IntoIterator<Item = String>) -> LatestEntries {
        let entry = |meeting: String| LessonEntry {
            meeting: meeting.into(),
            user: "u".into(),
            received_at: chrono::DateTime::UNIX_EPOCH,
            file: "f".into(),
            line: 1,
            meta: None,
            start: None,
            known: Default::default(),
        };
        meetings.into_iter().map(entry).collect()
    }

    /// Adds a date to the index for some meetings, as it was read before `meanwhile`. Gives the number of writes.
    async fn add(
        store: &dyn Store,
        entries: &LatestEntries,
        date: NaiveDate,
        meanwhile: &[(&str, &str)],
    ) -> u64 {
        let writer = LessonDayWriter::new(store, &crate::tables::PrivacyPolicy::default());
        let parts = IndexParts::read(&writer, entries).await.expect("read");
        for (key, text) in meanwhile {
            let text = text.as_bytes().to_vec().into();
            store
                .put(key, text, Condition::Any)
                .await
                .expect("another writer");
        }
        let dates = entries.meetings().map(|meeting| (meeting, date));
        parts.lacking(dates).write(&writer).await.expect("written");
        writer.writes()
    }

    async fn dates(store: &dyn Store, entries: &LatestEntries) -> BTreeSet<NaiveDate> {
        let writer = LessonDayWriter::new(store, &crate::tables::PrivacyPolicy::default());
        IndexParts::read(&writer, entries)
            .await
            .expect("read")
            .dates(entries)
    }

    #[tokio::test]
    async fn dates_are_added_beside_those_of_another_writer_and_only_if_they_lack() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let [first, second, third] =
            [1, 2, 3].map(|day| NaiveDate::from_ymd_opt(2026, 11, day).expect("date"));
        let one = entries(["m".to_owned()]);
        assert_eq!(add(&store, &one, first, &[]).await, 1);
        assert_eq!(add(&store, &one, first, &[]).await, 0);
        let other = format!(r#"{{"m": ["{first}", "{second}"], "other": ["{second}"]}}"#);
        let key = key::meta_index("m");
        add(&store, &one, third, &[(&key, &other)]).await;
        assert_eq!(dates(&store, &one).await, [first, second, third].into());
        let (index, _) = get_json::<MeetingIndex>(&store, &key)
            .await
            .expect("read")
            .expect("an index");
        assert_eq!(index["other"], [second].into());
    }

    #[tokio::test]
    async fn a_large_part_keeps_the_meetings_that_were_not_asked_for() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let [first, second] = [1, 2].map(|day| NaiveDate::from_ymd_opt(2026, 11, day).expect("date"));
        let index: MeetingIndex = (0..=MOST_MEETINGS)
            .map(|n| (format!("m{n}"), [first].into()))
            .collect();
        let one = entries(["m7".to_owned()]);
        let key = key::meta_index("m7");
        store
            .put(&key, to_json(&index).expect("JSON"), Condition::Absent)
            .await
            .expect("an index");
        assert_eq!(add(&store, &one, first, &[]).await, 0);
        assert_eq!(add(&store, &one, second, &[]).await, 1);
        assert_eq!(dates(&store, &one).await, [first, second].into());
        let (after, _) = get_json::<MeetingIndex>(&store, &key)
            .await
            .expect("read")
            .expect("an index");
        assert_eq!(after.len(), index.len());
    }
}
