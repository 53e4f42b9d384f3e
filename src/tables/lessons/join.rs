//! Joins a call's participants with the lesson data of their user and meeting. Pure.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::attendance::late_s;
use crate::lake::manifest::Quality;
use crate::lake::table::Table;
use crate::lenient;
use crate::tables::lessons::{DEEPEST, Entry, Lesson, Meta};
use crate::tables::parquet::cell::Cell;
use crate::tables::report::rows::Row;

/// Fills the lesson columns of a call's participants.
///
/// A mapping may feed `attributes` with lesson data from the report. It counts if no other is known. All such lesson
/// data is returned, so that it becomes known.
///
/// The lateness of a user is set in one row of a meeting: that of the first join, in the call that `is_first` accepts
/// for the meeting and the user.
pub(crate) fn join(
    table: &Table,
    rows: &mut [Row<'_>],
    meta: &Meta,
    [called_at, landed_at]: [DateTime<Utc>; 2],
    is_first: &dyn Fn(&str, &str) -> bool,
    quality: &mut Quality,
) -> Vec<Entry> {
    let mut held = Vec::new();
    let places = [
        "external_user_id",
        "external_meeting_id",
        "attributes",
        "first_joined_at",
        "late_s",
        "sessions_unreadable",
    ]
    .map(|name| table.index(name));
    let [
        Some(user),
        Some(meeting),
        Some(attributes),
        Some(joined),
        Some(late),
        Some(unreadable),
    ] = places
    else {
        return held;
    };
    // At a school that sends no lesson data, nobody lacks it.
    let some_meta = !meta.is_empty();
    let mut seen = HashSet::new();
    let firsts = first_rows(rows, [user, meeting, joined]);
    for (at, row) in rows.iter_mut().enumerate() {
        let embedded = embedded(&std::mem::take(&mut row.cells[attributes]));
        let key = row.cells[user]
            .as_text()
            .zip(row.cells[meeting].as_text())
            .map(|(user, meeting)| (user.to_owned(), meeting.to_owned()));
        let sent = key
            .as_ref()
            .and_then(|(user, meeting)| meta.lesson(meeting, user));
        let lesson = sent.or_else(|| embedded.as_ref().map(Lesson::of));
        if let (Some((user, meeting)), Some(meta)) = (&key, embedded) {
            held.push(Entry::embedded(user, meeting, meta, called_at, landed_at));
        }
        let is_late = key.as_ref().is_none_or(|key| {
            let (user, meeting) = key;
            firsts.get(key) == Some(&at) && is_first(meeting, user)
        });
        if let Some(key) = key {
            quality.participants_without_meta += u64::from(some_meta && lesson.is_none());
            quality.duplicate_external_ids += u64::from(!seen.insert(key));
        }
        let Some(lesson) = lesson else {
            continue;
        };
        lesson.fill(table, &mut row.cells);
        let first_joined = match (&row.cells[joined], &row.cells[unreadable]) {
            // The first stay may be one of those that can't be read.
            (_, Cell::Int(1..)) => None,
            (Cell::Time(micros), _) if is_late => Some(*micros),
            _ => None,
        };
        row.cells[late] = late_s(lesson.start.map(|at| at.timestamp_micros()), first_joined).into();
    }
    held
}

/// The row of the first join, for each user and meeting; a user may have several rows in a call.
fn first_rows(rows: &[Row<'_>], [user, meeting, joined]: [usize; 3]) -> HashMap<(String, String), usize> {
    let mut firsts: HashMap<(String, String), usize> = HashMap::new();
    let begin = |row: &Row<'_>| match row.cells[joined] {
        Cell::Time(micros) => (false, micros),
        _ => (true, 0),
    };
    for (at, row) in rows.iter().enumerate() {
        let (Some(user), Some(meeting)) = (row.cells[user].as_text(), row.cells[meeting].as_text()) else {
            continue;
        };
        let first = firsts.entry((user.to_owned(), meeting.to_owned())).or_insert(at);
        if begin(row) < begin(&rows[*first]) {
            *first = at;
        }
    }
    firsts
}

/// The lesson data of a participant in the report, if it says anything.
fn embedded(cell: &Cell<'_>) -> Option<Map<String, Value>> {
    match serde_json::from_str(cell.as_text()?) {
        Ok(Value::Object(meta)) if !meta.is_empty() && meta.values().all(is_shallow) => Some(meta),
        _ => None,
    }
}

/// Lesson data is stored within other objects, and those must be readable again.
fn is_shallow(value: &Value) -> bool {
    lenient::is_within(value, DEEPEST)
}
