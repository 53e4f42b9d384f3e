//! Tests of the pure core of the walk: the requests, and the days that come of the answers.

mod assign;

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::ask::{RoomAsks, dates, first_date, gone_asks, last_call_date, room_asks};
use super::found::{GoneRoom, JobScope, SpaceScope};
use crate::api::{Item, Room};
use crate::dates::spans;
use crate::ids::RoomId;
use crate::pipeline::job::{Command, Only};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::samples::{DATE, date, rules};

fn room(id: &str, more: Value) -> Room {
    let mut raw = json!({"id": id});
    if let (Value::Object(raw), Value::Object(more)) = (&mut raw, more) {
        raw.extend(more);
    }
    Room::from_raw(raw).expect("a room")
}

fn scope(rooms: Vec<Room>) -> JobScope {
    let mut space = SpaceScope {
        id: "s".into(),
        rooms,
        ..SpaceScope::default()
    };
    space.index();
    JobScope {
        spaces: vec![space],
        all_listed: true,
        ..JobScope::default()
    }
}

fn one_room() -> JobScope {
    scope(vec![room("r", json!({}))])
}

fn open_day(text: &str, rooms: &[&str]) -> OpenDay {
    OpenDay {
        date: date(text),
        space_id: "s".into(),
        space: false,
        rooms: rooms.iter().map(|room| RoomId::from(*room)).collect(),
    }
}

/// The requests of all rooms, and the number of rooms that need none.
fn asks(rules: &JobRules, scope: &JobScope, open: &[OpenDay]) -> (Vec<RoomAsks>, usize) {
    let open: Vec<_> = open.iter().collect();
    let rooms = &scope.spaces[0].rooms;
    let dates = (rules.job.from, rules.job.to);
    let asks = rooms
        .iter()
        .map(|room| room_asks(rules, (0, room), dates, &open, rules.call_date));
    let asks: Vec<_> = asks.flatten().collect();
    let skipped = rooms.len() - asks.len();
    (asks, skipped)
}

/// The dates of the calls that are asked for, and the ranges of the records.
fn asked(rules: &JobRules, scope: &JobScope, open: &[OpenDay]) -> (Vec<String>, Vec<String>, usize) {
    let (rooms, skipped) = asks(rules, scope, open);
    let calls = rooms
        .iter()
        .flat_map(|room| &room.calls)
        .map(NaiveDate::to_string);
    let records = rooms.iter().flat_map(|room| &room.records);
    let records = records.map(|(from, to)| format!("{from} {to}"));
    (calls.collect(), records.collect(), skipped)
}

#[test]
fn a_date_is_asked_for_with_one_more_on_each_side() {
    let (calls, records, skipped) = asked(&rules(), &one_room(), &[]);
    assert_eq!(calls, ["2026-11-19", "2026-11-20", "2026-11-21"]);
    assert_eq!(records, ["2026-11-19 2026-11-21"]);
    assert_eq!(skipped, 0);
}

#[test]
fn a_job_for_reports_alone_lists_no_records() {
    let mut half = rules();
    half.job.only = Some(Only::Analytics);
    assert!(asked(&half, &one_room(), &[]).1.is_empty());
}

#[test]
fn a_room_without_calls_on_the_dates_is_skipped() {
    for (more, is_skipped) in [
        (json!({"lastCallAt": "2026-11-19T23:00:00Z"}), true),
        (json!({"lastCallAt": "2026-11-20T00:00:00Z"}), false),
        (json!({"lastCallAt": "2026-11-19"}), false),
        (json!({"createdAt": "2026-11-22T00:00:00Z"}), false),
        (json!({}), false),
    ] {
        let (calls, _, skipped) = asked(&rules(), &scope(vec![room("r", more.clone())]), &[]);
        assert_eq!(
            (calls.is_empty(), skipped == 1),
            (is_skipped, is_skipped),
            "{more}"
        );
    }
}

/// A call of the evening before may have caused the event.
#[test]
fn a_webhook_asks_a_room_whose_last_call_began_the_day_before() {
    let mut event = rules();
    event.job.command = Command::Webhook;
    for (last, dates) in [
        ("2026-11-18T23:00:00Z", &[][..]),
        (
            "2026-11-19T23:00:00Z",
            &["2026-11-18", "2026-11-19", "2026-11-20"],
        ),
    ] {
        let room = room("r", json!({"lastCallAt": last}));
        assert_eq!(asked(&event, &scope(vec![room]), &[]).0, dates, "{last}");
    }
}

#[test]
fn nothing_is_asked_from_before_a_room_was_made_or_after_today() {
    let mut rules = rules();
    rules.now = "2026-11-20T12:00:00Z".parse().expect("an instant");
    let young = scope(vec![room("r", json!({"createdAt": "2026-11-21T00:00:00+14:00"}))]);
    let (calls, _, _) = asked(&rules, &young, &[]);
    assert_eq!(calls, ["2026-11-19", "2026-11-20", "2026-11-21"]);
    let mut late = rules.clone();
    late.now = "2026-11-19T12:00:00Z".parse().expect("an instant");
    assert_eq!(asked(&late, &one_room(), &[]).2, 1, "the date has not come yet");
}

#[test]
fn an_open_day_is_asked_for_in_its_rooms_alone() {
    let quiet = || room("quiet", json!({"lastCallAt": "2026-10-01T10:00:00Z"}));
    let both = scope(vec![
        quiet(),
        room("other", json!({"lastCallAt": "2026-10-01T10:00:00Z"})),
    ]);
    let (calls, records, skipped) = asked(&rules(), &both, &[open_day("2026-10-01", &["quiet"])]);
    assert_eq!(calls, ["2026-09-30", "2026-10-01", "2026-10-02"]);
    assert_eq!(records, ["2026-09-30 2026-10-02"]);
    assert_eq!(skipped, 1);
    let whole = OpenDay {
        space: true,
        ..open_day("2026-10-01", &[])
    };
    assert_eq!(asked(&rules(), &both, &[whole]).2, 0);
}

#[test]
fn dates_far_apart_are_separate_ranges_of_records() {
    let (_, records, _) = asked(&rules(), &one_room(), &[open_day("2026-11-02", &["r"])]);
    assert_eq!(records, ["2026-11-01 2026-11-03", "2026-11-19 2026-11-21"]);
}

#[test]
fn a_gone_room_is_asked_for_both_kinds_and_marked_as_gone() {
    let days = [date(DATE)].into_iter().collect();
    let asks = gone_asks(&rules(), (0, &"a".into()), &days, None);
    assert!(asks.is_gone && asks.awaits_record);
    assert_eq!((asks.calls.len(), asks.records.len()), (3, 1));
}

#[test]
fn with_a_declared_zone_only_its_dates_that_overlap_the_days_are_asked_for() {
    for (zone, calls) in [
        (Tz::UTC, vec!["2026-11-20"]),
        (Tz::Europe__Moscow, vec!["2026-11-20", "2026-11-21"]),
        (Tz::America__New_York, vec!["2026-11-19", "2026-11-20"]),
    ] {
        let mut declared = rules();
        declared.call_date = Some(zone);
        let (asked, records, _) = asked(&declared, &one_room(), &[]);
        assert_eq!(asked, calls, "{zone}");
        assert_eq!(
            records,
            ["2026-11-19 2026-11-21"],
            "records have dates of their own"
        );
    }
}

#[test]
fn records_are_awaited_on_an_open_day_and_by_a_webhook() {
    let awaits = |rules: &JobRules, open: &[OpenDay]| asks(rules, &one_room(), open).0[0].awaits_record;
    assert!(!awaits(&rules(), &[]));
    assert!(!awaits(&rules(), &[open_day("2026-11-02", &["other"])]));
    assert!(awaits(&rules(), &[open_day("2026-11-02", &["r"])]));
    let mut webhook = rules();
    webhook.job.command = Command::Webhook;
    assert!(awaits(&webhook, &[]));
}

#[test]
fn a_bare_date_of_the_last_call_may_be_one_of_another_zone() {
    let of = |text: &str| last_call_date(&room("r", json!({"lastCallAt": text})), Tz::UTC);
    assert_eq!(of("2026-11-19"), Some(date("2026-11-20")));
    assert_eq!(of("2026-11-19T10:00:00Z"), Some(date("2026-11-19")));
    assert_eq!(last_call_date(&room("r", json!({})), Tz::UTC), None);
}

#[test]
fn a_creation_date_counts_only_if_it_can_be_right() {
    let today = date("2026-11-21");
    let of = |more: Value| first_date(&room("r", more), Tz::UTC, today);
    assert_eq!(
        of(json!({"createdAt": "2026-11-19T10:00:00Z"})),
        Some(date("2026-11-18"))
    );
    assert_eq!(
        of(json!({"createdAt": "2026-11-25T10:00:00Z"})),
        None,
        "in the future"
    );
    let after_last = json!({"createdAt": "2026-11-19T10:00:00Z", "lastCallAt": "2026-11-01T10:00:00Z"});
    assert_eq!(of(after_last), None, "after the last call");
    assert_eq!(of(json!({"createdAt": "soon"})), None);
}

fn gone_room(since: Option<&str>, is_named: bool, more: Value) -> GoneRoom {
    GoneRoom {
        room: room("gone", more),
        since: since.map(date),
        is_named,
    }
}

#[test]
fn a_gone_room_is_asked_for_the_dates_on_which_it_may_have_had_calls() {
    let quiet = json!({"lastCallAt": "2026-11-01T10:00:00Z"});
    for (gone, may_hold, why) in [
        (
            gone_room(Some("2026-11-21"), false, json!({})),
            true,
            "gone since today",
        ),
        (
            gone_room(Some("2026-11-19"), false, json!({})),
            false,
            "gone before the date",
        ),
        (
            gone_room(Some("2026-11-10"), false, json!({})),
            false,
            "gone for long",
        ),
        (
            gone_room(None, false, json!({})),
            false,
            "gone before the lake knew",
        ),
        (gone_room(None, true, json!({})), true, "named by the job"),
        (
            gone_room(Some("2026-11-21"), false, quiet.clone()),
            true,
            "its last call was seen before the last nights",
        ),
        (
            gone_room(None, true, quiet),
            true,
            "nobody knows until when it was listed",
        ),
    ] {
        assert_eq!(gone.may_hold(&rules(), date(DATE)), may_hold, "{why}");
    }
    let quiet = gone_room(
        Some("2026-11-21"),
        false,
        json!({"lastCallAt": "2026-11-01T10:00:00Z"}),
    );
    assert!(
        !quiet.may_hold(&rules(), date("2026-11-16")),
        "it was still listed then, without a call"
    );
}

proptest! {
    #[test]
    fn every_date_of_the_window_is_asked_for_with_its_neighbours(
        start in 0_u64..400, length in 0_u64..31,
    ) {
        let from = date("2025-09-01") + Days::new(start);
        let to = from + Days::new(length);
        let mut rules = rules();
        (rules.job.from, rules.job.to) = (from, to);
        let (rooms, _) = asks(&rules, &one_room(), &[]);
        let calls: BTreeSet<_> = rooms.iter().flat_map(|room| room.calls.clone()).collect();
        let records = rooms.iter().flat_map(|room| &room.records);
        let records: BTreeSet<_> = records.flat_map(|(from, to)| dates(*from, *to)).collect();
        let expected: BTreeSet<_> = dates(from - Days::new(1), to + Days::new(1)).collect();
        let is_in_future = from > rules.today();
        prop_assert!(is_in_future || expected.is_superset(&calls));
        for day in dates(from, to.min(rules.today())) {
            for near in [day - Days::new(1), day, day + Days::new(1)] {
                prop_assert!(calls.contains(&near));
            }
        }
        prop_assert_eq!(calls, records);
    }

    #[test]
    fn spans_have_the_same_dates_and_gaps_between_them(days in proptest::collection::btree_set(0_u64..60, 0..20)) {
        let days: BTreeSet<_> = days.into_iter().map(|day| date(DATE) + Days::new(day)).collect();
        let ranges = spans(days.iter().copied());
        let all: BTreeSet<_> = ranges.iter().flat_map(|(from, to)| dates(*from, *to)).collect();
        prop_assert_eq!(all, days);
        prop_assert!(ranges.windows(2).all(|two| two[0].1 + Days::new(1) < two[1].0));
    }
}
