//! The summary of a run: its counts, its failures, the items that are pending, and warnings. Pure, but for the metrics
//! that [`Summary::count`] moves.
//!
//! `_telelake/runs/<id>.json` holds it, `--json` prints it to scripts, and [`Summary::for_people`] makes text of it. It
//! has ids only: nothing personal.

pub(crate) mod build_notes;
mod notice;
pub(crate) mod problem;
pub(crate) mod process;
pub(crate) mod runs;
pub(crate) mod trace;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{Command, Job, Stop, StopReason};
use crate::api::{Client, Limited, Refused};
use crate::ids::{CallId, MeetingId, RecordId, RoomId, SpaceId, UserId};
use crate::lake::manifest::Quality;
use crate::metrics::{METRICS, RunLabels, StateLabels};
use crate::pipeline::run_context::RunContext;
use crate::sanitize::escaped;
use crate::{Error, ErrorKind, ExitStatus};
use build_notes::Noted;
pub use problem::ProblemKind;
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

/// An entry of a summary: something failed, is pending, or needs a look; with the ids that it is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The kind: a word for scripts.
    pub kind: ProblemKind,
    /// A sentence for people.
    pub message: String,
    /// The day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    /// The space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space_id: Option<SpaceId>,
    /// The room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<RoomId>,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<RecordId>,
    /// The meeting in the LMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_meeting_id: Option<MeetingId>,
    /// The user in the LMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_user_id: Option<UserId>,
    /// The number of times that it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Problem {
    /// A problem that names no object yet.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: escaped(&message.into()).into_owned(),
            ..Self::default()
        }
    }

    /// Names a day: a date of a space.
    #[must_use]
    pub fn on(mut self, date: NaiveDate, space: &SpaceId) -> Self {
        self.date = Some(date);
        self.space(space)
    }

    /// Names a space.
    #[must_use]
    pub fn space(mut self, id: &str) -> Self {
        self.space_id = Some(id.into());
        self
    }

    /// Names a room.
    #[must_use]
    pub fn room(mut self, id: &str) -> Self {
        self.room_id = Some(id.into());
        self
    }

    /// Names a call.
    #[must_use]
    pub fn call(mut self, id: &str) -> Self {
        self.call_id = Some(id.into());
        self
    }

    /// Names a record.
    #[must_use]
    pub fn record(mut self, id: &str) -> Self {
        self.record_id = Some(id.into());
        self
    }

    /// Names a meeting of the LMS.
    #[must_use]
    pub fn meeting(mut self, id: &str) -> Self {
        self.external_meeting_id = Some(id.into());
        self
    }

    /// Names a user of the LMS.
    #[must_use]
    pub fn user(mut self, id: &str) -> Self {
        self.external_user_id = Some(id.into());
        self
    }

    /// Says how many times it happened.
    #[must_use]
    pub fn count(mut self, times: u64) -> Self {
        self.count = Some(times);
        self
    }
}

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
    /// Reports in the lake.
    pub reports_done: u64,
    /// Reports that this run fetched.
    pub reports_landed: u64,
    /// Reports that are not ready.
    pub reports_pending: u64,
    /// Reports that the API refuses.
    pub reports_denied: u64,
    /// Reports that failed.
    pub reports_failed: u64,
    /// Reports that did not come within `export.give_up`.
    pub reports_lost: u64,
    /// Recordings in the lake.
    pub records_done: u64,
    /// Recordings that this run copied.
    pub records_landed: u64,
    /// Recordings that are not ready.
    pub records_pending: u64,
    /// Recordings that the API refuses.
    pub records_denied: u64,
    /// Recordings that failed.
    pub records_failed: u64,
    /// Recordings that the platform itself has given up.
    pub records_unavailable: u64,
    /// Recordings that did not come within `export.give_up`.
    pub records_lost: u64,
    /// Bytes of the recordings that this run copied.
    pub recorded_bytes: u64,
    /// Files of lesson data that the feeds brought.
    pub meta_files: u64,
    /// Lesson entries (a user in a meeting) that are new or have changed.
    pub meta_changed: u64,
    /// How well lesson data and participants match, on the days that the run worked on.
    #[serde(flatten)]
    pub quality: Quality,
    /// Objects written or removed in the store, without this summary.
    pub writes: u64,
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
    noted: Noted,
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
}

/// The share of a single day in the run's summary.
#[derive(Debug, Default)]
pub(crate) struct DayReport {
    pub counts: Counts,
    pub failed: Vec<Problem>,
    pub pending: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// The notes of the build.
    pub noted: Noted,
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
            timezone: zone.name().into(),
            counts: Counts::default(),
            failed: Vec::new(),
            pending: Vec::new(),
            warnings: Vec::new(),
            noted: Noted::default(),
            error: None,
            cause: None,
            cancelled_by: None,
            interrupted: false,
            interrupted_before: None,
            resume_at: None,
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

    pub(crate) fn absorb(&mut self, mut day: DayReport) {
        let (all, of_day) = (&mut self.counts, &day.counts);
        all.days += of_day.days;
        all.days_built += of_day.days_built;
        all.calls += of_day.calls;
        all.calls_pending += of_day.calls_pending;
        all.reports_done += of_day.reports_done;
        all.reports_landed += of_day.reports_landed;
        all.reports_pending += of_day.reports_pending;
        all.reports_denied += of_day.reports_denied;
        all.reports_failed += of_day.reports_failed;
        all.reports_lost += of_day.reports_lost;
        all.records_done += of_day.records_done;
        all.records_landed += of_day.records_landed;
        all.records_pending += of_day.records_pending;
        all.records_denied += of_day.records_denied;
        all.records_failed += of_day.records_failed;
        all.records_unavailable += of_day.records_unavailable;
        all.records_lost += of_day.records_lost;
        all.recorded_bytes += of_day.recorded_bytes;
        all.quality.add(&of_day.quality);
        self.failed.append(&mut day.failed);
        self.pending.append(&mut day.pending);
        self.warnings.append(&mut day.warnings);
        self.noted.add(day.noted);
    }

    /// Takes over the client's counts. Requests that were not sent become one failure for each space and room.
    pub(crate) fn tell_requests(&mut self, client: &Client) {
        let stats = client.stats();
        self.counts.requests = stats.requests;
        self.counts.retries = stats.retries;
        for refused in client.refused() {
            self.fail(not_sent(&refused));
        }
        if let Some(limited) = client.limited() {
            self.tell_limit(&limited);
        }
    }

    /// Reports the refusals of the API's rate limiter, and the rate to configure.
    fn tell_limit(&mut self, limited: &Limited) {
        if limited.refused > 0 {
            self.warn(Problem::new(ProblemKind::RateLimited, refused_as_too_many(limited)));
        }
        if limited.unsent > 0 {
            let message = format!(
                "{} requests were not sent because the API refused all before them; the next run sends them",
                limited.unsent
            );
            self.fail(Problem::new(ProblemKind::RateLimited, message));
        }
    }

    /// True if this run fetched anything. Then its outcome is never `nothing`, however it ended.
    fn has_landed(&self) -> bool {
        self.counts.reports_landed + self.counts.records_landed > 0
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

    pub(crate) fn finish(&mut self, now: DateTime<Utc>, writes: u64, stopped: bool, error: Option<&Error>) {
        self.finished_at = Some(now);
        self.counts.writes = writes;
        self.interrupted = stopped;
        self.error = error.map(ToString::to_string);
        self.warnings
            .extend(std::mem::take(&mut self.noted).into_problems());
        // Sorted, so that equal runs give equal lists.
        let order = |a: &Problem, b: &Problem| {
            (
                &a.date,
                &a.space_id,
                &a.room_id,
                &a.call_id,
                &a.record_id,
                &a.kind,
            )
                .cmp(&(
                    &b.date,
                    &b.space_id,
                    &b.room_id,
                    &b.call_id,
                    &b.record_id,
                    &b.kind,
                ))
        };
        self.failed.sort_by(order);
        self.pending.sort_by(order);
        self.warnings.sort_by(order);
        let status = match error {
            // The error ended the run in the middle, but what it fetched before is in the lake. A token that is refused
            // needs the operator in any case.
            Some(error) if self.has_landed() && error.kind() != ErrorKind::Unauthorized => {
                ExitStatus::Partial
            }
            Some(error) => error.exit_status(),
            None if stopped || !self.failed.is_empty() => ExitStatus::Partial,
            None => ExitStatus::Done,
        };
        self.outcome = match status {
            ExitStatus::Done => Outcome::Done,
            ExitStatus::Partial => Outcome::Partial,
            _ if self.has_landed() => Outcome::Partial,
            ExitStatus::Unexpected | ExitStatus::Usage | ExitStatus::Nothing | ExitStatus::Damaged => {
                Outcome::Nothing
            }
        };
        self.exit_status = status as u8;
    }

    /// Ends the run with `error`, or with the error of a store that was lost.
    pub(crate) fn end(&mut self, run: &RunContext, error: Option<Error>) {
        let lost = run.health.lost();
        let stopped = run.cancel.is_cancelled();
        let was_lost = lost.is_some();
        self.finish(Utc::now(), run.writes(), stopped, lost.or(error).as_ref());
        if was_lost && self.counts.days > 0 {
            // Days that were committed before are done.
            (self.outcome, self.exit_status) = (Outcome::Partial, ExitStatus::Partial as u8);
        }
        let reason = run.stop.as_ref().and_then(Stop::reason).filter(|_| stopped);
        if let Some(StopReason::Cancelled(by)) = &reason {
            (self.outcome, self.exit_status) = (Outcome::Cancelled, ExitStatus::Partial as u8);
            self.cancelled_by = Some(by.clone());
        }
        self.cause = self.cause_of(reason.as_ref());
    }

    /// The most important reason why the outcome is not `done`.
    fn cause_of(&self, reason: Option<&StopReason>) -> Option<String> {
        match reason {
            Some(StopReason::Cancelled(by)) => return Some(format!("cancelled by {by}")),
            Some(StopReason::MadeWay) => {
                return Some("made way for the scheduled run; the job goes on after it".into());
            }
            None => {}
        }
        if let Some(error) = &self.error {
            return Some(error.clone());
        }
        if let Some((kind, count, first)) = most_frequent(&self.failed) {
            return Some(format!("{count} × {kind}, first: {}", first.one_line()));
        }
        self.interrupted
            .then(|| "stopped before all dates were done; the next run goes on".into())
    }

    /// Adds the run to the process's metrics. Nothing else does, so that `/metrics` and the summaries agree.
    pub(crate) fn count(&self) {
        let (metrics, c) = (&*METRICS, &self.counts);
        let labels = RunLabels {
            command: self.command.clone(),
            outcome: format!("{:?}", self.outcome).to_lowercase(),
        };
        metrics.runs.get_or_create(&labels).inc();
        if let Some(end) = self.finished_at {
            let took = (end - self.started_at).as_seconds_f64();
            metrics.run_seconds.observe(took);
        }
        metrics.days.inc_by(c.days);
        metrics.days_built.inc_by(c.days_built);
        metrics.calls.inc_by(c.calls);
        metrics.recorded_bytes.inc_by(c.recorded_bytes);
        let add = |family: &Family<StateLabels, Counter>, states: &[(&'static str, u64)]| {
            for (state, count) in states {
                family.get_or_create(&StateLabels { state }).inc_by(*count);
            }
        };
        add(
            &metrics.reports,
            &[
                ("landed", c.reports_landed),
                ("pending", c.reports_pending),
                ("failed", c.reports_failed),
                ("denied", c.reports_denied),
                ("lost", c.reports_lost),
            ],
        );
        add(
            &metrics.recordings,
            &[
                ("landed", c.records_landed),
                ("pending", c.records_pending),
                ("failed", c.records_failed),
                ("denied", c.records_denied),
                ("unavailable", c.records_unavailable),
                ("lost", c.records_lost),
            ],
        );
    }

    /// True if the run is one of `command`.
    pub fn is_of(&self, command: Command) -> bool {
        self.command == command.name()
    }

    /// Sets the metrics of the last nightly run's end, and of the last one that was `done`.
    pub(crate) fn note_end(&self) {
        let Some(end) = self.finished_at.filter(|_| self.is_of(Command::Run)) else {
            return;
        };
        #[allow(clippy::cast_precision_loss)]
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

    /// The text that a person reads when the run is over: a line each for the counts, for what is missing and why.
    pub fn for_people(&self) -> String {
        let mut lines = vec![self.headline()];
        let c = &self.counts;
        lines.push(format!(
            "  calls {}   reports {} landed, {} in the lake   recordings {} landed ({}), {} in the lake",
            c.calls,
            c.reports_landed,
            c.reports_done,
            c.records_landed,
            bytesize::ByteSize(c.recorded_bytes).display().iec(),
            c.records_done
        ));
        if c.writes == 0 && self.outcome == Outcome::Done {
            lines.push("  nothing new: no object was written".into());
        }
        if let Some(error) = &self.error {
            lines.push(format!("  {error}"));
        }
        lines.extend(section(&self.id, "failed, will be tried again", &self.failed));
        lines.extend(section(
            &self.id,
            "not ready, will be asked for again",
            &self.pending,
        ));
        lines.extend(section(&self.id, "warnings", &self.warnings));
        if let Some(date) = self.interrupted_before {
            lines.push(format!("  stopped: dates from {date} on were not exported"));
        }
        lines.join("\n")
    }

    fn headline(&self) -> String {
        let word = match self.outcome {
            Outcome::Running => "running",
            Outcome::Done => "done",
            Outcome::Partial => "done in part",
            Outcome::Nothing => "NOTHING DONE",
            Outcome::Cancelled => "cancelled",
            Outcome::Killed => "KILLED",
        };
        let took = self.finished_at.map_or_else(String::new, |end| {
            format!(" in {:.1} s", (end - self.started_at).as_seconds_f64())
        });
        format!(
            "{} {}: {word}{took}   {} to {}   {} spaces, {} rooms, {} days, {} requests   [{}]",
            self.command,
            self.started_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            self.from,
            self.to,
            self.counts.spaces,
            self.counts.rooms,
            self.counts.days,
            self.counts.requests,
            self.id
        )
    }
}

/// The kind that most problems have, how many they are, and the first of them.
fn most_frequent(problems: &[Problem]) -> Option<(&ProblemKind, usize, &Problem)> {
    let mut kinds = std::collections::BTreeMap::<&ProblemKind, (usize, &Problem)>::new();
    for problem in problems {
        kinds.entry(&problem.kind).or_insert((0, problem)).0 += 1;
    }
    let most = kinds.into_iter().max_by_key(|(_, (count, _))| *count);
    most.map(|(kind, (count, first))| (kind, count, first))
}

/// The message about a rate limiter, with the setting that avoids it.
fn refused_as_too_many(limited: &Limited) -> String {
    let refused = limited.refused;
    let times = if refused == 1 {
        "once"
    } else {
        &format!("{refused} times")
    };
    let told = format!("the API said {times} that there are too many requests, and all requests waited");
    match limited.rate.map(rounded) {
        Some(rate) => format!(
            "{told}; it answered about {rate} a second: set api.requests_per_second = {rate}, so that runs need not find the limit"
        ),
        None => format!("{told}; set api.requests_per_second to a rate that the API allows"),
    }
}

/// Rounds a rate down to a number that a person would write, but never to 0.
fn rounded(rate: f64) -> f64 {
    let unit = if rate < 10.0 { 100.0 } else { 1.0 };
    ((rate * unit).floor() / unit).max(0.01)
}

/// The failure for requests that were not sent.
fn not_sent(refused: &Refused) -> Problem {
    let (count, reason) = (refused.count, &refused.reason);
    let (kind, what) = match (&refused.room, refused.downloads) {
        (Some(_), _) => (ProblemKind::RoomSkipped, "requests of the room"),
        (None, false) => (ProblemKind::SpaceSkipped, "requests of the space"),
        (None, true) => (ProblemKind::DownloadsSkipped, "downloads of the space's recordings"),
    };
    let message = format!(
        "{count} {what} were not sent because the ones before them had kept failing ({reason}); the next run sends them"
    );
    let problem = Problem::new(kind, message).space(&refused.space);
    match &refused.room {
        Some(room) => problem.room(room),
        None => problem,
    }
}

/// Problems shown of each list. The run's summary in the store has all of them.
const SHOWN: usize = 5;

fn section(run: &str, title: &str, problems: &[Problem]) -> Vec<String> {
    if problems.is_empty() {
        return Vec::new();
    }
    let mut kinds = std::collections::BTreeMap::<&ProblemKind, usize>::new();
    for problem in problems {
        *kinds.entry(&problem.kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .into_iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let mut lines = vec![format!("  {title}: {}", kinds.join(", "))];
    lines.extend(
        problems
            .iter()
            .take(SHOWN)
            .map(|problem| format!("    {}", problem.one_line())),
    );
    if problems.len() > SHOWN {
        lines.push(format!(
            "    … and {} more, in {}",
            problems.len() - SHOWN,
            crate::lake::key::run(run)
        ));
    }
    lines
}

impl Problem {
    /// One line: the date, the most specific of the ids, and the message.
    pub fn one_line(&self) -> String {
        let ids = [
            ("record", self.record_id.as_deref()),
            ("call", self.call_id.as_deref()),
            ("room", self.room_id.as_deref()),
            ("meeting", self.external_meeting_id.as_deref()),
            ("space", self.space_id.as_deref()),
        ];
        let id = ids
            .iter()
            .find_map(|(what, id)| id.map(|id| format!("{what} {}: ", escaped(id))));
        let date = self.date.map(|date| format!("{date} "));
        format!(
            "{}{}{}",
            date.unwrap_or_default(),
            id.unwrap_or_default(),
            self.message
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(landed: u64, error: Option<ErrorKind>) -> Summary {
        let date = "2026-11-22".parse().expect("date");
        let now = Utc::now();
        let mut summary = Summary::new(&Job::over(Command::Run, date, date), Tz::UTC, now);
        summary.counts.reports_landed = landed;
        let error = error.map(|kind| Error::new(kind, "token", "is refused"));
        summary.finish(now, 0, false, error.as_ref());
        summary
    }

    #[test]
    fn a_run_that_landed_something_is_never_nothing_whatever_ended_it() {
        for kind in [
            ErrorKind::Unauthorized,
            ErrorKind::Server,
            ErrorKind::StoreUnavailable,
            ErrorKind::Internal,
        ] {
            let some = ended(62, Some(kind));
            assert_eq!(some.outcome, Outcome::Partial);
            let needs_operator = kind == ErrorKind::Unauthorized;
            assert_eq!(some.status() == ExitStatus::Nothing, needs_operator, "{kind:?}");
            assert!(!some.for_people().contains("NOTHING"), "{}", some.for_people());
            let none = ended(0, Some(kind));
            assert_eq!(none.outcome, Outcome::Nothing, "{kind:?}");
            assert!(none.for_people().contains("NOTHING DONE"));
        }
        assert_eq!(ended(0, None).outcome, Outcome::Done);
    }

    #[test]
    fn the_cause_is_the_cancellation_then_the_error_then_the_most_frequent_failure() {
        let mut run = ended(0, None);
        assert_eq!(run.cause_of(None), None);
        for (kind, room) in [
            (ProblemKind::RoomGone, "a"),
            (ProblemKind::ReportFailed, "b"),
            (ProblemKind::ReportFailed, "c"),
        ] {
            run.failed.push(Problem::new(kind, "403").room(room));
        }
        assert_eq!(
            run.cause_of(None).as_deref(),
            Some("2 × report_failed, first: room b: 403")
        );
        let run = ended(62, Some(ErrorKind::Unauthorized));
        assert_eq!(run.cause_of(None).as_deref(), Some("token: is refused"));
        let by = StopReason::Cancelled("session from 10.0.0.7".into());
        assert_eq!(
            run.cause_of(Some(&by)).as_deref(),
            Some("cancelled by session from 10.0.0.7")
        );
    }
}
