//! The feeds: places where the LMS leaves files of lesson data. Each run imports the files that are new there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::config::{self, Config};
use crate::lake::key;
use crate::pipeline::ExportContext;
use crate::pipeline::lessons::import::Import;
use crate::pipeline::lessons::meta_file::{FileFaults, MetaFile, Unread};
use crate::pipeline::summary::{FeedReport, Problem, ProblemKind};
use crate::store::json::{get_json, to_json};
use crate::store::{self, Condition, ListedObject, Store};
use crate::{Error, ErrorKind, Result};

/// Endings of the files that are read.
const ENDINGS: [&str; 3] = [".json", ".jsonl", ".ndjson"];
/// A larger file is refused.
const MOST_BYTES: u64 = 256 << 20;

/// A file of a feed, as it was when it was imported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ImportedFile {
    bytes: u64,
    modified: Option<DateTime<Utc>>,
    /// The lines that can't be read: each run reports them until the file changes.
    #[serde(default, skip_serializing_if = "is_whole")]
    bad: FileFaults,
    /// The fields that this version does not know.
    #[serde(flatten)]
    unknown: BTreeMap<String, serde_json::Value>,
}

fn is_whole(faults: &FileFaults) -> bool {
    faults.bad_lines == 0
}

impl ImportedFile {
    fn of(entry: &ListedObject) -> Self {
        Self {
            bytes: entry.bytes,
            modified: entry.modified,
            bad: FileFaults::default(),
            unknown: BTreeMap::new(),
        }
    }

    fn is_unchanged(&self, entry: &ListedObject) -> bool {
        (self.bytes, self.modified) == (entry.bytes, entry.modified)
    }
}

/// The imported files of each feed, by the feed's URL and the file's key.
type ImportedFiles = BTreeMap<String, BTreeMap<String, ImportedFile>>;

/// Imports the new files of all feeds. An error is a failure in the report, and the export goes on.
///
/// The import may go on while the run walks the API and builds days: a day that needs lesson data waits for its end. The
/// markers of the import ([`key::META_CHANGED`]) are complete only after it, so the run lists them then.
pub(crate) async fn import(context: &Arc<ExportContext>) -> FeedReport {
    let mut report = FeedReport::default();
    if context.run.config.meta.feeds.is_empty() {
        return report;
    }
    let importing = import_all(context, &mut report);
    if let Err(error) = Box::pin(context.run.lessons.during_import(importing)).await {
        report.fail(Problem::new(ProblemKind::MetaFailed, error.to_string()));
    }
    report
}

async fn import_all(context: &Arc<ExportContext>, report: &mut FeedReport) -> Result<()> {
    let mut seen = get_json::<ImportedFiles>(&*context.run.store, key::META_FEEDS)
        .await?
        .map(|(seen, _)| seen)
        .unwrap_or_default();
    let before = seen.clone();
    for url in &context.run.config.meta.feeds {
        let of_feed = seen.entry(url.clone()).or_default();
        if let Err(error) = import_feed(context, url, of_feed, report).await {
            report.fail(Problem::new(ProblemKind::MetaFeedFailed, error.to_string()));
        }
    }
    seen.retain(|_, files| !files.is_empty());
    if seen != before {
        context
            .run
            .put(key::META_FEEDS, to_json(&seen)?, Condition::Any)
            .await?;
    }
    Ok(())
}

async fn import_feed(
    context: &Arc<ExportContext>,
    url: &str,
    seen: &mut BTreeMap<String, ImportedFile>,
    report: &mut FeedReport,
) -> Result<()> {
    let feed = open(&context.run.config, url).await?;
    if let Err(error) = exists(url) {
        report.warn(Problem::new(ProblemKind::MetaFeedMissing, error.to_string()));
        return Ok(());
    }
    let zone = context.run.config.timezone;
    let (privacy, erasures) = (context.run.mapping.privacy(), &context.run.erasures);
    let mut import = Import::new(&*context.run.store, zone, context.run.now, privacy, erasures);
    let mut taken = Vec::new();
    for entry in meta_files(&*feed).await? {
        if let Some(read) = seen.get(&entry.key).filter(|read| read.is_unchanged(&entry)) {
            report_lines(&read.bad, report);
            continue;
        }
        match read_file(&*feed, &entry).await {
            Ok(file) => {
                let mut faults = import.add(file).await?;
                for unread in faults.lines.iter_mut().chain(&mut faults.values) {
                    unread.file = format!("meta file {}", entry.key);
                }
                report_lines(&faults, report);
                report_values(&faults, report);
                let bad = FileFaults {
                    bad_lines: faults.bad_lines,
                    lines: faults.lines,
                    ..FileFaults::default()
                };
                taken.push((
                    entry.key.clone(),
                    ImportedFile {
                        bad,
                        ..ImportedFile::of(&entry)
                    },
                ));
            }
            Err(error) => report.fail(Problem::new(ProblemKind::MetaFileFailed, error.to_string())),
        }
    }
    if taken.is_empty() {
        return Ok(());
    }
    let imported = import.finish().await?;
    context.run.writes.fetch_add(imported.writes, Ordering::Relaxed);
    report.meta_files += imported.files;
    report.meta_changed += imported.changed;
    report.markers.extend(imported.markers);
    seen.extend(taken);
    Ok(())
}

/// Reports the lines that can't be read. The other lines were imported.
fn report_lines(faults: &FileFaults, report: &mut FeedReport) {
    for unread in &faults.lines {
        report.fail(problem(ProblemKind::MetaFileFailed, unread));
    }
    let more = faults.bad_lines.saturating_sub(faults.lines.len() as u64);
    if let (Some(last), true) = (faults.lines.last(), more > 0) {
        let message = format!("{}: {more} more lines can't be read", last.file);
        report.fail(Problem::new(ProblemKind::MetaFileFailed, message).count(more));
    }
}

fn report_values(faults: &FileFaults, report: &mut FeedReport) {
    for unread in &faults.values {
        report.warn(problem(ProblemKind::BadValue, unread));
    }
    let more = faults.bad_values.saturating_sub(faults.values.len() as u64);
    if let (Some(last), true) = (faults.values.last(), more > 0) {
        let message = format!("{}: {more} more values can't be read and are null", last.file);
        report.warn(Problem::new(ProblemKind::BadValue, message).count(more));
    }
}

fn problem(kind: ProblemKind, unread: &Unread) -> Problem {
    let mut problem = Problem::new(kind, unread.to_string());
    if let Some(meeting) = &unread.external_meeting_id {
        problem = problem.meeting(meeting);
    }
    if let Some(user) = &unread.external_user_id {
        problem = problem.user(user);
    }
    problem
}

/// Checks that a feed can be read, and counts its files of lesson data.
///
/// # Errors
/// `Config`: there is no such folder. Else any error of the feed's store.
pub async fn look_at_feed(config: &Config, url: &str) -> Result<usize> {
    let feed = open(config, url).await?;
    exists(url)?;
    Ok(meta_files(&*feed).await?.len())
}

async fn open(config: &Config, url: &str) -> Result<Arc<dyn Store>> {
    let store = config::Store {
        url: url.into(),
        s3: config.store.s3.clone(),
    };
    store::open(&store).await
}

/// Refuses a folder that does not exist, because its listing would be empty like that of a folder without files. In S3 a
/// prefix without objects is no error.
fn exists(url: &str) -> Result<()> {
    if !url.starts_with("file://") {
        return Ok(());
    }
    let folder = store::folder::FolderStore::open(url)?;
    match std::fs::read_dir(folder.root()) {
        Ok(_) => Ok(()),
        Err(error) => Err(missing(url, folder.root(), &error)),
    }
}

fn missing(url: &str, folder: &Path, error: &std::io::Error) -> Error {
    let message = format!("the feed's folder {} can't be read: {error}", folder.display());
    Error::new(ErrorKind::Config, url, message).hint("make the folder, or correct meta.feeds")
}

async fn meta_files(feed: &dyn Store) -> Result<Vec<ListedObject>> {
    let mut files = feed.list("").await?;
    files.retain(|entry| ENDINGS.iter().any(|ending| entry.key.ends_with(ending)));
    Ok(files)
}

async fn read_file(feed: &dyn Store, entry: &ListedObject) -> Result<MetaFile> {
    if entry.bytes > MOST_BYTES {
        let message = format!(
            "has {} bytes, more than a file of lesson data may have",
            entry.bytes
        );
        let about = format!("meta file {}", entry.key);
        return Err(Error::new(ErrorKind::TooLarge, about, message));
    }
    // If one run imports several files, the one that was written later wins.
    let written = entry.modified.map(|at| at.to_rfc3339()).unwrap_or_default();
    Ok(MetaFile {
        name: format!("{written} {}", entry.key),
        bytes: feed.read(&entry.key).await?,
    })
}
