//! The truth about attendance, from the school of the simulator.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use telelake::lake::date_of;
use telelake::simulator::{Call, Report, School};

/// A user with lesson data in a meeting that had a call.
#[derive(Debug, Clone)]
pub struct ExpectedUser {
    pub meeting: String,
    pub user: String,
    pub is_teacher: bool,
    pub name: String,
    pub date: NaiveDate,
    pub week: NaiveDate,
    pub attended: Option<bool>,
    pub is_late: bool,
    /// The entity of each level.
    pub levels: BTreeMap<&'static str, String>,
}

/// The calls of each meeting that have a report.
pub fn meetings(school: &School) -> BTreeMap<&str, Vec<&Call>> {
    let mut meetings: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in school.calls.iter().filter(|call| call.json != Report::Missing) {
        meetings.entry(&call.lesson.meeting_id).or_default().push(call);
    }
    meetings
}

/// The meetings that have a call without a report.
pub fn unsure(school: &School) -> BTreeSet<&str> {
    let missing = school.calls.iter().filter(|call| call.json == Report::Missing);
    missing.map(|call| call.lesson.meeting_id.as_str()).collect()
}

fn first_join(calls: &[&Call], user: &str) -> Option<DateTime<Utc>> {
    let people = calls.iter().flat_map(|call| &call.participants);
    let own = people.filter(|person| person.external_user_id.as_deref() == Some(user));
    own.flat_map(|person| &person.sessions)
        .map(|session| session.joined_at)
        .min()
}

/// All users with lesson data.
pub fn users(school: &School) -> Vec<ExpectedUser> {
    let (meetings, unsure) = (meetings(school), unsure(school));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = school.lesson_data().into_iter().map(|payload| {
        let (user, meeting) = (
            text(&payload["externalUserId"]),
            text(&payload["externalMeetingId"]),
        );
        let meta = &payload["meta"];
        let calls = &meetings[meeting.as_str()];
        let start = calls.iter().map(|call| call.started_at).min().unwrap();
        let date = date_of(start, Tz::UTC);
        let joined = first_join(calls, &user);
        let scheduled = calls[0].lesson.scheduled_start;
        ExpectedUser {
            attended: match joined {
                Some(_) => Some(true),
                None => (!unsure.contains(meeting.as_str())).then_some(false),
            },
            is_late: joined.is_some_and(|at| (at - scheduled).num_seconds() > 300),
            is_teacher: meta["user_role"] == "teacher",
            name: text(&meta["user_fullname"]),
            week: date - Days::new(date.weekday().num_days_from_monday().into()),
            levels: BTreeMap::from([
                ("city", text(&meta["city"]["city_id"])),
                ("branch", text(&meta["city"]["branch"]["branch_id"])),
                ("student_group", text(&meta["student_group"]["student_group_id"])),
                ("lesson_course", text(&meta["lesson_course"]["lesson_course_id"])),
            ]),
            meeting,
            user,
            date,
        }
    });
    all.collect()
}

/// The counts of visits, as the marts name them.
pub fn counts<'u>(visits: impl IntoIterator<Item = &'u ExpectedUser>) -> Value {
    let visits: Vec<_> = visits.into_iter().filter(|user| !user.is_teacher).collect();
    let count = |is: &dyn Fn(&ExpectedUser) -> bool| visits.iter().filter(|user| is(user)).count();
    json!({
        "expected": visits.len(),
        "attended": count(&|user| user.attended == Some(true)),
        "unknown": count(&|user| user.attended.is_none()),
        "late": count(&|user| user.is_late),
    })
}

/// Groups users by a key.
pub fn grouped<K: Ord>(
    users: &[ExpectedUser],
    key: impl Fn(&ExpectedUser) -> K,
) -> BTreeMap<K, Vec<&ExpectedUser>> {
    let mut groups: BTreeMap<K, Vec<&ExpectedUser>> = BTreeMap::new();
    for user in users {
        groups.entry(key(user)).or_default().push(user);
    }
    groups
}
