//! Judges the answer to a request for a report: is it stored, and in which state? Pure.
//!
//! An empty report, or one that says less, never replaces a report that says more.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::NaiveDate;

use crate::config::ReportFormat;
use crate::ids::{CallId, RoomId, SpaceId};
use crate::lake::manifest::{Landing, Shortfall, Status};
use crate::pipeline::summary::{Problem, ProblemKind};
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
    /// The keyed hashes of the names that were erased from the call's reports before.
    pub erased_names: BTreeSet<String>,
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

/// The worth of an answer.
pub(super) enum ReportVerdict {
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

/// The verdict on a report that could be read.
pub(super) fn verdict(ask: &ReportAsk, turnout: &Turnout, participants: Option<u64>) -> ReportVerdict {
    match turnout.shortfall(ask.participants) {
        Some(lack) => ReportVerdict::Short {
            lack,
            participants: participants.or(Some(0)),
        },
        None => ReportVerdict::Good { participants },
    }
}

/// The result that leaves the landing as it was.
pub(super) fn unchanged(ask: &ReportAsk) -> ReportResult {
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
pub(super) fn refuse(ask: &ReportAsk, error: &Error, result: &mut ReportResult) {
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

/// The state in which an answer is stored.
pub(super) struct KeptReport {
    pub status: Status,
    pub reason: Option<String>,
    pub usable: bool,
    pub participants: Option<u64>,
    pub shortfall: Option<Shortfall>,
}

/// Decides if an answer is stored. If the report in the lake says more, that one stays and `result` says why.
pub(super) fn judge(
    ask: &ReportAsk,
    verdict: ReportVerdict,
    sha256: &str,
    result: &mut ReportResult,
) -> Option<KeptReport> {
    let had_one = ask.before.usable();
    let is_same = had_one.is_some_and(|landed| landed.sha256 == sha256);
    let (status, lack) = match verdict {
        ReportVerdict::Good { participants } => {
            if let Some(before) = ask.shrinks_from(participants).filter(|_| !is_same) {
                keep_fuller(ask, before, participants.unwrap_or(0), result);
                return None;
            }
            return Some(KeptReport {
                status: Status::Done,
                reason: None,
                usable: true,
                participants,
                shortfall: None,
            });
        }
        ReportVerdict::Short { lack, participants } if is_same || !ask.is_fuller_than(lack) => {
            return Some(KeptReport {
                status: lack.status(),
                reason: Some(lack.reason().into()),
                usable: true,
                participants,
                shortfall: Some(lack),
            });
        }
        ReportVerdict::Bad(why) if had_one.is_none() => {
            return Some(KeptReport {
                status: Status::Failed,
                reason: Some(why),
                usable: false,
                participants: None,
                shortfall: None,
            });
        }
        ReportVerdict::Bad(why) => (Status::Failed, why),
        ReportVerdict::Empty if had_one.is_none() => (Status::Pending, "the report is empty".into()),
        ReportVerdict::Empty => (Status::Pending, "the report came back empty".into()),
        ReportVerdict::Short { lack, .. } => (Status::Pending, lack.reason().into()),
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

/// Warns if a report has more participants than the call counts, or far fewer. The report is kept.
pub(super) fn differing_count(ask: &ReportAsk, participants: Option<u64>) -> Option<Problem> {
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
    use super::*;
    use crate::lake::manifest::Landed;

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
                    erased: Default::default(),
                    deleted_at: None,
                }),
            },
        );
        ReportAsk {
            date: "2026-11-22".parse().expect("a date"),
            space: "s".into(),
            room: "r".into(),
            call: "c".into(),
            format: ReportFormat::Json,
            participants: Some(counted),
            people: u64::try_from(counted).ok(),
            of: "state".into(),
            before,
            force: true,
            erased_names: BTreeSet::new(),
        }
    }

    /// The status of the stored answer, if it is stored; the kind of the warning; the status of the landing before.
    fn weighed(ask: &ReportAsk, verdict: ReportVerdict) -> (Option<Status>, Option<ProblemKind>, Status) {
        let mut result = unchanged(ask);
        let answer = judge(ask, verdict, "now", &mut result);
        let warning = result.warning.map(|warning| {
            assert_eq!(warning.call_id.as_deref(), Some("c"));
            warning.kind
        });
        (answer.map(|answer| answer.status), warning, result.landing.status)
    }

    fn good(participants: u64) -> ReportVerdict {
        ReportVerdict::Good {
            participants: Some(participants),
        }
    }

    fn short(lack: Shortfall) -> ReportVerdict {
        ReportVerdict::Short {
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
}
