//! A store that silently ignores conditional writes, where writers take turns by a lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use telelake::ErrorKind;
use telelake::lake::key;
use telelake::pipeline::ProblemKind;
use telelake::simulator::Simulator;
use telelake::store::{Condition, Store};
use tokio::time::{Duration, Instant, sleep};

use super::{assert_same, assert_sound, config, file_of, import, now, run, run_at, said, tiny};
use crate::support::faulty::{Fault, Faulty, Op};
use crate::support::memory::Memory;

async fn metas() -> Vec<serde_json::Value> {
    let sim = Simulator::start(tiny()).await.unwrap();
    sim.school().metas()
}

/// The objects that an import leaves, without the markers, whose names differ.
fn kept(store: &Memory) -> std::collections::BTreeMap<String, bytes::Bytes> {
    let mut contents = said(store);
    contents.retain(|key, _| !key.starts_with("_telelake/meta/changed/"));
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_runs_take_turns_and_warn_about_the_store() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let undisturbed = Memory::ignoring_conditions();
    run(&sim, undisturbed.clone()).await.unwrap();
    let store = Memory::ignoring_conditions();
    let (first, second) = tokio::join!(run(&sim, store.clone()), run(&sim, store.clone()));
    let (first, second) = (first.unwrap(), second.unwrap());
    for summary in [&first, &second] {
        assert_eq!(summary.exit_status, 0, "{:?}", summary.failed);
        let told = summary
            .warnings
            .iter()
            .any(|warning| warning.kind == ProblemKind::StoreIgnoresConditionalWrites);
        assert!(told);
    }
    let landed = first.counts.reports_landed + second.counts.reports_landed;
    assert_eq!(
        (landed, first.counts.days_built + second.counts.days_built),
        (
            first.counts.reports.done,
            first.counts.days_built.max(second.counts.days_built)
        ),
        "all of the work was done once"
    );
    assert_sound(&said(&store), "two runs");
    assert_same(&said(&store), &said(&undisturbed), "two runs");
}

/// From here on, time is simulated: it stands still while a task works, and jumps when all tasks wait.
#[tokio::test(start_paused = true)]
async fn many_concurrent_imports_lose_no_lesson() {
    let metas = metas().await;
    let one_by_one = Memory::ignoring_conditions();
    for (index, meta) in metas.iter().enumerate() {
        import(
            &one_by_one,
            file_of(&index.to_string(), std::slice::from_ref(meta)),
        )
        .await
        .unwrap();
    }
    for seed in 0..8 {
        let store = Memory::ignoring_conditions();
        // Every call takes a different time, so that the imports meet at different places.
        let imports = metas.iter().enumerate().map(|(index, meta)| {
            let slow = slow(&store, seed * 1000 + index as u64, 3_000);
            async move {
                let file = file_of(&index.to_string(), std::slice::from_ref(meta));
                import(&slow, file).await.unwrap();
            }
        });
        futures_util::future::join_all(imports).await;
        assert_same(&kept(&store), &kept(&one_by_one), &format!("seed {seed}"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_ticket_of_a_dead_process_is_removed_after_a_minute() {
    let metas = metas().await;
    let store = Memory::ignoring_conditions();
    let dead = key::lease("20250101T000000000000Z-dead");
    store.put(&dead, "{}".into(), Condition::Any).await.unwrap();
    let started = Instant::now();
    import(&store, file_of("a", &metas)).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(60));
    assert!(store.list(key::LEASES).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_of_the_lease_is_waited_for() {
    let metas = metas().await;
    let store = Memory::ignoring_conditions();
    let over = Arc::new(AtomicBool::new(false));
    let (of_holder, is_over) = (store.clone(), Arc::clone(&over));
    let holder = tokio::spawn(async move {
        // Its ticket sorts after all others, and it holds the lease nevertheless.
        let ticket = key::lease("29990101T000000000000Z-live");
        for beat in 0..100 {
            of_holder
                .put(&ticket, beat.to_string().into(), Condition::Any)
                .await
                .unwrap();
            sleep(Duration::from_secs(20)).await;
        }
        is_over.store(true, Ordering::SeqCst);
        of_holder.delete(&ticket).await.unwrap();
    });
    tokio::task::yield_now().await;
    let of_imports = store.clone();
    let imports = [0, 1, 2].map(|index| {
        let (store, over, file) = (
            of_imports.clone(),
            Arc::clone(&over),
            file_of(&index.to_string(), &metas[index..=index]),
        );
        async move {
            import(&store, file).await.unwrap();
            assert!(over.load(Ordering::SeqCst), "it wrote beside the holder");
        }
    });
    futures_util::future::join_all(imports).await;
    holder.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_took_long_to_take_is_not_lost_at_once() {
    let metas = metas().await;
    let store = Memory::ignoring_conditions();
    let other = key::lease("20250101T000000000000Z-other");
    store.put(&other, "{}".into(), Condition::Any).await.unwrap();
    let leaving = tokio::spawn({
        let (store, other) = (store.clone(), other.clone());
        async move {
            sleep(Duration::from_secs(20)).await;
            store.delete(&other).await.unwrap();
        }
    });
    // The ticket of the other process is listed, and gone when a slow answer comes. The work lasts until after a heartbeat.
    let slow = Faulty::new(store, move |call, _| {
        let is_other = call.op == Op::Get && call.key == other;
        let seconds = if is_other { 35 } else { 10 };
        (is_other || call.key == key::RAW_META).then(|| Fault::Delay(Duration::from_secs(seconds)))
    });
    import(&slow, file_of("a", &metas)).await.unwrap();
    leaving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_too_slow_for_a_lease_is_an_error_and_no_endless_wait() {
    let metas = metas().await;
    let store = Memory::ignoring_conditions();
    let slow = Faulty::new(store.clone(), |call, _| {
        let is_look = call.op == Op::List && call.key == key::LEASES;
        is_look.then(|| Fault::Delay(Duration::from_secs(20)))
    });
    let error = import(&slow, file_of("a", &metas)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(error.to_string().contains("too slowly"), "{error}");
    assert!(
        store.list(key::LEASES).await.unwrap().is_empty(),
        "its ticket is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_renew_its_lease_stops_writing() {
    let metas = metas().await;
    let store = Memory::ignoring_conditions();
    let started = Instant::now();
    // Only its first ticket is written, and its work takes an hour.
    let cut_off = Faulty::new(store.clone(), move |call, _| {
        let first = started.elapsed() < Duration::from_secs(1);
        match call.key.starts_with(key::LEASES) {
            true => (!first).then_some(Fault::Timeout),
            false => (call.key == key::RAW_META).then_some(Fault::Delay(Duration::from_secs(3600))),
        }
    });
    let error = import(&cut_off, file_of("a", &metas)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreUnavailable);
    assert!(error.to_string().contains("lease"), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "before another may take it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_ticket_stops_the_run() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let store = Memory::ignoring_conditions();
    // Slow enough for a second renewal.
    let slow = slow(&store, 1, 1_000);
    let stolen = async {
        loop {
            for ticket in store.list(key::LEASES).await.unwrap() {
                store.delete(&ticket.key).await.unwrap();
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let summary = tokio::select! {
        summary = run_at(&sim, config(&sim), slow, now()) => summary.unwrap(),
        () = stolen => unreachable!(),
        () = sleep(Duration::from_secs(60)) => panic!("the run did not notice that its lease is gone"),
    };
    assert!([3, 4].contains(&summary.exit_status));
    assert!(summary.error.unwrap().contains("lease"));
}

/// A store whose calls take up to `most` milliseconds each, by a seed.
fn slow(store: &Memory, seed: u64, most: u64) -> Faulty {
    Faulty::new(store.clone(), move |call, nth| {
        let name = format!("{seed}/{}/{nth}", call.key);
        let digest = Sha256::digest(name);
        let random = u64::from_le_bytes(digest[..8].try_into().unwrap());
        Some(Fault::Delay(Duration::from_millis(random % most)))
    })
}
