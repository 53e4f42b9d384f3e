//! Two processes at once: one stalls at a call while the other does all of its work. At whatever call, and whether
//! the first process then dies or goes on, the tables match the manifest, and nothing is lost or doubled.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use telelake::simulator::{Options, Simulator};
use telelake::store::{Condition, Store};

use super::moments::{Moment, moments};
use super::{
    assert_sound, begin_the_first_call_the_next_day, config, damage, import, manifests, now, rebuild, run,
    run_at, said, tiny,
};
use crate::support::faulty::{Call, Fault, Faulty, Gate, Op};
use crate::support::memory::Memory;

fn one_day() -> Options {
    Options {
        dates: telelake::simulator::days("2025-03-03".parse().unwrap(), 1),
        ..tiny()
    }
}

/// The time of the second process, whose tables differ from those of the first in `built_at`.
fn later() -> DateTime<Utc> {
    now() + TimeDelta::minutes(5)
}

/// Runs `second` while `first` stalls at its gate, or after `first` if it never reaches the gate.
async fn within<A, B>(
    gate: &Gate,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let first = async {
        let done = first.await;
        gate.pass();
        done
    };
    let second = async {
        gate.reached().await;
        let done = second.await;
        gate.open();
        done
    };
    tokio::join!(first, second)
}

/// Each moment twice: the stalled process dies right after the call, or goes on.
fn pauses(undisturbed: &Faulty, steps: (usize, usize)) -> impl Iterator<Item = (Moment, bool, String)> {
    let moments = moments(undisturbed, steps).into_iter();
    moments
        .flat_map(|moment| [(moment.clone(), false), (moment, true)])
        .map(|(moment, dies)| {
            let history = format!("at {moment:?}, dies: {dies}");
            (moment, dies, history)
        })
}

fn pausing(moment: &Moment, store: &Memory, dies: bool) -> (Faulty, Arc<Gate>) {
    let gate = Gate::new();
    let fault = Fault::Pause {
        gate: Arc::clone(&gate),
        dies,
    };
    (moment.strike(store, fault), gate)
}

fn calls_known(contents: &BTreeMap<String, Bytes>) -> Vec<String> {
    let mut calls: Vec<_> = manifests(contents)
        .into_iter()
        .flat_map(|manifest| manifest.calls.into_keys().map(String::from))
        .collect();
    calls.sort();
    calls
}

fn calls_held(sim: &Simulator) -> Vec<String> {
    let mut calls: Vec<_> = sim.school().calls.iter().map(|call| call.id.clone()).collect();
    calls.sort();
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stands_still_at_any_call_while_another_does_all() {
    let sim = Simulator::start(one_day()).await.unwrap();
    let counting = Faulty::counting(Memory::default());
    run(&sim, counting.clone()).await.unwrap();
    let mut histories = 0;
    for (moment, dies, history) in pauses(&counting, (1, 30)) {
        let store = Memory::default();
        let (paused, gate) = pausing(&moment, &store, dies);
        let second = run_at(&sim, config(&sim), store.clone(), later());
        let (first, second) = within(&gate, run(&sim, paused), second).await;
        let second = second.unwrap();
        assert_eq!(second.exit_status, 0, "{history}: {:?}", second.failed);
        if !dies {
            let first = first.unwrap();
            assert_eq!(first.exit_status, 0, "{history}: {:?}", first.failed);
        }
        // Readers see the tables of the manifest now, not only after the next run.
        assert_sound(&said(&store), &history);
        assert_eq!(calls_known(&said(&store)), calls_held(&sim), "{history}");
        let next = run(&sim, store.clone()).await.unwrap();
        assert_eq!(
            (next.exit_status, next.counts.reports_landed),
            (0, 0),
            "{history}"
        );
        let next = run(&sim, store.clone()).await.unwrap();
        assert_eq!(next.counts.writes, 0, "{history}: all is done");
        assert_sound(&said(&store), &history);
        histories += 1;
    }
    println!("SOAK in process: {histories} times two runs at once: 0 lost, 0 doubled, 0 damaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_stands_still_at_any_call_while_a_run_lands_more() {
    let sim = Simulator::start(one_day()).await.unwrap();
    let before = Memory::default();
    run(&sim, before.clone()).await.unwrap();
    // A table is damaged, so that the rebuild writes.
    let coverage = said(&before)
        .into_keys()
        .find(|key| key.starts_with("coverage/"))
        .unwrap();
    before
        .put(&coverage, "damaged".into(), Condition::Any)
        .await
        .unwrap();
    let counting = Faulty::counting(before.copy());
    rebuild(&sim, counting.clone()).await.unwrap();
    let call = sim.school().calls[0].id.clone();
    sim.edit(|school| school.add_call_like(&call, TimeDelta::minutes(1)))
        .unwrap();
    for (moment, dies, history) in pauses(&counting, (2, 15)) {
        let store = before.copy();
        let (paused, gate) = pausing(&moment, &store, dies);
        let second = run_at(&sim, config(&sim), store.clone(), later());
        let (first, second) = within(&gate, rebuild(&sim, paused), second).await;
        assert_eq!(second.unwrap().exit_status, 0, "{history}");
        if !dies {
            assert_eq!(first.unwrap().exit_status, 0, "{history}");
        }
        assert_sound(&said(&store), &history);
        assert_eq!(calls_known(&said(&store)), calls_held(&sim), "{history}");
    }
}

/// If the second process finds everything as it would write it, nothing changes for the first one, so that the first
/// one may still write. Its marker makes the next run check the day.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_comes_after_another_found_all_in_place_is_noticed_by_the_next_run() {
    let sim = Simulator::start(one_day()).await.unwrap();
    let store = Memory::default();
    run(&sim, store.clone()).await.unwrap();
    let expected = said(&store);
    let mut mapping = tempfile::NamedTempFile::new().unwrap();
    writeln!(mapping, "version = 1\n[table.messages]\ncolumns.text = \"id\"").unwrap();
    let mut other = config(&sim);
    other.export.mapping = mapping.path().to_str().unwrap().into();
    let gate = Gate::new();
    let at_gate = Arc::clone(&gate);
    let paused = Faulty::new(store.clone(), move |call: &Call, _| {
        (call.op == Op::Put && call.key.starts_with("messages/")).then(|| Fault::Pause {
            gate: Arc::clone(&at_gate),
            dies: true,
        })
    });
    let first = run_at(&sim, other, paused, now());
    let (_, second) = within(&gate, first, run(&sim, store.clone())).await;
    assert_eq!(second.unwrap().exit_status, 0);
    assert_eq!(
        damage(&said(&store)).len(),
        1,
        "the late write lies over the manifest's table"
    );
    let next = run(&sim, store.clone()).await.unwrap();
    assert_eq!(next.exit_status, 0, "{:?}", next.failed);
    super::assert_same(&said(&store), &expected, "looked at again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_stands_still_at_any_call_while_another_does_all() {
    let sim = Simulator::start(one_day()).await.unwrap();
    let metas = sim.school().metas();
    let (some, others) = metas.split_at(metas.len() / 2);
    let counting = Faulty::counting(Memory::default());
    import(&counting, super::file_of("some", some)).await.unwrap();
    let together = Memory::default();
    import(&together, super::file_of("some", some)).await.unwrap();
    import(&together, super::file_of("others", others)).await.unwrap();
    let of_meta = |store: &Memory| {
        let mut contents = said(store);
        contents.retain(|key, _| !key.starts_with("_telelake/meta/changed/"));
        contents
    };
    for (moment, dies, history) in pauses(&counting, (1, 5)) {
        let store = Memory::default();
        let (paused, gate) = pausing(&moment, &store, dies);
        let first = import(&paused, super::file_of("some", some));
        let second = import(&store, super::file_of("others", others));
        let (first, second) = Box::pin(within(&gate, first, second)).await;
        second.unwrap();
        if dies {
            import(&store, super::file_of("some", some)).await.unwrap();
        } else {
            first.unwrap();
        }
        super::assert_same(&of_meta(&store), &of_meta(&together), &history);
    }
}

/// A day is built with what its neighbour had of a meeting, and the neighbour gives the meeting up before the day is
/// registered, so that neither finds the other as a neighbour any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_neighbour_leaves_during_its_build_is_built_again() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let truth = begin_the_first_call_the_next_day(&sim);
    let store = Memory::default();
    run(&sim, store.clone()).await.unwrap();
    sim.edit(|school| school.calls[0].started_at = truth);
    let [day, neighbour] = ["2025-03-03", "2025-03-04"];
    let (of_day, of_neighbour) = (Gate::new(), Gate::new());
    let order = Faulty::new(store.clone(), move |call: &Call, _| {
        let writes = |date| call.op == Op::Put && call.key.starts_with(&format!("calls/date={date}/"));
        let wait = |gate: &Arc<Gate>| Fault::Pause {
            gate: Arc::clone(gate),
            dies: false,
        };
        let of_neighbour_done = format!("_telelake/open/date={neighbour}/");
        if writes(day) {
            of_neighbour.open();
            return Some(wait(&of_day));
        }
        if call.op == Op::Delete && call.key.starts_with(&of_neighbour_done) {
            of_day.open();
        }
        writes(neighbour).then(|| wait(&of_neighbour))
    });
    assert_eq!(run(&sim, order).await.unwrap().exit_status, 0);
    let left: Vec<_> = manifests(&said(&store))
        .into_iter()
        .map(|manifest| (manifest.date, manifest.built.unwrap().beside))
        .filter(|(_, beside)| !beside.is_empty())
        .collect();
    assert_eq!(left, [], "no meeting has calls on both days");
}

/// A process closes a day and removes its marker while another opens the day again.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_day_keeps_its_marker_beside_another_process() {
    let sim = Simulator::start(one_day()).await.unwrap();
    let call = sim.school().calls[0].id.clone();
    let store = Memory::default();
    let gate = Gate::new();
    let at_gate = Arc::clone(&gate);
    let paused = Faulty::new(store.clone(), move |call: &Call, _| {
        let removes_marker = call.op == Op::Delete && call.key.starts_with("_telelake/open/");
        removes_marker.then(|| Fault::Pause {
            gate: Arc::clone(&at_gate),
            dies: false,
        })
    });
    let second = async {
        let more = sim
            .edit(|school| school.add_call_like(&call, TimeDelta::minutes(1)))
            .unwrap();
        sim.edit(|school| {
            let more = school.call_mut(&more).unwrap();
            more.set_report(telelake::simulator::Report::Missing);
        });
        run(&sim, store.clone()).await.unwrap()
    };
    let (_, second) = within(&gate, run(&sim, paused), second).await;
    assert_eq!(second.exit_status, 0);
    assert!(!second.pending.is_empty(), "its report is not there yet");
    let marked = said(&store)
        .into_keys()
        .any(|key| key.starts_with("_telelake/open/"));
    assert!(marked, "later runs must come back");
}
