//! Each behaviour that the vendor's guide leaves open gives the same lake.

use chrono_tz::Tz;
use telelake::simulator::{
    DateReading, Endpoint, Failure, LinkForm, ListTotal, Matcher, Options, Paging, Simulator, Window,
};

use super::{backfill, exported, range, small, small_school};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::{assert_whole, is_whole};

async fn export(options: Options, zone: Tz) {
    let (sim, lake) = (Simulator::start(options).await.unwrap(), Lake::folder());
    // In another zone the calls of the school may touch one more date on each side.
    let mut range = range(&sim);
    if zone != sim.options().zone {
        let moved = |text: &str, days: i64| {
            let date: chrono::NaiveDate = text.parse().unwrap();
            (date + chrono::TimeDelta::days(days)).to_string()
        };
        (range[1], range[3]) = (moved(&range[1], -1), moved(&range[3], 1));
    }
    Telelake::against(&sim, &lake, &backfill(&range, &[]))
        .env("TELELAKE_TIMEZONE", zone.name())
        .run()
        .await
        .expect(0);
    assert_whole(&lake, &sim, zone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_selects_by_start_finish_or_overlap_in_any_zone() {
    for date_reading in [DateReading::Start, DateReading::Finish, DateReading::Overlap] {
        for (server, ours) in [
            (Tz::UTC, Tz::UTC),
            (Tz::Europe__Moscow, Tz::UTC),
            (Tz::UTC, Tz::Asia__Vladivostok),
            (Tz::Asia__Kamchatka, Tz::America__Los_Angeles),
        ] {
            export(
                Options {
                    date_reading,
                    zone: server,
                    ..small()
                },
                ours,
            )
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_in_any_way() {
    let windows = [
        Window::Honoured,
        Window::Ignored,
        Window::Capped(1),
        Window::Capped(3),
    ];
    for window in windows {
        for total in [ListTotal::True, ListTotal::Missing, ListTotal::Zero] {
            export(
                Options {
                    paging: Paging::of(window).total(total),
                    rooms: 12,
                    ..small()
                },
                Tz::UTC,
            )
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_repeats_its_first_page_ends_the_list_and_is_named() {
    let paging = Paging::of(Window::FirstAgain(4));
    let (sim, lake) = (
        Simulator::start(Options { paging, ..small() }).await.unwrap(),
        Lake::folder(),
    );
    let run = exported(&sim, &lake, &[], 3).await;
    let summary = run.summary();
    let failed = summary["failed"].as_array().unwrap();
    assert!(
        failed
            .iter()
            .any(|problem| problem["kind"] == "listing_incomplete"),
        "{summary}"
    );
    assert_eq!(run.count("rooms"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_may_be_text_json_or_a_redirect() {
    for link_form in [LinkForm::Text, LinkForm::Json, LinkForm::Redirect] {
        export(Options { link_form, ..small() }, Tz::UTC).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenth_of_the_answers_faulty_changes_nothing() {
    export(
        Options {
            fault_rate: 0.1,
            ..small()
        },
        Tz::UTC,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_on_one_day_in_any_order_of_listing() {
    // A call before midnight with a record after it; the call cannot be listed at first.
    let (sim, lake) = small_school().await;
    let (call, record) = sim.edit(|school| {
        let call = school.calls[0].clone();
        let midnight = (call.started_at.date_naive() + chrono::Days::new(1))
            .and_time(chrono::NaiveTime::MIN)
            .and_utc();
        let held = school.calls.iter_mut().find(|other| other.id == call.id).unwrap();
        held.started_at = midnight - chrono::TimeDelta::minutes(30);
        held.finished_at = Some(midnight + chrono::TimeDelta::minutes(60));
        let index = school.records.iter().position(is_whole).unwrap();
        let record = &mut school.records[index];
        record.call_id = Some(call.id.clone());
        record.room_id.clone_from(&call.room_id);
        record.space_id.clone_from(&call.space_id);
        record.started_at = Some(midnight + chrono::TimeDelta::minutes(5));
        record.created_at = midnight + chrono::TimeDelta::minutes(5);
        record.finished_at = Some(midnight + chrono::TimeDelta::minutes(50));
        (call, record.id.clone())
    });
    let days = |lake: &Lake| {
        let keys = lake.written();
        keys.into_keys()
            .filter(|key| key.to_string_lossy().contains(&format!("_{record}.mp4")))
            .count()
    };
    sim.faults().order(
        Matcher::endpoint(Endpoint::Calls).containing(&call.room_id),
        Failure::Status(404),
    );
    exported(&sim, &lake, &[], 3).await;
    assert_eq!(
        days(&lake),
        0,
        "a record waits for its call while that can't be listed"
    );
    sim.faults().clear();
    // Only the day after is requested: the call is before it, but the margin date finds it.
    let after = (call.started_at.date_naive() + chrono::Days::new(2)).to_string();
    Telelake::against(&sim, &lake, &["backfill", "--from", &after, "--to", &after])
        .run()
        .await
        .expect(0);
    exported(&sim, &lake, &[], 0).await;
    assert_eq!(days(&lake), 1);
    assert_whole(&lake, &sim, Tz::UTC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_moves_to_the_day_of_its_start_once_that_is_known() {
    let (sim, lake) = small_school().await;
    // At first the API claims that it began the next day.
    let truth = sim.edit(|school| {
        let call = &mut school.calls[0];
        let truth = call.started_at;
        let end = truth.date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc() + chrono::TimeDelta::hours(25);
        call.finished_at = Some(end);
        call.started_at = end - chrono::TimeDelta::minutes(10);
        truth
    });
    exported(&sim, &lake, &[], 0).await;
    assert_whole(&lake, &sim, Tz::UTC).await;
    sim.edit(|school| school.calls[0].started_at = truth);
    exported(&sim, &lake, &[], 0).await;
    assert_whole(&lake, &sim, Tz::UTC).await;
    let raw: Vec<_> = lake
        .keys()
        .await
        .into_keys()
        .filter(|key| key.contains(&sim.school().calls[0].id))
        .collect();
    let dates: std::collections::BTreeSet<_> = raw
        .iter()
        .filter_map(|key| telelake::lake::key::date_in(key))
        .collect();
    assert_eq!(dates.len(), 1, "{raw:?}");
}
