//! The lock of a folder's lake: the file `_telelake/lock`, held for the moment of a rename or a removal. The threads of a
//! process queue for their turn in memory first, so that only one of them asks the system.
//!
//! Only its owner may open the file, because anybody who can open it can hold the lock. The holder writes its process id,
//! host and command into it. A wait ends after [`PATIENCE`], with an error that names the holder by the file's content or,
//! if another program holds it, by `/proc/locks`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::{LazyLock, mpsc};
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::owner;
use crate::sanitize::escaped;

/// The longest wait for the lock. A holder needs it for milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The tries before a thread is made that waits: a holder is mostly done by then, and a thread costs more.
const QUICK_TRIES: u32 = 8;
/// The time between these tries.
const QUICK_PAUSE: Duration = Duration::from_millis(1);
/// The commands that take the lock.
const COMMANDS: [&str; 8] = [
    "run", "backfill", "serve", "rebuild", "verify", "check", "meta", "demo",
];
/// The most bytes of the holder's description that are read.
const LONGEST_DESCRIPTION: u64 = 4096;

/// This machine's name.
static HOST: LazyLock<String> = LazyLock::new(host);
/// This process's command.
static COMMAND: LazyLock<String> = LazyLock::new(command);

/// The turns of a process's threads at the lock.
pub(super) type Turns = Mutex<()>;

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(super) struct Locked<'t> {
    file: File,
    /// Dropped after the file, so that the next thread finds the lock free.
    _turn: MutexGuard<'t, ()>,
}

/// The description that a holder writes into the file.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
    command: String,
    since: String,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // A killed process leaves its description; the lock itself tells that it is no holder.
        self.file.set_len(0).ok();
    }
}

/// Takes the lock; `None` if the file system has no locks.
///
/// # Errors
/// `TimedOut`, with a sentence that names the holder, if others held it for `patience`; otherwise any error of the file
/// system.
pub(super) fn take<'t>(turns: &'t Turns, path: &Path, patience: Duration) -> io::Result<Option<Locked<'t>>> {
    let started = Instant::now();
    let late = || io::Error::new(io::ErrorKind::TimedOut, timed_out(path, patience));
    let turn = turns.try_lock_for(patience).ok_or_else(late)?;
    let file = open(path)?;
    let file = match file.try_lock() {
        Ok(()) => file,
        Err(TryLockError::WouldBlock) => {
            let left = patience.saturating_sub(started.elapsed());
            wait(file, left)?.ok_or_else(late)?
        }
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    };
    let mut locked = Locked { file, _turn: turn };
    // If this fails, only the error message of a waiting process is poorer.
    describe_holder(&mut locked.file).ok();
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
            // Only the owner can do this; any other user works with the file as it is.
            file.set_permissions(permissions).ok();
        }
    }
    Ok(file)
}

/// Waits for the lock, after a few tries in the order of the system's queue; `None` if it took too long.
fn wait(file: File, patience: Duration) -> io::Result<Option<File>> {
    for _ in 0..QUICK_TRIES {
        std::thread::sleep(QUICK_PAUSE);
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let (done, locked) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("lock".into()).spawn(move || {
        let locked = file.lock();
        // If nobody waits any more, the file is dropped and the lock with it.
        let _ = done.send(locked.map(|()| file));
    })?;
    match locked.recv_timeout(patience) {
        Ok(locked) => locked.map(Some),
        Err(_) => Ok(None),
    }
}

/// Writes this process's description into the file.
fn describe_holder(file: &mut File) -> io::Result<()> {
    let holder = Holder {
        pid: std::process::id(),
        host: HOST.clone(),
        command: COMMAND.clone(),
        since: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
    };
    let note = serde_json::to_vec(&holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&note)
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [host, command, since] = [&self.host, &self.command, &self.since].map(|text| escaped(text));
        write!(f, "process {} on {host} ({command}, since {since})", self.pid)
    }
}

/// The error message for a lock that does not come free.
fn timed_out(path: &Path, patience: Duration) -> String {
    let holder = match (by_system(path), by_description(path)) {
        (Some(pid), Some(holder)) if holder.pid == pid => holder.to_string(),
        (Some(pid), _) => match program(pid) {
            Some(program) => format!("process {pid} ({})", escaped(&program)),
            None => format!("process {pid}"),
        },
        (None, Some(holder)) => holder.to_string(),
        (None, None) => "a process that this system does not name".into(),
    };
    format!("{holder} has held the lake's lock for {} s", patience.as_secs())
}

/// The holder, by its description in the file.
fn by_description(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST_DESCRIPTION).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
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

/// The holder of an inode's lock. A line is `1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF`; a waiting process has
/// `->` behind the number. The device is not compared, because some file systems show another one here than to `stat`.
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

/// The program and its subcommand, but no other argument because it may hold a secret.
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
    fn a_wait_for_a_held_lock_ends_with_an_error_that_names_the_holder() {
        let (_folder, path) = lock_file();
        let (turns, elsewhere) = (Turns::default(), Turns::default());
        let ours = take(&turns, &path, PATIENCE).expect("free").expect("locks");
        let of_thread = take(&turns, &path, Duration::ZERO).expect_err("held");
        let error = take(&elsewhere, &path, Duration::ZERO).expect_err("held");
        assert_eq!(of_thread.to_string(), error.to_string());
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text = error.to_string();
        let pid = std::process::id();
        assert!(text.starts_with(&format!("process {pid} on ")), "{text}");
        assert!(text.contains(", since 2"), "{text}");
        drop(ours);
        assert_eq!(std::fs::read(&path).expect("read"), b"", "nobody holds it");
        take(&turns, &path, PATIENCE).expect("free again");
    }

    #[test]
    fn a_thread_that_waits_for_its_turn_does_not_ask_the_system() {
        let (_folder, path) = lock_file();
        let turns = Turns::default();
        let other_thread = turns.lock();
        let error = take(&turns, &path, Duration::ZERO).expect_err("held");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!path.exists(), "nobody opened it");
        drop(other_thread);
        take(&turns, &path, PATIENCE).expect("free");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_holder_of_another_program_is_named_by_the_kernels_list() {
        let (_folder, path) = lock_file();
        // The description that a dead process of the program left.
        std::fs::write(
            &path,
            r#"{"pid":4294967295,"host":"elsewhere","command":"telelake run","since":"2026"}"#,
        )
        .expect("written");
        let reader = File::open(&path).expect("readable");
        reader.lock_shared().expect("shared");
        let error = take(&Turns::default(), &path, Duration::ZERO).expect_err("held");
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("process {} (", std::process::id())),
            "{text}"
        );
    }

    #[test]
    fn the_kernels_list_tells_holders_from_waiting_processes() {
        let locks = "1: POSIX  ADVISORY  READ  811 00:1b:77 128 128\n\
                     2: FLOCK  ADVISORY  WRITE 812 00:1b:770 0 EOF\n\
                     3: FLOCK  ADVISORY  READ 813 00:1b:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 814 00:1b:77 0 EOF\n";
        assert_eq!(holder_of(77, locks), Some(813));
        assert_eq!(holder_of(7, locks), None);
    }

    #[test]
    #[cfg(unix)]
    fn only_the_owner_may_open_the_lock_file_also_one_of_an_earlier_version() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, path) = lock_file();
        let mode = || std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        let turns = Turns::default();
        drop(take(&turns, &path, PATIENCE).expect("free"));
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("widened");
        drop(take(&turns, &path, PATIENCE).expect("free"));
        assert_eq!(mode(), 0o600);
    }
}
