//! A run on unchanged days writes only its own summary, and makes only the calls of store and API
//! that are needed to find this out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use telelake::pipeline::{Exporter, Job, Setting};
use telelake::simulator::{Endpoint, Oddities, Options, Simulator};

use super::{assert_sound, config, import, manifests, meta_file, now, run, run_at, said, tiny};
use crate::support::faulty::{Call, Faulty, Op};
use crate::support::memory::Memory;

const LISTS: [Endpoint; 4] = [
    Endpoint::Spaces,
    Endpoint::Rooms,
    Endpoint::Calls,
    Endpoint::Records,
];

fn listed(sim: &Simulator) -> usize {
    LISTS.map(|endpoint| sim.count(endpoint)).iter().sum()
}

async fn a_second_run(options: Options, with_meta: bool) {
    let sim = Simulator::start(options).await.unwrap();
    let store = Memory::default();
    if with_meta {
        import(&store, meta_file(&sim)).await.unwrap();
    }
    assert_eq!(run(&sim, store.clone()).await.unwrap().exit_status, 0);
    let (before, walked) = (said(&store), listed(&sim));
    sim.clear_log();
    let counting = Faulty::counting(store.clone());
    let summary = run(&sim, counting.clone()).await.unwrap();
    assert_eq!((summary.exit_status, summary.counts.writes), (0, 0));
    assert!(said(&store) == before, "nothing was written");
    // The API gets the same walk again, and nothing else.
    assert_eq!(listed(&sim), walked);
    assert_eq!(sim.total_count(), walked);

    let mut found: BTreeMap<Op, usize> = BTreeMap::new();
    for call in counting.calls() {
        *found.entry(call.op).or_default() += 1;
    }
    let spaces = sim.options().spaces as usize;
    let days = manifests(&before);
    // The store itself; each day of the run; two objects for the spaces; for the rooms of each those that the lake knows,
    // those that are gone, and two more.
    let gets = 1 + days.len() + 2 + 4 * spaces;
    let expected = BTreeMap::from([
        (Op::Preflight, 1),
        (Op::Get, gets),
        // Open days, changed lesson data before the builds and after them, unfinished uploads.
        (Op::List, 4),
        // Its own summary, at the start and at the end.
        (Op::Put, 2),
    ]);
    assert_eq!(found, expected, "{:#?}", counting.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_the_walk_and_a_few_reads_a_day() {
    a_second_run(tiny(), false).await;
    let larger = Options {
        spaces: 2,
        rooms: 6,
        dates: telelake::simulator::days("2025-03-01".parse().unwrap(), 4),
        ..tiny()
    };
    a_second_run(larger.clone(), false).await;
    a_second_run(larger, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_day_with_recordings_writes_its_row_of_days_once() {
    let day = Options {
        dates: telelake::simulator::days("2025-03-03".parse().unwrap(), 1),
        ..tiny()
    };
    let sim = Simulator::start(day).await.unwrap();
    assert!(!sim.school().records.is_empty());
    let counting = Faulty::counting(Memory::default());
    assert_eq!(run(&sim, counting.clone()).await.unwrap().exit_status, 0);
    let puts_of = |folder| {
        let calls = counting.calls().into_iter();
        calls
            .filter(|call| call.op == Op::Put && call.key.starts_with(folder))
            .count()
    };
    assert_eq!(puts_of("days/"), 1);
    // Before the recordings, as a claim, and with the tables.
    assert_eq!(puts_of("_telelake/days/"), 3);
}

/// The tables of lesson data are read before they are written, so the reads count the builds.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_builds_the_tables_of_each_date_once() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let feed = tempfile::tempdir().unwrap();
    std::fs::write(feed.path().join("metas.jsonl"), meta_file(&sim).bytes).unwrap();
    let mut config = config(&sim);
    config.meta.feeds = vec![format!("file://{}", feed.path().display())];
    let store = Faulty::counting(Memory::default());
    let summary = run_at(&sim, config, store.clone(), now()).await.unwrap();
    assert_eq!((summary.exit_status, summary.counts.meta_files), (0, 1));
    let mut reads: BTreeMap<String, usize> = BTreeMap::new();
    let is_table = |key: &str| key.starts_with("user_meta/") || key.starts_with("hierarchy/");
    for call in store.calls() {
        if call.op == Op::Get && is_table(&call.key) {
            *reads.entry(call.key).or_default() += 1;
        }
    }
    assert!(
        !reads.is_empty() && reads.values().all(|times| *times == 1),
        "{reads:?}"
    );
}

/// The calls of the store for a night over the last two dates of a lake of `days` days, all of which are done. With `renamed`,
/// the space has got another name before it, so that both days change.
async fn calls_of_a_night(days: u32, renamed: bool) -> Vec<Call> {
    let last: chrono::NaiveDate = "2025-04-30".parse().unwrap();
    let first = last - chrono::Days::new(u64::from(days) - 1);
    let options = Options {
        rooms: 1,
        dates: telelake::simulator::days(first, days),
        odd: Oddities::none(),
        ..tiny()
    };
    let sim = Simulator::start(options).await.unwrap();
    let store = Memory::default();
    import(&store, meta_file(&sim)).await.unwrap();
    let night = async |counting: Faulty, from: chrono::NaiveDate| {
        let now = "2025-05-02T02:00:00Z".parse().unwrap();
        let exporter = Exporter::new(Setting::new(config(&sim), Arc::new(counting), now)).unwrap();
        let summary = Box::pin(exporter.run(&Job::nightly(from, last))).await.unwrap();
        assert_eq!(summary.exit_status, 0);
        summary
    };
    night(Faulty::counting(store.clone()), first).await;
    if renamed {
        sim.edit(|school| school.spaces[0].name = "Другая школа".into());
    }
    let counting = Faulty::counting(store.clone());
    let summary = night(counting.clone(), last - chrono::Days::new(1)).await;
    assert_eq!((summary.counts.writes > 0, summary.counts.days), (renamed, 2));
    assert_sound(&store.contents(), "a night");
    counting.calls()
}

fn by_operation(calls: &[Call]) -> BTreeMap<Op, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.op).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_no_more_in_a_lake_that_is_older() {
    let [young, old] = [
        calls_of_a_night(3, false).await,
        calls_of_a_night(60, false).await,
    ];
    assert_eq!(by_operation(&young), by_operation(&old));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_day_takes_its_row_along_without_a_look_at_other_days() {
    let calls = calls_of_a_night(60, true).await;
    let of = |op: Op, prefix: &str| {
        let keys = calls
            .iter()
            .filter(|call| call.op == op && call.key.starts_with(prefix));
        keys.map(|call| call.key.as_str()).collect::<Vec<_>>()
    };
    let manifests: BTreeSet<_> = of(Op::Get, "_telelake/days/").into_iter().collect();
    assert_eq!(manifests.len(), 2, "{manifests:?}");
    assert_eq!(of(Op::List, "_telelake/days/"), [""; 0]);
    // One read of the table, and one write for one or for both days.
    assert_eq!(of(Op::Get, "days/").len(), 1);
    assert!((1..=2).contains(&of(Op::Put, "days/").len()));
}
