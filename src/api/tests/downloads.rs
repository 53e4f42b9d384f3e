//! Tests of downloads: framing, cuts, stalls, resumption, refused links, redirects, secrets.

use super::{Reply, ScriptedServer, TOKEN, milliseconds};
use crate::api::{Client, Download, Link, Resume};
use crate::{ErrorKind, Result};

fn link(server: &ScriptedServer) -> Link {
    Link::new(
        reqwest::Url::parse(&format!("{}/r.mp4?sig=s1gned", server.url)).unwrap(),
        &"s1".into(),
        &"x1".into(),
    )
}

async fn read(download: &mut Download) -> Result<String> {
    let mut text = String::new();
    while let Some(chunk) = download.chunk().await? {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    Ok(text)
}

async fn open(reply: Reply, resume: Option<Resume>) -> (ScriptedServer, Client, Result<Download>) {
    let server = ScriptedServer::replies(vec![reply]).await;
    let (client, _) = server.client_with(|config, _| {
        config.timeout = milliseconds("200ms");
        config.retries = 1;
    });
    let download = client.download(&link(&server), resume).await;
    (server, client, download)
}

#[tokio::test]
async fn a_download_is_read_in_chunks_and_sends_no_token() {
    let (server, client, download) = open(Reply::new("200 OK", "ETag: \"e1\"\r\n", "abcdef"), None).await;
    let mut download = download.unwrap();
    assert_eq!(
        (download.length, download.total, download.offset),
        (Some(6), Some(6), 0)
    );
    assert_eq!(
        (download.framed, download.etag.as_deref()),
        (true, Some("\"e1\""))
    );
    assert_eq!(read(&mut download).await.unwrap(), "abcdef");
    let head = server.heads()[0].to_ascii_lowercase();
    assert!(
        head.starts_with("get /r.mp4?sig=s1gned ") && head.contains("accept-encoding: identity"),
        "{head}"
    );
    assert!(
        !head.contains("authorization") && !head.contains(TOKEN) && !head.contains("range"),
        "{head}"
    );
    assert_eq!(client.stats().requests, 0);
}

#[tokio::test]
async fn a_body_without_a_marked_end_is_reported_as_not_framed() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let mut download = open(Reply::raw(chunked), None).await.2.unwrap();
    assert_eq!((download.framed, download.length), (true, None));
    assert_eq!(read(&mut download).await.unwrap(), "abc");
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc";
    let mut download = open(Reply::raw(close), None).await.2.unwrap();
    assert_eq!((download.framed, download.length), (false, None));
    assert_eq!(read(&mut download).await.unwrap(), "abc");
}

#[tokio::test]
async fn a_cut_or_stalled_body_is_a_connection_error() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc";
    for reply in [Reply::raw(head), Reply::raw(chunked), Reply::stalled(head)] {
        let mut download = open(reply, None).await.2.unwrap();
        let error = read(&mut download).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
        assert_eq!(error.about(), "GET recording x1 from 127.0.0.1");
        assert!(!error.to_string().contains("s1gned"));
    }
}

fn resume(etag: Option<&str>) -> Option<Resume> {
    Some(Resume {
        offset: 4,
        etag: etag.map(Into::into),
    })
}

#[tokio::test]
async fn a_download_resumes_at_its_offset() {
    let part = |headers: &str| Reply::new("206 Partial Content", headers, "ef");
    let (server, _, download) = open(
        part("Content-Range: bytes 4-5/6\r\nETag: \"e1\"\r\n"),
        resume(Some("\"e1\"")),
    )
    .await;
    let mut download = download.unwrap();
    assert_eq!(
        (download.offset, download.length, download.total),
        (4, Some(2), Some(6))
    );
    assert_eq!(read(&mut download).await.unwrap(), "ef");
    let head = server.heads()[0].to_ascii_lowercase();
    assert!(
        head.contains("\r\nrange: bytes=4-\r\n") && head.contains("\r\nif-range: \"e1\"\r\n"),
        "{head}"
    );

    let (server, _, download) = open(part("Content-Range: bytes 4-5/*\r\n"), resume(Some("W/\"e1\""))).await;
    assert_eq!(download.unwrap().total, Some(6));
    assert!(!server.heads()[0].to_ascii_lowercase().contains("if-range"));

    let download = open(Reply::ok("abcdef"), resume(None)).await.2.unwrap();
    assert_eq!((download.offset, download.total), (0, Some(6)));
}

#[tokio::test]
async fn a_wrong_range_or_a_changed_file_is_refused() {
    for (reply, resume) in [
        (
            Reply::new("206 Partial Content", "Content-Range: bytes 3-5/6\r\n", "def"),
            resume(None),
        ),
        (Reply::new("206 Partial Content", "", "ef"), resume(None)),
        (
            Reply::new(
                "206 Partial Content",
                "Content-Range: bytes 4-5/6\r\nETag: \"e2\"\r\n",
                "ef",
            ),
            resume(Some("\"e1\"")),
        ),
        (
            Reply::new("206 Partial Content", "Content-Range: bytes 4-5/6\r\n", "ef"),
            None,
        ),
        (
            Reply::new("416 Range Not Satisfiable", "Content-Range: bytes */4\r\n", ""),
            resume(None),
        ),
    ] {
        let error = open(reply, resume).await.2.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Content, "{error}");
    }
}

#[tokio::test]
async fn a_refused_link_is_no_failure_of_the_host() {
    for status in [
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "410 Gone",
    ] {
        let (server, client, download) = open(Reply::new(status, "", "<Error>s1gned</Error>"), None).await;
        let error = download.unwrap_err();
        assert_eq!(
            (error.kind(), server.heads().len(), client.stats().retries),
            (ErrorKind::Forbidden, 1, 0)
        );
        assert_eq!(error.message(), format!("{status}: the download link is refused"));
    }
    let replies = vec![
        Reply::new("503 Slow Down", "", ""),
        Reply::raw(""),
        Reply::ok("abc"),
    ];
    let server = ScriptedServer::replies(replies).await;
    let client = server.client();
    let mut download = client.download(&link(&server), None).await.unwrap();
    assert_eq!(
        (read(&mut download).await.unwrap(), client.stats().retries),
        ("abc".to_owned(), 2)
    );
    let error = open(Reply::new("429 Too Many Requests", "", ""), None)
        .await
        .2
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::RateLimited, "429 Too Many Requests, 2 attempts")
    );
}

#[tokio::test]
async fn redirects_are_followed_within_limits() {
    let server = ScriptedServer::replies(vec![
        Reply::new("302 Found", "Location: /other\r\n", ""),
        Reply::ok("abc"),
    ])
    .await;
    let (client, first) = (server.client(), link(&server));
    let task = tokio::spawn(async move { read(&mut client.download(&first, None).await?).await });
    assert_eq!(task.await.unwrap().unwrap(), "abc");
    assert!(
        !server.heads()[1].contains("s1gned"),
        "the signature is sent to the next host"
    );
    for location in [
        "/r.mp4?sig=s1gned",
        "ftp://h/r.mp4?sig=s1gned",
        "file:///etc/passwd",
    ] {
        let reply = Reply::new("302 Found", &format!("Location: {location}\r\n"), "");
        let (server, _, download) = open(reply, None).await;
        let error = download.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
        assert!(!error.to_string().contains("s1gned") && server.heads().len() <= 6);
    }
    let error = open(Reply::new("302 Found", "", ""), None).await.2.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidAnswer, "{error}");
}

#[tokio::test]
async fn a_compressed_file_is_refused() {
    for encoding in ["gzip", "br"] {
        let headers = format!("Content-Encoding: {encoding}\r\n");
        let (server, _, download) = open(Reply::new("200 OK", &headers, "abc"), None).await;
        let error = download.unwrap_err();
        assert_eq!(
            (error.kind(), server.heads().len()),
            (ErrorKind::InvalidAnswer, 1)
        );
        assert!(
            error.message().contains(&format!("encoding `{encoding}`")),
            "{error}"
        );
    }
    let reply = Reply::new("200 OK", "Content-Encoding: identity\r\n", "abc");
    let mut download = open(reply, None).await.2.unwrap();
    assert_eq!(read(&mut download).await.unwrap(), "abc");
}

#[tokio::test]
async fn a_pause_of_hours_ends_the_download() {
    let reply = Reply::new("503 Service Unavailable", "Retry-After: 7200\r\n", "");
    let (server, client, download) = open(reply, None).await;
    let error = download.unwrap_err();
    assert_eq!((server.heads().len(), client.stats().retries), (1, 0));
    assert!(error.is_postponed() && !error.is_retryable());
    assert_eq!(
        error.message(),
        "503 Service Unavailable: it asks for a pause of 2h, so the next run tries again"
    );
}

#[tokio::test]
async fn a_redirect_may_hold_spaces_and_cyrillic_letters() {
    for location in [
        "/мой урок.mp4",
        "/%D0%BC%D0%BE%D0%B9%20%D1%83%D1%80%D0%BE%D0%BA.mp4",
    ] {
        let server = ScriptedServer::replies(vec![
            Reply::new("302 Found", &format!("Location: {location}\r\n"), ""),
            Reply::ok("abc"),
        ])
        .await;
        let mut download = server.client().download(&link(&server), None).await.unwrap();
        assert_eq!(read(&mut download).await.unwrap(), "abc");
        let asked = "GET /%D0%BC%D0%BE%D0%B9%20%D1%83%D1%80%D0%BE%D0%BA.mp4 ";
        assert!(server.heads()[1].starts_with(asked), "{}", server.heads()[1]);
    }
}

#[tokio::test]
async fn a_fast_download_ends_when_the_program_stops() {
    let server = ScriptedServer::replies(vec![Reply::ok(&"x".repeat(1 << 20))]).await;
    let (client, cancel) = server.client_with(|_, tuning| tuning.grace = std::time::Duration::ZERO);
    let mut download = client.download(&link(&server), None).await.unwrap();
    assert!(download.chunk().await.unwrap().is_some());
    cancel.cancel();
    assert_eq!(download.chunk().await.unwrap_err().kind(), ErrorKind::Interrupted);
    let error = client.download(&link(&server), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}
