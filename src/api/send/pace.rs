//! Spaces requests in time: the configured cap on requests per second, and the hold after the API's "too many requests".
//! Pure: times are passed in; the sender sleeps until the slot.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Hands out start times for requests, in the order of the calls.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// The next free slot.
    next: Option<Instant>,
    /// The end of the latest hold.
    held_until: Option<Instant>,
}

impl Pace {
    /// A pace of at most `requests_per_second`; 0 means no cap.
    pub(super) fn new(requests_per_second: f64) -> Self {
        let interval = if requests_per_second > 0.0 {
            1.0 / requests_per_second
        } else {
            0.0
        };
        let interval = Duration::try_from_secs_f64(interval).unwrap_or(Duration::MAX);
        Self {
            interval,
            times: Mutex::default(),
        }
    }

    /// Takes the next slot: the time from which the caller may send.
    pub(super) fn slot(&self, now: Instant) -> Instant {
        let mut times = self.lock();
        let slot = times.next.map_or(now, |next| next.max(now));
        times.next = slot.checked_add(self.interval);
        slot
    }

    /// Gives no further slot before `until`. If the API refuses one request as too many, it would refuse the others too.
    pub(super) fn hold(&self, until: Instant) {
        let mut times = self.lock();
        times.next = Some(times.next.map_or(until, |next| next.max(until)));
        times.held_until = Some(times.held_until.map_or(until, |held| held.max(until)));
    }

    /// True during a hold. Slots that were taken before it are void.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.lock().held_until.is_some_and(|until| now < until)
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_an_interval_apart_and_unused_slots_are_lost() {
        let pace = Pace::new(4.0);
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(
            [pace.slot(start), pace.slot(start), pace.slot(start)],
            [at(0), at(250), at(500)]
        );
        assert_eq!([pace.slot(at(5000)), pace.slot(at(5001))], [at(5000), at(5250)]);
    }

    #[test]
    fn without_a_cap_only_a_hold_delays() {
        let pace = Pace::new(0.0);
        let start = Instant::now();
        assert_eq!([pace.slot(start), pace.slot(start)], [start, start]);
        let until = start + Duration::from_secs(3);
        pace.hold(until);
        pace.hold(start);
        assert_eq!([pace.slot(start), pace.slot(start)], [until, until]);
        let later = until + Duration::from_secs(1);
        assert_eq!(pace.slot(later), later);
        assert!(pace.is_held(start) && !pace.is_held(until));
    }
}
