//! Claims: which process drives an upload, and if that process still lives.
//!
//! A claim is a random id in the checkpoint, and a lock file of that name in this machine's folder of temporary files,
//! locked while the upload is driven. If the lock is held, the driver lives; if it can be taken, the driver is dead. A
//! process on another machine has no such file and must watch the checkpoint for a while, see [`UploadLease`].

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::checkpoint::{Checkpoint, random_id};

/// The times by which a driver on another machine counts as alive or dead.
#[derive(Debug, Clone, Copy)]
pub struct UploadLease {
    /// The longest time between two writes of a driver's checkpoint.
    pub beat: Duration,
    /// A checkpoint that does not change while it is watched for this long has no driver. No clocks are compared.
    pub watch: Duration,
    /// A checkpoint that is older than this by this machine's clock has no driver and is not watched. No living driver's
    /// can look that old, because S3 refuses clocks that are 15 minutes wrong.
    pub stale: TimeDelta,
}

impl Default for UploadLease {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(15),
            watch: Duration::from_secs(60),
            stale: TimeDelta::minutes(45),
        }
    }
}

/// The state of an upload's driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    Alive,
    /// The process is dead, or has released the upload.
    Dead,
    /// The process was alive a short while ago, on another machine.
    Unknown,
}

impl UploadLease {
    /// The state of the driver of a checkpoint that was last written at `modified`.
    pub(super) fn driver(&self, checkpoint: &Checkpoint, modified: Option<DateTime<Utc>>) -> Driver {
        match checkpoint.driver.as_deref().map(Claim::ask) {
            None => Driver::Dead,
            Some(Driver::Unknown) if self.is_stale(modified) => Driver::Dead,
            Some(known) => known,
        }
    }

    /// True if the last write is longer ago than a living driver would leave it.
    pub(super) fn is_stale(&self, modified: Option<DateTime<Utc>>) -> bool {
        modified.is_some_and(|at| Utc::now().signed_duration_since(at) > self.stale)
    }
}

/// A claim of this process, held until it is dropped. If it is dropped without [`Claim::end`], its lock file stays and
/// proves to others that the claim is dead.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) id: String,
    lock: Option<File>,
}

impl Claim {
    /// Makes a claim. If no lock file can be made, other processes have to go by the lease.
    pub(crate) fn new() -> Self {
        let id = random_id();
        let file = path(&id).and_then(|path| {
            let mut options = OpenOptions::new();
            // Anybody who can open the file can lock it.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.write(true).create_new(true).open(path).ok()?;
            file.try_lock().ok()?;
            Some(file)
        });
        Self { id, lock: file }
    }

    /// The state of the process that made a claim.
    pub(super) fn ask(id: &str) -> Driver {
        let file = path(id).and_then(|path| OpenOptions::new().write(true).open(path).ok());
        match file.map(|file| file.try_lock()) {
            Some(Ok(())) => Driver::Dead,
            Some(Err(TryLockError::WouldBlock)) => Driver::Alive,
            Some(Err(TryLockError::Error(_))) | None => Driver::Unknown,
        }
    }

    /// The claim's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// True if the process that made a claim is known to live.
    pub(crate) fn is_alive(id: &str) -> bool {
        Self::ask(id) == Driver::Alive
    }

    /// Removes the lock file that a dead process left.
    pub(crate) fn forget(id: &str) {
        if let Some(path) = path(id) {
            std::fs::remove_file(path).ok();
        }
    }

    /// Ends the claim and removes its lock file.
    pub(crate) fn end(mut self) {
        if self.lock.take().is_some() {
            Self::forget(&self.id);
        }
    }
}

/// The lock file of a claim; none if the id, which comes from the store, is not one of ours.
fn path(id: &str) -> Option<PathBuf> {
    let plain = id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| std::env::temp_dir().join(format!("telelake-{id}.lock")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Source;

    #[test]
    fn a_claim_is_alive_while_it_is_held_and_dead_once_it_is_dropped() {
        let claim = Claim::new();
        let id = claim.id.clone();
        assert_eq!(Claim::ask(&id), Driver::Alive);
        drop(claim);
        assert_eq!(Claim::ask(&id), Driver::Dead);
        Claim::forget(&id);
        assert_eq!(Claim::ask(&id), Driver::Unknown);
        let claim = Claim::new();
        let id = claim.id.clone();
        claim.end();
        assert_eq!(Claim::ask(&id), Driver::Unknown);
        assert_eq!(Claim::ask("../../etc/passwd"), Driver::Unknown);
    }

    #[test]
    fn without_a_lock_file_the_age_of_the_checkpoint_decides() {
        let lease = UploadLease::default();
        let mut checkpoint = Checkpoint::new("k", 1, Source::default());
        let now = Utc::now();
        assert_eq!(lease.driver(&checkpoint, Some(now)), Driver::Dead, "released");
        checkpoint.driver = Some(random_id());
        assert_eq!(lease.driver(&checkpoint, Some(now)), Driver::Unknown);
        assert_eq!(lease.driver(&checkpoint, None), Driver::Unknown);
        let old = now - lease.stale - TimeDelta::minutes(1);
        assert_eq!(lease.driver(&checkpoint, Some(old)), Driver::Dead);
    }
}
