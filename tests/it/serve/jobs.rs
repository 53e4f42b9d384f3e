//! Scheduled runs, jobs on demand, and the work that is left when the daemon stops.

use chrono::Days;
use chrono_tz::Tz;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use telelake::simulator::{Endpoint, Event, Failure, Matcher, Options, Simulator, days};

use super::{SECRET, send};
use crate::pipeline::small;
use crate::support::daemon::{Plan, metric};
use crate::support::eventually::eventually_some;
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

/// A school with lessons the day before yesterday, which the nightly run covers at any hour.
fn of_late() -> Options {
    let today = chrono::Utc::now().date_naive();
    Options {
        dates: days(today - Days::new(2), 1),
        ..small()
    }
}

async fn runs(lake: &Lake) -> Vec<Value> {
    let mut runs = Vec::new();
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("_telelake/runs/"))
    {
        runs.push(lake.json(&key).await);
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_run_is_caught_up_once() {
    let (sim, lake) = (Simulator::start(of_late()).await.unwrap(), Lake::folder());
    let once = || {
        Telelake::against(&sim, &lake, &["serve", "--once"])
            .env("TELELAKE_SCHEDULE__CRON", "0 0 * * *")
            .run()
    };
    once().await.expect(0);
    assert_whole(&lake, &sim, Tz::UTC).await;
    assert_eq!(runs(&lake).await.len(), 1);
    once().await.expect(0);
    let made = runs(&lake).await;
    // At midnight a second run may be due.
    let midnights: std::collections::BTreeSet<_> = made.iter().map(|run| run["to"].to_string()).collect();
    assert_eq!(made.len(), midnights.len());
    let off = Telelake::against(&sim, &Lake::folder(), &["serve", "--once"])
        .env("TELELAKE_SCHEDULE__CATCH_UP", "false")
        .run();
    sim.clear_log();
    off.await.expect(0);
    assert_eq!(sim.total_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_runs_do_not_overlap_and_metrics_match_their_summaries() {
    let (sim, lake) = (Simulator::start(of_late()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCHEDULE__CRON", "* * * * * *")
        .env("TELELAKE_SCHEDULE__CATCH_UP", "false")
        .start()
        .await;
    daemon.ended("run", 2).await;
    // Metrics and summaries agree only between two runs, because a summary is written at the end.
    let (text, made) = eventually_some("a moment between two runs", async || {
        let made = runs(&lake).await;
        let (_, text) = daemon.get("/metrics").await;
        let is_between = runs(&lake).await.len() == made.len()
            && metric(&text, "telelake_run_seconds_count") == made.len() as f64;
        is_between.then_some((text, made))
    })
    .await;
    let total = |name: &str| {
        made.iter()
            .map(|run| run["counts"][name].as_u64().unwrap())
            .sum::<u64>() as f64
    };
    for (name, count) in [
        ("telelake_days_total", "days"),
        ("telelake_days_built_total", "days_built"),
        ("telelake_calls_total", "calls"),
        ("telelake_recorded_bytes_total", "recorded_bytes"),
        ("telelake_reports_total{state=\"landed\"}", "reports_landed"),
        ("telelake_reports_total{state=\"pending\"}", "reports_pending"),
        ("telelake_recordings_total{state=\"landed\"}", "records_landed"),
        ("telelake_recordings_total{state=\"pending\"}", "records_pending"),
    ] {
        assert_eq!(metric(&text, name), total(count), "{name}");
    }
    assert!(total("reports_landed") > 0.0 && total("recorded_bytes") > 0.0);
    let done = metric(&text, "telelake_runs_total{command=\"run\",outcome=\"done\"}");
    assert_eq!(done, made.len() as f64);
    assert!(metric(&text, "telelake_last_success_timestamp_seconds") > 1.7e9);
    let mut spans: Vec<(String, String)> = made
        .iter()
        .map(|run| {
            (
                run["started_at"].as_str().unwrap().into(),
                run["finished_at"].as_str().unwrap().into(),
            )
        })
        .collect();
    spans.sort();
    assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{spans:?}");
    daemon.stop().await;
    assert_whole(&lake, &sim, Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_api_is_counted_by_status() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Report).first(3), Failure::Status(500));
    let daemon = Plan::new(&sim, &lake).start().await;
    let date = sim.options().dates[0].to_string();
    let (status, _) = daemon
        .post(
            "/api/backfill",
            &json!({"from": date, "to": date, "only": "analytics"}).to_string(),
        )
        .await;
    assert_eq!(status, 202);
    daemon.ended("backfill", 0).await;
    let (_, text) = daemon.get("/metrics").await;
    let counted: f64 = text
        .lines()
        .filter(|line| line.starts_with("telelake_api_answers_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(counted, sim.total_count() as f64);
    assert_eq!(
        metric(
            &text,
            "telelake_api_answers_total{endpoint=\"report\",status=\"500\"}"
        ),
        3.0
    );
    assert_eq!(metric(&text, "telelake_api_retries_total"), 3.0);
    assert!(metric(&text, "telelake_store_calls_total{call=\"put\",result=\"ok\"}") > 0.0);
    assert!(metric(&text, "telelake_build_seconds_count") > 0.0);
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_backfill_goes_on_at_the_next_start() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    // The first report stalls for as long as the first daemon lives.
    sim.faults().order(
        Matcher::endpoint(Endpoint::Report).first(1),
        Failure::Stall(std::time::Duration::from_secs(60)),
    );
    let daemon = Plan::new(&sim, &lake).start().await;
    let dates = &sim.options().dates;
    let job = json!({"from": dates[0], "to": dates[dates.len() - 1]}).to_string();
    assert_eq!(daemon.post("/api/backfill", &job).await.0, 202);
    let retry = json!({"date": dates[0], "space": sim.school().spaces[0].id}).to_string();
    assert_eq!(daemon.post("/api/retry", &retry).await.0, 202);
    let running = eventually_some("a job has reports to do", async || {
        let running = daemon.json("/api/progress").await["running"].clone();
        (running[0]["reports"]["goal"].as_u64() > Some(0)).then_some(running)
    })
    .await;
    assert_eq!(running[0]["command"], "backfill");
    assert_eq!(
        daemon.json("/api/next").await["waiting"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(daemon.stop().await, 3);
    let daemon = Plan::new(&sim, &lake).start().await;
    daemon.ended("backfill", 1).await;
    assert_whole(&lake, &sim, Tz::UTC).await;
    assert_eq!(daemon.stop().await, 0);
    assert!(
        !lake
            .keys()
            .await
            .keys()
            .any(|key| key.starts_with("_telelake/queue/"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_webhooks_are_stored_during_a_backfill() {
    let sim = Simulator::start(Options { rooms: 40, ..small() }).await.unwrap();
    let lake = Lake::s3().await;
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    let dates = &sim.options().dates;
    let job = json!({"from": dates[0], "to": dates[dates.len() - 1]}).to_string();
    assert_eq!(daemon.post("/api/backfill", &job).await.0, 202);
    let space = sim.school().spaces[0].id.clone();
    stream::iter(0..1000)
        .map(|n| {
            let event = Event::of_room("call_finished", &space, &format!("{n:024x}"));
            let daemon = &daemon;
            async move { assert_eq!(send(daemon, &event, SECRET).await, 200) }
        })
        .buffer_unordered(64)
        .collect::<()>()
        .await;
    // All of them are in the store, although the daemon was killed right after the last answer.
    let backfill = daemon.ended("backfill", 0).await;
    assert_eq!(backfill["outcome"], "Done");
    daemon.kill().await;
    let mut rooms = std::collections::BTreeSet::new();
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("_telelake/events/"))
    {
        for line in std::str::from_utf8(&lake.get(&key).await).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            rooms.insert(event["room_id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(rooms.len(), 1000);
    assert_whole(&lake, &sim, Tz::UTC).await;
}
