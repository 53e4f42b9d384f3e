//! The school's LMS: the lesson data that it sends, with absent students and a hierarchy of its own, and a lesson that ran
//! over two calls. Pure; used by `demo` and by tests.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::school::{Call, Participant, School, Session};
use super::seeded::{hash, hex_id};
use super::words;

impl School {
    /// The payloads of [`School::metas`] with the city and branch of each group, and a payload for each student who was
    /// expected but in none of the meeting's calls. Everybody who was ever in a room as a student is expected in each of
    /// its lessons.
    pub fn lesson_data(&self) -> Vec<Value> {
        let mut payloads = self.metas();
        let mut known: BTreeSet<(String, String)> = payloads.iter().map(key_of).collect();
        let rosters = self.rosters();
        for call in self.calls.iter().filter(|call| !call.is_breakout) {
            for (user, person) in rosters.get(call.room_id.as_str()).into_iter().flatten() {
                let payload = call.lesson.meta(user, person);
                if known.insert(key_of(&payload)) {
                    payloads.push(payload);
                }
            }
        }
        for payload in &mut payloads {
            let group = payload["meta"]["student_group"]["student_group_id"].to_string();
            payload["meta"]["city"] = city_of(&group);
        }
        payloads
    }

    /// The students of each room, by their id in the LMS.
    fn rosters(&self) -> BTreeMap<&str, BTreeMap<&str, &Participant>> {
        let mut rosters: BTreeMap<&str, BTreeMap<&str, &Participant>> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| !call.is_breakout) {
            let roster = rosters.entry(&call.room_id).or_default();
            for person in call.participants.iter().filter(|person| !person.moderator) {
                if let Some(user) = &person.external_user_id {
                    roster.entry(user).or_insert(person);
                }
            }
        }
        rosters
    }

    /// Plans each lesson for the full five minutes after its first call began, so that teachers are in time and few
    /// students are late.
    pub fn plan_lessons_by_calls(&mut self) {
        let mut starts: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        for call in &self.calls {
            let start = starts
                .entry(call.lesson.meeting_id.clone())
                .or_insert(call.started_at);
            *start = call.started_at.min(*start);
        }
        for call in &mut self.calls {
            let Some(start) = starts.get(&call.lesson.meeting_id) else {
                continue;
            };
            let five = 5 * 60;
            let planned = DateTime::from_timestamp((start.timestamp() + five - 1) / five * five, 0);
            call.lesson.scheduled_start = planned.unwrap_or(*start);
            let shortest = call.lesson.scheduled_start + TimeDelta::minutes(10);
            call.lesson.scheduled_end = call.lesson.scheduled_end.max(shortest);
        }
    }

    /// Cuts a call in two, as if the connection broke in the middle and everybody came back after the pause. The second
    /// call belongs to the same lesson. Returns its id; `None` if there is no such call or it has not ended.
    pub fn split_call(&mut self, id: &str, pause: TimeDelta) -> Option<String> {
        let call = self.call_mut(id)?;
        let end = call.finished_at?;
        let half = (call.started_at + (end - call.started_at) / 2).timestamp();
        let cut = DateTime::from_timestamp(half, 0)?;
        let restart = cut + pause;
        if restart >= end {
            return None;
        }
        let mut second = call.clone();
        second.id = hex_id(&format!("{id}/second"));
        second.started_at = restart;
        (second.messages, second.reactions, second.polls) = Default::default();
        for (number, person) in second.participants.iter_mut().enumerate() {
            let joined_at = (restart + TimeDelta::seconds(7 * number as i64)).min(end);
            person.id = Some(hex_id(&format!("{}/participant/{number}", second.id)));
            person.sessions = vec![Session {
                joined_at,
                left_at: Some(end),
            }];
        }
        end_call(call, cut);
        let second_id = second.id.clone();
        self.calls.push(second);
        for record in &mut self.records {
            if record.call_id.as_deref() == Some(id) {
                record.finished_at = record.finished_at.map(|at| at.min(cut));
            }
        }
        self.reindex();
        Some(second_id)
    }
}

/// Ends a call at an instant at which everybody leaves.
fn end_call(call: &mut Call, cut: DateTime<Utc>) {
    call.finished_at = Some(cut);
    for person in &mut call.participants {
        let first = person.sessions.first().map(|session| session.joined_at);
        let joined_at = first.unwrap_or(call.started_at);
        person.sessions = vec![Session {
            joined_at: joined_at.min(cut - TimeDelta::seconds(60)).max(call.started_at),
            left_at: Some(cut),
        }];
    }
    call.messages.retain(|message| message.sent_at < cut);
    call.reactions.retain(|reaction| reaction.sent_at < cut);
    for poll in &mut call.polls {
        poll.votes.retain(|vote| vote.voted_at < cut);
    }
}

/// The user and the meeting of a payload.
fn key_of(payload: &Value) -> (String, String) {
    (
        payload["externalUserId"].to_string(),
        payload["externalMeetingId"].to_string(),
    )
}

/// The city of a group, with its branch inside.
fn city_of(group: &str) -> Value {
    let place = |count: usize, salt: &str| hash(&format!("{salt}/{group}")) as usize % count.max(1);
    let at = place(words::CITIES.len(), "city");
    let (city, branches) = words::CITIES.get(at).copied().unwrap_or_default();
    let branch = place(branches.len(), "branch");
    json!({
        "city_id": format!("city-{}", at + 1),
        "city_name": city,
        "branch": {
            "branch_id": format!("branch-{}-{}", at + 1, branch + 1),
            "branch_name": branches.get(branch),
        },
    })
}
