//! A run writes only the requested days, and sends no more requests than they need.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use telelake::simulator::{Call, Endpoint, School, Simulator};

use super::{backfill, small_school};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};
use crate::support::truth::is_whole;

fn on(date: NaiveDate) -> [String; 4] {
    ["--from".into(), date.to_string(), "--to".into(), date.to_string()]
}

async fn run(sim: &Simulator, lake: &Lake, date: NaiveDate, more: &[&str]) -> Finished {
    Telelake::against(sim, lake, &backfill(&on(date), more))
        .run()
        .await
        .expect(0)
}

/// The dates of all objects in the lake.
async fn dates(lake: &Lake) -> BTreeSet<NaiveDate> {
    let keys = lake.keys().await.into_keys();
    keys.filter_map(|key| telelake::lake::key::date_in(&key))
        .collect()
}

/// The calls, by id, and their dates.
async fn calls(lake: &Lake) -> Vec<(String, String)> {
    let rows = lake.rows("calls", &["call_id"]).await;
    let mut calls: Vec<_> = rows
        .into_iter()
        .map(|row| (row["call_id"].clone(), row["date"].clone()))
        .collect();
    calls.sort();
    calls
}

/// The first call of a date.
fn call_of(school: &mut School, date: NaiveDate) -> &mut Call {
    let mut calls = school.calls.iter_mut();
    calls.find(|call| call.started_at.date_naive() == date).unwrap()
}

/// Makes the API say that a call of `day` began after midnight. Returns its id and its true start.
fn begun_too_late(sim: &Simulator, day: NaiveDate) -> (String, DateTime<Utc>) {
    sim.edit(|school| {
        let call = call_of(school, day);
        let truth = day.and_hms_opt(23, 0, 0).unwrap().and_utc();
        let end = truth + TimeDelta::minutes(120);
        (call.started_at, call.finished_at) = (end - TimeDelta::minutes(10), Some(end));
        (call.id.clone(), truth)
    })
}

async fn assert_verified(lake: &Lake) {
    let verify = Telelake::new(&["verify", "--deep"]).lake(lake);
    verify.run().await.expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_were_not_requested_are_not_written() {
    let (sim, lake) = small_school().await;
    // The first date has calls over midnight, and so has the middle one.
    let dates_of_school = sim.options().dates.clone();
    let middle = dates_of_school[1];
    sim.edit(|school| {
        let call = call_of(school, middle);
        call.started_at = middle.and_hms_opt(23, 30, 0).unwrap().and_utc();
        call.finished_at = Some(call.started_at + TimeDelta::minutes(60));
    });
    let school = sim.school();
    let of_day = |at: DateTime<Utc>| at.date_naive() == middle;
    let of_middle = school.calls.iter().filter(|call| of_day(call.started_at));
    let expected: BTreeSet<_> = of_middle.map(|call| call.id.clone()).collect();
    assert!(!expected.is_empty() && expected.len() < school.calls.len());

    let plan = run(&sim, &lake, middle, &["--dry-run"]).await;
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let planned: Vec<_> = plan["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| day["date"].clone())
        .collect();
    assert_eq!(planned, [middle.to_string()]);
    assert_eq!(plan["calls"], expected.len());

    let first = run(&sim, &lake, middle, &[]).await;
    assert_eq!(dates(&lake).await, BTreeSet::from([middle]));
    assert_eq!(first.count("days"), 1);
    let found: BTreeSet<_> = calls(&lake).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, expected);
    let recorded = lake.rows("recordings", &["call_id", "record_id"]).await;
    assert!(
        recorded
            .iter()
            .all(|row| row["call_id"].is_empty() || expected.contains(&row["call_id"]))
    );
    // Every record of these calls is in the lake, also those after midnight.
    let whole = school.records.iter().filter(|record| is_whole(record));
    let of_calls = whole.filter(|record| {
        record
            .call_id
            .as_ref()
            .is_some_and(|call| expected.contains(call))
    });
    for record in of_calls {
        assert!(
            recorded.iter().any(|row| row["record_id"] == record.id),
            "{record:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_moves_to_a_day_that_was_not_requested_is_neither_lost_nor_doubled() {
    let (sim, lake) = small_school().await;
    let day = sim.options().dates[1];
    let (call, truth) = begun_too_late(&sim, day);
    let dates = sim.options().dates.clone();
    for date in dates {
        run(&sim, &lake, date, &[]).await;
    }
    let before = calls(&lake).await;
    sim.edit(|school| school.call_mut(&call).unwrap().started_at = truth);
    // Whichever of the two days is requested, the call is then once on its own day.
    for asked in [day + Days::new(1), day] {
        run(&sim, &lake, asked, &[]).await;
        let after = calls(&lake).await;
        assert_eq!(after.len(), before.len(), "{asked}");
        assert!(
            after.contains(&(call.clone(), day.to_string())),
            "{asked}: {after:?}"
        );
    }
    assert_verified(&lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_call_leaves_its_old_day_even_if_that_day_was_not_requested() {
    let (sim, lake) = small_school().await;
    let day = sim.options().dates[1];
    let (call, truth) = begun_too_late(&sim, day);
    run(&sim, &lake, day + Days::new(1), &[]).await;
    sim.edit(|school| school.call_mut(&call).unwrap().started_at = truth);
    run(&sim, &lake, day, &[]).await;
    let found: Vec<_> = calls(&lake)
        .await
        .into_iter()
        .filter(|(id, _)| *id == call)
        .collect();
    assert_eq!(found, [(call, day.to_string())]);
    assert_verified(&lake).await;
}

/// Makes the API say that the only call of a room on a date was held a day later. Returns its id and its room.
fn held_a_day_later(sim: &Simulator, day: NaiveDate) -> (String, String) {
    let (call, room) = sim.edit(|school| {
        let call = call_of(school, day);
        call.started_at = day.and_hms_opt(10, 0, 0).unwrap().and_utc();
        call.finished_at = Some(call.started_at + TimeDelta::minutes(40));
        let (id, room) = (call.id.clone(), call.room_id.clone());
        school.calls.retain(|call| call.id == id || call.room_id != room);
        let stays = |record: &telelake::simulator::Record| {
            record.room_id != room || record.call_id.as_ref() == Some(&id)
        };
        school.records.retain(stays);
        (id, room)
    });
    shift(sim, &call, TimeDelta::days(1));
    (call, room)
}

/// Makes the API say that a call was held at another time than before.
fn shift(sim: &Simulator, call: &str, by: TimeDelta) {
    sim.edit(|school| {
        let call = school.call_mut(call).unwrap();
        call.started_at += by;
        call.finished_at = call.finished_at.map(|at| at + by);
        let id = call.id.clone();
        let of_call = |record: &&mut telelake::simulator::Record| record.call_id.as_deref() == Some(&id);
        for record in school.records.iter_mut().filter(of_call) {
            record.started_at = record.started_at.map(|at| at + by);
            record.finished_at = record.finished_at.map(|at| at + by);
            record.created_at += by;
        }
    });
}

/// Asserts that the lake has a call once, on this date.
async fn assert_lies_on(lake: &Lake, call: &str, date: NaiveDate) {
    let all = calls(lake).await.into_iter();
    let found: Vec<_> = all.filter(|(id, _)| id == call).map(|(_, date)| date).collect();
    assert_eq!(found, [date.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_takes_a_moved_call_from_the_date_before_or_after_though_only_it_was_requested() {
    let (sim, lake) = small_school().await;
    let day = sim.options().dates[1];
    let next = day + Days::new(1);
    let (call, room) = held_a_day_later(&sim, day);
    // The manifest of the next date has nothing but this call.
    run(&sim, &lake, next, &["--room", &room]).await;
    assert_lies_on(&lake, &call, next).await;
    shift(&sim, &call, TimeDelta::days(-1));
    // The old day alone keeps it, because nobody was asked to take it.
    run(&sim, &lake, next, &["--room", &room]).await;
    assert_lies_on(&lake, &call, next).await;
    run(&sim, &lake, day, &[]).await;
    assert_lies_on(&lake, &call, day).await;
    assert_eq!(run(&sim, &lake, day, &[]).await.count("writes"), 0);
    shift(&sim, &call, TimeDelta::days(1));
    run(&sim, &lake, next, &[]).await;
    assert_lies_on(&lake, &call, next).await;
    assert_verified(&lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_moves_over_the_edge_of_a_window_is_on_one_day() {
    let (sim, lake) = small_school().await;
    let day = sim.options().dates[1];
    let next = day + Days::new(1);
    // The first window of 31 dates ends with the day.
    let (from, to) = ((day - Days::new(30)).to_string(), next.to_string());
    let range = ["--from".into(), from, "--to".into(), to];
    let both = async || {
        let run = Telelake::against(&sim, &lake, &backfill(&range, &[])).run();
        run.await.expect(0)
    };
    let (call, _) = held_a_day_later(&sim, day);
    both().await;
    assert_lies_on(&lake, &call, next).await;
    for (by, date) in [(-1, day), (1, next)] {
        shift(&sim, &call, TimeDelta::days(by));
        both().await;
        assert_lies_on(&lake, &call, date).await;
        assert_verified(&lake).await;
    }
    assert_eq!(both().await.count("writes"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_not_listed_for_dates_before_its_creation() {
    let (sim, lake) = small_school().await;
    let dates = sim.options().dates.clone();
    let last = dates[dates.len() - 1];
    let room = sim.edit(|school| {
        let call = school
            .calls
            .iter()
            .find(|call| call.started_at.date_naive() == last)
            .unwrap();
        let id = call.room_id.clone();
        school
            .calls
            .retain(|call| call.room_id != id || call.started_at.date_naive() == last);
        let calls: BTreeSet<_> = school.calls.iter().map(|call| call.id.clone()).collect();
        school.records.retain(|record| {
            record.room_id != id || record.call_id.as_ref().is_some_and(|call| calls.contains(call))
        });
        school.room_mut(&id).unwrap().created_at = last.and_hms_opt(0, 5, 0).unwrap().and_utc();
        id
    });
    let from = (dates[0] - Days::new(20)).to_string();
    let range = ["--from".into(), from, "--to".into(), last.to_string()];
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .run()
        .await
        .expect(0);
    let asked: BTreeSet<_> = sim
        .requests()
        .into_iter()
        .filter(|seen| seen.endpoint == Endpoint::Calls && seen.query.contains(&room))
        .filter_map(|seen| {
            let date = seen.query.split("date=").nth(1)?.get(..10)?.to_owned();
            date.parse::<NaiveDate>().ok()
        })
        .collect();
    let expected = [last - Days::new(1), last, last + Days::new(1)];
    assert_eq!(asked, BTreeSet::from(expected));
    let of_room = sim
        .school()
        .calls
        .iter()
        .filter(|call| call.room_id == room)
        .count();
    let rows = lake.rows("calls", &["room_id"]).await;
    assert_eq!(rows.iter().filter(|row| row["room_id"] == room).count(), of_room);
}
