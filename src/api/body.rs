//! The bodies of answers, within bounds: read, unpacked, or looked through for what an error says. Not pure; `sender`
//! calls it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::HeaderMap;

use super::answer;
use super::encoding;
use super::problem::{self, LONGEST_ERROR, Peer};
use super::request::{Kind, Request};
use crate::mp4;
use crate::{Error, ErrorKind, Result};

/// An error's body is worth no long wait.
const LONGEST_WAIT_FOR_ERROR: Duration = Duration::from_secs(2);
/// Most of a body's announced length is not reserved before it comes.
const LARGEST_RESERVE: usize = 1024 * 1024;

/// The error of an answer, with as much of its body as is of use and comes within `wait`.
pub(super) async fn refusal(about: &str, mut response: Response, wait: Duration, token: &str) -> Error {
    let mut body = BytesMut::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await
            && body.len() < LONGEST_ERROR
        {
            body.extend_from_slice(&chunk);
        }
    };
    // The status is known, whether or not the rest comes.
    let _ = tokio::time::timeout(LONGEST_WAIT_FOR_ERROR.min(wait), read).await;
    let headers = response.headers();
    let packed = encoding::of(headers);
    let unpacked = packed.and_then(|encoding| encoding::unpack(about, &encoding, &body, LONGEST_ERROR).ok());
    let body = unpacked.as_deref().unwrap_or(&body);
    problem::refusal(about, response.status(), headers, body, token)
}

/// A body, bounded before it is read and while it is.
///
/// # Errors
/// `TooLarge`; `InvalidAnswer` when it is a recording where a link was asked for; `Connection` when it is cut.
pub(super) async fn read(
    request: &Request,
    mut response: Response,
    most: usize,
    token: &str,
) -> Result<Bytes> {
    let about = request.about();
    let cut = |error| problem::transport(about, error, token, Peer::Api);
    let expected = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    let mut body = BytesMut::with_capacity(expected.min(most).min(LARGEST_RESERVE));
    while let Some(chunk) = response.chunk().await.map_err(cut)? {
        if expected > most || body.len() + chunk.len() > most {
            body.extend_from_slice(chunk.get(..mp4::HEAD).unwrap_or_default());
            return Err(match request.kind() {
                Kind::Link if mp4::is_mp4(&body) => answer::no_link(about, response.status()),
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

/// A body as it was asked for: unpacked, if something on the way has packed it.
///
/// # Errors
/// As [`encoding::unpack`].
pub(super) async fn unpacked(about: &str, headers: &HeaderMap, body: Bytes, most: usize) -> Result<Bytes> {
    let Some(encoding) = encoding::of(headers).filter(|_| !body.is_empty()) else {
        return Ok(body);
    };
    let of = about.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || encoding::unpack(&of, &encoding, &body, most));
    let unpacked = unpacking
        .await
        .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, about, "unpacking broke off")));
    unpacked.map(Bytes::from)
}
