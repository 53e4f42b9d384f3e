//! Verifies a day: compares its manifest with the store, and with a rebuild.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use super::days_table;
use super::finding::{Finding, FindingKind, Remedy};
use super::objects::{Expected, ObjectOf, check_object, expected, sha256, table};
use crate::Result;
use crate::lake::key;
use crate::lake::manifest::{Manifest, Status};
use crate::pipeline::DataKind;
use crate::pipeline::day::{build, commit, expire};
use crate::pipeline::run_context::RunContext;
use crate::store::Version;
use crate::tables;
use crate::tables::RowKey;
use crate::verify::session::{CheckedFile, ItemKind, ObjectRead, Verification, object_error, unreadable};

/// The most attempts at a day that a run changes meanwhile.
const LOOKS: usize = 3;
/// Objects of a day checked at once.
const OBJECTS_AT_ONCE: usize = 8;

/// The result of one attempt at a day; it counts only if the day did not change meanwhile.
#[derive(Default)]
struct DayCheck {
    findings: Vec<Finding>,
    rows: Vec<(String, CheckedFile, Vec<RowKey>)>,
    counts: super::finding::VerifyCounts,
}

impl DayCheck {
    fn count(&mut self, object: &Expected<'_>) {
        match object.what {
            ObjectOf::Report { .. } => self.counts.reports += 1,
            ObjectOf::Recording { .. } => self.counts.recordings += 1,
            ObjectOf::Table { rows, .. } => {
                self.counts.tables += 1;
                self.counts.rows += rows;
            }
        }
    }
}

/// Verifies a day, again if a run changed it meanwhile.
pub(crate) async fn verify(
    verification: &Arc<Verification>,
    builder: &Arc<RunContext>,
    date: NaiveDate,
    key: &str,
) -> Result<()> {
    for last in (0..LOOKS).rev() {
        let (manifest, version) = match verification.read_json::<Manifest>(key).await? {
            ObjectRead::Parsed(manifest, version) => (manifest, version),
            // Another process has removed it since.
            ObjectRead::Missing => return Ok(()),
            ObjectRead::Damaged(why) => {
                verification.report(damaged(date, key, why).remedy(Remedy::Day));
                return Ok(());
            }
            ObjectRead::Newer(version) => {
                verification.report(damaged(
                    date,
                    key,
                    format!("version {version}, which a newer telelake wrote"),
                ));
                return Ok(());
            }
            ObjectRead::Unreadable(why) => {
                verification.report(unreadable(key, &why).date(Some(date)));
                return Ok(());
            }
        };
        if let Some(why) = inconsistent(&manifest, key) {
            verification.report(damaged(date, key, why).remedy(Remedy::Day));
            return Ok(());
        }
        let check = check_day(verification, builder, &manifest, &version).await?;
        let same = check.findings.is_empty() || last == 0 || unchanged(verification, key, &version).await?;
        if same {
            days_table::note(verification, &manifest)?;
            take_over(verification, &manifest, check);
            return Ok(());
        }
    }
    Ok(())
}

/// Notes the calls and records of a day just outside of the dates.
pub(crate) async fn note_neighbour(verification: &Verification, key: &str) -> Result<()> {
    if let ObjectRead::Parsed(manifest, _) = verification.read_json::<Manifest>(key).await? {
        note_ids(verification, &manifest);
    }
    Ok(())
}

async fn unchanged(verification: &Verification, key: &str, version: &Version) -> Result<bool> {
    Ok(
        matches!(verification.read_json::<Manifest>(key).await?, ObjectRead::Parsed(_, now) if now == *version),
    )
}

/// The finding about a damaged manifest. Its key gives the space, unless the key was cut.
fn damaged(date: NaiveDate, key: &str, why: String) -> Finding {
    let finding = Finding::new(FindingKind::ManifestDamaged, key)
        .date(Some(date))
        .differs("the day's manifest", why);
    let name = key.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
    match name.and_then(key::unsegment) {
        Some(space) => finding.on(date, &space.into()),
        None => finding,
    }
}

/// The reason why this program can't have written a manifest; `None` if it can.
pub(crate) fn inconsistent(manifest: &Manifest, key: &str) -> Option<String> {
    let (date, space) = (manifest.date, manifest.space_id.as_str());
    if key::manifest(date, &space.into()) != key {
        return Some(format!("the manifest of {date} of space {space}"));
    }
    let seg = key::segment(space);
    let places = [
        format!("raw/reports/date={date}/{seg}/"),
        format!("{}date={date}/{seg}/", key::MEDIA),
    ];
    let landings = manifest.calls.iter().flat_map(|(id, call)| {
        let reports = call.reports.values();
        reports.map(move |landing| (id.as_str(), landing, 0))
    });
    let files = manifest.records.iter().map(|(id, it)| (id.as_str(), &it.file, 1));
    for (id, landing, place) in landings.chain(files) {
        match &landing.landed {
            None if landing.status == Status::Done => {
                return Some(format!("{id} as done, but without bytes"));
            }
            Some(landed) if !landed.key.starts_with(&places[place]) => {
                return Some(format!("{id} at a key of another day"));
            }
            _ => {}
        }
    }
    let tables = manifest.built.iter().flat_map(|built| &built.tables);
    tables
        .filter(|(name, entry)| entry.key != key::table(name, date, &space.into()))
        .map(|(name, _)| format!("the table {name} at a key of another day"))
        .next()
}

async fn check_day(
    verification: &Arc<Verification>,
    builder: &Arc<RunContext>,
    manifest: &Manifest,
    version: &Version,
) -> Result<DayCheck> {
    let mut check = DayCheck::default();
    check.counts.days = 1;
    let open = commit::has_open_items(&verification.run.config, manifest);
    check.counts.days_open = u64::from(open || !manifest.is_built());
    check_marker(verification, manifest, open, &mut check).await?;
    if !manifest.is_built() {
        check.findings.push(
            Finding::new(
                FindingKind::DayNotBuilt,
                key::manifest(manifest.date, &manifest.space_id),
            )
            .on(manifest.date, &manifest.space_id)
            .differs(
                "tables of all landed reports",
                "a build that did not end: a run was killed, or is working on it",
            )
            .remedy(Remedy::Build),
        );
    }
    let mut objects = expected(manifest);
    objects.retain(|object| {
        // A run that was killed while it replaced tables left a day that is known to be not built.
        let is_checked = manifest.is_built() || !matches!(object.what, ObjectOf::Table { .. });
        if is_checked {
            check.count(object);
        } else {
            verification.inventory().take(object.key);
        }
        is_checked
    });
    let checks: Vec<_> = objects
        .into_iter()
        .map(|object| check_object(verification, manifest, object).boxed())
        .collect();
    let mut checking = stream::iter(checks).buffer_unordered(OBJECTS_AT_ONCE);
    while let Some(object) = checking.try_next().await? {
        check.findings.extend(object.finding);
        check.rows.extend(object.rows);
    }
    drop(checking);
    let can_rebuild = !manifest.is_frozen() && !may_lack_reports(verification, manifest);
    if verification.options.rebuild && manifest.is_built() && !can_rebuild {
        check.counts.days_frozen = 1;
    } else if verification.options.rebuild && check.findings.is_empty() && manifest.is_built() {
        rebuild(builder, manifest, version, &mut check).await?;
    }
    Ok(check)
}

/// True if a rule of the store may have removed reports of the day, because their retention is over.
fn may_lack_reports(verification: &Verification, manifest: &Manifest) -> bool {
    let cutoffs = &verification.run.cutoffs;
    cutoffs.is_over(DataKind::Raw, manifest.date) && expire::has_reports(manifest)
}

/// Checks that a day with something pending has a marker, so that runs come back to it.
async fn check_marker(
    verification: &Verification,
    manifest: &Manifest,
    open: bool,
    check: &mut DayCheck,
) -> Result<()> {
    let marker = key::open_day(manifest.date, &manifest.space_id);
    let listed = verification.inventory().markers.remove(&marker);
    if open && !listed && verification.run.store.size(&marker).await?.is_none() {
        check.findings.push(
            Finding::new(FindingKind::DayNotMarked, marker)
                .on(manifest.date, &manifest.space_id)
                .differs("a marker: the day has something pending or failed", "none")
                .remedy(Remedy::Mark),
        );
    }
    Ok(())
}

/// Compares the stored tables with those that a build gives now.
async fn rebuild(
    builder: &Arc<RunContext>,
    manifest: &Manifest,
    version: &Version,
    check: &mut DayCheck,
) -> Result<()> {
    let Some(built) = &manifest.built else {
        return Ok(());
    };
    let fingerprint = tables::fingerprint(manifest, &builder.mapping);
    let current = build::is_current(builder, manifest, built, &fingerprint);
    let files = match current.await {
        Ok(false) => {
            check.counts.days_stale = 1;
            return Ok(());
        }
        Ok(true) => build::build_only(builder, manifest.clone(), version.clone()).await,
        Err(error) => Err(error),
    };
    let files = match files {
        Ok(files) => files,
        Err(error) => {
            let why = object_error(error)?;
            let key = key::manifest(manifest.date, &manifest.space_id);
            check.findings.push(
                Finding::new(FindingKind::NotRebuildable, key)
                    .on(manifest.date, &manifest.space_id)
                    .differs("tables", why),
            );
            return Ok(());
        }
    };
    check.counts.days_rebuilt = 1;
    let again: BTreeMap<_, _> = files
        .iter()
        .map(|file| (file.table.as_str(), (file.key.as_str(), file.sha256.as_str())))
        .collect();
    for (name, entry) in &built.tables {
        let found = again.get(name.as_str()).map(|(_, sha256)| *sha256);
        if found != Some(&entry.sha256) {
            let expected = found.map_or_else(|| "no file".into(), sha256);
            check.findings.push(
                table(FindingKind::TableDiffers, manifest, &entry.key)
                    .differs(expected, sha256(&entry.sha256)),
            );
        }
    }
    for (name, (key, digest)) in again {
        if !built.tables.contains_key(name) {
            check
                .findings
                .push(table(FindingKind::TableDiffers, manifest, key).differs(sha256(digest), "no file"));
        }
    }
    Ok(())
}

fn note_ids(verification: &Verification, manifest: &Manifest) {
    let mut results = verification.results();
    let calls = manifest.calls.keys().map(|id| (ItemKind::Call, id.as_str()));
    let records = manifest.records.keys().map(|id| (ItemKind::Record, id.as_str()));
    for (item, id) in calls.chain(records) {
        let key = (item, manifest.space_id.clone(), id.to_owned());
        results.ids.entry(key).or_default().push(manifest.date);
    }
}

fn take_over(verification: &Verification, manifest: &Manifest, check: DayCheck) {
    note_ids(verification, manifest);
    let mut results = verification.results();
    results.findings.extend(check.findings);
    results.counts.add(&check.counts);
    for (table, file, keys) in check.rows {
        results.note_rows(table, file, keys);
    }
}
