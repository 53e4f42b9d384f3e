//! What a meta says of the user and the lesson: the lesson columns. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::super::cell::Cell;
use crate::lake::table::{Table, Type};
use crate::lenient;

/// Where each column is looked for in a meta, by dotted path; the first that has a value wins.
const COLUMNS: [(&str, &[&str]); 9] = [
    ("user_fullname", &["user_fullname"]),
    ("user_role", &["user_role"]),
    ("lesson_name", &["lesson_name"]),
    ("lesson_scheduled_start_at", &["lesson_scheduled_start_dt"]),
    ("lesson_scheduled_end_at", &["lesson_scheduled_end_dt"]),
    (
        "lesson_course_id",
        &["lesson_course.lesson_course_id", "lesson_course_id"],
    ),
    (
        "lesson_course_name",
        &["lesson_course.lesson_course_name", "lesson_course_name"],
    ),
    (
        "student_group_id",
        &["student_group.student_group_id", "student_group_id"],
    ),
    (
        "student_group_name",
        &["student_group.student_group_name", "student_group_name"],
    ),
];

/// The roles that the vendor's guide knows.
const ROLES: [&str; 4] = ["student", "teacher", "parent", "assistant"];

/// A meta as columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct Lesson {
    /// Texts by column.
    texts: BTreeMap<&'static str, String>,
    /// The scheduled start.
    pub start: Option<DateTime<Utc>>,
    /// The scheduled end.
    pub end: Option<DateTime<Utc>>,
    /// Every other scalar, by dotted path.
    attributes: BTreeMap<String, String>,
}

impl Lesson {
    /// Reads a meta. A value that does not fit its column stays among the attributes.
    pub fn of(meta: &Map<String, Value>) -> Self {
        let mut lesson = Self::default();
        let mut scalars = BTreeMap::new();
        for (name, value) in meta {
            flatten(name.clone(), value, &mut scalars);
        }
        for (column, paths) in COLUMNS {
            for path in paths {
                let Some(value) = scalars.get(*path) else {
                    continue;
                };
                let taken = match column {
                    "lesson_scheduled_start_at" => {
                        lesson.start = lenient::instant(*value);
                        lesson.start.is_some()
                    }
                    "lesson_scheduled_end_at" => {
                        lesson.end = lenient::instant(*value);
                        lesson.end.is_some()
                    }
                    _ => lenient::text(*value)
                        .map(|text| lesson.texts.insert(column, text))
                        .is_some(),
                };
                if taken {
                    scalars.remove(*path);
                    break;
                }
            }
        }
        lesson.attributes = scalars
            .into_iter()
            .filter_map(|(path, value)| Some((path, lenient::text(value)?)))
            .collect();
        lesson
    }

    /// The length that the lesson is scheduled for, in seconds.
    pub fn scheduled_s(&self) -> Option<f64> {
        let length = (self.end? - self.start?).as_seconds_f64();
        (length > 0.0).then_some(length)
    }

    /// Whether the user's role is none that the guide knows.
    pub fn role_is_unknown(&self) -> bool {
        self.texts
            .get("user_role")
            .is_some_and(|role| !ROLES.contains(&role.as_str()))
    }

    /// Fills the lesson columns of a row.
    pub fn fill(&self, table: &Table, cells: &mut [Cell<'_>]) {
        for (column, text) in &self.texts {
            put(table, cells, column, text.clone().into());
        }
        put(table, cells, "lesson_scheduled_start_at", self.start.into());
        put(table, cells, "lesson_scheduled_end_at", self.end.into());
        put(table, cells, "meta_matched", true.into());
        put(table, cells, "attributes", map(&self.attributes));
    }
}

/// Sets a cell of a row, where the table has the column.
pub(super) fn put<'v>(table: &Table, cells: &mut [Cell<'v>], column: &str, cell: Cell<'v>) {
    if let Some(index) = table.index(column) {
        debug_assert!(table.columns[index].kind != Type::Map || !matches!(cell, Cell::Text(_)));
        cells[index] = cell;
    }
}

/// A map's cell.
pub(super) fn map(entries: &BTreeMap<String, String>) -> Cell<'static> {
    let entries = entries.iter();
    Cell::Map(
        entries
            .map(|(key, value)| (key.clone().into(), value.clone().into()))
            .collect(),
    )
}

/// The scalars in a value by dotted path, elements of arrays by their number.
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
