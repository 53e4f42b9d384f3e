//! Every reading of what the vendor's guide leaves open gives the same lake.

use chrono_tz::Tz;
use telelake::simulator::{DateReading, LinkForm, Options, Paging, Simulator, Total, Window};

use super::{backfill, range, small};
use crate::support::lake::Lake;
use crate::support::program::Telelake;
use crate::support::truth::assert_whole;

async fn export(options: Options, zone: Tz) {
    let (sim, lake) = (Simulator::start(options).await.unwrap(), Lake::folder());
    Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
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
        for total in [Total::True, Total::Missing, Total::Zero] {
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
async fn a_server_that_repeats_its_first_page_ends_the_listing_and_is_said() {
    let paging = Paging::of(Window::FirstAgain(4));
    let (sim, lake) = (
        Simulator::start(Options { paging, ..small() }).await.unwrap(),
        Lake::folder(),
    );
    let run = Telelake::against(&sim, &lake, &backfill(&range(&sim), &[]))
        .run()
        .await
        .expect(0);
    let summary = run.summary();
    let warnings = summary["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning["kind"] == "listing_incomplete"),
        "{summary}"
    );
    assert_eq!(run.count("rooms"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_text_json_or_a_redirect() {
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
