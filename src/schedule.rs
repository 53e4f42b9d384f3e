//! The due times of runs: cron expressions in the configured zone. Pure: every function takes `now`.

use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use super::crontab::Expression;
use crate::Result;

/// The next `count` instants after `now` at which any of the expressions is due, each once, earliest first.
///
/// A local time that the clock skips is due at the first instant after the gap. A local time that comes twice is due the
/// first time.
///
/// # Errors
/// `Config`, with the expression that can't be read.
pub fn next_runs(
    expressions: &[String],
    zone: Tz,
    now: DateTime<Utc>,
    count: usize,
) -> Result<Vec<DateTime<Utc>>> {
    let mut due = Vec::new();
    for expression in expressions {
        let times = instants(&Expression::parse(expression)?, zone, now).filter(|instant| *instant > now);
        let mut of_one: Vec<DateTime<Utc>> = Vec::new();
        for instant in times {
            // Several skipped times are due at the same instant.
            if of_one.last() != Some(&instant) {
                of_one.push(instant);
            }
            if of_one.len() == count {
                break;
            }
        }
        due.append(&mut of_one);
    }
    due.sort_unstable();
    due.dedup();
    due.truncate(count);
    Ok(due)
}

/// The latest instant, not after `now`, at which any of the expressions was due; none within the last year.
///
/// # Errors
/// `Config`, with the expression that can't be read.
pub fn last_due(expressions: &[String], zone: Tz, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let mut latest = None;
    for expression in expressions {
        let expression = Expression::parse(expression)?;
        // Search back in growing steps, because most expressions are due daily and some monthly.
        let found = [1, 8, 32, 366].into_iter().find_map(|days| {
            instants(&expression, zone, now - TimeDelta::days(days))
                .take_while(|instant| *instant <= now)
                .last()
        });
        latest = latest.max(found);
    }
    Ok(latest)
}

/// The largest shift of a zone's clock. The search for local times begins this much earlier than `from`.
const LARGEST_SHIFT: TimeDelta = TimeDelta::hours(26);

/// The instants of an expression from about `from` on, in order; an instant may come more than once.
///
/// The crate leaves out local times that the clock skips, and counts those that come twice as two. So it is asked for
/// local times in a zone without shifts, and each is converted to an instant here.
fn instants(
    expression: &Expression,
    zone: Tz,
    from: DateTime<Utc>,
) -> impl Iterator<Item = DateTime<Utc>> + use<> {
    let local = from.with_timezone(&zone).naive_local() - LARGEST_SHIFT;
    // A second earlier, because the crate leaves out its start.
    let start = (local - TimeDelta::seconds(1)).and_utc();
    expression
        .after(start)
        .map(move |local| to_instant(local.naive_utc(), zone))
        .skip_while(move |instant| *instant < from - TimeDelta::seconds(1))
}

/// The instant of a local time: the first of two, and for a skipped time the first instant after the gap.
fn to_instant(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    let found = |local: NaiveDateTime| zone.from_local_datetime(&local).earliest();
    let minutes = (0..=26 * 60).map(|minute| local + TimeDelta::minutes(minute));
    let Some((later, instant)) = minutes.filter_map(|later| Some((later, found(later)?))).next() else {
        return local.and_utc();
    };
    if later == local {
        return instant.to_utc();
    }
    // The gap ends at a whole minute, but the skipped time may have seconds.
    let seconds = i64::from(chrono::Timelike::second(&later));
    (instant - TimeDelta::seconds(seconds)).to_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, zone: Tz, now: &str, count: usize) -> Vec<String> {
        let now = now.parse::<DateTime<Utc>>().expect("instant");
        let runs = next_runs(&[expression.to_owned()], zone, now, count).expect("runs");
        runs.into_iter()
            .map(|run| run.with_timezone(&zone).format("%a %F %T").to_string())
            .collect()
    }

    #[test]
    fn five_fields_six_fields_and_days_of_the_week_have_the_meaning_of_cron() {
        let now = "2026-11-23T19:00:00Z";
        assert_eq!(
            next("0 2 * * *", Tz::Europe__Moscow, now, 1),
            ["Tue 2026-11-24 02:00:00"]
        );
        assert_eq!(next("30 0 2 * * *", Tz::UTC, now, 1), ["Tue 2026-11-24 02:00:30"]);
        assert_eq!(next("0 2 * * 1", Tz::UTC, now, 1), ["Mon 2026-11-30 02:00:00"]);
        for sunday in ["0", "7", "SUN"] {
            assert_eq!(
                next(&format!("0 2 * * {sunday}"), Tz::UTC, now, 1),
                ["Sun 2026-11-29 02:00:00"]
            );
        }
        assert_eq!(
            next("0 2 * * 5-7", Tz::UTC, now, 4),
            [
                "Fri 2026-11-27 02:00:00",
                "Sat 2026-11-28 02:00:00",
                "Sun 2026-11-29 02:00:00",
                "Fri 2026-12-04 02:00:00"
            ]
        );
        for wrong in ["", "* * *", "61 2 * * *", "0 2 * * 8", "0 2 * * x"] {
            let error = Expression::parse(wrong).expect_err(wrong);
            assert_eq!(error.kind(), crate::ErrorKind::Config);
        }
    }

    #[test]
    fn an_instant_of_several_expressions_is_due_once() {
        let expressions = ["0 2 * * *".to_owned(), "0 */2 * * *".to_owned()];
        let now = "2026-11-23T01:00:00Z".parse().expect("instant");
        let hours: Vec<_> = next_runs(&expressions, Tz::UTC, now, 3)
            .expect("runs")
            .iter()
            .map(|t| t.format("%H").to_string())
            .collect();
        assert_eq!(hours, ["02", "04", "06"]);
    }

    #[test]
    fn a_time_that_the_clock_skips_is_due_once_after_the_gap() {
        // Berlin goes from 02:00 to 03:00 on 29 March 2026.
        let now = "2026-03-28T12:00:00Z";
        assert_eq!(
            next("30 2 * * *", Tz::Europe__Berlin, now, 2),
            ["Sun 2026-03-29 03:00:00", "Mon 2026-03-30 02:30:00"]
        );
        assert_eq!(
            next("15 30 2 * * *", Tz::Europe__Berlin, now, 1),
            ["Sun 2026-03-29 03:00:00"]
        );
        // Six skipped times and the first one of the next hour are due together.
        assert_eq!(
            next("*/10 2,3 29 3 *", Tz::Europe__Berlin, now, 3),
            [
                "Sun 2026-03-29 03:00:00",
                "Sun 2026-03-29 03:10:00",
                "Sun 2026-03-29 03:20:00"
            ]
        );
        // After the gap the next due time is on the next day.
        assert_eq!(
            next("30 2 * * *", Tz::Europe__Berlin, "2026-03-29T01:00:00Z", 1),
            ["Mon 2026-03-30 02:30:00"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_is_due_the_first_time() {
        // Berlin goes from 03:00 back to 02:00 on 25 October 2026.
        let zone = Tz::Europe__Berlin;
        let now = "2026-10-24T12:00:00Z".parse().expect("instant");
        let runs = next_runs(&["30 2 * * *".to_owned()], zone, now, 2).expect("runs");
        assert_eq!(runs[0].to_rfc3339(), "2026-10-25T00:30:00+00:00");
        assert_eq!(runs[1].to_rfc3339(), "2026-10-26T01:30:00+00:00");
        // In the second of the two hours it is not due again.
        let between = "2026-10-25T01:10:00Z".parse().expect("instant");
        let runs = next_runs(&["30 2 * * *".to_owned()], zone, between, 1).expect("runs");
        assert_eq!(runs[0].to_rfc3339(), "2026-10-26T01:30:00+00:00");
    }

    #[test]
    fn the_last_due_time_is_found_however_rare_it_is() {
        let last = |expression: &str, now: &str| {
            let now = now.parse().expect("instant");
            let last = last_due(&[expression.to_owned()], Tz::Europe__Berlin, now).expect("expression");
            last.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        };
        let now = "2026-11-23T01:00:00Z";
        assert_eq!(last("0 2 * * *", now).as_deref(), Some(now), "now itself counts");
        assert_eq!(
            last("0 2 * * *", "2026-11-23T00:59:59Z").as_deref(),
            Some("2026-11-22T01:00:00Z")
        );
        assert_eq!(last("0 2 1 * *", now).as_deref(), Some("2026-11-01T01:00:00Z"));
        assert_eq!(last("0 2 24 12 *", now).as_deref(), Some("2025-12-24T01:00:00Z"));
        assert_eq!(last("0 2 29 2 *", now), None);
        assert_eq!(
            last_due(&[], Tz::UTC, now.parse().expect("instant")).expect("none"),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn every_day_of_a_year_has_its_run(zone in 0..chrono_tz::TZ_VARIANTS.len(), hour in 0_u32..24, minute in 0_u32..60) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let from = "2026-01-01T00:00:00Z".parse().expect("instant");
            let runs = next_runs(&[format!("{minute} {hour} * * *")], zone, from, 365).expect("runs");
            let local = |run: &DateTime<Utc>| run.with_timezone(&zone).naive_local();
            let mut day = local(&runs[0]).date();
            for pair in runs.windows(2) {
                let hours = (pair[1] - pair[0]).num_minutes() as f64 / 60.0;
                proptest::prop_assert!((22.0..=26.0).contains(&hours), "{zone}: {} to {}", pair[0], pair[1]);
                day = day + chrono::Days::new(1);
                let run = local(&pair[1]);
                // A skipped time late in the evening is due at midnight, on the next date.
                let at_midnight = run == (day + chrono::Days::new(1)).and_time(chrono::NaiveTime::MIN);
                proptest::prop_assert!(run.date() == day || (hour >= 22 && at_midnight), "{zone}: {day} at {run}");
            }
        }
    }
}
