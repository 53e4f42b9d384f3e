//! Lists, reports and links: retries, refusals, bounds, redaction, cancellation.

use std::time::Duration;

use chrono::{DateTime, NaiveDate};
use futures_util::future::join_all;

use super::{Reply, Server, TOKEN, milliseconds};
use crate::config::{self, ReportFormat};
use crate::{Error, ErrorKind};

async fn report(client: &crate::api::Client) -> crate::Result<String> {
    let bytes = client.report(&"s1".into(), &"r1".into(), &"c1".into(), ReportFormat::Json).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_list_is_asked_for_page_by_page_with_the_token() {
    let server = Server::start(|_, head| {
        if head.contains("offset=0 ") {
            Reply::ok(r#"{"items":[{"id":"a","name":"Школа"},{"id":"b"}],"total":3}"#)
        } else if head.contains("offset=2 ") {
            Reply::ok(r#"{"items":[{"id":"b"},{"id":7},{}],"total":4}"#)
        } else {
            Reply::ok(r#"{"items":[],"total":4}"#)
        }
    })
    .await;
    let client = server.client();
    let spaces = client.spaces().await.unwrap();
    let ids: Vec<_> = spaces.items.iter().map(|space| space.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "7"]);
    assert_eq!(
        (spaces.total, spaces.gap, spaces.unidentified),
        (Some(4), None, 1)
    );
    let heads = server.heads();
    assert!(
        heads[0].starts_with("GET /v1/spaces?limit=100&offset=0 HTTP/1.1\r\n"),
        "{}",
        heads[0]
    );
    let head = heads[0].to_ascii_lowercase();
    assert!(
        head.contains(&format!("authorization: bearer {TOKEN}\r\n")),
        "{head}"
    );
    assert!(
        head.contains(&format!("user-agent: telelake/{}\r\n", env!("CARGO_PKG_VERSION"))),
        "{head}"
    );
    assert_eq!(client.stats().requests, heads.len() as u64);
}

#[tokio::test]
async fn once_pages_are_known_short_lists_cost_one_request() {
    let server = Server::start(|_, head| {
        Reply::ok(if head.contains("/rooms/big/") {
            r#"[{"id":1},{"id":2},{"id":3}]"#
        } else {
            r#"[{"id":1}]"#
        })
    })
    .await;
    let client = server.client();
    let (from, to) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
    assert_eq!(client.records(&"s".into(), &"big".into(), from, to).await.unwrap().items.len(), 3);
    let before = client.stats().requests;
    assert_eq!(
        client.records(&"s".into(), &"small".into(), from, to).await.unwrap().items.len(),
        1
    );
    assert_eq!(client.stats().requests - before, 1);
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let server = Server::replies(vec![
        Reply::new(
            "503 Service Unavailable",
            "Retry-After: 0\r\n",
            "<html>busy</html>",
        ),
        Reply::new(
            "429 Too Many Requests",
            "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            "",
        ),
        Reply::raw(""),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\""),
        Reply::new("425 Too Early", "", ""),
        Reply::ok("{\"a\":true}"),
    ])
    .await;
    let client = server.client();
    assert_eq!(report(&client).await.unwrap(), "{\"a\":true}");
    assert_eq!((client.stats().requests, client.stats().retries), (6, 5));
}

#[tokio::test]
async fn what_does_not_pass_is_given_up_after_the_retries() {
    let server = Server::replies(vec![Reply::new("502 Bad Gateway", "", "<html>")]).await;
    let (client, _) = server.client_with(|config, _| config.retries = 2);
    let error = client.spaces().await.unwrap_err();
    assert_eq!(error.to_string(), "GET spaces: 502 Bad Gateway, 3 attempts");
    assert_eq!((error.kind(), client.stats().requests), (ErrorKind::Server, 3));
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_repeats_no_secret() {
    let body = format!(r#"{{"message":"bad token {TOKEN}","code":"X{TOKEN}"}}"#);
    for (status, kind) in [
        ("401 Unauthorized", ErrorKind::Unauthorized),
        ("403 Forbidden", ErrorKind::Forbidden),
        ("404 Not Found", ErrorKind::NotFound),
        ("422 Unprocessable Entity", ErrorKind::Rejected),
    ] {
        let server = Server::replies(vec![Reply::new(status, "", &body)]).await;
        let client = server.client();
        let error = client
            .calls(&"s1".into(), &"r1".into(), NaiveDate::from_ymd_opt(2023, 8, 1).unwrap())
            .await
            .unwrap_err();
        assert_eq!((error.kind(), client.stats().requests), (kind, 1));
        let text = format!("{error} {error:?} {client:?}");
        assert!(text.starts_with(&format!(
            "GET calls of room r1 of space s1 on 2023-08-01: {status}: bad token ***"
        )));
        assert!(!text.contains(TOKEN), "{text}");
    }
}

async fn list_error(reply: Reply) -> Error {
    let server = Server::replies(vec![reply]).await;
    let (client, _) = server.client_with(|config, tuning| {
        config.retries = 1;
        tuning.list_bytes = 40;
    });
    client.rooms(&"s1".into()).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_is_no_list_is_said_to_be_none() {
    let errors = [
        list_error(Reply::ok("<!DOCTYPE html><p>Sign in</p>")).await,
        list_error(Reply::ok("{\"items\":[")).await,
        list_error(Reply::ok("{\"rooms\":[]}")).await,
        list_error(Reply::new(
            "308 Permanent Redirect",
            "Location: https://h/?sig=1\r\n",
            "",
        ))
        .await,
        list_error(Reply::ok(&"[1111111111]".repeat(4))).await,
        list_error(Reply::raw(&format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[{}]",
            "1,".repeat(30)
        )))
        .await,
        list_error(Reply::raw(
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"items\":[{\"id\"",
        ))
        .await,
    ];
    let texts: Vec<_> = errors
        .iter()
        .map(|error| format!("{:?}: {error}", error.kind()))
        .collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    InvalidAnswer: GET rooms of space s1: 200 OK, but answered HTML, not JSON (check api.base_url)
    InvalidAnswer: GET rooms of space s1: 200 OK, but answered no JSON (check api.base_url)
    InvalidAnswer: GET rooms of space s1: 200 OK, but answered an object with the key `rooms`; a list needs `items` (check api.base_url)
    InvalidAnswer: GET rooms of space s1: 308 Permanent Redirect (check api.base_url: the API itself does not redirect here)
    TooLarge: GET rooms of space s1: answered more than 40 bytes
    TooLarge: GET rooms of space s1: answered more than 40 bytes
    Connection: GET rooms of space s1: the answer was cut, 2 attempts
    ");
}

/// Zeros, packed: a small answer that becomes a large one.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_within_the_bounds_of_a_plain_one() {
    let packed = |body: &[u8]| Reply::of_bytes("200 OK", "Content-Encoding: gzip\r\n", &gzip(body));
    let server = Server::replies(vec![packed(br#"[{"id":"r1"}]"#), packed(b"[]")]).await;
    assert_eq!(server.client().rooms(&"s1".into()).await.unwrap().items.len(), 1);
    let head = server.heads()[0].to_ascii_lowercase();
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    let errors = [
        list_error(packed(&[b' '; 41])).await,
        list_error(Reply::new("200 OK", "Content-Encoding: br\r\n", "[]")).await,
        list_error(Reply::new(
            "200 OK",
            "Content-Encoding: gzip\r\n",
            "[1,2,3,4,5,6,7,8,9]",
        ))
        .await,
        list_error(Reply::of_bytes(
            "422 Unprocessable Entity",
            "Content-Encoding: gzip\r\n",
            &gzip(br#"{"message":"no such room"}"#),
        ))
        .await,
    ];
    let texts: Vec<_> = errors
        .iter()
        .map(|error| format!("{:?}: {error}", error.kind()))
        .collect();
    insta::assert_snapshot!(texts.join("\n"), @r"
    TooLarge: GET rooms of space s1: answered more than 40 bytes, packed as gzip
    InvalidAnswer: GET rooms of space s1: answered in the encoding `br`, although it was asked for none (let the proxy in between leave the content as it is)
    InvalidAnswer: GET rooms of space s1: answered something that is not packed as gzip, as it says
    Rejected: GET rooms of space s1: 422 Unprocessable Entity: no such room
    ");
}

#[tokio::test]
async fn an_error_that_calls_itself_a_success_is_repeated_like_the_error_it_is() {
    let server = Server::replies(vec![
        Reply::ok(r#"{"message":"too many requests","code":429}"#),
        Reply::ok(r#"{"message":"Внутренняя ошибка","code":"internal_error"}"#),
        Reply::ok(r#"{"message":null,"code":"500"}"#),
        Reply::ok(r#"{"error":{"message":"try again","code":null}}"#),
        Reply::ok(r#"{"statusCode":503,"message":"busy","error":"Service Unavailable"}"#),
        Reply::ok(r#"{"callId":"c1"}"#),
    ])
    .await;
    let client = server.client();
    assert_eq!(report(&client).await.unwrap(), r#"{"callId":"c1"}"#);
    assert_eq!((client.stats().requests, client.stats().retries), (6, 5));
    let hidden = async |body: &str| {
        let server = Server::replies(vec![Reply::ok(body)]).await;
        let (client, _) = server.client_with(|config, _| config.retries = 1);
        let error = report(&client).await.unwrap_err();
        let link = client.download_link(&"s1".into(), &"r1".into(), &"x1".into()).await.unwrap_err();
        let list = client.rooms(&"s1".into()).await.unwrap_err();
        assert_eq!([link.kind(), list.kind()], [error.kind(); 2], "{body}");
        format!("{:?}: {}", error.kind(), error.message())
    };
    let texts = [
        hidden(&format!(
            r#"{{"message":"token {TOKEN} of ivan@example.org","code":7}}"#
        ))
        .await,
        hidden(r#"{"error":"invalid_token","error_description":"expired"}"#).await,
        hidden(r#"{"message":"Данный метод запрещен","code":"forbidden"}"#).await,
        hidden(r#"{"message":"no call","statusCode":"404","path":"/v1/x"}"#).await,
        hidden(r#"{"message":["a is wrong","b is wrong"],"code":422}"#).await,
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
    Server: answered an error as 200 OK (code 7), 2 attempts
    Unauthorized: answered an error as 200 OK (code invalid_token)
    Forbidden: answered an error as 200 OK (code forbidden)
    NotFound: answered an error as 200 OK (code 404)
    Rejected: answered an error as 200 OK (code 422)
    ");
}

#[tokio::test]
async fn words_of_success_are_no_error() {
    // Only a code tells of a request that changes something: that it came to nothing.
    for (body, is_stored) in [
        (r#"{"message":"saved"}"#, true),
        (r#"{"status":"ok","message":"saved","code":200}"#, true),
        ("", true),
        (r#"{"message":"too large","code":413}"#, false),
    ] {
        let server = Server::replies(vec![Reply::ok(body)]).await;
        let client = server.client();
        let stored = client.store_meta("/users/external-meta", &serde_json::Value::Null);
        assert_eq!(stored.await.is_ok(), is_stored, "{body}");
    }
    // An empty report, and one with a field that no error has.
    for body in [
        "{}",
        r#"{"message":null}"#,
        r#"{"message":"hello","participants":[]}"#,
    ] {
        let server = Server::replies(vec![Reply::ok(body)]).await;
        assert_eq!(report(&server.client()).await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_limiter_may_call_itself_unavailable() {
    let busy = Reply::new("503 Service Unavailable", "", r#"{"code":"rate_limit_exceeded"}"#);
    let server = Server::replies(vec![busy, Reply::ok("{}")]).await;
    let (client, _) = server.client_with(|config, _| config.retries = 0);
    assert_eq!(report(&client).await.unwrap(), "{}", "it spends no attempt");
}

#[tokio::test]
async fn a_head_without_end_is_left() {
    for head in [
        format!("X-Long: {}\r\n", "x".repeat(2 << 20)),
        "X-Many: x\r\n".repeat(1000),
    ] {
        let server = Server::replies(vec![Reply::raw(&format!(
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
async fn an_errors_body_is_read_no_further_than_it_is_of_use() {
    let endless = format!(
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n{{\"message\":\"{}",
        "x".repeat(4 << 20)
    );
    let server = Server::replies(vec![Reply::stalled(&endless)]).await;
    let error = report(&server.client()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Forbidden, "403 Forbidden")
    );
}

#[tokio::test]
async fn a_server_that_is_overrun_is_asked_for_less_at_once() {
    // The first ones all come at once, and are too many.
    let server = Server::start(|index, _| {
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
async fn an_answer_that_does_not_come_times_out() {
    for reply in [
        Reply::stalled(""),
        Reply::stalled("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
    ] {
        let server = Server::replies(vec![reply]).await;
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
async fn a_host_that_is_not_there_is_told_with_its_cause() {
    let server = Server::replies(vec![Reply::ok("")]).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let (client, _) = server.client_with(|config, _| {
        config.base_url = format!("http://{free}/v1");
        config.retries = 1;
    });
    let error = client.spaces().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(
        error.to_string(),
        "GET spaces: no connection: Connection refused (os error 111), 2 attempts \
         (nothing listens there: check the host and port in api.base_url, and the firewall)"
    );
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_configured() {
    let server = Server::start(|_, _| Reply::ok("{}").after(Duration::from_millis(5))).await;
    let (client, _) = server.client_with(|config, _| config.concurrency = 3);
    let reports = join_all((0..20).map(|_| report(&client))).await;
    assert!(reports.iter().all(Result::is_ok));
    assert!(server.most_at_once() <= 3, "{}", server.most_at_once());
}

#[tokio::test]
async fn a_link_comes_as_text_as_json_or_as_a_redirect() {
    for (reply, host) in [
        (
            Reply::ok("https://blob.example/r.mp4?sig=s1gned\n"),
            "blob.example",
        ),
        (
            Reply::ok(r#""https://blob.example/r.mp4?sig=s1gned""#),
            "blob.example",
        ),
        (
            Reply::ok(r#"{"url":"https://blob.example/r.mp4?sig=s1gned"}"#),
            "blob.example",
        ),
        (
            Reply::new(
                "302 Found",
                "Location: https://blob.example/r.mp4?sig=s1gned\r\n",
                "",
            ),
            "blob.example",
        ),
        (
            Reply::new(
                "307 Temporary Redirect",
                "Location: /blob/r.mp4?sig=s1gned\r\n",
                "",
            ),
            "127.0.0.1",
        ),
        (
            Reply::new("302 Found", "Location: /мой урок.mp4?sig=s1gned\r\n", ""),
            "127.0.0.1",
        ),
        (
            Reply::new("302 Found", "Location: https://блоб.example/мой урок.mp4\r\n", ""),
            "xn--90aa3am.example",
        ),
        (
            Reply::of_bytes(
                "302 Found",
                "Location: https://blob.example/%D1%83%20.mp4 \r\n",
                b"",
            ),
            "blob.example",
        ),
    ] {
        let server = Server::replies(vec![reply]).await;
        let link = server.client().download_link(&"s1".into(), &"r1".into(), &"x1".into()).await.unwrap();
        assert_eq!(
            (link.to_string(), format!("{link:?}")),
            (host.to_owned(), format!("Link({host})"))
        );
    }
    for (reply, kind) in [
        (Reply::ok("<html></html>"), ErrorKind::InvalidAnswer),
        (Reply::ok("soon"), ErrorKind::InvalidAnswer),
        (Reply::ok("ftp://h/r.mp4"), ErrorKind::InvalidAnswer),
        (Reply::new("302 Found", "", ""), ErrorKind::InvalidAnswer),
        (
            Reply::new("302 Found", "Location: file:///etc/passwd\r\n", ""),
            ErrorKind::InvalidAnswer,
        ),
        (Reply::ok(&"x".repeat(16 * 1024 + 1)), ErrorKind::TooLarge),
        (
            Reply::new("404 Not Found", "", "{\"message\":\"no record\"}"),
            ErrorKind::NotFound,
        ),
    ] {
        let server = Server::replies(vec![reply]).await;
        let error = server.client().download_link(&"s1".into(), &"r1".into(), &"x1".into()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(
            error.about(),
            "GET download link of record x1 in room r1 of space s1"
        );
    }
}

#[tokio::test]
async fn a_video_where_a_link_was_asked_for_is_named() {
    let mp4 = [&b"\0\0\0\x14ftypisom\0\0\x02\0isom"[..], &[7; 100_000]].concat();
    for reply in [
        Reply::of_bytes("200 OK", "", &mp4),
        Reply::of_bytes("200 OK", "", &mp4[..100]),
        Reply::new("200 OK", "Content-Type: video/mp4\r\n", ""),
        // Of gigabytes nothing is waited for.
        Reply::stalled("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 9000000000\r\n\r\n"),
    ] {
        let server = Server::replies(vec![reply]).await;
        let error = server.client().download_link(&"s1".into(), &"r1".into(), &"x1".into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
        assert_eq!(
            error.message(),
            "200 OK, but answered the video itself, not a link to it"
        );
    }
}

#[tokio::test]
async fn nothing_is_sent_once_the_program_stops() {
    let server = Server::replies(vec![Reply::ok("{}")]).await;
    let (client, cancel) = server.client_with(|_, _| {});
    cancel.cancel();
    assert_eq!(report(&client).await.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(client.stats().requests, 0);
}

#[tokio::test]
async fn a_backoff_ends_when_the_program_stops() {
    let reply = Reply::new("503 Service Unavailable", "Retry-After: 300\r\n", "");
    let server = Server::replies(vec![reply]).await;
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
async fn what_is_in_flight_gets_a_grace() {
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
        let server = Server::replies(vec![reply]).await;
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

#[test]
fn a_client_that_can_not_work_is_not_made() {
    let new = |base_url: &str, token: &str| {
        let config = config::Api {
            base_url: base_url.into(),
            token: config::Secret::new(token),
            ..config::Api::default()
        };
        crate::api::Client::new(&config, tokio_util::sync::CancellationToken::new())
    };
    assert_eq!(new("mailto:x", "t").unwrap_err().about(), "api.base_url");
    let error = new("http://h", "to\nken").unwrap_err();
    assert_eq!((error.about(), error.kind()), ("api.token", ErrorKind::Config));
    assert!(!error.to_string().contains("ken\""));
    new("https://h", "t").unwrap();
}

#[tokio::test]
async fn requests_can_be_sent_from_any_task() {
    let server = Server::replies(vec![Reply::ok("[]")]).await;
    let client = server.client();
    let task = tokio::spawn(async move {
        let rooms = client.rooms(&"s1".into()).await?;
        let link = client.download_link(&"s1".into(), &"r1".into(), &"x1".into()).await;
        Ok::<_, Error>((rooms.items.len(), link.is_err()))
    });
    assert_eq!(task.await.unwrap().unwrap(), (0, true));
}

#[tokio::test]
async fn what_was_refused_is_sent_again_with_the_token_that_the_file_holds_by_then() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "first-t0ken").unwrap();
    let rotated = file.clone();
    let server = Server::start(move |index, head| {
        if index == 0 {
            std::fs::write(&rotated, "second-t0ken").unwrap();
        }
        if head.contains("Bearer second-t0ken") {
            Reply::ok("[]")
        } else {
            Reply::new("401 Unauthorized", "", "{}")
        }
    })
    .await;
    let (client, _cancel) = server.client_with(|config, _| {
        config.token = config::Secret::default();
        config.token_file = file.display().to_string();
    });
    let beside = client.beside(tokio_util::sync::CancellationToken::new());
    let space = "s1".into();
    let asked = (0..6).map(|n| {
        if n % 2 == 0 {
            client.rooms(&space)
        } else {
            beside.rooms(&space)
        }
    });
    for answer in futures_util::future::join_all(asked).await {
        answer.unwrap();
    }
    let heads = server.heads();
    let second = heads.iter().filter(|head| head.contains("second-t0ken")).count();
    assert!(second >= 6 && heads.len() <= 12, "{} of {}", second, heads.len());
    // A file that holds nothing new is no help, and is told as what it is.
    let server = Server::start(|_, _| Reply::new("401 Unauthorized", "", "{}")).await;
    let (client, _cancel) = server.client_with(|config, _| {
        config.token = config::Secret::default();
        config.token_file = file.display().to_string();
    });
    let error = client.rooms(&"s1".into()).await.unwrap_err();
    assert_eq!((error.kind(), server.heads().len()), (ErrorKind::Unauthorized, 1));
}
