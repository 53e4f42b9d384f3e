//! Temporary files: where bytes are until they are whole.
//!
//! One lies at `_telelake/tmp/<key>/.<id>.part`, so that its place says which key it is for. Its writer holds an
//! advisory lock on it: a file that can be locked was left behind by a process that died or let go of it. One of an
//! upload can be gone on with, any other one is rubbish. Making, renaming, taking up and cleaning all happen under the
//! store's lock, so none is seen between its creation and its lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{FolderStore, TEMP, create, failed, is_missing, make_folders, make_temp_folder, sync_folder};
use crate::Result;

/// A temporary file, removed when dropped before it was published, unless it is an upload's.
#[derive(Debug)]
pub(super) struct Temp {
    key: String,
    path: PathBuf,
    file: File,
    /// Whether its name outlives this.
    stays: bool,
}

/// Whether a temporary file has a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Yes,
    No,
    /// The file system has no locks.
    Unknown,
}

/// What became of taking a file up.
#[derive(Debug)]
pub(super) enum Taken {
    Yes(Temp),
    /// It is there, and not wanted.
    No,
    Missing,
}

impl Temp {
    /// A file for bytes that are written at once.
    pub(super) fn create(store: &FolderStore, key: &str) -> io::Result<Self> {
        Self::create_as(store, key, &format!("{:016x}", fastrand::u64(..)), false)
    }

    /// The file of an upload, which outlives its process.
    pub(super) fn create_for_upload(store: &FolderStore, key: &str, id: &str) -> io::Result<Self> {
        Self::create_as(store, key, id, true)
    }

    fn create_as(store: &FolderStore, key: &str, id: &str, stays: bool) -> io::Result<Self> {
        let _lock = store.lock()?;
        let path = part_path(store, key, id);
        make_temp_folder(&store.root)?;
        make_folders(path.parent().unwrap_or(&store.root))?;
        let mut options = OpenOptions::new();
        let file = create(options.read(true).write(true).create_new(true), &path)?;
        let temp = Self {
            key: key.into(),
            path,
            file,
            stays,
        };
        match temp.file.try_lock() {
            // Nobody else knows the name yet, so it can't be held; without locks nothing is ever cleaned.
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(temp),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(temp),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes up the file of an upload, if `wanted` accepts it by whether it is held.
    pub(super) fn take_up(
        store: &FolderStore,
        key: &str,
        id: &str,
        wanted: impl FnOnce(Held) -> bool,
    ) -> io::Result<Taken> {
        let _lock = store.lock()?;
        let path = part_path(store, key, id);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if is_missing(&error) => return Ok(Taken::Missing),
            file => file?,
        };
        if !wanted(held(&file)?) {
            return Ok(Taken::No);
        }
        Ok(Taken::Yes(Self {
            key: key.into(),
            path,
            file,
            stays: true,
        }))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Whether another process can be told that this one holds the file.
    pub(super) fn has_lock(&self) -> bool {
        !matches!(self.file.try_lock(), Err(TryLockError::Error(_)))
    }

    /// Gives the first `bytes` to `piece`, cuts the file behind them and goes on there; false where it has fewer.
    pub(super) fn rewind(&mut self, bytes: u64, mut piece: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut buffer = vec![0; 256 * 1024];
        let mut left = bytes;
        self.file.seek(SeekFrom::Start(0))?;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.file.read(&mut buffer[..most])? {
                0 => return Ok(false),
                read => {
                    piece(&buffer[..read]);
                    left -= read as u64;
                }
            }
        }
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes))?;
        Ok(true)
    }

    /// Syncs the bytes and gives them their name, if `condition` holds at that moment.
    pub(super) fn publish(
        self,
        store: &FolderStore,
        target: &Path,
        condition: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let key = self.key.clone();
        let told = |error: io::Error| failed(&key, &error);
        self.sync().map_err(told)?;
        self.rename(store, target, condition)?;
        sync_folder(target.parent().unwrap_or(&store.root)).map_err(told)
    }

    /// Gives the bytes their name without waiting for the disk: a crash of the machine may leave the old ones, or
    /// none. For what is held against something else before it is trusted.
    pub(super) fn publish_unsynced(self, store: &FolderStore, target: &Path) -> Result<()> {
        self.rename(store, target, || Ok(()))
    }

    fn rename(
        mut self,
        store: &FolderStore,
        target: &Path,
        condition: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let key = self.key.clone();
        let told = |error: io::Error| failed(&key, &error);
        make_folders(target.parent().unwrap_or(&store.root)).map_err(told)?;
        let _lock = store.lock().map_err(told)?;
        condition()?;
        fs::rename(&self.path, target).map_err(told)?;
        self.stays = true;
        prune(store, &key);
        Ok(())
    }

    /// Removes the file.
    pub(super) fn remove(mut self, store: &FolderStore) -> io::Result<()> {
        let _lock = store.lock()?;
        match fs::remove_file(&self.path) {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => self.stays = true,
        }
        prune(store, &self.key);
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.stays {
            // What can't be removed now is removed as a leftover later.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The temporary file of a key and an id.
fn part_path(store: &FolderStore, key: &str, id: &str) -> PathBuf {
    store.root.join(TEMP).join(key).join(format!(".{id}.part"))
}

/// Every temporary file: its key, its id, and whether it has a writer.
pub(super) fn all(store: &FolderStore) -> io::Result<Vec<(String, String, Held)>> {
    let root = store.root.join(TEMP);
    // Asked without making the lake's folders: a listing writes nothing.
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let _lock = store.lock()?;
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Err(error) if is_missing(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if entry.file_type()?.is_dir() {
                folders.push(if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                });
            } else if let Some(id) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part")) {
                match OpenOptions::new().write(true).open(entry.path()) {
                    // Removed by its writer meanwhile.
                    Err(error) if is_missing(&error) => {}
                    file => found.push((folder.clone(), id.to_owned(), held(&file?)?)),
                }
            }
        }
    }
    Ok(found)
}

/// Whether another handle than this one holds the file; if not, this one does now.
fn held(file: &File) -> io::Result<Held> {
    match file.try_lock() {
        Ok(()) => Ok(Held::No),
        Err(TryLockError::WouldBlock) => Ok(Held::Yes),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Held::Unknown),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the folders of a key below the temporary one, as far as they are empty. The store's lock is held.
fn prune(store: &FolderStore, key: &str) {
    let root = store.root.join(TEMP);
    let mut folder = root.join(key);
    while folder != root && fs::remove_dir(&folder).is_ok() {
        folder.pop();
    }
}
