//! The lake in a folder of a file system.
//!
//! Nothing is written in place: bytes go to a file without a name (see `unnamed.rs`), are synced, and get their name by a link
//! or a rename. Uploads, and all bytes on a file system without such files, go to a temporary file below `_telelake/tmp/`
//! (see `temp.rs`). Files that need not be durable at once are synced together (see `unsynced.rs`). Links, renames and removals
//! are done one at a time under the lock file `_telelake/lock`, which all processes respect, so that a condition checked under
//! it still holds when the file gets its name. A version is the content's
//! SHA-256, because neither a clock nor an inode tells two quick writes apart for sure. A file system without locks works
//! too, but without conditional writes, and [`Store::probe`] says so. The bytes of an upload outlive its process, see
//! `resume.rs`.

mod lock;
mod put;
mod resume;
mod temp;
mod unnamed;
mod unsynced;
mod upload;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use self::lock::{Locked, Turns};
use self::temp::Temp;
use self::unsynced::Unsynced;
use super::keeper::CheckpointStore;
use super::{
    Condition, Dialect, ListedObject, Resumed, Store, StoreAddress, StoredObject, Unfinished, Upload,
    UploadOptions, Version,
};
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result, owner};

/// Held while a new folder has no owner yet, because a file that is made in it takes over the owner.
static MAKING_FOLDER: RwLock<()> = parking_lot::const_rwlock(());

/// The folder of temporary files, each below its key.
const TEMP: &str = "_telelake/tmp";
/// The folder of the program's own files.
const STATE: &str = "_telelake";
/// The lock file, locked for the moment of a rename or a removal.
const LOCK: &str = "_telelake/lock";
/// The characters of a path that are encoded in a `file://` URL.
const IN_URL: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'#').add(b'?');

/// A folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FolderStore {
    root: Arc<Path>,
    url: Arc<str>,
    /// The turns of this process's threads at the lock.
    turns: Arc<Turns>,
    /// The longest wait for the lock.
    patience: Duration,
    /// True if the file system is known to have no locks, so that conditions are not checked.
    has_no_locks: Arc<AtomicBool>,
    unsynced: Arc<Unsynced>,
}

impl FolderStore {
    /// Opens a `file:///absolute/path` URL, percent-decoded. Touches nothing.
    ///
    /// # Errors
    /// `Config` if the URL is wrong.
    pub fn open(url: &str) -> Result<Self> {
        let bad = |why: &str| Error::new(ErrorKind::Config, "store.url", why).hint("file:///absolute/path");
        let rest = url
            .strip_prefix("file://")
            .ok_or_else(|| bad("does not start with file://"))?;
        let path = rest
            .strip_prefix("localhost")
            .filter(|path| path.starts_with('/'))
            .unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(bad("is not absolute: three slashes begin a local path"));
        }
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| bad("is not UTF-8 when decoded"))?;
        Ok(Self::new(Path::new(&*path), url))
    }

    fn new(root: &Path, url: &str) -> Self {
        Self {
            root: root.into(),
            url: url.into(),
            turns: Arc::default(),
            patience: lock::PATIENCE,
            has_no_locks: Arc::default(),
            unsynced: Arc::default(),
        }
    }

    /// Opens a folder by its path; a relative one is taken from the working directory.
    ///
    /// # Errors
    /// `Config` if the path is empty or there is no working directory.
    pub fn at(path: &Path) -> Result<Self> {
        let root = std::path::absolute(path)
            .map_err(|error| Error::new(ErrorKind::Config, path.display().to_string(), error.to_string()))?;
        let shown = root.to_string_lossy();
        let url = format!("file://{}", utf8_percent_encode(&shown, IN_URL));
        Ok(Self::new(&root, &url))
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of a key. `lake::key` makes no key that leaves the root, and this check enforces it.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let plain = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.contains(['\\', '\0']);
        let own =
            key == LOCK || key == TEMP || key.strip_prefix(TEMP).is_some_and(|rest| rest.starts_with('/'));
        if own || !key.split('/').all(plain) {
            return Err(Error::new(ErrorKind::Internal, key, "is no key"));
        }
        Ok(self.root.join(key))
    }

    /// Takes the lock; `None` if the file system has no locks.
    fn lock(&self) -> io::Result<Option<Locked<'_>>> {
        let path = self.root.join(LOCK);
        if let Some(parent) = path.parent() {
            make_folders(parent)?;
        }
        lock::take(&self.turns, &path, self.patience)
    }

    /// Runs `work` in a thread where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = self.clone();
        isolated_blocking(&self.url, move || work(&store)).await
    }

    fn put_relaxed_now(&self, key: &str, content: &[u8]) -> Result<()> {
        match self.write_unsynced(&self.path(key)?, content) {
            true => Ok(()),
            // Also after a failure, whose reason this attempt reports.
            false => self.put_now(key, content, &Condition::Any).map(|_| ()),
        }
    }

    /// Links a file to a second name. No file is written in place, so the new name keeps its bytes.
    fn copy_now(&self, from: &str, to: &str) -> Result<()> {
        let (source, target) = (self.path(from)?, self.path(to)?);
        let link = || {
            let folder = target.parent().unwrap_or(&self.root);
            make_folders(folder)?;
            fs::hard_link(&source, &target)?;
            sync_folder(folder)
        };
        if link().is_ok() {
            return Ok(());
        }
        // The name is taken, or the file system has no such links.
        let content = bytes(from, &source)?
            .ok_or_else(|| Error::new(ErrorKind::StoreNotFound, from, "is not in the store"))?;
        self.put_now(to, &content, &Condition::Any).map(|_| ())
    }

    fn delete_now(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        if !path.exists() {
            return Ok(());
        }
        let _lock = self.lock().map_err(|error| failed(key, &error))?;
        match fs::remove_file(&path) {
            Err(error) if !is_missing(&error) => Err(failed(key, &error)),
            _ => {
                self.unsynced.forget(&path);
                Ok(())
            }
        }
    }

    fn preflight_now(&self) -> Result<()> {
        let key = "_telelake/probe";
        let proven = make_folders(&self.root)
            .and_then(|()| Temp::create(self, key))
            .and_then(|mut temp| {
                temp.write(b"telelake")?;
                temp.sync()?;
                temp.remove(self)
            });
        proven.map_err(|error| {
            if error.kind() == io::ErrorKind::TimedOut {
                return failed(LOCK, &error);
            }
            let message = format!("can't be written: {}", plain(&error));
            Error::new(ErrorKind::StoreUnavailable, &*self.url, message)
                .hint("name a folder in store.url that this user may create and write")
        })
    }
}

#[async_trait]
impl Store for FolderStore {
    fn url(&self) -> &str {
        &self.url
    }

    async fn preflight(&self) -> Result<()> {
        self.blocking(Self::preflight_now).await
    }

    fn address(&self) -> StoreAddress {
        let root = self.root.to_string_lossy();
        StoreAddress {
            url: format!(
                "file://{}",
                utf8_percent_encode(root.trim_end_matches('/'), IN_URL)
            ),
            endpoint: String::new(),
        }
    }

    async fn free_bytes(&self) -> Result<Option<u64>> {
        self.blocking(|store| {
            let found = rustix::fs::statvfs(&*store.root);
            let found = found.map_err(|error| failed(LOCK, &error.into()))?;
            Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
        })
        .await
    }

    async fn probe(&self) -> Result<Dialect> {
        self.blocking(|store| {
            let lock = store.lock().map_err(|error| failed(LOCK, &error))?;
            let found = Dialect {
                conditional_writes: lock.is_some(),
                ..Dialect::default()
            };
            store.speak(found.clone());
            Ok(found)
        })
        .await
    }

    fn speak(&self, dialect: Dialect) {
        self.has_no_locks
            .store(!dialect.conditional_writes, Ordering::Relaxed);
    }

    async fn get(&self, key: &str) -> Result<StoredObject> {
        let bytes = self.read(key).await?;
        Ok(StoredObject {
            version: version(&bytes),
            bytes,
        })
    }

    async fn read(&self, key: &str) -> Result<Bytes> {
        let key = key.to_owned();
        self.blocking(move |store| {
            bytes(&key, &store.path(&key)?)?
                .ok_or_else(|| Error::new(ErrorKind::StoreNotFound, key, "is not in the store"))
        })
        .await
    }

    async fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes> {
        let key = key.to_owned();
        self.blocking(move |store| {
            read_range(&store.path(&key)?, offset, length).map_err(|error| match is_missing(&error) {
                true => Error::new(ErrorKind::StoreNotFound, &*key, "is not in the store"),
                false => failed(&key, &error),
            })
        })
        .await
    }

    async fn size(&self, key: &str) -> Result<Option<u64>> {
        let key = key.to_owned();
        self.blocking(move |store| match fs::metadata(store.path(&key)?) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(&key, &error)),
        })
        .await
    }

    async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let key = key.to_owned();
        self.blocking(move |store| store.put_now(&key, &bytes, &condition))
            .await
    }

    async fn put_relaxed(&self, key: &str, bytes: Bytes) -> Result<()> {
        let key = key.to_owned();
        self.blocking(move |store| store.put_relaxed_now(&key, &bytes))
            .await
    }

    async fn sync(&self) -> Result<()> {
        self.sync_all().await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.blocking(move |store| store.copy_now(&from, &to)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>> {
        let prefix = prefix.to_owned();
        self.blocking(move |store| {
            let mut entries = Vec::new();
            // All keys that start with the prefix are below the folder that its last slash names.
            let top = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            let walked = walk(&store.root, top, &prefix, &mut |key, found| {
                if key.starts_with(&prefix) && key != LOCK {
                    entries.push(ListedObject {
                        key,
                        bytes: found.len(),
                        modified: found.modified().ok().map(Into::into),
                        etag: None,
                    });
                }
            });
            walked.map_err(|error| failed(&prefix, &error))?;
            // By the bytes of the key, as S3 does, so that `a-b` comes before `a/b`.
            entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(entries)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let key = key.to_owned();
        self.blocking(move |store| store.delete_now(&key)).await
    }

    async fn upload(&self, key: &str, options: UploadOptions) -> Result<Box<dyn Upload>> {
        let upload = upload::FolderUpload::start(self.clone(), key, options.source).await?;
        Ok(Box::new(upload))
    }

    async fn resume(&self, key: &str) -> Result<Option<Resumed>> {
        let key = key.to_owned();
        match self.blocking(move |store| resume::resume(store, &key)).await? {
            Some(resume::LeftUpload::Open(temp, digester, checkpoint)) => {
                let upload = upload::FolderUpload::drive(self.clone(), *checkpoint, temp, digester).await?;
                Ok(Some(Resumed::Open(Box::new(upload))))
            }
            Some(resume::LeftUpload::Whole(uploaded)) => Ok(Some(Resumed::Whole(uploaded))),
            None => Ok(None),
        }
    }

    async fn unfinished_uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        let prefix = prefix.to_owned();
        self.blocking(move |store| resume::unfinished(store, &prefix))
            .await
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        let upload = upload.clone();
        self.blocking(move |store| resume::abort(store, &upload)).await
    }
}

impl CheckpointStore for FolderStore {
    /// The condition is not checked, because the process that drives an upload holds the lock on its file.
    async fn put_checkpoint(&self, key: &str, bytes: Bytes, _: Condition) -> Result<Version> {
        let key = key.to_owned();
        self.blocking(move |store| {
            let path = store.path(&key)?;
            let mut temp = Temp::create(store, &key).map_err(|error| failed(&key, &error))?;
            temp.write(&bytes).map_err(|error| failed(&key, &error))?;
            temp.publish_unsynced(store, &path)?;
            Ok(version(&bytes))
        })
        .await
    }
}

/// The whole file, or `None` if there is no such file.
fn bytes(key: &str, path: &Path) -> Result<Option<Bytes>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failed(key, &error)),
    }
}

fn read_range(path: &Path, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let left = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut piece = Vec::with_capacity(length.min(left));
    file.seek(io::SeekFrom::Start(offset))?;
    file.take(length as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

fn version(bytes: &[u8]) -> Version {
    Version(hex::encode(Sha256::digest(bytes)))
}

fn holds(key: &str, condition: bool) -> Result<()> {
    if condition {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Precondition,
        key,
        "another writer changed it meanwhile",
    ))
}

/// Calls `found` for every file below `folder`, which is the key of a folder or empty, but for temporary files. Links are
/// not followed.
fn walk(
    root: &Path,
    folder: &str,
    prefix: &str,
    found: &mut dyn FnMut(String, &fs::Metadata),
) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder == TEMP {
            continue;
        }
        let entries = match fs::read_dir(root.join(&folder)) {
            Err(error) if is_missing(&error) => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // This program writes UTF-8 names only.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let key = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            // Neither above the prefix nor below it.
            if !key.starts_with(prefix) && !prefix.starts_with(&key) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(key),
                Ok(metadata) if metadata.is_file() => found(key, &metadata),
                Ok(_) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// True if there is no such file, also if its folder is a file.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

/// Makes a folder and those above it, for the owner and the group alone, because the lake holds personal data. Each new
/// name is synced, so that a crash does not lose a synced file with its folder.
fn make_folders(path: &Path) -> io::Result<()> {
    make_folders_as(path, 0o750, &sync_folder)
}

/// Makes the folder of a temporary file, which a crash may lose.
fn make_unsynced_folders(path: &Path) -> io::Result<()> {
    make_folders_as(path, 0o750, &|_| Ok(()))
}

/// Makes the folder of temporary files, for the owner alone, because anybody who can open a file can hold its lock.
fn make_temp_folder(root: &Path) -> io::Result<()> {
    let path = root.join(TEMP);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        match fs::metadata(&path) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                // Only the owner can do this; any other user works with the folder as it is.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).ok();
            }
            _ => {}
        }
    }
    make_folders(&root.join(STATE))?;
    make_folders_as(&path, 0o700, &sync_folder)
}

fn make_folders_as(path: &Path, mode: u32, sync: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent();
    if let Some(parent) = parent {
        make_folders_as(parent, 0o750, sync)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
    let made = {
        let _making = MAKING_FOLDER.write();
        builder.create(path).inspect(|()| owner::inherit_folder(path))
    };
    match made {
        // Another writer was quicker.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        Err(error) => Err(error),
        Ok(()) => parent.map_or(Ok(()), sync),
    }
}

/// Opens a file that only the owner writes and the group reads.
fn create(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o640);
    let file = options.open(path)?;
    owner::inherit_file(&file, path);
    Ok(file)
}

/// Syncs the names in a folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    // Other systems can't open a folder, and need no sync.
    if cfg!(unix) {
        File::open(path)?.sync_all()
    } else {
        Ok(())
    }
}

/// The store's error for a failed file operation.
fn failed(key: &str, error: &io::Error) -> Error {
    let failure = Error::new(ErrorKind::Store, key, plain(error));
    match error.kind() {
        io::ErrorKind::TimedOut => Error::new(ErrorKind::StoreUnavailable, key, plain(error))
            .hint("end that process, or wait for it; the next run goes on"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure.hint("free space below store.url")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            failure.hint("let this user write below store.url")
        }
        _ => failure,
    }
}

/// The system's own message, without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
