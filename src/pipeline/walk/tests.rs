//! Tests of the pure core of the walk: the requests, and the days that come of the answers.

use std::collections::{BTreeSet, HashMap};

use chrono::{Days, NaiveDate};
use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::ask::{RoomAsks, dates, first_date, gone_asks, last_call_date, room_asks};
use super::assign::DayAssigner;
use super::found::{
    DayWork, GoneDays, GoneRoom, JobScope, ListingAnswer, ListingAsk, ListingKind, RoomsAsked, SpaceScope,
};
use crate::api::{Call, Gap, Item, Listing, Record, Room};
use crate::dates::spans;
use crate::ids::{CallId, RoomId};
use crate::json::Repairs;
use crate::pipeline::job::{Command, Only};
use crate::pipeline::lake_state::open_days::OpenDay;
use crate::pipeline::rules::JobRules;
use crate::pipeline::samples::{
    DATE, call, date, finished_record, nightly_rules, record, rules, settled_call,
};
use crate::pipeline::summary::{ProblemKind, Summary};
use crate::{Error, ErrorKind};

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
        space_objects: Vec::new(),
        all_listed: true,
    }
}

fn one_room() -> JobScope {
    scope(vec![room("r", json!({}))])
}

fn window() -> (NaiveDate, NaiveDate) {
    (date(DATE), date(DATE))
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

fn listing<T>(items: Vec<T>) -> Listing<T> {
    Listing {
        items,
        total: None,
        gap: None,
        unidentified: 0,
        other_ids: 0,
        repairs: Repairs::default(),
    }
}

fn calls_ask(text: &str) -> ListingAsk {
    ListingAsk {
        space: 0,
        room: "r".into(),
        what: ListingKind::Calls { date: date(text) },
    }
}

/// Makes days of some calls, listed for the sample date, and some records.
fn days_of(
    rules: &JobRules,
    scope: &JobScope,
    calls: Vec<Call>,
    records: Vec<Record>,
    known: &[(&str, &str)],
) -> (Vec<DayWork>, Summary) {
    let mut summary = Summary::new(&rules.job, rules.zone, rules.now);
    let mut assigner = DayAssigner::new(rules, window(), &[]);
    add_calls(&mut assigner, scope, DATE, calls);
    let (from, to) = window();
    let ask = ListingAsk {
        what: ListingKind::Records { from, to },
        ..calls_ask(DATE)
    };
    let answer = ListingAnswer::Records {
        from,
        to,
        listing: listing(records),
    };
    assigner.add(scope, &ask, answer, &mut summary);
    let known = known
        .iter()
        .map(|(call, text)| ((0, CallId::from(*call)), date(text)))
        .collect::<HashMap<_, _>>();
    (assigner.take_rest(scope, &known, &mut summary), summary)
}

/// Adds calls that were listed for a date.
fn add_calls(assigner: &mut DayAssigner<'_>, scope: &JobScope, text: &str, calls: Vec<Call>) -> bool {
    let mut summary = Summary::new(&rules().job, Tz::UTC, rules().now);
    let answer = ListingAnswer::Calls {
        date: date(text),
        listing: listing(calls),
    };
    assigner.add(scope, &calls_ask(text), answer, &mut summary)
}

/// The dates of the days that have a call or record with this id.
fn dates_with(days: &[DayWork], id: &str) -> Vec<String> {
    let has = |day: &&DayWork| day.calls.contains_key(id) || day.records.contains_key(id);
    days.iter().filter(has).map(|day| day.date.to_string()).collect()
}

#[test]
fn a_call_goes_to_the_date_of_its_start_in_the_configured_zone() {
    let mut far = rules();
    far.zone = Tz::Asia__Tokyo;
    let late = call("c", "2026-11-20T16:00:00Z", "2026-11-20T17:00:00Z");
    let (days, _) = days_of(&far, &one_room(), vec![late], vec![], &[]);
    assert_eq!(dates_with(&days, "c"), ["2026-11-21"]);
}

#[test]
fn a_call_over_midnight_is_evicted_from_the_date_of_its_end() {
    let over = call("c", "2026-11-20T23:30:00Z", "2026-11-21T00:30:00Z");
    let (days, _) = days_of(&rules(), &one_room(), vec![over], vec![], &[]);
    assert_eq!(dates_with(&days, "c"), ["2026-11-20"]);
    let next = days.iter().find(|day| day.date == date("2026-11-21"));
    assert!(next.expect("the next day").evict_calls.contains("c"));
}

#[test]
fn a_record_goes_to_the_day_of_its_call() {
    let late = record(
        "v",
        json!({"callId": "c", "startedAt": "2026-11-21T00:10:00Z", "finishedAt": "2026-11-21T00:20:00Z"}),
    );
    let over = call("c", "2026-11-20T23:30:00Z", "2026-11-21T00:30:00Z");
    let (days, _) = days_of(&rules(), &one_room(), vec![over], vec![late], &[]);
    assert_eq!(dates_with(&days, "v"), ["2026-11-20"]);
    let next = days.iter().find(|day| day.date == date("2026-11-21"));
    assert!(next.expect("the next day").evict_records.contains("v"));
}

#[test]
fn a_record_of_an_unlisted_call_goes_to_the_day_that_the_lake_knows_or_to_its_own() {
    let stray = || vec![finished_record("v")];
    let (days, _) = days_of(&rules(), &one_room(), vec![], stray(), &[("c", "2026-11-18")]);
    assert_eq!(dates_with(&days, "v"), ["2026-11-18"]);
    let (days, _) = days_of(&rules(), &one_room(), vec![], stray(), &[]);
    assert_eq!(dates_with(&days, "v"), ["2026-11-20"]);
}

#[test]
fn a_record_without_any_date_is_reported_and_on_no_day() {
    let (days, summary) = days_of(&rules(), &one_room(), vec![], vec![record("v", json!({}))], &[]);
    assert!(dates_with(&days, "v").is_empty());
    assert_eq!(summary.warnings[0].kind, ProblemKind::RecordUndated);
}

#[test]
fn an_old_record_of_a_server_that_ignores_dates_is_dropped() {
    let old = record("v", json!({"startedAt": "2020-01-01T10:00:00Z"}));
    let (days, _) = days_of(&rules(), &one_room(), vec![], vec![old], &[]);
    assert!(dates_with(&days, "v").is_empty());
}

#[test]
fn calls_that_the_configuration_leaves_out_are_dropped_with_their_records() {
    let mut strict = rules();
    strict.scope.min_participants = 6;
    let found = || (vec![settled_call("c")], vec![finished_record("v")]);
    let (calls, records) = found();
    let (days, _) = days_of(&strict, &one_room(), calls, records, &[]);
    assert!(dates_with(&days, "c").is_empty() && dates_with(&days, "v").is_empty());
    let mut excluding = one_room();
    excluding.spaces[0].excluded.insert("r".into());
    let (calls, records) = found();
    let (days, _) = days_of(&rules(), &excluding, calls, records, &[]);
    assert!(dates_with(&days, "c").is_empty() && dates_with(&days, "v").is_empty());
}

#[test]
fn of_two_states_of_a_call_the_one_with_an_end_counts() {
    let running = call("c", "2026-11-20T10:00:00Z", "");
    for calls in [
        vec![running.clone(), settled_call("c")],
        vec![settled_call("c"), running],
    ] {
        let (days, _) = days_of(&rules(), &one_room(), calls, vec![], &[]);
        let day = days.iter().find(|day| day.date == date(DATE)).expect("the day");
        assert!(day.calls["c"].1.finished_at.is_some());
    }
}

#[test]
fn a_day_is_listed_completely_only_when_it_is_over_and_all_of_it_was_asked() {
    let is_listed = |rules: &JobRules, scope: &JobScope| {
        let (days, _) = days_of(rules, scope, vec![], vec![], &[]);
        days[0].listed
    };
    assert!(is_listed(&rules(), &one_room()));
    assert!(
        !is_listed(&nightly_rules("2026-11-21T00:29:59Z"), &one_room()),
        "not settled yet"
    );
    assert!(is_listed(&nightly_rules("2026-11-21T00:30:00Z"), &one_room()));
    let mut half = rules();
    half.job.only = Some(Only::Recordings);
    assert!(!is_listed(&half, &one_room()));
    let mut named = rules();
    named.job.rooms = vec!["r".into()];
    assert!(!is_listed(&named, &one_room()));
    for spoil in [
        |space: &mut SpaceScope| space.partial = true,
        |space: &mut SpaceScope| space.failed = true,
    ] {
        let mut spoilt = one_room();
        spoil(&mut spoilt.spaces[0]);
        assert!(!is_listed(&rules(), &spoilt));
    }
}

/// The sample day after one request on `text` failed, or had a gap.
fn day_after(text: &str, answer: Result<ListingAnswer, Error>, gone: &GoneDays) -> (DayWork, Summary) {
    let (rules, scope) = (rules(), one_room());
    let mut summary = Summary::new(&rules.job, rules.zone, rules.now);
    let mut assigner = DayAssigner::new(&rules, window(), &[]);
    assigner.gone = gone.clone();
    match answer {
        Ok(answer) => drop(assigner.add(&scope, &calls_ask(text), answer, &mut summary)),
        Err(error) => assigner.miss(&scope, &calls_ask(text), &error, &mut summary),
    }
    let days = assigner.take_rest(&scope, &HashMap::new(), &mut summary);
    let day = days.into_iter().find(|day| day.date == date(DATE));
    (day.expect("the day"), summary)
}

#[test]
fn a_room_that_gave_no_answer_on_a_date_or_beside_it_is_missed() {
    for (text, is_missed) in [
        ("2026-11-18", false),
        ("2026-11-19", true),
        ("2026-11-20", true),
        ("2026-11-21", true),
    ] {
        let error = Error::new(ErrorKind::Server, "calls", "500");
        let (day, summary) = day_after(text, Err(error), &GoneDays::new());
        assert_eq!(day.missed.rooms.contains("r"), is_missed, "{text}");
        assert_eq!(summary.failed[0].kind, ProblemKind::ListingFailed);
        let gap = ListingAnswer::Calls {
            date: date(text),
            listing: Listing {
                gap: Some(Gap::Unsettled),
                ..listing(vec![])
            },
        };
        let (day, _) = day_after(text, Ok(gap), &GoneDays::new());
        assert_eq!(day.missed.rooms.contains("r"), is_missed, "{text}");
    }
}

#[test]
fn a_refused_gone_room_is_named_with_the_reason_and_is_no_failed_listing() {
    let gone: GoneDays = [((0, RoomId::from("r")), [date(DATE)].into_iter().collect())]
        .into_iter()
        .collect();
    let error = Error::new(ErrorKind::NotFound, "calls", "no such room");
    let (day, summary) = day_after(DATE, Err(error), &gone);
    assert_eq!(day.refused["r"], "no such room");
    assert!(summary.failed.is_empty());
    let error = Error::new(ErrorKind::Server, "calls", "500");
    let (day, summary) = day_after(DATE, Err(error), &gone);
    assert!(day.refused.is_empty());
    assert_eq!(summary.failed.len(), 1);
}

#[test]
fn a_request_that_was_not_sent_is_missed_but_not_reported_alone() {
    let error = Error::new(ErrorKind::Skipped, "calls", "not sent");
    let (day, summary) = day_after(DATE, Err(error), &GoneDays::new());
    assert!(day.missed.rooms.contains("r"));
    assert!(summary.failed.is_empty());
}

#[test]
fn a_day_that_only_a_call_led_to_was_not_asked() {
    let late = call("c", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z");
    let (days, _) = days_of(&rules(), &one_room(), vec![late], vec![], &[]);
    let margin = days.iter().find(|day| day.date == date("2026-11-21"));
    let margin = margin.expect("the margin day");
    assert_eq!(margin.asked, RoomsAsked::These(BTreeSet::new()));
    assert!(!margin.listed);
}

/// Rules of a job over some days around the sample date.
fn three_days() -> JobRules {
    let mut rules = rules();
    (rules.job.from, rules.job.to) = (date("2026-11-19"), date("2026-11-21"));
    rules.now = "2026-11-30T12:00:00Z".parse().expect("an instant");
    rules
}

#[test]
fn a_call_that_is_found_after_its_day_was_taken_is_more_work_for_the_day() {
    let (rules, scope) = (three_days(), one_room());
    let mut summary = Summary::new(&rules.job, rules.zone, rules.now);
    let mut assigner = DayAssigner::new(&rules, (rules.job.from, rules.job.to), &[]);
    let open = call("open", "2026-11-20T10:00:00Z", "");
    assert!(add_calls(
        &mut assigner,
        &scope,
        DATE,
        vec![settled_call("c"), open]
    ));
    let day = assigner.take_day(&scope, 0, date(DATE)).expect("a whole day");
    assert!(day.listed && day.calls.len() == 2);
    let ended = call("open", "2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z");
    add_calls(
        &mut assigner,
        &scope,
        "2026-11-21",
        vec![settled_call("c"), settled_call("new"), ended],
    );
    let days = assigner.take_rest(&scope, &HashMap::new(), &mut summary);
    assert_eq!(dates_with(&days, "c"), [""; 0], "the same state is nothing new");
    let more = days.iter().find(|day| day.date == date(DATE)).expect("more work");
    assert_eq!(
        more.calls.keys().map(CallId::as_str).collect::<Vec<_>>(),
        ["new", "open"]
    );
    assert!(!more.listed && more.has_marker && more.asked == RoomsAsked::These(BTreeSet::new()));
}

#[test]
fn a_day_waits_if_a_call_comes_over_from_a_day_that_was_not_asked_for() {
    let (rules, scope) = (three_days(), one_room());
    let mut summary = Summary::new(&rules.job, rules.zone, rules.now);
    let mut assigner = DayAssigner::new(&rules, (rules.job.from, rules.job.to), &[]);
    let from_margin = call("margin", "2026-11-18T23:30:00Z", "2026-11-19T00:30:00Z");
    let within = call("within", "2026-11-19T23:30:00Z", "2026-11-20T00:30:00Z");
    add_calls(&mut assigner, &scope, "2026-11-19", vec![from_margin, within]);
    assert!(assigner.take_day(&scope, 0, date("2026-11-19")).is_none());
    // The day between two asked days knows what it must give up, whichever of them is taken first.
    let next = assigner.take_day(&scope, 0, date(DATE)).expect("a whole day");
    assert!(next.evict_calls.contains("within") && next.evict_calls.len() == 1);
    let days = assigner.take_rest(&scope, &HashMap::new(), &mut summary);
    assert!(
        days.iter().all(|day| day.date != date(DATE)),
        "the day was told before"
    );
    let waited = days
        .iter()
        .find(|day| day.date == date("2026-11-19"))
        .expect("the day that waited");
    assert!(waited.evict_calls.contains("margin") && waited.calls.contains_key("within"));
}

#[test]
fn calls_of_a_room_that_turns_out_to_be_excluded_are_left_out() {
    let (rules, mut scope) = (rules(), one_room());
    let mut assigner = DayAssigner::new(&rules, window(), &[]);
    let mut other = settled_call("other");
    other.room_id = Some("later".into());
    add_calls(&mut assigner, &scope, DATE, vec![settled_call("c"), other]);
    scope.spaces[0].excluded.insert("later".into());
    assigner.leave_out_excluded(&scope, 0);
    let day = assigner.take_day(&scope, 0, date(DATE)).expect("a whole day");
    assert_eq!(day.calls.keys().map(CallId::as_str).collect::<Vec<_>>(), ["c"]);
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

    /// Days that are taken one by one, in any order, have the same calls and evictions as days that are taken together.
    #[test]
    fn days_taken_early_are_the_days_taken_at_the_end(
        starts in proptest::collection::vec((-1500_i64..5000, 0_i64..2000), 0..12),
        order in proptest::sample::subsequence(vec![0_u64, 1, 2], 0..=3).prop_shuffle(),
    ) {
        let (rules, scope) = (three_days(), one_room());
        let day: chrono::DateTime<chrono::Utc> = "2026-11-19T00:00:00Z".parse().expect("an instant");
        let at = |minute: i64| (day + chrono::TimeDelta::minutes(minute)).to_rfc3339();
        let calls: Vec<_> = starts.iter().enumerate().map(|(index, (start, minutes))| {
            call(&format!("c{index}"), &at(*start), &at(start + minutes))
        }).collect();
        let days = |order: &[u64]| {
            let mut summary = Summary::new(&rules.job, rules.zone, rules.now);
            let mut assigner = DayAssigner::new(&rules, (rules.job.from, rules.job.to), &[]);
            add_calls(&mut assigner, &scope, DATE, calls.clone());
            let early = order.iter().filter_map(|more| {
                assigner.take_day(&scope, 0, date("2026-11-19") + Days::new(*more))
            });
            let mut days: Vec<_> = early.collect();
            days.extend(assigner.take_rest(&scope, &HashMap::new(), &mut summary));
            let mut days: Vec<_> = days.into_iter().map(|day| {
                (day.date, day.listed, day.calls.into_keys().collect::<Vec<_>>(), day.evict_calls)
            }).collect();
            days.sort();
            days
        };
        prop_assert_eq!(days(&order), days(&[]));
    }

    /// Whatever instants a call and its record have, each lies on exactly one day, and on the same one.
    #[test]
    fn a_call_and_its_record_lie_on_exactly_one_day(
        start in proptest::option::of(-600_i64..2000), minutes in proptest::option::of(0_i64..1000), zone in 0_usize..4,
    ) {
        let mut rules = rules();
        rules.zone = [Tz::UTC, Tz::Asia__Tokyo, Tz::America__New_York, Tz::Pacific__Apia][zone];
        let day: chrono::DateTime<chrono::Utc> = "2026-11-20T00:00:00Z".parse().expect("an instant");
        let at = |minute: i64| (day + chrono::TimeDelta::minutes(minute)).to_rfc3339();
        let mut raw = json!({"id": "c", "roomId": "r"});
        if let Some(start) = start {
            raw["startedAt"] = at(start).into();
        }
        if let Some(minutes) = minutes {
            raw["finishedAt"] = at(start.unwrap_or(0) + minutes).into();
        }
        let call = Call::from_raw(raw).expect("a call");
        let record = record("v", json!({"callId": "c", "createdAt": at(start.unwrap_or(0) + 30)}));
        let (days, _) = days_of(&rules, &one_room(), vec![call], vec![record], &[]);
        prop_assert_eq!(dates_with(&days, "c").len(), 1);
        prop_assert_eq!(dates_with(&days, "v"), dates_with(&days, "c"));
        let evicts = |day: &&DayWork| day.evict_calls.contains("c") || day.evict_records.contains("v");
        let evicting: Vec<_> = days.iter().filter(evicts).map(|day| day.date.to_string()).collect();
        prop_assert!(!evicting.contains(&dates_with(&days, "c")[0]));
    }
}
