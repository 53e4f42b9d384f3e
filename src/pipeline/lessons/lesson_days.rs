//! The lesson days in the store: each is changed by a conditional write, and its date's tables are built from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use serde::Serialize;

use crate::lake::key;
use crate::store::json::{get_json, to_json};
use crate::store::{Condition, Object, Store, Version};
use crate::tables::TableFile;
use crate::tables::lessons::{Change, Entry, build_meta_tables, find, shelve};
use crate::{Error, ErrorKind, Result};

/// Lost conditional writes after which an import gives up.
const TRIES: usize = 20;

/// Writes lesson days and their tables.
pub(crate) struct Shelving<'a> {
    pub store: &'a dyn Store,
    /// True if the store honours conditional writes.
    pub conditional: bool,
    /// Objects written or removed.
    pub writes: u64,
}

impl<'a> Shelving<'a> {
    pub fn new(store: &'a dyn Store, conditional: bool) -> Self {
        Self {
            store,
            conditional,
            writes: 0,
        }
    }

    /// Changes the lesson day of a date. Its tables are stale until [`Shelving::mend`].
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the lesson day; else any error of the store.
    pub async fn shelve(&mut self, date: NaiveDate, change: &Arc<Change>) -> Result<()> {
        let key = key::meta_shelf(date);
        for _ in 0..TRIES {
            let before = read_shelf(self.store, date).await?;
            let (bytes, version) = before.map(|shelf| (shelf.bytes, shelf.version)).unzip();
            let change = Arc::clone(change);
            let changed = blocking(move || shelve(date, bytes.as_deref(), &change)).await?;
            let Some(shelf) = changed else {
                return Ok(());
            };
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            match self.put(&key, shelf, condition).await {
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                put => return put.map(|_| ()),
            }
        }
        Err(busy(&key))
    }

    /// Builds the tables of a date's lesson day, again if another process changed it meanwhile.
    ///
    /// # Errors
    /// As [`Shelving::shelve`].
    pub async fn mend(&mut self, date: NaiveDate) -> Result<()> {
        for _ in 0..TRIES {
            // Read the tables' versions before the lesson day. Then, of two concurrent importers, the one that has the
            // newer lesson day wins the conditional write.
            let seen = self.tables(date).await?;
            let shelf = read_shelf(self.store, date).await?;
            let (bytes, version) = shelf.map(|shelf| (shelf.bytes, shelf.version)).unzip();
            let built = blocking(move || build_meta_tables(date, bytes.as_deref())).await?;
            match self.put_tables(built, seen).await {
                Err(error) if error.kind() == ErrorKind::Precondition => continue,
                done => done?,
            }
            let now = read_shelf(self.store, date).await?;
            if now.map(|shelf| shelf.version) == version {
                return Ok(());
            }
        }
        Err(busy(&key::meta_shelf(date)))
    }

    /// The tables of a date as they are in the store.
    async fn tables(&self, date: NaiveDate) -> Result<BTreeMap<String, Option<Object>>> {
        let mut seen = BTreeMap::new();
        for table in ["user_meta", "hierarchy"] {
            let key = key::table(table, date, &table.into());
            let object = match self.store.get(&key).await {
                Ok(object) => Some(object),
                Err(error) if error.kind() == ErrorKind::StoreNotFound => None,
                Err(error) => return Err(error),
            };
            seen.insert(key, object);
        }
        Ok(seen)
    }

    /// Writes the tables that differ from those that were read, unless another process has changed them since.
    async fn put_tables(
        &mut self,
        files: Vec<TableFile>,
        mut seen: BTreeMap<String, Option<Object>>,
    ) -> Result<()> {
        for file in files {
            match seen.remove(&file.key).flatten() {
                Some(object) if object.bytes == file.bytes => {}
                object => {
                    let condition =
                        object.map_or(Condition::Absent, |object| Condition::Unchanged(object.version));
                    self.put(&file.key, file.bytes, condition).await?;
                }
            }
        }
        for (key, object) in seen {
            if object.is_some() {
                self.store.delete(&key).await?;
                self.writes += 1;
            }
        }
        Ok(())
    }

    /// Changes an object of the program under a condition, and tries again if another process was faster. Gives the new
    /// value.
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the object; else any error of the store.
    pub async fn update<T>(&mut self, key: &str, change: impl Fn(&mut T)) -> Result<T>
    where
        T: Default + Clone + PartialEq + Serialize + serde::de::DeserializeOwned,
    {
        for _ in 0..TRIES {
            let (before, version) = match get_json::<T>(self.store, key).await? {
                Some((value, version)) => (value, Some(version)),
                None => (T::default(), None),
            };
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                return Ok(after);
            }
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            match self.put(key, to_json(&after)?, condition).await {
                Ok(_) => return Ok(after),
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                Err(error) => return Err(error),
            }
        }
        Err(busy(key))
    }

    /// Writes an object, under a condition if the store honours it.
    ///
    /// # Errors
    /// `Precondition` if the condition does not hold; else any error of the store.
    pub async fn put(&mut self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        let condition = if self.conditional {
            condition
        } else {
            Condition::Any
        };
        self.writes += 1;
        self.store.put(key, bytes, condition).await
    }
}

/// The lesson day of a date; `None` if there is none.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn read_shelf(store: &dyn Store, date: NaiveDate) -> Result<Option<Object>> {
    match store.get(&key::meta_shelf(date)).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finds entries in a lesson day by meeting and user, on a thread that may block.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub(crate) async fn find_on(
    date: NaiveDate,
    shelf: Bytes,
    wanted: impl FnMut(&str, &str) -> bool + Send + 'static,
) -> Result<Vec<Entry>> {
    blocking(move || find(date, &shelf, wanted)).await
}

/// Runs work on a thread that may block, because a large lesson day takes a second.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Internal,
            "lesson data",
            "the work on it broke off",
        ))
    })
}

fn busy(key: &str) -> Error {
    Error::new(
        ErrorKind::Precondition,
        key,
        "other processes keep changing it; import the file again",
    )
}
