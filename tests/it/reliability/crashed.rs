//! A process that dies at any of its calls of the store, just before or just after the call, and the process after it.

use chrono::TimeDelta;
use telelake::pipeline::{Exporter, Job, Setting};
use telelake::simulator::{Report, Simulator};

use super::moments::{Moment, moments};
use super::{
    assert_same, assert_sound, begin_the_first_call_the_next_day, import, meta_file, now, rebuild, run, said,
    tiny,
};
use crate::support::faulty::{Fault, Faulty};
use crate::support::memory::Memory;
use crate::support::midnight::{Midnight, Side};

/// Each moment twice: the process dies just before the call, or just after it.
fn deaths(undisturbed: &Faulty, steps: (usize, usize)) -> impl Iterator<Item = (Moment, bool, String)> {
    let moments = moments(undisturbed, steps).into_iter();
    moments
        .flat_map(|moment| [(moment.clone(), false), (moment, true)])
        .map(|(moment, applied)| {
            let history = format!("killed at {moment:?}, applied: {applied}");
            (moment, applied, history)
        })
}

fn dying(moment: &Moment, store: &Memory, applied: bool) -> Faulty {
    moment.strike(store, Fault::Death { applied })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_killed_at_any_call_is_finished_by_the_next_one() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let undisturbed = Memory::default();
    let counting = Faulty::counting(undisturbed.clone());
    import(&undisturbed, meta_file(&sim)).await.unwrap();
    let before = undisturbed.copy();
    assert_eq!(run(&sim, counting.clone()).await.unwrap().exit_status, 0);
    let expected = said(&undisturbed);
    assert_sound(&expected, "undisturbed");
    let mut histories = 0;
    for (moment, applied, history) in deaths(&counting, (4, 25)) {
        let store = before.copy();
        // Killed, whatever it returns.
        let _ = run(&sim, dying(&moment, &store, applied)).await;
        let next = run(&sim, store.clone()).await.unwrap();
        assert_eq!(next.exit_status, 0, "{history}: {:?}", next.failed);
        // A day that was taken over from the dead process is checked once more.
        let last = run(&sim, store.clone()).await.unwrap();
        assert_eq!(last.exit_status, 0, "{history}: {:?}", last.failed);
        assert_same(&said(&store), &expected, &history);
        histories += 1;
    }
    println!("SOAK in process: a run killed at {histories} moments: 0 differences");
    assert!(histories > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_moves_to_another_day_leaves_nothing_behind_whenever_the_run_is_killed() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let truth = begin_the_first_call_the_next_day(&sim);
    let before = Memory::default();
    run(&sim, before.clone()).await.unwrap();
    sim.edit(|school| school.calls[0].started_at = truth);
    let undisturbed = before.copy();
    let counting = Faulty::counting(undisturbed.clone());
    run(&sim, counting.clone()).await.unwrap();
    let expected = said(&undisturbed);
    assert_sound(&expected, "undisturbed");
    for (moment, applied, history) in deaths(&counting, (4, 25)) {
        let store = before.copy();
        let _ = run(&sim, dying(&moment, &store, applied)).await;
        for _ in 0..2 {
            let next = run(&sim, store.clone()).await.unwrap();
            assert_eq!(next.exit_status, 0, "{history}: {:?}", next.failed);
        }
        assert_same(&said(&store), &expected, &history);
    }
}

/// The old day of the call is not asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_only_its_new_day_knows_of_leaves_its_old_day_whenever_the_run_is_killed() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let day = sim.options().dates[0];
    let shift = |days| {
        sim.edit(|school| {
            let call = &mut school.calls[0];
            call.started_at += TimeDelta::days(days);
            call.finished_at = call.finished_at.map(|at| at + TimeDelta::days(days));
        });
    };
    assert_eq!(sim.school().calls[0].started_at.date_naive(), day);
    shift(1);
    let before = Memory::default();
    run(&sim, before.clone()).await.unwrap();
    shift(-1);
    let run_over_new_day = async |store: Faulty| {
        let setting = Setting::new(super::config(&sim), std::sync::Arc::new(store), now());
        let exporter = Exporter::new(setting).unwrap();
        Box::pin(exporter.run(&Job::nightly(day, day))).await
    };
    let undisturbed = before.copy();
    let counting = Faulty::counting(undisturbed.clone());
    run_over_new_day(counting.clone()).await.unwrap();
    let expected = said(&undisturbed);
    assert_sound(&expected, "undisturbed");
    let call = sim.school().calls[0].id.clone();
    let days_of = |contents: &std::collections::BTreeMap<String, bytes::Bytes>| -> Vec<_> {
        let manifests = super::manifests(contents).into_iter();
        let with_call = manifests.filter(|manifest| manifest.calls.contains_key(call.as_str()));
        with_call.map(|manifest| manifest.date).collect()
    };
    assert_eq!(days_of(&expected), [day]);
    for (moment, applied, history) in deaths(&counting, (1, 20)) {
        let store = before.copy();
        let _ = run_over_new_day(dying(&moment, &store, applied)).await;
        assert!(!days_of(&said(&store)).is_empty(), "{history}: the call is lost");
        for _ in 0..2 {
            let next = run_over_new_day(Faulty::counting(store.clone())).await.unwrap();
            assert_eq!(next.exit_status, 0, "{history}: {:?}", next.failed);
        }
        assert_same(&said(&store), &expected, &history);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_killed_at_any_call_is_finished_by_the_same_file_or_the_next_run() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let (first, mut moved) = (sim.school().metas(), sim.school().metas());
    // The second file moves lessons to another date, which changes two lesson days.
    for meta in &mut moved {
        meta["meta"]["lesson_scheduled_start_dt"] = "2025-03-05 10:00:00".into();
    }
    let before = Memory::default();
    import(&before, super::file_of("a", &first)).await.unwrap();
    run(&sim, before.clone()).await.unwrap();
    let undisturbed = before.copy();
    let counting = Faulty::counting(undisturbed.clone());
    let file = || super::file_of("b", &moved);
    let later = now() + TimeDelta::seconds(1);
    let import_later = async |store: &dyn telelake::store::Store| {
        let privacy = telelake::tables::PrivacyPolicy::default();
        telelake::pipeline::import_meta(store, chrono_tz::Tz::UTC, later, &privacy, vec![file()]).await
    };
    let tables = |store: &Memory| {
        let mut tables = said(store);
        tables.retain(|key, _| key.ends_with(".parquet") || key.starts_with("_telelake/meta/shelves/"));
        tables
    };
    import_later(&counting).await.unwrap();
    let imported = tables(&undisturbed);
    run(&sim, undisturbed.clone()).await.unwrap();
    let expected = said(&undisturbed);
    for (moment, applied, history) in deaths(&counting, (1, 10)) {
        let store = before.copy();
        let _ = import_later(&dying(&moment, &store, applied)).await;
        // Importing the same file again finishes it.
        let again = store.copy();
        import_later(&again).await.unwrap();
        assert_same(&tables(&again), &imported, &history);
        run(&sim, again.clone()).await.unwrap();
        run(&sim, again.clone()).await.unwrap();
        assert_same(&said(&again), &expected, &history);
        // Otherwise the next run builds tables of the lesson days as they are.
        run(&sim, store.clone()).await.unwrap();
        let mended = tables(&store);
        rebuild(&sim, store.clone()).await.unwrap();
        assert_same(&mended, &tables(&store), &history);
    }
}

/// A run over only the second day of a meeting, whose attendance is in the table of the first day.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_elsewhere_that_shares_a_meeting_is_built_again_whenever_the_run_is_killed() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let first = sim.options().dates[0];
    let before = Memory::default();
    import(&before, meta_file(&sim)).await.unwrap();
    run(&sim, before.clone()).await.unwrap();
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
    sim.edit(|school| school.add_call_like(&call, TimeDelta::days(2)))
        .unwrap();
    let mut job = super::whole(&sim);
    (job.from, job.to, job.open_days) = (first + TimeDelta::days(2), first + TimeDelta::days(2), false);
    let run_second = async |store: Faulty| {
        let setting = Setting::new(super::config(&sim), std::sync::Arc::new(store), now());
        let exporter = Exporter::new(setting);
        Box::pin(exporter.unwrap().run(&job)).await
    };
    let undisturbed = before.copy();
    let counting = Faulty::counting(undisturbed.clone());
    assert_eq!(run_second(counting.clone()).await.unwrap().exit_status, 0);
    let attendance = |store: &Memory| {
        let mut tables = said(store);
        tables.retain(|key, _| key.starts_with("lesson_attendance/") || key.starts_with("_telelake/meta/"));
        tables
    };
    let expected = attendance(&undisturbed);
    assert_ne!(
        expected,
        attendance(&before),
        "the first day's rows are of both days"
    );
    for (moment, applied, history) in deaths(&counting, (2, 20)) {
        let store = before.copy();
        let _ = run_second(dying(&moment, &store, applied)).await;
        for _ in 0..2 {
            let next = run_second(Faulty::counting(store.clone())).await.unwrap();
            assert_eq!(next.exit_status, 0, "{history}: {:?}", next.failed);
        }
        assert_same(&attendance(&store), &expected, &history);
    }
}

/// A run over only the date after a lesson, of which a call gets a report, or turns out to have none. The lesson's
/// attendance is in the table of the date before.
#[tokio::test(flavor = "multi_thread")]
async fn the_attendance_beside_a_call_without_a_report_is_right_whenever_the_run_is_killed() {
    let lesson = Midnight::new(Side::Next).await;
    let sim = &lesson.sim;
    let run_over = async |store: Faulty, date| {
        let setting = Setting::new(super::config(sim), std::sync::Arc::new(store), now());
        let exporter = Exporter::new(setting).unwrap();
        Box::pin(exporter.run(&Job::nightly(date, date))).await
    };
    let store = Memory::default();
    import(&store, super::file_of("metas", &lesson.metas()))
        .await
        .unwrap();
    let first = Faulty::counting(store.clone());
    assert_eq!(run_over(first, lesson.lesson_day).await.unwrap().exit_status, 0);
    let tables = |store: &Memory| {
        let mut tables = said(store);
        tables.retain(|key, _| key.starts_with("lesson_attendance/") || key.starts_with("_telelake/meta/"));
        tables
    };
    for report in [Report::Missing, Report::Whole] {
        lesson.report(report);
        let before = store.copy();
        let counting = Faulty::counting(store.clone());
        assert_eq!(
            run_over(counting.clone(), lesson.other_day)
                .await
                .unwrap()
                .exit_status,
            0
        );
        let expected = tables(&store);
        assert_ne!(expected, tables(&before), "the lesson's rows are of both dates");
        for (moment, applied, history) in deaths(&counting, (1, 10)) {
            let store = before.copy();
            let _ = run_over(dying(&moment, &store, applied), lesson.other_day).await;
            for _ in 0..2 {
                let next = run_over(Faulty::counting(store.clone()), lesson.other_day)
                    .await
                    .unwrap();
                assert_eq!(next.exit_status, 0, "{history}: {:?}", next.failed);
            }
            assert_same(&tables(&store), &expected, &history);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_at_any_call_is_finished_by_the_next_one() {
    let sim = Simulator::start(tiny()).await.unwrap();
    let undisturbed = Memory::default();
    run(&sim, undisturbed.clone()).await.unwrap();
    let expected = said(&undisturbed);
    // Tables for the rebuild to write: missing, damaged and surplus ones.
    let before = undisturbed.copy();
    let tables: Vec<_> = expected.keys().filter(|key| key.ends_with(".parquet")).collect();
    for (index, key) in tables.iter().enumerate() {
        use telelake::store::{Condition, Store};
        match index % 3 {
            0 => before.delete(key).await.unwrap(),
            1 => drop(before.put(key, "damaged".into(), Condition::Any).await.unwrap()),
            _ => {}
        }
    }
    let counting = Faulty::counting(before.copy());
    assert_eq!(rebuild(&sim, counting.clone()).await.unwrap().exit_status, 0);
    for (moment, applied, history) in deaths(&counting, (4, 25)) {
        let store = before.copy();
        let _ = rebuild(&sim, dying(&moment, &store, applied)).await;
        let next = rebuild(&sim, store.clone()).await.unwrap();
        assert_eq!(next.exit_status, 0, "{history}: {:?}", next.failed);
        // Days whose claim was taken over keep their marker until the next run.
        run(&sim, store.clone()).await.unwrap();
        assert_same(&said(&store), &expected, &history);
    }
}
