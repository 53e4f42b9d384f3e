//! The duplicates of a lake: a call or a record in the manifests of two days, a row in two files of a table.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::finding::{Duplicate, Finding, FindingKind, Remedy};
use crate::Result;
use crate::ids::SpaceId;
use crate::lake::manifest::{Landing, Manifest};
use crate::lake::{self, key};
use crate::lenient;
use crate::verify::session::{CheckedFile, ItemKind, ObjectRead, Verification};

/// Finds the calls and records that lie on two days, and the right day if it can be told.
pub(crate) async fn find_doubled_ids(verification: &Verification) -> Result<()> {
    let doubled: Vec<_> = {
        let results = verification.results();
        let ids = results.ids.iter().filter(|(_, dates)| dates.len() > 1);
        ids.map(|(id, dates)| (id.clone(), dates.clone())).collect()
    };
    for ((item, space, id), dates) in doubled {
        // Read the days again, because a run may have just moved it.
        let mut days = BTreeMap::new();
        for date in dates {
            if let ObjectRead::Parsed(manifest, _) = verification
                .read_json::<Manifest>(&key::manifest(date, &space))
                .await?
                && has(&manifest, item, &id)
            {
                days.insert(date, manifest);
            }
        }
        if days.len() > 1 {
            report_duplicate(verification, item, &space, &id, &days);
        }
    }
    Ok(())
}

fn has(manifest: &Manifest, item: ItemKind, id: &str) -> bool {
    match item {
        ItemKind::Call => manifest.calls.contains_key(id),
        ItemKind::Record => manifest.records.contains_key(id),
    }
}

fn report_duplicate(
    verification: &Verification,
    item: ItemKind,
    space: &SpaceId,
    id: &str,
    days: &BTreeMap<NaiveDate, Manifest>,
) {
    let right = match item {
        ItemKind::Call => day_of_call(verification, id, days),
        ItemKind::Record => day_of_record(verification, id, days),
    };
    let right = right.filter(|date| days.contains_key(date));
    for (date, manifest) in days.iter().filter(|(date, _)| Some(**date) != right) {
        let others: Vec<_> = days.keys().filter(|other| *other != date).collect();
        let others: Vec<_> = others.iter().map(ToString::to_string).collect();
        let kind = match item {
            ItemKind::Call => FindingKind::CallDoubled,
            ItemKind::Record => FindingKind::RecordDoubled,
        };
        let finding = Finding::new(kind, key::manifest(*date, space)).on(*date, space);
        let finding = match item {
            ItemKind::Call => finding.call(id),
            ItemKind::Record => finding.record(id),
        };
        let expected = right.map_or_else(
            || "only one day with it".into(),
            |right| format!("only {right} with it"),
        );
        let finding = finding.differs(expected, format!("it on {date} and {}", others.join(", ")));
        verification.report(match right {
            Some(right) if nothing_is_lost(item, id, manifest, &days[&right]) => {
                finding.remedy(Remedy::Evict(Duplicate {
                    id: id.to_owned(),
                    wrong: *date,
                    right,
                }))
            }
            _ => finding,
        });
        if right.is_none() {
            // Between two equal days, one finding is enough.
            return;
        }
    }
}

/// The date of a call: the date of its start.
fn day_of_call(
    verification: &Verification,
    id: &str,
    days: &BTreeMap<NaiveDate, Manifest>,
) -> Option<NaiveDate> {
    let entries = days.values().filter_map(|day| day.calls.get(id));
    let at = entries
        .filter_map(|call| call.started_at.or(call.finished_at))
        .next()?;
    Some(lake::date_of(at, verification.run.config.timezone))
}

/// The date of a record: the date of its call if one of its days has the call, else the date of its own start.
fn day_of_record(
    verification: &Verification,
    id: &str,
    days: &BTreeMap<NaiveDate, Manifest>,
) -> Option<NaiveDate> {
    let entry = days.values().find_map(|day| day.records.get(id))?;
    let of_call = entry.call_id.as_ref().and_then(|call| {
        let with_call: BTreeMap<_, _> = days
            .iter()
            .filter(|(_, day)| day.calls.contains_key(call))
            .map(|(date, day)| (*date, day.clone()))
            .collect();
        match with_call.len() {
            0 => None,
            1 => with_call.keys().next().copied(),
            _ => day_of_call(verification, call, &with_call),
        }
    });
    let own = || {
        let created = entry.record.field("createdAt");
        let created = created.and_then(|created| lenient::instant(&created));
        let at = entry.started_at.or(created).or(entry.finished_at)?;
        Some(lake::date_of(at, verification.run.config.timezone))
    };
    of_call.or_else(own)
}

/// True if the right day has all reports, or the file, that the wrong day has.
fn nothing_is_lost(item: ItemKind, id: &str, wrong: &Manifest, right: &Manifest) -> bool {
    let has = |landing: Option<&Landing>| landing.is_some_and(|landing| landing.usable().is_some());
    match (item, wrong.calls.get(id), right.calls.get(id)) {
        (ItemKind::Call, Some(wrong), Some(right)) => wrong
            .reports
            .iter()
            .all(|(format, landing)| !has(Some(landing)) || has(right.reports.get(format))),
        (ItemKind::Call, ..) => false,
        (ItemKind::Record, ..) => {
            let file = |day: &Manifest| has(day.records.get(id).map(|entry| &entry.file));
            !file(wrong) || file(right)
        }
    }
}

/// Finds the files that share rows by their table's key, or have a row twice.
pub(crate) fn find_doubled_rows(verification: &Verification) {
    let mut found = Vec::new();
    {
        let mut results = verification.results();
        let rows = std::mem::take(&mut results.rows);
        for (table, mut keys) in rows {
            keys.sort_unstable();
            let mut pairs = BTreeMap::<(u32, u32), u64>::new();
            for pair in keys.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                let (first, second) = (pair[0].1, pair[1].1);
                if must_differ(
                    &table,
                    &results.files[first as usize],
                    &results.files[second as usize],
                ) {
                    *pairs.entry((first, second)).or_default() += 1;
                }
            }
            for ((first, second), count) in pairs {
                let (first, second) = (&results.files[first as usize], &results.files[second as usize]);
                found.push(doubled_rows(&table, first, second, count));
            }
        }
    }
    found.into_iter().for_each(|finding| verification.report(finding));
}

/// True if two files of a table must not share a row key. `coverage` has a row for each room every day.
fn must_differ(table: &str, first: &CheckedFile, second: &CheckedFile) -> bool {
    table != "coverage" || first.date == second.date
}

fn doubled_rows(table: &str, first: &CheckedFile, second: &CheckedFile, count: u64) -> Finding {
    let found = match first.key == second.key {
        true => format!("{count} rows twice"),
        false => format!("{count} rows that {} also has", first.key),
    };
    let finding = Finding::new(FindingKind::RowDoubled, &*second.key).differs("each key once", found);
    match (second.date, &second.space) {
        (Some(date), Some(space)) => finding.on(date, space).remedy(Remedy::Build),
        (Some(date), None) if table != "rooms" => finding.date(Some(date)).remedy(Remedy::Meta(date)),
        _ => finding,
    }
}
