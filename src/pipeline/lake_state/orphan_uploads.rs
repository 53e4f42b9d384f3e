//! Aborts orphan uploads, which nobody will continue: each run at its end; `verify` lists them.
//!
//! An upload of a dead process is kept as long as its record is still to be copied, because a later run resumes it.
//! Orphans are the uploads of records that are done, denied, gone or unknown, writes that were cut, and receipts that a
//! manifest has.

use std::sync::atomic::Ordering;

use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::day::recording;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};
use crate::store::json::get_json;
use crate::store::{Store, Unfinished};
use crate::{Error, Result};

/// The uploads that no living process drives and no record waits for. `recordings` says whether the configuration
/// copies recordings at all. [`Store::abort_upload`] aborts one.
///
/// # Errors
/// Any error of the store.
pub async fn orphan_uploads(store: &dyn Store, recordings: bool) -> Result<Vec<Unfinished>> {
    let mut orphans = Vec::new();
    let mut last: Option<(String, Result<Option<Manifest>>)> = None;
    for upload in store.unfinished_uploads("").await? {
        if upload.driven {
            continue;
        }
        let Some(day) = key::manifest_of_recording(&upload.key).filter(|_| recordings) else {
            orphans.push(upload);
            continue;
        };
        // Uploads are sorted by key, so that those of a day follow one another.
        if last.as_ref().is_none_or(|(known, _)| *known != day) {
            let manifest = get_json(store, &day).await;
            last = Some((day, manifest.map(|found| found.map(|(manifest, _)| manifest))));
        }
        let orphan = match &last {
            Some((_, Ok(Some(manifest)))) => !is_awaited(manifest, &upload.key),
            Some((_, Ok(None))) | None => true,
            // A manifest that can't be read may well await it.
            Some((_, Err(error))) => {
                tracing::debug!(%error, "an upload is kept because its day can't be read");
                false
            }
        };
        if orphan {
            orphans.push(upload);
        }
    }
    Ok(orphans)
}

/// True if a record of the day is still to be copied to this key.
fn is_awaited(manifest: &Manifest, upload: &str) -> bool {
    manifest.records.iter().any(|(id, entry)| {
        let call = entry.call_id.as_ref();
        recording::is_due(entry, false)
            && key::recording(manifest.date, &manifest.space_id, &entry.room_id, call, id) == upload
    })
}

/// Aborts all orphans. An error is only a warning, because the next run sweeps again.
pub(crate) async fn sweep(run: &RunContext, summary: &mut Summary) {
    let warning = |error: Error| Problem::new(ProblemKind::UploadsNotSwept, error.to_string());
    let orphans = orphan_uploads(&*run.store, run.config.export.recordings).await;
    if run.config.export.recordings {
        for lack in run.store.shortcomings() {
            summary.warn(Problem::new(lack.into(), lack.message()));
        }
    }
    let orphans = match orphans {
        Ok(orphans) => orphans,
        Err(error) => return summary.warn(warning(error)),
    };
    for orphan in orphans {
        match run.store.abort_upload(&orphan).await {
            Ok(()) => {
                run.writes.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(key = orphan.key, "an orphan upload was aborted");
            }
            Err(error) => summary.warn(warning(error)),
        }
    }
}
