//! Delta Lake tables: copies of the plain tables with a transaction log, which fewer and larger files make quick to read.
//!
//! For each table `delta/<table>/` is a Delta table. The state of its log alone says which files of the plain table it
//! holds, so a sync compares that with the manifests and commits the difference, date by date. Everything here can be
//! removed and made anew. Why the program writes the log itself: `docs/adr/0017-delta-log-of-our-own.md`.

mod action;
mod checkpoint;
mod former;
mod log;
mod plan;
mod schema;
mod sources;
mod statistics;
mod sync;
mod vacuum;

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::former::FormerTables;
use self::log::TableState;
use self::sync::TableSync;
use crate::lake::key;
use crate::lake::table::Table;
use crate::status::day_tables;
use crate::store::Store;
use crate::{Error, ErrorKind, Result};

/// Tables brought up to date at once.
const TABLES_AT_ONCE: usize = 4;

/// The rules of a sync.
#[derive(Debug, Clone)]
pub(crate) struct DeltaOptions {
    /// The time at which the sync begins.
    pub now: DateTime<Utc>,
    /// The files of an earlier date become one data file.
    pub merge_before: NaiveDate,
    /// The time for which old versions can be read.
    pub keep: TimeDelta,
    /// True if the objects that only older versions need are removed.
    pub vacuum: bool,
}

/// The outcome of the sync of a table.
#[derive(Debug, Serialize)]
pub struct TableReport {
    /// The table's name.
    pub table: String,
    /// The latest version.
    pub version: Option<u64>,
    /// The number of its data files.
    pub files: usize,
    /// The commits of this sync.
    pub commits: u64,
    /// The objects that a vacuum removed.
    pub vacuumed: usize,
    /// The reason why the table is not up to date; `None` if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(skip)]
    error: Option<ErrorKind>,
}

impl TableReport {
    fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            version: None,
            files: 0,
            commits: 0,
            vacuumed: 0,
            failure: None,
            error: None,
        }
    }

    fn failed(table: &str, error: &Error) -> Self {
        Self {
            failure: Some(error.to_string()),
            error: Some(error.kind()),
            ..Self::new(table)
        }
    }

    /// True if the sync was stopped before the table was up to date.
    pub fn is_interrupted(&self) -> bool {
        self.error == Some(ErrorKind::Interrupted)
    }
}

/// The time, on from that of the options at the start of a sync.
fn time_since(options: &DeltaOptions, started: Instant) -> DateTime<Utc> {
    options.now + TimeDelta::from_std(started.elapsed()).unwrap_or_default()
}

/// Removes all but the latest version of every Delta table, also of those that the mapping no longer has. Returns the number
/// of objects removed.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn purge(store: &dyn Store, now: DateTime<Utc>) -> Result<usize> {
    let listed = store.list(key::DELTA).await?;
    let names = listed.iter().filter_map(|object| {
        let (table, _) = object.key.strip_prefix(key::DELTA)?.split_once("/_delta_log/")?;
        (!table.contains('/')).then(|| table.to_owned())
    });
    let names: BTreeSet<String> = names.collect();
    let mut removed = 0;
    for table in names {
        removed += vacuum::purge(store, &table, now).await?;
    }
    Ok(removed)
}

/// Brings the Delta tables up to date with the lake. The report has an entry for each table, in their order, and for each
/// former table that still has rows; the failure of a table does not stop the others.
///
/// # Errors
/// No log can be read, or the days can't be listed.
pub(crate) async fn sync(
    store: &dyn Store,
    tables: &[Table],
    options: &DeltaOptions,
    cancel: &CancellationToken,
) -> Result<Vec<TableReport>> {
    let started = Instant::now();
    // Read the logs before the days are listed: what a log has and the days lack has then left the lake.
    let states: Vec<Result<TableState>> = stream::iter(tables)
        .map(|table| TableState::load(store, &table.name))
        .buffered(TABLES_AT_ONCE)
        .collect()
        .await;
    let (loaded, failed): (Vec<_>, Vec<_>) = states.iter().partition(|state| state.is_ok());
    if let ([], [Err(error), ..]) = (loaded.as_slice(), failed.as_slice()) {
        return Err(error.clone());
    }
    let former = FormerTables::load(store, tables).await;
    let days = day_tables(store).await?;
    let days = &days;
    let mut reports: Vec<TableReport> = stream::iter(tables.iter().zip(states))
        .map(|(table, state)| async move {
            let sync = TableSync {
                store,
                table,
                options,
                cancel,
                started,
            };
            let synced = async {
                let mut report = sync.run(state?, days).await?;
                if options.vacuum {
                    report.vacuumed = vacuum::vacuum(store, &table.name, options.now, options.keep).await?;
                }
                Ok::<_, Error>(report)
            };
            synced
                .await
                .unwrap_or_else(|error| TableReport::failed(&table.name, &error))
        })
        .buffered(TABLES_AT_ONCE)
        .collect()
        .await;
    reports.extend(former.follow(store, days, options, started).await);
    Ok(reports)
}
