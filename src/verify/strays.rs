//! The objects that nothing in the lake names: objects of days without a manifest, markers without a day, uploads that
//! never ended, and strays.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDate, TimeDelta};

use super::day;
use super::finding::{Finding, FindingKind, Remedy};
use crate::Result;
use crate::lake::key;
use crate::lake::key_kind::KeyKind;
use crate::lake::manifest::Manifest;
use crate::pipeline::day::expire;
use crate::pipeline::orphan_uploads;
use crate::verify::session::{ObjectRead, Verification, unreadable};

/// An object of a store check that is older than this was left behind.
const PROBE_AGE: TimeDelta = TimeDelta::hours(24);

/// Finds the objects that nothing in the lake names.
pub(crate) async fn find_strays(verification: &Verification) -> Result<()> {
    let (objects, strays, probes, unknown) = {
        let mut inventory = verification.inventory();
        (
            std::mem::take(&mut inventory.objects),
            std::mem::take(&mut inventory.strays),
            std::mem::take(&mut inventory.probes),
            inventory.unknown,
        )
    };
    verification.results().counts.objects_unknown = unknown;
    let tables = super::table_names(&verification.run);
    let mut by_day: BTreeMap<(NaiveDate, String), Vec<String>> = BTreeMap::new();
    for key in objects.into_keys() {
        match KeyKind::of(&key, &tables) {
            KeyKind::OfDay { date, space } if verification.dates().contain(date) => {
                by_day.entry((date, space.to_owned())).or_default().push(key);
            }
            KeyKind::OfDay { .. } => {}
            KeyKind::MetaTable(date) if !verification.dates().contain(date) => {}
            KeyKind::MetaTable(date) => {
                verification.report(stray(&key, "lesson data of that date").date(Some(date)))
            }
            _ => verification.report(stray(&key, "a catalogue that names it")),
        }
    }
    for ((date, space), keys) in by_day {
        verification.check_stopped()?;
        find_in_day(verification, date, &space, keys).await?;
    }
    for key in strays {
        verification.report(stray(&key, "a key of a known form").date(key::date_in(&key)));
    }
    for entry in probes {
        let old = |at| verification.run.now - at > PROBE_AGE;
        if entry.modified.is_some_and(old) {
            let finding = Finding::new(FindingKind::Leftover, entry.key);
            verification.report(
                finding
                    .differs("nothing", "an object that a check of the store left behind")
                    .remedy(Remedy::Remove),
            );
        }
    }
    Ok(())
}

fn stray(key: &str, expected: &str) -> Finding {
    Finding::new(FindingKind::Stray, key).differs(expected, "an object that nothing names")
}

/// Finds the objects of a day that its manifest does not name.
async fn find_in_day(
    verification: &Verification,
    date: NaiveDate,
    segment: &str,
    keys: Vec<String>,
) -> Result<()> {
    let manifest_key = format!("{}date={date}/{segment}.json", key::DAYS);
    // Read it again, because a run may have written it since.
    let manifest = match verification.read_json::<Manifest>(&manifest_key).await? {
        // The verification of the day has reported an inconsistent manifest.
        ObjectRead::Parsed(manifest, _) if day::inconsistent(&manifest, &manifest_key).is_some() => {
            return Ok(());
        }
        ObjectRead::Parsed(manifest, _) => manifest,
        ObjectRead::Missing => {
            let found = format!("none, but {} objects of that day", keys.len());
            let finding = Finding::new(FindingKind::ManifestMissing, manifest_key).on(
                date,
                &key::unsegment(segment)
                    .unwrap_or_else(|| segment.to_owned())
                    .into(),
            );
            verification.report(finding.differs("the day's manifest", found).remedy(Remedy::Day));
            return Ok(());
        }
        ObjectRead::Damaged(_) | ObjectRead::Newer(_) => return Ok(()),
        ObjectRead::Unreadable(why) => {
            verification.report(unreadable(&manifest_key, &why).date(Some(date)));
            return Ok(());
        }
    };
    let marker = key::open_day(date, &manifest.space_id);
    let open = verification.run.store.size(&marker).await?.is_some();
    let (named, coming) = (named_keys(&manifest), expected_keys(&manifest));
    let deleted: BTreeSet<&str> = expire::deleted(&manifest)
        .map(|landed| landed.key.as_str())
        .collect();
    for key in keys.into_iter().filter(|key| !named.contains(key.as_str())) {
        if manifest.deleted.is_some() || deleted.contains(key.as_str()) {
            // A run that is at work, or was killed, deletes it after its commit.
            if open {
                verification.results().counts.objects_unsettled += 1;
            } else {
                let finding = Finding::new(FindingKind::NotDeleted, key).on(date, &manifest.space_id);
                verification.report(
                    finding
                        .differs("nothing: it was deleted after its retention", "an object")
                        .remedy(Remedy::Remove),
                );
            }
        // A run that is at work, or was killed, has not committed it; the next run of the day does.
        } else if open && coming.contains(&key) {
            verification.results().counts.objects_unsettled += 1;
        } else {
            let finding = stray(&key, "a manifest that names it");
            verification.report(finding.on(date, &manifest.space_id));
        }
    }
    Ok(())
}

/// The objects that a manifest names.
fn named_keys(manifest: &Manifest) -> BTreeSet<&str> {
    let reports = manifest.calls.values().flat_map(|call| call.reports.values());
    let files = manifest.records.values().map(|record| &record.file);
    let landed = reports.chain(files).filter_map(|landing| landing.stored());
    let tables = manifest.built.iter().flat_map(|built| built.tables.values());
    landed
        .map(|landed| landed.key.as_str())
        .chain(tables.map(|table| table.key.as_str()))
        .chain(manifest.evicted.iter().map(String::as_str))
        .collect()
}

/// The objects that an open day may have before its manifest names them.
fn expected_keys(manifest: &Manifest) -> BTreeSet<String> {
    let (date, space) = (manifest.date, manifest.space_id.as_str());
    let reports = manifest.calls.iter().flat_map(|(call, entry)| {
        let formats = entry.reports.keys();
        formats.map(move |format| key::report(date, &space.into(), call, *format))
    });
    let recordings = manifest
        .records
        .iter()
        .map(|(id, entry)| key::recording(date, &space.into(), &entry.room_id, entry.call_id.as_ref(), id));
    let is_built = manifest.is_built();
    let tables = crate::lake::table::builtin::all().iter().filter(|_| !is_built);
    reports
        .chain(recordings)
        .chain(tables.map(|table| key::table(&table.name, date, &space.into())))
        .collect()
}

/// Finds the markers of days that have no manifest.
pub(crate) async fn find_markers(verification: &Verification) -> Result<()> {
    let markers: Vec<_> = verification.inventory().markers.iter().cloned().collect();
    for marker in markers {
        let manifest = marker.replacen(key::OPEN_DAYS, key::DAYS, 1) + ".json";
        let store = &verification.run.store;
        if store.size(&manifest).await?.is_some() || store.size(&marker).await?.is_none() {
            continue;
        }
        let space = marker.rsplit('/').next().and_then(key::unsegment);
        let (Some(date), Some(space)) = (key::date_in(&marker), space) else {
            continue;
        };
        let finding = Finding::new(FindingKind::MarkerWithoutManifest, &*marker).on(date, &space.into());
        verification.report(
            finding
                .differs(
                    "a manifest of the day",
                    "none: a run was killed, or is working on it",
                )
                .remedy(Remedy::Day),
        );
    }
    Ok(())
}

/// Aborts orphan uploads, as every run does, and reports those that could not be aborted.
pub(crate) async fn abort_uploads(verification: &Verification) -> Result<()> {
    let run = &verification.run;
    for upload in orphan_uploads(&*run.store, run.config.export.recordings).await? {
        verification.check_stopped()?;
        let date = key::date_in(&upload.key);
        if date.is_some_and(|date| !verification.dates().contain(date)) {
            continue;
        }
        match run.store.abort_upload(&upload).await {
            Ok(()) => verification.results().counts.uploads_aborted += 1,
            Err(error) => verification.report(
                Finding::new(FindingKind::UploadUnfinished, upload.key)
                    .date(date)
                    .differs(
                        "no upload in flight",
                        format!("one that never ended: {}", error.message()),
                    )
                    .remedy(Remedy::Abort),
            ),
        }
    }
    Ok(())
}
