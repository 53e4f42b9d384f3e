//! Verifies the objects that belong to no day: lesson data and its tables, rooms and spaces, the program's own objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use sha2::{Digest, Sha256};

use super::finding::{Finding, FindingKind, Remedy};
use super::objects::{rows_in_store, sha256};
use crate::json::RawJson;
use crate::lake::key;
use crate::lake::table::builtin;
use crate::store::{OptionalExt, Version};
use crate::tables;
use crate::tables::TableFile;
use crate::tables::lessons::build_lesson_tables;
use crate::verify::session::{CheckedFile, ObjectRead, Verification, object_error, unreadable};
use crate::{ErrorKind, Result};

/// The most attempts at a lesson day that an import changes meanwhile.
const LOOKS: usize = 3;

/// Verifies lesson data: each lesson day with its tables, the index, and the raw files.
pub(crate) async fn verify_lessons(verification: &Arc<Verification>) -> Result<()> {
    let lesson_days: Vec<_> = {
        let inventory = verification.inventory();
        let lesson_days = inventory
            .state
            .iter()
            .filter(|key| key.starts_with(key::LESSON_DAYS));
        let dated = lesson_days.filter_map(|key| Some((key::date_in(key)?, key.clone())));
        dated
            .filter(|(date, _)| verification.dates().contain(*date))
            .collect()
    };
    for (date, key) in lesson_days {
        verification.check_stopped()?;
        verify_lesson_day(verification, date, &key).await?;
    }
    let indexes: Vec<_> = {
        let inventory = verification.inventory();
        let own = |key: &&String| {
            let prefixes = [key::META_INDEX, key::MEETING_DAYS, key::META_FEEDS];
            prefixes.iter().any(|prefix| key.starts_with(prefix))
        };
        inventory.state.iter().filter(own).cloned().collect()
    };
    for key in indexes.into_iter().filter(|_| verification.options.checks_lake()) {
        parse::<BTreeMap<String, RawJson>>(verification, &key).await?;
    }
    if verification.options.deep {
        verify_raw_files(verification).await?;
    }
    Ok(())
}

/// Reads one of the program's own objects; it is a finding if that fails.
async fn parse<T: serde::de::DeserializeOwned>(
    verification: &Verification,
    key: &str,
) -> Result<Option<(T, Version)>> {
    let date = key::date_in(key);
    match verification.read_json::<T>(key).await? {
        ObjectRead::Parsed(value, version) => return Ok(Some((value, version))),
        // Only a day's manifest and the store's description have a version.
        ObjectRead::Missing | ObjectRead::Newer(_) => {}
        ObjectRead::Damaged(why) => verification.report(
            Finding::new(FindingKind::StateDamaged, key)
                .date(date)
                .differs("the program's own object", why),
        ),
        ObjectRead::Unreadable(why) => verification.report(unreadable(key, &why).date(date)),
    }
    Ok(None)
}

async fn verify_lesson_day(verification: &Arc<Verification>, date: NaiveDate, key: &str) -> Result<()> {
    for last in (0..LOOKS).rev() {
        let (tables, version) = match read_lesson_tables(verification, date, key).await? {
            ObjectRead::Parsed(tables, version) => (tables, version),
            other => {
                match other {
                    ObjectRead::Damaged(why) => verification.report(
                        Finding::new(FindingKind::StateDamaged, key)
                            .date(Some(date))
                            .differs("the program's own object", why),
                    ),
                    ObjectRead::Unreadable(why) => {
                        verification.report(unreadable(key, &why).date(Some(date)))
                    }
                    _ => {}
                }
                // Nothing names its tables now, but that is not their fault.
                let mut inventory = verification.inventory();
                for table in builtin::per_date() {
                    inventory.take(&key::date_table(table, date));
                }
                return Ok(());
            }
        };
        let mut findings = Vec::new();
        let mut rows = Vec::new();
        for file in tables {
            let finding = table(verification, &file, Remedy::Meta(date), &mut rows).await?;
            findings.extend(finding.map(|finding| finding.date(Some(date))));
        }
        let unchanged = match verification.run.store.get(key).await {
            Ok(object) => object.version == version,
            Err(_) => false,
        };
        if findings.is_empty() || last == 0 || unchanged {
            let mut results = verification.results();
            results.findings.extend(findings);
            for (table, mut file, keys) in rows {
                file.date = Some(date);
                results.note_rows(table, file, keys);
            }
            return Ok(());
        }
    }
    Ok(())
}

/// The tables that a lesson day gives.
async fn read_lesson_tables(
    verification: &Verification,
    date: NaiveDate,
    key: &str,
) -> Result<ObjectRead<Vec<TableFile>>> {
    match verification.run.store.get(key).await.optional() {
        Ok(Some(object)) => {
            match build_lesson_tables(date, Some(&object.bytes), verification.run.mapping.privacy()) {
                Ok(tables) => Ok(ObjectRead::Parsed(tables, object.version)),
                Err(error) if error.kind() == ErrorKind::Store => {
                    Ok(ObjectRead::Damaged(error.message().to_owned()))
                }
                Err(error) => Err(error),
            }
        }
        Ok(None) => Ok(ObjectRead::Missing),
        Err(error) => Ok(ObjectRead::Unreadable(object_error(error)?)),
    }
}

/// Verifies the raw files of lesson data: their names contain their digests.
async fn verify_raw_files(verification: &Arc<Verification>) -> Result<()> {
    let files = std::mem::take(&mut verification.inventory().raw_meta);
    for (key, _) in files {
        let date = key::date_in(&key);
        if !date.is_none_or(|date| verification.dates().contain(date)) {
            continue;
        }
        let Some(digest) = key::digest_of_raw_meta(&key) else {
            continue;
        };
        match verification.digest(&key).await {
            Ok(digested) if digested.sha256.starts_with(digest) => {}
            Ok(digested) => verification.report(
                Finding::new(FindingKind::RawMetaDamaged, &*key)
                    .date(date)
                    .differs(sha256(digest), sha256(&digested.sha256)),
            ),
            Err(error) => verification.report(unreadable(&key, &object_error(error)?).date(date)),
        }
    }
    Ok(())
}

/// Verifies the tables of rooms and spaces against their catalogues.
pub(crate) async fn verify_catalogs(verification: &Arc<Verification>) -> Result<()> {
    let keys: Vec<_> = {
        let inventory = verification.inventory();
        let own = |key: &&String| *key == key::SPACES || key.starts_with(key::ROOM_CATALOGS);
        inventory.state.iter().filter(own).cloned().collect()
    };
    let mapping = &verification.run.mapping;
    for key in keys {
        let space = key.strip_prefix(key::ROOM_CATALOGS);
        let space = space.and_then(|name| name.strip_suffix(".json"));
        // A name that was cut does not give the space's id.
        let id = space.and_then(key::unsegment);
        let Some((catalog, _)) = parse::<BTreeMap<String, RawJson>>(verification, &key).await? else {
            take_table_of(verification, space);
            continue;
        };
        let built = match (space, &id) {
            (None, _) => tables::build_spaces(&catalog, mapping),
            (Some(_), Some(id)) => tables::build_rooms(&id.as_str().into(), &catalog, mapping),
            (Some(_), None) => {
                take_table_of(verification, space);
                continue;
            }
        };
        let file = match built {
            Err(error) if error.kind() == ErrorKind::Store => {
                let damaged = Finding::new(FindingKind::StateDamaged, &*key);
                verification.report(damaged.differs("the program's own object", error.message()));
                take_table_of(verification, space);
                continue;
            }
            built => built?,
        };
        if let Some(file) = file {
            let mut rows = Vec::new();
            let finding = table(verification, &file, Remedy::Catalog, &mut rows).await?;
            let mut results = verification.results();
            results.findings.extend(finding.map(|mut finding| {
                finding.space_id = id.map(Into::into);
                finding
            }));
            for (table, file, keys) in rows {
                results.note_rows(table, file, keys);
            }
        }
    }
    Ok(())
}

/// Strikes off a table of rooms or spaces that can't be compared with anything.
fn take_table_of(verification: &Verification, space: Option<&str>) {
    let key = space.map_or_else(key::spaces, |space| format!("rooms/{space}.parquet"));
    verification.inventory().take(&key);
}

/// Compares a table's file with the one that a build gives: its rows, and its bytes if tables are read.
async fn table(
    verification: &Arc<Verification>,
    file: &TableFile,
    remedy: Remedy,
    rows: &mut Vec<(String, CheckedFile, Vec<tables::RowKey>)>,
) -> Result<Option<Finding>> {
    {
        let mut results = verification.results();
        results.counts.tables += 1;
        results.counts.rows += file.rows;
    }
    let found = |kind| Finding::new(kind, &*file.key).remedy(remedy.clone());
    let size = match verification.size(&file.key, None).await {
        Ok(Some(size)) => size,
        Ok(None) => {
            let rows = format!("{} rows", file.rows);
            return Ok(Some(found(FindingKind::TableMissing).differs(rows, "nothing")));
        }
        Err(error) => return Ok(Some(unreadable(&file.key, &object_error(error)?))),
    };
    let outcome = match verification.reads_tables() {
        true => bytes(verification, file, rows).await,
        false => rows_in_store(verification, &file.key, size)
            .await
            .map(|counted| match counted {
                Ok(counted) if counted == file.rows => None,
                Ok(counted) => Some((
                    FindingKind::TableRowsDiffer,
                    format!("{} rows", file.rows),
                    format!("{counted} rows"),
                )),
                Err(why) => Some((FindingKind::TableDamaged, "Parquet".into(), why)),
            }),
    };
    match outcome {
        Ok(Some((FindingKind::TableDiffers, ..))) if !verification.is_under_policy() => Ok(None),
        Ok(differs) => Ok(differs.map(|(kind, expected, is)| found(kind).differs(expected, is))),
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(Some(
            found(FindingKind::TableMissing).differs("a file", "nothing"),
        )),
        Err(error) => Ok(Some(unreadable(&file.key, &object_error(error)?))),
    }
}

async fn bytes(
    verification: &Arc<Verification>,
    file: &TableFile,
    rows: &mut Vec<(String, CheckedFile, Vec<tables::RowKey>)>,
) -> Result<Option<(FindingKind, String, String)>> {
    let stored = verification.read_all(&file.key).await?;
    let found = hex::encode(Sha256::digest(&stored));
    if found != file.sha256 {
        return Ok(Some((
            FindingKind::TableDiffers,
            sha256(&file.sha256),
            sha256(&found),
        )));
    }
    let table = verification.run.mapping.tables().find(|it| it.name == file.table);
    if let (true, Some(table)) = (verification.options.deep, table) {
        let checked = CheckedFile {
            key: file.key.clone(),
            date: None,
            space: None,
        };
        match tables::row_keys(table, stored) {
            Ok(keys) => rows.push((file.table.clone(), checked, keys)),
            Err(why) => return Ok(Some((FindingKind::TableDamaged, "Parquet".into(), why))),
        }
    }
    Ok(None)
}
