//! A backfill by 1, 2 and 4 processes on this machine, over a slow API and from a slow host of recordings.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use telelake::simulator::{Oddities, Options, Simulator};

use crate::report::{ratio, seconds, title};
use crate::school::backfill;
use crate::support::lake::Lake;

const LATENCY: Duration = Duration::from_millis(100);
const COUNTS: [usize; 3] = [1, 2, 4];
/// The requests in flight that the API bears from all processes together, or from each.
const IN_FLIGHT: usize = 16;

pub async fn measure() {
    let sim = Simulator::start(Options {
        spaces: 3,
        rooms: 25,
        dates: telelake::simulator::days("2025-02-01".parse().unwrap(), 16),
        calls_per_day: 1..=1,
        recorded: 0.0,
        latency: LATENCY,
        ..Options::default()
    })
    .await
    .unwrap();
    title(
        "shards, a slow API",
        "3 spaces × 25 rooms × 16 days, 100 ms an answer",
    );
    println!("16 requests in flight in all:");
    compare(&sim, |_| IN_FLIGHT).await;
    println!("16 requests in flight in each process:");
    compare(&sim, |count| IN_FLIGHT * count).await;

    let sim = Simulator::start(Options {
        spaces: 2,
        rooms: 5,
        dates: telelake::simulator::days("2025-02-01".parse().unwrap(), 8),
        calls_per_day: 1..=1,
        recorded: 1.0,
        recording_size: 8 << 20,
        blob_speed: Some(4 << 20),
        odd: Oddities::none(),
        ..Options::default()
    })
    .await
    .unwrap();
    title(
        "shards, a slow host of recordings",
        "2 spaces × 5 rooms × 8 days, recordings of 8 MiB, 4 MiB/s for each download",
    );
    compare(&sim, |_| IN_FLIGHT).await;
}

/// Prints the wall time, the requests and the bytes of each number of processes, as multiples of those of one.
async fn compare(sim: &Simulator, in_flight: impl Fn(usize) -> usize) {
    let mut one = None;
    for count in COUNTS {
        let found = together(sim, count, in_flight(count)).await;
        let (wall, requests, bytes) = *one.get_or_insert(found);
        println!(
            "  {count} processes: {:>8} ({} of one), {} requests ({}), {} bytes of recordings ({})",
            seconds(found.0),
            ratio(found.0.as_secs_f64() / wall.as_secs_f64()),
            found.1,
            ratio(found.1 as f64 / requests as f64),
            found.2,
            ratio(found.2 as f64 / bytes.max(1) as f64),
        );
    }
}

/// A backfill by some processes at once: wall time, requests, and bytes of recordings.
async fn together(sim: &Simulator, count: usize, in_flight: usize) -> (Duration, u64, u64) {
    let lake = Lake::folder();
    let start = Instant::now();
    let runs = (0..count).map(|index| {
        let shard = format!("{index}/{count}");
        let run = backfill(sim, &lake, &["--shard", &shard]);
        run.env("TELELAKE_API__CONCURRENCY", &in_flight.to_string()).run()
    });
    let runs = join_all(runs).await;
    let wall = start.elapsed();
    let runs: Vec<_> = runs.into_iter().map(|run| run.expect(0)).collect();
    let sum = |name: &str| runs.iter().map(|run| run.count(name)).sum();
    (wall, sum("requests"), sum("recorded_bytes"))
}
