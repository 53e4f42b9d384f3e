//! What the daemon has to do, one after another: the scheduled run, and jobs that were asked for. The latter are kept in
//! the store until they are done, so a restart goes on with them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::journal;
use crate::export::{Job, Only};
use crate::lake::key;
use crate::metrics::METRICS;
use crate::store::{Condition, Store};
use crate::{Error, ErrorKind, Result};

/// Jobs that may wait at most: whoever asks for more asks in vain.
const MOST: usize = 100;

/// A job as it is asked for and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The first date.
    pub from: NaiveDate,
    /// The last date, itself included.
    pub to: NaiveDate,
    /// Spaces; empty: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<String>,
    /// Rooms; empty: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<String>,
    /// One half of the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Half>,
    /// Whether what is landed is landed again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// One half of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// Reports and their tables.
    Analytics,
    /// MP4 files.
    Recordings,
}

impl Asked {
    /// The job.
    pub fn job(&self) -> Job {
        Job {
            command: "backfill",
            from: self.from,
            to: self.to,
            open_days: false,
            spaces: self.spaces.clone(),
            rooms: self.rooms.clone(),
            only: self.only.map(|half| match half {
                Half::Analytics => Only::Analytics,
                Half::Recordings => Only::Recordings,
            }),
            force: self.force,
        }
    }
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Work {
    /// The nightly run.
    Scheduled {
        /// When it was due.
        due: DateTime<Utc>,
    },
    /// A job that was asked for.
    Asked {
        /// Its id.
        id: String,
        /// When.
        asked_at: DateTime<Utc>,
        /// What.
        job: Asked,
    },
}

/// See the module.
#[derive(Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    /// Something new waits.
    pub wake: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Work>,
    /// What was taken and is not over.
    in_hand: Option<Work>,
}

impl Queue {
    /// A run is due: once, however often it was due while others ran.
    pub fn push_scheduled(&self, due: DateTime<Utc>) {
        let mut inner = self.lock();
        let mut waiting = inner.waiting.iter();
        if !waiting.any(|work| matches!(work, Work::Scheduled { .. })) {
            // Before what people asked for: it is what the morning looks at.
            inner.waiting.push_front(Work::Scheduled { due });
        }
        drop(inner);
        self.changed();
    }

    /// Takes a job; returns its id when it is safely kept.
    ///
    /// # Errors
    /// `RateLimited` when too many wait; of the store.
    pub async fn push(&self, store: &dyn Store, job: Asked) -> Result<String> {
        if self.lock().waiting.len() >= MOST {
            return Err(Error::new(
                ErrorKind::RateLimited,
                "queue",
                format!("{MOST} jobs wait already"),
            ));
        }
        let work = Work::Asked {
            id: journal::id(),
            asked_at: Utc::now(),
            job,
        };
        let Work::Asked { id, .. } = &work else {
            unreachable!("made just so")
        };
        let id = id.clone();
        let bytes = serde_json::to_vec_pretty(&work)
            .map_err(|error| Error::new(ErrorKind::Internal, "queue", error.to_string()))?;
        store.put(&key::queued(&id), bytes.into(), Condition::Any).await?;
        self.lock().waiting.push_back(work);
        self.changed();
        Ok(id)
    }

    /// Takes in what was kept before a restart, in the order in which it was asked for.
    ///
    /// # Errors
    /// Of the store.
    pub async fn load(&self, store: &dyn Store) -> Result<()> {
        for entry in store.list(key::QUEUE).await? {
            let object = store.get(&entry.key).await?;
            match serde_json::from_slice::<Work>(&object.bytes) {
                Ok(work @ Work::Asked { .. }) => self.lock().waiting.push_back(work),
                _ => tracing::error!(key = entry.key, "a kept job can't be read; ask for it again"),
            }
        }
        self.changed();
        Ok(())
    }

    /// The next one, if any. It is in hand until [`Queue::over`] or [`Queue::put_back`].
    pub fn pop(&self) -> Option<Work> {
        let mut inner = self.lock();
        let work = inner.waiting.pop_front();
        inner.in_hand.clone_from(&work);
        drop(inner);
        self.changed();
        work
    }

    /// What was in hand is over.
    pub fn over(&self) {
        self.lock().in_hand = None;
    }

    /// Puts back what was stopped: it is the next one after a restart too.
    pub fn put_back(&self, work: Work) {
        let mut inner = self.lock();
        inner.in_hand = None;
        inner.waiting.push_front(work);
        drop(inner);
        self.changed();
    }

    /// What waits.
    pub fn waiting(&self) -> Vec<Work> {
        self.all().0
    }

    /// What waits, and what is in hand.
    pub fn all(&self) -> (Vec<Work>, Option<Work>) {
        let inner = self.lock();
        (inner.waiting.iter().cloned().collect(), inner.in_hand.clone())
    }

    fn changed(&self) {
        let waiting = self.lock().waiting.len();
        METRICS
            .queued_jobs
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::folder::FolderStore;

    #[tokio::test]
    async fn due_runs_merge_go_first_and_asked_jobs_outlive_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let job = |from: &str| Asked {
            from: from.parse().expect("date"),
            to: from.parse().expect("date"),
            spaces: vec!["s".into()],
            rooms: Vec::new(),
            only: Some(Half::Analytics),
            force: false,
        };
        let queue = Queue::default();
        queue.push(&store, job("2026-11-01")).await.expect("kept");
        queue.push(&store, job("2026-11-02")).await.expect("kept");
        let now = Utc::now();
        queue.push_scheduled(now);
        queue.push_scheduled(now + chrono::TimeDelta::hours(1));
        assert_eq!(queue.waiting().len(), 3);
        let scheduled = Work::Scheduled { due: now };
        assert_eq!(queue.pop().as_ref(), Some(&scheduled));
        assert_eq!(queue.all().1, Some(scheduled), "seen until it is over");
        queue.over();
        assert_eq!(queue.all().1, None);
        let restarted = Queue::default();
        restarted.load(&store).await.expect("loaded");
        assert_eq!(restarted.waiting(), queue.waiting());
        let Some(Work::Asked { job: first, .. }) = restarted.pop() else {
            panic!("no job")
        };
        assert_eq!(first, job("2026-11-01"));
        assert_eq!(first.job().only, Some(Only::Analytics));
    }
}
