//! The Delta tables: in process against kills, faults and other processes, and as Delta readers see them.

mod histories;
mod readers;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use telelake::Result;
use telelake::config::{Config, Duration};
use telelake::delta::TableReport;
use telelake::lake::table::builtin;
use telelake::pipeline::{DeltaUpdater, Setting};
use telelake::simulator::{Options, Simulator};
use telelake::store::Store;
use telelake::tables::{Footer, footer};

use crate::reliability::{config, import, meta_file, now, run, tiny};
use crate::support::memory::Memory;

/// The smallest school with two spaces, so that the files of a date can be joined.
pub fn two_spaces() -> Options {
    Options {
        spaces: 2,
        rooms: 2,
        ..tiny()
    }
}

/// A configuration with which the files of the school's first date become one file, and those of the second one do not.
pub fn delta_config(sim: &Simulator) -> Config {
    let mut config = config(sim);
    config.delta.compact_after = Duration::from_secs(2 * 24 * 3600);
    config
}

/// A lake with lesson data and tables, and no Delta tables.
pub async fn plain_lake(sim: &Simulator, store: Memory) -> Memory {
    import(&store, meta_file(sim)).await.unwrap();
    let summary = run(sim, store.clone()).await.unwrap();
    assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
    store
}

/// Brings the Delta tables up to date in process, some time after the run.
pub async fn sync_later(
    sim: &Simulator,
    store: impl Store + 'static,
    later: TimeDelta,
    vacuum: bool,
) -> Result<Vec<TableReport>> {
    let setting = Setting::new(delta_config(sim), Arc::new(store), now() + later);
    Box::pin(DeltaUpdater::new(setting)?.run(vacuum)).await
}

/// Brings the Delta tables up to date in process; nothing may fail.
pub async fn sync(sim: &Simulator, store: impl Store + 'static) -> Vec<TableReport> {
    let reports = sync_later(sim, store, TimeDelta::zero(), false).await.unwrap();
    for report in &reports {
        assert_eq!(report.failure, None, "{}", report.table);
    }
    reports
}

/// The active data files of a Delta table by path, from the commits alone, and its number of commits.
pub fn replay(contents: &BTreeMap<String, Bytes>, table: &str) -> (BTreeMap<String, Value>, usize) {
    let log = format!("delta/{table}/_delta_log/");
    let commits: Vec<_> = contents
        .range(log.clone()..)
        .take_while(|(key, _)| key.starts_with(&log))
        .filter(|(key, _)| key.ends_with(".json"))
        .collect();
    let mut files = BTreeMap::new();
    for (version, (key, bytes)) in commits.iter().enumerate() {
        assert_eq!(**key, format!("{log}{version:020}.json"), "a commit is missing");
        for line in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
            let line = line.unwrap();
            if let Some(remove) = line.get("remove") {
                let path = remove["path"].as_str().unwrap();
                assert!(
                    files.remove(path).is_some(),
                    "{path} was removed, but was not there"
                );
            }
            if let Some(add) = line.get("add") {
                let path = add["path"].as_str().unwrap().to_owned();
                assert!(
                    files.insert(path.clone(), add.clone()).is_none(),
                    "{path} was added twice"
                );
            }
        }
    }
    (files, commits.len())
}

/// The differences between a Delta table and the plain table, by the digests of its files.
fn differences(contents: &BTreeMap<String, Bytes>, table: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let prefix = format!("{table}/");
    let plain = contents.iter().filter_map(|(key, bytes)| {
        let name = key.strip_prefix(&prefix)?.strip_suffix(".parquet")?;
        Some((name.to_owned(), hex::encode(&Sha256::digest(bytes)[..8])))
    });
    let (files, _) = replay(contents, table);
    let mut held = BTreeSet::new();
    for (path, add) in &files {
        let Some(bytes) = contents.get(&format!("delta/{table}/{path}")) else {
            faults.push(format!("{table}: {path} is missing"));
            continue;
        };
        let size = bytes.len() as u64;
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        let rows = stats["numRecords"].as_u64().unwrap();
        if add["size"] != size || footer(bytes, size) != Ok(Footer::Rows(rows)) {
            faults.push(format!("{table}: {path} is not as its commit says"));
        }
        let date = add["partitionValues"]["date"].as_str();
        let folder = date.map(|date| format!("date={date}/")).unwrap_or_default();
        for source in add["tags"]["telelake.sources"].as_str().unwrap().split(',') {
            let (name, digest) = source.split_once('=').unwrap();
            let digest = digest.split('@').next().unwrap();
            if !held.insert((format!("{folder}{name}"), digest.to_owned())) {
                faults.push(format!("{table}: the table has the rows of {folder}{name} twice"));
            }
        }
    }
    let plain: BTreeSet<_> = plain.collect();
    faults.extend(
        plain
            .difference(&held)
            .map(|(name, _)| format!("{table}: {name} is lacking")),
    );
    faults.extend(
        held.difference(&plain)
            .map(|(name, _)| format!("{table}: {name} is too many")),
    );
    faults
}

/// Asserts that every Delta table holds the files of its plain table, each once.
#[track_caller]
pub fn assert_agrees(store: &Memory, history: &str) {
    let contents = store.contents();
    let tables = builtin::all().iter();
    let faults: Vec<_> = tables
        .flat_map(|table| differences(&contents, &table.name))
        .collect();
    assert!(faults.is_empty(), "{history}:\n{}", faults.join("\n"));
}

/// An instant after that of the runs.
pub fn after(later: TimeDelta) -> DateTime<Utc> {
    now() + later
}
