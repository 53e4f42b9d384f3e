//! The coverage of the lake: for each day, the items that are done, pending, failed or denied, and why. Read from the
//! manifests, without the API. Used by `cli status` and by the daemon, which keeps what it read.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::day_status::DayStatus;
use super::rooms::{KnownRoom, RoomNames};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::store::json::get_json;
use crate::store::{ListedObject, Store};
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

/// The coverage of a day, with the size and time of the manifest that it was read from.
struct CachedDay {
    bytes: u64,
    modified: Option<DateTime<Utc>>,
    read_at: DateTime<Utc>,
    day: Arc<DayStatus>,
}

impl CachedDay {
    fn is_current(&self, entry: &ListedObject) -> bool {
        self.bytes == entry.bytes
            && self.modified.is_some()
            && self.modified == entry.modified
            && self.modified.is_some_and(|at| at + UNCERTAIN < self.read_at)
    }
}

/// Reads coverage and caches it: a manifest that has not changed is not read again.
#[derive(Default)]
pub struct Coverage {
    days: Mutex<HashMap<String, CachedDay>>,
    rooms: RoomNames,
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
        entry: ListedObject,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<DayStatus>>> {
        if let Some(day) = self.cached(&entry) {
            return Ok(Some(day));
        }
        let day = match get_json::<Manifest>(store, &entry.key).await {
            Ok(Some((manifest, _))) => {
                self.rooms.add_day(&manifest);
                Arc::new(DayStatus::of(&manifest))
            }
            Ok(None) => return Ok(None),
            // A damaged day must not hide the others.
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
        let cached = CachedDay {
            bytes: entry.bytes,
            modified: entry.modified,
            read_at: now,
            day: Arc::clone(&day),
        };
        self.days.lock().insert(entry.key, cached);
        Ok(Some(day))
    }

    fn cached(&self, entry: &ListedObject) -> Option<Arc<DayStatus>> {
        let all = self.days.lock();
        let cached = all.get(&entry.key).filter(|cached| cached.is_current(entry))?;
        Some(Arc::clone(&cached.day))
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

/// The manifests of some dates, by date and key. If both ends are known, the years (or, of a single year, its months)
/// are listed in parallel.
async fn list(
    store: &dyn Store,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
) -> Result<Vec<(NaiveDate, ListedObject)>> {
    let prefixes = match (from, to) {
        (Some(from), Some(to)) => prefixes(from, to),
        _ => vec![key::DAYS.to_owned()],
    };
    let listings: Vec<Vec<ListedObject>> = stream::iter(prefixes)
        .map(|prefix| async move { store.list(&prefix).await })
        .buffered(LISTINGS_AT_ONCE)
        .try_collect()
        .await?;
    let mut found: Vec<(NaiveDate, ListedObject)> = listings
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
