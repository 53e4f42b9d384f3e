//! The command line as users see it.

use telelake::simulator::Simulator;

use crate::pipeline::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;

#[tokio::test(flavor = "multi_thread")]
async fn help_texts_are_as_reviewed() {
    let mut text = String::new();
    for command in [
        "",
        "demo",
        "run",
        "backfill",
        "serve",
        "rebuild",
        "delta",
        "retain",
        "forget",
        "status",
        "verify",
        "check",
        "health",
        "schema",
        "sql",
        "report",
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
async fn the_example_configuration_is_valid_and_secrets_are_masked() {
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
async fn the_demo_writes_a_lake_and_shows_it() {
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
        "media/",
        "lesson_attendance/",
        "FROM attendance_by_level WHERE level = 'student_group'",
        "FROM attendance_by_level WHERE level = 'branch'",
        "  Группа 200  ",
        "  Академгородок  ",
        "demo-lake/report.html",
        "Next:",
    ] {
        assert!(
            first.stdout.contains(expected),
            "no {expected} in\n{}",
            first.stdout
        );
    }
    assert!(folder.path().join("demo-lake/spaces/spaces.parquet").is_file());
    let report = std::fs::read_to_string(folder.path().join("demo-lake/report.html")).unwrap();
    assert!(report.contains("of the expected visits took place"), "{report}");
    let results = |shown: &str| shown[shown.find("\nSELECT").unwrap()..].to_owned();
    let again = Telelake::new(&["demo"])
        .in_folder(folder.path())
        .run()
        .await
        .expect(0);
    assert_eq!(results(&first.stdout), results(&again.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_days_and_runs() {
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
    // `status` needs no token.
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
async fn check_reports_all_problems_at_once() {
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
        .expect(2)
        .stdout;
    assert_eq!(
        bad.lines().filter(|line| line.starts_with("FAIL")).count(),
        2,
        "{bad}"
    );
}

/// An API with one space without rooms, and with another clock.
async fn api_at(date: chrono::DateTime<chrono::Utc>) -> String {
    let date = date.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let answer = |items: &'static str| {
        let date = date.clone();
        axum::routing::get(async move || ([("date", date)], items))
    };
    let router = axum::Router::new()
        .route(
            "/spaces",
            answer(r#"{"items":[{"id":"s1","name":"School"}],"total":1}"#),
        )
        .route("/spaces/s1/rooms", answer(r#"{"items":[],"total":0}"#));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, router).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_compares_the_clock_with_that_of_the_api() {
    for (seconds, status, said) in [
        (0, 0, "ok    clock: agrees"),
        (-120, 0, "WARN  clock: this machine is "),
        (3_600, 2, "FAIL  clock: this machine is "),
    ] {
        let api = api_at(chrono::Utc::now() + chrono::TimeDelta::seconds(seconds)).await;
        let check = Telelake::new(&["check"])
            .env("TELELAKE_API__BASE_URL", &api)
            .env("TELELAKE_API__TOKEN", "t")
            .lake(&Lake::folder())
            .run()
            .await
            .expect(status)
            .stdout;
        assert!(check.contains(said), "{check}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_skips_days_and_runs_in_the_future() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let status = async || {
        let shown = Telelake::against(&sim, &lake, &["status", "--json"]).run().await;
        serde_json::from_str::<serde_json::Value>(&shown.expect(0).stdout).unwrap()
    };
    let before = status().await;
    let Lake::Folder(root) = &lake else { unreachable!() };
    let state = root.path().join("_telelake");
    // As a wrong clock leaves them: 20 open days and 10 runs.
    let day = std::fs::read_dir(state.join("days"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let file = std::fs::read_dir(day.path()).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let date = before["days"][0]["date"].as_str().unwrap();
    for number in 10..30 {
        let later = format!("2999-01-{number}");
        let folder = state.join(format!("days/date={later}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(file.file_name()), text.replace(date, &later)).unwrap();
    }
    let runs = state.join("runs");
    let run = std::fs::read_dir(&runs).unwrap().next().unwrap().unwrap();
    for number in 10..20 {
        std::fs::copy(
            run.path(),
            runs.join(format!("299901{number}T020000Z-000000.json")),
        )
        .unwrap();
    }
    assert_eq!(status().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_are_printed_for_each_shell() {
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
    let unknown = schema(&["lessons"]).await.expect(2).stderr;
    assert!(unknown.contains("there are calls, participants"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_lake_is_named_and_nothing_is_made_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (root, page) = (
        folder.path().join("lakes/school"),
        folder.path().join("report.html"),
    );
    let url = format!("file://{}", root.display());
    let range = ["--from", "2025-03-03", "--to", "2025-03-04"];
    let told = format!("{url}: there is no lake here");
    let run = async |args: &[&str], status: i32| {
        let command = Telelake::new(args)
            .env("TELELAKE_STORE__URL", &url)
            .in_folder(folder.path());
        let done = command.run().await.expect(status);
        assert!(done.stderr.contains(&told), "{args:?}: {}", done.stderr);
        assert!(
            done.stderr.contains("check store.url"),
            "{args:?}: {}",
            done.stderr
        );
        assert!(!root.exists(), "{args:?} made something");
        done.stdout
    };
    // These can do nothing.
    for args in [
        &["delta"][..],
        &["delta", "--vacuum"],
        &["verify"],
        &[&["rebuild"][..], &range].concat(),
    ] {
        run(args, 4).await;
    }
    // These show that there is nothing, in the form that was asked for.
    assert!(run(&["sql"], 0).await.contains("CREATE OR REPLACE VIEW lessons"));
    run(&["status"], 0).await;
    let json: serde_json::Value = serde_json::from_str(&run(&["status", "--json"], 0).await).unwrap();
    assert_eq!(json["days"], serde_json::json!([]));
    run(
        &[&["report", "--out", page.to_str().unwrap()][..], &range].concat(),
        0,
    )
    .await;
    assert!(page.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_show_a_lake_do_not_warn_of_it_and_refuse_one_of_a_newer_version() {
    let (sim, lake) = crate::pipeline::small_school().await;
    let range = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let mut report = vec!["report", "--out", "-"];
    report.extend(range.iter().map(String::as_str));
    let commands = [&["sql"][..], &["status"], &report];
    for args in commands {
        let shown = Telelake::new(args).lake(&lake).run().await.expect(0).stderr;
        assert!(!shown.contains("no lake"), "{args:?}: {shown}");
    }
    let mut info = lake.json("_telelake/store.json").await;
    info["version"] = 1000.into();
    lake.put("_telelake/store.json", info.to_string()).await;
    for args in commands {
        let shown = Telelake::new(args).lake(&lake).run().await.expect(2).stderr;
        assert!(shown.contains("newer"), "{args:?}: {shown}");
    }
}
