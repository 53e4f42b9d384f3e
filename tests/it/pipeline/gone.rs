//! Rooms that are missing from the list are requested by id, and landed or named. The clock is simulated.

use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use telelake::config::{Config, Duration, Secret};
use telelake::pipeline::{Command, Exporter, Job, Problem, ProblemKind, Setting, Summary};
use telelake::simulator::{Endpoint, Failure, Matcher, Options, Simulator};
use telelake::store;

use super::small;
use crate::support::lake::Lake;

const DAY: u64 = 24 * 3600;
const LOOKBACK: u32 = 1;

fn exporter(sim: &Simulator, lake: &Lake, store: Arc<dyn store::Store>, now: DateTime<Utc>) -> Exporter {
    let mut config = Config::default();
    config.api.base_url = sim.base_url();
    config.api.token = Secret::new(sim.token());
    config.api.retries = 0;
    config.store.url = lake.url();
    config.export.lookback_days = LOOKBACK;
    config.export.give_up = Duration::from_secs(3 * DAY);
    Exporter::new(Setting::new(config, store, now)).unwrap()
}

async fn open(lake: &Lake) -> Arc<dyn store::Store> {
    let mut config = Config::default();
    config.store.url = lake.url();
    store::open(&config.store).await.unwrap()
}

fn job(command: Command, from: NaiveDate, to: NaiveDate) -> Job {
    Job {
        open_days: command == Command::Run,
        ..Job::over(command, from, to)
    }
}

/// The nightly run at 02:00 of the date after `date`.
async fn night(sim: &Simulator, lake: &Lake, date: NaiveDate) -> Summary {
    let now = (date + Days::new(1)).and_hms_opt(2, 0, 0).unwrap().and_utc();
    let job = job(Command::Run, date - Days::new(LOOKBACK.into()), date);
    exporter(sim, lake, open(lake).await, now)
        .run(&job)
        .await
        .unwrap()
}

/// Runs the work of a webhook event about a room at an instant.
async fn event(sim: &Simulator, lake: &Lake, room: &str, now: DateTime<Utc>) -> Summary {
    let mut job = job(Command::Webhook, now.date_naive(), now.date_naive());
    job.spaces = vec![sim.school().spaces[0].id.clone().into()];
    job.rooms = vec![room.to_owned().into()];
    exporter(sim, lake, open(lake).await, now)
        .look_in(&job)
        .await
        .unwrap()
}

/// A school of two dates with calls in every room on both, and the room to delete.
async fn school() -> (Simulator, [NaiveDate; 2], String) {
    let options = small();
    let dates = [options.dates[0], options.dates[1]];
    let sim = Simulator::start(Options {
        dates: dates.to_vec(),
        empty_rooms: 0.0,
        ..options
    })
    .await
    .unwrap();
    sim.edit(|school| school.records.retain(crate::support::truth::is_whole));
    let school = sim.school();
    let call = school
        .calls
        .iter()
        .find(|call| call.started_at.date_naive() == dates[1])
        .unwrap();
    (sim, dates, call.room_id.clone())
}

fn gone(problems: &[Problem]) -> Vec<(Option<&str>, Option<NaiveDate>)> {
    let gone = problems
        .iter()
        .filter(|problem| problem.kind == ProblemKind::RoomGone);
    gone.map(|problem| (problem.room_id.as_deref(), problem.date))
        .collect()
}

async fn calls_of(lake: &Lake, room: &str, date: NaiveDate) -> usize {
    let rows = lake.rows("calls", &["room_id"]).await;
    let date = date.to_string();
    rows.iter()
        .filter(|row| row["room_id"] == room && row["date"] == date)
        .count()
}

async fn is_open(lake: &Lake, date: NaiveDate) -> bool {
    let prefix = format!("_telelake/open/date={date}/");
    lake.keys().await.keys().any(|key| key.starts_with(&prefix))
}

async fn coverage(lake: &Lake, room: &str, date: NaiveDate) -> Vec<(String, String)> {
    let rows = lake.rows("coverage", &["room_id", "complete", "reason"]).await;
    let date = date.to_string();
    let of_room = rows
        .into_iter()
        .filter(|row| row["room_id"] == room && row["date"] == date);
    of_room
        .map(|row| (row["complete"].clone(), row["reason"].clone()))
        .collect()
}

fn delete(sim: &Simulator, room: &str, answers: bool) {
    sim.edit(|school| {
        school.unlisted.insert(room.to_owned());
        if !answers {
            school.room_mut(room).unwrap().refuse = Some(404);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_room_that_the_api_still_serves_is_landed() {
    let (sim, [first, second], room) = school().await;
    let lake = Lake::folder();
    assert_eq!(night(&sim, &lake, first).await.exit_status, 0);
    delete(&sim, &room, true);
    let held = sim
        .school()
        .calls_of(&room)
        .filter(|call| call.started_at.date_naive() == second)
        .count();
    let next = night(&sim, &lake, second).await;
    assert_eq!(next.exit_status, 0, "{next:?}");
    assert_eq!(calls_of(&lake, &room, second).await, held);
    assert_eq!(gone(&next.warnings), [(Some(room.as_str()), Some(second))]);
    let names = lake.rows("calls", &["room_id", "room_name"]).await;
    assert!(names.iter().all(|row| !row["room_name"].is_empty()), "{names:?}");
    assert!(!is_open(&lake, second).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_room_that_the_api_refuses_is_named_until_give_up() {
    let (sim, [first, second], room) = school().await;
    let lake = Lake::folder();
    night(&sim, &lake, first).await;
    delete(&sim, &room, false);
    for nights in 0..3 {
        let waiting = night(&sim, &lake, second + Days::new(nights)).await;
        assert_eq!(waiting.exit_status, 3, "{nights}: {waiting:?}");
        assert!(
            gone(&waiting.failed).contains(&(Some(room.as_str()), Some(second))),
            "{nights}: {waiting:?}"
        );
        assert!(is_open(&lake, second).await && !is_open(&lake, first).await);
        assert_eq!(coverage(&lake, &room, second).await[0].0, "false");
        // The first day was listed before the room was deleted.
        assert_eq!(coverage(&lake, &room, first).await[0].0, "true");
    }
    let end = night(&sim, &lake, second + Days::new(3)).await;
    assert!(
        gone(&end.warnings).contains(&(Some(room.as_str()), Some(second))),
        "{end:?}"
    );
    assert!(!is_open(&lake, second).await);
    let [(complete, reason)] = &coverage(&lake, &room, second).await[..] else {
        panic!("one row");
    };
    assert!(complete == "false" && reason.starts_with("lost: "), "{reason}");
    // The room is not requested any more, and the day stays unchanged.
    night(&sim, &lake, second + Days::new(8)).await;
    sim.clear_log();
    let later = night(&sim, &lake, second + Days::new(9)).await;
    assert_eq!(later.exit_status, 0, "{later:?}");
    assert!(!sim.requests().iter().any(|seen| seen.query.contains(&room)));
    assert_eq!(coverage(&lake, &room, second).await[0].0, "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_deleted_after_its_days_were_listed_loses_nothing() {
    let (sim, [first, second], room) = school().await;
    let lake = Lake::folder();
    night(&sim, &lake, first).await;
    night(&sim, &lake, second).await;
    delete(&sim, &room, false);
    sim.clear_log();
    let now = (second + Days::new(5)).and_hms_opt(12, 0, 0).unwrap().and_utc();
    let again = exporter(&sim, &lake, open(&lake).await, now)
        .run(&job(Command::Backfill, first, second))
        .await
        .unwrap();
    assert_eq!(
        (again.exit_status, again.counts.writes),
        (0, 1),
        "only that the room is gone: {again:?}"
    );
    assert!(!sim.requests().iter().any(|seen| seen.query.contains(&room)));
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_deleted_before_the_lake_recorded_rooms_are_not_requested() {
    let (sim, [first, second], room) = school().await;
    let lake = Lake::folder();
    night(&sim, &lake, first).await;
    // The lake of an earlier version has only the catalogue.
    for key in lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.starts_with("_telelake/catalog/gone/"))
    {
        lake.remove(&key).await;
    }
    delete(&sim, &room, false);
    let next = night(&sim, &lake, second).await;
    assert_eq!((next.exit_status, gone(&next.failed).len()), (0, 0), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_only_a_webhook_named_is_requested_by_its_id() {
    let (sim, [_, second], room) = school().await;
    let noon = second.and_hms_opt(23, 59, 0).unwrap().and_utc();
    for answers in [true, false] {
        let lake = Lake::folder();
        // No night ever listed the room.
        delete(&sim, &room, answers);
        let told = event(&sim, &lake, &room, noon).await;
        let problems = if answers { &told.warnings } else { &told.failed };
        assert_eq!(gone(problems), [(Some(room.as_str()), Some(second))], "{told:?}");
        let held = sim
            .school()
            .calls_of(&room)
            .filter(|call| call.started_at.date_naive() == second)
            .count();
        let expected = if answers { held } else { 0 };
        assert_eq!(calls_of(&lake, &room, second).await, expected);
        if !answers {
            // The next nights request it again.
            assert!(is_open(&lake, second).await);
            sim.clear_log();
            let next = night(&sim, &lake, second).await;
            assert!(
                gone(&next.failed).contains(&(Some(room.as_str()), Some(second))),
                "{next:?}"
            );
            assert!(sim.requests().iter().any(|seen| seen.query.contains(&room)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_after_midnight_lands_a_call_of_the_evening_before() {
    let (sim, [first, _], room) = school().await;
    let lake = Lake::folder();
    let midnight = (first + Days::new(1)).and_hms_opt(0, 0, 0).unwrap().and_utc();
    let call = sim.edit(|school| {
        let call = school.calls.iter_mut().find(|call| call.room_id == room).unwrap();
        call.started_at = midnight - TimeDelta::minutes(50);
        call.finished_at = Some(midnight + TimeDelta::minutes(10));
        let id = call.id.clone();
        // The room says that its last call began before midnight.
        school
            .calls
            .retain(|other| other.room_id != room || other.id == id);
        id
    });
    event(&sim, &lake, &room, midnight + TimeDelta::minutes(45)).await;
    let rows = lake.rows("calls", &["call_id"]).await;
    let found = rows.iter().find(|row| row["call_id"] == call).unwrap();
    assert_eq!(found["date"], first.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_night_writes_nothing_new_about_a_gone_room() {
    let (sim, [first, second], room) = school().await;
    let lake = Lake::folder();
    night(&sim, &lake, first).await;
    delete(&sim, &room, true);
    night(&sim, &lake, second).await;
    let again = night(&sim, &lake, second).await;
    assert_eq!((again.exit_status, again.counts.writes), (0, 0), "{again:?}");
    assert_eq!(sim.count(Endpoint::Unknown), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_with_a_wrong_total_does_not_keep_days_open_for_ever() {
    let (sim, [first, _], room) = school().await;
    let lake = Lake::folder();
    let rooms: Vec<_> = sim
        .school()
        .rooms
        .iter()
        .map(|room| serde_json::json!({"id": room.id}))
        .collect();
    let answer = serde_json::json!({"total": rooms.len() + 5, "items": rooms});
    sim.faults().order(
        Matcher::endpoint(Endpoint::Rooms),
        Failure::Bytes(answer.to_string().into_bytes()),
    );
    for nights in 0..3 {
        assert_eq!(night(&sim, &lake, first + Days::new(nights)).await.exit_status, 3);
        assert!(is_open(&lake, first).await, "{nights}");
    }
    // It is named nevertheless, and the day is never complete.
    assert_eq!(night(&sim, &lake, first + Days::new(3)).await.exit_status, 3);
    assert!(!is_open(&lake, first).await);
    assert_eq!(coverage(&lake, &room, first).await[0].0, "false");
}
