//! Erases people from the days: their raw reports, and by them their tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::book::{ErasureBook, planned};
use super::stopped;
use crate::ids::{CallId, DayId};
use crate::lake::key;
use crate::lake::manifest::{Built, Manifest, RecordEntry};
use crate::pipeline::Phase;
use crate::pipeline::day::build;
use crate::pipeline::day::commit::write;
use crate::pipeline::day::edit::{RowEdit, edit_day};
use crate::pipeline::day::erase::{self, DayFindings};
use crate::pipeline::day::expire;
use crate::pipeline::day::state::DayState;
use crate::pipeline::lake_state::erasures::{DayErasure, LeftToHuman, RecordingChoice};
use crate::pipeline::lessons;
use crate::pipeline::memory::Fresh;
use crate::pipeline::run_context::RunContext;
use crate::store::json::get_json;
use crate::store::{ListedObject, OptionalExt};
use crate::tables::{PeopleOfDay, erase_json};
use crate::task;
use crate::{ErrorKind, Result};

/// Days in work at once.
const DAYS_AT_ONCE: usize = 8;
/// Rounds over the days that share a meeting with a day that has changed.
const MOST_ROUNDS: usize = 100;

/// Looks at all days that were not seen as they are now, and erases the people from them. Returns true if any of them had
/// somebody, or was changed by another process meanwhile, which is a failure in the last pass.
///
/// # Errors
/// Any error of the store while the days are listed; a stop.
pub(super) async fn pass(
    run: &Arc<RunContext>,
    book: &Arc<ErasureBook>,
    seen: &mut BTreeMap<String, String>,
    is_last: bool,
) -> Result<bool> {
    let listed = run.store.list(key::DAYS).await?;
    // A process that had read lesson data before the erasure may have written tables from it since the first pass.
    let checks_tables = !seen.is_empty();
    let is_new = |object: &&ListedObject| seen.get(&object.key) != Some(&stamp(object));
    let due: Vec<_> = listed.iter().filter(is_new).cloned().collect();
    run.progress.enter(Phase::Days, due.len() as u64);
    let mut found = false;
    let mut working = stream::iter(due)
        .map(|object| async move {
            let (of_day, of_book, key) = (Arc::clone(run), Arc::clone(book), object.key.clone());
            let work = async move { Box::pin(day(&of_day, &of_book, &key, checks_tables)).await };
            let done = task::isolated("day", work).await;
            run.progress.days.advance(1);
            (object, done)
        })
        .buffer_unordered(DAYS_AT_ONCE);
    while let Some((object, done)) = working.next().await {
        match done {
            Ok(has_some) => {
                found |= has_some;
                seen.insert(object.key.clone(), stamp(&object));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process changed the day meanwhile: the next pass looks at it again.
            Err(error) if error.kind() == ErrorKind::Precondition && !is_last => found = true,
            Err(error) => {
                book.fail(format!("{}: {error}", object.key));
                seen.insert(object.key.clone(), stamp(&object));
            }
        }
    }
    if run.cancel.is_cancelled() {
        return Err(stopped());
    }
    Ok(found)
}

/// What tells a manifest from the one that lay there before.
fn stamp(object: &ListedObject) -> String {
    match &object.etag {
        Some(etag) => etag.clone(),
        None => format!("{} {:?}", object.bytes, object.modified),
    }
}

/// What a day has of the people.
struct Found {
    findings: DayFindings,
    /// The people in the tables of a day whose reports are gone, or whose tables are out of date.
    people: Option<PeopleOfDay>,
    /// The objects of calls and records, as the API gave them, without the people: by the id, and true for a call.
    objects: BTreeMap<(bool, String), String>,
    /// The calls in which they took part.
    calls: BTreeSet<String>,
    /// True if recordings of these calls are to be deleted.
    has_recordings: bool,
}

impl Found {
    fn is_none(&self) -> bool {
        self.findings.is_none() && self.people.is_none() && self.objects.is_empty() && !self.has_recordings
    }
}

/// Erases the people from a day. Returns true if the day had somebody.
async fn day(
    run: &Arc<RunContext>,
    book: &ErasureBook,
    manifest_key: &str,
    checks_tables: bool,
) -> Result<bool> {
    if run.cancel.is_cancelled() {
        return Err(stopped());
    }
    let Some((manifest, version)) = get_json::<Manifest>(&*run.store, manifest_key).await? else {
        return Ok(false);
    };
    if manifest.deleted.is_some() {
        return Ok(false);
    }
    let name = format!("{}|{}", manifest.date, manifest.space_id);
    book.note_reports(&manifest);
    let found = search(run, book, &manifest, checks_tables).await?;
    note_mentions(book, &name, &found.findings).await?;
    let is_pending = book.is_pending(&name).await;
    if found.is_none() && !is_pending {
        return Ok(false);
    }
    plan(book, &name, &manifest, &found).await?;
    if book.is_dry {
        return Ok(true);
    }
    let done = destroy(run, book, DayState::from_stored(manifest, version), found).await?;
    book.note(|erasure| {
        let day = erasure.days.entry(name).or_default();
        day.rows_after = rows(done.as_ref());
        day.is_done = true;
    })
    .await?;
    Ok(true)
}

async fn search(
    run: &Arc<RunContext>,
    book: &ErasureBook,
    manifest: &Manifest,
    checks_tables: bool,
) -> Result<Found> {
    let seeds = book.seeds();
    let findings = erase::search(run, manifest, &Fresh::new(), (&book.erased, &seeds)).await?;
    book.learn(&findings.traces);
    note_faults(book, &findings).await?;
    if findings.is_incomplete() {
        book.note_incomplete(DayId::new(manifest.date, manifest.space_id.clone()));
    }
    let is_frozen = manifest.is_frozen();
    let needs_tables = is_frozen || findings.is_incomplete() || (checks_tables && findings.is_none());
    let people = match needs_tables {
        true => people_of_tables(run, book, manifest).await?,
        false => None,
    };
    let mut known = seeds;
    let calls = manifest
        .calls
        .iter()
        .map(|(id, entry)| ((true, id.to_string()), &entry.call));
    let records = manifest
        .records
        .iter()
        .map(|(id, entry)| ((false, id.to_string()), &entry.record));
    let objects = calls.chain(records).filter_map(|(id, object)| {
        let changed = erase_json(object.as_str().as_bytes(), &book.erased, &mut known)?;
        Some((id, String::from_utf8(changed).ok()?))
    });
    let objects: BTreeMap<_, _> = objects.collect();
    let mut calls: BTreeSet<String> = findings.calls.iter().map(ToString::to_string).collect();
    calls.extend(people.iter().flat_map(|people| people.calls().cloned()));
    let name = format!("{}|{}", manifest.date, manifest.space_id);
    calls.extend(book.earlier_calls(&name));
    let deletes = book.deletes_recordings;
    let has_recording = |record: &RecordEntry| {
        let call = record
            .call_id
            .as_ref()
            .filter(|_| deletes && !record.file.is_deleted());
        call.is_some_and(|call| calls.contains(call.as_str()))
    };
    let has_recordings = manifest.records.values().any(has_recording);
    Ok(Found {
        has_recordings,
        findings,
        people,
        objects,
        calls,
    })
}

/// The people in the tables of a day whose reports are gone.
async fn people_of_tables(
    run: &RunContext,
    book: &ErasureBook,
    manifest: &Manifest,
) -> Result<Option<PeopleOfDay>> {
    let file = async |table: &str| {
        let entry = manifest.built.as_ref().and_then(|built| built.tables.get(table));
        match entry {
            Some(entry) => run.store.read(&entry.key).await.optional(),
            None => Ok(None),
        }
    };
    let (participants, attendance) = (file("participants").await?, file("lesson_attendance").await?);
    let ids = book.ids.clone();
    task::isolated_blocking("tables", move || {
        PeopleOfDay::find(&ids, participants, attendance)
    })
    .await
}

/// Leaves reports to a human that are missing, damaged, or can't be read.
async fn note_faults(book: &ErasureBook, findings: &DayFindings) -> Result<()> {
    let left = |kind: &str, key: &String, note: String| LeftToHuman {
        kind: kind.into(),
        place: key.clone(),
        note,
    };
    let unreadable = findings.unreadable.iter().map(|(key, why)| {
        let note = format!(
            "the report is {why}, so that nobody can tell if it names the person: delete it if it may"
        );
        left("unreadable", key, note)
    });
    let edited = "the tables of its day were edited, and not built from it; `telelake verify` names it";
    let missing = findings.missing.iter();
    let missing = missing.map(|key| {
        left(
            "missing",
            key,
            format!("the report is not in the store: {edited}"),
        )
    });
    let damaged = findings.damaged.iter();
    let damaged = damaged.map(|key| {
        left(
            "damaged",
            key,
            format!("the report is not what had landed: {edited}"),
        )
    });
    book.leave(unreadable.chain(missing).chain(damaged).collect::<Vec<_>>())
        .await
}

async fn note_mentions(book: &ErasureBook, day: &str, findings: &DayFindings) -> Result<()> {
    let mentions = findings
        .mentions
        .iter()
        .map(|((call, place), count)| LeftToHuman {
            kind: "mention".into(),
            place: format!("{day} call {call}, {place}"),
            note: format!(
                "{count} texts of others mention the person: look if they say something about the person"
            ),
        });
    book.leave(mentions.collect::<Vec<_>>()).await
}

/// Notes what is about to be destroyed of a day, before it is.
async fn plan(book: &ErasureBook, name: &str, manifest: &Manifest, found: &Found) -> Result<()> {
    let records = manifest.records.iter().filter(|(_, record)| {
        let of_call = record
            .call_id
            .as_ref()
            .is_some_and(|call| found.calls.contains(call.as_str()));
        of_call && record.file.stored().is_some()
    });
    let recordings: Vec<String> = records
        .filter_map(|(_, record)| record.file.stored().map(|landed| landed.key.clone()))
        .collect();
    book.note(|erasure| {
        let deletes = erasure.recordings == RecordingChoice::Delete;
        let new = DayErasure {
            reports: found.findings.reports.len() as u64,
            recordings: if deletes { recordings.len() as u64 } else { 0 },
            rows_before: rows(manifest.built.as_ref()),
            calls: found.calls.clone(),
            ..DayErasure::default()
        };
        let known = erasure.days.remove(name);
        erasure.days.insert(name.to_owned(), planned(known, new));
        let reports = found.findings.reports.keys().filter_map(|(call, format)| {
            let landing = manifest.calls.get(call)?.reports.get(format)?;
            landing.landed.as_ref().map(|landed| landed.key.clone())
        });
        erasure.touched.extend(reports);
        let tables = manifest.built.iter().flat_map(|built| built.tables.values());
        erasure.touched.extend(tables.map(|table| table.key.clone()));
        erasure.touched.insert(key::manifest(manifest.date, &manifest.space_id));
        if deletes {
            erasure.touched.extend(recordings);
        } else {
            erasure.left.extend(recordings.into_iter().map(|key| LeftToHuman {
                kind: "recording".into(),
                place: key,
                note: "a recording of a call that the person took part in: keep it, or delete it by `forget --recordings delete`".into(),
            }));
        }
    })
    .await
}

fn rows(built: Option<&Built>) -> BTreeMap<String, u64> {
    let tables = built.into_iter().flat_map(|built| &built.tables);
    tables.map(|(name, table)| (name.clone(), table.rows)).collect()
}

/// Writes the reports anew and builds the day's tables from them; edits the tables if their reports are gone. Returns the
/// tables.
async fn destroy(
    run: &Arc<RunContext>,
    book: &ErasureBook,
    mut day: DayState,
    mut found: Found,
) -> Result<Option<Built>> {
    let deletes = book.deletes_recordings;
    let id = DayId::new(day.manifest.date, day.manifest.space_id.clone());
    // The names come first: if the process is killed between the reports of a call, they say who is to go from the other one.
    note_erased(&mut day.manifest, &found, deletes, run);
    day.row_is_due = true;
    write(run, &mut day).await?;
    let recordings: Vec<String> = expire::deleted(&day.manifest)
        .filter(|landed| deletes && landed.key.starts_with(key::MEDIA))
        .map(|landed| landed.key.clone())
        .collect();
    erase::destroy(run, &mut day.manifest, &mut found.findings).await?;
    for key in recordings {
        run.delete(&key).await?;
    }
    let is_edited = day.manifest.is_frozen() || found.findings.is_incomplete();
    match found.people.take() {
        None if is_edited => edit(run, &id, &day, PeopleOfDay::of(&book.ids)).await?,
        Some(people) if is_edited => edit(run, &id, &day, people).await?,
        Some(_) => build::build_again(run, &mut day).await?,
        None => build::build_and_commit(run, &mut day).await?,
    }
    if run.cancel.is_cancelled() {
        // A build that was stopped is no error of its own.
        return Err(stopped());
    }
    let now = get_json::<Manifest>(&*run.store, &key::manifest(id.date, &id.space)).await?;
    Ok(now.and_then(|(manifest, _)| manifest.built))
}

/// Removes the people's rows from the tables of a day that can't be built again.
async fn edit(run: &RunContext, id: &DayId, day: &DayState, people: PeopleOfDay) -> Result<()> {
    let reports = day.manifest.calls.clone();
    let change = move |manifest: &mut Manifest| {
        for (call, entry) in &reports {
            if let Some(theirs) = manifest.calls.get_mut(call) {
                theirs.reports.clone_from(&entry.reports);
            }
        }
    };
    let edit: RowEdit = Arc::new(move |_, _, rows| people.erase(&rows));
    edit_day(run, id, change, &edit).await.map(|_| ())
}

/// Notes in the manifest who was erased from which report, and which recordings are deleted.
fn note_erased(manifest: &mut Manifest, found: &Found, deletes: bool, run: &RunContext) {
    for ((call, format), report) in &found.findings.reports {
        let entry = manifest.calls.get_mut(call);
        let landing = entry.and_then(|entry| entry.reports.get_mut(format));
        let landed = landing.and_then(|landing| landing.landed.as_mut());
        if let Some(landed) = landed.filter(|_| !report.is_damaged) {
            landed.erased.extend(report.erased_names.iter().cloned());
        }
    }
    for ((is_call, id), object) in &found.objects {
        let Ok(object) = serde_json::from_str::<serde_json::Value>(object) else {
            continue;
        };
        match is_call {
            true => {
                if let Some(entry) = manifest.calls.get_mut(id.as_str()) {
                    entry.call = object.into();
                }
            }
            false => {
                if let Some(entry) = manifest.records.get_mut(id.as_str()) {
                    entry.record = object.into();
                }
            }
        }
    }
    if deletes {
        expire::delete_recordings_of(
            manifest,
            |call: &CallId| found.calls.contains(call.as_str()),
            run.now,
        );
    }
}

/// Builds the days again that share a meeting with the erased people's lesson data, or with a day that has changed.
///
/// # Errors
/// Any error of the store; a stop.
pub(super) async fn refresh_touched(run: &Arc<RunContext>, book: &ErasureBook) -> Result<()> {
    let prefix = key::meta_changed(&book.id().await);
    let prefix = prefix.trim_end_matches(".json");
    let markers = run.store.list(prefix).await?;
    let (_, mut meetings) = lessons::import::read_markers(&*run.store, &markers).await?;
    for _ in 0..MOST_ROUNDS {
        meetings.extend(run.lessons.take_touched().await);
        if meetings.is_empty() {
            break;
        }
        let stale = run.lessons.stale(&std::mem::take(&mut meetings)).await?;
        run.progress.enter(Phase::Days, stale.len() as u64);
        // A build of a day that lacks a report would lose rows of others. Its tables were edited.
        for id in stale.into_iter().filter(|id| !book.is_incomplete(id)) {
            if run.cancel.is_cancelled() {
                return Err(stopped());
            }
            refresh(run, book, id).await?;
            run.progress.days.advance(1);
        }
    }
    for marker in markers.iter().map(|marker| &marker.key) {
        run.delete(marker).await?;
    }
    for marker in run.lessons.take_markers().await {
        run.delete(&marker).await?;
    }
    Ok(())
}

async fn refresh(run: &Arc<RunContext>, book: &ErasureBook, id: DayId) -> Result<()> {
    let mut day = DayState::load(&*run.store, id.date, id.space.clone()).await?;
    let before = rows(day.manifest.built.as_ref());
    let keys: Vec<_> = day
        .manifest
        .built
        .iter()
        .flat_map(|built| built.tables.values().map(|table| table.key.clone()))
        .collect();
    let name = format!("{}|{}", id.date, id.space);
    book.note(|erasure| {
        erasure.touched.extend(keys);
        let new = DayErasure {
            rows_before: before,
            ..DayErasure::default()
        };
        let known = erasure.days.remove(&name);
        erasure.days.insert(name.clone(), planned(known, new));
    })
    .await?;
    let refreshed = build::refresh(run, &mut day).await;
    if run.cancel.is_cancelled() {
        return Err(stopped());
    }
    if let Err(error) = &refreshed {
        book.fail(format!("{name}: {error}"));
    }
    let is_done = refreshed.is_ok();
    book.note(|erasure| {
        let entry = erasure.days.entry(name).or_default();
        entry.rows_after = rows(day.manifest.built.as_ref());
        entry.is_done = is_done;
    })
    .await
}
