//! The way of every request: latency, fault, rate limit, token, answer, log. Used by [`super::Simulator`].

use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use super::fault::Failure;
use super::locked;
use super::log::{AnsweredRequest, Endpoint};
use super::reply::{self, BodyFault};
use super::request::ApiRequest;
use super::state::Shared;
use super::wire::ConnectionSwitch;
use super::{answers, blob, replay};

/// The largest body of a request, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// Answers a request.
pub(super) async fn dispatch(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<ConnectionSwitch>,
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
        // The signature of a link changes each time.
        (Some(record), Endpoint::Blob) => format!("/blob {record}"),
        _ => format!("{} {path}?{raw_query}", head.method),
    };
    let mut answered = AnsweredRequest {
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
    let request = ApiRequest {
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
    answered.faulty = failure.is_some();
    let reset = failure == Some(Failure::Reset);
    let response = with_failure(&shared, endpoint, request, failure).await;
    answered.status = if reset { 0 } else { response.status().as_u16() };
    shared.log.push(answered);
    if reset {
        switch.cut();
    }
    response
}

/// Answers with the school, with the ordered failure, or with a broken answer.
async fn with_failure(
    shared: &Arc<Shared>,
    endpoint: Endpoint,
    mut request: ApiRequest,
    failure: Option<Failure>,
) -> Response {
    let Some(failure) = failure else {
        return healthy(shared, endpoint, request).await;
    };
    match failure {
        Failure::Status(status) => reply::refuse(status),
        Failure::Message(status, message) => reply::refuse_with(status, &message),
        Failure::BadGateway => reply::html(StatusCode::BAD_GATEWAY),
        Failure::TooMany(after) => reply::too_many(after),
        Failure::Reset => reply::empty(StatusCode::OK),
        Failure::Html => reply::html(StatusCode::OK),
        Failure::Invented => reply::invented(request.query.get("limit")),
        Failure::Bytes(body) => reply::bytes(StatusCode::OK, "application/octet-stream", body),
        Failure::Stall(pause) => {
            tokio::time::sleep(pause).await;
            healthy(shared, endpoint, request).await
        }
        Failure::CutBody(after) => {
            reply::broken(healthy(shared, endpoint, request).await, after, BodyFault::Cut)
        }
        Failure::StallBody(after, pause) => reply::broken(
            healthy(shared, endpoint, request).await,
            after,
            BodyFault::Pause(pause),
        ),
        Failure::Drip(after, pause) => reply::broken(
            healthy(shared, endpoint, request).await,
            after,
            BodyFault::Drip(pause),
        ),
        Failure::NoLength => reply::unmeasured(healthy(shared, endpoint, request).await),
        Failure::NoRange => {
            request.headers.remove(RANGE);
            healthy(shared, endpoint, request).await
        }
        Failure::ShortRange(most) => {
            shorten_range(&mut request.headers, most);
            healthy(shared, endpoint, request).await
        }
        Failure::Truncated(most) => blob::answer(shared.clone(), request, most),
        Failure::ExpireLink => {
            if endpoint == Endpoint::Blob {
                shared.expire(blob::signature(&request.path));
            }
            healthy(shared, endpoint, request).await
        }
    }
}

/// Gives `bytes=N-` an end after `most` bytes.
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

/// Answers as a healthy server does.
async fn healthy(shared: &Arc<Shared>, endpoint: Endpoint, request: ApiRequest) -> Response {
    if endpoint == Endpoint::Blob {
        return blob::answer(shared.clone(), request, u64::MAX);
    }
    if shared.exceeds_limit() {
        return reply::too_many(shared.options.retry_after);
    }
    let expected = format!("Bearer {}", locked(&shared.token));
    if request
        .headers
        .get(AUTHORIZATION)
        .is_none_or(|given| given.as_bytes() != expected.as_bytes())
    {
        return reply::refuse(401);
    }
    let mut response = match &shared.options.recorded_answers {
        Some(recorded) => replay::answer(recorded, shared, endpoint, &request),
        None => answers::answer(shared, endpoint, request).await,
    };
    if response.status() == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The endpoint of a path.
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
