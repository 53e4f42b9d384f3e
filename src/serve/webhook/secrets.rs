//! Each space's secret: a file of its own in `webhook.secrets_dir`, else its entry in `[webhook.secrets]`, else
//! `webhook.secret`. The commands write files, the daemon reads one again when it has changed.
//!
//! A file holds the secret on its first line and, after a rotation, the one before it on the second: events that were
//! signed before it still prove. Once an event proves by the first line, the second is good for nothing any more, and a
//! file `<space>.seen` beside remembers that.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::event::Envelope;
use super::sign;
use crate::config::{self, Secret};
use crate::lake::key;
use crate::{Error, ErrorKind, Result, owner};

/// The secrets that are in force.
pub struct Secrets {
    config: config::Webhook,
    files: Mutex<HashMap<String, Loaded>>,
}

/// A file as it was read.
#[derive(Clone)]
struct Loaded {
    stamp: (Option<SystemTime>, u64),
    secrets: Vec<Secret>,
}

impl Secrets {
    /// The secrets of a configuration.
    pub fn new(config: config::Webhook) -> Self {
        Self {
            config,
            files: Mutex::default(),
        }
    }

    /// Whether there is any secret at all.
    pub fn are_none(&self) -> bool {
        self.config.secret.is_empty() && self.config.secrets.is_empty() && self.config.secrets_dir.is_empty()
    }

    /// Whether an event of a space is proved by its signature.
    pub async fn prove(&self, space: &str, envelope: &Envelope<'_>) -> bool {
        let secrets = match self.of_file(space).await {
            Some(secrets) => secrets,
            None => configured(&self.config, space).into_iter().cloned().collect(),
        };
        let proves = |secret: &Secret| {
            !secret.is_empty() && sign::is_signed(envelope.body.get(), &envelope.signature, secret.expose())
        };
        let Some(at) = secrets.iter().position(proves) else {
            return false;
        };
        if at == 0 && secrets.len() > 1 {
            self.retire_others(space, &secrets[0]).await;
        }
        true
    }

    /// The secrets of a space's file, read again where it has changed; none where there is no file.
    async fn of_file(&self, space: &str) -> Option<Vec<Secret>> {
        let path = file(&self.config, space)?;
        let metadata = tokio::fs::metadata(&path).await.ok()?;
        let stamp = (metadata.modified().ok(), metadata.len());
        if let Some(known) = self.lock().get(space).filter(|known| known.stamp == stamp) {
            return Some(known.secrets.clone());
        }
        let text = tokio::fs::read_to_string(&path).await.ok()?;
        let mut secrets = lines(&text);
        let seen = tokio::fs::read_to_string(seen(&path)).await.unwrap_or_default();
        if secrets.first().is_some_and(|first| digest(first) == seen.trim()) {
            secrets.truncate(1);
        }
        tracing::info!(space, "the webhook's secret was read");
        let loaded = Loaded {
            stamp,
            secrets: secrets.clone(),
        };
        self.lock().insert(space.to_owned(), loaded);
        Some(secrets)
    }

    /// The first secret was seen: no other is good any more.
    async fn retire_others(&self, space: &str, first: &Secret) {
        if let Some(known) = self.lock().get_mut(space)
            && known.secrets.first() == Some(first)
        {
            known.secrets.truncate(1);
        }
        let Some(path) = file(&self.config, space) else {
            return;
        };
        tracing::info!(
            space,
            "the webhook's new secret is in use; the one before it is not taken any more"
        );
        // A mounted folder may be read-only: then it is found out again after a restart.
        if let Err(error) = tokio::fs::write(seen(&path), digest(first)).await {
            tracing::debug!(space, %error, "not written down");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Loaded>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn configured<'a>(config: &'a config::Webhook, space: &str) -> Option<&'a Secret> {
    let own = config.secrets.get(space).filter(|secret| !secret.is_empty());
    own.or(Some(&config.secret).filter(|secret| !secret.is_empty()))
}

/// The space's file, where there is a folder for them.
fn file(config: &config::Webhook, space: &str) -> Option<PathBuf> {
    (!config.secrets_dir.is_empty()).then(|| Path::new(&config.secrets_dir).join(key::segment(space)))
}

fn seen(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".seen");
    name.into()
}

fn digest(secret: &Secret) -> String {
    hex::encode(Sha256::digest(secret.expose()))
}

fn lines(text: &str) -> Vec<Secret> {
    text.lines()
        .map(Secret::new)
        .filter(|secret| !secret.is_empty())
        .collect()
}

/// Where a space's secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this file.
    File(PathBuf),
    /// In the configuration.
    Configuration,
    /// Nowhere.
    Nowhere,
}

/// Where a space's secret is, as the configuration stands.
pub fn place(config: &config::Webhook, space: &str) -> Place {
    match file(config, space).filter(|file| file.is_file()) {
        Some(file) => Place::File(file),
        None if configured(config, space).is_some() => Place::Configuration,
        None => Place::Nowhere,
    }
}

/// Makes sure that secrets can be kept, before one is asked for that would be lost otherwise.
///
/// # Errors
/// `Config`: no folder, or one that can't be written.
pub fn prepare(config: &config::Webhook) -> Result<()> {
    if config.secrets_dir.is_empty() {
        return Err(Error::new(ErrorKind::Config, "webhook.secrets_dir", "is empty: the secret could not be kept")
            .hint("name a folder that `telelake serve` reads too, or say --print-secret and put it into webhook.secret or [webhook.secrets] yourself"));
    }
    let folder = Path::new(&config.secrets_dir);
    let tried = make_folder(folder).and_then(|()| {
        let probe = folder.join(format!(".probe-{}", std::process::id()));
        write_private(&probe, "")?;
        std::fs::remove_file(probe)
    });
    tried.map_err(|error| unwritable(folder, &error))
}

/// Keeps a space's new secret, and behind it the one that was in force.
///
/// # Errors
/// `Config`: the folder can't be written.
pub fn keep(config: &config::Webhook, space: &str, secret: &Secret) -> Result<PathBuf> {
    let Some(path) = file(config, space) else {
        return prepare(config).map(|()| PathBuf::new());
    };
    let before = std::fs::read_to_string(&path)
        .map(|text| lines(&text))
        .unwrap_or_default();
    let before = before.first().or_else(|| configured(config, space));
    let mut text = format!("{}\n", secret.expose());
    if let Some(before) = before.filter(|before| *before != secret) {
        text.push_str(before.expose());
        text.push('\n');
    }
    let fresh = path.with_file_name(format!(".new-{}", key::segment(space)));
    let _ = std::fs::remove_file(&fresh);
    // Whole or not at all: the daemon may read it at any time.
    make_folder(Path::new(&config.secrets_dir))
        .and_then(|()| write_private(&fresh, &text))
        .and_then(|()| std::fs::rename(&fresh, &path))
        .map_err(|error| unwritable(&path, &error))?;
    Ok(path)
}

/// Forgets a space's secret.
///
/// # Errors
/// `Config`: the file can't be removed.
pub fn forget(config: &config::Webhook, space: &str) -> Result<()> {
    let Some(path) = file(config, space) else {
        return Ok(());
    };
    for path in [seen(&path), path] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unwritable(&path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("webhook.secrets_dir {}", path.display()),
        error.to_string(),
    )
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let is_new = !folder.exists();
    builder.create(folder)?;
    if is_new {
        owner::inherit_folder(folder);
    }
    Ok(())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    owner::inherit_file(&file, path);
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> config::Webhook {
        config::Webhook {
            secret: Secret::new("for-all"),
            secrets_dir: folder.display().to_string(),
            secrets: [("own".to_owned(), Secret::new("of-own"))].into(),
            ..config::Webhook::default()
        }
    }

    async fn proves(secrets: &Secrets, space: &str, secret: &str) -> bool {
        let body = format!(r#"{{"eventName":"call_finished","roomId":"r","spaceId":"{space}"}}"#);
        let text = format!(r#"{{"signature":"{}","body":{body}}}"#, sign::sign(&body, secret));
        let (envelope, _) = Envelope::read(text.as_bytes()).expect("an event");
        secrets.prove(space, &envelope).await
    }

    #[tokio::test]
    async fn a_space_is_proved_by_its_own_secret_alone() {
        let folder = tempfile::tempdir().expect("folder");
        let secrets = Secrets::new(config(folder.path()));
        assert!(proves(&secrets, "any", "for-all").await);
        assert!(proves(&secrets, "own", "of-own").await);
        assert!(!proves(&secrets, "own", "for-all").await);
        assert!(!proves(&secrets, "any", "of-own").await);
        assert!(!proves(&secrets, "../own", "of-own").await);
        let none = Secrets::new(config::Webhook::default());
        assert!(none.are_none() && !proves(&none, "any", "").await);
    }

    #[tokio::test]
    async fn a_rotation_honours_the_old_secret_until_the_new_one_was_seen() {
        let folder = tempfile::tempdir().expect("folder");
        let config = config(folder.path());
        let secrets = Secrets::new(config.clone());
        assert!(proves(&secrets, "own", "of-own").await);
        let path = keep(&config, "own", &Secret::new("second")).expect("kept");
        assert!(
            proves(&secrets, "own", "of-own").await,
            "signed before the rotation"
        );
        assert!(proves(&secrets, "own", "second").await);
        assert!(!proves(&secrets, "own", "of-own").await, "the new one was seen");
        // After a restart too.
        assert!(!proves(&Secrets::new(config.clone()), "own", "of-own").await);
        keep(&config, "own", &Secret::new("third")).expect("kept");
        assert!(proves(&secrets, "own", "second").await);
        assert!(proves(&secrets, "own", "third").await);
        assert!(!proves(&secrets, "own", "second").await);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        forget(&config, "own").expect("forgotten");
        assert_eq!(place(&config, "own"), Place::Configuration);
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }

    #[test]
    fn without_a_folder_no_secret_is_asked_for() {
        let error = prepare(&config::Webhook::default()).expect_err("no folder");
        assert_eq!(error.kind(), ErrorKind::Config);
        let file = tempfile::NamedTempFile::new().expect("file");
        let below_a_file = file.path().join("secrets");
        assert!(prepare(&config(&below_a_file)).is_err());
    }
}
