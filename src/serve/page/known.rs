//! The page's snapshot of the lake. It is read for each visitor and kept, so that the page can show it while the store is
//! out of reach.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::PageState;
use super::view::window;
use crate::lake::{self, key};
use crate::pipeline::{Summary, read_run, run_entries};
use crate::serve::health::CheckState;
use crate::status::{DateRange, DayStatus, MarkedDays};
use crate::{Error, ErrorKind, Result};

/// The runs on the first page.
const RUNS: usize = 10;
/// The most summaries kept in memory.
const MOST_KNOWN: usize = 200;
/// The summaries that are read concurrently.
const READ_AT_ONCE: usize = 8;
/// The time that a visitor waits for the store if older data can be shown.
const PATIENCE: Duration = Duration::from_secs(20);

/// The greatest age of the data for a search.
const LATELY: TimeDelta = TimeDelta::minutes(2);

/// The lake's coverage at an instant. Of a large lake, days that are not shown may be as they were minutes ago, or as the
/// index has them until the lake was listed.
#[derive(Default)]
pub struct Snapshot {
    /// The start of reading.
    pub at: DateTime<Utc>,
    pub days: Vec<Arc<DayStatus>>,
    pub marked: MarkedDays,
    /// The latest runs, newest first.
    pub runs: Vec<Arc<Summary>>,
}

/// See the module. All of it may be lost.
#[derive(Default)]
pub struct LakeSnapshots {
    /// Held while the lake is read.
    reading: tokio::sync::Mutex<()>,
    last: Mutex<Option<Arc<Snapshot>>>,
    /// Held while the whole lake is listed and its index written.
    checking: Arc<tokio::sync::Mutex<()>>,
    /// The time at which the last such check began.
    checked_at: Mutex<Option<DateTime<Utc>>>,
    /// Runs that are over, because those do not change any more.
    runs: tokio::sync::Mutex<HashMap<String, Arc<Summary>>>,
}

impl LakeSnapshots {
    /// The latest snapshot.
    pub fn last(&self) -> Option<Arc<Snapshot>> {
        self.last.lock().clone()
    }

    fn keep(&self, snapshot: &Arc<Snapshot>) {
        *self.last.lock() = Some(Arc::clone(snapshot));
    }
}

/// Reads the lake; the days of the first page's window and of `shown` are those of this moment. If the store can't be read,
/// or not in time, returns the last snapshot and `true`.
///
/// # Errors
/// The store fails, and there is no earlier snapshot.
pub async fn look(state: &PageState, shown: Option<DateRange>) -> Result<(Arc<Snapshot>, bool)> {
    let Some(last) = state.memory.known.last() else {
        return Ok((read(state, shown).await?, false));
    };
    let [store, _] = state.health.store_and_token();
    if store.is_some_and(|seen| seen.how == CheckState::OutOfReach) {
        return Ok((last, true));
    }
    // The task goes on if nobody waits for it any more, so that the next visitor gets its result.
    let reader = state.clone();
    let reading = tokio::spawn(async move { read(&reader, shown).await });
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(Ok(snapshot))) => Ok((snapshot, false)),
        Ok(Ok(Err(error))) => {
            tracing::warn!(%error, "the store can't be read; the page shows older data");
            state.health.look_now();
            Ok((last, true))
        }
        Ok(Err(_)) => Err(Error::new(
            ErrorKind::Internal,
            "page",
            "the task that reads the lake panicked",
        )),
        Err(_) => Ok((last, true)),
    }
}

/// The snapshot of a moment ago, which is good enough for a search, or that of [`look`].
///
/// # Errors
/// As [`look`].
pub async fn look_lately(state: &PageState) -> Result<(Arc<Snapshot>, bool)> {
    match state.memory.known.last() {
        Some(last) if Utc::now() - last.at < LATELY => Ok((last, false)),
        _ => look(state, None).await,
    }
}

/// Reads the days of a single date, which is fast. If the store can't be read, returns the last snapshot and `true`.
///
/// # Errors
/// The store fails, and there is no earlier snapshot.
pub async fn look_at(state: &PageState, date: NaiveDate) -> Result<(Arc<Snapshot>, bool)> {
    let last = state.memory.known.last();
    let [store, _] = state.health.store_and_token();
    if let Some(last) = &last
        && store.is_some_and(|seen| seen.how == CheckState::OutOfReach)
    {
        return Ok((Arc::clone(last), true));
    }
    let at = Utc::now();
    let read = tokio::try_join!(
        state.coverage.days(&*state.store, Some(date), Some(date)),
        MarkedDays::read(&*state.store),
    );
    let is_gone = |days: &[Arc<DayStatus>], last: &Snapshot| {
        days.is_empty() && last.days.iter().any(|day| day.date == date)
    };
    match (read, last) {
        // A folder that is not mounted looks empty.
        (Ok((days, _)), Some(last)) if is_gone(&days, &last) => {
            state.health.look_now();
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
            tracing::warn!(%error, "the store can't be read; the page shows older data");
            state.health.look_now();
            Ok((last, true))
        }
        (Err(error), None) => Err(error),
    }
}

/// Reads the lake, once at a time, so that visitors who wait for the first read of a large lake share its result.
async fn read(state: &PageState, shown: Option<DateRange>) -> Result<Arc<Snapshot>> {
    let asked = Utc::now();
    let _reading = state.memory.known.reading.lock().await;
    let last = state.memory.known.last();
    if let Some(last) = last.filter(|last| last.at >= asked && shown.is_none()) {
        return Ok(last);
    }
    let at = Utc::now();
    let store = &*state.store;
    let today = lake::date_of(at, state.config.timezone);
    let shown: Vec<DateRange> = std::iter::once(window(today)).chain(shown).collect();
    let (coverage, marked, runs) = tokio::try_join!(
        state.coverage.overview(store, &shown, today),
        MarkedDays::read(store),
        runs_of(state, RUNS),
    )?;
    let days = coverage.days;
    let before = state.memory.known.last();
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
    state.memory.known.keep(&snapshot);
    check_later(state, coverage.is_exact, today);
    Ok(snapshot)
}

/// Lists the whole lake if that is due, and writes what the index lacks, in a task of its own that no visitor waits for.
fn check_later(state: &PageState, is_exact: bool, today: NaiveDate) {
    let known = &state.memory.known;
    let was_lately = |at: DateTime<Utc>| Utc::now() - at < LATELY;
    if is_exact && (known.checked_at.lock().is_some_and(was_lately) || !state.coverage.has_changes()) {
        return;
    }
    let Ok(turn) = Arc::clone(&known.checking).try_lock_owned() else {
        return;
    };
    *known.checked_at.lock() = Some(Utc::now());
    let state = state.clone();
    tokio::spawn(async move {
        let _turn = turn;
        let store = &*state.store;
        let checked = match is_exact {
            true => state.coverage.save(store).await,
            false => state.coverage.check(store, today).await,
        };
        if let Err(error) = checked {
            tracing::debug!(%error, "the index of the days could not be brought up to date");
        }
    });
}

/// Reads the lake at the start, so that the first visitor need not wait.
pub async fn warm(state: &PageState, cancel: &CancellationToken) {
    if let Some(Err(error)) = cancel.run_until_cancelled(read(state, None)).await {
        tracing::debug!(%error, "the page could not read the lake at the start");
    }
}

/// The latest runs, newest first. The summary of a run that is over is read only once, because it does not change.
///
/// # Errors
/// The store fails.
pub async fn runs_of(state: &PageState, count: usize) -> Result<Vec<Arc<Summary>>> {
    let store = &*state.store;
    let mut entries = run_entries(store, Utc::now()).await?;
    entries.truncate(count);
    let mut known = state.memory.known.runs.lock().await;
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
