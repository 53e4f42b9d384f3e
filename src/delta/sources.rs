//! The files of a plain table, as its Delta table should have them.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::log::TableState;
use super::plan::{SourceFile, SourceFiles, date_of, sources_of};
use crate::Result;
use crate::lake::key;
use crate::lake::table::{Table, TableScope};
use crate::status::{DayTables, TableDigest};
use crate::store::{ListedObject, OptionalExt, Store};

/// Files read at once.
const READ_AT_ONCE: usize = 8;
/// A file that was written less than this before it was copied may have been written again with the same size and time.
const UNCERTAIN: TimeDelta = TimeDelta::seconds(90);

/// Files of a plain table by date; tables that have no date have all of them under `None`.
pub(crate) type FilesByDate = BTreeMap<Option<NaiveDate>, SourceFiles>;

/// The key of a file of a plain table.
pub(crate) fn source_key(table: &Table, date: Option<NaiveDate>, name: &str) -> String {
    match date {
        Some(date) => format!("{}/date={date}/{name}.parquet", table.name),
        None => format!("{}/{name}.parquet", table.name),
    }
}

/// The files of a plain table. `days` has the tables of all days; a table that is not by day is listed.
///
/// # Errors
/// Any error of the store.
pub(crate) async fn source_files(
    store: &dyn Store,
    table: &Table,
    days: &[DayTables],
    state: &TableState,
) -> Result<FilesByDate> {
    match table.scope {
        TableScope::PerDay => Ok(files_of_days(&table.name, days, state)),
        TableScope::PerDate | TableScope::PerSpace | TableScope::Single => {
            listed_files(store, table, state).await
        }
    }
}

/// The files that the manifests name for a table.
pub(crate) fn files_of_days(table: &str, days: &[DayTables], state: &TableState) -> FilesByDate {
    let mut files = FilesByDate::new();
    let mut unknown = Vec::new();
    for day in days {
        let digest = match &day.tables {
            Some(tables) => tables.get(table),
            None => {
                unknown.push((day.date, day.space.as_str()));
                None
            }
        };
        if let Some(digest) = digest {
            let file = SourceFile {
                digest: *digest,
                stamp: None,
            };
            files
                .entry(Some(day.date))
                .or_default()
                .insert(day.space.clone(), file);
        }
    }
    // A day whose manifest can't be read keeps what the table has of it.
    if !unknown.is_empty() {
        for add in state.files.values() {
            let Some(date) = date_of(add) else { continue };
            for (space, file) in sources_of(add) {
                if unknown.contains(&(date, space.as_str())) {
                    files.entry(Some(date)).or_default().insert(space, file);
                }
            }
        }
    }
    files
}

/// The files of a table that no manifest names, by a listing. A file that the listing does not prove unchanged is read.
async fn listed_files(store: &dyn Store, table: &Table, state: &TableState) -> Result<FilesByDate> {
    let mut copied: BTreeMap<(Option<NaiveDate>, String), (SourceFile, i64)> = BTreeMap::new();
    for add in state.files.values() {
        for (name, file) in sources_of(add) {
            copied.insert((date_of(add), name), (file, add.modification_time));
        }
    }
    let listed = store.list(&format!("{}/", table.name)).await?;
    let found = listed.into_iter().filter_map(|object| {
        let date = key::date_in(&object.key);
        let name = object
            .key
            .rsplit('/')
            .next()?
            .strip_suffix(".parquet")?
            .to_owned();
        (object.key == source_key(table, date, &name) && date.is_some() == table.is_dated())
            .then_some((date, name, object))
    });
    let copied = &copied;
    let files: Vec<Option<_>> = stream::iter(found.collect::<Vec<_>>())
        .map(|(date, name, object)| async move {
            let known = copied.get(&(date, name.clone()));
            let file = match known.filter(|(file, at)| is_unchanged(file, &object, *at)) {
                Some((file, _)) => Some(file.clone()),
                None => read_file(store, &object).await?,
            };
            Ok::<_, crate::Error>(file.map(|file| (date, name, file)))
        })
        .buffer_unordered(READ_AT_ONCE)
        .try_collect()
        .await?;
    let mut by_date = FilesByDate::new();
    for (date, name, file) in files.into_iter().flatten() {
        by_date.entry(date).or_default().insert(name, file);
    }
    Ok(by_date)
}

/// The mark by which a later listing recognizes an object; `None` if the store's listings have none.
fn stamp(object: &ListedObject) -> Option<String> {
    let mark = match (&object.etag, object.modified) {
        (Some(etag), _) => etag.clone(),
        (None, Some(modified)) => modified.timestamp_micros().to_string(),
        (None, None) => return None,
    };
    let is_plain = mark
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_\"/".contains(&byte));
    is_plain.then(|| format!("{}-{mark}", object.bytes))
}

/// True if a listing proves that a file is still the one that was copied at a time in milliseconds.
fn is_unchanged(file: &SourceFile, object: &ListedObject, copied_at: i64) -> bool {
    let copied_at = DateTime::from_timestamp_millis(copied_at).unwrap_or_default();
    let is_certain = object.etag.is_some() || object.modified.is_some_and(|at| at + UNCERTAIN < copied_at);
    is_certain && file.stamp.is_some() && file.stamp == stamp(object)
}

/// Reads a file for its digest; `None` if it is gone.
async fn read_file(store: &dyn Store, object: &ListedObject) -> Result<Option<SourceFile>> {
    let bytes = store.read(&object.key).await.optional()?;
    Ok(bytes.map(|bytes| SourceFile {
        digest: digest(&bytes),
        stamp: stamp(object),
    }))
}

/// The digest of a file's bytes.
pub(crate) fn digest(bytes: &[u8]) -> TableDigest {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(bytes)[..8]);
    TableDigest(u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_beginning_of_the_sha256() {
        let sha256 = hex::encode(Sha256::digest(b"x"));
        assert_eq!(TableDigest::from_hex(&sha256), Some(digest(b"x")));
        assert_eq!(TableDigest::from_hex("short"), None);
        assert_eq!(TableDigest::from_hex(""), None);
    }

    #[test]
    fn a_file_is_known_by_its_etag_or_by_a_time_well_before_the_copy() {
        let object = |etag: Option<&str>, modified: &str| ListedObject {
            key: "k".into(),
            bytes: 7,
            modified: Some(modified.parse().expect("an instant")),
            etag: etag.map(Into::into),
        };
        let of = |object: &ListedObject| SourceFile {
            digest: TableDigest(1),
            stamp: stamp(object),
        };
        let copied: DateTime<chrono::Utc> = "2026-11-22T10:00:00Z".parse().expect("an instant");
        let copied = copied.timestamp_millis();
        let (old, young) = (
            object(None, "2026-11-22T09:00:00Z"),
            object(None, "2026-11-22T09:59:00Z"),
        );
        assert!(is_unchanged(&of(&old), &old, copied));
        assert!(!is_unchanged(&of(&young), &young, copied));
        assert!(!is_unchanged(&of(&young), &old, copied));
        let tagged = object(Some("abc"), "2026-11-22T09:59:59Z");
        assert!(is_unchanged(&of(&tagged), &tagged, copied));
        assert!(!is_unchanged(
            &of(&tagged),
            &object(Some("abd"), "2026-11-22T09:59:59Z"),
            copied
        ));
        let odd = object(Some("a,b=c"), "2026-11-22T09:00:00Z");
        assert!(
            !is_unchanged(&of(&odd), &odd, copied),
            "the mark can't stand in a tag"
        );
    }
}
