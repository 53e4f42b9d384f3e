//! The one sender: authorization, pace, bounded concurrency, retries, bounded answers and the end on cancellation.
//! Not pure; `client` and `download` call it. What to send and what answers mean is decided in the pure modules beside.
//!
//! A pass of the `gate` is held from sending until the answer is read, and given back during backoff. Downloads go to a
//! blob host and hold none: a long one would keep the API's walk waiting for nothing. Before each attempt the `circuits`
//! are asked, and told how it all ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::dns::Resolve;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, Url, redirect};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::circuits::{Circuits, Place};
use super::client::{Stats, Tuning};
use super::download;
use super::gate::Gate;
use super::guard::Guard;
use super::pace::Pace;
use super::pressure::Sign;
use super::problem;
use super::request::{List, Request};
use super::retry::Backoff;
use crate::config::{self, Secret};
use crate::metrics::METRICS;
use crate::{Error, ErrorKind, Result};

/// How the program names itself to servers.
const USER_AGENT: &str = concat!("telelake/", env!("CARGO_PKG_VERSION"));
/// A host that does not take a connection in this time is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of an error's body only its `message` and `code` are of use, and worth no long wait.
const LONGEST_ERROR: usize = 64 * 1024;
const LONGEST_WAIT_FOR_ERROR: Duration = Duration::from_secs(2);
/// Most of a body's announced length is not reserved before it comes.
const LARGEST_RESERVE: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Sender {
    http: reqwest::Client,
    /// Without the token: links lead to other hosts.
    blobs: reqwest::Client,
    local_blobs: reqwest::Client,
    base: Url,
    token: Secret,
    /// For one answer of the API, or one piece of a download.
    timeout: Duration,
    retries: u32,
    /// Shared with the clients beside.
    gate: Arc<Gate>,
    circuits: Circuits,
    guard: Arc<Guard>,
    /// Shared with the clients beside.
    pace: Arc<Pace>,
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
            .default_headers(authorization(&config.token)?);
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
            token: config.token.clone(),
            timeout: *config.timeout,
            retries: config.retries,
            gate: Arc::new(Gate::new(config.concurrency)),
            circuits: Circuits::new(*config.timeout),
            guard,
            pace: Arc::new(Pace::new(config.requests_per_second)),
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
            token: self.token.clone(),
            timeout: self.timeout,
            retries: self.retries,
            gate: Arc::clone(&self.gate),
            // Of its own: what is skipped is told by the run that skipped it.
            circuits: Circuits::new(self.timeout),
            guard: Arc::clone(&self.guard),
            pace: Arc::clone(&self.pace),
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
        read: fn(&Request, Answer) -> Result<T>,
    ) -> Result<T> {
        self.persist(request.about(), request.place(), || async {
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

    /// Repeats what fails in a way that may pass, as long as its place's circuit lets it.
    pub(super) async fn persist<T, F>(
        &self,
        about: &str,
        place: Option<&Place>,
        attempt: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let (begun, mut attempts) = (Instant::now(), 0_u32);
        loop {
            let admitted = self.circuits.enter(about, place)?;
            attempts = attempts.saturating_add(1);
            let error = match attempt().await {
                Err(error) if error.is_retryable() && attempts <= self.retries && !admitted.is_probe() => {
                    error
                }
                done => {
                    let done = done.map_err(|error| match error.is_retryable() {
                        true => problem::after_attempts(error, attempts),
                        false => error,
                    });
                    admitted.conclude(done.as_ref().err(), begun);
                    return done;
                }
            };
            drop(admitted);
            let backoff = Backoff {
                base: self.tuning.backoff,
                cap: self.tuning.backoff_cap,
            };
            let pause = backoff.pause(attempts, error.pause(), fastrand::f64());
            tracing::debug!(%error, attempts, ?pause, "will be tried again");
            self.unless_stopped(about, tokio::time::sleep(pause)).await?;
            self.retried.fetch_add(1, Ordering::Relaxed);
            METRICS.api_retries.inc();
        }
    }

    /// One attempt: a pass, a slot, the request and its whole answer.
    async fn attempt(&self, request: &Request, most: usize) -> Result<Answer> {
        let about = request.about();
        let pass = self.unless_stopped(about, self.gate.enter()).await?;
        let slot = self.pace.slot(Instant::now());
        self.unless_stopped(about, tokio::time::sleep_until(slot)).await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (sent, seen) = (Instant::now(), OnceLock::new());
        let answer = self
            .in_time(about, self.exchange(request, most, sent, &seen))
            .await;
        let (status, sign) = seen.get().copied().unzip();
        pass.give_back(request.kind(), sent, sign);
        METRICS.api_answered(request.kind().name(), status, sent.elapsed());
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
    async fn exchange(
        &self,
        request: &Request,
        most: usize,
        sent_at: Instant,
        seen: &OnceLock<(u16, Sign)>,
    ) -> Result<Answer> {
        let about = request.about();
        let url = request.url(&self.base);
        let mut sending = self.http.request(request.method(), url.clone());
        if let Some(body) = request.body() {
            let json = HeaderValue::from_static("application/json");
            sending = sending.header(CONTENT_TYPE, json).body(body);
        }
        let sent = sending.send().await;
        let mut response = sent.map_err(|error| problem::transport(about, error, self.token.expose()))?;
        let status = response.status();
        let sign = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Sign::SlowDown,
            _ => Sign::Answered(sent_at.elapsed()),
        };
        let _ = seen.set((status.as_u16(), sign));
        self.note_clock(response.headers());
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

    /// The error of an answer, with as much of its body as is of use.
    async fn refusal(&self, about: &str, mut response: Response) -> Error {
        let mut body = BytesMut::new();
        let read = async {
            while let Ok(Some(chunk)) = response.chunk().await
                && body.len() < LONGEST_ERROR
            {
                body.extend_from_slice(&chunk);
            }
        };
        // The status is known, whether or not the rest comes.
        let _ = tokio::time::timeout(LONGEST_WAIT_FOR_ERROR.min(self.timeout / 2), read).await;
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
        let mut body = BytesMut::with_capacity(expected.min(LARGEST_RESERVE));
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

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
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
