//! Tests of the rate limiter in virtual time: all requests are held, and refusals do not count as attempts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::request::{self, Request};
use crate::api::{Client, Tuning};
use crate::config::{self, ReportFormat};
use crate::{Error, ErrorKind, Result};

const MINUTE: Duration = Duration::from_secs(60);

/// A limiter of `most` requests per minute that names no pause in its refusals.
#[derive(Default)]
struct Limiter {
    window: Mutex<Option<(Instant, u32)>>,
    sent: AtomicUsize,
}

impl Limiter {
    async fn answer(&self, most: u32) -> Result<()> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut window = self.window.lock().unwrap();
        let (begun, count) = window
            .filter(|(begun, _)| now - *begun < MINUTE)
            .unwrap_or((now, 0));
        *window = Some((begun, count + 1));
        if count < most { Ok(()) } else { Err(too_many(None)) }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

fn too_many(asked: Option<Duration>) -> Error {
    Error::new(ErrorKind::RateLimited, "GET x", "429 Too Many Requests").retry_after(asked)
}

/// A client whose base URL is never reached: the tests pass the answers in.
fn client() -> Client {
    let config = config::Api {
        base_url: "http://127.0.0.1:9/v1".into(),
        ..config::Api::default()
    };
    Client::tuned(&config, CancellationToken::new(), Tuning::default()).unwrap()
}

fn report(room: usize, call: usize) -> Request {
    request::report(
        &"s".into(),
        &format!("r{room}").into(),
        &format!("c{call}").into(),
        ReportFormat::Json,
    )
    .unwrap()
}

/// Sends a request like the client does, with `answer` in place of the server.
async fn send<T, F: Future<Output = Result<T>>>(
    client: &Client,
    request: &Request,
    answer: impl Fn() -> F,
) -> Result<T> {
    let sender = &client.sender;
    let attempt = || async {
        let seen = OnceLock::new();
        sender.attempt(request, &seen, answer()).await
    };
    sender.persist(request.about(), request.scope(), attempt).await
}

#[tokio::test(start_paused = true)]
async fn forty_rooms_get_all_answers_at_forty_requests_per_minute() {
    let (client, limiter, start) = (client(), Limiter::default(), Instant::now());
    let rooms = (0..40).map(|room| {
        let (client, limiter) = (&client, &limiter);
        async move {
            for call in 0..10 {
                send(client, &report(room, call), || limiter.answer(40)).await?;
            }
            Ok(())
        }
    });
    let all: Vec<Result<()>> = join_all(rooms).await;
    for outcome in all {
        outcome.unwrap();
    }
    // 400 requests at 40 per minute take nine windows after the first one.
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    assert!((9.0..12.0).contains(&minutes), "{minutes} minutes");
    assert!(limiter.sent() < 800, "{} requests were sent", limiter.sent());
    assert!(
        client.refused().is_empty(),
        "no circuit opens: {:?}",
        client.refused()
    );
    let limited = client.limited().unwrap();
    assert_eq!(
        (limited.refused + 400, limited.unsent),
        (limiter.sent() as u64, 0)
    );
    let rate = limited.rate.unwrap();
    assert!((0.55..0.7).contains(&rate), "{rate} a second");
}

#[tokio::test(start_paused = true)]
async fn no_request_is_sent_during_a_hold() {
    let (client, limiter) = (client(), Limiter::default());
    let sent = Arc::new(Mutex::new(Vec::new()));
    let requests = (0..200).map(|call| {
        let (client, limiter, sent) = (&client, &limiter, Arc::clone(&sent));
        async move {
            let answer = || async {
                sent.lock().unwrap().push(Instant::now());
                limiter.answer(40).await
            };
            send(client, &report(call, call), answer).await
        }
    });
    for outcome in join_all(requests).await {
        outcome.unwrap();
    }
    let mut sent = sent.lock().unwrap().clone();
    sent.sort();
    // Bursts of requests are at least a second apart.
    let pauses = sent
        .windows(2)
        .filter(|pair| pair[1] - pair[0] >= Duration::from_secs(1));
    assert!(pauses.count() >= 4 * 5, "each minute has several holds");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_only_refuses_is_given_up_after_minutes() {
    let (client, limiter, start) = (client(), Limiter::default(), Instant::now());
    let requests = (0..500).map(|call| {
        let (client, limiter) = (&client, &limiter);
        async move { send(client, &report(call % 40, call), || limiter.answer(0)).await }
    });
    let kinds: Vec<_> = join_all(requests)
        .await
        .into_iter()
        .map(|outcome| outcome.unwrap_err().kind())
        .collect();
    assert!(kinds.contains(&ErrorKind::RateLimited) && kinds.contains(&ErrorKind::Skipped));
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    assert!((5.0..8.0).contains(&minutes), "{minutes} minutes");
    assert!(limiter.sent() < 60, "{} requests were sent", limiter.sent());
    assert!(client.is_shut_out(&"s".into()) && client.refused().is_empty());
    assert!(client.limited().unwrap().unsent > 400);
    // The API answers again.
    tokio::time::sleep(MINUTE).await;
    send(&client, &report(0, 0), || limiter.answer(40)).await.unwrap();
    assert!(!client.is_shut_out(&"s".into()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_alone_is_refused_fails_and_the_others_continue() {
    let (client, others) = (client(), AtomicUsize::new(0));
    let busy = async {
        for call in 0..1000 {
            let answer = || async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(())
            };
            send(&client, &report(1, call), answer).await.unwrap();
            others.fetch_add(1, Ordering::Relaxed);
        }
    };
    let alone = async {
        let error = send(&client, &report(0, 0), || async { Err::<(), _>(too_many(None)) })
            .await
            .unwrap_err();
        assert!(
            others.load(Ordering::Relaxed) < 1000,
            "the request fails long before the others are done"
        );
        error
    };
    let ((), error) = tokio::join!(busy, alone);
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(
        error.to_string().contains("429 Too Many Requests, 11 attempts"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_hours_concerns_only_its_object() {
    for kind in [ErrorKind::RateLimited, ErrorKind::Server] {
        let (client, start) = (client(), Instant::now());
        let requests = (0..200).map(|call| {
            let client = &client;
            async move {
                let answer = || async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    match call {
                        7 => Err(Error::new(kind, "GET x", "later").retry_after(Some(MINUTE * 120))),
                        _ => Ok(()),
                    }
                };
                send(client, &report(call % 40, call), answer).await
            }
        });
        let outcomes = join_all(requests).await;
        let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(
            failed[0].message(),
            "later: it asks for a pause of 2h, so the next run tries again"
        );
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert!(client.refused().is_empty() && client.limited().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_hours_in_all_answers_ends_the_run_soon() {
    let (client, sent, start) = (client(), AtomicUsize::new(0), Instant::now());
    let requests = (0..500).map(|call| {
        let (client, sent) = (&client, &sent);
        async move {
            let answer = || async {
                sent.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err::<(), _>(too_many(Some(MINUTE * 120)))
            };
            send(client, &report(call % 40, call), answer).await.unwrap_err()
        }
    });
    join_all(requests).await;
    assert!(sent.load(Ordering::Relaxed) < 50, "{sent:?} requests were sent");
    assert!(client.is_shut_out(&"s".into()) && start.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_short_pause_holds_all_requests() {
    let (client, start, first) = (client(), Instant::now(), AtomicUsize::new(0));
    let requests = (0..30).map(|call| {
        let (client, first) = (&client, &first);
        async move {
            let answer = || async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                match first.fetch_add(1, Ordering::Relaxed) {
                    0 => Err(too_many(Some(MINUTE * 5))),
                    _ => Ok(()),
                }
            };
            send(client, &report(call, call), answer).await
        }
    });
    for outcome in join_all(requests).await {
        outcome.unwrap();
    }
    assert!(start.elapsed() >= MINUTE * 5 && start.elapsed() < MINUTE * 6);
}
