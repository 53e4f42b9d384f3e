//! The lock of a folder's lake: the file `_telelake/lock`, held for the moment of a rename or a removal.
//!
//! Nobody but its owner may open the file, because whoever opens it can hold the lock. The holder writes into it who it
//! is. A wait ends after [`PATIENCE`], with an error that names the holder: by what the file says, and, where another
//! program holds it, by `/proc/locks`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::owner;
use crate::sanitize::escaped;

/// How long the lock is waited for: a holder needs it for milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The commands that take the lock.
const COMMANDS: [&str; 8] = [
    "run", "backfill", "serve", "rebuild", "verify", "check", "meta", "demo",
];
/// Bytes read of what a holder says of itself.
const LONGEST_NOTE: u64 = 4096;

/// The lock, until it is dropped.
#[derive(Debug)]
pub(super) struct Locked(File);

/// What a holder writes into the file.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    command: String,
    since: String,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // What a killed process leaves is told apart from a holder by the lock itself.
        self.0.set_len(0).ok();
    }
}

/// Takes the lock; `None` where the file system has no locks.
///
/// # Errors
/// `TimedOut`, with a sentence that names the holder, when others held it for `patience`; else of the file system.
pub(super) fn take(path: &Path, patience: Duration) -> io::Result<Option<Locked>> {
    let file = open(path)?;
    let file = match file.try_lock() {
        Ok(()) => file,
        Err(TryLockError::WouldBlock) => match wait(file, patience)? {
            Some(file) => file,
            None => return Err(io::Error::new(io::ErrorKind::TimedOut, held(path, patience))),
        },
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    };
    let mut locked = Locked(file);
    // Only the sentence of one who waits is poorer where this fails.
    note(&mut locked.0).ok();
    Ok(Some(locked))
}

/// Opens the file, for its owner alone. Earlier versions let the group read it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    owner::inherit_file(&file, path);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = file.metadata()?.permissions();
        if permissions.mode() & 0o177 != 0 {
            permissions.set_mode(0o600);
            // One who is not the owner can't, and may use it all the same.
            file.set_permissions(permissions).ok();
        }
    }
    Ok(file)
}

/// Waits for the lock in the order of the system's queue; `None` when it took too long.
fn wait(file: File, patience: Duration) -> io::Result<Option<File>> {
    let (done, locked) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("lock".into()).spawn(move || {
        let locked = file.lock();
        // If nobody waits any more, the file is dropped, and the lock with it.
        let _ = done.send(locked.map(|()| file));
    })?;
    match locked.recv_timeout(patience) {
        Ok(locked) => locked.map(Some),
        Err(_) => Ok(None),
    }
}

fn note(file: &mut File) -> io::Result<()> {
    let holder = Holder {
        pid: std::process::id(),
        host: host(),
        command: command(),
        since: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
    };
    let note = serde_json::to_vec(&holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&note)
}

/// The sentence about a lock that does not come free.
fn held(path: &Path, patience: Duration) -> String {
    let holder = match (by_system(path), by_note(path)) {
        (Some(pid), Some(holder)) if holder.pid == pid => told(&holder),
        (Some(pid), _) => match program(pid) {
            Some(program) => format!("process {pid} ({})", escaped(&program)),
            None => format!("process {pid}"),
        },
        (None, Some(holder)) => told(&holder),
        (None, None) => "a process that this system does not name".into(),
    };
    format!("{holder} has held the lake's lock for {} s", patience.as_secs())
}

fn told(holder: &Holder) -> String {
    let Holder {
        pid,
        host,
        command,
        since,
    } = holder;
    let (host, command, since) = (escaped(host), escaped(command), escaped(since));
    format!("process {pid} on {host} ({command}, since {since})")
}

/// What the file says of its holder.
fn by_note(path: &Path) -> Option<Holder> {
    let mut note = String::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST_NOTE).read_to_string(&mut note).ok()?;
    serde_json::from_str(&note).ok()
}

/// The process that holds the file, by the kernel's list of locks.
fn by_system(path: &Path) -> Option<u32> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = std::fs::metadata(path).ok()?.ino();
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        holder_of(inode, &locks)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}

/// The holder of an inode's lock. A line is `1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF`; one who waits has `->`
/// behind the number. The device is not compared: some file systems show another one here than to `stat`.
fn holder_of(inode: u64, locks: &str) -> Option<u32> {
    let suffix = format!(":{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().skip(1).collect();
        match fields[..] {
            ["FLOCK", _, _, pid, file, ..] if file.ends_with(&suffix) => pid.parse().ok(),
            _ => None,
        }
    })
}

/// The name of a process's program; its arguments may hold secrets.
fn program(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or_else(|| "this machine".into(), |name| name.trim().to_owned())
}

/// The program and its subcommand: no other argument, because one may hold a secret.
fn command() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let known = |word: &String| COMMANDS.contains(&word.as_str());
    match words.find(known) {
        Some(command) => format!("{program} {command}"),
        None => program,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        (folder, path)
    }

    #[test]
    fn a_lock_that_another_holds_ends_in_a_sentence_that_names_it() {
        let (_folder, path) = lock_file();
        let ours = take(&path, PATIENCE).expect("free").expect("locks");
        let error = take(&path, Duration::ZERO).expect_err("held");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = error.to_string();
        let pid = std::process::id();
        assert!(text.starts_with(&format!("process {pid} on ")), "{text}");
        assert!(text.contains(", since 2"), "{text}");
        drop(ours);
        assert_eq!(std::fs::read(&path).expect("read"), b"", "nobody holds it");
        take(&path, PATIENCE).expect("free again");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_foreign_holder_is_named_by_the_kernels_list() {
        let (_folder, path) = lock_file();
        // As a dead process of the program leaves it.
        std::fs::write(
            &path,
            r#"{"pid":4294967295,"host":"elsewhere","command":"telelake run","since":"2026"}"#,
        )
        .expect("written");
        let reader = File::open(&path).expect("readable");
        reader.lock_shared().expect("shared");
        let text = take(&path, Duration::ZERO).expect_err("held").to_string();
        assert!(
            text.starts_with(&format!("process {} (", std::process::id())),
            "{text}"
        );
    }

    #[test]
    fn the_kernels_list_tells_holders_from_those_who_wait() {
        let locks = "1: POSIX  ADVISORY  READ  811 00:1b:77 128 128\n\
                     2: FLOCK  ADVISORY  WRITE 812 00:1b:770 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 813 00:1b:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 814 00:1b:77 0 EOF\n";
        assert_eq!(holder_of(77, locks), Some(813));
        assert_eq!(holder_of(7, locks), None);
    }

    #[test]
    #[cfg(unix)]
    fn nobody_else_may_open_the_lock_also_one_of_an_earlier_version() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, path) = lock_file();
        let mode = || std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        drop(take(&path, PATIENCE).expect("free"));
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("widened");
        drop(take(&path, PATIENCE).expect("free"));
        assert_eq!(mode(), 0o600);
    }
}
