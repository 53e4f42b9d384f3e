//! The shelves of lesson data in the store: each changed on the condition of what was read, with its date's tables.

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

/// A writer of shelves.
pub(crate) struct Shelving<'a> {
    pub store: &'a dyn Store,
    /// Whether the store honours conditional writes.
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

    /// Changes a date's shelf; its tables are not of it until [`Shelving::mend`].
    ///
    /// # Errors
    /// Of the store; `Precondition` where others keep changing the shelf.
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

    /// Builds the tables of a date's shelf, until no other process has changed it meanwhile.
    ///
    /// # Errors
    /// As [`Shelving::shelve`].
    pub async fn mend(&mut self, date: NaiveDate) -> Result<()> {
        for _ in 0..TRIES {
            // Read the tables' versions before the shelf. Then, of two concurrent importers, the one that holds the
            // newer shelf wins the conditional write.
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

    /// The tables of a date as they lie there.
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

    /// Writes tables where they are not there yet, over what was seen and nothing else.
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

    /// Changes one of the program's own objects under a condition, again and again until no other process was faster.
    /// Gives the new value.
    ///
    /// # Errors
    /// Of the store; `Precondition` where others keep changing the object.
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

    /// Writes an object, conditionally where the store can.
    ///
    /// # Errors
    /// `Precondition` when the condition does not hold; else of the store.
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

/// A date's shelf; none where it has none.
///
/// # Errors
/// Of the store.
pub(crate) async fn read_shelf(store: &dyn Store, date: NaiveDate) -> Result<Option<Object>> {
    match store.get(&key::meta_shelf(date)).await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks entries up on a shelf, by meeting and user, where it may block.
///
/// # Errors
/// `Store` where the shelf is damaged.
pub(crate) async fn find_on(
    date: NaiveDate,
    shelf: Bytes,
    wanted: impl FnMut(&str, &str) -> bool + Send + 'static,
) -> Result<Vec<Entry>> {
    blocking(move || find(date, &shelf, wanted)).await
}

/// A large shelf takes a second: other work of the runtime goes on meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Internal,
            "lesson data",
            "its work broke off",
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
