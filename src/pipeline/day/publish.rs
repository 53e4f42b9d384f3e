//! Where a day's tables lie, and how a build puts its own there without ever writing over another process's.
//!
//! Two processes may build one day at once, and any of them may be killed or stand still between two requests. What
//! holds then: **the tables in the store are those of the manifest, or the manifest says that someone builds.**
//!
//! 1. The process looks at the tables that lie there ([`TableSnapshot::look`]).
//! 2. It claims the day: the manifest gets `building`, conditionally, with an id that was never used ([`Day::claim`]).
//! 3. It writes each table on the condition that it is still what was seen.
//! 4. It commits the manifest with what was built and without the claim, conditionally.
//!
//! Of two processes one claims later. The later one looked, and wrote, on the condition of what it saw; the earlier
//! one's commit fails from then on. Its writes fail too once the later one has written: what it saw is gone. Where the
//! later one had nothing to write because all lay there already, an earlier one that lives on could still write: the
//! later one therefore leaves the day's marker, and the next run looks at all of its tables again.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::commit::commit;
use crate::lake::key;
use crate::lake::manifest::TableEntry;
use crate::lake::table::TableScope;
use crate::pipeline::day::Day;
use crate::pipeline::run_context::RunContext;
use crate::store::{Condition, Version};
use crate::tables::TableFile;
use crate::{ErrorKind, Result};

/// Tables read at once.
const READ_AT_ONCE: usize = 4;

/// The tables of a day as they lay when it was looked at, by key.
pub(crate) struct TableSnapshot {
    found: BTreeMap<String, Seen>,
}

struct Seen {
    version: Version,
    sha256: String,
}

impl TableSnapshot {
    /// Looks at the day's tables, and takes the day from a process that has claimed it and did not finish.
    pub async fn look(run: &RunContext, day: &mut Day) -> Result<Self> {
        let stored = day.stored.as_ref().map(|(stored, _)| stored);
        // Nobody writes a table before there is a manifest with a claim.
        let untouched = stored.is_none_or(|stored| stored.built.is_none() && stored.building.is_none());
        let keys = if untouched && !day.contested {
            Vec::new()
        } else {
            keys(run, day)
        };
        let found = stream::iter(keys)
            .map(|key| async move {
                match run.store.get(&key).await {
                    Ok(object) => {
                        let sha256 = hex::encode(Sha256::digest(&object.bytes));
                        let version = object.version;
                        Ok(Some((key, Seen { version, sha256 })))
                    }
                    Err(error) if error.kind() == ErrorKind::StoreNotFound => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(READ_AT_ONCE)
            .try_filter_map(async |seen| Ok(seen))
            .try_collect()
            .await?;
        let place = Self { found };
        if day.is_claimed_by_another() {
            day.doubted = true;
            day.claim(run).await?;
        }
        Ok(place)
    }

    /// Writes a table where it is not there yet, and takes it into `tables`.
    pub async fn put(
        &self,
        run: &RunContext,
        day: &mut Day,
        file: TableFile,
        tables: &mut BTreeMap<String, TableEntry>,
    ) -> Result<()> {
        let seen = self.found.get(&file.key);
        let entry = TableEntry {
            key: file.key.clone(),
            rows: file.rows,
            bytes: file.bytes.len() as u64,
            sha256: file.sha256,
        };
        if seen.is_none_or(|seen| seen.sha256 != entry.sha256) {
            day.claim(run).await?;
            let condition = seen.map_or(Condition::Absent, |seen| {
                Condition::Unchanged(seen.version.clone())
            });
            run.put(&file.key, file.bytes, condition).await?;
        }
        tables.insert(file.table, entry);
        Ok(())
    }

    /// Removes the files of tables that have no more rows.
    pub async fn clear(
        &self,
        run: &RunContext,
        day: &mut Day,
        tables: &BTreeMap<String, TableEntry>,
    ) -> Result<()> {
        for key in self.found.keys() {
            if !tables.values().any(|table| table.key == *key) {
                day.claim(run).await?;
                run.delete(key).await?;
            }
        }
        Ok(())
    }
}

/// The keys that the day's tables may have: those of the mapping, and those that were built once.
fn keys(run: &RunContext, day: &Day) -> Vec<String> {
    let (date, space) = (day.manifest.date, &day.manifest.space_id);
    let mapped = run
        .mapping
        .tables()
        .filter(|table| table.scope == TableScope::PerDay)
        .map(|table| key::table(&table.name, date, space));
    let stored = day.stored.as_ref().and_then(|(stored, _)| stored.built.as_ref());
    let built = stored.into_iter().chain(&day.manifest.built);
    let built = built.flat_map(|built| built.tables.values().map(|table| table.key.clone()));
    let mut keys: Vec<_> = mapped.chain(built).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl Day {
    /// Says in the manifest that this process writes the day's tables from now on.
    async fn claim(&mut self, run: &RunContext) -> Result<()> {
        if self.claimed {
            return Ok(());
        }
        // Never one that was used: the same bytes again would be the same version.
        let id = format!("{:032x}", fastrand::u128(..));
        self.manifest.building = Some(id.clone());
        if let Some(built) = &mut self.manifest.built {
            built.fingerprint.clear();
        }
        self.claims.push(id);
        commit(run, self).await?;
        self.claimed = true;
        Ok(())
    }

    /// Whether another process has claimed the day, or had when it died.
    pub fn is_claimed_by_another(&self) -> bool {
        let claim = self
            .stored
            .as_ref()
            .and_then(|(stored, _)| stored.building.as_ref());
        claim.is_some_and(|id| !self.claims.contains(id))
    }
}
