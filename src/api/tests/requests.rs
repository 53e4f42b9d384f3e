//! Tests of requests: retries, refusals, links, masking, tokens.

use chrono::NaiveDate;

use super::{Reply, ScriptedServer, TOKEN, report};
use crate::config;
use crate::{Error, ErrorKind};

#[tokio::test]
async fn temporary_failures_are_retried() {
    let server = ScriptedServer::replies(vec![
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
async fn a_lasting_failure_is_reported_after_the_retries() {
    let server = ScriptedServer::replies(vec![Reply::new("502 Bad Gateway", "", "<html>")]).await;
    let (client, _) = server.client_with(|config, _| config.retries = 2);
    let error = client.spaces().await.unwrap_err();
    assert_eq!(error.to_string(), "GET spaces: 502 Bad Gateway, 3 attempts");
    assert_eq!((error.kind(), client.stats().requests), (ErrorKind::Server, 3));
}

#[tokio::test]
async fn a_refusal_is_not_retried_and_shows_no_secret() {
    let body = format!(r#"{{"message":"bad token {TOKEN}","code":"X{TOKEN}"}}"#);
    for (status, kind) in [
        ("401 Unauthorized", ErrorKind::Unauthorized),
        ("403 Forbidden", ErrorKind::Forbidden),
        ("404 Not Found", ErrorKind::NotFound),
        ("422 Unprocessable Entity", ErrorKind::Rejected),
    ] {
        let server = ScriptedServer::replies(vec![Reply::new(status, "", &body)]).await;
        let client = server.client();
        let error = client
            .calls(
                &"s1".into(),
                &"r1".into(),
                NaiveDate::from_ymd_opt(2023, 8, 1).unwrap(),
            )
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

#[tokio::test]
async fn an_error_with_a_success_status_is_handled_like_any_error() {
    let server = ScriptedServer::replies(vec![
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
        let server = ScriptedServer::replies(vec![Reply::ok(body)]).await;
        let (client, _) = server.client_with(|config, _| config.retries = 1);
        let error = report(&client).await.unwrap_err();
        let link = client
            .download_link(&"s1".into(), &"r1".into(), &"x1".into())
            .await
            .unwrap_err();
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
async fn a_message_of_success_is_no_error() {
    // The answer to a request that changes something is an error only if it holds an error code.
    for (body, is_stored) in [
        (r#"{"message":"saved"}"#, true),
        (r#"{"status":"ok","message":"saved","code":200}"#, true),
        ("", true),
        (r#"{"message":"too large","code":413}"#, false),
    ] {
        let server = ScriptedServer::replies(vec![Reply::ok(body)]).await;
        let client = server.client();
        let stored = client.store_meta("/users/external-meta", &serde_json::Value::Null);
        assert_eq!(stored.await.is_ok(), is_stored, "{body}");
    }
    // An empty report, and a report with a field that no error has.
    for body in [
        "{}",
        r#"{"message":null}"#,
        r#"{"message":"hello","participants":[]}"#,
    ] {
        let server = ScriptedServer::replies(vec![Reply::ok(body)]).await;
        assert_eq!(report(&server.client()).await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_limiter_may_answer_503() {
    let busy = Reply::new("503 Service Unavailable", "", r#"{"code":"rate_limit_exceeded"}"#);
    let server = ScriptedServer::replies(vec![busy, Reply::ok("{}")]).await;
    let (client, _) = server.client_with(|config, _| config.retries = 0);
    assert_eq!(
        report(&client).await.unwrap(),
        "{}",
        "a refusal counts as no attempt"
    );
}

#[tokio::test]
async fn an_unreachable_host_is_reported_with_its_cause() {
    let server = ScriptedServer::replies(vec![Reply::ok("")]).await;
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
async fn a_link_is_read_from_text_json_or_a_redirect() {
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
        let server = ScriptedServer::replies(vec![reply]).await;
        let link = server
            .client()
            .download_link(&"s1".into(), &"r1".into(), &"x1".into())
            .await
            .unwrap();
        assert_eq!(
            (link.to_string(), format!("{link:?}")),
            (host.to_owned(), format!("Link({host})"))
        );
    }
}

#[tokio::test]
async fn an_answer_without_a_link_is_an_error_that_names_the_record() {
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
        let server = ScriptedServer::replies(vec![reply]).await;
        let error = server
            .client()
            .download_link(&"s1".into(), &"r1".into(), &"x1".into())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(
            error.about(),
            "GET download link of record x1 in room r1 of space s1"
        );
    }
}

#[tokio::test]
async fn a_video_instead_of_a_link_is_an_error() {
    let mp4 = [&b"\0\0\0\x14ftypisom\0\0\x02\0isom"[..], &[7; 100_000]].concat();
    for reply in [
        Reply::of_bytes("200 OK", "", &mp4),
        Reply::of_bytes("200 OK", "", &mp4[..100]),
        Reply::new("200 OK", "Content-Type: video/mp4\r\n", ""),
        // The client must not wait for gigabytes.
        Reply::stalled("HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: 9000000000\r\n\r\n"),
    ] {
        let server = ScriptedServer::replies(vec![reply]).await;
        let error = server
            .client()
            .download_link(&"s1".into(), &"r1".into(), &"x1".into())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
        assert_eq!(
            error.message(),
            "200 OK, but answered the video itself, not a link to it"
        );
    }
}

#[test]
fn a_client_with_a_bad_configuration_is_not_created() {
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
    let server = ScriptedServer::replies(vec![Reply::ok("[]")]).await;
    let client = server.client();
    let task = tokio::spawn(async move {
        let rooms = client.rooms(&"s1".into()).await?;
        let link = client
            .download_link(&"s1".into(), &"r1".into(), &"x1".into())
            .await;
        Ok::<_, Error>((rooms.items.len(), link.is_err()))
    });
    assert_eq!(task.await.unwrap().unwrap(), (0, true));
}

#[tokio::test]
async fn a_refused_request_is_sent_again_with_the_new_token_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "first-t0ken").unwrap();
    let rotated = file.clone();
    let server = ScriptedServer::start(move |index, head| {
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
    let beside = client.beside(tokio_util::sync::CancellationToken::new(), None);
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
    // If the file holds no new token, the refusal is reported.
    let server = ScriptedServer::start(|_, _| Reply::new("401 Unauthorized", "", "{}")).await;
    let (client, _cancel) = server.client_with(|config, _| {
        config.token = config::Secret::default();
        config.token_file = file.display().to_string();
    });
    let error = client.rooms(&"s1".into()).await.unwrap_err();
    assert_eq!((error.kind(), server.heads().len()), (ErrorKind::Unauthorized, 1));
}
