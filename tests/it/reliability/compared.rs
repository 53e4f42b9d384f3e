//! Comparison of lakes of real programs: everything that must be equal, without the time and place of writing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use telelake::lake::table::builtin;
use telelake::simulator::Simulator;
use telelake::tables::read_text;

use super::damage;
use crate::support::lake::Lake;

/// Columns of time or place, which differ between two lakes.
const OF_TIME_AND_PLACE: [&str; 9] = [
    "url",
    "endpoint",
    "landed_at",
    "listed_at",
    "built_at",
    "received_at",
    "probed_at",
    "uri",
    "file",
];
/// Tables with such columns, whose bytes differ between lakes.
const TIMED: [&str; 4] = ["coverage", "days", "recordings", "user_meta"];

/// The comparable contents of a lake by key: for most objects the digest of the bytes.
pub async fn gist(lake: &Lake) -> BTreeMap<String, String> {
    let contents = lake.contents().await;
    // A probe that was killed is removed by the first run an hour later.
    let passing = ["_telelake/tmp/", "_telelake/probe/", "_telelake/meta/changed/"];
    let kept = contents
        .into_iter()
        .filter(|(key, _)| !passing.iter().any(|prefix| key.starts_with(prefix)));
    kept.map(|(key, bytes)| {
        let gist = gist_of(&key, bytes);
        // The key of raw lesson data holds the time of arrival and the digest of the content.
        let name = match key.strip_prefix("raw/meta/") {
            Some(_) => format!("raw/meta/{gist}"),
            None => key,
        };
        (name, gist)
    })
    .collect()
}

fn gist_of(key: &str, bytes: Bytes) -> String {
    let table = key.split('/').next().unwrap_or_default();
    if key.ends_with(".parquet") && TIMED.contains(&table) {
        let columns: Vec<_> = builtin::get(table)
            .unwrap()
            .columns
            .iter()
            .map(|column| column.name.as_ref())
            .filter(|name| !OF_TIME_AND_PLACE.contains(name))
            .collect();
        return format!("{:?}", read_text(bytes, &columns).unwrap());
    }
    if key.ends_with(".jsonl.zst") {
        let text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
        let lines = text.lines().map(|line| {
            let mut value: Value = serde_json::from_str(line).unwrap();
            scrub(&mut value);
            value.to_string()
        });
        return lines.collect::<Vec<_>>().join("\n");
    }
    if key.starts_with("_telelake/") && key.ends_with(".json") {
        let mut value: Value = serde_json::from_slice(&bytes).unwrap();
        scrub(&mut value);
        return value.to_string();
    }
    hex::encode(Sha256::digest(&bytes))
}

fn scrub(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, field| {
                // The `file` of a lesson entry is a path on a disk; the `file` of a record is its landing.
                !OF_TIME_AND_PLACE.contains(&name.as_str()) || (name == "file" && field.is_object())
            });
            for table in TIMED {
                if let Some(Value::Object(entry)) = fields.get_mut(table)
                    && entry.contains_key("sha256")
                {
                    entry.remove("sha256");
                    entry.remove("bytes");
                }
            }
            fields.values_mut().for_each(scrub);
        }
        Value::Array(items) => items.iter_mut().for_each(scrub),
        _ => {}
    }
}

/// The numbers of faults in a lake.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub struct Tally {
    /// Objects that differ from those of the undisturbed lake.
    pub differences: usize,
    /// Calls, participants and recordings of the school that are in no table.
    pub lost: usize,
    /// Calls, participants and recordings that are in the tables more than once.
    pub doubled: usize,
    /// Objects that do not match their manifest.
    pub damaged: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.differences += other.differences;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.damaged += other.damaged;
    }
}

/// Compares a lake with its own manifests, with the school, and with an undisturbed lake if there is one.
pub async fn tally(
    lake: &Lake,
    sim: &Simulator,
    undisturbed: Option<&BTreeMap<String, String>>,
    history: &str,
) -> Tally {
    let mut tally = Tally::default();
    if let Some(expected) = undisturbed {
        let found = gist(lake).await;
        let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
        for key in keys
            .into_iter()
            .filter(|key| found.get(*key) != expected.get(*key))
        {
            println!(
                "{history}: {key} differs:\n  {:?}\n  {:?}",
                found.get(key),
                expected.get(key)
            );
            tally.differences += 1;
        }
    }
    for damage in damage(&lake.contents().await) {
        println!("{history}: {damage}");
        tally.damaged += 1;
    }
    let school = sim.school();
    let calls = school.calls.iter().map(|call| vec![call.id.clone()]);
    let people = school.calls.iter().flat_map(|call| {
        let of_call = |person: &telelake::simulator::Participant| {
            vec![call.id.clone(), person.id.clone().unwrap_or_default()]
        };
        call.participants.iter().map(of_call).collect::<Vec<_>>()
    });
    let records = school.records.iter().map(|record| vec![record.id.clone()]);
    for (table, columns, expected) in [
        ("calls", vec!["call_id"], calls.collect::<Vec<_>>()),
        (
            "participants",
            vec!["call_id", "participant_id"],
            people.collect(),
        ),
        ("recordings", vec!["record_id"], records.collect()),
    ] {
        let mut found: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for row in lake.rows(table, &columns).await {
            let key = columns.iter().map(|column| row[*column].clone()).collect();
            *found.entry(key).or_default() += 1;
        }
        tally.lost += expected.iter().filter(|key| !found.contains_key(*key)).count();
        tally.doubled += found.values().filter(|times| **times > 1).count();
    }
    tally
}
