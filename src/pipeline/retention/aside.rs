//! Deletes what repairs have put aside of days whose retention is over.

use super::report::{KindCounts, RetainReport};
use crate::Result;
use crate::lake::key;
use crate::lake::table::builtin::{messages, report_rows};
use crate::pipeline::cutoffs::DataKind;
use crate::pipeline::run_context::RunContext;
use crate::store::ListedObject;

/// Deletes the copies of dates whose tables are no longer kept, and those of tables with messages that are no longer kept.
///
/// # Errors
/// Any error of the store.
pub(super) async fn delete(run: &RunContext, report: &mut RetainReport) -> Result<()> {
    if run.cutoffs.first_kept(DataKind::Messages).is_none() {
        return Ok(());
    }
    for object in run.store.list(key::SET_ASIDE).await? {
        let Some(kind) = kind_over(run, &object) else {
            continue;
        };
        if !report.dry_run {
            run.delete(&object.key).await?;
        }
        let counts = KindCounts {
            objects: 1,
            bytes: object.bytes,
            ..KindCounts::default()
        };
        report.count(kind, counts);
    }
    Ok(())
}

/// The kind of data because of which an object is no longer kept.
fn kind_over(run: &RunContext, object: &ListedObject) -> Option<DataKind> {
    let date = key::date_in(&object.key)?;
    let is_over = |kind| run.cutoffs.is_over(kind, date);
    let is_of = |table: &str| object.key.contains(&format!("/{table}/date="));
    if is_over(DataKind::Tables) {
        Some(DataKind::Tables)
    } else if is_over(DataKind::Messages) && (is_of(messages::NAME) || is_of(report_rows::NAME)) {
        Some(DataKind::Messages)
    } else {
        None
    }
}
