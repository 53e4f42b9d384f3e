//! The line on stdout with `--log-format json`: the result of a command, small enough for workflow engines that pass the last
//! line on, such as Airflow (XCom). The summary in the lake has the rest.

use serde::Serialize;

use super::output;
use crate::lake::key;
use crate::pipeline::Summary;
use crate::verify::Verified;
use crate::{ExitStatus, Result};

/// The problems of each list in the line.
const LISTED: usize = 10;

/// The result of a run: its summary, with short lists.
#[derive(Debug, Serialize)]
struct RunResult {
    #[serde(flatten)]
    shown: Summary,
    run_id: String,
    /// The days worked on.
    days: u64,
    days_built: u64,
    /// The calls of these days.
    calls: u64,
    /// The reports that this run fetched.
    reports: u64,
    /// The recordings that this run copied.
    recordings: u64,
    /// Their bytes.
    bytes: u64,
    pending_count: usize,
    failed_count: usize,
    warning_count: usize,
    /// The key of the whole summary in the lake.
    summary: String,
}

/// The result of a verification, with a short list of findings.
#[derive(Debug, Serialize)]
struct VerifyResult {
    #[serde(flatten)]
    shown: Verified,
    command: &'static str,
    outcome: &'static str,
    exit_status: u8,
    days: u64,
    findings_count: usize,
    mended_count: usize,
}

/// Prints the result of a run that ends with `exit_status`.
pub(super) fn print_run(summary: &Summary, exit_status: u8) -> Result<()> {
    let mut shown = summary.clone();
    shown.exit_status = exit_status;
    for list in [&mut shown.failed, &mut shown.pending, &mut shown.warnings] {
        list.truncate(LISTED);
    }
    let counts = &summary.counts;
    output::print_json(&RunResult {
        shown,
        run_id: summary.id.clone(),
        days: counts.days,
        days_built: counts.days_built,
        calls: counts.calls,
        reports: counts.reports_landed,
        recordings: counts.records_landed,
        bytes: counts.recorded_bytes,
        pending_count: summary.pending.len(),
        failed_count: summary.failed.len(),
        warning_count: summary.warnings.len(),
        summary: key::run(&summary.id),
    })
}

/// Prints the result of a verification.
pub(super) fn print_verification(verified: &Verified, status: ExitStatus) -> Result<()> {
    let mut shown = verified.clone();
    for list in [&mut shown.findings, &mut shown.mended] {
        list.truncate(LISTED);
    }
    output::print_json(&VerifyResult {
        shown,
        command: "verify",
        outcome: match status {
            ExitStatus::Damaged => "damaged",
            ExitStatus::Partial => "partial",
            _ => "done",
        },
        exit_status: status as u8,
        days: verified.counts.days,
        findings_count: verified.findings.len(),
        mended_count: verified.mended.len(),
    })
}
