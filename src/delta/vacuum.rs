//! Removes what no version of the last days needs: data files, commits and old checkpoints.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::log::{LogFiles, TableState, folder};
use crate::Result;
use crate::store::{ListedObject, Store};

/// Objects removed at once.
const AT_ONCE: usize = 8;

/// The age from which a data file that no version has was left by a process that died.
const ORPHAN: TimeDelta = TimeDelta::hours(24);

/// The age from which a purge takes a data file that no version has for one that a dead process left.
const YOUNG: TimeDelta = TimeDelta::minutes(10);

/// Removes the objects of a table that no version of the time `keep` before `now` needs, and returns their number.
///
/// # Errors
/// Any error of the store.
pub(super) async fn vacuum(
    store: &dyn Store,
    table: &str,
    now: DateTime<Utc>,
    keep: TimeDelta,
) -> Result<usize> {
    let cutoff = now.checked_sub_signed(keep).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let folder = folder(table);
    // List before reading the log, so that a file that is committed meanwhile is in the state.
    let listed = store.list(&folder).await?;
    let state = TableState::load(store, table).await?;
    let data = listed.iter().filter(|object| {
        let path = object.key.strip_prefix(&folder).unwrap_or_default();
        match (state.files.contains_key(path), state.removed.get(path)) {
            (true, _) => false,
            (false, Some(removed)) => removed.deletion_timestamp < Some(cutoff.timestamp_millis()),
            // Its process may be about to commit it.
            (false, None) => made_at(path).is_some_and(|made| made < cutoff.min(now - ORPHAN)),
        }
    });
    let mut keys: Vec<String> = data.map(|object| object.key.clone()).collect();
    keys.extend(old_log_files(&LogFiles::of(table, listed.clone()), cutoff));
    let count = keys.len();
    delete_all(store, keys).await?;
    Ok(count)
}

/// Removes all that the latest version of a table does not need: older versions and their data files. Readers of older
/// versions fail. Returns the number of objects removed.
///
/// # Errors
/// Any error of the store.
pub(super) async fn purge(store: &dyn Store, table: &str, now: DateTime<Utc>) -> Result<usize> {
    let folder = folder(table);
    // List before reading the log, so that a file that is committed meanwhile is in the state.
    let listed = store.list(&folder).await?;
    let mut state = TableState::load(store, table).await?;
    let Some(version) = state.version else {
        return Ok(0);
    };
    let log = LogFiles::of(table, listed.clone());
    let data = listed.iter().filter(|object| {
        let path = object.key.strip_prefix(&folder).unwrap_or_default();
        let made = made_at(path);
        // The process of a young file may be about to commit it.
        let is_orphan = || made.is_some_and(|made| made < now - YOUNG);
        !state.files.contains_key(path) && made.is_some() && (state.removed.contains_key(path) || is_orphan())
    });
    let data: Vec<String> = data.map(|object| object.key.clone()).collect();
    let old_commits = log.commits.range(..=version).map(|(_, object)| &object.key);
    let old_checkpoints = log.checkpoints.range(..version).map(|(_, object)| &object.key);
    let old: Vec<String> = old_commits.chain(old_checkpoints).cloned().collect();
    let is_purged = log.commits.range(..=version).next().is_none() && state.removed.is_empty();
    let count = data.len() + old.len();
    // The log names the removed files until they are gone, so that a purge that was killed is done again.
    delete_all(store, data).await?;
    if !is_purged {
        // Statistics of files that were removed name their smallest and largest ids, so they go too.
        state.removed.clear();
        state.write_checkpoint(store, table, now).await?;
    }
    delete_all(store, old).await?;
    Ok(count)
}

async fn delete_all(store: &dyn Store, keys: Vec<String>) -> Result<()> {
    stream::iter(keys)
        .map(|key| async move { store.delete(&key).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
}

/// The time at which a data file was made, by its name; `None` for any other object.
fn made_at(path: &str) -> Option<DateTime<Utc>> {
    let name = path
        .strip_suffix(".parquet")
        .filter(|_| !path.starts_with("_delta_log/"))?;
    let time = name.rsplit('-').nth(1)?;
    let time = NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%SZ").ok()?;
    Some(time.and_utc())
}

/// The keys of the commits and checkpoints before the latest checkpoint from which every version since `cutoff` follows.
fn old_log_files(files: &LogFiles, cutoff: DateTime<Utc>) -> Vec<String> {
    let is_old = |object: &ListedObject| object.modified.is_some_and(|at| at < cutoff);
    // The version at the cutoff is the last one of the old commits.
    let old = files
        .commits
        .iter()
        .take_while(|(_, object)| is_old(object))
        .last();
    let first_needed = old.and_then(|(version, _)| files.checkpoints.range(..=version).next_back());
    let Some((first_needed, _)) = first_needed else {
        return Vec::new();
    };
    let commits = files.commits.range(..first_needed);
    let checkpoints = files.checkpoints.range(..first_needed);
    commits
        .chain(checkpoints)
        .map(|(_, object)| object.key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::log::log_folder;

    fn object(name: &str, day: u32) -> ListedObject {
        ListedObject {
            key: format!("{}{name}", log_folder("calls")),
            bytes: 1,
            modified: format!("2026-11-{day:02}T00:00:00Z").parse().ok(),
            etag: None,
        }
    }

    #[test]
    fn the_log_before_the_last_checkpoint_that_is_needed_is_removed() {
        let commits = (0..30_u32).map(|version| object(&format!("{version:020}.json"), version + 1));
        let checkpoints =
            [9_u32, 19, 29].map(|version| object(&format!("{version:020}.checkpoint.parquet"), version + 1));
        let files = LogFiles::of("calls", commits.chain(checkpoints));
        let at = |day: u32| format!("2026-11-{day:02}T12:00:00Z").parse().expect("an instant");
        // On the 24th the version was 23, which follows from the checkpoint of version 19.
        let old = old_log_files(&files, at(24));
        assert_eq!(old.len(), 19 + 1);
        assert!(!old.contains(&object("00000000000000000019.json", 1).key));
        assert!(old.contains(&object("00000000000000000009.checkpoint.parquet", 1).key));
        assert!(old_log_files(&files, at(9)).is_empty());
    }

    #[test]
    fn the_name_of_a_data_file_tells_its_age() {
        let made = made_at("date=2026-11-22/a-b-20261122T020000Z-01234567.parquet");
        assert_eq!(
            made.map(|at| at.to_rfc3339()).as_deref(),
            Some("2026-11-22T02:00:00+00:00")
        );
        assert_eq!(made_at("date=2026-11-22/a.parquet"), None);
        assert_eq!(made_at("_delta_log/x-20261122T020000Z-0.parquet"), None);
    }
}
