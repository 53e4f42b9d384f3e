//! The running jobs and their progress, for `/api/progress`, `/api/jobs` and the page. No I/O.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::pace::{METERS, Samples, eta_seconds};
use crate::pipeline::{Command, Job, Meter, Phase, Progress};

/// The running jobs.
#[derive(Default)]
pub(super) struct RunningJobs {
    jobs: Mutex<Vec<RunningJob>>,
    next: AtomicU64,
}

/// A running job.
struct RunningJob {
    number: u64,
    job: Job,
    since: DateTime<Utc>,
    progress: Arc<Progress>,
    samples: Samples,
}

/// A running job and its progress, as `/api/progress` and the page show it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct JobProgress {
    pub command: Command,
    pub from: NaiveDate,
    pub to: NaiveDate,
    pub spaces: Vec<String>,
    pub rooms: usize,
    pub since: DateTime<Utc>,
    pub phase: Phase,
    pub listings: MeterProgress,
    pub days: MeterProgress,
    pub reports: MeterProgress,
    pub recordings: MeterProgress,
    pub recorded_bytes: MeterProgress,
}

/// The progress of a meter: its count and goal, and the pace and the remaining time if they are known.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct MeterProgress {
    pub done: u64,
    pub goal: u64,
    /// Steps or bytes a second, over the last minute.
    pub per_second: Option<f64>,
    /// Seconds until the goal at that pace.
    pub eta_seconds: Option<u64>,
}

impl JobProgress {
    fn of(one: &RunningJob, now: DateTime<Utc>) -> Self {
        let progress = &one.progress;
        let [listings, days, reports, recordings, recorded_bytes] = std::array::from_fn(|index| {
            let (done, goal) = meters(progress)[index].get();
            let per_second = one.samples.per_second(index, now, done);
            MeterProgress {
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

impl RunningJobs {
    /// Shows a job as running until the guard is dropped.
    pub fn show(&self, job: &Job, progress: &Arc<Progress>) -> ShownJob<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().push(RunningJob {
            number,
            job: job.clone(),
            since: Utc::now(),
            progress: Arc::clone(progress),
            samples: Samples::default(),
        });
        let shown = ShownJob { running: self, number };
        shown.sample(Utc::now());
        shown
    }

    /// The running jobs.
    pub fn all(&self) -> Vec<JobProgress> {
        let now = Utc::now();
        self.lock()
            .iter()
            .map(|one| JobProgress::of(one, now))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RunningJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows a job as running until it is dropped.
pub(super) struct ShownJob<'a> {
    running: &'a RunningJobs,
    number: u64,
}

impl ShownJob<'_> {
    /// Takes a sample of the job's progress.
    pub fn sample(&self, now: DateTime<Utc>) {
        let mut running = self.running.lock();
        if let Some(one) = running.iter_mut().find(|one| one.number == self.number) {
            let done = meters(&one.progress).map(|meter| meter.get().0);
            one.samples.add(now, done);
        }
    }
}

impl Drop for ShownJob<'_> {
    fn drop(&mut self) {
        self.running.lock().retain(|one| one.number != self.number);
    }
}
