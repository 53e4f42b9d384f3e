//! Writes of whole objects into a folder. Blocks; called from a thread.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::temp::{self, Temp};
use super::{Condition, FolderStore, Version, bytes, failed, holds, sync_folder, unnamed, version};
use crate::Result;

impl FolderStore {
    /// Writes an object, synced, if the condition holds at the moment when it gets its name.
    pub(super) fn put_now(&self, key: &str, content: &[u8], condition: &Condition) -> Result<Version> {
        let path = self.path(key)?;
        let written = version(content);
        let condition = || match condition {
            _ if self.has_no_locks.load(Ordering::Relaxed) => Ok(()),
            Condition::Any => Ok(()),
            Condition::Absent => holds(key, bytes(key, &path)?.is_none()),
            Condition::Unchanged(known) => holds(
                key,
                bytes(key, &path)?.is_some_and(|found| version(&found) == *known),
            ),
        };
        if !self.put_unnamed(key, (&path, content), &condition)? {
            let mut temp = Temp::create(self, key).map_err(|error| failed(key, &error))?;
            temp.write(content).map_err(|error| failed(key, &error))?;
            temp.publish(self, &path, condition)?;
        }
        self.unsynced.forget(&path);
        Ok(written)
    }

    /// Writes the content as a file without a name, syncs it, and gives it its name if the condition holds at that moment.
    /// Returns false if that can't be done here, so that the content must go through a temporary file, which also reports
    /// the reason.
    fn put_unnamed(
        &self,
        key: &str,
        (path, content): (&Path, &[u8]),
        condition: &dyn Fn() -> Result<()>,
    ) -> Result<bool> {
        let write = || {
            let mut file = unnamed::create(path)?;
            file.write_all(content)?;
            file.sync_all()?;
            Ok::<_, io::Error>(file)
        };
        let Ok(file) = write() else {
            return Ok(false);
        };
        let lock = self.lock().map_err(|error| failed(key, &error))?;
        condition()?;
        let named = match unnamed::link(&file, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => temp::replace(self, &file, path),
            named => named,
        };
        drop(lock);
        if named.is_err() {
            return Ok(false);
        }
        sync_folder(path.parent().unwrap_or(&self.root)).map_err(|error| failed(key, &error))?;
        Ok(true)
    }
}
