//! Commits a day's manifest to the store, conditionally, and keeps the marker of open days in step with it.

use bytes::Bytes;

use super::expire::has_reports;
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
    write(run, day).await?;
    close(run, day).await
}

/// Writes the manifest if it differs from the stored one, in the middle of the work on a day that has more to land. The row of
/// `days` follows at the end of the work.
///
/// # Errors
/// As [`commit`].
pub(super) async fn commit_so_far(run: &RunContext, day: &mut DayState) -> Result<()> {
    write(run, day).await?;
    prove_marker(run, day).await
}

/// Writes the manifest if it differs from the stored one, in the middle of work that [closes](close) the day at its end, or
/// [proves its marker](prove_marker). An open day gets its marker before that.
///
/// # Errors
/// As [`commit`].
pub(crate) async fn write(run: &RunContext, day: &mut DayState) -> Result<()> {
    if is_stored(day) || has_nothing(day) {
        return Ok(());
    }
    // A manifest without a fingerprint says that its tables are out of date, so that a kill after this commit is safe.
    let fingerprint = tables::fingerprint(&day.manifest, &run.mapping);
    // A day whose reports were deleted keeps the tables that it has.
    let is_frozen = day.manifest.is_frozen();
    if let Some(built) = &mut day.manifest.built
        && built.fingerprint != fingerprint
        && !is_frozen
    {
        built.fingerprint.clear();
    }
    let is_open = is_open_with(run, &day.manifest, || fingerprint);
    if !day.has_marker && is_open {
        // The marker comes before the manifest: a kill in between leaves a marker too many, never one too few.
        run.put(&marker(day), Bytes::new(), Condition::Any).await?;
        day.has_marker = true;
    }
    // Only then the manifest: it must not name bytes that a power cut can lose.
    run.store.sync().await?;
    let condition = day.stored.as_ref().map_or(Condition::Absent, |(_, version)| {
        Condition::Unchanged(version.clone())
    });
    let key = key::manifest(day.manifest.date, &day.manifest.space_id);
    let version = run.put(&key, to_json(&day.manifest)?, condition).await?;
    day.stored = Some((day.manifest.clone(), version));
    day.stored_is_open = Some(is_open);
    day.marker_is_unproved = true;
    day.row_is_due = true;
    Ok(())
}

/// True if the store has the manifest. Another listing with the same result is no difference.
fn is_stored(day: &mut DayState) -> bool {
    let Some((stored, _)) = &day.stored else {
        return false;
    };
    let listed_at = std::mem::replace(&mut day.manifest.listed_at, stored.listed_at);
    let is_stored = *stored == day.manifest;
    day.manifest.listed_at = listed_at;
    is_stored
}

/// Ends the work on a day: brings its row of `days` up to date, then deletes the marker if the stored manifest says that the
/// day is closed; else proves that the marker is there.
///
/// # Errors
/// Any error of the store.
pub(super) async fn close(run: &RunContext, day: &mut DayState) -> Result<()> {
    let Some(is_open) = stored_is_open(run, day) else {
        return Ok(());
    };
    // Before the marker is deleted, so that a kill in between leaves the row to the next run.
    if let Some((stored, _)) = &day.stored
        && (day.row_is_due || day.has_marker)
    {
        run.days.update(stored).await?;
        day.row_is_due = false;
    }
    if day.claim.keeps_marker(is_open) || day.waits_for_others || day.keeps_marker {
        return prove_marker(run, day).await;
    }
    let marker = marker(day);
    let is_known = std::mem::take(&mut day.has_marker);
    let is_unproved = std::mem::take(&mut day.marker_is_unproved);
    if !is_known && (!is_unproved || run.store.size(&marker).await?.is_none()) {
        return Ok(());
    }
    run.delete(&marker).await?;
    // Another process may have opened the day at the same time.
    let (date, space) = (day.manifest.date, &day.manifest.space_id);
    let now = get_json::<Manifest>(&*run.store, &key::manifest(date, space)).await?;
    if now.is_some_and(|(manifest, _)| self::is_open(run, &manifest)) {
        run.put(&marker, Bytes::new(), Condition::Any).await?;
    }
    Ok(())
}

/// Makes sure that an open day still has its marker. Another process may have closed the day and deleted the marker while
/// this one wrote the manifest.
///
/// # Errors
/// Any error of the store.
pub(super) async fn prove_marker(run: &RunContext, day: &mut DayState) -> Result<()> {
    let is_unproved = std::mem::take(&mut day.marker_is_unproved);
    if is_unproved && stored_is_open(run, day) == Some(true) {
        let marker = marker(day);
        if run.store.size(&marker).await?.is_none() {
            run.put(&marker, Bytes::new(), Condition::Any).await?;
        }
    }
    Ok(())
}

/// The key of a day's marker.
fn marker(day: &DayState) -> String {
    key::open_day(day.manifest.date, &day.manifest.space_id)
}

/// True if a day has nothing to say, and the store has nothing of it.
pub(super) fn has_nothing(day: &DayState) -> bool {
    day.stored.is_none() && is_blank(&day.manifest)
}

/// True if a day has nothing to say: it has no call or record and was not listed completely. It gets no manifest.
pub(crate) fn is_blank(manifest: &Manifest) -> bool {
    !manifest.listed
        && manifest.missed.is_none()
        && manifest.calls.is_empty()
        && manifest.records.is_empty()
        && manifest.deleted.is_none()
}

/// True if later runs must come back to the day.
pub(crate) fn is_open(run: &RunContext, manifest: &Manifest) -> bool {
    is_open_with(run, manifest, || tables::fingerprint(manifest, &run.mapping))
}

/// [`is_open`] with a fingerprint that is computed only if it decides, because it covers all that the manifest holds.
fn is_open_with(run: &RunContext, manifest: &Manifest, fingerprint: impl FnOnce() -> String) -> bool {
    let has_expired = run.cutoffs.raw_is_over(manifest.date) && has_reports(manifest);
    has_expired || has_work(run, manifest, fingerprint)
}

/// True if later runs must come back to the day for something else than to delete its reports.
pub(super) fn is_open_but_for_raw(run: &RunContext, manifest: &Manifest) -> bool {
    has_work(run, manifest, || tables::fingerprint(manifest, &run.mapping))
}

fn has_work(run: &RunContext, manifest: &Manifest, fingerprint: impl FnOnce() -> String) -> bool {
    let is_current = match &manifest.built {
        // Its tables can't be built again, so that only a claim or a request for its reports can be open.
        Some(built) if manifest.is_frozen() => !built.fingerprint.is_empty(),
        Some(built) => built.fingerprint == fingerprint(),
        None => false,
    };
    manifest.building.is_some()
        || !manifest.evicted.is_empty()
        || has_open_items(&run.config, manifest)
        || !(is_current || manifest.deleted.is_some())
}

/// True if the stored manifest says that the day is open; none if there is no stored manifest.
fn stored_is_open(run: &RunContext, day: &mut DayState) -> Option<bool> {
    let (stored, _) = day.stored.as_ref()?;
    Some(*day.stored_is_open.get_or_insert_with(|| is_open(run, stored)))
}

/// True if later runs must ask the API again for something of the day.
pub(crate) fn has_open_items(config: &Config, manifest: &Manifest) -> bool {
    let is_open = |status: Status| matches!(status, Status::Pending | Status::Failed);
    manifest.missed.is_open()
        || manifest.reports_wanted_at.is_some()
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
