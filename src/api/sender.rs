//! The one sender: authorization, pace, bounded concurrency, retries, bounded answers and the end on cancellation.
//! Not pure; `client` and `download` call it. What to send and what answers mean is decided in the pure modules beside.
//!
//! A pass of the `gate` is held from sending until the answer is read, and given back during backoff. Downloads go to a
//! blob host and hold none: a long one would keep the API's walk waiting for nothing. Before each attempt the `circuits`
//! are asked, and told how it all ended. What the API's limiter refuses is held by the `throttle`, and spends no attempt.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url, redirect};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{self, ApiAnswer};
use super::body;
use super::circuits::{Circuits, RequestScope};
use super::client::{Limited, Stats, Tuning};
use super::credential::{CurrentToken, Token};
use super::download;
use super::gate::Gate;
use super::guard::Guard;
use super::pace::Pace;
use super::pressure::Sign;
use super::problem::{self, RequestTarget};
use super::request::{Endpoint, List, Request};
use super::retry::Backoff;
use super::throttle::{RateMeter, RefusalVerdict, Throttle};
use crate::config;
use crate::metrics::METRICS;
use crate::{Error, ErrorKind, Result};

/// How the program names itself to servers.
const USER_AGENT: &str = concat!("telelake/", env!("CARGO_PKG_VERSION"));
/// A host that does not take a connection in this time is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Refusals of one request as one too many, each right after something else was answered: it is the request then, and
/// not the limiter.
const MOST_LONE_REFUSALS: u32 = 10;

/// How one attempt of a request ended.
pub(super) enum Attempt<T> {
    /// It was answered, or failed in a way that may be tried again.
    Done(Result<T>),
    /// The API's limiter refused it, which says nothing about the request. `first`: something else was answered right
    /// before.
    Limited { error: Error, first: bool },
    /// It failed, and is not tried again.
    Final(Error),
}

#[derive(Debug)]
pub(super) struct Sender {
    http: reqwest::Client,
    /// Without the token: links lead to other hosts.
    blobs: reqwest::Client,
    local_blobs: reqwest::Client,
    base: Url,
    /// Shared with the clients beside.
    credential: Arc<CurrentToken>,
    /// For one answer of the API, or one piece of a download.
    timeout: Duration,
    retries: u32,
    /// Shared with the clients beside.
    gate: Arc<Gate>,
    circuits: Circuits,
    guard: Arc<Guard>,
    /// Shared with the clients beside.
    pace: Arc<Pace>,
    /// Shared with the clients beside.
    throttle: Arc<Throttle>,
    rate: RateMeter,
    /// Requests that were not sent as the API was closed.
    unsent: AtomicU64,
    cancel: CancellationToken,
    /// When the program was asked to stop, as far as it was noticed.
    stopped: OnceLock<Instant>,
    tuning: Tuning,
    requests: AtomicU64,
    retried: AtomicU64,
    /// How far the API's clock was ahead of this machine's at its last answer.
    clock_ahead: Mutex<Option<TimeDelta>>,
    /// The longest page that each list ever gave: see `paging`.
    longest: [AtomicUsize; List::COUNT],
}

impl Sender {
    pub(super) fn new(
        config: &config::Api,
        cancel: CancellationToken,
        tuning: Tuning,
        names: Arc<dyn Resolve>,
    ) -> Result<Self> {
        let base = Url::parse(&config.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| Error::new(ErrorKind::Config, "api.base_url", "is not an http(s) URL"))?;
        let http = if is_local(&base) { local() } else { builder() };
        let http = http
            .redirect(redirect::Policy::none())
            .default_headers(default_headers());
        let guard = Guard::new(&base, names);
        let guarded = |builder: reqwest::ClientBuilder| {
            build(builder.redirect(guard.redirects()).dns_resolver(guard.names()))
        };
        let local_blobs = guarded(local())?;
        let blobs = match guarded(builder()) {
            Err(_) if is_local(&base) => local_blobs.clone(),
            built => built?,
        };
        Ok(Self {
            http: build(http)?,
            blobs,
            local_blobs,
            base,
            credential: Arc::new(CurrentToken::new(config)?),
            timeout: *config.timeout,
            retries: config.retries,
            gate: Arc::new(Gate::new(config.concurrency)),
            circuits: Circuits::new(*config.timeout),
            guard,
            pace: Arc::new(Pace::new(config.requests_per_second)),
            throttle: Arc::new(Throttle::new(tuning.first_hold)),
            rate: RateMeter::default(),
            unsent: AtomicU64::new(0),
            cancel,
            stopped: OnceLock::new(),
            tuning,
            requests: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            clock_ahead: Mutex::default(),
            longest: Default::default(),
        })
    }

    /// A sender that shares connections, concurrency and pace with this one, and has an end and counts of its own.
    pub(super) fn beside(&self, cancel: CancellationToken) -> Self {
        Self {
            http: self.http.clone(),
            blobs: self.blobs.clone(),
            local_blobs: self.local_blobs.clone(),
            base: self.base.clone(),
            credential: Arc::clone(&self.credential),
            timeout: self.timeout,
            retries: self.retries,
            gate: Arc::clone(&self.gate),
            // Of its own: what is skipped is told by the run that skipped it.
            circuits: Circuits::new(self.timeout),
            guard: Arc::clone(&self.guard),
            pace: Arc::clone(&self.pace),
            throttle: Arc::clone(&self.throttle),
            rate: RateMeter::default(),
            unsent: AtomicU64::new(0),
            cancel,
            stopped: OnceLock::new(),
            tuning: self.tuning.clone(),
            requests: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            clock_ahead: Mutex::default(),
            longest: std::array::from_fn(|list| AtomicUsize::new(self.longest[list].load(Ordering::Relaxed))),
        }
    }

    pub(super) fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retried.load(Ordering::Relaxed),
        }
    }

    /// What the API's limiter did, if it did anything.
    pub(super) fn limited(&self) -> Option<Limited> {
        let (refused, unsent) = (self.rate.refusals(), self.unsent.load(Ordering::Relaxed));
        let rate = self.rate.rate();
        (refused + unsent > 0).then_some(Limited {
            refused,
            unsent,
            rate,
        })
    }

    /// Whether the API refuses all requests, so that none is sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.throttle.is_closed()
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(super) fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// The client for downloads from a link.
    pub(super) fn blobs(&self, link: &Url) -> &reqwest::Client {
        if is_local(link) {
            &self.local_blobs
        } else {
            &self.blobs
        }
    }

    /// Takes note of a page's length; returns the longest of the list's pages before it.
    pub(super) fn learn(&self, list: List, length: usize) -> usize {
        self.longest[list as usize].fetch_max(length, Ordering::Relaxed)
    }

    /// The end of the grace, once the program was asked to stop.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let stopped = || *self.stopped.get_or_init(Instant::now) + self.tuning.grace;
        self.cancel.is_cancelled().then(stopped)
    }

    /// Sends a request until it is answered or no attempt is left. `read` takes part in it: a list that ends in
    /// mid-JSON was cut.
    pub(super) async fn ask<T>(
        &self,
        request: &Request,
        most: usize,
        read: fn(&Request, ApiAnswer) -> Result<T>,
    ) -> Result<T> {
        self.persist(request.about(), request.scope(), || async {
            let seen = OnceLock::new();
            let answered = async { read(request, self.exchange(request, most, &seen).await?) };
            self.attempt(request, &seen, answered).await
        })
        .await
    }

    /// Repeats what fails in a way that may pass, as long as its place's circuit lets it. What the limiter refuses waits
    /// for the end of the hold together with all others, and counts as no failure.
    pub(super) async fn persist<T, F>(
        &self,
        about: &str,
        place: Option<&RequestScope>,
        attempt: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Attempt<T>>,
    {
        let (mut begun, mut attempts, mut failures, mut lone_refusals) =
            (Instant::now(), 0_u32, 0_u32, 0_u32);
        loop {
            let admitted = self.circuits.enter(about, place)?;
            attempts = attempts.saturating_add(1);
            let ended = match attempt().await {
                Attempt::Limited { error, first } if lone_refusals < MOST_LONE_REFUSALS => {
                    lone_refusals += u32::from(first);
                    drop(admitted);
                    self.note_retry(&error, attempts, Duration::ZERO);
                    begun = Instant::now();
                    continue;
                }
                Attempt::Done(ended) => ended,
                Attempt::Limited { error, .. } | Attempt::Final(error) => {
                    failures = u32::MAX;
                    Err(error)
                }
            };
            failures = failures.saturating_add(1);
            let error = match ended {
                Err(error) if error.is_retryable() && failures <= self.retries && !admitted.is_probe() => {
                    error
                }
                ended => {
                    let ended = ended.map_err(|error| final_error(error, attempts));
                    admitted.conclude(ended.as_ref().err(), begun);
                    return ended;
                }
            };
            drop(admitted);
            let backoff = Backoff {
                base: self.tuning.backoff,
                cap: self.tuning.backoff_cap,
            };
            let pause = backoff.pause(failures, error.pause(), fastrand::f64());
            self.note_retry(&error, attempts, pause);
            self.unless_stopped(about, tokio::time::sleep(pause)).await?;
        }
    }

    fn note_retry(&self, error: &Error, attempts: u32, pause: Duration) {
        tracing::debug!(%error, attempts, ?pause, "will be tried again");
        self.retried.fetch_add(1, Ordering::Relaxed);
        METRICS.api_retries.inc();
    }

    /// One attempt: a pass, a slot, and what is sent then, with its whole answer. `seen` is what the answer's head says
    /// of the server.
    pub(super) async fn attempt<T>(
        &self,
        request: &Request,
        seen: &OnceLock<(u16, Sign)>,
        send: impl Future<Output = Result<T>>,
    ) -> Attempt<T> {
        let (about, endpoint) = (request.about(), request.endpoint());
        let pass = match self.unless_stopped(about, self.gate.enter()).await {
            Ok(pass) => pass,
            Err(stopped) => return Attempt::Final(stopped),
        };
        if let Err(reason) = self.throttle.admit(Instant::now()) {
            self.unsent.fetch_add(1, Ordering::Relaxed);
            return Attempt::Final(problem::closed(about, request.scope().is_some(), &reason));
        }
        if let Err(stopped) = self.wait_for_slot(about).await {
            return Attempt::Final(stopped);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sent = Instant::now();
        let answer = self.in_time(about, send).await;
        let (status, mut sign) = seen.get().copied().unzip();
        if answer
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::RateLimited)
        {
            // Whatever its status is.
            sign = Some(Sign::SlowDown);
        }
        pass.give_back(endpoint, sent, sign);
        METRICS.api_answered(endpoint.name(), status, sent.elapsed());
        self.judge(sent, answer)
    }

    /// Waits for a slot. One from before a hold is none any more.
    async fn wait_for_slot(&self, about: &str) -> Result<()> {
        loop {
            let slot = self.pace.slot(Instant::now());
            self.unless_stopped(about, tokio::time::sleep_until(slot)).await?;
            if !self.pace.is_held(Instant::now()) {
                return Ok(());
            }
        }
    }

    /// What the answer to a request that was sent at `sent` says of the API's limiter.
    fn judge<T>(&self, sent: Instant, answer: Result<T>) -> Attempt<T> {
        let now = Instant::now();
        match answer {
            Err(error) if error.is_postponed() => {
                self.throttle.postponed(now, error.message());
                Attempt::Final(error)
            }
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                let refusals = self.rate.refused(sent, now);
                match self.throttle.refused(sent, error.pause(), now, error.message()) {
                    RefusalVerdict::Held { until, first } => {
                        if refusals == 1 {
                            let pause = until.saturating_duration_since(now);
                            tracing::warn!(%error, ?pause, "the API takes no more requests for now: all are held");
                        }
                        self.pace.hold(until);
                        Attempt::Limited { error, first }
                    }
                    RefusalVerdict::GivenUp => Attempt::Final(error),
                }
            }
            Err(error) if says_nothing(error.kind()) => Attempt::Done(Err(error)),
            answered => {
                self.rate.answered(sent, now);
                self.throttle.answered(sent, now);
                Attempt::Done(answered)
            }
        }
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
            match self.deadline() {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = tokio::time::timeout(self.timeout, work) => done.unwrap_or_else(|_| Err(problem::timed_out(about))),
            () = stopped => Err(problem::interrupted(about)),
        }
    }

    /// Sends a request, takes note of what its answer's head says of the server, and reads the whole.
    async fn exchange(&self, request: &Request, most: usize, seen: &OnceLock<(u16, Sign)>) -> Result<ApiAnswer> {
        let (about, sent_at) = (request.about(), Instant::now());
        let url = request.url(&self.base);
        let mut token = self.credential.current();
        let mut response = self.send(request, &url, &token).await?;
        while response.status() == StatusCode::UNAUTHORIZED
            && let Some(another) = self.credential.renewed(&token)
        {
            self.requests.fetch_add(1, Ordering::Relaxed);
            token = another;
            response = self.send(request, &url, &token).await?;
        }
        let token = token.expose();
        let status = response.status();
        let sign = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Sign::SlowDown,
            _ => Sign::Answered(sent_at.elapsed()),
        };
        let _ = seen.set((status.as_u16(), sign));
        self.note_clock(response.headers());
        if !status.is_success() && !status.is_redirection() {
            return Err(body::refusal(about, response, self.timeout / 2, token).await);
        }
        let framed = download::is_framed(&response);
        let headers = std::mem::take(response.headers_mut());
        if request.endpoint() == Endpoint::Link && !status.is_redirection() && answer::is_video(&headers, &[]) {
            return Err(answer::no_link(about, status));
        }
        let body = if status.is_redirection() {
            Bytes::new()
        } else {
            let body = body::read(request, response, most, token).await?;
            body::decompressed(about, &headers, body, most).await?
        };
        let is_read = request.method() == Method::GET;
        if status.is_success()
            && let Some(error) = problem::hidden_error(about, status, &headers, &body, is_read, token)
        {
            return Err(error);
        }
        Ok(ApiAnswer {
            status,
            headers,
            url,
            framed,
            body,
        })
    }

    async fn send(&self, request: &Request, url: &Url, token: &Token) -> Result<reqwest::Response> {
        let mut sending = self.http.request(request.method(), url.clone());
        if let Some(header) = token.header() {
            sending = sending.header(AUTHORIZATION, header);
        }
        if let Some(body) = request.body() {
            let json = HeaderValue::from_static("application/json");
            sending = sending.header(CONTENT_TYPE, json).body(body);
        }
        let sent = sending.send().await;
        sent.map_err(|error| problem::transport(request.about(), error, token.expose(), RequestTarget::Api))
    }

    /// See [`Client::renew_token`](super::Client::renew_token).
    pub(super) fn credential(&self) -> &CurrentToken {
        &self.credential
    }

    fn note_clock(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) {
            let mut ahead = self.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner);
            *ahead = Some(date.to_utc() - Utc::now());
        }
    }

    /// See [`Client::clock_ahead`](super::Client::clock_ahead).
    pub(super) fn clock_ahead(&self) -> Option<TimeDelta> {
        *self.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error tells nothing about the limiter: the request may not have come to it.
fn says_nothing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Server | ErrorKind::Connection | ErrorKind::Untrusted | ErrorKind::Interrupted
    )
}

/// An error as it is told when its request is not tried again.
fn final_error(error: Error, attempts: u32) -> Error {
    if error.is_postponed() {
        problem::postponed(error)
    } else if error.is_retryable() {
        problem::after_attempts(error, attempts)
    } else {
        error
    }
}

fn builder() -> reqwest::ClientBuilder {
    crate::tls::http_client()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        // A followed link's signature is nothing that the next host should read.
        .referer(false)
}

/// For this machine: no proxy could reach it, and the demo shall run without CA certificates.
fn local() -> reqwest::ClientBuilder {
    builder().no_proxy().tls_certs_only([])
}

fn is_local(url: &Url) -> bool {
    url.scheme() == "http" && matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| not_built(&error))
}

fn default_headers() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
}

fn not_built(error: &reqwest::Error) -> Error {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(ErrorKind::Config, "HTTP client", problem::safe_text(&cause, ""))
        .hint("install the system's CA certificates, and check the proxy variables")
}
