//! Dates on the command line. Pure.

use chrono::{Days, NaiveDate, Utc};
use chrono_tz::Tz;

use crate::config::Config;
use crate::export::{Outcome, Summary};
use crate::lake;
use crate::{Error, ErrorKind, Result};

/// Parses `YYYY-MM-DD`: the form that clap shows in its error.
pub fn parse(text: &str) -> std::result::Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "not a date such as 2026-11-22".into())
}

/// Refuses a range that holds no date, or dates that have not come.
pub fn check_range(from: NaiveDate, to: NaiveDate, today: NaiveDate) -> Result<()> {
    if from > to {
        return Err(Error::new(
            ErrorKind::Usage,
            "--from/--to",
            format!("{from} to {to} holds no date"),
        )
        .hint("--from must not be later than --to"));
    }
    if from > today {
        return Err(Error::new(
            ErrorKind::Usage,
            "--from",
            format!("{from} has not come yet"),
        ));
    }
    Ok(())
}

/// Today in the configured zone.
pub fn today(config: &Config) -> NaiveDate {
    lake::date_of(Utc::now(), config.timezone)
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
        .find(|run| matches!(run.outcome, Outcome::Done | Outcome::Partial) && !run.interrupted)
        .map(|run| run.to + Days::new(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_run_looks_at_yesterday_and_back() {
        let date = |text: &str| parse(text).expect("date");
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
        assert_eq!(after_last_night(&runs, Tz::UTC), parse("2026-11-18").ok());
        assert_eq!(after_last_night(&runs[..4], Tz::UTC), None);
    }

    #[test]
    fn ranges_without_a_date_are_refused() {
        let date = |text: &str| parse(text).expect("date");
        let today = date("2026-11-23");
        for (from, to) in [("2026-11-22", "2026-11-21"), ("2026-11-24", "2026-11-25")] {
            assert_eq!(
                check_range(date(from), date(to), today).expect_err(from).kind(),
                ErrorKind::Usage
            );
        }
        check_range(today, today, today).expect("today may be asked for");
        assert!(parse("22.11.2026").is_err() && parse("2026-13-01").is_err());
    }
}
