//! The number of requests that may be in flight: additive increase, multiplicative decrease. Pure: times are passed in;
//! `gate` enforces the number.
//!
//! It starts at the configured number, because the usual server is healthy. An answer that says "slow down" (429, 503)
//! halves it. Each full round of other answers adds one. There is at most one cut per round, because requests that were
//! sent before a cut say nothing about the smaller number.

use tokio::time::Instant;

/// The sign of an answer about the server's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Sign {
    /// 429 or 503.
    SlowDown,
    /// Any other answer.
    Answered,
}

/// The number of requests that may be in flight.
#[derive(Debug)]
pub(super) struct Pressure {
    most: usize,
    allowed: usize,
    /// Answers since the last change of `allowed`.
    answers: usize,
    cut_at: Option<Instant>,
}

impl Pressure {
    /// Starts at `most`, which is also the upper limit.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            most,
            allowed: most,
            answers: 0,
            cut_at: None,
        }
    }

    /// The number of requests that may be in flight, from 1 to the configured number.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
    }

    /// Takes the sign of the answer to a request that was sent at `sent`.
    pub(super) fn note(&mut self, sent: Instant, now: Instant, sign: Sign) {
        if self.cut_at.is_some_and(|cut| sent < cut) {
            return;
        }
        match sign {
            Sign::SlowDown => {
                self.allowed = (self.allowed / 2).max(1);
                (self.answers, self.cut_at) = (0, Some(now));
            }
            Sign::Answered => {
                self.answers += 1;
                if self.answers >= self.allowed {
                    self.allowed = (self.allowed + 1).min(self.most);
                    self.answers = 0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    /// Sends one request after another, from `now` on.
    fn feed(pressure: &mut Pressure, now: &mut Instant, sign: Sign, times: usize) {
        for _ in 0..times {
            let sent = *now;
            *now += ROUND_TRIP;
            pressure.note(sent, *now, sign);
        }
    }

    proptest! {
        #[test]
        fn it_is_never_above_the_configured_number_nor_below_one(
            most in 0_usize..200,
            // The age of the request, the time since the answer before, and true for "slow down".
            answers in proptest::collection::vec((0_u64..5_000, 0_u64..1_000, any::<bool>()), 0..300),
        ) {
            let (mut pressure, start) = (Pressure::new(most), Instant::now());
            prop_assert_eq!(pressure.allowed(), most.max(1));
            let mut now = start;
            for (ago, passed, slow) in answers {
                now += Duration::from_millis(passed);
                let sent = now.checked_sub(Duration::from_millis(ago)).unwrap_or(start);
                let sign = if slow { Sign::SlowDown } else { Sign::Answered };
                let before = pressure.allowed();
                pressure.note(sent, now, sign);
                let after = pressure.allowed();
                prop_assert!((1..=most.max(1)).contains(&after));
                prop_assert!(after <= before + 1, "it grows by one at most: {before} to {after}");
                if slow {
                    prop_assert!(after <= before);
                }
            }
        }

        #[test]
        fn a_server_that_never_says_slow_down_gets_the_configured_number(most in 1_usize..200, answers in 0_usize..500) {
            let (mut pressure, mut now) = (Pressure::new(most), Instant::now());
            for _ in 0..answers {
                feed(&mut pressure, &mut now, Sign::Answered, 1);
                prop_assert_eq!(pressure.allowed(), most);
            }
        }

        #[test]
        fn after_cuts_good_answers_restore_the_configured_number(most in 1_usize..40, cuts in 1_usize..20) {
            let (mut pressure, mut now) = (Pressure::new(most), Instant::now());
            feed(&mut pressure, &mut now, Sign::SlowDown, cuts);
            let halved = (0..cuts).fold(most, |left, _| (left / 2).max(1));
            prop_assert_eq!(pressure.allowed(), halved);
            feed(&mut pressure, &mut now, Sign::Answered, halved);
            prop_assert_eq!(pressure.allowed(), (halved + 1).min(most), "a round of answers adds one");
            feed(&mut pressure, &mut now, Sign::Answered, most * most);
            prop_assert_eq!(pressure.allowed(), most);
        }
    }

    #[test]
    fn requests_in_flight_together_cause_a_single_cut() {
        let (mut pressure, sent) = (Pressure::new(16), Instant::now());
        let now = sent + ROUND_TRIP;
        for _ in 0..16 {
            pressure.note(sent, now, Sign::SlowDown);
        }
        assert_eq!(pressure.allowed(), 8);
        // Good answers of that round do not count towards the new number either.
        for _ in 0..16 {
            pressure.note(sent, now, Sign::Answered);
        }
        assert_eq!(pressure.allowed(), 8);
        pressure.note(now, now + ROUND_TRIP, Sign::SlowDown);
        assert_eq!(pressure.allowed(), 4);
    }
}
