//! Commands as workflow engines start them: a plan to map over, a result on the last line, an exit status for "skipped", and
//! Dagster Pipes.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use base64::Engine;
use chrono::Days;
use serde_json::{Value, json};
use telelake::simulator::{Options, Report, Simulator};

use super::{backfill, exported, range, small, small_school};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

async fn plan(sim: &Simulator, lake: &Lake, status: i32) -> Vec<Value> {
    let range = range(sim);
    let mut args = vec!["backfill", "--dry-run", "--json"];
    args.extend(range.iter().map(String::as_str));
    let plan = Telelake::against(sim, lake, &args).run().await.expect(status);
    assert_eq!(plan.stdout.lines().count(), 1, "{}", plan.stdout);
    serde_json::from_str(&plan.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_as_a_list_has_the_days_with_work_and_is_empty_afterwards() {
    let (sim, lake) = (
        Simulator::start(Options { spaces: 2, ..small() }).await.unwrap(),
        Lake::folder(),
    );
    let days = plan(&sim, &lake, 0).await;
    let school = sim.school();
    let calls: BTreeSet<_> = school
        .calls
        .iter()
        .map(|call| format!("{}|{}", call.started_at.date_naive(), call.space_id))
        .collect();
    let keys: Vec<_> = days.iter().map(|day| day["key"].as_str().unwrap()).collect();
    assert!(calls.iter().all(|key| keys.contains(&key.as_str())), "{keys:?}");
    assert!(keys.is_sorted(), "{keys:?}");
    for day in &days {
        let fields: Vec<_> = day.as_object().unwrap().keys().map(String::as_str).collect();
        let expected: BTreeSet<_> = ["date", "space_id", "key", "calls", "requests", "bytes"].into();
        assert_eq!(fields.into_iter().collect::<BTreeSet<_>>(), expected);
        let key = format!(
            "{}|{}",
            day["date"].as_str().unwrap(),
            day["space_id"].as_str().unwrap()
        );
        assert_eq!(day["key"], key);
    }
    let sum = |name: &str| days.iter().map(|day| day[name].as_u64().unwrap()).sum::<u64>();
    // Each day on its own, as an engine does it.
    let (mut landed, mut bytes) = (0, 0);
    for day in &days {
        let (date, space) = (day["date"].as_str().unwrap(), day["space_id"].as_str().unwrap());
        let args = [
            "--log-format",
            "json",
            "backfill",
            "--from",
            date,
            "--to",
            date,
            "--space",
            space,
        ];
        let run = Telelake::against(&sim, &lake, &args).run().await.expect(0);
        landed += run.count("reports_landed") + run.count("records_landed");
        bytes += run.count("recorded_bytes");
        assert_eq!(run.count("days"), 1, "{day}");
    }
    assert_eq!((sum("requests"), sum("bytes")), (landed, bytes));
    assert_eq!(sum("calls"), school.calls.len() as u64);
    assert_eq!(plan(&sim, &lake, 0).await, Vec::<Value>::new());

    let broken = sim.edit(|school| {
        school.calls[0].json = Report::bytes("nonsense");
        school.calls[0].clone()
    });
    exported(&sim, &lake, &["--force"], 3).await;
    let again = plan(&sim, &lake, 0).await;
    let keys: Vec<_> = again.iter().map(|day| day["key"].clone()).collect();
    let key = format!("{}|{}", broken.started_at.date_naive(), broken.space_id);
    assert_eq!(keys, [key], "only the day that lacks a report");
    assert_eq!(
        (&again[0]["requests"], &again[0]["bytes"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_belongs_to_a_plan() {
    let (sim, lake) = small_school().await;
    let range = range(&sim);
    let wrong = Telelake::against(&sim, &lake, &backfill(&range, &["--json"]))
        .run()
        .await
        .expect(2);
    assert!(wrong.stderr.contains("--dry-run"), "{}", wrong.stderr);
    for option in [["--skip-exit-code", "99"].as_slice(), &["--pipes"]] {
        let args = [&["--dry-run"], option].concat();
        Telelake::against(&sim, &lake, &backfill(&range, &args))
            .run()
            .await
            .expect(2);
    }
    assert!(lake.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_line_is_the_summary_with_short_lists_and_the_result_in_a_few_fields() {
    let (sim, lake) = small_school().await;
    let run = exported(&sim, &lake, &[], 0).await;
    let line = run.summary();
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    let key = format!("_telelake/runs/{}.json", line["id"].as_str().unwrap());
    let count = |name: &str| line["counts"][name].clone();
    for (name, expected) in [
        ("command", json!("backfill")),
        ("outcome", json!("done")),
        ("exit_status", json!(0)),
        ("run_id", line["id"].clone()),
        ("summary", json!(key)),
        ("days", json!(3)),
        ("days_built", json!(3)),
        ("calls", count("calls")),
        ("reports", count("reports_landed")),
        ("recordings", count("records_landed")),
        ("bytes", count("recorded_bytes")),
        ("failed_count", json!(0)),
    ] {
        assert_eq!(line[name], expected, "{name}");
    }
    let stored = lake.json(&key).await;
    let of_all = stored["warnings"].as_array().unwrap().len();
    assert_eq!(line["warning_count"], of_all);
    assert_eq!(line["warnings"].as_array().unwrap().len(), of_all);
    assert_eq!(lake.json(&key).await["exit_status"], 0, "the summary is there");

    let range = range(&sim);
    let dates: Vec<_> = range.iter().map(String::as_str).collect();
    let rebuild = [&["--log-format", "json", "rebuild"][..], &dates].concat();
    let last = Telelake::new(&rebuild)
        .lake(&lake)
        .run()
        .await
        .expect(0)
        .summary();
    assert_eq!(
        (&last["command"], &last["days_built"]),
        (&json!("rebuild"), &json!(3))
    );
    let verify = Telelake::new(&["--log-format", "json", "verify"]).lake(&lake);
    let verified = verify.run().await.expect(0);
    assert_eq!(verified.summary()["findings"], json!([]));
    let last = verified.summary();
    assert_eq!(
        (&last["outcome"], &last["findings_count"], &last["days"]),
        (&json!("done"), &json!(0), &json!(3))
    );
    // One document alone, for those who asked for one.
    let plain = Telelake::new(&["verify", "--json"])
        .lake(&lake)
        .run()
        .await
        .expect(0);
    assert_eq!(plain.stdout.lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_nothing_to_do_exits_with_the_status_for_it() {
    let (sim, lake) = small_school().await;
    let skip = ["--skip-exit-code", "99"];
    exported(&sim, &lake, &skip, 0).await;
    let again = exported(&sim, &lake, &skip, 99).await;
    assert_eq!(again.summary()["exit_status"], 99);
    exported(&sim, &lake, &[], 0).await;
    // The night after the last date has no calls.
    let empty = sim.options().dates[2] + Days::new(3);
    let night = async |args: &[&str], status: i32| {
        let date = empty.to_string();
        let args = [&["--log-format", "json", "run", "--date", &date], args].concat();
        let run = Telelake::against(&sim, &lake, &args).env("TELELAKE_EXPORT__LOOKBACK_DAYS", "0");
        run.run().await.expect(status)
    };
    let first = night(&skip, 99).await;
    assert!(first.count("writes") > 0, "it notes that it looked at the day");
    night(&skip, 99).await;
    night(&[], 0).await;
    // Something is landed, then something fails.
    sim.edit(|school| school.calls[0].set_report(Report::bytes("nonsense")));
    exported(&sim, &lake, &[&skip[..], &["--force"]].concat(), 3).await;
    exported(&sim, &lake, &skip, 3).await;
    sim.edit(|school| school.calls[0].set_report(Report::Whole));
    exported(&sim, &lake, &skip, 0).await;
    exported(&sim, &lake, &skip, 99).await;
    // Lesson data is imported by the run.
    let feed = tempfile::tempdir().unwrap();
    let metas = sim.school().metas();
    let lines: String = metas.iter().map(|meta| format!("{meta}\n")).collect();
    std::fs::write(feed.path().join("lessons.jsonl"), lines).unwrap();
    let range = range(&sim);
    let with_feed = async |status: i32| {
        let run = Telelake::against(&sim, &lake, &backfill(&range, &skip));
        let url = format!("file://{}", feed.path().display());
        run.env("TELELAKE_META__FEEDS", &url).run().await.expect(status)
    };
    with_feed(0).await;
    with_feed(99).await;
    for wrong in ["0", "256", "x"] {
        exported(&sim, &lake, &["--skip-exit-code", wrong], 2).await;
    }
}

/// Encodes a value as Dagster does.
fn encode(value: &Value) -> String {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(value.to_string().as_bytes()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(packer.finish().unwrap())
}

/// Runs a command with `--pipes` for a partition. Gives its end and its messages.
async fn piped(
    sim: &Simulator,
    lake: &Lake,
    args: &[&str],
    partition: Option<&str>,
) -> (Finished, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let context = json!({
        "asset_keys": ["telelake/day"], "partition_key": partition, "partition_key_range": null, "run_id": "r",
        "job_name": "j", "retry_number": 0, "extras": {},
    });
    std::fs::write(path("context"), context.to_string()).unwrap();
    let args = [args, &["--pipes"]].concat();
    let run = Telelake::against(sim, lake, &args)
        .env(
            "DAGSTER_PIPES_CONTEXT",
            &encode(&json!({ "path": path("context") })),
        )
        .env(
            "DAGSTER_PIPES_MESSAGES",
            &encode(&json!({ "path": path("messages") })),
        )
        .run()
        .await;
    (run, messages(Path::new(&path("messages"))))
}

fn messages(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn methods(messages: &[Value]) -> Vec<&str> {
    let names = messages.iter().map(|message| message["method"].as_str().unwrap());
    names.filter(|name| *name != "log").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dagster_is_told_of_the_day_that_it_asked_for() {
    let (sim, lake) = (
        Simulator::start(Options { spaces: 2, ..small() }).await.unwrap(),
        Lake::folder(),
    );
    let school = sim.school();
    let (date, space) = (sim.options().dates[1], school.spaces[1].id.clone());
    let partition = format!("{date}|{space}");
    let of_day =
        |call: &&telelake::simulator::Call| call.space_id == space && call.started_at.date_naive() == date;
    let calls = school.calls.iter().filter(of_day).count();
    let (run, told) = piped(&sim, &lake, &["backfill"], Some(&partition)).await;
    run.expect(0);
    let check = "report_asset_check";
    let expected = ["opened", "report_asset_materialization", check, check, "closed"];
    assert_eq!(methods(&told), expected, "{told:?}");
    let day = told
        .iter()
        .find(|message| message["method"] == expected[1])
        .unwrap();
    assert_eq!(
        day["params"]["metadata"]["calls"],
        json!({ "type": "int", "raw_value": calls })
    );
    let days: Vec<_> = lake
        .manifests()
        .await
        .iter()
        .map(|day| day["space_id"].clone())
        .collect();
    assert_eq!(days, [json!(space)], "that day alone");

    let (rebuilt, told) = piped(&sim, &lake, &["rebuild"], Some(&partition)).await;
    rebuilt.expect(0);
    assert_eq!(methods(&told), expected);
    let (verified, told) = piped(&sim, &lake, &["verify"], Some(&partition)).await;
    verified.expect(0);
    assert_eq!(methods(&told), ["opened", check, "closed"]);
    let (skipped, told) = piped(
        &sim,
        &lake,
        &["backfill", "--skip-exit-code", "99"],
        Some(&partition),
    )
    .await;
    skipped.expect(99);
    assert_eq!(methods(&told), ["opened", check, check, "closed"]);
    assert_eq!(told.last().unwrap()["params"], json!({}));

    let (failed, told) = piped(&sim, &lake, &["backfill"], None).await;
    let failed = failed.expect(2);
    assert!(failed.stderr.contains("has no partition"), "{}", failed.stderr);
    assert_eq!(methods(&told), ["opened", "closed"]);
    assert_eq!(told.last().unwrap()["params"]["exception"]["name"], "Usage");
    let (failed, _) = piped(&sim, &lake, &["backfill"], Some("every day")).await;
    assert!(failed.expect(2).stderr.contains("neither a date nor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_without_dagster_are_wrong_usage() {
    let (sim, lake) = small_school().await;
    let run = Telelake::against(&sim, &lake, &["run", "--pipes"])
        .run()
        .await
        .expect(2);
    assert!(run.stderr.contains("DAGSTER_PIPES_CONTEXT"), "{}", run.stderr);
    assert!(run.stderr.contains("leave it out"), "{}", run.stderr);
    assert!(lake.keys().await.is_empty());
}
