//! Stops a single run without stopping the process: a token, and the reason that the run's summary names.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The reason why a single run was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody cancelled it; the text says who.
    Cancelled(String),
    /// The budget of requests is spent.
    BudgetSpent {
        /// The text says so, and when it goes on.
        why: String,
        /// The time from which requests are sent again.
        until: DateTime<Utc>,
    },
    /// It makes way for the scheduled run, and resumes after it.
    MadeWay,
}

/// Stops a run. All clones stop the same run.
#[derive(Debug, Clone)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<Mutex<Option<StopReason>>>,
}

impl Stop {
    /// A stop for one run. `parent` stops the run too.
    pub fn below(parent: &CancellationToken) -> Self {
        Self {
            token: parent.child_token(),
            reason: Arc::default(),
        }
    }

    /// Stops the run. A cancellation replaces any other reason.
    pub fn stop(&self, reason: StopReason) {
        let mut known = self.reason.lock();
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
        self.reason.lock().clone()
    }

    /// True if somebody cancelled the run.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.reason(), Some(StopReason::Cancelled(_)))
    }
}
