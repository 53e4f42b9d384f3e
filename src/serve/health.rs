//! The daemon's health: the store is in reach, the API accepts the token, the last run did something. It is checked in the
//! background, so that a probe costs nothing and no stranger can cause a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::http::guard::{RouteGroup, RouteGuard};
use super::http::reply;
use super::live::Live;
use crate::api::Client;
use crate::lake::key;
use crate::metrics::{self, METRICS};
use crate::pipeline::{Command, Outcome, Summary, find_run};
use crate::store::Store;
use crate::{ErrorKind, Result};

/// The time between two checks of the store, and of the token while it is refused or the API is out of reach.
const OFTEN: Duration = Duration::from_secs(30);
/// The time between two checks of a good token.
const SELDOM: Duration = Duration::from_secs(600);

/// The age of the oldest run that is looked for at the start.
const LONGEST_MEMORY: TimeDelta = TimeDelta::days(35);

/// The state of the store or the token. Its words tell strangers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum CheckState {
    /// The store or the token works.
    #[serde(rename = "ok")]
    Good,
    /// The store fails.
    #[serde(rename = "out of reach")]
    OutOfReach,
    /// The API refuses the token.
    #[serde(rename = "refused")]
    Refused,
    /// The API does not answer. The daemon still counts as ready, because it goes on to accept events.
    #[serde(rename = "the API does not answer")]
    NoAnswer,
    /// The first check has not ended yet.
    #[serde(rename = "not looked at yet")]
    Unknown,
}

/// The result of the last check, and the time since which the result has been the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckResult {
    pub how: CheckState,
    pub since: DateTime<Utc>,
    pub at: DateTime<Utc>,
}

impl CheckResult {
    /// The state after the next check; `since` stays while nothing changes.
    fn next(before: Option<Self>, how: CheckState, now: DateTime<Utc>) -> Self {
        let same = before.filter(|before| before.how == how);
        Self {
            how,
            since: same.map_or(now, |before| before.since),
            at: now,
        }
    }
}

/// See the module.
pub struct Health {
    store: Arc<dyn Store>,
    client: Client,
    inner: Mutex<HealthState>,
    /// Starts a check now, because something failed.
    look: Notify,
}

#[derive(Default)]
struct HealthState {
    store: Option<CheckResult>,
    token: Option<CheckResult>,
    /// True if work failed since the last check of the token.
    doubted: bool,
    /// True if the lake's description was ever found, because a folder that is not mounted looks empty.
    had_lake: bool,
    last_run: Option<(Outcome, DateTime<Utc>)>,
    last_success: Option<DateTime<Utc>>,
}

/// The routes of health and metrics.
pub(super) fn routes(health: Arc<Health>, guard: &RouteGuard) -> Router {
    let probes = Router::new()
        .route("/healthz", get(async || reply::accepted()))
        .route("/readyz", get(ready))
        .with_state(health);
    let metrics = Router::new().route("/metrics", get(metrics_text));
    guard
        .protect(RouteGroup::Open, probes)
        .merge(guard.protect(RouteGroup::Private, metrics))
}

/// `GET /readyz`
async fn ready(State(health): State<Arc<Health>>) -> Response {
    let (ready, report) = health.report();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    reply::json(status, &report)
}

/// `GET /metrics`
async fn metrics_text() -> Response {
    reply::with_type(StatusCode::OK, metrics::CONTENT_TYPE, METRICS.text())
}

impl Health {
    /// Starts without any check.
    pub fn new(store: Arc<dyn Store>, client: Client) -> Self {
        Self {
            store,
            client,
            inner: Mutex::default(),
            look: Notify::new(),
        }
    }

    /// Loads the last nightly run and the last successful one from before the daemon's start.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn remember(&self, store: &dyn Store, now: DateTime<Utc>) -> Result<()> {
        let since = Some(now - LONGEST_MEMORY);
        let is_over =
            |run: &Summary| run.is_of(Command::Run) && run.ends_job() && run.outcome != Outcome::Running;
        let last = find_run(store, since, now, is_over).await?;
        let not_done = std::sync::atomic::AtomicI64::new(0);
        // Runs come latest first.
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
        let mut inner = self.inner.lock();
        // A killed run ended with its last heartbeat.
        let end = |run: &Summary| run.finished_at.or(run.heartbeat_at).unwrap_or(run.started_at);
        inner.last_run = last.map(|run| (run.outcome, end(&run)));
        inner.last_success = good.and_then(|run| run.finished_at);
        let seconds = |at: Option<DateTime<Utc>>| at.map_or(0, |at| at.timestamp());
        #[expect(clippy::cast_precision_loss, reason = "seconds of a date are far below 2^52")]
        {
            METRICS
                .last_run
                .set(seconds(inner.last_run.map(|(_, at)| at)) as f64);
            METRICS.last_success.set(seconds(inner.last_success) as f64);
        }
        Ok(())
    }

    /// Notes the outcome of a scheduled run.
    pub fn note_run(&self, outcome: &Result<Summary>) {
        let now = Utc::now();
        let mut inner = self.inner.lock();
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

    /// Notes the outcome of any work. If it could do nothing, store and token are checked now, and a good token counts as
    /// unknown until then.
    pub fn note_work(&self, outcome: &Result<Summary>) {
        let in_vain = outcome
            .as_ref()
            .map_or(true, |summary| summary.outcome == Outcome::Nothing);
        if in_vain {
            self.inner.lock().doubted = true;
            self.look_now();
        }
    }

    /// Starts a check of store and token now.
    pub fn look_now(&self) {
        self.look.notify_one();
    }

    /// Returns true if the daemon is ready, and the report of `/readyz`.
    pub fn report(&self) -> (bool, Value) {
        let inner = self.inner.lock();
        let in_vain = matches!(inner.last_run, Some((Outcome::Nothing, _)));
        let [store, token] = [inner.store, inner.token].map(|seen| seen.map(|seen| seen.how));
        let token_good = !matches!(token, None | Some(CheckState::Refused));
        let ready = store == Some(CheckState::Good) && token_good && !in_vain;
        METRICS.ready.set(ready.into());
        let report = json!({
            "ready": ready,
            "store": store.unwrap_or(CheckState::Unknown),
            "token": token.unwrap_or(CheckState::Unknown),
            "last_run": inner.last_run.map(|(outcome, at)| json!({"outcome": outcome, "finished_at": at})),
            "last_success": inner.last_success,
        });
        (ready, report)
    }

    /// The states of store and token, for the page.
    pub fn store_and_token(&self) -> [Option<CheckResult>; 2] {
        let inner = self.inner.lock();
        let token = inner
            .token
            .filter(|seen| seen.how != CheckState::Good || !inner.doubted);
        [inner.store, token]
    }

    fn see_store(&self, how: CheckState) {
        let mut inner = self.inner.lock();
        inner.store = Some(CheckResult::next(inner.store, how, Utc::now()));
    }

    fn see_token(&self, how: CheckState) {
        let mut inner = self.inner.lock();
        inner.token = Some(CheckResult::next(inner.token, how, Utc::now()));
        inner.doubted = false;
    }

    /// Checks store, token and secrets regularly until the daemon stops.
    pub(super) async fn watch(&self, live: &Live, cancel: &CancellationToken) {
        let mut token_at: Option<Instant> = None;
        loop {
            METRICS.turned("health");
            self.see_store(self.check_store().await);
            let good = self
                .inner
                .lock()
                .token
                .is_some_and(|seen| seen.how == CheckState::Good);
            let since = token_at.map(|at| at.elapsed());
            if since.is_none_or(|since| since >= if good { SELDOM } else { OFTEN }) {
                self.see_token(self.check_token().await);
                token_at = Some(Instant::now());
            }
            self.report();
            live.check_secrets();
            let asked = tokio::time::timeout(OFTEN, self.look.notified());
            match cancel.run_until_cancelled(asked).await {
                Some(Ok(())) => token_at = None,
                Some(Err(_)) => {}
                None => return,
            }
        }
    }

    async fn check_store(&self) -> CheckState {
        match self.store.size(key::STORE_INFO).await {
            Ok(None) if self.inner.lock().had_lake => {
                tracing::warn!("the store no longer holds the lake; check that its folder is mounted");
                CheckState::OutOfReach
            }
            Ok(found) => {
                self.inner.lock().had_lake |= found.is_some();
                CheckState::Good
            }
            Err(error) => {
                tracing::warn!(%error, "the store is out of reach");
                CheckState::OutOfReach
            }
        }
    }

    async fn check_token(&self) -> CheckState {
        match self.client.spaces().await {
            Ok(_) => CheckState::Good,
            Err(error) => {
                if error.kind() != ErrorKind::Interrupted {
                    tracing::warn!(%error, "the API does not accept the token");
                }
                if matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden) {
                    CheckState::Refused
                } else {
                    CheckState::NoAnswer
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Secret};
    use crate::pipeline::Past;
    use crate::store::folder::FolderStore;

    fn health(folder: &std::path::Path) -> Health {
        let store = FolderStore::open(&format!("file://{}", folder.display())).expect("store");
        let api = config::Api {
            base_url: "http://127.0.0.1:1/v1".into(),
            token: Secret::new("a-token"),
            ..config::Api::default()
        };
        let client = Client::new(&api, CancellationToken::new()).expect("client");
        Health::new(Arc::new(store), client)
    }

    #[test]
    fn states_are_told_in_words_that_tell_strangers_nothing() {
        let words = [
            (CheckState::Good, "ok"),
            (CheckState::OutOfReach, "out of reach"),
            (CheckState::Refused, "refused"),
            (CheckState::NoAnswer, "the API does not answer"),
            (CheckState::Unknown, "not looked at yet"),
        ];
        for (state, word) in words {
            assert_eq!(json!(state), word);
        }
    }

    #[test]
    fn the_first_time_of_a_state_stays_until_it_changes() {
        let at = |minute: i64| DateTime::from_timestamp(1_800_000_000 + 60 * minute, 0).expect("in range");
        let mut seen = None;
        let mut since = Vec::new();
        for (minute, how) in [
            (0, CheckState::Good),
            (10, CheckState::Refused),
            (11, CheckState::Refused),
            (12, CheckState::Good),
            (13, CheckState::Refused),
        ] {
            seen = Some(CheckResult::next(seen, how, at(minute)));
            since.extend(seen.map(|seen| (seen.since, seen.at)));
        }
        let expected = [(0, 0), (10, 10), (10, 11), (12, 12), (13, 13)];
        assert_eq!(since, expected.map(|(since, seen)| (at(since), at(seen))));
    }

    #[test]
    fn after_work_in_vain_a_good_token_is_doubted_and_looked_at() {
        let folder = tempfile::tempdir().expect("folder");
        let health = health(folder.path());
        health.see_token(CheckState::Good);
        health.note_work(&Err(crate::Error::new(
            ErrorKind::Unauthorized,
            "GET /spaces",
            "401",
        )));
        assert_eq!(health.store_and_token()[1], None);
        assert_eq!(
            health.report().1["token"],
            "ok",
            "the probes are not alarmed by one job"
        );
        health.see_token(CheckState::Refused);
        health.note_work(&Err(crate::Error::new(
            ErrorKind::Unauthorized,
            "GET /spaces",
            "401",
        )));
        let seen = health.store_and_token()[1].expect("what is known to be bad stays");
        assert_eq!(seen.how, CheckState::Refused);
    }

    #[tokio::test]
    async fn nights_are_remembered_behind_many_other_runs() {
        let folder = tempfile::tempdir().expect("folder");
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
            health(folder.path()),
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
