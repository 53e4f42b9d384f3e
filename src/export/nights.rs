//! The nightly run's dates: yesterday and some before it, and every night that was missed. Pure but for
//! [`nightly_job`], which looks at the runs in the store. Used by `cli run` and by the daemon.

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;

use super::{Job, Outcome, Summary, last_runs};
use crate::Result;
use crate::config::Config;
use crate::lake;
use crate::store::Store;

/// Runs that are looked through for the last good night.
const RUNS: usize = 60;
/// Nights that are made up at most: beyond that, an outage is a backfill's matter.
const MOST_NIGHTS: u64 = 31;

/// The nightly run as it is due at `now`. A lake without any night begins where it is told to.
///
/// # Errors
/// Of the store.
pub async fn nightly_job(config: &Config, store: &dyn Store, now: DateTime<Utc>) -> Result<Job> {
    let today = lake::date_of(now, config.timezone);
    let (from, to) = nightly(None, today, config.export.lookback_days);
    let runs = last_runs(store, RUNS).await?;
    let first = after_last_night(&runs, config.timezone).map_or(from, |next| from.min(next));
    let first = first.max(today - Days::new(MOST_NIGHTS)).min(from);
    if first < from {
        tracing::warn!(%first, "nights were missed: this run makes them up");
    }
    Ok(Job::nightly(first, to))
}

impl Job {
    /// A nightly run over these dates.
    pub fn nightly(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            command: "run",
            from,
            to,
            open_days: true,
            spaces: Vec::new(),
            rooms: Vec::new(),
            only: None,
            force: false,
        }
    }
}

/// The dates of a nightly run: `date` (yesterday where none is named) and `lookback` days before it.
pub fn nightly(date: Option<NaiveDate>, today: NaiveDate, lookback: u32) -> (NaiveDate, NaiveDate) {
    let to = date.unwrap_or(today - Days::new(1));
    (to - Days::new(lookback.into()), to)
}

/// The date after the last one that a nightly run has looked at: a run over its own yesterday that reached the API and
/// was not stopped. `runs` are the latest, newest first.
pub fn after_last_night(runs: &[Summary], zone: Tz) -> Option<NaiveDate> {
    runs.iter()
        .filter(|run| run.command == "run" && run.to + Days::new(1) == lake::date_of(run.started_at, zone))
        // One that was stopped, or ended early since the API had gone, may have left dates out.
        .filter(|run| !run.interrupted && run.interrupted_before.is_none())
        .find(|run| matches!(run.outcome, Outcome::Done | Outcome::Partial))
        .map(|run| run.to + Days::new(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    #[test]
    fn a_nightly_run_looks_at_yesterday_and_back() {
        assert_eq!(
            nightly(None, date("2026-03-01"), 3),
            (date("2026-02-25"), date("2026-02-28"))
        );
        assert_eq!(
            nightly(Some(date("2026-01-01")), date("2026-03-01"), 0),
            (date("2026-01-01"), date("2026-01-01"))
        );
    }

    #[test]
    fn nights_that_failed_were_stopped_or_never_came_are_made_up() {
        let run = |command: &str, started: &str, to: &str, outcome: &str, interrupted: bool| {
            serde_json::from_value::<Summary>(serde_json::json!({
                "id": started, "command": command, "outcome": outcome, "exit_status": 0, "started_at": started,
                "finished_at": started, "from": to, "to": to, "timezone": "UTC", "counts": {}, "failed": [],
                "pending": [], "warnings": [], "interrupted": interrupted,
            }))
            .expect("a summary")
        };
        let runs = [
            run("run", "2026-11-22T02:00:00Z", "2026-11-21", "nothing", false),
            run("run", "2026-11-21T02:00:00Z", "2026-11-20", "partial", true),
            run("backfill", "2026-11-20T12:00:00Z", "2026-11-19", "done", false),
            run("run", "2026-11-20T11:00:00Z", "2025-01-01", "done", false),
            run("run", "2026-11-18T02:00:00Z", "2026-11-17", "partial", false),
            run("run", "2026-11-17T02:00:00Z", "2026-11-16", "done", false),
        ];
        assert_eq!(after_last_night(&runs, Tz::UTC), Some(date("2026-11-18")));
        let mut early = runs.clone();
        early[4].interrupted_before = "2026-11-15".parse().ok();
        assert_eq!(after_last_night(&early, Tz::UTC), "2026-11-17".parse().ok());
        assert_eq!(after_last_night(&runs[..4], Tz::UTC), None);
    }
}
