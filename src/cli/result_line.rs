//! The line on stdout with `--log-format json`: the result of a command, small enough for workflow engines that pass the last
//! line on, such as Airflow (XCom). The summary in the lake has the rest.

use serde::Serialize;
use serde_json::value::RawValue;

use super::output;
use crate::lake::key;
use crate::pipeline::Summary;
use crate::verify::Verified;
use crate::{Error, ErrorKind, ExitStatus, Result};

/// The bytes of a line: Airflow keeps up to 48 KB of an XCom, and MySQL 64 KB of a text.
const MOST_BYTES: usize = 40_000;
/// The entries of each list, until the line is short enough.
const LISTED: [usize; 5] = [usize::MAX, 50, 20, 10, 3];

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
    print_within(|listed| run_result(summary, exit_status, listed))
}

/// Prints a line with as many entries in its lists as there is room for.
fn print_within<T: Serialize>(line: impl Fn(usize) -> T) -> Result<()> {
    output::print_json(&fitting(line)?)
}

fn fitting<T: Serialize>(line: impl Fn(usize) -> T) -> Result<Box<RawValue>> {
    let [.., fewest] = LISTED;
    for listed in LISTED {
        let text = serde_json::value::to_raw_value(&line(listed))
            .map_err(|error| Error::new(ErrorKind::Internal, "stdout", error.to_string()))?;
        if text.get().len() <= MOST_BYTES || listed == fewest {
            return Ok(text);
        }
    }
    Err(Error::new(ErrorKind::Internal, "stdout", "no line"))
}

fn run_result(summary: &Summary, exit_status: u8, listed: usize) -> RunResult {
    let mut shown = summary.clone();
    shown.exit_status = exit_status;
    for list in [&mut shown.failed, &mut shown.pending, &mut shown.warnings] {
        list.truncate(listed);
    }
    let counts = &summary.counts;
    RunResult {
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
    }
}

/// Prints the result of a verification.
pub(super) fn print_verification(verified: &Verified, status: ExitStatus) -> Result<()> {
    let outcome = match status {
        ExitStatus::Damaged => "damaged",
        ExitStatus::Partial => "partial",
        _ => "done",
    };
    print_within(|listed| {
        let mut shown = verified.clone();
        for list in [&mut shown.findings, &mut shown.mended] {
            list.truncate(listed);
        }
        VerifyResult {
            shown,
            command: "verify",
            outcome,
            exit_status: status as u8,
            days: verified.counts.days,
            findings_count: verified.findings.len(),
            mended_count: verified.mended.len(),
        }
    })
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::pipeline::{Command, Job, Problem, ProblemKind};

    #[test]
    fn a_line_keeps_its_lists_as_far_as_an_engine_takes_it_and_their_lengths_in_any_case() {
        let now = chrono::Utc::now();
        let job = Job::over(Command::Run, now.date_naive(), now.date_naive());
        let mut summary = Summary::new(&job, Tz::UTC, now);
        let warning = Problem::new(
            ProblemKind::BadValue,
            "a value of some length that can't be read".repeat(5),
        );
        let of = |summary: &Summary| {
            let line = fitting(|listed| run_result(summary, 3, listed)).expect("a line");
            let length = line.get().len();
            let line: serde_json::Value = serde_json::from_str(line.get()).expect("JSON");
            (
                length,
                line["warnings"].as_array().map_or(0, Vec::len),
                line["warning_count"].clone(),
            )
        };
        summary.warnings = vec![warning.clone(); 30];
        assert_eq!((of(&summary).1, of(&summary).2), (30, 30.into()));
        summary.warnings = vec![warning; 5_000];
        let (length, listed, count) = of(&summary);
        assert!(
            length <= MOST_BYTES && listed == 50 && count == 5_000,
            "{length} {listed} {count}"
        );
    }
}
