//! Cron expressions with the meaning of crontab(5), translated for the `cron` crate. Pure.
//!
//! The crate counts Sunday as 1, mixes up lists of names and numbers, and demands that a day matches both the day of the
//! month and the day of the week. Therefore fields are parsed here, and the crate gets plain lists of numbers.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use cron::Schedule;

use crate::{Error, ErrorKind, Result};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];
/// The expressions that have a name.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A field of an expression: the range of its values, and the names of the first ones.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 6] = [
    field("second", 0, 59),
    field("minute", 0, 59),
    field("hour", 0, 23),
    field("day of the month", 1, 31),
    Field {
        names: &MONTHS,
        ..field("month", 1, 12)
    },
    Field {
        names: &WEEKDAYS,
        ..field("day of the week", 0, 7)
    },
];

const fn field(name: &'static str, first: u32, last: u32) -> Field {
    Field {
        name,
        first,
        last,
        names: &[],
    }
}

/// A parsed cron expression.
#[derive(Debug, Clone)]
pub struct Expression {
    /// The schedules of which one has to match: two if both the day of the month and the day of the week are restricted.
    schedules: Vec<Schedule>,
}

impl Expression {
    /// Parses an expression of 5 fields, of 6 with seconds, or a name such as `@daily`. 0 and 7 are Sunday.
    ///
    /// # Errors
    /// `Config`, with the expression and its fault.
    pub fn parse(expression: &str) -> Result<Self> {
        Self::read(expression).map_err(|why| {
            Error::new(
                ErrorKind::Config,
                "schedule.cron",
                format!("`{expression}` {why}"),
            )
        })
    }

    fn read(expression: &str) -> Result<Self, String> {
        let expression = expression.trim();
        let nickname = NICKNAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(expression));
        let mut texts: Vec<&str> = nickname
            .map_or(expression, |(_, meaning)| meaning)
            .split_whitespace()
            .collect();
        match texts.len() {
            5 => texts.insert(0, "0"),
            6 => {}
            _ => return Err("has neither 5 fields nor 6".into()),
        }
        let fields: Vec<BTreeSet<u32>> = FIELDS
            .iter()
            .zip(&texts)
            .map(|(field, text)| field.values(text))
            .collect::<Result<_, _>>()?;
        let restricts = |at: usize| !texts[at].starts_with(['*', '?']);
        let schedules = match restricts(3) && restricts(5) {
            // crontab(5): if both are restricted, a day that matches either of them is due.
            true => vec![schedule(&fields, Some(5))?, schedule(&fields, Some(3))?],
            false => vec![schedule(&fields, None)?],
        };
        let expression = Self { schedules };
        match expression.after(DateTime::UNIX_EPOCH).next() {
            Some(_) => Ok(expression),
            None => Err("is never due: its months have no such day".into()),
        }
    }

    /// The local times after `start` that match, in order. `start` and the times are local, although their type says UTC,
    /// because the crate demands a zone.
    pub fn after(&self, start: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        let mut parts: Vec<_> = self
            .schedules
            .iter()
            .map(|schedule| schedule.after_owned(start).peekable())
            .collect();
        std::iter::from_fn(move || {
            let next = parts.iter_mut().filter_map(|part| part.peek().copied()).min()?;
            for part in &mut parts {
                part.next_if_eq(&next);
            }
            Some(next)
        })
    }
}

/// The crate's schedule of these values. `free` is a field that restricts nothing.
fn schedule(fields: &[BTreeSet<u32>], free: Option<usize>) -> Result<Schedule, String> {
    let texts = fields.iter().enumerate().map(|(at, values)| {
        if free == Some(at) {
            return "*".to_owned();
        }
        // The crate counts days of the week from 1.
        let shift = u32::from(at == 5);
        let values: Vec<String> = values.iter().map(|value| (value + shift).to_string()).collect();
        values.join(",")
    });
    let text = texts.collect::<Vec<_>>().join(" ");
    Schedule::from_str(&text).map_err(|_| "is no cron expression".into())
}

impl Field {
    /// The values of a list of numbers, names, ranges and steps.
    fn values(&self, text: &str) -> Result<BTreeSet<u32>, String> {
        let mut values = BTreeSet::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (item, None),
            };
            let (first, last) = self.range(range, step.is_some())?;
            let step = match step.map(str::parse::<usize>) {
                None => 1,
                Some(Ok(step)) if step > 0 => step,
                Some(_) => return Err(format!("has a step that is no number from 1 on: `{item}`")),
            };
            values.extend((first..=last).step_by(step));
        }
        // Both 0 and 7 are Sunday.
        if self.name == FIELDS[5].name && values.remove(&7) {
            values.insert(0);
        }
        Ok(values)
    }

    /// The ends of `*`, `A` or `A-B`. With a step, `A` goes on to the end.
    fn range(&self, text: &str, has_step: bool) -> Result<(u32, u32), String> {
        let end = match self.names.len() {
            7 => 6,
            _ => self.last,
        };
        if matches!(text, "*" | "?") {
            return Ok((self.first, end));
        }
        let Some((first, last)) = text.split_once('-') else {
            let value = self.value(text)?;
            return Ok((value, if has_step { end.max(value) } else { value }));
        };
        match (self.value(first)?, self.value(last)?) {
            // The range goes up to Sunday.
            (first, 0) if first > 0 && self.names.len() == 7 => Ok((first, 7)),
            (first, last) if first <= last => Ok((first, last)),
            _ => Err(format!("has a range that ends before it begins: `{text}`")),
        }
    }

    /// A number, or a name of three letters or more.
    fn value(&self, text: &str) -> Result<u32, String> {
        let name = text.to_ascii_lowercase();
        let named = |full: &&str| name.len() >= 3 && full.starts_with(&name);
        let by_name = (self.first..).zip(self.names).find(|(_, full)| named(full));
        let by_number = || {
            text.bytes()
                .all(|c| c.is_ascii_digit())
                .then(|| text.parse().ok())
        };
        by_name
            .map(|(value, _)| value)
            .or_else(|| by_number().flatten())
            .filter(|value| (self.first..=self.last).contains(value))
            .ok_or_else(|| {
                format!(
                    "has `{text}` for its {}: write a number from {} to {}",
                    self.name, self.first, self.last
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};

    fn next(expression: &str, start: &str, count: usize) -> Vec<String> {
        let start = start.parse().expect("instant");
        let expression = Expression::parse(expression).expect(expression);
        let times = expression.after(start).take(count);
        times.map(|time| time.format("%a %F %T").to_string()).collect()
    }

    const NOW: &str = "2026-11-23T19:00:00Z";

    #[test]
    fn a_day_matches_the_day_of_the_month_or_the_day_of_the_week() {
        assert_eq!(
            next("0 2 1,15 * 5", NOW, 4),
            [
                "Fri 2026-11-27 02:00:00",
                "Tue 2026-12-01 02:00:00",
                "Fri 2026-12-04 02:00:00",
                "Fri 2026-12-11 02:00:00",
            ]
        );
        // Friday the 13th matches twice and is due once.
        assert_eq!(
            next("0 2 13 * 5", "2026-11-12T19:00:00Z", 2),
            ["Fri 2026-11-13 02:00:00", "Fri 2026-11-20 02:00:00"]
        );
        // `*` with a step does not count as a restriction, so both have to match.
        assert_eq!(next("0 2 */2 * MON", NOW, 1), ["Mon 2026-12-07 02:00:00"]);
        assert_eq!(
            next("0 2 29 2 MON", NOW, 2),
            ["Mon 2027-02-01 02:00:00", "Mon 2027-02-08 02:00:00"]
        );
    }

    #[test]
    fn names_and_numbers_may_be_mixed_in_a_list() {
        let twice = ["Wed 2026-11-25 02:00:00", "Mon 2026-11-30 02:00:00"];
        for weekdays in ["MON,3", "1,WED", "mon,wednesday", "1-3/2", "MON-WED/2"] {
            assert_eq!(next(&format!("0 2 * * {weekdays}"), NOW, 2), twice, "{weekdays}");
        }
        assert_eq!(
            next("0 2 * * 7,FRI-SUN", NOW, 4),
            [
                "Fri 2026-11-27 02:00:00",
                "Sat 2026-11-28 02:00:00",
                "Sun 2026-11-29 02:00:00",
                "Fri 2026-12-04 02:00:00",
            ]
        );
        assert_eq!(next("0 2 1 JAN,3-4 *", NOW, 3), next("0 2 1 1,3,4 *", NOW, 3));
        assert_eq!(next("50/5 2 * * *", NOW, 2), next("50,55 2 * * *", NOW, 2));
        assert_eq!(next("@Daily", NOW, 1), ["Tue 2026-11-24 00:00:00"]);
        assert_eq!(next("@weekly", NOW, 1), ["Sun 2026-11-29 00:00:00"]);
    }

    #[test]
    fn an_expression_that_is_never_due_or_wrong_is_refused_with_the_reason() {
        for (expression, reason) in [
            ("0 2 30 2 *", "is never due"),
            ("0 2 31 4,JUN *", "is never due"),
            ("0 2 0 * *", "`0` for its day of the month"),
            ("0 2 * * 8", "`8` for its day of the week"),
            ("0 2 * * MON,x", "`x` for its day of the week"),
            ("0 2 * 13 *", "`13` for its month"),
            ("0 24 * * *", "`24` for its hour"),
            ("0 22-2 * * *", "ends before it begins"),
            ("*/0 2 * * *", "a step"),
            ("0 2,, * * *", "`` for its hour"),
            ("0 2 +1 * *", "`+1`"),
            ("@reboot", "neither 5 fields nor 6"),
        ] {
            let error = Expression::parse(expression).expect_err(expression);
            assert_eq!(
                (error.about(), error.kind()),
                ("schedule.cron", ErrorKind::Config)
            );
            assert!(error.to_string().contains(reason), "{error}");
        }
        Expression::parse("0 2 29 2 *").expect("leap years have one");
    }

    proptest::proptest! {
        /// Compares every day of some years with the rule of crontab(5).
        #[test]
        fn days_are_those_that_the_two_fields_name(day in 1_u32..32, weekday in 0_u32..8, of_month: bool, of_week: bool) {
            let restricted = |on: bool, value: u32| if on { value.to_string() } else { "*".into() };
            let text = format!("0 2 {} * {}", restricted(of_month, day), restricted(of_week, weekday));
            let start: NaiveDate = "2026-01-01".parse().expect("date");
            let expected = start.iter_days().take(800).filter(|date| {
                let (by_day, by_week) = (date.day() == day, date.weekday().num_days_from_sunday() == weekday % 7);
                match (of_month, of_week) {
                    (true, true) => by_day || by_week,
                    (true, false) => by_day,
                    (false, true) => by_week,
                    (false, false) => true,
                }
            });
            let expected: Vec<NaiveDate> = expected.collect();
            let from = start.and_time(chrono::NaiveTime::MIN).and_utc();
            let found = Expression::parse(&text).expect("expression").after(from);
            let found: Vec<NaiveDate> = found.map(|time| time.date_naive()).take(expected.len()).collect();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}
