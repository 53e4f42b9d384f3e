//! Lesson data read in the plainest way, by maps of all values: what the program reads must be the same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::lesson::{self, COLUMNS};
use super::super::{DEEPEST, Lesson, LessonColumns, entry as lesson_entry};
use super::{entry, parse};
use crate::lake::table::builtin::lesson as columns;
use crate::lake::table::builtin::user_meta;
use crate::lenient;
use crate::tables::parquet::cell::Cell;

type Scalars<'v> = BTreeMap<String, &'v Value>;

fn flatten<'v>(path: String, value: &'v Value, scalars: &mut Scalars<'v>) {
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

fn is_instant(column: &str) -> bool {
    [
        columns::lesson_scheduled_start_at,
        columns::lesson_scheduled_end_at,
    ]
    .contains(&column)
}

/// The cell of a column; none if the value does not fit.
fn cell(column: &str, value: &Value) -> Option<Cell<'static>> {
    match is_instant(column) {
        true => lenient::instant(value).map(Cell::time),
        false => lenient::text(value).map(Cell::from),
    }
}

fn is_in_the_way(meta: &Map<String, Value>, column: &str, path: &str) -> bool {
    let names: Vec<&str> = path.split('.').collect();
    let mut object = meta;
    for (at, name) in names.iter().enumerate() {
        let is_last = at + 1 == names.len();
        match object.get(*name) {
            None | Some(Value::Null) => return false,
            Some(Value::Object(inner)) if !is_last => object = inner,
            Some(scalar) if is_last && !scalar.is_object() && !scalar.is_array() => {
                return is_instant(column) && lenient::read_instant(scalar).is_unreadable();
            }
            Some(_) => return true,
        }
    }
    false
}

/// The cells of `user_meta` that lesson data fills, and the columns that can't be read.
fn read(meta: &Map<String, Value>) -> (Vec<Cell<'static>>, Vec<&'static str>) {
    let table = user_meta::table();
    let mut cells = vec![Cell::Null; table.columns.len()];
    let mut unreadable = Vec::new();
    let mut scalars = Scalars::new();
    for (name, value) in meta {
        flatten(name.clone(), value, &mut scalars);
    }
    for (column, paths) in COLUMNS {
        let mut found = paths.iter().filter_map(|path| {
            let value = scalars.get(*path)?;
            Some((*path, cell(column, value)?))
        });
        match found.next() {
            Some((path, cell)) => {
                cells[table.index(column).expect("a column")] = cell;
                scalars.remove(path);
            }
            None if paths.iter().any(|path| is_in_the_way(meta, column, path)) => unreadable.push(column),
            None => {}
        }
    }
    let texts = scalars.into_iter();
    let texts = texts.filter_map(|(path, value)| Some((path.into(), lenient::text(value)?.into())));
    cells[table.index(columns::attributes).expect("a column")] = Cell::Map(texts.collect());
    (cells, unreadable)
}

/// The user, the meeting and the lesson data of a payload.
fn payload(value: &Value) -> Result<(String, String, Option<String>), &'static str> {
    let Value::Object(object) = value else {
        return Err("a payload is an object");
    };
    let mut object = object.clone();
    let mut id = |names: [&str; 2]| {
        let mut values = names.iter().filter_map(|name| object.remove(*name));
        values.find_map(|value| lenient::text(&value))
    };
    let user = id(["externalUserId", "external_user_id"]);
    let meeting = id(["externalMeetingId", "external_meeting_id"]);
    if !lenient::is_within(value, DEEPEST) {
        return Err("it is nested too deeply");
    }
    let user = user.ok_or("externalUserId is missing")?;
    let meeting = meeting.ok_or("externalMeetingId is missing")?;
    let meta = match object.remove("meta") {
        Some(Value::Null) => None,
        Some(Value::Object(mut meta)) => {
            for (name, value) in object {
                meta.entry(name).or_insert(value);
            }
            Some(meta)
        }
        None => Some(object),
        Some(_) => return Err("meta is no object"),
    };
    Ok((user, meeting, meta.map(|meta| Value::Object(meta).to_string())))
}

/// Values with names that the columns are read from, and some beside them.
fn lesson_data() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!("")),
        Just(json!("soon")),
        Just(json!("2024-12-12 09:00")),
        Just(json!(0)),
        Just(json!(1_733_994_000)),
        any::<bool>().prop_map(Value::from),
    ];
    let name = proptest::sample::select(vec![
        "lesson_course",
        "lesson_course_id",
        "lesson_course.lesson_course_id",
        "lesson_course_name",
        "student_group",
        "student_group_id",
        "user_role",
        "lesson_scheduled_start_dt",
        "lesson_scheduled_end_dt",
        "a",
        "a.b",
        "a-b",
        "b",
        "0",
        "",
    ]);
    leaf.prop_recursive(3, 30, 6, move |inner| {
        let fields =
            proptest::collection::btree_map(name.clone().prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            proptest::collection::vec(inner, 0..3).prop_map(Value::from),
        ]
    })
}

proptest! {
    #[test]
    fn columns_attributes_and_unreadable_values_are_those_of_all_paths(
        fields in proptest::collection::vec(lesson_data(), 0..3),
    ) {
        let objects = fields.into_iter().filter_map(|value| value.as_object().cloned());
        let meta: Map<String, Value> = objects.flatten().collect();
        let (expected, unreadable) = read(&meta);
        let text = Value::Object(meta.clone()).to_string();
        let object = lesson_entry::object(&text).expect("an object");
        prop_assert_eq!(lesson::unreadable(&object), unreadable.clone());
        prop_assert_eq!(Lesson::of(&object).unreadable.columns().collect::<Vec<_>>(), unreadable);
        let columns = LessonColumns::of(user_meta::table());
        for lesson in [Lesson::of(&object), Lesson::of(&object).into_owned()] {
            let start = lesson.start;
            let mut cells = vec![Cell::Null; expected.len()];
            columns.fill(lesson, &mut cells);
            prop_assert_eq!(&cells, &expected);
            let entry = entry("u", "f", 1, Value::Object(meta.clone()));
            let date = start.unwrap_or(entry.received_at).date_naive();
            prop_assert_eq!(entry.date(chrono_tz::Tz::UTC, None), date);
        }
    }

    /// A field may come twice; then the last one counts.
    #[test]
    fn a_payload_is_read_as_from_a_map(
        fields in proptest::collection::vec((proptest::sample::select(vec![
            "externalUserId", "external_user_id", "externalMeetingId", "external_meeting_id", "meta", "user_role", "a",
        ]), lesson_data()), 0..8),
    ) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let text = format!("{{{}}}", fields.join(","));
        let expected = payload(&serde_json::from_str(&text).expect("JSON"));
        let read = parse(text.as_bytes()).map(|mut payloads| payloads.remove(0));
        let read = read.map(|read| (read.user.into(), read.meeting.into(), read.meta));
        prop_assert_eq!(read.map_err(|malformed| malformed.why), expected.map_err(str::to_owned));
    }
}
