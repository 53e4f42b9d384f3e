//! What the page knows of the lake: read for each visitor, and kept, so that the last of it can be shown while the store
//! is out of reach.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, stream};

use crate::lake::{self, key};
use crate::pipeline::{Summary, read_run, run_entries};
use crate::serve::daemon::Daemon;
use crate::serve::health::OUT_OF_REACH;
use crate::status::{DayStatus, MarkedDays};
use crate::{Error, ErrorKind, Result};

/// Runs on the first page.
const RUNS: usize = 10;
/// Summaries kept in memory.
const MOST_KNOWN: usize = 200;
/// Summaries read at once.
const READ_AT_ONCE: usize = 8;
/// The time that a visitor waits for the store when older data can be shown.
const PATIENCE: Duration = Duration::from_secs(20);

/// The age that the data may have for a search.
const LATELY: TimeDelta = TimeDelta::minutes(2);

/// The lake at a moment.
#[derive(Default)]
pub struct Snapshot {
    /// When reading it began.
    pub at: DateTime<Utc>,
    pub days: Vec<Arc<DayStatus>>,
    pub marked: MarkedDays,
    /// The latest runs, newest first.
    pub runs: Vec<Arc<Summary>>,
}

/// See the module. All of it may be lost.
#[derive(Default)]
pub struct Known {
    /// Held by who reads the lake.
    reading: tokio::sync::Mutex<()>,
    last: Mutex<Option<Arc<Snapshot>>>,
    /// Runs that are over: they do not change any more.
    runs: tokio::sync::Mutex<HashMap<String, Arc<Summary>>>,
}

impl Known {
    /// The latest data that was read.
    pub fn last(&self) -> Option<Arc<Snapshot>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, snapshot: &Arc<Snapshot>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(snapshot));
    }
}

/// The lake now. If the store can't be read, or not in time, what was read last, and `true`.
///
/// # Errors
/// The store fails, and nothing was ever read.
pub async fn look(daemon: &Arc<Daemon>) -> Result<(Arc<Snapshot>, bool)> {
    let Some(last) = daemon.page.known.last() else {
        return Ok((read(daemon).await?, false));
    };
    let [store, _] = daemon.health.store_and_token();
    if store.is_some_and(|seen| seen.how == OUT_OF_REACH) {
        return Ok((last, true));
    }
    // It goes on when nobody waits for it any more: the next visitor finds what it read.
    let reader = Arc::clone(daemon);
    let reading = tokio::spawn(async move { read(&reader).await });
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(Ok(snapshot))) => Ok((snapshot, false)),
        Ok(Ok(Err(error))) => {
            tracing::warn!(%error, "the page shows what it knew before");
            daemon.health.look_now();
            Ok((last, true))
        }
        Ok(Err(_)) => Err(Error::new(ErrorKind::Internal, "page", "reading broke off")),
        Err(_) => Ok((last, true)),
    }
}

/// The lake as it was a moment ago, which is good enough for a search; else as [`look`] gives it.
///
/// # Errors
/// As [`look`].
pub async fn look_lately(daemon: &Arc<Daemon>) -> Result<(Arc<Snapshot>, bool)> {
    match daemon.page.known.last() {
        Some(last) if Utc::now() - last.at < LATELY => Ok((last, false)),
        _ => look(daemon).await,
    }
}

/// The days of one date: few are read. If the store can't be read, what was read last, and `true`.
///
/// # Errors
/// The store fails, and nothing was ever read.
pub async fn look_at(daemon: &Daemon, date: NaiveDate) -> Result<(Arc<Snapshot>, bool)> {
    let last = daemon.page.known.last();
    let [store, _] = daemon.health.store_and_token();
    if let Some(last) = &last
        && store.is_some_and(|seen| seen.how == OUT_OF_REACH)
    {
        return Ok((Arc::clone(last), true));
    }
    let at = Utc::now();
    let read = tokio::try_join!(
        daemon.coverage.days(&*daemon.store, Some(date), Some(date)),
        MarkedDays::read(&*daemon.store),
    );
    let is_gone = |days: &[Arc<DayStatus>], last: &Snapshot| {
        days.is_empty() && last.days.iter().any(|day| day.date == date)
    };
    match (read, last) {
        // A folder that is not mounted looks empty.
        (Ok((days, _)), Some(last)) if is_gone(&days, &last) => {
            daemon.health.look_now();
            Ok((last, true))
        }
        (Ok((days, marked)), _) => Ok((
            Arc::new(Snapshot {
                at,
                days,
                marked,
                runs: Vec::new(),
            }),
            false,
        )),
        (Err(error), Some(last)) => {
            tracing::warn!(%error, "the page shows what it knew before");
            daemon.health.look_now();
            Ok((last, true))
        }
        (Err(error), None) => Err(error),
    }
}

/// Reads the lake. One at a time: who comes while a large lake is read for the first time finds it read.
async fn read(daemon: &Daemon) -> Result<Arc<Snapshot>> {
    let asked = Utc::now();
    let _reading = daemon.page.known.reading.lock().await;
    if let Some(last) = daemon.page.known.last().filter(|last| last.at >= asked) {
        return Ok(last);
    }
    let at = Utc::now();
    let store = &*daemon.store;
    let today = lake::date_of(at, daemon.config.timezone);
    let (days, marked, runs) = tokio::try_join!(
        daemon.coverage.days(store, None, Some(today)),
        MarkedDays::read(store),
        runs_of(daemon, RUNS),
    )?;
    let before = daemon.page.known.last();
    if days.is_empty() && before.is_some_and(|before| !before.days.is_empty()) {
        // A folder that is not mounted looks empty.
        return Err(Error::new(
            ErrorKind::StoreUnavailable,
            store.url(),
            "all days are gone from the store",
        ));
    }
    let snapshot = Arc::new(Snapshot {
        at,
        days,
        marked,
        runs,
    });
    daemon.page.known.keep(&snapshot);
    Ok(snapshot)
}

/// Reads what the first visitor would wait for.
pub async fn warm(daemon: &Daemon) {
    tokio::select! {
        () = daemon.cancel.cancelled() => {}
        done = read(daemon) => {
            if let Err(error) = done {
                tracing::debug!(%error, "coverage could not be read ahead");
            }
        }
    }
}

/// The latest runs, newest first. A run that is over does not change: its summary is read once.
///
/// # Errors
/// The store fails.
pub async fn runs_of(daemon: &Daemon, count: usize) -> Result<Vec<Arc<Summary>>> {
    let store = &*daemon.store;
    let mut entries = run_entries(store, Utc::now()).await?;
    entries.truncate(count);
    let mut known = daemon.page.known.runs.lock().await;
    let keys = entries.iter().map(|entry| entry.key.clone());
    let fresh: Vec<String> = keys.filter(|key| !known.contains_key(key)).collect();
    let read: Vec<_> = stream::iter(fresh)
        .map(|key| async move {
            let id = key.strip_prefix(key::RUNS).unwrap_or(&key);
            let run = read_run(store, id.trim_end_matches(".json"), Utc::now()).await;
            (key, run)
        })
        .buffer_unordered(READ_AT_ONCE)
        .collect()
        .await;
    for (key, run) in read {
        match run {
            Ok(Some(run)) => drop(known.insert(key, Arc::new(run))),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Store => {
                tracing::warn!(%error, "a run's summary can't be read");
            }
            Err(error) => return Err(error),
        }
    }
    let runs = entries
        .iter()
        .filter_map(|entry| known.get(&entry.key).cloned())
        .collect();
    known.retain(|_, run| run.finished_at.is_some());
    if known.len() > MOST_KNOWN {
        known.retain(|key, _| entries.iter().any(|entry| entry.key == *key));
    }
    Ok(runs)
}
