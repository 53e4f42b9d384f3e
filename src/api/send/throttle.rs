//! Reacts to the API's rate limiter. Pure: times are passed in; `sender` holds all requests as this module says.
//!
//! A limiter counts all requests, so one refusal (429) concerns all of them. All requests are held for as long as the
//! answer asks. If it names no pause, the hold is one second, and doubles up to a minute until a request is answered
//! again. A refusal says nothing about the request itself, so it does not count as one of its attempts. If no request is
//! answered for minutes, the API counts as closed, and only one probe per minute is sent.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest hold as a multiple of the first one: a minute, if the first hold is a second.
const LONGEST_HOLD: u32 = 60;
/// The API counts as closed if no request was answered for this long and over this many holds.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const LEAST_HOLDS: u32 = 6;
/// The API also counts as closed after this many answers of an endpoint in a row that ask for a pause of hours, because
/// then the pause does not concern a single object.
const POSTPONED_IN_A_ROW: u32 = 8;
/// The time between probes of a closed API.
const PROBE_PAUSE: Duration = Duration::from_secs(60);

/// The state of the API's limiter. Clients that share it hold their requests together.
#[derive(Debug)]
pub(super) struct Throttle {
    first_hold: Duration,
    state: Mutex<LimiterState>,
}

#[derive(Debug, Default)]
struct LimiterState {
    /// The refusals since the last answer.
    drought: Option<Drought>,
    /// The answers in a row that ask for a pause of hours, by endpoint: lists may be answered while reports are not.
    postponed_in_a_row: HashMap<&'static str, u32>,
    closed: Option<Closed>,
}

#[derive(Debug, Clone, Copy)]
struct Drought {
    /// The time since which no request was answered.
    since: Instant,
    /// The start of the current hold. Refusals of requests sent before it are expected and start no new hold.
    held_at: Instant,
    until: Instant,
    /// The length of the latest hold for which the API named no pause.
    hold: Duration,
    holds: u32,
}

#[derive(Debug)]
struct Closed {
    reason: String,
    /// The endpoint whose answer opens the API again; any if none.
    by: Option<&'static str>,
    next_probe: Instant,
}

/// The decision about a request that the limiter refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalVerdict {
    /// The request is sent again after a hold that ends at `until`. `first`: another request was answered just before.
    Held { until: Instant, first: bool },
    /// The request fails, because no request was answered for minutes.
    GivenUp,
}

impl Throttle {
    /// A throttle whose first hold lasts `first_hold`.
    pub(super) fn new(first_hold: Duration) -> Self {
        Self {
            first_hold,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Allows or refuses to send a request.
    ///
    /// # Errors
    /// The reason for which the API is closed.
    pub(super) fn admit(&self, now: Instant) -> Result<(), String> {
        match &mut self.lock().closed {
            Some(closed) if now < closed.next_probe => Err(closed.reason.clone()),
            Some(closed) => {
                closed.next_probe = now + PROBE_PAUSE;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// True if the API is closed, so that nothing but probes is sent.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// Notes that a request to an endpoint sent at `sent` was answered, even if with an error of its own.
    pub(super) fn answered(&self, endpoint: &'static str, sent: Instant, now: Instant) {
        let mut state = self.lock();
        let opens = |closed: &Closed| closed.by.is_none_or(|by| by == endpoint);
        state.closed = state.closed.take().filter(|closed| !opens(closed));
        state.postponed_in_a_row.remove(endpoint);
        match &mut state.drought {
            // A request from before the hold says nothing about the limiter after the hold.
            Some(drought) if sent < drought.held_at => drought.since = now,
            _ => state.drought = None,
        }
    }

    /// Notes that the limiter refused a request sent at `sent`. `asked`: the pause that the answer asks for.
    pub(super) fn refused(
        &self,
        sent: Instant,
        asked: Option<Duration>,
        now: Instant,
        reason: &str,
    ) -> RefusalVerdict {
        let mut state = self.lock();
        let asked = asked.filter(|pause| !pause.is_zero());
        let Some(drought) = &mut state.drought else {
            let hold = asked.unwrap_or(self.first_hold);
            let until = now + hold;
            state.drought = Some(Drought {
                since: now,
                held_at: now,
                until,
                hold: asked.map_or(hold, |_| Duration::ZERO),
                holds: 1,
            });
            return RefusalVerdict::Held { until, first: true };
        };
        if sent < drought.held_at {
            drought.until = drought.until.max(now + asked.unwrap_or_default());
        } else {
            let longest = self.first_hold * LONGEST_HOLD;
            let doubled = (drought.hold * 2).clamp(self.first_hold, longest);
            if asked.is_none() {
                drought.hold = doubled;
            }
            (drought.held_at, drought.until) = (now, now + asked.unwrap_or(doubled));
            drought.holds += 1;
        }
        let until = drought.until;
        let is_over =
            drought.holds >= LEAST_HOLDS && now.saturating_duration_since(drought.since) >= PATIENCE;
        if is_over || state.closed.is_some() {
            state.close(None, now + PROBE_PAUSE, reason);
            return RefusalVerdict::GivenUp;
        }
        RefusalVerdict::Held { until, first: false }
    }

    /// Notes that an answer of an endpoint asked for a pause of hours. Several such answers in a row close the API.
    pub(super) fn postponed(&self, endpoint: &'static str, now: Instant, reason: &str) {
        let mut state = self.lock();
        let in_a_row = state.postponed_in_a_row.entry(endpoint).or_default();
        *in_a_row += 1;
        if *in_a_row >= POSTPONED_IN_A_ROW {
            state.close(Some(endpoint), now + PROBE_PAUSE, reason);
        }
    }
}

impl LimiterState {
    fn close(&mut self, by: Option<&'static str>, next_probe: Instant, reason: &str) {
        self.closed = Some(Closed {
            reason: reason.to_owned(),
            by,
            next_probe,
        });
    }
}

/// Measures the rate of requests that the limiter lets through.
#[derive(Debug, Default)]
pub(super) struct RateMeter(Mutex<AnswerCounts>);

#[derive(Debug, Default, Clone, Copy)]
struct AnswerCounts {
    /// The time of the first request and of the last answer.
    begun: Option<Instant>,
    last: Option<Instant>,
    answered: u64,
    refused: u64,
    /// The times of the first and the last refusal, each with the number of answers before it.
    first_refusal: Option<(Instant, u64)>,
    last_refusal: Option<(Instant, u64)>,
}

impl RateMeter {
    fn lock(&self) -> MutexGuard<'_, AnswerCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer to a request sent at `sent`.
    pub(super) fn answered(&self, sent: Instant, now: Instant) {
        let mut seen = self.lock();
        seen.begun.get_or_insert(sent);
        seen.last = Some(now);
        seen.answered += 1;
    }

    /// Counts a refusal. Returns the number of refusals so far.
    pub(super) fn refused(&self, sent: Instant, now: Instant) -> u64 {
        let mut seen = self.lock();
        seen.begun.get_or_insert(sent);
        let at = (now, seen.answered);
        seen.first_refusal.get_or_insert(at);
        seen.last_refusal = Some(at);
        seen.refused += 1;
        seen.refused
    }

    /// The number of refused requests.
    pub(super) fn refusals(&self) -> u64 {
        self.lock().refused
    }

    /// Answered requests per second between the first and the last refusal, or over the whole time if none was answered
    /// between them. `None` if no request was refused or answered.
    pub(super) fn rate(&self) -> Option<f64> {
        let seen = *self.lock();
        let (first, last) = (seen.first_refusal?, seen.last_refusal?);
        let (count, time) = if last.1 > first.1 {
            (last.1 - first.1, last.0 - first.0)
        } else {
            (seen.answered, seen.last?.saturating_duration_since(seen.begun?))
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "there are far fewer than 2^52 requests"
        )]
        let rate = count as f64 / time.as_secs_f64();
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Refuses `count` requests, each sent after the hold before. Returns the holds in seconds.
    fn holds(throttle: &Throttle, mut now: Instant, count: usize) -> Vec<u64> {
        let mut holds = Vec::new();
        for _ in 0..count {
            let RefusalVerdict::Held { until, .. } = throttle.refused(now, None, now, "429") else {
                break;
            };
            holds.push((until - now).as_secs());
            now = until;
        }
        holds
    }

    #[test]
    fn a_hold_doubles_from_a_second_to_a_minute_until_a_request_is_answered() {
        let throttle = Throttle::new(SECOND);
        let start = Instant::now();
        let all = holds(&throttle, start, 100);
        assert_eq!(
            all,
            [1, 2, 4, 8, 16, 32, 60, 60, 60, 60],
            "then the API is given up"
        );
        let later = start + SECOND * 1000;
        assert!(throttle.is_closed() && throttle.admit(later).is_ok());
        throttle.answered("calls", later, later);
        assert!(!throttle.is_closed());
        assert_eq!(holds(&throttle, later, 3), [1, 2, 4]);
    }

    #[test]
    fn refusals_of_one_round_cause_a_single_hold() {
        let throttle = Throttle::new(SECOND);
        let sent = Instant::now();
        let now = sent + SECOND / 10;
        let until = now + SECOND;
        let held = |first| RefusalVerdict::Held { until, first };
        assert_eq!(throttle.refused(sent, None, now, "429"), held(true));
        for _ in 0..15 {
            assert_eq!(throttle.refused(sent, None, now, "429"), held(false));
        }
        // An answer from the same round does not show that the limiter accepts requests again.
        throttle.answered("calls", sent, now);
        let later = until + SECOND * 2;
        let doubled = RefusalVerdict::Held {
            until: later,
            first: false,
        };
        assert_eq!(throttle.refused(until, None, until, "429"), doubled);
    }

    #[test]
    fn a_hold_is_never_shorter_than_the_requested_pause() {
        let throttle = Throttle::new(SECOND);
        let now = Instant::now();
        let held = |after, first| RefusalVerdict::Held {
            until: now + after,
            first,
        };
        assert_eq!(
            throttle.refused(now, Some(SECOND * 7), now, "429"),
            held(SECOND * 7, true)
        );
        let then = now + SECOND * 7;
        let refused = throttle.refused(then, Some(SECOND * 3), then, "429");
        assert_eq!(refused, held(SECOND * 10, false));
        // A pause of zero would be a busy loop.
        let then = now + SECOND * 10;
        assert_eq!(
            throttle.refused(then, Some(Duration::ZERO), then, "429"),
            held(SECOND * 11, false)
        );
    }

    #[test]
    fn a_closed_api_is_probed_once_a_minute() {
        let throttle = Throttle::new(SECOND);
        let start = Instant::now();
        for _ in 0..POSTPONED_IN_A_ROW - 1 {
            throttle.postponed("report", start, "503 Service Unavailable");
        }
        throttle.answered("report", start, start);
        throttle.postponed("report", start, "503 Service Unavailable");
        assert!(!throttle.is_closed(), "the pause concerns a single object");
        for _ in 1..POSTPONED_IN_A_ROW {
            throttle.postponed("report", start, "503 Service Unavailable");
        }
        assert_eq!(throttle.admit(start), Err("503 Service Unavailable".to_owned()));
        let later = start + PROBE_PAUSE;
        assert!(throttle.admit(later).is_ok());
        assert!(throttle.admit(later).is_err(), "one probe at a time");
        throttle.answered("report", later, later);
        assert!(throttle.admit(later).is_ok());
    }

    #[test]
    fn answers_of_another_endpoint_do_not_open_what_asks_for_hours() {
        let throttle = Throttle::new(SECOND);
        let now = Instant::now();
        for _ in 0..POSTPONED_IN_A_ROW {
            assert!(!throttle.is_closed());
            throttle.answered("calls", now, now);
            throttle.postponed("report", now, "429 Too Many Requests");
        }
        throttle.answered("calls", now, now);
        assert!(throttle.is_closed() && throttle.admit(now).is_err());
        throttle.answered("report", now, now);
        assert!(!throttle.is_closed());
    }

    #[test]
    fn the_rate_is_measured_over_whole_windows() {
        let meter = RateMeter::default();
        let start = Instant::now();
        assert_eq!(meter.rate(), None);
        // The limiter answers 40 requests at once and none until the next minute.
        for minute in 0..4_u32 {
            let at = start + SECOND * 60 * minute;
            (0..40).for_each(|_| meter.answered(at, at));
            for after in [1, 2, 4, 8, 16] {
                meter.refused(at, at + SECOND * after);
            }
        }
        let rate = meter.rate().unwrap();
        assert!((0.6..0.7).contains(&rate), "{rate}");
        assert_eq!(meter.refusals(), 20);
        let short = RateMeter::default();
        (0..40).for_each(|_| short.answered(start, start));
        short.refused(start, start + SECOND);
        (0..5).for_each(|_| short.answered(start, start + SECOND * 60));
        assert_eq!(short.rate(), Some(0.75));
    }

    proptest! {
        #[test]
        fn a_refusal_is_held_for_at_most_a_minute_or_as_asked(
            steps in proptest::collection::vec((0_u64..100, 0_u64..100, proptest::option::of(0_u64..300), any::<bool>()), 0..100),
        ) {
            let (throttle, start) = (Throttle::new(SECOND), Instant::now());
            let mut now = start;
            let mut longest = SECOND * LONGEST_HOLD;
            for (passed, ago, asked, answered) in steps {
                now += SECOND * u32::try_from(passed).unwrap();
                let sent = now.checked_sub(Duration::from_secs(ago)).unwrap_or(start);
                if answered {
                    throttle.answered("calls", sent, now);
                    prop_assert!(!throttle.is_closed());
                    continue;
                }
                let asked = asked.map(Duration::from_secs);
                longest = longest.max(asked.unwrap_or_default());
                if let RefusalVerdict::Held { until, .. } = throttle.refused(sent, asked, now, "429") {
                    prop_assert!(until <= now + longest);
                }
            }
        }
    }
}
