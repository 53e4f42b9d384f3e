//! Limits the requests in flight to the number that `pressure` allows. Not pure; `sender` takes a pass for each request.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::pressure::{Pressure, Sign};

/// A semaphore whose size follows `pressure`.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Semaphore,
    state: Mutex<GateState>,
}

#[derive(Debug)]
struct GateState {
    pressure: Pressure,
    /// The number of permits, whether given out or not.
    permits: usize,
}

/// The permission for a request in flight.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    permit: SemaphorePermit<'a>,
}

impl Gate {
    /// A gate for at most `most` requests in flight.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Semaphore::new(most),
            state: Mutex::new(GateState {
                pressure: Pressure::new(most),
                permits: most,
            }),
        }
    }

    /// Waits for a pass.
    pub(super) async fn enter(&self) -> Pass<'_> {
        match self.permits.acquire().await {
            Ok(permit) => Pass { gate: self, permit },
            // The semaphore is never closed.
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
    /// Gives the pass back, with the server's sign in the answer to its request, which was sent at `sent`.
    pub(super) fn give_back(self, sent: Instant, sign: Option<Sign>) {
        let Self { gate, permit } = self;
        let mut state = gate.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sign) = sign {
            state.pressure.note(sent, Instant::now(), sign);
        }
        let allowed = state.pressure.allowed();
        if state.permits > allowed {
            permit.forget();
            state.permits -= 1;
            // Permits that are given out are removed when they come back.
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

    #[tokio::test]
    async fn the_number_of_permits_follows_the_pressure() {
        let gate = Gate::new(8);
        let sent = Instant::now();
        let mut passes = Vec::new();
        for _ in 0..8 {
            passes.push(gate.enter().await);
        }
        for pass in passes.drain(..) {
            pass.give_back(sent, Some(Sign::SlowDown));
        }
        assert_eq!((gate.allowed(), gate.permits.available_permits()), ((4, 4), 4));
        // A pass that is dropped without a sign is given back too.
        drop(gate.enter().await);
        for _ in 0..64 {
            let sent = Instant::now();
            gate.enter().await.give_back(sent, Some(Sign::Answered));
        }
        assert_eq!((gate.allowed(), gate.permits.available_permits()), ((8, 8), 8));
    }
}
