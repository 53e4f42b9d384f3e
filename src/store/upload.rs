//! The trait of an upload in progress, and the types around it. No I/O.

use async_trait::async_trait;
use bytes::Bytes;

use super::checkpoint::{Checkpoint, Source, StoredCheckpoint};
use crate::Result;
use crate::mp4::BoxWalker;

/// The options of an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// The media type, if the store keeps one.
    pub content_type: Option<String>,
    /// The source of the bytes.
    pub source: Source,
}

/// The object that an upload made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The size in bytes.
    pub bytes: u64,
    /// The SHA-256 in hex, computed on the way, also if several processes uploaded parts of the object.
    pub sha256: String,
    /// The source of the bytes.
    pub source: Source,
    /// The key of the upload's last checkpoint, which tells all this to a later process if this one dies. The caller
    /// deletes it once the manifest knows the object.
    pub receipt: Option<String>,
}

impl Checkpoint {
    /// The object that a finished upload made; none if the upload is not finished. `receipt` is the checkpoint's key.
    pub(super) fn uploaded(&self, receipt: &str) -> Option<Uploaded> {
        Some(Uploaded {
            bytes: self.bytes,
            sha256: self.finished.clone()?,
            source: self.source.clone(),
            receipt: Some(receipt.to_owned()),
        })
    }
}

/// An earlier process's upload, resumed.
pub enum Resumed {
    /// The upload goes on from [`Upload::bytes`], with the same [`Upload::source`].
    Open(Box<dyn Upload>),
    /// All bytes were stored before: the object lies under its key.
    Whole(Uploaded),
}

/// An upload that was neither completed nor aborted, or whose receipt was not deleted.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The key of the object that it would become.
    pub key: String,
    /// True if a living process drives it, or may drive it; such an upload is left alone.
    pub driven: bool,
    /// The store's own id of the upload, if it has one.
    pub(super) upload: Option<String>,
    pub(super) checkpoint: Option<StoredCheckpoint>,
}

/// An upload in progress. No other process touches it while this one drives it. If it is dropped, nothing is visible and
/// its bytes stay stored, as after a kill, so that [`Store::resume`](super::Store::resume) finds it again.
#[async_trait]
pub trait Upload: Send {
    /// The bytes taken so far, those of earlier processes included.
    fn bytes(&self) -> u64;

    /// The source of the bytes.
    fn source(&self) -> &Source;

    /// The MP4 boxes among the bytes taken so far, which tell if they are a whole file.
    fn boxes(&self) -> BoxWalker;

    /// Appends bytes. Returns once they are taken, which is before they are stored; memory stays bounded by the store's
    /// part size times its parts in flight. If the future is dropped before it is done, the upload has failed.
    ///
    /// All uploads of a store share its buffers. Drive each upload by a task of its own, and set a time limit for its
    /// source.
    ///
    /// # Errors
    /// `Precondition` if the upload is gone or another process has taken it over; then start a new one. Otherwise any
    /// error of the store, also of an earlier write.
    async fn write(&mut self, chunk: Bytes) -> Result<()>;

    /// Makes the whole object visible under its key, at once.
    ///
    /// # Errors
    /// As [`Upload::write`]; then nothing is visible, and the stored bytes can be resumed.
    async fn complete(self: Box<Self>) -> Result<Uploaded>;

    /// Releases the upload with its stored parts, also after a failed write, so that any process can
    /// [resume](super::Store::resume) it at once. Aborts it if nothing is stored.
    ///
    /// # Errors
    /// Any error of the store.
    async fn keep(self: Box<Self>) -> Result<()>;

    /// Aborts the upload and frees its space in the store, unless another process has taken it over.
    ///
    /// # Errors
    /// Any error of the store.
    async fn abort(self: Box<Self>) -> Result<()>;
}
