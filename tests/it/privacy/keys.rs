//! The key of the pseudonyms, wrong configurations, and the demo.

use std::collections::BTreeSet;
use std::path::PathBuf;

use telelake::pseudonym::PseudonymKey;

use super::{OTHER_KEY, Scene};
use crate::pipeline::{backfill, range};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_key_is_refused_before_anything_is_written() {
    let scene = Scene::new().await;
    let (lake, _) = scene.pseudonymous_lake().await;
    let range = range(&scene.sim);
    let (before, written) = (lake.contents().await, lake.written());
    let rebuild = ["rebuild", &range[0], &range[1], &range[2], &range[3]];
    let backfill = backfill(&range, &[]);
    let import = ["meta", "import", &scene.lessons];
    let commands: [&[&str]; 7] = [
        &["run"],
        &backfill,
        &rebuild,
        &["verify", "--rebuild"],
        &["verify", "--repair"],
        &import,
        &["serve"],
    ];
    for (file, why) in [
        ("other-key", "another key than the one that made the pseudonyms"),
        ("nowhere", "there is no such file"),
        ("", "is empty"),
    ] {
        let path = match file {
            "" => String::new(),
            file => scene.path(file),
        };
        for args in &commands {
            let refused = scene
                .pseudonymous(&lake, args)
                .env("TELELAKE_PRIVACY__KEY_FILE", &path)
                .env("TELELAKE_SERVE__LISTEN", "127.0.0.1:0")
                .run()
                .await
                .expect(2);
            assert!(refused.stderr.contains(why), "{args:?}: {}", refused.stderr);
            assert!(
                refused.stderr.contains("privacy.key_file"),
                "{args:?}: {}",
                refused.stderr
            );
            assert!(refused.stderr.contains(&path), "{args:?}: {}", refused.stderr);
        }
        assert!(lake.contents().await == before, "{file}: something was written");
        assert_eq!(lake.written(), written, "{file}");
    }
    let checked = scene
        .pseudonymous(&lake, &["check"])
        .env("TELELAKE_PRIVACY__KEY_FILE", &scene.path("other-key"))
        .run()
        .await
        .expect(2);
    assert!(checked.stdout.contains("FAIL  privacy: "), "{}", checked.stdout);
    assert!(!checked.stdout.contains(OTHER_KEY));
    // With the right key the lake is as before.
    let right = scene.pseudonymous(&lake, &backfill).run().await.expect(0);
    assert_eq!(right.count("days_built"), 0);
}

/// The way that the document describes.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_changed_by_removing_its_check_value_and_building_everything_again() {
    let scene = Scene::new().await;
    let (lake, _) = scene.pseudonymous_lake().await;
    let range = range(&scene.sim);
    let mut info = lake.json("_telelake/store.json").await;
    assert!(
        info.as_object_mut()
            .unwrap()
            .remove("privacy_key_check")
            .is_some()
    );
    lake.put("_telelake/store.json", info.to_string()).await;
    let rebuild = ["rebuild", &range[0], &range[1], &range[2], &range[3]];
    let verify = ["verify", "--deep", "--rebuild"];
    // The first rebuild may read the other day of a lesson before that one is built.
    for args in [&rebuild[..], &rebuild, &verify] {
        let command = scene.pseudonymous(&lake, args);
        let command = command.env("TELELAKE_PRIVACY__KEY_FILE", &scene.path("other-key"));
        command.run().await.expect(0);
    }
    let key = PseudonymKey::new(OTHER_KEY.as_bytes());
    let school = scene.sim.school();
    let people = school.calls.iter().flat_map(|call| &call.participants);
    let users: BTreeSet<String> = people
        .filter_map(|person| Some(key.of(person.external_user_id.as_deref()?)))
        .collect();
    for table in ["participants", "user_meta", "hierarchy", "lesson_attendance"] {
        let rows = lake.rows(table, &["external_user_id"]).await;
        let ids = rows
            .iter()
            .map(|row| &row["external_user_id"])
            .filter(|id| !id.is_empty());
        let strange: Vec<_> = ids.filter(|id| !users.contains(*id)).collect();
        assert!(!rows.is_empty() && strange.is_empty(), "{table}: {strange:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_of_columns_is_refused_with_the_nearest_name() {
    let lake = Lake::folder();
    for (columns, expected) in [
        (
            r#"{ "participant.email" = "null" }"#,
            "there is no table `participant`; the nearest is `participants`",
        ),
        (
            r#"{ "participants.e_mail" = "null" }"#,
            "does not have a column `e_mail`; the nearest is `email`",
        ),
        (
            r#"{ "*.participant_id" = "null" }"#,
            "participants.participant_id is of the key and can't be null",
        ),
        (
            r#"{ "participants.duration_s" = "hash" }"#,
            "participants.duration_s can't be hashed",
        ),
        (r#"{ "email" = "null" }"#, "is not table.column"),
        (
            r#"{ "participants.email" = "hash" }"#,
            "is empty, and [privacy] makes pseudonyms, first in participants.email",
        ),
    ] {
        let refused = Telelake::new(&["rebuild", "--from", "2026-01-01", "--to", "2026-01-02"])
            .lake(&lake)
            .env("TELELAKE_PRIVACY__COLUMNS", columns)
            .run()
            .await
            .expect(2);
        assert!(refused.stderr.contains(expected), "{columns}: {}", refused.stderr);
    }
    assert!(lake.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_makes_a_key_once_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo");
    let args = ["demo", "--out", out.to_str().unwrap(), "--privacy"];
    let first = Telelake::new(&args).run().await.expect(0);
    let file = PathBuf::from(format!("{}.privacy-key", out.display()));
    assert!(
        first
            .stdout
            .contains(&format!("The key of the pseudonyms: {}", file.display()))
    );
    let key = std::fs::read_to_string(&file).unwrap();
    assert_eq!(key.trim().len(), 64);
    assert!(!first.stdout.contains(key.trim()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    Telelake::new(&args).run().await.expect(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
    let report = std::fs::read_to_string(out.join("report.html")).unwrap();
    let lake = telelake::tables::read_text(
        std::fs::read(first_file(&out.join("lesson_attendance")))
            .unwrap()
            .into(),
        &["external_user_id", "user_fullname"],
    );
    let rows = lake.unwrap();
    assert!(rows.iter().all(|row| row[1].is_empty() && row[0].len() == 64));
    assert!(
        rows.iter()
            .any(|row| report.contains(&format!(">{}<", &row[0][..12]))),
        "a short pseudonym"
    );
}

fn first_file(folder: &std::path::Path) -> PathBuf {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    match entries[0].is_dir() {
        true => first_file(&entries[0]),
        false => entries[0].clone(),
    }
}
