//! The answers to the questions about attendance.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::facts::{Counts, Facts, Visit, grouped, in_order, percent};

fn latest_name<'s>(visits: &[&Visit<'s>], path: &[&str]) -> Option<&'s str> {
    visits.iter().filter_map(|visit| visit.text(path)).max()
}

pub fn by_week_and_group(facts: &Facts<'_>) -> Vec<Value> {
    let id = ["student_group", "student_group_id"];
    let name = ["student_group", "student_group_name"];
    let groups = grouped(facts.students(), |visit| (visit.week(), visit.text(&id)));
    let names: BTreeSet<_> = groups.values().map(|visits| latest_name(visits, &name)).collect();
    assert!(names.len() < groups.len(), "two groups have the same name");
    let rows = groups.iter().map(|((week, group), visits)| {
        let counts = Counts::of(visits.iter().copied());
        let lessons: BTreeSet<_> = visits.iter().map(|visit| visit.meeting).collect();
        let row = json!({
            "week": week.to_string(), "student_group": latest_name(visits, &name), "lessons": lessons.len(),
            "expected": counts.expected, "attended": counts.attended, "percent": counts.percent(),
            "late": counts.late,
        });
        ((*week, latest_name(visits, &name), *group), row)
    });
    in_order(rows.collect())
}

pub fn by_course(facts: &Facts<'_>) -> Vec<Value> {
    let courses = grouped(facts.students(), |visit| visit.course());
    let is_renamed = |visits: &Vec<&Visit<'_>>| {
        visits
            .iter()
            .map(|visit| visit.course_name())
            .collect::<BTreeSet<_>>()
            .len()
            > 1
    };
    assert!(courses.values().any(is_renamed));
    let rows = courses.iter().map(|(course, visits)| {
        let counts = Counts::of(visits.iter().copied());
        let students: BTreeSet<_> = visits.iter().map(|visit| visit.user).collect();
        let row = json!({
            "lesson_course_name": latest_name(visits, &["lesson_course", "lesson_course_name"]),
            "students": students.len(), "expected": counts.expected, "attended": counts.attended,
            "percent": counts.percent(),
        });
        ((counts.percent().as_u64(), *course), row)
    });
    in_order(rows.collect())
}

pub fn by_student(facts: &Facts<'_>) -> Vec<Value> {
    let students = grouped(facts.students(), |visit| (visit.user, visit.course()));
    let rows = students.iter().map(|((user, course), visits)| {
        let counts = Counts::of(visits.iter().copied());
        let row = json!({
            "external_user_id": user, "user_fullname": latest_name(visits, &["user_fullname"]),
            "lesson_course_name": latest_name(visits, &["lesson_course", "lesson_course_name"]),
            "expected": counts.expected, "attended": counts.attended, "absent": counts.absent,
            "percent": counts.percent(),
        });
        ((Reverse(counts.absent), *user, *course), row)
    });
    in_order(rows.collect())
}

/// A row of a user in a lesson.
fn visit_row(visit: &Visit<'_>, more: (&str, Value)) -> Value {
    let mut row = json!({
        "date": visit.date.to_string(), "lesson_name": visit.lesson.name, "external_user_id": visit.user,
        "user_fullname": visit.text(&["user_fullname"]),
    });
    row[more.0] = more.1;
    row
}

pub fn absent(facts: &Facts<'_>) -> Vec<Value> {
    assert!(
        facts.students().any(|visit| visit.attended.is_none()),
        "nobody is unknown"
    );
    let absent = facts.students().filter(|visit| visit.attended == Some(false));
    let rows = absent.map(|visit| {
        let key = (visit.date, &visit.lesson.name, visit.user, visit.meeting);
        let group = visit.text(&["student_group", "student_group_name"]);
        (key, visit_row(visit, ("student_group_name", json!(group))))
    });
    in_order(rows.collect())
}

pub fn late(facts: &Facts<'_>) -> Vec<Value> {
    let seems_late = |visit: &&Visit<'_>| visit.attended == Some(true) && visit.is_late();
    assert!(
        facts.students().filter(seems_late).any(|visit| visit.is_unsure),
        "all are certain"
    );
    let late = facts
        .students()
        .filter(seems_late)
        .filter(|visit| !visit.is_unsure);
    let rows = late.map(|visit| {
        let seconds = visit.late_s().unwrap();
        let minutes = (seconds as f64 / 60.0).round();
        let key = (Reverse(seconds), visit.user, visit.meeting);
        (key, visit_row(visit, ("minutes_late", json!(minutes))))
    });
    in_order(rows.collect())
}

pub fn short_stays(facts: &Facts<'_>) -> Vec<Value> {
    let is_short = |visit: &&Visit<'_>| visit.attended == Some(true) && visit.in_lesson_share() < 0.5;
    assert!(
        facts.students().filter(is_short).any(|visit| visit.is_unsure),
        "all are certain"
    );
    let short = facts.students().filter(is_short).filter(|visit| !visit.is_unsure);
    let rows = short.map(|visit| {
        let share = visit.in_lesson_share();
        let percent = (100.0 * share).round();
        let key = ((share * 1e9) as u64, visit.user, visit.meeting);
        (key, visit_row(visit, ("percent_of_lesson", json!(percent))))
    });
    in_order(rows.collect())
}

pub fn retention(facts: &Facts<'_>) -> Vec<Value> {
    let mut numbered: BTreeMap<(&str, usize), Vec<&Visit<'_>>> = BTreeMap::new();
    for ((course, _), mut visits) in grouped(facts.students(), |visit| (visit.course(), visit.user)) {
        visits.sort_by_key(|visit| (visit.lesson.scheduled_start, visit.meeting));
        for (number, visit) in visits.into_iter().enumerate() {
            numbered.entry((course, number + 1)).or_default().push(visit);
        }
    }
    let rows = numbered.into_iter().map(|((_, number), visits)| {
        let counts = Counts::of(visits.iter().copied());
        let known = counts.attended + counts.absent;
        json!({
            "lesson_course_name": latest_name(&visits, &["lesson_course", "lesson_course_name"]),
            "lesson_number": number, "students": known, "percent": percent(counts.attended, known),
        })
    });
    rows.collect()
}
