//! Who hears of runs: `notify.url` gets a summary, `notify.heartbeat_url` a sign of life. Used by the daemon and by the
//! commands `run` and `backfill`.
//!
//! Both URLs are secrets (their paths let anybody post): neither stands in a log or an error. A message that can't be
//! delivered is a warning and changes nothing of the run.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::config::{Notify, NotifyOn, Secret};
use crate::export::{Outcome, Summary};
use crate::{Error, ErrorKind, Result};

/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts, and the pause before the second; it doubles.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// What telling of a run gets when the program stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sends messages about runs.
pub struct Notifier {
    config: Notify,
    http: reqwest::Client,
}

impl Notifier {
    /// A notifier, which may have nobody to tell.
    ///
    /// # Errors
    /// `Config`: no CA certificates on this machine.
    pub fn new(config: &Notify) -> Result<Option<Self>> {
        if config.url.is_empty() && config.heartbeat_url.is_empty() {
            return Ok(None);
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("telelake/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            // The body is for the configured host and no other.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| {
                Error::new(ErrorKind::Config, "notify", "no HTTP client can be made")
                    .hint("install the system's CA certificates")
            })?;
        Ok(Some(Self {
            config: config.clone(),
            http,
        }))
    }

    /// Tells of a run's end, or of the error that it ended with. Both targets are told at once, so that one that is slow
    /// or gone does not delay the other. When the program stops, both get a short time more.
    pub async fn tell(&self, command: &str, outcome: &Result<Summary>, cancel: &CancellationToken) {
        let done = matches!(outcome, Ok(summary) if summary.outcome == Outcome::Done);
        let notifying = async {
            if self.config.url.is_empty() || (done && self.config.on == NotifyOn::Failure) {
                return;
            }
            let message = message(command, outcome).to_string();
            let post = || {
                self.http
                    .post(self.config.url.expose())
                    .header(CONTENT_TYPE, "application/json")
                    .body(message.clone())
            };
            self.send("notify.url", post).await;
        };
        let beating = async {
            let url: &Secret = &self.config.heartbeat_url;
            if done && !url.is_empty() {
                self.send("notify.heartbeat_url", || self.http.get(url.expose()))
                    .await;
            }
        };
        let stopped = async {
            cancel.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            _ = async { tokio::join!(notifying, beating) } => {}
            () = stopped => tracing::warn!("the program stops: not everybody was told of the run"),
        }
    }

    async fn send(&self, key: &str, request: impl Fn() -> reqwest::RequestBuilder) {
        for attempt in 1..=ATTEMPTS {
            let why = match request().send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => format!("answered {}", answer.status().as_u16()),
                Err(error) if error.is_timeout() => "did not answer in time".into(),
                Err(error) if error.is_connect() => "could not be reached".into(),
                // The error's own words hold the URL.
                Err(_) => "failed".into(),
            };
            if attempt == ATTEMPTS {
                tracing::warn!("{key} {why}: the notification could not be delivered");
                return;
            }
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
        }
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

    use axum::Router;
    use axum::routing::{get, post};
    use tokio::sync::Notify as Signal;

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

    fn notifier(base: &str, path: &str) -> Notifier {
        let config = Notify {
            url: Secret::new(&format!("{base}/{path}")),
            on: NotifyOn::Always,
            heartbeat_url: Secret::new(&format!("{base}/heartbeat")),
        };
        Notifier::new(&config).expect("client").expect("somebody to tell")
    }

    #[tokio::test]
    async fn a_target_that_waits_for_the_other_one_is_told_at_the_first_attempt() {
        let asked = Arc::new(AtomicUsize::new(0));
        let base = listener(Arc::clone(&asked)).await;
        notifier(&base, "notify")
            .tell("run", &done(), &CancellationToken::new())
            .await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_target_that_never_answers_does_not_keep_a_program_that_stops() {
        let base = listener(Arc::default()).await;
        let cancel = CancellationToken::new();
        cancel.cancel();
        tokio::time::timeout(TIMEOUT, notifier(&base, "silent").tell("run", &done(), &cancel))
            .await
            .expect("ends before the first attempt's time is over");
    }
}
