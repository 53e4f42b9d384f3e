//! The part of the configuration that can change while the daemon runs: secrets and notifications. All are read again at
//! SIGHUP. A secret that can't be read is logged and counted, and the one in force stays.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::audit::{self, Caller, Credential};
use super::daemon::Daemon;
use super::webhook::secrets;
use crate::config::{Config, Secret, Source};
use crate::metrics::{METRICS, SecretLabels};
use crate::{Error, Result};

/// See the module.
pub(super) struct Live {
    source: Source,
    /// The configuration as it was read last. Only its secrets and its notifications are in force.
    config: RwLock<Arc<Config>>,
    serve_token: RwLock<Secret>,
    /// The errors that were logged for secrets that can't be read.
    told: Mutex<BTreeSet<String>>,
}

impl Live {
    /// Starts with the configuration of the daemon's start.
    ///
    /// # Errors
    /// `SecretUnreadable`: the daemon's own token can't be read.
    pub fn new(source: Source, config: &Config) -> Result<Self> {
        Ok(Self {
            source,
            serve_token: RwLock::new(config.serve.read_token()?),
            config: RwLock::new(Arc::new(config.clone())),
            told: Mutex::default(),
        })
    }

    /// The daemon's own token; empty if none is configured.
    pub fn serve_token(&self) -> Secret {
        self.serve_token
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts the secrets that can't be read now in the metric, and logs each once.
pub(super) fn look(daemon: &Daemon) {
    let config = daemon.live.config();
    let found = [
        ("api.token", config.api.read_token().err().into_iter().collect()),
        (
            "serve.token",
            config.serve.read_token().err().into_iter().collect(),
        ),
        ("webhook.secret", secrets::unreadable(&config.webhook)),
    ];
    let mut told = daemon.live.told.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Reads secrets and notifications again at each SIGHUP, until the daemon stops.
pub(super) async fn run(daemon: &Daemon, mut hangups: Hangups) {
    loop {
        tokio::select! {
            () = daemon.cancel.cancelled() => return,
            () = hangups.next() => {}
        }
        let done = reload(daemon);
        audit::note(&Caller::at(Credential::Signal, None), "reload", &done);
        look(daemon);
    }
}

/// Reads secrets and notifications again, and returns a text that names the result of each.
fn reload(daemon: &Daemon) -> String {
    let config = match Config::load(&daemon.live.source) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "the configuration can't be read again; the one in force stays");
            return "nothing, because the configuration can't be read".into();
        }
    };
    let told = [
        ("api.token", renew_api_token(daemon, &config)),
        ("serve.token", renew_serve_token(daemon, &config)),
        ("webhook secrets", Ok(renew_webhooks(daemon, &config))),
        ("notify", renew_notify(daemon, &config)),
    ];
    let told = told.map(|(what, outcome)| match outcome {
        Ok(true) => format!("{what} changed"),
        Ok(false) => format!("{what} as before"),
        Err(error) => {
            tracing::error!(%error, "{what} could not be replaced; the one in force stays");
            format!("{what} could not be replaced")
        }
    });
    if is_other(&config, &daemon.config) {
        tracing::warn!("the configuration has changed in more than its secrets; restart the daemon to apply the rest");
    }
    *daemon.live.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    told.join("; ")
}

fn renew_api_token(daemon: &Daemon, config: &Config) -> Result<bool> {
    config.require_token()?;
    daemon.client.renew_token(&config.api)
}

fn renew_serve_token(daemon: &Daemon, config: &Config) -> Result<bool> {
    let mut checked = config.clone();
    // The address of the listener can't change.
    checked.serve.listen.clone_from(&daemon.config.serve.listen);
    checked.require_listen()?;
    let token = config.serve.read_token()?;
    let mut current = daemon
        .live
        .serve_token
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    let changed = *current != token;
    *current = token;
    if changed {
        // Everybody must sign in again with the new token.
        daemon.page.sessions.close_all();
    }
    Ok(changed)
}

fn renew_webhooks(daemon: &Daemon, config: &Config) -> bool {
    let changed = daemon.live.config().webhook != config.webhook;
    daemon.secrets.replace(config.webhook.clone());
    changed
}

fn renew_notify(daemon: &Daemon, config: &Config) -> Result<bool> {
    let changed = daemon.live.config().notify != config.notify;
    daemon.notifier.replace(&config.notify)?;
    Ok(changed)
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
