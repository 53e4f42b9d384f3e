use super::land_all;
use crate::config::{Config, ReportFormat};
use crate::lake::manifest::{Built, Landing, Manifest, Status};
use crate::pipeline::cutoffs::CutOffs;
use crate::pipeline::day::due::due;
use crate::pipeline::day::expire::{
    DELETED, NOT_COPIED, delete_recordings, delete_reports, deleted, has_news, has_reports, is_news,
    leave_out, note_expired, refuse_recordings,
};
use crate::pipeline::day::merge::merge;
use crate::pipeline::day::report;
use crate::pipeline::samples::{at, date, finished_record, landed, manifest, rules, settled_call, work_with};

const NOW: &str = "2026-12-30T02:00:00Z";

/// A day with calls `c` and `d` and record `v`, of which everything has landed and is built.
fn day() -> Manifest {
    let mut day = manifest();
    let calls = vec![settled_call("c"), settled_call("d")];
    merge(&rules(), &mut day, work_with(calls, vec![finished_record("v")]));
    land_all(&mut day);
    day.built = Some(built());
    day
}

fn built() -> Built {
    serde_json::from_value(serde_json::json!({
        "fingerprint": "f", "built_at": "2026-11-21T00:00:00Z",
        "tables": {"calls": {"key": "k", "rows": 2, "bytes": 9, "sha256": "s"}},
    }))
    .expect("what was built")
}

#[test]
fn a_day_whose_reports_are_deleted_is_frozen_and_asks_for_nothing() {
    let mut day = day();
    assert!(!day.is_frozen() && has_reports(&day));
    delete_reports(&mut day, at(NOW));
    assert!(day.is_frozen() && !has_reports(&day) && day.is_built());
    assert_eq!(deleted(&day).count(), 2, "the recording is kept");
    assert_eq!(due(&rules(), &day).reports.len(), 0);
    let once = day.clone();
    delete_reports(&mut day, at("2027-01-01T00:00:00Z"));
    assert_eq!(day, once, "the first deletion counts");
}

#[test]
fn all_reports_of_a_frozen_day_are_due_once_they_are_wanted() {
    let mut day = day();
    delete_reports(&mut day, at(NOW));
    day.reports_wanted_at = Some(at(NOW));
    assert_eq!(due(&rules(), &day).reports.len(), 2);
    // The one that has come is not requested again.
    let entry = day.calls.get_mut("c").expect("the call");
    let state = report::call_state(entry);
    entry
        .reports
        .insert(ReportFormat::Json, landed(Status::Done, &state));
    let asks = due(&rules(), &day).reports;
    assert_eq!(
        asks.iter().map(|ask| ask.call.as_str()).collect::<Vec<_>>(),
        ["d"]
    );
}

#[test]
fn a_report_that_expired_takes_the_older_ones_with_it_if_the_day_has_tables() {
    let mut day = day();
    for (id, key, landed_at) in [("c", "one", "2026-11-21T00:00:00Z"), ("d", "two", NOW)] {
        let entry = day.calls.get_mut(id).expect("the call");
        let mut landing = landed(Status::Done, "");
        let bytes = landing.landed.as_mut().expect("bytes");
        (bytes.key, bytes.landed_at) = (key.into(), at(landed_at));
        entry.reports.insert(ReportFormat::Json, landing);
    }
    let mut without = day.clone();
    without.built = None;
    assert!(!note_expired(&mut without, "one", at(NOW)) && has_reports(&without));
    let before = day.clone();
    assert!(!note_expired(&mut day, "another", at(NOW)));
    assert_eq!(day, before);
    assert!(note_expired(&mut day, "one", at(NOW)));
    let gone: Vec<_> = deleted(&day).map(|landed| landed.key.as_str()).collect();
    assert_eq!(gone, ["one"], "the other one has just landed");
    assert!(note_expired(&mut day, "two", at(NOW)));
    assert_eq!(deleted(&day).count(), 2);
}

#[test]
fn a_new_or_lost_call_or_record_is_news_and_another_listing_is_not() {
    let before = day();
    let mut same = before.clone();
    same.listed_at = Some(at(NOW));
    same.space_name = Some("renamed".into());
    assert!(!has_news(&same, &before));
    let mut more = before.clone();
    merge(
        &rules(),
        &mut more,
        work_with(vec![settled_call("e")], Vec::new()),
    );
    assert!(has_news(&more, &before) && has_news(&before, &more));
    let mut more = before.clone();
    merge(
        &rules(),
        &mut more,
        work_with(Vec::new(), vec![finished_record("w")]),
    );
    assert!(has_news(&more, &before));
}

#[test]
fn bytes_that_land_on_a_frozen_day_are_news_unless_the_lake_has_them() {
    let new = landed(Status::Done, "");
    let mut gone = new.clone();
    gone.landed.as_mut().expect("bytes").deleted_at = Some(at(NOW));
    let mut again = new.clone();
    again.landed.as_mut().expect("bytes").landed_at = at(NOW);
    assert!(is_news(&new, None) && is_news(&new, Some(&gone)));
    assert!(is_news(&new, Some(&Landing::pending("not asked for yet"))));
    assert!(!is_news(&again, Some(&new)), "the same bytes");
    assert!(!is_news(&gone, Some(&gone)) && !is_news(&Landing::pending("x"), Some(&new)));
}

#[test]
fn recordings_are_deleted_or_never_copied_and_count_as_done() {
    let mut day = day();
    merge(
        &rules(),
        &mut day,
        work_with(Vec::new(), vec![finished_record("w")]),
    );
    let mut refused = day.clone();
    refuse_recordings(&mut refused, at(NOW));
    assert_eq!(refused.records["v"], day.records["v"], "it is in the lake");
    delete_recordings(&mut day, at(NOW));
    for (id, reason, bytes) in [("v", DELETED, 1), ("w", NOT_COPIED, 0)] {
        let file = &day.records[id].file;
        assert_eq!(
            (file.status, file.reason.as_deref()),
            (Status::Done, Some(reason))
        );
        assert_eq!(file.landed.as_ref().map(|landed| landed.bytes), Some(bytes));
        assert!(file.is_deleted() && file.stored().is_none());
    }
    assert_eq!(due(&rules(), &day).records.len(), 0);
    let mut unavailable = manifest();
    merge(
        &rules(),
        &mut unavailable,
        work_with(Vec::new(), vec![finished_record("u")]),
    );
    let entry = unavailable.records.get_mut("u").expect("the record");
    entry.file.status = Status::Unavailable;
    let before = unavailable.clone();
    delete_recordings(&mut unavailable, at(NOW));
    assert_eq!(unavailable, before, "the platform has no file");
}

#[test]
fn a_build_leaves_out_what_is_over_and_a_frozen_day_is_left_to_the_retention() {
    let config: Config =
        toml::from_str("[retention]\nmessages = \"10d\"\nrecordings = \"10d\"").expect("keys");
    let over = CutOffs::new(&config, date("2026-12-30"));
    let kept = CutOffs::new(&config, date("2026-11-30"));
    let mut day = day();
    merge(
        &rules(),
        &mut day,
        work_with(Vec::new(), vec![finished_record("w")]),
    );
    let before = day.clone();
    leave_out(&mut day, &kept, at(NOW));
    assert_eq!(day, before, "the tenth day after it is the last");
    let mut frozen = day.clone();
    delete_reports(&mut frozen, at(NOW));
    let before = frozen.clone();
    leave_out(&mut frozen, &over, at(NOW));
    assert_eq!(frozen, before);
    leave_out(&mut day, &over, at(NOW));
    assert_eq!(day.messages_deleted_at, Some(at(NOW)));
    assert!(day.records["w"].file.is_deleted() && !day.records["v"].file.is_deleted());
}

#[test]
fn a_deletion_wins_over_the_same_bytes_and_newer_bytes_win_over_it() {
    let (mut ours, mut theirs) = (day(), day());
    delete_reports(&mut theirs, at(NOW));
    let before = ours.clone();
    ours.absorb(theirs.clone());
    assert!(ours.calls["c"].reports[&ReportFormat::Json].is_deleted());
    let mut newer = before;
    for landing in newer
        .calls
        .values_mut()
        .flat_map(|call| call.reports.values_mut())
    {
        landing.landed.as_mut().expect("bytes").landed_at = at("2027-01-01T00:00:00Z");
    }
    newer.absorb(theirs);
    assert!(!newer.calls["c"].reports[&ReportFormat::Json].is_deleted());
    // Nothing of a day that was deleted comes back.
    let deleted = serde_json::json!({"version": 1, "date": "2026-11-20", "space_id": "s", "space_name": null,
        "listed": true, "rooms": {}, "calls": {}, "records": {}, "built": null,
        "deleted": {"at": NOW, "run": "r"}});
    let deleted: Manifest = serde_json::from_value(deleted).expect("a manifest");
    newer.absorb(deleted.clone());
    assert_eq!(newer, deleted);
}
