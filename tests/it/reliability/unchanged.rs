//! A run on unchanged days writes only its own summary, and makes only the calls of store and API
//! that are needed to find this out.

use std::collections::BTreeMap;

use telelake::simulator::{Endpoint, Options, Simulator};

use super::{import, manifests, meta_file, run, said, tiny};
use crate::support::faulty::{Faulty, Op};
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
    let count = |prefix: &str| before.keys().filter(|key| key.starts_with(prefix)).count();
    let shelves = count("_telelake/meta/shelves/");
    let parts = count("_telelake/meta/index/");
    let months = count("_telelake/meta/days/");
    assert!(months == 1 && parts <= 16);
    // The store itself; each day of the run; which days and dates have their meetings; the meta; two objects for the
    // spaces; for the rooms of each those that the lake knows, those that are gone, and two more.
    let gets = 1 + days.len() + months + parts + shelves + 2 + 4 * spaces;
    let expected = BTreeMap::from([
        (Op::Preflight, 1),
        (Op::Get, gets),
        // Open days, changed lesson data, its index, the days of meetings, unfinished uploads.
        (Op::List, 5),
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
