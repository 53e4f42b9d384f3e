//! Recordings with broken transfers: whole and equal, or absent.

use std::time::Duration;

use telelake::simulator::{Endpoint, Failure, Matcher, Options, Simulator};

use super::{assert_no_upload_is_left, backfill, exported, range, small};
use crate::support::eventually::eventually;
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::{assert_whole, is_whole};

/// A school whose recordings take several parts.
fn school() -> Options {
    Options {
        rooms: 3,
        recording_size: 6 << 20,
        dates: small().dates[..1].to_vec(),
        ..small()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_transfers_resume_or_start_again() {
    for fault in [
        Failure::CutBody(3 << 20),
        Failure::Reset,
        Failure::Status(503),
        Failure::ExpireLink,
        Failure::NoLength,
        Failure::NoRange,
    ] {
        for lake in [Lake::folder(), Lake::s3().await] {
            let sim = Simulator::start(school()).await.unwrap();
            sim.faults()
                .order(Matcher::endpoint(Endpoint::Blob).first(2), fault.clone());
            exported(&sim, &lake, &[], 0).await;
            assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
            assert!(sim.faults().hits() > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_transfer_reads_no_byte_twice() {
    let (sim, lake) = (Simulator::start(school()).await.unwrap(), Lake::folder());
    let record = sim
        .school()
        .records
        .iter()
        .find(|record| is_whole(record))
        .unwrap()
        .clone();
    sim.faults().order(
        Matcher::endpoint(Endpoint::Blob).containing(&record.id).first(1),
        Failure::CutBody(3 << 20),
    );
    exported(&sim, &lake, &[], 0).await;
    let blobs: Vec<_> = sim
        .requests()
        .into_iter()
        .filter(|seen| seen.endpoint == Endpoint::Blob && seen.record.as_ref() == Some(&record.id))
        .collect();
    assert_eq!(blobs.len(), 2, "{blobs:?}");
    assert!(
        blobs[1]
            .range
            .as_ref()
            .is_some_and(|range| range.starts_with("bytes=") && range != "bytes=0-"),
        "{blobs:?}"
    );
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_gives_short_ranges_is_read_to_its_end() {
    let (sim, lake) = (Simulator::start(school()).await.unwrap(), Lake::folder());
    let blobs = || Matcher::endpoint(Endpoint::Blob);
    sim.faults().order(blobs().first(2), Failure::CutBody(2 << 20));
    sim.faults().order(blobs(), Failure::ShortRange(1 << 20));
    exported(&sim, &lake, &[], 0).await;
    assert!(sim.requests().iter().filter(|seen| seen.status == 206).count() > 2);
    assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_page_never_becomes_a_recording() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = Simulator::start(school()).await.unwrap();
        sim.faults()
            .order(Matcher::endpoint(Endpoint::Blob), Failure::Html);
        let run = exported(&sim, &lake, &[], 3).await;
        assert!(run.count("records_failed") > 0);
        assert!(
            run.summary()["failed"][0]["message"]
                .as_str()
                .unwrap()
                .contains("no MP4"),
            "{}",
            run.stdout
        );
        assert!(!lake.keys().await.keys().any(|key| key.ends_with(".mp4")));
        sim.faults().clear();
        exported(&sim, &lake, &[], 0).await;
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_boxes_are_incomplete_is_not_done() {
    // By HTTP each file is whole, because the host has no more of it.
    let ftyp = b"\0\0\0\x14ftypisom\0\0\x02\0isom".to_vec();
    assert_eq!(ftyp.len(), 20);
    for (fault, why) in [
        (Failure::Bytes(ftyp.clone()), "no box `moov`"),
        (
            Failure::Truncated((6 << 20) * 2 / 5),
            "its box `free` ends at byte",
        ),
        // A multipart upload is aborted, and its parts are freed.
        (Failure::Truncated(5_500_000), "its box `free` ends at byte"),
        (Failure::Truncated(36), "within the header of a box"),
    ] {
        for lake in [Lake::folder(), Lake::s3().await] {
            let sim = Simulator::start(school()).await.unwrap();
            sim.faults()
                .order(Matcher::endpoint(Endpoint::Blob), fault.clone());
            let run = exported(&sim, &lake, &[], 3).await;
            assert!(run.count("records_failed") > 0 && run.count("records_done") == 0);
            for problem in run.summary()["failed"].as_array().unwrap() {
                assert_eq!(problem["kind"], "record_failed", "{problem}");
                assert!(problem["message"].as_str().unwrap().contains(why), "{problem}");
            }
            assert!(!lake.keys().await.keys().any(|key| key.ends_with(".mp4")));
            assert_no_upload_is_left(&lake).await;
            sim.faults().clear();
            exported(&sim, &lake, &[], 0).await;
            assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_moov_comes_last_is_whole_whatever_its_file_size_says() {
    let of = |kind: &[u8; 4], content: usize| {
        let size = u32::try_from(8 + content).unwrap();
        [&size.to_be_bytes()[..], kind, &vec![7; content]].concat()
    };
    let file = [of(b"ftyp", 12), of(b"mdat", 50_000), of(b"moov", 900)].concat();
    let (sim, lake) = (Simulator::start(school()).await.unwrap(), Lake::folder());
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Blob), Failure::Bytes(file.clone()));
    let run = exported(&sim, &lake, &[], 0).await;
    let done = run.count("records_done");
    assert!(done > 0);
    let warnings = run.summary()["warnings"].clone();
    let differ = warnings.as_array().unwrap().iter();
    let differ = differ.filter(|warning| warning["kind"] == "file_size_differs");
    assert_eq!(differ.count() as u64, done, "{warnings}");
    for key in lake.keys().await.into_keys().filter(|key| key.ends_with(".mp4")) {
        assert_eq!(lake.get(&key).await, file);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_stays_broken_shows_no_file_and_the_next_run_resumes_it() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = Simulator::start(school()).await.unwrap();
        // Each transfer sends a part, breaks, and never goes on.
        let count = sim
            .school()
            .records
            .iter()
            .filter(|record| is_whole(record))
            .count();
        let blobs = || Matcher::endpoint(Endpoint::Blob);
        sim.faults()
            .order(blobs().first(count as u64), Failure::CutBody(5_500_000));
        sim.faults().order(blobs(), Failure::Status(500));
        let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
            .env("TELELAKE_API__RETRIES", "1")
            .run()
            .await
            .expect(3);
        assert!(run.count("records_failed") > 0);
        let keys = lake.keys().await;
        let files = keys.keys().filter(|key| key.ends_with(".mp4")).count();
        assert_eq!(files as u64, run.count("records_done"));
        sim.faults().clear();
        sim.clear_log();
        exported(&sim, &lake, &[], 0).await;
        for seen in sim
            .requests()
            .iter()
            .filter(|seen| seen.endpoint == Endpoint::Blob)
        {
            assert!(seen.range.is_some(), "{seen:?} was read from the start");
        }
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_below_the_size_of_the_recording() {
    // A recording of 300 MiB is more than the program may ever hold.
    let options = Options {
        recording_size: 300 << 20,
        recorded: 1.0,
        rooms: 2,
        ..school()
    };
    let sim = Simulator::start(options).await.unwrap();
    sim.edit(|school| school.records.retain(is_whole));
    sim.edit(|school| school.records.truncate(1));
    assert_eq!(sim.school().records.len(), 1);
    let lake = Lake::s3().await;
    let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .env("TELELAKE_STORE__S3__PART_SIZE", "16MiB")
        .run()
        .await
        .expect(0);
    assert_eq!(run.count("records_landed"), 1);
    assert!(
        run.peak_memory > 0 && run.peak_memory < 200 << 20,
        "{} MiB",
        run.peak_memory >> 20
    );
    assert!(
        run.disk_written < 1 << 20,
        "{} bytes went to the local disk",
        run.disk_written
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_ends_cleanly_and_the_next_one_finishes() {
    for lake in [Lake::folder(), Lake::s3().await] {
        let sim = Simulator::start(school()).await.unwrap();
        sim.faults().order(
            Matcher::endpoint(Endpoint::Blob),
            Failure::StallBody(2 << 20, Duration::from_secs(600)),
        );
        let range = range(&sim);
        let child = Telelake::against(&sim, &lake, &backfill(&range, &[])).start();
        eventually("the download stalls", async || sim.faults().hits() > 0).await;
        let id = child.id().unwrap().to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let summary: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
        assert_eq!(summary["outcome"], "partial");
        let keys = lake.keys().await;
        assert!(!keys.keys().any(|key| key.ends_with(".mp4")));
        sim.faults().clear();
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .run()
            .await
            .expect(0);
        assert_whole(&lake, &sim, chrono_tz::Tz::UTC).await;
        assert_no_upload_is_left(&lake).await;
    }
}
