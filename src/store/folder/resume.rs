//! Uploads that earlier processes left in a folder: finds them by their temporary files and checkpoints, tells them from
//! those of living processes by the lock on the file, and resumes or removes them. Blocks; called from a thread.
//!
//! Neither a checkpoint nor its file is synced before the end, so a crash of the machine may damage them. Therefore the file
//! is read here, and must have the hash that the checkpoint names.

use std::fs::{self, File};
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::temp::{self, FileLock, TakenOver, Temp};
use super::{FolderStore, failed, is_missing, version};
use crate::Result;
use crate::store::checkpoint::{Checkpoint, Digester, StoredCheckpoint, UPLOADS, checkpoints_of};
use crate::store::claim::{Claim, Driver, UploadLease};
use crate::store::{Unfinished, Uploaded};

/// An upload that an earlier process left.
pub(super) enum LeftUpload {
    /// Its file has the bytes that the checkpoint names, and the digester has seen them.
    Open(Temp, Digester, Box<Checkpoint>),
    /// All of it lies under its key.
    Whole(Uploaded),
}

/// Takes over the furthest upload of `key` that nobody holds, and removes the others.
pub(super) fn resume(store: &FolderStore, key: &str) -> Result<Option<LeftUpload>> {
    let mut checkpoints = checkpoints(store, &checkpoints_of(key))?;
    checkpoints.sort_by_key(StoredCheckpoint::furthest_first);
    let mut left = None;
    for stored in checkpoints {
        if left.is_none() {
            left = take_over(store, &stored)?;
        } else {
            discard(store, &stored)?;
        }
    }
    Ok(left)
}

fn take_over(store: &FolderStore, stored: &StoredCheckpoint) -> Result<Option<LeftUpload>> {
    let Some(checkpoint) = &stored.content else {
        remove_checkpoint(store, stored)?;
        return Ok(None);
    };
    let key = &checkpoint.key;
    let taken = Temp::take_over(store, key, &checkpoint.id, |lock| is_left(lock, stored));
    match taken.map_err(|error| failed(key, &error))? {
        TakenOver::No => Ok(None),
        TakenOver::Yes(temp) => open(store, stored, temp),
        TakenOver::Missing => named(store, stored, checkpoint),
    }
}

/// Opens an upload whose file nobody else holds.
fn open(store: &FolderStore, stored: &StoredCheckpoint, mut temp: Temp) -> Result<Option<LeftUpload>> {
    // Read the checkpoint again now that the file is ours, because its last holder may have written once more.
    let current = read_checkpoint(store, stored.key.clone())?.and_then(|stored| stored.content);
    let Some(checkpoint) = current.filter(|checkpoint| checkpoint.bytes > 0) else {
        return remove_both(store, stored, temp);
    };
    let mut digester = Digester::default();
    let rewound = temp.rewind(checkpoint.bytes, |piece| digester.update(piece));
    let rewound = rewound.map_err(|error| failed(&checkpoint.key, &error))?;
    let sha256 = || digester.clone().sha256();
    match checkpoint.uploaded(&stored.key) {
        Some(whole) if rewound && sha256() == whole.sha256 => {
            // Only the name was missing.
            temp.publish(store, &store.path(&checkpoint.key)?, || Ok(()))?;
            Ok(Some(LeftUpload::Whole(whole)))
        }
        None if rewound && checkpoint.is_at(&digester) => {
            Ok(Some(LeftUpload::Open(temp, digester, Box::new(checkpoint))))
        }
        _ => remove_both(store, stored, temp),
    }
}

/// The upload of a checkpoint without a file. The checkpoint is a receipt if the object has the hash that it names, which
/// is proved by reading the object.
fn named(
    store: &FolderStore,
    stored: &StoredCheckpoint,
    checkpoint: &Checkpoint,
) -> Result<Option<LeftUpload>> {
    if let Some(whole) = checkpoint.uploaded(&stored.key)
        && sha256_of(store, &checkpoint.key)?.as_ref() == Some(&whole.sha256)
    {
        return Ok(Some(LeftUpload::Whole(whole)));
    }
    remove_checkpoint(store, stored)?;
    Ok(None)
}

fn sha256_of(store: &FolderStore, key: &str) -> Result<Option<String>> {
    let hashed = File::open(store.path(key)?).and_then(|mut file| {
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex::encode(hasher.finalize())),
                read => hasher.update(&buffer[..read]),
            }
        }
    });
    match hashed {
        Ok(sha256) => Ok(Some(sha256)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failed(key, &error)),
    }
}

/// True if nobody writes to a file any more. Without locks, the checkpoint's driver and age decide.
fn is_left(lock: FileLock, stored: &StoredCheckpoint) -> bool {
    let lease = UploadLease::default();
    match lock {
        FileLock::Held => false,
        FileLock::Free => true,
        FileLock::Unknown => {
            let content = stored.content.as_ref();
            content.is_some_and(|content| lease.driver(content, stored.modified) == Driver::Dead)
        }
    }
}

/// Reads all checkpoints whose keys start with `prefix`.
fn checkpoints(store: &FolderStore, prefix: &str) -> Result<Vec<StoredCheckpoint>> {
    let with_key = |error: io::Error| failed(UPLOADS, &error);
    let entries = match fs::read_dir(store.root.join(UPLOADS)) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        entries => entries.map_err(with_key)?,
    };
    let mut checkpoints = Vec::new();
    for entry in entries {
        let Ok(name) = entry.map_err(with_key)?.file_name().into_string() else {
            continue;
        };
        let key = format!("{UPLOADS}{name}");
        if key.starts_with(prefix) {
            checkpoints.extend(read_checkpoint(store, key)?);
        }
    }
    Ok(checkpoints)
}

/// Reads a checkpoint; none if it has been removed.
fn read_checkpoint(store: &FolderStore, key: String) -> Result<Option<StoredCheckpoint>> {
    let path = store.path(&key)?;
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(StoredCheckpoint {
            version: version(&bytes),
            modified: fs::metadata(&path)
                .and_then(|found| found.modified())
                .ok()
                .map(Into::into),
            content: Checkpoint::parse(&bytes).filter(|content| content.own_key() == key),
            key,
        })),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failed(&key, &error)),
    }
}

fn remove_both(store: &FolderStore, stored: &StoredCheckpoint, temp: Temp) -> Result<Option<LeftUpload>> {
    temp.remove(store).map_err(|error| failed(&stored.key, &error))?;
    remove_checkpoint(store, stored)?;
    Ok(None)
}

/// Removes a checkpoint, and the lock file of its last driver's claim.
fn remove_checkpoint(store: &FolderStore, stored: &StoredCheckpoint) -> Result<()> {
    let removed = store.delete_now(&stored.key);
    if let Some(driver) = stored
        .content
        .as_ref()
        .and_then(|content| content.driver.as_ref())
    {
        Claim::forget(driver);
    }
    removed
}

/// Removes an upload that nobody holds.
fn discard(store: &FolderStore, stored: &StoredCheckpoint) -> Result<()> {
    let Some(checkpoint) = &stored.content else {
        return remove_checkpoint(store, stored);
    };
    let wanted = |lock| is_left(lock, stored);
    if discard_file(store, &checkpoint.key, &checkpoint.id, wanted)? {
        remove_checkpoint(store, stored)?;
    }
    Ok(())
}

/// Removes a temporary file if `wanted` accepts its lock. Returns true if there is no such file any more.
fn discard_file(
    store: &FolderStore,
    key: &str,
    id: &str,
    wanted: impl FnOnce(FileLock) -> bool,
) -> Result<bool> {
    let with_key = |error: io::Error| failed(key, &error);
    match Temp::take_over(store, key, id, wanted).map_err(with_key)? {
        TakenOver::Yes(temp) => temp.remove(store).map_err(with_key).map(|()| true),
        TakenOver::Missing => Ok(true),
        TakenOver::No => Ok(false),
    }
}

/// Removes an upload that this process drives.
pub(super) fn remove(store: &FolderStore, checkpoint: &Checkpoint) -> Result<()> {
    if let Some(stored) = read_checkpoint(store, checkpoint.own_key())? {
        remove_checkpoint(store, &stored)?;
    }
    let wanted = |lock| lock != FileLock::Held;
    discard_file(store, &checkpoint.key, &checkpoint.id, wanted).map(drop)
}

/// See [`Store::unfinished_uploads`](crate::store::Store::unfinished_uploads).
pub(super) fn unfinished(store: &FolderStore, prefix: &str) -> Result<Vec<Unfinished>> {
    // List the files before the checkpoints: then a file without a checkpoint has none yet, and its writer holds it.
    let files = temp::all(store).map_err(|error| failed(prefix, &error))?;
    let mut checkpoints = checkpoints(store, UPLOADS)?;
    let mut found = Vec::new();
    for (key, id, lock) in files {
        let of_file = |stored: &StoredCheckpoint| {
            let content = stored.content.as_ref();
            content.is_some_and(|content| content.id == id)
        };
        let at = checkpoints.iter().position(of_file);
        let checkpoint = at.map(|at| checkpoints.swap_remove(at));
        let is_left = match &checkpoint {
            Some(stored) => is_left(lock, stored),
            None => lock == FileLock::Free,
        };
        found.push(Unfinished {
            key,
            driven: !is_left,
            upload: Some(id),
            checkpoint,
        });
    }
    found.extend(checkpoints.into_iter().map(|stored| Unfinished {
        key: stored.object_key().to_owned(),
        driven: false,
        upload: None,
        checkpoint: Some(stored),
    }));
    found.retain(|upload| upload.key.starts_with(prefix));
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// See [`Store::abort_upload`](crate::store::Store::abort_upload).
pub(super) fn abort(store: &FolderStore, upload: &Unfinished) -> Result<()> {
    match (&upload.checkpoint, &upload.upload) {
        _ if upload.driven => Ok(()),
        (Some(stored), _) => discard(store, stored),
        (None, Some(id)) => discard_file(store, &upload.key, id, |lock| lock == FileLock::Free).map(drop),
        (None, None) => Ok(()),
    }
}
