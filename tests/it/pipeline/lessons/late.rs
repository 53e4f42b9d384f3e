//! Lesson data that arrives after its calls gives the same tables as lesson data that was there first.

use std::collections::BTreeSet;

use serde_json::json;
use telelake::simulator::{Endpoint, Options, Simulator};

use super::{PARTICIPANT, import, metas, tables, write};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::{Lake, Row};
use crate::support::program::{Finished, Telelake};

#[tokio::test(flavor = "multi_thread")]
async fn late_and_corrected_lesson_data_gives_the_tables_of_timely_data() {
    assert_late_data_gives_the_tables_of_timely_data(small(), Lake::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_lesson_data_of_500_users_in_s3_gives_the_tables_of_timely_data() {
    let school = Options {
        rooms: 40,
        participants: 18..=18,
        empty_rooms: 0.1,
        recorded: 0.0,
        ..small()
    };
    let users = assert_late_data_gives_the_tables_of_timely_data(school, Lake::s3().await).await;
    assert!(users >= 500, "{users} users");
}

/// Compares a lake that gets the lesson data after its calls, wrong at first, with one that had it before. Returns the
/// number of users.
async fn assert_late_data_gives_the_tables_of_timely_data(school: Options, late: Lake) -> usize {
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
    // At first wrong, on another date and without the third level; then correct.
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
    // A run builds the days whose lesson data has changed, whatever its dates.
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
    assert_join(&left, &run);

    // The same file again changes nothing.
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

/// Asserts that the tables hold the joined lesson data, the absent users and the third level.
fn assert_join(tables: &[Vec<Row>], run: &Finished) {
    assert!(
        tables[0]
            .iter()
            .all(|row| row["meta_matched"] == "true" || row["attributes"].is_empty())
    );
    let absent: Vec<_> = tables[1]
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
    assert!(tables[2].iter().any(|row| row["level"] == "program"
        && row["depth"] == "2"
        && row["parent_level"] == "lesson_course"));
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_lesson_data_builds_only_the_days_that_it_touches() {
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
    // A run over other dates finds the change too.
    let run = Telelake::against(&sim, &lake, &elsewhere).run().await.expect(0);
    assert_eq!(run.count("days_built"), 1);
    let after = lake.written();
    for (path, at) in &after {
        let path_text = path.to_string_lossy();
        // `days` says when the day was built.
        let places = [date, "/meta/", "catalog", "/days/"];
        let expected = places.iter().any(|place| path_text.contains(place));
        // The table of days has the new row of the day.
        let expected = expected || path.parent().is_some_and(|folder| folder.ends_with("days"));
        assert!(before.get(path) == Some(at) || expected, "{path:?} was written");
    }
    let rows = lake
        .rows("participants", &["external_user_id", "user_fullname"])
        .await;
    assert!(rows.iter().any(|row| row["user_fullname"] == "Другое Имя"));
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawn_lesson_data_is_gone_until_it_is_sent_again() {
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
    // The first file is the latest now.
    assert_eq!(import(&lake, &whole).await["changed"], 1);
    run().await;
    assert_eq!(tables(&lake).await, before);
}

/// The memory depends on a batch of the file and on the meetings of a day, not on the number of entries.
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
    // The next run reads no file.
    let second = run().await.expect(0);
    assert!(second.peak_memory < 150 << 20, "{} MiB", second.peak_memory >> 20);
}
