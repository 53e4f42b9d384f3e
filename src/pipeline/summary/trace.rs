//! The trace that a run leaves from its first second. Its summary is written at the start, with the outcome `running` and
//! the process; a heartbeat refreshes it every few minutes; the end replaces it.
//!
//! Readers show a `running` run as `killed` if its process is gone, or if it gave no heartbeat for
//! [`SILENCE`].

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::future::{Either, select};
use tokio::time::Duration;

use super::process::OwnRun;
use crate::lake::key;
use crate::pipeline::summary::{Outcome, Problem, ProblemKind, Summary};
use crate::runlog::{self, Recording, RunLog};
use crate::store::guarded::StoreHealth;
use crate::store::json::{get_json, to_json};
use crate::store::{Condition, Store};
use crate::{ErrorKind, ExitStatus, Result};

/// The time between two heartbeats of a run.
const BEAT: Duration = Duration::from_secs(5 * 60);
/// A run without a heartbeat for so long counts as killed: two heartbeats may fail.
const SILENCE: TimeDelta = TimeDelta::minutes(16);
/// The size of the first summary in a folder, in bytes: it reserves the space of the last one, should the disk fill up.
const RESERVE: usize = 64 * 1024;
/// Problems kept of each list if there is no space for the whole summary.
const FEW: usize = 20;
/// The time limit for the last summary if the store is given up for everything else.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The trace of a run that is going on.
pub(crate) struct Trace<'a> {
    store: &'a dyn Store,
    health: &'a StoreHealth,
    start: Summary,
    _own: OwnRun,
    recording: Recording,
}

impl<'a> Trace<'a> {
    /// Writes the first summary to the bare store. A failure is only logged: the store's own failures stop the run soon enough.
    pub async fn begin(store: &'a dyn Store, health: &'a StoreHealth, summary: &Summary) -> Self {
        let trace = Self {
            store,
            health,
            start: summary.clone(),
            _own: OwnRun::begin(&summary.id),
            recording: Recording::begin(&summary.id),
        };
        if let Err(error) = trace.write(&trace.start).await {
            tracing::warn!(%error, "the first summary of the run could not be written");
        }
        trace
    }

    /// Does `work`, with heartbeats meanwhile.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let rest = std::pin::pin!(tokio::time::sleep(BEAT));
            if let Either::Left((done, _)) = select(&mut work, rest).await {
                return done;
            }
            let beat = std::pin::pin!(self.beat());
            if let Either::Left((done, beat)) = select(&mut work, beat).await {
                // A heartbeat in flight must not arrive after the last summary.
                beat.await;
                return done;
            }
        }
    }

    async fn beat(&self) {
        let mut alive = self.start.clone();
        alive.heartbeat_at = Some(Utc::now());
        if let Err(error) = self.write(&alive).await {
            tracing::debug!(%error, "the run's heartbeat could not be written");
        }
    }

    async fn write(&self, summary: &Summary) -> Result<()> {
        let mut bytes = to_json(summary)?.to_vec();
        if self.is_in_folder() && bytes.len() < RESERVE {
            bytes.resize(RESERVE, b' ');
        }
        self.put(bytes).await
    }

    fn is_in_folder(&self) -> bool {
        self.store.url().starts_with("file:")
    }

    /// Writes to the bare store, because the guarded one refuses everything once it is lost. A summary is not counted as a
    /// write of the run.
    async fn put(&self, bytes: Vec<u8>) -> Result<()> {
        let key = key::run(&self.start.id);
        let put = self.store.put(&key, bytes.into(), Condition::Any);
        if self.health.lost().is_none() {
            return put.await.map(|_| ());
        }
        let late = |_| crate::Error::new(ErrorKind::StoreUnavailable, &key, "did not answer in time");
        tokio::time::timeout(LAST_WORDS, put)
            .await
            .map_err(late)?
            .map(|_| ())
    }

    /// Writes the last summary. On a full disk it takes the place of the first one, and is cut if need be.
    pub async fn end(self, summary: &mut Summary) {
        self.keep_log().await;
        let Err(error) = self.write_last(summary).await else {
            return;
        };
        summary.fail(Problem::new(
            ProblemKind::SummaryFailed,
            format!("the run's summary could not be stored: {error}"),
        ));
        if summary.outcome == Outcome::Done {
            (summary.outcome, summary.exit_status) = (Outcome::Partial, ExitStatus::Partial as u8);
        }
    }

    /// Stores the latest lines of the run's log, if there are any. A failure to do so does not fail the run.
    async fn keep_log(&self) {
        let log = self.recording.log();
        if log.lines.is_empty() || self.health.lost().is_some() {
            return;
        }
        let kept = async {
            let (key, bytes) = (key::run_log(&self.start.id), to_json(&log)?);
            self.store.put(&key, bytes, Condition::Any).await
        };
        if let Err(error) = kept.await {
            tracing::debug!(%error, "the run's log could not be stored");
        }
    }

    async fn write_last(&self, summary: &Summary) -> Result<()> {
        let Err(error) = self.put(to_json(summary)?.to_vec()).await else {
            return Ok(());
        };
        if !self.is_in_folder() {
            return Err(error);
        }
        self.store.delete(&key::run(&self.start.id)).await?;
        let whole = self.put(to_json(summary)?.to_vec()).await;
        if whole.is_ok() {
            return Ok(());
        }
        let mut short = summary.clone();
        for list in [&mut short.failed, &mut short.pending, &mut short.warnings] {
            list.truncate(FEW);
        }
        short.warnings.push(Problem::new(
            ProblemKind::SummaryCut,
            format!("there was no space for the whole summary: {error}"),
        ));
        self.put(to_json(&short)?.to_vec()).await
    }
}

/// The latest lines of a run's log: from memory if this process does the run, else from the store.
///
/// # Errors
/// The store fails.
pub async fn run_log(store: &dyn Store, run: &str) -> Result<Option<RunLog>> {
    match runlog::of(run) {
        Some(log) => Ok(Some(log)),
        None => Ok(get_json(store, &key::run_log(run)).await?.map(|(log, _)| log)),
    }
}

impl Summary {
    /// The run as of `now`: a `running` run that is no longer alive is `killed`.
    #[must_use]
    pub fn seen_at(mut self, now: DateTime<Utc>) -> Self {
        if self.outcome != Outcome::Running {
            return self;
        }
        let last_sign = self.heartbeat_at.unwrap_or(self.started_at);
        if self.process.has_left(&self.id) || now - last_sign > SILENCE {
            self.outcome = Outcome::Killed;
            self.cause = Some(format!(
                "killed: process {} on {} is gone; its last heartbeat was at {}",
                self.process.pid,
                crate::sanitize::escaped(&self.process.host),
                last_sign.to_rfc3339_opts(SecondsFormat::Secs, true)
            ));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono_tz::Tz;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::pipeline::{Command, Job, read_run};
    use crate::store::folder::FolderStore;
    use crate::store::guarded::GuardedStore;

    fn summary(now: DateTime<Utc>) -> Summary {
        let date = now.date_naive();
        Summary::new(&Job::over(Command::Run, date, date), Tz::UTC, now)
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_written_at_its_start_sends_heartbeats_and_is_replaced_at_its_end() {
        let folder = tempfile::tempdir().expect("folder");
        let url = format!("file://{}", folder.path().display());
        let store: Arc<dyn Store> = Arc::new(FolderStore::open(&url).expect("store"));
        let (stop, now) = (CancellationToken::new(), Utc::now());
        let health = GuardedStore::new(Arc::clone(&store), stop).health();
        let mut summary = summary(now);
        let seen = async || {
            let run = read_run(&*store, &summary.id, Utc::now()).await;
            run.expect("read").expect("a summary")
        };
        let trace = Trace::begin(&*store, &health, &summary).await;
        let first = store.get(&key::run(&summary.id)).await.expect("object").bytes;
        assert_eq!(first.len(), RESERVE, "its space is there for the last one");
        assert_eq!(
            (seen().await.outcome, seen().await.heartbeat_at),
            (Outcome::Running, None)
        );
        trace
            .during(tokio::time::sleep(BEAT * 2 + Duration::from_secs(1)))
            .await;
        assert!(seen().await.heartbeat_at.is_some());
        summary.finish(Utc::now(), 0, false, None);
        trace.end(&mut summary).await;
        let last = read_run(&*store, &summary.id, Utc::now())
            .await
            .expect("read")
            .expect("a summary");
        assert_eq!((last.outcome, last.counts.writes), (Outcome::Done, 0));
    }

    #[test]
    fn a_run_of_a_silent_or_missing_process_was_killed() {
        let now = Utc::now();
        let of = |age: TimeDelta, change: fn(&mut Summary)| {
            let mut run = summary(now - age);
            change(&mut run);
            run.seen_at(now).outcome
        };
        let far: fn(&mut Summary) = |run| run.process.host = "elsewhere".into();
        assert_eq!(of(TimeDelta::zero(), far), Outcome::Running);
        assert_eq!(of(SILENCE, far), Outcome::Running);
        assert_eq!(of(SILENCE + TimeDelta::seconds(1), far), Outcome::Killed);
        let alive: fn(&mut Summary) = |run| {
            run.process.host = "elsewhere".into();
            run.heartbeat_at = Some(Utc::now());
        };
        assert_eq!(of(TimeDelta::days(1), alive), Outcome::Running);
        assert_eq!(
            of(TimeDelta::zero(), |_| {}),
            Outcome::Killed,
            "nobody does it here"
        );
        assert_eq!(
            of(TimeDelta::days(9), |run| run.outcome = Outcome::Partial),
            Outcome::Partial
        );
    }
}
