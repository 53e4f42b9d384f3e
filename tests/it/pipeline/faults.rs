//! A run that meets every fault of the simulator gives the lake of an undisturbed run.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use chrono_tz::Tz;
use telelake::simulator::{
    Endpoint, Failure, Matcher, Oddities, Options, Paging, RetryAfter, Simulator, Window,
};

use super::{backfill, range, small};
use crate::support::lake::{Lake, Row};
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

const COVERAGE: [&str; 14] = [
    "space_id",
    "room_id",
    "calls",
    "calls_pending",
    "reports_done",
    "reports_pending",
    "reports_failed",
    "reports_denied",
    "records_done",
    "records_pending",
    "records_failed",
    "recorded_bytes",
    "complete",
    "reason",
];

fn school() -> Options {
    Options {
        rooms: 8,
        recording_size: 400_000,
        recorded: 1.0,
        odd: Oddities {
            wrong_file_size: true,
            ..Oddities::default()
        },
        ..small()
    }
}

/// The data that readers see: every file except those with the time of the run, and their rows without it.
async fn seen(lake: &Lake) -> (BTreeMap<String, Bytes>, [Vec<Row>; 2]) {
    let mut files = lake.contents().await;
    let has_times = |key: &str| {
        ["_telelake/", "coverage/", "days/"]
            .iter()
            .any(|start| key.starts_with(start))
    };
    files.retain(|key, _| !has_times(key));
    let rows = [
        lake.rows("coverage", &COVERAGE).await,
        lake.rows(
            "days",
            &[
                "space_id",
                "complete",
                "calls",
                "reports_done",
                "records_done",
                "fingerprint",
            ],
        )
        .await,
    ];
    (files, rows)
}

/// Empties a folder for the next lake, so that it has the same URL.
fn empty(lake: &Lake) {
    let Lake::Folder(folder) = lake else {
        panic!("a folder is emptied")
    };
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

async fn run(sim: &Simulator, lake: &Lake) {
    let range = range(sim);
    Telelake::against(sim, lake, &backfill(&range, &[]))
        .env("TELELAKE_API__TIMEOUT", "2s")
        .env("TELELAKE_API__RETRIES", "10")
        .run()
        .await
        .expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_server_does_the_lake_is_that_of_an_undisturbed_run() {
    let lake = Lake::folder();
    let sim = Simulator::start(school()).await.unwrap();
    run(&sim, &lake).await;
    assert_whole(&lake, &sim, Tz::UTC).await;
    let expected = seen(&lake).await;
    sim.stop().await;
    empty(&lake);

    // The same school behind a server in a bad state, whose links are good for two requests.
    let sim = Simulator::start(Options {
        paging: Paging::of(Window::Overlapping(3)),
        link_uses: Some(2),
        ..school()
    })
    .await
    .unwrap();
    let of_transfers = vec![
        Failure::CutBody(150_000),
        Failure::Reset,
        Failure::NoRange,
        Failure::ExpireLink,
        Failure::NoLength,
        Failure::ShortRange(50_000),
        Failure::Status(503),
        Failure::BadGateway,
        Failure::TooMany(RetryAfter::Seconds(1)),
        Failure::StallBody(100_000, Duration::from_secs(600)),
    ];
    let of_answers = vec![
        Failure::Status(500),
        Failure::BadGateway,
        Failure::TooMany(RetryAfter::Seconds(1)),
        Failure::TooMany(RetryAfter::Date(1)),
        Failure::TooMany(RetryAfter::Unsaid),
        Failure::Status(503),
        Failure::Reset,
        Failure::CutBody(50),
        Failure::StallBody(20, Duration::from_secs(600)),
        Failure::Stall(Duration::from_secs(600)),
    ];
    let (transfers, answers) = (of_transfers.len(), of_answers.len());
    sim.faults()
        .order_mixed(Matcher::endpoint(Endpoint::Blob).every(3), of_transfers);
    sim.faults().order_mixed(Matcher::any().every(7), of_answers);
    run(&sim, &lake).await;
    let hits = |blob: bool| {
        let requests = sim.requests().into_iter();
        requests
            .filter(|seen| seen.faulty && (seen.endpoint == Endpoint::Blob) == blob)
            .count()
    };
    assert!(
        hits(true) >= transfers,
        "not every fault of transfers was met: {}",
        hits(true)
    );
    assert!(
        hits(false) >= answers,
        "not every fault of answers was met: {}",
        hits(false)
    );
    let (files, coverage) = seen(&lake).await;
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        expected.0.keys().collect::<Vec<_>>()
    );
    for (key, bytes) in &files {
        assert!(*bytes == expected.0[key], "{key} differs");
    }
    assert_eq!(coverage, expected.1);
}
