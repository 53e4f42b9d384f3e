//! What is written down of a run that meets a full disk, and what its trace costs.

use std::sync::atomic::{AtomicBool, Ordering};

use telelake::pipeline::ProblemKind;
use telelake::simulator::Simulator;
use telelake::store::folder::FolderStore;

use super::{run, tiny};
use crate::support::faulty::{Fault, Faulty, Op};
use crate::support::lake::Lake;

/// Reports land, and then the disk is full for all but who makes place.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_does_not_prevent_the_summary_and_what_landed_is_not_nothing() {
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
    let summary = run(&sim, store).await.unwrap();
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

/// Where nothing helps, the run says so itself, by its failures and its exit status.
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

/// One write when it begins and one when it ends, neither of which counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_run_costs_one_write_more() {
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
