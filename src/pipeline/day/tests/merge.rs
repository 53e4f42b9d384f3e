use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::json;

use crate::config::ReportFormat;
use crate::ids::{CallId, RoomId};
use crate::lake::manifest::{Manifest, Missed, RoomEntry, Status};
use crate::pipeline::day::merge::merge;
use crate::pipeline::day::state::DayState;
use crate::pipeline::job::Only;
use crate::pipeline::rules::JobRules;
use crate::pipeline::samples::{
    at, call, finished_record, landed, manifest, nightly_rules, record, rules, settled_call, work, work_with,
};
use crate::pipeline::walk::found::{DayWork, RoomsAsked};
use crate::store::folder::FolderStore;

fn merged(rules: &JobRules, work: DayWork) -> Manifest {
    let mut manifest = manifest();
    merge(rules, &mut manifest, work);
    manifest
}

fn rooms(names: &[&str]) -> std::collections::BTreeSet<RoomId> {
    names.iter().map(|name| RoomId::from(*name)).collect()
}

fn missing(names: &[&str]) -> Missed {
    Missed {
        rooms: rooms(names),
        ..Missed::default()
    }
}

#[test]
fn a_call_is_pending_until_it_has_ended_and_settled() {
    let start = "2026-11-21T10:00:00Z";
    for (end, pending) in [
        ("", Some("the call has not finished")),
        ("2026-11-21T11:45:00Z", Some("the call has only just finished")),
        ("2026-11-21T11:30:00Z", None),
        ("2026-11-21T11:00:00Z", None),
        ("soon", Some("the call's `finishedAt` can't be read")),
    ] {
        let manifest = merged(&rules(), work_with(vec![call("c", start, end)], vec![]));
        assert_eq!(manifest.calls["c"].pending.as_deref(), pending, "{end}");
    }
}

#[test]
fn a_call_that_never_ends_is_asked_about_when_its_waiting_time_is_over() {
    for (now, is_pending) in [("2026-12-04T09:59:59Z", true), ("2026-12-04T10:00:00Z", false)] {
        let work = work_with(vec![call("c", "2026-11-20T10:00:00Z", "")], vec![]);
        let manifest = merged(&nightly_rules(now), work);
        assert_eq!(manifest.calls["c"].pending.is_some(), is_pending, "{now}");
    }
    let mut work = work_with(vec![call("c", "2026-11-20T10:00:00Z", "")], vec![]);
    work.missed = missing(&["r"]);
    let manifest = merged(&nightly_rules("2027-01-01T00:00:00Z"), work);
    assert!(
        manifest.calls["c"].pending.is_some(),
        "its room gave no answer today"
    );
}

#[test]
fn every_exported_format_has_a_landing() {
    let mut rules = rules();
    rules.formats = vec![ReportFormat::Json, ReportFormat::Xlsx];
    let manifest = merged(&rules, work_with(vec![settled_call("c")], vec![]));
    let formats: Vec<_> = manifest.calls["c"].reports.keys().copied().collect();
    assert_eq!(formats, rules.formats);
}

#[test]
fn a_changed_end_asks_again_for_a_report_that_was_given_up() {
    for (end, status) in [
        ("2026-11-20T11:00:00Z", Status::Lost),
        ("2026-11-20T12:00:00Z", Status::Pending),
    ] {
        let mut manifest = merged(&rules(), work_with(vec![settled_call("c")], vec![]));
        let entry = manifest.calls.get_mut("c").expect("the call");
        let landing = entry.reports.get_mut(&ReportFormat::Json).expect("a landing");
        (landing.status, landing.attempts) = (Status::Lost, 4);
        let again = call("c", "2026-11-20T10:00:00Z", end);
        merge(&rules(), &mut manifest, work_with(vec![again], vec![]));
        let landing = &manifest.calls["c"].reports[&ReportFormat::Json];
        assert_eq!(landing.status, status, "{end}");
        assert_eq!(landing.attempts == 0, status == Status::Pending);
    }
}

#[test]
fn a_call_that_is_no_longer_listed_stays() {
    let mut manifest = merged(
        &rules(),
        work_with(vec![settled_call("c")], vec![finished_record("v")]),
    );
    merge(&rules(), &mut manifest, work());
    assert!(manifest.calls.contains_key("c"));
    assert!(manifest.records.contains_key("v"));
}

#[test]
fn an_evicted_call_or_record_leaves_the_keys_of_its_objects() {
    let mut manifest = merged(
        &rules(),
        work_with(vec![settled_call("c")], vec![finished_record("v")]),
    );
    let entry = manifest.calls.get_mut("c").expect("the call");
    entry
        .reports
        .insert(ReportFormat::Json, landed(Status::Done, "state"));
    let mut file = landed(Status::Done, "state");
    file.landed.as_mut().expect("bytes").key = "mp4".into();
    manifest.records.get_mut("v").expect("the record").file = file;
    let mut work = work();
    work.evict_calls.insert("c".into());
    work.evict_calls.insert("unknown".into());
    work.evict_records.insert("v".into());
    merge(&rules(), &mut manifest, work);
    assert!(manifest.calls.is_empty() && manifest.records.is_empty());
    assert_eq!(Vec::from_iter(manifest.evicted), ["k", "mp4"]);
}

#[test]
fn a_record_that_cannot_be_copied_says_why_and_is_given_up_in_the_end() {
    let unfinished = || record("v", json!({"startedAt": "2026-11-20T10:00:00Z"}));
    let manifest = merged(&rules(), work_with(vec![], vec![unfinished()]));
    assert_eq!(manifest.records["v"].file.status, Status::Pending);
    let late = nightly_rules("2026-12-05T00:00:00Z");
    let mut manifest = merged(&late, work_with(vec![], vec![unfinished()]));
    assert_eq!(manifest.records["v"].file.status, Status::Lost);
    merge(
        &late,
        &mut manifest,
        work_with(vec![], vec![finished_record("v")]),
    );
    assert_eq!(
        manifest.records["v"].file.status,
        Status::Pending,
        "it can be copied now, and nobody has tried yet"
    );
}

#[test]
fn an_unreadable_end_is_no_reason_to_give_a_record_up() {
    let odd = record(
        "v",
        json!({"startedAt": "2026-11-20T10:00:00Z", "finishedAt": "soon"}),
    );
    let late = nightly_rules("2027-01-01T00:00:00Z");
    let manifest = merged(&late, work_with(vec![], vec![odd]));
    assert_eq!(manifest.records["v"].file.status, Status::Pending);
}

#[test]
fn a_landed_recording_stays_whatever_its_record_says_now() {
    let mut manifest = merged(&rules(), work_with(vec![], vec![finished_record("v")]));
    manifest.records.get_mut("v").expect("the record").file = landed(Status::Done, "state");
    let deleted = record("v", json!({"state": "deleted"}));
    merge(&rules(), &mut manifest, work_with(vec![], vec![deleted]));
    assert_eq!(manifest.records["v"].file.status, Status::Done);
}

#[tokio::test]
async fn what_a_day_gives_up_does_not_come_back_from_another_process() {
    let folder = tempfile::tempdir().expect("folder");
    let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
    let id = manifest().space_id;
    let mut day = DayState::load(&store, manifest().date, id).await.expect("a day");
    let calls = vec![settled_call("moved"), settled_call("stays")];
    let theirs = merged(&rules(), work_with(calls, vec![finished_record("v")]));
    let gives = DayWork {
        evict_calls: ["moved".into()].into(),
        evict_records: ["v".into()].into(),
        ..work()
    };
    day.gives_up(&gives);
    day.absorb(theirs);
    let left: Vec<_> = day.manifest.calls.keys().map(CallId::as_str).collect();
    assert_eq!(left, ["stays"]);
    assert!(day.manifest.records.is_empty());
}

#[test]
fn a_missed_room_waits_until_it_answers() {
    let mut day = merged(
        &rules(),
        DayWork {
            missed: missing(&["r", "q"]),
            ..work()
        },
    );
    assert_eq!(day.missed.rooms, rooms(&["q", "r"]));
    let asked = |names: &[&str]| DayWork {
        asked: RoomsAsked::These(rooms(names)),
        ..work()
    };
    merge(&rules(), &mut day, asked(&["r"]));
    assert_eq!(day.missed.rooms, rooms(&["q"]), "only r was asked again");
    let mut half = rules();
    half.job.only = Some(Only::Recordings);
    merge(&half, &mut day, work());
    assert_eq!(
        day.missed.rooms,
        rooms(&["q"]),
        "half of the work is no whole answer"
    );
    merge(&rules(), &mut day, work());
    assert!(day.missed.is_none());
}

#[test]
fn a_failed_room_list_leaves_all_missed_rooms_waiting() {
    let mut day = merged(
        &rules(),
        DayWork {
            missed: missing(&["q"]),
            ..work()
        },
    );
    let failed = DayWork {
        missed: Missed {
            space: true,
            ..Missed::default()
        },
        ..work()
    };
    merge(&rules(), &mut day, failed);
    assert!(day.missed.space);
    assert_eq!(day.missed.rooms, rooms(&["q"]));
}

#[test]
fn a_room_list_that_stays_too_short_is_given_up_after_three_runs_of_an_old_day() {
    let partial = || DayWork {
        missed: Missed {
            partial: true,
            ..Missed::default()
        },
        ..work()
    };
    for (now, is_given_up) in [("2026-11-21T12:00:00Z", false), ("2026-12-20T12:00:00Z", true)] {
        let rules = nightly_rules(now);
        let mut day = manifest();
        for run in 1..=3 {
            merge(&rules, &mut day, partial());
            assert_eq!(day.missed.partial, run < 3 || !is_given_up, "{now} {run}");
        }
        merge(&rules, &mut day, work());
        assert_eq!((day.missed.partial, day.missed.partial_runs), (false, 0));
    }
}

#[test]
fn a_refused_gone_room_is_given_up_with_its_day_and_comes_back_when_it_answers() {
    let refused = || DayWork {
        missed: missing(&["gone"]),
        refused: [("gone".into(), "404".into())].into_iter().collect(),
        ..work()
    };
    let recent = merged(&nightly_rules("2026-11-21T12:00:00Z"), refused());
    assert_eq!(recent.missed.rooms, rooms(&["gone"]));
    let late = nightly_rules("2026-12-20T12:00:00Z");
    let mut day = merged(&late, refused());
    assert_eq!((day.missed.rooms.len(), &day.missed.gone), (0, &rooms(&["gone"])));
    assert!(!day.missed.is_open());
    let answered = DayWork {
        heard_gone: rooms(&["gone"]),
        ..work()
    };
    merge(&late, &mut day, answered);
    assert!(day.missed.is_none());
}

#[test]
fn names_of_rooms_and_spaces_are_kept_if_the_walk_has_none() {
    let named = RoomEntry {
        name: Some("Maths".into()),
        ..RoomEntry::default()
    };
    let mut first = work();
    first.space_name = Some("School".into());
    first.rooms.insert("r".into(), named.clone());
    let mut day = merged(&rules(), first);
    let mut second = work();
    second.rooms.insert("r".into(), RoomEntry::default());
    merge(&rules(), &mut day, second);
    assert_eq!(day.rooms["r"], named);
    assert_eq!(day.space_name.as_deref(), Some("School"));
}

#[test]
fn a_day_that_was_listed_once_stays_listed() {
    let mut day = merged(&rules(), work());
    let unlisted = DayWork {
        listed: false,
        ..work()
    };
    merge(&rules(), &mut day, unlisted);
    assert!(day.listed);
}

/// Findings of a walk: some calls and records, perhaps unfinished, and some missed rooms.
fn findings() -> impl Strategy<Value = DayWork> {
    let calls = proptest::collection::btree_map(0_u8..4, any::<bool>(), 0..4);
    let records = proptest::collection::btree_map(0_u8..4, any::<bool>(), 0..4);
    let missed = proptest::collection::btree_set("[qrx]", 0..3);
    (calls, records, missed, any::<bool>()).prop_map(|(calls, records, missed, all)| {
        let calls = calls.into_iter().map(|(id, ended)| {
            let end = if ended { "2026-11-20T11:00:00Z" } else { "" };
            call(&format!("c{id}"), "2026-11-20T10:00:00Z", end)
        });
        let records = records.into_iter().map(|(id, finished)| match finished {
            true => finished_record(&format!("v{id}")),
            false => record(&format!("v{id}"), json!({})),
        });
        let mut work = work_with(calls.collect(), records.collect());
        work.missed.rooms = missed.iter().map(|room| RoomId::from(room.as_str())).collect();
        if !all {
            work.asked = RoomsAsked::These(rooms(&["r"]));
        }
        work
    })
}

proptest! {
    #[test]
    fn merging_the_same_findings_twice_changes_nothing(
        first in findings(), second in findings(), days in 0_i64..40,
    ) {
        let mut rules = rules();
        rules.now = at("2026-11-21T12:00:00Z") + TimeDelta::days(days);
        let mut once = merged(&rules, first);
        merge(&rules, &mut once, second.clone());
        let mut twice = once.clone();
        merge(&rules, &mut twice, second);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn merging_never_loses_a_landed_report_or_recording(first in findings(), second in findings()) {
        let rules = rules();
        let mut day = merged(&rules, first);
        for entry in day.calls.values_mut() {
            entry.reports.insert(ReportFormat::Json, landed(Status::Done, "state"));
        }
        for entry in day.records.values_mut() {
            entry.file = landed(Status::Done, "state");
        }
        let before = day.clone();
        merge(&rules, &mut day, second);
        for (id, entry) in &before.calls {
            prop_assert_eq!(&day.calls[id].reports, &entry.reports);
        }
        for (id, entry) in &before.records {
            prop_assert_eq!(&day.records[id].file, &entry.file);
        }
    }
}

#[test]
fn only_a_listing_of_all_rooms_of_the_space_is_noted() {
    let rules = rules();
    for (asked, failed, is_noted) in [
        (RoomsAsked::All, false, true),
        (RoomsAsked::All, true, false),
        (RoomsAsked::These(rooms(&["r"])), false, false),
    ] {
        let mut work = work_with(vec![], vec![]);
        work.asked = asked;
        work.missed.space = failed;
        let manifest = merged(&rules, work);
        assert_eq!(manifest.listed_at.is_some(), is_noted);
        assert!(manifest.listed_at.is_none_or(|at| at == rules.now));
    }
}
