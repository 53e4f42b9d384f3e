//! Waiting for a server that asks to slow down (429, 503): with a growing pause, for some minutes, until a run stops.
//!
//! The time counts from the first such answer in a row, over all requests: a server that lets some through is not
//! given up. Each request has a bound of its own besides.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long is waited for a server that asks to slow down.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The first pause; each further one of a request is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// After so long without any other answer the server is given up.
    pub total: Duration,
}

impl Patience {
    /// The patience of a single request, for which a person or a caller waits.
    pub(super) const OF_A_REQUEST: Self = Self {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(4),
        total: Duration::from_secs(10),
    };
    /// The patience of a run.
    pub(super) const OF_A_RUN: Self = Self {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
        total: Duration::from_secs(5 * 60),
    };
}

/// What all requests of a store know of its server's patience.
pub(super) struct Hold {
    patience: Patience,
    /// Since when the server has given no other answer.
    since: Mutex<Option<Instant>>,
    stop: CancellationToken,
}

/// How long one request has waited.
#[derive(Default)]
pub(super) struct Waiting {
    since: Option<Instant>,
    pauses: u32,
}

impl Hold {
    pub(super) fn new(patience: Patience, stop: CancellationToken) -> Self {
        Self {
            patience,
            since: Mutex::default(),
            stop,
        }
    }

    /// Takes note of an answer that is none of these.
    pub(super) fn answered(&self) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Pauses before a request is sent again; false when it is not to be.
    pub(super) async fn pause(&self, waiting: &mut Waiting) -> bool {
        let now = Instant::now();
        let began = *waiting.since.get_or_insert(now);
        let left = self
            .patience
            .total
            .saturating_sub(now - self.since(now).min(began));
        if left.is_zero() || self.stop.is_cancelled() {
            return false;
        }
        let most = self.patience.first.saturating_mul(1 << waiting.pauses.min(16));
        waiting.pauses += 1;
        let pause = most
            .min(self.patience.longest)
            .mul_f64(0.5 + fastrand::f64() / 2.0);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(pause.min(left)) => true,
        }
    }

    /// Since when the server has given no other answer; the first one is told.
    fn since(&self, now: Instant) -> Instant {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        *since.get_or_insert_with(|| {
            let most = humantime::format_duration(self.patience.total);
            tracing::warn!("the store asks to slow down: waiting for {most} at most");
            now
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(stop: &CancellationToken) -> Hold {
        Hold::new(Patience::OF_A_RUN, stop.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_waits_for_minutes_and_no_longer() {
        let hold = hold(&CancellationToken::new());
        let began = Instant::now();
        let mut waiting = Waiting::default();
        while hold.pause(&mut waiting).await {}
        assert_eq!(began.elapsed().as_secs(), Patience::OF_A_RUN.total.as_secs());
        assert!(waiting.pauses < 30, "{} requests", waiting.pauses);
        // The server is given up: no other request waits anew.
        assert!(!hold.pause(&mut Waiting::default()).await);
        assert_eq!(began.elapsed().as_secs(), Patience::OF_A_RUN.total.as_secs());
        hold.answered();
        assert!(hold.pause(&mut Waiting::default()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_lets_others_through_is_not_given_up_but_one_request_ends() {
        let hold = hold(&CancellationToken::new());
        let began = Instant::now();
        let mut waiting = Waiting::default();
        while hold.pause(&mut waiting).await {
            hold.answered();
        }
        assert!(began.elapsed() >= Patience::OF_A_RUN.total);
        assert!(hold.pause(&mut Waiting::default()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_pause_at_once() {
        let stop = CancellationToken::new();
        let hold = hold(&stop);
        let began = Instant::now();
        let mut waiting = Waiting {
            pauses: 10,
            ..Waiting::default()
        };
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.cancel();
        };
        let (goes_on, ()) = tokio::join!(hold.pause(&mut waiting), stopping);
        assert!(!goes_on);
        assert_eq!(began.elapsed().as_secs(), 1);
        assert!(!hold.pause(&mut Waiting::default()).await);
    }
}
