//! The two lanes of work. On the first one runs and backfills go one after another; on the second one the small looks
//! at rooms that webhooks ask for go beside them, so that a backfill of a year does not keep a lesson waiting.
//!
//! Both share the API's concurrency and pace. Manifests are written conditionally, so they may meet on one day; where
//! the store can't do that, one lane waits for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{NaiveDate, Utc};
use tokio::sync::MutexGuard;

use super::clock;
use super::daemon::{Daemon, Shown};
use super::events::Waiting;
use super::queue::Work;
use crate::lake;
use crate::metrics::METRICS;
use crate::pipeline::{Command, Exporter, Job, Outcome, ProblemKind, Progress, Stop, Summary};
use crate::pipeline::{nightly_job, read_store_info};
use crate::{ExitStatus, Result};

/// Failures that the next attempt would only repeat.
const FINAL: [ProblemKind; 4] = [
    ProblemKind::RoomNotFound,
    ProblemKind::RoomGone,
    ProblemKind::SpaceNotVisible,
    ProblemKind::SpaceNotInScope,
];

/// Between two samples of how far a job is.
const SAMPLE: std::time::Duration = std::time::Duration::from_secs(5);
/// Between two counts of what is missing, where looks at rooms follow one another.
const SOMETIMES: std::time::Duration = std::time::Duration::from_secs(60);

/// Does what waits on the first lane, until the daemon stops.
pub(super) async fn run_main(daemon: &Arc<Daemon>) {
    loop {
        METRICS.turned("runs");
        if daemon.cancel.is_cancelled() {
            return;
        }
        let Some((work, stop)) = daemon.queue.pop(&daemon.cancel) else {
            tokio::select! {
                () = daemon.cancel.cancelled() => return,
                () = daemon.queue.wake.notified() => continue,
            }
        };
        do_work(daemon, work, &stop).await;
    }
}

/// Does one piece of work. What the daemon's end stops, or what makes way, is put back; what is cancelled is not. Gives
/// how it ended.
pub(super) async fn do_work(daemon: &Arc<Daemon>, work: Work, stop: &Stop) -> ExitStatus {
    let _alone = alone(daemon).await;
    let outcome = Box::pin(attempt(daemon, &work, stop)).await;
    let command = if matches!(work, Work::Scheduled { .. }) {
        Command::Run
    } else {
        Command::Backfill
    };
    // What was through before it was asked to stop is done.
    let stopped = stop.token().is_cancelled() && !matches!(&outcome, Ok(summary) if !summary.interrupted);
    let goes_on = stopped && !stop.is_cancelled();
    daemon.health.note_work(&outcome);
    // Before telling, which may take a while.
    if command == Command::Run {
        daemon.health.note_run(&outcome);
    }
    let made_way = goes_on && !daemon.cancel.is_cancelled();
    if !made_way {
        let notifier = &daemon.notifier;
        notifier
            .tell(command.name(), &outcome, &daemon.cancel, &*daemon.store)
            .await;
    }
    daemon.measure_pending(std::time::Duration::ZERO).await;
    let status = match &outcome {
        Ok(summary) => {
            tell(summary);
            summary.status()
        }
        Err(error) => {
            tracing::error!(%command, %error, "the run could do nothing");
            error.exit_status()
        }
    };
    if goes_on {
        let from = outcome.ok().and_then(|summary| summary.resume_at);
        daemon.queue.put_back(&*daemon.store, from).await;
        return ExitStatus::Partial;
    }
    let ended_early = outcome.as_ref().map_or(true, |summary| summary.error.is_some());
    if matches!(work, Work::Scheduled { .. }) && ended_early && !stopped {
        daemon.retry_at(clock::try_again_at(Utc::now()));
    }
    // Failed or not: what failed is in the lake's manifests, and the nightly run goes on with it.
    if let Err(error) = daemon.queue.over(&*daemon.store).await {
        tracing::warn!(%error, "a job that is done is still kept; it will be done again");
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

async fn attempt(daemon: &Daemon, work: &Work, stop: &Stop) -> Result<Summary> {
    let job = match work {
        Work::Scheduled { .. } => nightly_job(&daemon.config, &*daemon.store, Utc::now()).await?,
        Work::Asked { job, resume_at, .. } => job.job(*resume_at),
    };
    let progress = Arc::new(Progress::default());
    let exporter = exporter(daemon, &progress, stop)?;
    let shown = daemon.show(&job, &progress);
    sampled(&shown, exporter.run(&job)).await
}

/// Does `work` and takes samples of how far it is.
async fn sampled<T>(shown: &Shown<'_>, work: impl Future<Output = T>) -> T {
    let mut work = Box::pin(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SAMPLE) => shown.sample(Utc::now()),
        }
    }
}

fn exporter(daemon: &Daemon, progress: &Arc<Progress>, stop: &Stop) -> Result<Exporter> {
    let exporter = Exporter::beside(
        &daemon.client,
        daemon.config.clone(),
        Arc::clone(&daemon.store),
        Arc::clone(progress),
        stop.token(),
        Utc::now(),
    )?;
    Ok(exporter.stopped_by(stop.clone()))
}

/// On a store that ignores conditional writes, or of which nothing is known yet: one lane at a time.
async fn alone(daemon: &Daemon) -> Option<MutexGuard<'_, ()>> {
    let info = read_store_info(&*daemon.store).await.ok().flatten();
    let dialect = info.and_then(|info| info.dialect(&*daemon.store));
    if dialect.is_some_and(|dialect| dialect.conditional_writes) {
        None
    } else {
        Some(daemon.one_lane.lock().await)
    }
}

/// Does the work of events when it is due, until the daemon stops.
pub(super) async fn run_events(daemon: &Arc<Daemon>) {
    while !daemon.cancel.is_cancelled() {
        METRICS.turned("events");
        let paused = daemon.queue.paused().is_some();
        if !paused {
            let due = daemon.events.take_due(Utc::now());
            if !due.is_empty() {
                look_in(daemon, due).await;
                continue;
            }
        }
        let until_next = async {
            match daemon.events.next_due().filter(|_| !paused) {
                Some(next) => {
                    let left = (next - Utc::now()).to_std().unwrap_or_default();
                    tokio::time::sleep(left.min(std::time::Duration::from_secs(20))).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = daemon.cancel.cancelled() => return,
            () = daemon.events.wake.notified() => {}
            () = until_next => {}
        }
    }
}

/// Looks at the rooms of events, all of a space and date at once. Gives whether all was done.
pub(super) async fn look_in(daemon: &Arc<Daemon>, events: Vec<Waiting>) -> bool {
    let mut days: BTreeMap<(NaiveDate, String), Vec<Waiting>> = BTreeMap::new();
    for event in events {
        let date = lake::date_of(event.kept.received_at, daemon.config.timezone);
        // A room that is no longer listed is asked for in the space that its event names.
        let space = event.kept.event.space.clone();
        days.entry((date, space)).or_default().push(event);
    }
    let mut all = true;
    for ((date, _), events) in days {
        if daemon.cancel.is_cancelled() {
            daemon.events.put_back(events);
            all = false;
            continue;
        }
        all &= look_in_on(daemon, date, events).await;
    }
    all
}

async fn look_in_on(daemon: &Arc<Daemon>, date: NaiveDate, events: Vec<Waiting>) -> bool {
    let of = |id: fn(&Waiting) -> &String| -> BTreeSet<&String> { events.iter().map(id).collect() };
    let job = Job {
        spaces: of(|one| &one.kept.event.space).into_iter().map(Into::into).collect(),
        rooms: of(|one| &one.kept.event.room).into_iter().map(Into::into).collect(),
        ..Job::over(Command::Webhook, date, date)
    };
    let _alone = alone(daemon).await;
    let progress = Arc::new(Progress::default());
    let outcome = {
        let shown = daemon.show(&job, &progress);
        match exporter(daemon, &progress, &Stop::below(&daemon.cancel)) {
            Ok(exporter) => sampled(&shown, exporter.look_in(&job)).await,
            Err(error) => Err(error),
        }
    };
    daemon.health.note_work(&outcome);
    if daemon.cancel.is_cancelled() && !matches!(&outcome, Ok(summary) if !summary.interrupted) {
        daemon.events.put_back(events);
        return false;
    }
    let (done, failed) = match &outcome {
        Ok(summary) => {
            tell(summary);
            sort(events, summary)
        }
        Err(error) => {
            tracing::error!(%error, "the rooms of webhooks could not be looked at");
            (Vec::new(), events)
        }
    };
    let all = failed.is_empty();
    let given_up = daemon.events.again(failed, Utc::now());
    for one in &given_up {
        let event = &one.kept.event;
        tracing::warn!(
            event = event.name.as_str(),
            space = event.space,
            room = event.room,
            "tried often enough: the nightly run goes on with it"
        );
    }
    for object in daemon.events.done(done.into_iter().chain(given_up).collect()) {
        if let Err(error) = daemon.store.delete(&object).await {
            tracing::warn!(%error, "events that are done are still kept; they will be done again");
        }
    }
    daemon.measure_pending(SOMETIMES).await;
    all
}

/// Parts the events whose work is done from those whose room, or space, failed.
fn sort(events: Vec<Waiting>, summary: &Summary) -> (Vec<Waiting>, Vec<Waiting>) {
    if summary.outcome == Outcome::Nothing {
        let is_final = summary
            .failed
            .iter()
            .all(|problem| FINAL.contains(&problem.kind));
        return if is_final && !summary.failed.is_empty() {
            (events, Vec::new())
        } else {
            (Vec::new(), events)
        };
    }
    events.into_iter().partition(|one| {
        let event = &one.kept.event;
        !summary.failed.iter().any(|problem| {
            let of = |id: Option<&str>, mine: &String| id.is_none_or(|id| id == mine);
            !FINAL.contains(&problem.kind)
                && of(problem.space_id.as_deref(), &event.space)
                && of(problem.room_id.as_deref(), &event.room)
        })
    })
}
