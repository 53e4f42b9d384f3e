//! The relay of lesson data: stored in the lake at once, and sent to the API for as long as it takes.

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use telelake::simulator::{Endpoint, Failure, Matcher, Simulator};

use crate::pipeline::small;
use crate::support::daemon::Plan;
use crate::support::lake::Lake;

fn meta(n: usize) -> Value {
    json!({"externalUserId": format!("u{n}"), "externalMeetingId": "m1",
           "meta": {"lesson_name": "Эмоции", "lesson_scheduled_start_dt": "2026-03-03 09:00", "user_role": "student"}})
}

async fn below(lake: &Lake, prefix: &str) -> Vec<String> {
    let keys = lake.keys().await;
    keys.into_keys().filter(|key| key.starts_with(prefix)).collect()
}

async fn raw_lines(lake: &Lake) -> Vec<String> {
    let mut lines = Vec::new();
    for key in below(lake, "raw/meta/").await {
        let text = lake.get(&key).await;
        lines.extend(std::str::from_utf8(&text).unwrap().lines().map(str::to_owned));
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_data_is_stored_at_once_and_relayed_when_the_api_is_up() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Meta), Failure::Status(503));
    let plan = || Plan::new(&sim, &lake).env("TELELAKE_API__RETRIES", "0");
    let daemon = plan().start().await;
    let all: Vec<Value> = (0..50).map(meta).collect();
    let (status, text) = daemon.post("/meta", &Value::from(all.clone()).to_string()).await;
    assert_eq!((status, text.as_str()), (202, r#"{"accepted":50}"#));
    daemon
        .logged(|line| line["message"] == "lesson data was imported")
        .await;
    daemon
        .logged(|line| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("lesson data could not be passed on"))
        })
        .await;
    let lines: Vec<String> = all.iter().map(Value::to_string).collect();
    assert_eq!(raw_lines(&lake).await, lines);
    let rows = lake.rows("user_meta", &["external_user_id"]).await;
    assert_eq!(rows.len(), 50);
    assert!(sim.metas().is_empty());
    // The daemon is killed while the API is down, and the next one goes on.
    daemon.kill().await;
    assert_eq!(below(&lake, "_telelake/relay/due/").await.len(), 1);
    let daemon = plan().start().await;
    // The API is down and comes back while the daemon lives: no payload in flight or in the queue is forgotten.
    daemon
        .logged(|line| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("lesson data could not be passed on"))
        })
        .await;
    sim.faults().clear();
    daemon
        .logged(|line| line["message"] == "lesson data was passed on to the API")
        .await;
    let users: std::collections::BTreeSet<String> = sim
        .metas()
        .iter()
        .map(|meta| meta["externalUserId"].to_string())
        .collect();
    assert_eq!(users.len(), 50);
    assert_eq!(daemon.metric("telelake_meta_waiting").await, 0.0);
    assert_eq!(daemon.stop().await, 0);
    assert!(below(&lake, "_telelake/relay/").await.is_empty());
    assert_eq!(raw_lines(&lake).await.len(), 50, "nothing was taken in twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_become_few_files_and_each_is_relayed_once() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    stream::iter(0..1000)
        .map(|n| {
            let daemon = &daemon;
            async move { assert_eq!(daemon.post("/meta", &meta(n).to_string()).await.0, 202) }
        })
        .buffer_unordered(32)
        .collect::<()>()
        .await;
    // The next daemon sends the rest.
    let status = daemon.stop().await;
    assert!(matches!(status, 0 | 3), "{status}");
    let once = crate::support::program::Telelake::against(&sim, &lake, &["serve", "--once"])
        .env("TELELAKE_SCHEDULE__CRON", "[]");
    once.run().await.expect(0);
    assert!(below(&lake, "_telelake/relay/").await.is_empty());
    let mut lines = raw_lines(&lake).await;
    lines.sort();
    let mut expected: Vec<String> = (0..1000).map(|n| meta(n).to_string()).collect();
    expected.sort();
    assert!(lines == expected, "{} lines of 1000", lines.len());
    let files = below(&lake, "raw/meta/").await.len();
    assert!(files <= 60, "{files} files for 1000 requests");
    let users: std::collections::BTreeSet<String> = sim
        .metas()
        .iter()
        .map(|meta| meta["externalUserId"].to_string())
        .collect();
    assert_eq!(users.len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_lesson_data_is_named_by_line_and_a_refused_payload_blocks_nothing() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    let bad = format!("{}\n{{\"externalUserId\": \"secret-pupil\"}}\n", meta(0));
    let (status, text) = daemon.post("/meta", &bad).await;
    assert_eq!(status, 400);
    assert_eq!(text, r#"{"error":"line 2: externalMeetingId is missing"}"#);
    assert_eq!(daemon.post("/meta", "").await.0, 400);
    assert_eq!(daemon.post("/meta", "not json").await.0, 400);
    assert!(below(&lake, "_telelake/relay/").await.is_empty());
    assert!(below(&lake, "raw/meta/").await.is_empty());
    // The API always refuses the first payload, and the second one is sent.
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Meta).first(1), Failure::Status(422));
    assert_eq!(
        daemon
            .post("/meta", &json!([meta(1), meta(2)]).to_string())
            .await
            .0,
        202
    );
    daemon
        .logged(|line| line["message"] == "lesson data was passed on to the API")
        .await;
    assert_eq!(sim.metas().len(), 1);
    assert_eq!(daemon.metric("telelake_meta_refused_total").await, 1.0);
    assert_eq!(below(&lake, "_telelake/relay/refused/").await.len(), 1);
    assert!(!daemon.log().contains("secret-pupil"));
    assert_eq!(daemon.stop().await, 0);
}
