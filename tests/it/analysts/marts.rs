//! The marts return the truth of the simulator in DuckDB, ClickHouse and Spark, also on a lake without anything.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde_json::{Value, json};
use telelake::lake::table::builtin;
use telelake::simulator::{Report, School};

use super::truth::{self, ExpectedUser, counts, grouped};
use super::{export, run, school, script};
use crate::support::lake::Lake;

const MARTS: [&str; 5] = [
    "lessons",
    "attendance",
    "attendance_by_level",
    "student_course",
    "teachers",
];

/// The rows of a mart by key, each row with these columns.
fn rows(views: &Value, mart: &str, key: &[&str], columns: &[&str]) -> BTreeMap<String, Value> {
    let rows = views[mart].as_array().unwrap();
    let keyed = rows.iter().map(|row| {
        let key: Vec<_> = key.iter().map(|column| row[column].as_str().unwrap()).collect();
        // ClickHouse writes a share of 1.0 as 1.
        let value = |column: &str| match row[column].as_f64() {
            Some(share) if column.ends_with("share") => json!(share),
            _ => row[column].clone(),
        };
        let values = columns.iter().map(|column| ((*column).to_owned(), value(column)));
        (key.join("|"), Value::Object(values.collect()))
    });
    let by_key: BTreeMap<_, _> = keyed.collect();
    assert_eq!(by_key.len(), rows.len(), "{mart}: {key:?} is not unique");
    by_key
}

fn with(mut counts: Value, more: Value) -> Value {
    counts
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    counts
}

fn share(counts: &Value) -> Value {
    let number = |name: &str| counts[name].as_f64().unwrap();
    let known = number("expected") - number("unknown");
    if known == 0.0 {
        return Value::Null;
    }
    json!((number("attended") / known * 1e9).round() / 1e9)
}

/// The rooms, each with a date, that have a call without a report.
fn incomplete_rooms(school: &School) -> BTreeSet<(&str, NaiveDate)> {
    let missing = school.calls.iter().filter(|call| call.json == Report::Missing);
    missing
        .map(|call| (call.room_id.as_str(), call.started_at.date_naive()))
        .collect()
}

/// The calls that have a recording.
fn recorded_calls(school: &School) -> BTreeSet<&str> {
    let whole = school.records.iter().filter(|record| record.is_downloadable());
    whole.filter_map(|record| record.call_id.as_deref()).collect()
}

fn assert_lessons(views: &Value, school: &School, users: &[ExpectedUser]) {
    let columns = [
        "expected",
        "attended",
        "unknown",
        "late",
        "share",
        "calls",
        "held_from",
        "held_to",
        "recorded",
        "complete",
        "teachers",
        "date",
        "guests",
        "lesson_name",
    ];
    let found = rows(views, "lessons", &["external_meeting_id"], &columns);
    let meetings = truth::meetings(school);
    let (incomplete, recorded) = (incomplete_rooms(school), recorded_calls(school));
    let expected: BTreeMap<String, Value> = grouped(users, |user| user.meeting.clone())
        .into_iter()
        .map(|(meeting, users)| {
            let calls = &meetings[meeting.as_str()];
            let teachers: BTreeMap<_, _> = users
                .iter()
                .filter(|user| user.is_teacher)
                .map(|user| (&user.user, &user.name))
                .collect();
            let instant =
                |at: chrono::DateTime<chrono::Utc>| at.format("%Y-%m-%dT%H:%M:%S+00:00").to_string();
            let counts = counts(users.iter().copied());
            let is_complete = calls
                .iter()
                .all(|call| !incomplete.contains(&(call.room_id.as_str(), call.started_at.date_naive())));
            let row = json!({
                "share": share(&counts),
                "calls": calls.len(),
                "held_from": instant(calls.iter().map(|call| call.started_at).min().unwrap()),
                "held_to": instant(calls.iter().filter_map(|call| call.finished_at).max().unwrap()),
                "recorded": calls.iter().any(|call| recorded.contains(call.id.as_str())),
                "complete": is_complete,
                "teachers": teachers.values().collect::<Vec<_>>(),
                "date": users[0].date.to_string(),
                "guests": 0,
                "lesson_name": calls[0].lesson.name,
            });
            (meeting, with(counts, row))
        })
        .collect();
    assert!(expected.values().any(|row| row["unknown"] != 0));
    assert!(expected.values().any(|row| row["calls"] == 2));
    assert!(expected.values().any(|row| row["complete"] == false));
    assert_eq!(found, expected);
}

fn assert_people(views: &Value, users: &[ExpectedUser]) {
    let found = rows(
        views,
        "attendance",
        &["external_meeting_id", "external_user_id"],
        &["attended", "is_student", "week", "date"],
    );
    let expected: BTreeMap<String, Value> = users
        .iter()
        .map(|user| {
            let row = json!({
                "attended": user.attended, "is_student": !user.is_teacher,
                "week": user.week.to_string(), "date": user.date.to_string(),
            });
            (format!("{}|{}", user.meeting, user.user), row)
        })
        .collect();
    assert_eq!(found, expected);
    let students: Vec<_> = users.iter().filter(|user| !user.is_teacher).cloned().collect();
    let found = rows(
        views,
        "student_course",
        &["external_user_id", "lesson_course_id"],
        &["expected", "attended", "unknown", "late"],
    );
    let by_course = |user: &ExpectedUser| format!("{}|{}", user.user, user.levels["lesson_course"]);
    let expected = grouped(&students, by_course).into_iter();
    assert_eq!(
        found,
        expected.map(|(key, visits)| (key, counts(visits))).collect()
    );
}

fn assert_levels(views: &Value, users: &[ExpectedUser]) {
    let columns = ["expected", "attended", "unknown", "late", "lessons", "students"];
    let found = rows(
        views,
        "attendance_by_level",
        &["level", "entity_id", "week"],
        &columns,
    );
    let mut expected = BTreeMap::new();
    let students: Vec<_> = users.iter().filter(|user| !user.is_teacher).cloned().collect();
    for level in ["city", "branch", "student_group", "lesson_course"] {
        for ((entity, week), visits) in grouped(&students, |user| (user.levels[level].clone(), user.week)) {
            let distinct = |of: fn(&ExpectedUser) -> &String| {
                visits.iter().map(|user| of(user)).collect::<BTreeSet<_>>().len()
            };
            let more =
                json!({"lessons": distinct(|user| &user.meeting), "students": distinct(|user| &user.user)});
            expected.insert(format!("{level}|{entity}|{week}"), with(counts(visits), more));
        }
    }
    assert_eq!(found, expected);
    let parents = rows(
        views,
        "attendance_by_level",
        &["level", "entity_id", "week"],
        &["parent_level", "parent_entity_id"],
    );
    for user in &students {
        let row = &parents[&format!("branch|{}|{}", user.levels["branch"], user.week)];
        assert_eq!(
            *row,
            json!({"parent_level": "city", "parent_entity_id": user.levels["city"]})
        );
    }
}

fn assert_teachers(views: &Value, users: &[ExpectedUser]) {
    let columns = [
        "user_fullname",
        "lessons",
        "held",
        "unknown",
        "late",
        "students_expected",
        "students_attended",
        "students_unknown",
    ];
    let found = rows(views, "teachers", &["external_user_id"], &columns);
    let by_meeting = grouped(users, |user| user.meeting.clone());
    let teachers: Vec<_> = users.iter().filter(|user| user.is_teacher).cloned().collect();
    let expected = grouped(&teachers, |user| user.user.clone())
        .into_iter()
        .map(|(id, lessons)| {
            let visits = counts(
                lessons
                    .iter()
                    .flat_map(|lesson| by_meeting[&lesson.meeting].iter().copied()),
            );
            let count = |is: &dyn Fn(&ExpectedUser) -> bool| lessons.iter().filter(|user| is(user)).count();
            let row = json!({
                "user_fullname": lessons[0].name,
                "lessons": lessons.len(),
                "held": count(&|user| user.attended == Some(true)),
                "unknown": count(&|user| user.attended.is_none()),
                "late": count(&|user| user.is_late),
                "students_expected": visits["expected"],
                "students_attended": visits["attended"],
                "students_unknown": visits["unknown"],
            });
            (id, row)
        });
    assert_eq!(found, expected.collect());
}

fn assert_truth(views: &Value, school: &School) {
    let users = truth::users(school);
    assert_lessons(views, school, &users);
    assert_people(views, &users);
    assert_levels(views, &users);
    assert_teachers(views, &users);
    assert_eq!(views["calls"], school.calls.len());
    assert_eq!(views["user_meta"], school.lesson_data().len());
    assert_eq!(views["rooms"], school.rooms.len());
    assert_eq!(views["spaces"], school.spaces.len());
}

/// All views are there, and no view has a row.
fn assert_empty(views: &Value) {
    for table in builtin::all() {
        assert_eq!(views[table.name.as_ref()], 0, "{}", table.name);
    }
    for mart in MARTS {
        assert_eq!(views[mart], json!([]), "{mart}");
    }
}

/// A lake with data and one without anything, in the same engine.
async fn both_lakes(engine: &str) {
    let (sim, lake, nothing) = (school().await, Lake::folder(), Lake::folder());
    export(&sim, &lake).await;
    let scripts = [script(&nothing, engine).await, script(&lake, engine).await];
    let views = run(&lake, engine, &scripts, &[]).await;
    assert_empty(&views[0]);
    assert_truth(&views[1], &sim.school());
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_returns_the_truth_of_a_folder() {
    both_lakes("duckdb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_returns_the_truth_of_a_folder() {
    both_lakes("clickhouse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_returns_the_truth_of_a_folder() {
    both_lakes("spark").await;
}

/// The comment about access becomes part of the script, with the keys filled in.
fn with_keys(script: &str, lake: &Lake) -> String {
    let environment: BTreeMap<_, _> = lake.environment().into_iter().collect();
    let (id, key) = (
        &environment["AWS_ACCESS_KEY_ID"],
        &environment["AWS_SECRET_ACCESS_KEY"],
    );
    script
        .replace("-- CREATE OR REPLACE SECRET", "CREATE OR REPLACE SECRET")
        .replace(
            "KEY_ID '…', SECRET '…'",
            &format!("KEY_ID '{id}', SECRET '{key}'"),
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_and_clickhouse_return_the_truth_of_a_bucket() {
    let (sim, lake) = (school().await, Lake::s3().await);
    export(&sim, &lake).await;
    let secret = with_keys(&script(&lake, "duckdb").await, &lake);
    let views = run(&lake, "duckdb", &[secret], &["--load", "httpfs"]).await;
    assert_truth(&views[0], &sim.school());
    let views = run(&lake, "clickhouse", &[script(&lake, "clickhouse").await], &[]).await;
    assert_truth(&views[0], &sim.school());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_older_than_a_column_gives_null() {
    let (sim, lake) = (school().await, Lake::folder());
    export(&sim, &lake).await;
    // An older version knew fewer columns of `coverage`.
    let older = r#"
        COPY (SELECT space_id, room_id, calls FROM coverage) TO '{file}' (FORMAT parquet);
    "#;
    let key = lake
        .keys()
        .await
        .into_keys()
        .find(|key| key.starts_with("coverage/"))
        .unwrap();
    let Lake::Folder(folder) = &lake else {
        unreachable!()
    };
    let file = folder.path().join(&key);
    let copy = folder.path().join("older.parquet");
    let scripts = [format!(
        "{}{}",
        script(&lake, "duckdb").await,
        older.replace("{file}", copy.to_str().unwrap())
    )];
    run(&lake, "duckdb", &scripts, &[]).await;
    std::fs::rename(copy, file).unwrap();
    for engine in ["duckdb", "clickhouse"] {
        let views = run(&lake, engine, &[script(&lake, engine).await], &[]).await;
        let lessons = views[0]["lessons"].as_array().unwrap();
        assert!(
            lessons.iter().any(|lesson| lesson["complete"] == false),
            "{engine}"
        );
    }
}
