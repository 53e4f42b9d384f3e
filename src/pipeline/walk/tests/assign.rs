//! Tests of the days that come of the answers.

use std::collections::{BTreeSet, HashMap};

use chrono::Days;
use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::json;

use super::one_room;
use crate::api::{Call, Gap, Item, Listing, Record};
use crate::ids::{CallId, RoomId};
use crate::pipeline::job::Only;
use crate::pipeline::rules::JobRules;
use crate::pipeline::samples::{
    DATE, call, date, finished_record, nightly_rules, record, rules, settled_call,
};
use crate::pipeline::summary::{ProblemKind, Summary};
use crate::pipeline::walk::assign::DayAssigner;
use crate::pipeline::walk::found::{
    DayWork, GoneDays, JobScope, ListingAnswer, ListingAsk, ListingKind, RoomsAsked, SpaceScope,
};
use crate::{Error, ErrorKind};

fn window() -> (chrono::NaiveDate, chrono::NaiveDate) {
    (date(DATE), date(DATE))
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
        listing: Listing::whole(records),
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
        listing: Listing::whole(calls),
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
                ..Listing::whole(vec![])
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

/// The API may mend the times of a call. The day that had it before is asked too, and gives it up.
#[test]
fn an_asked_day_gives_up_what_lies_on_the_day_beside_it() {
    let (rules, scope) = (three_days(), one_room());
    for early in [false, true] {
        let mut summary = Summary::new(&rules.job, rules.zone, rules.now);
        let mut assigner = DayAssigner::new(&rules, (rules.job.from, rules.job.to), &[]);
        let moved = call("moved", "2026-11-19T10:00:00Z", "2026-11-19T11:00:00Z");
        add_calls(&mut assigner, &scope, "2026-11-19", vec![moved]);
        let next = early.then(|| assigner.take_day(&scope, 0, date(DATE)).expect("a whole day"));
        let rest = assigner.take_rest(&scope, &HashMap::new(), &mut summary);
        let days: Vec<_> = next.into_iter().chain(rest).collect();
        assert_eq!(dates_with(&days, "moved"), ["2026-11-19"]);
        let evicting = days.iter().filter(|day| day.evict_calls.contains("moved"));
        let evicting: Vec<_> = evicting.map(|day| day.date).collect();
        assert_eq!(evicting, [date(DATE)], "early: {early}");
    }
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

proptest! {
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

#[test]
fn a_day_knows_which_dates_beside_it_the_window_does_not_list() {
    let (rules, scope) = (rules(), one_room());
    let (days, _) = days_of(&rules, &scope, vec![settled_call("c")], Vec::new(), &[]);
    let day = date(DATE);
    let beside = vec![day - Days::new(1), day + Days::new(1)];
    assert_eq!(days[0].unlisted_beside, beside);
    let next = day + Days::new(1);
    let wide = DayAssigner::new(&rules, (day - Days::new(1), next), &[]);
    let days = wide.take_rest(
        &scope,
        &HashMap::new(),
        &mut Summary::new(&rules.job, rules.zone, rules.now),
    );
    let of_day = days.iter().find(|work| work.date == day).expect("the day");
    assert_eq!(of_day.unlisted_beside, []);
}
