//! Temporary files: where bytes are until they are whole.
//!
//! One lies at `_telelake/tmp/<key>/.<random>.part`, so that its place says which key it is for. Its writer holds an
//! advisory lock on it: a file that can be locked was left behind by a process that died, and is removed. Making,
//! renaming and cleaning all happen under the store's lock, so none is seen between its creation and its lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{FolderStore, TEMP, create, failed, is_missing, make_folders, sync_folder};
use crate::Result;

/// A temporary file, removed when dropped before it was published.
#[derive(Debug)]
pub(super) struct Temp {
    key: String,
    path: PathBuf,
    file: File,
    published: bool,
}

impl Temp {
    pub(super) fn create(store: &FolderStore, key: &str) -> io::Result<Self> {
        let _lock = store.lock()?;
        let folder = store.root.join(TEMP).join(key);
        make_folders(&folder)?;
        let path = folder.join(format!(".{:016x}.part", fastrand::u64(..)));
        let file = create(OpenOptions::new().write(true).create_new(true), &path)?;
        let temp = Self {
            key: key.into(),
            path,
            file,
            published: false,
        };
        match temp.file.try_lock() {
            // Nobody else knows the name yet, so it can't be held; without locks nothing is ever cleaned.
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(temp),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(temp),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Syncs the bytes and gives them their name, if `condition` holds at that moment.
    pub(super) fn publish(
        mut self,
        store: &FolderStore,
        target: &Path,
        condition: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let key = self.key.clone();
        let told = |error: io::Error| failed(&key, &error);
        let folder = target.parent().unwrap_or(&store.root);
        self.sync().map_err(told)?;
        make_folders(folder).map_err(told)?;
        let lock = store.lock().map_err(told)?;
        condition()?;
        fs::rename(&self.path, target).map_err(told)?;
        self.published = true;
        prune(store, &key);
        drop(lock);
        sync_folder(folder).map_err(told)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.published {
            // What can't be removed now is removed as a leftover later.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Keys below `prefix` whose temporary files were left behind by a process that died, sorted.
pub(super) fn keys(store: &FolderStore, prefix: &str) -> io::Result<Vec<String>> {
    // Asked without making the lake's folders: a listing writes nothing.
    if !store.root.join(TEMP).is_dir() {
        return Ok(Vec::new());
    }
    let _lock = store.lock()?;
    let mut keys = Vec::new();
    each_leftover(store, "", &mut |key, _| {
        if key.starts_with(prefix) {
            keys.push(key.to_owned());
        }
        Ok(())
    })?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// Removes what dead processes left behind for keys at or below the folder `key`; empty: all of it.
pub(super) fn clean(store: &FolderStore, key: &str) -> io::Result<()> {
    let _lock = store.lock()?;
    let mut emptied = Vec::new();
    each_leftover(store, key, &mut |key, path| {
        fs::remove_file(path)?;
        emptied.push(key.to_owned());
        Ok(())
    })?;
    emptied.iter().for_each(|key| prune(store, key));
    Ok(())
}

/// Removes what dead processes left behind for one key.
pub(super) fn clean_key(store: &FolderStore, key: &str) -> io::Result<()> {
    // Without a folder of its own there is nothing, and most keys have none.
    if store.root.join(TEMP).join(key).is_dir() {
        clean(store, key)?;
    }
    Ok(())
}

/// Calls `found` with the key and the path of every temporary file that nobody holds. The store's lock is held.
fn each_leftover(
    store: &FolderStore,
    top: &str,
    found: &mut dyn FnMut(&str, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let root = store.root.join(TEMP);
    let mut leftovers = Vec::new();
    let mut folders = vec![top.to_owned()];
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
            } else if is_abandoned(&entry.path())? {
                leftovers.push((folder.clone(), entry.path()));
            }
        }
    }
    leftovers.iter().try_for_each(|(key, path)| found(key, path))
}

fn is_abandoned(path: &Path) -> io::Result<bool> {
    let file = match OpenOptions::new().write(true).open(path) {
        // Removed by its writer meanwhile.
        Err(error) if is_missing(&error) => return Ok(false),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        // Without locks a live file can't be told from a dead one.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes the folders of a key below the temporary one, as far as they are empty. The store's lock is held.
pub(super) fn prune(store: &FolderStore, key: &str) {
    let root = store.root.join(TEMP);
    let mut folder = root.join(key);
    while folder != root && fs::remove_dir(&folder).is_ok() {
        folder.pop();
    }
}
