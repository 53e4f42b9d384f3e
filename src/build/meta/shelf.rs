//! The latest meta of each user and meeting of one date, and the tables of it. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lesson::{self, Lesson};
use super::levels;
use super::parse::Payload;
use crate::build::listed::cells;
use crate::build::rows::Row;
use crate::build::sink::{Sink, TableFile};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::table::{Table, builtin};
use crate::lake::{self, key};

/// The meta of a user in a meeting, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The user in the LMS.
    pub user: String,
    /// The meeting in the LMS.
    pub meeting: String,
    /// When its file came.
    pub received_at: DateTime<Utc>,
    /// The file that it came in; empty for one that a report brought.
    pub file: String,
    /// Its line there; of one that a report brought, when that was landed.
    pub line: u64,
    /// What is said.
    pub meta: Map<String, Value>,
}

impl Entry {
    /// A payload of a file that came at a time.
    pub fn new(payload: Payload, file: &str, received_at: DateTime<Utc>) -> Self {
        Self {
            user: payload.user,
            meeting: payload.meeting,
            received_at,
            file: file.into(),
            line: payload.line,
            meta: payload.meta,
        }
    }

    /// The date that it is kept under: that of the scheduled start; where none is said, that of what it takes the
    /// place of, or of its arrival.
    pub fn date(&self, zone: Tz, before: Option<NaiveDate>) -> NaiveDate {
        match (Lesson::of(&self.meta).start, before) {
            (Some(start), _) => lake::date_of(start, zone),
            (None, Some(before)) => before,
            (None, None) => lake::date_of(self.received_at, zone),
        }
    }

    /// A meta that a call's report holds: as old as the call, so that it lies beside it; of two, that of the report
    /// landed later counts.
    pub(in crate::build) fn embedded(
        user: &str,
        meeting: &str,
        meta: Map<String, Value>,
        called_at: DateTime<Utc>,
        landed_at: DateTime<Utc>,
    ) -> Self {
        Self {
            user: user.into(),
            meeting: meeting.into(),
            received_at: called_at,
            file: String::new(),
            line: landed_at.timestamp().unsigned_abs(),
            meta,
        }
    }

    /// Whether it takes the place of another of the same user and meeting: it came later, in a file that is later by
    /// name, or on a later line. What was sent goes before what a report holds: that is as old as the call.
    pub fn is_later_than(&self, other: &Self) -> bool {
        let sent = |entry: &Self| !entry.file.is_empty();
        (sent(self), self.received_at, &self.file, self.line)
            > (sent(other), other.received_at, &other.file, other.line)
    }
}

/// The entries of a date.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Shelf(BTreeMap<(String, String), Entry>);

impl From<Vec<Entry>> for Shelf {
    fn from(entries: Vec<Entry>) -> Self {
        let mut shelf = Self::default();
        for entry in entries {
            shelf.put(entry);
        }
        shelf
    }
}

impl From<Shelf> for Vec<Entry> {
    fn from(shelf: Shelf) -> Self {
        shelf.0.into_values().collect()
    }
}

impl Shelf {
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

    /// Takes an entry away.
    pub fn remove(&mut self, meeting: &str, user: &str) -> Option<Entry> {
        self.0.remove(&(meeting.to_owned(), user.to_owned()))
    }

    /// The entries of a meeting, by user.
    pub fn of_meeting<'s>(&'s self, meeting: &'s str) -> impl Iterator<Item = &'s Entry> {
        self.0
            .range((meeting.to_owned(), String::new())..)
            .take_while(move |((of, _), _)| of == meeting)
            .map(|(_, entry)| entry)
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

/// The files of `user_meta` and `hierarchy` for a date; a table without rows has none.
///
/// # Errors
/// Only a fault of the program itself.
pub fn build_meta_tables(date: NaiveDate, shelf: &Shelf) -> Result<Vec<TableFile>> {
    let mut files = Vec::new();
    let metas = table("user_meta")?;
    let mut sink = Sink::new(metas);
    for entry in shelf.entries() {
        let mut cells = ids(metas, entry);
        Lesson::of(&entry.meta).fill(metas, &mut cells);
        let text = Value::Object(entry.meta.clone()).to_string();
        lesson::put(metas, &mut cells, "meta", text.into());
        lesson::put(metas, &mut cells, "received_at", entry.received_at.into());
        sink.push(&mut row(cells))?;
    }
    files.extend(sink.finish(key::table("user_meta", date, "user_meta"))?);
    let hierarchy = table("hierarchy")?;
    let mut sink = Sink::new(hierarchy);
    for entry in shelf.entries() {
        for level in levels::levels(&entry.meta) {
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
            sink.push(&mut row(cells))?;
        }
    }
    files.extend(sink.finish(key::table("hierarchy", date, "hierarchy"))?);
    Ok(files)
}

fn ids<'v>(table: &Table, entry: &'v Entry) -> Vec<crate::build::cell::Cell<'v>> {
    cells(
        table,
        [
            ("external_user_id", entry.user.as_str().into()),
            ("external_meeting_id", entry.meeting.as_str().into()),
        ],
    )
}

fn row(cells: Vec<crate::build::cell::Cell<'_>>) -> Row<'_> {
    Row {
        cells,
        extra: Map::new(),
    }
}

fn table(name: &str) -> Result<&'static Table> {
    builtin::get(name).ok_or_else(|| Error::new(ErrorKind::Internal, name, "there is no such table"))
}
