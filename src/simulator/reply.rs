//! HTTP answers, healthy and broken. Used by `routes`, `answers`, `blob` and `webhooks`.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::options::RetryAfter;

const HTML: &str = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\
    <body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>\n";

/// An answer of these bytes.
pub(super) fn bytes(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// 200 with JSON.
pub(super) fn json(value: Value) -> Response {
    json_as(StatusCode::OK, value)
}

/// JSON.
pub(super) fn json_as(status: StatusCode, value: Value) -> Response {
    bytes(status, "application/json; charset=utf-8", value.to_string())
}

/// A page of `limit` objects with new ids.
pub(super) fn invented(limit: Option<&String>) -> Response {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = limit.and_then(|limit| limit.parse().ok()).unwrap_or(50).min(1000);
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    let items: Vec<_> = (first..first + count)
        .map(|number| json!({"id": format!("{number:024x}")}))
        .collect();
    json(json!({ "items": items }))
}

/// A page of HTML.
pub(super) fn html(status: StatusCode) -> Response {
    bytes(status, "text/html", HTML)
}

/// The API's error of a status.
pub(super) fn refuse(status: u16) -> Response {
    let (message, code) = match status {
        401 => ("Неверный токен", "unauthorized"),
        403 => ("Данный метод запрещен для пользователя", "forbidden"),
        404 => ("Не найдено", "not_found"),
        405 => ("Метод не поддерживается", "method_not_allowed"),
        422 => ("Неверные параметры запроса", "validation_error"),
        429 => ("Слишком много запросов", "too_many_requests"),
        _ => ("Внутренняя ошибка", "internal_error"),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_as(status, json!({"message": message, "code": code}))
}

/// The API's error of a status, with another message.
pub(super) fn refuse_with(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_as(status, json!({"message": message, "code": "error"}))
}

/// 422 about a parameter.
pub(super) fn invalid(parameter: &str) -> Response {
    let body = json!({"message": format!("Неверное значение: {parameter}"), "code": "validation_error"});
    json_as(StatusCode::UNPROCESSABLE_ENTITY, body)
}

/// 429.
pub(super) fn too_many(after: RetryAfter) -> Response {
    let mut response = refuse(429);
    let pause = match after {
        RetryAfter::Unsaid => return response,
        RetryAfter::Seconds(seconds) => seconds.to_string(),
        RetryAfter::Date(seconds) => {
            let at = Utc::now() + TimeDelta::seconds(seconds.into());
            at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
        }
    };
    if let Ok(pause) = HeaderValue::from_str(&pause) {
        response.headers_mut().insert(RETRY_AFTER, pause);
    }
    response
}

/// The fault of a body after its first bytes.
#[derive(Clone, Copy)]
pub(super) enum BodyFault {
    /// The connection is cut.
    Cut,
    /// A pause.
    Pause(Duration),
    /// A pause before each further KiB.
    Drip(Duration),
}

/// The size of a piece of [`BodyFault::Drip`], in bytes.
const DROP: usize = 1024;

/// Breaks a body after this many bytes, or one byte before its end if it is shorter. `Content-Length` stays as it was.
pub(super) fn broken(response: Response, after: u64, how: BodyFault) -> Response {
    let (mut parts, body) = response.into_parts();
    let length = body
        .size_hint()
        .exact()
        .or_else(|| parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok());
    if let Some(length) = length {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let before = length.map_or(after, |length| after.min(length.saturating_sub(1)));
    let state = (body.into_data_stream(), Bytes::new(), before, false);
    let pieces = stream::unfold(state, move |(mut body, mut rest, left, passed)| async move {
        if left == 0 && !passed {
            match how {
                // The pause lets the client receive the bytes sent before.
                BodyFault::Cut => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    let cut = Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                    return Some((cut, (body, rest, 0, true)));
                }
                BodyFault::Pause(pause) => tokio::time::sleep(pause).await,
                BodyFault::Drip(_) => {}
            }
        }
        let passed = left == 0;
        let mut most = usize::MAX;
        if let (true, BodyFault::Drip(pause)) = (passed, how) {
            tokio::time::sleep(pause).await;
            most = DROP;
        }
        if rest.is_empty() {
            rest = body.next().await?.ok()?;
        }
        let now = if passed {
            rest.len().min(most)
        } else {
            rest.len().min(usize::try_from(left).unwrap_or(usize::MAX))
        };
        let piece = rest.split_to(now);
        let left = left.saturating_sub(now as u64);
        Some((Ok(piece), (body, rest, left, passed)))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

/// The same answer without `Content-Length`.
pub(super) fn unmeasured(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from_stream(body.into_data_stream()))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_pauses_once_and_then_goes_on() {
        const PAUSE: Duration = Duration::from_secs(90);
        let start = Instant::now();
        let response = broken(
            bytes(StatusCode::OK, "text/plain", "0123456789"),
            4,
            BodyFault::Pause(PAUSE),
        );
        let mut body = response.into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "0123");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(body.next().await.unwrap().unwrap(), "456789");
        assert!(start.elapsed() >= PAUSE);
        assert!(body.next().await.is_none());
    }
}
