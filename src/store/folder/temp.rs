//! Temporary files, which hold the bytes of an object until they are whole.
//!
//! A temporary file lies at `_telelake/tmp/<key>/.<id>.part`, so that its path tells its key. Its writer holds an advisory
//! lock on it; if the file can be locked, its process died or released it. The file of an upload can be resumed, and any
//! other one is removed. Files are made, renamed, taken over and removed under the store's lock, so that nobody sees one
//! between its creation and its lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{
    FolderStore, TEMP, create, failed, is_missing, make_folders, make_temp_folder, make_unsynced_folders,
    sync_folder, unnamed,
};
use crate::Result;

/// A temporary file. If it is dropped before it is published, it is removed, unless it is an upload's.
#[derive(Debug)]
pub(super) struct Temp {
    key: String,
    path: PathBuf,
    file: File,
    /// True if the file is not removed when this is dropped.
    stays: bool,
}

/// The lock on a temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileLock {
    /// The file's writer holds it.
    Held,
    /// Nobody held it.
    Free,
    /// The file system has no locks.
    Unknown,
}

/// The outcome of taking a file over.
#[derive(Debug)]
pub(super) enum TakenOver {
    Yes(Temp),
    /// The file exists, but the caller does not want it.
    No,
    Missing,
}

impl Temp {
    /// Makes a file for bytes that are written at once.
    pub(super) fn create(store: &FolderStore, key: &str) -> io::Result<Self> {
        Self::create_as(store, key, &new_id(), false)
    }

    /// Makes the file of an upload, which outlives its process.
    pub(super) fn create_for_upload(store: &FolderStore, key: &str, id: &str) -> io::Result<Self> {
        Self::create_as(store, key, id, true)
    }

    fn create_as(store: &FolderStore, key: &str, id: &str, stays: bool) -> io::Result<Self> {
        let _lock = store.lock()?;
        let path = part_path(store, key, id);
        make_temp_folder(&store.root)?;
        make_unsynced_folders(path.parent().unwrap_or(&store.root))?;
        let mut options = OpenOptions::new();
        let file = create(options.read(true).write(true).create_new(true), &path)?;
        let temp = Self {
            key: key.into(),
            path,
            file,
            stays,
        };
        match temp.file.try_lock() {
            // Nobody else knows the name yet, so nobody else can hold the lock.
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(temp),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(temp),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes over the file of an upload, if `wanted` accepts its lock.
    pub(super) fn take_over(
        store: &FolderStore,
        key: &str,
        id: &str,
        wanted: impl FnOnce(FileLock) -> bool,
    ) -> io::Result<TakenOver> {
        let _lock = store.lock()?;
        let path = part_path(store, key, id);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if is_missing(&error) => return Ok(TakenOver::Missing),
            file => file?,
        };
        if !wanted(try_lock(&file)?) {
            return Ok(TakenOver::No);
        }
        Ok(TakenOver::Yes(Self {
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

    /// True if other processes can see that this one holds the file, because the file system has locks.
    pub(super) fn has_lock(&self) -> bool {
        !matches!(self.file.try_lock(), Err(TryLockError::Error(_)))
    }

    /// Reads the first `bytes` into `piece`, cuts the file behind them and appends there from now on. Returns false if the
    /// file has fewer bytes.
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
        let with_key = |error: io::Error| failed(&key, &error);
        self.sync().map_err(with_key)?;
        self.rename(store, target, condition)?;
        sync_folder(target.parent().unwrap_or(&store.root)).map_err(with_key)
    }

    /// Gives the bytes their name without waiting for the disk, so that a crash of the machine may leave the old bytes or
    /// none. For files that are verified before they are trusted.
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
        let with_key = |error: io::Error| failed(&key, &error);
        make_folders(target.parent().unwrap_or(&store.root)).map_err(with_key)?;
        let _lock = store.lock().map_err(with_key)?;
        condition()?;
        fs::rename(&self.path, target).map_err(with_key)?;
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
            // If this fails, a later run removes the file.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Puts a file without a name in the place of `target`. Only a link to a free name exists for it, so it gets a temporary name
/// first. The caller holds the store's lock.
pub(super) fn replace(store: &FolderStore, file: &File, target: &Path) -> io::Result<()> {
    make_temp_folder(&store.root)?;
    let path = part_path(store, "", &new_id());
    unnamed::link(file, &path)?;
    fs::rename(&path, target).inspect_err(|_| drop(fs::remove_file(&path)))
}

fn new_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The temporary file of a key and an id.
fn part_path(store: &FolderStore, key: &str, id: &str) -> PathBuf {
    store.root.join(TEMP).join(key).join(format!(".{id}.part"))
}

/// Every temporary file: its key, its id, and its lock.
pub(super) fn all(store: &FolderStore) -> io::Result<Vec<(String, String, FileLock)>> {
    let root = store.root.join(TEMP);
    // Checked first, because a listing must not make the lake's folders.
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
                    // Its writer removed it meanwhile.
                    Err(error) if is_missing(&error) => {}
                    file => found.push((folder.clone(), id.to_owned(), try_lock(&file?)?)),
                }
            }
        }
    }
    Ok(found)
}

/// Locks a file if nobody else holds it, and returns its lock as it was before.
fn try_lock(file: &File) -> io::Result<FileLock> {
    match file.try_lock() {
        Ok(()) => Ok(FileLock::Free),
        Err(TryLockError::WouldBlock) => Ok(FileLock::Held),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(FileLock::Unknown)
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the folders of a key below the temporary one if they are empty. The caller holds the store's lock.
fn prune(store: &FolderStore, key: &str) {
    let root = store.root.join(TEMP);
    let mut folder = root.join(key);
    while folder != root && fs::remove_dir(&folder).is_ok() {
        folder.pop();
    }
}
