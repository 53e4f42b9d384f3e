//! `verify` compares the lake with its manifests: it finds, names and repairs each kind of damage.

mod damage;
mod days;
mod sound;
mod strays;

use serde_json::{Value, json};
use telelake::lake::key;
use telelake::lake::manifest::Manifest;
use telelake::simulator::{Options, Simulator};
use telelake::tables::{DayRow, PrivacyPolicy, SpaceDays};

use crate::pipeline::{backfill, range};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};
use crate::support::truth::assert_whole;

async fn exported(lake: &Lake, options: Options, status: i32) -> Simulator {
    let sim = Simulator::start(options).await.unwrap();
    Telelake::against(&sim, lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(status);
    sim
}

/// Imports the lesson data of the whole school, and runs an export that joins it.
async fn with_lessons(lake: &Lake, sim: &Simulator) {
    let file = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
    let lines: String = sim
        .school()
        .metas()
        .iter()
        .map(|meta| format!("{meta}\n"))
        .collect();
    std::fs::write(file.path(), lines).unwrap();
    Telelake::new(&["meta", "import", &file.path().display().to_string()])
        .lake(lake)
        .run()
        .await
        .expect(0);
    Telelake::against(sim, lake, &backfill(&range(sim), &[]))
        .run()
        .await
        .expect(0);
}

/// `verify --json` without a token.
async fn verify(lake: &Lake, args: &[&str]) -> Finished {
    let args = [&["verify", "--json"], args].concat();
    Telelake::new(&args)
        .env("TELELAKE_EXPORT__GIVE_UP", "100years")
        .lake(lake)
        .run()
        .await
}

async fn repair(sim: &Simulator, lake: &Lake, args: &[&str]) -> Finished {
    let args = [&["verify", "--json", "--repair"], args].concat();
    Telelake::against(sim, lake, &args).run().await
}

fn kinds(of: &Value) -> Vec<&str> {
    of.as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect()
}

/// The manifest of a day, by its position.
async fn day(lake: &Lake, at: usize) -> Value {
    lake.manifests().await.remove(at)
}

fn manifest_key(day: &Value) -> String {
    let date = day["date"].as_str().unwrap().parse().unwrap();
    key::manifest(date, &day["space_id"].as_str().unwrap().into())
}

/// Writes a manifest and its row in the table of days, so that the two agree.
async fn put_day(lake: &Lake, day: &Value) {
    lake.put(&manifest_key(day), day.to_string()).await;
    let manifest: Manifest = serde_json::from_value(day.clone()).unwrap();
    let key = key::days(&manifest.space_id);
    let mut days = SpaceDays::read(lake.get(&key).await).unwrap();
    days.set(
        manifest.date,
        Some(DayRow::of(&manifest, "UTC", &PrivacyPolicy::default()).unwrap()),
    );
    let file = days
        .file(&manifest.space_id, &PrivacyPolicy::default())
        .unwrap()
        .unwrap();
    lake.put(&key, file.bytes).await;
}

fn table_key(day: &Value, table: &str) -> String {
    let key = day["built"]["tables"][table]["key"].as_str().unwrap();
    key.to_owned()
}

/// The id of the day's first call, and the key of its landed report.
fn report(day: &Value) -> (String, String) {
    let (id, call) = day["calls"].as_object().unwrap().iter().next().unwrap();
    let key = call["reports"]["json"]["landed"]["key"].as_str().unwrap();
    (id.clone(), key.to_owned())
}

/// The id of the day's first landed record, and the key of its recording.
fn recording(day: &Value) -> (String, String) {
    let records = day["records"].as_object().unwrap();
    let landed = |record: &Value| record["file"]["landed"]["key"].as_str().map(str::to_owned);
    records
        .iter()
        .find_map(|(id, record)| Some((id.clone(), landed(record)?)))
        .unwrap()
}

/// Flips a bit of the data, not of the footer, which `verify` checks without `--deep` too.
async fn flip(lake: &Lake, key: &str) {
    let mut bytes = lake.get(key).await.to_vec();
    let at = bytes.len() / 5;
    bytes[at] ^= 1;
    lake.put(key, bytes).await;
}

async fn truncate(lake: &Lake, key: &str) {
    let bytes = lake.get(key).await;
    lake.put(key, bytes.slice(..bytes.len() / 2)).await;
}

/// Verifies, and asserts the kinds of the findings in order, and the text that each one names.
async fn assert_found(lake: &Lake, args: &[&str], expected: &[(&str, &str)]) -> Value {
    let verified = verify(lake, args).await.expect(5).summary();
    let findings = verified["findings"].as_array().unwrap();
    let told: Vec<_> = findings
        .iter()
        .map(|finding| (finding["kind"].as_str().unwrap(), finding.to_string()))
        .collect();
    assert_eq!(
        told.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        expected.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        "{verified:#}"
    );
    for ((_, finding), (_, named)) in told.iter().zip(expected) {
        assert!(finding.contains(named), "{finding} does not name {named}");
    }
    assert_eq!(verified["counts"]["findings"], findings.len());
    verified
}

/// Asserts the findings, repairs them, and asserts that nothing is found any more.
async fn assert_repaired(sim: &Simulator, lake: &Lake, args: &[&str], expected: &[(&str, &str)]) {
    let verified = assert_found(lake, args, expected).await;
    for finding in verified["findings"].as_array().unwrap() {
        assert_eq!(finding["repairable"], true, "{finding}");
    }
    let repaired = repair(sim, lake, args).await.expect(0).summary();
    assert_eq!(
        kinds(&repaired["mended"]),
        kinds(&verified["findings"]),
        "{repaired:#}"
    );
    assert_eq!(repaired["findings"], json!([]));
    verify(lake, &["--deep", "--rebuild"]).await.expect(0);
    assert_whole(lake, sim, chrono_tz::Tz::UTC).await;
}
