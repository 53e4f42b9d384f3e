//! The part of a run that lesson data needs: its store, time and zone, and the count of its writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::lesson_days::LessonDayWriter;
use crate::Result;
use crate::pipeline::lake_state::erasures::KnownErasures;
use crate::store::{Condition, Store};
use crate::tables::PrivacyPolicy;

/// The lake as the lesson cache of a run sees it.
pub(crate) struct LessonLake {
    pub store: Arc<dyn Store>,
    /// The people who were erased from the lake.
    pub erasures: Arc<KnownErasures>,
    /// The run's writes so far; shared with the run.
    pub writes: Arc<AtomicU64>,
    /// The writes of table files among them.
    pub table_writes: Arc<AtomicU64>,
    pub zone: Tz,
    /// The treatment of personal data.
    pub privacy: PrivacyPolicy,
    pub now: DateTime<Utc>,
}

impl LessonLake {
    /// A writer of lesson days. The caller counts its writes.
    pub fn writer(&self) -> LessonDayWriter<'_> {
        LessonDayWriter::new(&*self.store, &self.privacy)
    }

    /// Counts writes of the run.
    pub fn count_writes(&self, writes: u64) {
        self.writes.fetch_add(writes, Ordering::Relaxed);
    }

    /// Writes an object.
    pub async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<()> {
        self.writer().put(key, bytes, condition).await?;
        self.count_writes(1);
        Ok(())
    }
}
