//! The cost of landing and building many calls, and of the same days again without changes.

use std::time::Duration;

use telelake::simulator::Simulator;

use crate::report::{against_goal, figure, per_second, ratio, seconds, title};
use crate::school::{backfill, large, timed};
use crate::support::lake::Lake;

pub async fn measure() {
    let sim = Simulator::start(large(Duration::ZERO)).await.unwrap();
    let lake = Lake::folder();
    timed(backfill(&sim, &lake, &["--only", "analytics", "--dry-run"])).await;
    let walk = sim.total_count();

    title(
        "reports and tables",
        "the walk's school into a folder, no latency",
    );
    sim.clear_log();
    let (first, time) = timed(backfill(&sim, &lake, &["--only", "analytics"])).await;
    let calls = sim.school().calls.len() as u64;
    assert_eq!(first.count("calls"), calls);
    figure("calls", calls.to_string());
    figure("requests", sim.total_count().to_string());
    figure("writes", first.count("writes").to_string());
    figure("measured", seconds(time));
    figure("calls a second", format!("{:.0}", per_second(calls, time)));

    title("second run", "the same days, nothing new");
    sim.clear_log();
    let (second, again) = timed(backfill(&sim, &lake, &["--only", "analytics"])).await;
    let (requests, writes) = (sim.total_count(), second.count("writes"));
    let more = requests as f64 / walk as f64;
    figure("requests", requests.to_string());
    figure("requests of the walk", walk.to_string());
    against_goal("requests ÷ the walk's", ratio(more), "≤ 1.05", more <= 1.05);
    against_goal("writes", writes.to_string(), "0", writes == 0);
    figure("measured", seconds(again));
    figure(
        "measured ÷ first run",
        ratio(again.as_secs_f64() / time.as_secs_f64()),
    );
}
