//! Lands one report: requests it, judges what the answer is worth, and stores its bytes as they came.

use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use super::attempts::{self, DIED_TWICE, Trial};
use crate::config::ReportFormat;
use crate::ids::{CallId, RoomId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::{CallEntry, Landed, Landing, Shortfall, Status};
use crate::lenient;
use crate::pipeline::summary::{Problem, ProblemKind};
use crate::pipeline::{ExportContext, memory};
use crate::store::Condition;
use crate::tables;
use crate::tables::Turnout;
use crate::{Error, ErrorKind};

/// A report to be landed.
pub(crate) struct ReportAsk {
    pub date: NaiveDate,
    pub space: SpaceId,
    pub room: RoomId,
    pub call: CallId,
    pub format: ReportFormat,
    /// The participants that the call counts, if it counts any.
    pub participants: Option<i64>,
    /// The people that the call counts at least. Several joins of one person count once.
    pub people: Option<u64>,
    /// The state of the call that the report is for.
    pub of: String,
    /// The landing before this request.
    pub before: Landing,
    /// True if the report is landed again although the lake has it.
    pub force: bool,
}

impl ReportAsk {
    /// True if the lake has the report for the state of the call that the API lists.
    fn is_current(&self) -> bool {
        self.before.status == Status::Done
            && self
                .before
                .usable()
                .is_some_and(|landed| landed.of.as_ref() == Some(&self.of))
    }

    /// True if the report in the lake says more than an answer with this shortfall, which then does not replace it.
    fn is_fuller_than(&self, lack: Shortfall) -> bool {
        match self.before.shortfall() {
            None => self.before.usable().is_some(),
            Some(before) => before > lack,
        }
    }

    /// The participants of the report in the lake, if an answer with `found` participants must not replace it, because
    /// the call counts more people than that.
    fn shrinks_from(&self, found: Option<u64>) -> Option<u64> {
        let before = self.before.usable()?.participants?;
        let (found, counted) = (found?, self.people?);
        (self.before.shortfall().is_none() && found < before && found < counted).then_some(before)
    }

    fn warning(&self, kind: ProblemKind, message: &str) -> Problem {
        let message = format!("{} report: {message}", self.format.as_str());
        Problem::new(kind, message)
            .on(self.date, &self.space)
            .room(&self.room)
            .call(&self.call)
    }
}

/// The result of one request for a report.
pub(crate) struct ReportResult {
    pub call: CallId,
    pub format: ReportFormat,
    pub landing: Landing,
    /// The bytes, if they are new and tables can be built from them.
    pub fresh: Option<Bytes>,
    pub warning: Option<Problem>,
    /// True if it was not asked for because other requests of its space or room kept failing.
    pub skipped: bool,
}

/// The state of a call, as far as its report depends on it. If the API lists another state, the report is landed again.
pub(crate) fn call_state(entry: &CallEntry) -> String {
    let end = entry.finished_at.map(|at| at.to_rfc3339()).unwrap_or_default();
    let participants = entry
        .participants
        .map(|count| count.to_string())
        .unwrap_or_default();
    format!("{end} {participants}")
}

/// True if a report must be asked for.
pub(crate) fn is_due(entry: &CallEntry, landing: &Landing, force: bool) -> bool {
    if entry.pending.is_some() || (landing.is_put_aside() && !force) {
        return false;
    }
    let current = landing
        .usable()
        .is_some_and(|landed| landed.of.as_deref() == Some(&call_state(entry)));
    force || landing.status != Status::Done || !current
}

/// The people that a call counts at least: the smallest of its counts, because one of them counts every join. None if
/// it counts none.
pub(crate) fn people_counted(entry: &CallEntry) -> Option<u64> {
    const COUNTS: [&str; 3] = [
        "participantsCount",
        "totalParticipantsCount",
        "uniqueParticipantsCount",
    ];
    let counts = COUNTS
        .iter()
        .filter_map(|name| entry.call.get(*name).and_then(lenient::integer));
    counts
        .filter(|count| *count > 0)
        .min()
        .and_then(|count| u64::try_from(count).ok())
}

/// The limit for values in a report. A value of a byte or two takes many times that in memory, and a build holds all.
const MOST_VALUES: usize = 10_000_000;

/// An upper bound, less one, for the number of values in JSON.
fn values(json: &[u8]) -> usize {
    json.iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
        .count()
}

/// The worth of an answer.
enum Verdict {
    Good {
        participants: Option<u64>,
    },
    /// The report does not say who was there when.
    Short {
        lack: Shortfall,
        participants: Option<u64>,
    },
    Empty,
    Bad(String),
}

/// Asks for a report and lands it. An error becomes the status and the reason of the landing.
pub(crate) async fn report(context: &Arc<ExportContext>, ask: ReportAsk) -> ReportResult {
    let _turn = context.room_limits.turn(&ask.space, &ask.room).await;
    // Held from the request to the store, so that memory is bounded for the whole run and not for each day.
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
    context.run.progress.reports.advance(1);
    result
}

/// The result that leaves the landing as it was.
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

/// Takes in an error: its kind decides the status of the report.
fn refuse(ask: &ReportAsk, error: &Error, result: &mut ReportResult) {
    let status = match error.kind() {
        // The run stopped before there was an answer, so nothing is known.
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
        // It was asked for again by force, and the lake has the report for the state that the API lists.
        result.warning = Some(ask.warning(
            ProblemKind::ReportKept,
            &format!("{}; the report in the lake is kept", error.message()),
        ));
        return;
    }
    // A report that the lake has stays in use.
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

/// Reads a report within the memory budget and judges it. A report that two processes died of is not read.
async fn judge(context: &Arc<ExportContext>, ask: &ReportAsk, bytes: Bytes) -> Verdict {
    // If there is nothing to report, a workbook comes as `{}` too.
    if bytes.is_empty() || bytes.trim_ascii() == b"{}" {
        return Verdict::Empty;
    }
    let reserved = context.run.memory.reserve(memory::need(ask.format, &bytes)).await;
    let attempt = if reserved.is_risky {
        let key = key::report(ask.date, &ask.space, &ask.call, ask.format);
        match attempts::begin(&context.run, &key).await {
            Ok(Trial::Go(attempt)) => Some(attempt),
            Ok(Trial::DiedTwice) => return Verdict::Bad(DIED_TWICE.into()),
            Err(error) => return Verdict::Bad(format!("not read: {}", error.message())),
        }
    } else {
        None
    };
    let verdict = match ask.format {
        ReportFormat::Json => judge_json(context, ask, bytes).await,
        ReportFormat::Xlsx => judge_workbook(context, ask, bytes).await,
    };
    if let Some(attempt) = attempt
        && let Err(error) = attempt.end(&context.run).await
    {
        tracing::debug!(%error, "the note of a large report could not be deleted");
    }
    verdict
}

async fn judge_json(context: &Arc<ExportContext>, ask: &ReportAsk, bytes: Bytes) -> Verdict {
    let _permit = context.inspections.acquire().await;
    let context = Arc::clone(context);
    let inspecting = tokio::task::spawn_blocking(move || {
        (values(&bytes) <= MOST_VALUES).then(|| tables::inspect(&bytes, &context.run.mapping))
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
        Ok(Ok(report)) if report.crowded => Verdict::Bad(format!(
            "the report has more rows than any call's: over {} participants, or over {} of another kind",
            tables::MOST_PARTICIPANTS,
            tables::MOST_ROWS
        )),
        Ok(Ok(report)) if !report.object => Verdict::Bad("the report is no JSON object".into()),
        Ok(Ok(report)) => verdict(ask, &report.turnout, report.participants),
        Ok(Err(why)) => Verdict::Bad(format!("the report is {why}")),
        Err(_) => Verdict::Bad("the report could not be read".into()),
    }
}

/// The verdict on a report that could be read.
fn verdict(ask: &ReportAsk, turnout: &Turnout, participants: Option<u64>) -> Verdict {
    match turnout.shortfall(ask.participants) {
        Some(lack) => Verdict::Short {
            lack,
            participants: participants.or(Some(0)),
        },
        None => Verdict::Good { participants },
    }
}

async fn judge_workbook(context: &Arc<ExportContext>, ask: &ReportAsk, bytes: Bytes) -> Verdict {
    let counts_some = ask.participants.is_some_and(|count| count > 0);
    let context = Arc::clone(context);
    let inspected =
        tokio::task::spawn_blocking(move || tables::inspect_workbook(&bytes, &context.run.mapping)).await;
    match inspected {
        Ok(Ok(report)) if counts_some && report.empty => Verdict::Empty,
        Ok(Ok(report)) => verdict(ask, &report.turnout, report.participants),
        Ok(Err(why)) => Verdict::Bad(format!("the report is {why}")),
        Err(_) => Verdict::Bad("the report could not be read".into()),
    }
}

/// The state in which an answer is stored.
struct Answer {
    status: Status,
    reason: Option<String>,
    usable: bool,
    participants: Option<u64>,
    shortfall: Option<Shortfall>,
}

/// Decides if an answer is stored. If the report in the lake says more, that one stays and `result` says why.
fn weigh(ask: &ReportAsk, verdict: Verdict, sha256: &str, result: &mut ReportResult) -> Option<Answer> {
    let had_one = ask.before.usable();
    let is_same = had_one.is_some_and(|landed| landed.sha256 == sha256);
    let (status, lack) = match verdict {
        Verdict::Good { participants } => {
            if let Some(before) = ask.shrinks_from(participants).filter(|_| !is_same) {
                keep_fuller(ask, before, participants.unwrap_or(0), result);
                return None;
            }
            return Some(Answer {
                status: Status::Done,
                reason: None,
                usable: true,
                participants,
                shortfall: None,
            });
        }
        Verdict::Short { lack, participants } if is_same || !ask.is_fuller_than(lack) => {
            return Some(Answer {
                status: lack.status(),
                reason: Some(lack.reason().into()),
                usable: true,
                participants,
                shortfall: Some(lack),
            });
        }
        Verdict::Bad(why) if had_one.is_none() => {
            return Some(Answer {
                status: Status::Failed,
                reason: Some(why),
                usable: false,
                participants: None,
                shortfall: None,
            });
        }
        Verdict::Bad(why) => (Status::Failed, why),
        Verdict::Empty if had_one.is_none() => (Status::Pending, "the report is empty".into()),
        Verdict::Empty => (Status::Pending, "the report came back empty".into()),
        Verdict::Short { lack, .. } => (Status::Pending, lack.reason().into()),
    };
    if status == Status::Pending && ask.is_current() {
        let message = format!("{lack}; the report in the lake is kept");
        result.warning = Some(ask.warning(ProblemKind::ReportKept, &message));
        return None;
    }
    let kept = if had_one.is_some() {
        "; the earlier one is kept"
    } else {
        ""
    };
    result.landing.status = status;
    result.landing.reason = Some(format!("{lack}{kept}"));
    result.landing.attempts += 1;
    None
}

/// Keeps the report in the lake, because it has more participants than the new one and the call still counts them.
fn keep_fuller(ask: &ReportAsk, before: u64, found: u64, result: &mut ReportResult) {
    let counted = ask.people.unwrap_or(0);
    let message = format!(
        "it shrank from {before} participants to {found}, and the call counts {counted}; the earlier one is kept"
    );
    result.warning = Some(ask.warning(ProblemKind::ReportShrank, &message));
    if !ask.is_current() {
        result.landing.status = Status::Pending;
        result.landing.reason = Some(message);
        result.landing.attempts += 1;
    }
}

async fn keep(
    context: &Arc<ExportContext>,
    ask: &ReportAsk,
    bytes: Bytes,
    verdict: Verdict,
    result: &mut ReportResult,
) {
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let put_aside = matches!(&verdict, Verdict::Bad(why) if why == DIED_TWICE);
    let Some(answer) = weigh(ask, verdict, &sha256, result) else {
        if let Some(landed) = result.landing.landed.as_mut().filter(|_| put_aside) {
            landed.put_aside = true;
        }
        return;
    };
    let key = key::report(ask.date, &ask.space, &ask.call, ask.format);
    let known = ask
        .before
        .landed
        .as_ref()
        .is_some_and(|landed| landed.key == key && landed.sha256 == sha256);
    if (!known || ask.force)
        && let Err(error) = context.run.put(&key, bytes.clone(), Condition::Any).await
    {
        result.landing.status = Status::Failed;
        result.landing.reason = Some(format!("could not be stored: {}", error.message()));
        result.landing.attempts += 1;
        return;
    }
    let Answer {
        status,
        reason,
        usable,
        participants,
        shortfall,
    } = answer;
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
            landed_at: context.run.now,
            usable,
            participants,
            shortfall,
            of: Some(ask.of.clone()),
            put_aside,
        }),
    };
    if usable {
        result.fresh = (!known || ask.force).then_some(bytes);
        // If there is JSON too, its warning says the same.
        let is_first =
            ask.format == ReportFormat::Json || context.run.config.export.reports == [ReportFormat::Xlsx];
        result.warning = differing_count(ask, participants).filter(|_| is_first);
    }
}

/// Warns if a report has more participants than the call counts, or far fewer. The report is kept.
fn differing_count(ask: &ReportAsk, participants: Option<u64>) -> Option<Problem> {
    let (counted, found) = (u64::try_from(ask.participants?).ok()?, participants?);
    let least = ask.people.unwrap_or(counted);
    let is_far_fewer = found > 0 && 2 * found < least && found + 2 <= least;
    let named = if is_far_fewer { least } else { counted };
    (counted > 0 && (counted < found || is_far_fewer)).then(|| {
        let message = format!("the call counts {named} participants, its report has {found}");
        Problem::new(ProblemKind::ParticipantsDiffer, message)
            .on(ask.date, &ask.space)
            .room(&ask.room)
            .call(&ask.call)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A request for a report whose earlier version in the lake has this status, participants and shortfall.
    fn ask(before: Option<(Status, u64, Option<Shortfall>)>, counted: i64, is_current: bool) -> ReportAsk {
        let before = before.map_or(
            Landing::pending("not asked for yet"),
            |(status, participants, shortfall)| Landing {
                status,
                reason: None,
                attempts: 0,
                landed: Some(Landed {
                    key: "k".into(),
                    bytes: 1,
                    sha256: "before".into(),
                    landed_at: chrono::DateTime::UNIX_EPOCH,
                    usable: true,
                    participants: Some(participants),
                    shortfall,
                    of: Some(if is_current { "state" } else { "earlier" }.into()),
                    put_aside: false,
                }),
            },
        );
        ReportAsk {
            date: "2026-11-22".parse().expect("a date"),
            space: "s".to_owned().into(),
            room: "r".to_owned().into(),
            call: "c".to_owned().into(),
            format: ReportFormat::Json,
            participants: Some(counted),
            people: u64::try_from(counted).ok(),
            of: "state".into(),
            before,
            force: true,
        }
    }

    /// The status of the stored answer, if it is stored; the kind of the warning; the status of the landing before.
    fn weighed(ask: &ReportAsk, verdict: Verdict) -> (Option<Status>, Option<ProblemKind>, Status) {
        let mut result = unchanged(ask);
        let answer = weigh(ask, verdict, "now", &mut result);
        let warning = result.warning.map(|warning| {
            assert_eq!(warning.call_id.as_deref(), Some("c"));
            warning.kind
        });
        (answer.map(|answer| answer.status), warning, result.landing.status)
    }

    fn good(participants: u64) -> Verdict {
        Verdict::Good {
            participants: Some(participants),
        }
    }

    fn short(lack: Shortfall) -> Verdict {
        Verdict::Short {
            lack,
            participants: Some(0),
        }
    }

    #[test]
    fn a_report_that_shrank_does_not_replace_the_fuller_one() {
        let shrank = Some(ProblemKind::ReportShrank);
        let five = Some((Status::Done, 5, None));
        assert_eq!(
            weighed(&ask(five, 5, true), good(1)),
            (None, shrank.clone(), Status::Done)
        );
        assert_eq!(
            weighed(&ask(five, 5, false), good(1)),
            (None, shrank, Status::Pending)
        );
        // The call counts no more people than that, or the report has grown.
        for (counted, found) in [(1, 1), (5, 5), (5, 6)] {
            let kept = weighed(&ask(five, counted, true), good(found));
            assert_eq!((kept.0, kept.1), (Some(Status::Done), None), "{counted} {found}");
        }
        let timeless = Some((Status::Pending, 5, Some(Shortfall::Timeless)));
        assert_eq!(weighed(&ask(timeless, 5, true), good(1)).0, Some(Status::Done));
    }

    #[test]
    fn a_report_that_falls_short_is_pending_and_replaces_none_that_says_more() {
        use Shortfall::{Nobody, Timeless};
        for (before, lack, kept) in [
            (None, Nobody, true),
            (None, Timeless, true),
            (Some((Status::Pending, 0, Some(Nobody))), Timeless, true),
            (Some((Status::Pending, 5, Some(Timeless))), Timeless, true),
            (Some((Status::Pending, 5, Some(Timeless))), Nobody, false),
            (Some((Status::Done, 5, None)), Timeless, false),
        ] {
            let (status, warning, left) = weighed(&ask(before, 5, false), short(lack));
            assert_eq!(status, kept.then_some(Status::Pending), "{before:?} {lack:?}");
            assert_eq!((warning, left), (None, Status::Pending), "{before:?} {lack:?}");
        }
        let of_this_state = ask(Some((Status::Done, 5, None)), 5, true);
        let kept = (None, Some(ProblemKind::ReportKept), Status::Done);
        assert_eq!(weighed(&of_this_state, short(Timeless)), kept);
    }

    #[test]
    fn far_fewer_people_than_the_call_counts_are_named() {
        for (counted, found, is_named) in [
            (5, 2, true),
            (5, 3, false),
            (4, 2, false),
            (2, 1, false),
            (3, 1, true),
            (5, 6, true),
            (0, 3, false),
        ] {
            let named = differing_count(&ask(None, counted, true), Some(found));
            assert_eq!(named.is_some(), is_named, "{counted} {found}");
        }
    }

    #[test]
    fn several_joins_of_one_person_count_once() {
        let mut entry = CallEntry {
            room_id: "r".to_owned().into(),
            started_at: None,
            finished_at: None,
            participants: Some(12),
            call: json!({"participantsCount": 5, "totalParticipantsCount": 12, "uniqueParticipantsCount": "4"}),
            pending: None,
            reports: std::collections::BTreeMap::new(),
        };
        assert_eq!(people_counted(&entry), Some(4));
        entry.call = json!({"participantsCount": 0, "totalParticipantsCount": null});
        assert_eq!(people_counted(&entry), None);
    }
}
