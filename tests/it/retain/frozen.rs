//! Days whose raw reports are gone: their tables stay, until something new fetches the reports again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::TimeDelta;
use telelake::pipeline::{Command, Job, Rebuilder};
use telelake::simulator::{Endpoint, Report, Simulator};

use super::{assert_whole, exported, first, keeping, manifest_of, night, of_date, retain, setting, verified};
use crate::reliability::moments::moments;
use crate::reliability::{assert_same, import, meta_file, now, run_at, said, tiny, whole};
use crate::support::faulty::{Fault, Faulty};
use crate::support::memory::Memory;

#[tokio::test(flavor = "multi_thread")]
async fn a_night_that_keeps_no_raw_reports_builds_the_same_tables() {
    let (sim, plain) = exported().await;
    let config = keeping(&sim, &[("privacy.raw", "none")]);
    let store = Memory::default();
    import(&store, meta_file(&sim)).await.unwrap();
    night(&sim, &config, &store).await;
    let raw: Vec<_> = store
        .contents()
        .into_keys()
        .filter(|key| key.starts_with("raw/"))
        .collect();
    assert_eq!(raw, [] as [String; 0]);
    let tables = |store: &Memory| {
        let mut tables = said(store);
        tables.retain(|key, _| key.ends_with(".parquet"));
        tables
    };
    assert_same(&tables(&store), &tables(&plain), "raw = none");
    assert_whole(&verified(&config, &store).await, "raw = none");
    let after = said(&store);
    sim.clear_log();
    let second = night(&sim, &config, &store).await;
    assert_eq!((sim.count(Endpoint::Report), second.counts.writes), (0, 0));
    assert_same(&said(&store), &after, "the second night");
    // The same lesson data again is known, although its file is gone.
    assert_eq!(import(&store, meta_file(&sim)).await.unwrap().writes, 0);
    let rebuilder = Rebuilder::new(setting(&config, store.clone())).unwrap();
    let nights = whole(&sim);
    let refused = Box::pin(rebuilder.run(&Job::over(Command::Rebuild, nights.from, nights.to)))
        .await
        .unwrap_err();
    assert_eq!(refused.exit_status() as u8, 2, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_keeps_no_raw_reports_may_be_killed_at_any_call() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let config = keeping(&sim, &[("privacy.raw", "none")]);
    let undisturbed = Memory::default();
    let counting = Faulty::counting(undisturbed.clone());
    run_at(&sim, config.clone(), counting.clone(), now())
        .await
        .unwrap();
    let expected = said(&undisturbed);
    assert!(!expected.keys().any(|key| key.starts_with("raw/")));
    for moment in moments(&counting, (3, 25)) {
        for applied in [false, true] {
            let history = format!("killed at {moment:?}, applied: {applied}");
            let store = Memory::default();
            let dying = moment.strike(&store, Fault::Death { applied });
            let _ = run_at(&sim, config.clone(), dying, now()).await;
            for _ in 0..2 {
                night(&sim, &config, &store).await;
            }
            assert_same(&said(&store), &expected, &history);
        }
    }
}

/// The tables of a lake with the same school that keeps everything.
async fn plain_tables(sim: &Simulator) -> BTreeMap<String, Bytes> {
    let store = Memory::default();
    import(&store, meta_file(sim)).await.unwrap();
    for _ in 0..2 {
        crate::reliability::run(sim, store.clone()).await.unwrap();
    }
    let mut tables = said(&store);
    tables.retain(|key, _| key.ends_with(".parquet"));
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_call_on_a_day_without_reports_fetches_all_of_them_again() {
    let (sim, store) = exported().await;
    let config = keeping(&sim, &[("raw", "2d")]);
    retain(&config, store.clone()).await.unwrap();
    let known = sim
        .school()
        .calls
        .iter()
        .find(|call| call.started_at.date_naive() == first(&sim))
        .unwrap()
        .id
        .clone();
    let new = sim
        .edit(|school| school.add_call_like(&known, TimeDelta::minutes(90)))
        .unwrap();
    let before = said(&store);
    // One of the old reports does not come: the tables stay as they are.
    let whole_report = sim.edit(|school| {
        let call = school.call_mut(&known).unwrap();
        std::mem::replace(&mut call.json, Report::Missing)
    });
    let summary = run_at(&sim, config.clone(), store.clone(), now()).await.unwrap();
    let awaited = summary
        .pending
        .iter()
        .any(|problem| problem.kind.as_str() == "reports_awaited");
    assert!(awaited, "{:?}", summary.pending);
    let tables = |contents: BTreeMap<String, Bytes>| -> BTreeMap<String, Bytes> {
        let is_table = |key: &String| key.ends_with(".parquet") && !key.starts_with("days/");
        contents.into_iter().filter(|(key, _)| is_table(key)).collect()
    };
    assert_same(&tables(said(&store)), &tables(before), "one report is missing");
    // It comes: the day is built with the new call, and its reports are deleted again.
    sim.edit(|school| school.call_mut(&known).unwrap().json = whole_report);
    night(&sim, &config, &store).await;
    let manifest = manifest_of(&store, first(&sim));
    assert!(manifest.calls.contains_key(new.as_str()) && manifest.is_frozen());
    assert_eq!(
        of_date(&said(&store), first(&sim), &["raw/reports"]),
        BTreeSet::new()
    );
    let found = tables(said(&store));
    let mut expected = tables(plain_tables(&sim).await);
    expected.retain(|key, _| !key.starts_with("coverage/"));
    let mut found_rows = found;
    found_rows.retain(|key, _| !key.starts_with("coverage/"));
    assert_same(&found_rows, &expected, "all reports have come");
    assert_whole(&verified(&config, &store).await, "after a new call");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_lesson_data_does_not_touch_a_day_without_reports_and_the_run_says_so() {
    let (sim, store) = exported().await;
    let config = keeping(&sim, &[("raw", "1d")]);
    retain(&config, store.clone()).await.unwrap();
    let before = said(&store);
    let mut metas = sim.school().metas();
    for meta in &mut metas {
        meta["meta"]["lesson_name"] = "another name".into();
    }
    let later = now() + TimeDelta::seconds(1);
    let file = crate::reliability::file_of("later", &metas);
    telelake::pipeline::import_meta(
        &store,
        chrono_tz::Tz::UTC,
        later,
        &telelake::tables::PrivacyPolicy::default(),
        vec![file],
    )
    .await
    .unwrap();
    let summary = night(&sim, &config, &store).await;
    let warning = summary
        .warnings
        .iter()
        .find(|warning| warning.kind.as_str() == "raw_deleted");
    assert!(
        warning.is_some_and(|warning| warning.message.contains("backfill --force")),
        "{:?}",
        summary.warnings
    );
    let after = said(&store);
    for (key, bytes) in before.iter().filter(|(key, _)| key.starts_with("participants/")) {
        assert_eq!(after.get(key), Some(bytes), "{key}");
    }
    let rebuilder = Rebuilder::new(setting(&config, store.clone())).unwrap();
    let nights = whole(&sim);
    let summary = Box::pin(rebuilder.run(&Job::over(Command::Rebuild, nights.from, nights.to)))
        .await
        .unwrap();
    assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
    let frozen = summary
        .warnings
        .iter()
        .find(|warning| warning.kind.as_str() == "raw_deleted");
    assert!(
        frozen.is_some_and(|warning| warning.message.starts_with("2 days")),
        "{:?}",
        summary.warnings
    );
}
