//! The table files that the manifests name, and an index that saves reading every manifest. Used by `delta`.
//!
//! As with the index of the coverage, an entry counts only while the listing shows the manifest that was read, and any part
//! may be lost.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, NaiveDate, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::index::{self, ManifestStamp};
use super::listing::{self, DateRange};
use crate::lake::key;
use crate::lake::manifest::Manifest;
use crate::store::json::get_json;
use crate::store::{ListedObject, Store};
use crate::{ErrorKind, Result};

/// Manifests read at once.
const READ_AT_ONCE: usize = 32;

/// The first 8 bytes of the SHA-256 of a table's file: enough to notice that the file is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableDigest(pub u64);

impl TableDigest {
    /// The digest of a SHA-256 in hex, or of its first 16 digits; `None` if it is none.
    pub fn from_hex(sha256: &str) -> Option<Self> {
        u64::from_str_radix(sha256.get(..16)?, 16).ok().map(Self)
    }
}

/// The tables of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayTables {
    /// The date.
    pub date: NaiveDate,
    /// The space, as a segment of keys.
    pub space: String,
    /// The files by table; `None` if the manifest can't be read.
    pub tables: Option<BTreeMap<String, TableDigest>>,
}

/// The tables of a year's days, by the keys of the manifests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct TableIndex(BTreeMap<String, IndexedTables>);

/// The tables of a day in the index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct IndexedTables {
    stamp: ManifestStamp,
    tables: BTreeMap<String, TableDigest>,
}

/// The tables of all days, by date and space. Only manifests that the index lacks are read, and then the index is written.
///
/// # Errors
/// Any error of the store. A damaged manifest is no error.
pub async fn day_tables(store: &dyn Store) -> Result<Vec<DayTables>> {
    let mut indexed = read_index(store).await?;
    let mut dates: Vec<String> = indexed
        .keys()
        .filter_map(|key| Some(key::date_in(key)?.to_string()))
        .collect();
    dates.sort_unstable();
    let listed = listing::list(store, &dates, DateRange::default()).await?;
    let mut days = Vec::with_capacity(listed.len());
    let mut lacking = Vec::new();
    let keys: BTreeSet<&str> = listed.iter().map(|entry| entry.key.as_str()).collect();
    let mut changed: BTreeSet<i32> = indexed
        .keys()
        .filter(|key| !keys.contains(key.as_str()))
        .filter_map(|key| year_of(key))
        .collect();
    indexed.retain(|key, _| keys.contains(key.as_str()));
    for entry in &listed {
        match indexed.get(&entry.key).filter(|known| known.stamp.is_of(entry)) {
            Some(known) => days.extend(day_of(&entry.key, Some(known.tables.clone()))),
            None => lacking.push(entry.clone()),
        }
    }
    let mut reading = stream::iter(lacking)
        .map(|entry| read_day(store, entry))
        .buffer_unordered(READ_AT_ONCE);
    while let Some((key, stamp, tables)) = reading.try_next().await? {
        days.extend(day_of(&key, tables.clone()));
        if let (Some(stamp), Some(tables)) = (stamp, tables) {
            changed.extend(year_of(&key));
            indexed.insert(key, IndexedTables { stamp, tables });
        }
    }
    write_index(store, &changed, &indexed).await;
    days.sort_by(|a, b| (a.date, &a.space).cmp(&(b.date, &b.space)));
    Ok(days)
}

/// The days of the index by the keys of their manifests.
async fn read_index(store: &dyn Store) -> Result<BTreeMap<String, IndexedTables>> {
    let parts = store.list(key::TABLE_INDEXES).await?;
    let parts: Vec<TableIndex> = stream::iter(parts)
        .map(|part| async move { index::read::<TableIndex>(store, &part.key).await })
        .buffer_unordered(READ_AT_ONCE)
        .try_filter_map(|part| async move { Ok(part) })
        .try_collect()
        .await?;
    Ok(parts.into_iter().flat_map(|part| part.0).collect())
}

/// Writes the years of the index that have changed. A failure costs the next reader time and nothing else.
async fn write_index(store: &dyn Store, years: &BTreeSet<i32>, indexed: &BTreeMap<String, IndexedTables>) {
    for year in years {
        let of_year = indexed.iter().filter(|(key, _)| year_of(key) == Some(*year));
        let part: BTreeMap<_, _> = of_year.map(|(key, day)| (key.clone(), day.clone())).collect();
        let replace = |index: &mut TableIndex| index.0.clone_from(&part);
        if let Err(error) = index::update(store, &key::table_index(*year), replace).await {
            tracing::debug!(%error, "the index of the tables could not be written");
        }
    }
}

/// Reads the tables of a day from its manifest, with the stamp by which the index may know it.
async fn read_day(
    store: &dyn Store,
    entry: ListedObject,
) -> Result<(
    String,
    Option<ManifestStamp>,
    Option<BTreeMap<String, TableDigest>>,
)> {
    let read_at = Utc::now();
    match get_json::<Manifest>(store, &entry.key).await {
        Ok(Some((manifest, version))) => {
            let stamp = ManifestStamp::of(&entry, &version, read_at);
            let built = manifest.built.map(|built| built.tables).unwrap_or_default();
            let digest = |(table, file): (String, crate::lake::manifest::TableEntry)| {
                Some((table, TableDigest::from_hex(&file.sha256)?))
            };
            Ok((
                entry.key,
                stamp,
                Some(built.into_iter().filter_map(digest).collect()),
            ))
        }
        // It was removed after it was listed.
        Ok(None) => Ok((entry.key, None, Some(BTreeMap::new()))),
        // A damaged manifest must not hide the other days.
        Err(error) if error.kind() == ErrorKind::Store => {
            tracing::warn!(%error, "a day can't be read");
            Ok((entry.key, None, None))
        }
        Err(error) => Err(error),
    }
}

/// The day of a manifest's key.
fn day_of(key: &str, tables: Option<BTreeMap<String, TableDigest>>) -> Option<DayTables> {
    let (_, name) = key.rsplit_once('/')?;
    Some(DayTables {
        date: key::date_in(key)?,
        space: name.strip_suffix(".json")?.to_owned(),
        tables,
    })
}

fn year_of(key: &str) -> Option<i32> {
    key::date_in(key).map(|date| date.year())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::day_status::tests::{built, landed};
    use crate::store::Condition;
    use crate::store::folder::FolderStore;
    use crate::store::json::put_json;

    #[tokio::test]
    async fn a_manifest_is_read_again_only_after_it_has_changed() {
        let folder = tempfile::tempdir().expect("folder");
        let store = FolderStore::open(&format!("file://{}", folder.path().display())).expect("store");
        let mut manifest = landed();
        let mut tables = built();
        if let Some(file) = tables.tables.get_mut("calls") {
            file.sha256 = "ab".repeat(32);
        }
        manifest.built = Some(tables);
        let day = key::manifest(manifest.date, &manifest.space_id);
        put_json(&store, &day, &manifest, Condition::Any)
            .await
            .expect("written");
        // Otherwise the manifest is too young to be recognized by its time.
        let path = folder.path().join(&day);
        let file = std::fs::File::options().write(true).open(&path).expect("a file");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(600);
        file.set_modified(old).expect("an older time");
        let first = day_tables(&store).await.expect("read");
        assert_eq!(first.len(), 1);
        let digest = first[0].tables.as_ref().and_then(|tables| tables.get("calls"));
        assert!(digest.is_some(), "{first:?}");
        // An unreadable manifest of the same size and time is not even opened.
        let size = std::fs::metadata(&path).expect("a file").len();
        std::fs::write(&path, vec![b' '; usize::try_from(size).expect("small")]).expect("written");
        file.set_modified(old).expect("an older time");
        assert_eq!(day_tables(&store).await.expect("read"), first);
        file.set_modified(old + std::time::Duration::from_secs(1))
            .expect("another time");
        assert_eq!(day_tables(&store).await.expect("read")[0].tables, None);
        std::fs::remove_file(&path).expect("removed");
        assert!(day_tables(&store).await.expect("read").is_empty());
    }
}
