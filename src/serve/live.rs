//! The part of the configuration that can change while the daemon runs: secrets and notifications. All are read again at
//! SIGHUP. A secret that can't be read is logged and counted, and the one in force stays.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio_util::sync::CancellationToken;

use super::audit::{self, Caller, Credential};
use super::http::session::Access;
use super::webhook::secrets::{self, Secrets};
use crate::api::Client;
use crate::config::{Config, Source};
use crate::metrics::{METRICS, SecretLabels};
use crate::notify::Notifier;
use crate::{Error, Result};

/// See the module.
pub(super) struct Live {
    source: Source,
    /// The configuration of the daemon's start.
    started: Arc<Config>,
    /// The configuration as it was read last. Only its secrets and its notifications are in force.
    config: RwLock<Arc<Config>>,
    client: Client,
    access: Arc<Access>,
    secrets: Arc<Secrets>,
    notifier: Arc<Notifier>,
    /// The errors that were logged for secrets that can't be read.
    told: Mutex<BTreeSet<String>>,
}

impl Live {
    /// Starts with the configuration of the daemon's start.
    pub fn new(
        source: Source,
        config: Arc<Config>,
        client: Client,
        access: Arc<Access>,
        secrets: Arc<Secrets>,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            source,
            config: RwLock::new(Arc::clone(&config)),
            started: config,
            client,
            access,
            secrets,
            notifier,
            told: Mutex::default(),
        }
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts the secrets that can't be read now in the metric, and logs each once.
    pub fn check_secrets(&self) {
        let config = self.config();
        let found = [
            ("api.token", config.api.read_token().err().into_iter().collect()),
            (
                "serve.token",
                config.serve.read_token().err().into_iter().collect(),
            ),
            ("webhook.secret", secrets::unreadable(&config.webhook)),
        ];
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = BTreeSet::new();
        for (secret, errors) in found {
            let errors: Vec<Error> = errors;
            let count = i64::try_from(errors.len()).unwrap_or(i64::MAX);
            METRICS
                .secrets_unreadable
                .get_or_create(&SecretLabels { secret })
                .set(count);
            for error in errors {
                let line = error.to_string();
                if !told.contains(&line) {
                    tracing::error!(%error, "a secret can't be read");
                }
                now.insert(line);
            }
        }
        *told = now;
    }

    /// Reads secrets and notifications again at each SIGHUP, until the daemon stops.
    pub async fn run(&self, mut hangups: Hangups, cancel: &CancellationToken) {
        while cancel.run_until_cancelled(hangups.next()).await.is_some() {
            let done = self.reload();
            audit::note(&Caller::at(Credential::Signal, None), "reload", &done);
            self.check_secrets();
        }
    }

    /// Reads secrets and notifications again, and returns a text that names the result of each.
    fn reload(&self) -> String {
        let config = match Config::load(&self.source) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "the configuration can't be read again; the one in force stays");
                return "nothing, because the configuration can't be read".into();
            }
        };
        let told = [
            ("api.token", self.renew_api_token(&config)),
            ("serve.token", self.renew_serve_token(&config)),
            ("webhook secrets", Ok(self.renew_webhooks(&config))),
            ("notify", self.renew_notify(&config)),
        ];
        let told = told.map(|(what, outcome)| match outcome {
            Ok(true) => format!("{what} changed"),
            Ok(false) => format!("{what} as before"),
            Err(error) => {
                tracing::error!(%error, "{what} could not be replaced; the one in force stays");
                format!("{what} could not be replaced")
            }
        });
        if is_other(&config, &self.started) {
            tracing::warn!("the configuration has changed in more than its secrets; restart the daemon to apply the rest");
        }
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        told.join("; ")
    }

    fn renew_api_token(&self, config: &Config) -> Result<bool> {
        config.require_token()?;
        self.client.renew_token(&config.api)
    }

    fn renew_serve_token(&self, config: &Config) -> Result<bool> {
        let mut checked = config.clone();
        // The address of the listener can't change.
        checked.serve.listen.clone_from(&self.started.serve.listen);
        checked.require_listen()?;
        Ok(self.access.renew(config.serve.read_token()?))
    }

    fn renew_webhooks(&self, config: &Config) -> bool {
        let changed = self.config().webhook != config.webhook;
        self.secrets.replace(config.webhook.clone());
        changed
    }

    fn renew_notify(&self, config: &Config) -> Result<bool> {
        let changed = self.config().notify != config.notify;
        self.notifier.replace(&config.notify)?;
        Ok(changed)
    }
}

/// The stream of SIGHUP signals. Once created, SIGHUP does not end the process any more.
#[cfg(unix)]
pub(super) struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangups {
    pub fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::hangup()).ok())
    }

    async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// Other systems have no such signal.
#[cfg(not(unix))]
pub(super) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}

/// True if two configurations differ in anything that needs a restart.
fn is_other(new: &Config, old: &Config) -> bool {
    let mut rest = new.clone();
    rest.api.token.clone_from(&old.api.token);
    rest.api.token_file.clone_from(&old.api.token_file);
    rest.serve.token.clone_from(&old.serve.token);
    rest.serve.token_file.clone_from(&old.serve.token_file);
    rest.webhook.clone_from(&old.webhook);
    rest.notify.clone_from(&old.notify);
    rest != *old
}
