//! The end of a lesson: a webhook arrives, and rows and video get into the lake.

use telelake::simulator::{Event, Simulator};

use super::{SECRET, hold_lesson, send};
use crate::pipeline::small;
use crate::support::daemon::Plan;
use crate::support::eventually::eventually;
use crate::support::lake::Lake;

async fn comes_into(lake: Lake) {
    let sim = Simulator::start(small()).await.unwrap();
    let lesson = hold_lesson(&sim);
    let daemon = Plan::new(&sim, &lake).start().await;
    assert_eq!(send(&daemon, &lesson.call_finished, SECRET).await, 200);
    let run = daemon.ended("webhook", 0).await;
    assert_eq!(run["outcome"], "Done", "{run}");
    let days = lake.rows("days", &["calls", "participants", "complete"]).await;
    let calls = lake.rows("calls", &["call_id"]).await;
    let [day] = &days[..] else {
        panic!("the day of the call has no row of its own: {days:?}")
    };
    assert_eq!(day["calls"], calls.len().to_string());
    assert_ne!(day["participants"], "0");
    assert_eq!(day["complete"], "false", "not all rooms were asked");
    assert!(calls.iter().any(|row| row["call_id"] == lesson.call), "{calls:?}");
    let people = lake.rows("participants", &["call_id", "participant_id"]).await;
    let of_call = people.iter().filter(|row| row["call_id"] == lesson.call);
    let expected = sim.school().call(&lesson.call).unwrap().participants.len();
    assert_eq!(of_call.count(), expected);
    assert_eq!(send(&daemon, &lesson.record_finished, SECRET).await, 200);
    daemon.ended("webhook", 1).await;
    let records = lake.rows("recordings", &["record_id", "status", "sha256"]).await;
    let record = records
        .iter()
        .find(|row| row["record_id"] == lesson.record)
        .unwrap();
    assert_eq!(record["status"], "done");
    assert_eq!(
        Some(&record["sha256"]),
        sim.record_sha256(&lesson.record).as_ref()
    );
    // Only that room was requested, no event is left, and there is no summary of a run.
    let room = &lesson.call_finished.room_id;
    let rooms = sim
        .requests()
        .into_iter()
        .filter(|seen| seen.query.contains("roomId"));
    for seen in rooms {
        assert!(seen.query.contains(room.as_str()), "{}", seen.query);
    }
    let kept = |keys: &std::collections::BTreeMap<String, u64>, prefix: &str| {
        keys.keys().filter(|key| key.starts_with(prefix)).count()
    };
    // An event is known as done before its object is removed.
    let none_is_left = async || {
        eventually("no event is left", async || {
            kept(&lake.keys().await, "_telelake/events/") == 0
        })
        .await;
    };
    none_is_left().await;
    // The same event again costs nothing.
    sim.clear_log();
    assert_eq!(send(&daemon, &lesson.record_finished, SECRET).await, 200);
    none_is_left().await;
    assert_eq!(daemon.stop().await, 0);
    assert_eq!(sim.total_count(), 0);
    let keys = lake.keys().await;
    assert_eq!(
        (kept(&keys, "_telelake/events/"), kept(&keys, "_telelake/runs/")),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lesson_that_ends_gets_into_a_folder() {
    comes_into(Lake::folder()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lesson_that_ends_comes_into_s3() {
    comes_into(Lake::s3().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_webhook_outlives_a_kill_before_its_work() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    // With an hour to settle, the work cannot have begun when the process is killed.
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_SCOPE__SETTLE", "1h")
        .start()
        .await;
    assert_eq!(send(&daemon, &lesson.call_finished, SECRET).await, 200);
    daemon.kill().await;
    assert!(lake.rows("calls", &["call_id"]).await.is_empty());
    let daemon = Plan::new(&sim, &lake).start().await;
    daemon.ended("webhook", 0).await;
    let calls = lake.rows("calls", &["call_id"]).await;
    assert!(calls.iter().any(|row| row["call_id"] == lesson.call));
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_is_kept_unless_its_room_is_unknown() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let lesson = hold_lesson(&sim);
    let failure = telelake::simulator::Failure::Status(500);
    let calls = telelake::simulator::Matcher::endpoint(telelake::simulator::Endpoint::Calls);
    sim.faults().order(calls, failure);
    let daemon = Plan::new(&sim, &lake)
        .env("TELELAKE_API__RETRIES", "0")
        .start()
        .await;
    assert_eq!(send(&daemon, &lesson.call_finished, SECRET).await, 200);
    let run = daemon.ended("webhook", 0).await;
    assert_ne!(run["outcome"], "Done");
    daemon.metric_becomes("telelake_events_waiting", 1.0).await;
    daemon.kill().await;
    sim.faults().clear();
    let daemon = Plan::new(&sim, &lake).start().await;
    let run = daemon.ended("webhook", 0).await;
    assert_eq!(run["outcome"], "Done", "{run}");
    let unknown = Event::of_room(
        "call_finished",
        &lesson.call_finished.space_id,
        "0123456789abcdef01234567",
    );
    assert_eq!(send(&daemon, &unknown, SECRET).await, 200);
    daemon.ended("webhook", 1).await;
    daemon.metric_becomes("telelake_events_waiting", 0.0).await;
    assert_eq!(daemon.stop().await, 0);
    assert!(
        !lake
            .keys()
            .await
            .keys()
            .any(|key| key.starts_with("_telelake/events/"))
    );
}
