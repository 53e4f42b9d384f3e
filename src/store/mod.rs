//! The store: a small trait for the bytes of the lake, implemented by a folder and by S3.
//!
//! Each guarantee stands at the method that gives it; `tests/it/store/suite.rs` holds every store to all of them. Keys are
//! `/`-separated relative paths as `lake::key` makes them, and no store interprets them further. Errors have few kinds:
//! `StoreNotFound` for a missing object, `Precondition` for a condition that does not hold, `StoreUnavailable` for a store
//! that can't be reached, does not exist or refuses access, and `Store` for every other failure.

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

pub use self::checkpoint::Source;
pub(crate) use self::claim::Claim;
pub use self::claim::UploadLease;
pub use self::dialect::{Dialect, EtagForm, Shortcoming, StoreAddress};
pub use self::metered::Metered;
pub use self::optional::OptionalExt;
pub use self::upload::{Resumed, Unfinished, Upload, UploadOptions, Uploaded};
use crate::{Error, ErrorKind, Result, config};

/// Opens the store that the configuration names. Sends and writes nothing; [`Store::preflight`] does.
///
/// # Errors
/// `Config` if the URL is wrong.
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

/// The version of an object, such as its ETag. Opaque; it is only compared for equality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// An object's bytes with their version.
#[derive(Debug, Clone)]
pub struct StoredObject {
    /// The whole content.
    pub bytes: Bytes,
    /// The version to name in [`Condition::Unchanged`].
    pub version: Version,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key, relative to the store's URL.
    pub key: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The time of the last write, if the store tells it.
    pub modified: Option<chrono::DateTime<chrono::Utc>>,
    /// The version of the object without quotes, if a listing of the store tells it.
    pub etag: Option<String>,
}

/// The condition under which a write takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The write always takes place.
    Any,
    /// There is no object under the key.
    Absent,
    /// The object still has this version.
    Unchanged(Version),
}

/// A store for the lake's objects.
#[async_trait]
pub trait Store: Send + Sync {
    /// The store's URL as the configuration has it, without secrets.
    fn url(&self) -> &str;

    /// Proves that the store exists and can be written, before any work is done. Leaves nothing visible behind.
    ///
    /// # Errors
    /// `StoreUnavailable`, with the way out.
    async fn preflight(&self) -> Result<()>;

    /// The store's address in its only spelling.
    fn address(&self) -> StoreAddress {
        StoreAddress {
            url: self.url().into(),
            endpoint: String::new(),
        }
    }

    /// Finds out, by writing a few probe objects, which conditional writes the server honours and which operations it
    /// lacks. The probe objects are removed again, and the store uses the result from then on.
    ///
    /// # Errors
    /// Any error of the store. A server that ignores or refuses conditions, or lacks an operation, is no error.
    async fn probe(&self) -> Result<Dialect>;

    /// Uses the result of an earlier probe. If it says that the server does not honour conditional writes, every
    /// condition counts as [`Condition::Any`] from then on, so callers need not ask.
    fn speak(&self, _dialect: Dialect) {}

    /// The operations that the server is known to lack.
    fn shortcomings(&self) -> Vec<Shortcoming> {
        Vec::new()
    }

    /// The same store for one run, which waits some minutes for a server that asks to slow down, until `stop`. `None` if
    /// no server can ask.
    fn patient(&self, _stop: CancellationToken) -> Option<Arc<dyn Store>> {
        None
    }

    /// Reads a whole object, the old or the new one but never a part of each. For manifests, tables and reports; a
    /// recording is too large for it.
    ///
    /// # Errors
    /// `StoreNotFound` if there is no such object; otherwise any error of the store.
    async fn get(&self, key: &str) -> Result<StoredObject>;

    /// Reads a whole object without its version, because a folder has to hash the object for one.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn read(&self, key: &str) -> Result<Bytes> {
        self.get(key).await.map(|object| object.bytes)
    }

    /// Reads `length` bytes of an object from `offset` on: fewer if the object ends earlier, none behind its end. Each
    /// piece is of the object as it is at that moment, so pieces of an object that is replaced may not fit together.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes>;

    /// Reads a whole object of `most` bytes at most. A larger object is not read.
    ///
    /// # Errors
    /// `Store` if the object is larger; otherwise as [`Store::get`].
    async fn get_within(&self, key: &str, most: u64) -> Result<StoredObject> {
        match self.size(key).await? {
            Some(bytes) if bytes > most => Err(too_large(key, bytes, most)),
            _ => self.get(key).await,
        }
    }

    /// A URL by which anybody can read an object until it expires; `None` if the store makes no such URLs. Does not ask
    /// the server whether the object exists.
    ///
    /// # Errors
    /// Any error of the store.
    async fn presign(&self, _key: &str, _expires: std::time::Duration) -> Result<Option<String>> {
        Ok(None)
    }

    /// The bytes that are free for more objects, if the store knows.
    ///
    /// # Errors
    /// Any error of the store.
    async fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The size of an object in bytes, or `None` if there is no such object.
    ///
    /// # Errors
    /// Any error of the store.
    async fn size(&self, key: &str) -> Result<Option<u64>>;

    /// Writes a whole object and returns its new version. The write is atomic: readers see the old or the new object, and
    /// of several writers with the same condition one wins. If the server does not honour conditional writes, the
    /// condition is not checked, see [`Store::speak`].
    ///
    /// # Errors
    /// `Precondition` if the condition does not hold; otherwise any error of the store.
    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version>;

    /// Writes a whole object without a condition, as [`Store::put`] does, but a new object is durable only after the next
    /// [`Store::sync`]: a power cut before that may lose it or leave it incomplete. So it is for objects that nobody looks
    /// for before another object names them. It is not ordered with conditional writes, so a key takes either these or
    /// those.
    ///
    /// # Errors
    /// Any error of the store.
    async fn put_relaxed(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.put(key, bytes, Condition::Any).await.map(|_| ())
    }

    /// Makes everything durable that [`Store::put_relaxed`] has written so far by this store.
    ///
    /// # Errors
    /// Any error of the store. Then some of these objects may be lost at a power cut, and nothing may name them.
    async fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Copies an object to a new key, on the server or by a hard link if that is possible. The copy keeps its bytes if the
    /// original is replaced or deleted.
    ///
    /// # Errors
    /// `StoreNotFound` if there is no such object; otherwise any error of the store.
    async fn copy(&self, from: &str, to: &str) -> Result<()> {
        let bytes = self.read(from).await?;
        self.put(to, bytes, Condition::Any).await.map(|_| ())
    }

    /// Lists every object whose key starts with `prefix`, ordered by the bytes of the key. Unfinished uploads are not
    /// listed.
    ///
    /// # Errors
    /// Any error of the store.
    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>>;

    /// True if there is an object whose key starts with the prefix. It need not list all of them.
    ///
    /// # Errors
    /// Any error of the store.
    async fn has_any(&self, prefix: &str) -> Result<bool> {
        Ok(!self.list(prefix).await?.is_empty())
    }

    /// Removes an object. A missing object is no error.
    ///
    /// # Errors
    /// Any error of the store.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Removes the older versions of objects whose key starts with a prefix, and all versions of those that were deleted.
    /// Returns their number; none if the store keeps no versions.
    ///
    /// # Errors
    /// Any error of the store, for example if the versions may not be listed or deleted.
    async fn remove_old_versions(&self, _prefix: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Starts an upload of unknown length from its first byte. Nothing is visible under the key before
    /// [`Upload::complete`] returned. Other uploads of the key are not disturbed; the last one to be completed wins.
    ///
    /// # Errors
    /// Any error of the store.
    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>>;

    /// Resumes the furthest upload of `key` that a dead process left, on any machine, and aborts the others that dead
    /// processes left of the key. Trusts only bytes that both the upload's checkpoint and the store vouch for, and never
    /// touches an upload that a living process drives.
    ///
    /// May take a minute if the process died a moment ago on another machine, see [`UploadLease`].
    ///
    /// # Errors
    /// Any error of the store.
    async fn resume(&self, key: &str) -> Result<Option<Resumed>>;

    /// Lists the uploads of keys below `prefix` that were neither completed nor aborted, and the receipts of completed
    /// uploads that nobody has deleted, ordered by key. Uploads of living processes are marked as driven.
    ///
    /// # Errors
    /// Any error of the store.
    async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<Unfinished>>;

    /// Aborts one of [`Store::unfinished_uploads`] and frees its space. Does nothing to an upload that is driven, or that
    /// a process has resumed since it was listed.
    ///
    /// # Errors
    /// Any error of the store.
    async fn abort_upload(&self, upload: &Unfinished) -> Result<()>;
}

/// The error of an object that is too large to be one of its kind.
fn too_large(key: &str, bytes: u64, most: u64) -> Error {
    let message = format!("is damaged: it has {bytes} bytes, and none of its kind has more than {most}");
    Error::new(ErrorKind::Store, key, message).hint("restore it, or remove it to start anew")
}
