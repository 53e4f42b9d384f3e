//! Verifies a day: compares its manifest with the store, and with a rebuild.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

use super::finding::{Finding, FindingKind, Remedy};
use super::objects::{Expected, What, expected, hold, sha256, table};
use crate::Result;
use crate::lake::key;
use crate::lake::manifest::{Manifest, Status};
use crate::pipeline::day::{build, commit};
use crate::pipeline::run_context::RunContext;
use crate::store::Version;
use crate::tables;
use crate::tables::RowKey;
use crate::verify::session::{Read, SeenFile, Thing, Verification, of_one_object, unreadable};

/// The most attempts at a day that a run changes meanwhile.
const LOOKS: usize = 3;
/// Objects of a day checked at once.
const OBJECTS_AT_ONCE: usize = 8;

/// The result of one attempt at a day; it counts only if the day did not change meanwhile.
#[derive(Default)]
struct Looked {
    findings: Vec<Finding>,
    rows: Vec<(String, SeenFile, Vec<RowKey>)>,
    counts: super::finding::Counts,
}

impl Looked {
    fn count(&mut self, object: &Expected<'_>) {
        match object.what {
            What::Report { .. } => self.counts.reports += 1,
            What::Recording { .. } => self.counts.recordings += 1,
            What::Table { rows, .. } => {
                self.counts.tables += 1;
                self.counts.rows += rows;
            }
        }
    }
}

/// Verifies a day, again if a run changed it meanwhile.
pub(crate) async fn verify(
    look: &Arc<Verification>,
    builder: &Arc<RunContext>,
    date: NaiveDate,
    key: &str,
) -> Result<()> {
    for last in (0..LOOKS).rev() {
        let (manifest, version) = match look.json::<Manifest>(key).await? {
            Read::There(manifest, version) => (manifest, version),
            // Another process has removed it since.
            Read::Missing => return Ok(()),
            Read::Damaged(why) => {
                look.find(damaged(date, key, why).remedy(Remedy::Day));
                return Ok(());
            }
            Read::Newer(version) => {
                look.find(damaged(
                    date,
                    key,
                    format!("version {version}, which a newer telelake wrote"),
                ));
                return Ok(());
            }
            Read::Unreadable(why) => {
                look.find(unreadable(key, &why).date(Some(date)));
                return Ok(());
            }
        };
        if let Some(why) = inconsistent(&manifest, key) {
            look.find(damaged(date, key, why).remedy(Remedy::Day));
            return Ok(());
        }
        let looked = once(look, builder, &manifest, &version).await?;
        let same = looked.findings.is_empty() || last == 0 || unchanged(look, key, &version).await?;
        if same {
            take(look, &manifest, looked);
            return Ok(());
        }
    }
    Ok(())
}

/// Notes the calls and records of a day just outside of the dates.
pub(crate) async fn note_beside(look: &Verification, key: &str) -> Result<()> {
    if let Read::There(manifest, _) = look.json::<Manifest>(key).await? {
        note_ids(look, &manifest);
    }
    Ok(())
}

async fn unchanged(look: &Verification, key: &str, version: &Version) -> Result<bool> {
    Ok(matches!(look.json::<Manifest>(key).await?, Read::There(_, now) if now == *version))
}

/// The finding about a damaged manifest. Its key gives the space, unless the key was cut.
fn damaged(date: NaiveDate, key: &str, why: String) -> Finding {
    let finding = Finding::new(FindingKind::ManifestDamaged, key)
        .date(Some(date))
        .differs("the day's manifest", why);
    let name = key.rsplit('/').next().and_then(|name| name.strip_suffix(".json"));
    match name.and_then(key::unsegment) {
        Some(space) => finding.on(date, &space.as_str().into()),
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
        format!("recordings/date={date}/{seg}/"),
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

async fn once(
    look: &Arc<Verification>,
    builder: &Arc<RunContext>,
    manifest: &Manifest,
    version: &Version,
) -> Result<Looked> {
    let mut looked = Looked::default();
    looked.counts.days = 1;
    let open = commit::has_open_items(&look.run.config, manifest);
    looked.counts.days_open = u64::from(open || !manifest.is_built());
    marked(look, manifest, open, &mut looked).await?;
    if !manifest.is_built() {
        looked.findings.push(
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
        let held = manifest.is_built() || !matches!(object.what, What::Table { .. });
        if held {
            looked.count(object);
        } else {
            look.inventory().take(object.key);
        }
        held
    });
    let holds: Vec<_> = objects
        .into_iter()
        .map(|object| hold(look, manifest, object).boxed())
        .collect();
    let mut holding = stream::iter(holds).buffer_unordered(OBJECTS_AT_ONCE);
    while let Some(held) = holding.try_next().await? {
        looked.findings.extend(held.finding);
        looked.rows.extend(held.rows);
    }
    drop(holding);
    if look.options.rebuild && looked.findings.is_empty() && manifest.is_built() {
        rebuild(builder, manifest, version, &mut looked).await?;
    }
    Ok(looked)
}

/// Checks that a day with something pending has a marker, so that runs come back to it.
async fn marked(look: &Verification, manifest: &Manifest, open: bool, looked: &mut Looked) -> Result<()> {
    let marker = key::open_day(manifest.date, &manifest.space_id);
    let listed = look.inventory().markers.remove(&marker);
    if open && !listed && look.run.store.size(&marker).await?.is_none() {
        looked.findings.push(
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
    looked: &mut Looked,
) -> Result<()> {
    let Some(built) = &manifest.built else {
        return Ok(());
    };
    let fingerprint = tables::fingerprint(manifest, &builder.mapping);
    let current = build::is_current(builder, manifest, built, &fingerprint);
    let files = match current.await {
        Ok(false) => {
            looked.counts.days_stale = 1;
            return Ok(());
        }
        Ok(true) => build::build_only(builder, manifest.clone(), version.clone()).await,
        Err(error) => Err(error),
    };
    let files = match files {
        Ok(files) => files,
        Err(error) => {
            let why = of_one_object(error)?;
            let key = key::manifest(manifest.date, &manifest.space_id);
            looked.findings.push(
                Finding::new(FindingKind::NotRebuildable, key)
                    .on(manifest.date, &manifest.space_id)
                    .differs("tables", why),
            );
            return Ok(());
        }
    };
    looked.counts.days_rebuilt = 1;
    let again: BTreeMap<_, _> = files
        .iter()
        .map(|file| (file.table.as_str(), (file.key.as_str(), file.sha256.as_str())))
        .collect();
    for (name, entry) in &built.tables {
        let found = again.get(name.as_str()).map(|(_, sha256)| *sha256);
        if found != Some(&entry.sha256) {
            let expected = found.map_or_else(|| "no file".into(), sha256);
            looked.findings.push(
                table(FindingKind::TableDiffers, manifest, &entry.key).differs(expected, sha256(&entry.sha256)),
            );
        }
    }
    for (name, (key, digest)) in again {
        if !built.tables.contains_key(name) {
            looked
                .findings
                .push(table(FindingKind::TableDiffers, manifest, key).differs(sha256(digest), "no file"));
        }
    }
    Ok(())
}

fn note_ids(look: &Verification, manifest: &Manifest) {
    let mut seen = look.seen();
    let calls = manifest.calls.keys().map(|id| (Thing::Call, id.as_str()));
    let records = manifest.records.keys().map(|id| (Thing::Record, id.as_str()));
    for (thing, id) in calls.chain(records) {
        let key = (thing, manifest.space_id.clone(), id.to_owned());
        seen.ids.entry(key).or_default().push(manifest.date);
    }
}

fn take(look: &Verification, manifest: &Manifest, looked: Looked) {
    note_ids(look, manifest);
    let mut seen = look.seen();
    seen.findings.extend(looked.findings);
    seen.counts.add(&looked.counts);
    for (table, file, keys) in looked.rows {
        seen.note_rows(table, file, keys);
    }
}
