//! A log per run: a layer of `tracing` that keeps the latest lines of every running run, by the span `run` that they come
//! from. In memory and bounded; the pipeline writes them to the store with the run's summary.
//!
//! The lines are those of the program's log, masked in the same way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The number of a run's latest lines that are kept, and their bytes at most.
const LINES: usize = 500;
const BYTES: usize = 256 * 1024;

/// A line of a run's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The time.
    pub at: DateTime<Utc>,
    /// `ERROR`, `WARN`, `INFO`.
    pub level: String,
    /// The message.
    pub message: String,
    /// The object that the line is about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

impl Line {
    /// The approximate size in memory and in the store.
    fn bytes(&self) -> usize {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + size(value) + 8);
        64 + self.message.len() + fields.sum::<usize>()
    }
}

fn size(value: &Value) -> usize {
    value.as_str().map_or(8, str::len)
}

/// The latest lines of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLog {
    /// The lines, in their order.
    pub lines: VecDeque<Line>,
    /// The number of earlier lines that are not kept.
    pub left_out: u64,
    #[serde(skip)]
    bytes: usize,
}

impl RunLog {
    fn add(&mut self, line: Line) {
        self.bytes += line.bytes();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
            self.left_out += 1;
        }
    }
}

/// The logs of the running runs, by run id.
static LOGS: LazyLock<Mutex<HashMap<String, RunLog>>> = LazyLock::new(Mutex::default);

/// The recording of a run's log, which is kept until this is dropped.
#[derive(Debug)]
pub struct Recording(String);

impl Recording {
    /// Begins to keep the lines of a run.
    pub fn begin(run: &str) -> Self {
        LOGS.lock().insert(run.to_owned(), RunLog::default());
        Self(run.to_owned())
    }

    /// The lines so far.
    pub fn log(&self) -> RunLog {
        of(&self.0).unwrap_or_default()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        LOGS.lock().remove(&self.0);
    }
}

/// The lines so far of a run in this process; none if it is not running.
pub fn of(run: &str) -> Option<RunLog> {
    LOGS.lock().get(run).cloned()
}

/// The layer of `tracing` that keeps the logs.
pub struct RunLogs;

/// The run to which a span belongs.
struct OfRun(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RunLogs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "run" {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(Value::String(run)), Some(span)) = (fields.0.remove("run"), context.span(id)) {
            span.extensions_mut().insert(OfRun(run));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(mut scope) = context.event_scope(event) else {
            return;
        };
        let run = scope.find_map(|span| span.extensions().get::<OfRun>().map(|run| run.0.clone()));
        let Some(run) = run else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = match fields.0.remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        let line = Line {
            at: Utc::now(),
            level: event.metadata().level().to_string(),
            message,
            fields: fields.0,
        };
        if let Some(log) = LOGS.lock().get_mut(&run) {
            log.add(line);
        }
    }
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn lines_of_concurrent_runs_are_told_apart_by_their_span() {
        let subscriber = tracing_subscriber::registry().with(RunLogs);
        tracing::subscriber::with_default(subscriber, || {
            let (one, two) = (Recording::begin("log-1"), Recording::begin("log-2"));
            let (first, second) = ("log-1".to_owned(), "log-2".to_owned());
            let of_one = tracing::info_span!("run", run = first, command = "run");
            let of_two = tracing::info_span!("run", run = second, command = "backfill");
            of_one.in_scope(|| {
                tracing::warn!(room = "r", count = 3, "held");
                let day = tracing::info_span!("day", date = "2026-11-22");
                day.in_scope(|| tracing::info!("built"));
                of_two.in_scope(|| tracing::error!("failed"));
            });
            tracing::warn!("of no run");
            let lines = |recording: &Recording| -> Vec<String> {
                let lines = recording.log().lines.into_iter();
                lines
                    .map(|line| format!("{} {}", line.level, line.message))
                    .collect()
            };
            assert_eq!(lines(&one), ["WARN held", "INFO built"]);
            assert_eq!(lines(&two), ["ERROR failed"]);
            let fields = &one.log().lines[0].fields;
            assert_eq!((&fields["room"], &fields["count"]), (&"r".into(), &3.into()));
            drop(one);
            assert_eq!(of("log-1"), None, "over");
        });
    }

    #[test]
    fn only_the_latest_lines_are_kept() {
        let line = |message: String| Line {
            at: Utc::now(),
            level: "INFO".into(),
            message,
            fields: BTreeMap::new(),
        };
        let mut log = RunLog::default();
        (0..LINES + 7).for_each(|n| log.add(line(n.to_string())));
        assert_eq!((log.lines.len(), log.left_out), (LINES, 7));
        assert_eq!(log.lines[0].message, "7");
        (0..10).for_each(|_| log.add(line("x".repeat(BYTES / 4))));
        assert!(log.bytes <= BYTES && log.lines.len() <= 4, "{}", log.lines.len());
    }
}
