//! What a run knows of lessons: the meta around a day, and the days that share a meeting. Read when it is first asked
//! for, and kept while days around it are in work: a day is built, and noted, with one and the same state of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Days, NaiveDate, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

use super::meta;
use super::opened::get_json;
use super::workshop::Workshop;
use crate::build::Presence;
use crate::build::meta::{Entry, Meta, Shelf};
use crate::lake::key;
use crate::lake::manifest::{Built, Manifest};
use crate::{ErrorKind, Result};

/// Shelves of meta that are kept: those around the days in work.
const MOST_SHELVES: usize = 64;
/// Objects read at once.
const READ_AT_ONCE: usize = 8;

/// A day: date and space.
pub(super) type DayId = (NaiveDate, String);

/// What a day that was built has of meetings.
#[derive(Debug, Clone, Default)]
struct DayLessons {
    meetings: BTreeMap<String, Option<DateTime<Utc>>>,
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
pub(super) struct Beside {
    /// The days, with the key of their participants and the meetings that they share.
    days: Vec<(String, BTreeSet<String>)>,
    /// Of the shared meetings, those whose first call lies on another day.
    pub away: BTreeSet<String>,
    /// Of all this; empty where nothing is shared.
    pub digest: String,
}

/// See the module.
#[derive(Default)]
pub(super) struct Lessons {
    shelves: Mutex<Shelves>,
    manifests: OnceCell<BTreeMap<NaiveDate, Vec<String>>>,
    days: Mutex<Known>,
}

#[derive(Default)]
struct Shelves {
    /// The dates that have one.
    dates: Option<BTreeSet<NaiveDate>>,
    read: HashMap<NaiveDate, Arc<Shelf>>,
}

impl Shelves {
    /// Forgets those that lie furthest from a date when there are more than so many: days come in the order of their
    /// dates, and a run of years must not hold the meta of all of them.
    fn keep_near(&mut self, date: NaiveDate, most: usize) {
        if self.read.len() <= most {
            return;
        }
        let mut dates: Vec<_> = self.read.keys().copied().collect();
        dates.sort_unstable_by_key(|known| (*known - date).num_days().abs());
        for far in dates.drain(most / 2..) {
            self.read.remove(&far);
        }
    }
}

#[derive(Default)]
struct Known {
    /// The dates whose manifests were read.
    dates: BTreeSet<NaiveDate>,
    days: BTreeMap<DayId, DayLessons>,
}

/// The dates in which a call's meta, and other calls of its meeting, are looked for.
pub(super) fn around(context: &Workshop, date: NaiveDate) -> impl Iterator<Item = NaiveDate> + use<> {
    let days = Days::new(context.config.meta.window_days.into());
    let first = date.checked_sub_days(days).unwrap_or(date);
    let last = date.checked_add_days(days).unwrap_or(date);
    first.iter_days().take_while(move |date| *date <= last)
}

impl Lessons {
    /// The meta around a date.
    pub async fn meta(&self, context: &Workshop, date: NaiveDate) -> Result<Meta> {
        let mut shelves = self.shelves.lock().await;
        let shelves = &mut *shelves;
        let dates = match &mut shelves.dates {
            Some(dates) => dates,
            none => {
                let listed = context.store.list(key::META_SHELVES).await?;
                none.insert(listed.iter().filter_map(|it| key::date_in(&it.key)).collect())
            }
        };
        let mut found = Vec::new();
        for date in around(context, date).filter(|date| dates.contains(date)) {
            let shelf = match shelves.read.get(&date) {
                Some(shelf) => Arc::clone(shelf),
                None => {
                    let shelf = get_json::<Shelf>(&*context.store, &key::meta_shelf(date)).await?;
                    let shelf = Arc::new(shelf.map(|(shelf, _)| shelf).unwrap_or_default());
                    shelves.read.insert(date, Arc::clone(&shelf));
                    shelf
                }
            };
            found.push(shelf);
        }
        shelves.keep_near(date, MOST_SHELVES.max(2 * found.len()));
        Ok(Meta::of(found))
    }

    /// Takes in the meta that a day's reports hold; says whether it brought anything new.
    pub async fn take_embedded(&self, context: &Workshop, entries: Vec<Entry>) -> Result<bool> {
        // Held all the while: of days built at once one after the other, also where the store knows no conditions.
        let mut shelves = self.shelves.lock().await;
        let taken = meta::take_embedded(
            &*context.store,
            context.config.timezone,
            context.now,
            context.conditional.load(Ordering::Relaxed),
            entries,
        )
        .await?;
        context.writes.fetch_add(taken.writes, Ordering::Relaxed);
        for date in &taken.dates {
            shelves.read.remove(date);
            if let Some(dates) = &mut shelves.dates {
                dates.insert(*date);
            }
        }
        Ok(!taken.dates.is_empty())
    }

    /// What other days have of the meetings of a day.
    pub async fn beside(
        &self,
        context: &Workshop,
        day: &DayId,
        meetings: &BTreeMap<String, Option<DateTime<Utc>>>,
    ) -> Result<Beside> {
        let mut beside = Beside::default();
        if meetings.is_empty() {
            return Ok(beside);
        }
        let mut known = self.days.lock().await;
        self.read(context, &mut known, day.0).await?;
        let mut hasher = Sha256::new();
        let rank = |start: &Option<DateTime<Utc>>, day: &DayId| (start.is_none(), *start, day.clone());
        for (other, theirs) in &known.days {
            let (Some((key, sha256)), true) = (&theirs.participants, other != day) else {
                continue;
            };
            if !around(context, day.0).any(|date| date == other.0) {
                continue;
            }
            let mut shared = BTreeSet::new();
            for (id, start) in meetings {
                let Some(their_start) = theirs.meetings.get(id) else {
                    continue;
                };
                shared.insert(id.clone());
                if rank(their_start, other) < rank(start, day) {
                    beside.away.insert(id.clone());
                }
            }
            if !shared.is_empty() {
                hasher.update(format!("{}\0{}\0{sha256}\0", other.0, other.1));
                beside.days.push((key.clone(), shared));
            }
        }
        if !beside.days.is_empty() {
            beside.digest = hex::encode(hasher.finalize());
        }
        Ok(beside)
    }

    /// Takes note of a day that was just built.
    pub async fn register(&self, day: DayId, built: &Built) {
        self.days.lock().await.days.insert(day, built.into());
    }

    /// Forgets what was noted of a day and reads its manifest again when it is next asked for: another process has
    /// changed it.
    pub async fn forget(&self, day: &DayId) {
        let mut known = self.days.lock().await;
        known.days.remove(day);
        known.dates.remove(&day.0);
    }

    /// The days around some dates whose tables are not of the present meta, or of what other days have of their
    /// meetings.
    pub async fn stale(&self, context: &Workshop, dates: &BTreeSet<NaiveDate>) -> Result<Vec<DayId>> {
        let near: BTreeSet<_> = dates.iter().flat_map(|date| around(context, *date)).collect();
        let mut candidates = Vec::new();
        {
            let mut known = self.days.lock().await;
            for date in &near {
                self.read_date(context, &mut known, *date).await?;
            }
            for (day, lessons) in &known.days {
                if near.contains(&day.0) && !lessons.meetings.is_empty() {
                    candidates.push((day.clone(), lessons.clone()));
                }
            }
        }
        let mut stale = Vec::new();
        for (day, lessons) in candidates {
            let meta = self.meta(context, day.0).await?;
            if meta.digest(lessons.meetings.keys().map(String::as_str)) != lessons.meta
                || self.beside(context, &day, &lessons.meetings).await?.digest != lessons.beside
            {
                stale.push(day);
            }
        }
        Ok(stale)
    }

    async fn read(&self, context: &Workshop, known: &mut Known, date: NaiveDate) -> Result<()> {
        for date in around(context, date) {
            self.read_date(context, known, date).await?;
        }
        Ok(())
    }

    /// Reads the manifests of a date, once.
    async fn read_date(&self, context: &Workshop, known: &mut Known, date: NaiveDate) -> Result<()> {
        if !known.dates.insert(date) {
            return Ok(());
        }
        let keys = self.manifests.get_or_try_init(|| async {
            let mut by_date: BTreeMap<NaiveDate, Vec<String>> = BTreeMap::new();
            for entry in context.store.list(key::DAYS).await? {
                if let Some(date) = key::date_in(&entry.key) {
                    by_date.entry(date).or_default().push(entry.key);
                }
            }
            Ok::<_, crate::Error>(by_date)
        });
        let manifests: Vec<_> = stream::iter(keys.await?.get(&date).cloned().unwrap_or_default())
            .map(|key| async move {
                match get_json::<Manifest>(&*context.store, &key).await {
                    // A day that can't be read is told when it is worked on; it must not take its neighbours along.
                    Err(error) if error.kind() == ErrorKind::Store => Ok(None),
                    read => read,
                }
            })
            .buffered(READ_AT_ONCE)
            .try_collect()
            .await?;
        for (manifest, _) in manifests.into_iter().flatten() {
            if let Some(built) = &manifest.built {
                // What this run has built itself is newer.
                let day = (manifest.date, manifest.space_id.clone());
                known.days.entry(day).or_insert_with(|| built.into());
            }
        }
        Ok(())
    }
}

impl Beside {
    /// Reads who was in the shared meetings on the other days.
    pub async fn presences(&self, context: &Workshop) -> Result<Vec<Presence>> {
        let mut presences = Vec::new();
        for (key, shared) in &self.days {
            presences.push(Presence::read(context.store.read(key).await?, shared)?);
        }
        Ok(presences)
    }
}
