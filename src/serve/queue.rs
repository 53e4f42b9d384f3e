//! The daemon's queue: scheduled runs and requested jobs, done one after another. Requested jobs are kept in the store
//! until they are done, so that a restart continues them.
//!
//! A job can be cancelled while it waits and while it runs. A scheduled run that is due goes before all jobs: the running
//! job makes way for it and continues afterwards. While the queue is paused no new job starts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::audit::Caller;
use super::journal;
use crate::dates;
use crate::lake::key;
use crate::metrics::METRICS;
use crate::pipeline::{Command, Job, Only, Stop, StopReason};
use crate::store::json::get_json;
use crate::store::{Condition, Store};
use crate::{Error, ErrorKind, Result};

/// The most jobs that may wait; further requests are refused.
const MOST: usize = 100;
/// The time that a job runs before it makes way a second time, so that a dense schedule does not starve it.
const TURN: TimeDelta = TimeDelta::minutes(30);

/// The id of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(String);

impl JobId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the scheduled run that was due at an instant.
    fn of_scheduled(due: DateTime<Utc>) -> Self {
        Self(format!("scheduled-{}", due.format("%Y%m%dT%H%M%SZ")))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A job as it is requested and kept in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The first date.
    #[serde(deserialize_with = "dates::deserialize")]
    pub from: NaiveDate,
    /// The last date, inclusive.
    #[serde(deserialize_with = "dates::deserialize")]
    pub to: NaiveDate,
    /// Spaces; empty: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<String>,
    /// Rooms; empty: all in scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rooms: Vec<String>,
    /// Calls; unless empty, only their reports are fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<String>,
    /// Records; unless empty, only they are fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<String>,
    /// The only half of the work that is done, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// True if landed files are landed again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

impl Asked {
    /// A job over dates for everything in scope.
    pub fn dates(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            from,
            to,
            spaces: Vec::new(),
            rooms: Vec::new(),
            calls: Vec::new(),
            records: Vec::new(),
            only: None,
            force: false,
        }
    }

    /// The job of the pipeline; its dates before `from` are done.
    pub fn job(&self, from: Option<NaiveDate>) -> Job {
        Job {
            command: Command::Backfill,
            from: from.map_or(self.from, |from| from.clamp(self.from, self.to)),
            to: self.to,
            open_days: false,
            spaces: self.spaces.iter().map(Into::into).collect(),
            rooms: self.rooms.iter().map(Into::into).collect(),
            calls: self.calls.iter().map(Into::into).collect(),
            records: self.records.iter().map(Into::into).collect(),
            only: self.only,
            force: self.force,
        }
    }
}

/// The text for the audit.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backfill of {} to {}", self.from, self.to)?;
        for (what, ids) in [
            ("space", &self.spaces),
            ("room", &self.rooms),
            ("call", &self.calls),
            ("record", &self.records),
        ] {
            for id in ids {
                write!(f, ", {what} {id}")?;
            }
        }
        Ok(())
    }
}

/// An item of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Work {
    /// The nightly run.
    Scheduled {
        /// The due time.
        due: DateTime<Utc>,
    },
    /// A requested job.
    Asked {
        /// The job's id.
        id: JobId,
        /// The time of the request.
        asked_at: DateTime<Utc>,
        /// The caller who requested it.
        #[serde(default)]
        asked_by: Caller,
        /// The date from which an interrupted job continues; the dates before it are done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume_at: Option<NaiveDate>,
        /// The job itself.
        job: Asked,
    },
}

impl Work {
    /// The id by which the work is cancelled.
    pub fn id(&self) -> JobId {
        match self {
            Self::Scheduled { due } => JobId::of_scheduled(*due),
            Self::Asked { id, .. } => id.clone(),
        }
    }

    /// The caller who requested the work.
    pub fn asked_by(&self) -> Caller {
        match self {
            Self::Scheduled { .. } => Caller::schedule(),
            Self::Asked { asked_by, .. } => asked_by.clone(),
        }
    }

    fn is_scheduled(&self) -> bool {
        matches!(self, Self::Scheduled { .. })
    }
}

/// The text for the audit.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduled { due } => {
                let due = due.to_rfc3339_opts(SecondsFormat::Secs, true);
                write!(f, "scheduled run due at {due}")
            }
            Self::Asked { id, job, .. } => write!(f, "job {id}, {job}"),
        }
    }
}

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
    inner: Mutex<Inner>,
    /// Wakes the lane when new work can start. A change of numbers alone does not wake it.
    pub wake: Notify,
    /// Held while the store and the memory change together.
    keeping: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Work>,
    in_hand: Option<InHand>,
    paused: Option<Paused>,
    /// The time of another attempt of a scheduled run that could do nothing.
    retry_at: Option<DateTime<Utc>>,
}

impl Queue {
    /// Plans another attempt of a scheduled run that could do nothing.
    pub fn retry_at(&self, at: DateTime<Utc>) {
        self.lock().retry_at = Some(at);
    }

    /// Returns true, once, if another attempt is due.
    pub fn take_retry(&self, now: DateTime<Utc>) -> bool {
        self.lock().retry_at.take_if(|at| *at <= now).is_some()
    }

    /// Queues the scheduled run, at most once however often it came due meanwhile. The running job makes way for it.
    pub fn push_scheduled(&self, due: DateTime<Utc>) {
        let mut inner = self.lock();
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
        let inner = self.lock();
        let waits = inner.waiting.iter().any(Work::is_scheduled);
        let Some(in_hand) = inner.in_hand.as_ref().filter(|_| waits && inner.paused.is_none()) else {
            return;
        };
        if let Work::Asked { resume_at, .. } = &in_hand.work
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
    pub async fn push(&self, store: &dyn Store, job: Asked, asked_by: Caller) -> Result<JobId> {
        if self.lock().waiting.len() >= MOST {
            return Err(Error::new(
                ErrorKind::RateLimited,
                "queue",
                format!("{MOST} jobs are already waiting"),
            ));
        }
        let id = JobId(journal::id());
        let work = Work::Asked {
            id: id.clone(),
            asked_at: Utc::now(),
            asked_by,
            resume_at: None,
            job,
        };
        keep(store, &key::queued(id.as_str()), &work).await?;
        self.lock().waiting.push_back(work);
        self.measure();
        self.wake.notify_one();
        Ok(id)
    }

    /// Takes in what was kept before a restart, in the order in which it was asked for. `today` is the date in the
    /// configured zone: a job whose dates break the rule is dropped, and does not hold up the others.
    ///
    /// # Errors
    /// Of the store.
    pub async fn load(&self, store: &dyn Store, today: NaiveDate) -> Result<()> {
        let paused = get_json::<Paused>(store, key::PAUSED).await?;
        self.lock().paused = paused.map(|(paused, _)| paused);
        for entry in store.list(key::QUEUE).await? {
            let object = store.get(&entry.key).await?;
            match serde_json::from_slice::<Work>(&object.bytes) {
                Ok(Work::Asked { id, job, .. }) if dates::check_job(job.from, job.to, today).is_err() => {
                    tracing::error!(
                        job = %id,
                        from = %job.from,
                        to = %job.to,
                        "a kept job asks for dates that no job may have: it is dropped; jobs take dates from {} to {today}",
                        dates::FIRST
                    );
                    store.delete(&entry.key).await?;
                }
                Ok(work @ Work::Asked { .. }) => self.lock().waiting.push_back(work),
                _ => tracing::error!(key = entry.key, "a kept job can't be read; ask for it again"),
            }
        }
        self.measure();
        self.wake.notify_one();
        Ok(())
    }

    /// The next one, if any may begin, and what stops it: `parent` does too. It is in hand until [`Queue::over`] or
    /// [`Queue::put_back`].
    pub fn pop(&self, parent: &CancellationToken) -> Option<(Work, Stop)> {
        let mut inner = self.lock();
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

    /// What was in hand is over: it is not needed after a restart either.
    ///
    /// # Errors
    /// Of the store: it is done again after a restart.
    pub async fn over(&self, store: &dyn Store) -> Result<()> {
        let _keeping = self.keeping.lock().await;
        let over = self.lock().in_hand.take();
        match over {
            Some(InHand {
                work: Work::Asked { id, .. },
                ..
            }) => store.delete(&key::queued(id.as_str())).await,
            _ => Ok(()),
        }
    }

    /// Puts back what was stopped, behind a scheduled run that waits. `from` is where it goes on, if that is known; it is
    /// kept for a restart too. What was cancelled meanwhile is over.
    pub async fn put_back(&self, store: &dyn Store, from: Option<NaiveDate>) {
        let _keeping = self.keeping.lock().await;
        let Some(InHand { mut work, stop, .. }) = self.lock().in_hand.clone() else {
            return;
        };
        if let Work::Asked {
            id, resume_at, job, ..
        } = &mut work
            && !stop.is_cancelled()
        {
            // Also where nothing was done: it has had its turn.
            *resume_at = from.or(*resume_at).or(Some(job.from));
            let key = key::queued(id.as_str());
            if let Err(error) = keep(store, &key, &work).await {
                tracing::warn!(%error, "where the job goes on is not kept: a restart begins it anew");
            }
        }
        let mut inner = self.lock();
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

    /// Cancels what waits or runs under an id; none if there is no such work. What runs is stopped as by SIGTERM and is
    /// not put back.
    ///
    /// # Errors
    /// The store fails: nothing is cancelled.
    pub async fn cancel(&self, store: &dyn Store, id: &str, by: &Caller) -> Result<Option<Work>> {
        let _keeping = self.keeping.lock().await;
        let Some(work) = self.find(id) else {
            return Ok(None);
        };
        if let Work::Asked { id, .. } = &work {
            store.delete(&key::queued(id.as_str())).await?;
        }
        let mut inner = self.lock();
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
        let inner = self.lock();
        let in_hand = inner.in_hand.iter().map(|in_hand| &in_hand.work);
        let mut all = in_hand.chain(&inner.waiting);
        all.find(|work| work.id().as_str() == id).cloned()
    }

    /// From now on nothing new begins, also after a restart. Gives since when; a second pause changes nothing.
    ///
    /// # Errors
    /// The store fails: the queue is not paused.
    pub async fn pause(&self, store: &dyn Store, by: &Caller, now: DateTime<Utc>) -> Result<Paused> {
        let _keeping = self.keeping.lock().await;
        if let Some(paused) = self.paused() {
            return Ok(paused);
        }
        let paused = Paused {
            since: now,
            by: by.clone(),
        };
        keep(store, key::PAUSED, &paused).await?;
        self.lock().paused = Some(paused.clone());
        self.measure();
        Ok(paused)
    }

    /// What waits begins again. Gives the pause that has ended, if there was one.
    ///
    /// # Errors
    /// The store fails: the queue stays paused.
    pub async fn resume(&self, store: &dyn Store) -> Result<Option<Paused>> {
        let _keeping = self.keeping.lock().await;
        if self.paused().is_some() {
            store.delete(key::PAUSED).await?;
        }
        let paused = self.lock().paused.take();
        self.measure();
        self.wake.notify_one();
        Ok(paused)
    }

    /// The pause, if the queue is paused.
    pub fn paused(&self) -> Option<Paused> {
        self.lock().paused.clone()
    }

    /// What waits.
    pub fn waiting(&self) -> Vec<Work> {
        self.all().0
    }

    /// What waits, and what is in hand.
    pub fn all(&self) -> (Vec<Work>, Option<InHand>) {
        let inner = self.lock();
        (inner.waiting.iter().cloned().collect(), inner.in_hand.clone())
    }

    /// Brings the metrics up to date.
    fn measure(&self) {
        let inner = self.lock();
        METRICS
            .queued_jobs
            .set(i64::try_from(inner.waiting.len()).unwrap_or(i64::MAX));
        METRICS.paused.set(inner.paused.is_some().into());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep(store: &dyn Store, key: &str, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "queue", error.to_string()))?;
    store.put(key, bytes.into(), Condition::Any).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::store::folder::FolderStore;

    struct Bench {
        _folder: tempfile::TempDir,
        store: FolderStore,
        queue: Queue,
        daemon: CancellationToken,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("folder");
            let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
            Self {
                _folder: folder,
                store,
                queue: Queue::default(),
                daemon: CancellationToken::new(),
            }
        }

        async fn push(&self, from: &str) -> JobId {
            let pushed = self.queue.push(&self.store, job(from), somebody()).await;
            pushed.expect("kept")
        }

        fn pop(&self) -> (Work, Stop) {
            self.queue.pop(&self.daemon).expect("work")
        }

        async fn restarted(&self) -> Queue {
            let queue = Queue::default();
            queue.load(&self.store, date("2026-11-23")).await.expect("loaded");
            queue
        }
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    fn job(from: &str) -> Asked {
        Asked {
            spaces: vec!["s".into()],
            only: Some(Only::Analytics),
            ..Asked::dates(date(from), date(from))
        }
    }

    fn somebody() -> Caller {
        serde_json::from_str(r#"{"kind":"session","address":"10.0.0.7"}"#).expect("caller")
    }

    #[tokio::test]
    async fn due_runs_merge_go_first_and_asked_jobs_outlive_a_restart() {
        let bench = Bench::new();
        bench.push("2026-11-01").await;
        bench.push("2026-11-02").await;
        let now = Utc::now();
        bench.queue.push_scheduled(now);
        bench.queue.push_scheduled(now + TimeDelta::hours(1));
        assert_eq!(bench.queue.waiting().len(), 3);
        let scheduled = Work::Scheduled { due: now };
        assert_eq!(bench.pop().0, scheduled);
        let in_hand = bench.queue.all().1.expect("seen until it is over");
        assert_eq!(in_hand.work, scheduled);
        bench.queue.over(&bench.store).await.expect("over");
        assert!(bench.queue.all().1.is_none());
        let restarted = bench.restarted().await;
        assert_eq!(restarted.waiting(), bench.queue.waiting());
        let Some((
            Work::Asked {
                job: first, asked_by, ..
            },
            _,
        )) = restarted.pop(&bench.daemon)
        else {
            panic!("no job")
        };
        assert_eq!((&first, asked_by), (&job("2026-11-01"), somebody()));
        assert_eq!(first.job(None).only, Some(Only::Analytics));
        restarted.over(&bench.store).await.expect("over");
        assert_eq!(bench.restarted().await.waiting().len(), 1);
    }

    #[tokio::test]
    async fn looking_for_work_wakes_nobody_and_new_work_does() {
        let bench = Bench::new();
        let woken = || bench.queue.wake.notified().now_or_never().is_some();
        assert!(bench.queue.pop(&bench.daemon).is_none());
        assert!(!woken(), "an empty queue was looked at");
        bench.push("2026-11-01").await;
        assert!(woken(), "a job came");
        bench.pop();
        assert!(!woken(), "a job was taken");
        bench.queue.over(&bench.store).await.expect("over");
        assert!(!woken(), "a job was done");
        bench.queue.push_scheduled(Utc::now());
        assert!(woken(), "a run is due");
    }

    #[tokio::test]
    async fn a_cancelled_job_neither_begins_nor_goes_on_nor_comes_back() {
        let bench = Bench::new();
        let (first, second) = (bench.push("2026-11-01").await, bench.push("2026-11-02").await);
        let (_, stop) = bench.pop();
        for id in [&first, &second] {
            let cancelled = bench.queue.cancel(&bench.store, id.as_str(), &somebody()).await;
            assert_eq!(cancelled.expect("cancelled").expect("work").id(), *id);
        }
        assert!(bench.queue.waiting().is_empty());
        assert!(stop.token().is_cancelled() && !bench.daemon.is_cancelled());
        assert_eq!(
            stop.reason(),
            Some(StopReason::Cancelled("session from 10.0.0.7".into()))
        );
        bench.queue.put_back(&bench.store, Some(date("2026-11-01"))).await;
        assert!(bench.queue.waiting().is_empty());
        assert!(bench.restarted().await.waiting().is_empty());
        let again = bench
            .queue
            .cancel(&bench.store, first.as_str(), &somebody())
            .await;
        assert_eq!(again.expect("read"), None);
    }

    #[tokio::test]
    async fn a_scheduled_run_can_be_cancelled_too() {
        let bench = Bench::new();
        let due = "2026-11-23T02:00:00Z".parse().expect("instant");
        bench.queue.push_scheduled(due);
        let id = "scheduled-20261123T020000Z";
        let cancelled = bench.queue.cancel(&bench.store, id, &somebody()).await;
        assert_eq!(cancelled.expect("cancelled"), Some(Work::Scheduled { due }));
        assert!(bench.queue.waiting().is_empty());
    }

    #[tokio::test]
    async fn a_job_makes_way_for_the_night_and_goes_on_behind_it_where_it_was() {
        let bench = Bench::new();
        bench.push("2026-11-01").await;
        bench.push("2026-11-02").await;
        let (_, stop) = bench.pop();
        bench.queue.push_scheduled(Utc::now());
        assert_eq!(stop.reason(), Some(StopReason::MadeWay));
        bench.queue.put_back(&bench.store, Some(date("2026-11-01"))).await;
        let (night, of_night) = bench.pop();
        assert!(night.is_scheduled());
        bench.queue.push_scheduled(Utc::now());
        assert_eq!(of_night.reason(), None, "a night makes way for none");
        bench.queue.over(&bench.store).await.expect("over");
        assert_eq!(
            bench.pop().0.id(),
            night_after(&bench),
            "the night that came due meanwhile"
        );
        bench.queue.over(&bench.store).await.expect("over");
        let restarted = bench.restarted().await;
        let (work, stop) = bench.pop();
        let Work::Asked { resume_at, job, .. } = &work else {
            panic!("{work:?}")
        };
        assert_eq!(*resume_at, Some(date("2026-11-01")));
        assert_eq!(job.from, date("2026-11-01"));
        assert_eq!(restarted.waiting()[0], work, "kept for a restart");
        // A schedule so dense that the job would never come to anything does not starve it.
        bench.queue.push_scheduled(Utc::now());
        assert_eq!(stop.reason(), None);
        bench.queue.make_way(Utc::now() + TURN);
        assert_eq!(stop.reason(), Some(StopReason::MadeWay));
    }

    fn night_after(bench: &Bench) -> JobId {
        bench.queue.all().1.expect("in hand").work.id()
    }

    #[tokio::test]
    async fn while_paused_nothing_begins_also_after_a_restart() {
        let bench = Bench::new();
        bench.push("2026-11-01").await;
        let now = Utc::now();
        let paused = bench
            .queue
            .pause(&bench.store, &somebody(), now)
            .await
            .expect("paused");
        assert_eq!((paused.since, &paused.by), (now, &somebody()));
        let again = bench
            .queue
            .pause(&bench.store, &Caller::default(), Utc::now())
            .await;
        assert_eq!(again.expect("paused"), paused, "since the first time");
        bench.queue.push_scheduled(now);
        assert!(bench.queue.pop(&bench.daemon).is_none());
        let restarted = bench.restarted().await;
        assert_eq!(restarted.paused(), Some(paused.clone()));
        assert!(restarted.pop(&bench.daemon).is_none());
        restarted.wake.notified().now_or_never();
        assert_eq!(
            restarted.resume(&bench.store).await.expect("resumed"),
            Some(paused)
        );
        assert!(restarted.wake.notified().now_or_never().is_some());
        assert!(restarted.pop(&bench.daemon).is_some());
        assert_eq!(bench.restarted().await.paused(), None);
    }

    #[tokio::test]
    async fn a_kept_job_that_breaks_the_rule_of_dates_is_dropped_and_holds_up_no_other() {
        let bench = Bench::new();
        for (id, from, to) in [
            ("1", "0026-11-20", "2026-11-20"),
            ("2", "2026-11-20", "2026-11-20"),
            ("3", "2026-11-20", "9999-01-01"),
        ] {
            let kept = format!(
                r#"{{"kind":"asked","id":"{id}","asked_at":"2026-11-20T10:00:00Z","job":{{"from":"{from}","to":"{to}"}}}}"#
            );
            let put = bench
                .store
                .put(&key::queued(id), kept.into(), Condition::Any)
                .await;
            put.expect("put");
        }
        let restarted = bench.restarted().await;
        let ids: Vec<_> = restarted
            .waiting()
            .iter()
            .map(|work| work.id().to_string())
            .collect();
        assert_eq!(ids, ["2"], "of an earlier version, and right");
        assert_eq!(bench.store.list(key::QUEUE).await.expect("list").len(), 1);
    }
}
