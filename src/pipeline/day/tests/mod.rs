//! Tests of the pure core of a day's work.

mod claim;
mod due;
mod edit;
mod expire;
mod judge;
mod merge;

use crate::config::ReportFormat;
use crate::lake::manifest::{Manifest, Status};
use crate::pipeline::day::{recording, report};
use crate::pipeline::samples::landed;

/// Notes all reports and recordings of the day as landed.
fn land_all(day: &mut Manifest) {
    for entry in day.calls.values_mut() {
        let state = report::call_state(entry);
        entry
            .reports
            .insert(ReportFormat::Json, landed(Status::Done, &state));
    }
    for entry in day.records.values_mut() {
        entry.file = landed(Status::Done, &recording::record_state(entry));
    }
}
