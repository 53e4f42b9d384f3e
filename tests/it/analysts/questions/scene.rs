//! A school in which every question of the document for analysts has a telling answer.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use telelake::simulator::{Call, Record, RecordState, Report, School, Simulator};

use super::super::school;

/// The school and the lesson data that its LMS has sent.
pub struct Scene {
    pub sim: Simulator,
    pub lessons: Vec<Value>,
}

impl Scene {
    /// The school of the marts, and what this file adds to it. Lesson data names everybody who should have come, so it is
    /// taken before people stay away.
    pub async fn new() -> Self {
        let sim = school().await;
        let lessons = sim.edit(|school| {
            lose_first_report(school);
            rename_people(school);
            let mut lessons = school.lesson_data();
            rename_entities(&mut lessons);
            let mut calls = single_calls(school).into_iter();
            let mut next = || calls.next().expect("a lesson that ran over one call");
            empty_room(school, &next());
            without_teacher(school, &next());
            late_teacher(school, &next());
            short_stay(school, &next());
            two_devices(school, &next());
            guest(school, &next());
            without_lesson_data(school, &next(), &mut lessons);
            recordings(school, &next());
            lessons
        });
        Self { sim, lessons }
    }
}

/// The calls that are all of their lesson, the longest rooms first: in one room, with a report, within one date.
fn single_calls(school: &School) -> Vec<String> {
    let of_lesson = |call: &Call| {
        let meeting = &call.lesson.meeting_id;
        school
            .calls
            .iter()
            .filter(|other| other.lesson.meeting_id == *meeting)
            .count()
    };
    let fit = school.calls.iter().filter(|call| {
        let same_date = call
            .finished_at
            .is_some_and(|end| end.date_naive() == call.started_at.date_naive());
        of_lesson(call) == 1 && call.json == Report::Whole && same_date
    });
    fit.map(|call| call.id.clone()).collect()
}

/// Another lesson over two calls, of which the first has no report: nobody knows who came in time.
fn lose_first_report(school: &mut School) {
    let of_one_call = single_calls(school);
    let long = |id: &&String| {
        let call = school.call(id).unwrap();
        call.finished_at.unwrap() - call.started_at > TimeDelta::minutes(40)
    };
    let first = of_one_call.iter().rfind(long).expect("a long call").clone();
    school.split_call(&first, TimeDelta::minutes(3)).unwrap();
    school.call_mut(&first).unwrap().set_report(Report::Missing);
}

/// Two students of different rooms have the same name.
fn rename_people(school: &mut School) {
    let room = |school: &School, number: usize| school.calls[number].room_id.clone();
    let first = room(school, 0);
    let other = (0..school.calls.len())
        .map(|number| room(school, number))
        .find(|room| *room != first);
    for room in [Some(first), other].into_iter().flatten() {
        let calls = school.calls.iter_mut().filter(|call| call.room_id == room);
        for person in calls
            .flat_map(|call| &mut call.participants)
            .filter(|person| !person.moderator)
        {
            if person.external_user_id.as_deref().is_some_and(ends_alike) {
                person.name = "Иван Иванов".into();
            }
        }
    }
}

/// True for the second person of a room.
fn ends_alike(id: &str) -> bool {
    let number: u64 = id.trim_start_matches("lms-").parse().unwrap_or_default();
    number % 100_003 % 997 == 1
}

/// A course that got another name on the last date, and two groups of the same name.
fn rename_entities(lessons: &mut [Value]) {
    let course = lessons[0]["meta"]["lesson_course"]["lesson_course_id"].clone();
    let group = lessons[0]["meta"]["student_group"].clone();
    let day = |lesson: &Value| lesson["meta"]["lesson_scheduled_start_dt"].as_str().unwrap()[..10].to_owned();
    let last = lessons.iter().map(day).max().unwrap();
    for lesson in lessons.iter_mut() {
        let is_last = day(lesson) == last;
        let meta = &mut lesson["meta"];
        if is_last && meta["lesson_course"]["lesson_course_id"] == course {
            meta["lesson_course"]["lesson_course_name"] = "Ярче прежнего".into();
        }
        if meta["student_group"]["student_group_id"].as_str() > group["student_group_id"].as_str() {
            meta["student_group"]["student_group_name"] = group["student_group_name"].clone();
        }
    }
}

/// Nobody came but the teacher.
fn empty_room(school: &mut School, call: &str) {
    let call = school.call_mut(call).unwrap();
    call.participants.truncate(1);
    call.messages.retain(|message| message.from == 0);
    call.reactions.retain(|reaction| reaction.from == 0);
    call.polls.clear();
}

/// The report lists the teacher without a stay.
fn without_teacher(school: &mut School, call: &str) {
    school.call_mut(call).unwrap().participants[0].sessions.clear();
}

/// The teacher came twelve minutes late, and left two minutes before the end.
fn late_teacher(school: &mut School, call: &str) {
    let call = school.call_mut(call).unwrap();
    let start = call.lesson.scheduled_start;
    let stay = &mut call.participants[0].sessions[0];
    stay.joined_at = (start + TimeDelta::minutes(12)).min(stay.left_at.unwrap());
    let end = call.lesson.scheduled_end - TimeDelta::minutes(2);
    stay.left_at = stay.left_at.map(|left| left.min(end).max(stay.joined_at));
}

/// A student left half a minute after the lesson began; another one came late.
fn short_stay(school: &mut School, call: &str) {
    let call = school.call_mut(call).unwrap();
    let start = call.lesson.scheduled_start;
    let [_, short, late, ..] = call.participants.as_mut_slice() else {
        panic!("a call of several people");
    };
    short.sessions.truncate(1);
    short.sessions[0].joined_at = call.started_at;
    short.sessions[0].left_at = Some(start + TimeDelta::seconds(30));
    late.sessions.truncate(1);
    late.sessions[0].joined_at = start + TimeDelta::seconds(400);
    late.sessions[0].left_at = None;
}

/// A student came with two devices.
fn two_devices(school: &mut School, call: &str) {
    let call = school.call_mut(call).unwrap();
    let mut second = call.participants[1].clone();
    second.id = Some("second-device".into());
    call.participants.push(second);
}

/// Someone with an id that no lesson data knows, under the name of somebody else.
fn guest(school: &mut School, call: &str) {
    let call = school.call_mut(call).unwrap();
    let mut guest = call.participants[1].clone();
    (guest.id, guest.external_user_id) = (Some("guest".into()), Some("nobody-knows".into()));
    call.participants.push(guest);
}

/// The LMS sent nothing of a student.
fn without_lesson_data(school: &School, call: &str, lessons: &mut Vec<Value>) {
    let call = school.call(call).unwrap();
    let user = call.participants[2].external_user_id.as_deref().unwrap();
    let before = lessons.len();
    lessons.retain(|lesson| {
        lesson["externalUserId"] != user || lesson["externalMeetingId"] != call.lesson.meeting_id.as_str()
    });
    assert_eq!(lessons.len(), before - 1);
}

/// A call whose recording failed, and a record that still runs.
fn recordings(school: &mut School, call: &str) {
    let call = school.call(call).unwrap().clone();
    school
        .records
        .retain(|record| record.call_id.as_deref() != Some(call.id.as_str()));
    let record = |id: &str, state: RecordState, finished_at: Option<DateTime<Utc>>| Record {
        id: format!("{id:0<24}"),
        name: "Запись".into(),
        space_id: call.space_id.clone(),
        room_id: call.room_id.clone(),
        call_id: Some(call.id.clone()),
        state,
        created_at: call.started_at,
        started_at: Some(call.started_at),
        finished_at,
        file_size: Some(0),
        size: 0,
    };
    school.records.push(record("fa", RecordState::Failed, None));
    school.records.push(record("fb", RecordState::New, None));
    school
        .records
        .push(record("fc", RecordState::Aborted, call.finished_at));
}
