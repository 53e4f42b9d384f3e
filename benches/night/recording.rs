//! A recording that is larger than the memory of the program: bytes in flight, not on local disks.

use telelake::simulator::Simulator;

use crate::baseline;
use crate::report::{against_goal, figure, mebibytes, per_second, ratio, seconds, speed, title};
use crate::school::{backfill, one_recording, timed};
use crate::support::lake::Lake;

const SIZE: u64 = 2 << 30;
/// The default of the configuration; the lake of the tests sets a smaller size.
const PART_SIZE: usize = 8 << 20;
const PARTS_IN_FLIGHT: usize = 4;
const MOST_MEMORY: u64 = 80 << 20;
/// The bytes that a file system writes by itself, too few for a recording.
const MOST_DISK: u64 = 1 << 20;

pub async fn measure() {
    let s3 = Lake::s3().await;
    let alone = baseline::into_s3(&s3, PART_SIZE, PARTS_IN_FLIGHT).await;
    title("recording into S3", "one of 2 GiB, into SeaweedFS");
    let written = transfer(&s3, alone).await;
    against_goal(
        "written to local disks",
        mebibytes(written),
        "0",
        written < MOST_DISK,
    );

    let folder = Lake::folder();
    let alone = baseline::into_folder(&folder, PART_SIZE).await;
    title("recording into a folder", "one of 2 GiB");
    // Proves that the measurement above counts.
    figure(
        "written to local disks",
        mebibytes(transfer(&folder, alone).await),
    );
}

/// Copies the recording into the lake, and prints all figures except the bytes written to local disks.
async fn transfer(lake: &Lake, alone: f64) -> u64 {
    let sim = Simulator::start(one_recording(SIZE)).await.unwrap();
    assert_eq!(sim.school().records.len(), 1);
    let program = backfill(&sim, lake, &[]).env("TELELAKE_STORE__S3__PART_SIZE", &format!("{}B", PART_SIZE));
    let (run, time) = timed(program).await;
    assert_eq!(run.count("records_landed"), 1);
    let keys = lake.keys().await;
    let (_, bytes) = keys.iter().find(|(key, _)| key.ends_with(".mp4")).unwrap();
    assert_eq!(*bytes, SIZE);

    let reached = per_second(*bytes, time);
    figure("bytes", bytes.to_string());
    figure("measured", seconds(time));
    figure("speed", speed(reached));
    figure("the store alone", speed(alone));
    figure("speed ÷ the store's", ratio(reached / alone));
    against_goal(
        "peak memory",
        mebibytes(run.peak_memory),
        "≤ 80 MiB",
        run.peak_memory <= MOST_MEMORY,
    );
    run.disk_written
}
