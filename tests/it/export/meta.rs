//! Lesson data: into the lake, to the API, and joined with who was there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use telelake::simulator::{Endpoint, Failure, Matcher, Options, Report, Simulator};

use super::{backfill, range, small};
use crate::support::lake::{Lake, Row};
use crate::support::program::Telelake;

/// The columns that the join fills.
const PARTICIPANT: [&str; 10] = [
    "call_id",
    "participant_id",
    "external_user_id",
    "meta_matched",
    "user_role",
    "lesson_scheduled_start_at",
    "student_group_id",
    "lesson_course_name",
    "attributes",
    "late_s",
];
const ATTENDANCE: [&str; 12] = [
    "space_id",
    "external_meeting_id",
    "external_user_id",
    "meta_matched",
    "attended",
    "call_ids",
    "first_joined_at",
    "last_left_at",
    "duration_s",
    "attended_share",
    "late_s",
    "left_early_s",
];
const LEVELS: [&str; 7] = [
    "external_user_id",
    "external_meeting_id",
    "level",
    "parent_level",
    "depth",
    "entity_id",
    "entity_name",
];
const METAS: [&str; 4] = ["external_user_id", "external_meeting_id", "user_fullname", "meta"];

fn write(folder: &Path, name: &str, metas: &[Value]) -> String {
    let path = folder.join(name);
    let lines: String = metas.iter().map(|meta| format!("{meta}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    path.display().to_string()
}

/// The school's metas with a third level, and with one who never comes to each meeting.
fn metas(sim: &Simulator) -> Vec<Value> {
    let mut metas = sim.school().metas();
    let mut absent: BTreeMap<String, Value> = BTreeMap::new();
    for meta in &mut metas {
        meta["meta"]["lesson_course"]["program"] =
            json!({"program_id": "p1", "program_name": "Программа", "city": "Казань"});
        let meeting = meta["externalMeetingId"].as_str().unwrap().to_owned();
        let mut other = meta.clone();
        other["externalUserId"] = "absent".into();
        other["meta"]["user_role"] = "curator".into();
        absent.insert(meeting, other);
    }
    metas.extend(absent.into_values());
    metas
}

async fn import(lake: &Lake, file: &str) -> Value {
    Telelake::new(&["--log-format", "json", "meta", "import", file])
        .lake(lake)
        .run()
        .await
        .expect(0)
        .summary()
}

async fn tables(lake: &Lake) -> Vec<Vec<Row>> {
    let mut tables = Vec::new();
    for (table, columns) in [
        ("participants", PARTICIPANT.as_slice()),
        ("lesson_attendance", &ATTENDANCE),
        ("hierarchy", &LEVELS),
        ("user_meta", &METAS),
    ] {
        let mut rows = lake.rows(table, columns).await;
        rows.sort();
        tables.push(rows);
    }
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_that_comes_late_and_is_corrected_gives_the_tables_of_meta_on_time() {
    late_gives_the_tables_of_on_time(small(), Lake::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_users_whose_meta_comes_late_into_s3_have_the_tables_of_meta_on_time() {
    let school = Options {
        rooms: 40,
        participants: 18..=18,
        empty_rooms: 0.1,
        recorded: 0.0,
        ..small()
    };
    let users = late_gives_the_tables_of_on_time(school, Lake::s3().await).await;
    assert!(users >= 500, "{users} users");
}

/// Holds a lake that gets the school's meta after its calls, wrong at first, against one that had it before. Gives the
/// number of users.
async fn late_gives_the_tables_of_on_time(school: Options, late: Lake) -> usize {
    let sim = Simulator::start(school).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let metas = metas(&sim);
    let range = range(&sim);
    let whole = write(folder.path(), "whole.jsonl", &metas);

    let on_time = Lake::folder();
    import(&on_time, &whole).await;
    Telelake::against(&sim, &on_time, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);

    Telelake::against(&sim, &late, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    // First wrong, on another date and without the third level; then as it should be.
    let mut wrong = metas.clone();
    for meta in &mut wrong {
        meta["meta"]["lesson_scheduled_start_dt"] = "2020-02-02 10:00".into();
        meta["meta"]["lesson_course"]
            .as_object_mut()
            .unwrap()
            .remove("program");
    }
    import(&late, &write(folder.path(), "wrong.jsonl", &wrong)).await;
    let done = import(&late, &whole).await;
    assert_eq!(done["changed"], metas.len());
    let dates = &sim.options().dates;
    let plan = Telelake::against(&sim, &late, &backfill(&range, &["--dry-run"]))
        .run()
        .await
        .expect(0)
        .summary();
    for day in plan["days"].as_array().unwrap() {
        let (reports, files) = (&day["reports"], day["files"].as_array().unwrap().len());
        assert!(
            reports == 0 && files > 0,
            "the plan sees that meta has changed: {day}"
        );
    }
    // Also from afar: a run builds what meta has changed, whatever its dates.
    let afar = [
        "--log-format",
        "json",
        "backfill",
        "--from",
        "2020-01-01",
        "--to",
        "2020-01-01",
        "--dry-run",
    ];
    let plan = Telelake::against(&sim, &late, &afar)
        .run()
        .await
        .expect(0)
        .summary();
    assert_eq!(plan["days"].as_array().unwrap().len(), dates.len(), "{plan}");
    sim.clear_log();
    let run = Telelake::against(&sim, &late, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert!(run.count("days_built") > 0);
    assert_eq!(
        [Endpoint::Report, Endpoint::Link, Endpoint::Blob].map(|endpoint| sim.count(endpoint)),
        [0; 3]
    );
    let (left, right) = (tables(&late).await, tables(&on_time).await);
    for (left, right) in left.iter().zip(&right) {
        assert!(!left.is_empty());
        assert_eq!(left, right);
    }
    assert!(
        left[0]
            .iter()
            .all(|row| row["meta_matched"] == "true" || row["attributes"].is_empty())
    );
    let absent: Vec<_> = left[1]
        .iter()
        .filter(|row| row["external_user_id"] == "absent")
        .collect();
    assert!(!absent.is_empty());
    assert!(
        absent
            .iter()
            .all(|row| row["attended"] == "false" && row["duration_s"] == "0.0")
    );
    assert_eq!(run.count("unknown_roles"), absent.len() as u64);
    assert_eq!(run.count("meta_without_participants"), absent.len() as u64);
    assert!(left[2].iter().any(|row| row["level"] == "program"
        && row["depth"] == "2"
        && row["parent_level"] == "lesson_course"));

    // The same again changes nothing.
    let before = late.contents().await;
    assert_eq!(import(&late, &whole).await["changed"], 0);
    let again = Telelake::against(&sim, &late, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(again.count("writes"), 0);
    assert!(late.contents().await == before);
    let users: BTreeSet<_> = left[0]
        .iter()
        .filter(|row| row["meta_matched"] == "true")
        .map(|row| row["external_user_id"].clone())
        .collect();
    users.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_builds_the_days_that_it_touches_and_no_other() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    import(&lake, &write(folder.path(), "a.jsonl", &metas(&sim))).await;
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let elsewhere = [
        "--log-format",
        "json",
        "backfill",
        "--from",
        "2020-01-01",
        "--to",
        "2020-01-01",
    ];
    Telelake::against(&sim, &lake, &elsewhere).run().await.expect(0);
    let before = lake.written();
    let mut one = sim.school().metas().remove(0);
    one["meta"]["user_fullname"] = "Другое Имя".into();
    let date = &one["meta"]["lesson_scheduled_start_dt"].as_str().unwrap()[..10];
    import(&lake, &write(folder.path(), "b.jsonl", &[one.clone()])).await;
    // A run over another time: the change is found all the same.
    let run = Telelake::against(&sim, &lake, &elsewhere).run().await.expect(0);
    assert_eq!(run.count("days_built"), 1);
    let after = lake.written();
    for (path, at) in &after {
        let path_text = path.to_string_lossy();
        let expected =
            path_text.contains(date) || path_text.contains("/meta/") || path_text.contains("catalog");
        assert!(before.get(path) == Some(at) || expected, "{path:?} was written");
    }
    let rows = lake
        .rows("participants", &["external_user_id", "user_fullname"])
        .await;
    assert!(rows.iter().any(|row| row["user_fullname"] == "Другое Имя"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_read_at_every_run_and_each_file_once() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let metas = metas(&sim);
    let feed = format!("[\"file://{}\"]", folder.path().display());
    let run = || async {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .env("TELELAKE_META__FEEDS", &feed)
            .run()
            .await
    };
    write(folder.path(), "1.jsonl", &metas[..metas.len() / 2]);
    assert_eq!(run().await.expect(0).count("meta_files"), 1);
    write(folder.path(), "2.jsonl", &metas);
    let second = run().await.expect(0);
    assert_eq!(second.count("meta_files"), 1);
    assert!(second.count("days_built") > 0);
    let third = run().await.expect(0);
    assert_eq!((third.count("meta_files"), third.count("writes")), (0, 0));
    assert_eq!(lake.rows("user_meta", &METAS).await.len(), metas.len());
    std::fs::write(folder.path().join("3.jsonl"), "{\n\"a\": 1 // no\n}").unwrap();
    let fourth = run().await.expect(3);
    assert!(fourth.stdout.contains("line 2: a comment"), "{}", fourth.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_file_with_a_bad_line_gives_the_good_ones_and_is_named_at_every_run() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let metas = metas(&sim);
    let feed = format!("file://{}", folder.path().display());
    let run = || async {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .env("TELELAKE_META__FEEDS", &feed)
            .run()
            .await
    };
    let mut lines: Vec<String> = metas.iter().map(Value::to_string).collect();
    lines.insert(
        1,
        r#"{"externalUserId": "u7", "externalMeetingId": "m7", "meta": "later"}"#.into(),
    );
    lines.insert(0, "<html>".into());
    std::fs::write(folder.path().join("a.jsonl"), lines.join("\n")).unwrap();
    let told = |summary: &Value| -> Vec<(String, Value, Value)> {
        let failed = summary["failed"].as_array().unwrap().iter();
        failed
            .map(|it| {
                let ids = (it["external_meeting_id"].clone(), it["external_user_id"].clone());
                (it["message"].as_str().unwrap().to_owned(), ids.0, ids.1)
            })
            .collect()
    };
    let first = run().await.expect(3).summary();
    let lines = told(&first);
    assert_eq!(lines.len(), 2, "{first}");
    assert!(lines[0].0.contains("a.jsonl, line 1: not JSON"), "{first}");
    assert!(
        lines[1].0.contains("a.jsonl, line 3: meta is no object"),
        "{first}"
    );
    assert_eq!((&lines[1].1, &lines[1].2), (&json!("m7"), &json!("u7")));
    assert_eq!(lake.rows("user_meta", &METAS).await.len(), metas.len());
    // As long as the file is as it is: what could not be read is not forgotten.
    let second = run().await.expect(3);
    assert_eq!(told(&second.summary()), lines);
    assert_eq!((second.count("meta_files"), second.count("writes")), (0, 0));
    write(folder.path(), "a.jsonl", &metas);
    assert_eq!(run().await.expect(0).count("meta_files"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_folder_that_is_not_there_fails_the_check_and_is_a_warning_of_the_run() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let feed = format!("file://{}", folder.path().join("typo").display());
    let range = range(&sim);
    let with_feed = |args: &[&str]| Telelake::against(&sim, &lake, args).env("TELELAKE_META__FEEDS", &feed);
    let check = with_feed(&["check"]).run().await.expect(2);
    assert!(
        check.stdout.contains("FAIL  meta.feeds: ") && check.stdout.contains("typo"),
        "{}",
        check.stdout
    );
    let run = with_feed(&backfill(&range, &[])).run().await.expect(0).summary();
    let warned = run["warnings"].as_array().unwrap().iter();
    assert_eq!(
        warned.filter(|it| it["kind"] == "meta_feed_missing").count(),
        1,
        "{run}"
    );
    std::fs::create_dir(folder.path().join("typo")).unwrap();
    let check = with_feed(&["check"]).run().await.expect(0);
    assert!(check.stdout.contains("ok    meta.feeds: "), "{}", check.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_takes_the_good_lines_and_names_the_bad_one() {
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let good = |user: &str| {
        format!(
            r#"{{"externalUserId":"{user}","externalMeetingId":"m","meta":{{"lesson_scheduled_start_dt":"soon"}}}}"#
        )
    };
    let path = folder.path().join("a.jsonl");
    std::fs::write(
        &path,
        format!("{}\n{{\"externalUserId\": 1\n{}\n", good("u"), good("v")),
    )
    .unwrap();
    let import = Telelake::new(&["--log-format", "json", "meta", "import", path.to_str().unwrap()])
        .lake(&lake)
        .run()
        .await
        .expect(3);
    let done = import.summary();
    assert_eq!(
        (&done["changed"], &done["bad_lines"], &done["bad_values"]),
        (&json!(2), &json!(1), &json!(2))
    );
    assert_eq!(done["lines"][0]["line"], 2, "{done}");
    assert_eq!(done["values"][0]["external_meeting_id"], "m", "{done}");
    assert!(
        import.stderr.contains("line 2: ends in the middle"),
        "{}",
        import.stderr
    );
    assert!(
        import
            .stderr
            .contains("line 1: lesson_scheduled_start_at can't be read"),
        "{}",
        import.stderr
    );
    assert_eq!(lake.rows("user_meta", &METAS).await.len(), 2);
}

/// The rows of a table in which a column has a value.
async fn rows_with(lake: &Lake, table: &str, columns: &[&str], (column, value): (&str, &str)) -> Vec<Row> {
    let rows = lake.rows(table, columns).await.into_iter();
    rows.filter(|row| row[column] == value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_data_joins_whatever_its_date_and_whether_or_not_its_start_can_be_read() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let mut metas = metas(&sim);
    // Years before, years later, none, and one that can't be read; all are received years after the calls.
    let starts = [
        json!("2019-02-03 10:00"),
        json!("2031-02-03 10:00"),
        Value::Null,
        json!("на той неделе"),
    ];
    let meetings: BTreeSet<String> = metas
        .iter()
        .map(|meta| meta["externalMeetingId"].as_str().unwrap().into())
        .collect();
    let start_of: BTreeMap<&String, &Value> = meetings.iter().zip(starts.iter().cycle()).collect();
    for meta in &mut metas {
        let meeting = meta["externalMeetingId"].as_str().unwrap().to_owned();
        meta["meta"]["lesson_scheduled_start_dt"] = start_of[&meeting].clone();
        meta["meta"]
            .as_object_mut()
            .unwrap()
            .remove("lesson_scheduled_end_dt");
    }
    let run = || async {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .run()
            .await
            .expect(0)
    };
    run().await;
    import(&lake, &write(folder.path(), "a.jsonl", &metas)).await;
    let late = run().await;
    let people = lake.rows("participants", &PARTICIPANT).await;
    let known: Vec<_> = people
        .iter()
        .filter(|row| !row["external_user_id"].is_empty())
        .collect();
    assert!(!known.is_empty() && known.iter().all(|row| row["meta_matched"] == "true"));
    let absent = rows_with(
        &lake,
        "lesson_attendance",
        &ATTENDANCE,
        ("external_user_id", "absent"),
    )
    .await;
    assert!(!absent.is_empty() && absent.iter().all(|row| row["attended"] == "false"));

    let unread: BTreeSet<&str> = start_of
        .iter()
        .filter(|(_, start)| **start == &starts[3])
        .map(|(meeting, _)| meeting.as_str())
        .collect();
    let summary = late.summary();
    let named: BTreeSet<&str> = summary["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| {
            it["kind"] == "bad_value"
                && it["message"]
                    .as_str()
                    .unwrap()
                    .contains("lesson_scheduled_start_at")
        })
        .map(|it| it["external_meeting_id"].as_str().unwrap())
        .collect();
    let held: BTreeSet<&str> = absent
        .iter()
        .map(|row| row["external_meeting_id"].as_str())
        .collect();
    assert_eq!(named, unread.intersection(&held).copied().collect());
    assert!(!named.is_empty());

    // On time, from the first run on, the tables are the same.
    let on_time = Lake::folder();
    import(&on_time, &write(folder.path(), "a.jsonl", &metas)).await;
    Telelake::against(&sim, &on_time, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    for table in ["participants", "lesson_attendance"] {
        let columns: &[&str] = if table == "participants" {
            &PARTICIPANT
        } else {
            &ATTENDANCE
        };
        assert_eq!(
            lake.rows(table, columns).await,
            on_time.rows(table, columns).await
        );
    }
    assert_eq!(run().await.count("writes"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lesson_data_that_is_taken_back_is_gone_until_it_is_sent_again() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let metas = metas(&sim);
    let one = metas
        .iter()
        .find(|meta| meta["externalUserId"] == "absent")
        .unwrap();
    let meeting = one["externalMeetingId"].as_str().unwrap().to_owned();
    let run = || async {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .run()
            .await
            .expect(0)
    };
    let whole = write(folder.path(), "a.jsonl", &metas);
    import(&lake, &whole).await;
    run().await;
    let before = tables(&lake).await;
    let null = json!({"externalUserId": "absent", "externalMeetingId": meeting, "meta": null});
    let taken_back = write(folder.path(), "b.jsonl", &[null]);
    assert_eq!(import(&lake, &taken_back).await["changed"], 1);
    assert_eq!(run().await.count("days_built"), 1);
    let of_one = |rows: &[Row]| {
        let is_one =
            |row: &&Row| row["external_user_id"] == "absent" && row["external_meeting_id"] == meeting;
        rows.iter().filter(is_one).count()
    };
    let after = tables(&lake).await;
    for (before, after) in before.iter().zip(&after).skip(1) {
        assert!(of_one(before) > 0);
        assert_eq!(of_one(after), 0);
        assert_eq!(after.len(), before.len() - of_one(before), "nobody else is gone");
    }
    assert_eq!(import(&lake, &taken_back).await["changed"], 0);
    assert_eq!(run().await.count("writes"), 0);
    // The same file as at first is later now.
    assert_eq!(import(&lake, &whole).await["changed"], 1);
    run().await;
    assert_eq!(tables(&lake).await, before);
}

/// Calls of one meeting that lie half a year apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_whose_calls_lie_far_apart_has_its_rows_once() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let date = sim.options().dates[0];
    let school = sim.school();
    let call = school
        .calls
        .iter()
        .filter(|call| call.started_at.date_naive() == date && call.finished_at.is_some());
    let call = call
        .max_by_key(|call| {
            call.participants
                .iter()
                .filter(|it| it.external_user_id.is_some())
                .count()
        })
        .unwrap();
    let meeting = call.lesson.meeting_id.clone();
    let apart = chrono::TimeDelta::days(180);
    let later = sim.edit(|school| school.add_call_like(&call.id, apart)).unwrap();
    import(&lake, &write(folder.path(), "a.jsonl", &metas(&sim))).await;
    let of_date = |date: chrono::NaiveDate| {
        let date = date.to_string();
        let args = ["--log-format", "json", "backfill", "--from", &date, "--to", &date];
        Telelake::against(&sim, &lake, &args).run()
    };
    // The later call first: its day gives the rows away when the first one's comes.
    of_date(date + apart).await.expect(0);
    let rows = rows_with(
        &lake,
        "lesson_attendance",
        &ATTENDANCE,
        ("external_meeting_id", &meeting),
    )
    .await;
    assert!(!rows.is_empty() && rows.iter().all(|row| row["date"] == (date + apart).to_string()));
    let run = of_date(date).await.expect(0);
    assert!(
        run.count("days_built") >= 2,
        "the other day is built too, half a year away"
    );
    let after = rows_with(
        &lake,
        "lesson_attendance",
        &ATTENDANCE,
        ("external_meeting_id", &meeting),
    )
    .await;
    assert_eq!(after.len(), rows.len(), "a user of the meeting stands twice");
    for row in &after {
        assert_eq!(row["date"], date.to_string());
        assert_eq!(
            row["attended"] == "true",
            row["call_ids"].contains(&later),
            "{row:?}"
        );
    }
    // Lesson data that changes builds both days again, from afar.
    let elsewhere = || of_date("2020-01-01".parse().unwrap());
    elsewhere().await.expect(0);
    let mut one = metas(&sim)
        .into_iter()
        .find(|meta| meta["externalMeetingId"] == *meeting)
        .unwrap();
    one["meta"]["user_fullname"] = "Другое Имя".into();
    import(&lake, &write(folder.path(), "b.jsonl", &[one])).await;
    assert!(elsewhere().await.expect(0).count("days_built") >= 2);
    let people = lake.rows("participants", &["call_id", "user_fullname"]).await;
    let renamed: BTreeSet<&str> = people
        .iter()
        .filter(|row| row["user_fullname"] == "Другое Имя")
        .map(|row| row["call_id"].as_str())
        .collect();
    assert_eq!(renamed, BTreeSet::from([call.id.as_str(), later.as_str()]));
    assert_eq!(elsewhere().await.expect(0).count("writes"), 0);
    let verify = Telelake::against(&sim, &lake, &["verify", "--deep"]).run().await;
    assert_eq!(verify.status, 0, "{}", verify.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_file_is_refused_whole_and_its_line_is_shown() {
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let path = folder.path().join("guide.json");
    std::fs::write(&path, "{\n\"lesson_name\" : \"x\"  // a comment\n}").unwrap();
    let run = Telelake::new(&["meta", "import", path.to_str().unwrap()])
        .lake(&lake)
        .run()
        .await
        .expect(2);
    assert!(
        run.stderr.contains("line 2: a comment: JSON has none, remove it"),
        "{}",
        run.stderr
    );
    assert!(lake.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn push_sends_every_payload_and_says_where_to_go_on() {
    let sim = Simulator::start(Options { rooms: 2, ..small() }).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let metas = sim.school().metas();
    let file = write(folder.path(), "m.jsonl", &metas);
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Meta).nth(4), Failure::Status(422));
    let push = |more: &'static [&'static str]| {
        let mut args = vec!["--log-format", "json", "meta", "push", file.as_str()];
        args.extend(more);
        Telelake::against(&sim, &lake, &args).env("TELELAKE_API__CONCURRENCY", "1")
    };
    let stopped = push(&[]).run().await.expect(3).summary();
    assert_eq!((&stopped["sent"], &stopped["from_line"]), (&json!(3), &json!(4)));
    let rest = push(&["--from-line", "4"]).run().await.expect(0).summary();
    assert_eq!(rest["sent"], metas.len() - 3);
    assert_eq!(sim.metas(), metas);
}

/// The school without whatever the generator may have put on two days itself, and with one meeting on two.
async fn with_a_meeting_on_two_days(sim: &Simulator) -> (String, String) {
    let first = &sim.options().dates[0];
    let school = sim.school();
    let call = school
        .calls
        .iter()
        .filter(|call| call.started_at.date_naive() == *first && call.finished_at.is_some())
        .max_by_key(|call| {
            call.participants
                .iter()
                .filter(|it| it.external_user_id.is_some())
                .count()
        })
        .unwrap();
    let meeting = call.lesson.meeting_id.clone();
    let later = sim
        .edit(|school| school.add_call_like(&call.id, chrono::TimeDelta::days(1)))
        .unwrap();
    (meeting, later)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_on_two_days_has_its_rows_on_the_day_of_its_first_call() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    import(&lake, &write(folder.path(), "a.jsonl", &metas(&sim))).await;
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let (meeting, later) = with_a_meeting_on_two_days(&sim).await;
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);

    let whole = Lake::folder();
    import(&whole, &write(folder.path(), "a.jsonl", &metas(&sim))).await;
    Telelake::against(&sim, &whole, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(tables(&lake).await, tables(&whole).await);

    let rows = lake.rows("lesson_attendance", &ATTENDANCE).await;
    let mut keys: Vec<_> = rows
        .iter()
        .map(|row| (&row["external_meeting_id"], &row["external_user_id"]))
        .collect();
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "a user of a meeting stands twice");
    let of_meeting: Vec<_> = rows
        .iter()
        .filter(|row| row["external_meeting_id"] == meeting)
        .collect();
    assert!(of_meeting.len() > 1);
    let first = sim.options().dates[0].to_string();
    for row in of_meeting {
        assert_eq!(row["date"], first);
        assert_eq!(
            row["attended"] == "true",
            row["call_ids"].contains(&later),
            "{row:?}"
        );
    }
    let before = lake.contents().await;
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert!(lake.contents().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn meta_that_a_report_holds_counts_until_other_is_sent() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let call = sim
        .school()
        .calls
        .iter()
        .find(|call| call.finished_at.is_some())
        .unwrap()
        .clone();
    let report = json!({"participants": [{
        "id": "p1", "externalUserId": "held", "externalMeetingId": "held-meeting",
        "sessions": [{"joinedAt": call.started_at, "leftAt": call.finished_at}],
        "meta": {"user_fullname": "Из отчёта", "user_role": "student", "house": {"house_id": "h"}},
    }]});
    sim.edit(|school| {
        school
            .call_mut(&call.id)
            .unwrap()
            .set_report(Report::bytes(report.to_string()));
    });
    let run = || async {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .env("TELELAKE_EXPORT__REPORTS", "[\"json\"]")
            .run()
            .await
            .expect(0)
    };
    run().await;
    let named = || async {
        let mut names = Vec::new();
        for table in ["participants", "lesson_attendance", "user_meta"] {
            let rows = lake.rows(table, &["external_user_id", "user_fullname"]).await;
            let row = rows.into_iter().find(|row| row["external_user_id"] == "held");
            names.push(row.map(|row| row["user_fullname"].clone()).unwrap_or_default());
        }
        names
    };
    assert_eq!(named().await, ["Из отчёта"; 3]);
    assert_eq!(lake.rows("hierarchy", &LEVELS).await.len(), 1);
    assert_eq!(run().await.count("writes"), 0);
    let sent = json!({"externalUserId": "held", "externalMeetingId": "held-meeting", "meta": {"user_fullname": "Из LMS"}});
    import(&lake, &write(folder.path(), "a.jsonl", &[sent])).await;
    assert_eq!(run().await.count("days_built"), 1);
    assert_eq!(named().await, ["Из LMS"; 3]);
}

/// Memory follows a batch of the file, and in the run the lesson data of the day's meetings, not the number of entries.
#[tokio::test(flavor = "multi_thread")]
async fn forty_thousand_entries_of_one_date_are_never_in_memory_at_once() {
    let sim = Simulator::start(small()).await.unwrap();
    let (lake, folder) = (Lake::folder(), tempfile::tempdir().unwrap());
    let range = range(&sim);
    let date = sim.options().dates[0];
    let attributes: String = (0..40).map(|n| format!(r#","attribute_{n}":{n}"#)).collect();
    let mut text: String = metas(&sim).iter().map(|meta| format!("{meta}\n")).collect();
    for n in 0..40_000 {
        text += &format!(
            "{{\"externalUserId\":\"u{n}\",\"externalMeetingId\":\"elsewhere-{}\",\"meta\":{{\"lesson_scheduled_start_dt\":\"{date} 10:00\"{attributes}}}}}\n",
            n / 10
        );
    }
    let bytes = text.len() as u64;
    std::fs::write(folder.path().join("a.jsonl"), text).unwrap();
    let feed = format!("file://{}", folder.path().display());
    let run = || {
        Telelake::against(&sim, &lake, &backfill(&range, &[]))
            .env("TELELAKE_META__FEEDS", &feed)
            .run()
    };
    let first = run().await.expect(0);
    assert_eq!(first.count("meta_files"), 1);
    assert!(first.peak_memory > bytes, "it was measured");
    // As values in memory they take over 5 KiB each, which is 200 MiB a copy. Two copies are over 400 MiB; how much the
    // allocator keeps beside one copy depends on which threads do the work.
    let most = bytes + (300 << 20);
    assert!(
        first.peak_memory < most,
        "{} MiB for a file of {} MiB",
        first.peak_memory >> 20,
        bytes >> 20
    );
    let people = lake.rows("participants", &PARTICIPANT).await;
    assert!(people.iter().any(|row| row["meta_matched"] == "true"));
    // The run after it reads no file.
    let second = run().await.expect(0);
    assert!(second.peak_memory < 150 << 20, "{} MiB", second.peak_memory >> 20);
}
