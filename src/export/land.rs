//! Landing one report: ask for it, tell its states apart, keep its bytes as they came.

use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use super::Context;
use super::summary::Problem;
use crate::build;
use crate::config::ReportFormat;
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Landed, Landing, Status};
use crate::store::Condition;
use crate::{Error, ErrorKind};

/// A report to be landed.
pub(super) struct ReportAsk {
    pub date: NaiveDate,
    pub space: String,
    pub room: String,
    pub call: String,
    pub format: ReportFormat,
    /// Participants that the call counts, where it does.
    pub participants: Option<i64>,
    /// The state of the call that the report is for.
    pub of: String,
    /// What there is so far.
    pub before: Landing,
    /// Whether it is landed again although it is there.
    pub force: bool,
}

impl ReportAsk {
    /// Whether the lake has the report of the state that the API lists.
    fn is_current(&self) -> bool {
        self.before.status == Status::Done
            && self
                .before
                .usable()
                .is_some_and(|landed| landed.of.as_ref() == Some(&self.of))
    }

    fn warning(&self, kind: &str, message: &str) -> Problem {
        let message = format!("{} report: {message}", self.format.as_str());
        Problem::new(kind, message)
            .on(self.date, &self.space)
            .room(&self.room)
            .call(&self.call)
    }
}

/// What became of it.
pub(super) struct ReportResult {
    pub call: String,
    pub format: ReportFormat,
    pub landing: Landing,
    /// The bytes, where they are new and tables can be built from them.
    pub fresh: Option<Bytes>,
    pub warning: Option<Problem>,
    /// Whether it was not asked for, as others of its space or room had kept failing.
    pub skipped: bool,
}

/// The state of a call that a report depends on: when another one is listed, the report is taken again.
pub(super) fn call_state(entry: &CallEntry) -> String {
    let end = entry.finished_at.map(|at| at.to_rfc3339()).unwrap_or_default();
    let participants = entry
        .participants
        .map(|count| count.to_string())
        .unwrap_or_default();
    format!("{end} {participants}")
}

/// Whether a report is to be asked for.
pub(super) fn is_due(entry: &CallEntry, landing: &Landing, force: bool) -> bool {
    if entry.pending.is_some() {
        return false;
    }
    let current = landing
        .usable()
        .is_some_and(|landed| landed.of.as_deref() == Some(&call_state(entry)));
    force || landing.status != Status::Done || !current
}

/// Why a report without people is not taken for the call's.
const UNPEOPLED: &str = "the call counts participants, the report has none where the mapping looks for them";

/// Values in a report: each takes many times the byte or two that it may have there, and a build holds them all.
const MOST_VALUES: usize = 10_000_000;

/// At least as many values as JSON of these bytes can have, but for one.
fn values(json: &[u8]) -> usize {
    json.iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
        .count()
}

/// What an answer is worth.
enum Verdict {
    Good {
        participants: Option<u64>,
    },
    /// It says something, but not who was there, though the call counts people: perhaps it is not ready.
    Unpeopled,
    Empty,
    Bad(String),
}

/// Asks for a report and keeps it. Whatever goes wrong is in the landing.
pub(super) async fn report(context: &Arc<Context>, ask: ReportAsk) -> ReportResult {
    let _turn = context.lanes.turn(&ask.space, &ask.room).await;
    // From the request to the store: what is in memory is bounded for the whole run, not for each day.
    let Ok(_permit) = context.landings.acquire().await else {
        return unchanged(&ask);
    };
    let answer = context
        .client
        .report(&ask.space, &ask.room, &ask.call, ask.format)
        .await;
    let mut result = unchanged(&ask);
    match answer {
        Ok(bytes) => {
            let verdict = judge(context, &ask, bytes.clone()).await;
            keep(context, &ask, bytes, verdict, &mut result).await;
        }
        Err(error) => {
            context.note_fatal(&error);
            refuse(&ask, &error, &mut result);
        }
    }
    context.progress.reports.advance(1);
    result
}

/// The report as it was.
fn unchanged(ask: &ReportAsk) -> ReportResult {
    ReportResult {
        call: ask.call.clone(),
        format: ask.format,
        landing: ask.before.clone(),
        fresh: None,
        warning: None,
        skipped: false,
    }
}

/// An answer without a report: each kind has its own meaning.
fn refuse(ask: &ReportAsk, error: &Error, result: &mut ReportResult) {
    let status = match error.kind() {
        // Not asked, or not answered because the run stops: nothing was learnt.
        ErrorKind::Interrupted | ErrorKind::Unauthorized => return,
        ErrorKind::Skipped => {
            result.skipped = true;
            return;
        }
        ErrorKind::NotFound => Status::Pending,
        ErrorKind::Forbidden => Status::Denied,
        _ => Status::Failed,
    };
    if ask.is_current() {
        // It was only asked for again by force: what there is, is of the very state that the API lists.
        result.warning = Some(ask.warning(
            "report_kept",
            &format!("{}; the report in the lake is kept", error.message()),
        ));
        return;
    }
    // What was had once stays, and stays good.
    let has_one = ask.before.usable().is_some();
    let reason = match (status, has_one) {
        (Status::Pending, false) => format!("no report yet: {}", error.message()),
        (_, true) => format!("{}; the earlier report is kept", error.message()),
        _ => error.message().to_owned(),
    };
    let attempts = if status == Status::Denied {
        ask.before.attempts
    } else {
        ask.before.attempts + 1
    };
    result.landing = Landing {
        status,
        reason: Some(reason),
        attempts,
        landed: ask.before.landed.clone(),
    };
}

async fn judge(context: &Arc<Context>, ask: &ReportAsk, bytes: Bytes) -> Verdict {
    // Also a workbook that was asked for comes as `{}` where there is nothing to tell.
    if bytes.is_empty() || bytes.trim_ascii() == b"{}" {
        return Verdict::Empty;
    }
    if ask.format == ReportFormat::Xlsx {
        return judge_workbook(context, ask, bytes).await;
    }
    let _permit = context.inspections.acquire().await;
    let context = Arc::clone(context);
    let inspecting = tokio::task::spawn_blocking(move || {
        (values(&bytes) <= MOST_VALUES).then(|| build::inspect(&bytes, &context.mapping))
    });
    let inspected = match inspecting.await {
        Ok(None) => {
            return Verdict::Bad(format!(
                "the report has more values than any call's: over {MOST_VALUES}"
            ));
        }
        Ok(Some(inspected)) => Ok(inspected),
        Err(error) => Err(error),
    };
    match inspected {
        Ok(Ok(report)) if report.empty => Verdict::Empty,
        Ok(Ok(report)) if !report.object => Verdict::Bad("the report is no JSON object".into()),
        Ok(Ok(report))
            if report.participants.unwrap_or(0) == 0 && ask.participants.is_some_and(|count| count > 0) =>
        {
            Verdict::Unpeopled
        }
        Ok(Ok(report)) => Verdict::Good {
            participants: report.participants,
        },
        Ok(Err(why)) => Verdict::Bad(format!("the report is {why}")),
        Err(_) => Verdict::Bad("the report could not be read".into()),
    }
}

async fn judge_workbook(context: &Arc<Context>, ask: &ReportAsk, bytes: Bytes) -> Verdict {
    let counts_some = ask.participants.is_some_and(|count| count > 0);
    let context = Arc::clone(context);
    let inspected =
        tokio::task::spawn_blocking(move || build::inspect_workbook(&bytes, &context.mapping)).await;
    match inspected {
        Ok(Ok(report)) if counts_some && (report.empty || report.participants == Some(0)) => Verdict::Empty,
        Ok(Ok(report)) => Verdict::Good {
            participants: report.participants,
        },
        Ok(Err(why)) => Verdict::Bad(format!("the report is {why}")),
        Err(_) => Verdict::Bad("the report could not be read".into()),
    }
}

async fn keep(
    context: &Arc<Context>,
    ask: &ReportAsk,
    bytes: Bytes,
    verdict: Verdict,
    result: &mut ReportResult,
) {
    let had_one = ask.before.usable().is_some();
    let had_people = ask
        .before
        .usable()
        .is_some_and(|landed| landed.participants != Some(0));
    let (status, reason, usable, participants) = match verdict {
        Verdict::Good { participants } => (Status::Done, None, true, participants),
        Verdict::Empty | Verdict::Unpeopled if ask.is_current() => {
            result.warning = Some(ask.warning(
                "report_kept",
                "it came back empty; the report in the lake is kept",
            ));
            return;
        }
        Verdict::Unpeopled if !had_people => {
            // Perhaps it is not ready, perhaps its shape is not mapped yet: a rebuild with another mapping can use it.
            (Status::Pending, Some(UNPEOPLED.into()), true, Some(0))
        }
        Verdict::Empty | Verdict::Unpeopled => {
            let reason = if had_one {
                "the report came back empty; the earlier one is kept"
            } else {
                "the report is empty"
            };
            result.landing.status = Status::Pending;
            result.landing.reason = Some(reason.into());
            result.landing.attempts += 1;
            return;
        }
        Verdict::Bad(why) if had_one => {
            result.landing.status = Status::Failed;
            result.landing.reason = Some(format!("{why}; the earlier one is kept"));
            result.landing.attempts += 1;
            return;
        }
        Verdict::Bad(why) => (Status::Failed, Some(why), false, None),
    };
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let key = key::report(ask.date, &ask.space, &ask.call, ask.format);
    let known = ask
        .before
        .landed
        .as_ref()
        .is_some_and(|landed| landed.key == key && landed.sha256 == sha256);
    if (!known || ask.force)
        && let Err(error) = context.put(&key, bytes.clone(), Condition::Any).await
    {
        result.landing.status = Status::Failed;
        result.landing.reason = Some(format!("could not be stored: {}", error.message()));
        result.landing.attempts += 1;
        return;
    }
    result.landing = Landing {
        status,
        reason,
        attempts: if status == Status::Done {
            0
        } else {
            ask.before.attempts + 1
        },
        landed: Some(Landed {
            key,
            bytes: bytes.len() as u64,
            sha256,
            landed_at: context.now,
            usable,
            participants,
            of: Some(ask.of.clone()),
        }),
    };
    if usable {
        result.fresh = (!known || ask.force).then_some(bytes);
        // Where there is JSON too, it says the same.
        let told = ask.format == ReportFormat::Json || context.config.export.reports == [ReportFormat::Xlsx];
        result.warning = differing_count(ask, participants).filter(|_| told);
    }
}

/// A report that has other participants than the call counts is kept, and said.
fn differing_count(ask: &ReportAsk, participants: Option<u64>) -> Option<Problem> {
    let (counted, found) = (ask.participants?, participants?);
    (counted > 0 && u64::try_from(counted).is_ok_and(|counted| counted < found)).then(|| {
        let message = format!("the call counts {counted} participants, its report has {found}");
        Problem::new("participants_differ", message)
            .on(ask.date, &ask.space)
            .room(&ask.room)
            .call(&ask.call)
    })
}
