//! Slow, dead and refusing services: each stops only its own part of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono_tz::Tz;
use serde_json::Value;
use telelake::simulator::{Endpoint, Failure, Matcher, Options, RetryAfter, Simulator};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};
use crate::support::truth::{assert_whole, is_whole};

/// Enough requests for a circuit to open before all are sent.
fn large() -> Options {
    Options {
        spaces: 2,
        rooms: 100,
        calls_per_day: 1..=1,
        recorded: 0.1,
        recording_size: 4096,
        participants: 1..=3,
        ..Options::default()
    }
}

/// A run with a timeout of seconds instead of half a minute, so that it gives up quickly.
fn impatient(sim: &Simulator, lake: &Lake, args: &[&str]) -> Telelake {
    Telelake::against(sim, lake, args)
        .env("TELELAKE_API__TIMEOUT", "1s")
        .env("TELELAKE_API__RETRIES", "2")
}

fn problems<'a>(summary: &'a Value, list: &str, kind: &str) -> Vec<&'a Value> {
    let all = summary[list].as_array().unwrap().iter();
    all.filter(|problem| problem["kind"] == kind).collect()
}

/// Asserts that a healthy run over the same dates completes the lake.
async fn recovers(sim: &Simulator, lake: &Lake) -> Finished {
    sim.faults().clear();
    let run = Telelake::against(sim, lake, &backfill(&range(sim), &[]))
        .run()
        .await
        .expect(0);
    assert_whole(lake, sim, Tz::UTC).await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_room_blocks_no_other() {
    for endpoint in [None, Some(Endpoint::Report)] {
        let first = small().dates[0];
        let options = Options {
            rooms: 12,
            calls_per_day: 1..=2,
            // More dates than requests of a room are in flight at once, so that some of them are skipped.
            dates: first.iter_days().take(8).collect(),
            ..small()
        };
        let (sim, lake) = (Simulator::start(options).await.unwrap(), Lake::folder());
        let room = sim.school().calls[0].room_id.clone();
        let of_room = endpoint
            .map_or_else(Matcher::any, Matcher::endpoint)
            .containing(&room);
        sim.faults()
            .order(of_room, Failure::Stall(Duration::from_secs(600)));
        let run = impatient(&sim, &lake, &backfill(&range(&sim), &[]))
            .run()
            .await
            .expect(3);
        let summary = run.summary();
        for problem in summary["failed"].as_array().unwrap() {
            assert_eq!(
                problem["room_id"],
                room.as_str(),
                "another room suffered: {problem}"
            );
        }
        assert_eq!(problems(&summary, "failed", "room_skipped").len(), 1, "{summary}");
        // The reports of all other rooms are in the lake.
        let expected: BTreeSet<_> = sim
            .school()
            .calls
            .iter()
            .filter(|call| call.room_id != room && call.finished_at.is_some())
            .map(|call| call.id.clone())
            .collect();
        let rows = lake.rows("participants", &["call_id", "room_id"]).await;
        let landed: BTreeSet<_> = rows
            .iter()
            .filter(|row| row["room_id"] != room)
            .map(|row| row["call_id"].clone())
            .collect();
        assert_eq!(landed, expected);
        recovers(&sim, &lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_recording_blocks_no_other() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let whole: Vec<_> = sim
        .school()
        .records
        .iter()
        .filter(|record| is_whole(record))
        .cloned()
        .collect();
    let slow = &whole[0].id;
    sim.faults().order(
        Matcher::endpoint(Endpoint::Blob).containing(slow),
        Failure::StallBody(0, Duration::from_secs(600)),
    );
    let run = impatient(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(3);
    assert_eq!(run.count("records_landed"), whole.len() as u64 - 1);
    let summary = run.summary();
    let failed = problems(&summary, "failed", "record_failed");
    assert_eq!(
        (failed.len(), &failed[0]["record_id"]),
        (1, &Value::from(slow.as_str()))
    );
    recovers(&sim, &lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_space_is_skipped_and_the_others_go_on() {
    for failure in [Failure::Reset, Failure::Status(503)] {
        let (sim, lake) = (Simulator::start(large()).await.unwrap(), Lake::folder());
        let spaces: Vec<_> = sim.school().spaces.iter().map(|space| space.id.clone()).collect();
        // It lists its rooms, and then dies.
        sim.faults()
            .order(Matcher::any().containing(&spaces[0]).after(5), failure);
        let run = impatient(&sim, &lake, &backfill(&range(&sim), &[]))
            .run()
            .await
            .expect(3);
        let summary = run.summary();
        let skipped = problems(&summary, "failed", "space_skipped");
        assert_eq!(skipped.len(), 1, "one problem, whatever was skipped: {summary}");
        assert_eq!(skipped[0]["space_id"], spaces[0].as_str());
        let message = skipped[0]["message"].as_str().unwrap();
        let count: usize = message.split(' ').next().unwrap().parse().unwrap();
        let failed = summary["failed"].as_array().unwrap().len();
        assert!(
            count > failed,
            "{count} were skipped, {failed} are named one by one"
        );
        assert!(summary["error"].is_null(), "{summary}");
        for problem in summary["failed"].as_array().unwrap() {
            assert_eq!(problem["space_id"], spaces[0].as_str(), "{problem}");
        }
        let school = sim.school();
        let of_other: BTreeSet<_> = school
            .calls
            .iter()
            .filter(|call| call.space_id == spaces[1])
            .map(|call| call.id.clone())
            .collect();
        let rows = lake.rows("participants", &["space_id", "call_id"]).await;
        let other = rows.iter().filter(|row| row["space_id"] == spaces[1]);
        assert_eq!(
            other.map(|row| row["call_id"].clone()).collect::<BTreeSet<_>>(),
            of_other
        );
        // Its days are open, so that a nightly run over other dates completes them.
        sim.faults().clear();
        Telelake::against(&sim, &lake, &["run"]).run().await.expect(0);
        assert_whole(&lake, &sim, Tz::UTC).await;
    }
}

/// The school's dates and a hundred after them: several windows.
fn long(sim: &Simulator) -> [String; 4] {
    let mut range = range(sim);
    let last = sim.options().dates.last().copied().unwrap();
    range[3] = (last + chrono::Days::new(100)).to_string();
    range
}

#[tokio::test(flavor = "multi_thread")]
async fn if_the_api_dies_in_the_middle_the_run_keeps_what_landed() {
    let (sim, lake) = (Simulator::start(large()).await.unwrap(), Lake::folder());
    let alive = Matcher::endpoint(Endpoint::Report).after(60);
    sim.faults().order(alive, Failure::Reset);
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Link), Failure::Reset);
    let run = impatient(&sim, &lake, &backfill(&long(&sim), &[]))
        .run()
        .await
        .expect(3);
    let summary = run.summary();
    assert!(
        summary["error"].as_str().unwrap().contains("stopped answering"),
        "{summary}"
    );
    assert!(run.stderr.contains("stopped answering"), "{}", run.stderr);
    assert!(!summary["interrupted_before"].is_null(), "{summary}");
    assert_eq!(
        problems(&summary, "failed", "space_skipped").len(),
        2,
        "{summary}"
    );
    let landed = run.count("reports_landed");
    assert!(landed > 0 && landed <= 60);
    // Landed reports are in tables, and are not requested again.
    assert!(!lake.rows("participants", &["call_id"]).await.is_empty());
    let again = recovers(&sim, &lake).await;
    assert_eq!(
        again.count("reports_landed") + landed,
        2 * sim.school().calls.len() as u64
    );
    assert_each_report_came_once(&sim);
}

#[tokio::test(flavor = "multi_thread")]
async fn if_the_api_dies_before_anything_landed_the_run_fails() {
    let (sim, lake) = (Simulator::start(large()).await.unwrap(), Lake::folder());
    sim.faults().order(Matcher::any().after(40), Failure::Reset);
    let run = impatient(&sim, &lake, &backfill(&long(&sim), &[]))
        .run()
        .await
        .expect(4);
    assert!(run.stderr.contains("stopped answering"), "{}", run.stderr);
    let failed = run.summary()["failed"].as_array().unwrap().len();
    assert!(failed < 500, "{failed} problems");
    recovers(&sim, &lake).await;
}

/// Asserts that every report was downloaded once, over all runs.
fn assert_each_report_came_once(sim: &Simulator) {
    let mut came = BTreeMap::<String, u32>::new();
    for seen in sim.requests() {
        if seen.endpoint == Endpoint::Report && seen.status == 200 {
            *came.entry(seen.query).or_default() += 1;
        }
    }
    assert_eq!(came.len(), 2 * sim.school().calls.len());
    let twice: Vec<_> = came.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_in_the_middle_ends_the_run_and_a_good_one_goes_on() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = Simulator::start(Options { rooms: 20, ..small() }).await.unwrap();
        let calls = sim.school().calls.len() as u64;
        sim.faults().order(
            Matcher::endpoint(Endpoint::Report).after(calls),
            Failure::Status(401),
        );
        let run = Telelake::against(&sim, &lake, &backfill(&long(&sim), &[]))
            .run()
            .await
            .expect(4);
        assert!(run.stderr.contains("the token is refused"), "{}", run.stderr);
        let refused = sim.requests().iter().filter(|seen| seen.status == 401).count();
        assert!(refused <= 16, "{refused} requests after the first refusal");
        assert!(run.count("reports_landed") >= calls / 2);
        recovers(&sim, &lake).await;
        assert_each_report_came_once(&sim);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_rooms_behind_a_limiter_without_retry_after_give_every_report() {
    let options = Options {
        spaces: 1,
        rooms: 40,
        empty_rooms: 0.0,
        calls_per_day: 1..=1,
        dates: small().dates[..1].to_vec(),
        rate_limit: Some(40),
        rate_window: Duration::from_secs(3),
        retry_after: RetryAfter::Unsaid,
        ..small()
    };
    let (sim, lake) = (Simulator::start(options).await.unwrap(), Lake::folder());
    // A 429 must not use up an attempt.
    let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &["--only", "analytics"]))
        .env("TELELAKE_API__RETRIES", "0")
        .run()
        .await
        .expect(0);
    assert!(sim.requests().iter().any(|seen| seen.status == 429));
    let calls = sim.school().calls.len();
    assert!(calls >= 40);
    assert_eq!(run.count("reports_landed"), 2 * calls as u64);
    let summary = run.summary();
    let limited = problems(&summary, "warnings", "rate_limited");
    assert_eq!(limited.len(), 1, "{summary}");
    let message = limited[0]["message"].as_str().unwrap();
    assert!(message.contains("set api.requests_per_second = "), "{message}");
    assert_eq!(problems(&summary, "failed", "space_skipped").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_asks_for_hours_is_left_to_the_next_run() {
    for failure in [
        Failure::TooMany(RetryAfter::Seconds(7200)),
        Failure::TooMany(RetryAfter::Date(7200)),
    ] {
        let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
        let call = sim.school().calls[0].id.clone();
        let report = Matcher::endpoint(Endpoint::Report).containing(&call);
        sim.faults().order(report, failure);
        let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
            .run()
            .await
            .expect(3);
        let summary = run.summary();
        let failed = summary["failed"].as_array().unwrap();
        assert_eq!(failed.len(), 2, "JSON and XLSX: {summary}");
        for problem in failed {
            assert_eq!(problem["call_id"], call.as_str(), "{problem}");
            let message = problem["message"].as_str().unwrap();
            assert!(message.contains("asks for a pause of"), "{message}");
        }
        let asked = sim.requests().iter().filter(|seen| seen.status == 429).count();
        assert_eq!(asked, 2, "each is asked for once");
        recovers(&sim, &lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_asks_for_hours_ends_the_run_and_keeps_what_landed() {
    let (sim, lake) = (Simulator::start(large()).await.unwrap(), Lake::folder());
    let later = Failure::TooMany(RetryAfter::Seconds(7200));
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Report).after(60), later.clone());
    sim.faults().order(Matcher::endpoint(Endpoint::Link), later);
    let run = Telelake::against(&sim, &lake, &backfill(&long(&sim), &[]))
        .run()
        .await
        .expect(3);
    let summary = run.summary();
    assert!(
        summary["error"].as_str().unwrap().contains("stopped answering"),
        "{summary}"
    );
    assert_eq!(problems(&summary, "failed", "rate_limited").len(), 1, "{summary}");
    assert!(run.count("reports_landed") > 0);
    let refused = sim.requests().iter().filter(|seen| seen.status == 429).count();
    assert!(refused < 50, "{refused} requests were sent in vain");
    recovers(&sim, &lake).await;
    assert_each_report_came_once(&sim);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_calls_itself_a_success_is_no_report() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let error = |code: &str| {
        let body = format!(r#"{{"message":"Внутренняя ошибка","code":{code}}}"#);
        Failure::Bytes(body.into_bytes())
    };
    let reports = || Matcher::endpoint(Endpoint::Report);
    let call = sim.school().calls[0].id.clone();
    sim.faults()
        .order(reports().containing(&call), error("\"internal_error\""));
    let run = impatient(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(3);
    let summary = run.summary();
    let failed = problems(&summary, "failed", "report_failed");
    assert_eq!(failed.len(), 2, "JSON and XLSX: {summary}");
    for problem in failed {
        assert_eq!(problem["call_id"], call.as_str(), "{problem}");
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains("answered an error as 200 OK"), "{problem}");
    }
    let of_call = |key: &String| key.starts_with("raw/reports/") && key.contains(&call);
    assert!(!lake.keys().await.keys().any(of_call));
    // A temporary one is retried, as the error that it is.
    sim.faults().clear();
    sim.faults().order(reports().first(1), error("500"));
    sim.faults().order(reports().first(1), error("\"oops\""));
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(sim.faults().hits(), 2);
    assert_whole(&lake, &sim, Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_under_pressure_gets_fewer_requests_and_nothing_is_lost() {
    let sim = Simulator::start(Options {
        rate_limit: Some(60),
        rooms: 10,
        ..small()
    })
    .await
    .unwrap();
    let lake = Lake::folder();
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &["--only", "analytics"]))
        .run()
        .await
        .expect(0);
    let refused = sim.requests().iter().filter(|seen| seen.status == 429).count();
    assert!(refused > 0);
    assert!(
        refused < sim.total_count() / 2,
        "{refused} of {} were too many",
        sim.total_count()
    );
    let calls = lake.rows("calls", &["call_id"]).await.len();
    assert_eq!(calls, sim.school().calls.len());
}
