//! Lesson days: the latest lesson data of each user and meeting of one date, as the lake stores it, and the tables
//! built from it. Pure.
//!
//! A lesson day is JSON Lines under zstd, sorted by meeting and user. It is read and written line by line, because a
//! date may have hundreds of thousands of entries.

use std::borrow::Cow;
use std::collections::btree_map::{BTreeMap, Entry};
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;

use super::entry::{self, LessonEntry};
use super::lesson::{Lesson, LessonColumns, put};
use super::lesson_line::{Head, StoredEntry};
use super::levels;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{MeetingId, UserId};
use crate::lake::key;
use crate::lake::table::Table;
use crate::lake::table::builtin::{hierarchy, lesson, user_meta};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::{RowPeople, TableRow};
use crate::tables::parquet::sink::{Sink, TableFile};
use crate::tables::privacy::policy::PrivacyPolicy;
use crate::tables::privacy::words::{self, KnownMeanings, NameMeaning};
use crate::tables::report::node::JsonObject;

/// The level of compression. Keys repeat in every line, so that a low level does well.
const LEVEL: i32 = 3;

/// The latest entry of each user and meeting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LatestEntries(BTreeMap<MeetingId, BTreeMap<UserId, LessonEntry>>);

impl LatestEntries {
    /// Adds an entry if it is the latest one; returns true if it is.
    pub fn put(&mut self, mut entry: LessonEntry) -> bool {
        let users = match self.0.get_mut(&entry.meeting) {
            Some(users) => users,
            None => self.0.entry(entry.meeting.clone()).or_default(),
        };
        if let Some(known) = users.values().next() {
            // All entries of a meeting share its id.
            entry.meeting = known.meeting.clone();
        }
        match users.entry(entry.user.clone()) {
            Entry::Occupied(known) if !entry.is_later_than(known.get()) => return false,
            Entry::Occupied(mut known) => drop(known.insert(entry)),
            Entry::Vacant(place) => drop(place.insert(entry)),
        }
        true
    }

    /// The entry of a user and meeting.
    pub fn get(&self, meeting: &str, user: &str) -> Option<&LessonEntry> {
        self.0.get(meeting)?.get(user)
    }

    /// The meetings of the entries.
    pub fn meetings(&self) -> impl Iterator<Item = &MeetingId> {
        self.0.keys()
    }

    /// The entries by meeting and user.
    pub fn entries(&self) -> impl Iterator<Item = &LessonEntry> {
        self.0.values().flat_map(BTreeMap::values)
    }

    /// The entries by meeting and user.
    pub fn into_entries(self) -> impl Iterator<Item = LessonEntry> {
        self.0.into_values().flat_map(BTreeMap::into_values)
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
        let head = Head::of(line).ok_or_else(|| damaged(date))?;
        let key = (&*head.meeting, &*head.user);
        while let Some(entry) = coming.next_if(|entry| order(entry) < key) {
            writer.add(entry)?;
            changed = true;
        }
        let later = coming.next_if(|entry| order(entry) == key);
        let moved = change.moved.get(&head.meeting, &head.user);
        if later.is_some() || moved.is_some() {
            let known = LessonEntry::read(line).ok_or_else(|| damaged(date))?;
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

/// The fate of an entry of lesson data when a lesson day is edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryFate {
    /// It stays as it is.
    Stays,
    /// It was changed.
    Changed,
    /// It goes.
    Goes,
}

/// Changes or removes entries of a lesson day; none if it stays as it is.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub fn edit_lesson_day(
    date: NaiveDate,
    stored: &[u8],
    mut edit: impl FnMut(&mut LessonEntry) -> EntryFate,
) -> Result<Option<Bytes>> {
    let mut writer = LessonDayLines::new(date)?;
    let mut changed = false;
    let mut lines = Lines::new(date, Some(stored))?;
    while let Some(line) = lines.next_line()? {
        let mut entry = LessonEntry::read(line).ok_or_else(|| damaged(date))?;
        let fate = edit(&mut entry);
        match fate {
            EntryFate::Stays => writer.copy(line)?,
            EntryFate::Changed => writer.add(&entry)?,
            EntryFate::Goes => {}
        }
        changed |= fate != EntryFate::Stays;
    }
    let written = writer.finish()?;
    Ok(changed.then_some(written))
}

fn order(entry: &LessonEntry) -> (&str, &str) {
    (&entry.meeting, &entry.user)
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
        let head = Head::of(line).ok_or_else(|| damaged(date))?;
        if wanted(&head.meeting, &head.user) {
            found.push(LessonEntry::read(line).ok_or_else(|| damaged(date))?);
        }
    }
    Ok(found)
}

/// All entries of a lesson day, by meeting and user; none if they take more than `most` bytes.
///
/// # Errors
/// `Store` if the lesson day is damaged.
pub fn all_entries(date: NaiveDate, stored: &[u8], most: usize) -> Result<Option<Vec<LessonEntry>>> {
    let mut entries: Vec<LessonEntry> = Vec::new();
    let mut bytes = 0;
    let mut lines = Lines::new(date, Some(stored))?;
    while let Some(line) = lines.next_line()? {
        let mut entry = LessonEntry::read(line).ok_or_else(|| damaged(date))?;
        if let Some(last) = entries.last().filter(|last| last.file == entry.file) {
            entry.file = Arc::clone(&last.file);
        }
        if let Some(last) = entries.last().filter(|last| last.meeting == entry.meeting) {
            entry.meeting = last.meeting.clone();
        }
        bytes += entry.weight();
        if bytes > most {
            return Ok(None);
        }
        entries.push(entry);
    }
    Ok(Some(entries))
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
        let line = entry.line().map_err(|error| fault(self.date, &error))?;
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
pub fn build_lesson_tables(
    date: NaiveDate,
    stored: Option<&[u8]>,
    policy: &PrivacyPolicy,
) -> Result<Vec<TableFile>> {
    let (metas, levels) = (user_meta::table(), hierarchy::table());
    let mut of_metas = Sink::new(metas, policy);
    let mut of_levels = Sink::new(levels, policy);
    let is_treated = policy.treatments(hierarchy::NAME).is_some();
    let meanings = KnownMeanings::default();
    let (meta_columns, level_columns) = (MetaColumns::of(metas), LevelColumns::of(levels));
    let mut lines = Lines::new(date, stored)?;
    while let Some(line) = lines.next_line()? {
        let entry = StoredEntry::of(line).ok_or_else(|| damaged(date))?;
        // An entry that was taken back stays, so that an older file does not restore it, but it has no rows.
        let Some(text) = entry.meta else {
            continue;
        };
        let meta = entry::object(text).ok_or_else(|| damaged(date))?;
        of_metas.push(&mut TableRow::new(meta_columns.cells(&entry, text, &meta)))?;
        let name = is_treated
            .then(|| meta.get(lesson::user_fullname)?.to_text())
            .flatten();
        for level in levels::levels(&meta, is_treated) {
            let people = is_treated.then(|| level_columns.people(&level, name.clone(), &meanings));
            let mut row = TableRow::new(level_columns.cells(&entry, level));
            row.people = people.map(Box::new);
            of_levels.push(&mut row)?;
        }
    }
    let metas = of_metas.finish(key::date_table(user_meta::NAME, date))?;
    let levels = of_levels.finish(key::date_table(hierarchy::NAME, date))?;
    Ok(metas.into_iter().chain(levels).collect())
}

/// The indexes of the columns of `user_meta`.
struct MetaColumns {
    count: usize,
    ids: [Option<usize>; 2],
    lesson: LessonColumns,
    meta: Option<usize>,
    received_at: Option<usize>,
}

impl MetaColumns {
    fn of(table: &Table) -> Self {
        Self {
            count: table.columns.len(),
            ids: [user_meta::external_user_id, user_meta::external_meeting_id].map(|name| table.index(name)),
            lesson: LessonColumns::of(table),
            meta: table.index(user_meta::meta),
            received_at: table.index(user_meta::received_at),
        }
    }

    fn cells<'v>(&self, entry: &'v StoredEntry<'_>, text: &'v str, meta: &JsonObject<'v>) -> Vec<Cell<'v>> {
        let mut cells = vec![Cell::Null; self.count];
        put(&mut cells, self.ids[0], (&*entry.user).into());
        put(&mut cells, self.ids[1], (&*entry.meeting).into());
        self.lesson.fill(Lesson::of(meta), &mut cells);
        put(&mut cells, self.meta, text.into());
        put(&mut cells, self.received_at, entry.received_at.into());
        cells
    }
}

/// The indexes of the columns of `hierarchy`.
struct LevelColumns {
    count: usize,
    ids: [Option<usize>; 2],
    level: [Option<usize>; 8],
}

impl LevelColumns {
    fn of(table: &Table) -> Self {
        let level = [
            hierarchy::level,
            hierarchy::path,
            hierarchy::parent_level,
            hierarchy::parent_entity_id,
            hierarchy::depth,
            hierarchy::entity_id,
            hierarchy::entity_name,
            hierarchy::attributes,
        ];
        Self {
            count: table.columns.len(),
            ids: [hierarchy::external_user_id, hierarchy::external_meeting_id].map(|name| table.index(name)),
            level: level.map(|name| table.index(name)),
        }
    }

    /// What a level says of people. Everything below a person is of that person.
    fn people<'v>(
        &self,
        level: &levels::Level<'v>,
        name: Option<Cow<'v, str>>,
        meanings: &KnownMeanings,
    ) -> RowPeople<'v> {
        let [.., parent_id, _, id, title, attributes] = self.level;
        let outer = level.path.rsplit_once('.').map_or("", |(outer, _)| outer);
        let is_person = words::is_of_people(&level.path);
        let says = |key: &Option<Cow<'v, str>>| {
            let meaning = key.as_ref().map(|key| meanings.of(key));
            // A level's own `name` is not that of the user.
            meaning.is_some_and(|meaning| meaning != NameMeaning::Neutral) && key.as_deref() != Some("name")
        };
        let [id_key, title_key] = &level.entity_keys;
        let of_person = [
            (
                parent_id,
                words::is_of_people(outer) || says(&level.parent_id_key),
            ),
            (id, is_person || says(id_key)),
            (title, is_person || says(title_key)),
            (attributes, is_person),
        ];
        RowPeople {
            of_person: of_person
                .into_iter()
                .filter_map(|(column, is)| column.filter(|_| is))
                .collect(),
            name,
            entries: Vec::new(),
        }
    }

    fn cells<'v>(&self, entry: &'v StoredEntry<'_>, level: levels::Level<'v>) -> Vec<Cell<'v>> {
        let mut cells = vec![Cell::Null; self.count];
        put(&mut cells, self.ids[0], (&*entry.user).into());
        put(&mut cells, self.ids[1], (&*entry.meeting).into());
        let values = [
            level.name.into(),
            level.path.into(),
            level.parent.into(),
            level.parent_id.into(),
            level.depth.into(),
            level.id.into(),
            level.title.into(),
            Cell::Map(level.attributes.into()),
        ];
        for (column, cell) in self.level.into_iter().zip(values) {
            put(&mut cells, column, cell);
        }
        cells
    }
}

/// An encoder's error is a fault of the program.
fn fault(date: NaiveDate, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, key::lesson_day(date), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lesson_data_that_is_no_object_is_damage() {
        let date: NaiveDate = "2026-11-22".parse().expect("date");
        for meta in ["[1]", "1", "\"text\""] {
            let line = format!(
                r#"{{"meeting":"m","user":"u","received_at":"2026-11-22T00:00:00Z","file":"f","line":1,"meta":{meta}}}"#
            );
            let stored = zstd::encode_all(line.as_bytes(), 1).expect("packed");
            let kinds = [
                build_lesson_tables(date, Some(&stored), &PrivacyPolicy::default()).map(drop),
                all_entries(date, &stored, usize::MAX).map(drop),
                find_entries(date, &stored, |_, _| true).map(drop),
            ]
            .map(|read| read.expect_err("damage").kind());
            assert_eq!(kinds, [ErrorKind::Store; 3], "{meta}");
        }
    }
}
