//! An entry: the latest lesson data of a user in a meeting, and where it came from. Pure.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lesson::{ColumnSet, Lesson};
use super::lesson_line::StoredEntry;
use super::payload::Payload;
use crate::ids::{MeetingId, UserId};
use crate::tables::report::node::{JsonObject, Node};
use crate::{lake, lenient};

/// The lesson data of a user in a meeting, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LessonEntry {
    /// The meeting in the LMS.
    pub meeting: MeetingId,
    /// The user in the LMS.
    pub user: UserId,
    /// The time when its file was received.
    pub received_at: DateTime<Utc>,
    /// The file that it came in; empty if a report contained it.
    pub file: Arc<str>,
    /// Its line in the file; if a report contained it, the time when the report landed.
    pub line: u64,
    /// The lesson data as JSON with sorted keys, because text takes a fraction of the memory of parsed values. None if
    /// the LMS took the lesson data back.
    pub meta: Option<String>,
    /// The scheduled start, if it was read with the lesson data; none says nothing.
    pub start: Option<DateTime<Utc>>,
    /// What the lesson data was found to say when it was read before.
    pub known: KnownFacts,
}

/// What lesson data says of itself, kept once it was read, because a build needs it several times. It follows from the
/// lesson data, so that any two are equal.
#[derive(Debug, Clone, Default)]
pub struct KnownFacts(OnceLock<LessonFacts>);

impl PartialEq for KnownFacts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for KnownFacts {}

/// The facts that a build needs of all lesson data.
#[derive(Debug, Clone, Copy)]
struct LessonFacts {
    /// The scheduled start and end, if they can be read.
    schedule: [Option<DateTime<Utc>>; 2],
    /// The columns whose value exists and can't be read.
    unreadable: ColumnSet,
}

impl LessonEntry {
    /// Creates the entry of a payload in a file that was received at a time.
    pub fn new(payload: Payload, file: &Arc<str>, received_at: DateTime<Utc>) -> Self {
        Self {
            user: payload.user,
            meeting: payload.meeting,
            received_at,
            file: Arc::clone(file),
            line: payload.line,
            meta: payload.meta,
            start: payload.start,
            known: KnownFacts::default(),
        }
    }

    /// Reads a line of a lesson day; none if it is damaged.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let stored = StoredEntry::of(line)?;
        Some(Self {
            meeting: (*stored.meeting).into(),
            user: (*stored.user).into(),
            received_at: stored.received_at,
            file: (*stored.file).into(),
            line: stored.line,
            meta: stored.meta.map(str::to_owned),
            start: None,
            known: KnownFacts::default(),
        })
    }

    /// The entry as a line of JSON. The lesson data is JSON already, so it is copied as it stands.
    pub(super) fn line(&self) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Rest<'e> {
            meeting: &'e MeetingId,
            user: &'e UserId,
            received_at: DateTime<Utc>,
            file: &'e str,
            line: u64,
        }
        let rest = Rest {
            meeting: &self.meeting,
            user: &self.user,
            received_at: self.received_at,
            file: &self.file,
            line: self.line,
        };
        let mut line = Vec::with_capacity(self.weight() + self.file.len() + 64);
        serde_json::to_writer(&mut line, &rest)?;
        if let Some(meta) = &self.meta {
            line.pop();
            line.extend_from_slice(br#","meta":"#);
            line.extend_from_slice(meta.as_bytes());
            line.push(b'}');
        }
        line.push(b'\n');
        Ok(line)
    }

    /// Creates the entry of lesson data that a call's report contains. It is as old as the call, so that it is stored
    /// under the same date. Of two such entries, the one from the report that landed later wins.
    pub(in crate::tables) fn embedded(
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
            file: "".into(),
            line: landed_at.timestamp().unsigned_abs(),
            meta: Some(Value::Object(meta).to_string()),
            start: None,
            known: KnownFacts::default(),
        }
    }

    /// Replaces the lesson data by other JSON of an object.
    pub(in crate::tables) fn replace_meta(&mut self, meta: String) {
        self.meta = Some(meta);
        self.start = None;
        self.known = KnownFacts::default();
    }

    /// The lesson data as an object; none if it was taken back.
    pub(super) fn object(&self) -> Option<JsonObject<'_>> {
        object(self.meta.as_deref()?)
    }

    /// The lesson columns; none if the lesson data was taken back.
    pub(in crate::tables) fn lesson(&self) -> Option<Lesson<'_>> {
        let lesson = Lesson::of(&self.object()?);
        self.known.0.get_or_init(|| LessonFacts {
            schedule: [lesson.start, lesson.end],
            unreadable: lesson.unreadable,
        });
        Some(lesson)
    }

    /// The scheduled start, if it can be read.
    fn start(&self) -> Option<DateTime<Utc>> {
        if self.start.is_some() {
            return self.start;
        }
        self.schedule()[0]
    }

    /// The scheduled start and end, as [`LessonEntry::lesson`] reads them, at a fraction of its cost.
    pub(super) fn schedule(&self) -> [Option<DateTime<Utc>>; 2] {
        if let Some(known) = self.known.0.get() {
            return known.schedule;
        }
        let meta = self.meta.as_deref();
        let schedule: ScheduleOnly<'_> = meta
            .and_then(|meta| serde_json::from_str(meta).ok())
            .unwrap_or_default();
        [schedule.start, schedule.end].map(|time| lenient::instant(&time?))
    }

    /// The date of its rows in `user_meta` and `hierarchy`: that of the scheduled start; if that can't be read, the
    /// date of the entry that it replaces, else the date of its receipt.
    pub fn date(&self, zone: Tz, before: Option<NaiveDate>) -> NaiveDate {
        match (self.start(), before) {
            (Some(start), _) => lake::date_of(start, zone),
            (None, Some(before)) => before,
            (None, None) => lake::date_of(self.received_at, zone),
        }
    }

    /// Columns whose value exists and can't be read.
    pub fn unreadable(&self) -> impl Iterator<Item = &'static str> + use<> {
        let unreadable = match self.known.0.get() {
            Some(known) => known.unreadable,
            None => self.lesson().map(|lesson| lesson.unreadable).unwrap_or_default(),
        };
        unreadable.columns()
    }

    /// True if it replaces another entry of the same user and meeting: it was received later, or its file is later by
    /// name, or its line is later. An entry that was sent wins over one that a report contained, because the latter is
    /// as old as the call.
    pub fn is_later_than(&self, other: &Self) -> bool {
        self.age() > other.age()
    }

    /// The order of the entries of a user and meeting: see [`LessonEntry::is_later_than`].
    pub(super) fn age(&self) -> impl Ord {
        (!self.file.is_empty(), self.received_at, &self.file, self.line)
    }

    /// The approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.meeting.len() + self.user.len() + self.meta.as_ref().map_or(0, String::len)
    }
}

/// Reads lesson data that is stored as text.
pub(super) fn object(meta: &str) -> Option<JsonObject<'_>> {
    // It was written from an object, so it is one.
    match serde_json::from_str(meta).ok()? {
        Node::Object(object) => Some(object),
        _ => None,
    }
}

/// The fields of lesson data that tell when the lesson is.
#[derive(Default, Deserialize)]
struct ScheduleOnly<'v> {
    #[serde(rename = "lesson_scheduled_start_dt", borrow)]
    start: Option<Node<'v>>,
    #[serde(rename = "lesson_scheduled_end_dt", borrow)]
    end: Option<Node<'v>>,
}
