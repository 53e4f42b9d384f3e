//! A day from its manifest and reports to Parquet, read back.

mod days;
mod examples;
mod language;
mod own;
mod polls;
mod presence;
mod privacy;
mod stays;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::build_notes::total;
use super::*;
use crate::Result;
use crate::config::ReportFormat;
use crate::json::RawJson;
use crate::lake::manifest::{CallEntry, Landed, Landing, Manifest, RecordEntry, RoomEntry, Status};
use crate::lake::table::{SCHEMA_VERSION_KEY, builtin};
use crate::tables::lessons::LessonIndex;

pub(super) fn at(text: &str) -> DateTime<Utc> {
    format!("2026-11-22T{text}Z").parse().expect(text)
}

pub(super) fn landing(status: Status, key: Option<&str>, reason: Option<&str>) -> Landing {
    Landing {
        status,
        reason: reason.map(Into::into),
        attempts: 0,
        landed: key.map(|key| Landed {
            key: key.into(),
            bytes: 1000,
            sha256: "ab".repeat(32),
            landed_at: at("20:00:00"),
            usable: true,
            participants: None,
            shortfall: None,
            of: None,
            put_aside: false,
            erased: Default::default(),
            deleted_at: None,
        }),
    }
}

pub(super) fn call(room: &str, start: &str, end: Option<&str>, json: Landing, object: Value) -> CallEntry {
    CallEntry {
        room_id: room.into(),
        started_at: Some(at(start)),
        finished_at: end.map(at),
        participants: None,
        call: object.into(),
        pending: end.is_none().then(|| "the call runs".into()),
        reports: [(ReportFormat::Json, json)].into(),
    }
}

fn record(room: &str, call: Option<&str>, start: &str, file: Landing) -> RecordEntry {
    RecordEntry {
        room_id: room.into(),
        call_id: call.map(Into::into),
        started_at: Some(at(start)),
        finished_at: Some(at("11:00:00")),
        record: json!({"id": "x", "name": "Запись", "state": "ready", "fileSize": 12, "codec": "h264"})
            .into(),
        file,
    }
}

/// Two rooms: a call with a report, one refused, one that runs; records done, pending and gone.
pub(super) fn manifest() -> Manifest {
    let mut day = Manifest::new("2026-11-22".parse().expect("date"), "s1");
    day.space_name = Some("Школа".into());
    let room = |name: &str| RoomEntry {
        name: Some(name.into()),
        alias: Some("abc".into()),
        room_type: Some("lesson".into()),
    };
    day.rooms = BTreeMap::from([("r1".into(), room("Алгебра")), ("r2".into(), room("Физика"))]);
    let done = || landing(Status::Done, Some("raw/reports/c.json"), None);
    let denied = landing(Status::Denied, None, Some("403 not in the tariff"));
    day.calls = BTreeMap::from([
        (
            "c2".into(),
            call(
                "r1",
                "10:00:00",
                Some("11:00:00"),
                done(),
                json!({
                    "id": "c2", "active": false, "roomId": "r1", "participantsCount": 3, "isBreakoutRoom": "no",
                    "roomType": "webinar", "uniqueParticipantsCount": "2", "region": {"dc": "msk"}
                }),
            ),
        ),
        (
            "c1".into(),
            call(
                "r1",
                "12:00:00",
                None,
                Landing::pending("the call runs"),
                json!({"id": "c1"}),
            ),
        ),
        (
            "c3".into(),
            call("r2", "08:00:00", Some("08:30:00"), denied, json!({"id": "c3"})),
        ),
    ]);
    let done = landing(Status::Done, Some("media/x.mp4"), None);
    let pending = Landing::pending("not finished");
    let gone = landing(Status::Unavailable, None, Some("aborted"));
    day.records = BTreeMap::from([
        ("v1".into(), record("r1", Some("c2"), "10:00:00", done)),
        ("v2".into(), record("r1", Some("c2"), "09:59:00", pending)),
        ("v3".into(), record("r2", None, "08:00:00", gone)),
    ]);
    day
}

pub(super) fn report() -> Value {
    json!({
        "callId": "c2", "roomName": "Алгебра", "title": "new here",
        "participants": [
            {"id": "p2", "name": "Борис", "role": "user", "externalUserId": "u2", "externalMeetingId": "m1",
             "sessions": [{"joinedAt": "2026-11-22T10:20:00Z", "leftAt": null},
                          {"joinedAt": "2026-11-22T10:05:00Z", "leftAt": "2026-11-22T10:15:00Z"},
                          {"joinedAt": "2026-11-22T10:30:00Z", "leftAt": "2026-11-22T10:10:00Z"}],
             "cameraSeconds": 10.5, "messagesCount": 2, "device": "phone"},
            {"id": "p1", "name": "Анна", "role": "moderator", "externalUserId": 17,
             "sessions": [{"joinedAt": 1_795_341_600, "leftAt": 1_795_345_200_000_i64}],
             "cameraSeconds": "many", "messagesCount": 1},
            {"id": "p2", "name": "Boris", "role": "user", "email": "b@example.org", "externalUserId": "u2",
             "sessions": [{"joinedAt": "2026-11-22 10:12", "leftAt": "2026-11-22 10:18"}],
             "cameraSeconds": 1, "messagesCount": 1},
            {"id": "p1", "name": "Анна", "role": "moderator", "externalUserId": 17,
             "sessions": [{"joinedAt": 1_795_341_600, "leftAt": 1_795_345_200_000_i64}],
             "cameraSeconds": "many", "messagesCount": 1},
            {"name": "Гость"}, {"name": "Гость"}, "junk"
        ],
        "messages": [
            {"id": "2", "participantId": "p2", "text": "до свидания", "sentAt": "2026-11-22T10:50:00Z"},
            {"id": "1", "participantId": "p1", "text": "привет", "sentAt": "2026-11-22T10:01:00Z"},
            {"id": "1", "participantId": "p1", "text": "привет", "sentAt": "2026-11-22T10:01:00Z"},
            {"id": "1", "participantId": "p9", "text": "другое", "sentAt": "2026-11-22T10:01:00Z"}
        ],
        "reactions": [{"participantId": "p1", "type": "like", "sentAt": "soon"}],
        "polls": [{"id": "q", "question": "Да?", "anonymous": true,
            "options": [{"id": 1, "text": "да"}, {"id": "2", "text": "нет", "color": "red"}],
            "votes": [{"participantId": "p2", "optionId": "1", "votedAt": "2026-11-22T10:40:00Z"},
                      {"participantId": "p1", "optionId": 3, "votedAt": "2026-11-22T10:39:00Z"}]}]
    })
}

pub(super) fn mapping() -> Mapping {
    Mapping::builtin().expect("mapping")
}

fn build_with(manifest: &Manifest, mapping: &Mapping, bytes: impl Into<Bytes>) -> BuiltDay {
    let reports: [Result<_>; 1] = [Ok(("c2".into(), ReportFormat::Json, bytes.into()))];
    build_day(
        manifest,
        mapping,
        "file:///lake/",
        at("23:00:00"),
        &LessonIndex::default(),
        reports,
    )
    .expect("a day")
}

fn build(report: &Value) -> BuiltDay {
    build_with(&manifest(), &mapping(), report.to_string())
}

pub(super) fn file<'d>(day: &'d BuiltDay, table: &str) -> &'d TableFile {
    let file = day.tables.iter().find(|file| file.table == table);
    file.unwrap_or_else(|| panic!("no {table}"))
}

fn batches(file: &TableFile) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).expect("Parquet");
    let schema = builtin::get(&file.table).expect("table").schema();
    assert_eq!(reader.schema().fields(), schema.fields(), "{}", file.table);
    assert_eq!(
        reader
            .schema()
            .metadata()
            .get(SCHEMA_VERSION_KEY)
            .map(String::as_str),
        Some("1")
    );
    assert_eq!(reader.metadata().file_metadata().created_by(), Some("telelake"));
    assert_eq!(reader.metadata().file_metadata().num_rows(), file.rows as i64);
    reader
        .build()
        .expect("reader")
        .collect::<Result<_, _>>()
        .expect("batches")
}

/// A type whose instants name no zone: naming one needs a database of zones to print.
fn without_zone(kind: &DataType) -> DataType {
    let field = |field: &FieldRef| {
        let kind = without_zone(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(kind))
    };
    match kind {
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, None),
        DataType::List(element) => DataType::List(field(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        kind => kind.clone(),
    }
}

/// The rows of a file, a block each, without what is null.
pub(super) fn print(file: &TableFile) -> String {
    let mut text = format!("{} ({} rows)\n", file.key, file.rows);
    let options = FormatOptions::default().with_null("null");
    for batch in batches(file) {
        for row in 0..batch.num_rows() {
            let mut separator = "- ";
            for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
                if array.is_valid(row) {
                    let array = cast(array, &without_zone(array.data_type())).expect("cast");
                    let array = array.as_ref();
                    let value = ArrayFormatter::try_new(array, &options).expect("format");
                    let _ = writeln!(text, "{separator}{}: {}", field.name(), value.value(row));
                    separator = "  ";
                }
            }
        }
    }
    text
}

pub(super) fn column(file: &TableFile, name: &str) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let mut values = Vec::new();
    for batch in batches(file) {
        let array = batch.column_by_name(name).expect(name);
        let format = ArrayFormatter::try_new(array, &options).expect("format");
        values.extend((0..batch.num_rows()).map(|row| format.value(row).to_string()));
    }
    values
}

#[test]
fn a_day_becomes_its_tables() {
    let day = build(&report());
    let tables: Vec<_> = day.tables.iter().map(print).collect();
    insta::assert_snapshot!("day", format!("{}\n{:#?}", tables.join("\n"), day.notes));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    assert_eq!(build(&report()), build(&report()));
}

#[test]
fn rows_are_in_the_order_that_the_file_declares() {
    let day = build(&report());
    for file in &day.tables {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).expect("Parquet");
        let metadata = reader.metadata();
        let order = metadata.row_group(0).sorting_columns().expect("sorted");
        let table = builtin::get(&file.table).expect("table");
        let claimed: Vec<_> = order
            .iter()
            .map(|by| {
                metadata
                    .file_metadata()
                    .schema_descr()
                    .column(by.column_idx as usize)
                    .name()
                    .to_owned()
            })
            .collect();
        assert_eq!(claimed, table.order);
        assert!(metadata.row_group(0).column(0).statistics().is_some());
    }
}

#[test]
fn a_report_that_is_not_json_leaves_the_other_tables() {
    let day = build_with(&manifest(), &mapping(), "<html>");
    assert_eq!(day.notes.unreadable, ["c2"]);
    let tables: Vec<_> = day.tables.iter().map(|file| file.table.as_str()).collect();
    assert_eq!(tables, ["calls", "coverage", "recordings"]);
}

#[test]
fn reports_out_of_order_are_a_fault_and_an_empty_day_has_no_tables() {
    let (day, mapping) = (manifest(), mapping());
    let build = |reports: Vec<Result<(crate::ids::CallId, ReportFormat, Bytes)>>| {
        build_day(
            &day,
            &mapping,
            "",
            at("23:00:00"),
            &LessonIndex::default(),
            reports,
        )
    };
    assert!(build(vec![]).is_err());
    assert!(build(vec![Ok(("c1".into(), ReportFormat::Json, Bytes::new()))]).is_err());
    let twice = ["c2", "c2"].map(|id| Ok((id.into(), ReportFormat::Json, Bytes::from("{}"))));
    assert!(build(twice.into()).is_err());
    let nothing = Manifest::new(day.date, "s1");
    let built = build_day(
        &nothing,
        &mapping,
        "",
        at("23:00:00"),
        &LessonIndex::default(),
        [],
    )
    .expect("a day");
    assert_eq!(built.tables, []);
}

#[test]
fn another_shape_is_another_mapping() {
    let other = Mapping::parse(
        r#"
        version = 1
        [ignore]
        report = ["status"]
        [table.participants]
        rows = ["users[]", "data.users[]"]
        columns.participant_id = "uid"
        columns.name = ["displayName", "profile.name"]
        columns.sessions = { from = ["visits[]", "@"], fields = { joined_at = "in", left_at = ["out", "end"] } }
        [table.poll_votes]
        rows = "data.quizzes[].options[].votes[]"
        columns.poll_id = "^^.key"
        columns.option_text = "^.label"
        columns.participant_id = "@"
        "#,
        "test",
    )
    .expect("mapping");
    let report = json!({"status": 1, "data": {
        "users": [
            {"uid": 5, "profile": {"name": "Анна", "age": 30}, "visits": [{"in": 1_795_341_600_000_i64, "end": 1_795_341_660_000_i64}]},
            {"uid": 6, "displayName": "Борис", "in": "2026-11-22 10:00:00", "out": "2026-11-22 10:00:05"},
            {"uid": 6, "displayName": "Борис", "in": "2026-11-22 10:01:00", "out": "2026-11-22 10:01:10"},
        ],
        "quizzes": [{"key": "q", "options": [{"label": "да", "votes": [5, 6]}, {"label": "нет", "votes": []}]}]}});
    let day = build_with(&manifest(), &other, report.to_string());
    let participants = file(&day, "participants");
    assert_eq!(column(participants, "participant_id"), ["5", "6"]);
    assert_eq!(column(participants, "name"), ["Анна", "Борис"]);
    assert_eq!(column(participants, "duration_s"), ["60.0", "15.0"]);
    assert_eq!(column(participants, "sessions_count"), ["1", "2"]);
    let votes = file(&day, "poll_votes");
    assert_eq!(column(votes, "poll_id"), ["q", "q"]);
    assert_eq!(column(votes, "option_text"), ["да", "да"]);
    assert_eq!(column(votes, "participant_id"), ["5", "6"]);
    // Nothing here maps calls and records, so nothing of them counts.
    let unmapped: Vec<_> = day.notes.unmapped.keys().collect();
    assert_eq!(unmapped, ["data.users[].profile.age"]);
}

#[test]
fn an_unmapped_field_is_reported_with_the_place_that_keeps_it() {
    let mut manifest = manifest();
    for record in manifest.records.values_mut() {
        let mut object = record.record.value();
        object["codec"] = "h264".into();
        record.record = object.into();
    }
    assert!(!manifest.records.is_empty());
    let report = json!({
        "meeting": {"topic": "x"},
        "participants": [{"id": "a", "device": "phone", "sessions": [{"joinedAt": "2026-11-22T10:00:00Z", "ip": "::1"}]}],
        "polls": [{"id": "p", "anonymous": true, "votes": [{"optionId": "o", "weight": 2}]}],
    });
    let day = build_with(&manifest, &mapping(), report.to_string());
    let kept = |path: &str| {
        day.notes
            .kept
            .get(path)
            .map(|kept| kept.iter().copied().collect::<Vec<_>>())
    };
    for path in [
        "participants[].device",
        "participants[].sessions[].ip",
        "polls[].anonymous",
        "polls[].votes[].weight",
    ] {
        assert_eq!(kept(path), Some(vec![Kept::Extra]), "{path}");
    }
    assert_eq!(kept("meeting"), Some(vec![Kept::Raw]));
    assert_eq!(kept("record.codec"), Some(vec![Kept::Manifest]));
    let held = |table: &str, text: &str| {
        column(file(&day, table), "extra")
            .iter()
            .any(|extra| extra.contains(text))
    };
    assert!(held("participants", "device") && held("participants", "ip") && held("poll_votes", "weight"));
    assert!(!held("participants", "topic") && held("polls", "anonymous"));
}

#[test]
fn the_fingerprint_covers_exactly_the_inputs_of_the_tables() {
    let (day, mapping) = (manifest(), mapping());
    let of = |change: &dyn Fn(&mut Manifest)| {
        let mut day = day.clone();
        change(&mut day);
        fingerprint(&day, &mapping)
    };
    let same = fingerprint(&day, &mapping);
    let json = |day: &mut Manifest, change: &dyn Fn(&mut Landing)| {
        let call = day.calls.get_mut("c2").expect("call");
        change(call.reports.get_mut(&ReportFormat::Json).expect("report"));
    };
    assert_eq!(same, of(&|day| json(day, &|landing| landing.attempts = 7)));
    assert_eq!(
        same,
        of(&|day| json(day, &|landing| landing
            .landed
            .as_mut()
            .expect("landed")
            .landed_at = at("22:00:00")))
    );
    assert_ne!(
        same,
        of(&|day| json(day, &|landing| landing.status = Status::Failed))
    );
    assert_ne!(
        same,
        of(&|day| json(day, &|landing| landing
            .landed
            .as_mut()
            .expect("landed")
            .sha256
            .push('0')))
    );
    assert_ne!(same, of(&|day| day.space_name = None));
    assert_ne!(
        same,
        of(&|day| day.records.get_mut("v1").expect("record").record = json!({"id": "x"}).into())
    );
    assert_ne!(
        same,
        of(&|day| day.calls.get_mut("c1").expect("call").pending = None)
    );
}

#[test]
fn rooms_and_spaces_keep_all_that_the_platform_says() {
    let rooms = BTreeMap::from([
        (
            "r2".to_owned(),
            json!({"id": "r2", "spaceId": "s1", "name": "Физика", "type": "webinar", "isPublic": true,
            "breakoutRooms": {"status": "enabled"}, "lastCallAt": "2025-01-20T11:11:23.289Z", "newFlag": 1}),
        ),
        ("r1".to_owned(), json!("no object")),
    ]);
    let raw = |objects: BTreeMap<String, Value>| -> BTreeMap<String, RawJson> {
        let objects = objects.into_iter();
        objects.map(|(id, object)| (id, (&object).into())).collect()
    };
    let file = build_rooms(&"s1".into(), &raw(rooms), &mapping())
        .expect("rooms")
        .expect("a file");
    let spaces = BTreeMap::from([(
        "s1".to_owned(),
        json!({"id": "s1", "name": "Школа", "tariff": {"a": 1}}),
    )]);
    let other = build_spaces(&raw(spaces), &mapping())
        .expect("spaces")
        .expect("a file");
    insta::assert_snapshot!("catalog", format!("{}\n{}", print(&file), print(&other)));
    assert_eq!(build_spaces(&BTreeMap::new(), &mapping()).expect("spaces"), None);
}

/// Any JSON, often with the names that the mapping looks for.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("2026-11-22T10:00:00Z")),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "participants",
            "messages",
            "reactions",
            "polls",
            "votes",
            "options",
            "sessions",
            "id",
            "name",
            "participantId",
            "optionId",
            "joinedAt",
            "leftAt",
            "cameraSeconds",
            "messagesCount",
            "text",
            "sentAt",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,4}",
    ];
    leaf.prop_recursive(5, 200, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..8)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

/// A report whose tables are lists of anything.
fn any_report() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(any_json(), 0..6);
    (list(), list(), list(), any_json()).prop_map(|(participants, messages, polls, other)| {
        json!({"participants": participants, "messages": messages, "polls": [{"votes": polls, "options": other}],
            "reactions": other})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_json_becomes_tables_and_participants_are_unique(report in prop_oneof![any_json(), any_report()]) {
        let day = build(&report);
        prop_assert_eq!(&day, &build(&report));
        if let Some(file) = day.tables.iter().find(|file| file.table == "participants") {
            let mut ids = column(file, "participant_id");
            let all = ids.len();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), all);
        }
    }
}
