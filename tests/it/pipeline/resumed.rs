//! Recordings that one process begins and another finishes, after a kill, a stop or a failure, in both stores. The
//! requests to the source show which bytes were read again.

use std::time::Duration;

use telelake::simulator::{
    AnsweredRequest, Endpoint, Failure, Matcher, Oddities, Options, Record, Simulator,
};
use tokio::process::Child;

use super::{assert_no_upload_is_left, backfill, range, small, uploads};
use crate::support::eventually::eventually;
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

const MIB: u64 = 1 << 20;
/// The part size of the lakes.
const PART: u64 = 5 * MIB;
const SIZE: u64 = 24 * MIB;
/// The offset at which the source stalls, in the fourth part.
const STOP: u64 = 17 * MIB;
const FOREVER: Duration = Duration::from_secs(600);

/// Calls on one date, each with a recording.
fn school(calls: u32) -> Options {
    Options {
        rooms: 1,
        empty_rooms: 0.0,
        calls_per_day: calls..=calls,
        recorded: 1.0,
        recording_size: SIZE,
        dates: small().dates[..1].to_vec(),
        odd: Oddities::none(),
        ..small()
    }
}

async fn one_recording() -> (Simulator, Record) {
    let sim = Simulator::start(school(1)).await.unwrap();
    let record = sim.school().records[0].clone();
    assert_eq!(sim.school().records.len(), 1);
    (sim, record)
}

async fn lakes() -> [Lake; 2] {
    [Lake::folder(), Lake::s3().await]
}

fn run(sim: &Simulator, lake: &Lake) -> Telelake {
    Telelake::against(sim, lake, &backfill(&range(sim), &[]))
}

fn blobs() -> Matcher {
    Matcher::endpoint(Endpoint::Blob)
}

/// The requests to the host of the recordings.
fn asked(sim: &Simulator) -> Vec<AnsweredRequest> {
    let mut seen = sim.requests();
    seen.retain(|seen| seen.endpoint == Endpoint::Blob);
    seen
}

/// The offset at which the only download began.
#[track_caller]
fn offset(sim: &Simulator) -> u64 {
    let seen = asked(sim);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let range = seen[0].range.as_deref().unwrap_or("bytes=0-");
    range
        .trim_start_matches("bytes=")
        .trim_end_matches('-')
        .parse()
        .unwrap()
}

/// The number of bytes that the checkpoints of the lake confirm.
async fn noted(lake: &Lake) -> u64 {
    let mut bytes = 0;
    for key in lake.keys().await.into_keys() {
        if key.starts_with("_telelake/uploads/") {
            bytes += lake.json(&key).await["bytes"].as_u64().unwrap();
        }
    }
    bytes
}

/// The least number of confirmed bytes once the source stalls: whole parts, or steps of a little over 4 MiB.
fn stored(lake: &Lake) -> u64 {
    match lake {
        Lake::Folder(_) => STOP - PART + 1,
        Lake::S3 { .. } => 3 * PART,
    }
}

/// A run that waits for a stalled source without a timeout.
fn patient(sim: &Simulator, lake: &Lake) -> Telelake {
    run(sim, lake).env("TELELAKE_API__TIMEOUT", "600s")
}

/// Starts a run whose source stalls at [`STOP`], and waits until the bytes before it are stored.
async fn start_and_stop_the_source(sim: &Simulator, lake: &Lake) -> Child {
    sim.faults()
        .order(blobs().first(1), Failure::StallBody(STOP, FOREVER));
    let child = patient(sim, lake).start();
    eventually("the bytes before the stall are stored", async || {
        noted(lake).await >= stored(lake)
    })
    .await;
    child
}

async fn kill(mut child: Child) {
    child.kill().await.unwrap();
}

/// Kills a run in the middle of its recording.
async fn kill_in_the_middle(sim: &Simulator, lake: &Lake) {
    kill(start_and_stop_the_source(sim, lake).await).await;
    sim.clear_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recording_of_a_killed_run_is_resumed() {
    for lake in lakes().await {
        let (sim, record) = one_recording().await;
        kill_in_the_middle(&sim, &lake).await;
        // Links are valid for a day at most, and none is stored.
        sim.expire_links();
        let keys = lake.keys().await;
        let marked = |key: &String| key.starts_with("_telelake/open/");
        assert!(
            keys.keys().any(marked),
            "the next night would not come back to the day"
        );
        for key in keys.keys().filter(|key| key.starts_with("_telelake/uploads/")) {
            let note = lake.json(key).await.to_string();
            assert!(!note.contains("blob") && !note.contains("http"), "{note}");
            assert!(!note.contains(&record.name), "{note}");
        }
        run(&sim, &lake).run().await.expect(0);
        let from = offset(&sim);
        assert!((STOP - PART..STOP).contains(&from), "read again from {from}");
        assert!(sim.bytes_served(&record.id) <= SIZE - from);
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
        let again = run(&sim, &lake).run().await.expect(0);
        assert_eq!(again.count("writes"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_interrupted_by_many_kills_is_read_about_once() {
    for lake in lakes().await {
        let (sim, record) = one_recording().await;
        let mut before = 0;
        for at in [6 * MIB, 6 * MIB, 6 * MIB] {
            sim.faults().clear();
            sim.faults().order(blobs(), Failure::StallBody(at, FOREVER));
            let child = patient(&sim, &lake).start();
            eventually("four more MiB are stored", async || {
                noted(&lake).await >= before + 4 * MIB
            })
            .await;
            before = noted(&lake).await;
            kill(child).await;
        }
        sim.faults().clear();
        run(&sim, &lake).run().await.expect(0);
        let again = sim.bytes_served(&record.id) - record.size;
        assert!(again <= 3 * PART, "{again} bytes were read again");
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_leaves_its_parts_to_the_next_one() {
    for lake in lakes().await {
        let (sim, _) = one_recording().await;
        let child = start_and_stop_the_source(&sim, &lake).await;
        let id = child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        // The upload is released, so that another machine needs no proof that its process is dead.
        for key in lake.keys().await.into_keys() {
            if key.starts_with("_telelake/uploads/") {
                assert_eq!(lake.json(&key).await.get("driver"), None);
            }
        }
        sim.clear_log();
        run(&sim, &lake).run().await.expect(0);
        let from = offset(&sim);
        assert!((STOP - PART..=STOP).contains(&from), "read again from {from}");
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_stored_before_a_kill_is_not_read_again() {
    for lake in lakes().await {
        let sim = Simulator::start(school(2)).await.unwrap();
        let records = sim.school().records.clone();
        assert_eq!(records.len(), 2);
        // A recording stalls, so that the day does not end.
        let stopped = &records[1].id;
        sim.faults()
            .order(blobs().containing(stopped), Failure::StallBody(STOP, FOREVER));
        let child = patient(&sim, &lake).start();
        let whole = async || {
            let keys = lake.keys().await;
            keys.keys()
                .any(|key| key.ends_with(".mp4") && key.contains(&records[0].id))
        };
        eventually("the first recording is stored", whole).await;
        kill(child).await;
        sim.faults().clear();
        sim.clear_log();
        run(&sim, &lake).run().await.expect(0);
        assert_eq!(sim.bytes_served(&records[0].id), 0);
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_at_the_source_is_read_from_the_start() {
    for lake in lakes().await {
        let (sim, _) = one_recording().await;
        kill_in_the_middle(&sim, &lake).await;
        // The API's description of the record stays the same.
        sim.edit(|school| {
            school.records[0].size += 4096;
        });
        run(&sim, &lake).run().await.expect(0);
        assert_eq!(asked(&sim)[0].status, 200, "another ETag");
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_record_is_read_from_the_start() {
    for lake in lakes().await {
        let (sim, _) = one_recording().await;
        kill_in_the_middle(&sim, &lake).await;
        sim.edit(|school| {
            let record = &mut school.records[0];
            record.finished_at = record.finished_at.map(|at| at + chrono::TimeDelta::minutes(1));
        });
        run(&sim, &lake).run().await.expect(0);
        assert_eq!(offset(&sim), 0);
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_ranges_is_read_from_the_start() {
    for lake in lakes().await {
        let (sim, record) = one_recording().await;
        kill_in_the_middle(&sim, &lake).await;
        sim.faults().order(blobs(), Failure::NoRange);
        run(&sim, &lake).run().await.expect(0);
        assert_eq!(sim.bytes_served(&record.id), SIZE);
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_damaged_checkpoint_costs_only_bytes() {
    for damage in [None, Some("{")] {
        for lake in lakes().await {
            let (sim, _) = one_recording().await;
            kill_in_the_middle(&sim, &lake).await;
            for key in lake.keys().await.into_keys() {
                if key.starts_with("_telelake/uploads/") {
                    match damage {
                        None => lake.remove(&key).await,
                        Some(damage) => lake.put(&key, damage).await,
                    }
                }
            }
            run(&sim, &lake).run().await.expect(0);
            assert_eq!(offset(&sim), 0);
            assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
            assert_no_upload_is_left(&lake).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_gone_leaves_no_upload() {
    for lake in lakes().await {
        for (endpoint, failure) in [
            (Endpoint::Link, Failure::Status(403)),
            (Endpoint::Blob, Failure::Status(403)),
            (Endpoint::Link, Failure::Status(404)),
        ] {
            let (sim, _) = one_recording().await;
            kill_in_the_middle(&sim, &lake).await;
            sim.faults().order(Matcher::endpoint(endpoint), failure);
            run(&sim, &lake).run().await;
            assert_no_upload_is_left(&lake).await;
            let keys = lake.keys().await;
            assert!(!keys.keys().any(|key| key.ends_with(".mp4")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_without_a_waiting_record_are_aborted_and_others_stay() {
    for lake in lakes().await {
        let (sim, _) = one_recording().await;
        kill_in_the_middle(&sim, &lake).await;
        if let Lake::S3 { bucket, .. } = &lake {
            // The upload of an object that this program never writes in parts, without a checkpoint.
            let client = crate::support::weed::started().client();
            let request = client.create_multipart_upload().bucket(bucket);
            request.key("school/lake/calls/x.parquet").send().await.unwrap();
        }
        // A run without recordings to copy.
        let args = backfill(&range(&sim), &["--only", "analytics"]).join(" ");
        let args: Vec<_> = args.split(' ').collect();
        Telelake::against(&sim, &lake, &args).run().await.expect(0);
        assert_eq!(uploads(&lake).await, usize::from(matches!(lake, Lake::S3 { .. })));
        assert!(noted(&lake).await > 0);
        // A run with recordings switched off.
        run(&sim, &lake)
            .env("TELELAKE_EXPORT__RECORDINGS", "false")
            .run()
            .await
            .expect(0);
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_runs_do_not_disturb_each_other() {
    for lake in lakes().await {
        let (sim, record) = one_recording().await;
        let first = start_and_stop_the_source(&sim, &lake).await;
        sim.clear_log();
        run(&sim, &lake).run().await.expect(0);
        assert_eq!(offset(&sim), 0, "the other's upload was taken");
        assert!(
            noted(&lake).await >= stored(&lake),
            "the other's upload was swept"
        );

        // The source breaks and comes back, and the first run goes on with its own upload.
        let address = sim.address();
        sim.stop().await;
        let sim = Simulator::start(Options {
            listen: address,
            ..school(1)
        })
        .await
        .unwrap();
        let output = first.wait_with_output().await.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert!(sim.bytes_served(&record.id) <= SIZE - stored(&lake));
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_too_slow_is_interrupted_and_resumed() {
    for lake in lakes().await {
        let (sim, record) = one_recording().await;
        // 5 KiB/s never hits the timeout, but needs 80 minutes for the rest.
        let drip = Failure::Drip(STOP, Duration::from_millis(200));
        sim.faults().order(blobs().first(1), drip.clone());
        run(&sim, &lake)
            .env("TELELAKE_API__TIMEOUT", "3s")
            .run()
            .await
            .expect(0);
        assert!(asked(&sim).len() > 1);
        assert!(sim.bytes_served(&record.id) < SIZE + MIB);
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;

        // A source that stays slow fails with a message, and the bytes so far are kept.
        let lake = match lake {
            Lake::Folder(_) => Lake::folder(),
            Lake::S3 { .. } => Lake::s3().await,
        };
        sim.faults().clear();
        sim.faults().order(blobs().first(1), drip);
        sim.faults()
            .order(blobs(), Failure::Drip(0, Duration::from_millis(200)));
        let failed = run(&sim, &lake)
            .env("TELELAKE_API__TIMEOUT", "3s")
            .env("TELELAKE_API__RETRIES", "1")
            .run()
            .await
            .expect(3);
        let why = failed.summary()["failed"][0]["message"].to_string();
        assert!(why.contains("too slowly"), "{why}");
        sim.faults().clear();
        sim.clear_log();
        run(&sim, &lake).run().await.expect(0);
        assert!(offset(&sim) >= stored(&lake));
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    }
}
