//! Who hears of runs: `notify.url` gets a summary, `notify.heartbeat_url` a sign of life. Used by the daemon and by the
//! commands `run` and `backfill`.
//!
//! Both URLs are secrets (their paths let anybody post): neither stands in a log or an error. A message that can't be
//! delivered is a warning and changes nothing of the run.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::config::{Notify, NotifyOn, Secret};
use crate::export::{Outcome, Summary};
use crate::{Error, ErrorKind, Result};

/// For one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts, and the pause before the second; it doubles.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

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

    /// Tells of a run's end, or of the error that it ended with.
    pub async fn tell(&self, command: &str, outcome: &Result<Summary>) {
        let done = matches!(outcome, Ok(summary) if summary.outcome == Outcome::Done);
        if !self.config.url.is_empty() && (self.config.on == NotifyOn::Always || !done) {
            let message = message(command, outcome).to_string();
            let post = || {
                self.http
                    .post(self.config.url.expose())
                    .header(CONTENT_TYPE, "application/json")
                    .body(message.clone())
            };
            self.send("notify.url", post).await;
        }
        if done && !self.config.heartbeat_url.is_empty() {
            let url: &Secret = &self.config.heartbeat_url;
            self.send("notify.heartbeat_url", || self.http.get(url.expose()))
                .await;
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
                tracing::warn!("{key} {why}: it was not told of the run");
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
