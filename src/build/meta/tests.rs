//! Meta files to payloads, columns and levels.

use std::sync::Arc;

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::build::read_text;

fn refusal(text: &str) -> String {
    parse(text.as_bytes()).expect_err(text).to_string()
}

fn ids(text: &str) -> Vec<(String, String, u64)> {
    let payloads = parse(text.as_bytes()).expect(text);
    payloads
        .into_iter()
        .map(|it| (it.user, it.meeting, it.line))
        .collect()
}

fn entry(user: &str, file: &str, line: u64, meta: Value) -> Entry {
    let Value::Object(meta) = meta else {
        panic!("an object")
    };
    Entry {
        user: user.into(),
        meeting: "m1".into(),
        received_at: "2026-11-22T10:00:00Z".parse().expect("time"),
        file: file.into(),
        line,
        meta,
    }
}

#[test]
fn a_payload_is_nested_no_deeper_than_a_shelf_can_be_read_again() {
    let nested = |depth: usize| {
        let value = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"externalUserId":"u","externalMeetingId":"m","meta":{{"a":{value}}}}}"#)
    };
    assert!(refusal(&nested(DEEPEST)).contains("nested too deeply"));
    assert!(!refusal(&nested(10_000)).is_empty());
    let payload = parse(nested(DEEPEST - 2).as_bytes()).expect("deep").remove(0);
    let shelf = Shelf::from(vec![Entry::new(payload, "f", DateTime::UNIX_EPOCH)]);
    let bytes = serde_json::to_vec(&shelf).expect("written");
    assert!(serde_json::from_slice::<Shelf>(&bytes).is_ok());
}

/// The vendor's example, as it stands in the guide.
const GUIDE: &str = r#"{
"lesson_scheduled_start_dt" : "2024-12-12 09:00"  //плановое дата время начала урока по UTC
  "lesson_scheduled_end_dt" : "2024-12-12 10:00"   //плановое дата время окончания урока по UTC, опцинально
  "user_role" : "student" //роль пользователя. Допустимые значения:
  "student_group" // информация о принадлежности студента к группе
  {
  "student_group_id" : "ddfa1488" // уникальный идентификатор группы учеников
  }
"#;

#[test]
fn every_form_of_a_file_gives_its_payloads_with_their_lines() {
    let one = |user: &str, line| (user.to_owned(), "m".to_owned(), line);
    let u = r#"{"externalUserId": "u", "externalMeetingId": "m", "meta": {"a": "[{,\"\\"}}"#;
    let v = "{\n\"externalUserId\": 7,\n\"externalMeetingId\": \"m\"\n}";
    assert_eq!(ids(""), []);
    assert_eq!(ids("[]"), []);
    assert_eq!(ids(u), [one("u", 1)]);
    assert_eq!(ids(v), [one("7", 1)]);
    assert_eq!(
        ids(&format!("\u{feff}\n{u}\r\n\n{u}\n")),
        [one("u", 2), one("u", 4)]
    );
    assert_eq!(ids(&format!("{v}\n{v}")), [one("7", 1), one("7", 5)]);
    assert_eq!(ids(&format!("[{u}, {u}]")), [one("u", 1), one("u", 1)]);
    assert_eq!(
        ids(&format!("\n[\n  {u},\n  {v},{u}\n]")),
        [one("u", 3), one("7", 4), one("u", 7)]
    );
}

#[test]
fn fields_beside_meta_are_meta() {
    let payload = parse(br#"{"externalUserId":"u","externalMeetingId":"m","meta":{"a":1},"a":2,"b":3}"#);
    let payload = payload.expect("payload").remove(0);
    assert_eq!(Value::Object(payload.meta.clone()), json!({"a": 1, "b": 3}));
    assert_eq!(
        payload.body(),
        json!({"externalUserId": "u", "externalMeetingId": "m", "meta": {"a": 1, "b": 3}})
    );
}

#[test]
fn a_malformed_file_is_refused_with_its_line() {
    let good = r#"{"externalUserId": "u", "externalMeetingId": "m"}"#;
    insta::assert_snapshot!(
        [
            refusal(GUIDE),
            refusal(&format!("{good}\n{good}\n{{\"externalUserId\": \"u\"")),
            refusal(&format!("{good}\n\n{good} # twice")),
            refusal(&format!("[\n{good},\n{good}\n{good}]")),
            refusal(&format!("[\n{good},\n{{\"externalUserId\": \"u\"}}]")),
            refusal(r#"{"externalUserId": "", "externalMeetingId": "m"}"#),
            refusal(r#"{"externalUserId": "u", "externalMeetingId": "m", "meta": "x"}"#),
            refusal("5"),
            refusal("<html>"),
            parse(b"\n\xff").expect_err("no text").to_string(),
        ]
        .join("\n"),
        @r"
        line 2: a comment: JSON has none, remove it
        line 3: ends in the middle of a JSON value
        line 3: a comment: JSON has none, remove it
        line 4: not JSON: expected `,` or `]` at column 1
        line 3: externalMeetingId is missing
        line 1: externalUserId is missing
        line 1: meta is no object
        line 1: a payload is an object
        line 1: not JSON: expected value at column 1
        line 2: not UTF-8
        "
    );
}

#[test]
fn the_latest_is_of_the_later_file_and_the_later_line() {
    let mut shelf = Shelf::default();
    assert!(shelf.put(entry("u", "b", 1, json!({"n": 1}))));
    assert!(!shelf.put(entry("u", "a", 9, json!({"n": 2}))));
    assert!(shelf.put(entry("u", "b", 2, json!({"n": 3}))));
    assert!(!shelf.put(entry("u", "b", 2, json!({"n": 4}))));
    let other = Shelf::from(vec![
        entry("u", "c", 1, json!({"n": 5})),
        entry("w", "c", 2, json!({})),
    ]);
    let meta = Meta::of(vec![Arc::new(other), Arc::new(shelf)]);
    let n = |meta: &Meta| meta.get("m1", "u").expect("meta").meta["n"].clone();
    assert_eq!(n(&meta), json!(5));
    assert_eq!(meta.expected("m1").into_keys().collect::<Vec<_>>(), ["u", "w"]);
    assert_eq!(meta.digest(["m2"]), "");
    assert_ne!(meta.digest(["m1"]), "");
}

#[test]
fn a_meta_becomes_columns_attributes_and_levels() {
    let meta = json!({
        "lesson_scheduled_start_dt": "2024-12-12 09:00", "lesson_scheduled_end_dt": "later",
        "lesson_name": "Эмоции", "user_role": "curator", "grade": 5, "none": null, "tags": ["a", {"b": true}],
        "student_group": {"student_group_id": 228, "student_group_name": "Группа", "room": "7"},
        "lesson_course": {"lesson_course_id": "c", "program": {"id": "p", "name": "П", "campus": {"campus_id": "k"}}},
    });
    let shelf = Shelf::from(vec![entry("u", "f", 1, meta)]);
    let date = "2024-12-12".parse().expect("date");
    let zone = chrono_tz::Tz::UTC;
    assert!(shelf.entries().all(|entry| entry.date(zone, None) == date));
    let files = build_meta_tables(date, &shelf).expect("tables");
    let rows = |at: usize, columns: &[&str]| {
        let rows = read_text(files[at].bytes.clone(), columns).expect("rows");
        rows.into_iter()
            .map(|row| row.join(" | "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(files[0].key, "user_meta/date=2024-12-12/user_meta.parquet");
    insta::assert_snapshot!(
        [
            rows(0, &["lesson_scheduled_start_at", "lesson_scheduled_end_at", "user_role", "lesson_course_id", "student_group_id", "attributes"]),
            rows(1, &["level", "parent_level", "depth", "entity_id", "entity_name", "attributes"]),
        ]
        .join("\n"),
        @r"
        2024-12-12 09:00:00 |  | curator | c | 228 | {grade: 5, lesson_course.program.campus.campus_id: k, lesson_course.program.id: p, lesson_course.program.name: П, lesson_scheduled_end_dt: later, student_group.room: 7, tags.0: a, tags.1.b: true}
        lesson_course |  | 1 | c |  | {}
        program | lesson_course | 2 | p | П | {}
        campus | program | 3 | k |  | {}
        student_group |  | 1 | 228 | Группа | {room: 7}
        tags |  | 1 |  |  | {b: true}
        "
    );
}

/// Any JSON.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        "[a-z_]{0,4}(id|name)?".prop_map(Value::from),
        Just(json!("2024-12-12 09:00")),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let names = prop_oneof![
            Just("student_group".to_owned()),
            Just("lesson_scheduled_start_dt".to_owned()),
            "[a-z.]{0,3}(_id)?".prop_map(String::from),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((names, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_payloads_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_meta_makes_tables(meta in any_json(), pretty: bool) {
        let payload = json!([{"externalUserId": "u", "externalMeetingId": "m", "more": meta, "meta": {"deep": meta}}]);
        let text = if pretty { format!("{payload:#}") } else { payload.to_string() };
        let payloads = parse(text.as_bytes()).expect("payloads");
        let now = "2026-11-22T10:00:00Z".parse().expect("time");
        let shelf = Shelf::from(payloads.into_iter().map(|it| Entry::new(it, "f", now)).collect::<Vec<_>>());
        let files = build_meta_tables("2026-11-22".parse().expect("date"), &shelf).expect("tables");
        prop_assert_eq!(files[0].rows, 1);
        let again: Shelf = serde_json::from_str(&serde_json::to_string(&shelf).expect("JSON")).expect("shelf");
        prop_assert_eq!(again, shelf);
    }
}
