//! A circuit breaker: it stops requests to something that keeps failing. Pure: times are passed in; `circuits` keeps
//! one for each space, each room and each space's downloads.
//!
//! It opens after several failures in a row, but only if no request succeeded for a while, because the usual retries
//! cover a server that restarts. While open, it refuses all requests. After a pause it lets one probe through. The
//! probe's outcome closes the circuit or keeps it open for another pause.

use std::time::Duration;

use tokio::time::Instant;

/// The conditions under which a circuit opens, and its pause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The number of failures in a row, each after all its attempts.
    pub(super) failures: u32,
    /// The time without a success that must have passed too.
    pub(super) patience: Duration,
    /// The pause before a probe is let through.
    pub(super) pause: Duration,
}

/// The decision about a request that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Send,
    /// The request is sent as the probe that decides if the circuit closes.
    Probe,
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum CircuitState {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Probing,
}

/// The circuit breaker of a room, a space or a space's downloads.
#[derive(Debug, Clone, Default)]
pub(super) struct Circuit {
    state: CircuitState,
    failures: u32,
    /// The start of the first request of the failures in a row.
    since: Option<Instant>,
    /// The number of refused requests, and the failure that opened the circuit.
    pub(super) refused: u64,
    pub(super) reason: String,
}

impl Circuit {
    /// Decides about a request. After [`Admission::Probe`], the caller must call exactly one of `good`, `bad` and
    /// `give_back_probe`.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            CircuitState::Closed => Admission::Send,
            CircuitState::Open { until } if now >= until => {
                self.state = CircuitState::Probing;
                Admission::Probe
            }
            CircuitState::Open { .. } | CircuitState::Probing => {
                self.refused += 1;
                Admission::Refuse
            }
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state != CircuitState::Closed
    }

    /// Notes that a request was answered, even if with a refusal.
    pub(super) fn good(&mut self) {
        self.failures = 0;
        self.since = None;
        self.state = CircuitState::Closed;
    }

    /// Notes that a request begun at `begun` failed after all its attempts.
    pub(super) fn bad(&mut self, begun: Instant, now: Instant, rules: Rules, reason: &str) {
        self.failures = self.failures.saturating_add(1);
        let since = *self.since.get_or_insert(begun);
        let due = self.failures >= rules.failures && now.saturating_duration_since(since) >= rules.patience;
        match self.state {
            CircuitState::Closed if due => self.open(now, rules, reason),
            CircuitState::Probing => self.open(now, rules, reason),
            CircuitState::Closed | CircuitState::Open { .. } => {}
        }
    }

    /// Opens the circuit regardless of the failures counted.
    pub(super) fn open(&mut self, now: Instant, rules: Rules, reason: &str) {
        self.state = CircuitState::Open {
            until: now + rules.pause,
        };
        reason.clone_into(&mut self.reason);
    }

    /// Notes that a probe ended without an outcome, so that the next request is a probe.
    pub(super) fn give_back_probe(&mut self, now: Instant) {
        if self.state == CircuitState::Probing {
            self.state = CircuitState::Open { until: now };
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
    fn a_circuit_opens_after_failures_in_a_row_over_some_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut circuit = Circuit::default();
        for second in 0..29 {
            circuit.bad(start, at(second), RULES, "502");
            assert!(!circuit.is_open(), "a short outage opens no circuit");
        }
        circuit.bad(start, at(30), RULES, "502");
        assert!(circuit.is_open());
        let mut circuit = Circuit::default();
        circuit.bad(start, at(100), RULES, "502");
        circuit.bad(start, at(200), RULES, "502");
        assert!(!circuit.is_open(), "two failures are not enough");
        circuit.good();
        circuit.bad(at(200), at(300), RULES, "502");
        circuit.bad(at(200), at(300), RULES, "502");
        assert!(!circuit.is_open(), "a success resets the count");
    }

    #[test]
    fn an_open_circuit_refuses_until_a_probe_decides() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut circuit = opened(start);
        assert_eq!(circuit.admit(at(31)), Admission::Refuse);
        assert_eq!(circuit.admit(at(89)), Admission::Refuse);
        assert_eq!((circuit.refused, circuit.reason.as_str()), (2, "502"));
        assert_eq!(circuit.admit(at(90)), Admission::Probe);
        assert_eq!(circuit.admit(at(90)), Admission::Refuse, "one probe at a time");
        circuit.bad(at(90), at(91), RULES, "503");
        assert_eq!(circuit.admit(at(150)), Admission::Refuse);
        assert_eq!(circuit.admit(at(151)), Admission::Probe);
        circuit.give_back_probe(at(152));
        assert_eq!(
            circuit.admit(at(152)),
            Admission::Probe,
            "an interrupted probe is repeated"
        );
        circuit.good();
        assert_eq!(circuit.admit(at(152)), Admission::Send);
        assert!(!circuit.is_open());
    }

    proptest! {
        #[test]
        fn a_circuit_never_opens_if_some_requests_succeed(
            steps in proptest::collection::vec((0_u64..20, any::<bool>()), 0..200),
        ) {
            // There are never three failures in a row.
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
        fn an_open_circuit_sends_one_probe_per_pause(count in 1_usize..50, pauses in 1_u32..5) {
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
