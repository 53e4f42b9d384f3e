//! Joins a call's participants with the lesson data of their user and meeting. Pure.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::lake::manifest::Quality;
use crate::lake::table::Table;
use crate::lake::table::builtin::participants;
use crate::lenient;
use crate::tables::lessons::{DEEPEST, Lesson, LessonColumns, LessonEntry, LessonIndex};
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::TableRow;
use crate::tables::report::stay::seconds_between;

/// Fills the lesson columns of a call's participants.
///
/// A mapping may feed `attributes` with lesson data from the report. It counts if no other is known. All such lesson
/// data is returned, so that it becomes known.
///
/// The lateness of a user is set in one row of a meeting: that of the first join, in the call that `is_first` accepts
/// for the meeting and the user.
pub(crate) fn join<'v>(
    table: &Table,
    rows: &mut [TableRow<'v>],
    lessons: &'v LessonIndex,
    [called_at, landed_at]: [DateTime<Utc>; 2],
    is_first: &dyn Fn(&str, &str) -> bool,
    quality: &mut Quality,
) -> Vec<LessonEntry> {
    let mut found = Vec::new();
    let Some(columns) = JoinColumns::of(table) else {
        return found;
    };
    // At a school that sends no lesson data, nobody lacks it.
    let some_lessons = !lessons.is_empty();
    let firsts = columns.first_joins(rows, quality);
    for (row, is_first_row) in rows.iter_mut().zip(firsts) {
        let embedded = embedded(&std::mem::take(&mut row.cells[columns.attributes]));
        let key = columns.user_and_meeting(row);
        let sent = key.and_then(|(user, meeting)| lessons.lesson(meeting, user));
        let lesson = sent.or_else(|| embedded.as_ref().map(lesson_of));
        if let (Some((user, meeting)), Some(meta)) = (key, embedded) {
            found.push(LessonEntry::embedded(user, meeting, meta, called_at, landed_at));
        }
        let is_first_join = key.is_none_or(|(user, meeting)| is_first_row && is_first(meeting, user));
        let lacks_lesson = some_lessons && key.is_some() && lesson.is_none();
        quality.participants_without_meta += u64::from(lacks_lesson);
        if let Some(lesson) = lesson {
            let start = lesson.start.map(|at| at.timestamp_micros());
            columns.lesson.fill(lesson, &mut row.cells);
            let joined = columns.first_join(row).filter(|_| is_first_join);
            row.cells[columns.late] = seconds_between(start, joined).into();
        }
    }
    found
}

/// The indexes of the participants' columns that the join reads and fills.
struct JoinColumns {
    user: usize,
    meeting: usize,
    attributes: usize,
    joined: usize,
    late: usize,
    unreadable: usize,
    lesson: LessonColumns,
}

impl JoinColumns {
    fn of(table: &Table) -> Option<Self> {
        Some(Self {
            user: table.index(participants::external_user_id)?,
            meeting: table.index(participants::external_meeting_id)?,
            attributes: table.index(participants::attributes)?,
            joined: table.index(participants::first_joined_at)?,
            late: table.index(participants::late_s)?,
            unreadable: table.index(participants::sessions_unreadable)?,
            lesson: LessonColumns::of(table),
        })
    }

    fn user_and_meeting<'r>(&self, row: &'r TableRow<'_>) -> Option<(&'r str, &'r str)> {
        let [user, meeting] = [self.user, self.meeting].map(|index| row.cells[index].as_text());
        user.zip(meeting)
    }

    /// The first join of a row, if it is known.
    fn first_join(&self, row: &TableRow<'_>) -> Option<i64> {
        match (&row.cells[self.joined], &row.cells[self.unreadable]) {
            // The first stay may be one of those that can't be read.
            (_, Cell::Int(1..)) => None,
            (Cell::Time(micros), _) => Some(*micros),
            _ => None,
        }
    }

    /// For each row, true if no other row of its user and meeting has an earlier join; a user may have several rows in a call.
    /// Counts those that follow the first one.
    fn first_joins(&self, rows: &[TableRow<'_>], quality: &mut Quality) -> Vec<bool> {
        let mut firsts: HashMap<(&str, &str), usize> = HashMap::with_capacity(rows.len());
        let begin = |row: &TableRow<'_>| match row.cells[self.joined] {
            Cell::Time(micros) => (false, micros),
            _ => (true, 0),
        };
        let mut is_first = vec![false; rows.len()];
        for (at, row) in rows.iter().enumerate() {
            let Some(key) = self.user_and_meeting(row) else {
                continue;
            };
            let before = firsts.get(&key).copied();
            quality.duplicate_external_ids += u64::from(before.is_some());
            if before.is_none_or(|before| begin(row) < begin(&rows[before])) {
                if let Some(before) = firsts.insert(key, at) {
                    is_first[before] = false;
                }
                is_first[at] = true;
            }
        }
        is_first
    }
}

/// The lesson data of a participant in the report, if it says anything.
fn embedded(cell: &Cell<'_>) -> Option<Map<String, Value>> {
    match serde_json::from_str(cell.as_text()?) {
        Ok(Value::Object(meta)) if !meta.is_empty() && meta.values().all(is_shallow) => Some(meta),
        _ => None,
    }
}

/// The lesson columns of lesson data in a report.
fn lesson_of(meta: &Map<String, Value>) -> Lesson<'static> {
    let fields = meta
        .iter()
        .map(|(name, value)| (name.as_str().into(), value.into()));
    Lesson::of(&fields.collect()).into_owned()
}

/// Lesson data is stored within other objects, and those must be readable again.
fn is_shallow(value: &Value) -> bool {
    lenient::is_within(value, DEEPEST)
}
