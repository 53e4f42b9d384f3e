//! The daemon's queue: scheduled runs and requested jobs, done one after another. Requested jobs are kept in the store
//! until they are done, so that a restart continues them.
//!
//! A job can be cancelled while it waits and while it runs. A scheduled run that is due goes before all jobs: the running
//! job makes way for it and continues afterwards. While the queue is paused no new job starts.

#[cfg(test)]
mod tests;
mod work;

use std::collections::VecDeque;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::work::{JobId, JobRequest, Work};
use super::audit::Caller;
use super::journal;
use crate::dates;
use crate::lake::key;
use crate::metrics::METRICS;
use crate::pipeline::{Stop, StopReason};
use crate::store::json::{get_json, put_json};
use crate::store::{Condition, Store};
use crate::{Error, ErrorKind, Result};

/// The most jobs that may wait; further requests are refused.
const MOST: usize = 100;
/// The time that a job runs before it makes way a second time, so that a dense schedule does not starve it.
const TURN: TimeDelta = TimeDelta::minutes(30);

/// A pause of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The start of the pause.
    pub since: DateTime<Utc>,
    /// The caller who paused the queue.
    pub by: Caller,
}

/// Work that was taken from the queue and is not over.
#[derive(Debug, Clone)]
pub struct InHand {
    /// The work.
    pub work: Work,
    /// The time when the work was taken.
    pub since: DateTime<Utc>,
    /// Stops the work.
    pub stop: Stop,
}

/// See the module.
#[derive(Default)]
pub struct Queue {
    inner: Mutex<QueueState>,
    /// Wakes the lane when new work can start. A change of numbers alone does not wake it.
    pub wake: Notify,
    /// Held while the store and the memory change together.
    keeping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Work>,
    in_hand: Option<InHand>,
    paused: Option<Paused>,
    /// The time of another attempt of a scheduled run that could do nothing.
    retry_at: Option<DateTime<Utc>>,
}

impl Queue {
    /// Plans another attempt of a scheduled run that could do nothing.
    pub fn retry_at(&self, at: DateTime<Utc>) {
        self.inner.lock().retry_at = Some(at);
    }

    /// Returns true, once, if another attempt is due.
    pub fn take_retry(&self, now: DateTime<Utc>) -> bool {
        self.inner.lock().retry_at.take_if(|at| *at <= now).is_some()
    }

    /// Queues the scheduled run, at most once however often it came due meanwhile. The running job makes way for it.
    pub fn push_scheduled(&self, due: DateTime<Utc>) {
        let mut inner = self.inner.lock();
        if !inner.waiting.iter().any(Work::is_scheduled) {
            // Before requested jobs, because people look at the nightly run in the morning.
            inner.waiting.push_front(Work::Scheduled { due });
        }
        drop(inner);
        self.make_way(Utc::now());
        self.measure();
        self.wake.notify_one();
    }

    /// Stops the running job if a scheduled run waits. A job that has made way before keeps running for a while.
    pub fn make_way(&self, now: DateTime<Utc>) {
        let inner = self.inner.lock();
        let waits = inner.waiting.iter().any(Work::is_scheduled);
        let Some(in_hand) = inner.in_hand.as_ref().filter(|_| waits && inner.paused.is_none()) else {
            return;
        };
        if let Work::Requested { resume_at, .. } = &in_hand.work
            && (resume_at.is_none() || now - in_hand.since >= TURN)
            && in_hand.stop.reason().is_none()
        {
            tracing::info!(job = %in_hand.work.id(), "the job makes way for the scheduled run and continues after it");
            in_hand.stop.stop(StopReason::MadeWay);
        }
    }

    /// Queues a job; returns its id once the job is in the store.
    ///
    /// # Errors
    /// `RateLimited` if too many jobs wait; any error of the store.
    pub async fn push(&self, store: &dyn Store, job: JobRequest, asked_by: Caller) -> Result<JobId> {
        if self.inner.lock().waiting.len() >= MOST {
            return Err(Error::new(
                ErrorKind::RateLimited,
                "queue",
                format!("{MOST} jobs are already waiting"),
            ));
        }
        let id = JobId(journal::id());
        let work = Work::Requested {
            id: id.clone(),
            asked_at: Utc::now(),
            asked_by,
            resume_at: None,
            job,
        };
        put_json(store, &key::queued(id.as_str()), &work, Condition::Any).await?;
        self.inner.lock().waiting.push_back(work);
        self.measure();
        self.wake.notify_one();
        Ok(id)
    }

    /// Loads the jobs that were kept before a restart, in the order of their requests. `today` is the date in the
    /// configured zone; a job with invalid dates is dropped and does not hold up the others.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn load(&self, store: &dyn Store, today: NaiveDate) -> Result<()> {
        let paused = get_json::<Paused>(store, key::PAUSED).await?;
        self.inner.lock().paused = paused.map(|(paused, _)| paused);
        for entry in store.list(key::QUEUE).await? {
            let object = store.get(&entry.key).await?;
            match serde_json::from_slice::<Work>(&object.bytes) {
                Ok(Work::Requested { id, job, .. }) if dates::check_job(job.from, job.to, today).is_err() => {
                    tracing::error!(
                        job = %id,
                        from = %job.from,
                        to = %job.to,
                        "a job in the store has invalid dates and is dropped; jobs take dates from {} to {today}",
                        dates::FIRST
                    );
                    store.delete(&entry.key).await?;
                }
                Ok(work @ Work::Requested { .. }) => self.inner.lock().waiting.push_back(work),
                _ => tracing::error!(
                    key = entry.key,
                    "a job in the store can't be read; request it again"
                ),
            }
        }
        self.measure();
        self.wake.notify_one();
        Ok(())
    }

    /// Takes the next work, unless the queue is paused, with its stop, which `parent` triggers too. The work is in hand until
    /// [`Queue::over`] or [`Queue::put_back`].
    pub fn pop(&self, parent: &CancellationToken) -> Option<(Work, Stop)> {
        let mut inner = self.inner.lock();
        if inner.paused.is_some() {
            return None;
        }
        let work = inner.waiting.pop_front()?;
        let stop = Stop::below(parent);
        inner.in_hand = Some(InHand {
            work: work.clone(),
            since: Utc::now(),
            stop: stop.clone(),
        });
        drop(inner);
        self.measure();
        Some((work, stop))
    }

    /// Removes the work in hand, also from the store.
    ///
    /// # Errors
    /// Any error of the store; then a restart does the work again.
    pub async fn over(&self, store: &dyn Store) -> Result<()> {
        let _keeping = self.keeping.lock().await;
        let over = self.inner.lock().in_hand.take();
        match over {
            Some(InHand {
                work: Work::Requested { id, .. },
                ..
            }) => store.delete(&key::queued(id.as_str())).await,
            _ => Ok(()),
        }
    }

    /// Puts stopped work back, behind a scheduled run that waits. `from` is the date from which it continues, if known; it is
    /// kept for a restart too. Work that was cancelled meanwhile is not put back.
    pub async fn put_back(&self, store: &dyn Store, from: Option<NaiveDate>) {
        let _keeping = self.keeping.lock().await;
        let Some(InHand { mut work, stop, .. }) = self.inner.lock().in_hand.clone() else {
            return;
        };
        if let Work::Requested {
            id, resume_at, job, ..
        } = &mut work
            && !stop.is_cancelled()
        {
            // Also if nothing was done, because the job has had its turn.
            *resume_at = from.or(*resume_at).or(Some(job.from));
            let key = key::queued(id.as_str());
            if let Err(error) = put_json(store, &key, &work, Condition::Any).await {
                tracing::warn!(%error, "the progress of the job could not be written; a restart begins the job again");
            }
        }
        let mut inner = self.inner.lock();
        inner.in_hand = None;
        if !stop.is_cancelled() {
            let place = inner.waiting.iter().filter(|work| work.is_scheduled()).count();
            let place = if work.is_scheduled() { 0 } else { place };
            inner.waiting.insert(place, work);
        }
        drop(inner);
        self.measure();
        self.wake.notify_one();
    }

    /// Cancels the work with an id; returns none if there is no such work. Running work is stopped as by SIGTERM and is not
    /// put back.
    ///
    /// # Errors
    /// The store fails; nothing is cancelled.
    pub async fn cancel(&self, store: &dyn Store, id: &str, by: &Caller) -> Result<Option<Work>> {
        let _keeping = self.keeping.lock().await;
        let Some(work) = self.find(id) else {
            return Ok(None);
        };
        if let Work::Requested { id, .. } = &work {
            store.delete(&key::queued(id.as_str())).await?;
        }
        let mut inner = self.inner.lock();
        inner.waiting.retain(|waiting| waiting.id().as_str() != id);
        if let Some(in_hand) = &inner.in_hand
            && in_hand.work.id().as_str() == id
        {
            in_hand.stop.stop(StopReason::Cancelled(by.to_string()));
        }
        drop(inner);
        self.measure();
        Ok(Some(work))
    }

    fn find(&self, id: &str) -> Option<Work> {
        let inner = self.inner.lock();
        let in_hand = inner.in_hand.iter().map(|in_hand| &in_hand.work);
        let mut all = in_hand.chain(&inner.waiting);
        all.find(|work| work.id().as_str() == id).cloned()
    }

    /// Pauses the queue, also across restarts, so that no new work starts. A second pause changes nothing.
    ///
    /// # Errors
    /// The store fails; the queue is not paused.
    pub async fn pause(&self, store: &dyn Store, by: &Caller, now: DateTime<Utc>) -> Result<Paused> {
        let _keeping = self.keeping.lock().await;
        if let Some(paused) = self.paused() {
            return Ok(paused);
        }
        let paused = Paused {
            since: now,
            by: by.clone(),
        };
        put_json(store, key::PAUSED, &paused, Condition::Any).await?;
        self.inner.lock().paused = Some(paused.clone());
        self.measure();
        Ok(paused)
    }

    /// Ends the pause. Returns the pause that has ended, if there was one.
    ///
    /// # Errors
    /// The store fails; the queue stays paused.
    pub async fn resume(&self, store: &dyn Store) -> Result<Option<Paused>> {
        let _keeping = self.keeping.lock().await;
        if self.paused().is_some() {
            store.delete(key::PAUSED).await?;
        }
        let paused = self.inner.lock().paused.take();
        self.measure();
        self.wake.notify_one();
        Ok(paused)
    }

    /// The pause, if the queue is paused.
    pub fn paused(&self) -> Option<Paused> {
        self.inner.lock().paused.clone()
    }

    /// The waiting work.
    pub fn waiting(&self) -> Vec<Work> {
        self.all().0
    }

    /// The waiting work, and the work in hand.
    pub fn all(&self) -> (Vec<Work>, Option<InHand>) {
        let inner = self.inner.lock();
        (inner.waiting.iter().cloned().collect(), inner.in_hand.clone())
    }

    /// Updates the metrics.
    fn measure(&self) {
        let inner = self.inner.lock();
        METRICS
            .queued_jobs
            .set(i64::try_from(inner.waiting.len()).unwrap_or(i64::MAX));
        METRICS.paused.set(inner.paused.is_some().into());
    }
}
