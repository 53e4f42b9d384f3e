//! Reads and decompresses the bodies of answers within size limits. Not pure; `sender` calls it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::HeaderMap;

use crate::api::answer;
use crate::api::encoding;
use crate::api::problem::{self, LONGEST_ERROR, RequestTarget};
use crate::api::request::{Endpoint, Request};
use crate::mp4;
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// The longest wait for the body of an error answer.
const LONGEST_WAIT_FOR_ERROR: Duration = Duration::from_secs(2);
/// At most this much memory is reserved for an announced body before its bytes arrive.
const LARGEST_RESERVE: usize = 1024 * 1024;

/// Turns an error answer into an error. Reads its body, for at most `wait`, only as far as it helps.
pub(super) async fn refusal(about: &str, mut response: Response, wait: Duration, token: &str) -> Error {
    let mut body = BytesMut::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await
            && body.len() < LONGEST_ERROR
        {
            body.extend_from_slice(&chunk);
        }
    };
    // The status is enough, so a body that does not arrive is no error.
    let _ = tokio::time::timeout(LONGEST_WAIT_FOR_ERROR.min(wait), read).await;
    let headers = response.headers();
    let packed = encoding::of(headers);
    let decompressed =
        packed.and_then(|encoding| encoding::decompress(about, &encoding, &body, LONGEST_ERROR).ok());
    let body = decompressed.as_deref().unwrap_or(&body);
    problem::refusal(about, response.status(), headers, body, token)
}

/// Reads a body of at most `most` bytes. The limit holds for the announced and for the received length.
///
/// # Errors
/// `TooLarge`; `InvalidAnswer` if a recording came instead of a link; `Connection` if the body was cut.
pub(super) async fn read(
    request: &Request,
    mut response: Response,
    most: usize,
    token: &str,
) -> Result<Bytes> {
    let about = request.about();
    let cut = |error| problem::transport(about, error, token, RequestTarget::Api);
    let expected = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    let mut body = BytesMut::with_capacity(expected.min(most).min(LARGEST_RESERVE));
    while let Some(chunk) = response.chunk().await.map_err(cut)? {
        if expected > most || body.len() + chunk.len() > most {
            body.extend_from_slice(chunk.get(..mp4::HEAD).unwrap_or_default());
            return Err(match request.endpoint() {
                Endpoint::Link if mp4::is_mp4(&body) => answer::no_link(about, response.status()),
                _ => too_large(about, most),
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn too_large(about: &str, most: usize) -> Error {
    let message = format!("answered more than {most} bytes");
    Error::new(ErrorKind::TooLarge, about, message)
}

/// Decompresses a body that a proxy compressed, although no compression was asked for.
///
/// # Errors
/// As [`encoding::decompress`].
pub(super) async fn decompressed(
    about: &str,
    headers: &HeaderMap,
    body: Bytes,
    most: usize,
) -> Result<Bytes> {
    let Some(encoding) = encoding::of(headers).filter(|_| !body.is_empty()) else {
        return Ok(body);
    };
    let of = about.to_owned();
    let decompress = move || encoding::decompress(&of, &encoding, &body, most);
    let decompressed = isolated_blocking(about, decompress).await;
    decompressed.map(Bytes::from)
}
