//! The tables of no single day under a changed `[privacy]`: lesson data, rooms, spaces and the table of days. Days are built
//! again because the policy is a part of their fingerprint; these tables have none, so the store's description says under
//! which policy they were built.

use std::sync::atomic::Ordering;

use super::catalog;
use super::info::StoreInfo;
use crate::Result;
use crate::ids::SpaceId;
use crate::lake::key;
use crate::lake::table::builtin::days;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::summary::{Problem, ProblemKind, Summary};

/// Builds these tables again if the policy has changed since, and notes the policy. An error is a failure in the summary, and
/// the next run tries it again.
pub(crate) async fn refresh(run: &RunContext, summary: &mut Summary) {
    if run.is_under_policy.load(Ordering::Relaxed) || run.cancel.is_cancelled() {
        return;
    }
    if let Err(error) = rebuild(run).await {
        summary.fail(Problem::new(
            ProblemKind::MetaFailed,
            format!("the tables of lesson data, rooms, spaces and days under the changed [privacy]: {error}"),
        ));
    }
}

async fn rebuild(run: &RunContext) -> Result<()> {
    tracing::info!(
        "[privacy] has changed: the tables of lesson data, rooms, spaces and days are built again"
    );
    for object in run.store.list(key::LESSON_DAYS).await? {
        if let Some(date) = key::date_in(&object.key) {
            run.lessons.rebuild_tables(date).await?;
        }
    }
    catalog::rebuild_all(run).await?;
    for object in run.store.list(&format!("{}/", days::NAME)).await? {
        let name = object.key.rsplit('/').next();
        let space = name.and_then(|name| key::unsegment(name.strip_suffix(".parquet")?));
        if let Some(space) = space {
            run.days.make_anew(&SpaceId::from(space)).await?;
        }
    }
    let noted = StoreInfo::note_policy(&*run.store, run.mapping.privacy()).await?;
    run.writes.fetch_add(u64::from(noted), Ordering::Relaxed);
    run.is_under_policy.store(true, Ordering::Relaxed);
    Ok(())
}
