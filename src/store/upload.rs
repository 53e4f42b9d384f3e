//! What an upload is: started, driven, let go of, found again. Types and the trait; no I/O.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Version;
use super::checkpoint::Checkpoint;
use crate::Result;
use crate::mp4::BoxWalker;

/// What an upload's bytes come from. The store keeps it with the upload and compares nothing: whoever goes on decides
/// whether the source is still the same. Nothing personal, and no link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The caller's name for the state of the thing that is copied.
    pub of: String,
    /// The source's `ETag`, as it said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Bytes of the whole, where the source said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// What an upload is, for stores that treat kinds of objects apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// The media type, where the store keeps one.
    pub content_type: Option<String>,
    /// What the bytes come from.
    pub source: Source,
}

/// An object that an upload made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hex; made on the way, also across processes.
    pub sha256: String,
    /// What it was made from.
    pub source: Source,
    /// The key of the note that says all this to a later process, should this one die before it has written it down.
    /// To be deleted once it has.
    pub receipt: Option<String>,
}

/// What is found of an earlier process's upload.
pub enum Resumed {
    /// It goes on: [`Upload::bytes`] says from where, [`Upload::source`] with what.
    Open(Box<dyn Upload>),
    /// All had been stored: the object lies under its key.
    Whole(Uploaded),
}

/// An upload that was neither completed nor aborted, or whose receipt was not deleted.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The key of the object that it would become.
    pub key: String,
    /// Whether a living process drives it, or may: such a one is left alone.
    pub driven: bool,
    /// The store's own name for it, where it has one.
    pub(super) upload: Option<String>,
    pub(super) note: Option<Note>,
}

/// A checkpoint as it lies in the store; none inside when it can't be read.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) key: String,
    pub(super) version: Version,
    pub(super) modified: Option<chrono::DateTime<chrono::Utc>>,
    pub(super) checkpoint: Option<Checkpoint>,
}

/// An upload in progress, driven by this process: no other one touches it. Dropped, it shows nothing and stays where
/// it is, as after a kill: [`Store::resume`](super::Store::resume) finds it again.
#[async_trait]
pub trait Upload: Send {
    /// Bytes taken so far, those of earlier processes among them.
    fn bytes(&self) -> u64;

    /// What they are of.
    fn source(&self) -> &Source;

    /// The MP4 boxes among these bytes: whether what has come is a whole file.
    fn boxes(&self) -> BoxWalker;

    /// Appends bytes. Returns once they are taken, which is before they are stored; memory stays bounded by the
    /// store's part size times its parts in flight. A write that is dropped before it is done fails the upload.
    ///
    /// Uploads of one store share its buffers: drive each by a task of its own, and bound how long its source may
    /// stand still.
    ///
    /// # Errors
    /// Of the store, also of an earlier write. `Precondition` when the upload is gone, or another process has taken
    /// it for dead and over: then it has to be started anew.
    async fn write(&mut self, chunk: Bytes) -> Result<()>;

    /// Makes the whole visible under its key.
    ///
    /// # Errors
    /// As [`Upload::write`]; then nothing is visible, and what is stored can be gone on with.
    async fn complete(self: Box<Self>) -> Result<Uploaded>;

    /// Lets go: what is stored whole stays for any process that asks [`Store::resume`](super::Store::resume), at once.
    /// Also after a failed write. Where nothing is worth it, this is [`Upload::abort`].
    ///
    /// # Errors
    /// Of the store.
    async fn keep(self: Box<Self>) -> Result<()>;

    /// Gives the upload up and frees what it holds in the store, unless another process has taken it over.
    ///
    /// # Errors
    /// Of the store.
    async fn abort(self: Box<Self>) -> Result<()>;
}
