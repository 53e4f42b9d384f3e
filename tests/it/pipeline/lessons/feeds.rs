//! Folders of lesson data that each run reads.

use serde_json::{Value, json};
use telelake::simulator::Simulator;

use super::{METAS, metas, write};
use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

#[tokio::test(flavor = "multi_thread")]
async fn each_file_of_a_feed_is_imported_once() {
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
async fn a_bad_line_of_a_feed_file_is_named_at_every_run_and_the_others_are_imported() {
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
    // As long as the file is unchanged, its unreadable lines are named.
    let second = run().await.expect(3);
    assert_eq!(told(&second.summary()), lines);
    assert_eq!((second.count("meta_files"), second.count("writes")), (0, 0));
    write(folder.path(), "a.jsonl", &metas);
    assert_eq!(run().await.expect(0).count("meta_files"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_feed_folder_fails_check_and_is_a_warning_of_a_run() {
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
