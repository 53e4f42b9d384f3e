//! The costs of a sync, what a vacuum removes, and what a sync does with files that are not as they should be.

use std::sync::Arc;

use chrono::TimeDelta;
use telelake::ErrorKind;
use telelake::lake::table::builtin;
use telelake::pipeline::{Exporter, Job, Setting};
use telelake::simulator::{Options, Simulator, days};
use telelake::store::{Condition, Store};

use super::{after, assert_agrees, plain_lake, replay, sync, sync_later, two_spaces};
use crate::reliability::{config, file_of, import, run, tiny};
use crate::support::faulty::Faulty;
use crate::support::memory::Memory;

/// The reason why a sync fails for the table of calls; it must fail for no other one.
async fn failure_of_calls(sim: &Simulator, store: &Memory) -> String {
    let reports = sync_later(sim, store.clone(), TimeDelta::zero(), false)
        .await
        .unwrap();
    for report in &reports {
        assert_eq!(report.failure.is_some(), report.table == "calls", "{report:?}");
    }
    reports.into_iter().find_map(|report| report.failure).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_day_costs_at_most_twenty_requests_for_each_table() {
    let sim = Simulator::start(Options {
        rooms: 1,
        dates: days("2025-03-03".parse().unwrap(), 11),
        ..tiny()
    })
    .await
    .unwrap();
    let store = Memory::listing_etags();
    let dates = sim.options().dates.clone();
    let export = async |from: usize, to: usize| {
        let setting = Setting::new(config(&sim), Arc::new(store.clone()), after(TimeDelta::days(30)));
        let job = Job::nightly(dates[from], dates[to]);
        Box::pin(Exporter::new(setting).unwrap().run(&job)).await.unwrap();
    };
    // One commit less than there are before a checkpoint: the longest log that a sync has to read.
    export(0, 8).await;
    sync(&sim, store.clone()).await;
    export(9, 9).await;
    let counting = Faulty::counting(store.clone());
    let reports = sync(&sim, counting.clone()).await;
    assert!(
        reports
            .iter()
            .any(|report| report.table == "calls" && report.commits == 1)
    );
    assert_agrees(&store, "a new day");
    let calls = counting.calls();
    for table in builtin::all() {
        let (plain, delta) = (format!("{}/", table.name), format!("delta/{}/", table.name));
        let of_table = calls
            .iter()
            .filter(|call| call.key.starts_with(&plain) || call.key.starts_with(&delta));
        let count = of_table.count();
        assert!(count <= 20, "{}: {count} requests", table.name);
    }
    let others = calls
        .iter()
        .filter(|call| call.key.starts_with("_telelake/"))
        .count();
    assert!(others <= 12, "{others} requests for the manifests of one new day");
    // The tenth commit was followed by a checkpoint, from which the next sync goes on.
    let checkpoint = "delta/calls/_delta_log/00000000000000000009.checkpoint.parquet";
    assert!(store.contents().contains_key(checkpoint));
    for version in 0..9 {
        store
            .delete(&format!("delta/calls/_delta_log/{version:020}.json"))
            .await
            .unwrap();
    }
    export(10, 10).await;
    let reports = sync(&sim, store.clone()).await;
    let calls = reports.iter().find(|report| report.table == "calls").unwrap();
    assert_eq!((calls.version, calls.commits, calls.files), (Some(10), 1, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_removes_only_what_no_version_of_the_last_days_needs() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let store = plain_lake(&sim, Memory::listing_etags()).await;
    sync(&sim, store.clone()).await;
    let data = |store: &Memory| -> Vec<String> {
        let keys = store.contents().into_keys();
        keys.filter(|key| key.starts_with("delta/") && !key.contains("_delta_log"))
            .collect()
    };
    let first = data(&store);
    let mut metas = sim.school().metas();
    metas
        .iter_mut()
        .for_each(|meta| meta["meta"]["lesson_name"] = "Another name".into());
    import(&store, file_of("z-late", &metas)).await.unwrap();
    run(&sim, store.clone()).await.unwrap();
    sync(&sim, store.clone()).await;
    let both = data(&store);
    assert!(both.len() > first.len());
    // Left by a process that died before its commit, and an object of somebody else.
    let orphan = "delta/calls/date=2025-03-03/s-20250306T020000Z-00000000.parquet";
    let strange = "delta/calls/date=2025-03-03/notes.parquet";
    for key in [orphan, strange] {
        store.put(key, "x".into(), Condition::Any).await.unwrap();
    }
    let vacuum = async |later| {
        let reports = sync_later(&sim, store.clone(), later, true).await.unwrap();
        reports.iter().map(|report| report.vacuumed).sum::<usize>()
    };
    assert_eq!(
        vacuum(TimeDelta::days(6)).await,
        0,
        "older versions are still read"
    );
    let removed = vacuum(TimeDelta::days(8)).await;
    let left = data(&store);
    assert!(removed > 1 && left.contains(&strange.to_owned()) && !left.contains(&orphan.to_owned()));
    assert_agrees(&store, "after the vacuum");
    assert_eq!(vacuum(TimeDelta::days(9)).await, 0);
    // The files that the syncs of these days joined are old too.
    assert!(vacuum(TimeDelta::days(20)).await > 0);
    let left = data(&store);
    let contents = store.contents();
    let active: usize = builtin::all()
        .iter()
        .map(|table| replay(&contents, &table.name).0.len())
        .sum();
    assert_eq!(left.len(), active + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_the_one_of_its_manifest_is_left_for_the_next_sync() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let store = plain_lake(&sim, Memory::listing_etags()).await;
    let contents = store.contents();
    let last = contents.keys().rfind(|key| key.starts_with("calls/")).unwrap();
    let whole = contents[last].clone();
    store
        .put(last, "being written".into(), Condition::Any)
        .await
        .unwrap();
    let failure = failure_of_calls(&sim, &store).await;
    assert!(failure.contains(last.as_str()), "{failure}");
    let (files, _) = replay(&store.contents(), "calls");
    assert!(!files.is_empty(), "other dates are up to date");
    store.put(last, whole, Condition::Any).await.unwrap();
    sync(&sim, store.clone()).await;
    assert_agrees(&store, "whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_manifest_is_damaged_keeps_its_rows() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let store = plain_lake(&sim, Memory::listing_etags()).await;
    sync(&sim, store.clone()).await;
    let before = replay(&store.contents(), "calls").0;
    let contents = store.contents();
    let day = contents
        .keys()
        .find(|key| key.starts_with("_telelake/days/"))
        .unwrap();
    store.put(day, "{".into(), Condition::Any).await.unwrap();
    let reports = sync(&sim, store.clone()).await;
    assert!(reports.iter().all(|report| report.commits == 0), "{reports:?}");
    assert_eq!(replay(&store.contents(), "calls").0, before);
    // A day that is gone has no rows.
    store.delete(day).await.unwrap();
    sync(&sim, store.clone()).await;
    assert_ne!(replay(&store.contents(), "calls").0, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_fails_its_table_alone_and_says_how_to_go_on() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let store = plain_lake(&sim, Memory::listing_etags()).await;
    sync(&sim, store.clone()).await;
    store
        .delete("delta/calls/_delta_log/00000000000000000000.json")
        .await
        .unwrap();
    let failure = failure_of_calls(&sim, &store).await;
    assert!(failure.contains("remove delta/calls/"), "{failure}");
    let error = sync_later(&sim, Memory::default(), TimeDelta::zero(), false)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreNotFound, "{error}");
}
