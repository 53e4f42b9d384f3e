//! Uploads that earlier processes left: finds them, tells them from those of living processes, and resumes or aborts them.
//!
//! The order of requests makes this safe without clocks: a checkpoint is written before its upload is created, and uploads
//! are listed here before checkpoints. So an upload without a checkpoint has no driver.

use std::collections::HashSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Duration, Instant};

use super::S3Store;
use super::multipart::{self, Listed};
use super::upload::{S3Upload, finish_stored};
use crate::store::checkpoint::{Checkpoint, Part, StoredCheckpoint, UPLOADS, checkpoints_of};
use crate::store::claim::{Claim, Driver};
use crate::store::keeper::{CheckpointStore, Keeper};
use crate::store::{Condition, OptionalExt, Resumed, Store, Unfinished};
use crate::{ErrorKind, Result};

/// Checkpoints read at once.
const READ_AT_ONCE: usize = 8;
/// The pause between two looks at a checkpoint that is watched for a sign of life.
const LOOK: Duration = Duration::from_secs(2);

/// See [`Store::resume`].
pub(super) async fn resume(store: &S3Store, key: &str) -> Result<Option<Resumed>> {
    let mut left = checkpoints(store, &checkpoints_of(key)).await?;
    left.sort_by_key(StoredCheckpoint::furthest_first);
    let mut resumed = None;
    for stored in left {
        if resumed.is_none() {
            resumed = take_over(store, stored).await?;
        } else if driver(store, &stored) == Driver::Dead {
            discard(store, &stored).await?;
        }
    }
    Ok(resumed)
}

/// Reads all checkpoints whose keys start with `prefix`.
async fn checkpoints(store: &S3Store, prefix: &str) -> Result<Vec<StoredCheckpoint>> {
    let entries = store.list(prefix).await?;
    let read = stream::iter(entries).map(|entry| async move {
        // A missing one is of an upload that has ended meanwhile.
        let found = store.get(&entry.key).await.optional()?;
        Ok(found.map(|found| StoredCheckpoint {
            content: Checkpoint::parse(&found.bytes).filter(|content| content.own_key() == entry.key),
            key: entry.key,
            version: found.version,
            modified: entry.modified,
        }))
    });
    read.buffered(READ_AT_ONCE)
        .try_filter_map(|stored| std::future::ready(Ok(stored)))
        .try_collect()
        .await
}

fn driver(store: &S3Store, stored: &StoredCheckpoint) -> Driver {
    match &stored.content {
        Some(checkpoint) => store.lease.driver(checkpoint, stored.modified),
        // Readers see whole objects only, so a damaged one is no checkpoint of a living process of this version.
        None => Driver::Dead,
    }
}

/// True if nobody drives an upload. Watches its checkpoint for a while if the driver may live on another machine.
async fn is_left(store: &S3Store, stored: &StoredCheckpoint) -> Result<bool> {
    let known = driver(store, stored);
    if known != Driver::Unknown {
        return Ok(known == Driver::Dead);
    }
    let lease = store.lease;
    let until = Instant::now() + lease.watch;
    while Instant::now() < until {
        tokio::time::sleep(LOOK.min(lease.watch)).await;
        let found = store.get(&stored.key).await.optional()?;
        if found.is_none_or(|found| found.version != stored.version) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes an upload over to resume it, or aborts it if it can't be resumed.
async fn take_over(store: &S3Store, stored: StoredCheckpoint) -> Result<Option<Resumed>> {
    let Some(checkpoint) = stored.content.clone() else {
        store.delete(&stored.key).await?;
        return Ok(None);
    };
    if let Some(uploaded) = checkpoint.uploaded(&stored.key)
        && multipart::is_made_by(store, &checkpoint.key, &checkpoint.id, uploaded.bytes).await?
    {
        return Ok(Some(Resumed::Whole(uploaded)));
    }
    if !is_left(store, &stored).await? {
        return Ok(None);
    }
    let beat = Some(store.lease.beat);
    let keeper = match Keeper::claim(store, checkpoint.clone(), Some(stored.version), beat).await {
        Ok(keeper) => keeper,
        // Another process was first, to resume it or to end it.
        Err(error) if matches!(error.kind(), ErrorKind::Precondition | ErrorKind::StoreNotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let (Some(id), Some(digester)) = (checkpoint.upload.clone(), checkpoint.digester()) else {
        return end(store, &checkpoint, keeper).await;
    };
    let on_server = multipart::parts(store, &checkpoint.key, &id).await?;
    let usable = checkpoint.part_size == store.part_size() as u64 && !checkpoint.parts.is_empty();
    if !usable || !on_server.is_some_and(|parts| agree(&checkpoint.parts, &parts)) {
        let bytes = checkpoint.bytes;
        tracing::warn!(
            key = checkpoint.key,
            bytes,
            "the upload of an earlier run can't be resumed, so it begins anew"
        );
        return end(store, &checkpoint, keeper).await;
    }
    if let Some(uploaded) = checkpoint.uploaded(&stored.key) {
        let whole = finish_stored(store, &id, keeper, checkpoint.parts, uploaded).await?;
        return Ok(Some(Resumed::Whole(whole)));
    }
    let upload = S3Upload::resumed(store.clone(), id, keeper, digester);
    Ok(Some(Resumed::Open(Box::new(upload))))
}

/// True if the server has the very parts that the checkpoint knows. It may have others: of a process that died before its
/// checkpoint named them. The next process sends these again, and some servers then list both. Quotes of an ETag don't count,
/// because some servers leave them out in a listing.
fn agree(known: &[Part], stored: &[Part]) -> bool {
    fn plain(part: &Part) -> (i32, &str, u64) {
        (part.number, part.etag.trim_matches('"'), part.bytes)
    }
    let stored: HashSet<_> = stored.iter().map(plain).collect();
    known.iter().all(|part| stored.contains(&plain(part)))
}

/// Aborts an upload that was just claimed.
async fn end(store: &S3Store, checkpoint: &Checkpoint, keeper: Keeper<S3Store>) -> Result<Option<Resumed>> {
    let key = keeper.key().to_owned();
    let (ours, claim) = keeper.stop().await?;
    if ours {
        if let Some(id) = &checkpoint.upload {
            multipart::abort(store, &checkpoint.key, id).await?;
        }
        store.delete(&key).await?;
    }
    claim.end();
    Ok(None)
}

/// Aborts an upload that a dead process left, unless another process takes it over at this moment.
async fn discard(store: &S3Store, stored: &StoredCheckpoint) -> Result<()> {
    let Some(mut checkpoint) = stored.content.clone() else {
        return store.delete(&stored.key).await;
    };
    // Claim it first, so that nobody resumes an upload that is being aborted.
    let claim = Claim::new();
    let before = checkpoint.driver.replace(claim.id.clone());
    let condition = Condition::Unchanged(stored.version.clone());
    let claiming = store.put_checkpoint(&stored.key, checkpoint.to_bytes(), condition);
    if let Err(error) = claiming.await {
        claim.end();
        return match error.kind() {
            ErrorKind::Precondition | ErrorKind::StoreNotFound => Ok(()),
            _ => Err(error),
        };
    }
    if let Some(id) = &checkpoint.upload {
        multipart::abort(store, &checkpoint.key, id).await?;
    }
    store.delete(&stored.key).await?;
    claim.end();
    if let Some(driver) = before {
        Claim::forget(&driver);
    }
    Ok(())
}

/// See [`Store::unfinished_uploads`].
pub(super) async fn unfinished(store: &S3Store, prefix: &str) -> Result<Vec<Unfinished>> {
    let uploads = multipart::list(store, prefix).await?;
    let mut checkpoints = checkpoints(store, UPLOADS).await?;
    checkpoints.retain(|stored| {
        let content = stored.content.as_ref();
        content.is_none_or(|content| content.key.starts_with(prefix))
    });
    let mut found: Vec<_> = uploads
        .into_iter()
        .map(|upload| with_checkpoint(store, upload, &mut checkpoints))
        .collect();
    // If a checkpoint does not name its upload yet, the listed upload stands for both.
    checkpoints.retain(|stored| {
        let unnamed = stored.content.as_ref().filter(|content| content.upload.is_none());
        let is_listed = |key: &str| found.iter().any(|upload| upload.driven && upload.key == key);
        unnamed.is_none_or(|content| driver(store, stored) == Driver::Dead || !is_listed(&content.key))
    });
    found.extend(checkpoints.into_iter().map(|stored| {
        let content = stored.content.as_ref();
        // An upload with a receipt is over, whoever wrote the receipt.
        let is_over = content.is_some_and(|content| content.finished.is_some());
        Unfinished {
            driven: !is_over && driver(store, &stored) != Driver::Dead,
            key: stored.object_key().to_owned(),
            upload: None,
            checkpoint: Some(stored),
        }
    }));
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// A listed upload with its checkpoint, which is taken out of `checkpoints`.
fn with_checkpoint(store: &S3Store, upload: Listed, checkpoints: &mut Vec<StoredCheckpoint>) -> Unfinished {
    let names = |stored: &StoredCheckpoint| {
        let content = stored.content.as_ref();
        content.is_some_and(|content| content.upload.as_ref() == Some(&upload.id))
    };
    let at = checkpoints.iter().position(names);
    let checkpoint = at.map(|at| checkpoints.swap_remove(at));
    let driven = match &checkpoint {
        Some(stored) => driver(store, stored) != Driver::Dead,
        // Perhaps its checkpoint does not name it yet.
        None => checkpoints.iter().any(|stored| {
            let unnamed = |content: &Checkpoint| content.key == upload.key && content.upload.is_none();
            stored.content.as_ref().is_some_and(unnamed) && driver(store, stored) != Driver::Dead
        }),
    };
    Unfinished {
        key: upload.key,
        driven,
        upload: Some(upload.id),
        checkpoint,
    }
}

/// See [`Store::abort_upload`].
pub(super) async fn abort(store: &S3Store, upload: &Unfinished) -> Result<()> {
    if upload.driven {
        return Ok(());
    }
    match (&upload.checkpoint, &upload.upload) {
        (Some(stored), _) => discard(store, stored).await,
        (None, Some(id)) => multipart::abort(store, &upload.key, id).await,
        (None, None) => Ok(()),
    }
}
