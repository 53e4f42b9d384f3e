//! Meta files to payloads, columns and levels.

mod attendance;
mod reference;

use std::io::BufReader;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::tables::{TableFile, read_text};

fn refusal(text: &str) -> String {
    parse(text.as_bytes()).expect_err(text).to_string()
}

fn ids(text: &str) -> Vec<(String, String, u64)> {
    let payloads = parse(text.as_bytes()).expect(text);
    payloads
        .into_iter()
        .map(|it| (it.user.into(), it.meeting.into(), it.line))
        .collect()
}

/// Lesson data of a user in the meeting `m1`; null takes it back.
fn entry(user: &str, file: &str, line: u64, meta: Value) -> LessonEntry {
    entry_in("m1", user, file, line, meta)
}

fn entry_in(meeting: &str, user: &str, file: &str, line: u64, meta: Value) -> LessonEntry {
    LessonEntry {
        user: user.into(),
        meeting: meeting.into(),
        received_at: "2026-11-22T10:00:00Z".parse().expect("time"),
        file: file.into(),
        line,
        meta: meta.is_object().then(|| meta.to_string()),
        start: None,
        known: Default::default(),
    }
}

fn date() -> NaiveDate {
    "2026-11-22".parse().expect("date")
}

/// The lesson day of some entries, and its tables.
fn stored(entries: impl IntoIterator<Item = LessonEntry>) -> (Bytes, Vec<TableFile>) {
    let change = LessonDayChange {
        put: entries.into_iter().collect(),
        ..LessonDayChange::default()
    };
    let day = change_lesson_day(date(), None, &change)
        .expect("stored")
        .expect("a lesson day");
    let tables =
        build_lesson_tables(date(), Some(&day), &crate::tables::PrivacyPolicy::default()).expect("tables");
    (day, tables)
}

#[test]
fn a_payload_nests_no_deeper_than_a_lesson_day_can_be_read_again() {
    let nested = |depth: usize| {
        let value = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"externalUserId":"u","externalMeetingId":"m","meta":{{"a":{value}}}}}"#)
    };
    assert!(refusal(&nested(DEEPEST)).contains("nested too deeply"));
    assert!(!refusal(&nested(10_000)).is_empty());
    let payload = parse(nested(DEEPEST - 2).as_bytes()).expect("deep").remove(0);
    let entry = LessonEntry::new(payload, &"f".into(), DateTime::UNIX_EPOCH);
    let (day, _) = stored([entry.clone()]);
    assert_eq!(find_entries(date(), &day, |_, _| true).expect("read"), [entry]);
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
fn fields_beside_meta_are_lesson_data() {
    let payload = parse(br#"{"externalUserId":"u","externalMeetingId":"m","meta":{"a":1},"a":2,"b":3}"#);
    let payload = payload.expect("payload").remove(0);
    assert_eq!(payload.meta.as_deref(), Some(r#"{"a":1,"b":3}"#));
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
            refusal(&format!("{good}\n{good}\n{{\"externalUserId\": \"u\"\n")),
            refusal(&format!("{good}\n\n{good} # twice")),
            refusal(&format!("[\n{good},\n{good}\n{good}]")),
            refusal(&format!("[\n{good},\n{{\"externalUserId\": \"u\"}}]")),
            refusal(r#"{"externalUserId": "", "externalMeetingId": "m"}"#),
            refusal(r#"{"externalUserId": "u", "externalMeetingId": "m", "meta": "x"}"#),
            refusal("5"),
            refusal("<html>"),
            parse(b"\n\xff").expect_err("no JSON").to_string(),
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
        line 2: not JSON: expected value at column 1
        "
    );
}

#[test]
fn the_latest_entry_is_in_the_later_file_or_line() {
    let mut latest = LatestEntries::default();
    assert!(latest.put(entry("u", "b", 1, json!({"n": 1}))));
    assert!(!latest.put(entry("u", "a", 9, json!({"n": 2}))));
    assert!(latest.put(entry("u", "b", 2, json!({"n": 3}))));
    assert!(!latest.put(entry("u", "b", 2, json!({"n": 4}))));
    let other = [entry("w", "c", 2, json!({})), entry("u", "c", 1, json!({"n": 5}))];
    let meta = LessonIndex::of(other.into_iter().chain(latest.into_entries()), true);
    assert_eq!(
        meta.get("m1", "u").and_then(|entry| entry.meta.as_deref()),
        Some(r#"{"n":5}"#)
    );
    assert_eq!(
        meta.expected("m1").map(|(user, _)| user).collect::<Vec<_>>(),
        ["u", "w"]
    );
    assert_eq!(meta.digest(["m2"]), "");
    assert_ne!(meta.digest(["m1"]), "");
}

#[test]
fn a_null_meta_takes_an_entry_back_until_a_later_one_restores_it() {
    let null = parse(br#"{"externalUserId":"u","externalMeetingId":"m1","meta":null,"sent_by":"crm"}"#);
    assert_eq!(null.expect("payload")[0].meta, None);
    let said = entry("u", "a", 1, json!({"user_role": "student"}));
    let taken_back = entry("u", "b", 1, Value::Null);
    let again = entry("u", "c", 1, json!({"user_role": "teacher"}));
    // In whatever order they come.
    let gone = LessonIndex::of([taken_back.clone(), said.clone()], true);
    assert_eq!(gone.get("m1", "u"), None);
    assert_eq!(gone.expected("m1").count(), 0);
    assert_eq!(gone.digest(["m1"]), "");
    let back = LessonIndex::of([again.clone(), taken_back.clone(), said.clone()], true);
    assert_eq!(back.get("m1", "u"), Some(&again));

    let change = |entry: &LessonEntry| LessonDayChange {
        put: [entry.clone()].into_iter().collect(),
        ..LessonDayChange::default()
    };
    let (day, tables) = stored([said.clone()]);
    assert_eq!(tables[0].rows, 1);
    let after = |day: &[u8], entry: &LessonEntry| {
        change_lesson_day(date(), Some(day), &change(entry)).expect("stored")
    };
    let tables = |day: &[u8]| {
        build_lesson_tables(date(), Some(day), &crate::tables::PrivacyPolicy::default()).expect("tables")
    };
    let day = after(&day, &taken_back).expect("changed");
    assert_eq!(tables(&day), [], "user_meta has no row of it");
    assert_eq!(after(&day, &said), None, "an older file does not bring it again");
    let day = after(&day, &again).expect("changed");
    assert_eq!(tables(&day)[0].rows, 1);
}

#[test]
fn a_bad_line_costs_no_other_line_in_any_layout() {
    let good = |user: &str| {
        format!(r#"{{"externalUserId":"{user}","externalMeetingId":"m","meta":{{"a":[1,"]}}"]}}}}"#)
    };
    let [u, v, w] = ["u", "v", "w"].map(good);
    let cut = r#"{"externalUserId":"x","externalMeetingId":"m","meta":{"a":1}"#;
    let files = [
        format!("{u}\n{cut}\n{v}\n{w}\n"),
        // The first line is the bad one; the last has no end.
        format!("{cut}\n{u}\n{v}\n{w}"),
        format!("<html>\n{u}\n{v}\n{w}"),
        format!("{u}\n{v}\n{w}\n\"\n"),
        format!("[\n{u},\n{cut},\n{v},\n{w}\n]\n"),
        format!("[{u}, {{\"externalUserId\": }}, {v}, nonsense, {w}]"),
        format!("[\n{u},\n{v}\n{w}\n]"),
        format!("[\n{u},\n{v},\n{w},\n"),
        format!(
            "{{\n\"externalUserId\": 1,\n\"b\"\n}}\n{{\n\"externalUserId\": \"u\",\n\"externalMeetingId\": \"m\"}}\n\n[{v},\n{w}]"
        ),
    ];
    for file in files {
        for size in [1, 7, 1 << 20] {
            let read: Vec<_> = Payloads::new(BufReader::with_capacity(size, file.as_bytes())).collect();
            let users: Vec<_> = read
                .iter()
                .flatten()
                .map(|payload| payload.user.as_str())
                .collect();
            assert_eq!(users, ["u", "v", "w"], "{size} bytes at once: {file}");
            assert!(read.iter().any(Result::is_err), "the bad line is named: {file}");
        }
    }
}

#[test]
fn a_bad_character_costs_one_character_and_is_counted() {
    let text =
        b"{\"externalUserId\":\"u\",\"externalMeetingId\":\"m\",\"meta\":{\"a\":\"caf\xe9\",\"n\":NaN}}";
    let payload = parse(text).expect("payload").remove(0);
    assert_eq!(
        payload.meta.as_deref(),
        Some("{\"a\":\"caf\u{fffd}\",\"n\":null}")
    );
    assert_eq!((payload.repairs.characters, payload.repairs.numbers), (1, 1));
    let one_line = parse(br#"[{"externalUserId":100000000000000000001,"externalMeetingId":1.0}]"#);
    let payload = one_line.expect("payload").remove(0);
    assert_eq!(
        (payload.user.as_str(), payload.meeting.as_str()),
        ("100000000000000000001", "1")
    );
}

#[test]
fn a_payloads_error_is_reported_with_its_ids() {
    let bad = parse(br#"{"externalUserId":7,"externalMeetingId":"m","meta":"x"}"#).expect_err("no meta");
    assert_eq!(
        (bad.line, bad.user.as_deref(), bad.meeting.as_deref()),
        (1, Some("7"), Some("m"))
    );
}

#[test]
fn an_unreadable_value_leaves_its_column_null_and_is_reported() {
    let unread = |meta: Value| entry("u", "f", 1, meta).unreadable().collect::<Vec<_>>();
    for good in [
        json!("2026-11-22 10:00"),
        json!(1_795_341_600),
        json!(null),
        json!(""),
        json!("-"),
        json!(0),
        json!(false),
    ] {
        assert_eq!(
            unread(json!({"lesson_scheduled_start_dt": good})),
            [""; 0],
            "{good}"
        );
    }
    for bad in [
        json!("soon"),
        json!([1]),
        json!({"at": 1}),
        json!(true),
        json!("9999-12-31 10:00"),
    ] {
        let meta = json!({"lesson_scheduled_start_dt": bad, "lesson_name": "n"});
        assert_eq!(unread(meta.clone()), ["lesson_scheduled_start_at"], "{bad}");
        let entry = entry("u", "f", 1, meta);
        assert_eq!(
            entry.date(chrono_tz::Tz::UTC, None),
            date(),
            "the date of its arrival"
        );
    }
    let meta = json!({"student_group": "x", "lesson_course": {"lesson_course_id": [1]}, "user_fullname": {"first": "f"}});
    assert_eq!(
        unread(meta),
        [
            "user_fullname",
            "lesson_course_id",
            "student_group_id",
            "student_group_name"
        ]
    );
}

#[test]
fn a_lesson_day_does_not_depend_on_the_order_of_its_changes() {
    let all = || {
        let pairs = (0..40).flat_map(|m| (0..5).map(move |u| (m, u)));
        pairs.map(|(m, u)| entry_in(&format!("m{m}"), &format!("u{u}"), "f", 1, json!({"n": m * u})))
    };
    let (whole, _) = stored(all());
    let (mut day, _) = stored(all().step_by(3));
    for start in [1, 2] {
        let change = LessonDayChange {
            put: all().skip(start).step_by(3).collect(),
            ..LessonDayChange::default()
        };
        let next = change_lesson_day(date(), Some(&day), &change).expect("stored");
        day = next.expect("changed");
    }
    assert_eq!(day, whole);
    // The same again is no change; what has moved elsewhere is gone.
    let again = change_lesson_day(
        date(),
        Some(&day),
        &LessonDayChange {
            put: all().collect(),
            ..LessonDayChange::default()
        },
    );
    assert_eq!(again.expect("stored"), None);
    let moved = entry_in("m7", "u2", "g", 1, json!({}));
    let change = LessonDayChange {
        moved: [moved].into_iter().collect(),
        ..LessonDayChange::default()
    };
    let without = change_lesson_day(date(), Some(&day), &change)
        .expect("stored")
        .expect("changed");
    let left = find_entries(date(), &without, |meeting, _| meeting == "m7").expect("found");
    assert_eq!(
        left.iter().map(|entry| entry.user.as_str()).collect::<Vec<_>>(),
        ["u0", "u1", "u3", "u4"]
    );
    for left in [0, 1, day.len() / 2, day.len() - 1] {
        let damaged = change_lesson_day(date(), Some(&day[..left]), &LessonDayChange::default());
        assert!(
            damaged.expect_err("cut").to_string().contains("is damaged"),
            "{left}"
        );
    }
}

#[test]
fn lesson_data_becomes_columns_attributes_and_levels() {
    let meta = json!({
        "lesson_scheduled_start_dt": "2024-12-12 09:00", "lesson_scheduled_end_dt": "later",
        "lesson_name": "Эмоции", "user_role": "curator", "grade": 5, "none": null, "tags": ["a", {"b": true}],
        "student_group": {"student_group_id": 228, "student_group_name": "Группа", "room": "7"},
        "lesson_course": {"lesson_course_id": "c", "program": {"id": "p", "name": "П", "campus": {"campus_id": "k"}}},
        "city": {"cityId": "msk", "cityName": "Москва", "branches": [{"branchId": "b1", "branches_id": "b2", "id": 3}, {"zoneId": "z", "branchId": "b4"}]},
    });
    let entry = entry("u", "f", 1, meta);
    let date = "2024-12-12".parse().expect("date");
    assert_eq!(entry.date(chrono_tz::Tz::UTC, None), date);
    let change = LessonDayChange {
        put: [entry].into_iter().collect(),
        ..LessonDayChange::default()
    };
    let day = change_lesson_day(date, None, &change)
        .expect("stored")
        .expect("a lesson day");
    let files =
        build_lesson_tables(date, Some(&day), &crate::tables::PrivacyPolicy::default()).expect("tables");
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
            rows(1, &["level", "path", "parent_level", "parent_entity_id", "depth", "entity_id", "entity_name", "attributes"]),
        ]
        .join("\n"),
        @r"
        2024-12-12 09:00:00 |  | curator | c | 228 | {city.branches.0.branchId: b1, city.branches.0.branches_id: b2, city.branches.0.id: 3, city.branches.1.branchId: b4, city.branches.1.zoneId: z, city.cityId: msk, city.cityName: Москва, grade: 5, lesson_course.program.campus.campus_id: k, lesson_course.program.id: p, lesson_course.program.name: П, lesson_scheduled_end_dt: later, student_group.room: 7, tags.0: a, tags.1.b: true}
        city | city |  |  | 1 | msk | Москва | {}
        branches | city.branches | city | msk | 2 | b2 |  | {branchId: b1, id: 3}
        branches | city.branches | city | msk | 2 | b4 |  | {zoneId: z}
        lesson_course | lesson_course |  |  | 1 | c |  | {}
        program | lesson_course.program | lesson_course | c | 2 | p | П | {}
        campus | lesson_course.program.campus | program | p | 3 | k |  | {}
        student_group | student_group |  |  | 1 | 228 | Группа | {room: 7}
        tags | tags |  |  | 1 |  |  | {b: true}
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
    fn a_file_reads_the_same_in_whatever_pieces(
        parts in proptest::collection::vec(prop_oneof![
            Just(r#"{"externalUserId":"u","externalMeetingId":"m"}"#), Just("{\n\"externalUserId\":"), Just("\"\\\"}"),
            Just("\n"), Just(","), Just("["), Just("]"), Just("}"), Just("x"), Just("\"["), Just("\u{e9}"),
        ], 0..30),
        size in 1usize..50,
    ) {
        let file = parts.concat();
        let whole: Vec<_> = Payloads::new(file.as_bytes()).collect();
        // The layout is told by the first piece, so it is the same one here.
        let head = file.len().max(1);
        let pieces: Vec<_> = Payloads::new(BufReader::with_capacity(head, file.as_bytes())).collect();
        prop_assert_eq!(&whole, &pieces);
        if file.trim_start().starts_with('[') {
            let pieces: Vec<_> = Payloads::new(BufReader::with_capacity(size, file.as_bytes())).collect();
            prop_assert_eq!(whole, pieces);
        }
    }

    #[test]
    fn any_lesson_data_makes_tables(meta in any_json(), pretty: bool) {
        let payload = json!([{"externalUserId": "u", "externalMeetingId": "m", "more": meta, "meta": {"deep": meta}}]);
        let text = if pretty { format!("{payload:#}") } else { payload.to_string() };
        let payloads = parse(text.as_bytes()).expect("payloads");
        let now = "2026-11-22T10:00:00Z".parse().expect("time");
        let entries: Vec<_> = payloads.into_iter().map(|it| LessonEntry::new(it, &"f".into(), now)).collect();
        let (day, files) = stored(entries.clone());
        prop_assert_eq!(files[0].rows, 1);
        prop_assert_eq!(find_entries(date(), &day, |_, _| true).expect("read"), entries);
    }
}
