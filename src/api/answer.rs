//! Reads answers of the API: pages, links, webhooks. Pure; `client` picks the reader, `sender` calls it.

use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, TRANSFER_ENCODING};
use reqwest::{Response, StatusCode, Url, Version};

use super::envelope::More;
use super::problem::{self, BASE_URL_HINT};
use super::request::Request;
use super::wire::{self, NotAPage};
use crate::mp4;
use crate::{Error, ErrorKind, Result};

/// Characters that are percent-encoded in links, besides all that are not ASCII. Encoded characters stay as they are.
const NOT_IN_URLS: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// An answer of the API that is no error, with its whole body.
pub(super) struct ApiAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) url: Url,
    /// True if HTTP marks the end of the body, so that a cut body is noticed.
    pub(super) framed: bool,
    pub(super) body: Bytes,
}

impl ApiAnswer {
    /// The answer itself, or an error if it is a redirect, because the API redirects only to downloads.
    pub(super) fn settled(self, request: &Request) -> Result<Self> {
        if self.status.is_redirection() {
            return Err(problem::refusal(
                request.about(),
                self.status,
                &self.headers,
                b"",
                "",
            ));
        }
        Ok(self)
    }
}

/// A header's value; `None` if it is missing or no text.
pub(super) fn header_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// True if HTTP marks the end of the body, so that a cut body differs from a complete one.
pub(super) fn is_framed(response: &Response) -> bool {
    let is_chunked = header_text(response.headers(), &TRANSFER_ENCODING)
        .is_some_and(|encoding| encoding.to_ascii_lowercase().contains("chunked"));
    response.content_length().is_some() || is_chunked || response.version() >= Version::HTTP_2
}

/// Reads a page of a list.
pub(super) fn page(request: &Request, answer: ApiAnswer) -> Result<wire::ListPage> {
    let answer = answer.settled(request)?;
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(wire::ListPage::default());
    }
    let status = problem::status_text(answer.status);
    let why = match wire::page(&answer.body) {
        Ok(page) => return Ok(with_headers(page, &answer.headers)),
        Err(NotAPage::CutShort) if !answer.framed => {
            return Err(Error::new(
                ErrorKind::Connection,
                request.about(),
                "the answer was cut",
            ));
        }
        Err(NotAPage::NoItems(what)) => what,
        Err(NotAPage::Html) => "answered HTML, not JSON".into(),
        Err(NotAPage::CutShort | NotAPage::NotJson) => "answered no JSON".into(),
        Err(NotAPage::TooDeep) => "answered items that are nested deeper than any of this API".into(),
        Err(NotAPage::TooMany) => "answered more values than a list of this API has".into(),
    };
    Err(Error::new(
        ErrorKind::InvalidAnswer,
        request.about(),
        format!("{status}, but {why}"),
    )
    .hint(BASE_URL_HINT))
}

/// Adds `total` and "there is more" from the headers, where some servers put them.
fn with_headers(mut page: wire::ListPage, headers: &HeaderMap) -> wire::ListPage {
    let text = |name: &str| {
        headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
    };
    let leads_on = |link: &str| link.contains("rel=next") || link.contains("rel=\"next\"");
    if page.total.is_none() {
        page.total = text("x-total-count").find_map(|count| count.trim().parse().ok());
    }
    if page.more == More::Unsaid && text("link").any(leads_on) {
        page.more = More::Yes("Link".into());
    }
    page
}

/// Reads the link to a recording from the body or from a redirect.
pub(super) fn link(request: &Request, answer: ApiAnswer) -> Result<Url> {
    if !answer.status.is_redirection() && is_video(&answer.headers, &answer.body) {
        return Err(no_link(request.about(), answer.status));
    }
    let text = match answer.headers.get(LOCATION) {
        Some(location) if answer.status.is_redirection() => Some(percent_encoded(location.as_bytes())),
        _ if answer.status.is_redirection() => None,
        _ => wire::link(&answer.body),
    };
    let url = text.and_then(|text| link_url(&answer.url, &text, answer.status.is_redirection()));
    url.ok_or_else(|| {
        let html = if wire::looks_like_html(&answer.body) {
            "HTML, "
        } else {
            ""
        };
        let message = format!(
            "{}, but answered {html}no http(s) link",
            problem::status_text(answer.status)
        );
        Error::new(ErrorKind::InvalidAnswer, request.about(), message)
    })
}

/// True if the answer is the recording itself instead of a link to it.
pub(super) fn is_video(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = header_text(headers, &CONTENT_TYPE);
    kind.is_some_and(|kind| kind.trim().to_ascii_lowercase().starts_with("video/")) || mp4::is_mp4(body)
}

/// The error for a recording that came instead of a link.
pub(super) fn no_link(about: &str, status: StatusCode) -> Error {
    let message = format!(
        "{}, but answered the video itself, not a link to it",
        problem::status_text(status)
    );
    Error::new(ErrorKind::InvalidAnswer, about, message)
}

/// Percent-encodes a link, because some servers send it in plain UTF-8 and with spaces.
fn percent_encoded(link: &[u8]) -> String {
    percent_encoding::percent_encode(link.trim_ascii(), NOT_IN_URLS).to_string()
}

/// Reads a webhook.
pub(super) fn webhook(request: &Request, answer: ApiAnswer) -> Result<wire::Webhook> {
    let answer = answer.settled(request)?;
    wire::Webhook::read(&answer.body).ok_or_else(|| {
        let message = format!("{}, but answered no webhook", problem::status_text(answer.status));
        Error::new(ErrorKind::InvalidAnswer, request.about(), message).hint(BASE_URL_HINT)
    })
}

/// Parses a link. A redirect may be relative. A text counts as relative only if it starts with `/`, because otherwise
/// any word would be a link.
fn link_url(request: &Url, text: &str, redirect: bool) -> Option<Url> {
    let url = if redirect || text.starts_with('/') {
        request.join(text)
    } else {
        Url::parse(text)
    };
    url.ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
