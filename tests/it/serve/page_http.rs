//! Access to the page and its headers, over plain HTTP.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use telelake::simulator::Simulator;

use crate::pipeline::small;
use crate::support::daemon::{Daemon, Plan};
use crate::support::lake::Lake;

const TOKEN: &str = "the-page-t0ken";

async fn guarded(sim: &Simulator, lake: &Lake) -> Daemon {
    let mut daemon = Plan::new(sim, lake)
        .env("TELELAKE_SERVE__TOKEN", TOKEN)
        .start()
        .await;
    // Redirects are followed by the test.
    daemon.http = telelake::tls::http_client()
        .no_proxy()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    daemon
}

fn form(daemon: &Daemon, path: &str, fields: &'static str) -> RequestBuilder {
    daemon
        .request(Method::POST, path)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(fields)
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    value
        .map(|value| value.to_str().unwrap().to_owned())
        .unwrap_or_default()
}

async fn session(daemon: &Daemon) -> String {
    let answer = form(daemon, "/login", "token=the-page-t0ken&to=%2Fruns")
        .header("origin", &daemon.base)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(header(&answer, "location"), "/runs");
    let cookie = header(&answer, "set-cookie");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_need_a_sign_in_and_other_sites_cannot_act_for_the_user() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = guarded(&sim, &lake).await;
    for path in ["/", "/day?date=2025-03-03&space=x", "/runs", "/run?id=x"] {
        let answer = daemon.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{path}");
        assert!(header(&answer, "location").starts_with("/login?to=%2F"), "{path}");
    }
    // For a link in a chat the browser withholds the cookie until the page requests itself again.
    let linked = daemon
        .request(Method::GET, "/runs")
        .header("sec-fetch-site", "cross-site");
    let linked = linked.send().await.unwrap();
    assert_eq!(linked.status(), StatusCode::OK);
    let text = linked.text().await.unwrap();
    assert!(
        text.contains("http-equiv=\"refresh\"") && !text.contains("<main"),
        "{text}"
    );
    let bare = |path: &str| daemon.request(Method::GET, path).send();
    assert_eq!(bare("/now").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(bare("/metrics").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    // A link cannot redirect a user to another site.
    let answer = form(&daemon, "/login", "token=the-page-t0ken&to=%2F%2Fevil.example")
        .header("origin", &daemon.base)
        .header("x-forwarded-proto", "https")
        .send()
        .await
        .unwrap();
    assert_eq!(header(&answer, "location"), "/");
    let set = header(&answer, "set-cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Secure", "Max-Age=43200", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains(TOKEN));

    let cookie = session(&daemon).await;
    let with = |request: RequestBuilder| request.header("cookie", &cookie);
    let seen = with(daemon.request(Method::GET, "/")).send().await.unwrap();
    assert_eq!(seen.status(), StatusCode::OK);
    assert_eq!(header(&seen, "cache-control"), "no-store");
    assert_eq!(header(&seen, "x-content-type-options"), "nosniff");
    assert_eq!(header(&seen, "x-frame-options"), "DENY");
    assert_eq!(header(&seen, "referrer-policy"), "same-origin");
    let policy = header(&seen, "content-security-policy");
    for rule in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");

    let fields = "from=2025-03-03&to=2025-03-03&space=&only=";
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("x-nothing", "said"),
    ] {
        let answer = with(form(&daemon, "/backfill", fields))
            .header(name, value)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
    assert_eq!(
        sim.total_count(),
        sim.count(telelake::simulator::Endpoint::Spaces),
        "nothing was asked for"
    );
    let answer =
        with(form(&daemon, "/backfill", "from=2025-03-05&to=2025-03-03")).header("origin", &daemon.base);
    assert_eq!(answer.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let answer = with(form(&daemon, "/backfill", fields))
        .header("origin", &daemon.base)
        .send()
        .await
        .unwrap();
    assert_eq!(header(&answer, "location"), "/?asked#work");
    daemon.ended("backfill", 0).await;

    let left = with(form(&daemon, "/logout", ""))
        .header("origin", &daemon.base)
        .send()
        .await
        .unwrap();
    assert_eq!(header(&left, "location"), "/login");
    let gone = with(daemon.request(Method::GET, "/now")).send().await.unwrap();
    assert_eq!(
        gone.status(),
        StatusCode::UNAUTHORIZED,
        "the session is over on this side too"
    );
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_the_token_is_slowed_down_and_the_style_is_cached() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = guarded(&sim, &lake).await;
    let cookie = session(&daemon).await;
    let mut answers = Vec::new();
    for _ in 0..12 {
        let answer = form(&daemon, "/login", "token=guess").header("origin", &daemon.base);
        answers.push(answer.send().await.unwrap().status().as_u16());
    }
    assert_eq!(answers, [[401; 10].as_slice(), &[429; 2]].concat());
    let right = form(&daemon, "/login", "token=the-page-t0ken").header("origin", &daemon.base);
    assert_eq!(
        right.send().await.unwrap().status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    let bearer = daemon.request(Method::GET, "/api/next").bearer_auth(TOKEN);
    assert_eq!(
        bearer.send().await.unwrap().status(),
        StatusCode::TOO_MANY_REQUESTS
    );
    // A signed-in user is not affected.
    let seen = daemon.request(Method::GET, "/").header("cookie", &cookie);
    assert_eq!(seen.send().await.unwrap().status(), StatusCode::OK);

    for name in ["page.css", "page.js", "icon.svg"] {
        let path = format!("/assets/{name}");
        let answer = daemon.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "open to all: the door needs it");
        let tag = header(&answer, "etag");
        assert!(!tag.is_empty());
        let again = daemon.request(Method::GET, &path).header("if-none-match", tag);
        assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    }
    let none = daemon
        .request(Method::GET, "/assets/..%2f..%2fCargo.toml")
        .send()
        .await
        .unwrap();
    assert_eq!(none.status(), StatusCode::NOT_FOUND);
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_page_opens_only_by_a_local_host_name() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = Plan::new(&sim, &lake).start().await;
    assert_eq!(daemon.get("/").await.0, 200);
    let by = |host: &'static str| daemon.request(Method::GET, "/").header("host", host).send();
    assert_eq!(by("localhost:1").await.unwrap().status(), StatusCode::OK);
    assert_eq!(by("evil.example").await.unwrap().status(), StatusCode::FORBIDDEN);
    for (path, status) in [
        ("/day?date=2025-03-03&space=..%2F..%2Fsecret", 200),
        ("/day?date=yesterday", 400),
        ("/day", 400),
        ("/run?id=..%2F..%2Fstore", 404),
        ("/?month=2025-13", 200),
        ("/?month=9999-12", 200),
    ] {
        let (seen, text) = daemon.get(path).await;
        assert_eq!(seen, status, "{path}: {text}");
    }
    assert_eq!(daemon.stop().await, 0);
}
