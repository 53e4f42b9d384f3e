//! Builds the tables again from the landed bytes, without a request to the API. It builds every day of the dates
//! completely, so a lost or damaged table is restored. A table that has not changed is not written.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::NaiveDate;
use futures_util::{StreamExt, stream};
use tracing::Instrument;

use super::assignment::{Assignment, RecordedBytes};
use super::day::state::DayState;
use super::summary::{DayReport, Problem, ProblemKind, Summary};
use super::{Command, Job, Phase, Setting, delta};
use crate::config::ReportFormat;
use crate::ids::{DayId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::{Landing, Manifest};
use crate::pipeline::day::build;
use crate::pipeline::day::build_threads::Builders;
use crate::pipeline::lake_state::{catalog, policy, shards};
use crate::pipeline::run_context::RunContext;
use crate::shard::Shard;
use crate::store::Store;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result, task};

/// Builds the lake's tables again.
pub struct Rebuilder {
    run: Arc<RunContext>,
}

impl Rebuilder {
    /// A rebuilder of a lake.
    ///
    /// # Errors
    /// `Config` if the mapping is wrong or cannot be read.
    pub fn new(setting: Setting) -> Result<Self> {
        let run = RunContext::new(setting.child())?;
        Ok(Self { run: Arc::new(run) })
    }

    /// Builds the days of a job's dates and the tables of rooms and spaces, and writes the run's summary. The shards of a job
    /// share the days; the last one to end does what belongs to no day.
    ///
    /// # Errors
    /// Any error that prevents all work: there is no lake, or the store is unavailable. The summary has the failures of
    /// single days.
    pub async fn run(&self, job: &Job) -> Result<Summary> {
        let run = &self.run;
        if run.cutoffs.raw_goes_at_once {
            return Err(Error::new(
                ErrorKind::Config,
                "privacy.raw",
                "is \"none\": the lake keeps no raw reports from which tables could be built again",
            )
            .hint(
                "`backfill --force` over the dates fetches the reports again; or set privacy.raw to \"keep\"",
            ));
        }
        let info = run.require_lake().await?;
        let mut summary = Summary::new(job, run.config.timezone, run.now);
        let span = tracing::info_span!("run", run = summary.id, command = summary.command);
        async {
            let trace = run.begin_trace(&summary).await;
            info.warn(&mut summary);
            let work = run.alone(Command::Rebuild, Box::pin(self.work(job, &mut summary)));
            let end = trace.during(work).await.flatten();
            summary.end(run.end(end.err()));
            summary.count();
            trace.end(&mut summary).await;
        }
        .instrument(span)
        .await;
        Ok(summary)
    }

    async fn work(&self, job: &Job, summary: &mut Summary) -> Result<()> {
        let run = &self.run;
        shards::begin(run, summary).await?;
        let mut days = days(&*run.store, (job.from, job.to)).await?;
        let assignment = job.shard().map(|shard| keep_own(&mut days, shard));
        run.progress.enter(Phase::Days, days.len() as u64);
        let mut building = stream::iter(days)
            .map(|(id, key)| async move { (id.date, day(run, id.date, key).await) })
            .buffer_unordered(Builders::count());
        while let Some((date, outcome)) = building.next().await {
            match outcome {
                Some(report) => summary.absorb(report),
                None => {
                    let before = summary.interrupted_before.get_or_insert(date);
                    *before = date.min(*before);
                }
            }
        }
        if run.cancel.is_cancelled() {
            return Ok(());
        }
        if let Some(assignment) = assignment {
            shards::end(run, assignment.digest(), summary).await?;
            run.lessons.read_all_again().await;
        }
        if summary.ends_job() {
            mend_meta(run, job.from, job.to, summary).await;
            catalog::rebuild(run, summary).await;
            policy::refresh(run, summary).await;
            delta::update(run, summary).await;
        }
        Ok(())
    }
}

/// Keeps the days of a shard. The dates that are shared out are those of the lake.
fn keep_own(days: &mut Vec<(DayId, String)>, shard: Shard) -> Assignment {
    let today = NaiveDate::default();
    let dates = (
        days.first().map_or(today, |(day, _)| day.date),
        days.last().map_or(today, |(day, _)| day.date),
    );
    let spaces: BTreeSet<_> = days.iter().map(|(day, _)| day.space.clone()).collect();
    let assignment = Assignment::new(shard.count, spaces, dates, &RecordedBytes::new());
    days.retain(|(day, _)| assignment.is_of(shard, day));
    assignment
}

/// Builds the tables of lesson data again from the lesson days. An error becomes a failure of the run.
async fn mend_meta(run: &RunContext, from: NaiveDate, to: NaiveDate, summary: &mut Summary) {
    let mended = async {
        for object in run.store.list(key::LESSON_DAYS).await? {
            let date = key::date_in(&object.key).filter(|date| (from..=to).contains(date));
            if let Some(date) = date {
                run.lessons.rebuild_tables(date).await?;
            }
        }
        Ok::<_, Error>(())
    };
    if let Err(error) = mended.await {
        summary.fail(Problem::new(
            ProblemKind::MetaFailed,
            format!("the tables of lesson data: {error}"),
        ));
    }
}

/// The days that have a manifest in a range of dates, in order, each with its key.
async fn days(store: &dyn Store, (from, to): (NaiveDate, NaiveDate)) -> Result<Vec<(DayId, String)>> {
    let mut days: Vec<_> = store
        .list(key::DAYS)
        .await?
        .into_iter()
        .filter_map(|entry| Some((key::date_in(&entry.key)?, entry.key)))
        .filter(|(date, _)| (from..=to).contains(date))
        .map(|(date, key)| (DayId::new(date, space_of(&key)), key))
        .collect();
    days.sort();
    Ok(days)
}

/// The space in the key of a manifest.
fn space_of(key: &str) -> SpaceId {
    let segment = key.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
    let space = segment.and_then(key::unsegment).map(SpaceId::from);
    space.unwrap_or_default()
}

/// Builds a day. An error becomes a failure of the day. None if the run stopped before the day was built.
async fn day(run: &Arc<RunContext>, date: NaiveDate, key: String) -> Option<DayReport> {
    if run.cancel.is_cancelled() {
        return None;
    }
    // Each day has a task of its own, so that days use all cores and a panic stays within its day.
    let of_day = Arc::clone(run);
    let manifest_key = key.clone();
    let building = async move { Box::pin(build(&of_day, &manifest_key)).await };
    let outcome = task::isolated("day", building).await;
    run.progress.days.advance(1);
    match outcome {
        Ok(report) => Some(report),
        Err(error) if error.kind() == ErrorKind::Interrupted => None,
        Err(error) => {
            tracing::error!(%date, key, %error, "the day was not built");
            let space = space_of(&key);
            let mut report = DayReport::default();
            report
                .failed
                .push(Problem::new(ProblemKind::RebuildFailed, error.to_string()).on(date, &space));
            Some(report)
        }
    }
}

async fn build(run: &Arc<RunContext>, key: &str) -> Result<DayReport> {
    let Some((manifest, version)) = get_json::<Manifest>(&*run.store, key).await? else {
        // The manifest was deleted after it was listed.
        return Ok(DayReport::default());
    };
    let mut day = DayState::from_stored(manifest, version);
    if day.manifest.is_frozen() || day.manifest.deleted.is_some() {
        // Its reports were deleted, so that nothing can be built of them.
        day.report.is_frozen = day.manifest.is_frozen();
        return Ok(day.report);
    }
    let reports = day
        .manifest
        .calls
        .values_mut()
        .flat_map(|call| call.reports.values_mut());
    reports.for_each(Landing::take_up_again);
    build::build_again(run, &mut day).await?;
    let counts = &mut day.report.counts;
    counts.days = 1;
    counts.calls = day.manifest.calls.len() as u64;
    counts.reports.done = day
        .manifest
        .calls
        .values()
        .filter_map(|call| call.reports.get(&ReportFormat::Json))
        .filter(|landing| landing.usable().is_some() && landing.shortfall().is_none())
        .count() as u64;
    day.name_shortfalls();
    Ok(day.report)
}
