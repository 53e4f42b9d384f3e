//! The feeds: places where the LMS leaves meta files. At every run what is new there since the last one is taken in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Context;
use super::meta::{MetaFile, import_held};
use super::opened::{get_json, to_json};
use super::summary::{Problem, Summary};
use crate::build::meta::parse;
use crate::config;
use crate::lake::key;
use crate::store::{self, Condition, Entry, Store};
use crate::{Error, ErrorKind, Result};

/// Files that are taken for meta.
const ENDINGS: [&str; 3] = [".json", ".jsonl", ".ndjson"];
/// Larger files are no meta.
const MOST_BYTES: u64 = 256 << 20;

/// A file as it was when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Read {
    bytes: u64,
    modified: Option<DateTime<Utc>>,
}

/// What was read of each feed, by URL and key.
type Seen = BTreeMap<String, BTreeMap<String, Read>>;

/// Imports what is new in the feeds. What fails there is told and tried again by the next run; the export goes on.
pub(super) async fn import(context: &Arc<Context>, summary: &mut Summary) {
    if context.config.meta.feeds.is_empty() {
        return;
    }
    if let Err(error) = import_all(context, summary).await {
        summary.fail(Problem::new("meta_failed", error.to_string()));
    }
}

async fn import_all(context: &Arc<Context>, summary: &mut Summary) -> Result<()> {
    let mut seen = get_json::<Seen>(&*context.store, key::META_FEEDS)
        .await?
        .map(|(seen, _)| seen)
        .unwrap_or_default();
    let before = seen.clone();
    for url in &context.config.meta.feeds {
        let of_feed = seen.entry(url.clone()).or_default();
        if let Err(error) = import_feed(context, url, of_feed, summary).await {
            summary.fail(Problem::new("meta_feed_failed", error.to_string()));
        }
    }
    if seen != before {
        context
            .put(key::META_FEEDS, to_json(&seen)?, Condition::Any)
            .await?;
    }
    Ok(())
}

async fn import_feed(
    context: &Arc<Context>,
    url: &str,
    seen: &mut BTreeMap<String, Read>,
    summary: &mut Summary,
) -> Result<()> {
    let config = config::Store {
        url: url.into(),
        s3: context.config.store.s3.clone(),
    };
    let feed = store::open(&config).await?;
    let mut files = Vec::new();
    let mut taken = Vec::new();
    for entry in feed.list("").await? {
        let read = Read {
            bytes: entry.bytes,
            modified: entry.modified,
        };
        let is_meta = ENDINGS.iter().any(|ending| entry.key.ends_with(ending));
        if !is_meta || seen.get(&entry.key) == Some(&read) {
            continue;
        }
        match read_file(&*feed, &entry).await {
            Ok(file) => {
                files.push(file);
                taken.push((entry.key, read));
            }
            Err(error) => summary.fail(Problem::new("meta_file_failed", error.to_string())),
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    let zone = context.config.timezone;
    let conditional = context.conditional.load(Ordering::Relaxed);
    let imported = import_held(&*context.store, zone, context.now, conditional, files).await?;
    context.writes.fetch_add(imported.writes, Ordering::Relaxed);
    summary.counts.meta_files += imported.files;
    summary.counts.meta_changed += imported.changed;
    seen.extend(taken);
    Ok(())
}

async fn read_file(feed: &dyn Store, entry: &Entry) -> Result<MetaFile> {
    let about = format!("meta file {}", entry.key);
    if entry.bytes > MOST_BYTES {
        let message = format!("has {} bytes, more than any meta file", entry.bytes);
        return Err(Error::new(ErrorKind::TooLarge, about, message));
    }
    let bytes = feed.get(&entry.key).await?.bytes;
    let payloads =
        parse(&bytes).map_err(|error| Error::new(ErrorKind::InvalidAnswer, about, error.to_string()))?;
    // Of files that come in one run, those that were written later are later.
    let written = entry.modified.map(|at| at.to_rfc3339()).unwrap_or_default();
    Ok(MetaFile {
        name: format!("{written} {}", entry.key),
        bytes,
        payloads,
    })
}
