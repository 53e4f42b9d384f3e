//! An erasure beside a run or an import that does not know of it yet.

use telelake::store::Store;

use super::killed::{forget, lake};
use super::{leaks, strings_of, tables, without};
use crate::reliability::{file_of, import, run, whole};
use crate::support::faulty::{Fault, Faulty, Gate, Op};
use crate::support::memory::Memory;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_began_before_the_erasure_brings_nobody_back() {
    let (sim, full, users) = lake().await;
    let strings = strings_of(&sim.school(), &users);
    let expected = without(&tables(&full.contents()), &strings);
    // A lake without its days: the run lands and builds them all.
    let empty = Memory::listing_etags();
    import(&empty, file_of("lessons.jsonl", &sim.school().lesson_data()))
        .await
        .unwrap();
    let reports = [
        (Op::Put, "raw/reports/"),
        (Op::Put, "_telelake/days/"),
        (Op::Put, "participants/"),
    ];
    for (op, prefix) in reports {
        for nth in 1..=2 {
            let store = empty.copy();
            let gate = Gate::new();
            let met = std::sync::atomic::AtomicUsize::new(0);
            let held = gate.clone();
            let faulty = Faulty::new(store.clone(), move |call, _| {
                let hit = call.op == op && call.key.starts_with(prefix);
                let count = hit.then(|| met.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1)?;
                (count == nth).then(|| Fault::Pause {
                    gate: held.clone(),
                    dies: false,
                })
            });
            let running = run(&sim, faulty);
            let erasing = async {
                gate.reached().await;
                let done = forget(&sim, store.clone(), &users).await.unwrap();
                assert_eq!(done.failed, Vec::<String>::new());
                gate.open();
            };
            let (ran, ()) = tokio::join!(running, erasing);
            let history = format!("held at {op:?} {prefix} {nth}");
            assert_eq!(ran.unwrap().exit_status, 0, "{history}");
            assert_eq!(
                leaks(&store.contents(), &strings),
                Vec::<String>::new(),
                "{history}"
            );
            let last = run(&sim, store.clone()).await.unwrap();
            assert_eq!(last.exit_status, 0, "{history}: {:?}", last.failed);
            let now = tables(&store.contents());
            for (key, rows) in expected.iter().filter(|(key, _)| !key.starts_with("days/")) {
                assert_eq!(now.get(key), Some(rows), "{history}: {key}");
            }
            assert!(store.size("_telelake/store.json").await.unwrap().is_some());
        }
    }
    assert!(whole(&sim).from <= whole(&sim).to);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_leaves_erased_people_out_of_the_lake_and_of_what_it_passes_on() {
    let (sim, store, users) = lake().await;
    let strings = strings_of(&sim.school(), &users);
    forget(&sim, store.clone(), &users).await.unwrap();
    let mut metas = sim.school().lesson_data();
    let theirs = metas
        .iter()
        .filter(|meta| users.iter().any(|user| meta["externalUserId"] == user.as_str()));
    let theirs = theirs.count() as u64;
    // Another file, so that it is not known.
    metas.push(serde_json::json!({"externalUserId": "new", "externalMeetingId": "m", "meta": {"friend": {"user_id": users[0], "name": "x"}, "n": 1}}));
    let imported = import(&store, file_of("more.jsonl", &metas)).await.unwrap();
    assert_eq!(
        (imported.erased, imported.payloads),
        (theirs, metas.len() as u64 - theirs)
    );
    let [passed_on] = imported.cleaned.as_slice() else {
        panic!("{} files", imported.cleaned.len());
    };
    let text = String::from_utf8(passed_on.to_vec()).unwrap();
    assert!(strings.iter().all(|string| !text.contains(string)), "{text}");
    assert!(text.contains(r#"{"n":1}"#), "{text}");
    assert_eq!(leaks(&store.contents(), &strings), Vec::<String>::new());
}
