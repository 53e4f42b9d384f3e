//! The download of recordings, whole or in ranges, streamed in pieces. Used by `routes`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::request::ApiRequest;
use super::state::Shared;
use super::{media, reply};

/// A recording is sent in pieces of this many bytes.
const PIECE: u64 = 128 * 1024;

/// The part of a link's path that identifies the link.
pub(super) fn signature(path: &str) -> &str {
    path.trim_start_matches("/blob/").trim_end_matches(".mp4")
}

/// Answers a link with the first `most` bytes of the file, as if they were the whole file.
pub(super) fn answer(shared: Arc<Shared>, request: ApiRequest, most: u64) -> Response {
    if request.headers.contains_key(AUTHORIZATION) {
        shared.log.leak();
    }
    let signature = signature(&request.path);
    let head = request.method == "HEAD";
    if !(head || request.method == "GET") {
        return reply::refuse(405);
    }
    let good = shared.use_link(signature, !head);
    let school = shared.school();
    let record = shared.linked(signature).filter(|_| good);
    let Some(record) = record.as_ref().and_then(|id| school.record(id)) else {
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code>\
            <Message>Request has expired</Message></Error>";
        return reply::bytes(StatusCode::FORBIDDEN, "application/xml", xml);
    };
    let size = record.size.min(most);
    let etag = format!("\"{}-{size:x}\"", record.id);
    let (status, range) = match wanted(&request.headers, &etag, size) {
        RequestedRange::Whole => (StatusCode::OK, 0..size),
        RequestedRange::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        RequestedRange::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
    };
    let mut headers = vec![
        (CONTENT_TYPE, "video/mp4".to_owned()),
        (CONTENT_LENGTH, (range.end - range.start).to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (ETAG, etag),
    ];
    match status {
        StatusCode::PARTIAL_CONTENT => {
            let part = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            headers.push((CONTENT_RANGE, part));
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            headers.push((CONTENT_RANGE, format!("bytes */{size}")));
        }
        _ => {}
    }
    let (id, size) = (record.id.clone(), record.size);
    let body = if head {
        Body::empty()
    } else {
        Body::from_stream(pieces(shared, request, id, size, range))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The bytes of a range, made as the client reads them; the request is in flight until the last byte.
fn pieces(
    shared: Arc<Shared>,
    request: ApiRequest,
    record: String,
    size: u64,
    range: std::ops::Range<u64>,
) -> impl stream::Stream<Item = Result<Bytes, std::io::Error>> {
    let key = media::key(&record);
    let state = (shared, request.in_flight, record, range);
    stream::unfold(state, move |(shared, in_flight, record, mut range)| async move {
        let length = PIECE.min(range.end - range.start);
        if length == 0 {
            return None;
        }
        if let Some(speed) = shared.options.blob_speed {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / speed as f64)).await;
        }
        let mut piece = vec![0; usize::try_from(length).ok()?];
        media::read(key, size, range.start, &mut piece);
        shared.log.serve(&record, length);
        range.start += length;
        Some((Ok(Bytes::from(piece)), (shared, in_flight, record, range)))
    })
}

/// The range that a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum RequestedRange {
    Whole,
    Part(std::ops::Range<u64>),
    Nothing,
}

/// Reads `Range` and `If-Range`. A header with a bad value or several ranges is ignored, as HTTP says.
fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> RequestedRange {
    let other = headers
        .get(IF_RANGE)
        .is_some_and(|tag| tag.as_bytes() != etag.as_bytes());
    let range = headers
        .get(RANGE)
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    range
        .filter(|_| !other)
        .and_then(|range| part(range, size))
        .unwrap_or(RequestedRange::Whole)
}

fn part(range: &str, size: u64) -> Option<RequestedRange> {
    let (first, last) = range.split_once('-')?;
    let range = if first.is_empty() {
        let count: u64 = last.parse().ok()?;
        size.saturating_sub(count)..size
    } else {
        let first: u64 = first.parse().ok()?;
        let last: u64 = if last.is_empty() {
            u64::MAX
        } else {
            last.parse().ok()?
        };
        if last < first {
            return None;
        }
        first..size.min(last.saturating_add(1))
    };
    Some(if range.start < range.end {
        RequestedRange::Part(range)
    } else {
        RequestedRange::Nothing
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_defines_them() {
        let of = |range| part(range, 1000);
        assert_eq!(of("0-0"), Some(RequestedRange::Part(0..1)));
        assert_eq!(of("10-"), Some(RequestedRange::Part(10..1000)));
        assert_eq!(of("990-5000"), Some(RequestedRange::Part(990..1000)));
        assert_eq!(of("-1"), Some(RequestedRange::Part(999..1000)));
        assert_eq!(of("-5000"), Some(RequestedRange::Part(0..1000)));
        assert_eq!(of("1000-"), Some(RequestedRange::Nothing));
        assert_eq!(of("-0"), Some(RequestedRange::Nothing));
        for nonsense in ["5-1", "a-b", "0-1,4-5", "7"] {
            assert_eq!(of(nonsense), None, "{nonsense}");
        }
        assert_eq!(part("0-", 0), Some(RequestedRange::Nothing));
    }
}
