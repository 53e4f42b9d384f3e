//! Brings the index of the days up to date at the end of a run, so that `status` and the page need not read the days again.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use crate::Result;
use crate::lake::key;
use crate::pipeline::job::Job;
use crate::pipeline::run_context::RunContext;
use crate::status::Coverage;

/// The dates whose days are in memory at once.
const DATES_AT_ONCE: usize = 31;

/// Takes the days of a job into the index, if the run has written anything and the lake has an index: its first reader makes
/// it. A failure costs the next reader time and nothing else.
pub(crate) async fn update(run: &RunContext, job: &Job) {
    if run.writes() == 0 || run.cancel.is_cancelled() {
        return;
    }
    let dates = job.from.iter_days().take_while(|date| *date <= job.to).collect();
    update_dates(run, &dates).await;
}

/// Takes the days of some dates into the index, if the lake has one.
pub(crate) async fn update_dates(run: &RunContext, dates: &BTreeSet<NaiveDate>) {
    if let Err(error) = index_dates(run, dates).await {
        tracing::debug!(%error, "the index of the days could not be brought up to date");
    }
}

async fn index_dates(run: &RunContext, dates: &BTreeSet<NaiveDate>) -> Result<()> {
    if dates.is_empty() {
        return Ok(());
    }
    if run.store.list(key::DAY_INDEXES).await?.is_empty() {
        return Ok(());
    }
    let dates: Vec<NaiveDate> = dates.iter().copied().collect();
    for part in dates.chunks(DATES_AT_ONCE) {
        if let (Some(from), Some(to)) = (part.first(), part.last()) {
            Coverage::default().index_range(&*run.store, *from, *to).await?;
        }
    }
    Ok(())
}
