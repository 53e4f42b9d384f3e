//! The metrics of pending items, which need a look at the lake. The tasks of the daemon update them now and then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use chrono_tz::Tz;
use tokio::time::Instant;

use crate::metrics::{METRICS, PendingLabels};
use crate::status::pending_by_age;
use crate::store::Store;

/// See the module.
pub(super) struct PendingItems {
    store: Arc<dyn Store>,
    timezone: Tz,
    measured: Mutex<Option<Instant>>,
}

impl PendingItems {
    /// Counts nothing yet.
    pub fn new(store: Arc<dyn Store>, timezone: Tz) -> Self {
        Self {
            store,
            timezone,
            measured: Mutex::default(),
        }
    }

    /// Updates the metrics of pending items, unless they were updated within `rest`.
    pub async fn measure(&self, rest: Duration) {
        let now = Instant::now();
        {
            let mut last = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now - last < rest) {
                return;
            }
            *last = Some(now);
        }
        match pending_by_age(&*self.store, self.timezone, Utc::now()).await {
            Ok(pending) => {
                for ((what, age), count) in pending {
                    METRICS
                        .pending
                        .get_or_create(&PendingLabels { what, age })
                        .set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            Err(error) => tracing::debug!(%error, "pending items could not be counted"),
        }
    }
}
