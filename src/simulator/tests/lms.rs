//! The lesson data of the school's LMS.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use serde_json::Value;

use super::super::options::Options;
use super::super::{School, generate};

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The users of each meeting who were in one of its calls.
fn present(school: &School) -> BTreeSet<(String, String)> {
    let people = school.calls.iter().flat_map(|call| {
        let users = call
            .participants
            .iter()
            .filter_map(|person| person.external_user_id.clone());
        users.map(|user| (user, call.lesson.meeting_id.clone()))
    });
    people.collect()
}

#[test]
fn lesson_data_names_who_came_and_who_did_not_each_once_and_always_the_same() {
    let school = generate::school(&Options::default());
    let payloads = school.lesson_data();
    assert_eq!(payloads, generate::school(&Options::default()).lesson_data());
    let keys: BTreeSet<(String, String)> = payloads
        .iter()
        .map(|payload| {
            (
                text(&payload["externalUserId"]),
                text(&payload["externalMeetingId"]),
            )
        })
        .collect();
    assert_eq!(keys.len(), payloads.len(), "each user and meeting once");
    let present = present(&school);
    assert!(keys.is_superset(&present));
    let absent = keys.difference(&present).count();
    assert!(absent * 10 > keys.len(), "{absent} of {}", keys.len());
}

#[test]
fn a_group_has_one_branch_and_a_branch_has_one_city() {
    let payloads = generate::school(&Options::default()).lesson_data();
    let (mut branches, mut cities) = (BTreeMap::new(), BTreeMap::new());
    for payload in &payloads {
        let meta = &payload["meta"];
        let branch = text(&meta["city"]["branch"]["branch_id"]);
        let group = text(&meta["student_group"]["student_group_id"]);
        let city = text(&meta["city"]["city_id"]);
        assert_eq!(branches.entry(group).or_insert(branch.clone()), &branch);
        assert_eq!(cities.entry(branch).or_insert(city.clone()), &city);
    }
    let different: BTreeSet<_> = cities.values().collect();
    assert!(
        cities.len() > different.len() && different.len() > 1,
        "{cities:?}"
    );
}

#[test]
fn a_split_call_gives_two_calls_of_one_lesson_with_the_same_people() {
    let mut school = generate::school(&Options::default());
    let before = school.calls[0].clone();
    let pause = TimeDelta::minutes(3);
    let second = school.split_call(&before.id, pause).expect("a second call");
    let (first, second) = (
        school.call(&before.id).expect("first"),
        school.call(&second).expect("second"),
    );
    assert_eq!(first.lesson.meeting_id, second.lesson.meeting_id);
    assert_eq!(first.finished_at.expect("an end") + pause, second.started_at);
    assert_eq!(second.finished_at, before.finished_at);
    assert_eq!(first.participants.len(), second.participants.len());
    for call in [first, second] {
        for session in call.participants.iter().flat_map(|person| &person.sessions) {
            let left = session.left_at.expect("closed");
            assert!(call.started_at <= session.joined_at && session.joined_at < left);
            assert!(left <= call.finished_at.expect("an end"));
        }
    }
    assert_eq!(school.split_call("nowhere", pause), None);
}
