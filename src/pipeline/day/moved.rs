//! Calls and records that have moved to a day from the date before or after, while the window does not list that date: it
//! gives them up once the day has them.
//!
//! Until then the day keeps its marker. If a run is killed in between, a call is on two days, and the next run, which comes
//! back to the marked day, goes on here; the call is never on none.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commit::close;
use super::state::{DayState, failed_report};
use super::{build, merge};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::ExportContext;
use crate::pipeline::rules::JobRules;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::DayReport;
use crate::pipeline::walk::found::DayWork;
use crate::store::json::get_json;
use crate::{ErrorKind, Result};

/// Finds what the dates before and after a day must give up: what the day is about to take and they have. Their manifests
/// are read only if something is new to the day, or if an earlier run may have been killed.
///
/// # Errors
/// Any error of the store. A damaged manifest counts as one that has nothing.
pub(super) async fn find(run: &RunContext, day: &DayState, work: &DayWork) -> Result<Vec<DayWork>> {
    let known = &day.manifest;
    let is_new = |is_known: bool| work.has_marker || !is_known;
    let calls = work.calls.keys();
    let calls: BTreeSet<_> = calls.filter(|id| is_new(known.calls.contains_key(*id))).collect();
    let records = work.records.keys();
    let records: BTreeSet<_> = records
        .filter(|id| is_new(known.records.contains_key(*id)))
        .collect();
    let mut giving = Vec::new();
    if calls.is_empty() && records.is_empty() {
        return Ok(giving);
    }
    for date in &work.unlisted_beside {
        let key = key::manifest(*date, &work.space_id);
        let manifest = match get_json::<Manifest>(&*run.store, &key).await {
            Err(error) if error.kind() == ErrorKind::Store => None,
            read => read?,
        };
        let Some((manifest, _)) = manifest else { continue };
        let calls = calls.iter().filter(|id| manifest.calls.contains_key(**id));
        let records = records.iter().filter(|id| manifest.records.contains_key(**id));
        let other = DayWork {
            evict_calls: calls.map(|id| (*id).clone()).collect(),
            evict_records: records.map(|id| (*id).clone()).collect(),
            ..work.of_date(*date)
        };
        if !other.is_empty() {
            giving.push(other);
        }
    }
    Ok(giving)
}

/// Lets other days give up what a committed day has taken, then lets the day's marker go. A failure is one of the other day,
/// and leaves the marker to the next run.
pub(super) async fn give_up(
    context: &Arc<ExportContext>,
    rules: &JobRules,
    day: &mut DayState,
    giving: Vec<DayWork>,
) -> Result<()> {
    if giving.is_empty() {
        return Ok(());
    }
    let mut is_done = true;
    for mut other in giving {
        let Some((stored, _)) = &day.stored else {
            return Ok(());
        };
        other.evict_calls.retain(|id| stored.calls.contains_key(id));
        other.evict_records.retain(|id| stored.records.contains_key(id));
        if other.is_empty() {
            continue;
        }
        let (date, space) = (other.date, other.space_id.clone());
        let report = give_up_of(context, rules, other).await;
        is_done &= report.is_ok();
        let report = report.unwrap_or_else(|error| failed_report(&error, date, &space));
        day.report.failed.extend(report.failed);
        day.report.warnings.extend(report.warnings);
    }
    if is_done {
        day.waits_for_others = false;
        close(&context.run, day).await?;
    }
    Ok(())
}

async fn give_up_of(context: &Arc<ExportContext>, rules: &JobRules, work: DayWork) -> Result<DayReport> {
    let mut day = DayState::load(&*context.run.store, work.date, work.space_id.clone()).await?;
    day.gives_up(&work);
    merge::merge(rules, &mut day.manifest, work);
    build::build_and_commit(&context.run, &mut day).await?;
    Ok(day.report)
}
