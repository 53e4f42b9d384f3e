//! Lists of spaces and rooms are read to their proved end, or named as incomplete.

use serde_json::{Value, json};
use telelake::simulator::{Endpoint, Failure, ListTotal, Matcher, Options, Paging, Simulator, Window};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};

/// A school of one date with rooms for several pages.
fn wide(rooms: u32) -> Options {
    let options = small();
    Options {
        rooms,
        dates: vec![options.dates[0]],
        calls_per_day: 1..=1,
        participants: 1..=1,
        ..options
    }
}

async fn analytics(sim: &Simulator, lake: &Lake) -> Finished {
    let range = range(sim);
    Telelake::against(sim, lake, &backfill(&range, &["--only", "analytics"]))
        .run()
        .await
}

async fn whole(sim: &Simulator, lake: &Lake) -> Finished {
    Telelake::against(sim, lake, &backfill(&range(sim), &[]))
        .run()
        .await
}

async fn calls(lake: &Lake) -> usize {
    lake.rows("calls", &["call_id"]).await.len()
}

/// The failures of a kind.
fn failed(finished: &Finished, kind: &str) -> Vec<Value> {
    let failed = finished.summary()["failed"].as_array().unwrap().clone();
    failed
        .into_iter()
        .filter(|problem| problem["kind"] == kind)
        .collect()
}

/// True if a marker names an open day, and neither manifest nor coverage calls it complete.
async fn assert_open(lake: &Lake) {
    let keys = lake.keys().await;
    assert!(
        keys.keys().any(|key| key.starts_with("_telelake/open/")),
        "{keys:?}"
    );
    for manifest in lake.manifests().await {
        assert_eq!(manifest["listed"], false, "{manifest}");
    }
    for row in lake.rows("coverage", &["complete"]).await {
        assert_eq!(row["complete"], "false");
    }
}

/// The rooms as the API lists them.
fn rooms(sim: &Simulator) -> Vec<Value> {
    let school = sim.school();
    let room =
        |room: &telelake::simulator::Room| json!({"id": room.id, "name": room.name, "type": room.kind});
    school.rooms.iter().map(room).collect()
}

/// Answers every request for rooms with these bytes.
fn answer_rooms(sim: &Simulator, answer: &Value) {
    sim.faults().order(
        Matcher::endpoint(Endpoint::Rooms),
        Failure::Bytes(answer.to_string().into_bytes()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn short_pages_in_the_middle_lose_no_room() {
    for total in [ListTotal::True, ListTotal::Missing] {
        let sim = Simulator::start(Options {
            paging: Paging::of(Window::CutThenFiltered(20)).total(total),
            empty_rooms: 0.0,
            ..wide(90)
        })
        .await
        .unwrap();
        // The second page has one room, the third a few.
        let listed = sim.edit(|school| {
            let hidden = school.rooms.iter().enumerate();
            let hidden = hidden.filter(|(index, _)| matches!(index, 21..=39 | 42..=55));
            school.unlisted = hidden.map(|(_, room)| room.id.clone()).collect();
            school
                .calls
                .retain(|call| !school.unlisted.contains(&call.room_id));
            school.rooms.len() - school.unlisted.len()
        });
        let lake = Lake::folder();
        let run = analytics(&sim, &lake).await.expect(0);
        assert_eq!(run.count("rooms"), listed as u64, "{total:?}");
        assert_eq!(calls(&lake).await, sim.school().calls.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_list_is_named_and_leaves_its_days_open() {
    for (more, told) in [
        (json!({"total": 17}), "counts 17"),
        (json!({"hasMore": true}), "`hasMore`"),
        (json!({"has_more": true}), "`has_more`"),
        (json!({"nextPageToken": "abc"}), "`nextPageToken`"),
        (json!({"meta": {"next": "/v1/rooms?page=2"}}), "`next`"),
        (json!({"pagination": {"cursor": "abc"}}), "`cursor`"),
    ] {
        let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
        let mut answer = more.clone();
        answer["items"] = rooms(&sim).into();
        answer_rooms(&sim, &answer);
        let run = whole(&sim, &lake).await.expect(3);
        let named = failed(&run, "listing_incomplete");
        assert_eq!(named.len(), 1, "{more}: {}", run.stdout);
        assert_eq!(named[0]["space_id"], sim.school().spaces[0].id.as_str());
        assert!(named[0]["message"].as_str().unwrap().contains(told), "{named:?}");
        assert_eq!(
            calls(&lake).await,
            sim.school().calls.len(),
            "what came is landed"
        );
        assert_open(&lake).await;

        // Once the list is whole, the days are.
        sim.faults().clear();
        whole(&sim, &lake).await.expect(0);
        for row in lake.rows("coverage", &["complete"]).await {
            assert_eq!(row["complete"], "true");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_full_page_is_named() {
    let sim = Simulator::start(Options {
        paging: Paging::of(Window::FirstAgain(100)).total(ListTotal::Missing),
        empty_rooms: 0.9,
        ..wide(120)
    })
    .await
    .unwrap();
    let lake = Lake::folder();
    let run = analytics(&sim, &lake).await.expect(3);
    let named = failed(&run, "listing_incomplete");
    assert!(
        named.len() == 1
            && named[0]["message"]
                .as_str()
                .unwrap()
                .contains("the same 100 rooms"),
        "{named:?}"
    );
    assert_open(&lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_paging_causes_no_warning() {
    for count in [3, 40, 101, 120] {
        for total in [ListTotal::True, ListTotal::Missing, ListTotal::Zero] {
            let sim = Simulator::start(Options {
                paging: Paging::of(Window::Ignored).total(total),
                empty_rooms: 0.9,
                ..wide(count)
            })
            .await
            .unwrap();
            let lake = Lake::folder();
            let run = analytics(&sim, &lake).await.expect(0);
            assert_eq!(run.count("rooms"), u64::from(count), "{total:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_with_only_a_database_id_are_exported_and_named() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let mut items = rooms(&sim);
    for item in &mut items {
        item["_id"] = item["id"].take();
    }
    answer_rooms(&sim, &json!({"items": items}));
    let run = whole(&sim, &lake).await.expect(3);
    assert_eq!(failed(&run, "items_with_other_id").len(), 1, "{}", run.stdout);
    assert_eq!(calls(&lake).await, sim.school().calls.len());
    assert_open(&lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_without_an_id_leaves_the_days_of_its_space_open() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let mut items = rooms(&sim);
    items[0]["id"] = Value::Null;
    answer_rooms(&sim, &json!({"items": items}));
    let run = whole(&sim, &lake).await.expect(3);
    assert_eq!(failed(&run, "items_without_id").len(), 1, "{}", run.stdout);
    assert_open(&lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_id_leaves_its_room_and_day_open() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let room = sim.school().calls[0].room_id.clone();
    sim.faults().order(
        Matcher::endpoint(Endpoint::Calls).containing(&room),
        Failure::Bytes(br#"{"items":[{"startedAt":"2025-03-03T10:00:00Z"}]}"#.to_vec()),
    );
    let run = whole(&sim, &lake).await.expect(3);
    let named = failed(&run, "items_without_id");
    assert!(!named.is_empty() && named.iter().all(|problem| problem["room_id"] == room.as_str()));
    for manifest in lake.manifests().await {
        assert_eq!(manifest["missed"]["rooms"], json!([room]), "{manifest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_list_is_named_with_its_keys() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    answer_rooms(&sim, &json!({"data": rooms(&sim), "meta": {}, "Иван": 1}));
    let run = whole(&sim, &lake).await;
    let named = "answered an object with the keys `data`, `meta` and 1 more; a list needs `items`";
    assert!(run.stdout.contains(named), "{}", run.stdout);
    assert!(!run.stdout.contains("Иван") && !run.stderr.contains("Иван"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_space_or_room_on_the_command_line_is_a_usage_error() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let range = range(&sim);
    let school = sim.school();
    let (space, room) = (school.spaces[0].id.as_str(), school.rooms[0].id.as_str());
    for (args, named) in [
        (vec!["--space", "5pace"], "--space 5pace"),
        (vec!["--space", space, "--space", "5pace"], "--space 5pace"),
        (vec!["--room", "r00m"], "--room r00m"),
        (vec!["--room", room, "--room", "r00m"], "--room r00m"),
        (vec!["--room", "r00m", "--dry-run"], "--room r00m"),
    ] {
        let run = Telelake::against(&sim, &lake, &backfill(&range, &args))
            .run()
            .await
            .expect(2);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(named), "{args:?}: {said}");
    }
    assert_eq!(sim.count(Endpoint::Calls), 0, "nothing is done");
    // An id in the configuration is not checked, and the rest is exported.
    let run = Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .env("TELELAKE_SCOPE__SPACES", &format!("{space},5pace"))
        .run()
        .await
        .expect(3);
    assert_eq!(failed(&run, "space_not_visible").len(), 1);
    assert_eq!(calls(&lake).await, sim.school().calls.len());
}
