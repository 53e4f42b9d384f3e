//! Two nights into whatever S3 server `TELELAKE_TEST_S3` names: what the program says of it, and that nothing is lost or
//! doubled. `make servers` starts some and asks for it.

use std::time::{Duration, Instant};

use telelake::simulator::{Options, Simulator};

use crate::reliability::compared::{Tally, tally};
use crate::reliability::tiny;
use crate::support::eventually::eventually_within;
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};
use crate::support::weed::weed;

const MEBIBYTE: u64 = 1 << 20;
/// The deadline of the first run, which may end by itself on a slow server.
const PATIENCE: Duration = Duration::from_secs(600);

fn school() -> Options {
    Options {
        recorded: 1.0,
        recording_size: 24 * MEBIBYTE,
        ..tiny()
    }
}

fn night(sim: &Simulator, lake: &Lake, date: usize) -> Telelake {
    let date = sim.options().dates[date].to_string();
    Telelake::against(sim, lake, &["--log-format", "json", "-q", "run", "--date", &date])
}

/// The kinds and texts of a run's warnings and failures, without duplicates.
fn told(finished: &Finished) -> Vec<String> {
    let first = finished.stdout.lines().next().unwrap_or_default();
    let Ok(summary) = serde_json::from_str::<serde_json::Value>(first) else {
        return finished.stderr.lines().map(ToOwned::to_owned).collect();
    };
    let lists = ["warnings", "failed"].map(|name| summary[name].as_array().cloned().unwrap_or_default());
    let of_store = |problem: &serde_json::Value| {
        let text = format!("{}: {}", problem["kind"].as_str()?, problem["message"].as_str()?);
        (text.contains("store") || text.contains("upload")).then_some(text)
    };
    let mut told: Vec<_> = lists.iter().flatten().filter_map(of_store).collect();
    told.sort();
    told.dedup();
    told
}

/// True if a checkpoint of a recording confirms stored bytes.
async fn under_way(lake: &Lake) -> bool {
    let Lake::S3 { bucket, .. } = lake else {
        return false;
    };
    let client = weed().await.client();
    for key in lake.keys().await.into_keys() {
        if !key.starts_with("_telelake/uploads/") {
            continue;
        }
        // The upload may have ended since it was listed.
        let object = client
            .get_object()
            .bucket(bucket)
            .key(format!("school/lake/{key}"))
            .send();
        let Ok(object) = object.await else { continue };
        let bytes = object
            .body
            .collect()
            .await
            .map(|body| body.into_bytes())
            .unwrap_or_default();
        let note: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if note["bytes"].as_u64() > Some(0) && note.get("finished").is_none() {
            return true;
        }
    }
    false
}

/// The name of the server; `None` if the test is not requested.
fn asked() -> Option<String> {
    let name = std::env::var("TELELAKE_TEST_S3_NAME").ok();
    if name.is_none() {
        println!("left out: `make servers` runs it");
    }
    name
}

#[test]
fn the_missing_features_of_a_server_are_named() {
    let Some(server) = asked() else { return };
    let report = crate::store::report();
    let held = report.iter().filter(|(_, held)| *held).count();
    println!("SOAK {server}: {held} of {} of the suite hold", report.len());
    for (name, _) in report.iter().filter(|(_, held)| !held) {
        println!("SOAK {server}: lacks: {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nights_with_a_kill_and_concurrent_runs() {
    let Some(server) = asked() else { return };
    let sim = Simulator::start(school()).await.unwrap();
    let lake = Lake::s3().await;
    let check = Telelake::against(&sim, &lake, &["check"]).run().await;
    for line in check.stdout.lines().filter(|line| line.contains("  store: ")) {
        println!("SOAK {server}: check: {line}");
    }

    let started = Instant::now();
    let mut child = night(&sim, &lake, 0).start();
    let mut killed = false;
    eventually_within(PATIENCE, "the first run ends or is killed", async || {
        if under_way(&lake).await {
            child.kill().await.unwrap();
            killed = true;
        }
        child.try_wait().unwrap().is_some()
    })
    .await;
    let (until_kill, resumed) = (started.elapsed(), Instant::now());
    let first = night(&sim, &lake, 0).run().await;
    let after_kill = resumed.elapsed();
    let (one, two) = tokio::join!(night(&sim, &lake, 1).run(), night(&sim, &lake, 1).run());
    let last = night(&sim, &lake, 1).run().await;
    let mut said: Vec<_> = [&first, &one, &two, &last].into_iter().flat_map(told).collect();
    said.sort();
    said.dedup();
    for line in said {
        println!("SOAK {server}: run: {line}");
    }
    let verify = Telelake::against(&sim, &lake, &["verify", "--deep"]).run().await;
    for line in verify.stdout.lines().chain(verify.stderr.lines()) {
        println!("SOAK {server}: verify: {line}");
    }
    let tally = tally(&lake, &sim, None, &server).await;
    let bytes: u64 = sim.school().records.iter().map(|record| record.size).sum();
    let served: u64 = sim
        .school()
        .records
        .iter()
        .map(|record| sim.bytes_served(&record.id))
        .sum();
    println!(
        "SOAK {server}: two nights, killed {killed} after {:.1} s, the next run took {:.1} s; exits {:?}; \
         {} of {} MiB of recordings were read again; verify --deep {}; {} lost, {} doubled, {} damaged; {} s",
        until_kill.as_secs_f64(),
        after_kill.as_secs_f64(),
        [first.status, one.status, two.status, last.status],
        served.saturating_sub(bytes) / MEBIBYTE,
        bytes / MEBIBYTE,
        verify.status,
        tally.lost,
        tally.doubled,
        tally.damaged,
        started.elapsed().as_secs(),
    );
    let client = weed().await.client();
    if let Lake::S3 { bucket, .. } = &lake
        && let Ok(left) = client.list_multipart_uploads().bucket(bucket).send().await
    {
        println!("SOAK {server}: {} uploads are left", left.uploads().len());
    }
    assert_eq!(tally, Tally::default());
    assert_eq!((last.status, verify.status), (0, 0), "{last:?}");
}
