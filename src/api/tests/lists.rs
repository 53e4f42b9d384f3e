//! Tests of lists: pages, answers that are no list, compressed answers.

use chrono::DateTime;

use super::{Reply, ScriptedServer, TOKEN};
use crate::Error;

#[tokio::test]
async fn a_list_is_requested_page_by_page_with_the_token() {
    let server = ScriptedServer::start(|_, head| {
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
async fn a_short_list_costs_one_request_after_a_longer_page() {
    let server = ScriptedServer::start(|_, head| {
        Reply::ok(if head.contains("/rooms/big/") {
            r#"[{"id":1},{"id":2},{"id":3}]"#
        } else {
            r#"[{"id":1}]"#
        })
    })
    .await;
    let client = server.client();
    let (from, to) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
    assert_eq!(
        client
            .records(&"s".into(), &"big".into(), from, to)
            .await
            .unwrap()
            .items
            .len(),
        3
    );
    let before = client.stats().requests;
    assert_eq!(
        client
            .records(&"s".into(), &"small".into(), from, to)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    assert_eq!(client.stats().requests - before, 1);
}

async fn list_error(reply: Reply) -> Error {
    let server = ScriptedServer::replies(vec![reply]).await;
    let (client, _) = server.client_with(|config, tuning| {
        config.retries = 1;
        tuning.list_bytes = 40;
    });
    client.rooms(&"s1".into()).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_is_no_list_names_the_reason() {
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

/// Compresses bytes.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_compressed_answer_has_the_same_size_limit_as_a_plain_one() {
    let packed = |body: &[u8]| Reply::of_bytes("200 OK", "Content-Encoding: gzip\r\n", &gzip(body));
    let server = ScriptedServer::replies(vec![packed(br#"[{"id":"r1"}]"#), packed(b"[]")]).await;
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
    TooLarge: GET rooms of space s1: answered more than 40 bytes, compressed with gzip
    InvalidAnswer: GET rooms of space s1: answered in the encoding `br`, although the request asked for none (configure the proxy in between not to change the encoding)
    InvalidAnswer: GET rooms of space s1: answered a body that is not gzip, although its header says so
    Rejected: GET rooms of space s1: 422 Unprocessable Entity: no such room
    ");
}
