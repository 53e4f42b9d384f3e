//! The metrics of the process: all that `telelake serve` shows at `/metrics`, with their help texts.
//!
//! There is one set for the process, as for logs. Each metric is changed where the thing happens: answers of the API in
//! `api`, calls of the store in [`store::Metered`](crate::store::Metered), runs and builds in `pipeline`, the rest in
//! `serve`. No I/O. Labels have few, fixed values; no id is a label.

use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The process's metrics.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// A number with a fraction, such as seconds.
pub type Number = Gauge<f64, AtomicU64>;
/// Durations in seconds, by label.
pub type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The labels of a run: its command and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RunLabels {
    /// `run`, `backfill`, `webhook`.
    pub command: String,
    /// `done`, `partial`, `nothing`.
    pub outcome: String,
}

/// The label of a report or recording that a run lands or finds: its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// `landed`, `pending`, `failed`, `denied`, …
    pub state: &'static str,
}

/// The labels of missing objects: their kind and the age of their day.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PendingLabels {
    /// `call`, `report`, `recording`, `listing`, and `build` for days whose tables were not built.
    pub what: &'static str,
    /// `1d`, `3d`, `7d`, `older`: the age of the day at most.
    pub age: &'static str,
}

/// The labels of an answer of the API: its endpoint and status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiLabels {
    /// The endpoint: `spaces`, `rooms`, `calls`, `records`, `report`, `link`, `meta`, `webhook`.
    pub endpoint: &'static str,
    /// The status, or `none` if no answer came.
    pub status: String,
}

/// The label of a loop of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoopLabels {
    /// `runs`, `events`, `clock`, `imports`, `passing`, `health`, `look_around`.
    pub name: &'static str,
}

/// The label of a request to the API: its endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndpointLabels {
    /// As in [`ApiLabels`].
    pub endpoint: &'static str,
}

/// The labels of a call of the store: its name and result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StoreLabels {
    /// `get`, `put`, `list`, …
    pub call: &'static str,
    /// `ok`, `not_found`, `precondition`, `failed`.
    pub result: &'static str,
}

/// The label of a call of the store: its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CallLabels {
    /// As in [`StoreLabels`].
    pub call: &'static str,
}

/// The labels of a webhook: its event and result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// The event's name, `other` for an event that the guide does not list, `none` for a body that is no webhook's.
    pub event: &'static str,
    /// `kept`, `known`, `noted`, `forged`, `unreadable` (the secret), `malformed`, `failed`.
    pub result: &'static str,
}

/// The labels of an answer of the daemon: its route and status.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ServedLabels {
    /// The route, never the requested path.
    pub route: String,
    /// The status.
    pub status: u16,
}

/// The label of a notification: the key of its URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TargetLabels {
    /// `notify.url`, `notify.heartbeat_url`.
    pub target: String,
}

/// The label of a secret: its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SecretLabels {
    /// `api.token`, `serve.token`, `webhook.secret`.
    pub secret: &'static str,
}

/// The label of the program: its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Runs that ended.
    pub runs: Family<RunLabels, Counter>,
    /// Durations of runs.
    pub run_seconds: Histogram,
    /// The end of the last nightly run, epoch seconds.
    pub last_run: Number,
    /// The end of the last nightly run that ended with all done, epoch seconds.
    pub last_success: Number,
    /// Nightly runs in a row that did not end with all done.
    pub nights_not_done: Gauge,
    /// The start of the process, epoch seconds.
    pub started: Number,
    /// The due time of the next scheduled run, epoch seconds.
    pub next_run: Number,
    /// Days worked on.
    pub days: Counter,
    /// Days whose tables were built.
    pub days_built: Counter,
    /// Calls found on days worked on.
    pub calls: Counter,
    /// Reports that runs landed or found, by state.
    pub reports: Family<StateLabels, Counter>,
    /// Recordings that runs landed or found, by state.
    pub recordings: Family<StateLabels, Counter>,
    /// Bytes of recordings landed.
    pub recorded_bytes: Counter,
    /// Objects that are missing in the lake now, by age.
    pub pending: Family<PendingLabels, Gauge>,
    /// Answers of the API.
    pub api_answers: Family<ApiLabels, Counter>,
    /// Durations of requests to the API.
    pub api_seconds: Durations<EndpointLabels>,
    /// Requests that were sent again.
    pub api_retries: Counter,
    /// Calls of the store.
    pub store_calls: Family<StoreLabels, Counter>,
    /// Durations of calls of the store.
    pub store_seconds: Durations<CallLabels>,
    /// Durations of building a day's tables.
    pub build_seconds: Histogram,
    /// Webhooks received.
    pub webhooks: Family<WebhookLabels, Counter>,
    /// 1 if the last notification was delivered, else 0.
    pub notified: Family<TargetLabels, Gauge>,
    /// Files of secrets that can't be read.
    pub secrets_unreadable: Family<SecretLabels, Gauge>,
    /// Events that wait to be worked on.
    pub events_waiting: Gauge,
    /// Jobs that wait in the queue.
    pub queued_jobs: Gauge,
    /// 1 if the queue is paused, else 0.
    pub paused: Gauge,
    /// Payloads of lesson data received.
    pub meta_received: Counter,
    /// Payloads passed on to the API.
    pub meta_passed: Counter,
    /// Payloads that the API refused for good.
    pub meta_refused: Counter,
    /// Payloads that wait to be passed on.
    pub meta_waiting: Gauge,
    /// Answers of the daemon.
    pub served: Family<ServedLabels, Counter>,
    /// 1 if the daemon is ready, else 0.
    pub ready: Gauge,
    /// Turns of the daemon's loops.
    pub loop_turns: Family<LoopLabels, Counter>,
}

const FAST: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const SLOW: [f64; 9] = [0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0];

fn fast() -> Histogram {
    Histogram::new(FAST)
}

impl Metrics {
    fn new() -> Self {
        let mut all = Self {
            registry: Registry::with_prefix("telelake"),
            runs: Family::default(),
            run_seconds: Histogram::new(SLOW),
            last_run: Number::default(),
            last_success: Number::default(),
            nights_not_done: Gauge::default(),
            started: Number::default(),
            next_run: Number::default(),
            days: Counter::default(),
            days_built: Counter::default(),
            calls: Counter::default(),
            reports: Family::default(),
            recordings: Family::default(),
            recorded_bytes: Counter::default(),
            pending: Family::default(),
            api_answers: Family::default(),
            api_seconds: Family::new_with_constructor(fast),
            api_retries: Counter::default(),
            store_calls: Family::default(),
            store_seconds: Family::new_with_constructor(fast),
            build_seconds: Histogram::new(FAST),
            webhooks: Family::default(),
            notified: Family::default(),
            secrets_unreadable: Family::default(),
            events_waiting: Gauge::default(),
            queued_jobs: Gauge::default(),
            paused: Gauge::default(),
            meta_received: Counter::default(),
            meta_passed: Counter::default(),
            meta_refused: Counter::default(),
            meta_waiting: Gauge::default(),
            served: Family::default(),
            ready: Gauge::default(),
            loop_turns: Family::default(),
        };
        all.register();
        all
    }

    #[rustfmt::skip]
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("runs", "Runs that ended, by command and outcome", self.runs.clone());
        r.register("run_seconds", "How long runs took", self.run_seconds.clone());
        r.register("last_run_timestamp_seconds", "When the last nightly run ended", self.last_run.clone());
        r.register("last_success_timestamp_seconds", "When the last nightly run ended with all done", self.last_success.clone());
        r.register("nights_not_done", "Nightly runs in a row, up to the last one, that did not end with all done", self.nights_not_done.clone());
        r.register("start_timestamp_seconds", "When the daemon began", self.started.clone());
        r.register("next_run_timestamp_seconds", "When the next scheduled run is due", self.next_run.clone());
        r.register("days", "Days worked on", self.days.clone());
        r.register("days_built", "Days whose tables were built", self.days_built.clone());
        r.register("calls", "Calls on days worked on", self.calls.clone());
        r.register("reports", "Reports landed by runs, and those found pending, failed, denied or lost on days worked on", self.reports.clone());
        r.register("recordings", "Recordings landed by runs, and those found pending, failed, denied, unavailable or lost on days worked on", self.recordings.clone());
        r.register("recorded_bytes", "Bytes of recordings landed", self.recorded_bytes.clone());
        r.register("pending", "What is pending or failed in the lake now, by the age of its day at most", self.pending.clone());
        r.register("api_answers", "Answers of the API, by status", self.api_answers.clone());
        r.register("api_answer_seconds", "How long the API took to answer", self.api_seconds.clone());
        r.register("api_retries", "Requests to the API that were sent again", self.api_retries.clone());
        r.register("store_calls", "Calls of the store, by result", self.store_calls.clone());
        r.register("store_call_seconds", "How long the store took", self.store_seconds.clone());
        r.register("build_seconds", "How long building a day's tables took", self.build_seconds.clone());
        r.register("webhooks", "Webhooks received, by event and what became of them", self.webhooks.clone());
        r.register("notified", "Whether the last notification was delivered, by the key of its URL: 1 or 0", self.notified.clone());
        r.register("secrets_unreadable", "Files of secrets that are configured and can't be read, by key", self.secrets_unreadable.clone());
        r.register("events_waiting", "Events of webhooks that wait for their work", self.events_waiting.clone());
        r.register("queued_jobs", "Runs and backfills that wait for their turn", self.queued_jobs.clone());
        r.register("paused", "Whether the queue is paused, so that nothing new begins: 1 or 0", self.paused.clone());
        r.register("meta_received", "Payloads of lesson data received", self.meta_received.clone());
        r.register("meta_passed", "Payloads of lesson data passed on to the API", self.meta_passed.clone());
        r.register("meta_refused", "Payloads of lesson data that the API refused for good", self.meta_refused.clone());
        r.register("meta_waiting", "Payloads of lesson data that wait to be passed on", self.meta_waiting.clone());
        r.register("served", "Answers of the daemon, by route and status", self.served.clone());
        r.register("ready", "Whether the daemon is ready: store in reach, token accepted, last run not in vain", self.ready.clone());
        r.register("loop_turns", "Turns of the daemon's loops, by loop: one that is idle makes next to none", self.loop_turns.clone());
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        r.register("build_info", "The program's version", build);
    }

    /// Counts a turn of one of the daemon's loops.
    pub fn turned(&self, name: &'static str) {
        self.loop_turns.get_or_create(&LoopLabels { name }).inc();
    }

    /// All metrics in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// Counts an answer of the API, or a request without an answer.
    pub fn api_answered(&self, endpoint: &'static str, status: Option<u16>, took: Duration) {
        let status = status.map_or_else(|| "none".into(), |status| status.to_string());
        self.api_answers
            .get_or_create(&ApiLabels { endpoint, status })
            .inc();
        self.api_seconds
            .get_or_create(&EndpointLabels { endpoint })
            .observe(took.as_secs_f64());
    }
}

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
