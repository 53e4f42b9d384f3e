//! Dates on the command line. Pure.

use chrono::{Datelike, NaiveDate, Utc};

use crate::config::Config;
use crate::lake;
use crate::{Error, ErrorKind, Result};

/// Years in which lessons may have been held.
const YEARS: std::ops::Range<i32> = 2000..3000;

/// Parses `YYYY-MM-DD`: the form that clap shows in its error.
pub fn parse(text: &str) -> std::result::Result<NaiveDate, String> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        // `26-11-22` is a date too, but of another millennium.
        .filter(|date| text.len() == 10 && YEARS.contains(&date.year()))
        .ok_or_else(|| "not a date such as 2026-11-22".into())
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
            "dates",
            format!("{from} has not come yet"),
        ));
    }
    Ok(())
}

/// Today in the configured zone.
pub fn today(config: &Config) -> NaiveDate {
    lake::date_of(Utc::now(), config.timezone)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for wrong in [
            "22.11.2026",
            "2026-13-01",
            "26-11-22",
            "-262143-01-01",
            "2026-1-2",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
