//! Access to the daemon: only the right clients get in, and nobody can lock out others.

use std::net::{IpAddr, SocketAddr};

use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::json;
use telelake::simulator::Simulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{SECRET, hold_lesson, send};
use crate::pipeline::small;
use crate::support::daemon::{Daemon, Plan};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

const BY: &str = "x-forwarded-for";
const TOKEN: &str = "a-l0ng-t0ken-of-serve";

async fn ask(daemon: &Daemon, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = daemon.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_requests_through_a_proxy_are_refused() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SERVE__TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    assert!(
        daemon
            .log()
            .contains("serve.trusted_proxies is set without serve.token")
    );
    assert_eq!(daemon.get("/api/status").await.0, 200, "this machine");
    for mark in [
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "via",
        "x-forwarded-host",
    ] {
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, "/api/status"),
            (Method::GET, "/metrics"),
            (Method::POST, "/meta"),
            (Method::POST, "/api/backfill"),
            (Method::POST, "/backfill"),
        ] {
            let json = ("content-type", "application/json");
            let (status, text) = ask(&daemon, method, path, &[(mark, "203.0.113.7"), json]).await;
            assert_eq!(status, 403, "{mark} {path}");
            assert!(text.contains("set serve.token"), "{text}");
        }
        for path in ["/healthz", "/readyz"] {
            let (status, _) = ask(&daemon, Method::GET, path, &[(mark, "203.0.113.7")]).await;
            assert_ne!(status, 403, "{mark} {path}");
        }
    }
    // As nginx does by default: our own name, HTTP/1.0, and no header about the client.
    let mut plain = connect(&daemon, None).await;
    let request = "GET /api/status HTTP/1.0\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\n\r\n";
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 403"), "{answer}");
    // Webhooks are signed, so that the proxy does not matter.
    let event = lesson.call_finished.signed(SECRET);
    let webhook = daemon.request(Method::POST, "/webhooks/teleboss");
    let webhook = webhook.header("x-forwarded-for", "203.0.113.7").body(event);
    assert_eq!(webhook.send().await.unwrap().status(), 200);
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weak_token_allows_only_loopback() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let refused = Telelake::against(&sim, &lake, &["serve"])
        .env("TELELAKE_SERVE__LISTEN", "0.0.0.0:0")
        .env("TELELAKE_SERVE__TOKEN", "fifteen-of-them")
        .run()
        .await
        .expect(2);
    assert!(
        refused
            .stderr
            .contains("serve.token: has 15 characters, fewer than 16"),
        "{}",
        refused.stderr
    );
    assert_eq!(sim.total_count(), 0);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SERVE__TOKEN", "fifteen-of-them")
        .env("TELELAKE_WEBHOOK__SECRET", "short")
        .start()
        .await;
    for key in ["serve.token has 15", "webhook.secret has 5"] {
        assert!(daemon.log().contains(key), "{key}: {}", daemon.log());
    }
    assert!(!daemon.log().contains("fifteen-of-them"));
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_only_the_guessing_client_is_locked_out() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SERVE__TOKEN", TOKEN)
        .env("TELELAKE_SERVE__TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")
        .start()
        .await;
    let wrong = ("authorization", "Bearer wr0ng");
    let right = format!("Bearer {TOKEN}");
    let right = ("authorization", right.as_str());
    // The entries before the proxy's own are invented by the client.
    for n in 0..10 {
        let spoofed = format!("198.51.100.{n}, 203.0.113.7, 10.0.0.1");
        let (status, _) = ask(
            &daemon,
            Method::GET,
            "/api/status",
            &[(BY, spoofed.as_str()), wrong],
        )
        .await;
        assert_eq!(status, 401);
    }
    let of = async |client: &str| {
        ask(&daemon, Method::GET, "/api/status", &[(BY, client), right])
            .await
            .0
    };
    assert_eq!(of("203.0.113.7").await, 429, "the guesser");
    assert_eq!(of("203.0.113.8").await, 200, "a neighbour");
    assert_eq!(of("198.51.100.3").await, 200, "whose address the guesser claimed");
    assert_eq!(
        ask(&daemon, Method::GET, "/api/status", &[right]).await.0,
        200,
        "the proxy itself"
    );
    let line = daemon.audited("locked_out", "").await;
    assert_eq!(line["address"], "203.0.113.7", "{line}");
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_headers_of_an_untrusted_peer_are_ignored() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SERVE__TOKEN", TOKEN)
        .start()
        .await;
    for n in 0..10 {
        let spoofed = format!("203.0.113.{n}");
        let headers = [
            ("x-forwarded-for", spoofed.as_str()),
            ("authorization", "Bearer wr0ng"),
        ];
        assert_eq!(ask(&daemon, Method::GET, "/api/status", &headers).await.0, 401);
    }
    let headers = [
        ("x-forwarded-for", "203.0.113.99"),
        ("authorization", "Bearer wr0ng"),
    ];
    assert_eq!(ask(&daemon, Method::GET, "/api/status", &headers).await.0, 429);
    daemon.kill().await;
}

/// Connects from an address of this machine.
async fn connect(daemon: &Daemon, from: Option<IpAddr>) -> TcpStream {
    let address: SocketAddr = daemon.base.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0)).unwrap();
    }
    socket.connect(address).await.unwrap()
}

async fn answers(daemon: &Daemon, lesson: &super::Lesson) {
    assert_eq!(daemon.get("/healthz").await.0, 200);
    let (status, page) = daemon.get("/").await;
    assert!(status == 200 && page.contains("<html"), "{status}");
    assert_eq!(send(daemon, &lesson.call_finished, SECRET).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_nobody_out() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let mut daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SERVE__TOKEN", TOKEN)
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    daemon.token = Some(TOKEN.into());
    let of_one = |_: usize| None;
    let of_many = |n: usize| Some(IpAddr::from([127, 0, 1 + (n / 200) as u8, 1 + (n % 200) as u8]));
    for from in [of_one as fn(usize) -> Option<IpAddr>, of_many] {
        let idle: Vec<TcpStream> = stream::iter(0..300)
            .map(|n| connect(&daemon, from(n)))
            .buffer_unordered(50)
            .collect()
            .await;
        answers(&daemon, &lesson).await;
        // The same with incomplete headers.
        for mut one in idle {
            let _ = one.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-").await;
        }
        answers(&daemon, &lesson).await;
    }
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_names_sign_ins_and_changes_with_their_address() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let mut daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SERVE__TOKEN", TOKEN)
        .env("TELELAKE_SERVE__TRUSTED_PROXIES", "127.0.0.1")
        .start()
        .await;
    let client = ("x-forwarded-for", "203.0.113.7");
    let sign_in = async |token: &str| {
        let body = serde_urlencoded::to_string([("token", token)]).unwrap();
        let request = daemon.request(Method::POST, "/login").header(client.0, client.1);
        let request = request.header("sec-fetch-site", "same-origin");
        let no_redirect = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        no_redirect.send().await.unwrap()
    };
    assert_eq!(sign_in("wr0ng").await.status(), 401);
    let refused = daemon.audited("sign_in_refused", "the page").await;
    assert_eq!(
        (&refused["address"], &refused["by"]),
        (&json!("203.0.113.7"), &json!("nothing"))
    );
    sign_in(TOKEN).await;
    let signed_in = daemon.audited("sign_in", "the page").await;
    assert_eq!(
        (&signed_in["address"], &signed_in["by"]),
        (&json!("203.0.113.7"), &json!("token"))
    );
    daemon.token = Some(TOKEN.into());
    let json_body = ("content-type", "application/json");
    let (status, _) = ask(&daemon, Method::POST, "/api/notify-test", &[client, json_body]).await;
    assert_eq!(status, 409, "nobody to tell");
    let change = daemon.audited("request", "POST /api/notify-test: 409").await;
    assert_eq!(
        (&change["address"], &change["by"]),
        (&json!("203.0.113.7"), &json!("token"))
    );
    let (status, _) = ask(
        &daemon,
        Method::GET,
        "/api/status",
        &[("authorization", "Bearer wr0ng")],
    )
    .await;
    assert_ne!(status, 404);
    for secret in [TOKEN, "wr0ng"] {
        assert!(!daemon.log().contains(secret), "{secret}");
    }
    daemon.kill().await;
}
