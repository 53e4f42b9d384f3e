//! The summary of a run: its counts, its failures, the items that are pending, and warnings. Pure, but for the metrics
//! that [`Summary::count`] moves.
//!
//! `_telelake/runs/<id>.json` holds it, `--json` prints it to scripts, and [`Summary::for_people`] makes text of it. It
//! has ids only: nothing personal.

pub(crate) mod build_notes;
pub(crate) mod counts;
mod notice;
pub(crate) mod problem;
pub(crate) mod problem_kind;
pub(crate) mod process;
mod requests;
pub(crate) mod runs;
mod text;
pub(crate) mod trace;

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::job::ShardOfJob;
use super::{Command, Job, StopReason};
use crate::metrics::{METRICS, RunLabels};
use crate::{Error, ErrorKind, ExitStatus};
use build_notes::NotesBySubject;
pub use counts::Counts;
pub use problem::Problem;
pub use problem_kind::ProblemKind;
use process::Process;

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The run is still going on.
    Running,
    /// Everything was done. Items that the API does not have yet are pending.
    Done,
    /// Something failed, or the run was stopped. Later runs try again.
    Partial,
    /// Nothing could be done.
    Nothing,
    /// Somebody cancelled the run; `cancelled_by` names them.
    Cancelled,
    /// The run broke off without an end: its process is gone, or sends no heartbeat. Readers set it; it is never written.
    Killed,
}

/// The summary of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's id: its start in UTC and a random part. Ids sort by time.
    pub id: String,
    /// `run`, `backfill`, `demo`.
    pub command: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The exit status.
    pub exit_status: u8,
    /// The start of the run.
    pub started_at: DateTime<Utc>,
    /// The end of the run.
    pub finished_at: Option<DateTime<Utc>>,
    /// The last heartbeat of a run that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_at: Option<DateTime<Utc>>,
    /// The process of the run.
    #[serde(flatten)]
    pub process: Process,
    /// The first date of the job.
    pub from: NaiveDate,
    /// The last date of the job, itself included.
    pub to: NaiveDate,
    /// The part of the job that the run did, if several processes do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardOfJob>,
    /// The time zone of the dates.
    pub timezone: String,
    /// The numbers.
    pub counts: Counts,
    /// The failures. Later runs try again.
    pub failed: Vec<Problem>,
    /// The items that are not ready. Later runs ask again.
    pub pending: Vec<Problem>,
    /// Things that a person should look at.
    pub warnings: Vec<Problem>,
    /// The notes of the builds. They become warnings when the run ends.
    #[serde(skip)]
    noted: NotesBySubject,
    /// The days that keep their tables although something has changed, because their reports were deleted.
    #[serde(skip)]
    frozen: u64,
    /// The error that ended the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The most important reason why the outcome is not `done`, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The person or program that cancelled the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// True if the run was stopped before it had done all of its dates.
    #[serde(default)]
    pub interrupted: bool,
    /// The first date that a stopped run did not reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interrupted_before: Option<NaiveDate>,
    /// The date from which a stopped run goes on, because all earlier dates are done.
    #[serde(skip)]
    pub resume_at: Option<NaiveDate>,
    /// The time from which requests are sent again, if the budget of requests is spent.
    #[serde(skip)]
    pub requests_from: Option<DateTime<Utc>>,
}

/// The circumstances in which a run ended.
#[derive(Debug)]
pub(crate) struct RunEnd {
    /// The time of the end.
    pub at: DateTime<Utc>,
    /// The error of the store, if it was lost during the run.
    pub lost: Option<Error>,
    /// The error that ended the run.
    pub error: Option<Error>,
    /// True if the run was stopped.
    pub stopped: bool,
    /// The reason why this run alone was stopped.
    pub reason: Option<StopReason>,
    /// Objects written or removed.
    pub writes: u64,
    /// Files of tables among them.
    pub table_writes: u64,
}

/// The share of a single day in the run's summary.
#[derive(Debug, Default)]
pub(crate) struct DayReport {
    pub counts: Counts,
    pub failed: Vec<Problem>,
    pub pending: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// The notes of the build.
    pub noted: NotesBySubject,
    /// True if the day keeps its tables although something has changed, because its reports were deleted.
    pub is_frozen: bool,
}

/// The share of the feeds in the run's summary.
#[derive(Debug, Default)]
pub(crate) struct FeedReport {
    /// Files imported.
    pub meta_files: u64,
    /// Lesson entries that are new or have changed.
    pub meta_changed: u64,
    /// The keys of the markers of the imports that ended well.
    pub markers: BTreeSet<String>,
    pub failed: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl FeedReport {
    pub fn fail(&mut self, failure: Problem) {
        self.failed.push(failure);
    }

    pub fn warn(&mut self, warning: Problem) {
        self.warnings.push(warning);
    }
}

impl DayReport {
    /// Makes this the report of both times that the day was processed: its state is the later one, and what the run has
    /// done is the sum.
    pub fn follow(&mut self, first: Self) {
        if self.counts.days == 0 {
            // The second time failed, or was stopped: the state is still the first one.
            let landed = std::mem::replace(&mut self.counts, first.counts.clone());
            self.counts.add_landed(&landed);
            self.failed.extend(first.failed);
            self.pending = first.pending;
        } else {
            self.counts.add_landed(&first.counts);
        }
        let known = first
            .warnings
            .iter()
            .filter(|warning| !self.warnings.contains(warning));
        self.warnings.extend(known.cloned().collect::<Vec<_>>());
        if self.counts.days_built == 0 {
            self.noted.add(first.noted);
        }
        self.counts.days_built = self.counts.days_built.max(first.counts.days_built);
        self.is_frozen |= first.is_frozen;
    }
}

impl Summary {
    pub(crate) fn new(job: &Job, zone: Tz, now: DateTime<Utc>) -> Self {
        Self {
            id: format!(
                "{}-{:06x}",
                now.format("%Y%m%dT%H%M%SZ"),
                fastrand::u32(..0x0100_0000)
            ),
            command: job.command.name().into(),
            outcome: Outcome::Running,
            exit_status: ExitStatus::Unexpected as u8,
            started_at: now,
            finished_at: None,
            heartbeat_at: None,
            process: Process::own(),
            from: job.from,
            to: job.to,
            shard: job.shard_of_job(),
            timezone: zone.name().into(),
            counts: Counts::default(),
            failed: Vec::new(),
            pending: Vec::new(),
            warnings: Vec::new(),
            noted: NotesBySubject::default(),
            frozen: 0,
            error: None,
            cause: None,
            cancelled_by: None,
            interrupted: false,
            interrupted_before: None,
            resume_at: None,
            requests_from: None,
        }
    }

    pub(crate) fn warn(&mut self, warning: Problem) {
        tracing::warn!(
            kind = warning.kind.as_str(),
            space = warning.space_id.as_deref(),
            room = warning.room_id.as_deref(),
            "{}",
            warning.message
        );
        self.warnings.push(warning);
    }

    pub(crate) fn fail(&mut self, failure: Problem) {
        tracing::error!(
            kind = failure.kind.as_str(),
            space = failure.space_id.as_deref(),
            room = failure.room_id.as_deref(),
            "{}",
            failure.message
        );
        self.failed.push(failure);
    }

    /// Adds the share of a day.
    pub(crate) fn absorb(&mut self, mut day: DayReport) {
        self.counts.add_day(&day.counts);
        self.failed.append(&mut day.failed);
        self.pending.append(&mut day.pending);
        self.warnings.append(&mut day.warnings);
        self.noted.add(day.noted);
        self.frozen += u64::from(day.is_frozen);
    }

    /// Adds the share of the feeds, and logs their problems.
    pub(crate) fn absorb_feeds(&mut self, feeds: FeedReport) {
        self.counts.meta_files += feeds.meta_files;
        self.counts.meta_changed += feeds.meta_changed;
        for failure in feeds.failed {
            self.fail(failure);
        }
        for warning in feeds.warnings {
            self.warn(warning);
        }
    }

    /// The error of a run that reached no room: it quotes the first failure.
    pub(crate) fn nothing_reached(&self) -> Error {
        match self.failed.first() {
            Some(first) => Error::new(
                ErrorKind::Forbidden,
                "API",
                format!("nothing could be reached; first: {}", first.one_line()),
            ),
            None => Error::new(ErrorKind::Forbidden, "API", "the token sees no space in scope")
                .hint("check scope.spaces, and the account that the token belongs to"),
        }
    }

    /// Ends the run: sorts the lists, and decides on the outcome and the exit status.
    pub(crate) fn finish(&mut self, now: DateTime<Utc>, writes: u64, stopped: bool, error: Option<&Error>) {
        self.finished_at = Some(now);
        self.counts.writes = writes;
        self.interrupted = stopped;
        self.error = error.map(ToString::to_string);
        self.warnings
            .extend(std::mem::take(&mut self.noted).into_problems());
        self.warnings
            .extend(frozen_days(std::mem::take(&mut self.frozen)));
        for list in [&mut self.failed, &mut self.pending, &mut self.warnings] {
            // Sorted, so that equal runs give equal lists.
            list.sort_by(|a, b| a.order().cmp(&b.order()));
        }
        let status = self.status_after(stopped, error);
        self.set_outcome(
            match status {
                ExitStatus::Done => Outcome::Done,
                ExitStatus::Partial => Outcome::Partial,
                _ if self.counts.has_landed() => Outcome::Partial,
                ExitStatus::Unexpected | ExitStatus::Usage | ExitStatus::Nothing | ExitStatus::Damaged => {
                    Outcome::Nothing
                }
            },
            status,
        );
    }

    /// The exit status of a run that ended like this.
    fn status_after(&self, stopped: bool, error: Option<&Error>) -> ExitStatus {
        match error {
            // The error ended the run in the middle, but what it fetched before is in the lake. A token that is refused
            // needs the operator in any case.
            Some(error) if self.counts.has_landed() && error.kind() != ErrorKind::Unauthorized => {
                ExitStatus::Partial
            }
            Some(error) => error.exit_status(),
            None if stopped || !self.failed.is_empty() => ExitStatus::Partial,
            None => ExitStatus::Done,
        }
    }

    fn set_outcome(&mut self, outcome: Outcome, status: ExitStatus) {
        (self.outcome, self.exit_status) = (outcome, status as u8);
    }

    /// Ends the run with its error, or with the error of a store that was lost.
    pub(crate) fn end(&mut self, end: RunEnd) {
        let was_lost = end.lost.is_some();
        let error = end.lost.or(end.error);
        self.counts.table_writes = end.table_writes;
        self.finish(end.at, end.writes, end.stopped, error.as_ref());
        if was_lost && self.counts.days > 0 {
            // Days that were committed before are done.
            self.set_outcome(Outcome::Partial, ExitStatus::Partial);
        }
        let reason = end.reason.filter(|_| end.stopped);
        if let Some(StopReason::BudgetSpent { until, .. }) = &reason {
            self.requests_from = Some(*until);
        }
        if let Some(StopReason::Cancelled(by)) = &reason {
            self.set_outcome(Outcome::Cancelled, ExitStatus::Partial);
            self.cancelled_by = Some(by.clone());
        }
        self.cause = self.cause_of(reason.as_ref());
    }

    /// The most important reason why the outcome is not `done`.
    fn cause_of(&self, reason: Option<&StopReason>) -> Option<String> {
        match reason {
            Some(StopReason::Cancelled(by)) => return Some(format!("cancelled by {by}")),
            Some(StopReason::BudgetSpent { why, .. }) if !self.counts.has_landed() => {
                return Some(format!(
                    "{why}; nothing was landed, because the lists alone take more: raise it, or set api.call_date"
                ));
            }
            Some(StopReason::BudgetSpent { why, .. }) => return Some(why.clone()),
            Some(StopReason::MadeWay) => {
                return Some("made way for the scheduled run; the job goes on after it".into());
            }
            None => {}
        }
        if let Some(error) = &self.error {
            return Some(error.clone());
        }
        if let Some((kind, count, first)) = text::most_frequent(&self.failed) {
            return Some(format!("{count} × {kind}, first: {}", first.one_line()));
        }
        self.interrupted
            .then(|| "stopped before all dates were done; the next run goes on".into())
    }

    /// Adds the run to the process's metrics. Nothing else does, so that `/metrics` and the summaries agree.
    pub(crate) fn count(&self) {
        let labels = RunLabels {
            command: self.command.clone(),
            outcome: format!("{:?}", self.outcome).to_lowercase(),
        };
        METRICS.runs.get_or_create(&labels).inc();
        if let Some(end) = self.finished_at {
            let took = (end - self.started_at).as_seconds_f64();
            METRICS.run_seconds.observe(took);
        }
        self.counts.add_to_metrics();
    }

    /// True if the run did its job to the end: a shard only if all other shards had ended.
    pub fn ends_job(&self) -> bool {
        self.shard.as_ref().is_none_or(|shard| shard.last)
    }

    /// True if the shards of the job may have left out days.
    pub fn lacks_days(&self) -> bool {
        self.failed
            .iter()
            .any(|problem| problem.kind == ProblemKind::ShardsDiffer)
    }

    /// True if the run is one of `command`.
    pub fn is_of(&self, command: Command) -> bool {
        self.command == command.name()
    }

    /// Sets the metrics of the last nightly run's end, and of the last one that was `done`.
    pub(crate) fn note_end(&self) {
        let Some(end) = self
            .finished_at
            .filter(|_| self.is_of(Command::Run) && self.ends_job())
        else {
            return;
        };
        let at = end.timestamp_millis() as f64 / 1000.0;
        METRICS.last_run.set(at);
        if self.outcome == Outcome::Done {
            METRICS.last_success.set(at);
        }
    }

    /// Counts a run that ended before it had a summary because the store is out of reach.
    pub(crate) fn count_lost(job: &Job) {
        let labels = RunLabels {
            command: job.command.name().into(),
            outcome: "nothing".into(),
        };
        METRICS.runs.get_or_create(&labels).inc();
    }

    /// True if the run was done and brought no data: it landed, imported and built nothing, and nothing failed. A day without
    /// calls is no data, although the run notes that it looked at the day.
    pub fn had_nothing_to_do(&self) -> bool {
        let counts = &self.counts;
        let changes = counts.table_writes + counts.meta_files + counts.meta_changed;
        self.outcome == Outcome::Done && self.failed.is_empty() && !counts.has_landed() && changes == 0
    }

    /// The exit status of the command.
    pub fn status(&self) -> ExitStatus {
        match self.exit_status {
            0 => ExitStatus::Done,
            2 => ExitStatus::Usage,
            3 => ExitStatus::Partial,
            4 => ExitStatus::Nothing,
            _ => ExitStatus::Unexpected,
        }
    }
}

/// The warning about days that keep their tables because their reports were deleted.
fn frozen_days(count: u64) -> Option<Problem> {
    let message = format!(
        "{count} days keep the tables that they have, because their raw reports were deleted after their retention: \
         `backfill --force` over their dates fetches the reports again"
    );
    (count > 0).then(|| Problem::new(ProblemKind::RawDeleted, message).count(count))
}

#[cfg(test)]
mod tests;
