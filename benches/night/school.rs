//! The schools of the measurements, and the program over all of their dates.

use std::time::{Duration, Instant};

use telelake::simulator::{Oddities, Options, Simulator};

use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// 2 spaces × 200 rooms × 3 days with about 600 calls.
pub fn large(latency: Duration) -> Options {
    Options {
        spaces: 2,
        rooms: 200,
        empty_rooms: 0.5,
        calls_per_day: 1..=1,
        latency,
        ..Options::default()
    }
}

/// A space with one busy day.
pub fn busy_day() -> Options {
    let defaults = Options::default();
    Options {
        spaces: 1,
        rooms: 12,
        dates: defaults.dates[..1].to_vec(),
        empty_rooms: 0.0,
        recording_size: 4096,
        odd: Oddities::none(),
        ..defaults
    }
}

/// A call with a recording of `bytes`.
pub fn one_recording(bytes: u64) -> Options {
    let defaults = Options::default();
    Options {
        spaces: 1,
        rooms: 1,
        dates: defaults.dates[..1].to_vec(),
        empty_rooms: 0.0,
        calls_per_day: 1..=1,
        recorded: 1.0,
        recording_size: bytes,
        odd: Oddities::none(),
        ..defaults
    }
}

/// The command `backfill` over all dates of the school.
pub fn backfill(sim: &Simulator, lake: &Lake, more: &[&str]) -> Telelake {
    let dates = &sim.options().dates;
    let (from, to) = (dates[0].to_string(), dates[dates.len() - 1].to_string());
    let mut args = vec!["--log-format", "json", "backfill", "--from", &from, "--to", &to];
    args.extend(more);
    Telelake::against(sim, lake, &args)
}

/// Runs the command, and measures from the start of the process to its end.
pub async fn timed(program: Telelake) -> (Finished, Duration) {
    let start = Instant::now();
    let finished = program.run().await.expect(0);
    (finished, start.elapsed())
}
