//! Follows erasures that begin while a day is in work.

use std::sync::Arc;

use super::erase::{destroy, search};
use super::state::DayState;
use crate::Result;
use crate::pipeline::run_context::RunContext;
use crate::tables::Traces;

/// Erases the people of an erasure that was begun while the day was landed or built. Returns true if there is one; then the
/// day must be built from what it has now.
///
/// # Errors
/// Any error of the store.
pub(super) async fn follow_erasure(run: &Arc<RunContext>, day: &mut DayState) -> Result<bool> {
    let Some(begun) = run.new_erasures(day.erasures_known).await? else {
        return Ok(false);
    };
    day.erasures_known = Some(begun);
    run.lessons.read_again().await;
    let mut findings = search(
        run,
        &day.manifest,
        &day.fresh,
        (&run.erased(), &Traces::default()),
    )
    .await?;
    for (call, format) in findings.reports.keys() {
        let landing = day
            .manifest
            .calls
            .get(call)
            .and_then(|entry| entry.reports.get(format));
        if let Some(landed) = landing.and_then(|landing| landing.landed.as_ref()) {
            day.fresh.remove(&landed.key);
        }
    }
    destroy(run, &mut day.manifest, &mut findings).await?;
    Ok(true)
}
