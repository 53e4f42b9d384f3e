//! The coverage of the lake: for each day, the items that are done, pending, failed or denied, and why. Read from the
//! manifests or, as long as the listing proves it current, from memory and the index. Needs no API. Used by `cli status` and
//! by the daemon, which keeps what it read.

use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use parking_lot::Mutex;

use super::day_cache::{CachedDay, DayCache};
use super::day_ids::DayIds;
use super::day_status::DayStatus;
use super::index::{LoadedIndex, ManifestStamp, can_be_indexed};
use super::listing::{self, DateRange};
use super::rooms::{KnownRoom, RoomNames};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::store::json::get_json;
use crate::store::{ListedObject, Store};
use crate::{ErrorKind, Result};

/// Manifests read at once.
const READ_AT_ONCE: usize = 32;
/// The index is read if more manifests than these would have to be.
const FEW: usize = 16;
/// The days before the last one in which its latest dates are looked for first.
const RECENT: u64 = 62;
/// The age at which the listing of days that are not shown is repeated.
const LATELY: TimeDelta = TimeDelta::minutes(2);

/// Reads coverage and caches it: a manifest that has not changed is not read again.
#[derive(Default)]
pub struct Coverage {
    pub(super) days: Mutex<DayCache>,
    pub(super) rooms: RoomNames,
    /// Held while the index is read or written.
    pub(super) index: tokio::sync::Mutex<LoadedIndex>,
    /// The time at which all days were last listed.
    listed_at: Mutex<Option<DateTime<Utc>>>,
}

/// The days of the whole lake.
pub struct LakeCoverage {
    /// The days, by date and space.
    pub days: Vec<Arc<DayStatus>>,
    /// True if all days were listed lately. Otherwise the days that are not shown are as the index has them, and
    /// [`Coverage::check`] is due.
    pub is_exact: bool,
}

impl Coverage {
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
        let range = DateRange { from, to };
        let at = Utc::now();
        let listed = self.list(store, range).await?;
        let is_whole = from.is_none() && to.is_none_or(|to| to >= over_everywhere());
        if is_whole && listed.is_empty() && !self.days.lock().is_empty() {
            // A folder that is not mounted looks empty, and tells nothing.
            return Ok(Vec::new());
        }
        let days = self.read(store, range, listed).await?;
        if is_whole {
            *self.listed_at.lock() = Some(at);
        }
        Ok(days)
    }

    /// As [`Coverage::days`], but only of the last `count` dates that the lake has.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn latest(
        &self,
        store: &dyn Store,
        to: NaiveDate,
        count: usize,
    ) -> Result<Vec<Arc<DayStatus>>> {
        let recent = to.checked_sub_days(Days::new(RECENT));
        let ranges = [recent, None].map(|from| DateRange { from, to: Some(to) });
        for range in ranges {
            let mut listed = self.list(store, range).await?;
            let mut dates: Vec<NaiveDate> = listed
                .iter()
                .filter_map(|entry| key::date_in(&entry.key))
                .collect();
            dates.dedup();
            let first = dates.iter().rev().nth(count.saturating_sub(1)).copied();
            if range.from.is_some() && first.is_none() {
                continue;
            }
            let from = first.or(range.from);
            listed.retain(|entry| from.is_none_or(|from| key::date_in(&entry.key) >= Some(from)));
            return self.read(store, DateRange { from, ..range }, listed).await;
        }
        Ok(Vec::new())
    }

    /// The days of the whole lake up to `today`. Of a small lake, every day is what its manifest says now. Of a large one,
    /// this holds for the days of `shown` and for every day that the index may lack; the others are as they were when the
    /// lake was last listed, by this process or by the writer of the index.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn overview(
        &self,
        store: &dyn Store,
        shown: &[DateRange],
        today: NaiveDate,
    ) -> Result<LakeCoverage> {
        self.load(store, DateRange::default()).await;
        let ranges = self.days.lock().ranges_to_list(shown, today);
        let Some(ranges) = ranges else {
            return self.whole(store, today).await;
        };
        let listings = ranges.iter().map(|range| self.list(store, *range));
        let listings = future::try_join_all(listings).await?;
        if listings.iter().all(Vec::is_empty) {
            // The store may be gone: only the whole listing can tell.
            return self.whole(store, today).await;
        }
        for (range, listed) in ranges.into_iter().zip(listings) {
            self.read(store, range, listed).await?;
        }
        let is_recent = |at: DateTime<Utc>| Utc::now() - at < LATELY;
        Ok(LakeCoverage {
            days: self.days.lock().up_to(today),
            is_exact: self.listed_at.lock().is_some_and(is_recent),
        })
    }

    async fn whole(&self, store: &dyn Store, today: NaiveDate) -> Result<LakeCoverage> {
        Ok(LakeCoverage {
            days: self.days(store, None, Some(today)).await?,
            is_exact: true,
        })
    }

    /// Lists all days, reads those that have changed, and writes what the index lacks.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn check(&self, store: &dyn Store, today: NaiveDate) -> Result<()> {
        if !self.days(store, None, Some(today)).await?.is_empty() {
            self.save(store).await?;
        }
        Ok(())
    }

    /// Brings the index up to date for a range of dates. Days that could not be recognized in a later listing are not read.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn index_range(&self, store: &dyn Store, from: NaiveDate, to: NaiveDate) -> Result<()> {
        let range = DateRange::between(from, to);
        self.load(store, range).await;
        let listed = self.list(store, range).await?;
        let now = Utc::now();
        let mut lacking = self.days.lock().lacking(&listed);
        lacking.retain(|entry| can_be_indexed(entry, now));
        self.read_manifests(store, lacking).await?;
        self.days.lock().note_listing(range, over_everywhere(), &listed);
        self.save(store).await
    }

    /// Lists the manifests of a range. For a long range, the index helps to split the listing.
    async fn list(&self, store: &dyn Store, range: DateRange) -> Result<Vec<ListedObject>> {
        if range.is_longer_than(RECENT) {
            self.load(store, range).await;
        }
        let known = self.days.lock().dates();
        listing::list(store, &known, range).await
    }

    /// The days of a listing of `range`. Reads the manifests that neither memory nor the index has.
    async fn read(
        &self,
        store: &dyn Store,
        range: DateRange,
        listed: Vec<ListedObject>,
    ) -> Result<Vec<Arc<DayStatus>>> {
        let mut lacking = self.days.lock().lacking(&listed);
        let dates = || listed.iter().filter_map(|entry| key::date_in(&entry.key));
        if lacking.len() > FEW
            && let (Some(first), Some(last)) = (dates().next(), dates().next_back())
        {
            self.load(store, DateRange::between(first, last)).await;
            lacking = self.days.lock().lacking(&listed);
        }
        self.read_manifests(store, lacking).await?;
        let mut days = self.days.lock();
        days.note_listing(range, over_everywhere(), &listed);
        Ok(days.of(&listed))
    }

    pub(super) async fn read_manifests(&self, store: &dyn Store, lacking: Vec<ListedObject>) -> Result<()> {
        stream::iter(lacking)
            .map(|entry| self.read_manifest(store, entry))
            .buffer_unordered(READ_AT_ONCE)
            .try_collect()
            .await
    }

    async fn read_manifest(&self, store: &dyn Store, entry: ListedObject) -> Result<()> {
        let read_at = Utc::now();
        let (stamp, day, ids) = match get_json::<Manifest>(store, &entry.key).await {
            Ok(Some((manifest, version))) => {
                self.rooms.add_day(&manifest);
                let stamp = ManifestStamp::of(&entry, &version, read_at);
                let ids = Arc::new(DayIds::of(&manifest));
                (stamp, DayStatus::of(&manifest), Some(ids))
            }
            Ok(None) => {
                self.days.lock().remove(entry.key);
                return Ok(());
            }
            // A damaged day must not hide the others.
            Err(error) if error.kind() == ErrorKind::Store => {
                tracing::error!(%error, "a day can't be read");
                let day = DayStatus {
                    date: key::date_in(&entry.key).unwrap_or_default(),
                    space_id: entry.key.as_str().into(),
                    reason: Some("its manifest can't be read".into()),
                    ..DayStatus::default()
                };
                (None, day, None)
            }
            Err(error) => return Err(error),
        };
        let cached = CachedDay {
            stamp,
            day: Arc::new(day),
            ids,
            is_indexed: false,
            has_indexed_ids: false,
        };
        self.days.lock().insert(entry.key, cached);
        Ok(())
    }

    /// At most `most` rooms whose name or id contains a text, in upper or lower case, sorted by name; of the days read so
    /// far.
    pub fn rooms_like(&self, text: &str, most: usize) -> Vec<KnownRoom> {
        self.rooms.find(text, most)
    }

    /// The latest name of a room, if any day has one.
    pub fn room_name(&self, space: &str, room: &str) -> Option<String> {
        self.rooms.name(space, room)
    }
}

/// A date that is over or going on in every zone: a listing up to it, or to a later date, is open to the future.
fn over_everywhere() -> NaiveDate {
    let date = Utc::now().date_naive();
    date.pred_opt().unwrap_or(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Condition, folder::FolderStore};

    #[tokio::test]
    async fn what_was_read_is_kept_until_it_changes() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let day: NaiveDate = "2026-11-20".parse().expect("date");
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
        assert_eq!(coverage.unindexed(), 1);
        // Written just now: with the same size and time, it may be another one.
        write("later", 0).await;
        assert_eq!(name().await, "later");
        assert_eq!(coverage.unindexed(), 0, "no listing could prove it current");
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

    #[tokio::test]
    async fn a_store_that_looks_empty_takes_no_day_from_memory() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let day = Utc::now().date_naive();
        let bytes = serde_json::to_vec(&Manifest::new(day, "s1")).expect("JSON");
        let key = key::manifest(day, &"s1".into());
        store.put(&key, bytes.into(), Condition::Any).await.expect("put");
        let coverage = Coverage::default();
        assert_eq!(coverage.days(&store, None, None).await.expect("days").len(), 1);
        store.delete(&key).await.expect("deleted");
        assert!(coverage.days(&store, None, None).await.expect("days").is_empty());
        coverage.check(&store, day).await.expect("checked");
        assert_eq!(coverage.days.lock().up_to(day).len(), 1);
        assert!(
            store.list(key::INDEX).await.expect("listed").is_empty(),
            "nothing is written into it"
        );
    }
}
