//! The end of a day's work: build its tables when what they are made of has changed, then commit the manifest, last
//! and conditionally.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::day::Day;
use super::lessons::DayId;
use super::opened::to_json;
use super::summary::{Problem, told_of_calls};
use super::workshop::Workshop;
use crate::build::{self, BuiltDay, TableFile};
use crate::config::Config;
use crate::lake::key;
use crate::lake::manifest::{Built, Landing, Manifest, Status, TableEntry};
use crate::metrics::METRICS;
use crate::store::{Condition, Store, Version};
use crate::{Error, ErrorKind, Result};

/// Lost commits after which a day is left to the next run: others write it faster than this process can.
const COMMITS: usize = 10;
/// Reports read ahead of the build.
const READ_AHEAD: usize = 8;

/// Builds what has changed and commits the day.
///
/// # Errors
/// Of the store; then later runs build and commit again.
pub(super) async fn settle(context: &Arc<Workshop>, day: &mut Day) -> Result<()> {
    build_and_commit(context, day, When::Changed).await
}

/// Builds whether or not anything has changed, and commits the day where it did.
///
/// # Errors
/// As [`settle`]; `Interrupted` when the work was stopped before the tables were built.
pub(super) async fn build_again(context: &Arc<Workshop>, day: &mut Day) -> Result<()> {
    build_and_commit(context, day, When::Always).await?;
    if day.report.counts.days_built == 0 && context.cancel.is_cancelled() {
        return Err(Error::new(ErrorKind::Interrupted, "day", "was not built"));
    }
    Ok(())
}

/// When a day is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// What its tables are made of has changed.
    Changed,
    /// In any case; tables that are as they were are not written.
    Always,
    /// In any case, and all is written: another process has written its own meanwhile.
    Raced,
}

async fn build_and_commit(context: &Arc<Workshop>, day: &mut Day, mut when: When) -> Result<()> {
    for _ in 0..COMMITS {
        match step(context, day, when).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {
                // Another process committed the day meanwhile. Its tables may have been written over ours or ours over
                // its: both are built again from what both found.
                let key = key::manifest(day.manifest.date, &day.manifest.space_id);
                day.stored = super::opened::get_json(&*context.store, &key).await?;
                if let Some((theirs, _)) = &day.stored {
                    day.manifest.absorb(theirs.clone());
                }
                context.lessons.forget(&day_id(&day.manifest)).await;
                when = When::Raced;
            }
            Err(error) => return Err(error),
            Ok(()) => {
                for key in std::mem::take(&mut day.evicted) {
                    context.delete(&key).await?;
                }
                return Ok(());
            }
        }
    }
    Err(Error::new(
        ErrorKind::Precondition,
        "day",
        "other processes keep changing it; a later run goes on",
    ))
}

/// What was landed is written down before tables are touched: a build that fails or is killed loses no landing, and
/// leaves a day that is known to be not built.
async fn step(context: &Arc<Workshop>, day: &mut Day, when: When) -> Result<()> {
    let fingerprint = build::fingerprint(&day.manifest, &context.mapping);
    let built = match &day.manifest.built {
        Some(built) if is_current(context, &day.manifest, built, &fingerprint).await? => Some(built),
        _ => None,
    };
    // What is built again of the same is the same, to the byte.
    let same = built
        .map(|built| built.checked_at)
        .filter(|_| when != When::Raced);
    if when != When::Changed || same.is_none() {
        if same.is_none() {
            if let Some(built) = &mut day.manifest.built {
                built.fingerprint.clear();
            }
            commit(context, day).await?;
        }
        if context.cancel.is_cancelled() || is_blank(&day.manifest) {
            return Ok(());
        }
        loop {
            // Anew each time: what is gone changes what the tables are made of.
            let fingerprint = build::fingerprint(&day.manifest, &context.mapping);
            match build_tables(context, day, &fingerprint, same.unwrap_or(context.now), when).await {
                Err(error)
                    if error.kind() == ErrorKind::StoreNotFound
                        && forget(&mut day.manifest, error.about()) =>
                {
                    let lost =
                        Problem::new("report_lost", format!("{error}; the next run asks for it again"));
                    day.report
                        .failed
                        .push(lost.on(day.manifest.date, &day.manifest.space_id));
                }
                done => break done?,
            }
        }
    }
    commit(context, day).await
}

/// Takes note that a landed report is no longer in the store; whether there was one of that key.
fn forget(manifest: &mut Manifest, key: &str) -> bool {
    let landings = manifest
        .calls
        .values_mut()
        .flat_map(|call| call.reports.values_mut());
    let lost = landings.filter(|landing| landing.landed.as_ref().is_some_and(|landed| landed.key == key));
    let mut found = false;
    for landing in lost {
        *landing = Landing::pending("the landed report is gone from the store");
        found = true;
    }
    found
}

/// Writes the manifest when it differs from what the store holds, and keeps the marker of open days true.
pub(super) async fn commit(context: &Workshop, day: &mut Day) -> Result<()> {
    let (date, space) = (day.manifest.date, day.manifest.space_id.clone());
    if day
        .stored
        .as_ref()
        .is_some_and(|(stored, _)| *stored == day.manifest)
        || is_blank(&day.manifest)
    {
        if day.marked && !is_open(context, &day.manifest) {
            // Left by a run that was killed after its manifest.
            context.delete(&key::open_day(date, &space)).await?;
            day.marked = false;
        }
        return Ok(());
    }
    let marker = key::open_day(date, &space);
    let open = is_open(context, &day.manifest);
    if open && context.store.size(&marker).await?.is_none() {
        // Before the manifest: a kill in between leaves a marker too many, never one too few.
        context.put(&marker, Bytes::new(), Condition::Any).await?;
    }
    let condition = day.stored.as_ref().map_or(Condition::Absent, |(_, version)| {
        Condition::Unchanged(version.clone())
    });
    let version = context
        .put(&key::manifest(date, &space), to_json(&day.manifest)?, condition)
        .await?;
    day.stored = Some((day.manifest.clone(), version));
    if !open && context.store.size(&marker).await?.is_some() {
        context.delete(&marker).await?;
    }
    day.marked &= open;
    Ok(())
}

/// A day without anything that was not listed whole says nothing: it has no manifest.
pub(super) fn is_blank(manifest: &Manifest) -> bool {
    !manifest.listed && manifest.missed.is_none() && manifest.calls.is_empty() && manifest.records.is_empty()
}

/// Whether later runs have to come back to the day.
fn is_open(context: &Workshop, manifest: &Manifest) -> bool {
    let built = manifest.built.as_ref().map(|built| built.fingerprint.as_str());
    built != Some(&build::fingerprint(manifest, &context.mapping))
        || has_open_items(&context.config, manifest)
}

pub(super) fn has_open_items(config: &Config, manifest: &Manifest) -> bool {
    let open = |status: Status| matches!(status, Status::Pending | Status::Failed);
    !manifest.missed.is_none()
        || manifest.calls.values().any(|call| {
            call.pending.is_some()
                || call
                    .reports
                    .iter()
                    .any(|(format, landing)| config.export.reports.contains(format) && open(landing.status))
        })
        || (config.export.recordings && manifest.records.values().any(|record| open(record.file.status)))
}

fn day_id(manifest: &Manifest) -> DayId {
    (manifest.date, manifest.space_id.clone())
}

/// Whether the day's tables are of its present state: of its landings, of the meta of its meetings, and of what other
/// days have of these.
pub(super) async fn is_current(
    context: &Workshop,
    manifest: &Manifest,
    built: &Built,
    fingerprint: &str,
) -> Result<bool> {
    if built.fingerprint != fingerprint {
        return Ok(false);
    }
    if built.meetings.is_empty() {
        return Ok(true);
    }
    let meta = context.lessons.meta(context, manifest.date).await?;
    if meta.digest(built.meetings.keys().map(String::as_str)) != built.meta {
        return Ok(false);
    }
    let id = day_id(manifest);
    let beside = context.lessons.beside(context, &id, &built.meetings).await?;
    Ok(beside.digest == built.beside)
}

/// Builds the day's tables and puts them in their place.
async fn build_tables(
    context: &Arc<Workshop>,
    day: &mut Day,
    fingerprint: &str,
    checked_at: DateTime<Utc>,
    when: When,
) -> Result<()> {
    let mut built = build_whole(context, day, checked_at).await?;
    let mut record = Built {
        fingerprint: fingerprint.to_owned(),
        checked_at,
        tables: BTreeMap::new(),
        meetings: built.presence.meetings(),
        meta: String::new(),
        beside: String::new(),
        quality: built.quality,
    };
    put_tables(context, day, &mut built, &mut record, when).await?;
    let before = day.manifest.built.take();
    // A table that has no more rows has no file.
    let of_store = || day.stored.as_ref().and_then(|(stored, _)| stored.built.as_ref());
    let stale = before
        .as_ref()
        .or_else(of_store)
        .into_iter()
        .flat_map(|built| &built.tables)
        .filter(|(name, _)| !record.tables.contains_key(*name));
    for (_, entry) in stale {
        context.delete(&entry.key).await?;
    }
    day.report.counts.days_built = 1;
    day.report.built = Some(day.manifest.date);
    day.report.notes.add(&built.notes);
    let told = told_of_calls(&built.notes, &day.manifest);
    day.report.warnings.extend(told);
    day.manifest.built = Some(record);
    Ok(())
}

/// Writes the tables: first those of the day alone, so that other days that share a meeting find its participants,
/// then attendance.
async fn put_tables(
    context: &Arc<Workshop>,
    day: &Day,
    built: &mut BuiltDay,
    record: &mut Built,
    when: When,
) -> Result<()> {
    for file in std::mem::take(&mut built.tables) {
        put_table(context, file, record, when).await?;
    }
    let meta = context.lessons.meta(context, day.manifest.date).await?;
    record.meta = meta.digest(record.meetings.keys().map(String::as_str));
    let id = day_id(&day.manifest);
    // Before it looks beside itself: of two days that are built at once, one at least sees the other.
    context.lessons.register(id.clone(), record).await;
    let beside = context.lessons.beside(context, &id, &record.meetings).await?;
    record.beside.clone_from(&beside.digest);
    let presences = beside.presences(context).await?;
    let file = build::build_attendance(
        &day.manifest,
        &built.presence,
        &presences,
        &beside.away,
        &meta,
        &mut record.quality,
    )?;
    if let Some(file) = file {
        put_table(context, file, record, when).await?;
    }
    context.lessons.register(id, record).await;
    Ok(())
}

async fn put_table(context: &Workshop, file: TableFile, record: &mut Built, when: When) -> Result<()> {
    let entry = TableEntry {
        key: file.key.clone(),
        rows: file.rows,
        bytes: file.bytes.len() as u64,
        sha256: file.sha256,
    };
    if when == When::Always {
        put_if_changed(context, &file.key, file.bytes).await?;
    } else {
        // Also one that is as it was: a run that was killed before its manifest may have written another over it.
        context.put(&file.key, file.bytes, Condition::Any).await?;
    }
    record.tables.insert(file.table, entry);
    Ok(())
}

/// Builds the day; where its reports hold meta that was not known, again with it: other calls may be of the same
/// lesson.
async fn build_whole(context: &Arc<Workshop>, day: &mut Day, checked_at: DateTime<Utc>) -> Result<BuiltDay> {
    let mut built = run_build(context, day, checked_at).await?;
    let embedded = std::mem::take(&mut built.embedded);
    if !embedded.is_empty() && context.lessons.take_embedded(context, embedded).await? {
        return run_build(context, day, checked_at).await;
    }
    Ok(built)
}

/// The tables of a stored day as a build of the same gives them; nothing is written.
///
/// # Errors
/// Of the store: a report, or another day's participants, that is not there.
pub(super) async fn build_only(
    context: &Arc<Workshop>,
    manifest: Manifest,
    version: Version,
) -> Result<Vec<TableFile>> {
    let checked_at = manifest.built.as_ref().map(|built| built.checked_at);
    let mut day = Day::stored(manifest, version);
    let built = run_build(context, &mut day, checked_at.unwrap_or(context.now)).await?;
    let meta = context.lessons.meta(context, day.manifest.date).await?;
    let meetings = built.presence.meetings();
    let beside = context
        .lessons
        .beside(context, &day_id(&day.manifest), &meetings)
        .await?;
    let presences = beside.presences(context).await?;
    let attendance = build::build_attendance(
        &day.manifest,
        &built.presence,
        &presences,
        &beside.away,
        &meta,
        &mut crate::lake::manifest::Quality::default(),
    )?;
    Ok(built.tables.into_iter().chain(attendance).collect())
}

/// Runs the pure build on a thread of its own, fed with reports in the tables' order.
async fn run_build(context: &Arc<Workshop>, day: &mut Day, checked_at: DateTime<Utc>) -> Result<BuiltDay> {
    let fresh = std::mem::take(&mut day.fresh);
    let manifest = Arc::new(day.manifest.clone());
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let meta = context.lessons.meta(context, manifest.date).await?;
    let (of_build, for_build) = (Arc::clone(context), Arc::clone(&manifest));
    let building = context.builders.run(move || {
        let mut receiver = receiver;
        let reports = std::iter::from_fn(move || receiver.blocking_recv());
        let started = std::time::Instant::now();
        let built = build::build_day(
            &for_build,
            &of_build.mapping,
            of_build.store.url(),
            checked_at,
            &meta,
            reports,
        );
        METRICS.build_seconds.observe(started.elapsed().as_secs_f64());
        built
    });
    let due = build::due_reports(&manifest).into_iter();
    let keys: Vec<_> = due
        .map(|(call, format, landed)| (call.to_owned(), format, landed.key.clone()))
        .collect();
    let mut reports = futures_util::stream::iter(keys)
        .map(|(call, format, key)| {
            let bytes = fresh.get(&key).cloned();
            async move {
                match bytes {
                    Some(bytes) => Ok((call, format, bytes)),
                    None => Ok((call, format, context.store.read(&key).await?)),
                }
            }
        })
        .buffered(READ_AHEAD);
    let feeding = async move {
        while let Some(report) = reports.next().await {
            // The build ends early only on an error of its own, which is told by itself.
            if sender.send(report).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(building, feeding).0
}

/// Writes a table when it differs from what the store holds.
pub(super) async fn put_if_changed(context: &Workshop, key: &str, bytes: Bytes) -> Result<()> {
    match same(&*context.store, key, &bytes).await? {
        true => Ok(()),
        false => context.put(key, bytes, Condition::Any).await.map(|_| ()),
    }
}

async fn same(store: &dyn Store, key: &str, bytes: &Bytes) -> Result<bool> {
    match store.read(key).await {
        Ok(stored) => Ok(stored == *bytes),
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(false),
        Err(error) => Err(error),
    }
}
