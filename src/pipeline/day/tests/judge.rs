use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::config::ReportFormat;
use crate::lake::manifest::{Landing, Shortfall, Status};
use crate::pipeline::day::judge::{ReportAsk, ReportVerdict, judge, refuse, unchanged};
use crate::pipeline::samples::{DATE, date, landed};
use crate::pipeline::summary::ProblemKind;
use crate::{Error, ErrorKind};

fn ask(before: Landing) -> ReportAsk {
    ReportAsk {
        date: date(DATE),
        space: "s".into(),
        room: "r".into(),
        call: "c".into(),
        format: ReportFormat::Json,
        participants: Some(5),
        people: Some(5),
        of: "state".into(),
        before,
        force: false,
        erased_names: BTreeSet::new(),
    }
}

fn new() -> ReportAsk {
    ask(Landing::pending("not asked for yet"))
}

fn good(participants: u64) -> ReportVerdict {
    ReportVerdict::Good {
        participants: Some(participants),
    }
}

#[test]
fn a_good_report_is_stored_and_done() {
    let mut result = unchanged(&new());
    let kept = judge(&new(), good(5), "now", &mut result).expect("it is stored");
    assert_eq!((kept.status, kept.usable), (Status::Done, true));
    assert_eq!(kept.participants, Some(5));
}

#[test]
fn an_empty_report_is_pending_and_not_stored() {
    let mut result = unchanged(&new());
    assert!(judge(&new(), ReportVerdict::Empty, "now", &mut result).is_none());
    assert_eq!(result.landing.status, Status::Pending);
    assert_eq!(result.landing.reason.as_deref(), Some("the report is empty"));
    assert_eq!(result.landing.attempts, 1);
}

#[test]
fn an_unreadable_answer_is_stored_for_a_look_unless_there_is_a_good_report() {
    let bad = || ReportVerdict::Bad("no JSON".into());
    let mut result = unchanged(&new());
    let kept = judge(&new(), bad(), "now", &mut result).expect("it is stored");
    assert_eq!((kept.status, kept.usable), (Status::Failed, false));
    let earlier = ask(landed(Status::Pending, "earlier"));
    let mut result = unchanged(&earlier);
    assert!(judge(&earlier, bad(), "now", &mut result).is_none());
    assert_eq!(result.landing.status, Status::Failed);
    assert!(result.landing.usable().is_some(), "the earlier report is kept");
}

#[test]
fn an_error_keeps_the_report_in_the_lake_and_its_kind_decides_the_status() {
    for (kind, status, attempts) in [
        (ErrorKind::NotFound, Status::Pending, 1),
        (ErrorKind::Forbidden, Status::Denied, 0),
        (ErrorKind::Server, Status::Failed, 1),
        (ErrorKind::Connection, Status::Failed, 1),
    ] {
        for before in [Landing::pending("new"), landed(Status::Pending, "earlier")] {
            let ask = ask(before.clone());
            let mut result = unchanged(&ask);
            refuse(&ask, &Error::new(kind, "report", "why"), &mut result);
            assert_eq!(result.landing.status, status, "{kind:?}");
            assert_eq!(result.landing.attempts, attempts, "{kind:?}");
            assert_eq!(result.landing.landed, before.landed, "{kind:?}");
        }
    }
}

#[test]
fn an_interrupted_or_skipped_request_changes_nothing() {
    for (kind, is_skipped) in [
        (ErrorKind::Interrupted, false),
        (ErrorKind::Unauthorized, false),
        (ErrorKind::Skipped, true),
    ] {
        let ask = new();
        let mut result = unchanged(&ask);
        refuse(&ask, &Error::new(kind, "report", "why"), &mut result);
        assert_eq!(result.landing, ask.before);
        assert_eq!(result.skipped, is_skipped, "{kind:?}");
    }
}

#[test]
fn a_forced_request_that_fails_leaves_a_current_report_done_with_a_warning() {
    let current = ask(landed(Status::Done, "state"));
    let mut result = unchanged(&current);
    refuse(
        &current,
        &Error::new(ErrorKind::NotFound, "report", "gone"),
        &mut result,
    );
    assert_eq!(result.landing, current.before);
    assert_eq!(result.warning.expect("a warning").kind, ProblemKind::ReportKept);
}

proptest! {
    /// Whatever the answer, the bytes of a full report are never replaced by those of an emptier one.
    #[test]
    fn an_emptier_report_never_replaces_a_full_one(
        verdict in 0_u8..4, participants in 0_u64..5, is_current: bool, is_done: bool,
    ) {
        let status = if is_done { Status::Done } else { Status::Pending };
        let full = ask(landed(status, if is_current { "state" } else { "earlier" }));
        let verdict = match verdict {
            0 => ReportVerdict::Empty,
            1 => ReportVerdict::Bad("no JSON".into()),
            2 => ReportVerdict::Short { lack: Shortfall::Nobody, participants: Some(participants) },
            // The call counts five people, and so does the report in the lake.
            _ => good(participants),
        };
        let mut result = unchanged(&full);
        prop_assert!(judge(&full, verdict, "now", &mut result).is_none());
        prop_assert_eq!(&result.landing.landed, &full.before.landed);
        prop_assert_eq!(result.landing.status == Status::Done, is_done && is_current && result.warning.is_some());
    }
}
