//! Calls, reports and records in every state are distinguished, kept, and never block others.

use serde_json::json;
use telelake::simulator::{Endpoint, Failure, Matcher, Oddities, Options, Report, Simulator};

use super::{backfill, exported, range, small, small_school};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

/// The state of a call's JSON report in its manifest.
async fn report_of(lake: &Lake, call: &str) -> serde_json::Value {
    let manifests = lake.manifests().await;
    let day = manifests
        .iter()
        .find(|day| day["calls"].get(call).is_some())
        .expect("the call is in a manifest");
    day["calls"][call]["reports"]["json"].clone()
}

/// True if these problems have one of this kind.
fn names(problems: &serde_json::Value, kind: &str) -> bool {
    let mut problems = problems.as_array().unwrap().iter();
    problems.any(|problem| problem["kind"] == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_school_with_every_oddity_is_exported_as_far_as_it_goes() {
    let odd = Oddities {
        nameless: false,
        ..Oddities::all()
    };
    let sim = Simulator::start(Options {
        odd,
        spaces: 2,
        rooms: 40,
        recording_size: 4096,
        ..Options::default()
    })
    .await
    .unwrap();
    let lake = Lake::folder();
    let run = exported(&sim, &lake, &[], 3).await;
    // Only an answer that is no report at all is a failure.
    let broken = sim
        .school()
        .calls
        .iter()
        .filter(|call| matches!(&call.json, Report::Bytes(b) if b.starts_with(b"<")))
        .count();
    assert!(broken > 0);
    let summary = run.summary();
    let failed = summary["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 2 * broken, "{failed:?}");
    assert!(
        failed.iter().all(|failure| failure["kind"] == "report_failed"),
        "{failed:?}"
    );
    for kind in ["call_pending", "report_pending", "record_pending"] {
        assert!(names(&summary["pending"], kind), "no {kind}");
    }
    for kind in ["report_denied", "record_unavailable", "file_size_differs"] {
        assert!(names(&summary["warnings"], kind), "no {kind}");
    }
    let calls = lake.rows("calls", &["call_id"]).await.len();
    assert_eq!(calls, sim.school().calls.len());
    let coverage = lake
        .rows(
            "coverage",
            &["room_id", "complete", "reason", "reports_denied", "calls_pending"],
        )
        .await;
    for row in &coverage {
        assert_eq!(row["complete"] == "false", !row["reason"].is_empty(), "{row:?}");
    }
    let sum = |column: &str| {
        coverage
            .iter()
            .map(|row| row[column].parse::<u64>().unwrap())
            .sum::<u64>()
    };
    assert_eq!(sum("calls_pending"), run.count("calls_pending"));
    assert_eq!(sum("reports_denied"), run.count("reports_denied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_not_json_is_kept_and_its_call_is_failed() {
    let (sim, lake) = small_school().await;
    let bytes = "<html>не отчёт</html>";
    let call = sim.edit(|school| {
        school.calls[0].json = Report::bytes(bytes);
        school.calls[0].id.clone()
    });
    let run = exported(&sim, &lake, &[], 3).await;
    assert_eq!(run.count("reports_failed"), 1);
    let failure = &run.summary()["failed"][0];
    assert_eq!(
        (&failure["call_id"], &failure["kind"]),
        (&json!(call), &json!("report_failed"))
    );
    assert!(
        failure["message"].as_str().unwrap().contains("not JSON"),
        "{failure}"
    );
    let landing = report_of(&lake, &call).await;
    assert_eq!(landing["status"], "failed");
    let raw = lake.get(landing["landed"]["key"].as_str().unwrap()).await;
    assert_eq!(raw, bytes.as_bytes());
    // The rest of the day is built, and the tables of the call come from the workbook.
    let people = lake.rows("participants", &["call_id"]).await;
    assert!(
        people.iter().any(|row| row["call_id"] == call) && people.iter().any(|row| row["call_id"] != call)
    );
    assert_eq!(
        lake.rows("calls", &["call_id"]).await.len(),
        sim.school().calls.len()
    );

    sim.edit(|school| school.calls[0].set_report(Report::Whole));
    exported(&sim, &lake, &[], 0).await;
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_report_is_pending_and_never_replaces_one_that_had_rows() {
    let (sim, lake) = small_school().await;
    for empty in [Report::EMPTY, Report::bytes("{}"), Report::bytes("")] {
        let call = sim.edit(|school| {
            school.calls[0].json = empty;
            school.calls[0].id.clone()
        });
        let run = exported(&sim, &lake, &[], 0).await;
        assert_eq!(run.count("reports_pending"), 1);
        assert_eq!(report_of(&lake, &call).await["status"], "pending");
    }
    sim.edit(|school| school.calls[0].set_report(Report::Whole));
    exported(&sim, &lake, &[], 0).await;
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    sim.edit(|school| school.calls[0].set_report(Report::bytes("{}")));
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &["--force"]))
        .run()
        .await;
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_shrank_or_lost_its_times_is_named_and_replaces_nothing() {
    let (sim, lake) = small_school().await;
    let range = range(&sim);
    let force = backfill(&range, &["--force"]);
    Telelake::against(&sim, &lake, &force).run().await.expect(0);
    let (call, people) = {
        let school = sim.school();
        let largest = school.calls.iter().max_by_key(|call| call.participants.len());
        largest
            .map(|call| (call.id.clone(), call.participants.len()))
            .unwrap()
    };
    assert!(people > 2);
    let key = report_of(&lake, &call).await["landed"]["key"].clone();
    let report: serde_json::Value = serde_json::from_slice(&lake.get(key.as_str().unwrap()).await).unwrap();
    let mut timeless = report.clone();
    for person in timeless["participants"].as_array_mut().unwrap() {
        person["sessions"] = json!([{"joinedAt": "утром", "leftAt": "вечером"}]);
    }
    for (other, kind) in [
        (Report::Without(people - 1), "report_shrank"),
        (Report::bytes(timeless.to_string()), "report_kept"),
    ] {
        sim.edit(|school| {
            let entry = school.calls.iter_mut().find(|entry| entry.id == call);
            entry.unwrap().json = other;
        });
        let run = Telelake::against(&sim, &lake, &force).run().await.expect(0);
        let warnings = run.summary()["warnings"].clone();
        let named = warnings.as_array().unwrap().iter().any(|warning| {
            warning["kind"] == kind && warning["call_id"] == json!(call) && warning["date"].is_string()
        });
        assert!(named, "{kind}: {warnings}");
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    }

    // In a new lake it is pending with the reason, and everybody in it is present.
    let new = Lake::folder();
    let run = Telelake::against(&sim, &new, &force).run().await.expect(0);
    assert_eq!(run.count("reports_pending"), 1);
    let landing = report_of(&new, &call).await;
    assert_eq!(
        (&landing["status"], &landing["landed"]["shortfall"]),
        (&json!("pending"), &json!("timeless"))
    );
    assert!(
        landing["reason"].as_str().unwrap().contains("session time"),
        "{landing}"
    );
    let seen = new
        .rows("participants", &["call_id", "sessions", "sessions_unreadable"])
        .await;
    let of_call: Vec<_> = seen.iter().filter(|row| row["call_id"] == call).collect();
    assert_eq!(of_call.len(), people);
    assert!(
        of_call
            .iter()
            .all(|row| row["sessions"].is_empty() && row["sessions_unreadable"] == "1")
    );
    let coverage = new.rows("coverage", &["complete", "reports_pending"]).await;
    assert!(
        coverage
            .iter()
            .any(|row| row["complete"] == "false" && row["reports_pending"] == "1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_is_pending_until_it_has_ended() {
    let (sim, lake) = small_school().await;
    let end = sim.edit(|school| school.calls[0].finished_at.take());
    let run = exported(&sim, &lake, &[], 0).await;
    assert_eq!((run.count("calls_pending"), run.count("reports_pending")), (1, 2));
    let open = lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("_telelake/open/"))
        .count();
    assert_eq!(open, 1);
    sim.edit(|school| school.calls[0].finished_at = end);
    // The nightly run comes back to it, whatever its dates are.
    Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_a_call_that_has_just_ended_is_not_requested() {
    let today = chrono::Utc::now().date_naive();
    let (sim, lake) = (
        Simulator::start(Options {
            dates: vec![today - chrono::Days::new(1)],
            ..small()
        })
        .await
        .unwrap(),
        Lake::folder(),
    );
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .env("TELELAKE_SCOPE__SETTLE", "30days")
        .run()
        .await
        .expect(0);
    assert_eq!(sim.count(Endpoint::Report), 0);
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .env("TELELAKE_SCOPE__SETTLE", "0s")
        .run()
        .await
        .expect(0);
    assert!(sim.count(Endpoint::Report) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_space_blocks_no_other_and_the_run_fails_if_all_are_refused() {
    let (sim, lake) = (
        Simulator::start(Options { spaces: 2, ..small() }).await.unwrap(),
        Lake::folder(),
    );
    let refused = sim.edit(|school| {
        school.spaces[0].refuse = Some(403);
        school.spaces[0].id.clone()
    });
    let run = exported(&sim, &lake, &[], 3).await;
    assert_eq!(run.summary()["failed"][0]["space_id"], refused.as_str());
    let school = sim.school();
    let reachable = school
        .calls
        .iter()
        .filter(|call| call.space_id != refused)
        .count();
    assert_eq!(lake.rows("calls", &["call_id"]).await.len(), reachable);
    sim.edit(|school| school.spaces[1].refuse = Some(403));
    let run = exported(&sim, &lake, &[], 4).await;
    assert!(run.stderr.contains("403"), "{}", run.stderr);
    sim.edit(|school| school.spaces.iter_mut().for_each(|space| space.refuse = None));
    // The days are open, so that any nightly run completes them.
    Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_room_or_call_blocks_no_other() {
    let (sim, lake) = small_school().await;
    let (call, room) = {
        let school = sim.school();
        let call = school.calls[0].clone();
        let other = school
            .calls
            .iter()
            .find(|other| other.room_id != call.room_id)
            .unwrap();
        (call.id, other.room_id.clone())
    };
    sim.faults().order(
        Matcher::endpoint(Endpoint::Report).containing(&call),
        Failure::Status(500),
    );
    sim.faults().order(
        Matcher::endpoint(Endpoint::Calls).containing(&room),
        Failure::BadGateway,
    );
    let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .env("TELELAKE_API__RETRIES", "1")
        .run()
        .await
        .expect(3);
    let summary = run.summary();
    let named = |kind: &str, id: &str, value: &str| {
        summary["failed"]
            .as_array()
            .unwrap()
            .iter()
            .any(|failure| failure["kind"] == kind && failure[id] == value)
    };
    assert!(
        named("report_failed", "call_id", &call) && named("listing_failed", "room_id", &room),
        "{summary}"
    );
    sim.faults().clear();
    let unlisted = lake.rows("coverage", &["room_id", "complete", "reason"]).await;
    let unlisted: Vec<_> = unlisted.iter().filter(|row| row["room_id"] == room).collect();
    assert!(
        !unlisted.is_empty() && unlisted.iter().all(|row| row["complete"] == "false"),
        "{unlisted:?}"
    );
    Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_configured_report_formats_are_requested() {
    for (format, absent) in [("json", ".xlsx"), ("xlsx", ".json")] {
        let (sim, lake) = small_school().await;
        Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
            .env("TELELAKE_EXPORT__REPORTS", format)
            .run()
            .await
            .expect(0);
        let raw: Vec<_> = lake
            .keys()
            .await
            .into_keys()
            .filter(|key| key.starts_with("raw/"))
            .collect();
        assert_eq!(raw.len(), sim.school().calls.len());
        assert!(raw.iter().all(|key| !key.ends_with(absent)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_only_one_half_leaves_the_other_open() {
    for only in ["recordings", "analytics"] {
        let (sim, lake) = small_school().await;
        exported(&sim, &lake, &["--only", only], 0).await;
        let coverage = lake.rows("coverage", &["room_id", "complete", "reason"]).await;
        assert!(!coverage.is_empty());
        assert!(
            coverage
                .iter()
                .all(|row| row["complete"] == "false" && !row["reason"].is_empty()),
            "{coverage:?}"
        );
        if only == "recordings" {
            // Data that was never requested is fetched by the next run.
            Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
            let rows = lake.rows("participants", &["call_id"]).await;
            assert!(!rows.is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn force_lands_the_requested_room_and_dates_again() {
    let (sim, lake) = small_school().await;
    exported(&sim, &lake, &[], 0).await;
    let school = sim.school();
    let call = &school.calls[0];
    let key = report_of(&lake, &call.id).await["landed"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let Lake::Folder(folder) = &lake else {
        unreachable!()
    };
    std::fs::remove_file(folder.path().join(&key)).unwrap();
    sim.clear_log();
    let date = call.started_at.date_naive();
    let args = [
        "backfill",
        "--from",
        &date.to_string(),
        "--to",
        &date.to_string(),
        "--room",
        &call.room_id,
        "--force",
    ];
    Telelake::against(&sim, &lake, &args).run().await.expect(0);
    let of_room = school
        .calls
        .iter()
        .filter(|other| other.room_id == call.room_id && other.started_at.date_naive() == date);
    assert_eq!(sim.count(Endpoint::Report), 2 * of_room.count());
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    assert!(lake.keys().await.contains_key(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_object_stops_at_most_one_day() {
    let (sim, lake) = small_school().await;
    sim.edit(|school| school.calls[0].set_report(Report::Missing));
    exported(&sim, &lake, &[], 0).await;
    let Lake::Folder(folder) = &lake else {
        unreachable!()
    };
    let state = folder.path().join("_telelake");
    std::fs::write(state.join("runs/zz.json"), "{\"id\": \"x\"}").unwrap();
    std::fs::write(state.join("runs/.DS_Store"), "").unwrap();
    Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
    let open = lake
        .keys()
        .await
        .into_keys()
        .find(|key| key.starts_with("_telelake/open/"))
        .unwrap();
    let manifest = open.replacen("_telelake/open", "_telelake/days", 1) + ".json";
    std::fs::write(folder.path().join(&manifest), "{").unwrap();
    let run = Telelake::against(&sim, &lake, &["--log-format", "json", "run"])
        .run()
        .await
        .expect(3);
    assert_eq!(
        run.summary()["failed"].as_array().unwrap().len(),
        1,
        "{}",
        run.stdout
    );
    let status = Telelake::new(&["status"]).lake(&lake).run().await.expect(0);
    assert!(status.stdout.contains("3 days"), "{}", status.stdout);
}
