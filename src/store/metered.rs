//! A store around any other that counts its calls and their times. Used by `cli` and `serve`, which open stores.
//!
//! It passes on every method, also those with a default, because otherwise it would change the store's behaviour.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Condition, Dialect, ListedObject, Resumed, Shortcoming, Source, Store, StoreAddress, StoredObject,
    Unfinished, Upload, UploadOptions, Uploaded, Version,
};
use crate::metrics::{CallLabels, METRICS, StoreLabels};
use crate::mp4::BoxWalker;
use crate::{ErrorKind, Result};

/// A store that counts its calls.
pub struct Metered(Arc<dyn Store>);

impl Metered {
    /// Puts the counters around a store.
    pub fn around(store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Self(store))
    }
}

/// Counts one call.
async fn counted<T>(call: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let started = Instant::now();
    let done = work.await;
    let result = match &done {
        Ok(_) => "ok",
        Err(error) => match error.kind() {
            ErrorKind::StoreNotFound => "not_found",
            ErrorKind::Precondition => "precondition",
            _ => "failed",
        },
    };
    METRICS
        .store_calls
        .get_or_create(&StoreLabels { call, result })
        .inc();
    METRICS
        .store_seconds
        .get_or_create(&CallLabels { call })
        .observe(started.elapsed().as_secs_f64());
    done
}

// The lint finds a method with a default that is not passed on.
#[warn(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Metered {
    fn url(&self) -> &str {
        self.0.url()
    }

    async fn preflight(&self) -> Result<()> {
        counted("preflight", self.0.preflight()).await
    }

    fn address(&self) -> StoreAddress {
        self.0.address()
    }

    async fn probe(&self) -> Result<Dialect> {
        counted("probe", self.0.probe()).await
    }

    fn speak(&self, dialect: Dialect) {
        self.0.speak(dialect);
    }

    fn shortcomings(&self) -> Vec<Shortcoming> {
        self.0.shortcomings()
    }

    fn patient(&self, stop: CancellationToken) -> Option<Arc<dyn Store>> {
        self.0.patient(stop).map(Self::around)
    }

    async fn get(&self, key: &str) -> Result<StoredObject> {
        counted("get", self.0.get(key)).await
    }

    async fn read(&self, key: &str) -> Result<Bytes> {
        counted("get", self.0.read(key)).await
    }

    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes> {
        counted("get_range", self.0.get_range(key, offset, length)).await
    }

    async fn get_within(&self, key: &str, most: u64) -> Result<StoredObject> {
        counted("get", self.0.get_within(key, most)).await
    }

    async fn presign(&self, key: &str, expires: std::time::Duration) -> Result<Option<String>> {
        self.0.presign(key, expires).await
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.0.free_bytes().await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        counted("size", self.0.size(key)).await
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        counted("put", self.0.put(key, bytes, condition)).await
    }

    async fn put_relaxed(&self, key: &str, bytes: Bytes) -> Result<()> {
        counted("put", self.0.put_relaxed(key, bytes)).await
    }

    async fn sync(&self) -> Result<()> {
        counted("sync", self.0.sync()).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<()> {
        counted("copy", self.0.copy(from, to)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>> {
        counted("list", self.0.list(prefix)).await
    }

    async fn has_any(&self, prefix: &str) -> Result<bool> {
        counted("list", self.0.has_any(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        counted("delete", self.0.delete(key)).await
    }

    async fn remove_old_versions(&self, prefix: &str) -> Result<Option<u64>> {
        counted("remove_old_versions", self.0.remove_old_versions(prefix)).await
    }

    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>> {
        let upload = counted("upload", self.0.upload(key, options)).await?;
        Ok(Box::new(MeteredUpload(upload)))
    }

    async fn resume(&self, key: &str) -> Result<Option<Resumed>> {
        let resumed = counted("resume", self.0.resume(key)).await?;
        Ok(resumed.map(|resumed| match resumed {
            Resumed::Open(upload) => Resumed::Open(Box::new(MeteredUpload(upload))),
            whole @ Resumed::Whole(_) => whole,
        }))
    }

    async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        counted("unfinished_uploads", self.0.unfinished_uploads(prefix)).await
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        counted("abort", self.0.abort_upload(upload)).await
    }
}

struct MeteredUpload(Box<dyn Upload>);

#[warn(clippy::missing_trait_methods)]
#[async_trait]
impl Upload for MeteredUpload {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn source(&self) -> &Source {
        self.0.source()
    }

    fn boxes(&self) -> BoxWalker {
        self.0.boxes()
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        // Not counted, because the upload is counted as a whole when it is complete.
        self.0.write(chunk).await
    }

    async fn complete(self: Box<Self>) -> Result<Uploaded> {
        counted("complete", self.0.complete()).await
    }

    async fn keep(self: Box<Self>) -> Result<()> {
        counted("keep", self.0.keep()).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        counted("abort", self.0.abort()).await
    }
}
