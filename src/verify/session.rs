//! What one verification works with: the store, what is listed, and what has been seen and found so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use chrono::NaiveDate;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::Options;
use super::finding::{Counts, Finding, Kind};
use super::inventory::{Dates, Inventory};
use crate::ids::SpaceId;
use crate::mp4::BoxWalker;
use crate::pipeline::run_context::RunContext;
use crate::store::Version;
use crate::store::json::newer_version;
use crate::tables::RowKey;
use crate::{Error, ErrorKind, Result};

/// Bytes of an object that are in memory at once while it is hashed.
const PIECE: usize = 4 << 20;
/// Objects read at once; what is in memory is this times a piece, or a table's file.
const READS_AT_ONCE: usize = 8;

/// See the module.
pub(crate) struct Verification {
    pub run: Arc<RunContext>,
    pub options: Options,
    pub inventory: Mutex<Inventory>,
    reads: Semaphore,
    seen: Mutex<Seen>,
}

/// What has been seen and found.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub counts: Counts,
    pub findings: Vec<Finding>,
    /// Where each call and record lies: what it is, its space and id, and its dates.
    pub ids: BTreeMap<(Thing, SpaceId, String), Vec<NaiveDate>>,
    /// The files whose rows were read.
    pub files: Vec<SeenFile>,
    /// The keys of their rows, by table, with the file's number.
    pub rows: BTreeMap<String, Vec<(RowKey, u32)>>,
}

impl Seen {
    /// Notes the keys of a file's rows.
    pub fn note_rows(&mut self, table: String, file: SeenFile, keys: Vec<RowKey>) {
        let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.files.push(file);
        let rows = self.rows.entry(table).or_default();
        rows.extend(keys.into_iter().map(|key| (key, number)));
    }
}

/// A call or a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Call,
    Record,
}

/// A table's file whose rows were read.
#[derive(Debug, Clone)]
pub(crate) struct SeenFile {
    pub key: String,
    /// Its day; none for one of rooms or spaces.
    pub date: Option<NaiveDate>,
    /// Its space; none for one of lesson data.
    pub space: Option<SpaceId>,
}

/// What an object's bytes are, read piece by piece.
pub(crate) struct Digested {
    pub sha256: String,
    /// The MP4 boxes among them.
    pub boxes: BoxWalker,
}

/// One of the program's own objects, as it was read.
pub(crate) enum Read<T> {
    There(T, Version),
    Missing,
    /// It is there, and can't be understood: why.
    Damaged(String),
    /// It is there, of a version that this program does not know.
    Newer(u64),
    /// The store does not give it: why.
    Unreadable(String),
}

impl Verification {
    pub fn new(run: Arc<RunContext>, options: Options, inventory: Inventory) -> Self {
        Self {
            run,
            options,
            inventory: Mutex::new(inventory),
            reads: Semaphore::new(READS_AT_ONCE),
            seen: Mutex::default(),
        }
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn dates(&self) -> Dates {
        Dates {
            from: self.options.from,
            to: self.options.to,
        }
    }

    pub fn find(&self, finding: Finding) {
        let mut seen = self.seen();
        if !seen.findings.contains(&finding) {
            seen.findings.push(finding);
        }
    }

    /// Whether tables' bytes are read.
    pub fn reads_tables(&self) -> bool {
        self.options.deep || self.options.rebuild
    }

    /// The size that an object has: by the listing, or, where that is not the one it should be, now.
    pub async fn size(&self, key: &str, expected: Option<u64>) -> Result<Option<u64>> {
        match self.inventory().take(key) {
            listed @ Some(size) if expected.is_none_or(|expected| expected == size) => return Ok(listed),
            _ => {}
        }
        self.run.store.size(key).await
    }

    /// Reads and parses one of the program's own objects.
    pub async fn json<T: DeserializeOwned>(&self, key: &str) -> Result<Read<T>> {
        match self.run.store.get(key).await {
            Ok(object) => Ok(match serde_json::from_slice(&object.bytes) {
                Ok(value) => Read::There(value, object.version),
                Err(error) => match newer_version(key, &object.bytes) {
                    Some(version) => Read::Newer(version),
                    // Where, and no more: what it says there may be personal.
                    None => Read::Damaged(format!(
                        "no JSON of it, from line {} column {} on",
                        error.line(),
                        error.column()
                    )),
                },
            }),
            Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(Read::Missing),
            Err(error) => Ok(Read::Unreadable(of_one_object(error)?)),
        }
    }

    /// A table's whole file.
    pub async fn whole(&self, key: &str) -> Result<Bytes> {
        let _permit = self.reads.acquire().await;
        self.unless_stopped()?;
        let bytes = self.run.store.get(key).await?.bytes;
        self.note_read(bytes.len() as u64);
        Ok(bytes)
    }

    /// Reads an object piece by piece, and tells what it is.
    pub async fn digest(&self, key: &str) -> Result<Digested> {
        let _permit = self.reads.acquire().await;
        let (mut hasher, mut bytes, mut boxes) = (Sha256::new(), 0, BoxWalker::default());
        loop {
            self.unless_stopped()?;
            let piece = self.run.store.get_range(key, bytes, PIECE).await?;
            let length = piece.len();
            bytes += length as u64;
            self.note_read(length as u64);
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

    fn note_read(&self, bytes: u64) {
        self.seen().counts.bytes_read += bytes;
        self.run.progress.recorded_bytes.advance(bytes);
    }

    pub fn unless_stopped(&self) -> Result<()> {
        match self.run.cancel.is_cancelled() {
            true => Err(Error::new(ErrorKind::Interrupted, "verify", "stopped")),
            false => Ok(()),
        }
    }
}

/// Takes a piece into the hash, where that holds nobody up.
async fn hashed(mut hasher: Sha256, piece: Bytes) -> Result<Sha256> {
    tokio::task::spawn_blocking(move || {
        hasher.update(&piece);
        hasher
    })
    .await
    .map_err(|error| Error::new(ErrorKind::Internal, "verify", error.to_string()))
}

/// What is wrong with one object of a store that is there; an error where it is the store itself, or the work is
/// stopped.
pub(crate) fn of_one_object(error: Error) -> Result<String> {
    match error.kind() {
        ErrorKind::StoreUnavailable | ErrorKind::Interrupted | ErrorKind::Internal => Err(error),
        _ => Ok(error.message().to_owned()),
    }
}

/// A finding about an object that the store does not give.
pub(crate) fn unreadable(key: &str, why: &str) -> Finding {
    Finding::new(Kind::Unreadable, key).differs("bytes", why)
}
