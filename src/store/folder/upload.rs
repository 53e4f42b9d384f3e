//! Uploads into a folder: chunks are gathered to pieces of a MiB, written to a temporary file and named at the end.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use super::temp::{self, Temp};
use super::{FolderStore, failed};
use crate::store::Upload;
use crate::{Error, ErrorKind, Result};

/// Bytes gathered before a thread is asked to write them.
const PIECE: usize = 1024 * 1024;

/// An upload in progress.
pub(super) struct FolderUpload {
    store: FolderStore,
    key: String,
    path: PathBuf,
    /// Taken while it is written to; an upload that lost it has failed.
    temp: Option<Temp>,
    gathered: Vec<Bytes>,
    bytes: usize,
}

impl FolderUpload {
    pub(super) fn new(store: FolderStore, key: &str, path: PathBuf, temp: Temp) -> Self {
        Self {
            store,
            key: key.into(),
            path,
            temp: Some(temp),
            gathered: Vec::new(),
            bytes: 0,
        }
    }

    fn take_temp(&mut self) -> Result<Temp> {
        self.temp
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Store, &*self.key, "the upload has failed before"))
    }

    /// Writes what is gathered. On failure the temporary file is gone.
    async fn flush(&mut self) -> Result<Temp> {
        let mut temp = self.take_temp()?;
        let (key, gathered) = (self.key.clone(), std::mem::take(&mut self.gathered));
        self.bytes = 0;
        self.store
            .blocking(move |_| {
                for chunk in &gathered {
                    temp.write(chunk).map_err(|error| failed(&key, &error))?;
                }
                Ok(temp)
            })
            .await
    }
}

#[async_trait]
impl Upload for FolderUpload {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.bytes += chunk.len();
        self.gathered.push(chunk);
        if self.bytes >= PIECE {
            self.temp = Some(self.flush().await?);
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<()> {
        let temp = self.flush().await?;
        let path = self.path.clone();
        self.store
            .blocking(move |store| temp.publish(store, &path, || Ok(())))
            .await
    }

    async fn abort(mut self: Box<Self>) -> Result<()> {
        let (temp, key) = (self.temp.take(), self.key.clone());
        self.store
            .blocking(move |store| {
                drop(temp);
                let _lock = store.lock().map_err(|error| failed(&key, &error))?;
                temp::prune(store, &key);
                Ok(())
            })
            .await
    }
}
