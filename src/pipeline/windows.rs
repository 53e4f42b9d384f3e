//! Splits the dates of a job into windows, so that the memory of a run is bounded. Pure.

use chrono::{Days, NaiveDate};

/// The number of dates whose listing is in memory at once.
const WINDOW_DAYS: u64 = 31;

/// Splits the dates from `from` to `to` into windows of [`WINDOW_DAYS`].
pub(super) fn windows(from: NaiveDate, to: NaiveDate) -> impl Iterator<Item = (NaiveDate, NaiveDate)> {
    std::iter::successors(Some(from), |start| Some(*start + Days::new(WINDOW_DAYS)))
        .take_while(move |start| *start <= to)
        .map(move |start| (start, to.min(start + Days::new(WINDOW_DAYS - 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_date_once() {
        let date = |text: &str| text.parse::<NaiveDate>().expect("date");
        assert_eq!(windows(date("2026-01-01"), date("2026-01-01")).count(), 1);
        let all: Vec<_> = windows(date("2026-01-01"), date("2026-03-05"))
            .flat_map(|(from, to)| from.iter_days().take_while(move |d| *d <= to))
            .collect();
        let expected: Vec<_> = date("2026-01-01")
            .iter_days()
            .take_while(|d| *d <= date("2026-03-05"))
            .collect();
        assert_eq!(all, expected);
    }
}
