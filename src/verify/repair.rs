//! Mending what a verification found: from `raw/`, from the manifests, or from the API. What can't be explained is
//! never removed; what is put out of the way is kept below `_telelake/aside/`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{Days, NaiveDate};
use sha2::{Digest, Sha256};

use super::finding::{Doubled, Finding, Kind, Remedy};
use super::{Verifier, table_names};
use crate::ids::{DayId, SpaceId};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::pipeline::day::state::DayState;
use crate::pipeline::day::{build, commit};
use crate::pipeline::lake_state::catalog;
use crate::pipeline::lake_state::info::OpenedStore;
use crate::pipeline::run_context::RunContext;
use crate::pipeline::{Again, Command, Exporter, Job, orphan_uploads};
use crate::store::Condition;
use crate::store::json::get_json;
use crate::{Error, ErrorKind, Result, tables};

/// A day: date and space.

/// What a repair does.
struct Mender<'v> {
    verifier: &'v Verifier,
    run: Arc<RunContext>,
    /// What could not be done, and why.
    notes: Vec<String>,
}

/// Mends what can be mended; gives what could not be done, and why.
///
/// # Errors
/// Of a store out of reach, or when the work is stopped.
pub(crate) async fn mend(verifier: &Verifier, findings: &[Finding]) -> Result<Vec<String>> {
    verifier.store.preflight().await?;
    let mut mender = Mender {
        run: run(verifier).await?,
        verifier,
        notes: Vec::new(),
    };
    let workshop_of = Arc::clone(&mender.run);
    workshop_of
        .alone(Command::Repair, Box::pin(mender.evict(findings)))
        .await
        .flatten()?;
    // Its runs take their own turn.
    mender.land(findings).await?;
    // What was landed has changed what days stand on.
    mender.run = run(verifier).await?;
    let workshop_of = Arc::clone(&mender.run);
    let last = Box::pin(async {
        mender.build(findings).await?;
        mender.rest(findings).await
    });
    workshop_of.alone(Command::Repair, last).await.flatten()?;
    Ok(mender.notes)
}

async fn run(verifier: &Verifier) -> Result<Arc<RunContext>> {
    let run = verifier.run()?;
    // A description of the store that can't be read is a finding of its own; writes are conditional then.
    if let Ok(Some(opened)) = OpenedStore::open(&run).await {
        run.conditional.store(
            opened.info.conditional_writes,
            std::sync::atomic::Ordering::Relaxed,
        );
    }
    Ok(Arc::new(run))
}

fn day_of(finding: &Finding) -> Option<DayId> {
    Some(DayId::new(finding.date?, finding.space_id.clone()?))
}

impl Mender<'_> {
    /// Takes note of what failed of one thing; the store itself, or a stop, ends the repair.
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

    /// Fetches again what is gone or damaged, and days whose manifest is.
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
                    if finding.kind != Kind::MarkerWithoutManifest {
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
        if let Err(error) = self.verifier.config.require_token() {
            self.notes
                .push(format!("what has to be fetched again was not: {error}"));
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
            let outcome = self.fetch(&space.as_str().into(), from, to, &again).await;
            self.note(&format!("space {space}, {from} to {to}"), outcome)?;
        }
        for (day, tables) in replaced {
            let outcome = remove_replaced(&self.run, &day, tables).await;
            self.note(&key::manifest(day.date, &day.space), outcome)?;
        }
        Ok(())
    }

    async fn fetch(&mut self, space: &SpaceId, from: NaiveDate, to: NaiveDate, again: &Again) -> Result<()> {
        let exporter = Exporter::new(
            self.verifier.config.clone(),
            Arc::clone(&self.verifier.store),
            Arc::clone(&self.verifier.progress),
            &self.verifier.cancel,
            self.verifier.now,
        )?;
        let job = Job {
            spaces: vec![space.to_owned()],
            ..Job::over(Command::Repair, from, to)
        };
        let summary = Box::pin(exporter.landing_again(again.clone()).run(&job)).await?;
        let kept = summary
            .warnings
            .iter()
            .filter(|warning| warning.kind == "report_kept");
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

    /// What takes a write or two each.
    async fn rest(&mut self, findings: &[Finding]) -> Result<()> {
        let mut done = HashSet::new();
        for finding in findings {
            let run = &self.run;
            let outcome = match &finding.remedy {
                Some(Remedy::Meta(date)) if done.insert(Some(*date)) => meta(run, *date).await,
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

/// Days of a space that follow one another.
fn spans(days: &BTreeSet<DayId>) -> Vec<(SpaceId, NaiveDate, NaiveDate)> {
    let mut by_space: BTreeMap<&str, Vec<NaiveDate>> = BTreeMap::new();
    for DayId { date, space } in days {
        by_space.entry(space).or_default().push(*date);
    }
    let mut spans: Vec<(SpaceId, NaiveDate, NaiveDate)> = Vec::new();
    for (space, dates) in by_space {
        for date in dates {
            match spans.last_mut() {
                Some((of, _, end)) if of == space && *end + Days::new(1) == date => *end = date,
                _ => spans.push((space.to_owned().into(), date, date)),
            }
        }
    }
    spans
}

/// Takes a call or a record off a day that is not its own. Its bytes there go once the manifest no longer tells of
/// them; the right day has its own.
async fn evict(run: &Arc<RunContext>, space: &SpaceId, kind: Kind, doubled: &Doubled) -> Result<()> {
    let key = key::manifest(doubled.wrong, space);
    let Some((manifest, version)) = get_json::<Manifest>(&*run.store, &key).await? else {
        return Ok(());
    };
    let mut day = DayState::from_stored(manifest, version);
    let landed: Vec<_> = match kind {
        Kind::CallDoubled => {
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
    // Nothing else is known of the day: it is none.
    let built = day.manifest.built.iter().flat_map(|built| built.tables.values());
    let tables: Vec<_> = built.map(|table| table.key.clone()).collect();
    let marker = key::open_day(doubled.wrong, space);
    let evicted = std::mem::take(&mut day.manifest.evicted);
    for key in [key].into_iter().chain(evicted).chain(tables).chain([marker]) {
        run.delete(&key).await?;
    }
    Ok(())
}

/// Keeps what lies there of a day whose manifest is gone or damaged, and opens the day. Gives the keys of its tables.
async fn set_aside(run: &RunContext, DayId { date, space }: &DayId) -> Result<Vec<String>> {
    let stamp = run.now.format("%Y%m%dT%H%M%SZ").to_string();
    let manifest = key::manifest(*date, space);
    let mut tables = Vec::new();
    for name in table_names(run) {
        tables.push(key::table(&name, *date, space));
    }
    let mut kept = Vec::new();
    for key in tables.iter().chain([&manifest]) {
        match run.store.get(key).await {
            Ok(object) => {
                let aside = key::set_aside(key, &stamp);
                run.put(&aside, object.bytes, Condition::Any).await?;
                kept.push(key.clone());
            }
            Err(error) if error.kind() == ErrorKind::StoreNotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Before the manifest goes: should this end here, the next run makes the day up.
    let marker = key::open_day(*date, space);
    run.put(&marker, Bytes::new(), Condition::Any).await?;
    if kept.last() == Some(&manifest) {
        run.delete(&manifest).await?;
        kept.pop();
    }
    Ok(kept)
}

/// Removes the tables of a day that was landed anew, as far as its new manifest has none of that name: their bytes
/// have been set aside.
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

/// Builds a day's tables again, if all that they are built from is there as it was landed: nothing is built of
/// damaged reports.
async fn build(run: &Arc<RunContext>, key: &str) -> Result<()> {
    let Some((manifest, version)) = get_json::<Manifest>(&*run.store, key).await? else {
        return Ok(());
    };
    for (_, _, landed) in tables::due_reports(&manifest) {
        let bytes = run.store.get(&landed.key).await?.bytes;
        if hex::encode(Sha256::digest(&bytes)) != landed.sha256 {
            let message = "is not what was landed: the day's tables were not built from it";
            return Err(Error::new(ErrorKind::Content, &*landed.key, message));
        }
    }
    build::build_again(run, &mut DayState::from_stored(manifest, version)).await
}

async fn meta(run: &RunContext, date: NaiveDate) -> Result<()> {
    match run.store.size(&key::meta_shelf(date)).await? {
        Some(_) => crate::pipeline::lessons::import::mend(run, date).await,
        None => Ok(()),
    }
}

/// Aborts what is left of a key's uploads.
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
    fn days_that_follow_one_another_are_one_span() {
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
