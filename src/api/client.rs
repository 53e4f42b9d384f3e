//! The one sender: authorization, pace, bounded concurrency, retries, bounded answers and the end on cancellation.
//! Not pure; `export` and `cli` call it. What to send and what answers mean is decided in the pure modules beside.
//!
//! A permit of the API's `concurrency` is held from sending until the answer is read, and given back during backoff.
//! Downloads go to a blob host and hold none: a long one would keep the API's walk waiting for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, NaiveDate, Utc};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode, Url, redirect};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::download::{self, Link};
use super::pace::Pace;
use super::paging::{LIMIT, Listing, Pager, Step};
use super::problem::{self, BASE_URL_HINT};
use super::request::{self, List, Request};
use super::retry::Backoff;
use super::wire::{self, Call, Item, NotAPage, Record, Room, Space};
use crate::config::{self, ReportFormat, Secret};
use crate::{Error, ErrorKind, Result};

const MIB: usize = 1024 * 1024;
/// How the program names itself to servers.
const USER_AGENT: &str = concat!("telelake/", env!("CARGO_PKG_VERSION"));
/// A host that does not take a connection in this time is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an error's body only its `message` and `code` are of use.
const LONGEST_ERROR: usize = 64 * 1024;

/// Times and bounds that no configuration sets; tests set them smaller.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The first backoff's limit; it doubles from there.
    pub backoff: Duration,
    /// The longest backoff's limit.
    pub backoff_cap: Duration,
    /// What requests in flight get when the program is asked to stop.
    pub grace: Duration,
    /// The largest answer of a list, bytes.
    pub list_bytes: usize,
    /// The largest report, bytes.
    pub report_bytes: usize,
    /// The largest answer with a download link, bytes.
    pub link_bytes: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(300),
            backoff_cap: Duration::from_secs(20),
            grace: Duration::from_secs(5),
            list_bytes: 32 * MIB,
            report_bytes: 256 * MIB,
            link_bytes: 16 * 1024,
        }
    }
}

/// What a client has sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests to the API, the repeated ones too. Downloads are none.
    pub requests: u64,
    /// Further attempts after failed ones, of requests and of downloads' openings.
    pub retries: u64,
}

/// The API's client. Clones share everything.
#[derive(Debug, Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    http: reqwest::Client,
    /// Without the token: links lead to other hosts.
    pub(super) blobs: reqwest::Client,
    base: Url,
    token: Secret,
    /// For one answer of the API, or one piece of a download.
    pub(super) timeout: Duration,
    retries: u32,
    permits: Semaphore,
    pace: Pace,
    pub(super) cancel: CancellationToken,
    pub(super) tuning: Tuning,
    requests: AtomicU64,
    retried: AtomicU64,
    /// The longest page that each list ever gave: see `paging`.
    longest: [AtomicUsize; List::COUNT],
}

impl Client {
    /// A client. When `cancel` is cancelled, nothing new is sent and what is in flight gets a short grace.
    ///
    /// # Errors
    /// `Config`: no URL, a token that no header can carry, or no CA certificates on this machine.
    pub fn new(config: &config::Api, cancel: CancellationToken) -> Result<Self> {
        Self::tuned(config, cancel, Tuning::default())
    }

    /// [`Client::new`] with other times and bounds.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn tuned(config: &config::Api, cancel: CancellationToken, tuning: Tuning) -> Result<Self> {
        let base = Url::parse(&config.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| Error::new(ErrorKind::Config, "api.base_url", "is not an http(s) URL"))?;
        let http = builder(&base)
            .redirect(redirect::Policy::none())
            .default_headers(authorization(&config.token)?);
        let blobs = builder(&base).redirect(download::redirects());
        let inner = Inner {
            http: http.build().map_err(|error| not_built(&error))?,
            blobs: blobs.build().map_err(|error| not_built(&error))?,
            base,
            token: config.token.clone(),
            timeout: *config.timeout,
            retries: config.retries,
            permits: Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            pace: Pace::new(config.requests_per_second),
            cancel,
            tuning,
            requests: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            longest: Default::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The spaces that the token sees.
    ///
    /// # Errors
    /// As every request: `Unauthorized`, `Forbidden`, `NotFound`, `Rejected` at once; `RateLimited`, `Server`,
    /// `Connection` after the configured retries; `InvalidAnswer`, `TooLarge`; `Interrupted` when the program stops.
    pub async fn spaces(&self) -> Result<Listing<Space>> {
        self.list(List::Spaces, request::spaces()?).await
    }

    /// A space's rooms.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn rooms(&self, space: &str) -> Result<Listing<Room>> {
        self.list(List::Rooms, request::rooms(space)?).await
    }

    /// A room's finished calls of a date. What the API takes for a call's date is not documented.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn calls(&self, space: &str, room: &str, date: NaiveDate) -> Result<Listing<Call>> {
        self.list(List::Calls, request::calls(space, room, date)?).await
    }

    /// A room's records between two instants.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn records(
        &self,
        space: &str,
        room: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Listing<Record>> {
        self.list(List::Records, request::records(space, room, from, to)?)
            .await
    }

    /// A call's analytics report, as it came: it may be empty, or not be what `format` says.
    ///
    /// # Errors
    /// As [`Client::spaces`]; `NotFound` also when there is no report yet, `Forbidden` when the tariff has none.
    pub async fn report(&self, space: &str, room: &str, call: &str, format: ReportFormat) -> Result<Bytes> {
        let request = request::report(space, room, call, format)?;
        let most = self.inner.tuning.report_bytes;
        self.inner
            .ask(&request, most, |request, answer| {
                Ok(answer.settled(request)?.body)
            })
            .await
    }

    /// A link to a record's video: good for 24 hours, without the token.
    ///
    /// # Errors
    /// As [`Client::spaces`].
    pub async fn download_link(&self, space: &str, room: &str, record: &str) -> Result<Link> {
        let request = request::download_link(space, room, record)?;
        let url = self
            .inner
            .ask(&request, self.inner.tuning.link_bytes, read_link)
            .await?;
        Ok(Link::new(url, record))
    }

    /// What was sent so far.
    pub fn stats(&self) -> Stats {
        Stats {
            requests: self.inner.requests.load(Ordering::Relaxed),
            retries: self.inner.retried.load(Ordering::Relaxed),
        }
    }

    async fn list<T: Item>(&self, list: List, request: Request) -> Result<Listing<T>> {
        let longest = &self.inner.longest[list as usize];
        let mut pager = Pager::new();
        loop {
            let page = request.page(pager.offset(), LIMIT);
            let page = self
                .inner
                .ask(&page, self.inner.tuning.list_bytes, read_page)
                .await?;
            let longest = longest.fetch_max(page.items.len(), Ordering::Relaxed);
            if pager.take(page, longest) == Step::Done {
                return Ok(pager.finish());
            }
        }
    }
}

fn builder(base: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        // A followed link's signature is nothing that the next host should read.
        .referer(false);
    let loopback = matches!(base.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if loopback && base.scheme() == "http" {
        // The simulator: no proxy could reach it, and a machine without CA certificates shall run the demo.
        builder.no_proxy().tls_certs_only([])
    } else {
        builder
    }
}

fn authorization(token: &Secret) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if !token.is_empty() {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).map_err(|_| {
            Error::new(
                ErrorKind::Config,
                "api.token",
                "has characters that no header can carry",
            )
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn not_built(error: &reqwest::Error) -> Error {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(ErrorKind::Config, "HTTP client", problem::words(&cause, ""))
        .hint("install the system's CA certificates, and check the proxy variables")
}

/// An answer of the API that is no error, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    url: Url,
    /// Whether HTTP says where the body ends, so that a cut one would have been noticed.
    framed: bool,
    body: Bytes,
}

impl Answer {
    /// The answer, unless it is a redirect: the API redirects to downloads alone.
    fn settled(self, request: &Request) -> Result<Self> {
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

fn read_page(request: &Request, answer: Answer) -> Result<wire::Page> {
    let answer = answer.settled(request)?;
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(wire::Page::default());
    }
    let status = problem::status_text(answer.status);
    let why = match wire::page(&answer.body) {
        Ok(page) => return Ok(page),
        Err(NotAPage::CutShort) if !answer.framed => {
            return Err(Error::new(
                ErrorKind::Connection,
                request.about(),
                "the answer was cut",
            ));
        }
        Err(NotAPage::Html) => "answered HTML, not JSON",
        Err(NotAPage::CutShort | NotAPage::NotJson) => "answered no JSON",
        Err(NotAPage::NoItems) => "answered JSON without a list `items`",
    };
    Err(Error::new(
        ErrorKind::InvalidAnswer,
        request.about(),
        format!("{status}, but {why}"),
    )
    .hint(BASE_URL_HINT))
}

fn read_link(request: &Request, answer: Answer) -> Result<Url> {
    let text = match answer.headers.get(LOCATION) {
        Some(location) if answer.status.is_redirection() => location.to_str().ok().map(str::to_owned),
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

/// A redirect may be relative to the request; text is one only when it starts like a path, or any word would be one.
fn link_url(request: &Url, text: &str, redirect: bool) -> Option<Url> {
    let url = if redirect || text.starts_with('/') {
        request.join(text)
    } else {
        Url::parse(text)
    };
    url.ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

impl Inner {
    /// Sends a request until it is answered or no attempt is left. `read` takes part in it: a list that ends in
    /// mid-JSON was cut.
    async fn ask<T>(
        &self,
        request: &Request,
        most: usize,
        read: fn(&Request, Answer) -> Result<T>,
    ) -> Result<T> {
        self.persist(request.about(), || async {
            let answer = self.attempt(request, most).await;
            if let Err(error) = &answer
                && error.kind() == ErrorKind::RateLimited
                && let Some(pause) = error.pause()
            {
                self.pace.hold(Instant::now() + pause);
            }
            read(request, answer?)
        })
        .await
    }

    /// Repeats what fails in a way that may pass.
    pub(super) async fn persist<T, F>(&self, about: &str, attempt: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        for attempts in 1_u32.. {
            let error = match attempt().await {
                Err(error) if error.is_retryable() => error,
                done => return done,
            };
            if attempts > self.retries {
                return Err(problem::after_attempts(error, attempts));
            }
            let backoff = Backoff {
                base: self.tuning.backoff,
                cap: self.tuning.backoff_cap,
            };
            let pause = backoff.pause(attempts, error.pause(), fastrand::f64());
            tracing::debug!(%error, attempts, ?pause, "will be tried again");
            self.unless_stopped(about, tokio::time::sleep(pause)).await?;
            self.retried.fetch_add(1, Ordering::Relaxed);
        }
        Err(problem::interrupted(about))
    }

    /// One attempt: a permit, a slot, the request and its whole answer.
    async fn attempt(&self, request: &Request, most: usize) -> Result<Answer> {
        let about = request.about();
        let permit = self.unless_stopped(about, self.permits.acquire()).await?;
        let slot = self.pace.slot(Instant::now());
        self.unless_stopped(about, tokio::time::sleep_until(slot)).await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = self.in_time(about, self.exchange(request, most)).await;
        drop(permit);
        answer
    }

    /// Waits for something that need not happen when the program stops.
    async fn unless_stopped<T>(&self, about: &str, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(problem::interrupted(about)),
            done = work => Ok(done),
        }
    }

    /// Bounds a request by the timeout and, once the program stops, by the grace.
    pub(super) async fn in_time<T>(&self, about: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let stopped = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(self.tuning.grace).await;
        };
        tokio::select! {
            biased;
            done = tokio::time::timeout(self.timeout, work) => done.unwrap_or_else(|_| Err(problem::timed_out(about))),
            () = stopped => Err(problem::interrupted(about)),
        }
    }

    async fn exchange(&self, request: &Request, most: usize) -> Result<Answer> {
        let about = request.about();
        let url = request.url(&self.base);
        let sent = self
            .http
            .get(url.clone())
            .header(ACCEPT, "application/json, */*;q=0.8")
            .send()
            .await;
        let mut response = sent.map_err(|error| problem::transport(about, error, self.token.expose()))?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(self.refusal(about, response).await);
        }
        let framed = download::is_framed(&response);
        let headers = std::mem::take(response.headers_mut());
        let body = if status.is_redirection() {
            Bytes::new()
        } else {
            self.body(about, response, most).await?
        };
        Ok(Answer {
            status,
            headers,
            url,
            framed,
            body,
        })
    }

    /// The error of an answer, with as much of its body as is of use.
    async fn refusal(&self, about: &str, mut response: Response) -> Error {
        let mut body = BytesMut::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ERROR {
                break;
            }
        }
        problem::refusal(
            about,
            response.status(),
            response.headers(),
            &body,
            self.token.expose(),
        )
    }

    /// A body, bounded before it is read and while it is.
    async fn body(&self, about: &str, mut response: Response, most: usize) -> Result<Bytes> {
        let too_large = || {
            Error::new(
                ErrorKind::TooLarge,
                about,
                format!("answered more than {most} bytes"),
            )
        };
        let expected = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if expected > most {
            return Err(too_large());
        }
        let mut body = BytesMut::with_capacity(expected.min(MIB));
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| problem::transport(about, error, self.token.expose()))?
        {
            if body.len() + chunk.len() > most {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}
