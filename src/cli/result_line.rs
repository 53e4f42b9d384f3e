//! The last line on stdout with `--log-format json`: the result of a command in a few fields, for workflow engines that pass
//! the last line on, such as Airflow (XCom). The summary has the rest.

use chrono::NaiveDate;
use serde::Serialize;

use super::output;
use crate::lake::key;
use crate::pipeline::{Outcome, Summary};
use crate::verify::Verified;
use crate::{ExitStatus, Result};

/// The result of a run.
#[derive(Debug, Serialize)]
struct RunResult<'s> {
    command: &'s str,
    outcome: Outcome,
    /// The exit status of the process.
    exit_status: u8,
    run_id: &'s str,
    from: NaiveDate,
    to: NaiveDate,
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
    pending: usize,
    failed: usize,
    warnings: usize,
    /// The key of the summary in the lake.
    summary: String,
}

/// The result of a verification.
#[derive(Debug, Serialize)]
struct VerifyResult {
    command: &'static str,
    outcome: &'static str,
    exit_status: u8,
    days: u64,
    reports: u64,
    recordings: u64,
    table_files: u64,
    findings: u64,
    mended: u64,
}

/// Prints the result of a run that ends with `exit_status`.
pub(super) fn print_run(summary: &Summary, exit_status: u8) -> Result<()> {
    let counts = &summary.counts;
    output::print_json(&RunResult {
        command: &summary.command,
        outcome: summary.outcome,
        exit_status,
        run_id: &summary.id,
        from: summary.from,
        to: summary.to,
        days: counts.days,
        days_built: counts.days_built,
        calls: counts.calls,
        reports: counts.reports_landed,
        recordings: counts.records_landed,
        bytes: counts.recorded_bytes,
        pending: summary.pending.len(),
        failed: summary.failed.len(),
        warnings: summary.warnings.len(),
        summary: key::run(&summary.id),
    })
}

/// Prints the result of a verification.
pub(super) fn print_verification(verified: &Verified, status: ExitStatus) -> Result<()> {
    let counts = &verified.counts;
    output::print_json(&VerifyResult {
        command: "verify",
        outcome: match status {
            ExitStatus::Damaged => "damaged",
            ExitStatus::Partial => "partial",
            _ => "done",
        },
        exit_status: status as u8,
        days: counts.days,
        reports: counts.reports,
        recordings: counts.recordings,
        table_files: counts.tables,
        findings: counts.findings,
        mended: counts.mended,
    })
}
