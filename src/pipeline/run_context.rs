//! What building and committing need, and no more: the store, the mapping and the decisions of one run. No API: a
//! rebuild has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::memory::MemoryBudget;
use super::job::Command;
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

/// The store and what a run builds with.
pub(crate) struct RunContext {
    pub config: Config,
    /// GuardedStore: see [`GuardedStore`].
    pub store: Arc<dyn Store>,
    /// Whether the store still works, and the lease holds.
    pub health: Arc<StoreHealth>,
    /// The store itself: a lease is kept up also while the run is being stopped.
    bare: Arc<dyn Store>,
    pub mapping: Mapping,
    pub builders: Builders,
    /// What reports may take while they are read.
    pub memory: Arc<MemoryBudget>,
    pub progress: Arc<Progress>,
    /// Stops the work: the operator's signal, or a token that was refused.
    pub cancel: CancellationToken,
    /// Why the run was stopped, where somebody stops this run alone.
    pub stop: Option<Stop>,
    /// Meta, and the days that share a meeting.
    pub lessons: LessonCache,
    /// Whether the store honours conditional writes.
    pub conditional: AtomicBool,
    pub writes: AtomicU64,
    /// The time of the run: one for all its decisions.
    pub now: DateTime<Utc>,
}

impl RunContext {
    /// A run over a store; `cancel` is its own.
    ///
    /// # Errors
    /// `Config`: a mapping that can't be read or is wrong.
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

    /// Another one over the same, which knows nothing of lessons yet.
    pub fn anew(&self) -> Result<Self> {
        Self::new(
            self.config.clone(),
            Arc::clone(&self.store),
            Arc::clone(&self.progress),
            self.cancel.clone(),
            self.now,
        )
    }

    /// The store itself, which is never taken for lost.
    pub fn bare(&self) -> &dyn Store {
        &*self.bare
    }

    /// Writes an object, conditionally where the store can.
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

    /// Writes and removals so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Does `work`; where the store ignores conditional writes, under the lake's lease.
    ///
    /// # Errors
    /// `Interrupted` when the run was stopped before the lake was free; else of the store.
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

    /// Removes an object.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key).await?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The mapping in force: the built-in one, and what the configuration lays over it.
///
/// # Errors
/// `Config`: the file can't be read, or says what can't be; with the file, the line and the reason.
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
