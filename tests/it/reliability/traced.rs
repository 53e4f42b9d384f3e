//! The trace of a run: its summary on a full disk, and its cost.

use std::sync::atomic::{AtomicBool, Ordering};

use telelake::pipeline::ProblemKind;
use telelake::simulator::Simulator;
use telelake::store::folder::FolderStore;

use super::{config, now, run, run_at, tiny};
use crate::support::faulty::{Fault, Faulty, Op};
use crate::support::lake::Lake;

/// Reports land, and then the disk is full for every write that does not free space.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_does_not_prevent_the_summary() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let lake = Lake::folder();
    let (begun, freed) = (AtomicBool::new(false), AtomicBool::new(false));
    let store = Faulty::new(FolderStore::open(&lake.url()).unwrap(), move |call, _| {
        let full = match (call.op, call.key.starts_with("_telelake/runs/")) {
            (Op::Put, true) => begun.swap(true, Ordering::Relaxed) && !freed.load(Ordering::Relaxed),
            (Op::Delete, true) => {
                freed.store(true, Ordering::Relaxed);
                false
            }
            (op, _) => op.is_write() && !call.key.starts_with("raw/") && !call.key.contains("store.json"),
        };
        full.then_some(Fault::Full)
    });
    // A recording that finds the disk full would end the run before any report has landed.
    let mut config = config(&sim);
    config.export.recordings = false;
    let summary = run_at(&sim, config, store, now()).await.unwrap();
    assert!(summary.counts.reports_landed > 0, "{:?}", summary.counts);
    assert_eq!(summary.exit_status, 3);
    let told = summary.for_people();
    assert!(!told.contains("NOTHING DONE"), "{told}");
    let cause = summary.cause.as_deref().unwrap_or_default();
    assert!(cause.contains("No space left"), "{cause}");
    let stored = lake.json(&format!("_telelake/runs/{}.json", summary.id)).await;
    assert_eq!(stored["outcome"], "partial", "{stored}");
    assert_eq!(stored["counts"]["reports_landed"], summary.counts.reports_landed);
    assert!(stored["finished_at"].is_string(), "{stored}");
}

/// If even the summary cannot be stored, the run reports a failure and its exit status shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_summary_that_can_not_be_stored_is_a_failure_of_the_run() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let lake = Lake::folder();
    let store = Faulty::new(FolderStore::open(&lake.url()).unwrap(), |call, _| {
        (call.op == Op::Put && call.key.starts_with("_telelake/runs/")).then_some(Fault::Full)
    });
    let summary = run(&sim, store).await.unwrap();
    assert_eq!(summary.exit_status, 3);
    assert!(
        summary
            .failed
            .iter()
            .any(|problem| problem.kind == ProblemKind::SummaryFailed),
        "{:?}",
        summary.failed
    );
}

/// A write at the start and one at the end, neither of which is counted.
#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_run_costs_one_more_write() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let lake = Lake::folder();
    let store = Faulty::counting(FolderStore::open(&lake.url()).unwrap());
    run(&sim, store.clone()).await.unwrap();
    let before = store.calls().len();
    let second = run(&sim, store.clone()).await.unwrap();
    assert_eq!(second.counts.writes, 0);
    let writes: Vec<_> = store.calls()[before..]
        .iter()
        .filter(|call| call.op.is_write())
        .cloned()
        .collect();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert!(
        writes.iter().all(|call| call.key.starts_with("_telelake/runs/")),
        "{writes:?}"
    );
}
