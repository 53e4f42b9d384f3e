//! Publishes the tables of a day without ever overwriting those of another process.
//!
//! Two processes may build the same day at once, and each may be killed or stall between two requests. This invariant
//! holds: **the tables in the store are those of the manifest, or the manifest says that a process is building.**
//!
//! 1. The process reads the versions of the tables in the store ([`TableSnapshot::take`]).
//! 2. It [claims] the day: it commits the manifest with `building` set to a new id.
//! 3. It writes each table on the condition that the table still has the version of step 1.
//! 4. It commits the manifest with the new tables and without the claim.
//!
//! A day that has no tables yet has nothing to read, so its claim is committed together with its landings.
//!
//! If two processes claim the same day, the later claim wins: the earlier process can no longer commit the manifest, and
//! once the winner has written a table, the loser's write to it fails because the version changed. There is one gap: if
//! the winner found every table already up to date it writes none, so a stalled loser can still overwrite one. The winner
//! therefore keeps the day's marker, and the next run checks all tables of the day again.
//!
//! [claims]: super::claim

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::commit::{has_nothing, write};
use super::state::DayState;
use crate::lake::key;
use crate::lake::manifest::TableEntry;
use crate::lake::table::TableScope;
use crate::pipeline::run_context::RunContext;
use crate::store::{Condition, OptionalExt, Version};
use crate::tables::TableFile;
use crate::{Error, Result};

/// The number of tables that are read or written at once.
const TABLES_AT_ONCE: usize = 8;

/// The tables of a day in the store, by key, as they were before this process wrote any.
pub(crate) struct TableSnapshot {
    found: BTreeMap<String, StoredTable>,
}

struct StoredTable {
    sha256: String,
    /// None if the table was not read, because the manifest says that it is as this process wants it.
    version: Option<Version>,
}

/// The extent to which the stored tables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All of them are read, because one may be missing or damaged.
    All,
    /// The manifest is trusted: a table that it names with the digest of the new one is not read.
    Changed,
}

impl TableSnapshot {
    /// Reads the day's tables, of which `files` will replace those that differ. If another process has claimed the day and
    /// did not finish, takes the day over.
    ///
    /// # Errors
    /// As [`commit`](super::commit::commit).
    pub async fn take(
        run: &RunContext,
        day: &mut DayState,
        files: &[TableFile],
        reading: Reading,
    ) -> Result<Self> {
        let mut found = BTreeMap::new();
        let mut keys = if has_no_tables(day) || day.claim.may_publish(day.stored_claim()) {
            Vec::new()
        } else {
            keys(run, day)
        };
        if reading == Reading::Changed && day.stored_claim().is_none() && !day.claim.has_met_rival() {
            let named = day
                .stored_build()
                .into_iter()
                .flat_map(|built| built.tables.values());
            let named: BTreeMap<_, _> = named.map(|table| (&table.key, &table.sha256)).collect();
            for file in files
                .iter()
                .filter(|file| named.get(&file.key) == Some(&&file.sha256))
            {
                let (sha256, version) = (file.sha256.clone(), None);
                found.insert(file.key.clone(), StoredTable { sha256, version });
            }
            keys.retain(|key| named.contains_key(key) && !found.contains_key(key));
        }
        let mut read = stream::iter(keys)
            .map(|key| async move { Ok::<_, Error>((run.store.get(&key).await.optional()?, key)) })
            .buffer_unordered(TABLES_AT_ONCE);
        while let Some((object, key)) = read.try_next().await? {
            if let Some(object) = object {
                let sha256 = hex::encode(Sha256::digest(&object.bytes));
                let version = Some(object.version);
                found.insert(key, StoredTable { sha256, version });
            }
        }
        if day.is_claimed_by_another() {
            day.claim.oust_rival();
            claim(run, day).await?;
        }
        Ok(Self { found })
    }

    /// Writes the tables that the store does not have yet, and adds all to `tables`.
    ///
    /// # Errors
    /// As [`commit`](super::commit::commit); `Precondition` also if another process has written a table.
    pub async fn put(
        &self,
        run: &RunContext,
        day: &mut DayState,
        files: Vec<TableFile>,
        tables: &mut BTreeMap<String, TableEntry>,
    ) -> Result<()> {
        if !files.iter().all(|file| self.has(file)) {
            claim(run, day).await?;
        }
        let writes = stream::iter(files)
            .map(|file| self.put_one(run, file))
            .buffer_unordered(TABLES_AT_ONCE);
        // All writes end before an error is returned, because one that is cut off could still arrive later.
        let written: Vec<_> = writes.collect().await;
        for table in written {
            let (name, entry) = table?;
            tables.insert(name, entry);
        }
        Ok(())
    }

    /// True if the store has this very table.
    fn has(&self, file: &TableFile) -> bool {
        let stored = self.found.get(&file.key);
        stored.is_some_and(|stored| stored.sha256 == file.sha256)
    }

    async fn put_one(&self, run: &RunContext, file: TableFile) -> Result<(String, TableEntry)> {
        let is_stored = self.has(&file);
        let entry = TableEntry {
            key: file.key.clone(),
            rows: file.rows,
            bytes: file.bytes.len() as u64,
            sha256: file.sha256,
        };
        if !is_stored {
            let stored = self.found.get(&file.key);
            let version = stored.and_then(|stored| stored.version.clone());
            let condition = version.map_or(Condition::Absent, Condition::Unchanged);
            run.put(&file.key, file.bytes, condition).await?;
        }
        Ok((file.table, entry))
    }

    /// Deletes the files of tables that no longer have any rows.
    ///
    /// # Errors
    /// As [`commit`](super::commit::commit).
    pub async fn delete_empty(
        &self,
        run: &RunContext,
        day: &mut DayState,
        tables: &BTreeMap<String, TableEntry>,
    ) -> Result<()> {
        for key in self.found.keys() {
            if !tables.values().any(|table| table.key == *key) {
                claim(run, day).await?;
                run.delete(key).await?;
            }
        }
        Ok(())
    }
}

/// Commits the landings of a day before its build. If the day can't have tables yet, this claims the day at once, because
/// then there is nothing to read before the claim.
///
/// # Errors
/// As [`commit`](super::commit::commit).
pub(super) async fn commit_landings(run: &RunContext, day: &mut DayState) -> Result<()> {
    if has_no_tables(day) && !has_nothing(day) && !run.cancel.is_cancelled() {
        return claim(run, day).await;
    }
    write(run, day).await
}

/// True if the day has no table in the store, because nobody writes one before a manifest with a claim was committed.
fn has_no_tables(day: &DayState) -> bool {
    day.stored_build().is_none() && day.stored_claim().is_none() && !day.claim.has_met_rival()
}

/// Claims the day in the manifest, unless this attempt has done so: from now on this process writes the tables.
pub(super) async fn claim(run: &RunContext, day: &mut DayState) -> Result<()> {
    if day.claim.may_publish(day.stored_claim()) {
        return Ok(());
    }
    let id = day.claim.new_id();
    day.manifest.building = Some(id.clone());
    if let Some(built) = &mut day.manifest.built {
        built.fingerprint.clear();
    }
    write(run, day).await?;
    day.claim.committed(id);
    Ok(())
}

/// The keys that the day's tables may have: those of the mapping, and those of earlier builds.
fn keys(run: &RunContext, day: &DayState) -> Vec<String> {
    let (date, space) = (day.manifest.date, &day.manifest.space_id);
    let mapped = run
        .mapping
        .tables()
        .filter(|table| table.scope == TableScope::PerDay)
        .map(|table| key::table(&table.name, date, space));
    let built = day.stored_build().into_iter().chain(&day.manifest.built);
    let built = built.flat_map(|built| built.tables.values().map(|table| table.key.clone()));
    let mut keys: Vec<_> = mapped.chain(built).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
