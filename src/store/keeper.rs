//! Keeps the checkpoint of an upload while it is driven. It is written when parts have been stored, one write at a time
//! with the latest state, and now and then as a sign of life. Used by the uploads of both stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::checkpoint::{Checkpoint, DigestState, Part};
use super::claim::Claim;
use super::{Condition, OptionalExt, Store, Version};
use crate::task::panicked;
use crate::{Error, ErrorKind, Result};

/// A store that keeps checkpoints.
pub(super) trait CheckpointStore: Store + Clone + 'static {
    /// Writes a checkpoint, under its condition if the store honours any.
    fn put_checkpoint(
        &self,
        key: &str,
        bytes: Bytes,
        condition: Condition,
    ) -> impl Future<Output = Result<Version>> + Send;
}

/// The checkpoint, and the parts beyond it that are stored behind a gap.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pub(super) checkpoint: Checkpoint,
    ahead: std::collections::BTreeMap<i32, Ahead>,
}

/// A part beyond the checkpoint.
#[derive(Debug, Clone)]
struct Ahead {
    /// The digest of all bytes to the part's end.
    digest: DigestState,
    /// The part, once it is stored.
    part: Option<Part>,
}

impl Ledger {
    fn new(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            ahead: std::collections::BTreeMap::new(),
        }
    }

    /// Adds a part that is about to be sent.
    pub(super) fn filled(&mut self, number: i32, digest: DigestState) {
        let part = None;
        self.ahead.insert(number, Ahead { digest, part });
    }

    /// The number of parts beyond the checkpoint: those in flight, and those that are stored behind a gap.
    pub(super) fn beyond(&self) -> usize {
        self.ahead.len()
    }

    /// Marks a part as stored. Returns true if the checkpoint moved on.
    pub(super) fn sent(&mut self, part: &Part) -> bool {
        if let Some(ahead) = self.ahead.get_mut(&part.number) {
            ahead.part = Some(part.clone());
        }
        let before = self.checkpoint.bytes;
        while let Some(first) = self.ahead.first_entry()
            && let Some(part) = first.get().part.clone()
        {
            self.checkpoint.add(part, first.remove().digest);
        }
        self.checkpoint.bytes > before
    }
}

/// Keeps the checkpoint of a single upload. If it is dropped, it stops and leaves the checkpoint as it is.
pub(super) struct Keeper<S> {
    store: S,
    key: String,
    claim: Claim,
    ledger: Arc<watch::Sender<Ledger>>,
    lost: Arc<AtomicBool>,
    stop: DropGuard,
    writer: JoinHandle<Writer<S>>,
}

impl<S: CheckpointStore> Keeper<S> {
    /// Claims an upload: writes its checkpoint with this process as the driver, if it still has the `known` version.
    ///
    /// # Errors
    /// `Precondition` if another process was first.
    pub(super) async fn claim(
        store: &S,
        mut checkpoint: Checkpoint,
        known: Option<Version>,
        beat: Option<Duration>,
    ) -> Result<Self> {
        let claim = Claim::new();
        let before = checkpoint.driver.replace(claim.id.clone());
        let key = checkpoint.own_key();
        let condition = known.map_or(Condition::Any, Condition::Unchanged);
        let written = match store.put_checkpoint(&key, checkpoint.to_bytes(), condition).await {
            Ok(version) => version,
            Err(error) => {
                claim.end();
                return Err(error);
            }
        };
        if let Some(before) = before {
            Claim::forget(&before);
        }
        let (ledger, changes) = watch::channel(Ledger::new(checkpoint));
        let (stop, lost) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let writer = Writer {
            store: store.clone(),
            key: key.clone(),
            driver: claim.id.clone(),
            version: written,
            lost: Arc::clone(&lost),
        };
        Ok(Self {
            store: store.clone(),
            key,
            claim,
            ledger: Arc::new(ledger),
            lost,
            writer: tokio::spawn(writer.run(changes, stop.clone(), beat)),
            stop: stop.drop_guard(),
        })
    }

    /// The ledger of stored parts, for the tasks that send them.
    pub(super) fn ledger(&self) -> Arc<watch::Sender<Ledger>> {
        Arc::clone(&self.ledger)
    }

    /// The checkpoint in its latest state, written or not.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        self.ledger.borrow().checkpoint.clone()
    }

    /// The checkpoint's key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Checks that no other process has taken the upload over.
    ///
    /// # Errors
    /// `Precondition` if one has.
    pub(super) fn check(&self) -> Result<()> {
        if !self.lost.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(taken_over(&self.ledger.borrow().checkpoint.key))
    }

    /// Writes the last checkpoint: all bytes are stored and only the name is missing. The claim stays.
    pub(super) async fn finish(self, parts: Vec<Part>, bytes: u64, sha256: &str) -> Result<Claim> {
        let mut last = self.checkpoint();
        last.parts = parts;
        last.bytes = bytes;
        last.finished = Some(sha256.to_owned());
        self.last_write(&last).await
    }

    /// Releases the upload, so that any process may resume it.
    pub(super) async fn let_go(self) -> Result<()> {
        let mut last = self.checkpoint();
        last.driver = None;
        self.last_write(&last).await?.end();
        Ok(())
    }

    /// Stops the writer and writes one last time. Returns the claim for the caller to end.
    async fn last_write(self, last: &Checkpoint) -> Result<Claim> {
        drop(self.stop);
        let writer = self.writer.await;
        if self.lost.load(Ordering::Relaxed) {
            return Err(taken_over(&last.key));
        }
        let mut writer = writer.map_err(|_| panicked(&last.key))?;
        writer.write(last.to_bytes()).await?;
        Ok(self.claim)
    }

    /// Stops the writer. Returns true if the upload is still this process's, with the claim for the caller to end.
    pub(super) async fn stop(self) -> Result<(bool, Claim)> {
        drop(self.stop);
        self.writer.await.ok();
        let found = self.store.read(&self.key).await.optional()?;
        let ours = found.is_some_and(|bytes| is_driven_by(&bytes, &self.claim.id));
        Ok((ours, self.claim))
    }
}

fn taken_over(key: &str) -> Error {
    Error::new(
        ErrorKind::Precondition,
        key,
        "another process has taken the upload over",
    )
}

fn is_driven_by(bytes: &[u8], driver: &str) -> bool {
    Checkpoint::parse(bytes).is_some_and(|found| found.driver.as_deref() == Some(driver))
}

/// The task that writes the checkpoint.
struct Writer<S> {
    store: S,
    key: String,
    driver: String,
    version: Version,
    lost: Arc<AtomicBool>,
}

impl<S: CheckpointStore> Writer<S> {
    async fn run(
        mut self,
        mut changes: watch::Receiver<Ledger>,
        stop: CancellationToken,
        beat: Option<Duration>,
    ) -> Self {
        loop {
            let sign_of_life = async {
                match beat {
                    Some(beat) => tokio::time::sleep(beat).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return self,
                changed = changes.changed() => if changed.is_err() { return self },
                () = sign_of_life => {}
            }
            // A change during this write is part of the next one.
            let bytes = changes.borrow_and_update().checkpoint.to_bytes();
            match self.write(bytes).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Precondition => {
                    self.lost.store(true, Ordering::Relaxed);
                    return self;
                }
                // The upload itself fails if the store is gone; a missing checkpoint costs only work.
                Err(error) => tracing::debug!(%error, "an upload's checkpoint was not written"),
            }
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let condition = Condition::Unchanged(self.version.clone());
        self.version = match self
            .store
            .put_checkpoint(&self.key, bytes.clone(), condition)
            .await
        {
            Err(error) if error.kind() == ErrorKind::Precondition => {
                // Perhaps an earlier write of our own changed it, and its answer was lost.
                let found = self.store.get(&self.key).await.optional()?;
                let Some(ours) = found.filter(|found| is_driven_by(&found.bytes, &self.driver)) else {
                    return Err(error);
                };
                let condition = Condition::Unchanged(ours.version);
                self.store.put_checkpoint(&self.key, bytes, condition).await?
            }
            written => written?,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Source;
    use crate::store::checkpoint::Digester;

    #[test]
    fn the_checkpoint_knows_only_parts_without_a_gap_before_them() {
        let mut ledger = Ledger::new(Checkpoint::new("k", 5, Source::default()));
        for number in 1..=3 {
            ledger.filled(number, Digester::default().state());
        }
        let part = |number: i32, etag: &str| Part {
            number,
            etag: etag.into(),
            bytes: 5,
            checksum: None,
        };
        assert!(!ledger.sent(&part(2, "b")));
        assert!(!ledger.sent(&part(3, "c")));
        assert_eq!((ledger.checkpoint.bytes, ledger.checkpoint.parts.len()), (0, 0));
        assert!(ledger.sent(&part(1, "a")));
        let tags: Vec<_> = ledger.checkpoint.parts.iter().map(|part| &*part.etag).collect();
        assert_eq!((ledger.checkpoint.bytes, tags), (15, vec!["a", "b", "c"]));
        // The last part is never announced, because finishing the upload sends it.
        assert!(!ledger.sent(&part(4, "d")));
    }
}
