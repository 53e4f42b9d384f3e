//! Holds requests to what `pressure` allows in flight. Not pure; `sender` passes through it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::pressure::{Pressure, Sign};
use super::request::Kind;

/// Lets as many requests in as the server bears.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pressure: Pressure,
    /// Permits that there are, given out or not.
    permits: usize,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    permit: SemaphorePermit<'a>,
}

impl Gate {
    /// A gate for `most` at once.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(most),
            state: Mutex::new(State {
                pressure: Pressure::new(most),
                permits: most,
            }),
        }
    }

    /// Waits for a pass.
    pub(super) async fn enter(&self) -> Pass<'_> {
        match self.permits.acquire().await {
            Ok(permit) => Pass { gate: self, permit },
            // Nobody closes it.
            Err(_) => std::future::pending().await,
        }
    }

    #[cfg(test)]
    fn allowed(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.pressure.allowed(), state.permits)
    }
}

impl Pass<'_> {
    /// Gives the pass back, with what its request, sent at `sent`, showed of the server.
    pub(super) fn give_back(self, kind: Kind, sent: Instant, sign: Option<Sign>) {
        let Self { gate, permit } = self;
        let mut state = gate.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sign) = sign {
            state.pressure.note(kind, sent, Instant::now(), sign);
        }
        let allowed = state.pressure.allowed();
        if state.permits > allowed {
            permit.forget();
            state.permits -= 1;
            // Those given out are taken away as they come back.
            state.permits -= gate.permits.forget_permits(state.permits - allowed);
        } else if state.permits < allowed {
            gate.permits.add_permits(allowed - state.permits);
            state.permits = allowed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn permits_follow_what_is_allowed() {
        let gate = Gate::new(8);
        let sent = Instant::now();
        let mut passes = Vec::new();
        for _ in 0..8 {
            passes.push(gate.enter().await);
        }
        for pass in passes.drain(..) {
            pass.give_back(Kind::Calls, sent, Some(Sign::SlowDown));
        }
        assert_eq!((gate.allowed(), gate.permits.available_permits()), ((4, 4), 4));
        // One that breaks off in mid-air is given back all the same.
        drop(gate.enter().await);
        for _ in 0..64 {
            let sent = Instant::now();
            let answered = Sign::Answered(Duration::from_millis(1));
            gate.enter().await.give_back(Kind::Calls, sent, Some(answered));
        }
        assert_eq!((gate.allowed(), gate.permits.available_permits()), ((8, 8), 8));
    }
}
