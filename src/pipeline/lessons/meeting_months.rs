//! Reads the months of [`key::MEETING_DAYS`] with a number of requests that does not grow with the age of the lake: months
//! that no longer change are also kept together in one object. It is only a copy: if it is missing or damaged, each month is
//! read by itself.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::lake::LessonLake;
use super::lesson_days::AT_ONCE;
use crate::Result;
use crate::ids::SpaceId;
use crate::lake::key;
use crate::store::ListedObject;
use crate::store::json::get_json;

/// The content of a month's object: the marks of each day's meetings, by date and space.
pub(crate) type MeetingMonth = BTreeMap<NaiveDate, BTreeMap<SpaceId, BTreeSet<String>>>;

/// A month is copied this long after it was last written. Then a later write has another time, whatever the precision of
/// the store's clock.
const SETTLED: TimeDelta = TimeDelta::days(2);
/// The copies hold no more than so many bytes of months.
const MOST_BYTES: u64 = 8 << 20;

/// Copies of months, by key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct MonthCopies(BTreeMap<String, MonthCopy>);

/// A month as it was when it was copied.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct MonthCopy {
    bytes: u64,
    modified: DateTime<Utc>,
    month: MeetingMonth,
}

/// All months of a lake.
pub(super) struct MeetingMonths {
    pub months: Vec<MeetingMonth>,
    /// The copies to be stored, if those in the store lack a month.
    pub copies: Option<MonthCopies>,
}

impl MeetingMonths {
    /// Reads all months.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn read(lake: &LessonLake) -> Result<Self> {
        let listed = lake.store.list(key::MEETING_DAYS).await?;
        let stored = MonthCopies::read(lake, &listed).await;
        let (copied, unread): (Vec<_>, Vec<_>) = listed.into_iter().partition(|entry| stored.has(entry));
        let read: Vec<_> = stream::iter(unread)
            .map(|entry| async move {
                let month = get_json::<MeetingMonth>(&*lake.store, &entry.key).await?;
                Ok((entry, month.map(|(month, _)| month).unwrap_or_default()))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut copies = MonthCopies::default();
        for (entry, month) in read.iter().filter(|(entry, _)| is_settled(lake, entry)) {
            copies.add(entry, month.clone());
        }
        let has_new = !copies.0.is_empty();
        let MonthCopies(mut stored) = stored;
        let mut months: Vec<_> = read.into_iter().map(|(_, month)| month).collect();
        for entry in copied {
            if let Some(copy) = stored.remove(&entry.key) {
                if has_new {
                    copies.add(&entry, copy.month.clone());
                }
                months.push(copy.month);
            }
        }
        let is_useful = has_new && copies.0.len() > 1 && copies.bytes() <= MOST_BYTES;
        Ok(Self {
            months,
            copies: is_useful.then_some(copies),
        })
    }
}

impl MonthCopies {
    /// The copies in the store; none if they are missing or damaged, or if there are too few months for them.
    async fn read(lake: &LessonLake, listed: &[ListedObject]) -> Self {
        if listed.iter().filter(|entry| is_settled(lake, entry)).count() < 2 {
            return Self::default();
        }
        let stored = get_json(&*lake.store, key::MEETING_MONTHS).await;
        stored
            .ok()
            .flatten()
            .map(|(copies, _)| copies)
            .unwrap_or_default()
    }

    /// True if a month is still as it was copied.
    fn has(&self, listed: &ListedObject) -> bool {
        let copy = self.0.get(&listed.key);
        copy.is_some_and(|copy| (copy.bytes, Some(copy.modified)) == (listed.bytes, listed.modified))
    }

    fn add(&mut self, listed: &ListedObject, month: MeetingMonth) {
        if let Some(modified) = listed.modified {
            let copy = MonthCopy {
                bytes: listed.bytes,
                modified,
                month,
            };
            self.0.insert(listed.key.clone(), copy);
        }
    }

    fn bytes(&self) -> u64 {
        self.0.values().map(|copy| copy.bytes).sum()
    }
}

fn is_settled(lake: &LessonLake, listed: &ListedObject) -> bool {
    listed
        .modified
        .is_some_and(|modified| modified + SETTLED < lake.now)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::pipeline::lake_state::erasures::KnownErasures;
    use crate::store::folder::FolderStore;
    use crate::store::json::to_json;
    use crate::store::{Condition, Store};

    fn month(number: u32, mark: char) -> MeetingMonth {
        let date = NaiveDate::from_ymd_opt(2026, number, 7).expect("date");
        let marks = BTreeSet::from([mark.to_string().repeat(16)]);
        BTreeMap::from([(date, BTreeMap::from([("space".into(), marks)]))])
    }

    /// The marks of all months, as a lake read at a time has them; copies are stored.
    async fn marks(store: &Arc<dyn Store>, now: DateTime<Utc>) -> String {
        let lake = LessonLake {
            erasures: Arc::new(KnownErasures::default()),
            store: Arc::clone(store),
            writes: Arc::new(AtomicU64::new(0)),
            table_writes: Arc::new(AtomicU64::new(0)),
            zone: chrono_tz::Tz::UTC,
            now,
            privacy: crate::tables::PrivacyPolicy::default(),
        };
        let read = MeetingMonths::read(&lake).await.expect("read");
        if let Some(copies) = read.copies {
            lake.put(
                key::MEETING_MONTHS,
                to_json(&copies).expect("JSON"),
                Condition::Any,
            )
            .await
            .expect("stored");
        }
        let mut months = read.months;
        months.sort_by_key(|month| month.keys().next().copied());
        let days = months.into_iter().flat_map(BTreeMap::into_values);
        let marks = days.flat_map(BTreeMap::into_values).flatten();
        marks.map(|mark| mark[..1].to_owned()).collect()
    }

    #[tokio::test]
    async fn settled_months_are_read_from_their_copies_until_they_change() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let store: Arc<dyn Store> = Arc::new(store);
        let path = |number: u32| {
            folder
                .path()
                .join(format!("{}2026-{number:02}.json", key::MEETING_DAYS))
        };
        let has_copies = || folder.path().join(key::MEETING_MONTHS).exists();
        for (number, mark) in (1..).zip("abc".chars()) {
            let key = key::meeting_days(*month(number, mark).keys().next().expect("a date"));
            let bytes = to_json(&month(number, mark)).expect("JSON");
            store.put(&key, bytes, Condition::Any).await.expect("written");
            assert!(path(number).exists());
        }
        let later = Utc::now() + TimeDelta::days(3);
        assert_eq!(
            (marks(&store, Utc::now()).await.as_str(), has_copies()),
            ("abc", false)
        );
        assert_eq!((marks(&store, later).await.as_str(), has_copies()), ("abc", true));
        // A copy counts as long as the month has the same size and time.
        let modified = std::fs::metadata(path(2))
            .expect("a file")
            .modified()
            .expect("a time");
        let rewrite = |mark: char, modified: std::time::SystemTime| {
            std::fs::write(path(2), to_json(&month(2, mark)).expect("JSON")).expect("written");
            let file = std::fs::File::options()
                .append(true)
                .open(path(2))
                .expect("a file");
            file.set_modified(modified).expect("a time");
        };
        rewrite('x', modified);
        assert_eq!(marks(&store, later).await, "abc");
        rewrite('y', modified + std::time::Duration::from_secs(1));
        assert_eq!(marks(&store, later).await, "ayc");
        std::fs::write(folder.path().join(key::MEETING_MONTHS), "{").expect("damaged");
        assert_eq!(marks(&store, later).await, "ayc");
        std::fs::remove_file(path(1)).expect("removed");
        assert_eq!(marks(&store, later).await, "yc");
    }
}
