//! Stopping one run and not the process: a token of its own, and the reason for the run's summary.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Why a run was stopped, where the process goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody cancelled it; who, in words.
    Cancelled(String),
    /// It makes way for the scheduled run, and goes on after it.
    MadeWay,
}

/// Stops a run. Clones stop the same one.
#[derive(Debug, Clone)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<Mutex<Option<StopReason>>>,
}

impl Stop {
    /// A stop of its own, which `parent` stops too.
    pub fn below(parent: &CancellationToken) -> Self {
        Self {
            token: parent.child_token(),
            reason: Arc::default(),
        }
    }

    /// Stops the run. A cancellation outweighs the other reason.
    pub fn stop(&self, reason: StopReason) {
        let mut known = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*known, Some(StopReason::Cancelled(_))) {
            *known = Some(reason);
        }
        drop(known);
        self.token.cancel();
    }

    /// The token that is cancelled when the run is to stop.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The reason, if somebody gave one.
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if somebody cancelled the run.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.reason(), Some(StopReason::Cancelled(_)))
    }
}
