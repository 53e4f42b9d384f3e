//! The relay of lesson data. A request of the LMS is written to the store at once, imported into the lake by the same code
//! as `meta import`, and passed on to the API, with retries until the API accepts or finally rejects it.
//!
//! ```text
//! POST /meta ─ journal ─► relay/new/ ─ import, many requests at once ─► raw/meta/, lesson days
//!                                        └► relay/due/ ─ storeExternalUserMeta ─► gone, or relay/refused/
//! ```
//! Each step writes before it removes, so a crash repeats a step. Each step is idempotent.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, NaiveDateTime, Utc};
use futures_util::{StreamExt, stream};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::daemon::Daemon;
use super::http::{body, reply};
use super::journal::{self, Journal};
use super::webhook::{PATIENCE, too_slow};
use crate::lake::key;
use crate::metrics::METRICS;
use crate::pipeline::{MetaFile, import_meta};
use crate::store::{Condition, Store};
use crate::tables::lessons::{Payload, parse};
use crate::{Error, ErrorKind, Result};

/// The most bytes of a request's body.
const LARGEST: usize = 8 << 20;
/// The time that the import waits for more after the first request, so that a thousand requests become few files.
const GATHER: Duration = Duration::from_secs(1);
/// The most objects that an import takes.
const MOST_OBJECTS: usize = 1000;
/// The bytes after which an import takes no further object.
const MOST_BYTES: usize = 32 << 20;
/// The payloads that are sent to the API concurrently.
const AT_ONCE: usize = 4;
/// The first and the longest backoff after a failure.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// See the module.
pub struct Relay {
    journal: Mutex<Option<Journal<()>>>,
    new: Arc<Mutex<VecDeque<String>>>,
    due: Mutex<VecDeque<String>>,
    arrived: Arc<Notify>,
    imported: Notify,
}

impl Relay {
    /// Starts an empty relay. The handle ends when [`Relay::close`] was called and everything is written.
    pub fn start(store: Arc<dyn Store>) -> (Self, tokio::task::JoinHandle<()>) {
        let new = Arc::new(Mutex::new(VecDeque::new()));
        let arrived = Arc::new(Notify::new());
        let (keys, wake) = (Arc::clone(&new), Arc::clone(&arrived));
        let (journal, writer) = Journal::start(store, key::RELAY_NEW, move |key, _| {
            lock(&keys).push_back(key);
            wake.notify_one();
        });
        let relay = Self {
            journal: Mutex::new(Some(journal)),
            new,
            due: Mutex::default(),
            arrived,
            imported: Notify::new(),
        };
        (relay, writer)
    }

    /// Loads the lesson data that an earlier process kept in the store.
    ///
    /// # Errors
    /// Any error of the store.
    pub async fn load(&self, store: &dyn Store) -> Result<()> {
        for (prefix, keys) in [(key::RELAY_NEW, &*self.new), (key::RELAY_DUE, &self.due)] {
            let found = store.list(prefix).await?;
            lock(keys).extend(found.into_iter().map(|entry| entry.key));
        }
        let due: Vec<String> = lock(&self.due).iter().cloned().collect();
        for key in due {
            METRICS
                .meta_waiting
                .inc_by(count_lines(&store.get(&key).await?.bytes));
        }
        self.arrived.notify_one();
        self.imported.notify_one();
        Ok(())
    }

    /// Refuses further requests; those in flight are still written.
    pub fn close(&self) {
        *self.journal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// True if lesson data waits to be imported or passed on.
    pub fn has_work(&self) -> bool {
        !lock(&self.new).is_empty() || !lock(&self.due).is_empty()
    }
}

fn lock(keys: &Mutex<VecDeque<String>>) -> MutexGuard<'_, VecDeque<String>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count_lines(bytes: &[u8]) -> i64 {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    i64::try_from(lines).unwrap_or(i64::MAX)
}

/// `POST /meta`
pub(super) async fn receive(State(daemon): State<Arc<Daemon>>, request: Body) -> Response {
    let bytes = match body::read(request, LARGEST).await {
        Ok(bytes) => bytes,
        Err(refusal) => return refusal.into(),
    };
    let read = tokio::task::spawn_blocking(move || lines(&bytes)).await;
    let (count, lines) = match read {
        Ok(Ok(lines)) => lines,
        Ok(Err(why)) => return reply::error(StatusCode::BAD_REQUEST, &why),
        Err(_) => return reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the body could not be read"),
    };
    let journal = daemon
        .relay
        .journal
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let kept = match journal {
        Some(journal) => tokio::time::timeout(PATIENCE, journal.keep(lines, ()))
            .await
            .unwrap_or_else(|_| Err(too_slow("lesson data"))),
        None => Err(Error::new(ErrorKind::Interrupted, "relay", "the program is stopping")),
    };
    if let Err(error) = kept {
        tracing::error!(%error, "lesson data could not be written to the store; the LMS must send it again");
        return reply::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "could not be kept, send it again",
        );
    }
    METRICS.meta_received.inc_by(count);
    reply::json(StatusCode::ACCEPTED, &json!({"accepted": count}))
}

/// The number of payloads in a body, and its values, one a line, unchanged apart from line breaks between tokens.
fn lines(bytes: &[u8]) -> std::result::Result<(u64, String), String> {
    let count = parse(bytes).map_err(|error| error.to_string())?.len() as u64;
    if count == 0 {
        return Err("holds no payload".into());
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = String::with_capacity(bytes.len() + 1);
    let mut add = |value: &RawValue| {
        // A line break in JSON is white space, because within a string it is written as \n.
        lines.extend(
            value
                .get()
                .chars()
                .map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }),
        );
        lines.push('\n');
    };
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>() {
        let value = value.map_err(|error| error.to_string())?;
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(elements) => elements.into_iter().for_each(&mut add),
            Err(_) => add(value),
        }
    }
    Ok((count, lines))
}

/// Imports received lesson data until the daemon stops.
pub(super) async fn run_imports(daemon: &Daemon) {
    let mut pause = PAUSE;
    loop {
        METRICS.turned("imports");
        tokio::select! {
            () = daemon.cancel.cancelled() => break,
            () = daemon.relay.arrived.notified() => {}
        }
        tokio::select! {
            () = daemon.cancel.cancelled() => break,
            () = tokio::time::sleep(GATHER) => {}
        }
        match import_all(daemon).await {
            Ok(()) => pause = PAUSE,
            Err(error) => {
                tracing::warn!(%error, "received lesson data could not be imported; it stays in the store and is tried again");
                daemon.relay.arrived.notify_one();
                if !wait(daemon, &mut pause).await {
                    break;
                }
            }
        }
    }
}

/// Imports all received lesson data.
///
/// # Errors
/// Any error of the store; the rest waits for the next call.
pub(super) async fn import_all(daemon: &Daemon) -> Result<()> {
    loop {
        let keys: Vec<String> = lock(&daemon.relay.new)
            .iter()
            .take(MOST_OBJECTS)
            .cloned()
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let taken = import(daemon, keys).await?;
        lock(&daemon.relay.new).drain(..taken);
    }
}

/// Imports the first of these objects, as many as an import may hold, and returns their number.
async fn import(daemon: &Daemon, keys: Vec<String>) -> Result<usize> {
    let mut bytes = Vec::new();
    let (mut taken, mut received_at) = (0, DateTime::UNIX_EPOCH);
    for key in &keys {
        match daemon.store.get(key).await {
            Ok(object) => bytes.extend_from_slice(&object.bytes),
            // Another process has imported it.
            Err(error) if error.kind() == ErrorKind::StoreNotFound => {}
            Err(error) => return Err(error),
        }
        received_at = received_at.max(received(key).unwrap_or_else(Utc::now));
        taken += 1;
        if bytes.len() >= MOST_BYTES {
            break;
        }
    }
    if !bytes.is_empty() {
        let count = count_lines(&bytes);
        // The request was parsed before it was written, so an error means damage.
        parse(&bytes)
            .map_err(|error| Error::new(ErrorKind::Store, &keys[0], format!("is damaged: {error}")))?;
        let file = MetaFile {
            name: "relay".into(),
            bytes: bytes.clone().into(),
        };
        let zone = daemon.config.timezone;
        // Import as of the time of receipt, so that a repetition after a crash undoes nothing newer.
        let done = import_meta(&*daemon.store, zone, received_at, vec![file]).await?;
        tracing::info!(
            payloads = done.payloads,
            changed = done.changed,
            "lesson data was imported"
        );
        let due = format!("{}{}.jsonl", key::RELAY_DUE, journal::id());
        daemon.store.put(&due, bytes.into(), Condition::Any).await?;
        METRICS.meta_waiting.inc_by(count);
        lock(&daemon.relay.due).push_back(due);
        daemon.relay.imported.notify_one();
    }
    for key in &keys[..taken] {
        daemon.store.delete(key).await?;
    }
    Ok(taken)
}

/// The time when an object was written, read from its id.
fn received(key: &str) -> Option<DateTime<Utc>> {
    let id = key.rsplit('/').next()?;
    let (stamp, _) = id.split_once('-')?;
    NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%M%S%6fZ")
        .ok()
        .map(|at| at.and_utc())
}

/// Passes imported lesson data on to the API until the daemon stops.
pub(super) async fn run_passing(daemon: &Daemon) {
    let mut pause = PAUSE;
    // The payloads of the first object that are not passed on yet.
    let mut left: Option<Vec<Payload>> = None;
    loop {
        METRICS.turned("passing");
        let Some(key) = lock(&daemon.relay.due).front().cloned() else {
            tokio::select! {
                () = daemon.cancel.cancelled() => return,
                () = daemon.relay.imported.notified() => continue,
            }
        };
        let before = left.as_ref().map(Vec::len);
        match pass_on(daemon, &key, &mut left).await {
            Ok(()) => {
                pause = PAUSE;
                left = None;
                lock(&daemon.relay.due).pop_front();
            }
            Err(error) => {
                if daemon.cancel.is_cancelled() {
                    return;
                }
                if left.as_ref().map(Vec::len) < before {
                    pause = PAUSE;
                }
                tracing::warn!(%error, "lesson data could not be passed on to the API; it stays in the store and is tried again");
                if !wait(daemon, &mut pause).await {
                    return;
                }
            }
        }
    }
}

/// Tries once to pass on everything that waits. Returns true if all was passed on.
pub(super) async fn pass_all(daemon: &Daemon) -> bool {
    loop {
        let Some(key) = lock(&daemon.relay.due).front().cloned() else {
            return true;
        };
        if let Err(error) = pass_on(daemon, &key, &mut None).await {
            tracing::warn!(%error, "lesson data could not be passed on to the API; it stays in the store");
            return false;
        }
        lock(&daemon.relay.due).pop_front();
    }
}

/// Passes an object's payloads on and removes it. `left` holds the payloads that are not passed on yet.
async fn pass_on(daemon: &Daemon, key: &str, left: &mut Option<Vec<Payload>>) -> Result<()> {
    let bytes = match daemon.store.get(key).await {
        Ok(object) => object.bytes,
        Err(error) if error.kind() == ErrorKind::StoreNotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let due = match left.take() {
        Some(due) => due,
        None => parse(&bytes)
            .map_err(|error| Error::new(ErrorKind::Store, key, format!("is damaged: {error}")))?,
    };
    let (due, earlier) = latest(due);
    METRICS.meta_waiting.dec_by(earlier);
    let Sent {
        unsent,
        refused,
        error,
    } = send(daemon, due).await;
    let kept = keep_refused(daemon, refused).await;
    *left = Some(unsent);
    kept?;
    match error {
        Some(error) => Err(error),
        None => {
            daemon.store.delete(key).await?;
            tracing::info!("lesson data was passed on to the API");
            Ok(())
        }
    }
}

/// The result of sending payloads.
struct Sent {
    /// The payloads that the API has neither accepted nor refused; empty without an error.
    unsent: Vec<Payload>,
    refused: Vec<(Payload, Error)>,
    error: Option<Error>,
}

/// Sends payloads until all are sent, or until some fail with an error that may pass.
async fn send(daemon: &Daemon, due: Vec<Payload>) -> Sent {
    let path = daemon.config.api.external_meta_path.as_str();
    let mut answers = stream::iter(0..due.len())
        .map(|at| {
            let payload = &due[at];
            async move { (at, daemon.client.store_meta(path, &payload.body()).await) }
        })
        .buffer_unordered(AT_ONCE);
    // Requests in flight when the rest is given up count as not sent, because sending twice does no harm.
    let mut over = vec![false; due.len()];
    let (mut refusals, mut failures, mut error) = (Vec::new(), 0, None);
    while let Some((at, answer)) = answers.next().await {
        match answer {
            Ok(()) => {
                METRICS.meta_passed.inc();
                METRICS.meta_waiting.dec();
                over[at] = true;
            }
            Err(refusal) if matches!(refusal.kind(), ErrorKind::Rejected | ErrorKind::TooLarge) => {
                refusals.push((at, refusal));
                over[at] = true;
            }
            Err(failure) => {
                error.get_or_insert(failure);
                failures += 1;
                // The others would only get the same answer.
                if failures >= AT_ONCE {
                    break;
                }
            }
        }
    }
    drop(answers);
    let refused = refusals
        .into_iter()
        .map(|(at, refusal)| (due[at].clone(), refusal))
        .collect();
    let unsent = due.into_iter().zip(over).filter(|(_, over)| !over);
    Sent {
        unsent: unsent.map(|(payload, _)| payload).collect(),
        refused,
        error,
    }
}

/// The latest payload of each user and meeting, so that the order of sending does not matter; and the number left out.
fn latest(payloads: Vec<Payload>) -> (Vec<Payload>, i64) {
    let all = payloads.len();
    let mut seen = HashSet::new();
    let mut latest: Vec<Payload> = payloads
        .into_iter()
        .rev()
        .filter(|payload| seen.insert((payload.user.clone(), payload.meeting.clone())))
        .collect();
    latest.reverse();
    let left_out = i64::try_from(all - latest.len()).unwrap_or(0);
    (latest, left_out)
}

/// Lays payloads aside that the API will never accept, so that they hold nothing up.
async fn keep_refused(daemon: &Daemon, refused: Vec<(Payload, Error)>) -> Result<()> {
    let Some((_, error)) = refused.first() else {
        return Ok(());
    };
    let key = format!("{}{}.jsonl", key::RELAY_REFUSED, journal::id());
    let lines: String = refused
        .iter()
        .map(|(payload, _)| format!("{}\n", payload.body()))
        .collect();
    daemon.store.put(&key, lines.into(), Condition::Any).await?;
    tracing::warn!(
        payloads = refused.len(),
        key,
        %error,
        "the API rejects lesson data for good; it is in the lake, and the payloads are laid aside for a look"
    );
    METRICS.meta_refused.inc_by(refused.len() as u64);
    METRICS
        .meta_waiting
        .dec_by(i64::try_from(refused.len()).unwrap_or(0));
    Ok(())
}

/// Waits, longer each time; returns false if the daemon stops.
async fn wait(daemon: &Daemon, pause: &mut Duration) -> bool {
    let this = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
    *pause = (*pause * 2).min(LONGEST_PAUSE);
    tokio::select! {
        () = daemon.cancel.cancelled() => false,
        () = tokio::time::sleep(this) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_any_layout_becomes_a_value_a_line() {
        let one = r#"{"externalUserId":"u","externalMeetingId":"m","meta":{"a":1.50}}"#;
        let pretty = "{\n  \"externalUserId\": \"v\",\r\n \"externalMeetingId\": \"m\", \"n\": \"a\\nb\"}";
        let flat = "{   \"externalUserId\": \"v\",   \"externalMeetingId\": \"m\", \"n\": \"a\\nb\"}";
        let lines_of = |text: &str| lines(text.as_bytes()).expect("meta");
        assert_eq!(lines_of(one), (1, format!("{one}\n")));
        assert_eq!(
            lines_of(&format!("{one}\n{one}\n")),
            (2, format!("{one}\n{one}\n"))
        );
        assert_eq!(
            lines_of(&format!("\u{feff}[{pretty}, {one}]")),
            (2, format!("{flat}\n{one}\n"))
        );
        assert_eq!(
            lines_of(&format!("{pretty}\n{pretty}")),
            (2, format!("{flat}\n{flat}\n"))
        );
        let (_, kept) = lines_of(pretty);
        assert_eq!(parse(kept.as_bytes()).expect("parses").len(), 1);
    }

    #[test]
    fn an_invalid_body_is_refused_with_line_and_reason() {
        let bad = format!(
            "{}\n{{\"externalUserId\":\"u\"}}\n",
            r#"{"externalUserId":"u","externalMeetingId":"m"}"#
        );
        assert_eq!(
            lines(bad.as_bytes()).expect_err("no meeting"),
            "line 2: externalMeetingId is missing"
        );
        for empty in ["", " \n", "[]"] {
            assert_eq!(lines(empty.as_bytes()).expect_err("empty"), "holds no payload");
        }
        assert!(lines(b"{").expect_err("cut").contains("line 1"));
    }

    #[test]
    fn an_objects_id_holds_the_time_of_receipt() {
        let key = format!("{}{}.jsonl", key::RELAY_NEW, journal::id());
        let ago = Utc::now() - received(&key).expect("a time");
        assert!(ago.num_seconds().abs() < 60, "{ago}");
        assert_eq!(received("x"), None);
    }
}
