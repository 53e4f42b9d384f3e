//! The relay of lesson data. A request of the LMS is written to the store at once, imported into the lake by the same code
//! as `meta import`, and passed on to the API, with retries until the API accepts or finally rejects it.
//!
//! ```text
//! POST /meta ─ journal ─► relay/new/ ─ import, many requests at once ─► raw/meta/, lesson days
//!                                        └► relay/due/ ─ storeExternalUserMeta ─► gone, or relay/refused/
//! ```
//! Each step writes before it removes, so a crash repeats a step. Each step is idempotent.

mod import;
mod passing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use chrono_tz::Tz;
use parking_lot::Mutex;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::http::guard::{RouteGroup, RouteGuard};
use super::http::{body, reply};
use super::journal::Journal;
use crate::api::Client;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::lake::key;
use crate::metrics::METRICS;
use crate::store::Store;
use crate::tables::PrivacyPolicy;
use crate::tables::lessons::parse;
use crate::{Error, ErrorKind, Result};

/// The most bytes of a request's body.
const LARGEST: usize = 8 << 20;
/// The backoff after a failure of the store or the API.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));

/// The route of lesson data.
pub(super) fn routes(relay: Arc<Relay>, guard: &RouteGuard) -> Router {
    let routes = Router::new().route("/meta", post(receive)).with_state(relay);
    guard.protect(RouteGroup::Private, routes)
}

/// See the module.
pub struct Relay {
    store: Arc<dyn Store>,
    client: Client,
    cancel: CancellationToken,
    timezone: Tz,
    privacy: PrivacyPolicy,
    /// The path of `storeExternalUserMeta`.
    path: String,
    journal: Mutex<Option<Journal<()>>>,
    new: Arc<Mutex<VecDeque<String>>>,
    due: Mutex<VecDeque<String>>,
    arrived: Arc<Notify>,
    imported: Notify,
}

impl Relay {
    /// Starts an empty relay. The handle ends when [`Relay::close`] was called and everything is written.
    pub fn start(
        config: &Config,
        privacy: PrivacyPolicy,
        store: Arc<dyn Store>,
        client: Client,
        cancel: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let new = Arc::new(Mutex::new(VecDeque::new()));
        let arrived = Arc::new(Notify::new());
        let (keys, wake) = (Arc::clone(&new), Arc::clone(&arrived));
        let (journal, writer) = Journal::start(Arc::clone(&store), key::RELAY_NEW, move |key, _| {
            keys.lock().push_back(key);
            wake.notify_one();
        });
        let relay = Self {
            store,
            client,
            cancel,
            timezone: config.timezone,
            privacy,
            path: config.api.external_meta_path.clone(),
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
    pub async fn load(&self) -> Result<()> {
        for (prefix, keys) in [(key::RELAY_NEW, &*self.new), (key::RELAY_DUE, &self.due)] {
            let found = self.store.list(prefix).await?;
            keys.lock().extend(found.into_iter().map(|entry| entry.key));
        }
        let due: Vec<String> = self.due.lock().iter().cloned().collect();
        for key in due {
            METRICS
                .meta_waiting
                .inc_by(count_lines(&self.store.get(&key).await?.bytes));
        }
        self.arrived.notify_one();
        self.imported.notify_one();
        Ok(())
    }

    /// Refuses further requests; those in flight are still written.
    pub fn close(&self) {
        *self.journal.lock() = None;
    }

    /// True if lesson data waits to be imported or passed on.
    pub fn has_work(&self) -> bool {
        !self.new.lock().is_empty() || !self.due.lock().is_empty()
    }

    async fn keep(&self, lines: String) -> Result<()> {
        let journal = self.journal.lock().clone();
        match journal {
            Some(journal) => journal.keep(lines, ()).await,
            None => Err(Error::new(
                ErrorKind::Interrupted,
                "relay",
                "the program is stopping",
            )),
        }
    }

    /// Waits after `failures` in a row; returns false if the daemon stops.
    async fn wait(&self, failures: u32) -> bool {
        let pause = tokio::time::sleep(BACKOFF.pause(failures));
        self.cancel.run_until_cancelled(pause).await.is_some()
    }
}

fn count_lines(bytes: &[u8]) -> i64 {
    let lines = bytes.split(|byte| *byte == b'\n');
    // A line of a person who was erased is empty.
    let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count();
    i64::try_from(lines).unwrap_or(i64::MAX)
}

/// `POST /meta`
async fn receive(State(relay): State<Arc<Relay>>, request: Body) -> Response {
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
    if let Err(error) = relay.keep(lines).await {
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
}
