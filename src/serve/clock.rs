//! The daemon's clock. [`run`] queues runs when they are due; [`is_missed`] finds a missed run in the store.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use super::jobs::Jobs;
use super::queue::Queue;
use crate::Result;
use crate::config::Config;
use crate::metrics::METRICS;
use crate::pipeline::{Command, Outcome, Summary, find_run};
use crate::schedule;
use crate::store::Store;

/// The longest sleep without a look at the clock, which may have been set, or have stood still with the machine.
const LONGEST_SLEEP: std::time::Duration = std::time::Duration::from_secs(20);
/// The pause before another attempt of a run that could do nothing.
const TRY_AGAIN: TimeDelta = TimeDelta::minutes(15);

/// The parts that queue runs by the schedule.
pub(super) struct RunClock {
    config: Arc<Config>,
    store: Arc<dyn Store>,
    queue: Arc<Queue>,
    cancel: CancellationToken,
}

/// True if no run has reached anything since the latest due time, so that a run must make up for it.
///
/// # Errors
/// Any error of the store; `Config` for an invalid expression.
pub async fn is_missed(config: &Config, store: &dyn Store, now: DateTime<Utc>) -> Result<bool> {
    if !config.schedule.catch_up {
        return Ok(false);
    }
    let Some(due) = schedule::last_due(&config.schedule.cron, config.timezone, now)? else {
        return Ok(false);
    };
    let makes_up = |run: &Summary| {
        run.is_of(Command::Run)
            && run.ends_job()
            && !run.interrupted
            && matches!(run.outcome, Outcome::Done | Outcome::Partial)
    };
    let made_up = find_run(store, Some(due), now, makes_up).await?;
    Ok(made_up.is_none())
}

impl RunClock {
    /// A clock for the queue of `jobs`.
    pub fn new(jobs: &Jobs, cancel: CancellationToken) -> Self {
        Self {
            config: Arc::clone(&jobs.config),
            store: Arc::clone(&jobs.store),
            queue: Arc::clone(&jobs.queue),
            cancel,
        }
    }

    /// True if the daemon's latest run was missed.
    ///
    /// # Errors
    /// As [`is_missed`].
    pub async fn has_missed(&self) -> Result<bool> {
        is_missed(&self.config, &*self.store, Utc::now()).await
    }
}

/// Queues runs when they are due until the daemon stops.
pub(super) async fn run(clock: &RunClock) {
    let config = &clock.config;
    loop {
        let next = schedule::next_runs(&config.schedule.cron, config.timezone, Utc::now(), 1);
        let Some(due) = next.ok().and_then(|next| next.first().copied()) else {
            tracing::info!("no run is scheduled because schedule.cron is empty");
            METRICS.next_run.set(0.0);
            clock.cancel.cancelled().await;
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds of a date are far below 2^52")]
        METRICS.next_run.set(due.timestamp() as f64);
        tracing::info!(due = %due.with_timezone(&config.timezone), "the next run");
        let begins = due + jitter(config);
        if !wait(clock, begins).await {
            return;
        }
        clock.queue.push_scheduled(due);
    }
}

fn jitter(config: &Config) -> TimeDelta {
    TimeDelta::from_std(config.schedule.jitter.mul_f64(fastrand::f64())).unwrap_or_default()
}

/// Waits for an instant; returns false if the daemon stops before. Meanwhile a run that could do nothing is tried again.
async fn wait(clock: &RunClock, until: DateTime<Utc>) -> bool {
    loop {
        METRICS.turned("clock");
        let now = Utc::now();
        if now >= until {
            return true;
        }
        if clock.queue.take_retry(now) {
            clock.queue.push_scheduled(now);
        }
        clock.queue.make_way(now);
        let left = (until - now).to_std().unwrap_or_default().min(LONGEST_SLEEP);
        let sleep = tokio::time::sleep(left);
        if clock.cancel.run_until_cancelled(sleep).await.is_none() {
            return false;
        }
    }
}

/// The time of the next attempt of a run that could do nothing.
pub(super) fn try_again_at(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TRY_AGAIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Past;

    async fn missed(past: &Past, now: &str) -> bool {
        let config = Config {
            timezone: chrono_tz::Tz::Europe__Moscow,
            ..Config::default()
        };
        let now = now.parse().expect("instant");
        is_missed(&config, &past.store, now).await.expect("expression")
    }

    // Due at 02:00 in Moscow, 23:00 UTC of the day before.
    #[tokio::test]
    async fn a_run_is_missed_unless_one_that_reached_anything_began_since_it_was_due() {
        let past = Past::new();
        assert!(missed(&past, "2026-11-23T10:00:00Z").await, "a lake without runs");
        let to = "2026-11-22";
        past.run("run", "2026-11-22T23:00:00Z", to, "done").await;
        assert!(!missed(&past, "2026-11-22T23:00:00Z").await);
        assert!(!missed(&past, "2026-11-23T22:59:59Z").await);
        assert!(missed(&past, "2026-11-23T23:00:00Z").await);
        let stop = |run: &mut serde_json::Value| run["interrupted"] = true.into();
        for minute in 0..60 {
            let started = format!("2026-11-24T05:{minute:02}:00Z");
            past.run("backfill", &started, to, "done").await;
        }
        past.run("run", "2026-11-24T06:00:00Z", to, "nothing").await;
        past.put("run", "2026-11-24T06:01:00Z", to, "partial", stop).await;
        past.run("run", "2026-11-23T22:59:00Z", to, "done").await;
        // A killed run, and a cancelled one.
        let kill = |run: &mut serde_json::Value| run["finished_at"] = serde_json::Value::Null;
        past.put("run", "2026-11-24T06:02:00Z", to, "running", kill).await;
        past.run("run", "2026-11-24T06:03:00Z", to, "cancelled").await;
        assert!(missed(&past, "2026-11-24T10:00:00Z").await);
        past.run("run", "2026-11-24T04:00:00Z", to, "partial").await;
        assert!(
            !missed(&past, "2026-11-24T10:00:00Z").await,
            "although 60 other runs followed"
        );
    }

    #[tokio::test]
    async fn a_run_later_than_now_makes_nothing_up() {
        let past = Past::new();
        past.run("run", "2027-11-23T10:00:01Z", "2027-11-22", "done")
            .await;
        past.run("run", "2026-11-23T10:00:01Z", "2026-11-22", "done")
            .await;
        assert!(missed(&past, "2026-11-23T10:00:00Z").await);
        assert!(!missed(&past, "2026-11-23T10:00:01Z").await);
    }

    #[tokio::test]
    async fn nothing_is_missed_without_a_schedule_or_without_catch_up() {
        let past = Past::new();
        let mut config = Config::default();
        config.schedule.catch_up = false;
        assert!(!is_missed(&config, &past.store, Utc::now()).await.expect("none"));
        config.schedule = crate::config::Schedule {
            cron: Vec::new(),
            ..crate::config::Schedule::default()
        };
        assert!(!is_missed(&config, &past.store, Utc::now()).await.expect("none"));
    }
}
