//! Brings coverage in memory and the index together: loads what the index has, writes what it lacks, and finds the days
//! that may have an id.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDate};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::coverage::Coverage;
use super::index::{self, IdIndex, YearIndex};
use super::listing::DateRange;
use super::rooms::RoomNames;
use crate::lake::key;
use crate::store::Store;
use crate::{Error, Result};

/// Index objects in flight at once.
const AT_ONCE: usize = 8;
/// The years of a range up to which their indexes are named and not listed.
const FEW_YEARS: i32 = 2;
/// The months that a search looks through at once.
const MONTHS_AT_ONCE: usize = 12;

impl Coverage {
    /// Loads the index of a range, as far as this has not been done. An index that can't be read is no error, because the
    /// manifests say the same.
    pub(super) async fn load(&self, store: &dyn Store, range: DateRange) {
        let mut loaded = self.index.lock().await;
        if loaded.are_all {
            return;
        }
        let bounded = years_in(range);
        let years = match bounded.clone() {
            Some(years) => Ok(years),
            None => years_in_index(store).await,
        };
        let mut years = match years {
            Ok(years) => years,
            Err(error) => return log_unread(&error),
        };
        years.retain(|year| !loaded.years.contains(year));
        let mut reading = stream::iter(years)
            .map(|year| async move { (year, index::read::<YearIndex>(store, &key::day_index(year)).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((year, read)) = reading.next().await {
            match read {
                Ok(found) => {
                    loaded.years.insert(year);
                    if let Some(mut found) = found {
                        self.rooms.add(std::mem::take(&mut found.rooms));
                        self.days.lock().add_index(year, found);
                    }
                }
                Err(error) => return log_unread(&error),
            }
        }
        loaded.are_all = bounded.is_none();
    }

    /// Writes what the index lacks of the days in memory.
    ///
    /// # Errors
    /// Any error of the store. The next save writes what this one could not.
    pub async fn save(&self, store: &dyn Store) -> Result<()> {
        let _loaded = self.index.lock().await;
        let changes = self.days.lock().changes();
        for change in &changes {
            let change_year = |index: &mut YearIndex| {
                change.apply(index);
                // The names of other writers, and ours: the latest of each room.
                let rooms = RoomNames::default();
                rooms.add(std::mem::take(&mut index.rooms));
                rooms.add(self.rooms.of_year(change.year));
                index.rooms = rooms.of_year(change.year);
            };
            index::update(store, &key::day_index(change.year), change_year).await?;
            let months: Vec<NaiveDate> = change.ids.keys().copied().collect();
            stream::iter(months)
                .map(|month| async move {
                    let change_month = |index: &mut IdIndex| change.apply_ids(month, index);
                    index::update(store, &key::id_index(month), change_month).await
                })
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
            self.days.lock().note_indexed(change);
        }
        Ok(())
    }

    /// True if the index lacks something of the days in memory.
    pub fn has_changes(&self) -> bool {
        self.days.lock().has_changes()
    }

    /// The number of days that were read from manifests and that the index lacks.
    pub fn unindexed(&self) -> usize {
        self.days.lock().unindexed()
    }

    /// Those of some days that may have an object with this id, at most `most`. The days are given by the keys of their
    /// manifests, the latest first. Without a store, only the ids in memory are searched.
    pub async fn days_with(
        &self,
        store: Option<&dyn Store>,
        days: &[String],
        id: &str,
        most: usize,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = days;
        while !rest.is_empty() && found.len() < most {
            let (batch, later) = rest.split_at(end_of_batch(rest));
            if let Some(store) = store
                && let Err(error) = self.load_ids(store, batch).await
            {
                tracing::warn!(%error, "a search can't look through all days");
            }
            let cache = self.days.lock();
            let has_it = |key: &&String| cache.ids(key).is_some_and(|ids| ids.may_have(id));
            found.extend(batch.iter().filter(has_it).cloned());
            rest = later;
        }
        found.truncate(most);
        found
    }

    /// Loads the ids of some days from the index, or from the manifests that it lacks.
    async fn load_ids(&self, store: &dyn Store, keys: &[String]) -> Result<()> {
        let mut loaded = self.index.lock().await;
        let lacking = self.days.lock().lacking_ids(keys);
        let months: BTreeSet<NaiveDate> = lacking.iter().filter_map(|entry| month_of(&entry.key)).collect();
        let months: Vec<NaiveDate> = months.difference(&loaded.months).copied().collect();
        let mut reading = stream::iter(months)
            .map(|month| async move { (month, index::read::<IdIndex>(store, &key::id_index(month)).await) })
            .buffer_unordered(AT_ONCE);
        while let Some((month, read)) = reading.next().await {
            if let Some(found) = read? {
                self.days.lock().add_ids(found);
            }
            loaded.months.insert(month);
        }
        let lacking = self.days.lock().lacking_ids(keys);
        self.read_manifests(store, lacking).await
    }
}

fn log_unread(error: &Error) {
    tracing::debug!(%error, "the index of the days can't be read");
}

/// The years of a range; `None` if they are many, or the range is open.
fn years_in(range: DateRange) -> Option<Vec<i32>> {
    let (from, to) = (range.from?.year(), range.to?.year());
    (to - from <= FEW_YEARS).then(|| (from..=to).collect())
}

/// The years that have an index.
async fn years_in_index(store: &dyn Store) -> Result<Vec<i32>> {
    let listed = store.list(key::DAY_INDEXES).await?;
    let names = listed
        .iter()
        .filter_map(|entry| entry.key.strip_prefix(key::DAY_INDEXES));
    Ok(names
        .filter_map(|name| name.strip_suffix(".json.zst")?.parse().ok())
        .collect())
}

fn month_of(key: &str) -> Option<NaiveDate> {
    key::date_in(key)?.with_day(1)
}

/// The number of the first days that lie in [`MONTHS_AT_ONCE`] months.
fn end_of_batch(days: &[String]) -> usize {
    let mut months = BTreeSet::new();
    let is_beyond = |key: &String| {
        months.insert(month_of(key));
        months.len() > MONTHS_AT_ONCE
    };
    days.iter().position(is_beyond).unwrap_or(days.len())
}
