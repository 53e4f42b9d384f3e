//! The source of a secret: the configuration itself, or a file. The file is read only when the secret is needed, so that
//! commands without a secret work if the file cannot be read.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::token::{self, BYTE_ORDER_MARK};
use super::{Config, Secret};
use crate::{Error, ErrorKind, Result};

/// The variable with the folder in which systemd puts the files that `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The largest file of a secret, in bytes.
const MAX_SIZE: u64 = 64 * 1024;
const PLACES: &str = "a bare name is searched in $CREDENTIALS_DIRECTORY, then beside the configuration file, then in the \
                      working folder";

/// The kind of a secret's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecretKind {
    /// A token, from which quotes, `Bearer` and white space are removed.
    Token,
    /// Any text on one or more lines.
    Text,
}

/// The folders in which a file without a slash in its name is searched.
#[derive(Debug, Default)]
pub(super) struct Folders {
    credentials: Option<PathBuf>,
    beside: Option<PathBuf>,
}

impl Folders {
    pub(super) fn new(file: Option<&Path>, env: &[(String, String)]) -> Self {
        let credentials = env.iter().find(|(name, _)| name == CREDENTIALS);
        Self {
            credentials: credentials
                .map(|(_, folder)| PathBuf::from(folder))
                .filter(|folder| folder.is_absolute()),
            beside: file.and_then(Path::parent).map(Path::to_owned),
        }
    }

    /// The path of a secret's file. If neither secret nor file is set, it is systemd's credential of that name, if it exists.
    fn find(&self, secret: &Secret, file: &str, credential: &str) -> String {
        let credentials = self.credentials.as_deref();
        let found = if file.is_empty() && secret.is_empty() {
            credentials
                .map(|folder| folder.join(credential))
                .filter(|path| is_there(path))
        } else if file.is_empty() || file.contains('/') {
            None
        } else {
            let folders = [credentials, self.beside.as_deref()].into_iter().flatten();
            folders
                .map(|folder| folder.join(file))
                .find(|path| is_there(path))
        };
        found.map_or_else(|| file.to_owned(), |path| path.to_string_lossy().into_owned())
    }
}

/// True if a file exists. A file below a folder that cannot be entered counts, so that reading it reports the reason.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Finds the files of all secrets, and cleans the tokens in the configuration itself.
pub(super) fn prepare(config: &mut Config, folders: &Folders) -> Result<()> {
    let (api, serve, webhook) = (&mut config.api, &mut config.serve, &mut config.webhook);
    let privacy = &mut config.privacy;
    let all = [
        (
            "api.token",
            &mut api.token,
            &mut api.token_file,
            "token",
            SecretKind::Token,
        ),
        (
            "serve.token",
            &mut serve.token,
            &mut serve.token_file,
            "serve-token",
            SecretKind::Token,
        ),
        (
            "webhook.secret",
            &mut webhook.secret,
            &mut webhook.secret_file,
            "webhook-secret",
            SecretKind::Text,
        ),
        (
            "privacy.key",
            &mut privacy.key,
            &mut privacy.key_file,
            "privacy-key",
            SecretKind::Text,
        ),
    ];
    for (key, secret, file, credential, kind) in all {
        if !secret.is_empty() && !file.is_empty() {
            return Err(
                Error::new(ErrorKind::Config, key, format!("and {key}_file are both set"))
                    .hint("keep one of them"),
            );
        }
        *file = folders.find(secret, file, credential);
        if file.is_empty() {
            let text = secret.expose();
            *secret =
                parsed(text, kind).map_err(|why| Error::new(ErrorKind::Config, key, why).hint(ALONE))?;
        } else if is_pipe(Path::new(file)) {
            // A pipe gives its text only once.
            *secret = read_file(key, file, kind)?;
            file.clear();
        }
    }
    Ok(())
}

const ALONE: &str = "put the token there alone, on one line";

fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

impl super::Api {
    /// The token; empty if none is configured.
    ///
    /// # Errors
    /// `SecretUnreadable`, which names the file, the reason and the way out.
    pub fn read_token(&self) -> Result<Secret> {
        read("api.token", &self.token, &self.token_file, SecretKind::Token)
    }
}

impl super::Serve {
    /// The token; empty if none is configured.
    ///
    /// # Errors
    /// As [`Api::read_token`](super::Api::read_token).
    pub fn read_token(&self) -> Result<Secret> {
        read("serve.token", &self.token, &self.token_file, SecretKind::Token)
    }
}

impl super::Webhook {
    /// The secret for spaces without a secret of their own; empty if none is configured.
    ///
    /// # Errors
    /// As [`Api::read_token`](super::Api::read_token).
    pub fn read_secret(&self) -> Result<Secret> {
        read(
            "webhook.secret",
            &self.secret,
            &self.secret_file,
            SecretKind::Text,
        )
    }
}

impl super::Privacy {
    /// The key of the pseudonyms, without white space around it; empty if none is configured.
    ///
    /// # Errors
    /// As [`Api::read_token`](super::Api::read_token).
    pub fn read_key(&self) -> Result<Secret> {
        if !self.key.is_empty() {
            return Ok(self.key.clone());
        }
        let key = read("privacy.key", &self.key, &self.key_file, SecretKind::Text)?;
        Ok(Secret::new(key.expose().trim()))
    }
}

fn read(key: &str, secret: &Secret, file: &str, kind: SecretKind) -> Result<Secret> {
    if file.is_empty() {
        return Ok(secret.clone());
    }
    read_file(key, file, kind)
}

fn read_file(key: &str, file: &str, kind: SecretKind) -> Result<Secret> {
    let about = format!("{key}_file {file}");
    let text = read_text(&about, Path::new(file))?;
    let secret = parsed(&text, kind)
        .map_err(|why| Error::new(ErrorKind::SecretUnreadable, &about, why).hint(ALONE))?;
    if secret.is_empty() {
        return Err(Error::new(ErrorKind::SecretUnreadable, about, "is empty").hint("write the secret there"));
    }
    Ok(secret)
}

fn parsed(text: &str, kind: SecretKind) -> std::result::Result<Secret, String> {
    match kind {
        SecretKind::Token => token::clean(text).map(Secret::new),
        SecretKind::Text => Ok(Secret::new(text)),
    }
}

/// Reads the text of a file that holds a secret; `about` names the key and the file in errors.
///
/// # Errors
/// `SecretUnreadable` if the file does not exist, may not be read, or is no text.
pub fn read_text(about: &str, path: &Path) -> Result<String> {
    let refuse = |why: String, way_out: &str| {
        Error::new(ErrorKind::SecretUnreadable, about, why).hint(way_out.to_owned())
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    let read = opened.and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut bytes));
    match read.map_err(|error| error.kind()) {
        Ok(_) => {}
        Err(std::io::ErrorKind::NotFound) => {
            let is_bare = path.components().count() == 1;
            let way_out = if is_bare {
                PLACES
            } else {
                "create the file, or correct its name"
            };
            return Err(refuse("there is no such file".into(), way_out));
        }
        Err(std::io::ErrorKind::PermissionDenied) => {
            let way_out = "let the user of telelake read it, by its group and mode 0640, or pass it by systemd's \
                           LoadCredential=";
            return Err(refuse(denied(path), way_out));
        }
        Err(std::io::ErrorKind::IsADirectory) => {
            return Err(refuse("is a folder".into(), "name the file in it"));
        }
        Err(kind) => {
            return Err(refuse(
                format!("cannot be read: {kind}"),
                "check the file and its disk",
            ));
        }
    }
    if bytes.len() as u64 > MAX_SIZE {
        return Err(refuse(
            format!("is larger than {} KiB: it is no secret", MAX_SIZE / 1024),
            "name another file",
        ));
    }
    text(bytes).map_err(|why| refuse(why.into(), "save the secret as UTF-8 text"))
}

fn text(bytes: Vec<u8>) -> std::result::Result<String, &'static str> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        if [[0xff, 0xfe], [0xfe, 0xff]]
            .iter()
            .any(|mark| bytes.starts_with(mark))
        {
            "is UTF-16"
        } else if bytes.contains(&0) {
            "is binary"
        } else {
            "is not UTF-8"
        }
    })?;
    let is_text = |c: char| !c.is_control() || c.is_whitespace();
    if text.trim_start_matches(BYTE_ORDER_MARK).chars().all(is_text) {
        Ok(text)
    } else {
        Err("is binary")
    }
}

/// Names the user who may not read a file, and the owner of the file.
fn denied(path: &Path) -> String {
    let us = user(Path::new("/proc/self")).unwrap_or_else(|| "this user".into());
    let theirs = std::fs::metadata(path).ok().and_then(|found| {
        let owner = user(path)?;
        Some(format!(
            "it belongs to {owner} and has mode {:04o}",
            mode(&found)?
        ))
    });
    let theirs = theirs.unwrap_or_else(|| "a folder above it can't be entered".into());
    format!("{us} may not read it: {theirs}")
}

#[cfg(unix)]
fn mode(found: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    Some(found.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> Option<u32> {
    None
}

/// The owner of a file, by name if the machine knows it.
#[cfg(unix)]
fn user(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let id = std::fs::metadata(path).ok()?.uid();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    Some(name.map_or_else(|| format!("user {id}"), |name| format!("user {name} ({id})")))
}

#[cfg(not(unix))]
fn user(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    /// A machine with a folder of credentials and a folder of configuration files.
    struct Machine {
        credentials: tempfile::TempDir,
        etc: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let folder = || tempfile::tempdir().expect("folder");
            Self {
                credentials: folder(),
                etc: folder(),
            }
        }

        fn load(&self, text: &str, by_systemd: bool) -> Result<Config> {
            let file = self.etc.path().join("telelake.toml");
            std::fs::write(&file, text).expect("written");
            let folder = self.credentials.path().display().to_string();
            let env = by_systemd.then(|| (CREDENTIALS.to_owned(), folder));
            Config::load(&Source {
                file: Some(file),
                env: env.into_iter().collect(),
                ..Source::default()
            })
        }
    }

    fn put(folder: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(folder.path().join(name), text).expect("written");
    }

    #[test]
    fn a_bare_name_is_searched_among_credentials_and_then_beside_the_configuration() {
        let machine = Machine::new();
        let text = "[api]\ntoken_file = \"token\"\n";
        put(&machine.etc, "token", "of-etc");
        for by_systemd in [false, true] {
            let config = machine.load(text, by_systemd).expect("loads");
            assert_eq!(config.api.read_token().expect("token").expose(), "of-etc");
        }
        put(&machine.credentials, "token", "of-systemd");
        let config = machine.load(text, true).expect("loads");
        assert_eq!(config.api.read_token().expect("token").expose(), "of-systemd");
        let config = machine.load(text, false).expect("loads");
        assert_eq!(config.api.read_token().expect("token").expose(), "of-etc");
        // A path is not searched.
        put(&machine.etc, "other", "of-path");
        let path = machine.etc.path().join("other");
        let config = machine
            .load(&format!("[api]\ntoken_file = {path:?}\n"), true)
            .expect("loads");
        assert_eq!(config.api.read_token().expect("token").expose(), "of-path");
    }

    #[test]
    fn credentials_of_the_known_names_are_used_if_nothing_is_set() {
        let machine = Machine::new();
        for (name, text) in [("token", "a"), ("serve-token", "b"), ("webhook-secret", "c")] {
            put(&machine.credentials, name, text);
        }
        let config = machine.load("", true).expect("loads");
        assert_eq!(config.api.read_token().expect("token").expose(), "a");
        assert_eq!(config.serve.read_token().expect("token").expose(), "b");
        assert_eq!(config.webhook.read_secret().expect("secret").expose(), "c");
        let set = machine.load("[api]\ntoken = \"own\"\n", true).expect("loads");
        assert_eq!(set.api.read_token().expect("token").expose(), "own");
        let by_hand = machine.load("", false).expect("loads");
        assert!(by_hand.api.read_token().expect("none").is_empty());
    }

    #[test]
    fn an_unreadable_file_is_an_error_only_when_its_secret_is_needed() {
        let machine = Machine::new();
        std::fs::create_dir(machine.etc.path().join("folder")).expect("made");
        for (name, bytes) in [
            ("empty", &b""[..]),
            ("blank", b"\xef\xbb\xbf \n"),
            ("binary", b"abc\0\x01def"),
            ("noise", b"\xff\0\xfe\0\xfd"),
            ("large", &[b'a'; 70_000]),
        ] {
            put(&machine.etc, name, bytes);
        }
        for (name, why, way_out) in [
            ("missing", "there is no such file", "$CREDENTIALS_DIRECTORY"),
            ("/nowhere/at/all", "there is no such file", "correct its name"),
            ("empty", "is empty", "write the secret"),
            ("blank", "is empty", "write the secret"),
            ("binary", "is binary", "UTF-8"),
            ("noise", "is binary", "UTF-8"),
            ("large", "is larger than 64 KiB", "another file"),
            ("folder", "is a folder", "name the file in it"),
        ] {
            let text = format!("[api]\ntoken_file = {name:?}\n[webhook]\nsecret_file = {name:?}\n");
            let config = machine.load(&text, false).expect(name);
            for (key, read) in [
                ("api.token_file", config.require_token()),
                ("webhook.secret_file", config.webhook.read_secret()),
            ] {
                let error = read.expect_err(name);
                assert_eq!(error.kind(), ErrorKind::SecretUnreadable, "{error}");
                assert_eq!(error.exit_status(), crate::ExitStatus::Usage);
                assert!(
                    error.about().contains(key) && error.about().contains(name),
                    "{error}"
                );
                assert!(error.to_string().contains(why), "{error}");
                assert!(error.to_string().contains(way_out), "{error}");
            }
        }
    }

    #[test]
    fn a_file_of_another_user_is_named_with_owner_and_mode() {
        let dir = tempfile::tempdir().expect("folder");
        put(&dir, "token", "x");
        let path = dir.path().join("token");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        }
        let said = denied(&path);
        let us = user(Path::new("/proc/self")).expect("a user");
        assert_eq!(
            said,
            format!("{us} may not read it: it belongs to {us} and has mode 0600")
        );
        assert!(denied(&path.join("below")).contains("a folder above it"));
    }
}
