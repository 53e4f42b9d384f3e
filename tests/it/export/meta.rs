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
