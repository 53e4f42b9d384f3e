//! Uploads that earlier processes left: found, told from those of living ones, gone on with or aborted.
//!
//! The order of requests makes this safe without clocks: a checkpoint is written before its upload is created, and
//! here uploads are listed before checkpoints. So an upload that no checkpoint accounts for has no driver.

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Duration, Instant};

use super::S3Store;
use super::multipart::{self, Listed};
use super::upload::{S3Upload, finish_stored};
use crate::store::checkpoint::{Checkpoint, Part, UPLOADS, notes_of};
use crate::store::claim::{self, Claim, Driver};
use crate::store::keeper::{Keeper, Notes};
use crate::store::upload::Note;
use crate::store::{Condition, Resumed, Store, Unfinished, Uploaded};
use crate::{ErrorKind, Result};

/// Checkpoints read at once.
const READ_AT_ONCE: usize = 8;
/// How often a checkpoint is looked at while it is watched for a sign of life.
const LOOK: Duration = Duration::from_secs(2);

/// Goes on with what dead processes left of `key`: see [`Store::resume`].
pub(super) async fn resume(store: &S3Store, key: &str) -> Result<Option<Resumed>> {
    let mut left = notes(store, &notes_of(key)).await?;
    // What is furthest first: it is the one to go on with.
    left.sort_by_key(|note| {
        let checkpoint = note.checkpoint.as_ref();
        std::cmp::Reverse(checkpoint.map(|found| (found.finished.is_some(), found.bytes)))
    });
    let mut resumed = None;
    for note in left {
        if resumed.is_none() {
            resumed = take_up(store, note).await?;
        } else if driver(store, &note) == Driver::Dead {
            discard(store, &note).await?;
        }
    }
    Ok(resumed)
}

/// All checkpoints whose keys begin so.
async fn notes(store: &S3Store, prefix: &str) -> Result<Vec<Note>> {
    let entries = store.list(prefix).await?;
    let notes = stream::iter(entries)
        .map(|entry| async move {
            match store.get(&entry.key).await {
                Ok(found) => Ok(Some(Note {
                    checkpoint: Checkpoint::parse(&found.bytes)
                        .filter(|checkpoint| checkpoint.note_key() == entry.key),
                    key: entry.key,
                    version: found.version,
                    modified: entry.modified,
                })),
                // Its upload has ended meanwhile.
                Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffered(READ_AT_ONCE);
    notes
        .try_filter_map(|note| std::future::ready(Ok(note)))
        .try_collect()
        .await
}

fn driver(store: &S3Store, note: &Note) -> Driver {
    match &note.checkpoint {
        Some(checkpoint) => store.lease.driver(checkpoint, note.modified),
        // Whole objects only: what can't be read is no checkpoint of a living process of this version.
        None => Driver::Dead,
    }
}

/// Whether nobody drives an upload; watches it for a while where only time can tell.
async fn is_left(store: &S3Store, note: &Note) -> Result<bool> {
    let known = driver(store, note);
    if known != Driver::Unknown {
        return Ok(known == Driver::Dead);
    }
    let lease = store.lease;
    let until = Instant::now() + lease.watch;
    while Instant::now() < until {
        tokio::time::sleep(LOOK.min(lease.watch)).await;
        match store.get(&note.key).await {
            Ok(found) if found.version == note.version => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::StoreNotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Goes on with one upload, or gives it up where it can't be gone on with.
async fn take_up(store: &S3Store, note: Note) -> Result<Option<Resumed>> {
    let Some(checkpoint) = note.checkpoint.clone() else {
        store.delete(&note.key).await?;
        return Ok(None);
    };
    if let Some(uploaded) = uploaded(&note.key, &checkpoint)
        && multipart::is_made_by(store, &checkpoint.key, &checkpoint.id, uploaded.bytes).await?
    {
        return Ok(Some(Resumed::Whole(uploaded)));
    }
    if !is_left(store, &note).await? {
        return Ok(None);
    }
    let beat = Some(store.lease.beat);
    let keeper = match Keeper::claim(store, checkpoint.clone(), Some(note.version), beat).await {
        Ok(keeper) => keeper,
        // Another process was first, to go on with it or to end it.
        Err(error) if matches!(error.kind(), ErrorKind::Precondition | ErrorKind::StoreNotFound) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let (Some(id), Some(digester)) = (checkpoint.upload.clone(), checkpoint.digester()) else {
        return end(store, &checkpoint, keeper).await;
    };
    let stored = multipart::parts(store, &checkpoint.key, &id).await?;
    let usable = checkpoint.part_size == store.part_size() as u64 && !checkpoint.parts.is_empty();
    if !usable || !stored.is_some_and(|stored| agree(&checkpoint.parts, &stored)) {
        let bytes = checkpoint.bytes;
        tracing::warn!(
            key = checkpoint.key,
            bytes,
            "what an earlier run has uploaded can't be gone on with: it begins anew"
        );
        return end(store, &checkpoint, keeper).await;
    }
    if let Some(uploaded) = uploaded(&note.key, &checkpoint) {
        let whole = finish_stored(store, &id, keeper, checkpoint.parts, uploaded).await?;
        return Ok(Some(Resumed::Whole(whole)));
    }
    let upload = S3Upload::resumed(store.clone(), id, keeper, digester);
    Ok(Some(Resumed::Open(Box::new(upload))))
}

/// What a last checkpoint says of the object.
fn uploaded(note: &str, checkpoint: &Checkpoint) -> Option<Uploaded> {
    Some(Uploaded {
        bytes: checkpoint.bytes,
        sha256: checkpoint.finished.clone()?,
        source: checkpoint.source.clone(),
        receipt: Some(note.to_owned()),
    })
}

/// Whether the server has the very parts that the checkpoint knows, from the first one on. Servers differ in whether
/// they quote an ETag in a listing.
fn agree(known: &[Part], stored: &[Part]) -> bool {
    let plain = |part: &Part| (part.number, part.etag.trim_matches('"').to_owned(), part.bytes);
    known.len() <= stored.len() && known.iter().zip(stored).all(|(a, b)| plain(a) == plain(b))
}

/// Gives up an upload that was just claimed.
async fn end(store: &S3Store, checkpoint: &Checkpoint, keeper: Keeper<S3Store>) -> Result<Option<Resumed>> {
    let note = keeper.key().to_owned();
    let (ours, claim) = keeper.stop().await?;
    if ours {
        if let Some(id) = &checkpoint.upload {
            multipart::abort(store, &checkpoint.key, id).await?;
        }
        store.delete(&note).await?;
    }
    claim.end();
    Ok(None)
}

/// Gives up what a dead process left, unless another one takes it up at this moment.
async fn discard(store: &S3Store, note: &Note) -> Result<()> {
    let Some(mut checkpoint) = note.checkpoint.clone() else {
        return store.delete(&note.key).await;
    };
    // Claimed, so that nobody goes on with what is being taken away.
    let claim = Claim::new();
    let before = checkpoint.driver.replace(claim.id.clone());
    let condition = Condition::Unchanged(note.version.clone());
    match store.note(&note.key, checkpoint.to_bytes(), condition).await {
        Ok(_) => {}
        Err(error) => {
            claim.end();
            return match error.kind() {
                ErrorKind::Precondition | ErrorKind::StoreNotFound => Ok(()),
                _ => Err(error),
            };
        }
    }
    if let Some(id) = &checkpoint.upload {
        multipart::abort(store, &checkpoint.key, id).await?;
    }
    store.delete(&note.key).await?;
    claim.end();
    if let Some(driver) = before {
        claim::forget(&driver);
    }
    Ok(())
}

/// All uploads of keys below `prefix`: see [`Store::unfinished_uploads`].
pub(super) async fn unfinished(store: &S3Store, prefix: &str) -> Result<Vec<Unfinished>> {
    let uploads = multipart::list(store, prefix).await?;
    let mut notes = notes(store, UPLOADS).await?;
    notes.retain(|note| {
        let key = note.checkpoint.as_ref().map(|checkpoint| &*checkpoint.key);
        key.is_none_or(|key| key.starts_with(prefix))
    });
    let mut found: Vec<_> = uploads
        .into_iter()
        .map(|upload| of(store, upload, &mut notes))
        .collect();
    // A checkpoint that does not name its upload yet: the upload stands for both.
    notes.retain(|note| {
        let key = note.checkpoint.as_ref().filter(|found| found.upload.is_none());
        let listed = |key: &str| found.iter().any(|upload| upload.driven && upload.key == key);
        key.is_none_or(|checkpoint| driver(store, note) == Driver::Dead || !listed(&checkpoint.key))
    });
    found.extend(notes.into_iter().map(|note| {
        let checkpoint = note.checkpoint.as_ref();
        // A receipt's upload is over, whoever wrote it.
        let over = checkpoint.is_some_and(|checkpoint| checkpoint.finished.is_some());
        Unfinished {
            driven: !over && driver(store, &note) != Driver::Dead,
            key: checkpoint.map_or(&note.key, |found| &found.key).clone(),
            upload: None,
            note: Some(note),
        }
    }));
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// A listed upload with its checkpoint, which is taken out of `notes`.
fn of(store: &S3Store, upload: Listed, notes: &mut Vec<Note>) -> Unfinished {
    let named =
        |note: &Note| note.checkpoint.as_ref().and_then(|found| found.upload.as_ref()) == Some(&upload.id);
    let note = notes.iter().position(named).map(|at| notes.swap_remove(at));
    let driven = match &note {
        Some(note) => driver(store, note) != Driver::Dead,
        // Perhaps one whose checkpoint does not have its name yet.
        None => notes.iter().any(|note| {
            let unnamed = |found: &Checkpoint| found.key == upload.key && found.upload.is_none();
            note.checkpoint.as_ref().is_some_and(unnamed) && driver(store, note) != Driver::Dead
        }),
    };
    Unfinished {
        key: upload.key,
        driven,
        upload: Some(upload.id),
        note,
    }
}

/// See [`Store::abort_upload`].
pub(super) async fn abort(store: &S3Store, upload: &Unfinished) -> Result<()> {
    if upload.driven {
        return Ok(());
    }
    match (&upload.note, &upload.upload) {
        (Some(note), _) => discard(store, note).await,
        (None, Some(id)) => multipart::abort(store, &upload.key, id).await,
        (None, None) => Ok(()),
    }
}
