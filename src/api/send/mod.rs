//! The only sender: authorization, pace, bounded concurrency, retries, size limits, and the end on cancellation. Not
//! pure; `client` calls it. The pure modules of `api` decide what to send and read the answers.
//!
//! A request holds a pass of the `gate` from sending until its answer is read, but not during backoff. Downloads hold
//! none, because they go to another host and a long one would only delay the API's requests. The `circuits` admit each
//! attempt and learn the outcome of the request. If the API's limiter refuses a request, `throttle` holds all requests,
//! and the refusal counts as no attempt.

mod body;
mod budget;
mod circuit;
mod circuits;
mod download;
mod gate;
pub(super) mod guard;
mod http;
mod pace;
mod pressure;
mod retry;
mod throttle;
mod token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::dns::Resolve;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::circuits::Circuits;
use self::gate::Gate;
use self::guard::DownloadGuard;
use self::http::HttpClients;
use self::pace::Pace;
use self::pressure::Sign;
use self::retry::{Attempt, Attempts, NextAttempt};
use self::throttle::{RateMeter, RefusalVerdict, Throttle};
use self::token::{CurrentToken, Token};
use super::answer::{self, ApiAnswer};
use super::problem::{self, RequestTarget};
use super::request::{Endpoint, List, Request, RequestScope};
use crate::backoff::Backoff;
use crate::config;
use crate::metrics::METRICS;
use crate::{Error, ErrorKind, Result};

pub use self::budget::RequestBudget;
pub use self::circuits::Refused;
pub use self::download::{Download, Link, Resume, is_strong};

const MIB: usize = 1024 * 1024;

/// Times and limits that no configuration sets; tests set smaller ones.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The limit of the first backoff; it doubles with each failure.
    pub backoff: Duration,
    /// The limit of the longest backoff.
    pub backoff_cap: Duration,
    /// The first hold of all requests if the API's limiter refuses one and names no pause; it doubles with each hold.
    pub first_hold: Duration,
    /// The time that requests in flight get when the program is asked to stop.
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
            first_hold: Duration::from_secs(1),
            grace: Duration::from_secs(5),
            list_bytes: 32 * MIB,
            report_bytes: 256 * MIB,
            link_bytes: 16 * 1024,
        }
    }
}

/// The number of requests that a client has sent so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests to the API, including retries. Downloads do not count.
    pub requests: u64,
    /// Retries of requests and of the openings of downloads.
    pub retries: u64,
}

/// The effect of the API's limiter on a client's requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limited {
    /// Requests that were refused as too many; each was sent again.
    pub refused: u64,
    /// Requests that were not sent, because the API had refused all requests for minutes.
    pub unsent: u64,
    /// Requests per second that the API answered meanwhile.
    pub rate: Option<f64>,
}

/// The only sender of requests. Everything in an [`Arc`] is shared with the senders made by [`Sender::beside`].
#[derive(Debug)]
pub(super) struct Sender {
    http: HttpClients,
    base: Url,
    token: Arc<CurrentToken>,
    /// The time limit for an answer of the API, or for one chunk of a download.
    timeout: Duration,
    retries: u32,
    gate: Arc<Gate>,
    concurrency: usize,
    circuits: Circuits,
    guard: Arc<DownloadGuard>,
    pace: Arc<Pace>,
    throttle: Arc<Throttle>,
    rate: RateMeter,
    /// A budget of requests, if the caller counts them.
    budget: Option<Arc<dyn RequestBudget>>,
    /// Requests that were not sent because the API was closed.
    unsent: AtomicU64,
    cancel: CancellationToken,
    /// The time at which the sender noticed that the program stops.
    stopped: OnceLock<Instant>,
    tuning: Tuning,
    requests: AtomicU64,
    retried: AtomicU64,
    /// The lead of the API's clock over this machine's in the latest answer.
    clock_ahead: Mutex<Option<TimeDelta>>,
    /// The longest page of each list so far: see `paging`.
    longest: Mutex<HashMap<List, usize>>,
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
        let guard = DownloadGuard::new(&base, names);
        Ok(Self {
            http: HttpClients::new(&base, &guard)?,
            base,
            token: Arc::new(CurrentToken::new(config)?),
            timeout: *config.timeout,
            retries: config.retries,
            gate: Arc::new(Gate::new(config.concurrency)),
            concurrency: config.concurrency,
            circuits: Circuits::new(*config.timeout),
            guard,
            pace: Arc::new(Pace::new(config.requests_per_second)),
            throttle: Arc::new(Throttle::new(tuning.first_hold)),
            rate: RateMeter::default(),
            budget: None,
            unsent: AtomicU64::new(0),
            cancel,
            stopped: OnceLock::new(),
            tuning,
            requests: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            clock_ahead: Mutex::default(),
            longest: Mutex::default(),
        })
    }

    /// A sender that shares connections, concurrency, pace and token with this one, but has its own cancellation, circuits
    /// and counts.
    pub(super) fn beside(&self, cancel: CancellationToken, budget: Option<Arc<dyn RequestBudget>>) -> Self {
        Self {
            http: self.http.clone(),
            base: self.base.clone(),
            token: Arc::clone(&self.token),
            timeout: self.timeout,
            retries: self.retries,
            gate: Arc::clone(&self.gate),
            concurrency: self.concurrency,
            // Not shared, because each run reports the requests that it skipped itself.
            circuits: Circuits::new(self.timeout),
            guard: Arc::clone(&self.guard),
            pace: Arc::clone(&self.pace),
            throttle: Arc::clone(&self.throttle),
            rate: RateMeter::default(),
            budget,
            unsent: AtomicU64::new(0),
            cancel,
            stopped: OnceLock::new(),
            tuning: self.tuning.clone(),
            requests: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            clock_ahead: Mutex::default(),
            longest: Mutex::new(self.lock_longest().clone()),
        }
    }

    pub(super) fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// The configured number of requests in flight.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retried.load(Ordering::Relaxed),
        }
    }

    /// The effect of the API's limiter, if it had any.
    pub(super) fn limited(&self) -> Option<Limited> {
        let (refused, unsent) = (self.rate.refusals(), self.unsent.load(Ordering::Relaxed));
        let rate = self.rate.rate();
        (refused + unsent > 0).then_some(Limited {
            refused,
            unsent,
            rate,
        })
    }

    /// True if the API refuses all requests, so that only probes are sent.
    pub(super) fn is_closed(&self) -> bool {
        self.throttle.is_closed()
    }

    pub(super) fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// Notes the length of a page. Returns the length of the longest page of the list before it.
    pub(super) fn learn(&self, list: List, length: usize) -> usize {
        let mut longest = self.lock_longest();
        let longest = longest.entry(list).or_default();
        let before = *longest;
        *longest = before.max(length);
        before
    }

    fn lock_longest(&self) -> MutexGuard<'_, HashMap<List, usize>> {
        self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the grace period, if the program was asked to stop.
    fn deadline(&self) -> Option<Instant> {
        let stopped = || *self.stopped.get_or_init(Instant::now) + self.tuning.grace;
        self.cancel.is_cancelled().then(stopped)
    }

    /// Sends a request until it is answered or no attempt is left. An error of `read` is retried too, because a list that
    /// ends in the middle of its JSON was cut.
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

    /// Repeats an attempt until it succeeds, fails for good, or its circuit opens. A request that the limiter refused
    /// waits with all others for the end of the hold, and the refusal counts as no failure.
    pub(super) async fn persist<T, F>(
        &self,
        about: &str,
        scope: Option<&RequestScope>,
        attempt: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Attempt<T>>,
    {
        let (mut begun, mut attempts) = (Instant::now(), Attempts::new(self.retries));
        let backoff = Backoff::new(self.tuning.backoff, self.tuning.backoff_cap);
        loop {
            let admitted = self.circuits.enter(about, scope)?;
            match attempts.take(attempt().await, admitted.is_probe()) {
                NextAttempt::None(result) => {
                    admitted.conclude(result.as_ref().err(), begun);
                    return result;
                }
                NextAttempt::AfterHold(error) => {
                    drop(admitted);
                    self.note_retry(&error, attempts.count(), Duration::ZERO);
                    begun = Instant::now();
                }
                NextAttempt::AfterBackoff { error, failures } => {
                    drop(admitted);
                    let pause = match error.pause() {
                        Some(asked) => backoff.pause_asked(asked),
                        None => backoff.pause(failures),
                    };
                    self.note_retry(&error, attempts.count(), pause);
                    self.unless_stopped(about, tokio::time::sleep(pause)).await?;
                }
            }
        }
    }

    fn note_retry(&self, error: &Error, attempts: u32, pause: Duration) {
        tracing::debug!(%error, attempts, ?pause, "will be tried again");
        self.retried.fetch_add(1, Ordering::Relaxed);
        METRICS.api_retries.inc();
    }

    /// Makes an attempt: waits for a pass and a slot, sends the request and reads the whole answer. `send` stores the
    /// status and sign of the answer's head in `seen`.
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
        if let Err(spent) = self.count().await {
            return Attempt::Final(spent);
        }
        let sent = Instant::now();
        let answer = self.in_time(about, send).await;
        let (status, mut sign) = seen.get().copied().unzip();
        if answer
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::RateLimited)
        {
            // The refusal may come with any status.
            sign = Some(Sign::SlowDown);
        }
        pass.give_back(sent, sign);
        METRICS.api_answered(endpoint.name(), status, sent.elapsed());
        self.judge(endpoint, sent, answer)
    }

    /// Counts a request that is about to be sent.
    async fn count(&self) -> Result<()> {
        if let Some(budget) = &self.budget {
            budget.take().await?;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for a slot. A slot that was taken before a hold is void.
    async fn wait_for_slot(&self, about: &str) -> Result<()> {
        loop {
            let slot = self.pace.slot(Instant::now());
            self.unless_stopped(about, tokio::time::sleep_until(slot)).await?;
            if !self.pace.is_held(Instant::now()) {
                return Ok(());
            }
        }
    }

    /// Tells the throttle about the answer to a request to an endpoint that was sent at `sent`.
    fn judge<T>(&self, endpoint: Endpoint, sent: Instant, answer: Result<T>) -> Attempt<T> {
        let now = Instant::now();
        match answer {
            Err(error) if error.is_postponed() => {
                self.throttle.postponed(endpoint.name(), now, error.message());
                Attempt::Final(error)
            }
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                let refusals = self.rate.refused(sent, now);
                match self.throttle.refused(sent, error.pause(), now, error.message()) {
                    RefusalVerdict::Held { until, first } => {
                        if refusals == 1 {
                            let pause = until.saturating_duration_since(now);
                            tracing::warn!(%error, ?pause, "the API refuses further requests for now: all are held");
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
                self.throttle.answered(endpoint.name(), sent, now);
                Attempt::Done(answered)
            }
        }
    }

    /// Does work that ends at once when the program stops.
    async fn unless_stopped<T>(&self, about: &str, work: impl Future<Output = T>) -> Result<T> {
        // `run_until_cancelled` prefers work that is ready.
        let done = match self.cancel.is_cancelled() {
            true => None,
            false => self.cancel.run_until_cancelled(work).await,
        };
        done.ok_or_else(|| problem::interrupted(about))
    }

    /// Limits work to the timeout and, when the program stops, to the grace period.
    async fn in_time<T>(&self, about: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
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

    /// Sends a request, stores status and sign of the answer's head in `seen`, and reads the whole answer.
    async fn exchange(
        &self,
        request: &Request,
        most: usize,
        seen: &OnceLock<(u16, Sign)>,
    ) -> Result<ApiAnswer> {
        let about = request.about();
        let url = request.url(&self.base);
        let mut token = self.token.current();
        let mut response = self.send(request, &url, &token).await?;
        while response.status() == StatusCode::UNAUTHORIZED
            && let Some(another) = self.token.renewed(&token)
        {
            self.count().await?;
            token = another;
            response = self.send(request, &url, &token).await?;
        }
        let token = token.expose();
        let status = response.status();
        let sign = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Sign::SlowDown,
            _ => Sign::Answered,
        };
        let _ = seen.set((status.as_u16(), sign));
        self.note_clock(response.headers());
        if !status.is_success() && !status.is_redirection() {
            return Err(body::refusal(about, response, self.timeout / 2, token).await);
        }
        let framed = answer::is_framed(&response);
        let headers = std::mem::take(response.headers_mut());
        if request.endpoint() == Endpoint::Link && !status.is_redirection() && answer::is_video(&headers, &[])
        {
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
        let mut sending = self.http.api.request(request.method(), url.clone());
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

    /// Replaces the token: see [`Client::renew_token`](super::Client::renew_token).
    pub(super) fn renew_token(&self, config: &config::Api) -> Result<bool> {
        self.token.replace(config)
    }

    fn note_clock(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()) {
            let mut ahead = self.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner);
            *ahead = Some(date.to_utc() - Utc::now());
        }
    }

    /// The lead of the API's clock: see [`Client::clock_ahead`](super::Client::clock_ahead).
    pub(super) fn clock_ahead(&self) -> Option<TimeDelta> {
        *self.clock_ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if an error says nothing about the limiter, because the request may not have reached it.
fn says_nothing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Server | ErrorKind::Connection | ErrorKind::Untrusted | ErrorKind::Interrupted
    )
}
