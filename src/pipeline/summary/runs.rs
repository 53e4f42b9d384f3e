//! The past runs, read from their summaries in the store. A run that began later than now is ignored, because a clock
//! was wrong.

use std::future::ready;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use futures_util::{StreamExt, stream};

use crate::lake::key;
use crate::pipeline::summary::Summary;
use crate::store::json::get_json;
use crate::store::{ListedObject, Store};
use crate::{ErrorKind, Result};

/// Summaries read at once.
const READ_AT_ONCE: usize = 16;
/// Days that are listed one by one, because a search mostly ends in the latest.
const DAYS_APART: i64 = 35;

/// The latest runs, newest first.
///
/// # Errors
/// Any error of the store.
pub async fn last_runs(store: &dyn Store, now: DateTime<Utc>, count: usize) -> Result<Vec<Summary>> {
    let mut entries = run_entries(store, now).await?;
    entries.truncate(count);
    let mut runs = Vec::new();
    let mut reading = stream::iter(entries)
        .map(|entry| read(store, entry.key, now))
        .buffered(READ_AT_ONCE);
    while let Some(run) = reading.next().await {
        runs.extend(run?);
    }
    Ok(runs)
}

/// The summaries' objects, newest first.
///
/// # Errors
/// Any error of the store.
pub async fn run_entries(store: &dyn Store, now: DateTime<Utc>) -> Result<Vec<ListedObject>> {
    list(store, key::RUNS, now).await
}

/// The latest run that began at `since` or later and is `wanted`, however many other runs came after it.
///
/// # Errors
/// Any error of the store.
pub async fn find_run(
    store: &dyn Store,
    since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    wanted: impl Fn(&Summary) -> bool,
) -> Result<Option<Summary>> {
    // A page holds the runs of one day that began before `end`; the last page holds all earlier ones.
    let mut end = now + TimeDelta::seconds(1);
    for days_ago in 0..=DAYS_APART {
        if since.is_some_and(|since| end <= since) {
            break;
        }
        let day = now.date_naive() - TimeDelta::days(days_ago);
        let prefix = match days_ago {
            DAYS_APART => key::RUNS.to_owned(),
            _ => format!("{}{}", key::RUNS, day.format("%Y%m%d")),
        };
        let mut entries = list(store, &prefix, now).await?;
        entries.retain(|entry| began(&entry.key).is_none_or(|at| at < end));
        let found = stream::iter(entries)
            .map(|entry| read(store, entry.key, now))
            .buffered(READ_AT_ONCE)
            .filter_map(|run| ready(run.transpose()));
        let mut found = std::pin::pin!(found);
        while let Some(run) = found.next().await {
            let run = run?;
            if since.is_none_or(|since| run.started_at >= since) && wanted(&run) {
                return Ok(Some(run));
            }
        }
        end = day.and_time(chrono::NaiveTime::MIN).and_utc();
    }
    Ok(None)
}

/// A run's summary as of `now`: a run whose process is gone is `killed`.
///
/// # Errors
/// The store fails; `Store` if the object can't be read.
pub async fn read_run(store: &dyn Store, id: &str, now: DateTime<Utc>) -> Result<Option<Summary>> {
    let run = get_json::<Summary>(store, &key::run(id)).await?;
    Ok(run.map(|(run, _)| run.seen_at(now)))
}

/// The summaries below a prefix, newest first.
async fn list(store: &dyn Store, prefix: &str, now: DateTime<Utc>) -> Result<Vec<ListedObject>> {
    let mut entries = store.list(prefix).await?;
    entries.retain(|entry| entry.key.ends_with(".json") && began(&entry.key).is_none_or(|at| at <= now));
    entries.sort_by(|a, b| b.key.cmp(&a.key));
    Ok(entries)
}

/// The start of a run, to the second, from its id.
fn began(key: &str) -> Option<DateTime<Utc>> {
    let id = key.strip_prefix(key::RUNS)?;
    let at = NaiveDateTime::parse_from_str(id.get(..16)?, "%Y%m%dT%H%M%SZ").ok()?;
    Some(at.and_utc())
}

/// A run's summary, or `None` if it can't be read: a damaged summary must not stop tonight's run.
async fn read(store: &dyn Store, key: String, now: DateTime<Utc>) -> Result<Option<Summary>> {
    match get_json::<Summary>(store, &key).await {
        Ok(run) => Ok(run.map(|(run, _)| run.seen_at(now))),
        Err(error) if error.kind() == ErrorKind::Store => {
            tracing::warn!(%error, "a run's summary can't be read and is ignored");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pipeline::Command;
    use crate::store::{Condition, folder::FolderStore};

    /// A folder store with summaries of past runs.
    pub(crate) struct Past {
        _folder: tempfile::TempDir,
        pub store: FolderStore,
    }

    impl Past {
        pub(crate) fn new() -> Self {
            let folder = tempfile::tempdir().expect("folder");
            let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
            Self {
                _folder: folder,
                store,
            }
        }

        pub(crate) async fn run(&self, command: &str, started: &str, to: &str, outcome: &str) -> &Self {
            self.put(command, started, to, outcome, |_| {}).await
        }

        pub(crate) async fn put(
            &self,
            command: &str,
            started: &str,
            to: &str,
            outcome: &str,
            change: impl FnOnce(&mut serde_json::Value),
        ) -> &Self {
            let started: DateTime<Utc> = started.parse().expect("instant");
            let id = format!("{}-000000", started.format("%Y%m%dT%H%M%SZ"));
            let mut run = serde_json::json!({
                "id": id, "command": command, "outcome": outcome, "exit_status": 0, "started_at": started,
                "finished_at": started, "from": to, "to": to, "timezone": "UTC", "counts": {}, "failed": [],
                "pending": [], "warnings": [], "interrupted": false,
            });
            change(&mut run);
            let bytes = serde_json::to_vec(&run).expect("JSON");
            let put = self.store.put(&key::run(&id), bytes.into(), Condition::Any).await;
            put.expect("put");
            self
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("instant")
    }

    #[tokio::test]
    async fn a_run_is_found_however_many_others_came_after_it() {
        let past = Past::new();
        past.run("run", "2026-09-01T02:00:00Z", "2026-08-31", "done")
            .await;
        past.run("run", "2026-11-20T02:00:00Z", "2026-11-19", "done")
            .await;
        for minute in 0..60 {
            for hour in [3, 4] {
                let started = format!("2026-11-20T{hour:02}:{minute:02}:00Z");
                past.run("backfill", &started, "2026-11-19", "done").await;
            }
        }
        past.run("run", "2027-01-01T02:00:00Z", "2026-12-31", "done")
            .await;
        let find = async |since: Option<&str>, now: &str| {
            let run = find_run(&past.store, since.map(at), at(now), |run| run.is_of(Command::Run)).await;
            run.expect("read").map(|run| run.started_at.to_rfc3339())
        };
        let now = "2026-11-22T10:00:00Z";
        assert_eq!(
            find(None, now).await.as_deref(),
            Some("2026-11-20T02:00:00+00:00")
        );
        assert_eq!(
            find(Some("2026-11-20T02:00:00Z"), now).await,
            find(None, now).await
        );
        assert_eq!(find(Some("2026-11-20T02:00:01Z"), now).await, None);
        // Among the runs beyond the days that are listed one by one.
        let before = find(None, "2026-11-19T23:00:00Z").await;
        assert_eq!(before.as_deref(), Some("2026-09-01T02:00:00+00:00"));
        assert_eq!(find(None, "2026-08-31T00:00:00Z").await, None);
    }

    #[tokio::test]
    async fn a_run_that_began_later_than_now_is_ignored() {
        let past = Past::new();
        past.run("run", "2026-11-20T02:00:00Z", "2026-11-19", "done")
            .await;
        past.run("run", "2099-01-01T02:00:00Z", "2098-12-31", "done")
            .await;
        let runs = last_runs(&past.store, at("2026-11-22T10:00:00Z"), 5)
            .await
            .expect("read");
        let ids: Vec<_> = runs.iter().map(|run| run.id.as_str()).collect();
        assert_eq!(ids, ["20261120T020000Z-000000"]);
    }
}
