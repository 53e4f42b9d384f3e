//! Verifies the objects that belong to no day: lesson data and its tables, rooms and spaces, the program's own objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::NaiveDate;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::finding::{Finding, FindingKind, Remedy};
use super::objects::{rows_in_store, sha256};
use crate::lake::key;
use crate::store::Version;
use crate::tables;
use crate::tables::TableFile;
use crate::tables::lessons::build_meta_tables;
use crate::verify::session::{Read, SeenFile, Verification, of_one_object, unreadable};
use crate::{ErrorKind, Result};

/// The most attempts at a lesson day that an import changes meanwhile.
const LOOKS: usize = 3;

/// Verifies lesson data: each lesson day with its tables, the index, and the raw files.
pub(crate) async fn lessons(look: &Arc<Verification>) -> Result<()> {
    let shelves: Vec<_> = {
        let inventory = look.inventory();
        let shelves = inventory
            .state
            .iter()
            .filter(|key| key.starts_with(key::META_SHELVES));
        let dated = shelves.filter_map(|key| Some((key::date_in(key)?, key.clone())));
        dated.filter(|(date, _)| look.dates().contain(*date)).collect()
    };
    for (date, key) in shelves {
        look.unless_stopped()?;
        shelf(look, date, &key).await?;
    }
    let indexes: Vec<_> = {
        let inventory = look.inventory();
        let own = |key: &&String| {
            let prefixes = [key::META_INDEX, key::MEETING_DAYS, key::META_FEEDS];
            prefixes.iter().any(|prefix| key.starts_with(prefix))
        };
        inventory.state.iter().filter(own).cloned().collect()
    };
    for key in indexes {
        parse::<BTreeMap<String, Value>>(look, &key).await?;
    }
    if look.options.deep {
        raw_meta(look).await?;
    }
    Ok(())
}

/// Reads one of the program's own objects; it is a finding if that fails.
async fn parse<T: serde::de::DeserializeOwned>(
    look: &Verification,
    key: &str,
) -> Result<Option<(T, Version)>> {
    let date = key::date_in(key);
    match look.json::<T>(key).await? {
        Read::There(value, version) => return Ok(Some((value, version))),
        // Only a day's manifest and the store's description have a version.
        Read::Missing | Read::Newer(_) => {}
        Read::Damaged(why) => look.find(
            Finding::new(FindingKind::StateDamaged, key)
                .date(date)
                .differs("the program's own object", why),
        ),
        Read::Unreadable(why) => look.find(unreadable(key, &why).date(date)),
    }
    Ok(None)
}

async fn shelf(look: &Arc<Verification>, date: NaiveDate, key: &str) -> Result<()> {
    for last in (0..LOOKS).rev() {
        let (tables, version) = match built_of(look, date, key).await? {
            Read::There(tables, version) => (tables, version),
            other => {
                match other {
                    Read::Damaged(why) => look.find(
                        Finding::new(FindingKind::StateDamaged, key)
                            .date(Some(date))
                            .differs("the program's own object", why),
                    ),
                    Read::Unreadable(why) => look.find(unreadable(key, &why).date(Some(date))),
                    _ => {}
                }
                // Nothing names its tables now, but that is not their fault.
                let mut inventory = look.inventory();
                for table in ["user_meta", "hierarchy"] {
                    inventory.take(&key::table(table, date, &table.into()));
                }
                return Ok(());
            }
        };
        let mut findings = Vec::new();
        let mut rows = Vec::new();
        for file in tables {
            let finding = table(look, &file, Remedy::Meta(date), &mut rows).await?;
            findings.extend(finding.map(|finding| finding.date(Some(date))));
        }
        let unchanged = match look.run.store.get(key).await {
            Ok(object) => object.version == version,
            Err(_) => false,
        };
        if findings.is_empty() || last == 0 || unchanged {
            let mut seen = look.seen();
            seen.findings.extend(findings);
            for (table, mut file, keys) in rows {
                file.date = Some(date);
                seen.note_rows(table, file, keys);
            }
            return Ok(());
        }
    }
    Ok(())
}

/// The tables that a lesson day gives.
async fn built_of(look: &Verification, date: NaiveDate, key: &str) -> Result<Read<Vec<TableFile>>> {
    match look.run.store.get(key).await {
        Ok(object) => match build_meta_tables(date, Some(&object.bytes)) {
            Ok(tables) => Ok(Read::There(tables, object.version)),
            Err(error) if error.kind() == ErrorKind::Store => Ok(Read::Damaged(error.message().to_owned())),
            Err(error) => Err(error),
        },
        Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(Read::Missing),
        Err(error) => Ok(Read::Unreadable(of_one_object(error)?)),
    }
}

/// Verifies the raw files of lesson data: their names contain their digests.
async fn raw_meta(look: &Arc<Verification>) -> Result<()> {
    let files = std::mem::take(&mut look.inventory().raw_meta);
    for (key, _) in files {
        let date = key::date_in(&key);
        if !date.is_none_or(|date| look.dates().contain(date)) {
            continue;
        }
        let name = key.strip_suffix(".jsonl").and_then(|name| name.rsplit_once('-'));
        let Some((_, digest)) = name else { continue };
        match look.digest(&key).await {
            Ok(digested) if digested.sha256.starts_with(digest) => {}
            Ok(digested) => look.find(
                Finding::new(FindingKind::RawMetaDamaged, &*key)
                    .date(date)
                    .differs(sha256(digest), sha256(&digested.sha256)),
            ),
            Err(error) => look.find(unreadable(&key, &of_one_object(error)?).date(date)),
        }
    }
    Ok(())
}

/// Verifies the tables of rooms and spaces against their catalogues.
pub(crate) async fn catalogs(look: &Arc<Verification>) -> Result<()> {
    let keys: Vec<_> = {
        let inventory = look.inventory();
        let own = |key: &&String| *key == key::SPACES || key.starts_with(key::ROOM_CATALOGS);
        inventory.state.iter().filter(own).cloned().collect()
    };
    let mapping = &look.run.mapping;
    for key in keys {
        let space = key.strip_prefix(key::ROOM_CATALOGS);
        let space = space.and_then(|name| name.strip_suffix(".json"));
        // A name that was cut does not give the space's id.
        let id = space.and_then(key::unsegment);
        let Some((catalog, _)) = parse::<BTreeMap<String, Value>>(look, &key).await? else {
            take_table_of(look, space);
            continue;
        };
        let file = match (space, &id) {
            (None, _) => tables::build_spaces(&catalog, mapping)?,
            (Some(_), Some(id)) => tables::build_rooms(&id.as_str().into(), &catalog, mapping)?,
            (Some(_), None) => {
                take_table_of(look, space);
                continue;
            }
        };
        if let Some(file) = file {
            let mut rows = Vec::new();
            let finding = table(look, &file, Remedy::Catalog, &mut rows).await?;
            let mut seen = look.seen();
            seen.findings.extend(finding.map(|mut finding| {
                finding.space_id = id.map(Into::into);
                finding
            }));
            for (table, file, keys) in rows {
                seen.note_rows(table, file, keys);
            }
        }
    }
    Ok(())
}

/// Strikes off a table of rooms or spaces that can't be compared with anything.
fn take_table_of(look: &Verification, space: Option<&str>) {
    let key = space.map_or_else(key::spaces, |space| format!("rooms/{space}.parquet"));
    look.inventory().take(&key);
}

/// Compares a table's file with the one that a build gives: its rows, and its bytes if tables are read.
async fn table(
    look: &Arc<Verification>,
    file: &TableFile,
    remedy: Remedy,
    rows: &mut Vec<(String, SeenFile, Vec<tables::RowKey>)>,
) -> Result<Option<Finding>> {
    {
        let mut seen = look.seen();
        seen.counts.tables += 1;
        seen.counts.rows += file.rows;
    }
    let found = |kind| Finding::new(kind, &*file.key).remedy(remedy.clone());
    let size = match look.size(&file.key, None).await {
        Ok(Some(size)) => size,
        Ok(None) => {
            let rows = format!("{} rows", file.rows);
            return Ok(Some(found(FindingKind::TableMissing).differs(rows, "nothing")));
        }
        Err(error) => return Ok(Some(unreadable(&file.key, &of_one_object(error)?))),
    };
    let outcome = match look.reads_tables() {
        true => bytes(look, file, rows).await,
        false => rows_in_store(look, &file.key, size)
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
        Ok(differs) => Ok(differs.map(|(kind, expected, is)| found(kind).differs(expected, is))),
        Err(error) if error.kind() == ErrorKind::StoreNotFound => {
            Ok(Some(found(FindingKind::TableMissing).differs("a file", "nothing")))
        }
        Err(error) => Ok(Some(unreadable(&file.key, &of_one_object(error)?))),
    }
}

async fn bytes(
    look: &Arc<Verification>,
    file: &TableFile,
    rows: &mut Vec<(String, SeenFile, Vec<tables::RowKey>)>,
) -> Result<Option<(FindingKind, String, String)>> {
    let stored = look.whole(&file.key).await?;
    let found = hex::encode(Sha256::digest(&stored));
    if found != file.sha256 {
        return Ok(Some((FindingKind::TableDiffers, sha256(&file.sha256), sha256(&found))));
    }
    let table = look.run.mapping.tables().find(|it| it.name == file.table);
    if let (true, Some(table)) = (look.options.deep, table) {
        let seen = SeenFile {
            key: file.key.clone(),
            date: None,
            space: None,
        };
        match tables::row_keys(table, stored) {
            Ok(keys) => rows.push((file.table.clone(), seen, keys)),
            Err(why) => return Ok(Some((FindingKind::TableDamaged, "Parquet".into(), why))),
        }
    }
    Ok(None)
}
