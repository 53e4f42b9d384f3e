//! Deletes lesson data whose retention is over: its raw files, and the lesson days with their tables and index.

use chrono::NaiveDate;

use super::report::{KindCounts, RetainReport};
use super::state::RetentionState;
use crate::Result;
use crate::lake::key;
use crate::lake::table::builtin;
use crate::pipeline::cutoffs::DataKind;
use crate::pipeline::lessons::index::MeetingIndex;
use crate::pipeline::lessons::meeting_months::MeetingMonth;
use crate::pipeline::run_context::RunContext;
use crate::store::ListedObject;

/// Deletes the raw files that are no longer kept. The state remembers them first, so that the same file is known if it comes
/// again. Files of an import whose days are not built yet stay, unless their date says otherwise.
///
/// # Errors
/// Any error of the store.
pub(super) async fn delete_raw(run: &RunContext, report: &mut RetainReport) -> Result<()> {
    let cutoffs = &run.cutoffs;
    if cutoffs.first_kept(DataKind::Raw).is_none() && !cutoffs.raw_goes_at_once {
        return Ok(());
    }
    let all = run.store.list(key::RAW_META).await?;
    let goes_at_once =
        cutoffs.raw_goes_at_once && !all.is_empty() && !run.store.has_any(key::META_CHANGED).await?;
    let is_over = |object: &ListedObject| {
        goes_at_once || key::date_in(&object.key).is_some_and(|date| cutoffs.is_over(DataKind::Raw, date))
    };
    let due: Vec<_> = all.into_iter().filter(is_over).collect();
    if due.is_empty() {
        return Ok(());
    }
    let counts = KindCounts {
        objects: due.len() as u64,
        bytes: due.iter().map(|object| object.bytes).sum(),
        ..KindCounts::default()
    };
    if !report.dry_run {
        let digests: Vec<_> = due.iter().filter_map(|object| digest(&object.key)).collect();
        let note = |state: &mut RetentionState| state.meta_files.extend(digests.iter().cloned());
        run.update(key::RETENTION, note).await?;
        for object in due {
            run.delete(&object.key).await?;
        }
    }
    report.count(DataKind::Raw, counts);
    Ok(())
}

/// The digest in the name of a raw file.
fn digest(key: &str) -> Option<String> {
    let name = key.strip_suffix(".jsonl")?;
    name.rsplit_once('-').map(|(_, digest)| digest.to_owned())
}

/// Deletes the lesson days that are no longer kept, with their tables, and the dates of meetings in the indexes unless the
/// state says that these are done.
///
/// # Errors
/// Any error of the store.
pub(super) async fn delete_lesson_days(
    run: &RunContext,
    state: &RetentionState,
    report: &mut RetainReport,
) -> Result<()> {
    let Some(first) = run.cutoffs.first_kept(DataKind::Tables) else {
        return Ok(());
    };
    let mut has_any = false;
    for object in run.store.list(key::LESSON_DAYS).await? {
        let Some(date) = key::date_in(&object.key).filter(|date| *date < first) else {
            continue;
        };
        has_any = true;
        let mut counts = KindCounts {
            objects: 1,
            bytes: object.bytes,
            ..KindCounts::default()
        };
        // The lesson day goes last, so that a killed process leaves it to the next one.
        for table in builtin::per_date() {
            let key = key::date_table(table, date);
            if let Some(bytes) = run.store.size(&key).await? {
                counts.objects += 1;
                counts.bytes += bytes;
                if !report.dry_run {
                    run.delete(&key).await?;
                }
            }
        }
        if !report.dry_run {
            run.delete(&object.key).await?;
        }
        report.count(DataKind::Tables, counts);
    }
    let is_due = has_any || state.kept_from(DataKind::Tables) != Some(first);
    if is_due && !report.dry_run {
        forget_dates(run, first).await?;
    }
    Ok(())
}

/// Removes the dates before the first one that is kept from the indexes of meetings.
async fn forget_dates(run: &RunContext, first: NaiveDate) -> Result<()> {
    for object in run.store.list(key::META_INDEX).await? {
        let forget = |index: &mut MeetingIndex| {
            index.retain(|_, dates| {
                dates.retain(|date| *date >= first);
                !dates.is_empty()
            });
        };
        run.update(&object.key, forget).await?;
    }
    let month_of = |key: &str| {
        let name = key.strip_prefix(key::MEETING_DAYS)?.strip_suffix(".json")?;
        format!("{name}-01").parse::<NaiveDate>().ok()
    };
    let mut has_changed = false;
    for object in run.store.list(key::MEETING_DAYS).await? {
        if month_of(&object.key).is_none_or(|month| month >= first) {
            continue;
        }
        let writes = run.writes();
        let forget = |month: &mut MeetingMonth| month.retain(|date, _| *date >= first);
        let month = run.update(&object.key, forget).await?;
        has_changed |= run.writes() > writes;
        if month.is_empty() {
            run.delete(&object.key).await?;
        }
    }
    // It holds copies of the months, and the next run makes it again.
    if has_changed {
        run.delete(key::MEETING_MONTHS).await?;
    }
    Ok(())
}
