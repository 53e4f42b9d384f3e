//! The operator's page and `status` of a large lake: three years of twenty spaces, each day with the manifest of a busy
//! school. Each process is new, so that it has nothing in memory; the disk cache of the machine stays as it is.

use std::time::{Duration, Instant};

use chrono::{Datelike, Days, NaiveDate, Utc};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use telelake::lake::key;
use telelake::simulator::Simulator;

use super::report::{against_goal, figure, seconds, title};
use super::school::{backfill, timed};
use crate::support::daemon::{Daemon, Plan};
use crate::support::eventually::eventually;
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::weed::weed;

const SPACES: u32 = 20;
const DAYS: u64 = 3 * 365;
const GOAL: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;
/// The age at which the time of a manifest distinguishes it from a later one: see `status::Coverage`.
const SETTLED: Duration = Duration::from_secs(95);

pub async fn measure() {
    title(
        "page",
        &format!("{SPACES} spaces × {DAYS} days; the goal of each is the median of {ROUNDS} new processes"),
    );
    let sim = Simulator::start(super::school::busy_day()).await.unwrap();
    let model = model(&sim).await;
    let calls = model["calls"].as_object().unwrap().len();
    figure("calls of a manifest", calls.to_string());
    figure("bytes of a manifest", model.to_string().len().to_string());
    for lake in [Lake::folder(), Lake::s3().await] {
        fill(&lake, &model).await;
        of_lake(&sim, &lake).await;
        lake.drop_whole().await;
    }
}

async fn of_lake(sim: &Simulator, lake: &Lake) {
    let name = match lake {
        Lake::Folder(_) => "folder",
        Lake::S3 { .. } => "S3",
    };
    let daemon = Plan::new(sim, lake).start().await;
    let (without_index, _) = look(&daemon).await;
    figure(&format!("{name}: page, no index"), seconds(without_index));
    let first = first_date();
    eventually("the index", async || {
        let keys = lake.keys().await;
        (first.year()..=Utc::now().year()).all(|year| keys.contains_key(&key::day_index(year)))
    })
    .await;
    daemon.stop().await;
    let (mut pages, mut warm, mut commands, mut ranges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let daemon = Plan::new(sim, lake).start().await;
        pages.push(look(&daemon).await.0);
        warm.push(look(&daemon).await.0);
        daemon.stop().await;
        commands.push(status(sim, lake, &["status"]).await);
        ranges.push(status(sim, lake, &["status", "--from", &first.to_string()]).await);
    }
    for (what, times, has_goal) in [
        ("page, cold", pages, true),
        ("page, warm", warm, true),
        ("status", commands, true),
        ("status, all days", ranges, false),
    ] {
        let (name, median) = (format!("{name}: {what}"), median(times));
        match has_goal {
            true => against_goal(&name, seconds(median), "< 1 s", median < GOAL),
            false => figure(&name, seconds(median)),
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The time of a command from its start to its end.
async fn status(sim: &Simulator, lake: &Lake, args: &[&str]) -> Duration {
    let start = Instant::now();
    let done = Telelake::against(sim, lake, args).run().await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    start.elapsed()
}

fn first_date() -> NaiveDate {
    Utc::now().date_naive() - Days::new(DAYS)
}

/// The manifest of a day as the program itself writes it.
async fn model(sim: &Simulator) -> Value {
    let lake = Lake::folder();
    timed(backfill(sim, &lake, &["--only", "analytics"])).await;
    let manifests = lake.manifests().await;
    let most = manifests
        .into_iter()
        .max_by_key(|manifest| manifest["calls"].as_object().unwrap().len());
    most.unwrap()
}

async fn fill(lake: &Lake, model: &Value) {
    let days = first_date().iter_days().take(DAYS as usize);
    let all = days.flat_map(|date| (0..SPACES).map(move |space| (date, space)));
    stream::iter(all)
        .map(|(date, space)| put(lake, model, date, format!("{space:024x}")))
        .buffer_unordered(32)
        .collect::<()>()
        .await;
}

async fn put(lake: &Lake, model: &Value, date: NaiveDate, space: String) {
    let mut manifest = model.clone();
    manifest["date"] = date.to_string().into();
    manifest["space_name"] = format!("Space {space}").into();
    manifest["space_id"] = space.as_str().into();
    let (key, bytes) = (
        key::manifest(date, &space.as_str().into()),
        manifest.to_string().into_bytes(),
    );
    match lake {
        Lake::Folder(folder) => {
            let path = folder.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::now() - SETTLED).unwrap();
        }
        Lake::S3 { bucket, .. } => {
            let put = weed().await.client().put_object().bucket(bucket);
            let key = format!("school/lake/{key}");
            put.key(key).body(bytes.into()).send().await.unwrap();
        }
    }
}

async fn look(daemon: &Daemon) -> (Duration, usize) {
    let start = Instant::now();
    let (status, html) = daemon.get("/").await;
    assert_eq!(status, 200);
    (start.elapsed(), html.len())
}
