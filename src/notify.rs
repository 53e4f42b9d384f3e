//! Who hears of runs: `notify.url` gets a summary, `notify.heartbeat_url` a sign of life. Used by the daemon and by the
//! commands `run`, `backfill` and `notify`.
//!
//! Both URLs are secrets (their paths let anybody post): neither stands in a log or an error. A message that can't be
//! delivered is a warning and changes nothing of the run. How the last one went is kept in the store for the operator.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::{Notify, NotifyOn, Secret};
use crate::lake::key;
use crate::metrics::{METRICS, TargetLabels};
use crate::pipeline::{Outcome, Summary};
use crate::store::json::get_json;
use crate::store::{Condition, Store};
use crate::{Error, ErrorKind, Result};

/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS: u32 = 3;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));
/// What telling of a run gets when the program stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

const URL: &str = "notify.url";
const HEARTBEAT: &str = "notify.heartbeat_url";

/// The outcome of the last message to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// When its last attempt ended.
    pub at: DateTime<Utc>,
    /// The host, and nothing else of the URL.
    pub host: String,
    /// What it was about: a command, or `test`.
    pub about: String,
    /// True if the target took it.
    pub delivered: bool,
    /// The target's answer, where there was one.
    #[serde(default)]
    pub status: Option<u16>,
    /// Why it was not delivered.
    #[serde(default)]
    pub error: Option<String>,
}

impl Delivery {
    /// A line for people, without the key.
    pub fn for_people(&self) -> String {
        let at = self.at.format("%F %T UTC");
        let status = self
            .status
            .map(|status| format!(", status {status}"))
            .unwrap_or_default();
        match &self.error {
            None => format!("delivered to {} at {at}{status} ({})", self.host, self.about),
            Some(error) => format!("NOT delivered to {} at {at}: {error} ({})", self.host, self.about),
        }
    }
}

/// The last deliveries, by the key of their URL.
pub type Deliveries = BTreeMap<String, Delivery>;

/// The last deliveries of all processes of a lake.
///
/// # Errors
/// The store fails.
pub async fn last_deliveries(store: &dyn Store) -> Result<Deliveries> {
    let kept = get_json::<Deliveries>(store, key::DELIVERIES).await?;
    Ok(kept.map(|(deliveries, _)| deliveries).unwrap_or_default())
}

/// Sends messages about runs.
pub struct Notifier {
    targets: RwLock<Arc<Targets>>,
    last: RwLock<Deliveries>,
}

/// Where messages go, and by which client; none where there is nobody to tell.
struct Targets {
    config: Notify,
    http: Option<reqwest::Client>,
}

impl Targets {
    fn new(config: &Notify) -> Result<Arc<Self>> {
        let is_somebody = !config.url.is_empty() || !config.heartbeat_url.is_empty();
        Ok(Arc::new(Self {
            config: config.clone(),
            http: is_somebody.then(client).transpose()?,
        }))
    }
}

fn client() -> Result<reqwest::Client> {
    let built = crate::tls::http_client()
        .user_agent(concat!("telelake/", env!("CARGO_PKG_VERSION")))
        .timeout(TIMEOUT)
        // The body is for the configured host and no other.
        .redirect(reqwest::redirect::Policy::none())
        .build();
    built.map_err(|_| {
        Error::new(ErrorKind::Config, "notify", "no HTTP client can be made")
            .hint("install the system's CA certificates")
    })
}

impl Notifier {
    /// A notifier, which may have nobody to tell.
    ///
    /// # Errors
    /// `Config`: no CA certificates on this machine.
    pub fn new(config: &Notify) -> Result<Self> {
        Ok(Self {
            targets: RwLock::new(Targets::new(config)?),
            last: RwLock::default(),
        })
    }

    /// Tells others from now on.
    ///
    /// # Errors
    /// As [`Notifier::new`]; then nothing changes.
    pub fn replace(&self, config: &Notify) -> Result<()> {
        let targets = Targets::new(config)?;
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = targets;
        Ok(())
    }

    /// True if there is anybody to tell.
    pub fn is_idle(&self) -> bool {
        self.targets().http.is_none()
    }

    fn targets(&self) -> Arc<Targets> {
        Arc::clone(&self.targets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last deliveries of this process, and those that the store remembered at its start.
    pub fn last(&self) -> Deliveries {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of deliveries before this process.
    pub fn remember(&self, deliveries: Deliveries) {
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        for (key, delivery) in deliveries {
            note(&key, &delivery);
            last.entry(key).or_insert(delivery);
        }
    }

    /// Tells of a run's end, or of the error that it ended with. Both targets are told at once, so that one that is slow
    /// or gone does not delay the other. When the program stops, both get a short time more. How it went is kept in the
    /// store.
    pub async fn tell(
        &self,
        command: &str,
        outcome: &Result<Summary>,
        cancel: &CancellationToken,
        store: &dyn Store,
    ) {
        let targets = self.targets();
        let done = matches!(outcome, Ok(summary) if summary.outcome == Outcome::Done);
        let message = (!done || targets.config.on == NotifyOn::Always).then(|| message(command, outcome));
        self.deliver(&targets, command, message, done, cancel, store)
            .await;
    }

    /// Sends a test message to both targets, and tells how each delivery went.
    pub async fn test(&self, cancel: &CancellationToken, store: &dyn Store) -> Deliveries {
        let message = json!({
            "text": "telelake: this is a test of notify.url; nothing has happened",
            "test": true,
        });
        self.deliver(&self.targets(), "test", Some(message), true, cancel, store)
            .await
    }

    async fn deliver(
        &self,
        targets: &Targets,
        about: &str,
        message: Option<Value>,
        beat: bool,
        cancel: &CancellationToken,
        store: &dyn Store,
    ) -> Deliveries {
        let Some(http) = &targets.http else {
            return Deliveries::new();
        };
        let (url, heartbeat) = (&targets.config.url, &targets.config.heartbeat_url);
        let notifying = async {
            let message = message.filter(|_| !url.is_empty())?.to_string();
            let post = || {
                let post = http.post(url.expose()).header(CONTENT_TYPE, "application/json");
                post.body(message.clone())
            };
            Some(send(URL, url, about, post).await)
        };
        let beating = async {
            let wanted = beat && !heartbeat.is_empty();
            if !wanted {
                return None;
            }
            Some(send(HEARTBEAT, heartbeat, about, || http.get(heartbeat.expose())).await)
        };
        let stopped = async {
            cancel.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        let told = tokio::select! {
            told = async { tokio::join!(notifying, beating) } => told,
            () = stopped => {
                tracing::warn!("the program stops: not everybody was told of the run");
                return Deliveries::new();
            }
        };
        let told: Deliveries = [(URL, told.0), (HEARTBEAT, told.1)]
            .into_iter()
            .filter_map(|(key, delivery)| Some((key.to_owned(), delivery?)))
            .collect();
        self.last
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(told.clone());
        told.iter().for_each(|(key, delivery)| note(key, delivery));
        if let Err(error) = keep(store, &told).await {
            tracing::debug!(%error, "how the notification went could not be kept");
        }
        told
    }
}

/// Shows a delivery's outcome as a metric.
fn note(target: &str, delivery: &Delivery) {
    let target = target.to_owned();
    METRICS
        .notified
        .get_or_create(&TargetLabels { target })
        .set(delivery.delivered.into());
}

async fn keep(store: &dyn Store, told: &Deliveries) -> Result<()> {
    if told.is_empty() {
        return Ok(());
    }
    // What can't be read is made anew.
    let mut all = last_deliveries(store).await.unwrap_or_default();
    all.extend(told.clone());
    let bytes = serde_json::to_vec_pretty(&all)
        .map_err(|error| Error::new(ErrorKind::Internal, key::DELIVERIES, error.to_string()))?;
    store
        .put(key::DELIVERIES, Bytes::from(bytes), Condition::Any)
        .await
        .map(|_| ())
}

async fn send(
    key: &str,
    url: &Secret,
    about: &str,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> Delivery {
    let parsed = reqwest::Url::parse(url.expose()).ok();
    let host = parsed
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    let mut attempt = 1;
    loop {
        let (status, error) = match request().send().await {
            Ok(answer) if answer.status().is_success() => (Some(answer.status().as_u16()), None),
            Ok(answer) => {
                let status = answer.status().as_u16();
                (Some(status), Some(format!("answered {status}")))
            }
            Err(error) if error.is_timeout() => (None, Some("did not answer in time".to_owned())),
            Err(error) if error.is_connect() => (None, Some("could not be reached".to_owned())),
            // The error's own words hold the URL.
            Err(_) => (None, Some("failed".to_owned())),
        };
        if error.is_none() || attempt == ATTEMPTS {
            if let Some(why) = &error {
                tracing::warn!("{key} {why}: the notification could not be delivered");
            }
            return Delivery {
                at: Utc::now(),
                host,
                about: about.to_owned(),
                delivered: error.is_none(),
                status,
                error,
            };
        }
        tokio::time::sleep(BACKOFF.pause(attempt)).await;
        attempt += 1;
    }
}

/// `text` is what Slack, Mattermost and their like show; `run` is for programs.
fn message(command: &str, outcome: &Result<Summary>) -> Value {
    match outcome {
        Ok(summary) => json!({
            "text": format!("telelake {}", summary.for_people()),
            "run": {
                "id": summary.id,
                "command": summary.command,
                "outcome": summary.outcome,
                "exit_status": summary.exit_status,
                "started_at": summary.started_at,
                "finished_at": summary.finished_at,
                "from": summary.from,
                "to": summary.to,
                "counts": summary.counts,
                "failed": summary.failed.len(),
                "pending": summary.pending.len(),
                "warnings": summary.warnings.len(),
                "error": summary.error,
            },
        }),
        Err(error) => json!({
            "text": format!("telelake {command}: NOTHING DONE\n  {error}"),
            "run": {
                "command": command,
                "outcome": "nothing",
                "exit_status": error.exit_status() as u8,
                "error": error.to_string(),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify as Signal;

    use axum::Router;
    use axum::routing::{get, post};

    use super::*;
    use crate::config::Secret;

    /// A server whose `notify` answers only when `heartbeat` was fetched, and whose `silent` never answers.
    async fn listener(asked: Arc<AtomicUsize>) -> String {
        let beat = Arc::new(Signal::new());
        let waiting = Arc::clone(&beat);
        let slow = async move || {
            asked.fetch_add(1, Ordering::SeqCst);
            waiting.notified().await;
        };
        let router = Router::new()
            .route("/notify", post(slow))
            .route("/silent", post(std::future::pending::<()>))
            .route("/heartbeat", get(async move || beat.notify_one()));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = socket.local_addr().expect("address");
        tokio::spawn(async move { axum::serve(socket, router).await });
        format!("http://{address}")
    }

    fn done() -> Result<Summary> {
        let at = "2026-11-22T02:00:00Z";
        Ok(serde_json::from_value(json!({
            "id": "r", "command": "run", "outcome": "done", "exit_status": 0, "started_at": at, "finished_at": at,
            "from": "2026-11-21", "to": "2026-11-21", "timezone": "UTC", "counts": {}, "failed": [], "pending": [],
            "warnings": [],
        }))
        .expect("a summary"))
    }

    fn store() -> (tempfile::TempDir, crate::store::folder::FolderStore) {
        let folder = tempfile::tempdir().expect("folder");
        let url = format!("file://{}", folder.path().display());
        let store = crate::store::folder::FolderStore::open(&url).expect("store");
        (folder, store)
    }

    fn notifier(base: &str, path: &str) -> Notifier {
        let config = Notify {
            url: Secret::new(&format!("{base}/{path}")),
            on: NotifyOn::Always,
            heartbeat_url: Secret::new(&format!("{base}/heartbeat")),
        };
        Notifier::new(&config).expect("client")
    }

    #[tokio::test]
    async fn a_target_that_waits_for_the_other_one_is_told_at_the_first_attempt() {
        let asked = Arc::new(AtomicUsize::new(0));
        let base = listener(Arc::clone(&asked)).await;
        let (_folder, store) = store();
        notifier(&base, "notify")
            .tell("run", &done(), &CancellationToken::new(), &store)
            .await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let kept = last_deliveries(&store).await.expect("kept");
        assert_eq!(kept.len(), 2);
        assert!(
            kept.values()
                .all(|one| one.delivered && one.host == "127.0.0.1" && one.about == "run")
        );
    }

    #[tokio::test]
    async fn a_target_that_never_answers_does_not_keep_a_program_that_stops() {
        let base = listener(Arc::default()).await;
        let cancel = CancellationToken::new();
        cancel.cancel();
        let (_folder, store) = store();
        let silent = notifier(&base, "silent");
        tokio::time::timeout(TIMEOUT, silent.tell("run", &done(), &cancel, &store))
            .await
            .expect("ends before the first attempt's time is over");
    }
}
