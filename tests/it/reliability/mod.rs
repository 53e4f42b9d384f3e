//! The lake after kills, after faults of the store, and with several writers at once. `docs/reliability.md` names the
//! test of each promise.
//!
//! Most histories run in process over a store in memory, at one instant, so that two lakes can be compared byte by
//! byte. The same is done with the real program, a folder and the S3 server in `killed` and `together`; `make soak`
//! does many more of them (`TELELAKE_SOAK`).

pub mod compared;
mod crashed;
mod disturbed;
mod faults;
mod interleaved;
mod killed;
mod lease;
pub mod moments;
mod together;
mod traced;
mod unchanged;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use telelake::config::{Config, Secret};
use telelake::lake::key;
use telelake::lake::manifest::Manifest;
use telelake::pipeline::{Command, Exporter, Job, MetaFile, Rebuilder, Setting, Summary};
use telelake::simulator::{Options, Simulator};
use telelake::store::Store;
use telelake::tables::PrivacyPolicy;
use telelake::tables::{DayRow, SpaceDays};
use telelake::{Error, Result};

use crate::support::memory::Memory;

/// The number of histories that `make soak` asks for; `None` in the test suite.
pub fn soak() -> Option<u64> {
    let count = std::env::var("TELELAKE_SOAK").ok()?;
    Some(count.parse().expect("TELELAKE_SOAK is a number"))
}

/// The smallest school with every kind of object.
pub fn tiny() -> Options {
    Options {
        spaces: 1,
        rooms: 3,
        empty_rooms: 0.0,
        dates: telelake::simulator::days("2025-03-03".parse().unwrap(), 2),
        calls_per_day: 1..=1,
        participants: 2..=4,
        recording_size: 4_000,
        ..Options::default()
    }
}

/// The instant of all runs in process, unless a test says another.
pub fn now() -> DateTime<Utc> {
    "2025-03-06T02:00:00Z".parse().unwrap()
}

pub fn config(sim: &Simulator) -> Config {
    let mut config = Config::default();
    config.api.base_url = sim.base_url();
    config.api.token = Secret::new(sim.token());
    config
}

/// A job over all of the school's dates.
pub fn whole(sim: &Simulator) -> Job {
    let dates = &sim.options().dates;
    Job::nightly(dates[0], dates[dates.len() - 1])
}

/// Lets the API claim that the first call began the next day. Returns its true start.
pub fn begin_the_first_call_the_next_day(sim: &Simulator) -> DateTime<Utc> {
    sim.edit(|school| {
        let call = &mut school.calls[0];
        let truth = call.started_at;
        let end = truth.date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc() + TimeDelta::hours(25);
        call.finished_at = Some(end);
        call.started_at = end - TimeDelta::minutes(10);
        truth
    })
}

/// A run in process.
pub async fn run(sim: &Simulator, store: impl Store + 'static) -> Result<Summary> {
    run_at(sim, config(sim), store, now()).await
}

/// A run in process with a configuration, at an instant.
pub async fn run_at(
    sim: &Simulator,
    config: Config,
    store: impl Store + 'static,
    now: DateTime<Utc>,
) -> Result<Summary> {
    let exporter = Exporter::new(Setting::new(config, Arc::new(store), now))?;
    Box::pin(exporter.run(&whole(sim))).await
}

/// A rebuild of all of the school's dates in process.
pub async fn rebuild(sim: &Simulator, store: impl Store + 'static) -> Result<Summary> {
    let rebuilder = Rebuilder::new(Setting::new(config(sim), Arc::new(store), now()))?;
    let dates = &sim.options().dates;
    Box::pin(rebuilder.run(&Job::over(Command::Rebuild, dates[0], dates[dates.len() - 1]))).await
}

/// The school's lesson data as one file.
pub fn meta_file(sim: &Simulator) -> MetaFile {
    file_of("metas.jsonl", &sim.school().metas())
}

/// A file of lesson data with some payloads.
pub fn file_of(name: &str, metas: &[serde_json::Value]) -> MetaFile {
    let lines: String = metas.iter().map(|meta| format!("{meta}\n")).collect();
    MetaFile {
        name: name.into(),
        bytes: lines.into(),
    }
}

/// Imports lesson data in process.
pub async fn import(store: &dyn Store, file: MetaFile) -> Result<telelake::pipeline::Imported, Error> {
    telelake::pipeline::import_meta(
        store,
        chrono_tz::Tz::UTC,
        now(),
        &PrivacyPolicy::default(),
        vec![file],
    )
    .await
}

/// All objects of a lake except the summaries of runs.
pub fn said(store: &Memory) -> BTreeMap<String, Bytes> {
    let mut contents = store.contents();
    contents.retain(|key, _| !key.starts_with("_telelake/runs/"));
    contents
}

/// Compares two lakes, byte by byte.
#[track_caller]
pub fn assert_same(found: &BTreeMap<String, Bytes>, expected: &BTreeMap<String, Bytes>, history: &str) {
    let keys: Vec<_> = found
        .keys()
        .chain(expected.keys())
        .filter(|key| found.get(*key) != expected.get(*key))
        .map(|key| match (found.get(key), expected.get(key)) {
            (None, _) => format!("{key} is missing"),
            (_, None) => format!("{key} is too many"),
            (Some(found), Some(expected)) => format!(
                "{key} differs:\n{}\n{}",
                String::from_utf8_lossy(found),
                String::from_utf8_lossy(expected)
            ),
        })
        .collect();
    assert!(keys.is_empty(), "{history}:\n{}", keys.join("\n"));
}

/// The manifests of a lake.
pub fn manifests(contents: &BTreeMap<String, Bytes>) -> Vec<Manifest> {
    contents
        .iter()
        .filter(|(key, _)| key.starts_with("_telelake/days/"))
        .map(|(_, bytes)| serde_json::from_slice(bytes).unwrap())
        .collect()
}

/// The contradictions in a lake without writers: a table, report or recording that does not match its manifest,
/// or belongs to a day without a manifest.
pub fn damage(contents: &BTreeMap<String, Bytes>) -> Vec<String> {
    let mut damage = Vec::new();
    let mut known = std::collections::BTreeSet::new();
    for manifest in manifests(contents) {
        let day = format!("{} {}", manifest.date, manifest.space_id);
        if manifest.building.is_some() {
            damage.push(format!("{day}: is claimed"));
        }
        let tables = manifest.built.iter().flat_map(|built| built.tables.values());
        let tables = tables.map(|table| (&table.key, &table.sha256));
        let reports = manifest.calls.values().flat_map(|call| call.reports.values());
        let files = manifest.records.values().map(|record| &record.file);
        let landed = reports.chain(files).filter_map(|landing| landing.landed.as_ref());
        for (key, sha256) in tables.chain(landed.map(|landed| (&landed.key, &landed.sha256))) {
            known.insert(key.clone());
            match contents.get(key) {
                None => damage.push(format!("{day}: {key} is missing")),
                Some(bytes) if hex::encode(Sha256::digest(bytes)) != *sha256 => {
                    damage.push(format!("{day}: {key} is not the manifest's"));
                }
                Some(_) => {}
            }
        }
    }
    let of_days = |key: &&String| {
        key.contains("/date=")
            && !key.starts_with("_telelake/")
            && !["raw/meta/", "user_meta/", "hierarchy/"]
                .iter()
                .any(|prefix| key.starts_with(prefix))
    };
    let stray = contents
        .keys()
        .filter(of_days)
        .filter(|key| !known.contains(*key));
    damage.extend(stray.map(|key| format!("{key} is of no manifest")));
    damage.extend(wrong_days(contents));
    damage
}

/// The days whose row in the table of days is not what their manifest says. Days with a marker are left out: the next run
/// writes their row.
fn wrong_days(contents: &BTreeMap<String, Bytes>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut files: BTreeMap<_, Option<SpaceDays>> = BTreeMap::new();
    for manifest in manifests(contents) {
        let key = key::days(&manifest.space_id);
        let read = || {
            contents
                .get(&key)
                .map(|bytes| SpaceDays::read(bytes.clone()).unwrap())
        };
        let days = files.entry(key.clone()).or_insert_with(read);
        let row = days.as_ref().and_then(|days| days.get(manifest.date));
        let is_right = row == Some(&DayRow::of(&manifest, "UTC", &PrivacyPolicy::default()).unwrap());
        if !is_right && !contents.contains_key(&key::open_day(manifest.date, &manifest.space_id)) {
            wrong.push(format!(
                "{key}: the row of {} is not the manifest's",
                manifest.date
            ));
        }
    }
    wrong
}

#[track_caller]
pub fn assert_sound(contents: &BTreeMap<String, Bytes>, history: &str) {
    let damage = damage(contents);
    assert!(damage.is_empty(), "{history}:\n{}", damage.join("\n"));
}
