//! Brings the Delta tables up to date: after each run if the configuration says so, and on request.
//!
//! A failure never fails the export. It is a warning, and the next sync makes it up, because it compares all of the lake.

use std::sync::Arc;

use chrono::TimeDelta;

use super::summary::{Problem, ProblemKind, Summary};
use super::{Command, Setting};
use crate::Result;
use crate::delta::{self, DeltaOptions, TableReport};
use crate::lake::{self, key, table::Table};
use crate::pipeline::run_context::RunContext;

/// Brings the Delta tables of a lake up to date.
pub struct DeltaUpdater {
    run: Arc<RunContext>,
}

impl DeltaUpdater {
    /// An updater of a lake.
    ///
    /// # Errors
    /// `Config` if the mapping is wrong or cannot be read.
    pub fn new(setting: Setting) -> Result<Self> {
        let run = RunContext::new(setting.child())?;
        Ok(Self { run: Arc::new(run) })
    }

    /// Brings all tables up to date, and removes what no version of the last days needs if `vacuum` is set. A report has
    /// the failure of its table.
    ///
    /// # Errors
    /// Any error that prevents all work: there is no lake, or the store is unavailable.
    pub async fn run(&self, vacuum: bool) -> Result<Vec<TableReport>> {
        let run = &self.run;
        run.require_lake().await?;
        let work = async {
            let reports = sync(run, vacuum).await?;
            if vacuum && run.config.delta.keep.is_zero() {
                // The version that this sync has replaced is not to be kept either.
                delta::purge(&*run.store_beside(), run.now).await?;
            }
            Ok(reports)
        };
        run.alone(Command::Delta, Box::pin(work)).await.flatten()
    }
}

async fn sync(run: &RunContext, vacuum: bool) -> Result<Vec<TableReport>> {
    let tables: Vec<Table> = run.mapping.tables().cloned().collect();
    let span = |time: std::time::Duration| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
    let merged = run.now.checked_sub_signed(span(*run.config.delta.compact_after));
    let options = DeltaOptions {
        now: run.now,
        merge_before: merged.map_or(chrono::NaiveDate::MIN, |at| {
            lake::date_of(at, run.config.timezone)
        }),
        keep: span(*run.config.delta.keep),
        vacuum,
    };
    let reports = delta::sync(&*run.store_beside(), &tables, &options, &run.cancel).await?;
    let commits: u64 = reports.iter().map(|report| report.commits).sum();
    tracing::debug!(
        tables = reports.len(),
        commits,
        "the Delta tables were brought up to date"
    );
    Ok(reports)
}

/// Brings the Delta tables up to date after data was deleted on purpose, if the lake has any. Returns the failures. Earlier
/// versions of the tables still name the files with the deleted rows until a vacuum removes them.
pub(crate) async fn after_deletions(run: &RunContext) -> Vec<String> {
    let has_tables = async { Ok(run.config.delta.enabled || run.store.has_any(key::DELTA).await?) };
    let synced = match has_tables.await {
        Ok(false) => return Vec::new(),
        Ok(true) => Box::pin(sync(run, false)).await,
        Err(error) => Err(error),
    };
    match synced {
        Ok(reports) => {
            let failed = |report: TableReport| {
                let why = report.failure.as_ref().filter(|_| !report.is_interrupted())?;
                Some(format!("the Delta table of {}: {why}", report.table))
            };
            reports.into_iter().filter_map(failed).collect()
        }
        Err(error) => vec![format!("the Delta tables: {error}")],
    }
}

/// Brings the Delta tables up to date after people were erased, if the lake has any, and removes all but their latest
/// versions. Returns the failures.
pub(crate) async fn after_erasure(run: &RunContext) -> Vec<String> {
    let mut failures = after_deletions(run).await;
    if let Err(error) = delta::purge(&*run.store_beside(), run.now).await {
        failures.push(format!("old versions of the Delta tables: {error}"));
    }
    failures
}

/// Brings the Delta tables up to date at the end of a run, if the configuration says so.
pub(crate) async fn update(run: &RunContext, summary: &mut Summary) {
    if !run.config.delta.enabled || run.cancel.is_cancelled() {
        return;
    }
    let mut warn = |text: String| {
        let text = format!("{text}; the next run brings it up to date");
        summary.warn(Problem::new(ProblemKind::DeltaFailed, text));
    };
    match Box::pin(sync(run, false)).await {
        Ok(reports) => {
            for report in reports.iter().filter(|report| !report.is_interrupted()) {
                if let Some(why) = &report.failure {
                    warn(format!("the Delta table of {}: {why}", report.table));
                }
            }
            // The sync may have copied a file just before people were erased from the table.
            if let Ok(Some(_)) = run.new_erasures(None).await {
                after_erasure(run).await.into_iter().for_each(&mut warn);
            }
        }
        Err(_) if run.cancel.is_cancelled() => {}
        Err(error) => warn(format!("the Delta tables: {error}")),
    }
}
