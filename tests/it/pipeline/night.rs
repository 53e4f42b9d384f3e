//! A nightly export into a folder and into S3: everything exactly once, and nothing the second time.

use chrono_tz::Tz;
use telelake::simulator::{Endpoint, Options, Simulator};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

/// 2 spaces × 200 rooms × 3 days, about 600 calls.
fn large() -> Options {
    Options {
        spaces: 2,
        rooms: 200,
        empty_rooms: 0.5,
        calls_per_day: 1..=1,
        recording_size: 8 << 10,
        ..Options::default()
    }
}

async fn whole_and_once(lake: Lake, options: Options) {
    let sim = Simulator::start(options).await.unwrap();
    let range = range(&sim);
    let run = Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_whole(&lake, &sim, Tz::UTC).await;
    assert_eq!(run.count("calls"), sim.school().calls.len() as u64);
    assert_eq!(run.summary()["failed"], serde_json::json!([]));
    assert_eq!(
        sim.leaked_tokens(),
        0,
        "a token went to the host of the recordings"
    );
    assert!(
        sim.most_in_flight() <= 16,
        "{} requests at once",
        sim.most_in_flight()
    );

    let before = lake.contents().await;
    sim.clear_log();
    let again = Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(again.count("writes"), 0);
    assert!(lake.contents().await == before, "a second run changed the lake");
    assert_eq!(
        [Endpoint::Report, Endpoint::Link, Endpoint::Blob].map(|endpoint| sim.count(endpoint)),
        [0; 3]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_calls_into_a_folder() {
    whole_and_once(Lake::folder(), large()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_calls_into_s3() {
    whole_and_once(Lake::s3().await, large()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_school_into_s3_over_https() {
    whole_and_once(Lake::s3_over_https().await, small()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_writes_no_file() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    let mut args = backfill(&range, &[]);
    Telelake::against(&sim, &lake, &args).run().await.expect(0);
    let written = lake.written();
    args[1] = "text";
    let again = Telelake::against(&sim, &lake, &args).run().await.expect(0);
    assert_eq!(lake.written(), written);
    assert!(again.stdout.contains("nothing new"), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_without_calls_on_the_dates_costs_no_request() {
    let sim = Simulator::start(Options {
        empty_rooms: 0.6,
        rooms: 20,
        ..small()
    })
    .await
    .unwrap();
    let lake = Lake::folder();
    let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &["--only", "analytics"]))
        .run()
        .await
        .expect(0);
    let school = sim.school();
    let silent: Vec<_> = school
        .rooms
        .iter()
        .filter(|room| {
            room.earlier_call_at.is_some() && !school.calls.iter().any(|call| call.room_id == room.id)
        })
        .collect();
    assert!(!silent.is_empty());
    assert!(run.count("rooms_skipped") >= silent.len() as u64);
    for room in silent {
        let asked = sim
            .requests()
            .into_iter()
            .filter(|seen| seen.query.contains(&room.id))
            .count();
        assert_eq!(asked, 0, "{room:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_run_covers_yesterday_and_all_open_days() {
    // The lessons were four and three days ago; tonight's run looks back one more day.
    let today = chrono::Utc::now().date_naive();
    let first = today - chrono::Days::new(4);
    let sim = Simulator::start(Options {
        dates: telelake::simulator::days(first, 2),
        ..small()
    })
    .await
    .unwrap();
    let late = sim.edit(|school| {
        school.calls[0].set_report(telelake::simulator::Report::Missing);
        school.calls[0].id.clone()
    });
    let lake = Lake::folder();
    let date = (first + chrono::Days::new(1)).to_string();
    let args = ["--log-format", "json", "run", "--date", &date];
    let first_night = Telelake::against(&sim, &lake, &args).run().await.expect(0);
    assert_eq!(first_night.count("reports_pending"), 2, "{}", first_night.stdout);
    assert_eq!(first_night.summary()["pending"][0]["call_id"], late.as_str());

    // The report appears, and a run over other dates lands it.
    sim.edit(|school| school.calls[0].set_report(telelake::simulator::Report::Whole));
    let args = ["--log-format", "json", "run"];
    let second_night = Telelake::against(&sim, &lake, &args)
        .env("TELELAKE_EXPORT__LOOKBACK_DAYS", "0")
        .run()
        .await
        .expect(0);
    assert_eq!(second_night.count("reports_landed"), 2, "{}", second_night.stdout);
    assert_whole(&lake, &sim, Tz::UTC).await;
    assert!(
        !lake
            .keys()
            .await
            .keys()
            .any(|key| key.starts_with("_telelake/open/"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_prints_the_plan() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    // A single request at a time, because the number of pages of a list depends on the lists before it.
    let plan = Telelake::against(&sim, &lake, &backfill(&range, &["--dry-run"]))
        .env("TELELAKE_API__CONCURRENCY", "1")
        .run()
        .await
        .expect(0);
    assert!(lake.keys().await.is_empty(), "{:?}", lake.keys().await);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    sim.clear_log();
    let run = Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .env("TELELAKE_API__CONCURRENCY", "1")
        .run()
        .await
        .expect(0);
    assert_eq!(plan["calls"], run.count("calls"));
    assert_eq!(plan["requests"], run.count("requests"));
    assert_eq!(plan["recording_bytes"], run.count("recorded_bytes"));
    let planned: std::collections::BTreeSet<_> = plan["days"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|day| day["files"].as_array().unwrap())
        .map(|file| file.as_str().unwrap().to_owned())
        .collect();
    let built: std::collections::BTreeSet<_> = lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.contains("/date=") && key.ends_with(".parquet"))
        .collect();
    assert!(built.is_subset(&planned), "{:?}", built.difference(&planned));
    // A second plan is empty.
    let plan = Telelake::against(&sim, &lake, &backfill(&range, &["--dry-run"]))
        .run()
        .await
        .expect(0);
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!((&plan["files"], &plan["recording_bytes"]), (&0.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn options_limit_a_backfill_or_force_it_again() {
    let (sim, lake) = (
        Simulator::start(Options { spaces: 2, ..small() }).await.unwrap(),
        Lake::folder(),
    );
    let range = range(&sim);
    let school = sim.school();
    let (space, room) = (school.calls[0].space_id.clone(), school.calls[0].room_id.clone());
    Telelake::against(
        &sim,
        &lake,
        &backfill(&range, &["--room", &room, "--only", "analytics"]),
    )
    .run()
    .await
    .expect(0);
    let rooms: std::collections::BTreeSet<_> = lake
        .rows("calls", &["room_id"])
        .await
        .into_iter()
        .map(|row| row["room_id"].clone())
        .collect();
    assert_eq!(rooms.into_iter().collect::<Vec<_>>(), [room]);
    assert_eq!(sim.count(Endpoint::Blob), 0);
    Telelake::against(&sim, &lake, &backfill(&range, &["--space", &space]))
        .run()
        .await
        .expect(0);
    let spaces: std::collections::BTreeSet<_> = lake
        .rows("calls", &["space_id"])
        .await
        .into_iter()
        .map(|row| row["space_id"].clone())
        .collect();
    assert_eq!(spaces.into_iter().collect::<Vec<_>>(), [space]);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_whole(&lake, &sim, Tz::UTC).await;

    sim.clear_log();
    let forced = Telelake::against(&sim, &lake, &backfill(&range, &["--force"]))
        .run()
        .await
        .expect(0);
    assert_eq!(sim.count(Endpoint::Report), 2 * school.calls.len());
    assert_eq!(forced.count("records_landed"), forced.count("records_done"));
    assert_whole(&lake, &sim, Tz::UTC).await;
}
