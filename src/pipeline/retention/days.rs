//! Deletes the data of one day whose retention is over.
//!
//! The manifest comes first: once it says that an object is deleted, nobody looks for the object, and a killed process leaves
//! an object too many, which the next one deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::report::KindCounts;
use crate::Result;
use crate::ids::DayId;
use crate::lake::key;
use crate::lake::manifest::{DeletedDay, Landed, Manifest};
use crate::lake::table::TableScope;
use crate::lake::table::builtin::messages;
use crate::pipeline::cutoffs::DataKind;
use crate::pipeline::day::commit::has_open_items;
use crate::pipeline::day::edit::{RowEdit, edit_day};
use crate::pipeline::day::expire::{delete_recordings, delete_reports, deleted, has_reports};
use crate::pipeline::run_context::RunContext;
use crate::store::json::{get_json, to_json};
use crate::store::{Condition, Version};
use crate::tables::rows_after_deletion;
use crate::{Error, ErrorKind};

/// Objects of a day that are deleted at once.
const DELETIONS_AT_ONCE: usize = 16;
/// Lost conditional writes after which a day is left to the next run.
const TRIES: usize = 10;

/// The data of a day that is to be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DayPlan {
    /// The counts by kind; a kind without any is not due.
    pub due: BTreeMap<DataKind, KindCounts>,
    /// True if the day was deleted before; a killed process may have left objects of it.
    pub is_deleted: bool,
    /// True if a killed process has left an edit of the tables unfinished.
    pub is_unfinished: bool,
    /// True if data of the day waits for the day to be built, or to have nothing pending.
    pub is_waiting: bool,
}

/// Decides what of a day is to be deleted. Pure.
pub(super) fn plan(run: &RunContext, manifest: &Manifest) -> DayPlan {
    let (cutoffs, date) = (&run.cutoffs, manifest.date);
    let mut plan = DayPlan::default();
    if manifest.deleted.is_some() {
        plan.is_deleted = true;
        return plan;
    }
    if cutoffs.is_over(DataKind::Tables, date) {
        plan.due.insert(DataKind::Tables, all_of(manifest));
        return plan;
    }
    let is_known = manifest.is_built() || manifest.is_frozen();
    plan.is_unfinished = manifest.is_frozen() && manifest.building.is_some();
    let has_raw = has_reports(manifest);
    let raw_is_due = has_raw && cutoffs.raw_is_over(date);
    let stays_open = manifest.reports_wanted_at.is_some()
        || (!cutoffs.is_over(DataKind::Raw, date) && has_open_items(&run.config, manifest));
    if raw_is_due && is_known && !stays_open {
        let reports = manifest.calls.values().flat_map(|call| call.reports.values());
        let stored = reports.filter_map(|landing| landing.stored());
        plan.due.insert(DataKind::Raw, objects(stored));
    }
    // A build of the reports would bring the messages back, so that they wait for each other.
    let has_messages = manifest.messages_deleted_at.is_none() && !manifest.calls.is_empty();
    let messages_are_due = has_messages && cutoffs.is_over(DataKind::Messages, date);
    if messages_are_due && is_known {
        let tables = manifest.built.iter().flat_map(|built| &built.tables);
        let of_chat = tables.filter(|(name, _)| *name == messages::NAME);
        let counts = KindCounts {
            days: 1,
            rows: of_chat.map(|(_, table)| table.rows).sum(),
            ..KindCounts::default()
        };
        plan.due.insert(DataKind::Messages, counts);
    }
    let recordings = recordings_due(manifest);
    if cutoffs.is_over(DataKind::Recordings, date) && is_known && recordings.days > 0 {
        plan.due.insert(DataKind::Recordings, recordings);
    }
    plan.is_waiting = (raw_is_due && (!is_known || stays_open)) || (messages_are_due && !is_known);
    plan
}

fn objects<'l>(landed: impl Iterator<Item = &'l Landed>) -> KindCounts {
    landed.fold(KindCounts::default(), |counts, landed| KindCounts {
        days: 1,
        objects: counts.objects + 1,
        bytes: counts.bytes + landed.bytes,
        rows: 0,
    })
}

fn recordings_due(manifest: &Manifest) -> KindCounts {
    let mut after = manifest.clone();
    delete_recordings(&mut after, chrono::DateTime::UNIX_EPOCH);
    let stored = manifest
        .records
        .values()
        .filter_map(|record| record.file.stored());
    KindCounts {
        days: u64::from(after.records != manifest.records),
        ..objects(stored)
    }
}

/// All objects of a day, without its manifest.
fn all_of(manifest: &Manifest) -> KindCounts {
    let reports = manifest.calls.values().flat_map(|call| call.reports.values());
    let files = manifest.records.values().map(|record| &record.file);
    let mut counts = objects(reports.chain(files).filter_map(|landing| landing.stored()));
    for table in manifest.built.iter().flat_map(|built| built.tables.values()) {
        counts.objects += 1;
        counts.bytes += table.bytes;
        counts.rows += table.rows;
    }
    counts.days = 1;
    counts
}

/// Deletes what is due of a day, and what a killed process has left of it. Returns the number of such leftovers.
///
/// # Errors
/// Any error of the store, and of [`edit_day`].
pub(super) async fn apply(run: &RunContext, id: &DayId, plan: &DayPlan, run_id: &str) -> Result<u64> {
    if plan.due.contains_key(&DataKind::Tables) || plan.is_deleted {
        let deleted = delete_day(run, id, run_id).await?;
        return Ok(if plan.is_deleted { deleted } else { 0 });
    }
    if !plan.due.is_empty() || plan.is_unfinished {
        let kinds: BTreeSet<DataKind> = plan.due.keys().copied().collect();
        let now = run.now;
        let change = move |manifest: &mut Manifest| {
            if kinds.contains(&DataKind::Raw) {
                delete_reports(manifest, now);
            }
            if kinds.contains(&DataKind::Recordings) {
                delete_recordings(manifest, now);
            }
            if kinds.contains(&DataKind::Messages) {
                manifest.messages_deleted_at.get_or_insert(now);
            }
        };
        edit_day(run, id, change, &row_edit(run)).await?;
    }
    let key = key::manifest(id.date, &id.space);
    let Some((manifest, _)) = get_json::<Manifest>(&*run.store, &key).await? else {
        return Ok(0);
    };
    let gone: BTreeSet<&str> = deleted(&manifest).map(|landed| landed.key.as_str()).collect();
    if gone.is_empty() {
        return Ok(0);
    }
    let listed = landed_objects(run, id).await?;
    let left: Vec<_> = listed
        .into_iter()
        .filter(|key| gone.contains(key.as_str()))
        .collect();
    let count = left.len() as u64;
    delete_all(run, left).await?;
    let expected: u64 = plan.due.values().map(|counts| counts.objects).sum();
    Ok(count.saturating_sub(expected))
}

/// The edit that brings the tables of a day in step with its manifest.
pub(crate) fn row_edit(run: &RunContext) -> RowEdit {
    let mapping = run.mapping.clone();
    Arc::new(move |manifest, table, rows| rows_after_deletion(&mapping, manifest, table, rows))
}

/// The keys of the reports and recordings that the store has of a day.
async fn landed_objects(run: &RunContext, id: &DayId) -> Result<Vec<String>> {
    let segment = key::segment(&id.space);
    let mut keys = Vec::new();
    for place in [key::REPORTS, key::MEDIA] {
        let prefix = format!("{place}date={}/{segment}/", id.date);
        let listed = run.store.list(&prefix).await?;
        keys.extend(listed.into_iter().map(|object| object.key));
    }
    Ok(keys)
}

async fn delete_all(run: &RunContext, keys: impl IntoIterator<Item = String>) -> Result<()> {
    let keys: Vec<String> = keys.into_iter().collect();
    stream::iter(keys)
        .map(|key| async move { run.delete(&key).await })
        .buffer_unordered(DELETIONS_AT_ONCE)
        .try_collect()
        .await
}

/// Deletes a whole day. Its manifest keeps only the date, the space and the deletion.
async fn delete_day(run: &RunContext, id: &DayId, run_id: &str) -> Result<u64> {
    let key = key::manifest(id.date, &id.space);
    let marker = key::open_day(id.date, &id.space);
    for _ in 0..TRIES {
        let Some((manifest, version)) = get_json::<Manifest>(&*run.store, &key).await? else {
            return Ok(0);
        };
        // The tables of a mapping that was replaced are known only from here, so that they are deleted before it is.
        let former = former_tables(run, &manifest);
        if manifest.deleted.is_none() {
            delete_all(run, former.iter().cloned()).await?;
            match put_tombstone(run, id, version, run_id).await {
                Err(error) if error.kind() == ErrorKind::Precondition => continue,
                written => written?,
            };
        }
        let deleted = delete_objects_of_day(run, id, &manifest.evicted).await?;
        run.days.remove(id).await?;
        run.delete(&marker).await?;
        return Ok(deleted);
    }
    Err(Error::new(
        ErrorKind::Precondition,
        key,
        "other processes keep changing it; a later run goes on",
    ))
}

async fn put_tombstone(run: &RunContext, id: &DayId, version: Version, run_id: &str) -> Result<Version> {
    let tombstone = Manifest {
        listed: true,
        deleted: Some(DeletedDay {
            at: run.now,
            run: run_id.to_owned(),
        }),
        ..Manifest::new(id.date, id.space.clone())
    };
    let key = key::manifest(id.date, &id.space);
    run.put(&key, to_json(&tombstone)?, Condition::Unchanged(version))
        .await
}

/// The tables of a day that the present mapping does not have.
fn former_tables(run: &RunContext, manifest: &Manifest) -> BTreeSet<String> {
    let known: BTreeSet<&str> = run.mapping.tables().map(|table| table.name.as_ref()).collect();
    let built = manifest.built.iter().flat_map(|built| &built.tables);
    let former = built.filter(|(name, _)| !known.contains(name.as_str()));
    former.map(|(_, table)| table.key.clone()).collect()
}

/// Deletes all objects of a day but its manifest. Returns the number of those that were there.
async fn delete_objects_of_day(run: &RunContext, id: &DayId, more: &BTreeSet<String>) -> Result<u64> {
    let tables = run
        .mapping
        .tables()
        .filter(|table| table.scope == TableScope::PerDay);
    let tables: Vec<_> = tables
        .map(|table| key::table(&table.name, id.date, &id.space))
        .collect();
    let mut keys = landed_objects(run, id).await?;
    let mut sizes = stream::iter(tables)
        .map(|key| async move { Ok::<_, Error>((run.store.size(&key).await?, key)) })
        .buffer_unordered(DELETIONS_AT_ONCE);
    while let Some((size, key)) = sizes.try_next().await? {
        keys.extend(size.map(|_| key));
    }
    drop(sizes);
    keys.extend(more.iter().cloned());
    let count = keys.len() as u64;
    delete_all(run, keys).await?;
    Ok(count)
}
