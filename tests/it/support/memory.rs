//! A store in memory, for tests that run hundreds of histories without waiting for a disk. It passes the suite of the stores;
//! a variant ignores conditional writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use telelake::mp4::BoxWalker;
use telelake::store::{
    Condition, Dialect, ListedObject, Resumed, Source, Store, StoredObject, Unfinished, Upload,
    UploadOptions, Uploaded, Version,
};
use telelake::{Error, ErrorKind, Result};

/// A store in memory. A clone is the same store.
#[derive(Clone, Default)]
pub struct Memory {
    objects: Arc<Mutex<BTreeMap<String, Bytes>>>,
    ignores_conditions: bool,
    lists_etags: bool,
}

impl Memory {
    /// A store that ignores conditions in silence, as some servers do.
    pub fn ignoring_conditions() -> Self {
        Self {
            ignores_conditions: true,
            ..Self::default()
        }
    }

    /// A store whose listings show the versions of objects, as those of S3 do.
    pub fn listing_etags() -> Self {
        Self {
            lists_etags: true,
            ..Self::default()
        }
    }

    /// Another store with the same content.
    pub fn copy(&self) -> Self {
        Self {
            objects: Arc::new(Mutex::new(self.objects.lock().unwrap().clone())),
            ..self.clone()
        }
    }

    /// All objects by key.
    pub fn contents(&self) -> BTreeMap<String, Bytes> {
        self.objects.lock().unwrap().clone()
    }
}

/// The version depends on the content alone, as S3's ETag does, so that the same bytes have the same version.
fn version(bytes: &Bytes) -> Version {
    Version(hex::encode(Sha256::digest(bytes)))
}

#[async_trait]
impl Store for Memory {
    fn url(&self) -> &'static str {
        "memory://lake"
    }

    async fn preflight(&self) -> Result<()> {
        Ok(())
    }

    async fn probe(&self) -> Result<Dialect> {
        Ok(Dialect {
            conditional_writes: !self.ignores_conditions,
            ..Dialect::default()
        })
    }

    async fn get(&self, key: &str) -> Result<StoredObject> {
        let found = self.objects.lock().unwrap().get(key).cloned();
        found
            .map(|bytes| StoredObject {
                version: version(&bytes),
                bytes,
            })
            .ok_or_else(|| Error::new(ErrorKind::StoreNotFound, key, "is not in the store"))
    }

    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes> {
        let whole = self.get(key).await?.bytes;
        let start = usize::try_from(offset).unwrap().min(whole.len());
        Ok(whole.slice(start..whole.len().min(start + length)))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        let objects = self.objects.lock().unwrap();
        Ok(objects.get(key).map(|bytes| bytes.len() as u64))
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let mut objects = self.objects.lock().unwrap();
        let holds = match condition {
            Condition::Any => true,
            Condition::Absent => !objects.contains_key(key),
            Condition::Unchanged(known) => objects.get(key).is_some_and(|found| version(found) == known),
        };
        if !holds && !self.ignores_conditions {
            return Err(Error::new(
                ErrorKind::Precondition,
                key,
                "another writer changed it meanwhile",
            ));
        }
        let version = version(&bytes);
        objects.insert(key.into(), bytes);
        Ok(version)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>> {
        let objects = self.objects.lock().unwrap();
        let below = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(below
            .map(|(key, bytes)| ListedObject {
                key: key.clone(),
                bytes: bytes.len() as u64,
                modified: None,
                etag: self.lists_etags.then(|| version(bytes).0),
            })
            .collect())
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.objects.lock().unwrap().remove(key);
        Ok(())
    }

    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>> {
        Ok(Box::new(InMemory {
            source: options.source,
            store: self.clone(),
            key: key.into(),
            bytes: BytesMut::new(),
        }))
    }

    async fn resume(&self, _key: &str) -> Result<Option<Resumed>> {
        Ok(None)
    }

    async fn unfinished_uploads(&self, _prefix: &str) -> Result<Vec<Unfinished>> {
        Ok(Vec::new())
    }

    async fn abort_upload(&self, _upload: &Unfinished) -> Result<()> {
        Ok(())
    }
}

/// An upload that does not outlive its process.
struct InMemory {
    source: Source,
    store: Memory,
    key: String,
    bytes: BytesMut,
}

#[async_trait]
impl Upload for InMemory {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn source(&self) -> &Source {
        &self.source
    }

    fn boxes(&self) -> BoxWalker {
        let mut boxes = BoxWalker::default();
        boxes.take(&self.bytes);
        boxes
    }

    async fn keep(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<Uploaded> {
        let bytes = self.bytes.freeze();
        let uploaded = Uploaded {
            bytes: bytes.len() as u64,
            sha256: hex::encode(Sha256::digest(&bytes)),
            source: self.source,
            receipt: None,
        };
        self.store.objects.lock().unwrap().insert(self.key, bytes);
        Ok(uploaded)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
