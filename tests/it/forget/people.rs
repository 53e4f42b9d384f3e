//! Whole lakes, by the program: in a folder and on the S3 server.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use super::{Rows, Scene, leaks, tables, without};
use crate::pipeline::{backfill, range};
use crate::support::lake::Lake;

/// All objects of a lake but the recordings.
async fn contents(lake: &Lake) -> BTreeMap<String, Bytes> {
    let mut contents = BTreeMap::new();
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| !key.starts_with("media/"))
    {
        contents.insert(key.clone(), lake.get(&key).await);
    }
    contents
}

/// Nothing of two people is left, and nothing that the lake does brings them back.
async fn forgets_two_people(lake: Lake) {
    let scene = Scene::new().await;
    let range = range(&scene.sim);
    scene.fill(&lake).await;
    let before = contents(&lake).await;
    // The search finds what is there, in places of every kind.
    let found = leaks(&before, &scene.strings).join("\n");
    for place in [
        "raw/reports/",
        ".xlsx",
        "raw/meta/",
        "shelves",
        "participants/",
        "report_rows/",
        "delta/",
        "lesson_attendance/",
    ] {
        assert!(found.contains(place), "{place}");
    }

    let planned = scene
        .command(&lake, &scene.forget(&["--dry-run"]))
        .run()
        .await
        .expect(0);
    assert!(
        planned.stdout.contains("would be destroyed"),
        "{}",
        planned.stdout
    );
    assert!(contents(&lake).await == before, "a dry run wrote something");

    let act = scene.folder.path().join("act.md");
    let options = ["--act", act.to_str().unwrap(), "--operator", "Оператор Петрова"];
    let done = scene
        .command(&lake, &scene.forget(&options))
        .run()
        .await
        .expect(0);
    let expected = without(&tables(&before), &scene.strings);
    let check = async |step: &str| {
        let now = contents(&lake).await;
        assert_eq!(leaks(&now, &scene.strings), Vec::<String>::new(), "{step}");
        let tables = tables(&now);
        assert_eq!(
            tables.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{step}"
        );
        for (key, rows) in &expected {
            assert_eq!(&tables[key], rows, "{step}: {key}");
        }
        scene
            .command(&lake, &["verify", "--deep", "--rebuild"])
            .run()
            .await
            .expect(0);
    };
    check("forget").await;
    let json = std::fs::read_to_string(act.with_extension("json")).unwrap();
    for text in [
        &std::fs::read_to_string(&act).unwrap(),
        &json,
        &done.stdout,
        &done.stderr,
    ] {
        let told = scene.strings.iter().find(|string| text.contains(*string));
        assert_eq!(told, None, "{text}");
    }
    let act: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&act["operator"], &act["people"]),
        (&"Оператор Петрова".into(), &2.into())
    );
    let gone = |table: &str| {
        let rows = |of: &Rows| -> usize {
            let prefix = format!("{table}/");
            of.iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(_, rows)| rows.len())
                .sum()
        };
        rows(&tables(&before)) - rows(&expected)
    };
    for table in [
        "participants",
        "messages",
        "lesson_attendance",
        "report_rows",
        "user_meta",
        "hierarchy",
    ] {
        let counts = act["rows"][table]
            .as_object()
            .unwrap_or_else(|| panic!("{table}: {act}"));
        let counted: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
        assert!(
            counted > 0 && counted == gone(table) as u64,
            "{table}: {counted}, {}",
            gone(table)
        );
    }

    scene
        .command(&lake, &backfill(&range, &["--force"]))
        .run()
        .await
        .expect(0);
    check("backfill --force").await;
    let imported = scene
        .command(&lake, &["meta", "import", &scene.lessons])
        .run()
        .await
        .expect(0);
    assert!(imported.stderr.contains("who were erased"), "{}", imported.stderr);
    check("meta import").await;
    let rebuild = ["rebuild", &range[0], &range[1], &range[2], &range[3]];
    scene.command(&lake, &rebuild).run().await.expect(0);
    check("rebuild").await;
    // A repair fetches a damaged report again.
    let report = lake
        .keys()
        .await
        .into_keys()
        .find(|key| key.starts_with("raw/reports/") && key.ends_with(".json"));
    lake.put(&report.unwrap(), "{").await;
    scene.command(&lake, &["verify", "--deep"]).run().await.expect(5);
    scene
        .command(&lake, &["verify", "--deep", "--repair"])
        .run()
        .await
        .expect(0);
    check("verify --repair").await;
    let again = scene.command(&lake, &scene.forget(&[])).run().await.expect(0);
    assert!(
        again.stdout.contains("the lake has nothing of these people"),
        "{}",
        again.stdout
    );
    lake.drop_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_leave_a_folder_and_nothing_brings_them_back() {
    forgets_two_people(Lake::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_leave_a_bucket_and_nothing_brings_them_back() {
    forgets_two_people(Lake::s3().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_destroys_nothing() {
    let scene = Scene::new().await;
    let lake = Lake::folder();
    scene
        .command(&lake, &["forget", "--user", "x"])
        .run()
        .await
        .expect(4);
    scene.fill(&lake).await;
    let before = lake.contents().await;
    for args in [
        &["forget"][..],
        &["forget", "--user", " "],
        &["forget", "--email", "nobody"],
        &["forget", "--user", "u", "--act", "/no/such/folder/act.md"],
    ] {
        scene.command(&lake, args).run().await.expect(2);
    }
    assert!(lake.contents().await == before);
    let nobody = scene
        .command(&lake, &["forget", "--user", "no-such-user"])
        .run()
        .await
        .expect(0);
    assert!(
        nobody.stdout.contains("nothing of these people"),
        "{}",
        nobody.stdout
    );
    let changed: Vec<_> = lake
        .contents()
        .await
        .into_iter()
        .filter(|(key, bytes)| before.get(key) != Some(bytes))
        .collect();
    let changed: Vec<_> = changed.iter().map(|(key, _)| key.as_str()).collect();
    assert!(
        changed
            .iter()
            .all(|key| key.starts_with("_telelake/erasures/") || *key == "_telelake/store.json"),
        "{changed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_their_calls_are_listed_or_deleted_and_not_fetched_again() {
    let scene = Scene::new().await;
    let lake = Lake::folder();
    scene.fill(&lake).await;
    let calls: BTreeSet<String> = {
        let school = scene.sim.school();
        let has = |call: &&telelake::simulator::Call| {
            call.participants.iter().any(|person| {
                person
                    .external_user_id
                    .as_ref()
                    .is_some_and(|user| scene.users.contains(user))
            })
        };
        school
            .calls
            .iter()
            .filter(has)
            .map(|call| call.id.clone())
            .collect()
    };
    let media = async || -> BTreeSet<String> {
        lake.keys()
            .await
            .into_keys()
            .filter(|key| key.starts_with("media/"))
            .collect()
    };
    let before = media().await;
    let (theirs, others): (BTreeSet<_>, BTreeSet<_>) = before
        .iter()
        .cloned()
        .partition(|key| calls.iter().any(|call| key.contains(call.as_str())));
    assert!(!theirs.is_empty() && !others.is_empty());
    let listed = scene.command(&lake, &scene.forget(&[])).run().await.expect(0);
    assert_eq!(media().await, before);
    for key in theirs.iter().take(3) {
        assert!(listed.stdout.contains(key), "{}", listed.stdout);
    }
    // The list is followed by a decision.
    scene
        .command(&lake, &scene.forget(&["--recordings", "delete"]))
        .run()
        .await
        .expect(0);
    assert_eq!(media().await, others);
    let other = Lake::folder();
    scene.fill(&other).await;
    let media = async || -> BTreeSet<String> {
        other
            .keys()
            .await
            .into_keys()
            .filter(|key| key.starts_with("media/"))
            .collect()
    };
    let done = scene
        .command(&other, &scene.forget(&["--recordings", "delete"]))
        .run()
        .await
        .expect(0);
    assert!(done.stdout.contains("recordings"), "{}", done.stdout);
    assert_eq!(media().await, others);
    scene
        .command(&other, &backfill(&range(&scene.sim), &[]))
        .run()
        .await
        .expect(0);
    assert_eq!(media().await, others);
    scene
        .command(&other, &backfill(&range(&scene.sim), &["--force"]))
        .run()
        .await
        .expect(0);
    assert_eq!(media().await, others, "backfill --force");
    let rows = other.rows("recordings", &["call_id", "status", "uri"]).await;
    let (gone, kept): (Vec<_>, Vec<_>) = rows.iter().partition(|row| calls.contains(&row["call_id"]));
    assert!(
        !gone.is_empty() && gone.iter().all(|row| row["uri"].is_empty()),
        "{gone:?}"
    );
    assert!(kept.iter().any(|row| !row["uri"].is_empty()));
    scene
        .command(&other, &["verify", "--deep", "--rebuild"])
        .run()
        .await
        .expect(0);
}

/// The tables of a day are all that the lake has of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_leaves_days_whose_reports_are_not_kept() {
    let scene = Scene::new().await;
    std::fs::write(
        scene.folder.path().join("key"),
        "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    )
    .unwrap();
    let key_file = scene.folder.path().join("key").display().to_string();
    for profile in ["none", "pseudonymous"] {
        let lake = Lake::folder();
        let command = |args: &[&str]| {
            let command = scene.command(&lake, args).env("TELELAKE_PRIVACY__RAW", "none");
            command
                .env("TELELAKE_PRIVACY__PROFILE", profile)
                .env("TELELAKE_PRIVACY__KEY_FILE", &key_file)
        };
        command(&["meta", "import", &scene.lessons]).run().await.expect(0);
        command(&backfill(&range(&scene.sim), &[])).run().await.expect(0);
        let before = contents(&lake).await;
        assert!(!before.keys().any(|key| key.starts_with("raw/reports/")));
        let key = telelake::pseudonym::PseudonymKey::new(b"0f1e2d3c4b5a69788796a5b4c3d2e1f0");
        let mut strings = scene.strings.clone();
        if profile == "pseudonymous" {
            strings = strings
                .iter()
                .map(|string| key.of(string))
                .chain(strings.clone())
                .collect();
        }
        assert!(
            leaks(&before, &strings)
                .iter()
                .any(|leak| leak.contains("participants/"))
        );
        command(&scene.forget(&[])).run().await.expect(0);
        let now = contents(&lake).await;
        assert_eq!(leaks(&now, &strings), Vec::<String>::new(), "{profile}");
        let (expected, tables) = (without(&tables(&before), &strings), tables(&now));
        for (key, rows) in &expected {
            assert_eq!(tables.get(key), Some(rows), "{profile}: {key}");
        }
        command(&["verify", "--deep"]).run().await.expect(0);
    }
}

/// A bucket that keeps old versions destroys nothing by itself.
#[tokio::test(flavor = "multi_thread")]
async fn old_versions_of_objects_with_the_people_go_too() {
    use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
    let scene = Scene::new().await;
    let lake = Lake::s3().await;
    let Lake::S3 { bucket, .. } = &lake else {
        panic!("a bucket")
    };
    let client = crate::support::weed::weed().await.client();
    let versioning = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Enabled)
        .build();
    let request = client.put_bucket_versioning().bucket(bucket);
    request.versioning_configuration(versioning).send().await.unwrap();
    scene.fill(&lake).await;
    let old = async || {
        let mut old = BTreeMap::new();
        let mut pages = client.list_object_versions().bucket(bucket);
        loop {
            let page = pages.clone().send().await.unwrap();
            for version in page.versions() {
                if version.is_latest() != Some(true) {
                    let (key, id) = (version.key().unwrap(), version.version_id().unwrap());
                    let object = client
                        .get_object()
                        .bucket(bucket)
                        .key(key)
                        .version_id(id)
                        .send()
                        .await
                        .unwrap();
                    let bytes = object.body.collect().await.unwrap().into_bytes();
                    // The name without the version still ends as it did, so that it is unpacked.
                    old.insert(
                        format!("{id}/{}", key.strip_prefix("school/lake/").unwrap()),
                        bytes,
                    );
                }
            }
            if page.is_truncated() != Some(true) {
                return old;
            }
            pages = pages
                .set_key_marker(page.next_key_marker)
                .set_version_id_marker(page.next_version_id_marker);
        }
    };
    scene.command(&lake, &scene.forget(&[])).run().await.expect(0);
    let left = old().await;
    assert_eq!(leaks(&left, &scene.strings), Vec::<String>::new());
    // Other old versions are none of its business.
    assert!(!left.is_empty());
    assert_eq!(
        leaks(&contents(&lake).await, &scene.strings),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_without_an_id_is_erased_by_address() {
    let scene = Scene::new().await;
    let lake = Lake::folder();
    scene.fill(&lake).await;
    let rows = lake.rows("participants", &["email", "external_user_id"]).await;
    let email = rows
        .iter()
        .map(|row| row["email"].clone())
        .find(|email| !email.is_empty())
        .unwrap();
    assert!(!leaks(&contents(&lake).await, &[email.clone()].into()).is_empty());
    let upper = email.to_uppercase();
    scene
        .command(&lake, &["forget", "--email", &upper])
        .run()
        .await
        .expect(0);
    assert_eq!(
        leaks(&contents(&lake).await, &[email].into()),
        Vec::<String>::new()
    );
    scene
        .command(&lake, &["verify", "--deep", "--rebuild"])
        .run()
        .await
        .expect(0);
}

/// The report of somebody else is gone: a build would lose that call's rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_a_missing_or_damaged_report_keeps_the_rows_of_others() {
    let scene = Scene::new().await;
    let lake = Lake::folder();
    scene.fill(&lake).await;
    let before = contents(&lake).await;
    let expected = without(&tables(&before), &scene.strings);
    let reports: Vec<_> = before
        .keys()
        .filter(|key| key.starts_with("raw/reports/"))
        .cloned()
        .collect();
    let calls: BTreeSet<_> = reports
        .iter()
        .map(|key| key.rsplit_once('.').unwrap().0.to_owned())
        .collect();
    let mut calls = calls.into_iter();
    let (gone, damaged) = (calls.next().unwrap(), calls.next_back().unwrap());
    for extension in ["json", "xlsx"] {
        lake.remove(&format!("{gone}.{extension}")).await;
    }
    let key = format!("{damaged}.json");
    let text = String::from_utf8(before[&key].to_vec()).unwrap();
    lake.put(
        &key,
        text.replacen("\"cameraSeconds\":", "\"cameraSeconds\":1", 1),
    )
    .await;
    let done = scene.command(&lake, &scene.forget(&[])).run().await.expect(0);
    assert!(
        done.stdout.contains("left to you (missing, 2)"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("left to you (damaged, 1)"),
        "{}",
        done.stdout
    );
    let now = contents(&lake).await;
    assert_eq!(leaks(&now, &scene.strings), Vec::<String>::new());
    let tables = tables(&now);
    for (key, rows) in &expected {
        assert_eq!(tables.get(key), Some(rows), "{key}");
    }
    let verified = scene.command(&lake, &["verify", "--deep"]).run().await.expect(5);
    assert!(
        verified.stdout.contains(&gone) && verified.stdout.contains(&damaged),
        "{}",
        verified.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_replaces_no_file_and_a_lost_key_of_tombstones_stops_all_writes() {
    let scene = Scene::new().await;
    let lake = Lake::folder();
    scene.fill(&lake).await;
    let act = scene.folder.path().join("act.md");
    let options = ["--act", act.to_str().unwrap()];
    scene
        .command(&lake, &scene.forget(&options))
        .run()
        .await
        .expect(0);
    let written = std::fs::read_to_string(&act).unwrap();
    let refused = scene
        .command(&lake, &scene.forget(&options))
        .run()
        .await
        .expect(2);
    assert!(refused.stderr.contains("is there already"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&act).unwrap(), written);
    lake.remove("_telelake/erasures/salt.json").await;
    let before = lake.contents().await;
    for args in [
        &["meta", "import", &scene.lessons][..],
        &["run"],
        &scene.forget(&[]),
    ] {
        let refused = scene.command(&lake, args).run().await;
        assert_ne!(refused.status, 0, "{args:?}");
        assert!(
            refused.stderr.contains("erasures/salt.json"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    assert!(lake.contents().await == before);
}
