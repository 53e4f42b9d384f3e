//! The life cycle of a summary: outcome, exit status, cause and order.

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

/// A run that ends like this, after it landed a report and worked on a day.
fn ended_by(end: RunEnd) -> Summary {
    let date = "2026-11-22".parse().expect("date");
    let mut summary = Summary::new(&Job::over(Command::Run, date, date), Tz::UTC, end.at);
    (summary.counts.reports_landed, summary.counts.days) = (1, 1);
    summary.end(end);
    summary
}

fn quiet_end() -> RunEnd {
    RunEnd {
        table_writes: 0,
        at: Utc::now(),
        lost: None,
        error: None,
        stopped: false,
        reason: None,
        writes: 0,
    }
}

#[test]
fn a_lost_store_wins_over_the_error_and_leaves_what_was_committed() {
    let error = |about: &str| Some(Error::new(ErrorKind::StoreUnavailable, about, "is gone"));
    let run = ended_by(RunEnd {
        lost: error("store"),
        error: error("day"),
        stopped: true,
        ..quiet_end()
    });
    assert_eq!(
        (run.outcome, run.status()),
        (Outcome::Partial, ExitStatus::Partial)
    );
    assert_eq!(run.cause.as_deref(), Some("store: is gone"));
}

#[test]
fn a_cancelled_run_names_who_cancelled_it_unless_it_ended_by_itself() {
    let by = || Some(StopReason::Cancelled("a session".into()));
    let cancelled = ended_by(RunEnd {
        stopped: true,
        reason: by(),
        ..quiet_end()
    });
    assert_eq!(cancelled.outcome, Outcome::Cancelled);
    assert_eq!(cancelled.cancelled_by.as_deref(), Some("a session"));
    assert_eq!(cancelled.cause.as_deref(), Some("cancelled by a session"));
    let done = ended_by(RunEnd {
        reason: by(),
        ..quiet_end()
    });
    assert_eq!((done.outcome, done.cancelled_by), (Outcome::Done, None));
}

#[test]
fn a_stopped_run_is_partial_and_says_who_goes_on() {
    let stopped = ended_by(RunEnd {
        stopped: true,
        ..quiet_end()
    });
    assert_eq!((stopped.outcome, stopped.interrupted), (Outcome::Partial, true));
    assert!(
        stopped
            .cause
            .is_some_and(|cause| cause.contains("the next run goes on"))
    );
    let made_way = ended_by(RunEnd {
        stopped: true,
        reason: Some(StopReason::MadeWay),
        ..quiet_end()
    });
    assert!(
        made_way
            .cause
            .is_some_and(|cause| cause.contains("scheduled run"))
    );
}

#[test]
fn lists_are_sorted_by_date_ids_and_kind() {
    let mut run = ended(0, None);
    let problem = |kind: ProblemKind, room: &str| Problem::new(kind, "403").room(room);
    run.failed = vec![
        problem(ProblemKind::ReportFailed, "b"),
        problem(ProblemKind::ReportFailed, "a"),
        problem(ProblemKind::RecordFailed, "a"),
    ];
    run.finish(Utc::now(), 0, false, None);
    let order: Vec<_> = run
        .failed
        .iter()
        .map(|problem| (problem.room_id.as_deref(), problem.kind.as_str()))
        .collect();
    let expected = [
        ("a", "record_failed"),
        ("a", "report_failed"),
        ("b", "report_failed"),
    ];
    assert_eq!(order, expected.map(|(room, kind)| (Some(room), kind)));
}

#[test]
fn counts_keep_their_names_in_json() {
    let mut counts = Counts::default();
    (counts.reports.lost, counts.records.unavailable) = (1, 2);
    let json = serde_json::to_value(&counts).expect("JSON");
    assert_eq!(json["reports_lost"], 1);
    assert_eq!(json["records_unavailable"], 2);
    assert_eq!(json.get("reports_unavailable"), None);
    assert_eq!(serde_json::from_value::<Counts>(json).expect("counts"), counts);
}

#[test]
fn a_day_that_is_processed_twice_counts_once_with_all_that_was_landed() {
    let problem = |kind| Problem::new(kind, "why");
    let mut first = DayReport::default();
    (first.counts.days, first.counts.calls, first.counts.reports_landed) = (1, 5, 4);
    first.failed.push(problem(ProblemKind::ReportFailed));
    first.warnings.push(problem(ProblemKind::ReportDenied));
    let mut second = DayReport::default();
    (
        second.counts.days,
        second.counts.calls,
        second.counts.reports_landed,
    ) = (1, 6, 1);
    second.failed.push(problem(ProblemKind::ReportFailed));
    second.warnings.push(problem(ProblemKind::ReportDenied));
    second.follow(first);
    assert_eq!(
        (
            second.counts.days,
            second.counts.calls,
            second.counts.reports_landed
        ),
        (1, 6, 5)
    );
    assert_eq!((second.failed.len(), second.warnings.len()), (1, 1));
    // The second time, the day could not be committed.
    let mut first = DayReport::default();
    (first.counts.days, first.counts.calls) = (1, 5);
    let mut failed = DayReport::default();
    failed.failed.push(problem(ProblemKind::StoreFailed));
    failed.follow(first);
    assert_eq!(
        (failed.counts.days, failed.counts.calls, failed.failed.len()),
        (1, 5, 1)
    );
}
