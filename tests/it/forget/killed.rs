//! An erasure that is killed at any call of the store is completed by the same command.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use telelake::lake::erased::{KnownBy, Person};
use telelake::pipeline::{ForgetOptions, Forgetter, Forgotten, RecordingChoice, Setting};
use telelake::simulator::{Options, Simulator};
use telelake::store::Store;
use tokio_util::sync::CancellationToken;

use super::{leaks, strings_of, students, tables, without};
use crate::reliability::moments::moments;
use crate::reliability::{config, file_of, import, now, run, tiny};
use crate::support::faulty::{Fault, Faulty};
use crate::support::memory::Memory;

/// Erases users in process.
pub async fn forget(
    sim: &Simulator,
    store: impl Store + 'static,
    users: &[String],
) -> telelake::Result<Forgotten> {
    forget_until(sim, store, users, CancellationToken::new()).await
}

/// Erases users in process, until somebody stops it.
async fn forget_until(
    sim: &Simulator,
    store: impl Store + 'static,
    users: &[String],
    cancel: CancellationToken,
) -> telelake::Result<Forgotten> {
    let options = ForgetOptions {
        people: users
            .iter()
            .map(|user| Person {
                known_by: KnownBy::User,
                value: user.clone(),
            })
            .collect(),
        recordings: RecordingChoice::List,
        operator: None,
        dry_run: false,
    };
    let mut config = config(sim);
    config.delta.enabled = true;
    let setting = Setting {
        cancel,
        ..Setting::new(config, Arc::new(store), now())
    };
    Box::pin(Forgetter::new(setting)?.run(&options)).await
}

/// A lake of two days with lesson data, and users who are in it.
pub async fn lake() -> (Simulator, Memory, Vec<String>) {
    let sim = Simulator::start(Options {
        participants: 3..=5,
        ..tiny()
    })
    .await
    .unwrap();
    let store = Memory::listing_etags();
    import(&store, file_of("lessons.jsonl", &sim.school().lesson_data()))
        .await
        .unwrap();
    let mut with_delta = config(&sim);
    with_delta.delta.enabled = true;
    crate::reliability::run_at(&sim, with_delta, store.clone(), now())
        .await
        .unwrap();
    let users = students(&sim.school(), 1);
    (sim, store, users)
}

/// What the lake says, without the record of the erasure and of runs.
fn said(store: &Memory) -> BTreeMap<String, Bytes> {
    let mut contents = store.contents();
    contents.retain(|key, _| {
        !key.starts_with("_telelake/erasures/")
            && !key.starts_with("_telelake/runs/")
            && !key.starts_with("media/")
    });
    contents
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_killed_at_any_call_is_completed_by_the_same_command() {
    let (sim, before, users) = lake().await;
    let strings = strings_of(&sim.school(), &users);
    let expected = without(&tables(&said(&before)), &strings);
    assert!(leaks(&said(&before), &strings).len() > 10);
    let undisturbed = before.copy();
    let counting = Faulty::counting(undisturbed.clone());
    let done = forget(&sim, counting.clone(), &users).await.unwrap();
    assert_eq!(done.failed, Vec::<String>::new());
    let rows = |done: &Forgotten| -> BTreeMap<String, u64> {
        let mut rows = BTreeMap::new();
        for day in done.erasure.days.values().chain(done.erasure.dates.values()) {
            for (table, count) in day.rows() {
                *rows.entry(table.to_owned()).or_default() += count;
            }
        }
        rows
    };
    let counted = rows(&done);
    assert!(
        counted["participants"] > 0 && counted["user_meta"] > 0,
        "{counted:?}"
    );
    let mut histories = 0;
    for moment in moments(&counting, (5, 25)) {
        for applied in [false, true] {
            let history = format!("killed at {moment:?}, applied: {applied}");
            let store = before.copy();
            // Killed, whatever it returns.
            let _ = forget(&sim, moment.strike(&store, Fault::Death { applied }), &users).await;
            let next = forget(&sim, store.clone(), &users).await.unwrap();
            assert_eq!(next.failed, Vec::<String>::new(), "{history}");
            let now = said(&store);
            assert_eq!(leaks(&now, &strings), Vec::<String>::new(), "{history}");
            assert_eq!(tables(&now), expected, "{history}");
            // A kill after the last write leaves nothing to count.
            let is_over = next.erasure.days.is_empty() && next.erasure.dates.is_empty();
            assert!(
                is_over || rows(&next) == counted,
                "{history}: {:?}, {counted:?}",
                rows(&next)
            );
            let night = run(&sim, store.clone()).await.unwrap();
            assert_eq!(night.exit_status, 0, "{history}: {:?}", night.failed);
            assert_eq!(leaks(&said(&store), &strings), Vec::<String>::new(), "{history}");
            assert_eq!(tables(&said(&store)), expected, "{history}");
            histories += 1;
        }
    }
    println!("SOAK in process: an erasure killed at {histories} moments: 0 differences");
    assert!(histories > 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_stopped_at_any_call_is_completed_by_the_same_command() {
    let (sim, before, users) = lake().await;
    let strings = strings_of(&sim.school(), &users);
    let expected = without(&tables(&said(&before)), &strings);
    let counting = Faulty::counting(before.copy());
    forget(&sim, counting.clone(), &users).await.unwrap();
    let calls = counting.calls().len();
    for at in (1..calls).step_by(calls / 25) {
        let (store, cancel) = (before.copy(), CancellationToken::new());
        let stop = cancel.clone();
        let stopping = Faulty::new(store.clone(), move |_, nth| {
            if nth == at {
                stop.cancel();
            }
            None
        });
        // Stopped, or just done.
        let first = forget_until(&sim, stopping, &users, cancel).await;
        assert!(
            first.as_ref().is_ok_and(|first| first.failed.is_empty())
                || first
                    .as_ref()
                    .is_err_and(|error| error.kind() == telelake::ErrorKind::Interrupted),
            "stopped at {at}: {first:?}"
        );
        let next = forget(&sim, store.clone(), &users).await.unwrap();
        assert_eq!(next.failed, Vec::<String>::new(), "stopped at {at}");
        assert_eq!(
            leaks(&said(&store), &strings),
            Vec::<String>::new(),
            "stopped at {at}"
        );
        assert_eq!(tables(&said(&store)), expected, "stopped at {at}");
    }
}
