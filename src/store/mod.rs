//! Where the lake's bytes lie: a small trait, a folder and S3 behind it.
//!
//! Guarantees that every store gives, and that `tests/it/store/suite.rs` holds each one to:
//! - A reader of a key sees a whole object, the old one or the new one, never a part.
//! - [`Store::put`] with a [`Condition`] is atomic where [`Store::probe`] says so.
//! - An [`Upload`] shows nothing under its key before [`Upload::complete`] returned.
//! - What an upload has stored survives the process: [`Store::resume`] goes on with it, anywhere. None is touched while
//!   a living process drives it, and each can be found and aborted by [`Store::unfinished_uploads`].
//! - A missing object is [`ErrorKind::StoreNotFound`](crate::ErrorKind), a lost condition is `Precondition`, a store
//!   that can't be reached, does not exist or refuses access is `StoreUnavailable`; anything else is `Store`.
//! - Keys are `/`-separated relative paths as `lake::key` makes them; no store interprets them further.

mod checkpoint;
mod claim;
mod dialect;
pub mod folder;
pub(crate) mod guarded;
pub mod json;
mod keeper;
mod metered;
mod optional;
pub mod s3;
mod upload;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub(crate) use self::claim::Claim;
pub use self::claim::Lease;
pub use self::dialect::{Dialect, EtagForm, Shortcoming, StoreAddress};
pub use self::metered::Metered;
pub use self::optional::OptionalExt;
pub use self::upload::{Resumed, Source, Unfinished, Upload, UploadOptions, Uploaded};
use crate::{Error, ErrorKind, Result, config};

/// Opens the store that the configuration names. Sends nothing and writes nothing: [`Store::preflight`] does.
///
/// # Errors
/// `Config` when the URL is wrong.
pub async fn open(config: &config::Store) -> Result<Arc<dyn Store>> {
    match config.url.split_once("://") {
        Some(("file", _)) => Ok(Arc::new(folder::FolderStore::open(&config.url)?)),
        Some(("s3", _)) => Ok(Arc::new(s3::S3Store::open(&config.url, &config.s3).await?)),
        _ => Err(Error::new(
            ErrorKind::Config,
            "store.url",
            "must start with file:// or s3://",
        )),
    }
}

/// What a store says of an object's current state: an ETag, or its like. Opaque; only ever compared for equality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// An object's bytes and the version they are of.
#[derive(Debug, Clone)]
pub struct Object {
    /// The whole content.
    pub bytes: Bytes,
    /// The version to name in [`Condition::Unchanged`].
    pub version: Version,
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, relative to the store's URL.
    pub key: String,
    /// The size in bytes.
    pub bytes: u64,
    /// When it was last written, where the store says so.
    pub modified: Option<chrono::DateTime<chrono::Utc>>,
}

/// When a write may take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Any,
    /// Only when there is no object under the key.
    Absent,
    /// Only when the object is still of this version.
    Unchanged(Version),
}

/// A place for the lake. See the module's guarantees.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's URL as the configuration gave it, without secrets.
    fn url(&self) -> &str;

    /// Proves that the store exists and can be written, before any work is done. Leaves nothing visible behind.
    ///
    /// # Errors
    /// `StoreUnavailable`, with the way out.
    async fn preflight(&self) -> Result<()>;

    /// Where the store lies, in one spelling.
    fn address(&self) -> StoreAddress {
        StoreAddress {
            url: self.url().into(),
            endpoint: String::new(),
        }
    }

    /// Finds out how conditional writes are taken and what uploads lack, by a few writes of probe objects, which are
    /// removed again. From then on the store speaks so.
    ///
    /// # Errors
    /// Of the store; never because conditional writes are ignored or refused, or because something is lacking.
    async fn probe(&self) -> Result<Dialect>;

    /// Says what an earlier probe found. Where conditional writes are not taken, no condition is sent from then on.
    fn speak(&self, _dialect: Dialect) {}

    /// What the server is known to lack.
    fn shortcomings(&self) -> Vec<Shortcoming> {
        Vec::new()
    }

    /// The same store for one run, which waits some minutes for a server that asks to slow down, until `stop`. None
    /// where no server can ask.
    fn patient(&self, _stop: CancellationToken) -> Option<Arc<dyn Store>> {
        None
    }

    /// Reads a whole object. Meant for manifests, tables and reports, not for recordings.
    ///
    /// # Errors
    /// `StoreNotFound` when there is none.
    async fn get(&self, key: &str) -> Result<Object>;

    /// Reads a whole object whose version is of no interest: a folder would have to hash it.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn read(&self, key: &str) -> Result<Bytes> {
        self.get(key).await.map(|object| object.bytes)
    }

    /// Reads a piece of an object: `length` bytes from `offset` on, fewer where the object ends, none beyond its end.
    /// Each piece is of the object as it is then: pieces of one that is replaced meanwhile may not fit together.
    ///
    /// # Errors
    /// `StoreNotFound` when there is none.
    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes>;
    /// [`Store::get`] of an object of `most` bytes at most: what is larger is not read.
    ///
    /// # Errors
    /// `StoreNotFound` when there is none; `Store` when it is larger.
    async fn get_within(&self, key: &str, most: u64) -> Result<Object> {
        match self.size(key).await? {
            Some(bytes) if bytes > most => Err(too_large(key, bytes, most)),
            _ => self.get(key).await,
        }
    }

    /// A URL by which anybody reads an object until it expires; none where the store makes no such URLs. Whether there is
    /// such an object is not asked.
    ///
    /// # Errors
    /// The store fails.
    async fn presign(&self, _key: &str, _expires: std::time::Duration) -> Result<Option<String>> {
        Ok(None)
    }

    /// The bytes that are free for more objects, where the store knows.
    ///
    /// # Errors
    /// The store fails.
    async fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The size of an object in bytes, or `None` when there is none.
    ///
    /// # Errors
    /// Of the store.
    async fn size(&self, key: &str) -> Result<Option<u64>>;

    /// Writes a whole object and gives its new version.
    ///
    /// # Errors
    /// `Precondition` when the condition does not hold.
    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version>;

    /// Every object whose key starts with `prefix`, in order of keys. Unfinished uploads are not among them.
    ///
    /// # Errors
    /// Of the store.
    async fn list(&self, prefix: &str) -> Result<Vec<Entry>>;

    /// Removes an object. One that is not there is no error.
    ///
    /// # Errors
    /// Of the store.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Starts an upload of unknown length from nothing, beside whatever other uploads of the key there are; the last one
    /// to be completed wins.
    ///
    /// # Errors
    /// Of the store.
    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>>;

    /// Goes on with the upload of `key` that a dead process left furthest, if there is one that can be gone on with.
    /// All else that dead processes left of the key is given up. Only bytes are trusted that both the upload's
    /// checkpoint and the store vouch for.
    ///
    /// May take a minute where the dead process ran on another machine a moment ago: see [`Lease`].
    ///
    /// # Errors
    /// Of the store.
    async fn resume(&self, key: &str) -> Result<Option<Resumed>>;

    /// Uploads of keys below `prefix` that were started and neither completed nor aborted, in order of keys, and
    /// receipts of completed ones that nobody has deleted. Those of living processes are marked as such.
    ///
    /// # Errors
    /// Of the store.
    async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<Unfinished>>;

    /// Gives up one of [`Store::unfinished_uploads`] and frees what it holds. Does nothing to one that is driven, or
    /// that a process has taken up since it was listed.
    ///
    /// # Errors
    /// Of the store.
    async fn abort_upload(&self, upload: &Unfinished) -> Result<()>;
}

/// The error of an object that is larger than it can be.
fn too_large(key: &str, bytes: u64, most: u64) -> Error {
    let message = format!("is damaged: it has {bytes} bytes, and none of its kind has more than {most}");
    Error::new(ErrorKind::Store, key, message).hint("restore it, or remove it to start anew")
}
