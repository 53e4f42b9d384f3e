//! Downloads of recordings: links, resumption and bodies piece by piece. Not pure; `export` calls
//! [`Client::download`] and then [`Download::chunk`].
//!
//! A link is a secret for 24 hours: whoever has it has the video. It is never printed, and it is asked without the
//! token, which is none of the blob host's business.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, RANGE, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode, Url, Version};
use tokio::time::Instant;

use super::circuits::RequestScope;
use super::client::Client;
use super::encoding;
use super::problem::{self, Peer};
use super::sender::Attempt;
use crate::ids::{RecordId, SpaceId};
use crate::{Error, ErrorKind, Result};

/// A source that brings fewer bytes than this in so many timeouts of waiting is as good as stalled.
const LEAST_BYTES: u64 = 64 * 1024;
const LONGEST_CRAWL: u32 = 4;

/// A link to a recording. It prints as its host.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    url: Url,
    record: RecordId,
    place: RequestScope,
}

impl Link {
    pub(super) fn new(url: Url, space: &SpaceId, record: &RecordId) -> Self {
        Self {
            url,
            record: record.to_owned(),
            place: RequestScope {
                space: space.to_owned(),
                room: None,
                download: true,
            },
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

/// Where to go on with a transfer that broke off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The first byte that is missing.
    pub offset: u64,
    /// [`Download::etag`] of the answer that the bytes so far came from.
    pub etag: Option<String>,
}

/// An open download.
#[derive(Debug)]
pub struct Download {
    /// Bytes that this answer holds (`Content-Length`).
    pub length: Option<u64>,
    /// Whether HTTP says where the body ends. Only then is the end of the stream known to be the end of the file.
    pub framed: bool,
    /// The file's `ETag`.
    pub etag: Option<String>,
    /// The first byte of this answer: what was asked for, or 0, and then the caller starts anew.
    pub offset: u64,
    /// Bytes of the whole file.
    pub total: Option<u64>,
    response: Response,
    received: u64,
    crawl: Crawl,
    client: Client,
    about: String,
}

/// Whether the end of the body can be told from a connection that was cut.
pub(super) fn is_framed(response: &Response) -> bool {
    let chunked = text(response.headers(), TRANSFER_ENCODING.as_str())
        .is_some_and(|encoding| encoding.to_ascii_lowercase().contains("chunked"));
    response.content_length().is_some() || chunked || response.version() >= Version::HTTP_2
}

impl Client {
    /// Opens a download, from its start or where a former one broke off. Opening is tried again like any request.
    ///
    /// # Errors
    /// `Forbidden` when the link is refused (400, 401, 403, 404, 410: it has run out, mint another); `Content` when the
    /// range asked for does not exist or is not the one answered, or the file has changed; `InvalidAnswer` when the
    /// file comes packed; and as every request.
    pub async fn download(&self, link: &Link, resume: Option<Resume>) -> Result<Download> {
        let about = link.about();
        let resume = resume.filter(|resume| resume.offset > 0);
        self.sender
            .persist(&about, Some(&link.place), || async {
                Attempt::Done(self.open(&about, link, resume.as_ref()).await)
            })
            .await
    }

    async fn open(&self, about: &str, link: &Link, resume: Option<&Resume>) -> Result<Download> {
        if self.sender.deadline().is_some() {
            return Err(problem::interrupted(about));
        }
        self.sender
            .guard()
            .admit(&link.url)
            .await
            .map_err(|refusal| problem::refused_link(about, refusal))?;
        // The bytes as they lie there: sizes, ranges and checksums are about those.
        let mut request = self
            .sender
            .blobs(&link.url)
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
                .map_err(|error| problem::transport(about, error, "", Peer::Recordings))
        };
        let response = self.sender.in_time(about, sent).await?;
        let offset = offset_of(about, &response, resume)?;
        if let Some(encoding) = encoding::of(response.headers()) {
            // Sizes, ranges and the checksum would be those of other bytes.
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
            etag: text(response.headers(), ETAG.as_str()).map(str::to_owned),
            offset,
            total: whole.or_else(|| length.map(|length| offset.saturating_add(length))),
            response,
            received: 0,
            crawl: Crawl::default(),
            client: self.clone(),
            about: about.to_owned(),
        })
    }
}

/// Where the answer's body starts, unless the answer is an error.
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
            match (content_range(headers), text(headers, ETAG.as_str())) {
                (_, Some(etag)) if known.is_some_and(|known| known != etag) => {
                    error(ErrorKind::Content, "the file has changed")
                }
                (Some((start, _)), _) if start == asked => Ok(start),
                _ => error(ErrorKind::Content, "another range than was asked for"),
            }
        }
        // S3 answers 400 where the credentials that signed the link have run out.
        400 | 401 | 403 | 404 | 410 => error(ErrorKind::Forbidden, "the download link is refused"),
        416 => error(ErrorKind::Content, "the file has no such range"),
        400..=599 => Err(problem::refusal(about, status, headers, b"", "")),
        _ => error(ErrorKind::InvalidAnswer, "answered no file"),
    }
}

impl Download {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// `Connection` when the body is cut, nothing came for the configured timeout, or next to nothing for some; `Interrupted` when the program
    /// stops and the grace is over.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let sender = &self.client.sender;
        // A fast stream is always ready, so its end is looked for before each piece.
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
                .map_err(|error| problem::transport(about, error, "", Peer::Recordings))
        };
        let asked_at = Instant::now();
        let chunk = sender.in_time(about, piece).await?;
        let length = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        self.received += length;
        let longest = sender.timeout() * LONGEST_CRAWL;
        if chunk.is_some() && self.crawl.is_stalled(asked_at.elapsed(), length, longest) {
            return Err(Error::new(ErrorKind::Connection, about, "the body hardly comes"));
        }
        match self.length {
            Some(length) if chunk.is_none() && self.received != length => {
                let message = format!("the body was cut: {} of {length} bytes", self.received);
                Err(Error::new(ErrorKind::Connection, about, message))
            }
            _ => Ok(chunk),
        }
    }
}

/// How much has come in the present stretch of waiting. The consumer's own time is none of it.
#[derive(Debug, Default)]
struct Crawl {
    waited: Duration,
    bytes: u64,
}

impl Crawl {
    /// Takes a piece in; whether a stretch of `longest` brought next to nothing.
    fn is_stalled(&mut self, waited: Duration, bytes: u64, longest: Duration) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.bytes >= LEAST_BYTES {
            *self = Self::default();
        }
        self.waited >= longest
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Only a strong tag promises the same bytes.
fn is_strong(etag: &str) -> bool {
    etag.starts_with('"')
}

/// `bytes 5-9/10`: the first byte, and the size of the whole where it is known.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = text(headers, CONTENT_RANGE.as_str())?
        .trim()
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (start, _) = range.trim().split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_comes_drop_by_drop_is_stalled_and_a_slow_one_is_not() {
        let longest = Duration::from_secs(120);
        let mut crawl = Crawl::default();
        // A byte each 29 s is always within the timeout of one piece.
        let mut steps = (1..=10).map(|_| crawl.is_stalled(Duration::from_secs(29), 1, longest));
        assert_eq!(steps.position(|stalled| stalled), Some(4));
        // 1 KiB/s is slow, and goes on for ever.
        let mut crawl = Crawl::default();
        for _ in 0..10_000 {
            assert!(!crawl.is_stalled(Duration::from_secs(8), 8 * 1024, longest));
        }
    }
}
