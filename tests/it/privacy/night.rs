//! Nights under `[privacy]`, and a change of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use telelake::pseudonym::PseudonymKey;

use super::compared::{COMPARED, rows};
use super::{KEY, SECOND_DATE_ONLY, Scene, leaks, personal};
use crate::pipeline::{backfill, range};
use crate::support::lake::{Lake, Row};

#[tokio::test(flavor = "multi_thread")]
async fn a_pseudonymous_night_leaves_no_personal_data_and_the_same_joins() {
    let scene = Scene::new().await;
    let plain = scene.plain_lake().await;
    let (lake, run) = scene.pseudonymous_lake().await;
    let personal = personal(&scene.sim.school());
    assert!(personal.len() > 50);
    // The search finds what is there.
    assert!(leaks(&plain, &personal).await.len() > personal.len());
    assert_eq!(leaks(&lake, &personal).await, Vec::<String>::new());
    for output in [&run.stdout, &run.stderr] {
        let told = personal.iter().find(|string| output.contains(*string));
        assert_eq!(told, None);
    }
    // The same rows with pseudonyms in the place of ids: so every join gives the same.
    let key = PseudonymKey::new(KEY.as_bytes());
    for (table, columns) in COMPARED {
        let expected = rows(&plain, table, columns, Some(&key)).await;
        assert!(!expected.is_empty(), "{table}");
        assert_eq!(rows(&lake, table, columns, None).await, expected, "{table}");
    }
    assert_lesson_of_two_dates(&lake, &key).await;
    assert_open_data(&lake).await;
    assert_told(&scene, &lake).await;
}

/// A lesson of two dates has one row for each user, also for the one of whom only the other day's table knows.
async fn assert_lesson_of_two_dates(lake: &Lake, key: &PseudonymKey) {
    let attendance = lake
        .rows(
            "lesson_attendance",
            &["external_user_id", "external_meeting_id", "call_ids"],
        )
        .await;
    let guest: Vec<&Row> = attendance
        .iter()
        .filter(|row| row["external_user_id"] == key.of(SECOND_DATE_ONLY))
        .collect();
    let meeting = &guest[0]["external_meeting_id"];
    let dates: BTreeSet<&str> = attendance
        .iter()
        .filter(|row| row["external_meeting_id"] == *meeting)
        .map(|row| row["date"].as_str())
        .collect();
    assert_eq!((guest.len(), dates.len()), (1, 1), "{guest:?}");
    let both = |row: &&Row| row["external_meeting_id"] == *meeting && row["call_ids"].contains(',');
    assert!(attendance.iter().filter(both).count() > 2);
}

/// Levels that are no people keep their entities, and a teacher's level joins with the teacher.
async fn assert_open_data(lake: &Lake) {
    let levels = lake
        .rows(
            "hierarchy",
            &[
                "level",
                "entity_id",
                "entity_name",
                "external_user_id",
                "attributes",
            ],
        )
        .await;
    let of = |level: &str| {
        levels
            .iter()
            .filter(move |row| row["level"] == level)
            .collect::<Vec<_>>()
    };
    assert!(
        of("branch")
            .iter()
            .all(|row| !row["entity_name"].is_empty() && row["entity_id"].starts_with("branch-"))
    );
    let teachers = of("teacher");
    assert!(
        !teachers.is_empty()
            && teachers
                .iter()
                .all(|row| row["entity_id"] == row["external_user_id"])
    );
    assert!(
        of("contract")
            .iter()
            .all(|row| row["attributes"] == "{number: 17/2026}"),
        "{:?}",
        of("contract").first()
    );
    let keyed = lake.rows("hierarchy", &["path"]).await;
    assert!(keyed.iter().any(|row| row["path"] == "families.curators.*.rank"));
    let metas = lake.rows("user_meta", &["attributes"]).await;
    assert!(
        metas
            .iter()
            .all(|row| row["attributes"].contains("floor: third floor"))
    );
    // Cells of workbooks are treated as the columns that they feed.
    let cells = lake.rows("report_rows", &["cells"]).await;
    assert!(!cells.is_empty() && cells.iter().all(|row| row["cells"].contains(": ")));
}

/// The commands agree with the policy, and say what was done.
async fn assert_told(scene: &Scene, lake: &Lake) {
    let verify = ["verify", "--deep", "--rebuild"];
    let verified = scene.pseudonymous(lake, &verify).run().await.expect(0);
    assert!(!verified.stdout.contains("not compared"), "{}", verified.stdout);
    let range = range(&scene.sim);
    let again = scene
        .pseudonymous(lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(again.count("days_built"), 0);
    let checked = scene.pseudonymous(lake, &["check"]).run().await;
    let line = "privacy: profile pseudonymous; the key is that of the lake";
    assert!(checked.stdout.contains(line), "{}", checked.stdout);
    assert!(!checked.stdout.contains(KEY));
    let schema = scene
        .pseudonymous(lake, &["schema", "participants"])
        .run()
        .await
        .expect(0);
    let sql = scene.pseudonymous(lake, &["sql"]).run().await.expect(0);
    assert!(
        sql.stdout.contains("IS 'Pseudonym, HMAC-SHA-256 of the value"),
        "{}",
        sql.stdout
    );
    assert!(
        schema.stdout.contains("Pseudonym, HMAC-SHA-256 of the value"),
        "{}",
        schema.stdout
    );
    assert!(
        schema.stdout.contains("Always null here ([privacy])"),
        "{}",
        schema.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_policy_builds_days_and_lesson_tables_again() {
    let scene = Scene::new().await;
    let lake = scene.plain_lake().await;
    let (range, personal) = (range(&scene.sim), personal(&scene.sim.school()));
    // Delta files of before stay until they are vacuumed.
    lake_without_delta(&lake).await;
    let stale = scene
        .pseudonymous(&lake, &["verify", "--rebuild"])
        .run()
        .await
        .expect(0);
    assert!(stale.stdout.contains("[privacy]"), "{}", stale.stdout);
    let run = scene
        .pseudonymous(&lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    assert!(run.count("days_built") > 0);
    assert_eq!(leaks(&lake, &personal).await, Vec::<String>::new());
    let pseudonymous = tables_of(&lake).await;
    let (fresh, _) = scene.pseudonymous_lake().await;
    let fresh_tables = tables_of(&fresh).await;
    for (key, bytes) in &pseudonymous {
        // The times of build and receipt differ.
        let is_timeless = !["coverage/", "days/", "user_meta/", "recordings/"]
            .iter()
            .any(|it| key.starts_with(it));
        assert!(!is_timeless || Some(bytes) == fresh_tables.get(key), "{key}");
    }
    // Without `[privacy]` everything comes back.
    let rebuild = ["rebuild", &range[0], &range[1], &range[2], &range[3]];
    scene.command(&lake, &rebuild).run().await.expect(0);
    let names = lake.rows("participants", &["name"]).await;
    assert!(names.iter().all(|row| !row["name"].is_empty()));
    scene
        .command(&lake, &["verify", "--rebuild"])
        .run()
        .await
        .expect(0);
}

async fn lake_without_delta(lake: &Lake) {
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("delta/"))
    {
        lake.remove(&key).await;
    }
}

async fn tables_of(lake: &Lake) -> BTreeMap<String, Bytes> {
    let mut contents = lake.contents().await;
    contents.retain(|key, _| key.ends_with(".parquet") && !key.starts_with("delta/"));
    contents
}
