//! Edits the tables of a day as they lie in the store, because its raw reports are gone and no build can make them again.
//!
//! The edit follows the claim protocol as a build does: the claim is in the manifest before the first table is written, the
//! tables are written conditionally, and the manifest that names them comes last. An edit that is killed leaves a day with a
//! claim. Its tables are whole, but not those of the manifest, so the same edit over them ends the work.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::time::Duration;

use super::commit::{close, write};
use super::publish::claim;
use super::state::DayState;
use crate::backoff::Backoff;
use crate::ids::DayId;
use crate::lake::key;
use crate::lake::manifest::{Manifest, TableEntry};
use crate::pipeline::lessons::cache::NeighbourDays;
use crate::pipeline::run_context::RunContext;
use crate::store::{Condition, OptionalExt, StoredObject, Version};
use crate::tables::{self, EditedFile, Footer, edit_file};
use crate::task::isolated_blocking;
use crate::{Error, ErrorKind, Result};

/// Lost commits after which the edit gives up.
const TRIES: u32 = 10;
/// The backoff after a commit was lost to a process that is at work on the day.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
/// Tables that are read or written at once.
const TABLES_AT_ONCE: usize = 4;
/// The table by which neighbour days know who was in the meetings of this one.
const PARTICIPANTS: &str = "participants";

/// A change of rows: it gets the manifest as it will be, the name of a table and some of its rows, and returns the rows that
/// stay, with the same columns. It must be idempotent, because an edit that was killed is done again over rows that it has
/// changed.
pub(crate) type RowEdit = Arc<dyn Fn(&Manifest, &str, RecordBatch) -> Result<RecordBatch> + Send + Sync>;

/// The result of editing a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DayEdit {
    /// Tables with other rows than before; tables that were removed count.
    pub tables: u64,
    /// Rows that were removed.
    pub rows: u64,
}

/// Edits the tables of a day and commits it. `change` changes the manifest before that, for example to say which objects are
/// deleted; both run again if another process commits the day meanwhile. A table without rows is removed. Returns none if
/// there is no such day.
///
/// The caller must not edit a day whose reports are in the lake, because the next build would undo the edit.
///
/// # Errors
/// `Content` if a table is not the one that the manifest names, because then nobody knows its rows: `verify` names it; also
/// if the reports are there, but a build of them did not end.
/// `Precondition` if other processes keep changing the day. Any error of the store or of `edit`.
pub(crate) async fn edit_day(
    run: &RunContext,
    id: &DayId,
    change: impl Fn(&mut Manifest) + Send + Sync,
    edit: &RowEdit,
) -> Result<Option<DayEdit>> {
    for attempt in 1..=TRIES {
        let mut day = DayState::load(&*run.store, id.date, id.space.clone()).await?;
        if day.stored.is_none() {
            return Ok(None);
        }
        let marker = key::open_day(id.date, &id.space);
        day.has_marker = run.store.size(&marker).await?.is_some();
        change(&mut day.manifest);
        match edit_once(run, &mut day, edit).await {
            Err(error) if error.kind() == ErrorKind::Precondition => {
                run.lessons.forget(id).await;
                wait(run, BACKOFF.pause(attempt)).await?;
            }
            edited => return edited.map(Some),
        }
    }
    let message = "other processes keep changing it; a later run goes on";
    Err(Error::new(ErrorKind::Precondition, "day", message))
}

async fn wait(run: &RunContext, pause: Duration) -> Result<()> {
    tokio::select! {
        () = run.cancel.cancelled() => {
            Err(Error::new(ErrorKind::Interrupted, "day", "stopped while another process changes it"))
        }
        () = tokio::time::sleep(pause) => Ok(()),
    }
}

/// A table of the day: what the store has, and what the edit made of it.
struct EditedTable {
    name: String,
    stored: Option<StoredObject>,
    edited: EditedFile,
}

async fn edit_once(run: &RunContext, day: &mut DayState, edit: &RowEdit) -> Result<DayEdit> {
    day.claim.begin_attempt();
    let is_known = |stored: &Manifest| stored.is_built() || stored.is_frozen();
    if !day.stored.as_ref().is_some_and(|(stored, _)| is_known(stored)) {
        let key = key::manifest(day.manifest.date, &day.manifest.space_id);
        return Err(Error::new(
            ErrorKind::Content,
            key,
            "its tables are not built, so that they were not edited",
        )
        .hint("the next run builds them"));
    }
    let fingerprint = fingerprint_after(run, day);
    let edited = edited_tables(run, day, edit).await?;
    let is_unfinished = day.is_claimed_by_another();
    if is_unfinished {
        day.claim.oust_rival();
        claim(run, day).await?;
    }
    let done = publish(run, day, edited).await?;
    if let Some(built) = &mut day.manifest.built {
        built.fingerprint = fingerprint;
    }
    day.manifest.building = None;
    write(run, day).await?;
    close(run, day).await?;
    Ok(done)
}

/// The fingerprint of the day after the edit. A day that was up to date stays so; a stale one stays stale.
fn fingerprint_after(run: &RunContext, day: &DayState) -> String {
    let stored = day.stored.as_ref().map(|(stored, _)| stored);
    let before = stored.and_then(|stored| stored.built.as_ref());
    let before = before.map(|built| built.fingerprint.clone()).unwrap_or_default();
    // A claim has cleared the fingerprint, and a day without reports has no other tables than these.
    let was_current =
        before.is_empty() || stored.is_some_and(|stored| before == tables::fingerprint(stored, &run.mapping));
    match was_current {
        true => tables::fingerprint(&day.manifest, &run.mapping),
        false => before,
    }
}

/// Reads the tables that the manifest names, and edits their rows.
async fn edited_tables(run: &RunContext, day: &DayState, edit: &RowEdit) -> Result<Vec<EditedTable>> {
    let is_unfinished = day.stored_claim().is_some();
    let manifest = Arc::new(day.manifest.clone());
    let named: BTreeMap<String, TableEntry> = day
        .manifest
        .built
        .as_ref()
        .map(|built| built.tables.clone())
        .unwrap_or_default();
    stream::iter(named)
        .map(|(name, entry)| (name, entry, Arc::clone(&manifest)))
        .map(|(name, entry, manifest)| async move {
            let stored = run.store.get(&entry.key).await.optional()?;
            let bytes = match &stored {
                Some(object) => object.bytes.clone(),
                // The edit that was killed had removed it.
                None if is_unfinished => return Ok(table(name, None, EditedFile::Empty)),
                None => return Err(changed(&entry.key, "is missing")),
            };
            if !is_unfinished && hex::encode(Sha256::digest(&bytes)) != entry.sha256 {
                return Err(changed(&entry.key, "is not what the manifest names"));
            }
            let edited = edit_table(manifest, name.clone(), bytes, Arc::clone(edit)).await?;
            Ok(table(name, stored, edited))
        })
        .buffered(TABLES_AT_ONCE)
        .try_collect()
        .await
}

fn table(name: String, stored: Option<StoredObject>, edited: EditedFile) -> EditedTable {
    EditedTable { name, stored, edited }
}

fn changed(key: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Content,
        key,
        format!("{why}, so that its rows were not edited"),
    )
    .hint("`telelake verify` says what else differs; `backfill --force` over the date lands the day again")
}

/// Edits a table on a thread that may block.
async fn edit_table(
    manifest: Arc<Manifest>,
    name: String,
    bytes: Bytes,
    edit: RowEdit,
) -> Result<EditedFile> {
    let editing = move || edit_file(bytes, |rows| edit(&manifest, &name, rows));
    isolated_blocking("edit", editing).await
}

/// The tables after the edit, and the writes that make them.
#[derive(Default)]
struct TableWrites {
    entries: BTreeMap<String, TableEntry>,
    puts: Vec<(String, Bytes, Version)>,
    deletes: Vec<String>,
    done: DayEdit,
}

impl TableWrites {
    /// Plans the writes of some tables, which have these entries in the manifest.
    fn plan(mut entries: BTreeMap<String, TableEntry>, edited: Vec<EditedTable>) -> Result<Self> {
        let mut writes = Self::default();
        for EditedTable { name, stored, edited } in edited {
            let Some(entry) = entries.get_mut(&name) else {
                continue;
            };
            let before = (entry.rows, entry.sha256.clone());
            match (edited, stored) {
                // An edit that was killed may have written it already.
                (EditedFile::Unchanged, Some(object)) => *entry = entry_of(entry, &object.bytes)?,
                (EditedFile::Changed { rows, bytes, sha256 }, Some(object)) => {
                    (entry.rows, entry.bytes, entry.sha256) = (rows, bytes.len() as u64, sha256);
                    writes.puts.push((entry.key.clone(), bytes, object.version));
                }
                (EditedFile::Empty, stored) => {
                    writes.deletes.extend(stored.map(|_| entry.key.clone()));
                    entry.rows = 0;
                }
                (_, None) => {}
            }
            writes.done.rows += before.0.saturating_sub(entry.rows);
            writes.done.tables += u64::from(entry.rows == 0 || entry.sha256 != before.1);
        }
        entries.retain(|_, entry| entry.rows > 0);
        writes.entries = entries;
        Ok(writes)
    }
}

/// The entry of a table for the bytes that the store has.
fn entry_of(entry: &TableEntry, bytes: &Bytes) -> Result<TableEntry> {
    let sha256 = hex::encode(Sha256::digest(bytes));
    if sha256 == entry.sha256 {
        return Ok(entry.clone());
    }
    let rows = match tables::footer(bytes, bytes.len() as u64) {
        Ok(Footer::Rows(rows)) => rows,
        Ok(Footer::Needs(_)) => return Err(changed(&entry.key, "is cut off")),
        Err(why) => return Err(changed(&entry.key, &why)),
    };
    Ok(TableEntry {
        key: entry.key.clone(),
        rows,
        bytes: bytes.len() as u64,
        sha256,
    })
}

/// Writes the tables that have changed, under a claim, and takes them into the manifest.
async fn publish(run: &RunContext, day: &mut DayState, edited: Vec<EditedTable>) -> Result<DayEdit> {
    let Some(built) = &day.manifest.built else {
        return Ok(DayEdit::default());
    };
    let writes = TableWrites::plan(built.tables.clone(), edited)?;
    if !writes.puts.is_empty() || !writes.deletes.is_empty() {
        claim(run, day).await?;
        let puts =
            stream::iter(writes.puts)
                .map(|(key, bytes, version)| async move {
                    run.put(&key, bytes, Condition::Unchanged(version)).await
                })
                .buffer_unordered(TABLES_AT_ONCE);
        // All writes end before an error is returned, because one that is cut off could still arrive later.
        let written: Vec<_> = puts.collect().await;
        written.into_iter().collect::<Result<Vec<_>>>()?;
        for key in &writes.deletes {
            run.delete(key).await?;
        }
    }
    let id = day.id();
    let Some(built) = &mut day.manifest.built else {
        return Ok(writes.done);
    };
    let digest = |tables: &BTreeMap<String, TableEntry>| {
        let table = tables.get(PARTICIPANTS);
        table.map(|table| table.sha256.clone())
    };
    let is_presence_changed = digest(&built.tables) != digest(&writes.entries);
    built.tables = writes.entries;
    if is_presence_changed {
        // Neighbour days count who was in the meetings that they share with this day.
        let beside = run
            .lessons
            .neighbours(&id, &built.meetings, &built.lessons)
            .await?;
        run.lessons.touch([&beside, &NeighbourDays::default()]).await?;
        run.lessons.register(&id, built).await?;
    }
    Ok(writes.done)
}
