//! A process that is killed in the middle of an upload, and the next one.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use telelake::config;
use telelake::store::{Store, open};

use super::suite::{self, PART, content, nothing_unfinished, options, unfinished};
use super::{folder, s3};
use crate::support::weed::weed;

/// Names the store in the process that is to be killed.
const URL: &str = "TELELAKE_TEST_KILLED_URL";
const KEY: &str = "recordings/date=2026-11-23/урок.mp4";
const READY: &str = "the upload is under way";

/// The part of the process that is killed; without its environment it has nothing to do.
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
    // Stored, and written down: what a later process can know of.
    while !stored(&*store).await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    println!("{READY}");
    std::future::pending::<()>().await;
}

/// Whether the checkpoint has come as far as it can.
async fn stored(store: &dyn Store) -> bool {
    let notes = store.list("_telelake/uploads/").await.unwrap();
    let note = store.get(&notes[0].key).await.unwrap();
    let note: serde_json::Value = serde_json::from_slice(&note.bytes).unwrap();
    note["bytes"].as_u64().unwrap() > (2 * PART as u64) - (4 << 20)
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

async fn the_next_process_goes_on(store: &dyn Store) {
    assert_eq!(store.list("recordings/").await.unwrap(), []);
    assert_eq!(unfinished(store, "").await, [(KEY.to_owned(), false)]);
    assert_eq!(
        unfinished(store, "recordings/date=2026-11").await,
        [(KEY.to_owned(), false)]
    );
    assert_eq!(unfinished(store, "calls/").await, []);

    let bytes = content(1, 2 * PART + 1);
    let upload = suite::open(store, KEY).await;
    assert!(upload.bytes() > (2 * PART as u64) - (4 << 20));
    let uploaded = suite::go_on(upload, &bytes).await;
    assert_eq!(store.get(KEY).await.unwrap().bytes, bytes);
    store.delete(&uploaded.receipt.unwrap()).await.unwrap();
    nothing_unfinished(store).await;
}

#[tokio::test]
async fn in_a_folder() {
    let (_directory, store) = folder::new();
    kill_in_the_middle(store.url(), Vec::new());
    the_next_process_goes_on(&store).await;
}

#[tokio::test]
async fn in_s3() {
    let (_bucket, store) = s3::new().await;
    let weed = weed().await;
    kill_in_the_middle(store.url(), weed.environment(&weed.http));
    the_next_process_goes_on(&store).await;
}
