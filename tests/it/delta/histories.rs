//! The Delta tables after kills, failures, and with several processes at once.

use std::time::Duration;

use chrono::TimeDelta;
use telelake::pipeline::ProblemKind;
use telelake::simulator::Simulator;

use super::{assert_agrees, delta_config, plain_lake, sync, sync_later, two_spaces};
use crate::reliability::{begin_the_first_call_the_next_day, file_of, import, now, run, run_at, soak};
use crate::support::faulty::{Fault, Faulty, Op};
use crate::support::memory::Memory;

/// A lake whose Delta tables are behind: a call has moved to another day, and lesson data came late.
async fn lake_behind(sim: &Simulator) -> Memory {
    let truth = begin_the_first_call_the_next_day(sim);
    let store = plain_lake(sim, Memory::listing_etags()).await;
    sync(sim, store.clone()).await;
    sim.edit(|school| school.calls[0].started_at = truth);
    let mut metas = sim.school().metas();
    for meta in &mut metas {
        meta["meta"]["lesson_name"] = "Another name".into();
    }
    import(&store, file_of("z-late", &metas)).await.unwrap();
    assert_eq!(run(sim, store.clone()).await.unwrap().exit_status, 0);
    store
}

/// Kills a sync at calls of the store, and lets another one finish. Returns the number of kills.
async fn kill_everywhere(sim: &Simulator, before: &Memory, step: usize) -> usize {
    let counting = Faulty::counting(before.copy());
    sync(sim, counting.clone()).await;
    let calls = counting.calls().len();
    let step = soak().map_or(step, |_| 1);
    let mut kills = 0;
    for (nth, applied) in (0..calls)
        .flat_map(|nth| [(nth, false), (nth, true)])
        .step_by(step)
    {
        let store = before.copy();
        let dying = Faulty::new(store.clone(), move |_, count| {
            (count == nth).then_some(Fault::Death { applied })
        });
        // Killed, whatever it returns.
        let _ = sync_later(sim, dying, TimeDelta::zero(), false).await;
        sync(sim, store.clone()).await;
        assert_agrees(
            &store,
            &format!("killed at call {nth} of {calls}, applied: {applied}"),
        );
        kills += 1;
    }
    kills
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_killed_at_any_call_is_finished_by_the_next_one() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let first = plain_lake(&sim, Memory::listing_etags()).await;
    assert!(kill_everywhere(&sim, &first, 13).await > 20);
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let behind = lake_behind(&sim).await;
    assert!(kill_everywhere(&sim, &behind, 13).await > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_state_twice_makes_no_commit_and_a_change_makes_one_for_each_date() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let store = plain_lake(&sim, Memory::listing_etags()).await;
    let first = sync(&sim, store.clone()).await;
    assert_agrees(&store, "the first sync");
    let calls = first.iter().find(|report| report.table == "calls").unwrap();
    // The files of both spaces on the first date are one file, those on the second date are two.
    assert_eq!((calls.version, calls.commits, calls.files), (Some(1), 2, 3));
    let contents = store.contents();
    let again = sync(&sim, store.clone()).await;
    assert!(again.iter().all(|report| report.commits == 0));
    assert_eq!(store.contents(), contents, "the same state was written twice");
    // The whole of `delta/` can be removed and made anew.
    for key in contents.keys().filter(|key| key.starts_with("delta/")) {
        telelake::store::Store::delete(&store, key).await.unwrap();
    }
    sync(&sim, store.clone()).await;
    assert_agrees(&store, "made anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_syncs_lose_nothing_and_add_nothing_twice() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let before = lake_behind(&sim).await;
    let first = plain_lake(&sim, Memory::listing_etags()).await;
    for (seed, before) in [&before, &first, &before, &first].into_iter().enumerate() {
        let store = before.copy();
        // Every call takes a different time, so that the syncs meet at different places.
        let slow = |process: u64| {
            let random = std::sync::Mutex::new(fastrand::Rng::with_seed(process + 10 * seed as u64));
            Faulty::new(store.clone(), move |_, _| {
                Some(Fault::Delay(Duration::from_millis(
                    random.lock().unwrap().u64(..4),
                )))
            })
        };
        tokio::join!(sync(&sim, slow(1)), sync(&sim, slow(2)), sync(&sim, slow(3)));
        assert_agrees(&store, &format!("seed {seed}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_another_process_was_first_to_make_is_planned_again() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let store = plain_lake(&sim, Memory::listing_etags()).await;
    // Every commit is lost once.
    let lost = std::sync::Mutex::new(std::collections::HashSet::new());
    let faulty = Faulty::new(store.clone(), move |call, _| {
        let is_commit = call.op == Op::Put && call.key.contains("/_delta_log/0") && call.conditional;
        (is_commit && lost.lock().unwrap().insert(call.key.clone())).then_some(Fault::Precondition)
    });
    sync(&sim, faulty.clone()).await;
    assert!(faulty.faults() > 10);
    assert_agrees(&store, "lost commits");
    let contents = store.contents();
    let (files, _) = super::replay(&contents, "calls");
    let data = contents.keys().filter(|key| key.starts_with("delta/calls/date="));
    assert_eq!(
        data.count(),
        files.len(),
        "the copies of lost commits were not removed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_syncs_of_a_store_without_conditions_take_turns() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let store = plain_lake(&sim, Memory::ignoring_conditions()).await;
    tokio::join!(sync(&sim, store.clone()), sync(&sim, store.clone()));
    assert_agrees(&store, "two syncs");
    let (_, commits) = super::replay(&store.contents(), "calls");
    assert_eq!(commits, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_delta_tables_is_a_warning_and_the_next_run_makes_it_up() {
    let sim = Simulator::start(two_spaces()).await.unwrap();
    let mut config = delta_config(&sim);
    config.delta.enabled = true;
    let store = Memory::listing_etags();
    import(&store, file_of("metas", &sim.school().metas()))
        .await
        .unwrap();
    let faulty = Faulty::new(store.clone(), |call, _| {
        call.key.starts_with("delta/").then_some(Fault::Timeout)
    });
    let summary = run_at(&sim, config.clone(), faulty, now()).await.unwrap();
    assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
    let warned = summary
        .warnings
        .iter()
        .filter(|warning| warning.kind == ProblemKind::DeltaFailed);
    let warned: Vec<_> = warned.map(|warning| warning.message.as_str()).collect();
    assert!(
        !warned.is_empty() && warned[0].contains("no answer in time"),
        "{warned:?}"
    );
    assert!(!store.contents().keys().any(|key| key.starts_with("delta/")));
    let summary = run_at(&sim, config, store.clone(), now()).await.unwrap();
    let warned = summary
        .warnings
        .iter()
        .any(|warning| warning.kind == ProblemKind::DeltaFailed);
    assert_eq!((summary.exit_status, warned), (0, false));
    assert_agrees(&store, "the next run");
    // A run without the key in the configuration leaves them alone.
    let plain = plain_lake(&sim, Memory::listing_etags()).await;
    assert!(!plain.contents().keys().any(|key| key.starts_with("delta/")));
}
