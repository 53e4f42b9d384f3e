//! The day's manifest into the store, conditionally, and the marker of open days kept true beside it.

use bytes::Bytes;

use crate::Result;
use crate::config::Config;
use crate::lake::key;
use crate::lake::manifest::{Manifest, Status};
use crate::pipeline::day::Day;
use crate::pipeline::run_context::RunContext;
use crate::store::Condition;
use crate::store::json::{get_json, to_json};
use crate::tables;

/// Writes the manifest when it differs from what the store holds, and keeps the marker of open days true.
///
/// # Errors
/// `Precondition` where another process committed the day since it was read; else of the store.
pub(crate) async fn commit(run: &RunContext, day: &mut Day) -> Result<()> {
    let (date, space) = (day.manifest.date, day.manifest.space_id.clone());
    let marker = key::open_day(date, &space);
    let open = is_open(run, &day.manifest);
    let unchanged = day
        .stored
        .as_ref()
        .is_some_and(|(stored, _)| *stored == day.manifest);
    if unchanged || is_blank(&day.manifest) {
        if day.marked && !open && !day.doubted {
            // Left by a run that was killed after its manifest, or in doubt.
            unmark(run, day, &marker).await?;
        }
        return Ok(());
    }
    // A run that is killed behind this leaves a day that is known to be not built.
    let fingerprint = tables::fingerprint(&day.manifest, &run.mapping);
    if let Some(built) = &mut day.manifest.built
        && built.fingerprint != fingerprint
    {
        built.fingerprint.clear();
    }
    if open && !day.marked {
        if run.store.size(&marker).await?.is_none() {
            // Before the manifest: a kill in between leaves a marker too many, never one too few.
            run.put(&marker, Bytes::new(), Condition::Any).await?;
        }
        day.marked = true;
    }
    let condition = day.stored.as_ref().map_or(Condition::Absent, |(_, version)| {
        Condition::Unchanged(version.clone())
    });
    let version = run
        .put(&key::manifest(date, &space), to_json(&day.manifest)?, condition)
        .await?;
    day.stored = Some((day.manifest.clone(), version));
    if !open {
        return if day.doubted {
            Ok(())
        } else {
            unmark(run, day, &marker).await
        };
    }
    if run.store.size(&marker).await?.is_none() {
        // Another process had closed the day before, and took the marker away just now.
        run.put(&marker, Bytes::new(), Condition::Any).await?;
    }
    Ok(())
}

/// Takes the marker of a closed day away, unless another process has opened the day meanwhile.
async fn unmark(run: &RunContext, day: &mut Day, marker: &str) -> Result<()> {
    day.marked = false;
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

/// A day without anything that was not listed whole says nothing: it has no manifest.
pub(crate) fn is_blank(manifest: &Manifest) -> bool {
    !manifest.listed && manifest.missed.is_none() && manifest.calls.is_empty() && manifest.records.is_empty()
}

/// Whether later runs have to come back to the day.
pub(crate) fn is_open(run: &RunContext, manifest: &Manifest) -> bool {
    let built = manifest.built.as_ref().map(|built| built.fingerprint.as_str());
    manifest.building.is_some()
        || !manifest.evicted.is_empty()
        || built != Some(&tables::fingerprint(manifest, &run.mapping))
        || has_open_items(&run.config, manifest)
}

/// Whether something of the day is to be asked for again.
pub(crate) fn has_open_items(config: &Config, manifest: &Manifest) -> bool {
    let open = |status: Status| matches!(status, Status::Pending | Status::Failed);
    manifest.missed.is_open()
        || manifest.calls.values().any(|call| {
            call.pending.is_some()
                || call.reports.iter().any(|(format, landing)| {
                    config.export.reports.contains(format) && open(landing.status) && !landing.is_put_aside()
                })
        })
        || (config.export.recordings && manifest.records.values().any(|record| open(record.file.status)))
}
