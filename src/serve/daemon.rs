//! The daemon's parts, started and stopped together. `mod` runs it; every other module here gets it.

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
use crate::pipeline::{Command, Job, Meter, Phase, Progress};
use crate::status::{Coverage, pending_by_age};
use crate::store::{self, Metered, Store};
use crate::{Error, Result};

/// Between two lines in the log about forged webhooks.
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
    /// Held by the lane that works, on a store where two must not.
    pub one_lane: tokio::sync::Mutex<()>,
    /// Whether a part of the daemon broke off.
    pub broken: AtomicBool,
    running: Mutex<Vec<Running>>,
    shown: AtomicU64,
    retry: Mutex<Option<DateTime<Utc>>>,
    measured: Mutex<Option<Instant>>,
    refused: Mutex<(Option<Instant>, u64)>,
    unproved: Mutex<Option<Instant>>,
}

/// A job in work.
struct Running {
    number: u64,
    job: Job,
    since: DateTime<Utc>,
    progress: Arc<Progress>,
    samples: Samples,
}

/// A job in work and how far it has come, as `/api/progress` and the page tell it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AtWork {
    pub command: Command,
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

/// How far, and the goal; how fast it goes, and when it is reached, where that is known.
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
            spaces: one.job.spaces.iter().map(ToString::to_string).collect(),
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

/// The meters of a job, in the order of its samples.
fn meters(progress: &Progress) -> [&Meter; METERS] {
    [
        &progress.listings,
        &progress.days,
        &progress.reports,
        &progress.recordings,
        &progress.recorded_bytes,
    ]
}

/// The writers of what callers bring: they end when all is written.
pub(super) type Writers = [JoinHandle<()>; 2];

impl Daemon {
    /// Opens all, and takes in what was kept before.
    ///
    /// # Errors
    /// `Config`, `SecretUnreadable`; of the store, where it is out of reach.
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
        // What can't be read of it is no reason not to start.
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

    /// What is in work.
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

    /// Takes note of a webhook whose signature proves nothing. The log hears of it now and then: the secret may be wrong,
    /// and a forger must not fill it.
    pub fn note_forged(&self) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.1 += 1;
        if refused.0.is_none_or(|last| last.elapsed() >= SELDOM) {
            tracing::warn!(
                count = refused.1,
                "webhooks were refused: their signature is not of the space's secret; see `telelake webhook show`"
            );
            *refused = (Some(Instant::now()), 0);
        }
    }

    /// Takes note of a webhook whose secret can't be read; the log hears of it now and then.
    pub fn note_unreadable(&self, error: &Error) {
        let mut unproved = self.unproved.lock().unwrap_or_else(PoisonError::into_inner);
        if unproved.is_none_or(|last| last.elapsed() >= SELDOM) {
            tracing::error!(%error, "a webhook was answered with 503, since its secret can't be read");
            *unproved = Some(Instant::now());
        }
    }

    /// A run that could do nothing is to be tried again then.
    pub fn retry_at(&self, at: DateTime<Utc>) {
        *self.retry.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether a run is to be tried again now.
    pub fn take_retry(&self, now: DateTime<Utc>) -> bool {
        let mut retry = self.retry.lock().unwrap_or_else(PoisonError::into_inner);
        let due = retry.is_some_and(|at| at <= now);
        if due {
            *retry = None;
        }
        due
    }

    /// Brings the metrics of what is missing up to date, unless that was done within `rest`.
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
            Err(error) => tracing::debug!(%error, "what is pending could not be counted"),
        }
    }
}

/// A job that is shown as running.
pub(super) struct Shown<'a> {
    daemon: &'a Daemon,
    number: u64,
}

impl Shown<'_> {
    /// Takes a sample of how far it is.
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
