//! Reads the lesson columns from lesson data: the user and the lesson that it describes. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::lake::table::builtin::lesson;
use crate::lake::table::{Table, Type};
use crate::lenient;
use crate::tables::parquet::cell::Cell;

/// The columns of instants; the others hold text.
const START: &str = lesson::lesson_scheduled_start_at;
const END: &str = lesson::lesson_scheduled_end_at;

/// The paths of each column in the lesson data; the first that has a value wins.
const COLUMNS: [(&str, &[&str]); 9] = [
    (lesson::user_fullname, &["user_fullname"]),
    (lesson::user_role, &["user_role"]),
    (lesson::lesson_name, &["lesson_name"]),
    (START, &["lesson_scheduled_start_dt"]),
    (END, &["lesson_scheduled_end_dt"]),
    (
        lesson::lesson_course_id,
        &["lesson_course.lesson_course_id", "lesson_course_id"],
    ),
    (
        lesson::lesson_course_name,
        &["lesson_course.lesson_course_name", "lesson_course_name"],
    ),
    (
        lesson::student_group_id,
        &["student_group.student_group_id", "student_group_id"],
    ),
    (
        lesson::student_group_name,
        &["student_group.student_group_name", "student_group_name"],
    ),
];

/// The roles in the vendor's guide.
const ROLES: [&str; 4] = ["student", "teacher", "parent", "assistant"];

/// Lesson data as columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct Lesson {
    /// Texts by column.
    texts: BTreeMap<&'static str, String>,
    /// The scheduled start.
    pub start: Option<DateTime<Utc>>,
    /// The scheduled end.
    pub end: Option<DateTime<Utc>>,
    /// Every other scalar value, by dotted path.
    attributes: BTreeMap<String, String>,
    /// Columns whose value exists and can't be read.
    pub unreadable: Vec<&'static str>,
}

impl Lesson {
    /// Reads lesson data. A value that does not fit its column stays among the attributes.
    pub fn of(meta: &Map<String, Value>) -> Self {
        let mut lesson = Self::default();
        let mut scalars = BTreeMap::new();
        for (name, value) in meta {
            flatten(name.clone(), value, &mut scalars);
        }
        for (column, paths) in COLUMNS {
            let taken = paths.iter().find(|path| {
                let value = scalars.get(**path);
                value.is_some_and(|value| lesson.take(column, value))
            });
            match taken {
                Some(path) => drop(scalars.remove(*path)),
                None if paths.iter().any(|path| is_unreadable(meta, column, path)) => {
                    lesson.unreadable.push(column);
                }
                None => {}
            }
        }
        lesson.attributes = scalars
            .into_iter()
            .filter_map(|(path, value)| Some((path, lenient::text(value)?)))
            .collect();
        lesson
    }

    /// Reads a value into its column; returns true if it could be read.
    fn take(&mut self, column: &'static str, value: &Value) -> bool {
        match column {
            START => {
                self.start = lenient::instant(value);
                self.start.is_some()
            }
            END => {
                self.end = lenient::instant(value);
                self.end.is_some()
            }
            _ => match lenient::text(value) {
                Some(text) => {
                    self.texts.insert(column, text);
                    true
                }
                None => false,
            },
        }
    }

    /// The scheduled length of the lesson, in seconds.
    pub fn scheduled_s(&self) -> Option<f64> {
        let length = (self.end? - self.start?).as_seconds_f64();
        (length > 0.0).then_some(length)
    }

    /// True if the user has a role that is not in the vendor's guide.
    pub fn role_is_unknown(&self) -> bool {
        self.texts
            .get(lesson::user_role)
            .is_some_and(|role| !ROLES.contains(&role.as_str()))
    }

    /// Fills the lesson columns of a row.
    pub fn fill(&self, table: &Table, cells: &mut [Cell<'_>]) {
        for (column, text) in &self.texts {
            put(table, cells, column, text.clone().into());
        }
        put(table, cells, START, self.start.into());
        put(table, cells, END, self.end.into());
        put(table, cells, lesson::meta_matched, true.into());
        put(table, cells, lesson::attributes, map(&self.attributes));
    }
}

/// True if something stands at a path that the column can't be read from: a value of another kind, or something else in
/// the place of an enclosing object.
fn is_unreadable(meta: &Map<String, Value>, column: &str, path: &str) -> bool {
    let mut object = meta;
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        match object.get(name) {
            None | Some(Value::Null) => return false,
            Some(Value::Object(inner)) if names.peek().is_some() => object = inner,
            Some(_) if names.peek().is_some() => return true,
            Some(Value::Object(_) | Value::Array(_)) => return true,
            Some(scalar) => {
                return [START, END].contains(&column) && lenient::read_instant(scalar).is_unreadable();
            }
        }
    }
    false
}

/// Sets a cell of a row, if the table has the column.
pub(super) fn put<'v>(table: &Table, cells: &mut [Cell<'v>], column: &str, cell: Cell<'v>) {
    if let Some(index) = table.index(column) {
        debug_assert!(table.columns[index].kind != Type::Map || !matches!(cell, Cell::Text(_)));
        cells[index] = cell;
    }
}

/// The cell of a map.
pub(super) fn map(entries: &BTreeMap<String, String>) -> Cell<'static> {
    let entries = entries.iter();
    Cell::Map(
        entries
            .map(|(key, value)| (key.clone().into(), value.clone().into()))
            .collect(),
    )
}

/// The scalar values within a value by dotted path; elements of arrays by their number.
fn flatten<'v>(path: String, value: &'v Value, scalars: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Object(object) => object
            .iter()
            .for_each(|(name, value)| flatten(format!("{path}.{name}"), value, scalars)),
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .for_each(|(at, value)| flatten(format!("{path}.{at}"), value, scalars)),
        Value::Null => {}
        scalar => drop(scalars.entry(path).or_insert(scalar)),
    }
}
