//! The command line as users see it.

use telelake::simulator::Simulator;

use crate::export::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

#[tokio::test(flavor = "multi_thread")]
async fn every_help_says_what_it_needs() {
    let mut text = String::new();
    for command in [
        "",
        "demo",
        "run",
        "backfill",
        "serve",
        "rebuild",
        "status",
        "verify",
        "check",
        "schema",
        "webhook",
        "simulate",
        "config",
        "completions",
    ] {
        let args: Vec<_> = [command, "--help"]
            .into_iter()
            .filter(|arg| !arg.is_empty())
            .collect();
        let finished = Telelake::new(&args).run().await.expect(0);
        text.push_str(&format!("$ telelake {}\n{}\n", args.join(" "), finished.stdout));
    }
    insta::assert_snapshot!(text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_a_configuration_and_what_is_in_force_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let example = Telelake::new(&["config", "example"]).run().await.expect(0).stdout;
    std::fs::write(folder.path().join("telelake.toml"), example).unwrap();
    let shown = Telelake::new(&["config", "show"])
        .in_folder(folder.path())
        .env("TELELAKE_API__TOKEN", "s3cr3t")
        .env("TELELAKE_API__CONCURRENCY", "3")
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(
        shown.contains("concurrency = 3") && shown.contains("token = \"***\""),
        "{shown}"
    );
    assert!(!shown.contains("s3cr3t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_leaves_a_lake_and_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = Telelake::new(&["demo"])
        .in_folder(folder.path())
        .run()
        .await
        .expect(0);
    for expected in [
        "demo-lake",
        "participants/",
        "recordings/",
        "calls, as read back",
        "read_parquet",
    ] {
        assert!(
            first.stdout.contains(expected),
            "no {expected} in\n{}",
            first.stdout
        );
    }
    assert!(folder.path().join("demo-lake/spaces/spaces.parquet").is_file());
    Telelake::new(&["demo"])
        .in_folder(folder.path())
        .run()
        .await
        .expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_days_and_runs() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let empty = Telelake::new(&["status"]).lake(&lake).run().await.expect(0);
    assert!(empty.stdout.contains("no days in the lake"), "{}", empty.stdout);
    let broken = sim.edit(|school| {
        school.calls[0].json = telelake::simulator::Report::bytes("nonsense");
        school.calls[0].id.clone()
    });
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(3);
    // No token is needed to look.
    let text = Telelake::new(&["status"])
        .lake(&lake)
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(
        text.contains("NOT COMPLETE") && text.contains(&broken) && text.contains("backfill"),
        "{text}"
    );
    let json = Telelake::new(&["status", "--json", "--from", "2025-03-03", "--to", "2025-03-05"])
        .lake(&lake)
        .run()
        .await;
    let json: serde_json::Value = serde_json::from_str(&json.expect(0).stdout).unwrap();
    let days = json["days"].as_array().unwrap();
    assert_eq!(days.len(), 3);
    assert_eq!(
        days.iter().filter(|day| day["complete"] == true).count(),
        2,
        "{json}"
    );
    let calls: u64 = days.iter().map(|day| day["calls"].as_u64().unwrap()).sum();
    assert_eq!(calls, sim.school().calls.len() as u64);
    assert_eq!(json["runs"][0]["exit_status"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_all_that_is_wrong_at_once() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let good = Telelake::against(&sim, &lake, &["check"])
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(
        good.contains(&sim.school().spaces[0].id) && good.contains("next runs"),
        "{good}"
    );
    assert_eq!(lake.keys().await.len(), 0, "a check leaves nothing behind");
    assert!(
        good.contains("from the API") && good.contains("bound: participant_id, name"),
        "{good}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let bad = Telelake::against(&sim, &lake, &["check"])
        .env("TELELAKE_API__TOKEN", "wrong")
        .env(
            "TELELAKE_STORE__URL",
            &format!("file://{}/x", file.path().display()),
        )
        .run()
        .await
        .expect(4)
        .stdout;
    assert_eq!(
        bad.lines().filter(|line| line.starts_with("FAIL")).count(),
        2,
        "{bad}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_made_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let finished = Telelake::new(&["completions", shell]).run().await.expect(0);
        assert!(finished.stdout.contains("backfill"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dictionary_needs_neither_token_nor_store() {
    let folder = tempfile::tempdir().unwrap();
    let schema = |args: &[&str]| {
        Telelake::new(&[&["schema"], args].concat())
            .in_folder(folder.path())
            .env("TELELAKE_STORE__URL", "s3://bucket/it's")
            .run()
    };
    let all = schema(&[]).await.expect(0).stdout;
    assert!(
        all.contains("## participants") && all.contains("**call_id**"),
        "{all}"
    );
    let one = schema(&["rooms", "--format", "json"]).await.expect(0).stdout;
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["tables"][0]["name"], "rooms");
    let views = schema(&["--format", "sql"]).await.expect(0).stdout;
    assert!(
        views.contains("read_parquet('s3://bucket/it''s/calls/**/*.parquet', hive_partitioning = true"),
        "{views}"
    );
    let unknown = schema(&["lessons"]).await.expect(2).stderr;
    assert!(unknown.contains("there are calls, participants"), "{unknown}");
}
