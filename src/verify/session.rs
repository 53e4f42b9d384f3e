//! The state of a verification: the store, its listing, and the findings so far.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chrono::NaiveDate;
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::VerifyOptions;
use super::finding::{Finding, FindingKind, VerifyCounts};
use super::inventory::{Dates, Inventory};
use crate::ids::SpaceId;
use crate::mp4::BoxWalker;
use crate::pipeline::lake_state::info::StoreInfo;
use crate::pipeline::run_context::RunContext;
use crate::store::json::newer_version;
use crate::store::{OptionalExt, Version};
use crate::tables::RowKey;
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// Bytes of an object in memory at once while it is hashed.
const PIECE: usize = 4 << 20;
/// Objects read at once. The memory is this times a piece, or a table's file.
const READS_AT_ONCE: usize = 8;

/// A verification that is going on.
pub(crate) struct Verification {
    pub run: Arc<RunContext>,
    pub options: VerifyOptions,
    pub inventory: Mutex<Inventory>,
    /// True if the tables of no single day were built under the present privacy policy: then they are compared.
    is_under_policy: AtomicBool,
    reads: Semaphore,
    results: Mutex<Results>,
}

/// The counts and findings so far, and the ids and rows in which duplicates are searched.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub counts: VerifyCounts,
    pub findings: Vec<Finding>,
    /// The dates of each call and record, by its kind, space and id.
    pub ids: BTreeMap<(ItemKind, SpaceId, String), Vec<NaiveDate>>,
    /// The rows of the table of days that the manifests give.
    pub day_rows: ExpectedRows,
    /// The files whose rows were read.
    pub files: Vec<CheckedFile>,
    /// The keys of their rows, by table, each with the number of its file.
    pub rows: BTreeMap<String, Vec<(RowKey, u32)>>,
}

impl Results {
    /// Adds the keys of a file's rows.
    pub fn note_rows(&mut self, table: String, file: CheckedFile, keys: Vec<RowKey>) {
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.files.push(file);
        let rows = self.rows.entry(table).or_default();
        rows.extend(keys.into_iter().map(|key| (key, number)));
    }
}

/// The digests of the rows of days that the manifests give, by space and date.
pub(crate) type ExpectedRows = BTreeMap<SpaceId, BTreeMap<NaiveDate, u64>>;

/// A call or a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ItemKind {
    Call,
    Record,
}

/// A table's file whose rows were read.
#[derive(Debug, Clone)]
pub(crate) struct CheckedFile {
    pub key: String,
    /// Its date; `None` for a table of rooms or spaces.
    pub date: Option<NaiveDate>,
    /// Its space; `None` for a table of lesson data.
    pub space: Option<SpaceId>,
}

/// The digest of an object, read piece by piece.
pub(crate) struct Digested {
    pub sha256: String,
    /// The MP4 boxes of its bytes.
    pub boxes: BoxWalker,
}

/// The outcome of reading one of the program's own objects.
pub(crate) enum ObjectRead<T> {
    Parsed(T, Version),
    Missing,
    /// It is there but can't be parsed, for this reason.
    Damaged(String),
    /// It is there, written by a newer version of the program.
    Newer(u64),
    /// The store does not give it, for this reason.
    Unreadable(String),
}

impl Verification {
    pub fn new(run: Arc<RunContext>, options: VerifyOptions, inventory: Inventory) -> Self {
        Self {
            run,
            options,
            inventory: Mutex::new(inventory),
            is_under_policy: true.into(),
            reads: Semaphore::new(READS_AT_ONCE),
            results: Mutex::default(),
        }
    }

    /// Notes under which privacy policy the tables of no single day were built.
    pub fn note_policy(&self, info: &StoreInfo) {
        let is_under = info.is_under(self.run.mapping.privacy());
        self.is_under_policy.store(is_under, Ordering::Relaxed);
    }

    /// True if these tables were built under the present policy.
    pub fn is_under_policy(&self) -> bool {
        self.is_under_policy.load(Ordering::Relaxed)
    }

    pub fn results(&self) -> MutexGuard<'_, Results> {
        self.results.lock()
    }

    pub fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock()
    }

    pub fn dates(&self) -> Dates {
        Dates {
            from: self.options.from,
            to: self.options.to,
        }
    }

    pub fn report(&self, finding: Finding) {
        let mut results = self.results();
        if !results.findings.contains(&finding) {
            results.findings.push(finding);
        }
    }

    /// True if the bytes of tables are read.
    pub fn reads_tables(&self) -> bool {
        self.options.deep || self.options.rebuild
    }

    /// The size of an object: from the listing, or from the store if the listing's is not the expected one.
    pub async fn size(&self, key: &str, expected: Option<u64>) -> Result<Option<u64>> {
        match self.inventory().take(key) {
            listed @ Some(size) if expected.is_none_or(|expected| expected == size) => return Ok(listed),
            _ => {}
        }
        self.run.store.size(key).await
    }

    /// Reads and parses one of the program's own objects.
    pub async fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<ObjectRead<T>> {
        match self.run.store.get(key).await.optional() {
            Ok(Some(object)) => Ok(match serde_json::from_slice(&object.bytes) {
                Ok(value) => ObjectRead::Parsed(value, object.version),
                Err(error) => match newer_version(key, &object.bytes) {
                    Some(version) => ObjectRead::Newer(version),
                    // Only the place: the text there may be personal.
                    None => ObjectRead::Damaged(format!(
                        "no valid JSON from line {} column {} on",
                        error.line(),
                        error.column()
                    )),
                },
            }),
            Ok(None) => Ok(ObjectRead::Missing),
            Err(error) => Ok(ObjectRead::Unreadable(object_error(error)?)),
        }
    }

    /// A table's whole file.
    pub async fn read_all(&self, key: &str) -> Result<Bytes> {
        let _permit = self.reads.acquire().await;
        self.check_stopped()?;
        let bytes = self.run.store.get(key).await?.bytes;
        self.count_read(bytes.len() as u64);
        Ok(bytes)
    }

    /// Reads an object piece by piece and digests it.
    pub async fn digest(&self, key: &str) -> Result<Digested> {
        let _permit = self.reads.acquire().await;
        let (mut hasher, mut bytes, mut boxes) = (Sha256::new(), 0, BoxWalker::default());
        loop {
            self.check_stopped()?;
            let piece = self.run.store.get_range(key, bytes, PIECE).await?;
            let length = piece.len();
            bytes += length as u64;
            self.count_read(length as u64);
            boxes.take(&piece);
            hasher = hashed(hasher, piece).await?;
            if length < PIECE {
                return Ok(Digested {
                    sha256: hex::encode(hasher.finalize()),
                    boxes,
                });
            }
        }
    }

    fn count_read(&self, bytes: u64) {
        self.results().counts.bytes_read += bytes;
        self.run.progress.recorded_bytes.advance(bytes);
    }

    pub fn check_stopped(&self) -> Result<()> {
        match self.run.cancel.is_cancelled() {
            true => Err(Error::new(ErrorKind::Interrupted, "verify", "stopped")),
            false => Ok(()),
        }
    }
}

/// Hashes a piece on a thread that may block.
async fn hashed(mut hasher: Sha256, piece: Bytes) -> Result<Sha256> {
    isolated_blocking("verify", move || {
        hasher.update(&piece);
        Ok(hasher)
    })
    .await
}

/// The message of an error about a single object. An error about the store itself, or a stop, stays an error.
pub(crate) fn object_error(error: Error) -> Result<String> {
    match error.kind() {
        ErrorKind::StoreUnavailable | ErrorKind::Interrupted | ErrorKind::Internal => Err(error),
        _ => Ok(error.message().to_owned()),
    }
}

/// The finding about an object that the store does not give.
pub(crate) fn unreadable(key: &str, why: &str) -> Finding {
    Finding::new(FindingKind::Unreadable, key).differs("bytes", why)
}
