//! Requests of strangers: nothing of them is stored, and they cost almost nothing.

use futures_util::{StreamExt, stream};
use telelake::simulator::{Event, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SECRET, hold_lesson, send};
use crate::pipeline::small;
use crate::support::daemon::{Daemon, Plan};
use crate::support::lake::Lake;

/// Sends bytes on a new connection and reads until the server closes it.
async fn raw(daemon: &Daemon, bytes: &[u8]) -> String {
    let address = daemon.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close the connection before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn kept(lake: &Lake) -> usize {
    let keys = lake.keys().await;
    keys.keys()
        .filter(|key| key.starts_with("_telelake/events/"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_malformed_and_oversized_webhooks_are_refused_and_replays_merge() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    let event = &lesson.call_finished;
    let good = event.signed(SECRET);
    let other = Event::of_room("call_finished", &event.space_id, "0123456789abcdef01234567");
    let (signature, _) = good.split_once("\",\"body\"").unwrap();
    let (_, body) = other
        .signed(SECRET)
        .split_once("\",\"body\"")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for forged in [
        event.signed("another secret"),
        event.signed(""),
        // Another event with a valid signature.
        format!("{signature}\",\"body\"{body}"),
        good.replace("call_finished", "record_failed"),
        good.replacen("\"signature\":\"", "\"signature\":\"00", 1),
    ] {
        let (status, text) = daemon.post("/webhooks/teleboss", &forged).await;
        assert_eq!(status, 401, "{forged}");
        assert_eq!(text, "{\"error\":\"refused\"}", "no reason is given");
    }
    for malformed in [
        "",
        "{}",
        "[1]",
        "<html>",
        &good[..good.len() - 2],
        &format!("{good}{good}"),
    ] {
        assert_eq!(
            daemon.post("/webhooks/teleboss", malformed).await.0,
            400,
            "{malformed}"
        );
    }
    let huge = good.replacen('{', &format!("{{\"padding\":\"{}\",", "x".repeat(64 * 1024)), 1);
    // It is refused before it is read, so that a race decides whether the client sees the refusal.
    let answer = daemon
        .request(reqwest::Method::POST, "/webhooks/teleboss")
        // In any case the connection is not used for another request.
        .header("connection", "close")
        .body(huge)
        .send()
        .await;
    assert!(
        answer.as_ref().map_or(true, |answer| answer.status() == 413),
        "{answer:?}"
    );
    assert_eq!(daemon.get("/webhooks/teleboss").await.0, 405);
    let long_head = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n",
        "y".repeat(64 * 1024)
    );
    let answer = raw(&daemon, long_head.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    assert_eq!(kept(&lake).await, 0);
    // The event and its replays in the queue count once.
    for _ in 0..20 {
        assert_eq!(send(&daemon, event, SECRET).await, 200);
    }
    assert_eq!(kept(&lake).await, 1);
    assert_eq!(daemon.metric("telelake_events_waiting").await, 1.0);
    let forged = daemon
        .metric("telelake_webhooks_total{event=\"none\",result=\"forged\"}")
        .await;
    assert_eq!(forged, 5.0);
    assert!(!daemon.log().contains(SECRET));
    assert_eq!(daemon.stop().await, 0, "what has not settled is no work left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sender_is_disconnected_and_delays_nobody() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    let good = lesson.call_finished.signed(SECRET);
    let half_a_head = "POST /webhooks/teleboss HTTP/1.1\r\nHost: x\r\nContent-";
    let half_a_body = format!(
        "POST /webhooks/teleboss HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}",
        good.len(),
        &good[..good.len() / 2]
    );
    let slow = stream::iter((0..60).map(|n| {
        let bytes = if n % 2 == 0 { half_a_head } else { &half_a_body };
        raw(&daemon, bytes.as_bytes())
    }))
    .buffer_unordered(60)
    .collect::<Vec<_>>();
    let honest = async {
        for n in 0..20 {
            let room = format!("{n:024x}");
            let event = Event::of_room("call_finished", &lesson.call_finished.space_id, &room);
            assert_eq!(send(&daemon, &event, SECRET).await, 200);
        }
    };
    let (answers, ()) = tokio::join!(slow, honest);
    let told = answers
        .iter()
        .filter(|answer| answer.starts_with("HTTP/1.1 408"))
        .count();
    assert_eq!(
        told, 30,
        "half bodies are told so, half heads are not: {answers:?}"
    );
    assert_eq!(daemon.metric("telelake_events_waiting").await, 20.0);
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_forged_webhooks_take_no_memory() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let daemon = Plan::new(&sim, &lake).start().await;
    let event = &lesson.call_finished;
    let forge = async |count: usize| {
        stream::iter(0..count)
            .map(|n| {
                // Each has another space and room, and none may be remembered.
                let event = Event::of_room("call_finished", &format!("{n:024x}"), &format!("{n:024x}"));
                let daemon = &daemon;
                async move { assert_eq!(send(daemon, &event, "forged").await, 401) }
            })
            .buffer_unordered(32)
            .collect::<()>()
            .await;
    };
    forge(1000).await;
    let before = daemon.peak_memory().await;
    forge(10_000).await;
    let grown = daemon.peak_memory().await.saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    assert_eq!(kept(&lake).await, 0);
    let (_, text) = daemon.get("/metrics").await;
    assert!(text.len() < 64 * 1024, "{} bytes of metrics", text.len());
    assert_eq!(send(&daemon, event, SECRET).await, 200);
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_needs_the_token() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    // Without a token, only loopback is allowed.
    let refused = crate::support::program::Telelake::against(&sim, &lake, &["serve"])
        .env("TELELAKE_SERVE__LISTEN", "0.0.0.0:0")
        .run()
        .await
        .expect(2);
    assert!(refused.stderr.contains("serve.token"), "{}", refused.stderr);
    assert_eq!(sim.total_count(), 0);
    let mut daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SERVE__TOKEN", "t0ken-of-serve")
        .start()
        .await;
    let gets = [
        "/metrics",
        "/api/status",
        "/api/runs",
        "/api/next",
        "/api/progress",
    ];
    for path in gets {
        assert_eq!(daemon.get(path).await.0, 401, "{path}");
    }
    let job = r#"{"from":"2025-03-03","to":"2025-03-03"}"#;
    for path in ["/meta", "/api/backfill", "/api/retry"] {
        assert_eq!(daemon.post(path, job).await.0, 401, "{path}");
    }
    assert_eq!(daemon.get("/healthz").await.0, 200);
    daemon.token = Some("t0ken-of-serve".into());
    for path in gets {
        assert_eq!(daemon.get(path).await.0, 200, "{path}");
    }
    // A page of another site in the browser of a signed-in user.
    let foreign = daemon
        .request(reqwest::Method::POST, "/api/backfill")
        .header("content-type", "application/json")
        .header("origin", "https://evil.example")
        .body(job)
        .send()
        .await
        .unwrap();
    assert_eq!(foreign.status(), 403);
    assert!(
        daemon.json("/api/next").await["waiting"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert!(!daemon.log().contains("t0ken-of-serve"));
    assert_eq!(daemon.stop().await, 0);
}
