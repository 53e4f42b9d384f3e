//! The real program as the tasks of an engine start it: the shard comes from the engine's variables.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use telelake::simulator::{Options, Simulator};

use crate::reliability::compared::gist;
use crate::support::eventually::eventually;
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

const COUNT: u32 = 4;

async fn school() -> Simulator {
    let options = Options {
        spaces: 2,
        rooms: 3,
        dates: telelake::simulator::days("2025-03-01".parse().unwrap(), 5),
        calls_per_day: 1..=1,
        participants: 2..=4,
        recording_size: 20_000,
        latency: Duration::from_millis(10),
        ..Options::default()
    };
    Simulator::start(options).await.unwrap()
}

fn command(sim: &Simulator, lake: &Lake, name: &str, more: &[&str]) -> Telelake {
    let dates = &sim.options().dates;
    let (from, to) = (dates[0].to_string(), dates[dates.len() - 1].to_string());
    let mut args = vec!["-q", "--log-format", "json", name, "--from", &from, "--to", &to];
    args.extend(more);
    Telelake::against(sim, lake, &args).env("TELELAKE_DELTA__ENABLED", "true")
}

/// A task of an array of Slurm.
fn slurm(command: Telelake, index: u32, job: &str) -> Telelake {
    command
        .env("SLURM_ARRAY_TASK_ID", &index.to_string())
        .env("SLURM_ARRAY_TASK_COUNT", &COUNT.to_string())
        .env("SLURM_ARRAY_TASK_MIN", "0")
        .env("SLURM_ARRAY_JOB_ID", job)
}

/// A pod of an indexed job of Kubernetes.
fn kubernetes(command: Telelake, index: u32, job: &str) -> Telelake {
    command
        .env("JOB_COMPLETION_INDEX", &index.to_string())
        .env("TELELAKE_SHARDS", &COUNT.to_string())
        .env("TELELAKE_JOB", job)
}

/// The comparable lake, and the number of commits of the Delta tables.
async fn compared(lake: &Lake) -> (BTreeMap<String, String>, usize) {
    let is_commit = |key: &&String| key.contains("/_delta_log/") && key.ends_with(".json");
    let commits = lake.keys().await.keys().filter(is_commit).count();
    let mut gist = gist(lake).await;
    let own = [
        "_telelake/shards/",
        "_telelake/runs/",
        "_telelake/logs/",
        "_telelake/open/",
        "_telelake/index/",
        "delta/",
    ];
    gist.retain(|key, _| !own.iter().any(|prefix| key.starts_with(prefix)));
    (gist, commits)
}

/// Compares two lakes. Returns the numbers of their Delta commits.
async fn assert_equal(found: &Lake, expected: &Lake) -> (usize, usize) {
    let ((found, commits), (expected, of_expected)) = (compared(found).await, compared(expected).await);
    let keys = found.keys().chain(expected.keys());
    let differing: Vec<_> = keys.filter(|key| found.get(*key) != expected.get(*key)).collect();
    assert!(differing.is_empty(), "{differing:?}");
    (commits, of_expected)
}

async fn jobs(lake: &Lake) -> Vec<Value> {
    let status = Telelake::new(&["status", "--json"])
        .lake(lake)
        .run()
        .await
        .expect(0);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    status["shared_jobs"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_of_tasks_does_what_one_process_does() {
    let sim = school().await;
    for (one, many) in [
        (Lake::folder(), Lake::folder()),
        (Lake::s3().await, Lake::s3().await),
    ] {
        command(&sim, &one, "backfill", &[]).run().await.expect(0);
        let task = |index| {
            slurm(
                command(&sim, &many, "backfill", &["--shard", "auto"]),
                index,
                "77",
            )
            .run()
        };
        let runs: Vec<Finished> = join_all((0..COUNT).map(task)).await;
        for run in runs {
            run.expect(0);
        }
        let (many_commits, one_commits) = assert_equal(&many, &one).await;
        assert_eq!(
            many_commits, one_commits,
            "the Delta tables are brought up to date once"
        );
        let jobs = jobs(&many).await;
        assert_eq!(
            (jobs.len(), &jobs[0]["whole"], &jobs[0]["count"]),
            (1, &true.into(), &COUNT.into())
        );
        assert!(jobs[0]["job"].as_str().unwrap().starts_with("77-"), "{}", jobs[0]);
        one.drop_whole().await;
        many.drop_whole().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_killed_and_a_pod_that_comes_late_leave_a_lake_that_is_whole() {
    let sim = school().await;
    let (one, many) = (Lake::folder(), Lake::folder());
    command(&sim, &one, "backfill", &[]).run().await.expect(0);
    let pod = |index| {
        kubernetes(
            command(&sim, &many, "backfill", &["--shard", "auto"]),
            index,
            "night",
        )
    };
    // Two pods die at once, one never comes.
    for index in [0, 2] {
        let before = sim.total_count();
        let mut child = pod(index).start();
        eventually("the pod asks for calls", async || sim.total_count() > before + 10).await;
        child.kill().await.unwrap();
    }
    pod(1).run().await.expect(0);
    let job = &jobs(&many).await[0];
    assert_eq!(
        (
            &job["whole"],
            job["missing"].as_array().unwrap().contains(&3.into())
        ),
        (&false.into(), true)
    );
    let text = Telelake::new(&["status"])
        .lake(&many)
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(
        text.contains("of 4 shards have ended") && text.contains("not begun yet: shards 3"),
        "{text}"
    );
    for index in [0, 2, 3] {
        pod(index).run().await.expect(0);
    }
    assert_equal(&many, &one).await;
    assert_eq!(jobs(&many).await[0]["whole"], true);
    let verified = command(&sim, &many, "verify", &["--deep", "--rebuild", "--shard", "1/2"])
        .run()
        .await;
    verified.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_none_is_a_usage_error() {
    let sim = school().await;
    let lake = Lake::folder();
    for (shard, named) in [
        ("4/4", "no shard 4 of 4"),
        ("x", "I/N"),
        ("auto", "SLURM_ARRAY_TASK_ID"),
    ] {
        let wrong = command(&sim, &lake, "backfill", &["--shard", shard])
            .run()
            .await
            .expect(2);
        assert!(wrong.stderr.contains(named), "{}", wrong.stderr);
    }
    assert!(lake.keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_that_names_yesterday_makes_up_the_nights_that_were_missed() {
    let sim = school().await;
    let lake = Lake::folder();
    let today = chrono::Utc::now().date_naive();
    let before = |days| (today - chrono::Days::new(days)).to_string();
    let id = format!("{}T020000Z-000000", before(9).replace('-', ""));
    let started = format!("{}T02:00:00Z", before(9));
    let run = serde_json::json!({
        "id": id, "command": "run", "outcome": "done", "exit_status": 0, "started_at": started, "finished_at": started,
        "from": before(10), "to": before(10), "timezone": "UTC", "counts": {}, "failed": [], "pending": [], "warnings": [],
        "interrupted": false,
    });
    lake.put(&format!("_telelake/runs/{id}.json"), run.to_string().into_bytes())
        .await;
    let args = [
        "-q",
        "--log-format",
        "json",
        "run",
        "--date",
        &before(1),
        "--shard",
        "0/1",
    ];
    let night = Telelake::against(&sim, &lake, &args).run().await.expect(0);
    assert_eq!(
        (&night.summary()["from"], &night.summary()["to"]),
        (&before(9).into(), &before(1).into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_are_cut_by_a_plan_do_what_one_process_does() {
    let sim = school().await;
    let (one, many) = (Lake::folder(), Lake::folder());
    command(&sim, &one, "backfill", &[]).run().await.expect(0);
    let plan = command(&sim, &many, "backfill", &["--dry-run", "--json"]);
    let plan = plan.run().await.expect(0).stdout;
    let days: Vec<Value> = serde_json::from_str(&plan).unwrap();
    assert!(days.iter().any(|day| day["bytes"].as_u64() > Some(0)), "{plan}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), plan).unwrap();
    let file = file.path().to_str().unwrap().to_owned();
    let shards = (0..3).map(|index| {
        let shard = format!("{index}/3");
        command(&sim, &many, "backfill", &["--shard", &shard, "--plan", &file]).run()
    });
    for run in join_all(shards).await {
        run.expect(0);
    }
    assert_equal(&many, &one).await;
    assert_eq!(jobs(&many).await[0]["whole"], true);
    let wrong = command(&sim, &many, "backfill", &["--shard", "0/3", "--plan", "/nowhere"])
        .run()
        .await;
    assert!(wrong.expect(2).stderr.contains("--dry-run --json"));
}
