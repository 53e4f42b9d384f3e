//! Erases people from lesson data: files as they came, what waits in the relay, lesson days and their tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::book::{ErasureBook, planned};
use super::stopped;
use crate::lake::key;
use crate::lake::table::builtin;
use crate::pipeline::lake_state::erasures::{DayErasure, LeftToHuman};
use crate::pipeline::lessons::import::Marker;
use crate::pipeline::lessons::lesson_days::LessonDayWriter;
use crate::store::json::to_json;
use crate::store::{Condition, OptionalExt, StoredObject};
use crate::tables::lessons::{EntryFate, LessonEntry};
use crate::tables::{self, Footer, Traces};
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// Objects in work at once.
const AT_ONCE: usize = 8;
/// Lost conditional writes after which an object is given up.
const TRIES: u32 = 20;
/// The places of files of lesson data.
const FILES: [(&str, &str); 4] = [
    (key::RAW_META, "raw lesson data"),
    (key::RELAY_NEW, "waiting lesson data"),
    (key::RELAY_DUE, "waiting lesson data"),
    (key::RELAY_REFUSED, "refused lesson data"),
];

/// Erases the people from all lesson data.
///
/// # Errors
/// Any error of the store; a stop.
pub(super) async fn erase(book: &Arc<ErasureBook>) -> Result<()> {
    let dates = book.run.store.list(key::LESSON_DAYS).await?;
    let dates: BTreeSet<_> = dates
        .iter()
        .filter_map(|object| key::date_in(&object.key))
        .collect();
    for date in &dates {
        learn(book, *date).await?;
    }
    for (prefix, kind) in FILES {
        let listed = book.run.store.list(prefix).await?;
        stream::iter(listed)
            .map(|object| file(book, object.key, kind))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    for date in dates {
        lesson_day(book, date).await?;
    }
    for date in book.pending_dates().await {
        if let Ok(date) = date.parse() {
            finish(book, date).await?;
        }
    }
    Ok(())
}

/// Learns the names of the people from their own entries of a date.
async fn learn(book: &ErasureBook, date: NaiveDate) -> Result<()> {
    let Some(object) = book.run.store.get(&key::lesson_day(date)).await.optional()? else {
        return Ok(());
    };
    let erased = Arc::clone(&book.erased);
    let known = isolated_blocking("lesson day", move || {
        let own = tables::lessons::find_entries(date, &object.bytes, |_, user| erased.has_user(user))?;
        let mut known = Traces::default();
        tables::learn_names(&own, &mut known);
        Ok(known)
    })
    .await?;
    book.learn(&known);
    Ok(())
}

fn check_stop(book: &ErasureBook) -> Result<()> {
    match book.run.cancel.is_cancelled() {
        true => Err(stopped()),
        false => Ok(()),
    }
}

/// Erases the people from a file of lesson data.
async fn file(book: &Arc<ErasureBook>, key: String, kind: &str) -> Result<()> {
    for _ in 0..TRIES {
        check_stop(book)?;
        let Some(object) = book.run.store.get(&key).await.optional()? else {
            return Ok(());
        };
        let (bytes, erased) = (object.bytes.clone(), Arc::clone(&book.erased));
        let mut known = book.traces();
        let searching = isolated_blocking(&key, move || {
            let done = tables::erase_meta_file(&bytes, &erased, &mut known);
            Ok((done, known))
        });
        let (done, known) = searching.await?;
        book.learn(&known);
        let Some(done) = done else {
            return Ok(());
        };
        if done.mentions > 0 {
            let note = format!("{} payloads of others mention the person", done.mentions);
            leave(book, "mention", &key, note).await?;
        }
        if done.unreadable > 0 {
            let note = format!(
                "{} unreadable parts were removed, because they may be about the person",
                done.unreadable
            );
            leave(book, "unreadable", &key, note).await?;
        }
        if done.bytes == object.bytes {
            return Ok(());
        }
        book.count_object(kind, &key).await?;
        if book.is_dry {
            return Ok(());
        }
        let digest = hex::encode(Sha256::digest(&done.bytes));
        let renamed = key
            .starts_with(key::RAW_META)
            .then(|| key::erased_raw_meta(&key, &digest))
            .flatten();
        if let Some(renamed) = renamed {
            // A raw file never changes, and its name says its digest.
            book.run.put(&renamed, done.bytes.into(), Condition::Any).await?;
            return book.run.delete(&key).await;
        }
        let condition = Condition::Unchanged(object.version);
        match book.run.put(&key, done.bytes.into(), condition).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {}
            written => return written.map(|_| ()),
        }
    }
    Err(busy(&key))
}

async fn leave(book: &ErasureBook, kind: &str, place: &str, note: String) -> Result<()> {
    book.leave([LeftToHuman {
        kind: kind.into(),
        place: place.into(),
        note,
    }])
    .await
}

/// What an erasure changes in a lesson day.
#[derive(Default)]
struct Changes {
    entries: u64,
    /// Entries of others that mention the people.
    mentions: u64,
    /// The marks of the meetings whose days are to be built again.
    meetings: BTreeSet<String>,
    known: Traces,
}

/// Erases the people from a lesson day, and builds its tables.
async fn lesson_day(book: &Arc<ErasureBook>, date: NaiveDate) -> Result<()> {
    let key = key::lesson_day(date);
    for _ in 0..TRIES {
        check_stop(book)?;
        let Some(StoredObject { bytes, version }) = book.run.store.get(&key).await.optional()? else {
            return Ok(());
        };
        let (changes, edited) = edit(book, date, bytes).await?;
        book.learn(&changes.known);
        if changes.mentions > 0 {
            let note = format!("{} entries of others mention the person", changes.mentions);
            leave(book, "mention", &key, note).await?;
        }
        let Some(edited) = edited else {
            return Ok(());
        };
        plan(book, date, &changes).await?;
        if book.is_dry {
            return Ok(());
        }
        match book.run.put(&key, edited, Condition::Unchanged(version)).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {}
            Err(error) => return Err(error),
            Ok(_) => return finish(book, date).await,
        }
    }
    Err(busy(&key))
}

async fn edit(book: &ErasureBook, date: NaiveDate, bytes: Bytes) -> Result<(Changes, Option<Bytes>)> {
    let (erased, known) = (Arc::clone(&book.erased), book.traces());
    isolated_blocking("lesson day", move || {
        let changes = Mutex::new(Changes {
            known,
            ..Changes::default()
        });
        let edited = tables::lessons::edit_lesson_day(date, &bytes, |entry: &mut LessonEntry| {
            let mut changes = changes.lock();
            let (fate, mentions) = tables::erase_entry_noting(entry, &erased, &mut changes.known);
            changes.mentions += u64::from(mentions > 0);
            if fate != EntryFate::Stays {
                changes.entries += 1;
                changes.meetings.insert(key::mark_text(key::mark(&entry.meeting)));
            }
            fate
        })?;
        Ok((changes.into_inner(), edited))
    })
    .await
}

/// Notes what is about to be destroyed, and leaves the marker by which the days of the meetings are built again.
async fn plan(book: &ErasureBook, date: NaiveDate, changes: &Changes) -> Result<()> {
    let before = table_rows(book, date).await?;
    let id = book
        .note(|erasure| {
            let new = DayErasure {
                rows_before: before,
                ..DayErasure::default()
            };
            let known = erasure.dates.remove(&date.to_string());
            erasure.dates.insert(date.to_string(), planned(known, new));
            if erasure.touched.insert(key::lesson_day(date)) {
                *erasure.objects.entry("lesson days".into()).or_default() += 1;
            }
            let tables = builtin::per_date().map(|table| key::date_table(table, date));
            erasure.touched.extend(tables);
            erasure.id.clone()
        })
        .await?;
    if book.is_dry {
        return Ok(());
    }
    let marker = Marker {
        dates: [date].into(),
        meetings: changes.meetings.clone(),
    };
    let key = key::meta_changed(&format!("{id}-{date}-{:06x}", fastrand::u32(..0x0100_0000)));
    book.run
        .put(&key, to_json(&marker)?, Condition::Any)
        .await
        .map(|_| ())
}

/// The rows of the tables of a date of lesson data.
async fn table_rows(book: &ErasureBook, date: NaiveDate) -> Result<BTreeMap<String, u64>> {
    let mut rows = BTreeMap::new();
    for table in builtin::per_date() {
        if let Some(bytes) = book
            .run
            .store
            .read(&key::date_table(table, date))
            .await
            .optional()?
            && let Ok(Footer::Rows(count)) = tables::footer(&bytes, bytes.len() as u64)
        {
            rows.insert(table.to_owned(), count);
        }
    }
    Ok(rows)
}

/// Builds the tables of a date from its lesson day, and notes what is left.
async fn finish(book: &ErasureBook, date: NaiveDate) -> Result<()> {
    let writer = LessonDayWriter::new(&*book.run.store, book.run.mapping.privacy());
    writer.build_tables(date).await?;
    let after = table_rows(book, date).await?;
    book.note(|erasure| {
        let entry = erasure.dates.entry(date.to_string()).or_default();
        entry.rows_after = after;
        entry.is_done = true;
    })
    .await
}

fn busy(key: &str) -> Error {
    Error::new(ErrorKind::Precondition, key, "other processes keep changing it")
        .hint("run the same command again")
}
