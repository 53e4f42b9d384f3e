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
//! If two processes claim the same day, the later claim wins: the earlier process can no longer commit the manifest, and
//! once the winner has written a table, the loser's write to it fails because the version changed. There is one gap: if
//! the winner found every table already up to date it writes none, so a stalled loser can still overwrite one. The winner
//! therefore keeps the day's marker, and the next run checks all tables of the day again.
//!
//! [claims]: super::claim

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::commit::commit;
use super::state::DayState;
use crate::lake::key;
use crate::lake::manifest::TableEntry;
use crate::lake::table::TableScope;
use crate::pipeline::run_context::RunContext;
use crate::store::{Condition, Version};
use crate::tables::TableFile;
use crate::{ErrorKind, Result};

/// The number of tables that are read at once.
const READ_AT_ONCE: usize = 4;

/// The tables of a day in the store, by key, as they were before this process wrote any.
pub(crate) struct TableSnapshot {
    found: BTreeMap<String, StoredTable>,
}

struct StoredTable {
    version: Version,
    sha256: String,
}

impl TableSnapshot {
    /// Reads the day's tables. If another process has claimed the day and did not finish, takes the day over.
    ///
    /// # Errors
    /// As [`commit`].
    pub async fn take(run: &RunContext, day: &mut DayState) -> Result<Self> {
        // Nobody writes a table before a manifest with a claim was committed.
        let has_tables = day.stored_build().is_some() || day.stored_claim().is_some();
        let keys = if has_tables || day.claim.has_met_rival() {
            keys(run, day)
        } else {
            Vec::new()
        };
        let found = stream::iter(keys)
            .map(|key| async move {
                match run.store.get(&key).await {
                    Ok(object) => {
                        let sha256 = hex::encode(Sha256::digest(&object.bytes));
                        let version = object.version;
                        Ok(Some((key, StoredTable { version, sha256 })))
                    }
                    Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(READ_AT_ONCE)
            .try_filter_map(async |table| Ok(table))
            .try_collect()
            .await?;
        if day.is_claimed_by_another() {
            day.claim.oust_rival();
            claim(run, day).await?;
        }
        Ok(Self { found })
    }

    /// Writes a table, unless the store has it already, and adds it to `tables`.
    ///
    /// # Errors
    /// As [`commit`]; `Precondition` also if another process has written the table.
    pub async fn put(
        &self,
        run: &RunContext,
        day: &mut DayState,
        file: TableFile,
        tables: &mut BTreeMap<String, TableEntry>,
    ) -> Result<()> {
        let stored = self.found.get(&file.key);
        let entry = TableEntry {
            key: file.key.clone(),
            rows: file.rows,
            bytes: file.bytes.len() as u64,
            sha256: file.sha256,
        };
        if stored.is_none_or(|stored| stored.sha256 != entry.sha256) {
            claim(run, day).await?;
            let condition = stored.map_or(Condition::Absent, |stored| {
                Condition::Unchanged(stored.version.clone())
            });
            run.put_relaxed(&file.key, file.bytes, condition).await?;
        }
        tables.insert(file.table, entry);
        Ok(())
    }

    /// Deletes the files of tables that no longer have any rows.
    ///
    /// # Errors
    /// As [`commit`].
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

/// Claims the day in the manifest, unless this attempt has done so: from now on this process writes the tables.
async fn claim(run: &RunContext, day: &mut DayState) -> Result<()> {
    if day.claim.may_publish(day.stored_claim()) {
        return Ok(());
    }
    let id = day.claim.new_id();
    day.manifest.building = Some(id.clone());
    if let Some(built) = &mut day.manifest.built {
        built.fingerprint.clear();
    }
    commit(run, day).await?;
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
