//! Days whose reports were deleted because their retention was over, and days whose reports are to be deleted now.
//!
//! The tables of such a day can't be built again. If something new lands, all of its reports are requested again, and the
//! day is built once all have come. After that they are deleted again.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::commit::{close, is_open_but_for_raw, write};
use super::expire::{delete_reports, deleted, has_news, has_reports, refuse_recordings};
use super::land::land;
use super::state::DayState;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::rules::JobRules;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::{Problem, ProblemKind};
use crate::pipeline::{DataKind, ExportContext};
use crate::{ErrorKind, Result};

/// Reports that are deleted at once.
const DELETIONS_AT_ONCE: usize = 16;

/// Decides that the deleted reports of a frozen day are requested again if its listing shows something that its tables lack.
/// `before` is the day before that listing. Returns true if they are requested, also because an earlier run has decided so.
pub(super) fn want_reports(rules: &JobRules, day: &mut DayState, before: &Manifest) -> bool {
    if has_news(&day.manifest, before) {
        day.manifest.reports_wanted_at.get_or_insert(rules.now);
    }
    day.manifest.reports_wanted_at.is_some()
}

/// Requests the deleted reports of a frozen day again if a landing has brought something that its tables lack, unless
/// `were_requested`. Reports what is still missing of a day that waits for its reports.
pub(super) async fn thaw(
    context: &Arc<ExportContext>,
    rules: &JobRules,
    day: &mut DayState,
    were_requested: bool,
) {
    if !were_requested && day.manifest.is_frozen() && day.manifest.reports_wanted_at.is_some() {
        land(context, rules, day, None).await;
    }
    let missing = missing_reports(&day.manifest);
    if missing > 0 && day.manifest.reports_wanted_at.is_some() {
        report(rules, day, missing);
    }
}

/// The number of reports that were deleted and have not come back.
fn missing_reports(manifest: &Manifest) -> u64 {
    let reports = manifest.calls.values().flat_map(|call| call.reports.values());
    reports.filter(|landing| landing.is_deleted()).count() as u64
}

/// Names a day that waits for its reports, and gives them up when the waiting time is over.
fn report(rules: &JobRules, day: &mut DayState, missing: u64) {
    let all = day.manifest.calls.values().flat_map(|call| call.reports.values());
    let all = all.filter(|landing| landing.landed.is_some()).count();
    let is_over = |since| rules.give_up.is_over(since);
    let gives_up = day.manifest.reports_wanted_at.is_some_and(is_over);
    let end = if gives_up {
        "they are given up"
    } else {
        "the next run asks again"
    };
    let message = format!(
        "{missing} of {all} reports, which were deleted after their retention, have not come back, so that the tables \
         lack what is new: {end}"
    );
    let problem = Problem::new(ProblemKind::ReportsAwaited, message);
    let problem = problem
        .on(day.manifest.date, &day.manifest.space_id)
        .count(missing);
    if gives_up {
        day.manifest.reports_wanted_at = None;
        if rules.cutoffs.is_over(DataKind::Recordings, day.manifest.date) {
            refuse_recordings(&mut day.manifest, rules.now);
        }
        day.report.warnings.push(problem);
    } else {
        day.report.pending.push(problem);
    }
}

/// Keeps the marker of a day until [`delete_raw`], because a killed run may have left reports that are to be deleted.
pub(super) fn await_deletion(run: &RunContext, day: &mut DayState) {
    day.keeps_marker = day.has_marker && run.cutoffs.raw_is_over(day.manifest.date);
}

/// Deletes the raw reports of a day that is committed if their retention is over and nothing of the day is pending. Deletes
/// also those that a killed run has left.
///
/// # Errors
/// Any error of the store. The day keeps its marker, and the next run goes on.
pub(super) async fn delete_raw(run: &RunContext, day: &mut DayState) -> Result<()> {
    let is_awaited = day.keeps_marker;
    let Some((stored, _)) = &day.stored else {
        return Ok(());
    };
    let has_some = has_reports(stored) || (is_awaited && stored.is_frozen());
    if run.cutoffs.raw_is_over(day.manifest.date) && has_some && !is_open_but_for_raw(run, stored) {
        day.manifest = stored.clone();
        delete_reports(&mut day.manifest, run.now);
        day.keeps_marker = true;
        match write(run, day).await {
            // Another process works on the day, and deletes them in the end.
            Err(error) if error.kind() == ErrorKind::Precondition => return Ok(()),
            written => written?,
        }
        let reports = deleted(&day.manifest).filter(|landed| landed.key.starts_with(key::REPORTS));
        let keys: Vec<_> = reports.map(|landed| landed.key.clone()).collect();
        let deleting = stream::iter(keys)
            .map(|key| async move { run.delete(&key).await })
            .buffer_unordered(DELETIONS_AT_ONCE);
        deleting.try_collect::<()>().await?;
    }
    let was_kept = std::mem::take(&mut day.keeps_marker);
    match was_kept {
        true => close(run, day).await,
        false => Ok(()),
    }
}
