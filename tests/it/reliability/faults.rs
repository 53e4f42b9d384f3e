//! A store that fails now and then, dies in the middle of a run, or fills up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use telelake::ErrorKind;
use telelake::simulator::{Options, Simulator};
use telelake::store::Store;

use super::{assert_same, assert_sound, config, import, meta_file, now, run, run_at, said, soak, tiny};
use crate::support::faulty::{Call, Fault, Faulty, Op};
use crate::support::memory::Memory;

/// The number of runs of which at least one must succeed on a store with random faults.
const MOST_RUNS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn one_tenth_of_answers_and_one_twentieth_of_store_calls_faulty_changes_nothing() {
    let healthy = Simulator::start(tiny()).await.unwrap();
    let undisturbed = Memory::default();
    import(&undisturbed, meta_file(&healthy)).await.unwrap();
    run(&healthy, undisturbed.clone()).await.unwrap();
    let expected = said(&undisturbed);
    let seeds = if soak().is_some() { 20 } else { 2 };
    let (mut runs, mut faults, mut api_faults) = (0, 0, 0);
    for seed in 0..seeds {
        let sim = Simulator::start(Options {
            fault_rate: 0.1,
            ..tiny()
        })
        .await
        .unwrap();
        let store = Memory::default();
        let faulty = Faulty::at_rate(store.clone(), seed, 0.05);
        let file = || meta_file(&sim);
        while import(&faulty, file()).await.is_err() {}
        for attempt in 0.. {
            assert!(attempt < MOST_RUNS, "seed {seed} never comes to its end");
            runs += 1;
            let summary = run(&sim, faulty.clone()).await;
            if summary.is_ok_and(|summary| summary.exit_status == 0) {
                break;
            }
        }
        // The last run clears the remaining doubts.
        assert_eq!(run(&sim, store.clone()).await.unwrap().exit_status, 0);
        faults += faulty.faults();
        api_faults += sim.faults().hits();
        assert_same(&said(&store), &expected, &format!("seed {seed}"));
    }
    println!(
        "SOAK in process: {seeds} seeds, {runs} runs, {faults} faults of the store, {api_faults} of the API, 0 differences"
    );
    assert!(faults > 5 && api_faults > 5);
}

/// Many rooms and days, so that a message about each of them would be a flood.
fn wide() -> Options {
    Options {
        rooms: 6,
        dates: telelake::simulator::days("2025-02-03".parse().unwrap(), 28),
        ..tiny()
    }
}

/// The fault of a dead store, and the calls that it affects.
async fn dies_in_the_middle(fault: Fault, hits: fn(&Call) -> bool) {
    let sim = Simulator::start(wide()).await.unwrap();
    let undisturbed = Memory::default();
    let counting = Faulty::counting(undisturbed.clone());
    run(&sim, counting.clone()).await.unwrap();
    let (calls, store) = (counting.calls().len(), Memory::default());
    let broken = Faulty::new(store.clone(), move |call, nth| {
        (nth > calls * 6 / 10 && hits(call)).then(|| fault.clone())
    });
    let summary = run(&sim, broken.clone()).await.unwrap();
    assert_eq!(summary.exit_status, 3, "what was committed is done");
    assert!(summary.counts.days > 0);
    let error = summary.error.clone().unwrap();
    assert!(error.contains("the store fails again and again"), "{error}");
    assert_eq!(error.lines().count(), 1);
    // The first failures, and those of calls in flight.
    assert!(broken.faults() < 60, "{}", broken.faults());
    assert!(
        summary.for_people().lines().count() < 25,
        "{}",
        summary.for_people()
    );
    let next = run(&sim, store.clone()).await.unwrap();
    assert_eq!(next.exit_status, 0, "{:?}", next.failed);
    run(&sim, store.clone()).await.unwrap();
    assert_same(&said(&store), &said(&undisturbed), "after it was well again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_in_the_middle_ends_the_run_with_one_line() {
    dies_in_the_middle(Fault::Timeout, |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_ends_the_run_with_one_line() {
    dies_in_the_middle(Fault::Full, |call| call.op.is_write()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_before_anything_is_done_is_status_4() {
    let sim = Simulator::start(tiny()).await.unwrap();
    // It passes the probe, and then fails.
    let gone = Faulty::new(Memory::default(), |call, _| {
        (call.op != Op::Preflight).then_some(Fault::Timeout)
    });
    let error = run(&sim, gone).await.unwrap_err();
    assert_eq!(error.exit_status(), telelake::ExitStatus::Nothing);
    let store = Memory::default();
    let gone = Faulty::new(store.clone(), |call, _| {
        let of_lake = !call.key.contains("store.json") && call.op.is_write();
        of_lake.then_some(Fault::SlowDown)
    });
    let summary = run_at(&sim, config(&sim), gone, now()).await.unwrap();
    assert_eq!(summary.exit_status, 4, "{:?}", summary.for_people());
}

/// For the next run, a write whose answer was lost equals a write that was never sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_loses_and_doubles_nothing() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let undisturbed = Memory::default();
    run(&sim, undisturbed.clone()).await.unwrap();
    let expected = said(&undisturbed);
    // The first write of each kind of object.
    for prefix in [
        "_telelake/days/",
        "_telelake/open/",
        "calls/",
        "coverage/",
        "raw/",
        "media/",
    ] {
        let store = Memory::default();
        let lost = AtomicBool::new(false);
        let faulty = Faulty::new(store.clone(), move |call, _| {
            let hit = call.op.is_write() && call.key.starts_with(prefix);
            (hit && !lost.swap(true, Ordering::Relaxed)).then_some(Fault::ReplyLost)
        });
        let first = run(&sim, faulty.clone()).await.unwrap();
        assert_eq!(faulty.faults(), 1, "{prefix}");
        assert!([0, 3].contains(&first.exit_status), "{prefix}: {first:?}");
        for _ in 0..2 {
            let next = run(&sim, store.clone()).await.unwrap();
            assert_eq!(next.exit_status, 0, "{prefix}: {:?}", next.failed);
        }
        assert_sound(&said(&store), prefix);
        assert_same(&said(&store), &expected, prefix);
    }
}

/// The wrapper itself does what each fault promises.
#[tokio::test]
async fn each_fault_of_the_wrapper_does_what_it_promises() {
    let memory = Memory::default();
    let plan = Arc::new(Mutex::new(None));
    let planned = Arc::clone(&plan);
    let store = Faulty::new(memory.clone(), move |_, _| planned.lock().unwrap().clone());
    let mut expected = Vec::new();
    for (fault, kind, applied) in [
        (Fault::Timeout, ErrorKind::StoreUnavailable, false),
        (Fault::SlowDown, ErrorKind::Store, false),
        (Fault::Full, ErrorKind::Store, false),
        (Fault::Precondition, ErrorKind::Precondition, false),
        (Fault::ReplyLost, ErrorKind::StoreUnavailable, true),
        (Fault::Death { applied: true }, ErrorKind::Interrupted, true),
    ] {
        let key = format!("{fault:?}");
        *plan.lock().unwrap() = Some(fault);
        let put = store.put(&key, "x".into(), telelake::store::Condition::Any).await;
        assert_eq!(put.unwrap_err().kind(), kind, "{key}");
        expected.extend(applied.then_some(key));
    }
    *plan.lock().unwrap() = None;
    assert_eq!(
        store.get("x").await.unwrap_err().kind(),
        ErrorKind::Interrupted,
        "dead for good"
    );
    expected.sort();
    assert_eq!(memory.contents().into_keys().collect::<Vec<_>>(), expected);
}

/// The `nth` read of a key fails, and no other call.
fn failing_read(store: &Memory, key: String, nth: usize) -> Faulty {
    let met = Mutex::new(0);
    Faulty::new(store.clone(), move |call: &Call, _| {
        if call.op != Op::Get || call.key != key {
            return None;
        }
        let mut met = met.lock().unwrap();
        *met += 1;
        (*met == nth).then_some(Fault::SlowDown)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_lesson_data_never_looks_like_missing_data() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let before = Memory::default();
    import(&before, meta_file(&sim)).await.unwrap();
    run(&sim, before.clone()).await.unwrap();
    // The meeting of a call goes on the next day, so that this day needs the data of the first one.
    let first = sim.options().dates[0];
    let school = sim.school();
    let calls = school
        .calls
        .iter()
        .filter(|call| call.started_at.date_naive() == first);
    let call = calls
        .max_by_key(|call| call.participants.len())
        .unwrap()
        .id
        .clone();
    sim.edit(|school| school.add_call_like(&call, chrono::TimeDelta::days(1)))
        .unwrap();
    let undisturbed = before.copy();
    let counting = Faulty::counting(undisturbed.clone());
    assert_eq!(run(&sim, counting.clone()).await.unwrap().exit_status, 0);
    let expected = said(&undisturbed);
    let mut reads = std::collections::BTreeMap::<String, usize>::new();
    for call in counting.calls() {
        let of_lessons = call.key.starts_with("_telelake/days/") || call.key.starts_with("_telelake/meta/");
        if call.op == Op::Get && of_lessons {
            *reads.entry(call.key).or_default() += 1;
        }
    }
    let of = |prefix: &str| reads.keys().any(|key| key.starts_with(prefix));
    assert!(of("_telelake/meta/days/") && of("_telelake/meta/index/") && of("_telelake/meta/shelves/"));
    for (key, times) in reads {
        for nth in 1..=times {
            let history = format!("read {nth} of {key} failed");
            let store = before.copy();
            let done = run(&sim, failing_read(&store, key.clone(), nth)).await;
            if done.is_ok_and(|summary| summary.exit_status == 0) {
                assert_same(&said(&store), &expected, &history);
            }
            for _ in 0..2 {
                assert_eq!(
                    run(&sim, store.clone()).await.unwrap().exit_status,
                    0,
                    "{history}"
                );
            }
            assert_same(&said(&store), &expected, &history);
        }
    }
}
