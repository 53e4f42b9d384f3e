//! Every request comes through here: pause, rate limit, faults, token, then the answer, and the log. Used by
//! [`super::Simulator`].

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, RANGE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::fault::Failure;
use super::locked;
use super::log::{Endpoint, InFlight, Seen};
use super::reply::{self, Break};
use super::state::Shared;
use super::wire::Switch;
use super::{answers, blob};

/// The largest body that a request may have.
const LARGEST_BODY: usize = 1 << 20;

/// A request, taken apart.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    /// The path's parts, decoded one by one: an id may hold anything.
    parts: Vec<String>,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) in_flight: InFlight,
}

impl Asked {
    /// The path's parts, `v1` included.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.parts.iter().map(String::as_str).collect()
    }

    /// The server as the request calls it.
    pub(super) fn authority<'a>(&'a self, shared: &'a Shared) -> &'a str {
        let host = self.headers.get(HOST).and_then(|host| host.to_str().ok());
        host.unwrap_or(&shared.authority)
    }
}

/// Answers a request.
pub(super) async fn dispatch(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: Request,
) -> Response {
    let query = Query::try_from_uri(request.uri())
        .map(|Query(query)| query)
        .unwrap_or_default();
    let raw_query = request.uri().query().unwrap_or_default().to_owned();
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let endpoint = endpoint(&path);
    let record = record(&shared, endpoint, &path);
    let name = match (&record, endpoint) {
        // A link's signature is another one each time.
        (Some(record), Endpoint::Blob) => format!("/blob {record}"),
        _ => format!("{} {path}?{raw_query}", head.method),
    };
    let mut seen = Seen {
        method: head.method.to_string(),
        endpoint,
        path: path.clone(),
        query: raw_query,
        record,
        range: head
            .headers
            .get(RANGE)
            .and_then(|range| range.to_str().ok())
            .map(str::to_owned),
        status: 0,
        faulty: false,
    };
    let asked = Asked {
        method: head.method,
        parts: path.split('/').skip(1).map(decoded).collect(),
        path,
        query,
        headers: head.headers,
        body: axum::body::to_bytes(body, LARGEST_BODY).await.unwrap_or_default(),
        in_flight: shared.log.enter(endpoint),
    };
    if !shared.options.latency.is_zero() {
        tokio::time::sleep(shared.options.latency).await;
    }
    let failure = shared.faults.about(endpoint, &name);
    seen.faulty = failure.is_some();
    let reset = failure == Some(Failure::Reset);
    let response = with_failure(&shared, endpoint, asked, failure).await;
    seen.status = if reset { 0 } else { response.status().as_u16() };
    shared.log.push(seen);
    if reset {
        switch.cut();
    }
    response
}

/// The answer, or the failure in its place, or the answer broken.
async fn with_failure(
    shared: &Arc<Shared>,
    endpoint: Endpoint,
    mut asked: Asked,
    failure: Option<Failure>,
) -> Response {
    let Some(failure) = failure else {
        return healthy(shared, endpoint, asked).await;
    };
    match failure {
        Failure::Status(status) => reply::refuse(status),
        Failure::Message(status, message) => reply::refuse_with(status, &message),
        Failure::BadGateway => reply::html(StatusCode::BAD_GATEWAY),
        Failure::TooMany(after) => reply::too_many(after),
        Failure::Reset => reply::empty(StatusCode::OK),
        Failure::Html => reply::html(StatusCode::OK),
        Failure::Invented => reply::invented(asked.query.get("limit")),
        Failure::Bytes(body) => reply::bytes(StatusCode::OK, "application/octet-stream", body),
        Failure::Stall(pause) => {
            tokio::time::sleep(pause).await;
            healthy(shared, endpoint, asked).await
        }
        Failure::CutBody(after) => reply::broken(healthy(shared, endpoint, asked).await, after, Break::Cut),
        Failure::StallBody(after, pause) => {
            reply::broken(healthy(shared, endpoint, asked).await, after, Break::Pause(pause))
        }
        Failure::Drip(after, pause) => {
            reply::broken(healthy(shared, endpoint, asked).await, after, Break::Drip(pause))
        }
        Failure::NoLength => reply::unmeasured(healthy(shared, endpoint, asked).await),
        Failure::NoRange => {
            asked.headers.remove(RANGE);
            healthy(shared, endpoint, asked).await
        }
        Failure::ShortRange(most) => {
            shorten_range(&mut asked.headers, most);
            healthy(shared, endpoint, asked).await
        }
        Failure::Truncated(most) => blob::answer(shared.clone(), asked, most),
        Failure::ExpireLink => {
            if endpoint == Endpoint::Blob {
                shared.expire(blob::signature(&asked.path));
            }
            healthy(shared, endpoint, asked).await
        }
    }
}

/// Makes `bytes=N-` a range with an end.
fn shorten_range(headers: &mut HeaderMap, most: u64) {
    let open = headers
        .get(RANGE)
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-'));
    let Some(first) = open.and_then(|first| first.parse::<u64>().ok()) else {
        return;
    };
    let last = first.saturating_add(most.max(1)) - 1;
    if let Ok(range) = HeaderValue::from_str(&format!("bytes={first}-{last}")) {
        headers.insert(RANGE, range);
    }
}

/// The answer of a server in good health.
async fn healthy(shared: &Arc<Shared>, endpoint: Endpoint, asked: Asked) -> Response {
    if endpoint == Endpoint::Blob {
        return blob::answer(shared.clone(), asked, u64::MAX);
    }
    if shared.is_too_many() {
        return reply::too_many(shared.options.retry_after);
    }
    let expected = format!("Bearer {}", locked(&shared.token));
    if asked
        .headers
        .get(AUTHORIZATION)
        .is_none_or(|given| given.as_bytes() != expected.as_bytes())
    {
        return reply::refuse(401);
    }
    let mut response = answers::answer(shared, endpoint, asked).await;
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// What a path is for.
fn endpoint(path: &str) -> Endpoint {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match *parts.as_slice() {
        ["v1", "spaces"] => Endpoint::Spaces,
        ["v1", "spaces", _, "rooms"] => Endpoint::Rooms,
        ["v1", "spaces", _, "analytics", "calls"] => Endpoint::Calls,
        ["v1", "spaces", _, "analytics", "report"] => Endpoint::Report,
        ["v1", "spaces", _, "rooms", _, "records"] => Endpoint::Records,
        ["v1", "spaces", _, "rooms", _, "records", "download", _] => Endpoint::Link,
        ["v1", "spaces", _, "webhook"] | ["v1", "spaces", _, "webhook", "refresh-secret"] => {
            Endpoint::Webhook
        }
        ["v1", "users", "external-meta"] => Endpoint::Meta,
        ["blob", _] => Endpoint::Blob,
        _ => Endpoint::Unknown,
    }
}

fn record(shared: &Shared, endpoint: Endpoint, path: &str) -> Option<String> {
    match endpoint {
        Endpoint::Link => path.rsplit('/').next().map(decoded),
        Endpoint::Blob => shared.linked(blob::signature(path)),
        _ => None,
    }
}
