//! Retention: deletes the data whose time is over, by `[retention]` and `privacy.raw`.
//!
//! It works day by day and can be killed at any point: what is done stays done, and the next run goes on. The manifest of a day
//! says what was deleted on purpose, so that nothing is missed, verified or fetched again. A small object remembers up to which
//! dates all is done, so that a night looks only at the dates that have come since.

mod aside;
mod days;
mod lesson_data;
mod report;
pub(crate) mod state;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};

pub(crate) use days::row_edit;
pub use report::{KindCounts, RetainReport};
use state::RetentionState;

use super::summary::{Problem, ProblemKind, Summary};
use super::{Command, Phase, Setting, delta};
use crate::ids::DayId;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::lake_state::{day_index, info};
use crate::pipeline::run_context::RunContext;
use crate::store::Store;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result};

/// Days in work at once.
const DAYS_AT_ONCE: usize = 4;
/// Listings of single dates that are cheaper than the listing of all manifests.
const FEW_DATES: usize = 31;

/// Deletes what the configuration no longer keeps.
pub struct Retainer {
    run: Arc<RunContext>,
}

impl Retainer {
    /// A retainer of a lake.
    ///
    /// # Errors
    /// `Config` if the mapping is wrong or cannot be read.
    pub fn new(setting: Setting) -> Result<Self> {
        let run = RunContext::new(setting.child())?;
        Ok(Self { run: Arc::new(run) })
    }

    /// Deletes what is no longer kept, and brings the index of days and the Delta tables up to date. With `dry_run` it only
    /// says what it would delete, and writes nothing. The report has the failures of single days.
    ///
    /// # Errors
    /// Any error that prevents all work: there is no lake, or the store is unavailable.
    pub async fn run(&self, dry_run: bool) -> Result<RetainReport> {
        let run = &self.run;
        if dry_run {
            if info::read(&*run.store).await?.is_none() {
                return Err(info::no_lake(&*run.store));
            }
            return apply(run, true, "").await;
        }
        run.require_lake().await?;
        let id = format!("{}-retain", run.now.format("%Y%m%dT%H%M%SZ"));
        let work = async {
            let mut report = Box::pin(apply(run, false, &id)).await?;
            if report.has_deleted() {
                let failures = delta::after_deletions(run).await;
                report.failed.extend(failures);
            }
            Ok(report)
        };
        run.alone(Command::Retain, Box::pin(work)).await.flatten()
    }
}

/// Deletes what is no longer kept at the end of a run. A failure is a warning.
pub(crate) async fn after_run(run: &RunContext, summary: &mut Summary) {
    if run.cutoffs.is_none() || run.cancel.is_cancelled() {
        return;
    }
    let warn = |summary: &mut Summary, text: String| {
        let text = format!("{text}; the next run goes on");
        summary.warn(Problem::new(ProblemKind::RetentionFailed, text));
    };
    let id = summary.id.clone();
    match Box::pin(apply(run, false, &id)).await {
        Ok(report) => {
            for why in &report.failed {
                warn(summary, why.clone());
            }
            if report.has_deleted() {
                for why in delta::after_deletions(run).await {
                    warn(summary, why);
                }
            }
        }
        Err(_) if run.cancel.is_cancelled() => {}
        Err(error) => warn(summary, error.to_string()),
    }
}

/// Deletes what is no longer kept, or counts it.
async fn apply(run: &RunContext, dry_run: bool, run_id: &str) -> Result<RetainReport> {
    let mut report = RetainReport::new(&run.cutoffs, dry_run);
    if report.keeps_all() {
        return Ok(report);
    }
    let state = RetentionState::read(&*run.store).await?;
    let days = days_to_look_at(run, &state).await?;
    run.progress.enter(Phase::Days, days.len() as u64);
    let mut working = stream::iter(days)
        .map(|(date, key)| async move {
            let done = day(run, &key, dry_run, run_id).await;
            run.progress.days.advance(1);
            (date, key, done)
        })
        .buffer_unordered(DAYS_AT_ONCE);
    while let Some((date, key, done)) = working.next().await {
        match done {
            Ok((plan, leftovers)) => {
                if plan.is_waiting {
                    report.waiting += 1;
                    report.leave(date);
                }
                report.leftovers += leftovers;
                for (kind, counts) in &plan.due {
                    report.count(*kind, *counts);
                }
                if !plan.due.is_empty() {
                    report.dates.insert(date);
                }
            }
            Err(error) => {
                report.leave(date);
                fail(&mut report, &key, &error)?;
            }
        }
    }
    drop(working);
    for done in [
        lesson_data::delete_raw(run, &mut report).await,
        lesson_data::delete_lesson_days(run, &state, &mut report).await,
        aside::delete(run, &mut report).await,
    ] {
        if let Err(error) = done {
            fail(&mut report, "what belongs to no day", &error)?;
        }
    }
    if !dry_run {
        finish(run, &mut report).await?;
    }
    Ok(report)
}

/// Notes a failure. An error of the store itself ends the work.
fn fail(report: &mut RetainReport, about: &str, error: &Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Interrupted => report.interrupted = true,
        ErrorKind::StoreUnavailable => return Err(error.clone()),
        _ => report.failed.push(format!("{about}: {error}")),
    }
    Ok(())
}

/// Notes up to which dates all is done, and brings the index of days up to date.
async fn finish(run: &RunContext, report: &mut RetainReport) -> Result<()> {
    if !report.interrupted && !run.cancel.is_cancelled() {
        let undone = report.undone;
        let note = |state: &mut RetentionState| state.note(&run.cutoffs, undone);
        run.update(key::RETENTION, note).await?;
    }
    day_index::update_dates(run, &report.dates).await;
    Ok(())
}

/// Deletes what is due of a day, or plans it.
async fn day(run: &RunContext, key: &str, dry_run: bool, run_id: &str) -> Result<(days::DayPlan, u64)> {
    if run.cancel.is_cancelled() {
        return Err(Error::new(ErrorKind::Interrupted, "retention", "stopped"));
    }
    let Some((manifest, _)) = get_json::<Manifest>(&*run.store, key).await? else {
        return Ok((days::DayPlan::default(), 0));
    };
    let id = DayId::new(manifest.date, manifest.space_id.clone());
    let plan = days::plan(run, &manifest);
    let leftovers = match dry_run {
        true => 0,
        false => Box::pin(days::apply(run, &id, &plan, run_id)).await?,
    };
    Ok((plan, leftovers))
}

/// The dates and keys of the manifests that are to be looked at: those of dates that are not done yet, and those of days with
/// raw reports if these are not kept at all.
async fn days_to_look_at(run: &RunContext, state: &RetentionState) -> Result<BTreeSet<(NaiveDate, String)>> {
    let mut days = BTreeSet::new();
    let due = state.due_dates(&run.cutoffs);
    if !due.is_empty() {
        let listed = match due.few(FEW_DATES) {
            Some(dates) => list_dates(&*run.store, dates).await?,
            None => list_days(&*run.store, key::DAYS).await?,
        };
        days.extend(listed.into_iter().filter(|(date, _)| due.contain(*date)));
    }
    if run.cutoffs.raw_goes_at_once {
        days.extend(list_days(&*run.store, key::REPORTS).await?);
    }
    Ok(days)
}

async fn list_dates(store: &dyn Store, dates: BTreeSet<NaiveDate>) -> Result<Vec<(NaiveDate, String)>> {
    let listed: Vec<Vec<_>> = stream::iter(dates)
        .map(|date| async move { list_days(store, &format!("{}date={date}/", key::DAYS)).await })
        .buffer_unordered(DAYS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(listed.into_iter().flatten().collect())
}

/// The manifests of the objects below a prefix: manifests themselves, or objects in a folder of the space.
async fn list_days(store: &dyn Store, prefix: &str) -> Result<Vec<(NaiveDate, String)>> {
    let day_of = |key: &str| {
        let (_, rest) = key.split_once("/date=")?;
        let (date, rest) = rest.split_once('/')?;
        let segment = rest.split('/').next()?;
        let segment = segment
            .strip_suffix(".json")
            .filter(|_| !rest.contains('/'))
            .unwrap_or(segment);
        let date: NaiveDate = date.parse().ok()?;
        Some((date, format!("{}date={date}/{segment}.json", key::DAYS)))
    };
    let listed = store.list(prefix).await?;
    Ok(listed.iter().filter_map(|object| day_of(&object.key)).collect())
}
