//! The dates of the nightly run: yesterday, some days before it, and every night that was missed. Pure but for
//! [`nightly_job`], which looks for the last good night in the store. Used by `cli run` and by the daemon.

use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;

use super::{Command, Job, Outcome, Summary};
use crate::Result;
use crate::config::Config;
use crate::lake;
use crate::pipeline::summary::runs::find_run;
use crate::store::Store;

/// The most nights that one run makes up. A longer outage needs a backfill.
const MOST_NIGHTS: u64 = 31;

/// The nightly run that is due at `now`. A lake without any nightly run begins at the configured lookback.
///
/// # Errors
/// Any error of the store.
pub async fn nightly_job(config: &Config, store: &dyn Store, now: DateTime<Utc>) -> Result<Job> {
    let today = lake::date_of(now, config.timezone);
    let (from, to) = nightly(None, today, config.export.lookback_days);
    let next = after_last_night(store, config.timezone, now).await?;
    let first = next.map_or(from, |next| from.min(next));
    let first = first.max(today - Days::new(MOST_NIGHTS)).min(from);
    if first < from {
        tracing::warn!(%first, "nights were missed: this run also covers their dates");
    }
    Ok(Job::nightly(first, to))
}

impl Job {
    /// A nightly run over these dates.
    pub fn nightly(from: NaiveDate, to: NaiveDate) -> Self {
        Self {
            open_days: true,
            ..Self::over(Command::Run, from, to)
        }
    }
}

/// The dates of a nightly run: `date` (yesterday if absent) and `lookback` days before it.
pub fn nightly(date: Option<NaiveDate>, today: NaiveDate, lookback: u32) -> (NaiveDate, NaiveDate) {
    let to = date.unwrap_or(today - Days::new(1));
    (to - Days::new(lookback.into()), to)
}

/// The date after the last one that a good nightly run covered, however many other runs came since.
async fn after_last_night(store: &dyn Store, zone: Tz, now: DateTime<Utc>) -> Result<Option<NaiveDate>> {
    let night = find_run(store, None, now, |run| is_good_night(run, zone)).await?;
    Ok(night.map(|run| run.to + Days::new(1)))
}

/// True if a nightly run covered its own yesterday: it reached the API and was not stopped.
fn is_good_night(run: &Summary, zone: Tz) -> bool {
    run.is_of(Command::Run)
        && run.ends_job()
        && !run.lacks_days()
        && run.to + Days::new(1) == lake::date_of(run.started_at, zone)
        // A run that was stopped, or ended early because the API was lost, may have left dates out.
        && !run.interrupted
        && run.interrupted_before.is_none()
        && matches!(run.outcome, Outcome::Done | Outcome::Partial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::summary::runs::tests::Past;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    #[test]
    fn a_nightly_run_covers_yesterday_and_the_lookback() {
        assert_eq!(
            nightly(None, date("2026-03-01"), 3),
            (date("2026-02-25"), date("2026-02-28"))
        );
        assert_eq!(
            nightly(Some(date("2026-01-01")), date("2026-03-01"), 0),
            (date("2026-01-01"), date("2026-01-01"))
        );
    }

    #[tokio::test]
    async fn nights_that_failed_were_stopped_or_never_came_are_made_up() {
        let past = Past::new();
        let next = async |now: &str| {
            let next = after_last_night(&past.store, Tz::UTC, now.parse().expect("instant")).await;
            next.expect("read").map(|date| date.to_string())
        };
        let now = "2026-11-22T10:00:00Z";
        past.run("run", "2026-11-22T02:00:00Z", "2026-11-21", "nothing")
            .await;
        let kill = |run: &mut serde_json::Value| run["finished_at"] = serde_json::Value::Null;
        past.put("run", "2026-11-22T03:00:00Z", "2026-11-21", "running", kill)
            .await;
        past.run("run", "2026-11-22T04:00:00Z", "2026-11-21", "cancelled")
            .await;
        let stop = |run: &mut serde_json::Value| run["interrupted"] = true.into();
        past.put("run", "2026-11-21T02:00:00Z", "2026-11-20", "partial", stop)
            .await;
        past.run("backfill", "2026-11-20T12:00:00Z", "2026-11-19", "done")
            .await;
        past.run("run", "2026-11-20T11:00:00Z", "2025-01-01", "done")
            .await;
        let early = |run: &mut serde_json::Value| run["interrupted_before"] = "2026-11-15".into();
        past.put("run", "2026-11-19T02:00:00Z", "2026-11-18", "partial", early)
            .await;
        assert_eq!(next(now).await, None);
        past.run("run", "2026-11-17T02:00:00Z", "2026-11-16", "done")
            .await;
        assert_eq!(next(now).await.as_deref(), Some("2026-11-17"));
        past.run("run", "2026-11-18T02:00:00Z", "2026-11-17", "partial")
            .await;
        assert_eq!(next(now).await.as_deref(), Some("2026-11-18"));
    }

    #[tokio::test]
    async fn a_night_by_shards_is_good_once_the_last_one_has_ended() {
        let past = Past::new();
        let shard = |index: u32, last: bool| {
            move |run: &mut serde_json::Value| {
                run["shard"] = serde_json::json!({"index": index, "count": 2, "job": "night", "last": last});
            }
        };
        let next = async || {
            let now = "2026-11-22T10:00:00Z".parse().expect("instant");
            after_last_night(&past.store, Tz::UTC, now).await.expect("read")
        };
        past.put(
            "run",
            "2026-11-21T02:00:00Z",
            "2026-11-20",
            "done",
            shard(0, false),
        )
        .await;
        assert_eq!(next().await, None);
        past.put(
            "run",
            "2026-11-21T02:30:00Z",
            "2026-11-20",
            "done",
            shard(1, true),
        )
        .await;
        assert_eq!(next().await, Some(date("2026-11-21")));
    }

    #[tokio::test]
    async fn a_missed_night_is_found_behind_many_runs_and_one_from_the_future() {
        let past = Past::new();
        past.run("run", "2026-11-15T02:00:00Z", "2026-11-14", "done")
            .await;
        for minute in 0..60 {
            for hour in [8, 9] {
                let started = format!("2026-11-21T{hour:02}:{minute:02}:00Z");
                past.run("backfill", &started, "2026-11-20", "done").await;
            }
        }
        past.run("run", "2026-11-23T02:00:00Z", "2026-11-22", "done")
            .await;
        let now = "2026-11-22T02:00:00Z".parse().expect("instant");
        let job = nightly_job(&Config::default(), &past.store, now)
            .await
            .expect("read");
        assert_eq!((job.from, job.to), (date("2026-11-15"), date("2026-11-21")));
    }

    #[tokio::test]
    async fn a_month_of_missed_nights_is_made_up_and_no_more() {
        let past = Past::new();
        past.run("run", "2026-06-01T02:00:00Z", "2026-05-31", "done")
            .await;
        let now = "2026-11-22T02:00:00Z".parse().expect("instant");
        let job = nightly_job(&Config::default(), &past.store, now)
            .await
            .expect("read");
        assert_eq!((job.from, job.to), (date("2026-10-22"), date("2026-11-21")));
    }
}
