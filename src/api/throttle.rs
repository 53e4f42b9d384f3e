//! What is done about the API's rate limiter. Pure: times are passed in; `sender` holds all requests as it says.
//!
//! A limiter counts all requests, so that one refusal (429) says something about each of them. All are held: as long as
//! the answer asks for, or, if it does not say, for a second at first and twice as long each time, up to a minute, until
//! something is answered again. A refusal says nothing about the request itself and spends none of its attempts. If
//! nothing at all is answered for minutes, the API is closed: nothing is sent any more but one probe a minute.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest hold is so many times the first one: a minute and a second.
const LONGEST_HOLD: u32 = 60;
/// The API is closed when nothing was answered for so long, and over so many holds.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const LEAST_HOLDS: u32 = 6;
/// Requests in a row that were asked to come back in hours: it is not the one object then.
const POSTPONED_IN_A_ROW: u32 = 8;
/// The pause between probes of an API that is closed.
const PROBE_PAUSE: Duration = Duration::from_secs(60);

/// What is known of the API's limiter. Clients that share it hold their requests together.
#[derive(Debug)]
pub(super) struct Throttle {
    first_hold: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The refusals since something was answered last.
    drought: Option<Drought>,
    postponed_in_a_row: u32,
    closed: Option<Closed>,
}

#[derive(Debug, Clone, Copy)]
struct Drought {
    /// When nothing was answered any more.
    since: Instant,
    /// When the current hold began. A request that was sent before it was not yet held: its refusal is no news.
    held_at: Instant,
    until: Instant,
    /// The length of the last hold whose length the API left open.
    hold: Duration,
    holds: u32,
}

#[derive(Debug)]
struct Closed {
    reason: String,
    next_probe: Instant,
}

/// What becomes of a request that the limiter refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is sent again after a hold that ends then. `first`: something was answered right before.
    Held { until: Instant, first: bool },
    /// Nothing has been answered for minutes.
    GivenUp,
}

impl Throttle {
    /// `first_hold`: how long all requests are held at first.
    pub(super) fn new(first_hold: Duration) -> Self {
        Self {
            first_hold,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether a request may be sent.
    ///
    /// # Errors
    /// Why not: the API is closed.
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

    /// Whether nothing is sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// A request that was sent at `sent` was answered, be it with an error of its own.
    pub(super) fn answered(&self, sent: Instant, now: Instant) {
        let mut state = self.lock();
        state.closed = None;
        state.postponed_in_a_row = 0;
        match &mut state.drought {
            // Before the hold: that the API bore it says nothing about what comes after.
            Some(drought) if sent < drought.held_at => drought.since = now,
            _ => state.drought = None,
        }
    }

    /// A request that was sent at `sent` was refused as one too many; `asked` is the pause that the answer asks for.
    pub(super) fn refused(
        &self,
        sent: Instant,
        asked: Option<Duration>,
        now: Instant,
        reason: &str,
    ) -> Refusal {
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
            return Refusal::Held { until, first: true };
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
            state.close(now + PROBE_PAUSE, reason);
            return Refusal::GivenUp;
        }
        Refusal::Held { until, first: false }
    }

    /// A request was asked to come back in hours. Where one after the other is, the API is closed.
    pub(super) fn postponed(&self, now: Instant, reason: &str) {
        let mut state = self.lock();
        state.postponed_in_a_row += 1;
        if state.postponed_in_a_row >= POSTPONED_IN_A_ROW {
            state.close(now + PROBE_PAUSE, reason);
        }
    }
}

impl State {
    fn close(&mut self, next_probe: Instant, reason: &str) {
        let reason = reason.to_owned();
        self.closed = Some(Closed { reason, next_probe });
    }
}

/// How many requests a second the limiter let through.
#[derive(Debug, Default)]
pub(super) struct RateMeter(Mutex<Seen>);

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    /// When the first request was sent, and the last answer came.
    begun: Option<Instant>,
    last: Option<Instant>,
    answered: u64,
    refused: u64,
    /// The first and the last refusal, with what had been answered before.
    first_refusal: Option<(Instant, u64)>,
    last_refusal: Option<(Instant, u64)>,
}

impl RateMeter {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer to a request that was sent at `sent`.
    pub(super) fn answered(&self, sent: Instant, now: Instant) {
        let mut seen = self.lock();
        seen.begun.get_or_insert(sent);
        seen.last = Some(now);
        seen.answered += 1;
    }

    /// Counts a refusal; how many there were by now.
    pub(super) fn refused(&self, sent: Instant, now: Instant) -> u64 {
        let mut seen = self.lock();
        seen.begun.get_or_insert(sent);
        let at = (now, seen.answered);
        seen.first_refusal.get_or_insert(at);
        seen.last_refusal = Some(at);
        seen.refused += 1;
        seen.refused
    }

    /// Requests that were refused.
    pub(super) fn refusals(&self) -> u64 {
        self.lock().refused
    }

    /// Requests a second that were answered while the limiter was felt: between its first and its last refusal, or,
    /// when nothing was answered between these, over all. None when nothing was refused or answered.
    pub(super) fn rate(&self) -> Option<f64> {
        let seen = *self.lock();
        let (first, last) = (seen.first_refusal?, seen.last_refusal?);
        let (count, time) = if last.1 > first.1 {
            (last.1 - first.1, last.0 - first.0)
        } else {
            (seen.answered, seen.last?.saturating_duration_since(seen.begun?))
        };
        // Far fewer than 2^52 requests.
        #[allow(clippy::cast_precision_loss)]
        let rate = count as f64 / time.as_secs_f64();
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A throttle that is refused again and again by requests sent after each hold; the holds' seconds.
    fn holds(throttle: &Throttle, mut now: Instant, count: usize) -> Vec<u64> {
        let mut holds = Vec::new();
        for _ in 0..count {
            let Refusal::Held { until, .. } = throttle.refused(now, None, now, "429") else {
                break;
            };
            holds.push((until - now).as_secs());
            now = until;
        }
        holds
    }

    #[test]
    fn a_hold_doubles_from_a_second_to_a_minute_until_something_is_answered() {
        let throttle = Throttle::new(SECOND);
        let start = Instant::now();
        let all = holds(&throttle, start, 100);
        assert_eq!(all, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], "and is given up then");
        let later = start + SECOND * 1000;
        assert!(throttle.is_closed() && throttle.admit(later).is_ok());
        throttle.answered(later, later);
        assert!(!throttle.is_closed());
        assert_eq!(holds(&throttle, later, 3), [1, 2, 4]);
    }

    #[test]
    fn what_was_in_flight_together_is_held_once() {
        let throttle = Throttle::new(SECOND);
        let sent = Instant::now();
        let now = sent + SECOND / 10;
        let until = now + SECOND;
        let held = |first| Refusal::Held { until, first };
        assert_eq!(throttle.refused(sent, None, now, "429"), held(true));
        for _ in 0..15 {
            assert_eq!(throttle.refused(sent, None, now, "429"), held(false));
        }
        // An answer to one of them does not say that the API bears more now.
        throttle.answered(sent, now);
        let later = until + SECOND * 2;
        let doubled = Refusal::Held {
            until: later,
            first: false,
        };
        assert_eq!(throttle.refused(until, None, until, "429"), doubled);
    }

    #[test]
    fn what_is_asked_for_is_held_and_never_undercut() {
        let throttle = Throttle::new(SECOND);
        let now = Instant::now();
        let held = |after, first| Refusal::Held {
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
        // A pause of nothing would be a loop.
        let then = now + SECOND * 10;
        assert_eq!(
            throttle.refused(then, Some(Duration::ZERO), then, "429"),
            held(SECOND * 11, false)
        );
    }

    #[test]
    fn an_api_that_is_closed_is_probed_once_a_minute() {
        let throttle = Throttle::new(SECOND);
        let start = Instant::now();
        for _ in 0..POSTPONED_IN_A_ROW - 1 {
            throttle.postponed(start, "503 Service Unavailable");
        }
        throttle.answered(start, start);
        throttle.postponed(start, "503 Service Unavailable");
        assert!(!throttle.is_closed(), "one object among others");
        for _ in 1..POSTPONED_IN_A_ROW {
            throttle.postponed(start, "503 Service Unavailable");
        }
        assert_eq!(throttle.admit(start), Err("503 Service Unavailable".to_owned()));
        let later = start + PROBE_PAUSE;
        assert!(throttle.admit(later).is_ok());
        assert!(throttle.admit(later).is_err(), "one at a time");
        throttle.answered(later, later);
        assert!(throttle.admit(later).is_ok());
    }

    #[test]
    fn the_rate_is_that_of_whole_windows() {
        let meter = RateMeter::default();
        let start = Instant::now();
        assert_eq!(meter.rate(), None);
        // 40 a minute: they are answered at once, and then nothing is until the next minute.
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
                    throttle.answered(sent, now);
                    prop_assert!(!throttle.is_closed());
                    continue;
                }
                let asked = asked.map(Duration::from_secs);
                longest = longest.max(asked.unwrap_or_default());
                if let Refusal::Held { until, .. } = throttle.refused(sent, asked, now, "429") {
                    prop_assert!(until <= now + longest);
                }
            }
        }
    }
}
