//! The dates that no run has covered. Pure.

use std::sync::Arc;

use chrono::{Days, NaiveDate};

use super::day_status::DayStatus;
use crate::dates;

/// The spans of dates without a manifest, up to yesterday or the last date asked for: no run has covered them.
pub fn never_looked_at(
    today: NaiveDate,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    days: &[Arc<DayStatus>],
) -> Vec<(NaiveDate, NaiveDate)> {
    let Some(first) = from.or(days.first().map(|day| day.date)) else {
        return Vec::new();
    };
    let yesterday = today - Days::new(1);
    let last = to.map_or(yesterday, |to| to.min(yesterday));
    let absent = first
        .iter_days()
        .take_while(|date| *date <= last)
        .filter(|date| days.binary_search_by_key(date, |day| day.date).is_err());
    dates::spans(absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().expect("date")
    }

    #[test]
    fn dates_without_a_day_up_to_yesterday_are_gaps() {
        let day = |text: &str| {
            Arc::new(DayStatus {
                date: date(text),
                ..DayStatus::default()
            })
        };
        let days = [day("2026-11-03"), day("2026-11-03"), day("2026-11-06")];
        let gaps = |from: Option<&str>, to: Option<&str>| {
            let gaps = never_looked_at(date("2026-11-10"), from.map(date), to.map(date), &days);
            let gaps = gaps.iter().map(|(from, to)| format!("{from}..{to}"));
            gaps.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(gaps(None, None), "2026-11-04..2026-11-05 2026-11-07..2026-11-09");
        assert_eq!(
            gaps(Some("2026-11-01"), Some("2026-11-04")),
            "2026-11-01..2026-11-02 2026-11-04..2026-11-04"
        );
        assert!(never_looked_at(date("2026-11-10"), None, None, &[]).is_empty());
    }
}
