//! Reads the lesson columns from lesson data: the user and the lesson that it describes. Pure.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use crate::lake::table::Table;
use crate::lake::table::builtin::lesson;
use crate::lenient;
use crate::tables::parquet::cell::Cell;
use crate::tables::report::node::{JsonObject, Node};

/// The columns of instants; the others hold text.
const START: &str = lesson::lesson_scheduled_start_at;
const END: &str = lesson::lesson_scheduled_end_at;

/// The paths of each column in the lesson data, of two names at most; the first that has a value wins.
pub(super) const COLUMNS: [(&str, &[&str]); 9] = [
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

/// A set of lesson columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct ColumnSet(u16);

impl ColumnSet {
    /// The names of the columns.
    pub fn columns(self) -> impl Iterator<Item = &'static str> + use<> {
        let has = move |(at, _): &(usize, &(&str, &[&str]))| self.0 & (1 << at) != 0;
        COLUMNS
            .iter()
            .enumerate()
            .filter(has)
            .map(|(_, (column, _))| *column)
    }
}

/// Lesson data as columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in super::super) struct Lesson<'v> {
    /// The texts of the columns, in the order of [`COLUMNS`].
    texts: [Option<Cow<'v, str>>; COLUMNS.len()],
    /// The scheduled start.
    pub start: Option<DateTime<Utc>>,
    /// The scheduled end.
    pub end: Option<DateTime<Utc>>,
    /// Columns whose value exists and can't be read.
    pub unreadable: ColumnSet,
    /// Every other scalar value, by dotted path.
    attributes: Vec<(Cow<'v, str>, Cow<'v, str>)>,
}

impl<'v> Lesson<'v> {
    /// Reads lesson data. A value that does not fit its column stays among the attributes.
    pub fn of(meta: &JsonObject<'v>) -> Self {
        let mut lesson = Self::default();
        let mut taken = Vec::with_capacity(COLUMNS.len());
        for (at, (column, paths)) in COLUMNS.into_iter().enumerate() {
            let path = paths.iter().find(|path| {
                let value = scalar(meta, path);
                value.is_some_and(|value| lesson.take(at, column, value))
            });
            if path.is_none() && paths.iter().any(|path| is_in_the_way(meta, column, path)) {
                lesson.unreadable.0 |= 1 << at;
            }
            taken.extend(path.copied());
        }
        lesson.attributes = attributes(meta, &taken);
        lesson
    }

    /// Reads a value into its column; returns true if it could be read.
    fn take(&mut self, at: usize, column: &str, value: &Node<'v>) -> bool {
        match column {
            START => {
                self.start = lenient::instant(value);
                self.start.is_some()
            }
            END => {
                self.end = lenient::instant(value);
                self.end.is_some()
            }
            _ => {
                self.texts[at] = value.to_text();
                self.texts[at].is_some()
            }
        }
    }

    /// The scheduled length of the lesson, in seconds.
    pub fn scheduled_s(&self) -> Option<f64> {
        let length = (self.end? - self.start?).as_seconds_f64();
        (length > 0.0).then_some(length)
    }

    /// The text of a column, if the lesson data has it.
    pub fn text(&self, column: &str) -> Option<&str> {
        let columns = COLUMNS.iter().map(|(column, _)| *column);
        let (_, text) = columns.zip(&self.texts).find(|(name, _)| *name == column)?;
        text.as_deref()
    }

    /// True if the user has a role that is not in the vendor's guide.
    pub fn role_is_unknown(&self) -> bool {
        let role = self.text(lesson::user_role);
        role.is_some_and(|role| !ROLES.contains(&role))
    }

    /// The same, without anything borrowed.
    pub fn into_owned(self) -> Lesson<'static> {
        let owned = |text: Cow<'v, str>| Cow::Owned(text.into_owned());
        Lesson {
            texts: self.texts.map(|text| text.map(owned)),
            start: self.start,
            end: self.end,
            unreadable: self.unreadable,
            attributes: self
                .attributes
                .into_iter()
                .map(|(path, value)| (owned(path), owned(value)))
                .collect(),
        }
    }
}

/// The indexes of the lesson columns of a table. A table need not have all of them.
pub(in super::super) struct LessonColumns {
    texts: [Option<usize>; COLUMNS.len()],
    start: Option<usize>,
    end: Option<usize>,
    matched: Option<usize>,
    attributes: Option<usize>,
}

impl LessonColumns {
    pub fn of(table: &Table) -> Self {
        Self {
            texts: COLUMNS.map(|(column, _)| table.index(column)),
            start: table.index(START),
            end: table.index(END),
            matched: table.index(lesson::meta_matched),
            attributes: table.index(lesson::attributes),
        }
    }

    /// Fills the lesson columns of a row.
    pub fn fill<'v>(&self, lesson: Lesson<'v>, cells: &mut [Cell<'v>]) {
        for (index, text) in self.texts.into_iter().zip(lesson.texts) {
            if text.is_some() {
                put(cells, index, text.into());
            }
        }
        put(cells, self.start, lesson.start.into());
        put(cells, self.end, lesson.end.into());
        put(cells, self.matched, true.into());
        put(cells, self.attributes, Cell::Map(lesson.attributes.into()));
    }
}

/// Sets a cell of a row, if the table has the column.
pub(super) fn put<'v>(cells: &mut [Cell<'v>], column: Option<usize>, cell: Cell<'v>) {
    if let Some(index) = column {
        cells[index] = cell;
    }
}

/// The scheduled start, if it can be read.
pub(super) fn start(meta: &JsonObject<'_>) -> Option<DateTime<Utc>> {
    lenient::instant(scalar(meta, "lesson_scheduled_start_dt")?)
}

/// Columns whose value exists and can't be read.
pub(super) fn unreadable(meta: &JsonObject<'_>) -> Vec<&'static str> {
    let is_unreadable = |(column, paths): &(&'static str, &[&str])| {
        let is_read = |path: &&str| scalar(meta, path).is_some_and(|value| is_readable(column, value));
        !paths.iter().any(is_read) && paths.iter().any(|path| is_in_the_way(meta, column, path))
    };
    let columns = COLUMNS.into_iter().filter(is_unreadable);
    columns.map(|(column, _)| column).collect()
}

fn is_readable(column: &str, value: &Node<'_>) -> bool {
    match (column, value) {
        (START | END, value) => lenient::instant(value).is_some(),
        (_, Node::Text(text)) => !text.is_empty(),
        (_, value) => !matches!(value, Node::Null | Node::List(_) | Node::Object(_)),
    }
}

/// The scalar value at a path of one or two names. A field may have both names in one, with the dot; the nested one wins.
fn scalar<'n, 'v>(meta: &'n JsonObject<'v>, path: &str) -> Option<&'n Node<'v>> {
    let is_scalar = |value: &&Node<'_>| !matches!(value, Node::Null | Node::List(_) | Node::Object(_));
    let nested = path
        .split_once('.')
        .and_then(|(outer, inner)| meta.get(outer)?.get(inner));
    let nested = nested.filter(is_scalar);
    nested.or_else(|| meta.get(path).filter(is_scalar))
}

/// True if something stands at a path that the column can't be read from: a value of another kind, or something else in
/// the place of an enclosing object.
fn is_in_the_way(meta: &JsonObject<'_>, column: &str, path: &str) -> bool {
    let mut object = meta;
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        match object.get(name) {
            None | Some(Node::Null) => return false,
            Some(Node::Object(inner)) if names.peek().is_some() => object = inner,
            Some(_) if names.peek().is_some() => return true,
            Some(Node::Object(_) | Node::List(_)) => return true,
            Some(scalar) => {
                return [START, END].contains(&column) && lenient::read_instant(scalar).is_unreadable();
            }
        }
    }
    false
}

/// The scalar values at other paths than those taken, by dotted path; elements of arrays by their number. If two stand at
/// the same path, the first one counts.
fn attributes<'v>(meta: &JsonObject<'v>, taken: &[&str]) -> Vec<(Cow<'v, str>, Cow<'v, str>)> {
    let mut scalars = Vec::new();
    let mut path = String::new();
    for (name, value) in meta.iter() {
        match value {
            Node::Object(_) | Node::List(_) => {
                path.clear();
                path.push_str(name);
                flatten(&mut path, value, taken, &mut scalars);
            }
            Node::Null => {}
            _ if taken.contains(&&**name) => {}
            scalar => scalars.push((name.clone(), scalar)),
        }
    }
    // The sort is stable, so that the first of equal paths stays the first.
    scalars.sort_by(|a, b| a.0.cmp(&b.0));
    scalars.dedup_by(|later, kept| later.0 == kept.0);
    let texts = scalars.into_iter();
    texts
        .filter_map(|(path, value)| Some((path, value.to_text()?)))
        .collect()
}

fn flatten<'n, 'v>(
    path: &mut String,
    value: &'n Node<'v>,
    taken: &[&str],
    scalars: &mut Vec<(Cow<'v, str>, &'n Node<'v>)>,
) {
    let mut enter = |name: &str, value: &'n Node<'v>| {
        let outer = path.len();
        path.push('.');
        path.push_str(name);
        flatten(path, value, taken, scalars);
        path.truncate(outer);
    };
    match value {
        Node::Object(object) => object.iter().for_each(|(name, value)| enter(name, value)),
        Node::List(elements) => {
            let elements = elements.iter().enumerate();
            elements.for_each(|(at, element)| enter(&at.to_string(), element));
        }
        Node::Null => {}
        _ if taken.contains(&path.as_str()) => {}
        scalar => scalars.push((path.clone().into(), scalar)),
    }
}
