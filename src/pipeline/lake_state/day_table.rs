//! Keeps the table `days` in step with the manifests: a file for each space, with a row for each of its days.
//!
//! The row of a day is brought up to date after its manifest was committed and before its marker is removed. If a run is
//! killed in between, the marker makes the next run do it. The order of requests is: version of the file, manifest,
//! conditional write. Of two processes that change the same day, the last one to write has therefore read the last
//! manifest.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use crate::ids::{DayId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::store::json::get_json;
use crate::store::{Condition, OptionalExt, Store, Version};
use crate::tables::{DayRow, PrivacyPolicy, SpaceDays};
use crate::{Error, ErrorKind, Result};

/// Lost conditional writes after which the rows are left to the next run.
const TRIES: usize = 10;
/// Manifests read at once if the file is made anew.
const READS_AT_ONCE: usize = 16;

/// The files of the table that a run has read or written.
pub(crate) struct DayTable {
    store: Arc<dyn Store>,
    /// The run's writes so far; shared with the run.
    writes: Arc<AtomicU64>,
    /// The time zone of the lake.
    zone: String,
    privacy: PrivacyPolicy,
    spaces: Mutex<HashMap<SpaceId, Arc<SpaceFile>>>,
}

/// The file of a space.
#[derive(Default)]
struct SpaceFile {
    /// The dates whose rows wait to be written. One write takes along all that wait.
    due: Mutex<BTreeSet<NaiveDate>>,
    stored: tokio::sync::Mutex<Option<StoredDays>>,
}

/// The rows as the store has them.
struct StoredDays {
    days: SpaceDays,
    /// None if there is no file.
    version: Option<Version>,
    /// True if the file is not what the rows say, because it could not be read.
    is_damaged: bool,
}

impl DayTable {
    /// The table in a store.
    pub fn new(store: Arc<dyn Store>, writes: Arc<AtomicU64>, zone: &str, privacy: PrivacyPolicy) -> Self {
        Self {
            store,
            writes,
            zone: zone.to_owned(),
            privacy,
            spaces: Mutex::default(),
        }
    }

    /// Brings the row of a day up to date. `manifest` is the day's manifest as it was last read or written: if its row is
    /// there already, nothing more is read.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn update(&self, manifest: &Manifest) -> Result<()> {
        let row = self.row(manifest)?;
        let day = DayId::new(manifest.date, manifest.space_id.clone());
        self.refresh(&day, row.as_ref()).await
    }

    /// Brings the row of a day up to date whose manifest was removed.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn remove(&self, day: &DayId) -> Result<()> {
        self.refresh(day, None).await
    }

    /// The row of a manifest; none for a day of which everything was deleted.
    fn row(&self, manifest: &Manifest) -> Result<Option<DayRow>> {
        let row = manifest
            .deleted
            .is_none()
            .then(|| DayRow::of(manifest, &self.zone, &self.privacy));
        row.transpose()
    }

    async fn refresh(&self, day: &DayId, row: Option<&DayRow>) -> Result<()> {
        let file = Arc::clone(self.spaces.lock().entry(day.space.clone()).or_default());
        file.due.lock().insert(day.date);
        let mut stored = file.stored.lock().await;
        if !file.due.lock().contains(&day.date) {
            // The write of another day has taken this one along.
            return Ok(());
        }
        if stored.is_none() {
            *stored = Some(self.load(&day.space).await?);
        }
        if let Some(known) = &*stored
            && known.version.is_some()
            && !known.is_damaged
            && known.days.get(day.date) == row
        {
            file.due.lock().remove(&day.date);
            return Ok(());
        }
        let due = std::mem::take(&mut *file.due.lock());
        let written = self.write(&day.space, &mut stored, &due).await;
        if written.is_err() {
            *stored = None;
            // The days that wait try it themselves.
            file.due.lock().extend(due);
        }
        written
    }

    /// Makes the file of a space anew from all manifests of the space.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn make_anew(&self, space: &SpaceId) -> Result<()> {
        let file = Arc::clone(self.spaces.lock().entry(space.clone()).or_default());
        let mut stored = file.stored.lock().await;
        let object = self.store.get(&key::days(space)).await.optional()?;
        let version = object.map(|object| object.version);
        *stored = Some(self.anew(space, version).await?);
        self.write(space, &mut stored, &BTreeSet::new()).await
    }

    /// Writes the file with the present rows of some dates, unless it has them.
    async fn write(
        &self,
        space: &SpaceId,
        stored: &mut Option<StoredDays>,
        due: &BTreeSet<NaiveDate>,
    ) -> Result<()> {
        let key = key::days(space);
        for _ in 0..TRIES {
            let known = match stored.take() {
                Some(known) => known,
                None => self.load(space).await?,
            };
            let mut days = known.days.clone();
            for (date, row) in self.rows(space, due.iter().copied(), false).await? {
                days.set(date, row);
            }
            if days == known.days && known.version.is_some() && !known.is_damaged {
                *stored = Some(known);
                return Ok(());
            }
            let Some(table) = days.file(space, &self.privacy)? else {
                if known.version.is_some() {
                    self.store.delete(&key).await?;
                    self.writes.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(());
            };
            let condition = known.version.map_or(Condition::Absent, Condition::Unchanged);
            match self.store.put(&key, table.bytes, condition).await {
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                written => {
                    let version = Some(written?);
                    self.writes.fetch_add(1, Ordering::Relaxed);
                    *stored = Some(StoredDays {
                        days,
                        version,
                        is_damaged: false,
                    });
                    return Ok(());
                }
            }
        }
        let message = "other processes keep changing it; a later run goes on";
        Err(Error::new(ErrorKind::Precondition, key, message))
    }

    /// Reads the file of a space. If it is missing or damaged, its rows are made from all manifests.
    async fn load(&self, space: &SpaceId) -> Result<StoredDays> {
        let object = self.store.get(&key::days(space)).await.optional()?;
        let Some(object) = object else {
            return self.anew(space, None).await;
        };
        match SpaceDays::read(object.bytes) {
            Ok(days) => Ok(StoredDays {
                days,
                version: Some(object.version),
                is_damaged: false,
            }),
            Err(_) => self.anew(space, Some(object.version)).await,
        }
    }

    async fn anew(&self, space: &SpaceId, version: Option<Version>) -> Result<StoredDays> {
        let name = format!("/{}.json", key::segment(space));
        let manifests = self.store.list(key::DAYS).await?.into_iter();
        let manifests = manifests.filter(|object| object.key.ends_with(&name));
        let dates = manifests.filter_map(|object| key::date_in(&object.key));
        let mut days = SpaceDays::default();
        for (date, row) in self.rows(space, dates, true).await? {
            days.set(date, row);
        }
        Ok(StoredDays {
            days,
            version,
            is_damaged: true,
        })
    }

    /// The rows of some dates as the manifests say now; none for a date without a manifest. If manifests that can't be read
    /// are skipped, `verify` names them.
    async fn rows(
        &self,
        space: &SpaceId,
        dates: impl IntoIterator<Item = NaiveDate>,
        skips_damaged: bool,
    ) -> Result<Vec<(NaiveDate, Option<DayRow>)>> {
        let keys: Vec<_> = dates
            .into_iter()
            .map(|date| (date, key::manifest(date, space)))
            .collect();
        stream::iter(keys)
            .map(|(date, key)| async move {
                match get_json::<Manifest>(&*self.store, &key).await {
                    Ok(Some((manifest, _))) => Ok((date, self.row(&manifest)?)),
                    Err(error) if !skips_damaged || error.kind() != ErrorKind::Store => Err(error),
                    _ => Ok((date, None)),
                }
            })
            .buffer_unordered(READS_AT_ONCE)
            .try_collect()
            .await
    }
}
