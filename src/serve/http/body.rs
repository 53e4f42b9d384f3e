//! Reading a request's body within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;

use super::reply;

/// The timeout for the whole body.
const TIME: Duration = Duration::from_secs(10);

/// The reason why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The body is larger than allowed.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The connection broke.
    Broken,
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLarge => reply::error(StatusCode::PAYLOAD_TOO_LARGE, "too large"),
            Refusal::TooSlow => reply::error(StatusCode::REQUEST_TIMEOUT, "too slow"),
            Refusal::Broken => reply::error(StatusCode::BAD_REQUEST, "cut short"),
        }
    }
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
/// The refusal, which converts into the response.
pub async fn read(body: Body, most: usize) -> Result<Bytes, Refusal> {
    use axum::body::HttpBody;
    // A body that announces its size need not be read.
    if body.size_hint().lower() > most as u64 {
        return Err(Refusal::TooLarge);
    }
    match tokio::time::timeout(TIME, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Any error but that of the limit is the connection's.
        Ok(Err(error)) if is_limit(&error) => Err(Refusal::TooLarge),
        Ok(Err(_)) => Err(Refusal::Broken),
        Err(_) => Err(Refusal::TooSlow),
    }
}

fn is_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = cause.source();
    }
    false
}
