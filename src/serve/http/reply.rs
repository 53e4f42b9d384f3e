//! Constructors of HTTP responses. Pure.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use crate::Error;

/// A response with JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(status, "application/json", body),
        Err(_) => with_type(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}"),
    }
}

/// A response with `{"error": …}`.
pub fn error(status: StatusCode, why: &str) -> Response {
    let mut answer = json(status, &json!({ "error": why }));
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
    }
    answer
}

/// A response with an error of the store or another step, which is logged too. The caller is authenticated and may see it.
pub fn failed(error: &Error) -> Response {
    tracing::error!(%error, "a request failed");
    self::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

/// 200 with `{"ok": true}`.
pub fn accepted() -> Response {
    json(StatusCode::OK, &json!({"ok": true}))
}

/// A response with a body of the given media type.
pub fn with_type(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
