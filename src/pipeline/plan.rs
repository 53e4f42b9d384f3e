//! Plans a job: it makes the same walk and the same decisions as a run, but fetches and writes nothing.

use std::sync::Arc;

use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use super::cutoffs::DataKind;
use super::day::due::due;
use super::day::expire;
use super::day::merge::merge;
use super::day::state::DayState;
use super::rules::JobRules;
use super::summary::{Problem, Summary};
use super::walk::Walk;
use super::walk::found::{DayWork, ToDo};
use super::{DAYS_AT_ONCE, ExportContext, Job, kept_dates, windows};
use crate::Result;
use crate::config::ReportFormat;
use crate::ids::{DayId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::lake::table::{TableScope, builtin};
use crate::pipeline::day::build;
use crate::pipeline::lake_state::info;
use crate::pipeline::lessons::import;
use crate::store::json::get_json;
use crate::tables;

/// A day of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayPlan {
    /// The date.
    pub date: NaiveDate,
    /// The space.
    pub space_id: SpaceId,
    /// Its name.
    pub space_name: Option<String>,
    /// Calls of the day.
    pub calls: u64,
    /// The calls that the lake does not know yet.
    pub new_calls: u64,
    /// Reports that would be asked for.
    pub reports: u64,
    /// Recordings that would be copied.
    pub recordings: u64,
    /// Their bytes, as the API says.
    pub recording_bytes: u64,
    /// Files of tables that would be replaced.
    pub files: Vec<String>,
}

impl DayPlan {
    /// True if the day has something to fetch or to build.
    pub fn has_work(&self) -> bool {
        self.requests() > 0 || !self.files.is_empty()
    }

    /// The requests for the day's reports and for the links of its recordings.
    pub fn requests(&self) -> u64 {
        self.reports + self.recordings
    }
}

/// The plan of a job.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The days that have any call or record.
    pub days: Vec<DayPlan>,
    /// Calls in all.
    pub calls: u64,
    /// Requests to the API that the job would send: those of the walk, one for each report and each recording's link.
    pub requests: u64,
    /// Bytes of recordings.
    pub recording_bytes: u64,
    /// Files of tables that would be replaced.
    pub files: u64,
    /// The failures of the walk.
    pub failed: Vec<Problem>,
    /// The warnings of the walk.
    pub warnings: Vec<Problem>,
}

/// Makes the plan of a job.
pub(crate) async fn plan(context: &Arc<ExportContext>, job: &Job) -> Result<Plan> {
    if let Some(info) = info::read(&*context.run.store).await? {
        info.check_zone(context.run.config.timezone)?;
        info.check_key(context.run.mapping.privacy())?;
    }
    let mut summary = Summary::new(job, context.run.config.timezone, context.run.now);
    let rules = context.rules(job);
    let job = &kept_dates(&rules, &mut summary);
    let (mut days, mut reached) = (Vec::new(), job.from > job.to);
    let mut walk = Walk::begin(context, &rules, &mut summary).await?;
    walk.scope.leave_out_others(&rules, &mut Vec::new());
    reached |= walk.scope.is_part() && walk.scope.spaces.is_empty();
    let (from, to) = walk.scope.dates((job.from, job.to));
    for window in windows(from, to, false) {
        let (sender, mut todo) = mpsc::unbounded_channel();
        reached |= walk.window(window, &[], &sender, &mut summary).await?.reached;
        drop(sender);
        let found = std::iter::from_fn(|| todo.try_recv().ok()).filter_map(|todo| match todo {
            ToDo::Day(work) => Some(*work),
            ToDo::Wait => None,
        });
        let planned = stream::iter(found)
            .map(|work| plan_day(context, &rules, work))
            .buffered(DAYS_AT_ONCE);
        days.extend(planned.try_collect::<Vec<_>>().await?.into_iter().flatten());
    }
    summary.take_requests(&context.client);
    if !reached {
        return Err(summary.nothing_reached());
    }
    days.extend(changed_by_meta(context, &days).await?);
    days.sort_by(|a: &DayPlan, b| (a.date, &a.space_id).cmp(&(b.date, &b.space_id)));
    let sum = |of: fn(&DayPlan) -> u64| days.iter().map(of).sum::<u64>();
    Ok(Plan {
        calls: sum(|day| day.calls),
        requests: context.client.stats().requests + sum(DayPlan::requests),
        recording_bytes: sum(|day| day.recording_bytes),
        files: sum(|day| day.files.len() as u64),
        days,
        failed: summary.failed,
        warnings: summary.warnings,
    })
}

async fn plan_day(context: &Arc<ExportContext>, rules: &JobRules, work: DayWork) -> Result<Option<DayPlan>> {
    if rules.cutoffs.is_over(DataKind::Tables, work.date) {
        return Ok(None);
    }
    let store = &*context.run.store;
    let DayState { mut manifest, .. } = DayState::load(store, work.date, work.space_id.clone()).await?;
    let known = manifest.calls.len();
    let built = manifest.built.clone();
    merge(rules, &mut manifest, work);
    expire::leave_out(&mut manifest, &rules.cutoffs, rules.now);
    if manifest.calls.is_empty() && manifest.records.is_empty() {
        return Ok(None);
    }
    let due = due(rules, &manifest);
    let (reports, recordings) = (due.reports.len() as u64, due.records.len() as u64);
    let changes = reports + recordings > 0
        || !manifest.is_frozen()
            && match &built {
                Some(built) => {
                    let fingerprint = tables::fingerprint(&manifest, &context.run.mapping);
                    !build::is_current(&context.run, &manifest, built, &fingerprint).await?
                }
                None => true,
            };
    Ok(Some(DayPlan {
        date: manifest.date,
        space_id: manifest.space_id.clone(),
        space_name: manifest.space_name.clone(),
        calls: manifest.calls.len() as u64,
        new_calls: (manifest.calls.len() - known) as u64,
        reports,
        recordings,
        recording_bytes: due.recorded_bytes(),
        files: if changes {
            files(context, &manifest, reports > 0)
        } else {
            Vec::new()
        },
    }))
}

/// The other days that a run builds again, whatever its dates, because imports of lesson data have changed them. The plan
/// does not include what a run would read from feeds first.
async fn changed_by_meta(context: &Arc<ExportContext>, planned: &[DayPlan]) -> Result<Vec<DayPlan>> {
    let markers = context.run.store.list(key::META_CHANGED).await?;
    let mut days = Vec::new();
    if markers.is_empty() {
        return Ok(days);
    }
    let (_, meetings) = import::read_markers(&*context.run.store, &markers).await?;
    for DayId {
        date,
        space: space_id,
    } in context.run.lessons.stale(&meetings).await?
    {
        if planned
            .iter()
            .any(|day| (day.date, &day.space_id) == (date, &space_id))
        {
            continue;
        }
        let manifest = get_json::<Manifest>(&*context.run.store, &key::manifest(date, &space_id)).await?;
        let Some((manifest, _)) = manifest else { continue };
        days.push(DayPlan {
            date,
            space_name: manifest.space_name.clone(),
            calls: manifest.calls.len() as u64,
            new_calls: 0,
            reports: 0,
            recordings: 0,
            recording_bytes: 0,
            files: files(context, &manifest, false),
            space_id,
        });
    }
    Ok(days)
}

/// The files that a build would write, with those that the fetched reports may fill.
fn files(context: &ExportContext, manifest: &Manifest, with_reports: bool) -> Vec<String> {
    let has_report = manifest.calls.values().any(|call| {
        call.reports
            .get(&ReportFormat::Json)
            .is_some_and(|landing| landing.usable().is_some())
    });
    context
        .run
        .mapping
        .tables()
        .filter(|table| match table.name.as_ref() {
            _ if table.scope != TableScope::PerDay => false,
            builtin::calls::NAME => !manifest.calls.is_empty(),
            builtin::recordings::NAME => !manifest.records.is_empty(),
            builtin::coverage::NAME => true,
            _ => with_reports || has_report,
        })
        .map(|table| key::table(&table.name, manifest.date, &manifest.space_id))
        .collect()
}
