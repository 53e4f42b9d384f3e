//! Lesson days: the latest lesson data of each user and meeting of one date, as the lake stores it, and the tables
//! built from it. Pure.
//!
//! A lesson day is JSON Lines under zstd, sorted by meeting and user. It is read and written line by line, because a
//! date may have hundreds of thousands of entries.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};

use bytes::Bytes;
use chrono::NaiveDate;
use serde::Deserialize;

use super::entry::LessonEntry;
use super::lesson::{self, Lesson};
use super::levels;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{MeetingId, UserId};
use crate::lake::key;
use crate::lake::table::Table;
use crate::lake::table::builtin::{hierarchy, user_meta};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::{TableRow, cells};
use crate::tables::parquet::sink::{Sink, TableFile};

/// The level of compression. Keys repeat in every line, so that a low level does well.
const LEVEL: i32 = 3;

/// The latest entry of each user and meeting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LatestEntries(BTreeMap<(MeetingId, UserId), LessonEntry>);

impl LatestEntries {
    /// Adds an entry if it is the latest one; returns true if it is.
    pub fn put(&mut self, entry: LessonEntry) -> bool {
        let key = (entry.meeting.clone(), entry.user.clone());
        if self.0.get(&key).is_some_and(|known| !entry.is_later_than(known)) {
            return false;
        }
        self.0.insert(key, entry);
        true
    }

    /// The entry of a user and meeting.
    pub fn get(&self, meeting: &str, user: &str) -> Option<&LessonEntry> {
        self.0.get(&(meeting.into(), user.into()))
    }

    /// The entries by meeting and user.
    pub fn entries(&self) -> impl Iterator<Item = &LessonEntry> {
        self.0.values()
    }

    /// True if there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<LessonEntry> for LatestEntries {
    fn from_iter<I: IntoIterator<Item = LessonEntry>>(entries: I) -> Self {
        let mut latest = Self::default();
        for entry in entries {
            latest.put(entry);
        }
        latest
    }
}

impl IntoIterator for LatestEntries {
    type Item = LessonEntry;
    type IntoIter = std::collections::btree_map::IntoValues<(MeetingId, UserId), LessonEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_values()
    }
}

/// The changes of an import to a lesson day.
#[derive(Debug, Clone, Default)]
pub struct LessonDayChange {
    /// Entries of this date.
    pub put: LatestEntries,
    /// Entries of another date that replace entries of this date.
    pub moved: LatestEntries,
}

impl LessonDayChange {
    /// True if it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.moved.is_empty()
    }
}

/// Changes the lesson day of a date; none if it stays as it is.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub fn change_lesson_day(
    date: NaiveDate,
    stored: Option<&[u8]>,
    change: &LessonDayChange,
) -> Result<Option<Bytes>> {
    let mut writer = LessonDayLines::new(date)?;
    let mut changed = false;
    let mut coming = change.put.entries().peekable();
    let mut lines = Lines::new(date, stored)?;
    while let Some(line) = lines.next_line()? {
        let head = Head::of(date, line)?;
        let key = (&*head.meeting, &*head.user);
        while let Some(entry) = coming.next_if(|entry| order(entry) < key) {
            writer.add(entry)?;
            changed = true;
        }
        let later = coming.next_if(|entry| order(entry) == key);
        let moved = change.moved.get(&head.meeting, &head.user);
        if later.is_some() || moved.is_some() {
            let known: LessonEntry = serde_json::from_slice(line).map_err(|_| damaged(date))?;
            if let Some(entry) = later.filter(|entry| entry.is_later_than(&known)) {
                writer.add(entry)?;
                changed = true;
                continue;
            }
            if moved.is_some_and(|entry| entry.is_later_than(&known)) {
                changed = true;
                continue;
            }
        }
        writer.copy(line)?;
    }
    for entry in coming {
        writer.add(entry)?;
        changed = true;
    }
    let written = writer.finish()?;
    Ok(changed.then_some(written))
}

fn order(entry: &LessonEntry) -> (&str, &str) {
    (&entry.meeting, &entry.user)
}

/// The fields that a line is found by.
#[derive(Deserialize)]
struct Head<'l> {
    #[serde(borrow)]
    meeting: Cow<'l, str>,
    #[serde(borrow)]
    user: Cow<'l, str>,
}

impl<'l> Head<'l> {
    fn of(date: NaiveDate, line: &'l [u8]) -> Result<Self> {
        serde_json::from_slice(line).map_err(|_| damaged(date))
    }
}

/// The entries of a lesson day that are wanted, by meeting and user.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub fn find_entries(
    date: NaiveDate,
    stored: &[u8],
    mut wanted: impl FnMut(&str, &str) -> bool,
) -> Result<Vec<LessonEntry>> {
    let mut found = Vec::new();
    let mut lines = Lines::new(date, Some(stored))?;
    while let Some(line) = lines.next_line()? {
        let head = Head::of(date, line)?;
        if wanted(&head.meeting, &head.user) {
            found.push(serde_json::from_slice(line).map_err(|_| damaged(date))?);
        }
    }
    Ok(found)
}

/// The lines of a lesson day.
struct Lines<'s> {
    date: NaiveDate,
    /// None if there is no lesson day.
    text: Option<BufReader<zstd::Decoder<'static, &'s [u8]>>>,
    line: Vec<u8>,
}

impl<'s> Lines<'s> {
    fn new(date: NaiveDate, stored: Option<&'s [u8]>) -> Result<Self> {
        // Zero bytes are damage: even a lesson day without entries has a frame and a checksum.
        if stored.is_some_and(<[u8]>::is_empty) {
            return Err(damaged(date));
        }
        let text = stored.map(zstd::Decoder::with_buffer).transpose();
        Ok(Self {
            date,
            text: text.map_err(|_| damaged(date))?.map(BufReader::new),
            line: Vec::new(),
        })
    }

    fn next_line(&mut self) -> Result<Option<&[u8]>> {
        let Some(text) = &mut self.text else {
            return Ok(None);
        };
        self.line.clear();
        let read = text
            .read_until(b'\n', &mut self.line)
            .map_err(|_| damaged(self.date))?;
        Ok((read > 0).then_some(&self.line))
    }
}

/// The error names the lesson day by its key and never shows its content, which is personal data.
fn damaged(date: NaiveDate) -> Error {
    Error::new(ErrorKind::Store, key::lesson_day(date), "is damaged")
        .hint("restore it, or remove it and import the lesson data in raw/meta/ again")
}

/// A lesson day while it is written.
struct LessonDayLines {
    date: NaiveDate,
    text: zstd::Encoder<'static, Vec<u8>>,
}

impl LessonDayLines {
    fn new(date: NaiveDate) -> Result<Self> {
        let mut text = zstd::Encoder::new(Vec::new(), LEVEL).map_err(|error| fault(date, &error))?;
        text.include_checksum(true).map_err(|error| fault(date, &error))?;
        Ok(Self { date, text })
    }

    fn add(&mut self, entry: &LessonEntry) -> Result<()> {
        let mut line = serde_json::to_vec(entry).map_err(|error| fault(self.date, &error))?;
        line.push(b'\n');
        self.copy(&line)
    }

    fn copy(&mut self, line: &[u8]) -> Result<()> {
        self.text
            .write_all(line)
            .map_err(|error| fault(self.date, &error))
    }

    fn finish(self) -> Result<Bytes> {
        let written = self.text.finish().map_err(|error| fault(self.date, &error))?;
        Ok(written.into())
    }
}

/// The files of `user_meta` and `hierarchy` for a date; a table without rows has none.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub fn build_lesson_tables(date: NaiveDate, stored: Option<&[u8]>) -> Result<Vec<TableFile>> {
    let (metas, levels) = (user_meta::table(), hierarchy::table());
    let mut of_metas = Sink::new(metas);
    let mut of_levels = Sink::new(levels);
    let mut lines = Lines::new(date, stored)?;
    while let Some(line) = lines.next_line()? {
        let entry: LessonEntry = serde_json::from_slice(line).map_err(|_| damaged(date))?;
        // An entry that was taken back stays, so that an older file does not restore it, but it has no rows.
        let (Some(meta), Some(text)) = (entry.object(), &entry.meta) else {
            continue;
        };
        let mut cells = ids(metas, &entry);
        Lesson::of(&meta).fill(metas, &mut cells);
        lesson::put(metas, &mut cells, user_meta::meta, text.as_str().into());
        lesson::put(
            metas,
            &mut cells,
            user_meta::received_at,
            entry.received_at.into(),
        );
        of_metas.push(&mut TableRow::new(cells))?;
        for level in levels::levels(&meta) {
            of_levels.push(&mut TableRow::new(level_cells(levels, &entry, level)))?;
        }
    }
    let metas = of_metas.finish(key::date_table(user_meta::NAME, date))?;
    let levels = of_levels.finish(key::date_table(hierarchy::NAME, date))?;
    Ok(metas.into_iter().chain(levels).collect())
}

fn level_cells<'v>(table: &Table, entry: &'v LessonEntry, level: levels::Level) -> Vec<Cell<'v>> {
    let mut cells = ids(table, entry);
    for (column, cell) in [
        (hierarchy::level, level.name.into()),
        (hierarchy::parent_level, level.parent.into()),
        (hierarchy::depth, level.depth.into()),
        (hierarchy::entity_id, level.id.into()),
        (hierarchy::entity_name, level.title.into()),
        (hierarchy::attributes, lesson::map(&level.attributes)),
    ] {
        lesson::put(table, &mut cells, column, cell);
    }
    cells
}

/// An encoder's error is a fault of the program.
fn fault(date: NaiveDate, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, key::lesson_day(date), error.to_string())
}

fn ids<'v>(table: &Table, entry: &'v LessonEntry) -> Vec<Cell<'v>> {
    cells(
        table,
        [
            (user_meta::external_user_id, entry.user.as_str().into()),
            (user_meta::external_meeting_id, entry.meeting.as_str().into()),
        ],
    )
}
