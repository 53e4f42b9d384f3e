use proptest::prelude::*;
use serde_json::json;

use super::land_all;
use crate::config::ReportFormat;
use crate::ids::DayId;
use crate::lake::manifest::{Landing, Manifest, Status};
use crate::pipeline::day::due::{Due, due};
use crate::pipeline::day::merge::merge;
use crate::pipeline::job::{Only, Piece};
use crate::pipeline::rules::JobRules;
use crate::pipeline::samples::{
    call, finished_record, manifest, nightly_rules, record, rules, settled_call, work_with,
};

/// A day with the calls `c` and `d` and the record `v`, all new.
fn day() -> Manifest {
    let mut day = manifest();
    let calls = vec![settled_call("c"), settled_call("d")];
    merge(&rules(), &mut day, work_with(calls, vec![finished_record("v")]));
    day
}

/// The same day with everything landed.
fn landed_day() -> Manifest {
    let mut day = day();
    land_all(&mut day);
    day
}

/// The ids of the calls whose reports are due, and of the records.
fn ids(due: &Due) -> (Vec<&str>, Vec<&str>) {
    let reports = due.reports.iter().map(|ask| ask.call.as_str());
    let records = due.records.iter().map(|ask| ask.record.as_str());
    (reports.collect(), records.collect())
}

fn assert_due(rules: &JobRules, day: &Manifest, reports: &[&str], records: &[&str]) {
    let due = due(rules, day);
    assert_eq!(ids(&due), (reports.to_vec(), records.to_vec()));
}

fn set_status(day: &mut Manifest, call: &str, status: Status, attempts: u32) {
    let landing = Landing {
        status,
        attempts,
        ..Landing::pending("why")
    };
    let entry = day.calls.get_mut(call).expect("the call");
    entry.reports.insert(ReportFormat::Json, landing);
}

#[test]
fn everything_new_is_due_and_nothing_that_is_landed() {
    assert_due(&rules(), &day(), &["c", "d"], &["v"]);
    assert_due(&rules(), &landed_day(), &[], &[]);
}

#[test]
fn a_job_for_one_half_asks_for_that_half() {
    let mut half = rules();
    half.job.only = Some(Only::Analytics);
    assert_due(&half, &day(), &["c", "d"], &[]);
    half.job.only = Some(Only::Recordings);
    assert_due(&half, &day(), &[], &["v"]);
    let mut without = rules();
    without.recordings = false;
    assert_due(&without, &day(), &["c", "d"], &[]);
}

#[test]
fn a_job_that_names_calls_or_records_asks_for_these_alone() {
    let mut named = rules();
    named.job.calls = vec!["d".into()];
    assert_due(&named, &day(), &["d"], &[]);
    named.job.records = vec!["v".into()];
    assert_due(&named, &day(), &["d"], &["v"]);
    named.job.calls.clear();
    assert_due(&named, &day(), &[], &["v"]);
}

#[test]
fn a_job_for_other_rooms_asks_for_nothing() {
    let mut other = rules();
    other.job.rooms = vec!["q".into()];
    assert_due(&other, &day(), &[], &[]);
    other.job.rooms.push("r".into());
    assert_due(&other, &day(), &["c", "d"], &["v"]);
}

#[test]
fn force_lands_again_but_only_on_the_dates_of_the_job() {
    let mut force = rules();
    force.job.force = true;
    assert_due(&force, &landed_day(), &["c", "d"], &["v"]);
    assert!(due(&force, &landed_day()).reports.iter().all(|ask| ask.force));
    force.job.from = "2026-11-21".parse().expect("a date");
    force.job.to = force.job.from;
    assert_due(&force, &landed_day(), &[], &[]);
}

#[test]
fn a_repair_lands_again_what_it_names() {
    let mut repair = rules();
    let day = DayId::new(manifest().date, "s");
    let other = DayId::new(manifest().date, "another");
    repair.again = [
        (day.clone(), Piece::Report("c".into(), ReportFormat::Json)),
        (other, Piece::Report("d".into(), ReportFormat::Json)),
        (day, Piece::Recording("v".into())),
    ]
    .into_iter()
    .collect();
    assert_due(&repair, &landed_day(), &["c"], &["v"]);
}

#[test]
fn a_nightly_run_leaves_alone_what_was_given_up_and_a_backfill_asks_with_new_attempts() {
    let mut day = landed_day();
    set_status(&mut day, "c", Status::Lost, 9);
    assert_due(&nightly_rules("2026-11-21T12:00:00Z"), &day, &[], &[]);
    let asked = due(&rules(), &day);
    assert_eq!(ids(&asked), (vec!["c"], vec![]));
    assert_eq!(asked.reports[0].before.attempts, 0);
}

#[test]
fn what_failed_before_comes_last() {
    let mut day = day();
    set_status(&mut day, "c", Status::Failed, 2);
    assert_due(&rules(), &day, &["d", "c"], &["v"]);
}

#[test]
fn a_report_of_another_state_of_its_call_is_due_again() {
    let mut day = landed_day();
    let later = call("c", "2026-11-20T10:00:00Z", "2026-11-20T12:00:00Z");
    merge(&rules(), &mut day, work_with(vec![later], vec![]));
    assert_due(&rules(), &day, &["c"], &[]);
}

#[test]
fn a_recording_of_another_size_or_end_is_due_again() {
    for more in [
        json!({"callId": "c", "finishedAt": "2026-11-20T11:00:00Z", "fileSize": 8}),
        json!({"callId": "c", "finishedAt": "2026-11-20T11:30:00Z", "fileSize": 7}),
    ] {
        let mut day = landed_day();
        merge(&rules(), &mut day, work_with(vec![], vec![record("v", more)]));
        assert_due(&rules(), &day, &[], &["v"]);
    }
}

#[test]
fn a_report_of_a_running_call_is_not_due_even_by_force() {
    let mut force = rules();
    force.job.force = true;
    let mut day = manifest();
    let running = call("c", "2026-11-20T10:00:00Z", "");
    merge(&force, &mut day, work_with(vec![running], vec![]));
    assert_due(&force, &day, &[], &[]);
}

#[test]
fn a_report_that_was_put_aside_is_due_by_force_alone() {
    let mut day = landed_day();
    for entry in day.calls.values_mut() {
        let landing = entry.reports.get_mut(&ReportFormat::Json);
        landing.expect("a landing").put_aside("died twice");
    }
    assert_due(&rules(), &day, &[], &[]);
    let mut force = rules();
    force.job.force = true;
    assert_due(&force, &day, &["c", "d"], &["v"]);
}

#[test]
fn the_recorded_bytes_are_those_that_the_api_says() {
    assert_eq!(due(&rules(), &day()).recorded_bytes(), 7);
    assert_eq!(due(&rules(), &landed_day()).recorded_bytes(), 0);
}

proptest! {
    #[test]
    fn only_what_the_job_names_is_due(
        rooms in proptest::collection::vec("[qr]", 0..2),
        calls in proptest::collection::vec("[cde]", 0..3),
        records in proptest::collection::vec("[vw]", 0..2),
        half in 0_u8..3,
        force: bool,
    ) {
        let mut rules = rules();
        rules.job.rooms = rooms.iter().map(|id| id.as_str().into()).collect();
        rules.job.calls = calls.iter().map(|id| id.as_str().into()).collect();
        rules.job.records = records.iter().map(|id| id.as_str().into()).collect();
        rules.job.only = [None, Some(Only::Analytics), Some(Only::Recordings)][usize::from(half)];
        rules.job.force = force;
        let day = if force { landed_day() } else { day() };
        let due = due(&rules, &day);
        prop_assert!(due.reports.iter().all(|ask| rules.job.takes_call(&ask.call)));
        prop_assert!(due.records.iter().all(|ask| rules.job.takes_record(&ask.record)));
        let rooms = due.reports.iter().map(|ask| &ask.room);
        let mut rooms = rooms.chain(due.records.iter().map(|ask| &ask.room));
        prop_assert!(rooms.all(|room| rules.job.takes_room(room)));
        prop_assert!(rules.job.only != Some(Only::Analytics) || due.records.is_empty());
        prop_assert!(rules.job.only != Some(Only::Recordings) || due.reports.is_empty());
    }
}
