//! The context of a run: its store, mapping, memory and time. It has no API client, because a rebuild needs none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::job::Command;
use super::memory::MemoryBudget;
use super::{Progress, Stop};
use crate::config::Config;
use crate::pipeline::day::build_threads::Builders;
use crate::pipeline::lake_state::lease;
use crate::pipeline::lake_state::lease::Lease;
use crate::pipeline::lessons::cache::LessonCache;
use crate::store::guarded::{GuardedStore, StoreHealth};
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
    /// The reason why the run was stopped, if somebody can stop this run alone.
    pub stop: Option<Stop>,
    /// The lesson data, and the days that share a meeting.
    pub lessons: LessonCache,
    /// True if the store honours conditional writes.
    pub conditional: AtomicBool,
    pub writes: AtomicU64,
    /// The present, which is the same for all decisions of the run.
    pub now: DateTime<Utc>,
}

impl RunContext {
    /// A run over a store; `cancel` stops this run alone.
    ///
    /// # Errors
    /// `Config` if the mapping is wrong or cannot be read.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        progress: Arc<Progress>,
        cancel: CancellationToken,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let store = store.patient(cancel.clone()).unwrap_or(store);
        let watched = GuardedStore::new(Arc::clone(&store), cancel.clone());
        Ok(Self {
            mapping: mapping(&config)?,
            builders: Builders::start()?,
            memory: MemoryBudget::shared(config.export.memory.as_u64()),
            config,
            health: watched.health(),
            store: Arc::new(watched),
            bare: store,
            progress,
            cancel,
            stop: None,
            lessons: LessonCache::default(),
            conditional: true.into(),
            writes: AtomicU64::new(0),
            now,
        })
    }

    /// A new context over the same store, with an empty lesson cache.
    pub fn anew(&self) -> Result<Self> {
        Self::new(
            self.config.clone(),
            Arc::clone(&self.store),
            Arc::clone(&self.progress),
            self.cancel.clone(),
            self.now,
        )
    }

    /// The store without the guard.
    pub fn bare(&self) -> &dyn Store {
        &*self.bare
    }

    /// Writes an object. The condition is dropped if the store ignores conditional writes.
    pub async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let condition = if self.conditional.load(Ordering::Relaxed) {
            condition
        } else {
            Condition::Any
        };
        let version = self.store.put(key, bytes, condition).await?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(version)
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

    /// Deletes an object.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key).await?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The mapping of a configuration: the built-in one, overlaid with the file that the configuration names.
///
/// # Errors
/// `Config` with the file, the line and the reason if the file is wrong or cannot be read.
pub fn mapping(config: &Config) -> Result<Mapping> {
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
