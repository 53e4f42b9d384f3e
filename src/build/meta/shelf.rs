//! The latest lesson data of each user and meeting of one date, as the lake keeps it, and the tables of it. Pure.
//!
//! A shelf is JSON Lines under zstd, sorted by meeting and user. It is read and written line by line: a date may have
//! hundreds of thousands of entries, and no more than one of them is held.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};

use bytes::Bytes;
use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::Map;

use super::entry::Entry;
use super::lesson;
use super::levels;
use crate::build::cell::Cell;
use crate::build::listed::cells;
use crate::build::rows::Row;
use crate::build::sink::{Sink, TableFile};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::key;
use crate::lake::table::{Table, builtin};

/// The level of compression: keys repeat in every line, so the lowest does well.
const LEVEL: i32 = 3;

/// Entries by meeting and user: the latest of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latest(BTreeMap<(String, String), Entry>);

impl Latest {
    /// Puts an entry where it is the latest; says whether it is.
    pub fn put(&mut self, entry: Entry) -> bool {
        let key = (entry.meeting.clone(), entry.user.clone());
        if self.0.get(&key).is_some_and(|known| !entry.is_later_than(known)) {
            return false;
        }
        self.0.insert(key, entry);
        true
    }

    /// The entry of a user and meeting.
    pub fn get(&self, meeting: &str, user: &str) -> Option<&Entry> {
        self.0.get(&(meeting.to_owned(), user.to_owned()))
    }

    /// The entries by meeting and user.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Entry> for Latest {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut latest = Self::default();
        for entry in entries {
            latest.put(entry);
        }
        latest
    }
}

impl IntoIterator for Latest {
    type Item = Entry;
    type IntoIter = std::collections::btree_map::IntoValues<(String, String), Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_values()
    }
}

/// What an import does to a date's shelf.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Entries that come.
    pub put: Latest,
    /// Entries that take the place of this date's on another one.
    pub moved: Latest,
}

impl Change {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.moved.is_empty()
    }
}

/// A shelf as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelved {
    /// The new shelf; none where it is as it was.
    pub shelf: Option<Bytes>,
    /// The files of `user_meta` and `hierarchy`; a table without rows has none.
    pub tables: Vec<TableFile>,
}

/// Changes the shelf of a date, and builds its tables.
///
/// # Errors
/// `Store` where the shelf is damaged.
pub fn shelve(date: NaiveDate, shelf: Option<&[u8]>, change: &Change) -> Result<Shelved> {
    let mut writing = Writing::new(date)?;
    let mut changed = false;
    let mut coming = change.put.entries().peekable();
    let mut lines = Lines::new(date, shelf.unwrap_or_default())?;
    while let Some(line) = lines.next_line()? {
        let known: Entry = serde_json::from_slice(line).map_err(|_| damaged(date))?;
        while let Some(entry) = coming.next_if(|entry| order(entry) < order(&known)) {
            writing.add(entry)?;
            changed = true;
        }
        let later = coming.next_if(|entry| order(entry) == order(&known));
        let moved = change.moved.get(&known.meeting, &known.user);
        if let Some(entry) = later.filter(|entry| entry.is_later_than(&known)) {
            writing.add(entry)?;
            changed = true;
        } else if moved.is_some_and(|entry| entry.is_later_than(&known)) {
            changed = true;
        } else {
            writing.add(&known)?;
        }
    }
    for entry in coming {
        writing.add(entry)?;
        changed = true;
    }
    let (shelf, tables) = writing.finish()?;
    Ok(Shelved {
        shelf: changed.then_some(shelf),
        tables,
    })
}

fn order(entry: &Entry) -> (&str, &str) {
    (&entry.meeting, &entry.user)
}

/// The entries on a shelf that are asked for by meeting and user.
///
/// # Errors
/// `Store` where the shelf is damaged.
pub fn find(date: NaiveDate, shelf: &[u8], mut wanted: impl FnMut(&str, &str) -> bool) -> Result<Vec<Entry>> {
    #[derive(Deserialize)]
    struct Head<'l> {
        #[serde(borrow)]
        meeting: std::borrow::Cow<'l, str>,
        #[serde(borrow)]
        user: std::borrow::Cow<'l, str>,
    }
    let mut found = Vec::new();
    let mut lines = Lines::new(date, shelf)?;
    while let Some(line) = lines.next_line()? {
        let head: Head<'_> = serde_json::from_slice(line).map_err(|_| damaged(date))?;
        if wanted(&head.meeting, &head.user) {
            found.push(serde_json::from_slice(line).map_err(|_| damaged(date))?);
        }
    }
    Ok(found)
}

/// The lines of a shelf.
struct Lines<'s> {
    date: NaiveDate,
    /// None for no shelf at all.
    text: Option<BufReader<zstd::Decoder<'static, &'s [u8]>>>,
    line: Vec<u8>,
}

impl<'s> Lines<'s> {
    fn new(date: NaiveDate, shelf: &'s [u8]) -> Result<Self> {
        let text = match shelf.is_empty() {
            true => None,
            false => Some(BufReader::new(
                zstd::Decoder::with_buffer(shelf).map_err(|_| damaged(date))?,
            )),
        };
        Ok(Self {
            date,
            text,
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

/// What can't be read of a shelf is named by its key, and never shown: it holds people's data.
fn damaged(date: NaiveDate) -> Error {
    Error::new(ErrorKind::Store, key::meta_shelf(date), "is damaged")
        .hint("restore it, or remove it and import the lesson data in raw/meta/ again")
}

/// A shelf and its tables on their way.
struct Writing {
    date: NaiveDate,
    shelf: zstd::Encoder<'static, Vec<u8>>,
    metas: Sink<'static>,
    levels: Sink<'static>,
    tables: [&'static Table; 2],
}

impl Writing {
    fn new(date: NaiveDate) -> Result<Self> {
        let (metas, hierarchy) = (table("user_meta")?, table("hierarchy")?);
        let mut shelf = zstd::Encoder::new(Vec::new(), LEVEL).map_err(|error| fault(date, &error))?;
        shelf
            .include_checksum(true)
            .map_err(|error| fault(date, &error))?;
        Ok(Self {
            date,
            shelf,
            metas: Sink::new(metas),
            levels: Sink::new(hierarchy),
            tables: [metas, hierarchy],
        })
    }

    fn add(&mut self, entry: &Entry) -> Result<()> {
        let date = self.date;
        let mut line = serde_json::to_vec(entry).map_err(|error| fault(date, &error))?;
        line.push(b'\n');
        self.shelf.write_all(&line).map_err(|error| fault(date, &error))?;
        let [metas, hierarchy] = self.tables;
        // One that was taken back is kept, so that an older file does not bring it again, and has no rows.
        let (Some(meta), Some(lesson), Some(text)) = (entry.object(), entry.lesson(), &entry.meta) else {
            return Ok(());
        };
        let mut cells = ids(metas, entry);
        lesson.fill(metas, &mut cells);
        lesson::put(metas, &mut cells, "meta", text.as_str().into());
        lesson::put(metas, &mut cells, "received_at", entry.received_at.into());
        self.metas.push(&mut row(cells))?;
        for level in levels::levels(&meta) {
            let mut cells = ids(hierarchy, entry);
            for (column, cell) in [
                ("level", level.name.into()),
                ("parent_level", level.parent.into()),
                ("depth", level.depth.into()),
                ("entity_id", level.id.into()),
                ("entity_name", level.title.into()),
                ("attributes", lesson::map(&level.attributes)),
            ] {
                lesson::put(hierarchy, &mut cells, column, cell);
            }
            self.levels.push(&mut row(cells))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(Bytes, Vec<TableFile>)> {
        let date = self.date;
        let shelf = self.shelf.finish().map_err(|error| fault(date, &error))?;
        let metas = self.metas.finish(key::table("user_meta", date, "user_meta"))?;
        let levels = self.levels.finish(key::table("hierarchy", date, "hierarchy"))?;
        Ok((shelf.into(), metas.into_iter().chain(levels).collect()))
    }
}

/// An encoder's fault: the program's own.
fn fault(date: NaiveDate, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, key::meta_shelf(date), error.to_string())
}

fn ids<'v>(table: &Table, entry: &'v Entry) -> Vec<Cell<'v>> {
    cells(
        table,
        [
            ("external_user_id", entry.user.as_str().into()),
            ("external_meeting_id", entry.meeting.as_str().into()),
        ],
    )
}

fn row(cells: Vec<Cell<'_>>) -> Row<'_> {
    Row {
        cells,
        extra: Map::new(),
    }
}

fn table(name: &str) -> Result<&'static Table> {
    builtin::get(name).ok_or_else(|| Error::new(ErrorKind::Internal, name, "there is no such table"))
}
