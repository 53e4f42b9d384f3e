//! Feeds the pure build of a day with its reports, which are read ahead within the memory budget.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::attempts::{self, DIED_TWICE, Trial};
use super::state::DayState;
use crate::Result;
use crate::config::ReportFormat;
use crate::ids::CallId;
use crate::lake::manifest::Manifest;
use crate::metrics::METRICS;
use crate::pipeline::memory::Fresh;
use crate::pipeline::memory::{self, Reserved};
use crate::pipeline::run_context::RunContext;
use crate::tables::lessons::LessonIndex;
use crate::tables::{self, BuiltDay, FirstCalls};

/// The number of reports that are read ahead of the build.
const READ_AHEAD: usize = 8;
/// The upper limit for their bytes.
const READ_AHEAD_BYTES: u32 = 8 << 20;

/// A report of a day: its call and format.
type ReportId = (CallId, ReportFormat);

/// A report on its way to the build.
struct ReadyReport {
    report: Result<(CallId, ReportFormat, Bytes)>,
    /// The reserved memory, and the sender whose drop says that the report was read. The build drops both before it takes
    /// the next report.
    guard: Option<(Reserved, oneshot::Sender<()>)>,
}

/// Runs the pure build, and runs it again if a report had to be put aside. Corrects the manifest by what the build found
/// out about the reports.
///
/// # Errors
/// Any error of the store or of the build.
pub(super) async fn run_build(
    run: &Arc<RunContext>,
    day: &mut DayState,
    meta: &LessonIndex,
    built_at: DateTime<Utc>,
    firsts: FirstCalls,
) -> Result<BuiltDay> {
    // A report leaves it with the first build that reads it, so that its memory is free for the rows.
    let mut fresh = std::mem::take(&mut day.fresh);
    loop {
        let manifest = Arc::new(day.manifest.clone());
        let (built, put_aside) = run_once(run, &manifest, &mut fresh, meta, built_at, &firsts).await;
        if let Some((call, format)) = put_aside? {
            let entry = day.manifest.calls.get_mut(&call);
            if let Some(landing) = entry.and_then(|entry| entry.reports.get_mut(&format)) {
                landing.put_aside(DIED_TWICE);
            }
            continue;
        }
        let built = built?;
        for correction in &built.corrections {
            correction.apply(&mut day.manifest);
        }
        return Ok(built);
    }
}

/// Runs the pure build on a build thread, fed with reports in the order of the tables. The second result is a report that
/// must be put aside; then the first one does not count.
async fn run_once(
    run: &Arc<RunContext>,
    manifest: &Arc<Manifest>,
    fresh: &mut Fresh,
    meta: &LessonIndex,
    built_at: DateTime<Utc>,
    firsts: &FirstCalls,
) -> (Result<BuiltDay>, Result<Option<ReportId>>) {
    let (sender, receiver) = mpsc::channel(1);
    let (of_build, for_build) = (Arc::clone(run), Arc::clone(manifest));
    let (meta, firsts) = (meta.clone(), firsts.clone());
    let building = run.builders.run(move || {
        let started = std::time::Instant::now();
        let built = tables::build_day_knowing(
            &firsts,
            &for_build,
            &of_build.mapping,
            of_build.store.url(),
            built_at,
            &meta,
            received(receiver),
        );
        METRICS.build_seconds.observe(started.elapsed().as_secs_f64());
        built
    });
    tokio::join!(building, feed(run, manifest, fresh, sender))
}

/// The reports as they come. The guard of each is dropped before the next report is waited for.
fn received(
    mut receiver: mpsc::Receiver<ReadyReport>,
) -> impl Iterator<Item = Result<(CallId, ReportFormat, Bytes)>> {
    let mut guard = None;
    std::iter::from_fn(move || {
        drop(guard.take());
        let ready = receiver.blocking_recv()?;
        guard = ready.guard;
        Some(ready.report)
    })
}

/// Reads the reports that a build waits for, some of them ahead, and hands each over when there is memory for it. Returns
/// the report that must be put aside, if there is one.
///
/// # Errors
/// Any error of the store about the notes of large reports. The build itself reports a report that cannot be read.
async fn feed(
    run: &RunContext,
    manifest: &Manifest,
    fresh: &mut Fresh,
    sender: mpsc::Sender<ReadyReport>,
) -> Result<Option<ReportId>> {
    let ahead = Semaphore::new(READ_AHEAD_BYTES as usize);
    let due = tables::due_reports(manifest).into_iter();
    let due: Vec<_> = due
        .map(|(call, format, landed)| (CallId::from(call), format, landed.key.clone(), landed.bytes))
        .collect();
    let mut reports = futures_util::stream::iter(due)
        .map(|(call, format, key, bytes)| {
            let (kept, ahead) = (fresh.remove(&key), &ahead);
            async move {
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(READ_AHEAD_BYTES);
                // Permits are given in order, so the first report that waits is the first that is handed over.
                let permit = ahead.acquire_many(bytes).await;
                let bytes = match kept {
                    Some((bytes, _)) => Ok(bytes),
                    None => run.store.read(&key).await,
                };
                (call, format, key, bytes, permit)
            }
        })
        .buffered(READ_AHEAD);
    while let Some((call, format, key, bytes, permit)) = reports.next().await {
        let (mut guard, mut reading) = (None, None);
        if let Ok(bytes) = &bytes {
            let reserved = run.memory.reserve(memory::need(format, bytes)).await;
            let (taken, is_read) = oneshot::channel();
            if reserved.is_risky {
                match attempts::begin(run, &key).await? {
                    Trial::Go(attempt) => reading = Some((attempt, is_read)),
                    Trial::DiedTwice => return Ok(Some((call, format))),
                }
            }
            guard = Some((reserved, taken));
        }
        let report = bytes.map(|bytes| (call, format, bytes));
        // The build ends early only on an error, which it returns itself.
        let is_over = sender.send(ReadyReport { report, guard }).await.is_err();
        if let Some((attempt, is_read)) = reading {
            // The sender is dropped without a message when the report was read.
            is_read.await.ok();
            attempt.end(run).await?;
        }
        if is_over {
            break;
        }
        drop(permit);
    }
    Ok(None)
}
