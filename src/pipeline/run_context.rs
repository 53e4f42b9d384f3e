//! The context of a run: its store, mapping, memory and time. It has no API client, because a rebuild needs none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::cutoffs::CutOffs;
use super::job::Command;
use super::memory::MemoryBudget;
use super::{Progress, Setting, Stop, StopReason};
use crate::config::Config;
use crate::lake::erased::Erased;
use crate::lake::{self, key};
use crate::pipeline::day::build_threads::Builders;
use crate::pipeline::lake_state::budget::DailyBudget;
use crate::pipeline::lake_state::day_table::DayTable;
use crate::pipeline::lake_state::erasures::KnownErasures;
use crate::pipeline::lake_state::info::{self, StoreInfo};
use crate::pipeline::lake_state::lease;
use crate::pipeline::lake_state::lease::Lease;
use crate::pipeline::lessons::cache::LessonCache;
use crate::pipeline::lessons::lake::LessonLake;
use crate::pipeline::summary::trace::Trace;
use crate::pipeline::summary::{RunEnd, Summary};
use crate::store::guarded::{GuardedStore, StoreHealth};
use crate::store::json::update_json;
use crate::store::{Condition, Store, Version};
use crate::tables::Mapping;
use crate::{Error, ErrorKind, Result};

/// The store of a run, and all that building and committing need.
pub(crate) struct RunContext {
    pub config: Config,
    /// The store, as a [`GuardedStore`].
    pub store: Arc<dyn Store>,
    /// The state of the store and the lease: it says if the run may still write.
    pub health: Arc<StoreHealth>,
    /// The store without the guard, because the lease must be renewed even while the run stops.
    bare: Arc<dyn Store>,
    pub mapping: Mapping,
    pub builders: Builders,
    /// The memory that reports may take while they are read.
    pub memory: Arc<MemoryBudget>,
    pub progress: Arc<Progress>,
    /// Stops the work, at the operator's signal or after the API refused the token.
    pub cancel: CancellationToken,
    /// The budget of requests to the API, if there is one.
    pub budget: Option<Arc<DailyBudget>>,
    /// The reason why the run was stopped, if somebody can stop this run alone.
    pub stop: Option<Stop>,
    /// The lesson data, and the days that share a meeting.
    pub lessons: LessonCache,
    /// The table of days.
    pub days: DayTable,
    /// The people who were erased from the lake.
    pub erasures: Arc<KnownErasures>,
    /// True if there was a marker of changed lesson data when it was first asked for.
    changed_lessons: OnceCell<bool>,
    /// True if the store honours conditional writes.
    pub conditional: AtomicBool,
    /// True if the tables of no single day were built under the present privacy policy.
    pub is_under_policy: AtomicBool,
    pub writes: Arc<AtomicU64>,
    /// The writes and deletions of table files so far.
    table_writes: Arc<AtomicU64>,
    /// The dates from which on each kind of data is kept.
    pub cutoffs: CutOffs,
    /// The present, which is the same for all decisions of the run.
    pub now: DateTime<Utc>,
}

impl RunContext {
    /// A run; the cancellation of its setting stops this run alone.
    ///
    /// # Errors
    /// `Config` if the mapping is wrong or cannot be read.
    pub fn new(setting: Setting) -> Result<Self> {
        let Setting {
            config,
            store,
            progress,
            cancel,
            now,
        } = setting;
        let mapping = mapping_to_build(&config)?;
        let store = store.patient(cancel.clone()).unwrap_or(store);
        let guarded = GuardedStore::new(Arc::clone(&store), cancel.clone());
        let health = guarded.health();
        let guarded: Arc<dyn Store> = Arc::new(guarded);
        let writes = Arc::new(AtomicU64::new(0));
        let table_writes = Arc::new(AtomicU64::new(0));
        let erasures = Arc::new(KnownErasures::default());
        let lessons = LessonCache::new(LessonLake {
            erasures: Arc::clone(&erasures),
            store: Arc::clone(&guarded),
            writes: Arc::clone(&writes),
            table_writes: Arc::clone(&table_writes),
            zone: config.timezone,
            now,
            privacy: mapping.privacy().clone(),
        });
        let zone = config.timezone.name();
        let privacy = mapping.privacy().clone();
        let budget = DailyBudget::new(&config, Arc::clone(&store), cancel.clone());
        let days = DayTable::new(Arc::clone(&guarded), Arc::clone(&writes), zone, privacy);
        Ok(Self {
            erasures,
            mapping,
            builders: Builders::start()?,
            cutoffs: CutOffs::new(&config, lake::date_of(now, config.timezone)),
            memory: MemoryBudget::shared(config.export.memory.as_u64()),
            config,
            health,
            store: guarded,
            budget,
            bare: store,
            progress,
            cancel,
            stop: None,
            lessons,
            days,
            changed_lessons: OnceCell::new(),
            conditional: true.into(),
            is_under_policy: true.into(),
            writes,
            table_writes,
            now,
        })
    }

    /// A new context over the same store, with an empty lesson cache.
    pub fn anew(&self) -> Result<Self> {
        Self::new(Setting {
            config: self.config.clone(),
            store: Arc::clone(&self.store),
            progress: Arc::clone(&self.progress),
            cancel: self.cancel.clone(),
            now: self.now,
        })
    }

    /// Reads the store's description; `None` if there is no lake.
    pub async fn open_lake(&self) -> Result<Option<StoreInfo>> {
        let privacy = self.mapping.privacy();
        match StoreInfo::open(&*self.store, self.config.timezone, privacy, self.now).await? {
            Some(opened) => self.use_info(opened).await.map(Some),
            None => Ok(None),
        }
    }

    /// Refuses a key of pseudonyms other than the lake's, before anything is written.
    ///
    /// # Errors
    /// `Config`; any error of the store.
    pub async fn check_key(&self) -> Result<()> {
        let privacy = self.mapping.privacy();
        if !privacy.makes_pseudonyms() {
            return Ok(());
        }
        let info = info::read(&*self.store).await?;
        info.map_or(Ok(()), |info| info.check_key(privacy))
    }

    /// Reads the store's description and proves that the lake can be written. Nothing is written if there is no lake.
    ///
    /// # Errors
    /// `StoreNotFound` if there is no lake; else any error of the store.
    pub async fn require_lake(&self) -> Result<StoreInfo> {
        match info::read(&*self.store).await? {
            Some(info) => info.check_key(self.mapping.privacy())?,
            None => return Err(info::no_lake(&*self.store)),
        }
        self.store.preflight().await?;
        let opened = self.open_lake().await?;
        opened.ok_or_else(|| info::no_lake(&*self.store))
    }

    /// Reads the store's description, or writes it before the lake's first write.
    pub async fn open_or_create_lake(&self) -> Result<StoreInfo> {
        let (zone, privacy) = (self.config.timezone, self.mapping.privacy());
        let opened = StoreInfo::open_or_create(&*self.store, zone, privacy, self.now).await?;
        self.use_info(opened).await
    }

    async fn use_info(&self, (info, written): (StoreInfo, bool)) -> Result<StoreInfo> {
        self.conditional.store(info.conditional_writes, Ordering::Relaxed);
        let is_under = info.is_under(self.mapping.privacy());
        self.is_under_policy.store(is_under, Ordering::Relaxed);
        self.writes.fetch_add(u64::from(written), Ordering::Relaxed);
        self.erasures.read(&*self.store, info.erasures).await?;
        Ok(info)
    }

    /// The people who were erased from the lake, as this run knows them.
    pub fn erased(&self) -> Arc<Erased> {
        self.erasures.get()
    }

    /// Asks the lake if erasures were begun after a number of them, or since the run began, and reads their tombstones.
    /// Returns the number that were begun, if there are new ones.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn new_erasures(&self, known: Option<u64>) -> Result<Option<u64>> {
        let begun = self.erasures.refresh(&*self.store).await?;
        Ok((begun > known.unwrap_or(self.erasures.before())).then_some(begun))
    }

    /// True if lesson data or a day of shared meetings has changed and not all days concerned are built again yet. The store
    /// is asked once.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn has_changed_lessons(&self) -> Result<bool> {
        let markers = || async { Ok(!self.store.list(key::META_CHANGED).await?.is_empty()) };
        self.changed_lessons.get_or_try_init(markers).await.copied()
    }

    /// Writes the run's first summary.
    pub async fn begin_trace(&self, summary: &Summary) -> Trace<'_> {
        Trace::begin(&*self.bare, &self.health, summary).await
    }

    /// The circumstances in which the run ends now.
    pub fn end(&self, error: Option<Error>) -> RunEnd {
        RunEnd {
            at: Utc::now(),
            lost: self.health.lost(),
            error,
            stopped: self.cancel.is_cancelled(),
            reason: self.reason(),
            writes: self.writes(),
            table_writes: self.table_writes.load(Ordering::Relaxed),
        }
    }

    /// The reason why the run was stopped. Somebody who cancelled it goes before a budget that is spent.
    fn reason(&self) -> Option<StopReason> {
        let given = self.stop.as_ref().and_then(Stop::reason);
        given.or_else(|| self.budget.as_ref()?.spent())
    }

    /// Writes an object.
    pub async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let version = self.store.put(key, bytes, condition).await?;
        self.count_write(key);
        Ok(version)
    }

    /// Writes an object that is durable after the next commit of a manifest, see [`Store::put_relaxed`].
    pub async fn put_relaxed(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.store.put_relaxed(key, bytes).await?;
        self.count_write(key);
        Ok(())
    }

    fn count_write(&self, key: &str) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let is_table = key.ends_with(".parquet");
        self.table_writes
            .fetch_add(u64::from(is_table), Ordering::Relaxed);
    }

    /// Changes a JSON object, and tries again if another process was faster: see [`update_json`].
    ///
    /// # Errors
    /// As [`update_json`].
    pub async fn update<T>(&self, key: &str, change: impl FnMut(&mut T)) -> Result<T>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let updated = update_json(&*self.store, key, change).await?;
        self.writes
            .fetch_add(u64::from(updated.is_written), Ordering::Relaxed);
        Ok(updated.value)
    }

    /// The number of writes and deletions so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Does `work`, under the lake's lease if the store ignores conditional writes.
    ///
    /// # Errors
    /// `Interrupted` if the run was stopped before the lease was free; any error of the store.
    pub async fn alone<T>(&self, command: Command, work: impl Future<Output = T>) -> Result<T> {
        if self.conditional.load(Ordering::Relaxed) {
            return Ok(work.await);
        }
        let lease = Lease::take(&*self.bare, command.name(), Utc::now(), &self.cancel).await?;
        let pulse = lease.pulse();
        self.health.require(Box::new(move || {
            if pulse.is_alive() {
                Ok(())
            } else {
                Err(lease::lost())
            }
        }));
        Ok(lease.during(work, || self.health.lose(lease::lost())).await)
    }

    /// The store for work whose failures must not stop the run. It writes only while the run may.
    pub fn store_beside(&self) -> Arc<dyn Store> {
        let guarded = GuardedStore::new(Arc::clone(&self.bare), self.cancel.child_token());
        let health = Arc::clone(&self.health);
        guarded.health().require(Box::new(move || health.permit()));
        Arc::new(guarded)
    }

    /// Deletes an object.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key).await?;
        self.count_write(key);
        Ok(())
    }
}

/// The mapping of a configuration, with the key of the pseudonyms if it needs one: what a build needs.
///
/// # Errors
/// As [`mapping`]; `Config` or `SecretUnreadable` if the key is missing or can't be read.
pub fn mapping_to_build(config: &Config) -> Result<Mapping> {
    let mapping = mapping(config)?;
    if !mapping.privacy().makes_pseudonyms() {
        return Ok(mapping);
    }
    mapping.with_key(config.privacy.read_key()?.expose(), &config.privacy.key_file)
}

/// The mapping of a configuration: the built-in one, overlaid with the file that the configuration names, and the treatment
/// of personal data. It can't write pseudonyms.
///
/// # Errors
/// `Config` with the file, the line and the reason if the file is wrong or cannot be read, or with the key of `[privacy]`
/// that is wrong.
pub fn mapping(config: &Config) -> Result<Mapping> {
    plain_mapping(config)?.under(&config.privacy)
}

fn plain_mapping(config: &Config) -> Result<Mapping> {
    let file = config.export.mapping.as_str();
    if file.is_empty() {
        return Mapping::builtin();
    }
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::new(ErrorKind::Config, "export.mapping", format!("{file}: {error}"))
            .hint("name a file to be laid over the built-in mapping, or leave the key empty")
    })?;
    Mapping::over_builtin(&text, file)
}
