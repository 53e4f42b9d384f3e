//! How many requests the server bears at once: additive increase, multiplicative decrease. Pure: times are passed in;
//! `gate` holds requests to it.
//!
//! It starts with all that the configuration allows, so that a healthy server is never waited for. An answer that says
//! "slow down" (429, 503) halves the number, and so does, more gently, when most answers of a endpoint take much longer
//! than that endpoint's did; good answers bring it back, one more in flight for each round of answers. One cut a round:
//! what was sent before a cut says nothing about it. A few slow objects among many cut nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::request::Endpoint;

/// What an answer that says "slow down" leaves.
const HALF: f64 = 0.5;
/// What late answers leave, and the share of all below which they alone do not go: a server whose answers have become
/// longer for good reason must not be read one by one.
const LESS: f64 = 0.8;
const LEAST_SHARE: f64 = 0.25;
/// An answer is late when it takes so many times its endpoint's usual time, and so much longer at least.
const LATE_FACTOR: f64 = 3.0;
const LATE_LEAST: f64 = 0.25;
/// The weight of one answer in the share of late ones, and the share that counts as a sign: a dozen in a row.
const WEIGHT: f64 = 1.0 / 16.0;
const LATE_SHARE: f64 = 0.5;
/// The usual time is the shortest one, forgotten by so much with each answer.
const FORGETTING: f64 = 1.005;

/// What an answer says of the server's state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sign {
    /// 429 or 503.
    SlowDown,
    /// Any other answer, and how long its head took.
    Answered(Duration),
}

/// How long answers of a endpoint take.
#[derive(Debug, Clone, Copy, Default)]
struct Latency {
    /// Seconds.
    usual: Option<f64>,
    late: f64,
}

impl Latency {
    /// Takes an answer in; whether most of the last ones were late.
    fn take(&mut self, took: Duration) -> bool {
        let took = took.as_secs_f64();
        let is_late = self
            .usual
            .is_some_and(|usual| took > (usual * LATE_FACTOR).max(usual + LATE_LEAST));
        self.late += (f64::from(u8::from(is_late)) - self.late) * WEIGHT;
        self.usual = Some(self.usual.map_or(took, |usual| took.min(usual * FORGETTING)));
        self.late > LATE_SHARE
    }
}

/// Requests that may be in flight.
#[derive(Debug)]
pub(super) struct Pressure {
    most: f64,
    now: f64,
    cut_at: Option<Instant>,
    latencies: [Latency; Endpoint::COUNT],
}

impl Pressure {
    /// All of `most`, and never more.
    pub(super) fn new(most: usize) -> Self {
        // Beyond 2^32 nothing is in flight anyway.
        let most = f64::from(u32::try_from(most.max(1)).unwrap_or(u32::MAX));
        Self {
            most,
            now: most,
            cut_at: None,
            latencies: [Latency::default(); Endpoint::COUNT],
        }
    }

    /// How many requests may be in flight: from 1 to all.
    pub(super) fn allowed(&self) -> usize {
        // Between 1 and 2^32.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        {
            self.now as usize
        }
    }

    /// Takes in the sign of a request that was sent at `sent`.
    pub(super) fn note(&mut self, endpoint: Endpoint, sent: Instant, now: Instant, sign: Sign) {
        let late = match sign {
            Sign::SlowDown => false,
            Sign::Answered(took) => self.latencies[endpoint as usize].take(took),
        };
        if self.cut_at.is_some_and(|cut| sent < cut) {
            return;
        }
        match sign {
            Sign::SlowDown => self.cut(now, HALF, 1.0),
            Sign::Answered(_) if late => {
                self.latencies[endpoint as usize].late = 0.0;
                self.cut(now, LESS, (self.most * LEAST_SHARE).max(1.0));
            }
            Sign::Answered(_) => self.now = (self.now + 1.0 / self.now).min(self.most),
        }
    }

    fn cut(&mut self, now: Instant, factor: f64, least: f64) {
        self.now = (self.now * factor).max(least.min(self.now));
        self.cut_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USUAL: Duration = Duration::from_millis(20);

    struct Clock {
        start: Instant,
        millis: u64,
    }

    impl Clock {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                millis: 0,
            }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_millis(self.millis)
        }
    }

    /// Sends one request after another; each takes its sign's time, or 20 ms.
    fn feed(pressure: &mut Pressure, clock: &mut Clock, sign: Sign, times: usize) {
        for _ in 0..times {
            let sent = clock.now();
            clock.millis += match sign {
                Sign::SlowDown => 20,
                Sign::Answered(took) => u64::try_from(took.as_millis()).unwrap(),
            };
            pressure.note(Endpoint::Calls, sent, clock.now(), sign);
        }
    }

    fn signs() -> impl Strategy<Value = Vec<(u64, u64, Option<u64>)>> {
        // How long ago it was sent, the time since the last one, how long its head took; none: slow down.
        proptest::collection::vec(
            (0_u64..5_000, 0_u64..1_000, proptest::option::of(0_u64..40_000)),
            0..300,
        )
    }

    proptest! {
        #[test]
        fn it_is_never_above_the_configured_number_nor_below_one(most in 0_usize..200, signs in signs()) {
            let (mut pressure, mut clock) = (Pressure::new(most), Clock::new());
            prop_assert_eq!(pressure.allowed(), most.max(1));
            for (ago, passed, took) in signs {
                clock.millis += passed;
                let sent = clock.start + Duration::from_millis(clock.millis.saturating_sub(ago));
                let sign = took.map_or(Sign::SlowDown, |took| Sign::Answered(Duration::from_millis(took)));
                let before = pressure.allowed();
                pressure.note(Endpoint::Calls, sent, clock.now(), sign);
                let after = pressure.allowed();
                prop_assert!((1..=most.max(1)).contains(&after));
                prop_assert!(after <= before + 1, "it grows by one at most: {before} to {after}");
                if sign == Sign::SlowDown {
                    prop_assert!(after <= before);
                }
            }
        }

        #[test]
        fn a_healthy_server_is_never_slowed_down(most in 1_usize..200, times in proptest::collection::vec(1_u64..250, 0..500)) {
            let mut pressure = Pressure::new(most);
            let mut clock = Clock::new();
            for took in times {
                feed(&mut pressure, &mut clock, Sign::Answered(Duration::from_millis(took)), 1);
                prop_assert_eq!(pressure.allowed(), most);
            }
        }

        #[test]
        fn a_few_slow_objects_among_many_cut_nothing(most in 1_usize..200, rounds in 1_usize..60, slow in 1_u64..60_000) {
            let (mut pressure, mut clock) = (Pressure::new(most), Clock::new());
            for _ in 0..rounds {
                feed(&mut pressure, &mut clock, Sign::Answered(USUAL), 3);
                feed(&mut pressure, &mut clock, Sign::Answered(Duration::from_millis(slow)), 1);
            }
            prop_assert_eq!(pressure.allowed(), most);
        }

        #[test]
        fn after_a_cut_good_answers_bring_it_back(most in 1_usize..40, cuts in 1_usize..20) {
            let (mut pressure, mut clock) = (Pressure::new(most), Clock::new());
            feed(&mut pressure, &mut clock, Sign::SlowDown, cuts);
            let halved = (0..cuts).fold(most as f64, |left, _| (left / 2.0).max(1.0));
            prop_assert_eq!(pressure.allowed(), halved as usize);
            feed(&mut pressure, &mut clock, Sign::Answered(USUAL), most * most);
            prop_assert_eq!(pressure.allowed(), most);
        }
    }

    #[test]
    fn all_that_was_in_flight_together_cuts_once() {
        let (mut pressure, clock) = (Pressure::new(16), Clock::new());
        let sent = clock.now();
        let now = sent + USUAL;
        for _ in 0..16 {
            pressure.note(Endpoint::Calls, sent, now, Sign::SlowDown);
        }
        assert_eq!(pressure.allowed(), 8);
        // Good answers of that round say nothing of the new number either.
        pressure.note(Endpoint::Calls, sent, now, Sign::Answered(USUAL));
        assert_eq!(pressure.allowed(), 8);
        pressure.note(Endpoint::Calls, now, now + USUAL, Sign::SlowDown);
        assert_eq!(pressure.allowed(), 4);
    }

    #[test]
    fn when_most_answers_become_slow_there_are_fewer_but_never_below_a_quarter() {
        let (mut pressure, mut clock) = (Pressure::new(16), Clock::new());
        feed(&mut pressure, &mut clock, Sign::Answered(USUAL), 50);
        let slow = Sign::Answered(Duration::from_millis(800));
        feed(&mut pressure, &mut clock, slow, 12);
        assert_eq!(pressure.allowed(), 12);
        feed(&mut pressure, &mut clock, slow, 200);
        assert!((4..=8).contains(&pressure.allowed()), "{}", pressure.allowed());
        // What stays so is the usual time some day.
        feed(&mut pressure, &mut clock, slow, 2_000);
        assert_eq!(pressure.allowed(), 16);
    }

    #[test]
    fn kinds_are_measured_apart() {
        let (mut pressure, mut clock) = (Pressure::new(16), Clock::new());
        feed(&mut pressure, &mut clock, Sign::Answered(USUAL), 50);
        for _ in 0..50 {
            let sent = clock.now();
            clock.millis += 2_000;
            let took = Sign::Answered(Duration::from_secs(2));
            pressure.note(Endpoint::XlsxReport, sent, clock.now(), took);
        }
        assert_eq!(pressure.allowed(), 16, "a workbook takes longer than a list");
    }
}
