//! The daemon's reports: health, coverage, runs and notifications.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use serde_json::{Value, json};
use telelake::simulator::{Report, Simulator};

use crate::pipeline::{backfill, range, small};
use crate::support::daemon::Plan;
use crate::support::eventually::eventually_some;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// The method, path and body of a request.
type Heard = Arc<Mutex<Vec<(String, String, String)>>>;

/// A server that records every request.
async fn listener() -> (String, Heard) {
    let heard = Heard::default();
    let router = Router::new()
        .fallback(async |State(heard): State<Heard>, request: Request| {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            heard
                .lock()
                .unwrap()
                .push((head.method.to_string(), head.uri.path().to_owned(), text));
        })
        .with_state(Arc::clone(&heard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (base, heard)
}

fn take(heard: &Heard) -> Vec<(String, String, String)> {
    std::mem::take(&mut *heard.lock().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_notified_and_successful_ones_send_a_heartbeat() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let (base, heard) = listener().await;
    let range = range(&sim);
    let args = backfill(&range, &[]);
    let run = |on: &str| {
        Telelake::against(&sim, &lake, &args)
            .env("TELELAKE_NOTIFY__URL", &format!("{base}/hooks/s3cr3t-path"))
            .env(
                "TELELAKE_NOTIFY__HEARTBEAT_URL",
                &format!("{base}/ping/s3cr3t-ping"),
            )
            .env("TELELAKE_NOTIFY__ON", on)
            .run()
    };
    let good = run("always").await.expect(0);
    // Both are notified at once, so that either may come first.
    let mut told = take(&heard);
    told.sort_by(|a, b| b.0.cmp(&a.0));
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        (told[0].0.as_str(), told[0].1.as_str()),
        ("POST", "/hooks/s3cr3t-path")
    );
    let message: Value = serde_json::from_str(&told[0].2).unwrap();
    assert!(message["text"].as_str().unwrap().contains("done in"), "{message}");
    assert_eq!(message["run"]["counts"]["calls"], good.count("calls"));
    assert_eq!(
        (told[1].0.as_str(), told[1].1.as_str()),
        ("GET", "/ping/s3cr3t-ping")
    );
    // A successful run is not reported if only failures are.
    run("failure").await.expect(0);
    assert_eq!(take(&heard).len(), 1);
    sim.edit(|school| school.calls[0].set_report(Report::bytes("nonsense")));
    let args = backfill(&range, &["--force"]);
    let bad = Telelake::against(&sim, &lake, &args)
        .env("TELELAKE_NOTIFY__URL", &format!("{base}/hooks"))
        .env("TELELAKE_NOTIFY__HEARTBEAT_URL", &format!("{base}/ping"))
        .run()
        .await;
    let told = take(&heard);
    if bad.status == 3 {
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].2.contains("done in part"));
    }
    assert_eq!(bad.status, 3, "{}", bad.stderr);
    // An unreachable store is reported too.
    let file = tempfile::NamedTempFile::new().unwrap();
    let finished = Telelake::against(&sim, &lake, &args)
        .env(
            "TELELAKE_STORE__URL",
            &format!("file://{}/x", file.path().display()),
        )
        .env("TELELAKE_NOTIFY__URL", &format!("{base}/hooks"))
        .run()
        .await
        .expect(4);
    let told = take(&heard);
    assert_eq!(told.len(), 1, "{}", finished.stderr);
    assert!(told[0].2.contains("NOTHING DONE"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeliverable_notification_changes_nothing_and_its_url_is_not_shown() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let range = range(&sim);
    let finished = Telelake::against(&sim, &lake, &[&["-vv"], &backfill(&range, &[])[..]].concat())
        .env(
            "TELELAKE_NOTIFY__URL",
            &format!("http://{free}/hooks/s3cr3t-path"),
        )
        .env("TELELAKE_NOTIFY__ON", "always")
        .run()
        .await
        .expect(0);
    assert!(
        finished.stderr.contains("notify.url could not be reached"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("s3cr3t-path"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readyz_names_the_problem_and_nothing_else() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    let wait_for = async |daemon: &crate::support::daemon::Daemon, token: &str| {
        eventually_some(&format!("the token is {token}"), async || {
            let (status, text) = daemon.get("/readyz").await;
            let report: Value = serde_json::from_str(&text).unwrap();
            (report["token"] == token).then_some((status, report))
        })
        .await
    };
    let (status, report) = wait_for(&daemon, "ok").await;
    assert_eq!((status, &report["ready"]), (200, &json!(true)), "{report}");
    assert_eq!(daemon.metric("telelake_ready").await, 1.0);
    assert_eq!(daemon.stop().await, 0);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_API__TOKEN", "wr0ng-t0ken")
        .start()
        .await;
    let (status, report) = wait_for(&daemon, "refused").await;
    assert_eq!((status, &report["ready"]), (503, &json!(false)));
    assert!(!report.to_string().contains("wr0ng") && !report.to_string().contains(&sim.base_url()));
    assert_eq!(daemon.get("/healthz").await.0, 200, "alive all the same");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_reports_coverage_days_and_runs_like_status() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let missing = sim.edit(|school| {
        school.calls[0].set_report(Report::Denied);
        (
            school.calls[0].id.clone(),
            school.calls[0].started_at.date_naive(),
        )
    });
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let status = Telelake::new(&["status", "--json", "--from", &range[1], "--to", &range[3]])
        .lake(&lake)
        .run()
        .await
        .expect(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let daemon = Plan::new(&sim, &lake).start().await;
    let path = format!("/api/status?from={}&to={}", range[1], range[3]);
    for _ in 0..2 {
        let told = daemon.json(&path).await;
        assert_eq!(told["days"], status["days"]);
        assert_eq!(told["never_looked_at"], status["never_looked_at"]);
    }
    let space = &sim.school().spaces[0].id;
    let day = daemon
        .json(&format!("/api/day?date={}&space={space}", missing.1))
        .await;
    let calls: Vec<&Value> = day["rooms"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|room| room["calls"].as_array().unwrap())
        .collect();
    let call = calls
        .iter()
        .find(|call| call["call_id"] == missing.0.as_str())
        .unwrap();
    assert_eq!(call["reports"]["json"]["status"], "denied", "{call}");
    assert!(
        call["reports"]["json"]["reason"]
            .as_str()
            .unwrap()
            .contains("403")
    );
    assert_eq!(daemon.json("/api/runs").await["runs"], status["runs"]);
    assert_eq!(daemon.json("/api/next").await["due"], json!([]));
    for (path, expected) in [
        ("/api/status?from=yesterday", 400),
        ("/api/day?date=2025-03-03", 400),
        ("/api/day?date=1999-01-01&space=x", 404),
        ("/api/nothing", 404),
        ("/nothing", 404),
    ] {
        assert_eq!(daemon.get(path).await.0, expected, "{path}");
    }
    for (path, body) in [
        ("/api/backfill", r#"{"from":"2025-03-04","to":"2025-03-03"}"#),
        ("/api/backfill", r#"{"from":"2999-01-01","to":"2999-01-01"}"#),
        (
            "/api/backfill",
            r#"{"from":"2025-03-03","to":"2025-03-03","forse":true}"#,
        ),
        ("/api/backfill", "{"),
        ("/api/retry", r#"{"date":"2025-03-03"}"#),
    ] {
        assert_eq!(daemon.post(path, body).await.0, 400, "{body}");
    }
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_test_notification_survives_a_restart() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let (base, heard) = listener().await;
    let (url, ping) = (
        format!("{base}/hooks/s3cr3t-path"),
        format!("{base}/ping/s3cr3t-ping"),
    );
    let notify = |args: &[&str], url: &str| {
        Telelake::new(&[&["notify"], args].concat())
            .lake(&lake)
            .env("TELELAKE_NOTIFY__URL", url)
            .env("TELELAKE_NOTIFY__HEARTBEAT_URL", &ping)
            .run()
    };
    let nobody = Telelake::new(&["notify", "--test"])
        .lake(&lake)
        .run()
        .await
        .expect(2);
    assert!(
        nobody.stderr.contains("notify.url: is not set"),
        "{}",
        nobody.stderr
    );
    let good = notify(&["--test"], &url).await.expect(0);
    assert!(
        good.stdout.contains("notify.url: delivered to 127.0.0.1"),
        "{}",
        good.stdout
    );
    assert!(
        good.stdout.contains("notify.heartbeat_url: delivered"),
        "{}",
        good.stdout
    );
    let mut told = take(&heard);
    told.sort_by(|a, b| b.0.cmp(&a.0));
    assert_eq!(told.len(), 2, "{told:?}");
    let message: Value = serde_json::from_str(&told[0].2).unwrap();
    assert_eq!(message["test"], true);
    assert!(message["text"].as_str().unwrap().contains("this is a test"));

    let gone = "http://127.0.0.1:9/hooks/s3cr3t-path";
    let bad = notify(&["--test"], gone).await.expect(4);
    assert!(
        bad.stdout.contains("notify.url: NOT delivered to 127.0.0.1")
            && bad.stdout.contains("could not be reached"),
        "{}",
        bad.stdout
    );
    // Each process of the lake stores it, and the daemon knows it after its start.
    let status = Telelake::new(&["status"]).lake(&lake).run().await.expect(0);
    assert!(
        status.stdout.contains("notify.url: NOT delivered"),
        "{}",
        status.stdout
    );
    let check = Telelake::against(&sim, &lake, &["check"]).run().await.expect(0);
    assert!(
        check.stdout.contains("WARN  notify.url: NOT delivered"),
        "{}",
        check.stdout
    );
    take(&heard);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_NOTIFY__URL", &url)
        .start()
        .await;
    let last = daemon.json("/api/notify").await;
    assert_eq!(
        last["deliveries"]["notify.url"]["error"], "could not be reached",
        "{last}"
    );
    assert_eq!(last["deliveries"]["notify.heartbeat_url"]["status"], 200);
    let failed = "telelake_notified{target=\"notify.url\"}";
    assert_eq!(daemon.metric(failed).await, 0.0);
    let (status, text) = daemon.post("/api/notify-test", "{}").await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(take(&heard).len(), 1);
    assert_eq!(daemon.metric(failed).await, 1.0);
    let last = daemon.json("/api/notify").await;
    assert_eq!(last["deliveries"]["notify.url"]["delivered"], true, "{last}");
    for said in [
        last.to_string(),
        text,
        daemon.log(),
        bad.stdout,
        status_of(&lake).await,
    ] {
        assert!(!said.contains("s3cr3t-"), "{said}");
    }
    daemon.kill().await;
}

/// The notifications that the lake stores.
async fn status_of(lake: &Lake) -> String {
    String::from_utf8(lake.get("_telelake/notify.json").await.to_vec()).unwrap()
}
