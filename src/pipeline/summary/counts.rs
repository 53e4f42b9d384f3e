//! The numbers of a run's summary, and the process's metrics of them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::{Deserialize, Serialize};

use crate::lake::manifest::Quality;
use crate::lake::tally::Tally;
use crate::lake::tally_json;
use crate::metrics::{METRICS, StateLabels};

/// A run in numbers. `*_landed` counts the objects that this run fetched; the other counts of calls, reports and records
/// describe the days that the run worked on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Spaces in scope.
    pub spaces: u64,
    /// Rooms in scope.
    pub rooms: u64,
    /// Rooms that were not asked because their last call is before the dates.
    pub rooms_skipped: u64,
    /// Requests to the API, repeated ones included.
    pub requests: u64,
    /// Requests that were retries.
    pub retries: u64,
    /// Days worked on.
    pub days: u64,
    /// Days whose tables were built.
    pub days_built: u64,
    /// Calls.
    pub calls: u64,
    /// Calls that are going on, or ended less than `scope.settle` ago.
    pub calls_pending: u64,
    /// Reports by status, on the days worked on.
    #[serde(flatten, with = "tally_json::reports")]
    pub reports: Tally,
    /// Reports that this run fetched.
    pub reports_landed: u64,
    /// Recordings by status, on the days worked on.
    #[serde(flatten, with = "tally_json::records")]
    pub records: Tally,
    /// Recordings that this run copied.
    pub records_landed: u64,
    /// Bytes of the recordings that this run copied.
    pub recorded_bytes: u64,
    /// Files of lesson data that the feeds brought.
    pub meta_files: u64,
    /// Lesson entries (a user in a meeting) that are new or have changed.
    pub meta_changed: u64,
    /// The match between lesson data and participants, on the days that the run worked on.
    #[serde(flatten)]
    pub quality: Quality,
    /// Objects written or removed in the store, without this summary.
    pub writes: u64,
    /// The files of tables among them, without the table `days` and those that an import of lesson data writes.
    pub table_writes: u64,
}

impl Counts {
    /// Adds the numbers of a day.
    pub(crate) fn add_day(&mut self, day: &Self) {
        self.days += day.days;
        self.days_built += day.days_built;
        self.calls += day.calls;
        self.calls_pending += day.calls_pending;
        self.reports += day.reports;
        self.reports_landed += day.reports_landed;
        self.records += day.records;
        self.records_landed += day.records_landed;
        self.recorded_bytes += day.recorded_bytes;
        self.quality.add(&day.quality);
    }

    /// Adds what was landed another time.
    pub(crate) fn add_landed(&mut self, other: &Self) {
        self.reports_landed += other.reports_landed;
        self.records_landed += other.records_landed;
        self.recorded_bytes += other.recorded_bytes;
    }

    /// True if the run fetched anything. Then its outcome is never `nothing`, however it ended.
    pub(crate) fn has_landed(&self) -> bool {
        self.reports_landed + self.records_landed > 0
    }

    /// Adds the numbers of a run to the process's metrics.
    pub(crate) fn add_to_metrics(&self) {
        let metrics = &*METRICS;
        metrics.days.inc_by(self.days);
        metrics.days_built.inc_by(self.days_built);
        metrics.calls.inc_by(self.calls);
        metrics.recorded_bytes.inc_by(self.recorded_bytes);
        add_states(&metrics.reports, self.reports_landed, &self.reports);
        add_states(&metrics.recordings, self.records_landed, &self.records);
        let unavailable = StateLabels { state: "unavailable" };
        metrics
            .recordings
            .get_or_create(&unavailable)
            .inc_by(self.records.unavailable);
    }
}

/// Adds the states that reports and recordings have in common.
fn add_states(family: &Family<StateLabels, Counter>, landed: u64, tally: &Tally) {
    for (state, count) in [
        ("landed", landed),
        ("pending", tally.pending),
        ("failed", tally.failed),
        ("denied", tally.denied),
        ("lost", tally.lost),
    ] {
        family.get_or_create(&StateLabels { state }).inc_by(count);
    }
}
