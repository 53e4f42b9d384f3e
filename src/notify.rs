//! Notifications about runs: `notify.url` gets a summary, `notify.heartbeat_url` a sign of life. The daemon and the
//! commands `run`, `backfill` and `notify` call this.
//!
//! Both URLs are secrets because their paths let anybody post, so neither appears in a log or an error. A message that
//! can't be delivered is a warning and does not change the run's outcome. The last deliveries are kept in the store.

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
use crate::store::json::get_json;
use crate::store::{Condition, Store};
use crate::{Error, ErrorKind, Result};

/// The timeout of an attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The number of attempts.
const ATTEMPTS: u32 = 3;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(2));
/// The time that deliveries get when the program stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

const URL: &str = "notify.url";
const HEARTBEAT: &str = "notify.heartbeat_url";

/// The outcome of the last message to a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The end of the last attempt.
    pub at: DateTime<Utc>,
    /// The host of the URL, without the secret rest.
    pub host: String,
    /// The subject: a command, or `test`.
    pub about: String,
    /// True if the server accepted the message.
    pub delivered: bool,
    /// The status of the server's answer, if there was one.
    #[serde(default)]
    pub status: Option<u16>,
    /// The reason why it was not delivered.
    #[serde(default)]
    pub error: Option<String>,
}

impl Delivery {
    /// Describes the delivery in a line for people, without the key.
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

/// A run that has ended, as notifications describe it.
pub trait RunReport {
    /// True if the run did all its work.
    fn is_done(&self) -> bool;
    /// The text for people.
    fn text(&self) -> String;
    /// The JSON for programs.
    fn details(&self) -> Value;
}

/// The last deliveries by the configuration key of their URL.
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

/// The configured URLs, and the client for them; no client if no URL is configured.
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
        // The message is only for the configured host.
        .redirect(reqwest::redirect::Policy::none())
        .build();
    built.map_err(|_| {
        Error::new(ErrorKind::Config, "notify", "the HTTP client can't be built")
            .hint("install the system's CA certificates")
    })
}

impl Notifier {
    /// Makes a notifier, which does nothing if no URL is configured.
    ///
    /// # Errors
    /// `Config`: no CA certificates on this machine.
    pub fn new(config: &Notify) -> Result<Self> {
        Ok(Self {
            targets: RwLock::new(Targets::new(config)?),
            last: RwLock::default(),
        })
    }

    /// Uses another configuration from now on.
    ///
    /// # Errors
    /// As [`Notifier::new`]; then the old configuration stays.
    pub fn replace(&self, config: &Notify) -> Result<()> {
        let targets = Targets::new(config)?;
        *self.targets.write().unwrap_or_else(PoisonError::into_inner) = targets;
        Ok(())
    }

    /// True if no URL is configured.
    pub fn is_idle(&self) -> bool {
        self.targets().http.is_none()
    }

    fn targets(&self) -> Arc<Targets> {
        Arc::clone(&self.targets.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last deliveries, of this process and from before its start.
    pub fn last(&self) -> Deliveries {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds the deliveries from before this process.
    pub fn remember(&self, deliveries: Deliveries) {
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        for (key, delivery) in deliveries {
            note(&key, &delivery);
            last.entry(key).or_insert(delivery);
        }
    }

    /// Notifies of a run's end, or of the error that it ended with. Both URLs are called concurrently, so that a slow one
    /// does not delay the other. If the program stops, both get a short time more. The deliveries are kept in the store.
    pub async fn tell(
        &self,
        command: &str,
        outcome: &Result<impl RunReport>,
        cancel: &CancellationToken,
        store: &dyn Store,
    ) {
        let targets = self.targets();
        let done = outcome.as_ref().is_ok_and(RunReport::is_done);
        let message = (!done || targets.config.on == NotifyOn::Always).then(|| message(command, outcome));
        self.deliver(&targets, command, message, done, cancel, store)
            .await;
    }

    /// Sends a test message to both URLs, and returns the deliveries.
    pub async fn test(&self, cancel: &CancellationToken, store: &dyn Store) -> Deliveries {
        let message = json!({
            "text": "telelake: this is a test of notify.url; no run has ended",
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
                tracing::warn!("the program is stopping; not all notifications of the run were delivered");
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
            tracing::debug!(%error, "the deliveries could not be written to the store");
        }
        told
    }
}

/// Sets the metric of a delivery's outcome.
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
    // Earlier deliveries that can't be read are dropped.
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
            // The error's own text holds the URL.
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

/// The message about a run: `text` is shown by Slack, Mattermost and the like; `run` is for programs.
fn message(command: &str, outcome: &Result<impl RunReport>) -> Value {
    match outcome {
        Ok(run) => json!({
            "text": format!("telelake {}", run.text()),
            "run": run.details(),
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

    struct Done;

    impl RunReport for Done {
        fn is_done(&self) -> bool {
            true
        }

        fn text(&self) -> String {
            "run: done".into()
        }

        fn details(&self) -> Value {
            json!({"outcome": "done"})
        }
    }

    #[test]
    fn a_message_has_a_text_for_people_and_the_run_for_programs() {
        let message = super::message("run", &Ok(Done));
        assert_eq!(
            message,
            json!({"text": "telelake run: done", "run": {"outcome": "done"}})
        );
        let error = Error::new(ErrorKind::Unauthorized, "GET /spaces", "401");
        let message = super::message("run", &Err::<Done, _>(error));
        let text = message["text"].as_str().expect("a text");
        assert!(text.starts_with("telelake run: NOTHING DONE\n  GET /spaces: 401"), "{text}");
        assert_eq!(message["run"]["outcome"], "nothing");
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
    async fn both_urls_are_called_concurrently() {
        let asked = Arc::new(AtomicUsize::new(0));
        let base = listener(Arc::clone(&asked)).await;
        let (_folder, store) = store();
        notifier(&base, "notify")
            .tell("run", &Ok(Done), &CancellationToken::new(), &store)
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
    async fn a_server_that_never_answers_does_not_delay_the_programs_end() {
        let base = listener(Arc::default()).await;
        let cancel = CancellationToken::new();
        cancel.cancel();
        let (_folder, store) = store();
        let silent = notifier(&base, "silent");
        tokio::time::timeout(TIMEOUT, silent.tell("run", &Ok(Done), &cancel, &store))
            .await
            .expect("ends before the first attempt times out");
    }
}
