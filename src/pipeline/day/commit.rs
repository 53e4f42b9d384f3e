//! Commits a day's manifest to the store, conditionally, and keeps the marker of open days in step with it.

use bytes::Bytes;

use super::state::DayState;
use crate::Result;
use crate::config::Config;
use crate::lake::key;
use crate::lake::manifest::{Manifest, Status};
use crate::pipeline::run_context::RunContext;
use crate::store::Condition;
use crate::store::json::{get_json, to_json};
use crate::tables;

/// Writes the manifest if it differs from the stored one, and sets or deletes the marker of open days.
///
/// # Errors
/// `Precondition` if another process has committed the day since it was read; any error of the store.
pub(crate) async fn commit(run: &RunContext, day: &mut DayState) -> Result<()> {
    let (date, space) = (day.manifest.date, day.manifest.space_id.clone());
    let marker = key::open_day(date, &space);
    let is_open = is_open(run, &day.manifest);
    let is_unchanged = day
        .stored
        .as_ref()
        .is_some_and(|(stored, _)| *stored == day.manifest);
    if is_unchanged || is_blank(&day.manifest) {
        if day.has_marker && !day.claim.keeps_marker(is_open) {
            // A run was killed after it had committed the manifest, or it left the marker because it had ousted a rival.
            delete_marker(run, day, &marker).await?;
        }
        return Ok(());
    }
    // A manifest without a fingerprint says that its tables are out of date, so that a kill after this commit is safe.
    let fingerprint = tables::fingerprint(&day.manifest, &run.mapping);
    if let Some(built) = &mut day.manifest.built
        && built.fingerprint != fingerprint
    {
        built.fingerprint.clear();
    }
    if is_open && !day.has_marker {
        // The marker comes before the manifest: a kill in between leaves a marker too many, never one too few.
        ensure_marker(run, &marker).await?;
        day.has_marker = true;
    }
    // Only then the manifest: it must not name bytes that a power cut can lose.
    run.store.sync().await?;
    let condition = day.stored.as_ref().map_or(Condition::Absent, |(_, version)| {
        Condition::Unchanged(version.clone())
    });
    let version = run
        .put(&key::manifest(date, &space), to_json(&day.manifest)?, condition)
        .await?;
    day.stored = Some((day.manifest.clone(), version));
    if is_open {
        // Another process may have closed the day and deleted the marker just now.
        ensure_marker(run, &marker).await
    } else if day.claim.keeps_marker(is_open) {
        Ok(())
    } else {
        delete_marker(run, day, &marker).await
    }
}

async fn ensure_marker(run: &RunContext, marker: &str) -> Result<()> {
    if run.store.size(marker).await?.is_none() {
        run.put(marker, Bytes::new(), Condition::Any).await?;
    }
    Ok(())
}

/// Deletes the marker of a closed day, unless another process opens the day at the same time.
async fn delete_marker(run: &RunContext, day: &mut DayState, marker: &str) -> Result<()> {
    day.has_marker = false;
    if run.store.size(marker).await?.is_none() {
        return Ok(());
    }
    run.delete(marker).await?;
    let (date, space) = (day.manifest.date, &day.manifest.space_id);
    let now = get_json::<Manifest>(&*run.store, &key::manifest(date, space)).await?;
    if now.is_some_and(|(manifest, _)| is_open(run, &manifest)) {
        run.put(marker, Bytes::new(), Condition::Any).await?;
    }
    Ok(())
}

/// True if a day has nothing to say: it has no call or record and was not listed completely. It gets no manifest.
pub(crate) fn is_blank(manifest: &Manifest) -> bool {
    !manifest.listed && manifest.missed.is_none() && manifest.calls.is_empty() && manifest.records.is_empty()
}

/// True if later runs must come back to the day.
pub(crate) fn is_open(run: &RunContext, manifest: &Manifest) -> bool {
    let built = manifest.built.as_ref().map(|built| built.fingerprint.as_str());
    manifest.building.is_some()
        || !manifest.evicted.is_empty()
        || built != Some(&tables::fingerprint(manifest, &run.mapping))
        || has_open_items(&run.config, manifest)
}

/// True if later runs must ask the API again for something of the day.
pub(crate) fn has_open_items(config: &Config, manifest: &Manifest) -> bool {
    let is_open = |status: Status| matches!(status, Status::Pending | Status::Failed);
    manifest.missed.is_open()
        || manifest.calls.values().any(|call| {
            call.pending.is_some()
                || call.reports.iter().any(|(format, landing)| {
                    config.export.reports.contains(format)
                        && is_open(landing.status)
                        && !landing.is_put_aside()
                })
        })
        || (config.export.recordings
            && manifest
                .records
                .values()
                .any(|record| is_open(record.file.status)))
}
