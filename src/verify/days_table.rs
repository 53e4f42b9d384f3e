//! Verifies the table `days`: its rows are those that the manifests give.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::NaiveDate;

use super::finding::{Finding, FindingKind, Remedy};
use crate::ids::SpaceId;
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::store::OptionalExt;
use crate::store::json::get_json;
use crate::tables::{DayRow, SpaceDays};
use crate::verify::session::{Verification, object_error, unreadable};
use crate::{ErrorKind, Result};

/// Notes the row that a good manifest gives.
pub(crate) fn note(verification: &Verification, manifest: &Manifest) -> Result<()> {
    if manifest.deleted.is_some() {
        return Ok(());
    }
    let row = DayRow::of(
        manifest,
        verification.run.config.timezone.name(),
        verification.run.mapping.privacy(),
    )?;
    let rows = &mut verification.results().day_rows;
    let of_space = rows.entry(manifest.space_id.clone()).or_default();
    of_space.insert(manifest.date, row.digest());
    Ok(())
}

/// Strikes off the files of all spaces that have a manifest.
pub(crate) fn strike_off(verification: &Verification, segments: &BTreeSet<String>) {
    let mut inventory = verification.inventory();
    for segment in segments {
        inventory.take(&key::days_of_segment(segment));
    }
}

/// Verifies the files of all spaces that have a day among the dates. Days with findings of their own are left out, because
/// their repair writes the row too.
pub(crate) async fn verify(verification: &Arc<Verification>) -> Result<()> {
    let expected = std::mem::take(&mut verification.results().day_rows);
    for (space, rows) in expected {
        verification.check_stopped()?;
        if let Some(mut finding) = verify_space(verification, &space, &rows).await? {
            finding.space_id = Some(space.clone());
            verification.report(match finding.kind {
                FindingKind::Unreadable => finding,
                _ => finding.remedy(Remedy::Days(space)),
            });
        }
    }
    Ok(())
}

async fn verify_space(
    verification: &Arc<Verification>,
    space: &SpaceId,
    expected: &BTreeMap<NaiveDate, u64>,
) -> Result<Option<Finding>> {
    let key = key::days(space);
    let found = |kind, is: String| {
        let rows = format!("{} rows of days", expected.len());
        Some(Finding::new(kind, &*key).differs(rows, is))
    };
    let bytes = match verification.read_all(&key).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::StoreNotFound => {
            return Ok(found(FindingKind::TableMissing, "nothing".into()));
        }
        Err(error) => return Ok(Some(unreadable(&key, &object_error(error)?))),
    };
    let days = match SpaceDays::read(bytes) {
        Ok(days) => days,
        Err(error) => return Ok(found(FindingKind::TableDamaged, error.message().to_owned())),
    };
    {
        let mut results = verification.results();
        results.counts.tables += 1;
        results.counts.rows += days.dates().count() as u64;
    }
    let in_file = days.dates().filter(|date| verification.dates().contain(*date));
    let mut dates: BTreeSet<NaiveDate> = in_file.chain(expected.keys().copied()).collect();
    {
        let results = verification.results();
        let of_space = results
            .findings
            .iter()
            .filter(|it| it.space_id.as_ref() == Some(space));
        for date in of_space.filter_map(|finding| finding.date) {
            dates.remove(&date);
        }
    }
    let mut wrong = Vec::new();
    for date in dates {
        let row = days.get(date).map(DayRow::digest);
        if row.as_ref() != expected.get(&date) && is_wrong(verification, space, date).await? {
            wrong.push(date.to_string());
        }
    }
    match wrong.is_empty() || !verification.is_under_policy() {
        true => Ok(None),
        false => Ok(found(
            FindingKind::TableDiffers,
            format!("other rows of {}", wrong.join(", ")),
        )),
    }
}

/// Looks again at a row that seems wrong. A run may have changed the day meanwhile; the marker of a day whose run was
/// killed makes the next run write the row.
async fn is_wrong(verification: &Verification, space: &SpaceId, date: NaiveDate) -> Result<bool> {
    let store = &*verification.run.store;
    if store.size(&key::open_day(date, space)).await?.is_some() {
        return Ok(false);
    }
    let zone = verification.run.config.timezone;
    let row = match get_json::<Manifest>(store, &key::manifest(date, space)).await {
        Ok(Some((manifest, _))) if manifest.deleted.is_none() => Some(DayRow::of(
            &manifest,
            zone.name(),
            verification.run.mapping.privacy(),
        )?),
        Ok(_) => None,
        // A manifest that can't be read is a finding of its own.
        Err(error) => return object_error(error).map(|_| false),
    };
    let file = store.read(&key::days(space)).await.optional()?;
    let days = file.map(SpaceDays::read).transpose();
    Ok(days.map_or(true, |days| days.unwrap_or_default().get(date) != row.as_ref()))
}
