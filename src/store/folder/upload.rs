//! Uploads into a folder: chunks are gathered to pieces of a MiB and written to a temporary file, which gets its name at the
//! end. A checkpoint follows them, so that a later process knows which bytes of the file are the source's.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::resume;
use super::temp::Temp;
use super::{FolderStore, failed};
use crate::mp4::BoxWalker;
use crate::store::checkpoint::{Checkpoint, Digester};
use crate::store::claim::UploadLease;
use crate::store::keeper::Keeper;
use crate::store::{Source, Upload, Uploaded};
use crate::{Error, ErrorKind, Result};

/// Bytes gathered before a thread writes them.
const PIECE: usize = 1024 * 1024;
/// Bytes after which the checkpoint is written again. A kill loses no more than these and the bytes in flight.
const STRIDE: u64 = 4 * 1024 * 1024;

/// An upload in progress.
pub(super) struct FolderUpload {
    store: FolderStore,
    key: String,
    path: PathBuf,
    source: Source,
    /// The file; none while it is written to, and none for good if the upload has failed.
    open: Option<OpenFile>,
    keeper: Keeper<FolderStore>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    bytes: u64,
}

/// The file of an upload, with the digest of its bytes.
struct OpenFile {
    temp: Temp,
    digester: Digester,
    bytes: u64,
}

impl FolderUpload {
    /// Starts an upload from its first byte.
    pub(super) async fn start(store: FolderStore, key: &str, source: Source) -> Result<Self> {
        let checkpoint = Checkpoint::new(key, STRIDE, source);
        let (key, id) = (key.to_owned(), checkpoint.id.clone());
        let temp = store.blocking(move |store| {
            store.path(&key)?;
            Temp::create_for_upload(store, &key, &id).map_err(|error| failed(&key, &error))
        });
        let temp = temp.await?;
        Self::drive(store, checkpoint, temp, Digester::default()).await
    }

    /// Claims and drives an upload whose file has the bytes that its checkpoint names; `digester` has seen them.
    pub(super) async fn drive(
        store: FolderStore,
        checkpoint: Checkpoint,
        temp: Temp,
        digester: Digester,
    ) -> Result<Self> {
        // The lock on the file is the sign of life. Without locks, the checkpoint is.
        let beat = (!temp.has_lock()).then(|| UploadLease::default().beat);
        let path = store.path(&checkpoint.key)?;
        let keeper = Keeper::claim(&store, checkpoint, None, beat).await?;
        Ok(Self::new(store, path, temp, digester, keeper))
    }

    /// An upload whose file has the bytes of the checkpoint in `keeper`; `digester` has seen them.
    fn new(
        store: FolderStore,
        path: PathBuf,
        temp: Temp,
        digester: Digester,
        keeper: Keeper<FolderStore>,
    ) -> Self {
        let Checkpoint {
            key, source, bytes, ..
        } = keeper.checkpoint();
        Self {
            store,
            key,
            path,
            source,
            open: Some(OpenFile {
                temp,
                digester,
                bytes,
            }),
            keeper,
            gathered: Vec::new(),
            gathered_bytes: 0,
            bytes,
        }
    }

    fn take_open(&mut self) -> Result<OpenFile> {
        self.open
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Store, &*self.key, "the upload has failed before"))
    }

    /// Writes the gathered chunks.
    async fn flush(&mut self) -> Result<OpenFile> {
        let mut open = self.take_open()?;
        let (key, gathered) = (self.key.clone(), std::mem::take(&mut self.gathered));
        self.gathered_bytes = 0;
        self.store
            .blocking(move |_| {
                for chunk in &gathered {
                    open.temp.write(chunk).map_err(|error| failed(&key, &error))?;
                    open.digester.update(chunk);
                    open.bytes += chunk.len() as u64;
                }
                Ok(open)
            })
            .await
    }

    /// Updates the checkpoint if at least `stride` bytes were written since the last time.
    fn update_checkpoint(&self, open: &OpenFile, stride: u64) {
        self.keeper.ledger().send_if_modified(|ledger| {
            let due = open.bytes >= ledger.checkpoint.bytes + stride;
            if due {
                ledger.checkpoint.stored(open.bytes, open.digester.state());
            }
            due
        });
    }
}

#[async_trait]
impl Upload for FolderUpload {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn source(&self) -> &Source {
        &self.source
    }

    fn boxes(&self) -> BoxWalker {
        let written = self.open.as_ref().map(|open| open.digester.boxes().clone());
        let mut boxes = written.unwrap_or_default();
        for chunk in &self.gathered {
            boxes.take(chunk);
        }
        boxes
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.bytes += chunk.len() as u64;
        self.gathered_bytes += chunk.len();
        self.gathered.push(chunk);
        if self.gathered_bytes >= PIECE {
            let open = self.flush().await?;
            self.update_checkpoint(&open, STRIDE);
            self.open = Some(open);
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<Uploaded> {
        let open = self.flush().await?;
        self.update_checkpoint(&open, 0);
        let uploaded = Uploaded {
            bytes: open.bytes,
            sha256: open.digester.sha256(),
            source: self.source,
            receipt: Some(self.keeper.key().to_owned()),
        };
        let claim = self
            .keeper
            .finish(Vec::new(), uploaded.bytes, &uploaded.sha256)
            .await?;
        let path = self.path;
        self.store
            .blocking(move |store| open.temp.publish(store, &path, || Ok(())))
            .await?;
        claim.end();
        Ok(uploaded)
    }

    async fn keep(mut self: Box<Self>) -> Result<()> {
        if let Ok(open) = self.flush().await {
            self.update_checkpoint(&open, 1);
            self.open = Some(open);
        }
        if self.keeper.checkpoint().bytes == 0 {
            return self.abort().await;
        }
        self.keeper.let_go().await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let checkpoint = self.keeper.checkpoint();
        let (_, claim) = self.keeper.stop().await?;
        let open = self.open.take();
        self.store
            .blocking(move |store| {
                drop(open);
                resume::remove(store, &checkpoint)
            })
            .await?;
        claim.end();
        Ok(())
    }
}
