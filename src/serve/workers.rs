//! The two lanes of work. On the first lane, runs and backfills are done one after another. On the second lane, the rooms
//! that webhooks name are exported meanwhile, so that a backfill of a year does not delay a lesson.
//!
//! Both lanes share the API's concurrency and pace. They may work on the same day, because manifests are written
//! conditionally. If the store has no conditional writes, one lane waits for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::clock::try_again_at;
use super::events::{Events, WaitingEvent};
use super::health::Health;
use super::jobs::Jobs;
use super::pending::PendingItems;
use super::queue::{Queue, Work};
use super::running::{RunningJobs, ShownJob};
use crate::api::Client;
use crate::config::Config;
use crate::ids::SpaceId;
use crate::lake;
use crate::metrics::METRICS;
use crate::notify::Notifier;
use crate::pipeline::{
    Command, Exporter, Job, Outcome, ProblemKind, Progress, Setting, Stop, Summary, nightly_job,
    read_store_info,
};
use crate::store::Store;
use crate::{ExitStatus, Result};

/// The kinds of failures that another attempt would only repeat.
const FINAL: [ProblemKind; 4] = [
    ProblemKind::RoomNotFound,
    ProblemKind::RoomGone,
    ProblemKind::SpaceNotVisible,
    ProblemKind::SpaceNotInScope,
];

/// The time between two samples of a job's progress.
const SAMPLE: Duration = Duration::from_secs(5);
/// The least time between two counts of pending items while webhooks follow one another.
const SOMETIMES: Duration = Duration::from_secs(60);

/// The parts that do the work.
pub(super) struct Workers {
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub client: Client,
    pub cancel: CancellationToken,
    pub queue: Arc<Queue>,
    pub events: Arc<Events>,
    pub health: Arc<Health>,
    pub notifier: Arc<Notifier>,
    pub running: Arc<RunningJobs>,
    pub pending: PendingItems,
    /// The lane that works holds this lock if the store has no conditional writes.
    pub single_lane: Mutex<()>,
    /// The time before which no job begins, because the budget of requests is spent.
    requests_from: parking_lot::Mutex<Option<DateTime<Utc>>>,
}

impl Workers {
    /// Lets no job begin before a time.
    fn wait_for_budget(&self, until: Option<DateTime<Utc>>) {
        if until.is_some() {
            *self.requests_from.lock() = until;
        }
    }

    /// The time until the budget of requests is there again.
    fn without_budget(&self) -> Option<Duration> {
        let until = (*self.requests_from.lock())?;
        (until - Utc::now()).to_std().ok().filter(|left| !left.is_zero())
    }

    /// Workers on the queue and the events of `jobs`.
    pub fn new(
        jobs: &Jobs,
        client: Client,
        cancel: CancellationToken,
        health: Arc<Health>,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            config: Arc::clone(&jobs.config),
            store: Arc::clone(&jobs.store),
            client,
            cancel,
            queue: Arc::clone(&jobs.queue),
            events: Arc::clone(&jobs.events),
            health,
            notifier,
            running: Arc::clone(&jobs.running),
            pending: PendingItems::new(Arc::clone(&jobs.store), jobs.config.timezone),
            single_lane: Mutex::default(),
            requests_from: parking_lot::Mutex::default(),
        }
    }
}

/// Works off the queue on the first lane until the daemon stops.
pub(super) async fn run_main(workers: &Workers) {
    loop {
        METRICS.turned("runs");
        if workers.cancel.is_cancelled() {
            return;
        }
        if let Some(left) = workers.without_budget() {
            let waiting = tokio::time::sleep(left.min(SOMETIMES));
            workers.cancel.run_until_cancelled(waiting).await;
            continue;
        }
        let Some((work, stop)) = workers.queue.pop(&workers.cancel) else {
            let woken = workers.queue.wake.notified();
            match workers.cancel.run_until_cancelled(woken).await {
                Some(()) => continue,
                None => return,
            }
        };
        do_work(workers, work, &stop).await;
    }
}

/// Does the given work and returns its exit status. Work that the daemon's stop or a due run interrupted is put back;
/// cancelled work is not.
pub(super) async fn do_work(workers: &Workers, work: Work, stop: &Stop) -> ExitStatus {
    let _alone = alone(workers).await;
    let outcome = Box::pin(attempt(workers, &work, stop)).await;
    let command = if matches!(work, Work::Scheduled { .. }) {
        Command::Run
    } else {
        Command::Backfill
    };
    // Work that had ended before it was asked to stop is done.
    let stopped = stop.token().is_cancelled() && !matches!(&outcome, Ok(summary) if !summary.interrupted);
    let spent_until = outcome.as_ref().ok().and_then(|summary| summary.requests_from);
    workers.wait_for_budget(spent_until);
    let goes_on = (stopped || spent_until.is_some()) && !stop.is_cancelled();
    workers.health.note_work(&outcome);
    // Note the run before the notification, which may take a while.
    if command == Command::Run {
        workers.health.note_run(&outcome);
    }
    let made_way = stopped && goes_on && !workers.cancel.is_cancelled();
    if !made_way {
        let notifier = &workers.notifier;
        notifier
            .tell(command.name(), &outcome, &workers.cancel, &*workers.store)
            .await;
    }
    workers.pending.measure(Duration::ZERO).await;
    let status = match &outcome {
        Ok(summary) => {
            tell(summary);
            summary.status()
        }
        Err(error) => {
            tracing::error!(%command, %error, "the run failed and did nothing");
            error.exit_status()
        }
    };
    if goes_on {
        let from = outcome.ok().and_then(|summary| summary.resume_at);
        workers.queue.put_back(&*workers.store, from).await;
        return ExitStatus::Partial;
    }
    let ended_early = outcome.as_ref().map_or(true, |summary| summary.error.is_some());
    if matches!(work, Work::Scheduled { .. }) && ended_early && !stopped {
        workers.queue.retry_at(try_again_at(Utc::now()));
    }
    // The work is over even if parts failed: those are in the manifests, and the nightly run continues with them.
    if let Err(error) = workers.queue.over(&*workers.store).await {
        tracing::warn!(%error, "a finished job could not be removed from the store; the next start does it again");
    }
    status
}

fn tell(summary: &Summary) {
    let c = &summary.counts;
    tracing::info!(
        run = summary.id,
        command = summary.command,
        outcome = ?summary.outcome,
        days = c.days,
        days_built = c.days_built,
        calls = c.calls,
        reports_landed = c.reports_landed,
        records_landed = c.records_landed,
        recorded_bytes = c.recorded_bytes,
        failed = summary.failed.len(),
        pending = summary.pending.len(),
        error = summary.error,
        "the run ended"
    );
}

async fn attempt(workers: &Workers, work: &Work, stop: &Stop) -> Result<Summary> {
    let job = match work {
        Work::Scheduled { .. } => nightly_job(&workers.config, &*workers.store, Utc::now()).await?,
        Work::Requested { job, resume_at, .. } => job.job(*resume_at),
    };
    let progress = Arc::new(Progress::default());
    let exporter = exporter(workers, &progress, stop)?;
    let shown = workers.running.show(&job, &progress);
    sampled(&shown, exporter.run(&job)).await
}

/// Does `work` and meanwhile takes samples of its progress.
async fn sampled<T>(shown: &ShownJob<'_>, work: impl Future<Output = T>) -> T {
    let mut work = Box::pin(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SAMPLE) => shown.sample(Utc::now()),
        }
    }
}

fn exporter(workers: &Workers, progress: &Arc<Progress>, stop: &Stop) -> Result<Exporter> {
    let setting = Setting {
        config: Config::clone(&workers.config),
        store: Arc::clone(&workers.store),
        progress: Arc::clone(progress),
        cancel: stop.token().clone(),
        now: Utc::now(),
    };
    let exporter = Exporter::beside(&workers.client, setting)?;
    Ok(exporter.stopped_by(stop.clone()))
}

/// Waits for the other lane if the store ignores conditional writes, or if nothing is known of the store yet.
async fn alone(workers: &Workers) -> Option<MutexGuard<'_, ()>> {
    let info = read_store_info(&*workers.store).await.ok().flatten();
    let dialect = info.and_then(|info| info.dialect(&*workers.store));
    if dialect.is_some_and(|dialect| dialect.conditional_writes) {
        None
    } else {
        Some(workers.single_lane.lock().await)
    }
}

/// Does the work of webhook events when it is due, until the daemon stops.
pub(super) async fn run_events(workers: &Workers) {
    while !workers.cancel.is_cancelled() {
        METRICS.turned("events");
        let paused = workers.queue.paused().is_some();
        if !paused {
            let due = workers.events.take_due(Utc::now());
            if !due.is_empty() {
                look_in(workers, due).await;
                continue;
            }
        }
        let until_next = async {
            match workers.events.next_due().filter(|_| !paused) {
                Some(next) => {
                    let left = (next - Utc::now()).to_std().unwrap_or_default();
                    tokio::time::sleep(left.min(Duration::from_secs(20))).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = workers.cancel.cancelled() => return,
            () = workers.events.wake.notified() => {}
            () = until_next => {}
        }
    }
}

/// Exports the rooms of events, all events of a space and date together. Returns true if all work was done.
pub(super) async fn look_in(workers: &Workers, events: Vec<WaitingEvent>) -> bool {
    let mut days: BTreeMap<(NaiveDate, SpaceId), Vec<WaitingEvent>> = BTreeMap::new();
    for event in events {
        let date = lake::date_of(event.kept.received_at, workers.config.timezone);
        // Group by the event's own space, because a room may no longer be listed in it.
        let space = event.kept.event.space.clone();
        days.entry((date, space)).or_default().push(event);
    }
    let mut all = true;
    for ((date, _), events) in days {
        if workers.cancel.is_cancelled() {
            workers.events.put_back(events);
            all = false;
            continue;
        }
        all &= look_in_on(workers, date, events).await;
    }
    all
}

async fn look_in_on(workers: &Workers, date: NaiveDate, events: Vec<WaitingEvent>) -> bool {
    let spaces: BTreeSet<_> = events.iter().map(|one| &one.kept.event.space).collect();
    let rooms: BTreeSet<_> = events.iter().map(|one| &one.kept.event.room).collect();
    let job = Job {
        spaces: spaces.into_iter().cloned().collect(),
        rooms: rooms.into_iter().cloned().collect(),
        ..Job::over(Command::Webhook, date, date)
    };
    let _alone = alone(workers).await;
    let progress = Arc::new(Progress::default());
    let outcome = {
        let shown = workers.running.show(&job, &progress);
        match exporter(workers, &progress, &Stop::below(&workers.cancel)) {
            Ok(exporter) => sampled(&shown, exporter.look_in(&job)).await,
            Err(error) => Err(error),
        }
    };
    workers.health.note_work(&outcome);
    if workers.cancel.is_cancelled() && !matches!(&outcome, Ok(summary) if !summary.interrupted) {
        workers.events.put_back(events);
        return false;
    }
    if let Some(until) = outcome.as_ref().ok().and_then(|summary| summary.requests_from) {
        workers.wait_for_budget(Some(until));
        workers.events.postpone(events, until);
        return false;
    }
    let (done, failed) = match &outcome {
        Ok(summary) => {
            tell(summary);
            split_done(events, summary)
        }
        Err(error) => {
            tracing::error!(%error, "the rooms that webhooks named could not be exported");
            (Vec::new(), events)
        }
    };
    let all = failed.is_empty();
    let given_up = workers.events.again(failed, Utc::now());
    for one in &given_up {
        let event = &one.kept.event;
        tracing::warn!(
            event = event.name.as_str(),
            space = event.space.as_str(),
            room = event.room.as_str(),
            "the work of a webhook failed too often; the nightly run continues it"
        );
    }
    for object in workers.events.done(done.into_iter().chain(given_up).collect()) {
        if let Err(error) = workers.store.delete(&object).await {
            tracing::warn!(%error, "finished events could not be removed from the store; the next start does them again");
        }
    }
    workers.pending.measure(SOMETIMES).await;
    all
}

/// Splits the events whose work is done from those whose room or space failed.
fn split_done(events: Vec<WaitingEvent>, summary: &Summary) -> (Vec<WaitingEvent>, Vec<WaitingEvent>) {
    if summary.outcome == Outcome::Nothing {
        let is_final = summary.failed.iter().all(|problem| FINAL.contains(&problem.kind));
        return if is_final && !summary.failed.is_empty() {
            (events, Vec::new())
        } else {
            (Vec::new(), events)
        };
    }
    events.into_iter().partition(|one| {
        let event = &one.kept.event;
        !summary.failed.iter().any(|problem| {
            !FINAL.contains(&problem.kind)
                && problem
                    .space_id
                    .as_ref()
                    .is_none_or(|space| *space == event.space)
                && problem.room_id.as_ref().is_none_or(|room| *room == event.room)
        })
    })
}
