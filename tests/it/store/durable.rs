//! A manifest never names bytes that a power cut can lose.

use telelake::lake::key;
use telelake::simulator::Simulator;

use crate::reliability::{run, tiny};
use crate::support::faulty::{Faulty, Op};
use crate::support::memory::Memory;

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_synced_before_the_manifest_that_names_them() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let store = Memory::default();
    let counting = Faulty::counting(store.clone());
    assert_eq!(run(&sim, counting.clone()).await.unwrap().exit_status, 0);
    let calls = counting.calls();
    let at = |op: Op, from: usize, wanted: &dyn Fn(&str) -> bool| {
        let later = calls.iter().enumerate().skip(from);
        later
            .filter(|(_, call)| call.op == op && wanted(&call.key))
            .map(|(at, _)| at)
            .next()
    };
    let reports = calls.iter().enumerate();
    let reports = reports.filter(|(_, call)| call.op == Op::Put && call.key.starts_with("raw/reports/"));
    let mut seen = 0;
    for (put, report) in reports {
        // A later commit of the day is the first that can name the report.
        let day = key::date_in(&report.key).unwrap().to_string();
        let is_manifest = |key: &str| key.starts_with(key::DAYS) && key.contains(&day);
        let manifest = at(Op::Put, put, &is_manifest).expect("a manifest");
        let sync = at(Op::Sync, put, &|_| true).expect("a sync");
        assert!(sync < manifest, "{} is named before it is synced", report.key);
        seen += 1;
    }
    assert!(seen >= 6, "{seen} reports");
}

/// The relaxed writes of a store whose syncs fail are in no manifest.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_fails_the_commit() {
    use crate::support::faulty::Fault;

    let sim = Simulator::start(tiny()).await.unwrap();
    let store = Memory::default();
    let failing = Faulty::new(store.clone(), |call, _| {
        (call.op == Op::Sync).then_some(Fault::Full)
    });
    assert_ne!(run(&sim, failing).await.unwrap().exit_status, 0);
    let keys: Vec<_> = store.contents().into_keys().collect();
    assert!(keys.iter().any(|key| key.starts_with("raw/reports/")), "{keys:?}");
    assert!(!keys.iter().any(|key| key.starts_with(key::DAYS)), "{keys:?}");
}
