//! Delta tables whose plain table is no longer one of the mapping: they follow the files that the manifests still name.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::action::{Action, Add};
use super::log::{TableState, folder};
use super::plan::{date_of, sources_of};
use super::sources::{FilesByDate, files_of_days};
use super::sync::TRIES;
use super::vacuum::vacuum;
use super::{DeltaOptions, TableReport, time_since};
use crate::lake::key::DELTA;
use crate::lake::table::Table;
use crate::status::{DayTables, day_tables};
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// The Delta tables that the mapping no longer has, with their states.
pub(super) struct FormerTables(Vec<(String, TableState)>);

impl FormerTables {
    /// Finds the Delta tables that are not among `tables`. A failure is logged, because the next sync looks again. A table
    /// that can't be read is not ours.
    pub async fn load(store: &dyn Store, tables: &[Table]) -> Self {
        let mut former = Vec::new();
        match names(store, tables).await {
            Ok(names) => {
                for name in names {
                    match TableState::load(store, &name).await {
                        Ok(state) => former.push((name, state)),
                        Err(error) => {
                            tracing::warn!(%error, "a Delta table that the mapping does not have was left alone")
                        }
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the Delta tables that the mapping no longer has could not be listed");
            }
        }
        Self(former)
    }

    /// Lets the tables follow the lake. A table without rows and without a change has no report. `days` must have been
    /// listed after the tables were loaded.
    pub async fn follow(
        self,
        store: &dyn Store,
        days: &[DayTables],
        options: &DeltaOptions,
        started: Instant,
    ) -> Vec<TableReport> {
        let mut reports = Vec::new();
        for (name, state) in self.0 {
            let followed = async {
                let mut report = remove_rows(store, &name, state, days, (options, started)).await?;
                if options.vacuum {
                    report.vacuumed = vacuum(store, &name, options.now, options.keep).await?;
                }
                Ok::<_, Error>(report)
            };
            let report = followed
                .await
                .unwrap_or_else(|error| TableReport::failed(&name, &error));
            let is_told =
                report.files > 0 || report.commits > 0 || report.vacuumed > 0 || report.failure.is_some();
            reports.extend(is_told.then_some(report));
        }
        reports
    }
}

/// The names of the Delta tables that are not among `tables`.
async fn names(store: &dyn Store, tables: &[Table]) -> Result<BTreeSet<String>> {
    let listed = store.list(DELTA).await?;
    let names = listed
        .iter()
        .filter_map(|object| Some(object.key.strip_prefix(DELTA)?.split_once("/_delta_log/")?.0));
    let is_former = |name: &&str| !name.contains('/') && !tables.iter().any(|table| table.name == *name);
    Ok(names.filter(is_former).map(str::to_owned).collect())
}

/// Removes the data files whose plain files have left the lake, in one commit. A data file stays as long as a manifest
/// names one of its plain files, because that day has not been built since the mapping changed. `days` must have been
/// listed after `state` was read.
///
/// # Errors
/// `Precondition` if other processes keep writing the table; else any error of the store.
async fn remove_rows(
    store: &dyn Store,
    name: &str,
    mut state: TableState,
    days: &[DayTables],
    (options, started): (&DeltaOptions, Instant),
) -> Result<TableReport> {
    let mut report = TableReport::new(name);
    let mut files = files_of_days(name, days, &state);
    for _ in 0..TRIES {
        let at = time_since(options, started);
        let stale = state.files.values().filter(|add| is_stale(add, &files));
        let removed: Vec<Action> = stale
            .map(|add| add.removed(at.timestamp_millis(), true).into())
            .collect();
        if removed.is_empty() || state.commit(store, name, "DELETE", at, removed.clone()).await? {
            report.commits = u64::from(!removed.is_empty());
            report.version = state.version;
            report.files = state.files.len();
            return Ok(report);
        }
        state = TableState::load(store, name).await?;
        files = files_of_days(name, &day_tables(store).await?, &state);
    }
    let message = "other processes keep writing it";
    Err(Error::new(ErrorKind::Precondition, folder(name), message))
}

/// True if the lake has none of the plain files of a data file. A file that another program added is left alone.
fn is_stale(add: &Add, files: &FilesByDate) -> bool {
    let sources = sources_of(add);
    let wanted = files.get(&date_of(add));
    let is_wanted = |name: &String| wanted.is_some_and(|wanted| wanted.contains_key(name));
    !sources.is_empty() && !sources.keys().any(is_wanted)
}
