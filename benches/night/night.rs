//! A whole night, against the script in `benches/baseline/`, and a school with very many rooms.

use std::time::Duration;

use telelake::simulator::{Options, Simulator};

use crate::baseline;
use crate::child::{Measured, Program, median};
use crate::lessons::feed;
use crate::report::{Sides, against_goal, figure, mebibytes, ratio, seconds, title};
use crate::school::large;
use crate::support::lake::Lake;

pub const IN_FLIGHT: u32 = 16;
const LATENCY: Duration = Duration::from_millis(20);
const USERS: usize = 20;
const ROUNDS: usize = 3;
const MANY_LATENCY: Duration = Duration::from_millis(10);

/// One side of a comparison: its median run, and the requests that it sends.
pub struct Side {
    pub run: Measured,
    pub requests: u32,
}

impl Side {
    /// The time that its requests take if the server answers each after `latency`, always with 16 in flight.
    pub fn floor(&self, latency: Duration) -> Duration {
        latency * self.requests / IN_FLIGHT
    }

    pub fn wall_in(&self, unit: Duration) -> f64 {
        self.run.wall.as_secs_f64() / unit.as_secs_f64()
    }
}

pub async fn measure() {
    let sim = Simulator::start(large(LATENCY)).await.unwrap();
    let (feed, entries) = feed(&sim, USERS);
    let feed = feed.path().to_str().unwrap();
    title(
        "night",
        "2 spaces × 200 rooms × 3 days, JSON reports, lesson data, into a folder; 20 ms an answer, 16 in flight",
    );
    figure("calls", sim.school().calls.len().to_string());
    figure("lesson entries", entries.to_string());
    // The script with the margin finds a call whatever the API's dates mean, as telelake does by itself. If telelake is told
    // what they mean, both ask for the three dates alone.
    let [ours, told, script, plain] = rounds(
        &sim,
        async || Lake::folder(),
        async |which, lake| {
            let telelake = telelake(&sim, lake, feed);
            match which {
                0 => telelake.run().await,
                1 => telelake.env("TELELAKE_API__CALL_DATE", "UTC").run().await,
                2 => script(&sim, lake, feed, &["--margin"]).run().await,
                _ => script(&sim, lake, feed, &[]).run().await,
            }
        },
    )
    .await;
    let floor = ours.wall_in(ours.floor(LATENCY));
    figure("requests × latency ÷ 16", seconds(ours.floor(LATENCY)));
    against_goal("wall ÷ that", ratio(floor), "≤ 1.2", floor <= 1.2);
    against_goal(
        "peak memory",
        mebibytes(ours.run.peak_memory),
        "≤ 96 MiB",
        ours.run.peak_memory <= 96 << 20,
    );
    println!("  both find a call whatever `date` means: a date more on each side:");
    compare(&ours, &script).goals(0.75, 0.5).print();
    println!("  telelake with api.call_date = UTC:");
    compare(&told, &script).goals(0.6, 0.5).print();
    println!("  the same, and the script asks for the three dates alone too:");
    compare(&told, &plain).print();
}

/// Measures each of `N` sides several times in turn, so that a busy machine disturbs all of them. Each run gets a new lake.
/// The lakes stay until the end, because some file systems make new files slowly right after many were deleted.
pub async fn rounds<const N: usize>(
    sim: &Simulator,
    new_lake: impl AsyncFn() -> Lake,
    run: impl AsyncFn(usize, &Lake) -> Measured,
) -> [Side; N] {
    let mut lakes = Vec::new();
    let mut runs = [const { Vec::new() }; N];
    let mut requests = [0; N];
    for _ in 0..ROUNDS {
        for (which, runs) in runs.iter_mut().enumerate() {
            sim.clear_log();
            let lake = new_lake().await;
            runs.push(run(which, &lake).await);
            requests[which] = u32::try_from(sim.total_count()).unwrap();
            lakes.push(lake);
        }
    }
    for lake in lakes {
        lake.drop_whole().await;
    }
    let mut requests = requests.into_iter();
    runs.map(|runs| Side {
        run: median(runs),
        requests: requests.next().unwrap(),
    })
}

/// telelake over all dates of the school, with reports and lesson data and without recordings.
pub fn telelake(sim: &Simulator, lake: &Lake, feed: &str) -> Program {
    let dates = &sim.options().dates;
    let (from, to) = (dates[0].to_string(), dates[dates.len() - 1].to_string());
    telelake_over(sim, lake, feed, (&from, &to))
}

/// The same over some dates.
pub fn telelake_over(sim: &Simulator, lake: &Lake, feed: &str, (from, to): (&str, &str)) -> Program {
    Program::telelake(
        lake,
        &["backfill", "--from", from, "--to", to, "--only", "analytics"],
    )
    .env("TELELAKE_EXPORT__GIVE_UP", "100years")
    .env("TELELAKE_EXPORT__REPORTS", "json")
    .env("TELELAKE_API__BASE_URL", &sim.base_url())
    .env("TELELAKE_API__TOKEN", sim.token())
    .env("TELELAKE_API__CONCURRENCY", &IN_FLIGHT.to_string())
    .env("TELELAKE_META__FEEDS", &format!("file://{feed}"))
}

/// The script over the same dates.
pub fn script(sim: &Simulator, lake: &Lake, feed: &str, more: &[&str]) -> Program {
    let mut args = vec!["--lessons", feed];
    args.extend(more);
    Program::script(sim, lake, &args)
}

pub fn compare(ours: &Side, theirs: &Side) -> Sides {
    Sides::new(
        (ours.requests, theirs.requests),
        (ours.run.wall, theirs.run.wall),
        (ours.run.cpu, theirs.run.cpu),
        (ours.run.peak_memory, theirs.run.peak_memory),
    )
}

/// Measures one day of 10,000 rooms, a quarter of which have calls.
pub async fn measure_rooms() {
    let defaults = Options::default();
    let options = Options {
        rooms: 5_000,
        dates: defaults.dates[..1].to_vec(),
        empty_rooms: 0.75,
        calls_per_day: 1..=1,
        latency: MANY_LATENCY,
        ..defaults
    };
    let sim = Simulator::start(options).await.unwrap();
    let (feed, entries) = feed(&sim, 0);
    let feed = feed.path().to_str().unwrap();
    title(
        "rooms",
        "2 spaces × 5,000 rooms × 1 day, JSON reports, lesson data, into a folder; 10 ms an answer, 16 in flight",
    );
    figure("calls", sim.school().calls.len().to_string());
    figure("lesson entries", entries.to_string());
    let (lake, lake_of_script) = (Lake::folder(), Lake::folder());
    let run = telelake(&sim, &lake, feed).run().await;
    let ours = Side {
        run,
        requests: u32::try_from(sim.total_count()).unwrap(),
    };
    let bare = baseline::replay(&sim, IN_FLIGHT as usize).await;
    sim.clear_log();
    let run = script(&sim, &lake_of_script, feed, &["--margin"]).run().await;
    let script = Side {
        run,
        requests: u32::try_from(sim.total_count()).unwrap(),
    };
    let floor = ours.wall_in(ours.floor(MANY_LATENCY));
    figure("requests × latency ÷ 16", seconds(ours.floor(MANY_LATENCY)));
    figure("a bare client", seconds(bare));
    against_goal("wall ÷ floor", ratio(floor), "≤ 1.3", floor <= 1.3);
    figure("wall ÷ bare client", ratio(ours.wall_in(bare)));
    against_goal(
        "peak memory",
        mebibytes(ours.run.peak_memory),
        "≤ 128 MiB",
        ours.run.peak_memory <= 128 << 20,
    );
    compare(&ours, &script).print();
}
