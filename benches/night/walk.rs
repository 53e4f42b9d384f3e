//! The walk, compared with the same requests at full concurrency.

use std::time::Duration;

use telelake::simulator::Simulator;

use crate::baseline;
use crate::report::{against_goal, figure, ratio, seconds, title};
use crate::school::{backfill, large, timed};
use crate::support::lake::Lake;

const LATENCY: Duration = Duration::from_millis(20);
const CONCURRENCY: u16 = 16;
const GOAL: f64 = 1.3;

pub async fn measure() {
    title(
        "walk",
        "2 spaces × 200 rooms × 3 days, 20 ms an answer, 16 requests at once",
    );
    let sim = Simulator::start(large(LATENCY)).await.unwrap();
    let walk = backfill(&sim, &Lake::folder(), &["--only", "analytics", "--dry-run"])
        .env("TELELAKE_API__CONCURRENCY", &CONCURRENCY.to_string());
    let (_, time) = timed(walk).await;
    let requests = u32::try_from(sim.total_count()).unwrap();
    let most = sim.most_in_flight();
    let bare = baseline::replay(&sim, CONCURRENCY.into()).await;
    let ideal = LATENCY * requests / u32::from(CONCURRENCY);
    let measured = time.as_secs_f64() / ideal.as_secs_f64();
    figure("requests", requests.to_string());
    figure("most in flight", most.to_string());
    figure("requests × latency ÷ 16", seconds(ideal));
    figure("a bare client", seconds(bare));
    figure("measured", seconds(time));
    figure(
        "measured ÷ bare client",
        ratio(time.as_secs_f64() / bare.as_secs_f64()),
    );
    against_goal(
        "measured ÷ ideal",
        ratio(measured),
        &format!("≤ {GOAL}"),
        measured <= GOAL,
    );
}
