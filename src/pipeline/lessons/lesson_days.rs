//! The lesson days in the store: each is changed by a conditional write, and its date's tables are built from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use serde::Serialize;

use crate::lake::key;
use crate::lake::table::builtin;
use crate::store::json::update_json;
use crate::store::{Condition, OptionalExt, Store, StoredObject, Version};
use crate::tables::TableFile;
use crate::tables::lessons::{
    LessonDayChange, LessonEntry, build_lesson_tables, change_lesson_day, find_entries,
};
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// Lost conditional writes after which an import gives up.
const TRIES: usize = 20;

/// Writes lesson days and their tables.
pub(crate) struct LessonDayWriter<'a> {
    pub store: &'a dyn Store,
    /// Objects written or removed.
    pub writes: u64,
}

impl<'a> LessonDayWriter<'a> {
    pub fn new(store: &'a dyn Store) -> Self {
        Self { store, writes: 0 }
    }

    /// Changes the lesson day of a date. Its tables are stale until [`LessonDayWriter::build_tables`].
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the lesson day; else any error of the store.
    pub async fn change(&mut self, date: NaiveDate, change: &Arc<LessonDayChange>) -> Result<()> {
        let key = key::lesson_day(date);
        for _ in 0..TRIES {
            let before = read_lesson_day(self.store, date).await?;
            let (bytes, version) = before
                .map(|lesson_day| (lesson_day.bytes, lesson_day.version))
                .unzip();
            let change = Arc::clone(change);
            let changed = blocking(move || change_lesson_day(date, bytes.as_deref(), &change)).await?;
            let Some(lesson_day) = changed else {
                return Ok(());
            };
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            match self.put(&key, lesson_day, condition).await {
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                put => return put.map(|_| ()),
            }
        }
        Err(busy(&key))
    }

    /// Builds the tables of a date's lesson day, again if another process changed it meanwhile.
    ///
    /// # Errors
    /// As [`LessonDayWriter::change`].
    pub async fn build_tables(&mut self, date: NaiveDate) -> Result<()> {
        for _ in 0..TRIES {
            // Read the tables' versions before the lesson day. Then, of two concurrent importers, the one that has the
            // newer lesson day wins the conditional write.
            let seen = self.tables(date).await?;
            let lesson_day = read_lesson_day(self.store, date).await?;
            let (bytes, version) = lesson_day
                .map(|lesson_day| (lesson_day.bytes, lesson_day.version))
                .unzip();
            let built = blocking(move || build_lesson_tables(date, bytes.as_deref())).await?;
            match self.put_tables(built, seen).await {
                Err(error) if error.kind() == ErrorKind::Precondition => continue,
                done => done?,
            }
            let now = read_lesson_day(self.store, date).await?;
            if now.map(|lesson_day| lesson_day.version) == version {
                return Ok(());
            }
        }
        Err(busy(&key::lesson_day(date)))
    }

    /// The tables of a date as they are in the store.
    async fn tables(&self, date: NaiveDate) -> Result<BTreeMap<String, Option<StoredObject>>> {
        let mut seen = BTreeMap::new();
        for table in builtin::per_date() {
            let key = key::date_table(table, date);
            let object = self.store.get(&key).await.optional()?;
            seen.insert(key, object);
        }
        Ok(seen)
    }

    /// Writes the tables that differ from those that were read, unless another process has changed them since.
    async fn put_tables(
        &mut self,
        files: Vec<TableFile>,
        mut seen: BTreeMap<String, Option<StoredObject>>,
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
        let updated = update_json(self.store, key, change).await?;
        self.writes += u64::from(updated.is_written);
        Ok(updated.value)
    }

    /// Writes an object.
    ///
    /// # Errors
    /// `Precondition` if the condition does not hold; else any error of the store.
    pub async fn put(&mut self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        self.writes += 1;
        self.store.put(key, bytes, condition).await
    }
}

/// The lesson day of a date; `None` if there is none.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn read_lesson_day(store: &dyn Store, date: NaiveDate) -> Result<Option<StoredObject>> {
    store.get(&key::lesson_day(date)).await.optional()
}

/// Finds entries in a lesson day by meeting and user, on a thread that may block.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub(crate) async fn read_entries(
    date: NaiveDate,
    lesson_day: Bytes,
    wanted: impl FnMut(&str, &str) -> bool + Send + 'static,
) -> Result<Vec<LessonEntry>> {
    blocking(move || find_entries(date, &lesson_day, wanted)).await
}

/// Runs work on a thread that may block, because a large lesson day takes a second.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    isolated_blocking("lesson data", work).await
}

fn busy(key: &str) -> Error {
    Error::new(
        ErrorKind::Precondition,
        key,
        "other processes keep changing it; import the file again",
    )
}
