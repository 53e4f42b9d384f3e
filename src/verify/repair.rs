//! The repair of findings: from `raw/`, from the manifests, or from the API. It never removes an object that can't be
//! explained, and keeps what it puts out of the way below `_telelake/aside/`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use super::finding::{Duplicate, Finding, FindingKind, Remedy};
use super::{Verifier, table_names};
use crate::dates;
use crate::ids::{DayId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::day::edit::edit_day;
use crate::pipeline::day::state::DayState;
use crate::pipeline::day::{build, commit};
use crate::pipeline::lake_state::catalog;
use crate::pipeline::retention::row_edit;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::{Again, Command, Exporter, Job, ProblemKind, orphan_uploads};
use crate::store::json::get_json;
use crate::store::{Condition, OptionalExt};
use crate::{Error, ErrorKind, Result, tables};

/// A repair that is going on.
struct Repair<'v> {
    verifier: &'v Verifier,
    run: Arc<RunContext>,
    /// The findings that could not be repaired, and why.
    notes: Vec<String>,
}

/// Repairs the findings that can be repaired. Gives those that could not be, and why.
///
/// # Errors
/// The store is out of reach, or the work was stopped.
pub(crate) async fn repair_findings(verifier: &Verifier, findings: &[Finding]) -> Result<Vec<String>> {
    verifier.setting.store.preflight().await?;
    let mut repair = Repair {
        run: open_context(verifier).await?,
        verifier,
        notes: Vec::new(),
    };
    let run = Arc::clone(&repair.run);
    run.alone(Command::Repair, Box::pin(repair.evict(findings)))
        .await
        .flatten()?;
    // These runs take the lease themselves.
    repair.land(findings).await?;
    // A new context, because the runs have changed what days are built from.
    repair.run = open_context(verifier).await?;
    let run = Arc::clone(&repair.run);
    let last = Box::pin(async {
        repair.build(findings).await?;
        repair.rest(findings).await
    });
    run.alone(Command::Repair, last).await.flatten()?;
    Ok(repair.notes)
}

async fn open_context(verifier: &Verifier) -> Result<Arc<RunContext>> {
    let run = RunContext::new(verifier.setting.clone())?;
    // A description of the store that can't be read is a finding of its own; writes are conditional then.
    let _ = run.open_lake().await;
    Ok(Arc::new(run))
}

fn day_of(finding: &Finding) -> Option<DayId> {
    Some(DayId::new(finding.date?, finding.space_id.clone()?))
}

impl Repair<'_> {
    /// Notes why a finding could not be repaired. An error of the store itself, or a stop, ends the repair.
    fn note(&mut self, about: &str, outcome: Result<()>) -> Result<()> {
        match outcome {
            Err(error) if matches!(error.kind(), ErrorKind::StoreUnavailable | ErrorKind::Interrupted) => {
                Err(error)
            }
            Err(error) => {
                self.notes.push(format!("{about}: {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn evict(&mut self, findings: &[Finding]) -> Result<()> {
        for finding in findings {
            if let (Some(Remedy::Evict(doubled)), Some(space)) = (&finding.remedy, &finding.space_id) {
                let outcome = evict(&self.run, space, finding.kind, doubled).await;
                self.note(&finding.key, outcome)?;
            }
        }
        Ok(())
    }

    /// Fetches missing and damaged objects again, and whole days whose manifest is missing or damaged.
    async fn land(&mut self, findings: &[Finding]) -> Result<()> {
        let mut again = Again::new();
        let (mut whole, mut days) = (BTreeSet::new(), BTreeSet::new());
        for finding in findings {
            let Some(day) = day_of(finding) else { continue };
            match &finding.remedy {
                Some(Remedy::Land(piece)) => {
                    again.insert((day.clone(), piece.clone()));
                    days.insert(day);
                }
                Some(Remedy::Day) => {
                    if finding.kind != FindingKind::MarkerWithoutManifest {
                        whole.insert(day.clone());
                    }
                    days.insert(day);
                }
                _ => {}
            }
        }
        if days.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.verifier.setting.config.require_token() {
            self.notes
                .push(format!("missing objects were not fetched again: {error}"));
            return Ok(());
        }
        let mut replaced = Vec::new();
        for day in whole {
            match set_aside(&self.run, &day).await {
                Ok(tables) => replaced.push((day, tables)),
                Err(error) => {
                    let about = key::manifest(day.date, &day.space);
                    days.remove(&day);
                    self.note(&about, Err(error))?;
                }
            }
        }
        for (space, from, to) in spans(&days) {
            let outcome = self.fetch(&space, from, to, &again).await;
            self.note(&format!("space {space}, {from} to {to}"), outcome)?;
        }
        for (day, tables) in replaced {
            let outcome = remove_replaced(&self.run, &day, tables).await;
            self.note(&key::manifest(day.date, &day.space), outcome)?;
        }
        Ok(())
    }

    async fn fetch(&mut self, space: &SpaceId, from: NaiveDate, to: NaiveDate, again: &Again) -> Result<()> {
        let exporter = Exporter::new(self.verifier.setting.clone())?;
        let job = Job {
            spaces: vec![space.to_owned()],
            ..Job::over(Command::Repair, from, to)
        };
        let summary = Box::pin(exporter.landing_again(again.clone()).run(&job)).await?;
        let kept = summary
            .warnings
            .iter()
            .filter(|warning| warning.kind == ProblemKind::ReportKept);
        for problem in summary.failed.iter().chain(kept) {
            self.notes.push(problem.one_line());
        }
        match &summary.error {
            Some(error) => Err(Error::new(ErrorKind::Rejected, "API", error)),
            None => Ok(()),
        }
    }

    async fn build(&mut self, findings: &[Finding]) -> Result<()> {
        let to_build = findings
            .iter()
            .filter(|finding| finding.remedy == Some(Remedy::Build));
        let days: BTreeSet<_> = to_build.filter_map(day_of).collect();
        for DayId { date, space } in days {
            let key = key::manifest(date, &space);
            let outcome = build(&self.run, &key).await;
            self.note(&key, outcome)?;
        }
        Ok(())
    }

    /// Repairs the findings that take a write or two each.
    async fn rest(&mut self, findings: &[Finding]) -> Result<()> {
        let mut done = HashSet::new();
        for finding in findings {
            let run = &self.run;
            let outcome = match &finding.remedy {
                Some(Remedy::Meta(date)) if done.insert(Some(*date)) => meta(run, *date).await,
                Some(Remedy::Days(space)) => run.days.make_anew(space).await,
                Some(Remedy::Catalog) if done.insert(None) => catalog::rebuild_all(run).await,
                Some(Remedy::Mark) => run
                    .put(&finding.key, Bytes::new(), Condition::Any)
                    .await
                    .map(drop),
                Some(Remedy::Abort) => abort(run, &finding.key).await,
                Some(Remedy::Remove) => run.delete(&finding.key).await,
                _ => Ok(()),
            };
            self.note(&finding.key, outcome)?;
        }
        Ok(())
    }
}

/// The days as spans of consecutive dates of a space.
fn spans(days: &BTreeSet<DayId>) -> Vec<(SpaceId, NaiveDate, NaiveDate)> {
    let mut by_space: BTreeMap<&SpaceId, Vec<NaiveDate>> = BTreeMap::new();
    for DayId { date, space } in days {
        by_space.entry(space).or_default().push(*date);
    }
    let spans = by_space.into_iter().flat_map(|(space, dates)| {
        let spans = dates::spans(dates).into_iter();
        spans.map(|(from, to)| (space.clone(), from, to))
    });
    spans.collect()
}

/// Removes a call or a record from a day that is not its own. Its bytes there are removed once the manifest no longer
/// names them; the right day has its own.
async fn evict(run: &Arc<RunContext>, space: &SpaceId, kind: FindingKind, doubled: &Duplicate) -> Result<()> {
    let key = key::manifest(doubled.wrong, space);
    let Some((manifest, version)) = get_json::<Manifest>(&*run.store, &key).await? else {
        return Ok(());
    };
    let mut day = DayState::from_stored(manifest, version);
    let landed: Vec<_> = match kind {
        FindingKind::CallDoubled => {
            let call = day.manifest.calls.remove(doubled.id.as_str());
            let reports = call.into_iter().flat_map(|call| call.reports.into_values());
            reports.filter_map(|landing| landing.landed).collect()
        }
        _ => {
            let record = day.manifest.records.remove(doubled.id.as_str());
            record.and_then(|record| record.file.landed).into_iter().collect()
        }
    };
    let evicted = &mut day.manifest.evicted;
    evicted.extend(landed.into_iter().map(|landed| landed.key));
    if !commit::is_blank(&day.manifest) {
        return build::build_and_commit(run, &mut day).await;
    }
    // The manifest is now empty, so delete the day entirely.
    let built = day.manifest.built.iter().flat_map(|built| built.tables.values());
    let tables: Vec<_> = built.map(|table| table.key.clone()).collect();
    let marker = key::open_day(doubled.wrong, space);
    let evicted = std::mem::take(&mut day.manifest.evicted);
    for key in [key].into_iter().chain(evicted).chain(tables) {
        run.delete(&key).await?;
    }
    run.days.remove(&day.id()).await?;
    run.delete(&marker).await
}

/// Copies the manifest and tables of a day aside, removes the manifest and opens the day. Gives the keys of the tables.
async fn set_aside(run: &RunContext, DayId { date, space }: &DayId) -> Result<Vec<String>> {
    let stamp = run.now.format("%Y%m%dT%H%M%SZ").to_string();
    let manifest = key::manifest(*date, space);
    let mut tables = Vec::new();
    for name in table_names(run) {
        tables.push(key::table(&name, *date, space));
    }
    let mut kept = Vec::new();
    for key in tables.iter().chain([&manifest]) {
        if let Some(bytes) = run.store.read(key).await.optional()? {
            let aside = key::set_aside(key, &stamp);
            run.put(&aside, bytes, Condition::Any).await?;
            kept.push(key.clone());
        }
    }
    // Write the marker before the manifest is removed: if this is killed, the next run lands the day.
    let marker = key::open_day(*date, space);
    run.put(&marker, Bytes::new(), Condition::Any).await?;
    if kept.last() == Some(&manifest) {
        run.delete(&manifest).await?;
        kept.pop();
    }
    Ok(kept)
}

/// Removes the tables that the new manifest of a landed day no longer has. Their bytes have been copied aside.
async fn remove_replaced(run: &RunContext, DayId { date, space }: &DayId, tables: Vec<String>) -> Result<()> {
    let key = key::manifest(*date, space);
    let Some((manifest, _)) = get_json::<Manifest>(&*run.store, &key).await? else {
        return Ok(());
    };
    let Some(built) = &manifest.built else {
        return Ok(());
    };
    for key in tables {
        if !built.tables.values().any(|table| table.key == key) {
            run.delete(&key).await?;
        }
    }
    Ok(())
}

/// Builds a day's tables again, unless a landed report is damaged: tables must not be built from it.
async fn build(run: &Arc<RunContext>, key: &str) -> Result<()> {
    let Some((manifest, version)) = get_json::<Manifest>(&*run.store, key).await? else {
        return Ok(());
    };
    if manifest.is_frozen() {
        return end_edit(run, &manifest).await;
    }
    for (_, _, landed) in tables::due_reports(&manifest) {
        let bytes = run.store.get(&landed.key).await?.bytes;
        if hex::encode(Sha256::digest(&bytes)) != landed.sha256 {
            let message = "has changed since it was landed, so that the day's tables were not built";
            return Err(Error::new(ErrorKind::Content, &*landed.key, message));
        }
    }
    build::build_again(run, &mut DayState::from_stored(manifest, version)).await
}

/// Takes the tables of a day as they are if an edit of them was killed, because no build can make them again.
async fn end_edit(run: &Arc<RunContext>, manifest: &Manifest) -> Result<()> {
    let id = DayId::new(manifest.date, manifest.space_id.clone());
    if manifest.building.is_none() {
        let key = key::manifest(id.date, &id.space);
        let message =
            "its raw reports were deleted after their retention, so that its tables can't be built again";
        return Err(Error::new(ErrorKind::Content, key, message)
            .hint("`backfill --force` over the date fetches the reports again"));
    }
    edit_day(run, &id, |_| {}, &row_edit(run)).await.map(drop)
}

async fn meta(run: &RunContext, date: NaiveDate) -> Result<()> {
    match run.store.size(&key::lesson_day(date)).await? {
        Some(_) => run.lessons.rebuild_tables(date).await,
        None => Ok(()),
    }
}

/// Aborts the orphan uploads of a key.
async fn abort(run: &RunContext, key: &str) -> Result<()> {
    for upload in orphan_uploads(&*run.store, run.config.export.recordings).await? {
        if upload.key == key {
            run.store.abort_upload(&upload).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_days_are_one_span() {
        let day = |date: &str, space: &str| DayId::new(date.parse().expect("a date"), space);
        let days = [
            day("2026-11-01", "a"),
            day("2026-11-02", "a"),
            day("2026-11-02", "b"),
            day("2026-11-04", "a"),
        ];
        let spans: Vec<_> = spans(&days.into())
            .into_iter()
            .map(|(space, from, to)| format!("{space} {from} {to}"))
            .collect();
        assert_eq!(
            spans,
            [
                "a 2026-11-01 2026-11-02",
                "a 2026-11-04 2026-11-04",
                "b 2026-11-02 2026-11-02"
            ]
        );
    }
}
