//! The answers to the questions about teachers and lessons.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::about_tables::incomplete_rooms;
use super::facts::{Counts, Facts, grouped, in_order, instant, percent};

/// The mean in whole seconds; null of nothing.
fn mean(values: impl Iterator<Item = Option<i64>>) -> Value {
    let known: Vec<i64> = values.flatten().collect();
    match known.len() {
        0 => Value::Null,
        count => json!((known.iter().sum::<i64>() as f64 / count as f64).round()),
    }
}

pub fn teachers(facts: &Facts<'_>) -> Vec<Value> {
    let by_meeting = facts.by_meeting();
    let teachers = grouped(facts.visits.iter().filter(|visit| visit.is("teacher")), |visit| {
        visit.user
    });
    let rows = teachers.into_iter().map(|(id, lessons)| {
        let counts = Counts::of(lessons.iter().copied());
        let students = lessons.iter().flat_map(|lesson| &by_meeting[lesson.meeting]);
        let students = Counts::of(students.filter(|visit| visit.is("student")).copied());
        let name = lessons[0].text(&["user_fullname"]);
        let row = json!({
            "user_fullname": name, "lessons": counts.expected, "held": counts.attended, "absent": counts.absent,
            "late": counts.late, "seconds_late": mean(lessons.iter().map(|lesson| lesson.late_s())),
            "seconds_early": mean(lessons.iter().map(|lesson| lesson.left_early_s())),
            "percent_of_students": percent(students.attended, students.attended + students.absent),
        });
        ((Reverse(counts.late), name, id), (counts, row))
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.iter().any(|(_, (counts, _))| counts.absent > 0));
    assert!(rows.iter().any(|(_, (counts, _))| counts.late > 0));
    in_order(rows.into_iter().map(|(key, (_, row))| (key, row)).collect())
}

/// True if everything of a meeting's rooms has come.
fn is_complete(facts: &Facts<'_>, meeting: &str, incomplete: &BTreeMap<(String, String), &str>) -> bool {
    let room_days = facts.meetings[meeting].iter();
    let mut room_days =
        room_days.map(|call| (call.room_id.clone(), call.started_at.date_naive().to_string()));
    let is_unsure = facts
        .visits
        .iter()
        .any(|visit| visit.meeting == meeting && visit.is_unsure);
    !is_unsure && !room_days.any(|room_day| incomplete.contains_key(&room_day))
}

pub fn lengths(facts: &Facts<'_>) -> Vec<Value> {
    let incomplete = incomplete_rooms(facts);
    let rows = facts.meetings.iter().map(|(meeting, calls)| {
        let minutes = |from: DateTime<Utc>, to: DateTime<Utc>| ((to - from).num_seconds() as f64 / 60.0).round();
        let lesson = &calls[0].lesson;
        let end = calls.iter().filter_map(|call| call.finished_at).max().unwrap();
        let held = minutes(calls[0].started_at, end);
        let scheduled = minutes(lesson.scheduled_start, lesson.scheduled_end);
        let row = json!({
            "date": calls[0].started_at.date_naive().to_string(), "lesson_name": lesson.name, "calls": calls.len(),
            "scheduled": scheduled, "held": held, "complete": is_complete(facts, meeting, &incomplete),
        });
        ((Reverse((held - scheduled).abs() as u64), *meeting), row)
    });
    let rows = in_order(rows.collect());
    assert!(rows.iter().any(|row| row["calls"] == 2) && rows.iter().any(|row| row["complete"] == false));
    rows
}

pub fn no_shows(facts: &Facts<'_>) -> Vec<Value> {
    let rows = facts.by_meeting().into_iter().filter_map(|(meeting, visits)| {
        let students = Counts::of(visits.iter().filter(|visit| visit.is("student")).copied());
        let is_no_show = students.expected > 0 && students.absent == students.expected;
        let row = json!({
            "date": visits[0].date.to_string(), "lesson_name": visits[0].lesson.name,
            "teachers": facts.teachers(meeting), "expected": students.expected,
        });
        is_no_show.then_some(((visits[0].date, meeting), row))
    });
    in_order(rows.collect())
}

pub fn without_recording(facts: &Facts<'_>) -> Vec<Value> {
    let incomplete = incomplete_rooms(facts);
    let whole = facts
        .school
        .records
        .iter()
        .filter(|record| record.is_downloadable());
    let recorded: BTreeSet<_> = whole.filter_map(|record| record.call_id.as_deref()).collect();
    let rows = facts
        .meetings
        .iter()
        .filter(|(_, calls)| !calls.iter().any(|call| recorded.contains(call.id.as_str())));
    let rows = rows.map(|(meeting, calls)| {
        let start = calls[0].started_at;
        let row = json!({
            "date": start.date_naive().to_string(), "lesson_name": calls[0].lesson.name,
            "teachers": facts.teachers(meeting), "held_from": instant(start),
            "complete": is_complete(facts, meeting, &incomplete),
        });
        ((start, *meeting), row)
    });
    in_order(rows.collect())
}
