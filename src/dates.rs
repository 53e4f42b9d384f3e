//! The rule for dates that the command line, the page and the daemon's API share. Pure but for [`today`].
//!
//! Jobs take dates from [`FIRST`] to today in the configured zone. Reading (`status`, `verify`, the page) has the same first
//! date and no last one. A job of more than [`CONFIRM_ABOVE`] days has to be confirmed.

use chrono::{NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer};

use crate::lake;
use crate::{Error, ErrorKind, Result};

/// The first date that can be asked for: the platform has no lessons before it.
pub const FIRST: NaiveDate = match NaiveDate::from_ymd_opt(2015, 1, 1) {
    Some(date) => date,
    None => NaiveDate::MIN,
};

/// The number of days above which a job has to be confirmed.
pub const CONFIRM_ABOVE: u64 = 400;

/// Today in a zone.
pub fn today(zone: Tz) -> NaiveDate {
    lake::date_of(Utc::now(), zone)
}

/// Parses `YYYY-MM-DD` and no other form. Clap and the daemon's API show the error.
///
/// # Errors
/// A sentence about any other form.
pub fn parse(text: &str) -> Result<NaiveDate, String> {
    let has_form = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    has_form
        .then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok())
        .flatten()
        .ok_or_else(|| "not a date such as 2026-11-22".into())
}

/// The spans of consecutive dates: the first and the last date of each. The dates come in order.
pub fn spans(dates: impl IntoIterator<Item = NaiveDate>) -> Vec<(NaiveDate, NaiveDate)> {
    let mut spans: Vec<(NaiveDate, NaiveDate)> = Vec::new();
    for date in dates {
        match spans.last_mut() {
            Some((_, end)) if end.succ_opt() == Some(date) => *end = date,
            _ => spans.push((date, date)),
        }
    }
    spans
}

/// Deserializes a date in the form that [`parse`] takes.
///
/// # Errors
/// Any other form.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NaiveDate, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(|why| serde::de::Error::custom(format!("{text:?} is {why}")))
}

/// Deserializes such a date, or none. An empty text is none.
///
/// # Errors
/// Any other form.
pub fn deserialize_option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NaiveDate>, D::Error> {
    let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
    text.map(|text| parse(&text).map_err(|why| serde::de::Error::custom(format!("{text:?} is {why}"))))
        .transpose()
}

/// Checks the dates of a job. `today` is the date in the configured zone.
///
/// # Errors
/// `Usage`, with the date, the range that is allowed and the way out.
pub fn check_job(from: NaiveDate, to: NaiveDate, today: NaiveDate) -> Result<()> {
    check_order(from, to)?;
    let wrong = |message: String| {
        Err(Error::new(ErrorKind::Usage, "dates", message).hint(format!(
            "ask for dates from {FIRST} to {today}, which is today in the configured timezone; years have four digits"
        )))
    };
    if from < FIRST {
        return wrong(format!(
            "{from} is before {FIRST}, the first date that can be asked for"
        ));
    }
    if to > today {
        return wrong(format!("{to} has not come yet"));
    }
    Ok(())
}

/// Checks the dates of a reading command, which may lie in the future.
///
/// # Errors
/// `Usage`, with the date, the range that is allowed and the way out.
pub fn check_reading(from: Option<NaiveDate>, to: Option<NaiveDate>) -> Result<()> {
    if let (Some(from), Some(to)) = (from, to) {
        check_order(from, to)?;
    }
    match from.into_iter().chain(to).find(|date| *date < FIRST) {
        Some(date) => Err(Error::new(
            ErrorKind::Usage,
            "dates",
            format!("{date} is before {FIRST}, the first date that a lake can have"),
        )
        .hint(format!("ask for dates from {FIRST} on; years have four digits"))),
        None => Ok(()),
    }
}

fn check_order(from: NaiveDate, to: NaiveDate) -> Result<()> {
    if from <= to {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Usage, "dates", format!("{from} to {to} holds no date"))
            .hint("the first date must not be later than the last one"),
    )
}

/// The number of dates from `from` to `to`, both included.
pub fn count(from: NaiveDate, to: NaiveDate) -> u64 {
    u64::try_from((to - from).num_days() + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        parse(text).expect("date")
    }

    #[test]
    fn a_job_takes_dates_from_2015_to_today_and_its_error_names_them() {
        let today = date("2026-11-23");
        for (from, to) in [
            ("2015-01-01", "2015-01-01"),
            ("2015-01-01", "2026-11-23"),
            ("2026-11-23", "2026-11-23"),
        ] {
            check_job(date(from), date(to), today).expect(from);
        }
        for (from, to, named) in [
            ("2014-12-31", "2026-11-22", "2014-12-31"),
            ("0026-11-20", "0026-11-20", "0026-11-20"),
            ("0026-11-20", "2026-11-20", "0026-11-20"),
            ("2026-11-20", "2026-11-24", "2026-11-24"),
            ("2026-11-24", "2026-11-25", "2026-11-25"),
            ("2026-11-20", "9999-12-31", "9999-12-31"),
        ] {
            let error = check_job(date(from), date(to), today).expect_err(from);
            assert_eq!(error.kind(), ErrorKind::Usage);
            let text = error.to_string();
            for part in [named, "from 2015-01-01 to 2026-11-23"] {
                assert!(text.contains(part), "{text}");
            }
        }
        let error = check_job(date("2026-11-22"), date("2026-11-21"), today).expect_err("order");
        assert!(error.to_string().contains("2026-11-22 to 2026-11-21"), "{error}");
    }

    #[test]
    fn reading_has_the_same_first_date_and_no_last_one() {
        let some = |text| Some(date(text));
        check_reading(None, None).expect("all");
        check_reading(some("2015-01-01"), some("2100-01-01")).expect("later");
        for (from, to) in [
            (some("2014-12-31"), None),
            (None, some("0026-11-20")),
            (some("2026-11-22"), some("2026-11-21")),
        ] {
            assert_eq!(
                check_reading(from, to).expect_err("wrong").kind(),
                ErrorKind::Usage
            );
        }
    }

    #[test]
    fn only_four_two_and_two_digits_are_a_date() {
        for wrong in [
            "22.11.2026",
            "2026-13-01",
            "26-11-22",
            "-262143-01-01",
            "+026-11-20",
            "2026-1-2",
            "2026-11-2 ",
            " 2026-1-22",
            "2026/11/22",
            "2026-11-22T00:00:00Z",
            "20261-1-22",
            "",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        #[derive(Debug, Deserialize)]
        struct Form {
            #[serde(deserialize_with = "deserialize")]
            date: NaiveDate,
            #[serde(default, deserialize_with = "deserialize_option")]
            to: Option<NaiveDate>,
        }
        let form: Form = serde_json::from_str(r#"{"date":"2026-11-22","to":""}"#).expect("form");
        assert_eq!((form.date, form.to), (date("2026-11-22"), None));
        let error = serde_json::from_str::<Form>(r#"{"date":"26-11-22"}"#).expect_err("form");
        assert!(error.to_string().contains("26-11-22"), "{error}");
    }

    #[test]
    fn the_count_includes_both_ends() {
        assert_eq!(count(date("2026-11-22"), date("2026-11-22")), 1);
        assert_eq!(count(date("2015-01-01"), date("2016-01-01")), 366);
    }
}
