//! The webhook secrets of spaces. A space's secret is its file in `webhook.secrets_dir`, else its entry in
//! `[webhook.secrets]`, else `webhook.secret` or its file. The commands write the files; the daemon reads a file again when
//! it has changed. If a file can't be read, events of its spaces are answered with 503, so that the vendor sends them again.
//!
//! A file holds the secret on its first line and, after a rotation, the previous secret on the second line, so that events
//! signed before the rotation are still accepted. After the first event signed with the new secret, the previous one is
//! not accepted any more, which the file `<space>.seen` beside it records.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::event::Envelope;
use super::sign;
use crate::config::{self, Secret, read_text};
use crate::lake::key;
use crate::{Error, ErrorKind, Result, owner};

/// The secrets in force.
pub struct Secrets {
    config: RwLock<Arc<config::Webhook>>,
    /// The files by path.
    files: Mutex<HashMap<PathBuf, Loaded>>,
}

/// The content of a secret's file.
#[derive(Clone)]
struct Loaded {
    stamp: (Option<SystemTime>, u64),
    secrets: Vec<Secret>,
}

impl Secrets {
    /// Starts with the secrets of a configuration.
    pub fn new(config: config::Webhook) -> Self {
        Self {
            config: RwLock::new(Arc::new(config)),
            files: Mutex::default(),
        }
    }

    /// Replaces the configuration, and reads all files again.
    pub fn replace(&self, config: config::Webhook) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.lock().clear();
    }

    fn config(&self) -> Arc<config::Webhook> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// True if no secret is configured at all.
    pub fn are_none(&self) -> bool {
        let config = self.config();
        config.secret.is_empty()
            && config.secret_file.is_empty()
            && config.secrets.is_empty()
            && config.secrets_dir.is_empty()
    }

    /// True if the signature of an event is by the space's secret.
    ///
    /// # Errors
    /// `SecretUnreadable`: the signature can't be checked.
    pub async fn prove(&self, space: &str, envelope: &Envelope<'_>) -> Result<bool> {
        let config = self.config();
        let secrets = self.of_space(&config, space).await?;
        let proves = |secret: &Secret| {
            !secret.is_empty() && sign::is_signed(envelope.body.get(), &envelope.signature, secret.expose())
        };
        let Some(at) = secrets.iter().position(proves) else {
            return Ok(false);
        };
        if at == 0
            && secrets.len() > 1
            && let Some(path) = file(&config, space)
        {
            self.retire_others(space, &path, &secrets[0]).await;
        }
        Ok(true)
    }

    async fn of_space(&self, config: &config::Webhook, space: &str) -> Result<Vec<Secret>> {
        if let Some(path) = file(config, space)
            && let Some(secrets) = self.of_file("webhook.secrets_dir", &path).await?
        {
            return Ok(secrets);
        }
        if let Some(secret) = configured(config, space) {
            return Ok(vec![secret.clone()]);
        }
        if config.secret_file.is_empty() {
            return Ok(Vec::new());
        }
        let path = Path::new(&config.secret_file);
        let about = "webhook.secret_file";
        let secrets = self.of_file(about, path).await?;
        let gone = || {
            Error::new(
                ErrorKind::SecretUnreadable,
                about_file(about, path),
                "there is no such file",
            )
        };
        // Only the first line counts, because a common file has no previous secret.
        secrets
            .map(|mut secrets| {
                secrets.truncate(1);
                secrets
            })
            .ok_or_else(gone)
    }

    /// The secrets of a file, which is read again if it has changed; none if there is no file.
    async fn of_file(&self, key: &str, path: &Path) -> Result<Option<Vec<Secret>>> {
        let about = about_file(key, path);
        let metadata = match tokio::fs::metadata(path).await {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return read_text(&about, path).map(|_| None),
        };
        let stamp = (metadata.modified().ok(), metadata.len());
        if let Some(known) = self.lock().get(path).filter(|known| known.stamp == stamp) {
            return Ok(Some(known.secrets.clone()));
        }
        let mut secrets = lines(&read_text(&about, path)?);
        if secrets.is_empty() {
            return Err(Error::new(ErrorKind::SecretUnreadable, about, "is empty"));
        }
        let seen = tokio::fs::read_to_string(seen(path)).await.unwrap_or_default();
        if digest(&secrets[0]) == seen.trim() {
            secrets.truncate(1);
        }
        tracing::info!(file = %path.display(), "a webhook's secret was read");
        let loaded = Loaded {
            stamp,
            secrets: secrets.clone(),
        };
        self.lock().insert(path.to_owned(), loaded);
        Ok(Some(secrets))
    }

    /// Drops all secrets but the first, because an event was signed with it.
    async fn retire_others(&self, space: &str, path: &Path, first: &Secret) {
        if let Some(known) = self.lock().get_mut(path)
            && known.secrets.first() == Some(first)
        {
            known.secrets.truncate(1);
        }
        tracing::info!(
            space,
            "the webhook's new secret is in use; the previous one is not accepted any more"
        );
        // If the folder is mounted read-only, the next start accepts the previous secret once more.
        if let Err(error) = tokio::fs::write(seen(path), digest(first)).await {
            tracing::debug!(space, %error, "the use of the new secret could not be recorded");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Loaded>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn about_file(key: &str, path: &Path) -> String {
    format!("{key} {}", path.display())
}

/// The errors of secret files that can't be read, of the common one and of those of spaces. `check` reports them.
pub fn unreadable(config: &config::Webhook) -> Vec<Error> {
    let common = config.read_secret().err();
    let folder = Path::new(&config.secrets_dir);
    let of_spaces = if config.secrets_dir.is_empty() {
        Vec::new()
    } else {
        match std::fs::read_dir(folder) {
            Ok(entries) => entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| is_secret(path))
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(_) => vec![folder.to_owned()],
        }
    };
    let read = |path: PathBuf| {
        let about = about_file("webhook.secrets_dir", &path);
        match read_text(&about, &path) {
            Ok(text) if lines(&text).is_empty() => {
                Some(Error::new(ErrorKind::SecretUnreadable, about, "is empty"))
            }
            Ok(_) => None,
            Err(error) => Some(error),
        }
    };
    common
        .into_iter()
        .chain(of_spaces.into_iter().filter_map(read))
        .collect()
}

/// True if a file of the folder is a space's secret, neither a `.seen` file nor a link of a mounted volume.
fn is_secret(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && !name.ends_with(".seen")
}

fn configured<'a>(config: &'a config::Webhook, space: &str) -> Option<&'a Secret> {
    let own = config.secrets.get(space).filter(|secret| !secret.is_empty());
    own.or(Some(&config.secret).filter(|secret| !secret.is_empty()))
}

/// The path of the space's file, if a folder is configured.
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

/// The place where a space's secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretLocation {
    /// A file.
    File(PathBuf),
    /// The configuration.
    Configuration,
    /// No place: the space has no secret.
    Nowhere,
}

/// Finds the place of a space's secret.
pub fn place(config: &config::Webhook, space: &str) -> SecretLocation {
    match file(config, space).filter(|file| file.is_file()) {
        Some(file) => SecretLocation::File(file),
        None if configured(config, space).is_some() => SecretLocation::Configuration,
        None if !config.secret_file.is_empty() => SecretLocation::File(PathBuf::from(&config.secret_file)),
        None => SecretLocation::Nowhere,
    }
}

/// Checks that a secret can be stored. It is called before the API makes a new secret, which would be lost otherwise.
///
/// # Errors
/// `Config`: there is no folder, or it can't be written.
pub fn prepare(config: &config::Webhook) -> Result<()> {
    if config.secrets_dir.is_empty() {
        return Err(Error::new(ErrorKind::Config, "webhook.secrets_dir", "is empty: the secret could not be kept")
            .hint("set it to a folder that `telelake serve` reads too, or use --print-secret and put the secret into webhook.secret or [webhook.secrets] yourself"));
    }
    let folder = Path::new(&config.secrets_dir);
    let tried = make_folder(folder).and_then(|()| {
        let probe = folder.join(format!(".probe-{}", std::process::id()));
        write_private(&probe, "")?;
        std::fs::remove_file(probe)
    });
    tried.map_err(|error| unwritable(folder, &error))
}

/// Writes a space's new secret, followed by the one that was in force.
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
    let common = config.read_secret().unwrap_or_default();
    let before = before
        .first()
        .or_else(|| configured(config, space))
        .or(Some(&common).filter(|common| !common.is_empty()));
    let mut text = format!("{}\n", secret.expose());
    if let Some(before) = before.filter(|before| *before != secret) {
        text.push_str(before.expose());
        text.push('\n');
    }
    let fresh = path.with_file_name(format!(".new-{}", key::segment(space)));
    let _ = std::fs::remove_file(&fresh);
    // Rename a complete file into place, because the daemon may read it at any time.
    make_folder(Path::new(&config.secrets_dir))
        .and_then(|()| write_private(&fresh, &text))
        .and_then(|()| std::fs::rename(&fresh, &path))
        .map_err(|error| unwritable(&path, &error))?;
    Ok(path)
}

/// Removes a space's secret.
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
        secrets
            .prove(space, &envelope)
            .await
            .expect("secrets can be read")
    }

    #[tokio::test]
    async fn an_event_is_proved_only_by_the_secret_of_its_space() {
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
    async fn a_rotation_accepts_the_old_secret_until_the_new_one_was_used() {
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
        assert!(!proves(&secrets, "own", "of-own").await, "the new one was used");
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
        assert_eq!(place(&config, "own"), SecretLocation::Configuration);
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }

    #[tokio::test]
    async fn an_unreadable_secret_is_an_error_and_no_wrong_signature() {
        let folder = tempfile::tempdir().expect("folder");
        let common = folder.path().join("common");
        let spaces = folder.path().join("spaces");
        std::fs::create_dir_all(spaces.join("broken")).expect("made");
        let config = config::Webhook {
            secret_file: common.display().to_string(),
            secrets_dir: spaces.display().to_string(),
            secrets: [("own".to_owned(), Secret::new("of-own"))].into(),
            ..config::Webhook::default()
        };
        let secrets = Secrets::new(config.clone());
        let event = |space: &str| {
            let body = format!(r#"{{"eventName":"call_finished","roomId":"r","spaceId":"{space}"}}"#);
            format!(
                r#"{{"signature":"{}","body":{body}}}"#,
                sign::sign(&body, "for-all")
            )
        };
        let ask = async |space: &str| {
            let text = event(space);
            let (envelope, _) = Envelope::read(text.as_bytes()).expect("an event");
            secrets.prove(space, &envelope).await
        };
        for (space, why) in [("any", "no such file"), ("broken", "is a folder")] {
            let error = ask(space).await.expect_err(space);
            assert_eq!(error.kind(), ErrorKind::SecretUnreadable);
            assert!(error.to_string().contains(why), "{error}");
        }
        assert_eq!(ask("own").await.ok(), Some(false), "it needs no file");
        assert_eq!(unreadable(&config).len(), 2);
        for (text, proved) in [
            ("", None),
            ("for-all\n", Some(true)),
            ("another-one", Some(false)),
        ] {
            std::fs::write(&common, text).expect("written");
            assert_eq!(ask("any").await.ok(), proved, "{text}");
        }
        assert_eq!(unreadable(&config).len(), 1);
        secrets.replace(config::Webhook {
            secret: Secret::new("for-all"),
            ..config::Webhook::default()
        });
        assert_eq!(ask("any").await.ok(), Some(true));
    }

    #[test]
    fn without_a_writable_folder_no_secret_can_be_stored() {
        let error = prepare(&config::Webhook::default()).expect_err("no folder");
        assert_eq!(error.kind(), ErrorKind::Config);
        let file = tempfile::NamedTempFile::new().expect("file");
        let below_a_file = file.path().join("secrets");
        assert!(prepare(&config(&below_a_file)).is_err());
    }
}
