//! Uploads to S3: parts cut from a stream, sent several at once, from a bounded number of buffers.
//!
//! A part takes one of the store's buffers when its first byte comes and gives it back when it is stored, so that all
//! uploads of a store together hold at most `parts_in_flight + 4` of them. An upload whose source stands still keeps
//! its one buffer: each upload must be driven by its own task, and its source must have a time limit.
//!
//! What fits into one part is sent as one object, without a multipart upload. S3 takes 10,000 parts: 156 GiB with
//! the default `store.s3.part_size`; a longer upload fails with a hint to raise it.

use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use tokio::task::JoinSet;

use super::buffers::Slot;
use super::{S3Store, connect};
use crate::store::{Upload, UploadOptions};
use crate::{Error, ErrorKind, Result};

/// S3's own limit.
const MOST_PARTS: i32 = 10_000;
/// Completing joins the parts on the server, which takes minutes for the largest objects.
const COMPLETE_AS_BYTES: u64 = 32 * 1024 * 1024;

/// A multipart upload that a listing shows.
pub(super) struct Unfinished {
    /// Relative to the store.
    pub(super) key: String,
    id: String,
}

/// The multipart uploads below `prefix` that were neither completed nor aborted.
pub(super) async fn unfinished(store: &S3Store, prefix: &str) -> Result<Vec<Unfinished>> {
    let mut found = Vec::new();
    let (mut key_marker, mut id_marker) = (None, None);
    loop {
        let page = store
            .client
            .list_multipart_uploads()
            .bucket(&store.target.bucket)
            .prefix(store.object_key(prefix))
            .set_key_marker(key_marker.take())
            .set_upload_id_marker(id_marker.take())
            .send()
            .await
            .map_err(|error| store.error(prefix, &error))?;
        found.extend(page.uploads.unwrap_or_default().into_iter().filter_map(|upload| {
            Some(Unfinished {
                key: upload.key?.strip_prefix(&*store.prefix)?.to_owned(),
                id: upload.upload_id?,
            })
        }));
        if page.is_truncated != Some(true) || page.next_key_marker.is_none() {
            return Ok(found);
        }
        (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
    }
}

/// Aborts what earlier uploads of exactly this key left behind.
pub(super) async fn abort_unfinished(store: &S3Store, key: &str) -> Result<()> {
    for upload in unfinished(store, key).await? {
        if upload.key == key {
            abort(store, key, &upload.id).await?;
        }
    }
    Ok(())
}

async fn abort(store: &S3Store, key: &str, id: &str) -> Result<()> {
    let request = store
        .client
        .abort_multipart_upload()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id);
    match request.send().await {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_response().map(|answer| answer.status().as_u16()) {
            // Gone already: completed, or aborted by another process.
            Some(404) => Ok(()),
            _ => Err(store.error(key, &error)),
        },
    }
}

/// A part being filled, with the right to its memory.
struct Filling {
    buffer: BytesMut,
    slot: Slot,
}

/// An upload in progress.
pub(super) struct S3Upload {
    store: S3Store,
    key: String,
    options: UploadOptions,
    part_size: usize,
    /// Set once there is more than one part.
    id: Option<String>,
    filling: Option<Filling>,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
    parts: i32,
    failed: bool,
}

impl S3Upload {
    pub(super) fn new(store: S3Store, key: &str, options: UploadOptions) -> Self {
        Self {
            part_size: store.part_size(),
            store,
            key: key.into(),
            options,
            id: None,
            filling: None,
            sending: JoinSet::new(),
            sent: Vec::new(),
            parts: 0,
            failed: false,
        }
    }

    fn fault(&self, message: &str) -> Error {
        Error::new(ErrorKind::Store, &*self.key, message)
    }

    async fn take(&mut self, mut chunk: Bytes) -> Result<()> {
        while !chunk.is_empty() {
            // A full part is only sent when more comes: until then it may be the whole object.
            if self
                .filling
                .as_ref()
                .is_some_and(|part| part.buffer.len() == self.part_size)
            {
                self.send_part().await?;
            }
            let filling = match &mut self.filling {
                Some(filling) => filling,
                none => none.insert(fresh(&self.store, &self.key).await?),
            };
            let room = self.part_size - filling.buffer.len();
            let taken = chunk.split_to(room.min(chunk.len()));
            filling.buffer.extend_from_slice(&taken);
        }
        Ok(())
    }

    /// Hands the filled part to a task of its own, once fewer than `parts_in_flight` are on their way.
    async fn send_part(&mut self) -> Result<()> {
        let Some(Filling { buffer, slot }) = self.filling.take() else {
            return Ok(());
        };
        if self.parts == MOST_PARTS {
            return Err(self
                .fault("is longer than 10,000 parts")
                .hint("raise store.s3.part_size"));
        }
        while self.sending.len() >= self.store.settings.parts_in_flight {
            self.one_sent().await?;
        }
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.create().await?,
        };
        self.parts += 1;
        let (store, key, number) = (self.store.clone(), self.key.clone(), self.parts);
        self.sending.spawn(async move {
            let bytes = buffer.freeze();
            let part = upload_part(&store, &key, &id, number, bytes.clone()).await;
            slot.give_back(bytes);
            part
        });
        Ok(())
    }

    async fn create(&mut self) -> Result<String> {
        let answer = self
            .store
            .client
            .create_multipart_upload()
            .bucket(&self.store.target.bucket)
            .key(self.store.object_key(&self.key))
            .set_content_type(self.options.content_type.clone())
            .set_storage_class(self.store.storage_class())
            .set_server_side_encryption(self.store.sse())
            .set_ssekms_key_id(self.store.kms_key_id())
            .send()
            .await
            .map_err(|error| self.store.error(&self.key, &error))?;
        let id = answer
            .upload_id
            .ok_or_else(|| self.fault("the server gave no upload id"))?;
        self.id = Some(id.clone());
        Ok(id)
    }

    async fn one_sent(&mut self) -> Result<()> {
        match self.sending.join_next().await {
            Some(Ok(part)) => self.sent.push(part?),
            Some(Err(_)) => return Err(self.fault("sending a part was cut short")),
            None => {}
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        if self.failed {
            return Err(self.fault("the upload has failed before"));
        }
        let Some(id) = self.id.clone() else {
            return self.put_whole().await;
        };
        self.send_part().await?;
        while !self.sending.is_empty() {
            self.one_sent().await?;
        }
        self.sent.sort_unstable_by_key(|part| part.part_number);
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(std::mem::take(&mut self.sent)))
            .build();
        self.store
            .client
            .complete_multipart_upload()
            .bucket(&self.store.target.bucket)
            .key(self.store.object_key(&self.key))
            .upload_id(id)
            .multipart_upload(parts)
            .customize()
            .config_override(connect::sized(COMPLETE_AS_BYTES))
            .send()
            .await
            .map_err(|error| self.store.error(&self.key, &error))?;
        self.id = None;
        Ok(())
    }

    /// The whole content as one object: it fits into a part.
    async fn put_whole(&mut self) -> Result<()> {
        // The slot is held until the object is stored.
        let (buffer, _slot) = match self.filling.take() {
            Some(Filling { buffer, slot }) => (buffer, Some(slot)),
            None => (BytesMut::new(), None),
        };
        let bytes = buffer.freeze();
        let config = connect::sized(bytes.len() as u64);
        self.store
            .client
            .put_object()
            .bucket(&self.store.target.bucket)
            .key(self.store.object_key(&self.key))
            .set_content_type(self.options.content_type.clone())
            .set_storage_class(self.store.storage_class())
            .set_server_side_encryption(self.store.sse())
            .set_ssekms_key_id(self.store.kms_key_id())
            .body(ByteStream::from(bytes))
            .customize()
            .config_override(config)
            .send()
            .await
            .map_err(|error| self.store.error(&self.key, &error))?;
        Ok(())
    }

    /// Stops what is on its way, frees the memory and gives the upload up on the server.
    async fn give_up(&mut self) -> Result<()> {
        self.filling = None;
        self.sending.shutdown().await;
        // Taken only afterwards: when this future is dropped on the way, `Drop` still aborts.
        if let Some(id) = self.id.clone() {
            abort(&self.store, &self.key, &id).await?;
            self.id = None;
        }
        Ok(())
    }

    /// Gives up after `error`. That an abort fails too is only told to the log: the next upload of the key aborts.
    async fn fail(&mut self, error: Error) -> Error {
        self.failed = true;
        if let Err(second) = self.give_up().await {
            tracing::warn!(key = self.key, error = %second, "a failed upload could not be aborted");
        }
        error
    }
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

async fn upload_part(
    store: &S3Store,
    key: &str,
    id: &str,
    number: i32,
    bytes: Bytes,
) -> Result<CompletedPart> {
    let config = connect::sized(bytes.len() as u64);
    let answer = store
        .client
        .upload_part()
        .bucket(&store.target.bucket)
        .key(store.object_key(key))
        .upload_id(id)
        .part_number(number)
        .body(ByteStream::from(bytes))
        .customize()
        .config_override(config)
        .send()
        .await
        .map_err(|error| store.error(key, &error))?;
    Ok(CompletedPart::builder()
        .set_e_tag(answer.e_tag)
        .part_number(number)
        .build())
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if self.failed {
            return Err(self.fault("the upload has failed before"));
        }
        // Until the chunk is taken whole: a caller that drops this future midway has lost bytes.
        self.failed = true;
        match self.take(chunk).await {
            Ok(()) => {
                self.failed = false;
                Ok(())
            }
            Err(error) => Err(self.fail(error).await),
        }
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        match self.finish().await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.fail(error).await),
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        self.give_up().await
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
        let mut sending = std::mem::take(&mut self.sending);
        runtime.spawn(async move {
            sending.shutdown().await;
            if let Err(error) = abort(&store, &key, &id).await {
                tracing::warn!(key, %error, "a dropped upload could not be aborted");
            }
        });
    }
}
