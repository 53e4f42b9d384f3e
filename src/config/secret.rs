//! Where a secret comes from: the configuration itself, or a file that is read when the secret is needed, and no earlier.
//! So commands that need no secret work where its file can't be read.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::token::{self, BYTE_ORDER_MARK};
use super::{Config, Secret};
use crate::{Error, ErrorKind, Result};

/// The variable with the folder in which systemd puts the files that `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// More bytes than any secret has.
const LARGEST: u64 = 64 * 1024;
const PLACES: &str = "a bare name is looked for in $CREDENTIALS_DIRECTORY, then beside the configuration file, then in the \
                      working folder";

/// The reading of a secret's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A token: what editors and people put around it is taken off.
    Token,
    /// Any text on one line or several.
    Text,
}

/// The folders in which a file that is named without a slash is looked for.
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

    /// The path of a secret's file. With nothing named, systemd's credential of that name, where there is one.
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

/// True if a file is there. One below a folder that can't be entered counts: its error names it.
fn is_there(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

/// Finds the files of all secrets, and cleans the tokens that stand in the configuration itself.
pub(super) fn prepare(config: &mut Config, folders: &Folders) -> Result<()> {
    let (api, serve, webhook) = (&mut config.api, &mut config.serve, &mut config.webhook);
    let all = [
        (
            "api.token",
            &mut api.token,
            &mut api.token_file,
            "token",
            Form::Token,
        ),
        (
            "serve.token",
            &mut serve.token,
            &mut serve.token_file,
            "serve-token",
            Form::Token,
        ),
        (
            "webhook.secret",
            &mut webhook.secret,
            &mut webhook.secret_file,
            "webhook-secret",
            Form::Text,
        ),
    ];
    for (key, secret, file, credential, form) in all {
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
                parsed(text, form).map_err(|why| Error::new(ErrorKind::Config, key, why).hint(ALONE))?;
        } else if is_pipe(Path::new(file)) {
            // It gives its text only once.
            *secret = read_file(key, file, form)?;
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
    /// The token; empty where none is configured.
    ///
    /// # Errors
    /// `SecretUnreadable`, naming the file, the reason and the way out.
    pub fn read_token(&self) -> Result<Secret> {
        read("api.token", &self.token, &self.token_file, Form::Token)
    }
}

impl super::Serve {
    /// The token; empty where none is configured.
    ///
    /// # Errors
    /// As [`Api::read_token`](super::Api::read_token).
    pub fn read_token(&self) -> Result<Secret> {
        read("serve.token", &self.token, &self.token_file, Form::Token)
    }
}

impl super::Webhook {
    /// The secret of spaces that have none of their own; empty where none is configured.
    ///
    /// # Errors
    /// As [`Api::read_token`](super::Api::read_token).
    pub fn read_secret(&self) -> Result<Secret> {
        read("webhook.secret", &self.secret, &self.secret_file, Form::Text)
    }
}

fn read(key: &str, secret: &Secret, file: &str, form: Form) -> Result<Secret> {
    if file.is_empty() {
        return Ok(secret.clone());
    }
    read_file(key, file, form)
}

fn read_file(key: &str, file: &str, form: Form) -> Result<Secret> {
    let about = format!("{key}_file {file}");
    let text = read_text(&about, Path::new(file))?;
    let secret = parsed(&text, form)
        .map_err(|why| Error::new(ErrorKind::SecretUnreadable, &about, why).hint(ALONE))?;
    if secret.is_empty() {
        return Err(Error::new(ErrorKind::SecretUnreadable, about, "is empty").hint("write the secret there"));
    }
    Ok(secret)
}

fn parsed(text: &str, form: Form) -> std::result::Result<Secret, String> {
    match form {
        Form::Token => token::clean(text).map(Secret::new),
        Form::Text => Ok(Secret::new(text)),
    }
}

/// The text of a file that holds a secret; `about` is the key and the file.
///
/// # Errors
/// `SecretUnreadable`: there is no such file, it may not be read, or it is no text.
pub fn read_text(about: &str, path: &Path) -> Result<String> {
    let refuse = |why: String, way_out: &str| {
        Error::new(ErrorKind::SecretUnreadable, about, why).hint(way_out.to_owned())
    };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path);
    let read = opened.and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    match read.map_err(|error| error.kind()) {
        Ok(_) => {}
        Err(std::io::ErrorKind::NotFound) => {
            let is_bare = path.components().count() == 1;
            let way_out = if is_bare {
                PLACES
            } else {
                "make the file, or correct its name"
            };
            return Err(refuse("there is no such file".into(), way_out));
        }
        Err(std::io::ErrorKind::PermissionDenied) => {
            let way_out = "let the user of telelake read it, by its group and mode 0640, or hand it over by systemd's \
                           LoadCredential=";
            return Err(refuse(denied(path), way_out));
        }
        Err(std::io::ErrorKind::IsADirectory) => {
            return Err(refuse("is a folder".into(), "name the file in it"));
        }
        Err(kind) => {
            return Err(refuse(
                format!("can't be read: {kind}"),
                "look at the file and its disk",
            ));
        }
    }
    if bytes.len() as u64 > LARGEST {
        return Err(refuse(
            format!("is larger than {} KiB: it is no secret", LARGEST / 1024),
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

/// Who may not read a file, and whose it is.
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

/// The owner of a file, by name where the machine has one for it.
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

    /// A folder of credentials and one with a configuration file, each with these files.
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
    fn a_bare_name_is_found_among_credentials_and_else_beside_the_configuration() {
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
        // A path is a path.
        put(&machine.etc, "other", "of-path");
        let path = machine.etc.path().join("other");
        let config = machine
            .load(&format!("[api]\ntoken_file = {path:?}\n"), true)
            .expect("loads");
        assert_eq!(config.api.read_token().expect("token").expose(), "of-path");
    }

    #[test]
    fn credentials_of_the_known_names_are_taken_where_nothing_is_set() {
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
    fn an_unreadable_file_stops_nobody_who_does_not_need_it_and_is_named_to_who_does() {
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
