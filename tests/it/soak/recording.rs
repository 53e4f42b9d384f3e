//! A large recording into S3, by a process that is killed ten times on the way.

use std::time::Instant;

use sha2::{Digest, Sha256};
use telelake::simulator::{Oddities, Options, Simulator};

use crate::pipeline::{assert_no_upload_is_left, backfill, range, small};
use crate::support::eventually::eventually;
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::weed::weed;

const SIZE: u64 = 4 << 30;
const KILLS: u64 = 10;
/// The defaults of the configuration; the lake of the tests sets smaller parts.
const PART: u64 = 8 << 20;
const PARTS_IN_FLIGHT: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_4_gib_that_is_killed_ten_times_is_whole_and_read_about_once() {
    if super::asked().is_none() {
        return;
    }
    let sim = Simulator::start(Options {
        rooms: 1,
        empty_rooms: 0.0,
        calls_per_day: 1..=1,
        recorded: 1.0,
        recording_size: SIZE,
        dates: small().dates[..1].to_vec(),
        odd: Oddities::none(),
        ..small()
    })
    .await
    .unwrap();
    let record = sim.school().records[0].clone();
    let lake = Lake::s3().await;
    let started = Instant::now();
    let mut lost = Vec::new();
    for kill in 1..=KILLS {
        let mut child = program(&sim, &lake).start();
        eventually("the next part of the recording is served", async || {
            assert_eq!(child.try_wait().unwrap(), None, "the run ended by itself");
            sim.bytes_served(&record.id) >= kill * SIZE / (KILLS + 1)
        })
        .await;
        child.kill().await.unwrap();
        // Bytes that the dead process requested and did not store are requested again.
        let (served, stored) = (sim.bytes_served(&record.id), noted(&lake).await);
        lost.push(
            served
                .saturating_sub(lost.iter().sum::<u64>())
                .saturating_sub(stored),
        );
    }
    program(&sim, &lake).run().await.expect(0);
    let served = sim.bytes_served(&record.id);
    println!(
        "SOAK one recording of {} MiB, {KILLS} kills, {:.1} s: {:.1} MiB were read again, {:.1} MiB a kill; each: {:?} MiB",
        record.size >> 20,
        started.elapsed().as_secs_f64(),
        mib(served - record.size),
        mib(served - record.size) / KILLS as f64,
        lost.iter().map(|bytes| mib(*bytes).round()).collect::<Vec<_>>(),
    );
    // Parts beyond the checkpoint, the part being filled, and the socket buffers.
    let most = KILLS * (2 * PARTS_IN_FLIGHT + 2) * PART;
    assert!(served - record.size <= most, "{served} bytes were read");
    assert_eq!(Some(sha256(&lake).await), sim.record_sha256(&record.id));
    assert_no_upload_is_left(&lake).await;
}

fn program(sim: &Simulator, lake: &Lake) -> Telelake {
    Telelake::against(sim, lake, &backfill(&range(sim), &[]))
        .env("TELELAKE_STORE__S3__PART_SIZE", &format!("{PART}B"))
        .env(
            "TELELAKE_STORE__S3__PARTS_IN_FLIGHT",
            &PARTS_IN_FLIGHT.to_string(),
        )
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The number of bytes that the checkpoint confirms.
async fn noted(lake: &Lake) -> u64 {
    for key in lake.keys().await.into_keys() {
        if key.starts_with("_telelake/uploads/") {
            return lake.json(&key).await["bytes"].as_u64().unwrap();
        }
    }
    0
}

/// The SHA-256 of the recording, read in pieces.
async fn sha256(lake: &Lake) -> String {
    let Lake::S3 { bucket, .. } = lake else {
        panic!("it lies in S3")
    };
    let key = lake
        .keys()
        .await
        .into_keys()
        .find(|key| key.ends_with(".mp4"))
        .unwrap();
    let request = weed().await.client().get_object().bucket(bucket);
    let mut body = request
        .key(format!("school/lake/{key}"))
        .send()
        .await
        .unwrap()
        .body;
    let mut hasher = Sha256::new();
    while let Some(piece) = body.try_next().await.unwrap() {
        hasher.update(&piece);
    }
    hex::encode(hasher.finalize())
}
