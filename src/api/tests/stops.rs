//! Tests of limits in time, size and number: timeouts, endless answers, requests in flight, cancellation.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Reply, ScriptedServer, milliseconds, report};
use crate::ErrorKind;

#[tokio::test]
async fn an_endless_head_is_given_up() {
    for head in [
        format!("X-Long: {}\r\n", "x".repeat(2 << 20)),
        "X-Many: x\r\n".repeat(1000),
    ] {
        let server = ScriptedServer::replies(vec![Reply::raw(&format!(
            "HTTP/1.1 200 OK\r\n{head}Content-Length: 2\r\n\r\n[]"
        ))])
        .await;
        let (client, _) = server.client_with(|config, _| config.retries = 0);
        let error = client.rooms(&"s1".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
        assert!(error.to_string().len() < 400, "{error}");
    }
}

#[tokio::test]
async fn only_the_start_of_an_error_body_is_read() {
    let endless = format!(
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n{{\"message\":\"{}",
        "x".repeat(4 << 20)
    );
    let server = ScriptedServer::replies(vec![Reply::stalled(&endless)]).await;
    let error = report(&server.client()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Forbidden, "403 Forbidden")
    );
}

#[tokio::test]
async fn an_overloaded_server_gets_fewer_requests_at_once() {
    // The first eight requests come together and overload the server.
    let server = ScriptedServer::start(|index, _| {
        let reply = if index < 8 {
            Reply::new("503 Service Unavailable", "Retry-After: 0\r\n", "")
        } else {
            Reply::ok("{}")
        };
        reply.after(Duration::from_millis(5))
    })
    .await;
    let (client, _) = server.client_with(|config, _| config.concurrency = 8);
    let reports = join_all((0..8).map(|_| report(&client))).await;
    assert!(reports.iter().all(Result::is_ok));
    assert_eq!(server.most_at_once(), 8);
    assert!(
        server.most_at_once_from(8) <= 5,
        "{}",
        server.most_at_once_from(8)
    );
}

#[tokio::test]
async fn a_missing_answer_times_out() {
    for reply in [
        Reply::stalled(""),
        Reply::stalled("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
    ] {
        let server = ScriptedServer::replies(vec![reply]).await;
        let (client, _) = server.client_with(|config, _| {
            config.timeout = milliseconds("50ms");
            config.retries = 1;
        });
        let error = report(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection);
        assert_eq!(error.message(), "timed out, 2 attempts");
    }
}

#[tokio::test]
async fn requests_in_flight_never_exceed_the_configured_number() {
    let server = ScriptedServer::start(|_, _| Reply::ok("{}").after(Duration::from_millis(5))).await;
    let (client, _) = server.client_with(|config, _| config.concurrency = 3);
    let reports = join_all((0..20).map(|_| report(&client))).await;
    assert!(reports.iter().all(Result::is_ok));
    assert!(server.most_at_once() <= 3, "{}", server.most_at_once());
}

#[tokio::test]
async fn no_request_is_sent_after_the_program_stops() {
    let server = ScriptedServer::replies(vec![Reply::ok("{}")]).await;
    let (client, cancel) = server.client_with(|_, _| {});
    cancel.cancel();
    assert_eq!(report(&client).await.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(client.stats().requests, 0);
}

#[tokio::test]
async fn a_backoff_ends_when_the_program_stops() {
    let reply = Reply::new("503 Service Unavailable", "Retry-After: 300\r\n", "");
    let server = ScriptedServer::replies(vec![reply]).await;
    let (client, cancel) = server.client_with(|_, _| {});
    let (error, ()) = tokio::join!(report(&client), async {
        while server.heads().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(client.stats().requests, 1);
}

#[tokio::test]
async fn requests_in_flight_get_a_grace_period() {
    for (reply, grace, finished) in [
        (
            Reply::ok("{}").after(Duration::from_millis(20)),
            Duration::from_secs(60),
            true,
        ),
        (
            Reply::stalled("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
            Duration::from_millis(1),
            false,
        ),
    ] {
        let server = ScriptedServer::replies(vec![reply]).await;
        let (client, cancel) = server.client_with(|_, tuning| tuning.grace = grace);
        let (answer, ()) = tokio::join!(report(&client), async {
            while server.heads().is_empty() {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        });
        match answer {
            Ok(_) => assert!(finished),
            Err(error) => assert_eq!((error.kind(), finished), (ErrorKind::Interrupted, false)),
        }
    }
}
