//! Whether the daemon is well: the store in reach, the token accepted, the last run not in vain. Looked at in the
//! background, so that a question costs nothing and no stranger can make it ask.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::daemon::Daemon;
use super::live;
use crate::export::{Outcome, Summary, find_run};
use crate::lake::key;
use crate::metrics::METRICS;
use crate::store::Store;
use crate::{ErrorKind, Result};

/// How often the store is looked at, and the token while it is refused or the API out of reach.
const OFTEN: Duration = Duration::from_secs(30);
/// How often a good token is looked at.
const SELDOM: Duration = Duration::from_secs(600);

/// How far back runs from before the start are looked for.
const LONGEST_MEMORY: TimeDelta = TimeDelta::days(35);

/// How something is, in a word that tells strangers nothing.
type State = &'static str;

/// See the module.
#[derive(Default)]
pub struct Health(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    store: Option<State>,
    token: Option<State>,
    last_run: Option<(Outcome, DateTime<Utc>)>,
    last_success: Option<DateTime<Utc>>,
}

impl Health {
    /// Takes note of the nightly runs from before the daemon's start: of the last one, and of the last good one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn remember(&self, store: &dyn Store, now: DateTime<Utc>) -> Result<()> {
        let since = Some(now - LONGEST_MEMORY);
        let is_over = |run: &Summary| run.command == "run" && run.outcome != Outcome::Running;
        let last = find_run(store, since, now, is_over).await?;
        let not_done = std::sync::atomic::AtomicI64::new(0);
        // Runs are looked at from the latest on.
        let is_good = |run: &Summary| {
            let is_good = is_over(run) && run.outcome == Outcome::Done;
            not_done.fetch_add(i64::from(is_over(run) && !is_good), Ordering::Relaxed);
            is_good
        };
        let good = match &last {
            Some(_) => find_run(store, since, now, is_good).await?,
            None => None,
        };
        METRICS.nights_not_done.set(not_done.into_inner());
        let mut inner = self.lock();
        // One that was killed ended when it was last heard of.
        let end = |run: &Summary| run.finished_at.or(run.heartbeat_at).unwrap_or(run.started_at);
        inner.last_run = last.map(|run| (run.outcome, end(&run)));
        inner.last_success = good.and_then(|run| run.finished_at);
        let seconds = |at: Option<DateTime<Utc>>| at.map_or(0, |at| at.timestamp());
        #[allow(clippy::cast_precision_loss)]
        {
            METRICS
                .last_run
                .set(seconds(inner.last_run.map(|(_, at)| at)) as f64);
            METRICS.last_success.set(seconds(inner.last_success) as f64);
        }
        Ok(())
    }

    /// Takes note of a scheduled run.
    pub fn note_run(&self, outcome: &Result<Summary>) {
        let now = Utc::now();
        let mut inner = self.lock();
        let outcome = outcome
            .as_ref()
            .map_or(Outcome::Nothing, |summary| summary.outcome);
        inner.last_run = Some((outcome, now));
        if outcome == Outcome::Done {
            inner.last_success = Some(now);
            METRICS.nights_not_done.set(0);
        } else {
            METRICS.nights_not_done.inc();
        }
        drop(inner);
        self.report();
    }

    /// Whether the daemon is ready, and why not.
    pub fn report(&self) -> (bool, Value) {
        let inner = self.lock();
        let in_vain = matches!(inner.last_run, Some((Outcome::Nothing, _)));
        let token_good = !matches!(inner.token, None | Some("refused"));
        let ready = inner.store == Some("ok") && token_good && !in_vain;
        METRICS.ready.set(ready.into());
        let report = json!({
            "ready": ready,
            "store": inner.store.unwrap_or("not looked at yet"),
            "token": inner.token.unwrap_or("not looked at yet"),
            "last_run": inner.last_run.map(|(outcome, at)| json!({"outcome": outcome, "finished_at": at})),
            "last_success": inner.last_success,
        });
        (ready, report)
    }

    /// How store and token are, for the page.
    pub fn store_and_token(&self) -> [&'static str; 2] {
        let inner = self.lock();
        [inner.store, inner.token].map(Option::unwrap_or_default)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks again and again, until the daemon stops.
pub(super) async fn watch(daemon: &Daemon) {
    let mut token_at: Option<Instant> = None;
    loop {
        let store = match daemon.store.size(key::STORE_INFO).await {
            Ok(_) => "ok",
            Err(error) => {
                tracing::warn!(%error, "the store is out of reach");
                "out of reach"
            }
        };
        daemon.health.lock().store = Some(store);
        let good = daemon.health.lock().token == Some("ok");
        let since = token_at.map(|at| at.elapsed());
        if since.is_none_or(|since| since >= if good { SELDOM } else { OFTEN }) {
            let token = look_at_token(daemon).await;
            daemon.health.lock().token = Some(token);
            token_at = Some(Instant::now());
        }
        daemon.health.report();
        live::look(daemon);
        tokio::select! {
            () = daemon.cancel.cancelled() => return,
            () = tokio::time::sleep(OFTEN) => {}
        }
    }
}

async fn look_at_token(daemon: &Daemon) -> State {
    match daemon.client.spaces().await {
        Ok(_) => "ok",
        Err(error) => {
            if error.kind() != ErrorKind::Interrupted {
                tracing::warn!(%error, "the API does not take the token");
            }
            if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden) {
                "refused"
            } else {
                // Not the daemon's fault: it goes on to take events.
                "the API does not answer"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Past;

    #[tokio::test]
    async fn nights_are_remembered_behind_many_other_runs() {
        let past = Past::new();
        past.run("run", "2026-11-18T02:00:00Z", "2026-11-17", "done")
            .await;
        past.run("run", "2026-11-19T02:00:00Z", "2026-11-18", "partial")
            .await;
        for minute in 0..60 {
            let started = format!("2026-11-20T05:{minute:02}:00Z");
            past.run("backfill", &started, "2026-11-19", "done").await;
        }
        let (health, now) = (
            Health::default(),
            "2026-11-20T10:00:00Z".parse().expect("instant"),
        );
        health.remember(&past.store, now).await.expect("read");
        let (_, report) = health.report();
        assert_eq!(
            report["last_run"],
            json!({"outcome": "partial", "finished_at": "2026-11-19T02:00:00Z"})
        );
        assert_eq!(report["last_success"], "2026-11-18T02:00:00Z");
        assert_eq!(METRICS.nights_not_done.get(), 1);
        health.note_run(&Err(crate::Error::new(ErrorKind::Connection, "API", "gone")));
        assert_eq!(METRICS.nights_not_done.get(), 2);
    }
}
