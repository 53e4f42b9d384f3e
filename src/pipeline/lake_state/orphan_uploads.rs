//! The end of uploads that nobody goes on with: swept at the end of each run, listed for whoever checks the lake.
//!
//! What a dead process left stays as long as its record is still to be copied, for the run that does. All else goes:
//! of records that are done, denied, gone or unknown, of writes that were cut, and receipts of what is written down.

use std::sync::atomic::Ordering;

use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::day::recording;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::{Problem, Summary};
use crate::store::json::get_json;
use crate::store::{Store, Unfinished};
use crate::{Error, Result};

/// Uploads that no living process drives and no record waits for. `recordings` says whether the configuration has
/// recordings copied at all. [`Store::abort_upload`] ends one.
///
/// # Errors
/// Of the store.
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
        // Sorted by key, so that one day's are beside one another.
        if last.as_ref().is_none_or(|(known, _)| *known != day) {
            let manifest = get_json(store, &day).await;
            last = Some((day, manifest.map(|found| found.map(|(manifest, _)| manifest))));
        }
        let orphan = match &last {
            Some((_, Ok(Some(manifest)))) => !is_awaited(manifest, &upload.key),
            Some((_, Ok(None))) | None => true,
            // What can't be read may well await it.
            Some((_, Err(error))) => {
                tracing::debug!(%error, "an upload is left alone");
                false
            }
        };
        if orphan {
            orphans.push(upload);
        }
    }
    Ok(orphans)
}

/// Whether a record of the day is still to be copied to this key.
fn is_awaited(manifest: &Manifest, upload: &str) -> bool {
    manifest.records.iter().any(|(id, entry)| {
        let call = entry.call_id.as_ref();
        recording::is_due(entry, false)
            && key::recording(manifest.date, &manifest.space_id, &entry.room_id, call, id) == upload
    })
}

/// Aborts all orphans. That it fails is no failure of the run: the next one sweeps again.
pub(crate) async fn sweep(run: &RunContext, summary: &mut Summary) {
    let told = |error: Error| Problem::new("uploads_not_swept", error.to_string());
    let orphans = orphan_uploads(&*run.store, run.config.export.recordings).await;
    if run.config.export.recordings {
        for lack in run.store.shortcomings() {
            summary.warn(Problem::new(lack.kind(), lack.message()));
        }
    }
    let orphans = match orphans {
        Ok(orphans) => orphans,
        Err(error) => return summary.warn(told(error)),
    };
    for orphan in orphans {
        match run.store.abort_upload(&orphan).await {
            Ok(()) => {
                run.writes.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(key = orphan.key, "an abandoned upload was removed");
            }
            Err(error) => summary.warn(told(error)),
        }
    }
}
