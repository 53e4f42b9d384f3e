//! Coverage of a large lake comes from its index, and is always what the manifests say.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{Days, NaiveDate, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use telelake::lake::key;
use telelake::lake::manifest::Manifest;
use telelake::simulator::Simulator;
use telelake::status::{Coverage, DateRange, DayStatus};
use telelake::store::folder::FolderStore;
use telelake::store::s3::S3Store;
use telelake::store::{Condition, Store};

use crate::reliability;
use crate::support::faulty::{Call, Fault, Faulty, Op};
use crate::support::lake::Lake;
use crate::support::memory::Memory;
use crate::support::program::Telelake;
use crate::support::weed::weed;

/// The spaces and dates of a lake that is too large to be listed for every visitor.
const SPACES: u64 = 30;
const DATES: u64 = 75;

fn today() -> NaiveDate {
    Utc::now().date_naive()
}

/// The manifest of a day. `kind` chooses what is missing; it has the same size for a kind and the one 4 above it, below 10.
fn manifest(date: NaiveDate, space: &str, kind: u32) -> Value {
    let status = ["done", "pending", "failed", "denied"][kind as usize % 4];
    let landed = json!({"key": "k", "bytes": 10 + kind, "sha256": "", "landed_at": "2026-01-01T00:00:00Z", "usable": true});
    let report = match status {
        "done" => json!({"status": status, "landed": landed}),
        _ => json!({"status": status, "reason": format!("because of {kind}"), "attempts": 1}),
    };
    json!({
        "version": 1, "date": date, "space_id": space, "space_name": format!("Space {space}"), "listed": true,
        "rooms": {"r": {"name": format!("Room {}", kind % 10), "alias": null, "type": "lesson"}},
        "calls": {format!("{space}-{date}"): {
            "room_id": "r", "started_at": null, "finished_at": null, "participants": kind, "call": {},
            "reports": {"json": report},
        }},
        "records": {}, "built": null,
    })
}

async fn put(store: &dyn Store, date: NaiveDate, space: &str, kind: u32) {
    let bytes = manifest(date, space, kind).to_string();
    let key = key::manifest(date, &space.into());
    store.put(&key, bytes.into(), Condition::Any).await.unwrap();
}

/// A lake of some spaces on the dates up to yesterday.
async fn fill(store: &dyn Store, spaces: u64, dates: u64) {
    for back in 1..=dates {
        for space in 0..spaces {
            let kind = u32::try_from((back + space) % 5).unwrap();
            put(store, today() - Days::new(back), &format!("s{space:02}"), kind).await;
        }
    }
}

/// The coverage as the manifests say it, each of which is read.
async fn truth(store: &dyn Store) -> Vec<String> {
    let mut days = Vec::new();
    for entry in store.list(key::DAYS).await.unwrap() {
        let bytes = store.read(&entry.key).await.unwrap();
        let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
        days.push(format!("{:?}", DayStatus::of(&manifest)));
    }
    days
}

fn said(days: &[Arc<DayStatus>]) -> Vec<String> {
    days.iter().map(|day| format!("{day:?}")).collect()
}

/// The window of the first page.
fn window() -> [DateRange; 1] {
    [DateRange::between(today() - Days::new(34), today())]
}

async fn overview(coverage: &Coverage, store: &dyn Store) -> (Vec<String>, bool) {
    let lake = coverage.overview(store, &window(), today()).await.unwrap();
    (said(&lake.days), lake.is_exact)
}

/// The numbers of manifests and index objects that were read, and of listings.
fn counts(calls: &[Call]) -> (usize, usize, usize) {
    let gets = |prefix: &str| {
        calls
            .iter()
            .filter(|call| call.op == Op::Get && call.key.starts_with(prefix))
            .count()
    };
    let lists = calls.iter().filter(|call| call.op == Op::List).count();
    (gets(key::DAYS), gets(key::INDEX), lists)
}

/// The index as the first reader leaves it.
async fn index(store: &dyn Store) {
    Coverage::default().check(store, today()).await.unwrap();
}

/// The years that the lake's dates lie in.
fn years() -> usize {
    use chrono::Datelike;
    usize::try_from(today().year() - (today() - Days::new(DATES)).year()).unwrap() + 1
}

#[tokio::test]
async fn a_cold_overview_of_a_large_lake_reads_the_index_and_no_manifest() {
    let store = Memory::listing_etags();
    fill(&store, SPACES, DATES).await;
    index(&store).await;
    let expected = truth(&store).await;
    let counting = Faulty::counting(store.clone());
    let coverage = Coverage::default();
    assert_eq!(overview(&coverage, &counting).await, (expected.clone(), false));
    let (manifests, indexes, lists) = counts(&counting.calls());
    assert_eq!((manifests, indexes), (0, years()));
    // The index, the years and decades that it does not have, and the months of the window.
    assert!(lists <= 18, "{:#?}", counting.calls());
    // The whole listing comes after the first page. Then the next visitors cost the listing of the window.
    coverage.check(&counting, today()).await.unwrap();
    let before = counting.calls().len();
    assert_eq!(overview(&coverage, &counting).await, (expected, true));
    let warm = &counting.calls()[before..];
    assert_eq!(counts(warm).0 + counts(warm).1, 0, "{warm:#?}");
    assert!(warm.len() <= 3, "{warm:#?}");
}

#[tokio::test]
async fn the_latest_dates_are_found_without_listing_the_lake_or_reading_it() {
    let store = Memory::listing_etags();
    fill(&store, SPACES, DATES).await;
    index(&store).await;
    let expected = truth(&store).await;
    let counting = Faulty::counting(store);
    let days = Coverage::default().latest(&counting, today(), 14).await.unwrap();
    let latest = 14 * usize::try_from(SPACES).unwrap();
    assert_eq!(said(&days), expected[expected.len() - latest..]);
    let (manifests, indexes, lists) = counts(&counting.calls());
    assert_eq!(manifests, 0);
    assert!(indexes <= 2 && lists <= 4, "{:#?}", counting.calls());
    let all = Coverage::default()
        .latest(&counting, today(), 1000)
        .await
        .unwrap();
    assert_eq!(said(&all), expected);
    // The lake ended long ago.
    let ended = Coverage::default()
        .latest(&counting, today() + Days::new(500), 1)
        .await
        .unwrap();
    assert_eq!(
        said(&ended),
        expected[expected.len() - usize::try_from(SPACES).unwrap()..]
    );
}

#[tokio::test]
async fn a_day_that_was_changed_after_the_index_is_shown_as_it_is() {
    let store = Memory::listing_etags();
    fill(&store, SPACES, DATES).await;
    index(&store).await;
    let day = |back: u64| today() - Days::new(back);
    // In the window: rewritten in the same size, removed, added.
    put(&store, day(3), "s01", 8).await;
    store.delete(&key::manifest(day(4), &"s01".into())).await.unwrap();
    put(&store, day(5), "s99", 1).await;
    let expected = truth(&store).await;
    assert_eq!(overview(&Coverage::default(), &store).await.0, expected);
    // Outside of it, the whole listing finds the changes.
    put(&store, day(DATES - 1), "s02", 5).await;
    store
        .delete(&key::manifest(day(DATES - 2), &"s02".into()))
        .await
        .unwrap();
    put(&store, day(DATES - 3), "s98", 2).await;
    let expected = truth(&store).await;
    let coverage = Coverage::default();
    overview(&coverage, &store).await;
    coverage.check(&store, today()).await.unwrap();
    assert_eq!(overview(&coverage, &store).await, (expected.clone(), true));
    // And the next process has them from the index.
    let counting = Faulty::counting(store);
    assert_eq!(overview(&Coverage::default(), &counting).await.0, expected);
    assert_eq!(counts(&counting.calls()).0, 0);
}

#[tokio::test]
async fn a_year_that_the_index_does_not_have_whole_is_listed_whole() {
    let store = Memory::listing_etags();
    fill(&store, SPACES, DATES).await;
    let coverage = Coverage::default();
    coverage
        .index_range(&store, today() - Days::new(70), today())
        .await
        .unwrap();
    let expected = truth(&store).await;
    assert_eq!(overview(&Coverage::default(), &store).await.0, expected);
    // A damaged index is none.
    index(&store).await;
    for key in store
        .contents()
        .into_keys()
        .filter(|key| key.starts_with(key::INDEX))
    {
        store.put(&key, "damaged".into(), Condition::Any).await.unwrap();
    }
    let (days, is_exact) = overview(&Coverage::default(), &store).await;
    assert!(days == expected && is_exact);
    index(&store).await;
    let counting = Faulty::counting(store);
    assert_eq!(overview(&Coverage::default(), &counting).await.0, expected);
    assert_eq!(counts(&counting.calls()).0, 0);
}

#[tokio::test]
async fn two_processes_that_write_the_index_lose_none_of_its_days() {
    let store = Memory::listing_etags();
    fill(&store, SPACES, DATES).await;
    let expected = truth(&store).await;
    let (first, second) = (Coverage::default(), Coverage::default());
    let half = today() - Days::new(40);
    let early = first.index_range(&store, today() - Days::new(DATES), half);
    let late = second.index_range(&store, half + Days::new(1), today());
    let (early, late) = tokio::join!(early, late);
    early.and(late).unwrap();
    let counting = Faulty::counting(store);
    let days = Coverage::default().days(&counting, None, None).await.unwrap();
    assert_eq!(said(&days), expected);
    assert_eq!(counts(&counting.calls()).0, 0);
}

#[tokio::test]
async fn a_store_that_can_only_be_read_is_shown_all_the_same() {
    let store = Memory::listing_etags();
    fill(&store, 3, 10).await;
    let expected = truth(&store).await;
    let read_only = Faulty::new(store, |call, _| call.op.is_write().then_some(Fault::Full));
    let coverage = Coverage::default();
    assert_eq!(overview(&coverage, &read_only).await.0, expected);
    assert!(coverage.save(&read_only).await.is_err());
    assert_eq!(overview(&coverage, &read_only).await.0, expected);
}

/// Fills a small lake, makes its index, and changes a day. `age` makes all manifests older than they are.
async fn is_served_by_the_index(store: impl Store + Clone + 'static, age: impl Fn(&str)) {
    fill(&store, 4, 10).await;
    for entry in store.list(key::DAYS).await.unwrap() {
        age(&entry.key);
    }
    index(&store).await;
    let expected = truth(&store).await;
    let counting = Faulty::counting(store.clone());
    let days = Coverage::default().days(&counting, None, None).await.unwrap();
    assert_eq!(said(&days), expected);
    assert_eq!(counts(&counting.calls()).0, 0);
    let date = today() - Days::new(3);
    let key = key::manifest(date, &"s01".into());
    put(&store, date, "s01", 8).await;
    let days = Coverage::default().days(&counting, None, None).await.unwrap();
    assert_eq!(said(&days), truth(&store).await);
    let mut read = counting.calls();
    read.retain(|call| call.key.starts_with(key::DAYS) && call.op == Op::Get);
    assert!(read.len() == 1 && read[0].key == key, "{read:#?}");
}

#[tokio::test]
async fn the_index_serves_a_folder_whose_listing_shows_times() {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(&format!("file://{}", folder.path().display())).unwrap();
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let age = |key: &str| {
        let file = std::fs::File::options().write(true).open(folder.path().join(key));
        file.unwrap().set_modified(hour_ago).unwrap();
    };
    is_served_by_the_index(store, age).await;
}

#[tokio::test]
async fn the_index_serves_a_bucket_whose_listing_shows_etags() {
    let lake = Lake::s3().await;
    let settings = telelake::config::S3 {
        path_style: true,
        ..telelake::config::S3::default()
    };
    let sdk = weed().await.sdk_config();
    let store = S3Store::with_sdk_config(&lake.url(), &settings, &sdk).unwrap();
    is_served_by_the_index(store, |_| ()).await;
}

#[tokio::test]
async fn a_search_finds_days_by_ids_from_the_index() {
    let store = Memory::listing_etags();
    fill(&store, 4, 100).await;
    index(&store).await;
    let counting = Faulty::counting(store.clone());
    let coverage = Coverage::default();
    let days = coverage.days(&counting, None, None).await.unwrap();
    let keys: Vec<String> = days
        .iter()
        .rev()
        .map(|day| key::manifest(day.date, &day.space_id))
        .collect();
    let date = today() - Days::new(99);
    let wanted = format!("s02-{date}");
    let of_day = key::manifest(date, &"s02".into());
    let found = coverage.days_with(Some(&counting), &keys, &wanted, 40).await;
    assert_eq!(found, std::slice::from_ref(&of_day));
    assert_eq!(
        coverage.days_with(Some(&counting), &keys, "r", 5).await,
        keys[..5]
    );
    assert_eq!(counts(&counting.calls()).0, 0);
    assert_eq!(
        coverage.rooms_like("room 4", 10).len() + coverage.rooms_like("room", 10).len(),
        5
    );
    // Without the ids in the index, the manifests tell.
    for key in store
        .contents()
        .into_keys()
        .filter(|key| key.contains("/index/ids/"))
    {
        store.delete(&key).await.unwrap();
    }
    let coverage = Coverage::default();
    coverage.days(&store, None, None).await.unwrap();
    assert!(coverage.days_with(None, &keys, &wanted, 40).await.is_empty());
    assert_eq!(
        coverage.days_with(Some(&store), &keys, &wanted, 40).await,
        [of_day]
    );
    coverage.save(&store).await.unwrap();
    assert!(store.contents().keys().any(|key| key.contains("/index/ids/")));
}

#[tokio::test]
async fn a_run_keeps_the_index_up_to_date_and_makes_none() {
    let sim = Simulator::start(reliability::tiny()).await.unwrap();
    let store = Memory::listing_etags();
    Box::pin(reliability::run(&sim, store.clone())).await.unwrap();
    assert!(!store.contents().keys().any(|key| key.starts_with(key::INDEX)));
    let dates = &sim.options().dates;
    let last = dates[dates.len() - 1];
    let of_index = |store: &Memory| -> BTreeMap<_, _> {
        let all = store.contents().into_iter();
        all.filter(|(key, _)| key.starts_with(key::INDEX)).collect()
    };
    Coverage::default()
        .index_range(&store, dates[0], last)
        .await
        .unwrap();
    // The manifests are lost, and the index is of the days before.
    for entry in store.list(key::DAYS).await.unwrap() {
        store.delete(&entry.key).await.unwrap();
    }
    let before = of_index(&store);
    put(&store, dates[0], "other", 1).await;
    Box::pin(reliability::run(&sim, store.clone())).await.unwrap();
    assert_ne!(of_index(&store), before);
    let counting = Faulty::counting(store.clone());
    let coverage = Coverage::default();
    let found = coverage.days(&counting, None, None).await.unwrap();
    assert_eq!(said(&found), truth(&store).await);
    assert_eq!(counts(&counting.calls()).0, 0);
    // A run that finds nothing new leaves the index alone.
    let before = of_index(&store);
    Box::pin(reliability::run(&sim, store.clone())).await.unwrap();
    assert_eq!(of_index(&store), before);
}

#[tokio::test]
async fn verify_takes_a_damaged_index_for_no_damage_of_the_lake() {
    let sim = Simulator::start(reliability::tiny()).await.unwrap();
    let lake = Lake::folder();
    let date = sim.options().dates[0].to_string();
    let backfill = ["-q", "backfill", "--from", &date, "--to", &date];
    let status = Telelake::against(&sim, &lake, &backfill).run().await.status;
    assert!([0, 3].contains(&status), "{status}");
    lake.put(&key::day_index(2025), "damaged").await;
    lake.put(&key::id_index("2025-03-01".parse().unwrap()), "damaged")
        .await;
    Telelake::against(&sim, &lake, &["verify"]).run().await.expect(0);
    let shown = Telelake::against(&sim, &lake, &["status", "--from", "2015-01-01"])
        .run()
        .await
        .expect(0);
    assert!(shown.stdout.contains(&date), "{}", shown.stdout);
}

/// A step of a history: a manifest is written or removed, or a process reads the lake and perhaps writes the index.
#[derive(Debug, Clone)]
enum Step {
    Write(u64, u8, u32),
    Remove(u64, u8),
    Read(usize, bool),
    Restart(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..400, 0_u8..3, 0_u32..10).prop_map(|(back, space, kind)| Step::Write(back, space, kind)),
        1 => (1_u64..400, 0_u8..3).prop_map(|(back, space)| Step::Remove(back, space)),
        2 => (0_usize..2, any::<bool>()).prop_map(|(process, saves)| Step::Read(process, saves)),
        1 => (0_usize..2).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn coverage_is_always_what_the_manifests_say(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Memory::listing_etags();
            fill(&store, 2, 20).await;
            let mut processes = [Coverage::default(), Coverage::default()];
            for step in steps {
                match step {
                    Step::Write(back, space, kind) => put(&store, today() - Days::new(back), &format!("s{space:02}"), kind).await,
                    Step::Remove(back, space) => {
                        let key = key::manifest(today() - Days::new(back), &format!("s{space:02}").as_str().into());
                        store.delete(&key).await.unwrap();
                    }
                    Step::Read(process, saves) => {
                        let days = processes[process].days(&store, None, Some(today())).await.unwrap();
                        assert_eq!(said(&days), truth(&store).await);
                        if saves {
                            processes[process].save(&store).await.unwrap();
                        }
                    }
                    Step::Restart(process) => processes[process] = Coverage::default(),
                }
            }
            let expected = truth(&store).await;
            let days = Coverage::default().days(&store, None, None).await.unwrap();
            assert_eq!(said(&days), expected);
            assert_eq!(overview(&Coverage::default(), &store).await.0, expected);
        });
    }
}
