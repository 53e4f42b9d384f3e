//! The store of a single run. If the store fails again and again, or the run loses the lease that it works under, the run
//! stops with that one reason instead of thousands.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::mp4::BoxWalker;
use crate::store::{
    Condition, Dialect, ListedObject, Resumed, Shortcoming, Source, Store, StoreAddress, StoredObject,
    Unfinished, Upload, UploadOptions, Uploaded, Version,
};
use crate::{Error, ErrorKind, Result};

/// Failures in a row, each after the store's own attempts, after which the store counts as lost.
const MOST_FAILURES: u32 = 5;
/// Failed writes in a row after which the store counts as lost. They are counted apart because a full disk can still be
/// read.
const MOST_FAILED_WRITES: u32 = 8;

/// A check before each write, such as a lease that must be alive. Its error is the reason why writing is refused.
pub type Permit = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// A store that stops its run once it is lost.
pub struct GuardedStore {
    inner: Arc<dyn Store>,
    health: Arc<StoreHealth>,
}

/// The health of a store, as a run has seen it so far.
pub struct StoreHealth {
    failures: AtomicU32,
    failed_writes: AtomicU32,
    lost: OnceLock<Error>,
    /// Stops the run.
    stop: CancellationToken,
    permit: OnceLock<Permit>,
}

impl GuardedStore {
    pub fn new(inner: Arc<dyn Store>, stop: CancellationToken) -> Self {
        Self {
            inner,
            health: Arc::new(StoreHealth {
                failures: AtomicU32::new(0),
                failed_writes: AtomicU32::new(0),
                lost: OnceLock::new(),
                stop,
                permit: OnceLock::new(),
            }),
        }
    }

    pub fn health(&self) -> Arc<StoreHealth> {
        Arc::clone(&self.health)
    }
}

impl StoreHealth {
    /// The reason why the store is lost; none while it is not.
    pub fn lost(&self) -> Option<Error> {
        let why = self.lost.get()?;
        let lost = Error::new(why.kind(), why.about(), why.message());
        Some(lost.hint("when the store is well again, the next run goes on where this one stopped"))
    }

    /// Checks the permit before each write from now on. The first refusal stops the run.
    pub fn require(&self, permit: Permit) {
        let _ = self.permit.set(permit);
    }

    /// Asks the permit if writing is allowed now.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn permit(&self) -> Result<()> {
        self.permit.get().map_or(Ok(()), |permit| permit())
    }

    /// Stops the run for a reason; the first reason counts.
    pub fn lose(&self, why: Error) {
        let _ = self.lost.set(why);
        self.stop.cancel();
    }

    fn before_read(&self, key: &str) -> Result<()> {
        match self.lost.get() {
            Some(_) => Err(stopped(key)),
            None => Ok(()),
        }
    }

    fn before_write(&self, key: &str) -> Result<()> {
        if let Some(Err(why)) = self.permit.get().map(|permit| permit()) {
            self.lose(why);
        }
        self.before_read(key)
    }

    fn after<T>(&self, is_write: bool, outcome: Result<T>) -> Result<T> {
        let failure = match &outcome {
            Err(error) if matches!(error.kind(), ErrorKind::Store | ErrorKind::StoreUnavailable) => {
                Some(error)
            }
            _ => None,
        };
        let one_more = |count: &AtomicU32| match failure {
            Some(_) => count.fetch_add(1, Ordering::Relaxed) + 1,
            None => {
                count.store(0, Ordering::Relaxed);
                0
            }
        };
        let lost = one_more(&self.failures) >= MOST_FAILURES
            || (is_write && one_more(&self.failed_writes) >= MOST_FAILED_WRITES);
        if let Some(error) = failure.filter(|_| lost) {
            let message = format!("the store fails again and again, last: {error}");
            self.lose(Error::new(ErrorKind::StoreUnavailable, "store", message));
        }
        outcome
    }

    async fn read<T>(&self, key: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.before_read(key)?;
        self.after(false, work.await)
    }

    async fn write<T>(&self, key: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.before_write(key)?;
        self.after(true, work.await)
    }
}

/// The error of a call that is not even tried, because the store is lost. The reason itself is reported once.
fn stopped(key: &str) -> Error {
    Error::new(ErrorKind::Interrupted, key, "stopped: the store failed before")
}

#[async_trait]
impl Store for GuardedStore {
    fn url(&self) -> &str {
        self.inner.url()
    }

    async fn preflight(&self) -> Result<()> {
        self.inner.preflight().await
    }

    fn address(&self) -> StoreAddress {
        self.inner.address()
    }

    async fn probe(&self) -> Result<Dialect> {
        self.inner.probe().await
    }

    fn speak(&self, dialect: Dialect) {
        self.inner.speak(dialect);
    }

    fn shortcomings(&self) -> Vec<Shortcoming> {
        self.inner.shortcomings()
    }

    async fn get(&self, key: &str) -> Result<StoredObject> {
        self.health.read(key, self.inner.get(key)).await
    }

    async fn read(&self, key: &str) -> Result<Bytes> {
        self.health.read(key, self.inner.read(key)).await
    }

    async fn get_within(&self, key: &str, most: u64) -> Result<StoredObject> {
        self.health.read(key, self.inner.get_within(key, most)).await
    }

    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes> {
        self.health
            .read(key, self.inner.get_range(key, offset, length))
            .await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        self.health.read(key, self.inner.size(key)).await
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        self.health
            .write(key, self.inner.put(key, bytes, condition))
            .await
    }

    async fn put_relaxed(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.health.write(key, self.inner.put_relaxed(key, bytes)).await
    }

    async fn sync(&self) -> Result<()> {
        self.health.before_write("store")?;
        match self.inner.sync().await {
            // This does not prove that the store is well, because there may have been nothing to sync.
            Ok(()) => Ok(()),
            failed => self.health.after(true, failed),
        }
    }

    async fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.health.write(to, self.inner.copy(from, to)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>> {
        self.health.read(prefix, self.inner.list(prefix)).await
    }

    async fn has_any(&self, prefix: &str) -> Result<bool> {
        self.health.read(prefix, self.inner.has_any(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.health.write(key, self.inner.delete(key)).await
    }

    async fn remove_old_versions(&self, prefix: &str) -> Result<Option<u64>> {
        self.health
            .write(prefix, self.inner.remove_old_versions(prefix))
            .await
    }

    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>> {
        let inner = self.health.write(key, self.inner.upload(key, options)).await?;
        Ok(Box::new(GuardedUpload {
            inner,
            key: key.into(),
            health: self.health(),
        }))
    }

    async fn resume(&self, key: &str) -> Result<Option<Resumed>> {
        let resumed = self.health.write(key, self.inner.resume(key)).await?;
        Ok(resumed.map(|resumed| match resumed {
            Resumed::Open(inner) => Resumed::Open(Box::new(GuardedUpload {
                inner,
                key: key.into(),
                health: self.health(),
            })),
            whole @ Resumed::Whole(_) => whole,
        }))
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        self.health
            .write(&upload.key, self.inner.abort_upload(upload))
            .await
    }

    async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        self.health
            .read(prefix, self.inner.unfinished_uploads(prefix))
            .await
    }
}

struct GuardedUpload {
    inner: Box<dyn Upload>,
    key: String,
    health: Arc<StoreHealth>,
}

#[async_trait]
impl Upload for GuardedUpload {
    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn source(&self) -> &Source {
        self.inner.source()
    }

    fn boxes(&self) -> BoxWalker {
        self.inner.boxes()
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        // A piece that was taken does not prove that the store is well, because not every piece is sent at once.
        self.health.before_write(&self.key)?;
        match self.inner.write(chunk).await {
            Ok(()) => Ok(()),
            failed => self.health.after(true, failed),
        }
    }

    async fn complete(self: Box<Self>) -> Result<Uploaded> {
        self.health.write(&self.key, self.inner.complete()).await
    }

    async fn keep(self: Box<Self>) -> Result<()> {
        // Also for a lost store, because the next run can resume whatever is kept.
        self.inner.keep().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        // Also for a lost store, because its space may still be freed.
        self.inner.abort().await
    }
}
