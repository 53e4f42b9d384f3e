//! The answers to the questions about recordings, participants and the quality of the data.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use telelake::simulator::{Call, Participant, RecordState, Report};

use super::facts::{DURING_EXPORT, Facts, grouped, in_order, instant, was_there};

/// The reason why a report is awaited.
const NO_REPORT: &str = "no report yet: 404 Not Found (code not_found)";
/// The reason why a recording is awaited.
const UNFINISHED: &str = "the recording has not finished";

/// The rooms, each with a date, of which something is still awaited, with the reason of the first thing: a report, or
/// else a recording that may still end.
pub fn incomplete_rooms(facts: &Facts<'_>) -> BTreeMap<(String, String), &'static str> {
    let records = facts
        .school
        .records
        .iter()
        .filter(|record| record.finished_at.is_none() && record.state == RecordState::New);
    let records = records.map(|record| {
        let room_day = (record.room_id.clone(), record.created_at.date_naive().to_string());
        (room_day, UNFINISHED)
    });
    let calls = facts
        .school
        .calls
        .iter()
        .filter(|call| call.json == Report::Missing);
    let calls = calls.map(|call| {
        let room_day = (call.room_id.clone(), call.started_at.date_naive().to_string());
        (room_day, NO_REPORT)
    });
    // A later reason takes the place of an earlier one.
    records.chain(calls).collect()
}

pub fn missing_recordings(facts: &Facts<'_>) -> Vec<Value> {
    let missing = facts
        .school
        .records
        .iter()
        .filter(|record| !record.is_downloadable());
    let rows = missing.map(|record| {
        let (status, error) = match record.state {
            RecordState::New => ("pending", UNFINISHED.to_owned()),
            RecordState::Failed => ("unavailable", no_recording("failed")),
            _ => ("unavailable", no_recording("aborted")),
        };
        let row = json!({
            "date": record.created_at.date_naive().to_string(), "room_id": record.room_id, "record_id": record.id,
            "status": status, "error": error,
        });
        ((record.created_at.date_naive(), &record.id), row)
    });
    in_order(rows.collect())
}

fn no_recording(state: &str) -> String {
    format!("there is no recording: the platform says `{state}`")
}

/// The participants of calls with a report.
fn people<'s>(facts: &Facts<'s>) -> impl Iterator<Item = (&'s Call, usize, &'s Participant)> {
    let calls = facts
        .school
        .calls
        .iter()
        .filter(|call| call.json != Report::Missing);
    calls.flat_map(|call| {
        call.participants
            .iter()
            .enumerate()
            .map(move |(at, person)| (call, at, person))
    })
}

/// The lesson data of a participant.
fn meta<'s>(facts: &Facts<'s>, call: &'s Call, person: &'s Participant) -> Option<&'s Value> {
    let user = person.external_user_id.as_deref()?;
    facts.metas.get(&(call.lesson.meeting_id.as_str(), user)).copied()
}

fn messages(call: &Call, at: usize) -> usize {
    call.messages.iter().filter(|message| message.from == at).count()
}

pub fn engagement(facts: &Facts<'_>) -> Vec<Value> {
    let students = people(facts).filter(|(_, _, person)| !person.moderator && was_there(person));
    let students = grouped(students, |(_, _, person)| match &person.external_user_id {
        Some(id) => (Some(id.as_str()), None),
        None => (None, Some(person.name.as_str())),
    });
    let rows = students.into_iter().map(|((id, _), visits)| {
        let calls: BTreeSet<_> = visits.iter().map(|(call, ..)| &call.id).collect();
        let tenths = |sum: f64| (10.0 * sum / calls.len() as f64).round();
        let sent: usize = visits.iter().map(|(call, at, _)| messages(call, *at)).sum();
        let hands: i64 = visits.iter().map(|(.., person)| person.hand_raises).sum();
        let camera: i64 = visits.iter().map(|(.., person)| person.camera_seconds).sum();
        let names = visits
            .iter()
            .map(|(call, _, person)| match meta(facts, call, person) {
                Some(meta) => meta["user_fullname"].as_str().unwrap(),
                None => person.name.as_str(),
            });
        let name = names.max().unwrap();
        let sent = tenths(sent as f64);
        let row = json!({
            "external_user_id": id, "student": name, "calls": calls.len(), "messages": sent / 10.0,
            "hands": tenths(hands as f64) / 10.0, "camera_minutes": tenths(camera as f64 / 60.0) / 10.0,
        });
        ((Reverse(sent as u64), name, id), row)
    });
    let rows: Vec<_> = rows.collect();
    let names: BTreeSet<_> = rows
        .iter()
        .map(|((_, name, id), _)| (name, id.is_none()))
        .collect();
    assert!(names.len() < rows.len(), "two students have the same name");
    in_order(rows)
}

pub fn freshness(facts: &Facts<'_>) -> Vec<Value> {
    let incomplete = incomplete_rooms(facts);
    let calls = facts.school.calls.iter();
    let dates: BTreeSet<_> = calls.map(|call| call.started_at.date_naive()).collect();
    let days = dates
        .iter()
        .flat_map(|date| facts.school.spaces.iter().map(move |space| (date, space)));
    let rows = days.map(|(date, space)| {
        let rooms: BTreeSet<&str> = facts.school.rooms_of(&space.id).map(|room| room.id.as_str()).collect();
        let reasons = rooms.iter().filter_map(|room| incomplete.get(&((*room).to_owned(), date.to_string())));
        let reason = reasons.copied().next();
        let row = json!({
            "date": date.to_string(), "space_id": space.id, "space_name": space.name, "listed_at": DURING_EXPORT,
            "built_at": DURING_EXPORT, "complete": reason.is_none(), "reason": reason,
        });
        ((Reverse(*date), &space.id), row)
    });
    in_order(rows.collect())
}

pub fn without_lesson_data(facts: &Facts<'_>) -> Vec<Value> {
    let unknown = facts
        .visits
        .iter()
        .filter(|visit| visit.meta.is_none() && visit.attended == Some(true));
    let rows = unknown.map(|visit| {
        let calls: Vec<_> = visit.calls.iter().map(|call| &call.id).collect();
        let row = json!({
            "external_meeting_id": visit.meeting, "external_user_id": visit.user, "call_ids": calls,
        });
        ((visit.meeting, visit.user), row)
    });
    in_order(rows.collect())
}

pub fn duplicates(facts: &Facts<'_>) -> Vec<Value> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (call, _, person) in people(facts) {
        *counts.entry((&call.id, &person.name)).or_default() += 1;
    }
    let rows = counts
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|((call, name), count)| {
            let row = json!({"call_id": call, "name": name, "participants": count});
            ((Reverse(count), call, name), row)
        });
    in_order(rows.collect())
}

pub fn all_participants(facts: &Facts<'_>) -> Vec<Value> {
    participants(facts, |_| true)
}

/// The whole rows of the participants of some calls.
pub fn participants(facts: &Facts<'_>, is_wanted: impl Fn(&Call) -> bool) -> Vec<Value> {
    let wanted = people(facts).filter(|(call, ..)| is_wanted(call));
    let rows = wanted.map(|(call, at, person)| {
        let mut row = json!({});
        let parts = [
            call_columns(facts, call),
            own_columns(call, at, person),
            lesson_columns(facts, call, person),
        ];
        for part in parts {
            row.as_object_mut()
                .unwrap()
                .extend(part.as_object().unwrap().clone());
        }
        ((&call.id, &person.id), row)
    });
    in_order(rows.collect())
}

fn call_columns(facts: &Facts<'_>, call: &Call) -> Value {
    let space = facts.school.space(&call.space_id).unwrap();
    let room = facts.school.room(&call.room_id).unwrap();
    json!({
        "space_id": space.id, "space_name": space.name, "room_id": room.id, "room_name": room.name,
        "call_id": call.id, "call_started_at": instant(call.started_at),
        "call_finished_at": call.finished_at.map(instant), "date": call.started_at.date_naive().to_string(),
    })
}

fn own_columns(call: &Call, at: usize, person: &Participant) -> Value {
    let mut sessions = person.sessions.clone();
    sessions.sort_by_key(|stay| (stay.joined_at, stay.left_at));
    let ends: Vec<_> = sessions
        .iter()
        .map(|stay| stay.left_at.or(call.finished_at).unwrap())
        .collect();
    let there = |second: &i64| {
        let mut stays = sessions.iter().zip(&ends);
        stays.any(|(stay, end)| (stay.joined_at.timestamp()..end.timestamp()).contains(second))
    };
    let last = ends.iter().max().copied();
    let first = sessions.first().map(|stay| stay.joined_at);
    let seconds = first.zip(last).map_or(0, |(first, last)| {
        (first.timestamp()..last.timestamp()).filter(there).count()
    });
    let listed = sessions
        .iter()
        .map(|stay| json!({"joined_at": instant(stay.joined_at), "left_at": stay.left_at.map(instant)}));
    json!({
        "participant_id": person.id, "name": person.name,
        "role": if person.moderator { "moderator" } else { "user" },
        "email": person.email, "phone": person.phone, "external_user_id": person.external_user_id,
        "external_meeting_id": person.external_user_id.as_ref().map(|_| &call.lesson.meeting_id),
        "first_joined_at": first.map(instant), "last_left_at": last.map(instant),
        "sessions": listed.collect::<Value>(), "sessions_count": sessions.len(), "sessions_unreadable": 0,
        "duration_s": seconds, "camera_s": person.camera_seconds, "microphone_s": person.microphone_seconds,
        "screen_s": person.screen_seconds, "messages_count": messages(call, at),
        "reactions_count": call.reactions.iter().filter(|reaction| reaction.from == at).count(),
        "hand_raises_count": person.hand_raises, "source": "json", "identity": "id", "extra": Value::Null,
    })
}

fn lesson_columns(facts: &Facts<'_>, call: &Call, person: &Participant) -> Value {
    let Some(meta) = meta(facts, call, person) else {
        return json!({
            "meta_matched": false, "user_fullname": null, "user_role": null, "lesson_name": null,
            "lesson_scheduled_start_at": null, "lesson_scheduled_end_at": null, "lesson_course_id": null,
            "lesson_course_name": null, "student_group_id": null, "student_group_name": null, "attributes": null,
            "late_s": null,
        });
    };
    let (course, group, city) = (&meta["lesson_course"], &meta["student_group"], &meta["city"]);
    json!({
        "meta_matched": true, "user_fullname": meta["user_fullname"], "user_role": meta["user_role"],
        "lesson_name": meta["lesson_name"],
        "lesson_scheduled_start_at": instant(call.lesson.scheduled_start),
        "lesson_scheduled_end_at": instant(call.lesson.scheduled_end),
        "lesson_course_id": course["lesson_course_id"], "lesson_course_name": course["lesson_course_name"],
        "student_group_id": group["student_group_id"], "student_group_name": group["student_group_name"],
        "attributes": {
            "city.branch.branch_id": city["branch"]["branch_id"],
            "city.branch.branch_name": city["branch"]["branch_name"],
            "city.city_id": city["city_id"], "city.city_name": city["city_name"],
        },
        "late_s": late_s(facts, call, person),
    })
}

/// Seconds from the scheduled start to the first join: in the user's first call of the meeting alone, and of several
/// devices only for the one that joined first.
fn late_s(facts: &Facts<'_>, call: &Call, person: &Participant) -> Option<i64> {
    let joined = |person: &Participant| person.sessions.iter().map(|stay| stay.joined_at).min();
    let mut visits = facts.visits.iter();
    let visit = visits.find(|visit| {
        visit.meeting == call.lesson.meeting_id && Some(visit.user) == person.external_user_id.as_deref()
    })?;
    let devices = call
        .participants
        .iter()
        .filter(|other| other.external_user_id == person.external_user_id);
    let first = devices
        .filter(|device| was_there(device))
        .min_by_key(|device| joined(device))?;
    let is_first = visit.calls[0].id == call.id && first.id == person.id;
    is_first.then(|| {
        (joined(first).unwrap() - call.lesson.scheduled_start)
            .num_seconds()
            .max(0)
    })
}
