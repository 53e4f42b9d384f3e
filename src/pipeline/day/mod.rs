//! The work of a single day: load its manifest, merge the findings of the walk, land reports and recordings, build the
//! tables, commit.
//!
//! A failure is stored in the manifest with its reason, and later runs try again. The failure of a day stops no other day.

pub(crate) mod attempts;
pub(crate) mod build;
pub(crate) mod build_threads;
pub(crate) mod claim;
pub(crate) mod commit;
pub(crate) mod due;
pub(crate) mod edit;
pub(crate) mod erase;
pub(crate) mod expire;
mod feed;
mod follow_erasure;
pub(crate) mod give_up;
mod judge;
mod land;
pub(crate) mod merge;
mod moved;
pub(crate) mod publish;
pub(crate) mod recording;
pub(crate) mod report;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod thaw;
pub(crate) mod transfer;

use std::sync::Arc;

use chrono::NaiveDate;
use tracing::Instrument;

use super::ExportContext;
use super::cutoffs::DataKind;
use super::rules::JobRules;
use super::summary::{DayReport, Problem};
use super::walk;
use super::walk::found::DayWork;
use crate::ids::{DayId, SpaceId};
use crate::lake::manifest::Manifest;
use crate::{Error, ErrorKind, Result, task};
use due::NewPieces;
use state::{DayState, failed_report};

/// Processes a day and returns the report for the run's summary.
pub(crate) async fn process(context: &Arc<ExportContext>, rules: &Arc<JobRules>, work: DayWork) -> DayReport {
    let (date, space) = (work.date, work.space_id.clone());
    let (of_day, rules) = (Arc::clone(context), Arc::clone(rules));
    let working = async move { Box::pin(work_on(&of_day, &rules, work)).await };
    let report = in_own_task(date, space, working).await;
    context.run.progress.days.advance(1);
    report
}

async fn work_on(context: &Arc<ExportContext>, rules: &JobRules, mut work: DayWork) -> Result<DayReport> {
    if rules.cutoffs.is_over(DataKind::Tables, work.date) {
        // The margin of the listing, or a webhook about a call of old.
        return Ok(DayReport::default());
    }
    if context.run.cancel.is_cancelled() {
        let message = "the run stopped before the day was begun";
        return Err(Error::new(ErrorKind::Interrupted, "day", message));
    }
    let mut day = DayState::load(&*context.run.store, work.date, work.space_id.clone()).await?;
    day.has_marker = work.has_marker;
    let is_reachable = !work.missed.space;
    day.report.warnings.extend(unreadable(&work));
    let new = work.is_more.then(|| NewPieces::of(&work));
    let giving = moved::find(&context.run, &day, &work).await?;
    day.waits_for_others = !giving.is_empty();
    thaw::await_deletion(&context.run, &mut day);
    day.gives_up(&work);
    let frozen = day.manifest.is_frozen().then(|| day.manifest.clone());
    erase::clean_listing(&context.run.erased(), &mut work);
    merge::merge(rules, &mut day.manifest, work);
    if is_reachable {
        land_all(context, rules, &mut day, (new.as_ref(), frozen.as_ref())).await;
        if day.report.counts.reports_landed > 0 {
            follow_erasure::follow_erasure(&context.run, &mut day).await?;
        }
    }
    expire::leave_out(&mut day.manifest, &rules.cutoffs, rules.now);
    // The sender lives as long as the context.
    let _ = context
        .lesson_data_is_ready
        .subscribe()
        .wait_for(|is_ready| *is_ready)
        .await;
    if let Err(error) = build::build_and_commit(&context.run, &mut day).await {
        return Ok(day.into_failed_report(&error));
    }
    moved::give_up(context, rules, &mut day, giving).await?;
    if let Err(error) = thaw::delete_raw(&context.run, &mut day).await {
        return Ok(day.into_failed_report(&error));
    }
    day.count(rules);
    Ok(day.report)
}

/// Lands what is due of a day. `frozen` is the day as it was, if its reports were deleted.
async fn land_all(
    context: &Arc<ExportContext>,
    rules: &JobRules,
    day: &mut DayState,
    (new, frozen): (Option<&NewPieces>, Option<&Manifest>),
) {
    let is_wanted = frozen.is_some_and(|frozen| thaw::want_reports(rules, day, frozen));
    // A thaw requests all reports of the day.
    land::land(context, rules, day, new.filter(|_| !is_wanted)).await;
    if frozen.is_some() {
        thaw::thaw(context, rules, day, is_wanted).await;
    }
}

/// Builds the tables of a day again from the lake if they are out of date.
pub(crate) async fn refresh(context: &Arc<ExportContext>, day: DayId) -> DayReport {
    let DayId { date, space } = day;
    let (of_day, id) = (Arc::clone(context), space.clone());
    let building = async move {
        let mut day = DayState::load(&*of_day.run.store, date, id).await?;
        build::refresh(&of_day.run, &mut day).await?;
        Ok(day.report)
    };
    in_own_task(date, space, building).await
}

/// Does the work of a day in a task of its own, so that days use all cores and a panic stays within its day.
async fn in_own_task(
    date: NaiveDate,
    space: SpaceId,
    work: impl Future<Output = Result<DayReport>> + Send + 'static,
) -> DayReport {
    let span = tracing::info_span!("day", %date, %space);
    let outcome = task::isolated("day", work.instrument(span)).await;
    outcome.unwrap_or_else(|error| failed_report(&error, date, &space))
}

/// The warnings about calls and records that have unreadable fields.
fn unreadable(work: &DayWork) -> Vec<Problem> {
    let calls = work.calls.iter().map(|(id, (room, call))| {
        let problem = walk::unreadable("call", &call.unreadable)?;
        Some(problem.room(room).call(id))
    });
    let records = work.records.iter().map(|(id, (room, record))| {
        let problem = walk::unreadable("record", &record.unreadable)?;
        Some(problem.room(room).record(id))
    });
    calls
        .chain(records)
        .flatten()
        .map(|problem| problem.on(work.date, &work.space_id))
        .collect()
}
