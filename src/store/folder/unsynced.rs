//! Files that get their name before the disk has them, and the sync that makes all of them durable together.
//!
//! Such a file is made without a name, filled, and then linked to its name. Readers see it whole or not at all, and a killed
//! process leaves nothing behind. It needs no lock, because the link fails if the name is taken; then, and if the file
//! system makes no files without a name, the file is written as any other one. Syncs that wait for the disk at the same time
//! cost hardly more than a single one, so many files are synced at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::{FolderStore, failed, is_missing, unnamed};
use crate::Result;

/// The number of files that are synced at once.
const SYNCS_AT_ONCE: usize = 16;

/// The files and folders that the disk may not have yet.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    paths: Mutex<HashMap<PathBuf, LastWrite>>,
    /// Held during a sync: a commit must wait for its own files if the sync of another one has begun with them.
    turn: tokio::sync::Mutex<()>,
}

/// The last write of a file, or of a name in a folder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LastWrite {
    number: u64,
    /// True if a sync has failed. Another try would prove nothing, because the system reports a lost write once.
    is_lost: bool,
}

impl Unsynced {
    /// Notes that a file and its name were written.
    fn note(&self, file: PathBuf) {
        let mut paths = self.paths.lock();
        let folder = file.parent().map(Path::to_owned);
        for path in folder.into_iter().chain([file]) {
            let write = paths.entry(path).or_default();
            write.number += 1;
            write.is_lost = false;
        }
    }

    /// Notes that a file was removed, or that it was written again and is durable.
    pub(super) fn forget(&self, file: &Path) {
        self.paths.lock().remove(file);
    }

    /// Notes the outcome of a sync of a file or folder, unless it was written again meanwhile.
    fn settle(&self, path: &Path, synced: LastWrite, is_durable: bool) {
        let mut paths = self.paths.lock();
        if paths.get(path) != Some(&synced) {
            return;
        }
        if is_durable {
            paths.remove(path);
        } else if let Some(write) = paths.get_mut(path) {
            write.is_lost = true;
        }
    }
}

impl FolderStore {
    /// Writes a new file whose bytes need not be durable. Returns false if it must be written as any other one.
    pub(super) fn write_unsynced(&self, path: &Path, content: &[u8]) -> bool {
        let is_made = unnamed::create(path)
            .and_then(|mut file| {
                file.write_all(content)?;
                unnamed::link(&file, path)
            })
            .is_ok();
        if is_made {
            self.unsynced.note(path.to_owned());
        }
        is_made
    }

    /// Makes all files durable that were written without a sync.
    pub(super) async fn sync_all(&self) -> Result<()> {
        let _turn = self.unsynced.turn.lock().await;
        let writes: Vec<_> = {
            let paths = self.unsynced.paths.lock();
            paths.iter().map(|(path, write)| (path.clone(), *write)).collect()
        };
        if writes.is_empty() {
            return Ok(());
        }
        let batches = writes.chunks(writes.len().div_ceil(SYNCS_AT_ONCE));
        let synced = batches.map(|batch| {
            let batch = batch.to_vec();
            self.blocking(move |store| store.sync_batch(&batch))
        });
        join_all(synced).await.into_iter().collect()
    }

    /// Syncs some files and folders one after another; the first failure is the result.
    fn sync_batch(&self, writes: &[(PathBuf, LastWrite)]) -> Result<()> {
        let mut outcome = Ok(());
        for (path, write) in writes {
            let synced = sync(path, *write);
            self.unsynced.settle(path, *write, synced.is_ok());
            if let Err(error) = synced {
                let key = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy();
                outcome = outcome.and(Err(failed(&key, &error)));
            }
        }
        outcome
    }
}

/// Syncs a file or a folder. One that was removed meanwhile needs no sync.
fn sync(path: &Path, write: LastWrite) -> io::Result<()> {
    if write.is_lost {
        return Err(io::Error::other("the disk did not take it"));
    }
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if is_missing(&error) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::ErrorKind;
    use crate::store::{Condition, Store};

    fn folder() -> (tempfile::TempDir, FolderStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = FolderStore::at(directory.path()).unwrap();
        (directory, store)
    }

    fn unsynced(store: &FolderStore) -> usize {
        store.unsynced.paths.lock().len()
    }

    async fn write(store: &FolderStore, key: &str, bytes: &'static str) {
        store
            .put_relaxed(key, Bytes::from_static(bytes.as_bytes()))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn files_and_their_folder_are_synced_once_by_the_next_sync() {
        let (_directory, store) = folder();
        for key in ["raw/a", "raw/b", "raw/c"] {
            write(&store, key, "x").await;
        }
        assert_eq!(store.get("raw/b").await.unwrap().bytes, "x");
        if cfg!(target_os = "linux") {
            assert_eq!(unsynced(&store), 4, "three files and their folder");
        }
        store.sync().await.unwrap();
        assert_eq!(unsynced(&store), 0);
    }

    #[tokio::test]
    async fn a_file_that_is_written_again_is_whole_and_durable() {
        let (_directory, store) = folder();
        write(&store, "raw/a", "first").await;
        write(&store, "raw/a", "second").await;
        assert_eq!(store.get("raw/a").await.unwrap().bytes, "second");
        assert!(
            !store
                .unsynced
                .paths
                .lock()
                .contains_key(&store.root.join("raw/a"))
        );
    }

    #[tokio::test]
    async fn a_folder_that_was_removed_is_made_again() {
        let (directory, store) = folder();
        write(&store, "raw/x/a", "x").await;
        std::fs::remove_dir_all(directory.path().join("raw")).unwrap();
        write(&store, "raw/x/b", "x").await;
        assert_eq!(store.get("raw/x/b").await.unwrap().bytes, "x");
        store.sync().await.expect("what was removed needs no sync");
    }

    #[tokio::test]
    async fn a_killed_writer_leaves_nothing_to_see() {
        let (directory, store) = folder();
        write(&store, "raw/a", "x").await;
        std::fs::write(directory.path().join("raw/b"), "taken").unwrap();
        // The name is taken, so the bytes are dropped as if the process had died before the link.
        assert!(!store.write_unsynced(&directory.path().join("raw/b"), b"other"));
        let keys = store.list("").await.unwrap();
        let keys: Vec<_> = keys.iter().map(|object| &*object.key).collect();
        assert_eq!(keys, ["raw/a", "raw/b"]);
        assert_eq!(store.get("raw/b").await.unwrap().bytes, "taken");
        assert_eq!(store.unfinished_uploads("").await.unwrap().len(), 0);
    }

    /// A link to itself can't be opened, so its sync fails.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_failed_sync_fails_every_sync_until_the_file_is_written_again() {
        let (directory, store) = folder();
        write(&store, "raw/a", "x").await;
        let path = directory.path().join("raw/a");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("a", &path).unwrap();
        let error = store.sync().await.expect_err("can't be opened");
        assert_eq!((error.kind(), error.about()), (ErrorKind::Store, "raw/a"));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "x").unwrap();
        store
            .sync()
            .await
            .expect_err("a lost write is reported once by the system");
        store
            .put("raw/a", Bytes::from_static(b"y"), Condition::Any)
            .await
            .unwrap();
        store.sync().await.expect("written again");
    }

    #[tokio::test]
    async fn a_sync_waits_for_the_sync_that_has_begun() {
        let (_directory, store) = folder();
        write(&store, "raw/a", "x").await;
        let turn = store.unsynced.turn.lock().await;
        let mut other = std::pin::pin!(store.sync());
        assert!((&mut other).now_or_never().is_none());
        drop(turn);
        other.await.unwrap();
        assert_eq!(unsynced(&store), 0);
    }
}
