//! Lands what is due of a day: it fetches reports and recordings concurrently and writes checkpoints on the way.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::time::{Duration, Instant};
use tracing::Instrument;

use super::commit::commit_so_far;
use super::due::{Due, NewPieces, due};
use super::recording::{self, RecordResult};
use super::report::{self, ReportAsk, ReportResult};
use super::state::DayState;
use super::transfer::RecordAsk;
use crate::config::ReportFormat;
use crate::lake::manifest::CallEntry;
use crate::pipeline::rules::JobRules;
use crate::pipeline::{ExportContext, TRANSFERS_AT_ONCE, landings};

/// The time between two checkpoints of a long day, so that a kill loses little.
const CHECKPOINT: Duration = Duration::from_secs(10);

/// The result of one fetch.
enum Fetched {
    Report(ReportResult),
    Record(RecordResult),
}

/// Fetches all that is due, or only what is `new` of it, and takes each result into the day as it comes.
pub(super) async fn land(
    context: &Arc<ExportContext>,
    rules: &JobRules,
    day: &mut DayState,
    new: Option<&NewPieces>,
) {
    let mut due = due(rules, &day.manifest);
    if let Some(new) = new {
        due.keep(new);
    }
    add_goals(context, &due);
    if !due.records.is_empty()
        && let Err(error) = commit_so_far(&context.run, day).await
    {
        // Recordings take long. This commit makes sure that a killed run leaves an open day, and that its partial uploads
        // belong to a known record. If it fails, the commit at the end of the day reports the error.
        tracing::debug!(%error, "the day was not committed before its recordings");
    }
    let has_erased = !context.run.erased().is_empty();
    // A workbook may name people who were erased without their ids; the JSON report of the call tells who they are.
    let (first, mut second): (Vec<_>, Vec<_>) = due
        .reports
        .into_iter()
        .partition(|ask| !has_erased || ask.format == ReportFormat::Json);
    fetch(context, rules, day, (first, due.records)).await;
    for ask in &mut second {
        let entry = day.manifest.calls.get(&ask.call);
        ask.erased_names = entry.map(CallEntry::erased_names).unwrap_or_default();
    }
    if !second.is_empty() {
        fetch(context, rules, day, (second, Vec::new())).await;
    }
}

/// Fetches reports and recordings, and takes each result into the day as it comes.
async fn fetch(
    context: &Arc<ExportContext>,
    rules: &JobRules,
    day: &mut DayState,
    (reports, records): (Vec<ReportAsk>, Vec<RecordAsk>),
) {
    let reports = stream::iter(reports)
        .map(|ask| async move {
            let span = tracing::info_span!("report", call = ask.call.as_str(), format = ask.format.as_str());
            Fetched::Report(report::report(context, ask).instrument(span).await)
        })
        .buffer_unordered(landings(context.run.config.api.concurrency));
    let records = stream::iter(records)
        .map(|ask| async move {
            let span = tracing::info_span!("recording", record = ask.record.as_str());
            Fetched::Record(recording::copy(context, ask).instrument(span).await)
        })
        .buffer_unordered(TRANSFERS_AT_ONCE);
    let mut fetched = stream::select(reports, records);
    let mut checkpoint = tokio::time::interval_at(Instant::now() + CHECKPOINT, CHECKPOINT);
    let mut has_changed = false;
    loop {
        let result = tokio::select! {
            result = fetched.next() => result,
            _ = checkpoint.tick() => {
                // A failed checkpoint is no failure: the commit at the end of the day includes all of it.
                if std::mem::take(&mut has_changed)
                    && let Err(error) = commit_so_far(&context.run, day).await
                {
                    tracing::debug!(%error, "the checkpoint was not written");
                }
                continue;
            }
        };
        has_changed = true;
        match result {
            Some(Fetched::Report(result)) => day.accept_report(rules, &context.run.memory, result),
            Some(Fetched::Record(result)) => day.accept_record(rules, result),
            None => return,
        }
    }
}

fn add_goals(context: &ExportContext, due: &Due) {
    let progress = &context.run.progress;
    progress.reports.add_goal(due.reports.len() as u64);
    progress.recordings.add_goal(due.records.len() as u64);
    progress.recorded_bytes.add_goal(due.recorded_bytes());
}
