//! The pace and the remaining time of a running job, computed from samples of its counters. Pure.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

/// The time over which the pace is measured.
const WINDOW: TimeDelta = TimeDelta::seconds(60);
/// The least time between two samples from which a pace is computed.
const LEAST: TimeDelta = TimeDelta::seconds(5);
/// The number of meters of a job.
pub const METERS: usize = 5;

/// The counts of every meter at instants of the last minute, oldest first.
#[derive(Debug, Default)]
pub struct Samples(VecDeque<(DateTime<Utc>, [u64; METERS])>);

impl Samples {
    /// Adds a sample and drops those that are too old.
    pub fn add(&mut self, now: DateTime<Utc>, done: [u64; METERS]) {
        self.0.push_back((now, done));
        // Keep a sample from before the window, so that the window is covered.
        while self.0.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// The steps of a meter per second over the last minute, with `done` steps at `now`; none if not known yet.
    pub fn per_second(&self, meter: usize, now: DateTime<Utc>, done: u64) -> Option<f64> {
        let (at, counts) = self.0.front()?;
        let span = now - *at;
        if span < LEAST {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let steps = done.saturating_sub(counts[meter]) as f64;
        Some(steps / span.as_seconds_f64())
    }
}

/// The seconds until `done` reaches `goal` at a pace; none if not known.
pub fn eta_seconds(done: u64, goal: u64, per_second: Option<f64>) -> Option<u64> {
    if goal == 0 {
        return None;
    }
    if done >= goal {
        return Some(0);
    }
    let pace = per_second.filter(|pace| *pace > 0.0)?;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    Some(((goal - done) as f64 / pace).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn samples(all: &[(i64, u64)]) -> Samples {
        let mut samples = Samples::default();
        for (second, done) in all {
            samples.add(at(*second), [*done, 0, 0, 0, 0]);
        }
        samples
    }

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let steady: Vec<_> = (0..=40).map(|n| (n * 5, n as u64 * 10)).collect();
        let of_steady = samples(&steady);
        assert_eq!(of_steady.per_second(0, at(200), 400), Some(2.0));
        assert!(of_steady.0.len() <= 14, "bounded: {}", of_steady.0.len());
        // The meter was fast long ago, and has been slow since.
        let slower = samples(&[(0, 0), (10, 10_000), (70, 10_060)]);
        assert_eq!(slower.per_second(0, at(70), 10_060), Some(1.0));
        assert_eq!(
            samples(&[(0, 7)]).per_second(0, at(60), 7),
            Some(0.0),
            "it stands still"
        );
    }

    #[test]
    fn a_pace_over_a_moment_is_unknown() {
        assert_eq!(Samples::default().per_second(0, at(60), 60), None);
        let young = samples(&[(0, 0)]);
        assert_eq!(young.per_second(0, at(4), 100), None);
        assert_eq!(young.per_second(0, at(5), 100), Some(20.0));
        assert_eq!(young.per_second(1, at(5), 0), Some(0.0));
    }

    #[test]
    fn the_remaining_time_follows_from_the_pace() {
        assert_eq!(eta_seconds(50, 100, Some(2.0)), Some(25));
        assert_eq!(eta_seconds(99, 100, Some(3.0)), Some(1));
        assert_eq!(eta_seconds(100, 100, None), Some(0));
        for (done, goal, pace) in [(0, 0, Some(1.0)), (50, 100, None), (50, 100, Some(0.0))] {
            assert_eq!(eta_seconds(done, goal, pace), None);
        }
    }
}
