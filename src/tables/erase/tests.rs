//! Reports and lesson data of three people, of whom one is erased.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};
use serde_json::{Value, json};

use super::*;
use crate::lake::erased::{Erased, KnownBy, Person, tombstone};
use crate::pseudonym::PseudonymKey;
use crate::tables::lessons::{EntryFate, LessonEntry, Payloads};
use crate::tables::xlsx::erase_workbook;
use crate::tables::{Mapping, inspect_workbook};

fn erased(people: &[(KnownBy, &str)]) -> Erased {
    let key = PseudonymKey::new(b"key");
    let stones = people.iter().map(|(known_by, value)| {
        let person = Person {
            known_by: *known_by,
            value: (*value).into(),
        };
        tombstone(&key, &person)
    });
    Erased::new(key.clone(), stones.collect::<Vec<_>>())
}

fn anna() -> Erased {
    erased(&[(KnownBy::User, "student-1")])
}

fn mapping() -> Mapping {
    Mapping::builtin().expect("the mapping")
}

fn report() -> Value {
    let person = |id: &str, user: Option<&str>, name: &str, email: Option<&str>| {
        json!({"id": id, "name": name, "email": email, "phone": null, "externalUserId": user, "externalMeetingId": "m",
            "sessions": [{"joinedAt": "2026-11-22T10:00:00Z", "leftAt": "2026-11-22T10:30:00.5Z"}], "cameraSeconds": 1.50,
            "meta": {"course": {"course_id": 7}}})
    };
    json!({
        "callId": "c", "hostId": "participant-1", "zoo": 1, "apple": 2,
        "participants": [
            person("participant-1", Some("student-1"), "Анна Ли", Some("anna@example.org")),
            person("participant-2", Some("student-2"), "Борис Ли", None),
            person("participant-3", None, "anna", Some("ANNA@example.org")),
            person("participant-1b", None, "Анна Ли", Some("anna@example.org")),
        ],
        "messages": [
            {"id": "1", "participantId": "participant-1", "text": "Я здесь", "sentAt": "2026-11-22T10:01:00Z"},
            {"id": "2", "participantId": "participant-2", "text": "Привет, Анна!", "sentAt": "2026-11-22T10:02:00Z", "replyTo": "participant-1"},
            {"id": "3", "participantName": "Анна Ли", "text": "и тут", "sentAt": "2026-11-22T10:03:00Z"},
        ],
        "reactions": [{"participantId": "participant-1b", "type": "like", "sentAt": "2026-11-22T10:03:00Z"}],
        "polls": [{"id": "p", "question": "?", "options": [{"id": "a", "text": "да"}], "votes": [
            {"participantId": "participant-1", "optionId": "a"}, {"participantId": "participant-2", "optionId": "a"}]}],
        "hands": [{"participantId": "participant-1", "at": 3}, {"participantId": "participant-2", "at": 4}],
        "seen": {"participant-1": true, "participant-2": false}
    })
}

#[test]
fn a_person_leaves_a_report_and_the_others_stay_as_they_are() {
    let bytes = serde_json::to_vec(&report()).expect("JSON");
    let mut known = Traces::default();
    let done = erase_report(&bytes, &mapping(), &anna(), &mut known)
        .expect("JSON")
        .expect("the person");
    let text = String::from_utf8(done.bytes.clone()).expect("text");
    for gone in [
        "student-1",
        "participant-1\"",
        "participant-1b",
        "anna@",
        "Анна Ли",
        "Я здесь",
        "и тут",
    ] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    let left: Value = serde_json::from_slice(&done.bytes).expect("JSON");
    let mut expected = report();
    expected["hostId"] = Value::Null;
    let keep = |list: &mut Value, at: &[usize]| {
        let elements = list.as_array().expect("a list").clone();
        *list = at.iter().map(|at| elements[*at].clone()).collect();
    };
    // Who shares the address under another name may be somebody else of the family.
    keep(&mut expected["participants"], &[1, 2]);
    keep(&mut expected["messages"], &[1]);
    expected["messages"][0]["replyTo"] = Value::Null;
    keep(&mut expected["reactions"], &[]);
    keep(&mut expected["polls"][0]["votes"], &[1]);
    keep(&mut expected["hands"], &[1]);
    expected["seen"] = json!({"participant-2": false});
    assert_eq!(left, expected);
    let counts: BTreeMap<_, _> = done
        .rows
        .iter()
        .map(|(table, rows)| (table.as_str(), *rows))
        .collect();
    let all = [
        ("messages", 2),
        ("participants", 2),
        ("poll_votes", 1),
        ("reactions", 1),
    ];
    assert_eq!(counts, all.into());
    // «Привет, Анна!» and the row with the same address are left to a human.
    let mentions = [("another field".to_owned(), 1), ("text".to_owned(), 1)];
    assert_eq!(done.mentions, mentions.into());
    let again = erase_report(&done.bytes, &mapping(), &anna(), &mut known.clone()).expect("JSON");
    assert!(again.is_none_or(|again| again.bytes == done.bytes && again.rows.is_empty()));
    let fresh = erase_report(&done.bytes, &mapping(), &anna(), &mut Traces::default()).expect("JSON");
    assert_eq!(fresh, None, "nothing of the person is left");
}

#[test]
fn a_report_without_the_person_is_not_touched() {
    let bytes = serde_json::to_vec(&report()).expect("JSON");
    let nobody = erased(&[(KnownBy::User, "student-9"), (KnownBy::Email, "x@example.org")]);
    let done = erase_report(&bytes, &mapping(), &nobody, &mut Traces::default());
    assert_eq!(done.expect("JSON"), None);
    assert!(erase_report(b"{", &mapping(), &nobody, &mut Traces::default()).is_err());
}

#[test]
fn a_guest_is_erased_by_address_or_participant_id() {
    let bytes = serde_json::to_vec(&report()).expect("JSON");
    for person in [
        (KnownBy::Email, "Anna@Example.org"),
        (KnownBy::Participant, "participant-3"),
    ] {
        let done = erase_report(&bytes, &mapping(), &erased(&[person]), &mut Traces::default());
        let text = String::from_utf8(done.expect("JSON").expect("the person").bytes).expect("text");
        assert!(!text.contains("participant-3"), "{text}");
        assert!(text.contains("Борис Ли"));
        assert_eq!(
            text.contains("student-1"),
            person.0 == KnownBy::Participant,
            "{text}"
        );
    }
}

#[test]
fn lists_that_a_mapping_looks_up_lose_the_person_too() {
    let mapping = Mapping::over_builtin(
        r#"
        version = 1
        [table.participants]
        rows = "people{}"
        columns.participant_id = "@key"
        columns.external_user_id = "lms"
        columns.name = { find = "^.names[]", key = "of", by = "nameId", take = "text" }
        columns.sessions = { events = "^.events[]", key = "who", equals = "@key", at = "time", type = "kind", join = ["in"], leave = ["out"] }
        "#,
        "m.toml",
    );
    let Ok(mapping) = mapping else {
        panic!("{:?}", mapping.expect_err("an error"));
    };
    let report = json!({"people": {"1": {"lms": "7", "nameId": 3}, "2": {"lms": "8", "nameId": 4}},
        "names": [{"of": 3, "text": "Анна"}, {"of": 4, "text": "Борис"}],
        "events": [{"who": "1", "kind": "in", "time": "2026-11-22T10:00:00Z"}, {"who": "2", "kind": "in", "time": "2026-11-22T10:00:00Z"}],
        "count": 7});
    let bytes = serde_json::to_vec(&report).expect("JSON");
    let done = erase_report(
        &bytes,
        &mapping,
        &erased(&[(KnownBy::User, "7")]),
        &mut Traces::default(),
    );
    let left: Value = serde_json::from_slice(&done.expect("JSON").expect("the person").bytes).expect("JSON");
    let expected = json!({"people": {"2": {"lms": "8", "nameId": 4}},
        "names": [{"of": 4, "text": "Борис"}],
        "events": [{"who": "2", "kind": "in", "time": "2026-11-22T10:00:00Z"}], "count": 7});
    assert_eq!(left, expected);
}

fn workbook() -> Vec<u8> {
    let mut book = Workbook::new();
    let date = Format::new().set_num_format("dd.mm.yyyy hh:mm:ss");
    let people = book.add_worksheet().set_name("Участники").expect("a name");
    people.write_string(0, 0, "Отчёт").expect("a cell");
    let headers = [
        "Имя",
        "Роль",
        "E-mail",
        "Телефон",
        "ID пользователя",
        "ID встречи",
        "Вход",
        "Выход",
    ];
    for (column, header) in (0..).zip(headers) {
        people.write_string(2, column, header).expect("a cell");
    }
    let rows = [
        ("Анна Ли", "student-1"),
        ("Борис Ли", "student-2"),
        ("Анна Ли", "student-1"),
        ("Вера", "student-3"),
    ];
    for (row, (name, user)) in (3..).zip(rows) {
        people.write_string(row, 0, name).expect("a cell");
        people.write_string(row, 4, user).expect("a cell");
        for (column, minute) in [(6, 5), (7, 35)] {
            let at = ExcelDateTime::from_ymd(2026, 11, 22)
                .and_then(|day| day.and_hms(10, minute, 7))
                .expect("a date");
            people
                .write_datetime_with_format(row, column, &at, &date)
                .expect("a cell");
        }
        people.write_number(row, 8, 0.1 + f64::from(row)).expect("a cell");
    }
    let chat = book.add_worksheet().set_name("Чат").expect("a name");
    for (column, header) in (0..).zip(["Время", "Имя", "Сообщение"]) {
        chat.write_string(2, column, header).expect("a cell");
    }
    for (row, (name, text)) in (3..).zip([("Анна Ли", "Я"), ("Вера", "Анна, привет"), ("Борис Ли", "ok")])
    {
        chat.write_string(row, 1, name).expect("a cell");
        chat.write_string(row, 2, text).expect("a cell");
    }
    let other = book.add_worksheet().set_name("Итоги").expect("a name");
    for (row, user) in (0..).zip(["student-1", "student-2"]) {
        other.write_string(row, 0, user).expect("a cell");
        other.write_boolean(row, 1, true).expect("a cell");
    }
    book.save_to_buffer().expect("a workbook")
}

/// A row of a workbook: its sheet, its number, and its cells by header.
type BookRow = (String, i64, Vec<(String, String)>);

/// The rows of a workbook as `report_rows` has them.
fn rows(bytes: &[u8]) -> Vec<BookRow> {
    let mut rows = Vec::new();
    crate::tables::xlsx::workbook::read(bytes, &mapping(), &mut |row| {
        let cells = row.cells.into_iter().map(|cell| (cell.name, cell.text)).collect();
        rows.push((row.sheet.to_owned(), row.number, cells));
        Ok(())
    })
    .expect("a workbook");
    rows
}

#[test]
fn a_person_leaves_a_workbook_and_the_other_rows_keep_their_place_and_values() {
    let (bytes, mapping) = (workbook(), mapping());
    let mut known = Traces::default();
    let done = erase_workbook(&bytes, &mapping, &anna(), &mut known)
        .expect("a workbook")
        .expect("the person");
    let is_of_anna = |(sheet, number, _): &BookRow| {
        matches!(
            (sheet.as_str(), number),
            ("Участники", 4 | 6) | ("Чат", 4) | ("Итоги", 1)
        )
    };
    let mut expected = rows(&bytes);
    expected.retain(|row| !is_of_anna(row));
    assert_eq!(rows(&done.bytes), expected);
    assert_eq!(
        done.rows,
        [("messages".to_owned(), 1), ("participants".to_owned(), 2)].into()
    );
    assert_eq!(done.mentions, [("sheet 3, column C".to_owned(), 1)].into());
    let inspected = inspect_workbook(&done.bytes, &mapping).expect("a workbook");
    assert_eq!(inspected.participants, Some(2));
    let fresh = erase_workbook(&done.bytes, &mapping, &anna(), &mut Traces::default());
    assert_eq!(fresh.expect("a workbook"), None);
}

#[test]
fn a_workbook_without_ids_is_erased_by_what_the_other_report_says() {
    let mut book = Workbook::new();
    let chat = book.add_worksheet().set_name("Чат").expect("a name");
    for (row, texts) in (0..).zip([
        ["Время", "Имя", "Сообщение"],
        ["", "Анна Ли", "Я"],
        ["", "Вера", "ok"],
    ]) {
        for (column, text) in (0..).zip(texts) {
            chat.write_string(row, column, text).expect("a cell");
        }
    }
    let bytes = book.save_to_buffer().expect("a workbook");
    let mut known = Traces::default();
    let nothing = erase_workbook(&bytes, &mapping(), &anna(), &mut known).expect("a workbook");
    assert_eq!(nothing, None);
    erase_report(
        &serde_json::to_vec(&report()).expect("JSON"),
        &mapping(),
        &anna(),
        &mut known,
    )
    .expect("JSON");
    let done = erase_workbook(&bytes, &mapping(), &anna(), &mut known)
        .expect("a workbook")
        .expect("the person");
    assert_eq!(done.rows, [("messages".to_owned(), 1)].into());
}

fn lines() -> String {
    let line = |user: &str, meta: Value| {
        json!({"externalUserId": user, "externalMeetingId": "m", "meta": meta}).to_string() + "\n"
    };
    [
        line("student-1", json!({"user_fullname": "Анна Ли"})),
        line(
            "student-2",
            json!({"user_fullname": "Борис", "course": {"course_id": 1}}),
        ),
        "\n".into(),
        "{\"externalUserId\": \"student-1\", broken\n".into(),
        line(
            "student-3",
            json!({"pair": {"user_id": "student-1", "name": "Анна"}, "friend_id": "student-1", "note": 1}),
        ),
        line("student-4", json!({"note": "сидит с student-1"})),
    ]
    .concat()
}

#[test]
fn a_person_leaves_a_file_of_lesson_data_and_the_other_lines_stay() {
    let text = lines();
    let done = erase_meta_file(text.as_bytes(), &anna(), &mut Traces::default()).expect("the person");
    let left = String::from_utf8(done.bytes.clone()).expect("text");
    let mut expected: Vec<&str> = text.split('\n').collect();
    expected[0] = "";
    expected[3] = "";
    let pair = json!({"externalUserId": "student-3", "externalMeetingId": "m", "meta": {"friend_id": null, "note": 1}}).to_string();
    expected[4] = &pair;
    assert_eq!(left.split('\n').collect::<Vec<_>>(), expected);
    assert_eq!(
        (done.payloads, done.changed, done.unreadable, done.mentions),
        (1, 1, 1, 1)
    );
    assert_eq!(
        erase_meta_file(
            text.as_bytes(),
            &erased(&[(KnownBy::User, "x")]),
            &mut Traces::default()
        ),
        None
    );
}

#[test]
fn an_array_of_lesson_data_becomes_lines_of_the_same_payloads() {
    let good: Vec<_> = Payloads::new(lines().as_bytes())
        .flatten()
        .map(|payload| payload.body())
        .collect();
    let array = serde_json::to_vec_pretty(&good).expect("JSON");
    let done = erase_meta_file(&array, &anna(), &mut Traces::default()).expect("the person");
    let left: Vec<_> = Payloads::new(&*done.bytes)
        .map(|payload| payload.expect("a payload").user)
        .collect();
    assert_eq!(left, ["student-2", "student-3", "student-4"]);
    assert_eq!(done.payloads, 1);
}

#[test]
fn an_entry_about_another_user_loses_what_is_about_the_person() {
    let entry = |user: &str, meta: Value| {
        let payload = json!({"externalUserId": user, "externalMeetingId": "m", "meta": meta}).to_string();
        let payload = crate::tables::lessons::parse(payload.as_bytes())
            .expect("a payload")
            .remove(0);
        LessonEntry::new(payload, &Arc::from("f"), DateTime::UNIX_EPOCH)
    };
    let fate = |entry: &mut LessonEntry| erase_entry(entry, &anna(), &mut Traces::default());
    assert_eq!(fate(&mut entry("student-1", json!({}))), EntryFate::Goes);
    assert_eq!(
        fate(&mut entry("student-2", json!({"course": {"course_id": 1}}))),
        EntryFate::Stays
    );
    let mut pair = entry(
        "student-2",
        json!({"pair": {"user_id": "student-1", "name": "Анна"}, "n": 1}),
    );
    assert_eq!(fate(&mut pair), EntryFate::Changed);
    assert_eq!(pair.meta.as_deref(), Some(r#"{"n":1}"#));
}

#[test]
fn a_call_as_the_api_lists_it_loses_the_person_too() {
    let call = br#"{"id": "c", "hostId": "student-1", "by": {"userId": "student-1", "name": "x"}, "n": 1.5}"#;
    let cleaned = erase_json(call, &anna(), &mut Traces::default()).expect("the person");
    assert_eq!(
        String::from_utf8_lossy(&cleaned),
        r#"{"id":"c","hostId":null,"n":1.5}"#
    );
    assert_eq!(
        erase_json(
            br#"{"id": "c", "hostId": "student-2"}"#,
            &anna(),
            &mut Traces::default()
        ),
        None
    );
}

#[test]
fn data_of_others_loses_only_what_is_about_the_person() {
    for id in [json!("student-1"), json!(4711), json!("4711")] {
        let known_by = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let erased = erased(&[(KnownBy::User, &known_by)]);
        let meta = json!({
            "lesson": {"lesson_id": "L", "name": "x", "teacher_id": id, "teacher_name": "Анна", "teacher_phone": "+7"},
            "teachers": [{"teacher_id": id, "teacher_name": "Анна"}, {"teacher_id": "t2"}],
            "teacher_ids": [id, "t2"], "students": {known_by.clone(): {"fio": "x"}, "s2": {"fio": "y"}},
            "marks": [{"mark": 5, "authorId": id}], "branch": {"branch_id": 7, "director_id": id},
            "room_id": 4711, "seconds": 4711, "invitedBy": id
        });
        let payload = json!({"externalUserId": "other", "externalMeetingId": "m", "meta": meta}).to_string();
        let payload = crate::tables::lessons::parse(payload.as_bytes())
            .expect("a payload")
            .remove(0);
        let mut entry = LessonEntry::new(payload, &Arc::from("f"), DateTime::UNIX_EPOCH);
        assert_eq!(
            erase_entry(&mut entry, &erased, &mut Traces::default()),
            EntryFate::Changed
        );
        let left: Value = serde_json::from_str(&entry.meta.expect("lesson data")).expect("JSON");
        let expected = json!({
            "lesson": {"lesson_id": "L", "name": "x", "teacher_id": null, "teacher_name": null, "teacher_phone": null},
            "teachers": [{"teacher_id": "t2"}],
            "teacher_ids": ["t2"], "students": {"s2": {"fio": "y"}},
            "marks": [{"mark": 5, "authorId": null}], "branch": {"branch_id": 7, "director_id": null},
            "room_id": 4711, "seconds": 4711, "invitedBy": null
        });
        assert_eq!(left, expected, "{id}");
    }
}

#[test]
fn rows_of_others_that_refer_to_the_person_stay() {
    let mut report = report();
    report["polls"][0]["createdBy"] = json!("participant-1");
    report["messages"][1] =
        json!({"id": "2", "participantName": "Борис Ли", "text": "да", "replyTo": "participant-1"});
    let bytes = serde_json::to_vec(&report).expect("JSON");
    let done = erase_report(&bytes, &mapping(), &anna(), &mut Traces::default())
        .expect("JSON")
        .expect("the person");
    let left: Value = serde_json::from_slice(&done.bytes).expect("JSON");
    assert_eq!(left["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(left["messages"][0]["replyTo"], Value::Null);
    assert_eq!(
        (&left["polls"][0]["id"], &left["polls"][0]["createdBy"]),
        (&json!("p"), &Value::Null)
    );
}

/// Two people of one name, and a workbook whose chat has names alone.
#[test]
fn a_namesake_keeps_their_rows() {
    let mut book = Workbook::new();
    let people = book.add_worksheet().set_name("Участники").expect("a name");
    for (row, texts) in (0..).zip([
        ["Имя", "ID пользователя", "Вход"],
        ["Иван", "student-1", "2026-11-22T10:00:00Z"],
        ["Иван", "student-2", "2026-11-22T10:00:00Z"],
    ]) {
        for (column, text) in (0..).zip(texts) {
            people.write_string(row, column, text).expect("a cell");
        }
    }
    people
        .merge_range(1, 3, 2, 3, "m", &Format::new())
        .expect("a region");
    people.write_string(0, 3, "ID встречи").expect("a cell");
    let chat = book.add_worksheet().set_name("Чат").expect("a name");
    for (row, texts) in (0..).zip([["Время", "Имя", "Сообщение"], ["", "Иван", "привет"]])
    {
        for (column, text) in (0..).zip(texts) {
            chat.write_string(row, column, text).expect("a cell");
        }
    }
    let bytes = book.save_to_buffer().expect("a workbook");
    let done = erase_workbook(&bytes, &mapping(), &anna(), &mut Traces::default())
        .expect("a workbook")
        .expect("the person");
    let left = rows(&done.bytes);
    let texts: Vec<_> = left
        .iter()
        .flat_map(|(_, _, cells)| cells.iter().map(|(_, text)| text.as_str()))
        .collect();
    assert_eq!(
        texts,
        ["Иван", "student-2", "2026-11-22T10:00:00Z", "m", "Иван", "привет"],
        "{left:?}"
    );
}
