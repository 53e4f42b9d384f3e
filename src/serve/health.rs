//! Whether the daemon is well: the store in reach, the token accepted, the last run not in vain. Looked at in the
//! background, so that a question costs nothing and no stranger can make it ask.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::daemon::Daemon;
use super::live;
use crate::lake::key;
use crate::metrics::METRICS;
use crate::pipeline::{Command, Outcome, Summary, find_run};
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

/// The words.
pub const OK: State = "ok";
/// The store fails.
pub const OUT_OF_REACH: State = "out of reach";
/// The health of the token.
pub const REFUSED: State = "refused";
/// Of the API behind the token. It is not the daemon's fault, which goes on to take events.
pub const NO_ANSWER: State = "the API does not answer";

/// How something was when it was last looked at, and since when it has been so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub how: State,
    pub since: DateTime<Utc>,
    pub at: DateTime<Utc>,
}

impl Seen {
    /// The next look: the first time stays while nothing changes.
    fn next(before: Option<Self>, how: State, now: DateTime<Utc>) -> Self {
        let same = before.filter(|before| before.how == how);
        Self {
            how,
            since: same.map_or(now, |before| before.since),
            at: now,
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Health {
    inner: Mutex<Inner>,
    /// Something failed: store and token are looked at now.
    look: Notify,
}

#[derive(Default)]
struct Inner {
    store: Option<Seen>,
    token: Option<Seen>,
    /// True if work was in vain since the token was looked at.
    doubted: bool,
    /// True if the lake's description was ever there: a folder that is not mounted looks empty.
    had_lake: bool,
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
        let is_over = |run: &Summary| run.is_of(Command::Run) && run.outcome != Outcome::Running;
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

    /// Takes note of any work that ended: if it could do nothing, store and token are looked at now, and what was known
    /// of a good token is doubted until then.
    pub fn note_work(&self, outcome: &Result<Summary>) {
        let in_vain = outcome
            .as_ref()
            .map_or(true, |summary| summary.outcome == Outcome::Nothing);
        if in_vain {
            self.lock().doubted = true;
            self.look_now();
        }
    }

    /// Has store and token looked at now.
    pub fn look_now(&self) {
        self.look.notify_one();
    }

    /// Whether the daemon is ready, and why not.
    pub fn report(&self) -> (bool, Value) {
        let inner = self.lock();
        let in_vain = matches!(inner.last_run, Some((Outcome::Nothing, _)));
        let [store, token] = [inner.store, inner.token].map(|seen| seen.map(|seen| seen.how));
        let token_good = !matches!(token, None | Some(REFUSED));
        let ready = store == Some(OK) && token_good && !in_vain;
        METRICS.ready.set(ready.into());
        let report = json!({
            "ready": ready,
            "store": store.unwrap_or("not looked at yet"),
            "token": token.unwrap_or("not looked at yet"),
            "last_run": inner.last_run.map(|(outcome, at)| json!({"outcome": outcome, "finished_at": at})),
            "last_success": inner.last_success,
        });
        (ready, report)
    }

    /// How store and token are, for the page.
    pub fn store_and_token(&self) -> [Option<Seen>; 2] {
        let inner = self.lock();
        let token = inner.token.filter(|seen| seen.how != OK || !inner.doubted);
        [inner.store, token]
    }

    fn see_store(&self, how: State) {
        let mut inner = self.lock();
        inner.store = Some(Seen::next(inner.store, how, Utc::now()));
    }

    fn see_token(&self, how: State) {
        let mut inner = self.lock();
        inner.token = Some(Seen::next(inner.token, how, Utc::now()));
        inner.doubted = false;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks again and again, until the daemon stops.
pub(super) async fn watch(daemon: &Daemon) {
    let health = &daemon.health;
    let mut token_at: Option<Instant> = None;
    loop {
        METRICS.turned("health");
        health.see_store(look_at_store(daemon).await);
        let good = health.lock().token.is_some_and(|seen| seen.how == OK);
        let since = token_at.map(|at| at.elapsed());
        if since.is_none_or(|since| since >= if good { SELDOM } else { OFTEN }) {
            health.see_token(look_at_token(daemon).await);
            token_at = Some(Instant::now());
        }
        health.report();
        live::look(daemon);
        tokio::select! {
            () = daemon.cancel.cancelled() => return,
            () = health.look.notified() => token_at = None,
            () = tokio::time::sleep(OFTEN) => {}
        }
    }
}

async fn look_at_store(daemon: &Daemon) -> State {
    let health = &daemon.health;
    match daemon.store.size(key::STORE_INFO).await {
        Ok(None) if health.lock().had_lake => {
            tracing::warn!("the lake is gone from the store: is its folder mounted?");
            OUT_OF_REACH
        }
        Ok(found) => {
            health.lock().had_lake |= found.is_some();
            OK
        }
        Err(error) => {
            tracing::warn!(%error, "the store is out of reach");
            OUT_OF_REACH
        }
    }
}

async fn look_at_token(daemon: &Daemon) -> State {
    match daemon.client.spaces().await {
        Ok(_) => OK,
        Err(error) => {
            if error.kind() != ErrorKind::Interrupted {
                tracing::warn!(%error, "the API does not take the token");
            }
            if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden) {
                REFUSED
            } else {
                NO_ANSWER
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Past;

    #[test]
    fn the_first_time_of_a_state_stays_until_it_changes() {
        let at = |minute: i64| DateTime::from_timestamp(1_800_000_000 + 60 * minute, 0).expect("in range");
        let mut seen = None;
        let mut since = Vec::new();
        for (minute, how) in [(0, OK), (10, REFUSED), (11, REFUSED), (12, OK), (13, REFUSED)] {
            seen = Some(Seen::next(seen, how, at(minute)));
            since.extend(seen.map(|seen| (seen.since, seen.at)));
        }
        let expected = [(0, 0), (10, 10), (10, 11), (12, 12), (13, 13)];
        assert_eq!(since, expected.map(|(since, seen)| (at(since), at(seen))));
    }

    #[test]
    fn after_work_in_vain_a_good_token_is_doubted_and_looked_at() {
        let health = Health::default();
        health.see_token(OK);
        health.note_work(&Err(crate::Error::new(
            ErrorKind::Unauthorized,
            "GET /spaces",
            "401",
        )));
        assert_eq!(health.store_and_token()[1], None);
        assert_eq!(
            health.report().1["token"],
            OK,
            "the probes are not alarmed by one job"
        );
        health.see_token(REFUSED);
        health.note_work(&Err(crate::Error::new(
            ErrorKind::Unauthorized,
            "GET /spaces",
            "401",
        )));
        let seen = health.store_and_token()[1].expect("what is known to be bad stays");
        assert_eq!(seen.how, REFUSED);
    }

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
        let kill = |run: &mut serde_json::Value| run["finished_at"] = serde_json::Value::Null;
        past.put("run", "2026-11-20T02:00:00Z", "2026-11-19", "running", kill)
            .await;
        health.remember(&past.store, now).await.expect("read");
        let (_, report) = health.report();
        assert_eq!(
            report["last_run"],
            json!({"outcome": "killed", "finished_at": "2026-11-20T02:00:00Z"})
        );
    }
}
