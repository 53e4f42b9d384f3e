//! When runs are due: cron expressions in the configured zone. Pure: every function takes `now`.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use cron::Schedule;

use crate::{Error, ErrorKind, Result};

/// Parses an expression of 5 fields, or of 6 with seconds. Days of the week are cron's: 0 and 7 are Sunday.
///
/// # Errors
/// `Config`, with the expression.
pub fn parse(expression: &str) -> Result<Schedule> {
    let refuse = |why: &str| {
        Error::new(
            ErrorKind::Config,
            "schedule.cron",
            format!("`{expression}` {why}"),
        )
    };
    let mut fields: Vec<String> = expression.split_whitespace().map(str::to_owned).collect();
    match fields.len() {
        5 => fields.insert(0, "0".into()),
        6 => {}
        _ => return Err(refuse("has neither 5 fields nor 6")),
    }
    if let Some(weekdays) = fields.last_mut() {
        *weekdays = name_weekdays(weekdays).ok_or_else(|| refuse("names no day of the week"))?;
    }
    Schedule::from_str(&fields.join(" ")).map_err(|_| refuse("is no cron expression"))
}

/// The crate counts Sunday as 1, cron as 0 and 7: numbers are turned into names, and ranges into lists of names.
fn name_weekdays(field: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let mut names = Vec::new();
    for item in field.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)?),
            None => (item, 1),
        };
        if range == "*" || range == "?" {
            if step == 1 {
                return Some("*".into());
            }
            names.extend(NAMES[..7].iter().step_by(step).copied());
            continue;
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => names.extend(NAMES.get(first..=last)?.iter().step_by(step).copied()),
            // Names already.
            _ => return Some(field.to_owned()),
        }
    }
    Some(names.join(","))
}

/// The next `count` instants after `now` at which any of the expressions is due, each once, earliest first.
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
        let schedule = parse(expression)?;
        due.extend(
            schedule
                .after(&now.with_timezone(&zone))
                .take(count)
                .map(|instant| instant.to_utc()),
        );
    }
    due.sort_unstable();
    due.dedup();
    due.truncate(count);
    Ok(due)
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
    fn five_fields_six_fields_and_days_of_the_week_mean_what_cron_means() {
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
            assert_eq!(parse(wrong).expect_err(wrong).kind(), ErrorKind::Config);
        }
    }

    #[test]
    fn several_expressions_give_each_instant_once() {
        let expressions = ["0 2 * * *".to_owned(), "0 */2 * * *".to_owned()];
        let now = "2026-11-23T01:00:00Z".parse().expect("instant");
        let hours: Vec<_> = next_runs(&expressions, Tz::UTC, now, 3)
            .expect("runs")
            .iter()
            .map(|t| t.format("%H").to_string())
            .collect();
        assert_eq!(hours, ["02", "04", "06"]);
    }
}
