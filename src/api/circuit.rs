//! When requests are no longer sent: a circuit breaker. Pure: times are passed in; `circuits` keeps one for each
//! space, each room and each space's downloads.
//!
//! It opens after some failures in a row, when nothing good came for a while either: a server that restarts is waited
//! for by the usual retries. Open, it refuses at once; after a pause it lets one request through, whose outcome closes
//! it or keeps it open for another pause.

use std::time::Duration;

use tokio::time::Instant;

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Failures in a row, each after all its attempts.
    pub(super) failures: u32,
    /// How long nothing good must have come.
    pub(super) patience: Duration,
    /// The pause before one request is let through.
    pub(super) pause: Duration,
}

/// What becomes of a request that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Send,
    /// It is the one that finds out whether things are good again.
    Probe,
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Probing,
}

/// A breaker of one thing.
#[derive(Debug, Clone, Default)]
pub(super) struct Circuit {
    state: State,
    failures: u32,
    /// When the first request of the failures in a row was begun.
    since: Option<Instant>,
    /// Requests that it refused, and the failure for which it does.
    pub(super) refused: u64,
    pub(super) reason: String,
}

impl Circuit {
    /// Whether a request may be sent. After [`Admission::Probe`], exactly one of the other methods must be called.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Send,
            State::Open { until } if now >= until => {
                self.state = State::Probing;
                Admission::Probe
            }
            State::Open { .. } | State::Probing => {
                self.refused += 1;
                Admission::Refuse
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// A request was answered, be it with a refusal.
    pub(super) fn good(&mut self) {
        self.failures = 0;
        self.since = None;
        self.state = State::Closed;
    }

    /// A request that was begun at `begun` failed for good.
    pub(super) fn bad(&mut self, begun: Instant, now: Instant, rules: Rules, reason: &str) {
        self.failures = self.failures.saturating_add(1);
        let since = *self.since.get_or_insert(begun);
        let due = self.failures >= rules.failures && now.saturating_duration_since(since) >= rules.patience;
        match self.state {
            State::Closed if due => self.open(now, rules, reason),
            State::Probing => self.open(now, rules, reason),
            State::Closed | State::Open { .. } => {}
        }
    }

    /// Opens it, whatever was counted.
    pub(super) fn open(&mut self, now: Instant, rules: Rules, reason: &str) {
        self.state = State::Open {
            until: now + rules.pause,
        };
        reason.clone_into(&mut self.reason);
    }

    /// A probe ended without an outcome: the next one may try.
    pub(super) fn give_back_probe(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        failures: 3,
        patience: Duration::from_secs(30),
        pause: Duration::from_secs(60),
    };

    fn opened(start: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for second in [1, 2, 30] {
            assert_eq!(circuit.admit(start), Admission::Send);
            circuit.bad(start, start + Duration::from_secs(second), RULES, "502");
        }
        assert!(circuit.is_open());
        circuit
    }

    #[test]
    fn it_opens_after_failures_in_a_row_over_some_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut circuit = Circuit::default();
        for second in 0..29 {
            circuit.bad(start, at(second), RULES, "502");
            assert!(!circuit.is_open(), "a short outage is waited for");
        }
        circuit.bad(start, at(30), RULES, "502");
        assert!(circuit.is_open());
        let mut circuit = Circuit::default();
        circuit.bad(start, at(100), RULES, "502");
        circuit.bad(start, at(200), RULES, "502");
        assert!(!circuit.is_open(), "two are not three");
        circuit.good();
        circuit.bad(at(200), at(300), RULES, "502");
        circuit.bad(at(200), at(300), RULES, "502");
        assert!(!circuit.is_open(), "counted anew after something good");
    }

    #[test]
    fn open_it_refuses_and_one_probe_decides() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut circuit = opened(start);
        assert_eq!(circuit.admit(at(31)), Admission::Refuse);
        assert_eq!(circuit.admit(at(89)), Admission::Refuse);
        assert_eq!((circuit.refused, circuit.reason.as_str()), (2, "502"));
        assert_eq!(circuit.admit(at(90)), Admission::Probe);
        assert_eq!(circuit.admit(at(90)), Admission::Refuse, "one at a time");
        circuit.bad(at(90), at(91), RULES, "503");
        assert_eq!(circuit.admit(at(150)), Admission::Refuse);
        assert_eq!(circuit.admit(at(151)), Admission::Probe);
        circuit.give_back_probe(at(152));
        assert_eq!(
            circuit.admit(at(152)),
            Admission::Probe,
            "one that was broken off is made up"
        );
        circuit.good();
        assert_eq!(circuit.admit(at(152)), Admission::Send);
        assert!(!circuit.is_open());
    }

    proptest! {
        #[test]
        fn what_answers_now_and_then_is_never_shut_out(
            steps in proptest::collection::vec((0_u64..20, any::<bool>()), 0..200),
        ) {
            // Never three failures without something good between them.
            let (mut circuit, mut now, mut row) = (Circuit::default(), Instant::now(), 0);
            for (passed, fails) in steps {
                let begun = now;
                now += Duration::from_secs(passed);
                prop_assert_eq!(circuit.admit(now), Admission::Send);
                if fails && row < 2 {
                    row += 1;
                    circuit.bad(begun, now, RULES, "502");
                } else {
                    row = 0;
                    circuit.good();
                }
            }
            prop_assert_eq!(circuit.refused, 0);
        }

        #[test]
        fn of_many_that_come_while_it_is_open_one_a_pause_is_sent(count in 1_usize..50, pauses in 1_u32..5) {
            let start = Instant::now();
            let mut circuit = opened(start);
            let mut now = start + Duration::from_secs(30);
            for _ in 0..pauses {
                now += RULES.pause;
                let sent = (0..count).filter(|_| circuit.admit(now) != Admission::Refuse).count();
                prop_assert_eq!(sent, 1);
                circuit.bad(now, now, RULES, "502");
            }
        }
    }
}
