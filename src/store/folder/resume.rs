//! Uploads that earlier processes left in a folder: found by their temporary files and checkpoints, told from living
//! ones by the lock on the file, gone on with or removed. Blocks; called from a thread of its own.
//!
//! Neither a checkpoint nor its file is synced before the end. What a crash of the machine left of them is found out
//! here: the file is read, and must give the hash that the checkpoint names.

use std::fs::{self, File};
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::temp::{self, Held, Taken, Temp};
use super::{FolderStore, failed, is_missing, version};
use crate::Result;
use crate::store::checkpoint::{Checkpoint, Digester, UPLOADS, notes_of};
use crate::store::claim::{self, Driver, Lease};
use crate::store::upload::Note;
use crate::store::{Unfinished, Uploaded};

/// What is found of an earlier upload.
pub(super) enum Found {
    /// Its file stands where the checkpoint says; the digester has seen its bytes.
    Open(Temp, Digester, Box<Checkpoint>),
    /// All of it lies under its key.
    Whole(Uploaded),
}

/// Finds what can be gone on with of `key`, and removes all else that nobody holds.
pub(super) fn resume(store: &FolderStore, key: &str) -> Result<Option<Found>> {
    let mut notes = notes(store, &notes_of(key))?;
    // What is furthest first: it is the one to go on with.
    notes.sort_by_key(|note| {
        let checkpoint = note.checkpoint.as_ref();
        std::cmp::Reverse(checkpoint.map(|found| (found.finished.is_some(), found.bytes)))
    });
    let mut found = None;
    for note in notes {
        found = match found {
            None => take_up(store, &note)?,
            found => {
                discard(store, &note)?;
                found
            }
        };
    }
    Ok(found)
}

fn take_up(store: &FolderStore, note: &Note) -> Result<Option<Found>> {
    let Some(checkpoint) = &note.checkpoint else {
        remove_note(store, note)?;
        return Ok(None);
    };
    let key = &checkpoint.key;
    let taken = Temp::take_up(store, key, &checkpoint.id, |held| is_left(held, note));
    match taken.map_err(|error| failed(key, &error))? {
        Taken::No => Ok(None),
        Taken::Yes(temp) => open(store, note, temp),
        Taken::Missing => named(store, note, checkpoint),
    }
}

/// Goes on with a file that nobody else holds.
fn open(store: &FolderStore, note: &Note, mut temp: Temp) -> Result<Option<Found>> {
    // Read again now that the file is ours: its last holder may have come a little further.
    let current = read_note(store, note.key.clone())?.and_then(|note| note.checkpoint);
    let Some(checkpoint) = current.filter(|checkpoint| checkpoint.bytes > 0) else {
        return remove_both(store, note, temp);
    };
    let mut digester = Digester::default();
    let rewound = temp.rewind(checkpoint.bytes, |piece| digester.update(piece));
    let rewound = rewound.map_err(|error| failed(&checkpoint.key, &error))?;
    let sha256 = || digester.clone().sha256();
    match uploaded(note, &checkpoint) {
        Some(whole) if rewound && sha256() == whole.sha256 => {
            // Only the name was missing.
            temp.publish(store, &store.path(&checkpoint.key)?, || Ok(()))?;
            Ok(Some(Found::Whole(whole)))
        }
        None if rewound && checkpoint.is_at(&digester) => {
            Ok(Some(Found::Open(temp, digester, Box::new(checkpoint))))
        }
        _ => remove_both(store, note, temp),
    }
}

/// A checkpoint without its file is a receipt where the object is what it says; its bytes are read to be sure.
fn named(store: &FolderStore, note: &Note, checkpoint: &Checkpoint) -> Result<Option<Found>> {
    if let Some(whole) = uploaded(note, checkpoint)
        && sha256_of(store, &checkpoint.key)?.as_ref() == Some(&whole.sha256)
    {
        return Ok(Some(Found::Whole(whole)));
    }
    remove_note(store, note)?;
    Ok(None)
}

fn uploaded(note: &Note, checkpoint: &Checkpoint) -> Option<Uploaded> {
    Some(Uploaded {
        bytes: checkpoint.bytes,
        sha256: checkpoint.finished.clone()?,
        source: checkpoint.source.clone(),
        receipt: Some(note.key.clone()),
    })
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

/// Whether nobody writes to a file any more. Without locks, the checkpoint's driver and age tell.
fn is_left(held: Held, note: &Note) -> bool {
    match held {
        Held::Yes => false,
        Held::No => true,
        Held::Unknown => note
            .checkpoint
            .as_ref()
            .is_some_and(|checkpoint| Lease::default().driver(checkpoint, note.modified) == Driver::Dead),
    }
}

/// All checkpoints whose keys begin so.
fn notes(store: &FolderStore, prefix: &str) -> Result<Vec<Note>> {
    let told = |error: io::Error| failed(UPLOADS, &error);
    let entries = match fs::read_dir(store.root.join(UPLOADS)) {
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        entries => entries.map_err(told)?,
    };
    let mut notes = Vec::new();
    for entry in entries {
        let Ok(name) = entry.map_err(told)?.file_name().into_string() else {
            continue;
        };
        let key = format!("{UPLOADS}{name}");
        if key.starts_with(prefix) {
            notes.extend(read_note(store, key)?);
        }
    }
    Ok(notes)
}

/// A checkpoint; none when there is none any more.
fn read_note(store: &FolderStore, key: String) -> Result<Option<Note>> {
    let path = store.path(&key)?;
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(Note {
            version: version(&bytes),
            modified: fs::metadata(&path)
                .and_then(|found| found.modified())
                .ok()
                .map(Into::into),
            checkpoint: Checkpoint::parse(&bytes).filter(|checkpoint| checkpoint.note_key() == key),
            key,
        })),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failed(&key, &error)),
    }
}

fn remove_both(store: &FolderStore, note: &Note, temp: Temp) -> Result<Option<Found>> {
    temp.remove(store).map_err(|error| failed(&note.key, &error))?;
    remove_note(store, note)?;
    Ok(None)
}

/// Removes a checkpoint, and what is left of its last driver's claim.
fn remove_note(store: &FolderStore, note: &Note) -> Result<()> {
    let removed = store.delete_now(&note.key);
    if let Some(driver) = note.checkpoint.as_ref().and_then(|found| found.driver.as_ref()) {
        claim::forget(driver);
    }
    removed
}

/// Removes what nobody holds of an upload.
fn discard(store: &FolderStore, note: &Note) -> Result<()> {
    let Some(checkpoint) = &note.checkpoint else {
        return remove_note(store, note);
    };
    let wanted = |held| is_left(held, note);
    if discard_file(store, &checkpoint.key, &checkpoint.id, wanted)? {
        remove_note(store, note)?;
    }
    Ok(())
}

/// Removes a temporary file that nobody holds; whether there is none any more.
fn discard_file(store: &FolderStore, key: &str, id: &str, wanted: impl FnOnce(Held) -> bool) -> Result<bool> {
    let told = |error: io::Error| failed(key, &error);
    match Temp::take_up(store, key, id, wanted).map_err(told)? {
        Taken::Yes(temp) => temp.remove(store).map_err(told).map(|()| true),
        Taken::Missing => Ok(true),
        Taken::No => Ok(false),
    }
}

/// Removes an upload of this process's own.
pub(super) fn remove(store: &FolderStore, checkpoint: &Checkpoint) -> Result<()> {
    if let Some(note) = read_note(store, checkpoint.note_key())? {
        remove_note(store, &note)?;
    }
    discard_file(store, &checkpoint.key, &checkpoint.id, |held| held != Held::Yes).map(drop)
}

/// All temporary files and checkpoints of keys below `prefix`.
pub(super) fn unfinished(store: &FolderStore, prefix: &str) -> Result<Vec<Unfinished>> {
    // Files first: one that has no checkpoint among those read afterwards has none yet, and then it is held.
    let files = temp::all(store).map_err(|error| failed(prefix, &error))?;
    let mut notes = notes(store, UPLOADS)?;
    let mut found = Vec::new();
    for (key, id, held) in files {
        let of_file = |note: &Note| note.checkpoint.as_ref().is_some_and(|found| found.id == id);
        let note = notes.iter().position(of_file).map(|at| notes.swap_remove(at));
        let left = match &note {
            Some(note) => is_left(held, note),
            None => held == Held::No,
        };
        found.push(Unfinished {
            key,
            driven: !left,
            upload: Some(id),
            note,
        });
    }
    found.extend(notes.into_iter().map(|note| {
        Unfinished {
            key: note
                .checkpoint
                .as_ref()
                .map_or_else(|| note.key.clone(), |found| found.key.clone()),
            driven: false,
            upload: None,
            note: Some(note),
        }
    }));
    found.retain(|upload| upload.key.starts_with(prefix));
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// See [`Store::abort_upload`](crate::store::Store::abort_upload).
pub(super) fn abort(store: &FolderStore, upload: &Unfinished) -> Result<()> {
    match (&upload.note, &upload.upload) {
        _ if upload.driven => Ok(()),
        (Some(note), _) => discard(store, note),
        (None, Some(id)) => discard_file(store, &upload.key, id, |held| held == Held::No).map(drop),
        (None, None) => Ok(()),
    }
}
