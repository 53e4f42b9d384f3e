//! Downloads of recordings: links, resumption, and bodies in chunks. Not pure; `pipeline` calls
//! [`Client::download`](crate::api::Client::download) and then [`Download::chunk`].
//!
//! A link is a secret for 24 hours, because anybody who has it can fetch the video. It is never printed, and its request
//! carries no token.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};
use tokio::time::Instant;

use super::Sender;
use super::retry::Attempt;
use crate::api::answer::{header_text, is_framed};
use crate::api::encoding;
use crate::api::problem::{self, RequestTarget};
use crate::api::request::RequestScope;
use crate::ids::{RecordId, SpaceId};
use crate::{Error, ErrorKind, Result};

/// A link to a recording. It prints as its host only.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    url: Url,
    record: RecordId,
    scope: RequestScope,
}

impl Link {
    pub(in crate::api) fn new(url: Url, space: &SpaceId, record: &RecordId) -> Self {
        Self {
            url,
            record: record.clone(),
            scope: RequestScope::Downloads(space.clone()),
        }
    }

    fn about(&self) -> String {
        format!("GET recording {} from {self}", problem::shown(&self.record))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.host_str().unwrap_or_default())
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({self})")
    }
}

/// The point from which an interrupted download continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The position of the first missing byte.
    pub offset: u64,
    /// [`Download::etag`] of the answer that gave the bytes before.
    pub etag: Option<String>,
}

/// An open download.
#[derive(Debug)]
pub struct Download {
    /// The length of this answer, bytes (`Content-Length`).
    pub length: Option<u64>,
    /// True if HTTP marks the end of the body. Only then is the end of the stream surely the end of the file.
    pub framed: bool,
    /// The file's `ETag`.
    pub etag: Option<String>,
    /// The position of this answer's first byte: the one asked for, or 0 if the caller has to start again.
    pub offset: u64,
    /// The size of the whole file, bytes.
    pub total: Option<u64>,
    response: Response,
    received: u64,
    sender: Arc<Sender>,
    about: String,
}

impl Sender {
    /// Opens a download: see [`Client::download`](crate::api::Client::download).
    pub(in crate::api) async fn download(
        self: &Arc<Self>,
        link: &Link,
        resume: Option<Resume>,
    ) -> Result<Download> {
        let about = link.about();
        let resume = resume.filter(|resume| resume.offset > 0);
        self.persist(&about, Some(&link.scope), || async {
            Attempt::Done(self.open(&about, link, resume.as_ref()).await)
        })
        .await
    }

    async fn open(self: &Arc<Self>, about: &str, link: &Link, resume: Option<&Resume>) -> Result<Download> {
        if self.deadline().is_some() {
            return Err(problem::interrupted(about));
        }
        self.guard
            .admit(&link.url)
            .await
            .map_err(|refusal| problem::refused_link(about, refusal))?;
        // Sizes, ranges and checksums concern the bytes of the file, so the body must come without compression.
        let mut request = self
            .http
            .for_download(&link.url)?
            .get(link.url.clone())
            .header(ACCEPT_ENCODING, "identity");
        if let Some(resume) = resume {
            request = request.header(RANGE, format!("bytes={}-", resume.offset));
            if let Some(etag) = resume.etag.as_deref().filter(|etag| is_strong(etag)) {
                request = request.header(IF_RANGE, etag);
            }
        }
        let sent = async {
            request
                .send()
                .await
                .map_err(|error| problem::transport(about, error, "", RequestTarget::Recordings))
        };
        let response = self.in_time(about, sent).await?;
        let offset = offset_of(about, &response, resume)?;
        if let Some(encoding) = encoding::of(response.headers()) {
            return Err(encoding::unknown(about, &encoding));
        }
        let length = response.content_length();
        let whole = if response.status() == StatusCode::PARTIAL_CONTENT {
            content_range(response.headers()).and_then(|(_, total)| total)
        } else {
            None
        };
        Ok(Download {
            length,
            framed: is_framed(&response),
            etag: header_text(response.headers(), &ETAG).map(str::to_owned),
            offset,
            total: whole.or_else(|| length.map(|length| offset.saturating_add(length))),
            response,
            received: 0,
            sender: Arc::clone(self),
            about: about.to_owned(),
        })
    }
}

/// The position in the file at which the answer's body starts, or the error that the answer means.
fn offset_of(about: &str, response: &Response, resume: Option<&Resume>) -> Result<u64> {
    let (status, headers) = (response.status(), response.headers());
    let error = |kind, what: &str| {
        Err(Error::new(
            kind,
            about,
            format!("{}: {what}", problem::status_text(status)),
        ))
    };
    match status.as_u16() {
        200 => Ok(0),
        206 => {
            let asked = resume.map_or(0, |resume| resume.offset);
            let known = resume.and_then(|resume| resume.etag.as_deref());
            match (content_range(headers), header_text(headers, &ETAG)) {
                (_, Some(etag)) if known.is_some_and(|known| known != etag) => {
                    error(ErrorKind::Content, "the file has changed")
                }
                (Some((start, _)), _) if start == asked => Ok(start),
                _ => error(
                    ErrorKind::Content,
                    "answered another range than the request asked for",
                ),
            }
        }
        // S3 answers 400 if the credentials that signed the link have expired.
        400 | 401 | 403 | 404 | 410 => error(ErrorKind::Forbidden, "the download link is refused"),
        416 => error(ErrorKind::Content, "the file has no such range"),
        400..=599 => Err(problem::refusal(about, status, headers, b"", "")),
        _ => error(ErrorKind::InvalidAnswer, "answered no file"),
    }
}

impl Download {
    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// `Connection` if the body is cut or no byte came for `api.timeout`; `Interrupted` if the program stops and the grace
    /// period is over.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let sender = &self.sender;
        // A fast stream is always ready, so `in_time` alone would never stop it.
        if sender
            .deadline()
            .is_some_and(|deadline| Instant::now() >= deadline)
        {
            return Err(problem::interrupted(&self.about));
        }
        let about = &self.about;
        let piece = async {
            self.response
                .chunk()
                .await
                .map_err(|error| problem::transport(about, error, "", RequestTarget::Recordings))
        };
        let chunk = sender.in_time(about, piece).await?;
        self.received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        match self.length {
            Some(length) if chunk.is_none() && self.received != length => {
                let message = format!("the body was cut: {} of {length} bytes", self.received);
                Err(Error::new(ErrorKind::Connection, about, message))
            }
            _ => Ok(chunk),
        }
    }
}

/// True if an `ETag` is strong: only then equal tags mean equal bytes.
pub fn is_strong(etag: &str) -> bool {
    etag.starts_with('"')
}

/// Parses `bytes 5-9/10` to the first byte and the size of the file, if that is known.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = header_text(headers, &CONTENT_RANGE)?
        .trim()
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (start, _) = range.trim().split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}
