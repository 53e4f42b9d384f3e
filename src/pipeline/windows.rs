//! Splits the dates of a job into windows, so that the memory of a run is bounded. Pure.

use chrono::{Days, NaiveDate};

/// The number of dates whose listing is in memory at once.
const WINDOW_DAYS: u64 = 31;

/// The same under a budget of requests, which may end the run before the end of a window.
const WINDOW_DAYS_OF_BUDGET: u64 = 7;

/// Splits the dates from `from` to `to` into windows.
pub(super) fn windows(
    from: NaiveDate,
    to: NaiveDate,
    has_budget: bool,
) -> impl Iterator<Item = (NaiveDate, NaiveDate)> {
    let days = if has_budget {
        WINDOW_DAYS_OF_BUDGET
    } else {
        WINDOW_DAYS
    };
    std::iter::successors(Some(from), move |start| Some(*start + Days::new(days)))
        .take_while(move |start| *start <= to)
        .map(move |start| (start, to.min(start + Days::new(days - 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_date_once() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("date");
        assert_eq!(windows(date("2026-01-01"), date("2026-01-01"), true).count(), 1);
        let all: Vec<_> = windows(date("2026-01-01"), date("2026-03-05"), false)
            .flat_map(|(from, to)| from.iter_days().take_while(move |d| *d <= to))
            .collect();
        let expected: Vec<_> = date("2026-01-01")
            .iter_days()
            .take_while(|d| *d <= date("2026-03-05"))
            .collect();
        assert_eq!(all, expected);
    }
}
