//! Counts of reports or recordings by their status. Pure.

use std::ops::AddAssign;

use super::manifest::Status;

/// The number of reports or recordings with each [`Status`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// They are in the lake.
    pub done: u64,
    /// They are not there yet; later runs ask again.
    pub pending: u64,
    /// They could not be fetched or used; later runs ask again.
    pub failed: u64,
    /// The API refuses them.
    pub denied: u64,
    /// The platform itself has given them up.
    pub unavailable: u64,
    /// They did not come within `export.give_up`.
    pub lost: u64,
}

impl Tally {
    /// Counts one more of a status.
    pub fn add(&mut self, status: Status) {
        *match status {
            Status::Done => &mut self.done,
            Status::Pending => &mut self.pending,
            Status::Failed => &mut self.failed,
            Status::Denied => &mut self.denied,
            Status::Unavailable => &mut self.unavailable,
            Status::Lost => &mut self.lost,
        } += 1;
    }

    /// The sum over all statuses.
    pub fn total(&self) -> u64 {
        self.done + self.missing() + self.unavailable
    }

    /// The number that should be in the lake and is not. Unavailable ones do not exist, so they are not missing.
    pub fn missing(&self) -> u64 {
        self.pending + self.failed + self.denied + self.lost
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.pending += other.pending;
        self.failed += other.failed;
        self.denied += other.denied;
        self.unavailable += other.unavailable;
        self.lost += other.lost;
    }
}

impl FromIterator<Status> for Tally {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        let mut tally = Self::default();
        statuses.into_iter().for_each(|status| tally.add(status));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_counted_once_and_only_the_unavailable_are_not_missing() {
        use Status::{Denied, Done, Failed, Lost, Pending, Unavailable};
        let mut tally: Tally = [Done, Done, Pending, Failed, Denied, Unavailable, Lost]
            .into_iter()
            .collect();
        let expected = Tally {
            done: 2,
            pending: 1,
            failed: 1,
            denied: 1,
            unavailable: 1,
            lost: 1,
        };
        assert_eq!(tally, expected);
        assert_eq!((tally.total(), tally.missing()), (7, 4));
        tally += expected;
        assert_eq!((tally.done, tally.total(), tally.missing()), (4, 14, 8));
        let none: Tally = [Done, Unavailable].into_iter().collect();
        assert_eq!(none.missing(), 0);
    }
}
