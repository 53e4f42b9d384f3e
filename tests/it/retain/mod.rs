//! Retention: each kind of data is deleted when its time is over, nothing else is, and nothing brings it back.

mod frozen;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::NaiveDate;
use telelake::config::Config;
use telelake::lake::manifest::Manifest;
use telelake::pipeline::{Command, DeltaUpdater, Exporter, Job, RetainReport, Retainer, Setting, Summary};
use telelake::simulator::{Endpoint, Simulator};
use telelake::store::{Condition, Store};
use telelake::tables::read_text;
use telelake::verify::{Verified, Verifier, VerifyOptions};

use crate::pipeline::{backfill, range, small};
use crate::reliability::moments::moments;
use crate::reliability::{assert_same, config, import, manifests, meta_file, now, run_at, said, tiny, whole};
use crate::support::faulty::{Fault, Faulty};
use crate::support::lake::Lake;
use crate::support::memory::Memory;
use crate::support::program::Telelake;

/// A configuration with these keys of `[retention]`, or with `privacy.raw`.
fn keeping(sim: &Simulator, keys: &[(&str, &str)]) -> Config {
    let mut text = String::from("[retention]\n");
    for (key, time) in keys.iter().filter(|(key, _)| *key != "privacy.raw") {
        text += &format!("{key} = \"{time}\"\n");
    }
    for (_, raw) in keys.iter().filter(|(key, _)| *key == "privacy.raw") {
        text += &format!("[privacy]\nraw = \"{raw}\"\n");
    }
    let parsed: Config = toml::from_str(&text).unwrap();
    Config {
        retention: parsed.retention,
        privacy: parsed.privacy,
        ..config(sim)
    }
}

fn setting(config: &Config, store: impl Store + 'static) -> Setting {
    Setting::new(config.clone(), Arc::new(store), now())
}

async fn retain(config: &Config, store: impl Store + 'static) -> telelake::Result<RetainReport> {
    Box::pin(Retainer::new(setting(config, store))?.run(false)).await
}

async fn night(sim: &Simulator, config: &Config, store: &Memory) -> Summary {
    let summary = run_at(sim, config.clone(), store.clone(), now()).await.unwrap();
    assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
    summary
}

/// `backfill --force` over all dates of the school.
async fn force(sim: &Simulator, config: &Config, store: &Memory) -> Summary {
    let nights = whole(sim);
    let job = Job {
        force: true,
        ..Job::over(Command::Backfill, nights.from, nights.to)
    };
    let exporter = Exporter::new(setting(config, store.clone())).unwrap();
    let summary = Box::pin(exporter.run(&job)).await.unwrap();
    assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
    summary
}

async fn verified(config: &Config, store: &Memory) -> Verified {
    let options = VerifyOptions {
        deep: true,
        rebuild: true,
        ..VerifyOptions::default()
    };
    let verifier = Verifier::new(setting(config, store.clone()));
    Box::pin(verifier.verify(options)).await.unwrap()
}

#[track_caller]
fn assert_whole(verified: &Verified, history: &str) {
    let found: Vec<_> = verified
        .findings
        .iter()
        .map(|finding| finding.one_line())
        .collect();
    assert!(verified.is_whole(), "{history}:\n{}", found.join("\n"));
}

/// A school with lesson data, and a lake that has all of it.
async fn exported() -> (Simulator, Memory) {
    let sim = Simulator::start(tiny()).await.unwrap();
    let store = Memory::default();
    import(&store, meta_file(&sim)).await.unwrap();
    let summary = crate::reliability::run(&sim, store.clone()).await.unwrap();
    assert_eq!(summary.exit_status, 0);
    crate::reliability::run(&sim, store.clone()).await.unwrap();
    (sim, store)
}

/// The first of the school's dates. With a retention of two days it is over on the day of the runs, and the second is not.
fn first(sim: &Simulator) -> NaiveDate {
    sim.options().dates[0]
}

/// The keys that one lake has and the other has not, and those that differ.
struct Changes {
    gone: BTreeSet<String>,
    new: BTreeSet<String>,
    changed: BTreeSet<String>,
}

fn changes(before: &BTreeMap<String, Bytes>, after: &BTreeMap<String, Bytes>) -> Changes {
    let lacking = |one: &BTreeMap<String, Bytes>, other: &BTreeMap<String, Bytes>| {
        let keys = one.keys().filter(|key| !other.contains_key(*key));
        keys.cloned().collect()
    };
    let differs = |key: &&String| {
        before
            .get(*key)
            .is_some_and(|bytes| after.get(*key) != Some(bytes))
    };
    Changes {
        gone: lacking(before, after),
        new: lacking(after, before),
        changed: after.keys().filter(differs).cloned().collect(),
    }
}

/// The keys of a lake that begin with one of some prefixes, for the first date.
fn of_date(contents: &BTreeMap<String, Bytes>, date: NaiveDate, places: &[&str]) -> BTreeSet<String> {
    let prefixes: Vec<_> = places
        .iter()
        .map(|place| format!("{place}/date={date}/"))
        .collect();
    let is_of = |key: &&String| prefixes.iter().any(|prefix| key.starts_with(prefix));
    contents.keys().filter(is_of).cloned().collect()
}

fn manifest_of(store: &Memory, date: NaiveDate) -> Manifest {
    let found = manifests(&store.contents());
    found.into_iter().find(|manifest| manifest.date == date).unwrap()
}

/// Applies a retention and asserts what it deletes, that the lake is whole, and that neither a night nor a forced backfill
/// brings anything back.
async fn assert_deletes(keys: &[(&str, &str)], gone: &[&str], changed: &[&str]) -> (Simulator, Memory) {
    let (sim, store) = exported().await;
    let config = keeping(&sim, keys);
    let before = said(&store);
    let dry = Retainer::new(setting(&config, store.clone())).unwrap();
    let planned = Box::pin(dry.run(true)).await.unwrap();
    assert_same(&said(&store), &before, "a dry run");
    let report = retain(&config, store.clone()).await.unwrap();
    assert_eq!(planned.deleted, report.deleted, "the plan says what happens");
    assert!(report.failed.is_empty() && !report.interrupted, "{report:?}");
    let after = said(&store);
    let found = changes(&before, &after);
    let expected = of_date(&before, first(&sim), gone);
    assert!(!expected.is_empty());
    assert_eq!(found.gone, expected, "{keys:?}");
    assert_eq!(found.new, BTreeSet::from(["_telelake/retention.json".to_owned()]));
    let mut may_change = of_date(&before, first(&sim), changed);
    may_change.extend(
        found
            .changed
            .iter()
            .filter(|key| key.starts_with("days/"))
            .cloned(),
    );
    assert_eq!(found.changed, may_change, "{keys:?}");
    assert_whole(&verified(&config, &store).await, &format!("{keys:?}"));
    let counting = Faulty::counting(store.clone());
    assert!(!retain(&config, counting.clone()).await.unwrap().has_deleted());
    let reads = counting.calls().len();
    assert!(reads <= 12, "{keys:?}: {reads} calls for nothing");
    let writes = counting.calls().into_iter().filter(|call| call.op.is_write());
    assert_eq!(writes.collect::<Vec<_>>(), [], "{keys:?}: nothing is due");
    night(&sim, &config, &store).await;
    assert_same(&said(&store), &after, &format!("{keys:?}: the next night"));
    force(&sim, &config, &store).await;
    let forced = said(&store);
    let back = of_date(&forced, first(&sim), gone);
    assert_eq!(back, BTreeSet::new(), "{keys:?}: a forced backfill");
    assert_whole(&verified(&config, &store).await, &format!("{keys:?}, forced"));
    (sim, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_reports_are_deleted_and_the_tables_stay() {
    let (sim, store) = assert_deletes(&[("raw", "2d")], &["raw/reports"], &["_telelake/days"]).await;
    assert!(manifest_of(&store, first(&sim)).is_frozen());
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_deleted_and_their_rows_say_so() {
    let changed = ["_telelake/days", "recordings", "coverage"];
    let (sim, store) = assert_deletes(&[("recordings", "2d")], &["media"], &changed).await;
    for (key, bytes) in store.contents() {
        if !key.starts_with("recordings/") {
            continue;
        }
        let is_over = key.contains(&first(&sim).to_string());
        for row in read_text(bytes, &["status", "uri", "error", "sha256"]).unwrap() {
            if row[0] == "unavailable" {
                continue;
            }
            assert_eq!(row[0], if is_over { "deleted" } else { "done" }, "{key}: {row:?}");
            assert_eq!(row[1].is_empty(), is_over, "{key}: {row:?}");
            assert_eq!(row[2] == "deleted after retention.recordings", is_over, "{row:?}");
            assert!(!row[3].is_empty(), "{row:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_deleted_with_their_reports_and_the_rows_of_their_sheets() {
    let changed = ["_telelake/days", "report_rows"];
    let (sim, store) = assert_deletes(&[("messages", "2d")], &["messages", "raw/reports"], &changed).await;
    let mut sheets: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    for (key, bytes) in store.contents() {
        if key.starts_with("report_rows/") {
            let of_date = sheets.entry(key.contains(&first(&sim).to_string())).or_default();
            let rows = read_text(bytes, &["sheet"]).unwrap();
            of_date.extend(rows.into_iter().flatten());
        }
    }
    assert_eq!(sheets[&true], BTreeSet::from(["Участники".to_owned()]));
    assert!(sheets[&false].contains("Чат"), "{sheets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_day_leaves_a_manifest_that_names_nobody() {
    let (sim, store) = exported().await;
    let config = keeping(&sim, &[("tables", "2d")]);
    let before = said(&store);
    retain(&config, store.clone()).await.unwrap();
    let after = said(&store);
    let date = first(&sim).to_string();
    let left: Vec<_> = after.keys().filter(|key| key.contains(&date)).collect();
    let manifest = manifest_of(&store, first(&sim));
    let key = telelake::lake::key::manifest(manifest.date, &manifest.space_id);
    assert_eq!(left, [&key]);
    assert!(manifest.deleted.is_some() && manifest.calls.is_empty() && manifest.records.is_empty());
    assert!(
        after[&key].len() < 600,
        "{}",
        String::from_utf8_lossy(&after[&key])
    );
    // The other day is as it was, and no index has the date.
    let second = sim.options().dates[1].to_string();
    for (key, bytes) in before.iter().filter(|(key, _)| key.contains(&second)) {
        assert_eq!(after.get(key), Some(bytes), "{key}");
    }
    for (key, bytes) in &after {
        let is_index = key.starts_with("_telelake/meta/") && key.ends_with(".json");
        assert!(
            !is_index || !String::from_utf8_lossy(bytes).contains(&date),
            "{key}"
        );
        if key.starts_with("days/") {
            let dates = read_text(bytes.clone(), &["date"]).unwrap().concat();
            assert_eq!(dates.as_slice(), std::slice::from_ref(&second));
        }
    }
    assert_whole(&verified(&config, &store).await, "tables");
    // Neither a night, nor a backfill, nor the same lesson data bring anything back.
    sim.clear_log();
    night(&sim, &config, &store).await;
    let summary = force(&sim, &config, &store).await;
    let warnings: Vec<_> = summary
        .warnings
        .iter()
        .map(|warning| warning.kind.as_str())
        .collect();
    assert!(warnings.contains(&"days_expired"), "{warnings:?}");
    import(&store, meta_file(&sim)).await.unwrap();
    let left: Vec<_> = said(&store)
        .into_keys()
        .filter(|key| key.contains(&date))
        .collect();
    assert_eq!(left, [key]);
    assert_whole(&verified(&config, &store).await, "tables, forced");
    let counting = Faulty::counting(store.clone());
    assert!(!retain(&config, counting.clone()).await.unwrap().has_deleted());
    let calls = counting.calls();
    assert!(
        calls.len() <= 12 && !calls.iter().any(|call| call.op.is_write()),
        "{calls:?}"
    );
    // A job over nothing but such dates is done.
    let job = Job::over(Command::Backfill, first(&sim), first(&sim));
    sim.clear_log();
    let exporter = Exporter::new(setting(&config, store.clone())).unwrap();
    let summary = Box::pin(exporter.run(&job)).await.unwrap();
    assert_eq!((summary.exit_status, sim.total_count()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_killed_at_any_call_is_finished_by_the_next_one() {
    let (sim, before) = exported().await;
    for keys in [
        &[("messages", "2d"), ("recordings", "2d")][..],
        &[("tables", "2d"), ("raw", "1d")],
    ] {
        let config = keeping(&sim, keys);
        let undisturbed = before.copy();
        let counting = Faulty::counting(undisturbed.clone());
        retain(&config, counting.clone()).await.unwrap();
        // A claim of a process that died leaves a marker, and the next run removes it.
        night(&sim, &config, &undisturbed).await;
        let expected = said(&undisturbed);
        let mut histories = 0;
        for moment in moments(&counting, (1, 3)) {
            for applied in [false, true] {
                let history = format!("{keys:?}: killed at {moment:?}, applied: {applied}");
                let store = before.copy();
                let _ = retain(&config, moment.strike(&store, Fault::Death { applied })).await;
                let report = retain(&config, store.clone()).await.unwrap();
                assert!(report.failed.is_empty(), "{history}: {report:?}");
                night(&sim, &config, &store).await;
                assert_same(&said(&store), &expected, &history);
                histories += 1;
            }
        }
        assert!(histories > 20, "{keys:?}: {histories}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_a_rule_of_the_bucket_removed_counts_as_deleted_only_after_its_time() {
    let (sim, store) = exported().await;
    let raw: Vec<_> = store
        .contents()
        .into_keys()
        .filter(|key| key.starts_with("raw/reports/"))
        .collect();
    for key in &raw {
        store.delete(key).await.unwrap();
    }
    let config = keeping(&sim, &[("raw", "2d")]);
    let found = verified(&config, &store).await;
    let lost: BTreeSet<_> = found.findings.iter().map(|finding| finding.key.clone()).collect();
    let kept = of_date(
        &raw.into_iter().map(|key| (key, Bytes::new())).collect(),
        sim.options().dates[1],
        &["raw/reports"],
    );
    assert_eq!(lost, kept, "the reports of the second day are lost");
    retain(&config, store.clone()).await.unwrap();
    assert!(manifest_of(&store, first(&sim)).is_frozen());
    night(&sim, &config, &store).await;
    assert!(manifest_of(&store, first(&sim)).is_built());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_comes_back_after_its_deletion_is_found_and_removed() {
    let (sim, store) = exported().await;
    let config = keeping(&sim, &[("raw", "2d")]);
    let before = said(&store);
    retain(&config, store.clone()).await.unwrap();
    let after = said(&store);
    let (key, bytes) = before.iter().find(|(key, _)| !after.contains_key(*key)).unwrap();
    store.put(key, bytes.clone(), Condition::Any).await.unwrap();
    let found = verified(&config, &store).await;
    let kinds: Vec<_> = found
        .findings
        .iter()
        .map(|finding| finding.kind.to_string())
        .collect();
    assert_eq!(kinds, ["not_deleted"]);
    let verifier = Verifier::new(setting(&config, store.clone()));
    let repaired = Box::pin(verifier.repair(VerifyOptions::default())).await.unwrap();
    assert_whole(&repaired, "repaired");
    assert_same(&said(&store), &after, "repaired");
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_a_day_that_is_too_old_are_never_downloaded() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let config = keeping(&sim, &[("recordings", "1d")]);
    let store = Memory::default();
    let summary = night(&sim, &config, &store).await;
    assert_eq!((sim.count(Endpoint::Link), summary.counts.records_landed), (0, 0));
    let statuses: BTreeSet<_> = store
        .contents()
        .into_iter()
        .filter(|(key, _)| key.starts_with("recordings/"))
        .flat_map(|(_, bytes)| read_text(bytes, &["status", "uri"]).unwrap())
        .collect();
    assert!(
        statuses.contains(&vec!["deleted".to_owned(), String::new()]),
        "{statuses:?}"
    );
    assert!(
        !store
            .contents()
            .keys()
            .any(|key| key.starts_with("_telelake/open/"))
    );
    assert_whole(&verified(&config, &store).await, "never copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_deletes_on_the_s3_server_and_says_what() {
    let lake = Lake::s3().await;
    let sim = Simulator::start(small()).await.unwrap();
    let all = range(&sim);
    Telelake::against(&sim, &lake, &backfill(&all, &[]))
        .run()
        .await
        .expect(0);
    let before = lake.keys().await;
    let retain = async |args: &[&str]| {
        let args = [&["retain"], args].concat();
        let retain = Telelake::new(&args).lake(&lake);
        let retain = retain.env("TELELAKE_RETENTION__RAW", "30d");
        retain
            .env("TELELAKE_RETENTION__RECORDINGS", "1y")
            .run()
            .await
            .expect(0)
            .stdout
    };
    let planned = retain(&["--dry-run"]).await;
    assert!(planned.starts_with("would be deleted:"), "{planned}");
    assert_eq!(lake.keys().await, before);
    let done = retain(&[]).await;
    assert_eq!(
        done.lines().skip(1).collect::<Vec<_>>(),
        planned.lines().skip(1).collect::<Vec<_>>()
    );
    let after = lake.keys().await;
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let places: BTreeSet<_> = gone
        .map(|key| key.split('/').take(2).collect::<Vec<_>>().join("/"))
        .collect();
    assert!(
        places.contains("raw/reports")
            && places
                .iter()
                .all(|place| place == "raw/reports" || place.starts_with("media/")),
        "{places:?}"
    );
    let verified = Telelake::new(&["verify", "--deep"]).lake(&lake).run().await;
    verified.expect(0);
    let nothing = Telelake::new(&["retain"])
        .lake(&lake)
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(nothing.contains("kept for ever"), "{nothing}");
    lake.drop_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_of_less_than_a_day_is_refused() {
    let refused = Telelake::new(&["config", "show"])
        .env("TELELAKE_RETENTION__RAW", "2h")
        .run()
        .await
        .expect(2);
    assert!(refused.stderr.contains("retention.raw"), "{}", refused.stderr);
}
#[tokio::test(flavor = "multi_thread")]
async fn a_retention_beside_a_run_deletes_the_same() {
    let (sim, store) = exported().await;
    let config = keeping(&sim, &[("messages", "2d"), ("recordings", "1d")]);
    let alone = store.copy();
    retain(&config, alone.clone()).await.unwrap();
    night(&sim, &config, &alone).await;
    let (run, report) = tokio::join!(
        run_at(&sim, config.clone(), store.clone(), now()),
        retain(&config, store.clone())
    );
    assert_eq!(run.unwrap().exit_status, 0);
    assert!(report.unwrap().failed.is_empty());
    for _ in 0..2 {
        night(&sim, &config, &store).await;
    }
    assert_same(&said(&store), &said(&alone), "a retention beside a run");
    assert_whole(&verified(&config, &store).await, "a retention beside a run");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repair_has_put_aside_goes_with_its_date() {
    let (sim, store) = exported().await;
    let config = keeping(&sim, &[("messages", "2d")]);
    let aside = |table: &str, date: NaiveDate| {
        format!("_telelake/aside/20250305T000000Z/{table}/date={date}/s.parquet")
    };
    let [over, kept] = [first(&sim), sim.options().dates[1]];
    for (table, date) in [("messages", over), ("messages", kept), ("calls", over)] {
        store
            .put(&aside(table, date), "copy".into(), Condition::Any)
            .await
            .unwrap();
    }
    retain(&config, store.clone()).await.unwrap();
    let left: Vec<_> = store
        .contents()
        .into_keys()
        .filter(|key| key.contains("/aside/"))
        .collect();
    assert_eq!(left, [aside("calls", over), aside("messages", kept)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delta_tables_lose_the_rows_too() {
    let (sim, store) = exported().await;
    let mut config = keeping(&sim, &[]);
    config.delta.enabled = true;
    night(&sim, &config, &store).await;
    let config = Config {
        retention: keeping(&sim, &[("messages", "2d")]).retention,
        ..config
    };
    let logs = |store: &Memory| {
        let contents = store.contents().into_keys();
        contents
            .filter(|key| key.starts_with("delta/messages/_delta_log/"))
            .count()
    };
    let before = logs(&store);
    assert!(retain(&config, store.clone()).await.unwrap().failed.is_empty());
    assert!(logs(&store) > before, "a version without the messages of the day");
    let updater = DeltaUpdater::new(setting(&config, store.clone())).unwrap();
    let reports = Box::pin(updater.run(false)).await.unwrap();
    let commits: u64 = reports.iter().map(|report| report.commits).sum();
    assert_eq!(commits, 0, "nothing is left to do");
}
