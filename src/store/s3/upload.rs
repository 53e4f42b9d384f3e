//! Uploads to S3: parts cut from a stream, sent several at once, from a bounded number of buffers.
//!
//! A part takes one of the store's buffers when its first byte comes and gives it back when it is stored, so that all
//! uploads of a store together hold at most `parts_in_flight + 4` buffers. An upload whose source stands still keeps its
//! buffer, so each upload must be driven by a task of its own, and its source must have a time limit.
//!
//! An object that fits into one part is sent without a multipart upload. S3 takes 10,000 parts, which is 78 GiB with the
//! default `store.s3.part_size`; a longer upload fails with a hint to raise it.
//!
//! A multipart upload is claimed by a checkpoint before it is created, so that none is driven without a checkpoint, and its
//! checkpoint follows its parts. Only the last checkpoint, which is written right before the upload is completed, names
//! the last part.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

use super::buffers::Slot;
use super::{S3Store, checksum, connect, multipart};
use crate::config::Checksum;
use crate::mp4::BoxWalker;
use crate::store::checkpoint::{Checkpoint, Digester, Part};
use crate::store::claim::Claim;
use crate::store::keeper::Keeper;
use crate::store::{Source, Store, Upload, UploadOptions, Uploaded};
use crate::task::panicked;
use crate::{Error, ErrorKind, Result};

/// S3's own limit.
const MOST_PARTS: usize = 10_000;
/// Parts that may be filled beyond the checkpoint, as a multiple of those that may be in flight.
const MOST_AHEAD: usize = 2;
/// The time for which releasing an upload waits for parts in flight.
const LAST_PARTS: Duration = Duration::from_secs(2);

/// A part being filled, with the right to its memory.
struct Filling {
    buffer: BytesMut,
    slot: Slot,
}

/// A multipart upload that this process drives.
struct Multipart {
    id: String,
    keeper: Keeper<S3Store>,
}

/// An upload in progress.
pub(super) struct S3Upload {
    store: S3Store,
    key: String,
    options: UploadOptions,
    part_size: usize,
    /// The checksum of the parts; that of the checkpoint if the upload was resumed.
    checksum: Checksum,
    /// The multipart upload, once there is more than one part.
    multipart: Option<Multipart>,
    filling: Option<Filling>,
    sending: JoinSet<Result<Part>>,
    sent: Vec<Part>,
    /// The number of parts that were sent or are in flight.
    parts: usize,
    digester: Digester,
    bytes: u64,
    failed: bool,
}

impl S3Upload {
    pub(super) fn new(store: S3Store, key: &str, options: UploadOptions) -> Self {
        Self {
            part_size: store.part_size(),
            checksum: store.settings.checksum,
            store,
            key: key.into(),
            options,
            multipart: None,
            filling: None,
            sending: JoinSet::new(),
            sent: Vec::new(),
            parts: 0,
            digester: Digester::default(),
            bytes: 0,
            failed: false,
        }
    }

    /// Resumes an upload from its checkpoint.
    pub(super) fn resumed(store: S3Store, id: String, keeper: Keeper<S3Store>, digester: Digester) -> Self {
        let Checkpoint {
            key,
            source,
            parts,
            bytes,
            checksum,
            ..
        } = keeper.checkpoint();
        let options = UploadOptions {
            content_type: None,
            source,
        };
        Self {
            parts: parts.len(),
            sent: parts,
            multipart: Some(Multipart { id, keeper }),
            digester,
            bytes,
            checksum,
            ..Self::new(store, &key, options)
        }
    }

    fn fault(&self, message: &str) -> Error {
        Error::new(ErrorKind::Store, &*self.key, message)
    }

    async fn take(&mut self, mut chunk: Bytes) -> Result<()> {
        while !chunk.is_empty() {
            // A full part is sent only when more bytes come, because until then it may be the whole object or the last part.
            if self
                .filling
                .as_ref()
                .is_some_and(|part| part.buffer.len() == self.part_size)
            {
                self.send_full_part().await?;
            }
            let filling = match &mut self.filling {
                Some(filling) => filling,
                none => none.insert(fresh(&self.store, &self.key).await?),
            };
            let room = self.part_size - filling.buffer.len();
            let taken = chunk.split_to(room.min(chunk.len()));
            filling.buffer.extend_from_slice(&taken);
            self.digester.update(&taken);
            self.bytes += taken.len() as u64;
        }
        Ok(())
    }

    /// Sends a part that is not the last one, so that the checkpoint will name it.
    async fn send_full_part(&mut self) -> Result<()> {
        if self.multipart.is_none() {
            self.multipart = Some(self.create().await?);
        }
        if let Some(Multipart { keeper, .. }) = &self.multipart {
            keeper.check()?;
            let number = i32::try_from(self.parts + 1).unwrap_or(i32::MAX);
            let state = self.digester.state();
            keeper.ledger().send_if_modified(|ledger| {
                ledger.filled(number, state);
                false
            });
        }
        self.send_part().await
    }

    /// Sends the filled part from a task of its own, once fewer than `parts_in_flight` are in flight.
    async fn send_part(&mut self) -> Result<()> {
        let Some(Filling { buffer, slot }) = self.filling.take() else {
            return Ok(());
        };
        let Some(Multipart { id, keeper }) = &self.multipart else {
            return Err(self.fault("has no multipart upload"));
        };
        if self.parts == MOST_PARTS {
            return Err(self
                .fault("is longer than 10,000 parts")
                .hint("raise store.s3.part_size"));
        }
        let (id, ledger) = (id.clone(), keeper.ledger());
        let most = self.store.settings.parts_in_flight;
        // What is stored behind a part that hangs is lost if the process is killed.
        let is_far_ahead = || ledger.borrow().beyond() > most * MOST_AHEAD;
        while self.sending.len() >= most || (is_far_ahead() && !self.sending.is_empty()) {
            self.one_sent().await?;
        }
        self.parts += 1;
        let (store, key) = (self.store.clone(), self.key.clone());
        let number = i32::try_from(self.parts).unwrap_or(i32::MAX);
        let checksum = self.checksum;
        self.sending.spawn(async move {
            let buffer = buffer.freeze();
            let part = multipart::send(&store, &key, &id, number, buffer.clone(), checksum).await;
            slot.give_back(buffer);
            let part = part?;
            ledger.send_if_modified(|ledger| ledger.sent(&part));
            Ok(part)
        });
        Ok(())
    }

    /// Claims the key's upload by a checkpoint, then creates it.
    async fn create(&self) -> Result<Multipart> {
        let mut checkpoint = Checkpoint::new(&self.key, self.part_size as u64, self.options.source.clone());
        checkpoint.checksum = self.checksum;
        let (made_by, content_type) = (checkpoint.id.clone(), self.options.content_type.clone());
        let keeper = Keeper::claim(&self.store, checkpoint, None, Some(self.store.lease.beat)).await?;
        match multipart::create(&self.store, &self.key, content_type, &made_by, self.checksum).await {
            Ok(id) => {
                // The checkpoint is written with this id when the first part is stored.
                keeper.ledger().send_if_modified(|ledger| {
                    ledger.checkpoint.upload = Some(id.clone());
                    false
                });
                Ok(Multipart { id, keeper })
            }
            Err(error) => {
                self.remove_checkpoint(keeper).await.ok();
                Err(error)
            }
        }
    }

    async fn one_sent(&mut self) -> Result<()> {
        match self.sending.join_next().await {
            Some(Ok(part)) => self.sent.push(part?),
            Some(Err(_)) => return Err(panicked(&self.key)),
            None => {}
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Uploaded> {
        if self.failed {
            return Err(self.fault("the upload has failed before"));
        }
        let sha256 = std::mem::take(&mut self.digester).sha256();
        let uploaded = Uploaded {
            bytes: self.bytes,
            sha256,
            source: self.options.source.clone(),
            receipt: None,
        };
        if self.multipart.is_none() {
            self.put_whole().await?;
            return Ok(uploaded);
        }
        self.send_part().await?;
        while !self.sending.is_empty() {
            self.one_sent().await?;
        }
        self.sent.sort_unstable_by_key(|part| part.number);
        match self.multipart.take() {
            Some(Multipart { id, keeper }) => {
                finish_stored(&self.store, &id, keeper, std::mem::take(&mut self.sent), uploaded).await
            }
            None => Err(self.fault("has no multipart upload")),
        }
    }

    /// Sends the whole content, which fits into a part, as an object.
    async fn put_whole(&mut self) -> Result<()> {
        // The slot is held until the object is stored.
        let (buffer, _slot) = match self.filling.take() {
            Some(Filling { buffer, slot }) => (buffer, Some(slot)),
            None => (BytesMut::new(), None),
        };
        let bytes = buffer.freeze();
        let store = &self.store;
        let send = || {
            let request = store
                .client
                .put_object()
                .bucket(&store.target.bucket)
                .key(store.object_key(&self.key))
                .set_content_type(self.options.content_type.clone())
                .set_storage_class(store.storage_class())
                .set_server_side_encryption(store.sse())
                .set_ssekms_key_id(store.kms_key_id());
            let request =
                checksum::on_put(request, self.checksum, &bytes).body(ByteStream::from(bytes.clone()));
            request
                .customize()
                .config_override(connect::sized(bytes.len() as u64))
                .send()
        };
        let stored = store.patiently(send).await;
        stored.map_err(|error| store.error(&self.key, &error))?;
        Ok(())
    }

    /// Stops the parts in flight, frees the memory and aborts the upload on the server, if it is still ours.
    async fn give_up(mut self) -> Result<()> {
        self.filling = None;
        self.sending.shutdown().await;
        let Some(Multipart { id, keeper }) = self.multipart.take() else {
            return Ok(());
        };
        let key = keeper.key().to_owned();
        let (ours, claim) = keeper.stop().await?;
        if ours {
            multipart::abort(&self.store, &self.key, &id).await?;
            self.store.delete(&key).await?;
        }
        claim.end();
        Ok(())
    }

    async fn remove_checkpoint(&self, keeper: Keeper<S3Store>) -> Result<()> {
        let key = keeper.key().to_owned();
        let (ours, claim) = keeper.stop().await?;
        if ours {
            self.store.delete(&key).await?;
        }
        claim.end();
        Ok(())
    }

    /// Waits a moment for the parts in flight, then releases the upload with its stored parts.
    async fn let_go(mut self) -> Result<()> {
        self.filling = None;
        let last_parts = async { while self.sending.join_next().await.is_some() {} };
        tokio::time::timeout(LAST_PARTS, last_parts).await.ok();
        self.sending.shutdown().await;
        match &self.multipart {
            Some(Multipart { keeper, .. }) if keeper.checkpoint().bytes > 0 => {}
            _ => return self.give_up().await,
        }
        match self.multipart.take() {
            Some(Multipart { keeper, .. }) => keeper.let_go().await,
            None => Ok(()),
        }
    }
}

/// Completes an upload whose parts are all stored. Once the last checkpoint is written, a later process can complete it
/// too, or tell that it is completed.
pub(super) async fn finish_stored(
    store: &S3Store,
    id: &str,
    keeper: Keeper<S3Store>,
    parts: Vec<Part>,
    mut uploaded: Uploaded,
) -> Result<Uploaded> {
    let Checkpoint {
        key,
        id: made_by,
        checksum,
        ..
    } = keeper.checkpoint();
    uploaded.receipt = Some(keeper.key().to_owned());
    let claim: Claim = keeper
        .finish(parts.clone(), uploaded.bytes, &uploaded.sha256)
        .await?;
    match multipart::complete(store, &key, id, &parts, checksum).await {
        // Perhaps it is completed, and only the answer was lost.
        Err(error)
            if error.kind() == ErrorKind::Precondition
                && multipart::is_made_by(store, &key, &made_by, uploaded.bytes).await? => {}
        done => done?,
    }
    claim.end();
    Ok(uploaded)
}

async fn fresh(store: &S3Store, key: &str) -> Result<Filling> {
    match store.buffers.take().await {
        Ok((buffer, slot)) => Ok(Filling { buffer, slot }),
        Err(_) => Err(Error::new(
            ErrorKind::Internal,
            key,
            "the store's buffers are gone",
        )),
    }
}

#[async_trait]
impl Upload for S3Upload {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn source(&self) -> &Source {
        &self.options.source
    }

    fn boxes(&self) -> BoxWalker {
        self.digester.boxes().clone()
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if self.failed {
            return Err(self.fault("the upload has failed before"));
        }
        // If the caller drops this future midway, bytes are lost, so the upload counts as failed until the chunk is taken.
        self.failed = true;
        self.take(chunk).await?;
        self.failed = false;
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<Uploaded> {
        self.finish().await
    }

    async fn keep(self: Box<Self>) -> Result<()> {
        self.let_go().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.give_up().await
    }
}
