//! The month that a reader chose. Pure.

use chrono::{Datelike, Days, Months, NaiveDate};

use crate::status::DateRange;

/// The dates of a month.
pub fn range_of_month(first: NaiveDate) -> DateRange {
    DateRange::between(first, first + Months::new(1) - Days::new(1))
}

/// The first day of a month given as `2026-11`.
pub fn parse_month(text: &str) -> Option<NaiveDate> {
    let date: NaiveDate = format!("{text}-01").parse().ok()?;
    // Arithmetic on dates beyond these may overflow.
    (1970..=9990).contains(&date.year()).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    #[test]
    fn a_month_is_parsed_within_bounds() {
        assert_eq!(parse_month("2026-11"), Some(date("2026-11-01")));
        for bad in ["", "2026", "2026-13", "2026-11-01", "0001-01", "99999-01", "a-b"] {
            assert_eq!(parse_month(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_month_ends_with_its_last_day() {
        let range = range_of_month(date("2028-02-01"));
        assert_eq!(
            (range.from, range.to),
            (Some(date("2028-02-01")), Some(date("2028-02-29")))
        );
    }
}
