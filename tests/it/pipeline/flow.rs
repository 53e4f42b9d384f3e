//! The order of requests: listing, landing and building go on at the same time, and nothing is asked for in vain.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono_tz::Tz;
use telelake::simulator::{Endpoint, ListTotal, Options, Paging, Simulator, Window};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::{Finished, Telelake};
use crate::support::truth::assert_whole;

/// The places in the simulator's log of the requests to an endpoint.
fn places(sim: &Simulator, endpoint: Endpoint) -> Vec<usize> {
    let requests = sim.requests().into_iter().enumerate();
    requests
        .filter(|(_, request)| request.endpoint == endpoint)
        .map(|(place, _)| place)
        .collect()
}

/// The rooms and dates whose calls were listed, each as the query without its paging.
fn dates_asked(sim: &Simulator) -> BTreeSet<String> {
    let requests = sim.requests().into_iter();
    let calls = requests.filter(|request| request.endpoint == Endpoint::Calls);
    let queries = calls.map(|request| {
        let parts = request.query.split('&');
        let parts: Vec<_> = parts
            .filter(|part| !part.starts_with("limit=") && !part.starts_with("offset="))
            .collect();
        parts.join("&")
    });
    queries.collect()
}

async fn run(sim: &Simulator, lake: &Lake, more: &[&str], call_date: &str) -> Finished {
    Telelake::against(sim, lake, &backfill(&range(sim), more))
        .env("TELELAKE_API__CALL_DATE", call_date)
        .run()
        .await
        .expect(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_asked_while_their_list_comes_and_days_are_landed_while_others_are_listed() {
    let options = Options {
        spaces: 1,
        rooms: 60,
        empty_rooms: 0.0,
        dates: small().dates[0].iter_days().take(6).collect(),
        latency: Duration::from_millis(5),
        paging: Paging {
            window: Window::Capped(10),
            total: ListTotal::Missing,
        },
        ..small()
    };
    let (sim, lake) = (Simulator::start(options).await.unwrap(), Lake::folder());
    run(&sim, &lake, &["--only", "analytics"], "").await;
    let (rooms, calls) = (places(&sim, Endpoint::Rooms), places(&sim, Endpoint::Calls));
    assert!(rooms.len() >= 6, "{rooms:?}");
    assert!(
        calls[0] < rooms[rooms.len() - 1],
        "a room was asked before the last page"
    );
    let reports = places(&sim, Endpoint::Report);
    assert!(
        reports[0] < calls[calls.len() - 1],
        "a day was landed before the last was listed"
    );
    assert_eq!(
        lake.rows("calls", &["call_id"]).await.len(),
        sim.school().calls.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_listed_once_for_each_room_with_a_call_and_for_no_other() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    run(&sim, &lake, &[], "").await;
    let school = sim.school();
    let with_calls: BTreeSet<_> = school.calls.iter().map(|call| call.room_id.as_str()).collect();
    assert!(with_calls.len() < school.rooms.len(), "some rooms have no call");
    let asked = sim
        .requests()
        .into_iter()
        .filter(|request| request.endpoint == Endpoint::Records);
    let asked: Vec<_> = asked.map(|request| request.path).collect();
    assert_eq!(asked.len(), with_calls.len(), "{asked:?}");
    assert_whole(&lake, &sim, Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_call_date_saves_requests_and_a_wrong_one_loses_nothing() {
    let sim = Simulator::start(small()).await.unwrap();
    let mut asked = Vec::new();
    for (zone, is_contradicted) in [("", false), ("UTC", false), ("Pacific/Kiritimati", true)] {
        sim.clear_log();
        let lake = Lake::folder();
        let run = run(&sim, &lake, &[], zone).await;
        asked.push(dates_asked(&sim));
        let warnings = run.summary()["warnings"].as_array().unwrap().clone();
        let contradicted = warnings
            .iter()
            .filter(|warning| warning["kind"] == "call_date_contradicted");
        assert_eq!(
            contradicted.count(),
            usize::from(is_contradicted),
            "{zone}: {warnings:?}"
        );
        assert_whole(&lake, &sim, Tz::UTC).await;
    }
    assert!(
        asked[1].is_subset(&asked[0]) && asked[1].len() < asked[0].len(),
        "no date more on each side"
    );
    assert!(asked[2].is_superset(&asked[0]), "as if nothing was declared");
    let check = Telelake::against(&sim, &Lake::folder(), &["check"])
        .env("TELELAKE_API__CALL_DATE", "Pacific/Kiritimati")
        .run()
        .await
        .expect(0)
        .stdout;
    assert!(
        check.contains("WARN  api.call_date: Pacific/Kiritimati is declared, and recent calls contradict it"),
        "{check}"
    );
}
