//! Counts of visits. Pure.

/// Seconds after the scheduled start from which a visit counts as late.
pub const LATE_AFTER_S: f64 = 300.0;

/// Counts of visits. A visit is a student in a meeting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Visits that should have been.
    pub expected: u64,
    /// Visits that were.
    pub attended: u64,
    /// Visits of which it is not known, because a report is missing.
    pub unknown: u64,
    /// Visits that began late.
    pub late: u64,
}

impl Tally {
    /// The tally of a single visit: true, false or unknown, and the seconds after the scheduled start.
    pub fn of_visit(attended: Option<bool>, late_s: Option<f64>) -> Self {
        let came = attended == Some(true);
        Self {
            expected: 1,
            attended: came.into(),
            unknown: attended.is_none().into(),
            late: (came && late_s.is_some_and(|late| late > LATE_AFTER_S)).into(),
        }
    }

    /// Adds other visits.
    pub fn add(&mut self, other: Self) {
        self.expected += other.expected;
        self.attended += other.attended;
        self.unknown += other.unknown;
        self.late += other.late;
    }

    /// Visits of which it is known whether they were.
    pub fn known(self) -> u64 {
        self.expected.saturating_sub(self.unknown)
    }

    /// Visits that should have been and were not.
    pub fn absent(self) -> u64 {
        self.known().saturating_sub(self.attended)
    }

    /// The share in whole percents: 100 only if nobody was absent, 0 only if nobody came.
    pub fn percent(self) -> Option<u64> {
        let rounded = (100 * self.attended + self.known() / 2).checked_div(self.known())?;
        Some(match (self.attended, self.absent()) {
            (0, _) => 0,
            (_, 0) => 100,
            _ => rounded.clamp(1, 99),
        })
    }

    /// The share of the known visits that were, 0 to 1; none if nothing is known.
    pub fn share(self) -> Option<f64> {
        (self.known() > 0).then(|| self.attended as f64 / self.known() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_visits_are_left_out_of_the_share() {
        let mut tally = Tally::default();
        assert_eq!(tally.share(), None);
        for (attended, late) in [
            (Some(true), Some(301.0)),
            (Some(true), Some(300.0)),
            (Some(false), None),
            (None, None),
        ] {
            tally.add(Tally::of_visit(attended, late));
        }
        assert_eq!(
            (tally.expected, tally.attended, tally.unknown, tally.late),
            (4, 2, 1, 1)
        );
        assert_eq!((tally.known(), tally.absent()), (3, 1));
        assert_eq!((tally.share(), tally.percent()), (Some(2.0 / 3.0), Some(67)));
    }

    #[test]
    fn only_whole_attendance_is_100_percent() {
        let percent = |attended, expected| {
            let tally = Tally {
                expected,
                attended,
                ..Tally::default()
            };
            tally.percent()
        };
        assert_eq!(percent(0, 0), None);
        assert_eq!((percent(999, 1000), percent(1000, 1000)), (Some(99), Some(100)));
        assert_eq!((percent(1, 1000), percent(0, 1000)), (Some(1), Some(0)));
    }
}
