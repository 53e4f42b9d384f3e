//! The surroundings of a run, a rebuild or a verification. A plain type.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::Progress;
use crate::config::Config;
use crate::store::Store;

/// The inputs that a run, a rebuild and a verification have in common.
#[derive(Clone)]
pub struct Setting {
    /// The configuration.
    pub config: Config,
    /// The lake.
    pub store: Arc<dyn Store>,
    /// The counters that the work moves.
    pub progress: Arc<Progress>,
    /// Stops the work.
    pub cancel: CancellationToken,
    /// The present, which is the same for all decisions of the work.
    pub now: DateTime<Utc>,
}

impl Setting {
    /// A setting whose progress nobody shows and whose work nobody stops.
    pub fn new(config: Config, store: Arc<dyn Store>, now: DateTime<Utc>) -> Self {
        Self {
            config,
            store,
            progress: Arc::default(),
            cancel: CancellationToken::new(),
            now,
        }
    }

    /// The same, with a cancellation of its own below this one's.
    #[must_use]
    pub(crate) fn child(self) -> Self {
        Self {
            cancel: self.cancel.child_token(),
            ..self
        }
    }
}
