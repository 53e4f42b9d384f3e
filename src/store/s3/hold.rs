//! Waiting for a server that asks to slow down (429, 503): with a growing pause, for some minutes, until the run stops.
//!
//! The time counts from the first such answer in a row, over all requests, so that a server that lets some through is not
//! given up. Besides, no single request waits longer than that.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// The times for which a server that asks to slow down is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The first pause; each further pause of a request is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// The time without any other answer after which the server is given up.
    pub total: Duration,
}

impl Patience {
    /// The patience of a single request for which somebody waits.
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

/// The wait that all requests of a store share.
pub(super) struct Hold {
    patience: Patience,
    /// The time since which the server has given no other answer.
    since: Mutex<Option<Instant>>,
    stop: CancellationToken,
}

/// The waiting time of a single request.
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

    /// Records any other answer of the server.
    pub(super) fn answered(&self) {
        *self.since.lock() = None;
    }

    /// Pauses before a request is sent again. Returns false if it must not be sent again.
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
        waiting.pauses += 1;
        let backoff = Backoff::new(self.patience.first, self.patience.longest);
        let pause = tokio::time::sleep(backoff.pause(waiting.pauses).min(left));
        self.stop.run_until_cancelled(pause).await.is_some()
    }

    /// The time since which the server has given no other answer. The first such answer is logged.
    fn since(&self, now: Instant) -> Instant {
        *self.since.lock().get_or_insert_with(|| {
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
