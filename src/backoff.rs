//! The pause before an attempt is repeated: exponential, with jitter. A leaf; the callers wait.

use std::time::Duration;

/// Exponential backoff with jitter: the limit doubles with each failed attempt, and each pause is a random share of it,
/// between half and all, so that clients that failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The limit of the first pause.
    pub base: Duration,
    /// The limit that no pause exceeds.
    pub cap: Duration,
}

impl Backoff {
    /// A backoff whose limit grows from `base` to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The pause after `attempts` failed attempts (from 1).
    pub fn pause(&self, attempts: u32) -> Duration {
        self.pause_by(attempts, fastrand::f64())
    }

    /// A pause that is a little longer than the server asked for, so that clients do not come back all at once.
    pub fn pause_asked(&self, asked: Duration) -> Duration {
        asked.saturating_add(self.base.mul_f64(fastrand::f64()))
    }

    /// The pause after `attempts` failed attempts, for a `chance` in `0.0..1.0`.
    fn pause_by(&self, attempts: u32, chance: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
        let limit = self.base.saturating_mul(doubled).min(self.cap);
        limit.mul_f64(0.5 + chance / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(300), Duration::from_secs(20));

    proptest! {
        #[test]
        fn a_pause_is_never_longer_than_the_cap(attempts in 0_u32..200) {
            let pause = BACKOFF.pause(attempts);
            prop_assert!(pause >= BACKOFF.base / 2 && pause <= BACKOFF.cap);
        }

        #[test]
        fn a_pause_is_never_shorter_than_the_server_asked_for(asked in 0_u64..600) {
            let asked = Duration::from_secs(asked);
            let pause = BACKOFF.pause_asked(asked);
            prop_assert!(pause >= asked && pause <= asked + BACKOFF.base);
        }
    }

    #[test]
    fn the_limit_doubles_from_300_ms_to_20_s() {
        let limits: Vec<_> = (1..=8)
            .map(|attempts| BACKOFF.pause_by(attempts, 1.0).as_millis())
            .collect();
        assert_eq!(limits, [300, 600, 1200, 2400, 4800, 9600, 19_200, 20_000]);
        assert_eq!(BACKOFF.pause_by(2, 0.0), Duration::from_millis(300));
    }
}
