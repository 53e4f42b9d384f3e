//! The lesson days in the store: each is changed by a conditional write, and its date's tables are built from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chrono::NaiveDate;
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::lake::key;
use crate::lake::table::builtin;
use crate::store::json::update_json;
use crate::store::{Condition, OptionalExt, Store, StoredObject, Version};
use crate::tables::lessons::{
    self, LessonDayChange, LessonEntry, build_lesson_tables, change_lesson_day, find_entries,
};
use crate::tables::{PrivacyPolicy, TableFile};
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// Lost conditional writes after which an import gives up.
const TRIES: usize = 20;
/// Objects read or written at once.
pub(super) const AT_ONCE: usize = 8;
/// Lesson days computed at once.
const TURNS: usize = 2;
/// Bytes of lesson days, compressed as they are, that are kept from their writing to the building of their tables.
const KEPT_BYTES: usize = 8 << 20;

/// Writes lesson days and their tables. Several dates may be written at once.
pub(crate) struct LessonDayWriter<'a> {
    pub store: &'a dyn Store,
    privacy: PrivacyPolicy,
    writes: AtomicU64,
    /// Limits the lesson days that are being read into memory and written anew.
    turns: Semaphore,
    /// The lesson days that this writer wrote, if they are small: their tables are built without reading them again.
    written: Mutex<BTreeMap<NaiveDate, StoredObject>>,
}

impl<'a> LessonDayWriter<'a> {
    /// A writer, whose tables are treated as the policy says.
    pub fn new(store: &'a dyn Store, privacy: &PrivacyPolicy) -> Self {
        Self {
            store,
            privacy: privacy.clone(),
            writes: AtomicU64::new(0),
            turns: Semaphore::new(TURNS),
            written: Mutex::default(),
        }
    }

    /// Objects written or removed.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Changes lesson days. Their tables are stale until [`LessonDayWriter::build_tables`].
    ///
    /// # Errors
    /// As [`LessonDayWriter::change`].
    pub async fn change_all(&self, changes: Vec<(NaiveDate, LessonDayChange)>) -> Result<()> {
        stream::iter(changes)
            .map(|(date, change)| self.change(date, change.into()))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Builds the tables of the lesson days of some dates.
    ///
    /// # Errors
    /// As [`LessonDayWriter::change`].
    pub async fn build_all(&self, dates: BTreeSet<NaiveDate>) -> Result<()> {
        stream::iter(dates)
            .map(|date| self.build_tables(date))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Changes the lesson day of a date.
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the lesson day; else any error of the store.
    async fn change(&self, date: NaiveDate, change: Arc<LessonDayChange>) -> Result<()> {
        let key = key::lesson_day(date);
        for _ in 0..TRIES {
            let before = read_lesson_day(self.store, date).await?;
            let (bytes, version) = before
                .map(|lesson_day| (lesson_day.bytes, lesson_day.version))
                .unzip();
            let change = Arc::clone(&change);
            let changed = self
                .compute(move || change_lesson_day(date, bytes.as_deref(), &change))
                .await?;
            let Some(bytes) = changed else {
                return Ok(());
            };
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            match self.put(&key, bytes.clone(), condition).await {
                Err(error) if error.kind() == ErrorKind::Precondition => {}
                Err(error) => return Err(error),
                Ok(version) => {
                    self.keep(date, StoredObject { bytes, version });
                    return Ok(());
                }
            }
        }
        Err(busy(&key))
    }

    /// Keeps a lesson day for its tables if that takes little memory.
    fn keep(&self, date: NaiveDate, lesson_day: StoredObject) {
        let mut written = self.written.lock();
        written.remove(&date);
        let kept: usize = written.values().map(|kept| kept.bytes.len()).sum();
        if kept + lesson_day.bytes.len() <= KEPT_BYTES {
            written.insert(date, lesson_day);
        }
    }

    /// Builds the tables of a date's lesson day, again if another process changed it meanwhile.
    ///
    /// # Errors
    /// As [`LessonDayWriter::change_all`].
    pub async fn build_tables(&self, date: NaiveDate) -> Result<()> {
        let mut own = self.written.lock().remove(&date);
        for _ in 0..TRIES {
            // Read the tables' versions before the lesson day. Then, of two concurrent importers, the one that has the
            // newer lesson day wins the conditional write. A lesson day that this writer wrote may be older than the
            // tables; then the check below finds the newer one.
            let seen = self.tables(date).await?;
            let lesson_day = match own.take() {
                Some(own) => Some(own),
                None => read_lesson_day(self.store, date).await?,
            };
            let (bytes, version) = lesson_day
                .map(|lesson_day| (lesson_day.bytes, lesson_day.version))
                .unzip();
            let privacy = self.privacy.clone();
            let built = self.compute(move || build_lesson_tables(date, bytes.as_deref(), &privacy));
            match self.put_tables(built.await?, seen).await {
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
        let keys = builtin::per_date().map(|table| key::date_table(table, date));
        let read = keys.map(|key| async {
            let object = self.store.get(&key).await.optional()?;
            Ok((key, object))
        });
        let read = try_join_all(read).await?;
        Ok(read.into_iter().collect())
    }

    /// Writes the tables that differ from those that were read, unless another process has changed them since.
    async fn put_tables(
        &self,
        files: Vec<TableFile>,
        mut seen: BTreeMap<String, Option<StoredObject>>,
    ) -> Result<()> {
        let mut changed = Vec::new();
        for file in files {
            match seen.remove(&file.key).flatten() {
                Some(object) if object.bytes == file.bytes => {}
                object => changed.push((file, object.map(|object| object.version))),
            }
        }
        let puts = changed.into_iter().map(|(file, version)| async move {
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            self.put(&file.key, file.bytes, condition).await
        });
        try_join_all(puts).await?;
        for (key, object) in seen {
            if object.is_some() {
                self.store.delete(&key).await?;
                self.writes.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Computes on a thread that may block, when it is its turn.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // It is never closed.
        let _turn = self.turns.acquire().await;
        blocking(work).await
    }

    /// Changes an object of the program under a condition, and tries again if another process was faster. Gives the new
    /// value.
    ///
    /// # Errors
    /// `Precondition` if other processes keep changing the object; else any error of the store.
    pub async fn update<T>(&self, key: &str, change: impl Fn(&mut T)) -> Result<T>
    where
        T: Default + Clone + PartialEq + Serialize + serde::de::DeserializeOwned,
    {
        let updated = update_json(self.store, key, change).await?;
        self.writes
            .fetch_add(u64::from(updated.is_written), Ordering::Relaxed);
        Ok(updated.value)
    }

    /// Writes an object.
    ///
    /// # Errors
    /// `Precondition` if the condition does not hold; else any error of the store.
    pub async fn put(&self, key: &str, bytes: Bytes, condition: Condition) -> Result<Version> {
        self.writes.fetch_add(1, Ordering::Relaxed);
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

/// All entries of a lesson day, by meeting and user, on a thread that may block; `None` if they take more than `most` bytes.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub(crate) async fn all_entries(
    date: NaiveDate,
    lesson_day: Bytes,
    most: usize,
) -> Result<Option<Vec<LessonEntry>>> {
    blocking(move || lessons::all_entries(date, &lesson_day, most)).await
}

/// Runs work on a thread that may block, because a large lesson day takes a second.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    isolated_blocking("lesson data", work).await
}

fn busy(key: &str) -> Error {
    Error::new(
        ErrorKind::Precondition,
        key,
        "other processes keep changing it; import the file again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::folder::FolderStore;

    fn changes(user: &str, dates: &[NaiveDate]) -> Vec<(NaiveDate, LessonDayChange)> {
        let entry = LessonEntry {
            meeting: "m".into(),
            user: user.into(),
            received_at: chrono::DateTime::UNIX_EPOCH,
            file: "f".into(),
            line: 1,
            meta: Some(r#"{"user_role":"student"}"#.into()),
            start: None,
            known: Default::default(),
        };
        let change = |date: &NaiveDate| {
            let put = [entry.clone()].into_iter().collect();
            let moved = Default::default();
            (*date, LessonDayChange { put, moved })
        };
        dates.iter().map(change).collect()
    }

    #[tokio::test]
    async fn tables_are_those_of_the_lesson_day_also_if_another_import_changed_it_meanwhile() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let dates: Vec<_> = (1..=20)
            .filter_map(|day| NaiveDate::from_ymd_opt(2026, 11, day))
            .collect();
        let writer = || LessonDayWriter::new(&store, &PrivacyPolicy::default());
        let (mine, theirs) = (writer(), writer());
        mine.change_all(changes("u", &dates)).await.expect("changed");
        theirs
            .change_all(changes("v", &dates[..3]))
            .await
            .expect("changed");
        for writer in [&theirs, &mine] {
            writer
                .build_all(dates.iter().copied().collect())
                .await
                .expect("built");
        }
        for (at, date) in dates.iter().enumerate() {
            let lesson_day = read_lesson_day(&store, *date)
                .await
                .expect("read")
                .expect("a lesson day");
            let built = build_lesson_tables(*date, Some(&lesson_day.bytes), &PrivacyPolicy::default())
                .expect("tables");
            let users = if at < 3 { 2 } else { 1 };
            assert_eq!(built.first().map(|file| file.rows), Some(users));
            for file in built {
                assert_eq!(
                    store.read(&file.key).await.expect("a table"),
                    file.bytes,
                    "{}",
                    file.key
                );
            }
        }
        // Nothing has changed, so nothing is written.
        let again = writer();
        again.change_all(changes("u", &dates)).await.expect("unchanged");
        again
            .build_all(dates.into_iter().collect())
            .await
            .expect("unchanged");
        assert_eq!(again.writes(), 0);
    }
}
