//! Who drives an upload, and whether that process still lives.
//!
//! A claim is a random name in the checkpoint, and a lock file of that name in this machine's folder of temporary
//! files, held while the upload is driven. A lock that can be taken proves the driver dead, at once; one that is held
//! proves it alive. Elsewhere, where there is no such file, only time can tell: see [`Lease`].

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::checkpoint::{Checkpoint, random_id};

/// The times by which a driver on another machine is told to be alive.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// A driver writes its checkpoint at least so often.
    pub beat: Duration,
    /// A checkpoint that stays the same for so long while it is watched has no driver: no clocks are compared.
    pub watch: Duration,
    /// One that is older than this by this machine's clock has none, without watching. S3 refuses clocks that are
    /// 15 minutes wrong, so that no living driver's can look that old.
    pub stale: TimeDelta,
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(15),
            watch: Duration::from_secs(60),
            stale: TimeDelta::minutes(45),
        }
    }
}

/// What is known of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Driver {
    Alive,
    /// Or there was none any more.
    Dead,
    /// Of another machine, and heard of not long ago.
    Unknown,
}

impl Lease {
    /// What is known of the driver of a checkpoint that was last written at `modified`.
    pub(super) fn driver(&self, checkpoint: &Checkpoint, modified: Option<DateTime<Utc>>) -> Driver {
        match checkpoint.driver.as_deref().map(Claim::ask) {
            None => Driver::Dead,
            Some(Driver::Unknown) if self.is_stale(modified) => Driver::Dead,
            Some(known) => known,
        }
    }

    /// Whether something was last written longer ago than any living driver leaves it.
    pub(super) fn is_stale(&self, modified: Option<DateTime<Utc>>) -> bool {
        modified.is_some_and(|at| Utc::now().signed_duration_since(at) > self.stale)
    }
}

/// A claim of this process, held until it is dropped. Dropped without [`Claim::end`] it leaves the proof that it is
/// dead.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) id: String,
    lock: Option<File>,
}

impl Claim {
    /// A new claim. Where no lock file can be made, others have to go by the lease.
    pub(crate) fn new() -> Self {
        let id = random_id();
        let file = path(&id).and_then(|path| {
            let mut options = OpenOptions::new();
            // Whoever can open it can hold it.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.write(true).create_new(true).open(path).ok()?;
            file.try_lock().ok()?;
            Some(file)
        });
        Self { id, lock: file }
    }

    /// What is known of the one who made a claim.
    pub(super) fn ask(id: &str) -> Driver {
        let file = path(id).and_then(|path| OpenOptions::new().write(true).open(path).ok());
        match file.map(|file| file.try_lock()) {
            Some(Ok(())) => Driver::Dead,
            Some(Err(TryLockError::WouldBlock)) => Driver::Alive,
            Some(Err(TryLockError::Error(_))) | None => Driver::Unknown,
        }
    }

    /// The claim's name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// True if the process that made a claim is known to live.
    pub(crate) fn is_alive(id: &str) -> bool {
        Self::ask(id) == Driver::Alive
    }

    /// Removes what a dead process left of a claim.
    pub(crate) fn forget(id: &str) {
        forget(id);
    }

    /// Ends the claim and leaves nothing.
    pub(crate) fn end(mut self) {
        if self.lock.take().is_some() {
            forget(&self.id);
        }
    }
}

/// Removes what a dead claim left.
pub(super) fn forget(id: &str) {
    if let Some(path) = path(id) {
        std::fs::remove_file(path).ok();
    }
}

/// The lock file; none for what is no name of ours, which comes from the store.
fn path(id: &str) -> Option<PathBuf> {
    let plain = id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| std::env::temp_dir().join(format!("telelake-{id}.lock")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::upload::Source;

    #[test]
    fn a_claim_is_alive_while_it_is_held_and_dead_when_it_was_dropped() {
        let claim = Claim::new();
        let id = claim.id.clone();
        assert_eq!(Claim::ask(&id), Driver::Alive);
        drop(claim);
        assert_eq!(Claim::ask(&id), Driver::Dead);
        forget(&id);
        assert_eq!(Claim::ask(&id), Driver::Unknown);
        let claim = Claim::new();
        let id = claim.id.clone();
        claim.end();
        assert_eq!(Claim::ask(&id), Driver::Unknown);
        assert_eq!(Claim::ask("../../etc/passwd"), Driver::Unknown);
    }

    #[test]
    fn where_no_lock_tells_time_does() {
        let lease = Lease::default();
        let mut checkpoint = Checkpoint::new("k", 1, Source::default());
        let now = Utc::now();
        assert_eq!(lease.driver(&checkpoint, Some(now)), Driver::Dead, "let go");
        checkpoint.driver = Some(random_id());
        assert_eq!(lease.driver(&checkpoint, Some(now)), Driver::Unknown);
        assert_eq!(lease.driver(&checkpoint, None), Driver::Unknown);
        let old = now - lease.stale - TimeDelta::minutes(1);
        assert_eq!(lease.driver(&checkpoint, Some(old)), Driver::Dead);
    }
}
