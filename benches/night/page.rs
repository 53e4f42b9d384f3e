//! The operator's page of a large lake: three years of twenty spaces, each day with the manifest of a busy school.

use std::time::{Duration, Instant};

use chrono::{Days, NaiveDate, Utc};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use telelake::lake::key;
use telelake::simulator::Simulator;

use super::school::{backfill, timed};
use crate::support::daemon::{Daemon, Plan};
use crate::support::lake::Lake;
use crate::support::weed::weed;

const SPACES: u32 = 20;
const DAYS: u64 = 3 * 365;
const GOAL: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;
/// The age at which the time of a manifest distinguishes it from a later one: see `status::Coverage`.
const SETTLED: Duration = Duration::from_secs(95);

pub async fn measure() {
    println!("\npage: {SPACES} spaces × {DAYS} days");
    let sim = Simulator::start(super::school::busy_day()).await.unwrap();
    let model = model(&sim).await;
    println!(
        "  a manifest has {} calls, {} bytes",
        model["calls"].as_object().unwrap().len(),
        model.to_string().len()
    );
    for lake in [Lake::folder(), Lake::s3().await] {
        fill(&lake, &model).await;
        let name = if matches!(lake, Lake::Folder(_)) {
            "folder"
        } else {
            "S3"
        };
        let daemon = Plan::new(&sim, &lake).start().await;
        let (cold, size) = look(&daemon).await;
        let mut warm = Vec::new();
        for _ in 0..ROUNDS {
            warm.push(look(&daemon).await.0);
        }
        warm.sort();
        let median = warm[ROUNDS / 2];
        let verdict = if median < GOAL { "ok" } else { "MISSED" };
        println!(
            "  {name}: cold {} ms, warm {} ms (goal below {} ms: {verdict}), {} KiB of HTML",
            cold.as_millis(),
            median.as_millis(),
            GOAL.as_millis(),
            size / 1024
        );
        daemon.stop().await;
    }
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
    let first = Utc::now().date_naive() - Days::new(DAYS);
    let days = first.iter_days().take(DAYS as usize);
    let all = days.flat_map(|date| (0..SPACES).map(move |space| (date, space)));
    stream::iter(all)
        .map(|(date, space)| put(lake, model, date, format!("{space:024x}")))
        .buffer_unordered(32)
        .collect::<()>()
        .await;
    if matches!(lake, Lake::S3 { .. }) {
        tokio::time::sleep(SETTLED).await;
    }
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
