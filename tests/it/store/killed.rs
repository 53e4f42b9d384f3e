//! A process that is killed in the middle of an upload, and the next process that resumes it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use telelake::config;
use telelake::store::{Store, open};

use super::suite::{self, PART, content, nothing_unfinished, options, unfinished};
use super::{folder, s3};
use crate::support::eventually::eventually;
use crate::support::weed::weed;

/// The variable that names the store for the process to be killed.
const URL: &str = "TELELAKE_TEST_KILLED_URL";
const KEY: &str = "media/date=2026-11-23/урок.mp4";
const READY: &str = "the upload is under way";

/// The code of the process that is killed. Without its environment it has nothing to do.
#[tokio::test]
async fn victim() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let store = open(&config::Store {
        url,
        s3: s3::settings(),
    })
    .await
    .unwrap();
    let mut upload = store.upload(KEY, options()).await.unwrap();
    suite::write(&mut upload, &content(1, 2 * PART + 1))
        .await
        .unwrap();
    eventually("the checkpoint names the stored parts", async || {
        is_stored(&*store).await
    })
    .await;
    println!("{READY}");
    std::future::pending::<()>().await;
}

/// True if the checkpoint names all parts that it can name.
async fn is_stored(store: &dyn Store) -> bool {
    let listed = store.list("_telelake/uploads/").await.unwrap();
    let stored = store.get(&listed[0].key).await.unwrap();
    let checkpoint: serde_json::Value = serde_json::from_slice(&stored.bytes).unwrap();
    checkpoint["bytes"].as_u64().unwrap() > (2 * PART as u64) - (4 << 20)
}

fn kill_in_the_middle(url: &str, environment: Vec<(&str, String)>) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["store::killed::victim", "--exact", "--nocapture"])
        .env(URL, url)
        .envs(environment)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.contains(READY));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(ready, "the victim ended by itself");
}

async fn the_next_process_resumes(store: &dyn Store) {
    assert_eq!(store.list("media/").await.unwrap(), []);
    assert_eq!(unfinished(store, "").await, [(KEY.to_owned(), false)]);
    assert_eq!(
        unfinished(store, "media/date=2026-11").await,
        [(KEY.to_owned(), false)]
    );
    assert_eq!(unfinished(store, "calls/").await, []);

    let bytes = content(1, 2 * PART + 1);
    let upload = suite::open(store, KEY).await;
    assert!(upload.bytes() > (2 * PART as u64) - (4 << 20));
    let uploaded = suite::finish(upload, &bytes).await;
    assert_eq!(store.get(KEY).await.unwrap().bytes, bytes);
    store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    nothing_unfinished(store).await;
}

#[tokio::test]
async fn in_a_folder() {
    let (_directory, store) = folder::new();
    kill_in_the_middle(store.url(), Vec::new());
    the_next_process_resumes(&store).await;
}

#[tokio::test]
async fn in_s3() {
    let (_bucket, store) = s3::new().await;
    let weed = weed().await;
    kill_in_the_middle(store.url(), weed.environment(&weed.http));
    the_next_process_resumes(&store).await;
}
