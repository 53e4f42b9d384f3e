//! When the next run is due, and when one was missed. [`is_missed`] is pure; [`run`] waits.

use chrono::{DateTime, TimeDelta, Utc};

use super::daemon::Daemon;
use super::schedule;
use crate::Result;
use crate::config::Config;
use crate::export::{Outcome, Summary, last_runs};
use crate::metrics::METRICS;

/// Runs that are looked through for the last scheduled one.
const RUNS: usize = 60;
/// How long a sleep goes on without a look at the clock, which may have been set, or stood still with the machine.
const LONGEST_SLEEP: std::time::Duration = std::time::Duration::from_secs(20);
/// After a run that could do nothing.
const TRY_AGAIN: TimeDelta = TimeDelta::minutes(15);

/// Whether the latest due time has passed without a run that reached anything. `runs` are the latest ones.
///
/// # Errors
/// `Config`, of an expression.
pub fn is_missed(config: &Config, runs: &[Summary], now: DateTime<Utc>) -> Result<bool> {
    let Some(due) = schedule::last_due(&config.schedule.cron, config.timezone, now)? else {
        return Ok(false);
    };
    let made_up = runs.iter().any(|run| {
        run.command == "run"
            && run.started_at >= due
            && !run.interrupted
            && matches!(run.outcome, Outcome::Done | Outcome::Partial)
    });
    Ok(!made_up)
}

/// Looks for a missed run in the store.
///
/// # Errors
/// Of the store; `Config`, of an expression.
pub(super) async fn missed(daemon: &Daemon) -> Result<bool> {
    if !daemon.config.schedule.catch_up {
        return Ok(false);
    }
    let runs = last_runs(&*daemon.store, RUNS).await?;
    is_missed(&daemon.config, &runs, Utc::now())
}

/// Queues runs when they are due, until the daemon stops.
pub(super) async fn run(daemon: &Daemon) {
    let config = &daemon.config;
    loop {
        let next = schedule::next_runs(&config.schedule.cron, config.timezone, Utc::now(), 1);
        let Some(due) = next.ok().and_then(|next| next.first().copied()) else {
            tracing::info!("no run is scheduled: schedule.cron is empty");
            METRICS.next_run.set(0.0);
            daemon.cancel.cancelled().await;
            return;
        };
        #[allow(clippy::cast_precision_loss)]
        METRICS.next_run.set(due.timestamp() as f64);
        tracing::info!(due = %due.with_timezone(&config.timezone), "the next run");
        let begins = due + jitter(config);
        if !wait(daemon, begins).await {
            return;
        }
        daemon.queue.push_scheduled(due);
    }
}

fn jitter(config: &Config) -> TimeDelta {
    TimeDelta::from_std(config.schedule.jitter.mul_f64(fastrand::f64())).unwrap_or_default()
}

/// Waits for an instant; false when the daemon stops before. Meanwhile a run that could do nothing is tried again.
async fn wait(daemon: &Daemon, until: DateTime<Utc>) -> bool {
    loop {
        let now = Utc::now();
        if now >= until {
            return true;
        }
        if daemon.take_retry(now) {
            daemon.queue.push_scheduled(now);
        }
        let left = (until - now).to_std().unwrap_or_default().min(LONGEST_SLEEP);
        tokio::select! {
            () = daemon.cancel.cancelled() => return false,
            () = tokio::time::sleep(left) => {}
        }
    }
}

/// When a run that could do nothing is tried again.
pub(super) fn try_again_at(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TRY_AGAIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_missed_when_none_that_reached_anything_began_since_it_was_due() {
        let config = Config {
            timezone: chrono_tz::Tz::Europe__Moscow,
            ..Config::default()
        };
        let run = |command: &str, started: &str, outcome: &str, interrupted: bool| {
            serde_json::from_value::<Summary>(serde_json::json!({
                "id": started, "command": command, "outcome": outcome, "exit_status": 0, "started_at": started,
                "finished_at": started, "from": "2026-11-22", "to": "2026-11-22", "timezone": "Europe/Moscow",
                "counts": {}, "failed": [], "pending": [], "warnings": [], "interrupted": interrupted,
            }))
            .expect("a summary")
        };
        // Due at 02:00 in Moscow, 23:00 UTC of the day before.
        let missed = |now: &str, runs: &[Summary]| {
            is_missed(&config, runs, now.parse().expect("instant")).expect("expression")
        };
        let night = run("run", "2026-11-22T23:00:00Z", "done", false);
        let runs = std::slice::from_ref(&night);
        assert!(!missed("2026-11-22T23:00:00Z", runs));
        assert!(!missed("2026-11-23T22:59:59Z", runs));
        assert!(missed("2026-11-23T23:00:00Z", runs));
        assert!(missed("2026-11-23T10:00:00Z", &[]), "a lake that has had none");
        for useless in [
            run("backfill", "2026-11-23T05:00:00Z", "done", false),
            run("run", "2026-11-23T05:00:00Z", "nothing", false),
            run("run", "2026-11-23T05:00:00Z", "partial", true),
            run("run", "2026-11-22T22:59:00Z", "done", false),
        ] {
            assert!(missed("2026-11-23T10:00:00Z", &[useless]));
        }
        let partial = run("run", "2026-11-23T05:00:00Z", "partial", false);
        assert!(!missed("2026-11-23T10:00:00Z", &[partial]));
        let unscheduled = Config {
            schedule: crate::config::Schedule {
                cron: Vec::new(),
                ..config.schedule.clone()
            },
            ..config.clone()
        };
        assert!(!is_missed(&unscheduled, &[], Utc::now()).expect("none"));
    }
}
