//! A process that is killed in the middle of an upload, and the next one.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use bytes::Bytes;
use telelake::config;
use telelake::store::{Store, UploadOptions, open};

use super::suite::{PART, content};
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
    let mut upload = store.upload(KEY, UploadOptions::default()).await.unwrap();
    upload.write(content(1, 2 * PART + 1)).await.unwrap();
    println!("{READY}");
    std::future::pending::<()>().await;
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

async fn the_next_upload_cleans(store: &dyn Store) {
    assert_eq!(store.list("").await.unwrap(), []);
    assert_eq!(store.unfinished_uploads("").await.unwrap(), [KEY]);
    assert_eq!(
        store.unfinished_uploads("recordings/date=2026-11").await.unwrap(),
        [KEY]
    );
    assert_eq!(store.unfinished_uploads("calls/").await.unwrap(), [""; 0]);

    // Another key, even one that begins alike, is none of its business.
    let beside = store
        .upload(&KEY[..KEY.len() - 4], UploadOptions::default())
        .await
        .unwrap();
    beside.abort().await.unwrap();
    assert_eq!(store.unfinished_uploads("").await.unwrap(), [KEY]);

    let mut upload = store.upload(KEY, UploadOptions::default()).await.unwrap();
    upload.write(Bytes::from_static(b"whole")).await.unwrap();
    assert_eq!(store.unfinished_uploads("").await.unwrap(), [""; 0]);
    upload.complete().await.unwrap();
    assert_eq!(store.get(KEY).await.unwrap().bytes, "whole");
}

#[tokio::test]
async fn in_a_folder() {
    let (_directory, store) = folder::new();
    kill_in_the_middle(store.url(), Vec::new());
    the_next_upload_cleans(&store).await;
}

#[tokio::test]
async fn in_a_folder_preflight_cleans_too() {
    let (_directory, store) = folder::new();
    kill_in_the_middle(store.url(), Vec::new());
    store.preflight().await.unwrap();
    assert_eq!(store.unfinished_uploads("").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn in_s3() {
    let (_bucket, store) = s3::new().await;
    let weed = weed().await;
    kill_in_the_middle(store.url(), weed.environment(&weed.http));
    the_next_upload_cleans(&store).await;
}
