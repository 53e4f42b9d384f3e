//! The daemon's parts, opened together. `mod` runs them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use super::health::Health;
use super::live::Live;
use super::pace::{METERS, Samples, eta_seconds};
use super::page::Page;
use super::queue::Queue;
use super::relay::Relay;
use super::webhook::secrets::Secrets;
use super::webhook::seen::Seen;
use crate::api::Client;
use crate::config::{Config, Source};
use crate::dates;
use crate::metrics::{METRICS, PendingLabels};
use crate::notify::{Notifier, last_deliveries};
use crate::pipeline::{Job, Meter, Phase, Progress};
use crate::status::{Coverage, pending_by_age};
use crate::store::{self, Metered, Store};
use crate::{Error, Result};

/// The least time between two log lines about refused webhooks.
const SELDOM: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Daemon {
    pub config: Config,
    pub store: Arc<dyn Store>,
    pub client: Client,
    pub cancel: CancellationToken,
    pub queue: Queue,
    pub events: Events,
    pub relay: Relay,
    pub secrets: Secrets,
    pub live: Live,
    pub webhooks: Seen,
    pub health: Health,
    pub coverage: Coverage,
    pub page: Page,
    pub notifier: Notifier,
    /// The lane that works holds this lock if the store has no conditional writes.
    pub one_lane: tokio::sync::Mutex<()>,
    /// True if a task of the daemon panicked.
    pub broken: AtomicBool,
    running: Mutex<Vec<Running>>,
    shown: AtomicU64,
    retry: Mutex<Option<DateTime<Utc>>>,
    measured: Mutex<Option<Instant>>,
    refused: Mutex<(Option<Instant>, u64)>,
    unproved: Mutex<Option<Instant>>,
}

/// A running job.
struct Running {
    number: u64,
    job: Job,
    since: DateTime<Utc>,
    progress: Arc<Progress>,
    samples: Samples,
}

/// A running job and its progress, as `/api/progress` and the page show it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AtWork {
    pub command: &'static str,
    pub from: NaiveDate,
    pub to: NaiveDate,
    pub spaces: Vec<String>,
    pub rooms: usize,
    pub since: DateTime<Utc>,
    pub phase: Phase,
    pub listings: Reach,
    pub days: Reach,
    pub reports: Reach,
    pub recordings: Reach,
    pub recorded_bytes: Reach,
}

/// The progress of a meter: its count and goal, and the pace and the remaining time if they are known.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Reach {
    pub done: u64,
    pub goal: u64,
    /// Steps or bytes a second, over the last minute.
    pub per_second: Option<f64>,
    /// Seconds until the goal at that pace.
    pub eta_seconds: Option<u64>,
}

impl AtWork {
    fn of(one: &Running, now: DateTime<Utc>) -> Self {
        let progress = &one.progress;
        let [listings, days, reports, recordings, recorded_bytes] = std::array::from_fn(|index| {
            let (done, goal) = meters(progress)[index].get();
            let per_second = one.samples.per_second(index, now, done);
            Reach {
                done,
                goal,
                per_second,
                eta_seconds: eta_seconds(done, goal, per_second),
            }
        });
        Self {
            command: one.job.command,
            from: one.job.from,
            to: one.job.to,
            spaces: one.job.spaces.clone(),
            rooms: one.job.rooms.len(),
            since: one.since,
            phase: progress.phase(),
            listings,
            days,
            reports,
            recordings,
            recorded_bytes,
        }
    }
}

/// The meters of a job in the order of its samples.
fn meters(progress: &Progress) -> [&Meter; METERS] {
    [
        &progress.listings,
        &progress.days,
        &progress.reports,
        &progress.recordings,
        &progress.recorded_bytes,
    ]
}

/// The tasks that write what callers send; each ends when everything is written.
pub(super) type Writers = [JoinHandle<()>; 2];

impl Daemon {
    /// Opens all parts, and loads what earlier processes kept in the store.
    ///
    /// # Errors
    /// `Config`, `SecretUnreadable`; any error of the store if it is out of reach.
    pub async fn open(
        config: Config,
        source: Source,
        cancel: &CancellationToken,
    ) -> Result<(Arc<Self>, Writers)> {
        config.require_token()?;
        let live = Live::new(source, &config)?;
        crate::pipeline::mapping(&config)?;
        let notifier = Notifier::new(&config.notify)?;
        let client = Client::new(&config.api, cancel.clone())?;
        let store = Metered::around(store::open(&config.store).await?);
        store.preflight().await?;
        if let Some(info) = crate::pipeline::read_store_info(&*store).await? {
            info.check_zone(config.timezone)?;
        }
        let (events, events_written) = Events::start(Arc::clone(&store), config.scope.clone());
        let (relay, relay_written) = Relay::start(Arc::clone(&store));
        let daemon = Arc::new(Self {
            secrets: Secrets::new(config.webhook.clone()),
            live,
            webhooks: Seen::new(Utc::now()),
            store,
            client,
            cancel: cancel.clone(),
            queue: Queue::default(),
            events,
            relay,
            health: Health::default(),
            coverage: Coverage::default(),
            page: Page::default(),
            notifier,
            one_lane: tokio::sync::Mutex::default(),
            broken: AtomicBool::new(false),
            running: Mutex::default(),
            shown: AtomicU64::new(0),
            retry: Mutex::default(),
            measured: Mutex::default(),
            refused: Mutex::default(),
            unproved: Mutex::default(),
            config,
        });
        #[allow(clippy::cast_precision_loss)]
        METRICS.started.set(Utc::now().timestamp() as f64);
        daemon.health.remember(&*daemon.store, Utc::now()).await?;
        // Deliveries that can't be read are no reason not to start.
        daemon
            .notifier
            .remember(last_deliveries(&*daemon.store).await.unwrap_or_default());
        daemon.events.load(&*daemon.store, true, Utc::now()).await?;
        daemon
            .queue
            .load(&*daemon.store, dates::today(daemon.config.timezone))
            .await?;
        daemon.relay.load(&*daemon.store).await?;
        daemon.measure_pending(Duration::ZERO).await;
        Ok((daemon, [events_written, relay_written]))
    }

    /// Shows a job as running until the guard is dropped.
    pub fn show(&self, job: &Job, progress: &Arc<Progress>) -> Shown<'_> {
        let number = self.shown.fetch_add(1, Ordering::Relaxed);
        self.lock_running().push(Running {
            number,
            job: job.clone(),
            since: Utc::now(),
            progress: Arc::clone(progress),
            samples: Samples::default(),
        });
        let shown = Shown { daemon: self, number };
        shown.sample(Utc::now());
        shown
    }

    /// The running jobs.
    pub fn running(&self) -> Vec<AtWork> {
        let now = Utc::now();
        self.lock_running()
            .iter()
            .map(|one| AtWork::of(one, now))
            .collect()
    }

    fn lock_running(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a webhook with a wrong signature. The log gets a line only now and then, because an operator must learn of a
    /// wrong secret but a forger must not fill the log.
    pub fn note_forged(&self) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.1 += 1;
        if refused.0.is_none_or(|last| last.elapsed() >= SELDOM) {
            tracing::warn!(
                count = refused.1,
                "webhooks were refused because their signature does not match the space's secret; see `telelake webhook show`"
            );
            *refused = (Some(Instant::now()), 0);
        }
    }

    /// Logs, but only now and then, that a webhook's secret can't be read.
    pub fn note_unreadable(&self, error: &Error) {
        let mut unproved = self.unproved.lock().unwrap_or_else(PoisonError::into_inner);
        if unproved.is_none_or(|last| last.elapsed() >= SELDOM) {
            tracing::error!(%error, "a webhook was answered with 503 because its secret can't be read");
            *unproved = Some(Instant::now());
        }
    }

    /// Plans another attempt of a run that could do nothing.
    pub fn retry_at(&self, at: DateTime<Utc>) {
        *self.retry.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Returns true, once, if another attempt is due.
    pub fn take_retry(&self, now: DateTime<Utc>) -> bool {
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        let due = retry.is_some_and(|at| at <= now);
        if due {
            *retry = None;
        }
        due
    }

    /// Updates the metrics of pending items, unless they were updated within `rest`.
    pub async fn measure_pending(&self, rest: Duration) {
        let last = &self.measured;
        let now = Instant::now();
        {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now - last < rest) {
                return;
            }
            *last = Some(now);
        }
        match pending_by_age(&*self.store, self.config.timezone, Utc::now()).await {
            Ok(pending) => {
                for ((what, age), count) in pending {
                    METRICS
                        .pending
                        .get_or_create(&PendingLabels { what, age })
                        .set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            Err(error) => tracing::debug!(%error, "pending items could not be counted"),
        }
    }
}

/// Shows a job as running until it is dropped.
pub(super) struct Shown<'a> {
    daemon: &'a Daemon,
    number: u64,
}

impl Shown<'_> {
    /// Takes a sample of the job's progress.
    pub fn sample(&self, now: DateTime<Utc>) {
        let mut running = self.daemon.lock_running();
        if let Some(one) = running.iter_mut().find(|one| one.number == self.number) {
            let done = meters(&one.progress).map(|meter| meter.get().0);
            one.samples.add(now, done);
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.daemon.lock_running().retain(|one| one.number != self.number);
    }
}
