//! The truth about attendance, from the school and its lesson data alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};
use serde_json::{Value, json};
use telelake::simulator::{Call, Lesson, Participant, Report, School};

/// The text that stands for an instant at which the lake was written.
pub const DURING_EXPORT: &str = "during the export";

/// The school as an analyst should see it.
pub struct Facts<'s> {
    pub school: &'s School,
    /// A visit for each user who was expected in a meeting, or was there.
    pub visits: Vec<Visit<'s>>,
    /// The calls of each meeting that have a report.
    pub meetings: BTreeMap<&'s str, Vec<&'s Call>>,
    /// The lesson data of each meeting and user.
    pub metas: BTreeMap<(&'s str, &'s str), &'s Value>,
}

/// A user in a meeting.
pub struct Visit<'s> {
    pub meeting: &'s str,
    pub user: &'s str,
    pub meta: Option<&'s Value>,
    pub lesson: &'s Lesson,
    pub date: NaiveDate,
    /// The calls that the user was in, in order of their start.
    pub calls: Vec<&'s Call>,
    /// The stays in all calls, in seconds since the epoch.
    stays: Vec<(i64, i64)>,
    pub attended: Option<bool>,
    /// True if a call without a report may have been part of the meeting.
    pub is_unsure: bool,
}

/// True if the report tells who was in the call.
fn has_report(call: &Call) -> bool {
    call.json != Report::Missing
}

/// True if a participant was in the call: only an empty list of stays says the opposite.
pub fn was_there(person: &Participant) -> bool {
    !person.sessions.is_empty()
}

/// True if a call without a report took place in a meeting's room during the meeting.
fn is_unsure(school: &School, calls: &[&Call]) -> bool {
    let rooms: BTreeSet<&str> = calls.iter().map(|call| call.room_id.as_str()).collect();
    let dates: BTreeSet<NaiveDate> = calls.iter().map(|call| call.started_at.date_naive()).collect();
    let lesson = &calls[0].lesson;
    school.calls.iter().filter(|call| !has_report(call)).any(|call| {
        rooms.contains(call.room_id.as_str())
            && dates.contains(&call.started_at.date_naive())
            && call.started_at < lesson.scheduled_end
            && call.finished_at.is_none_or(|end| end > lesson.scheduled_start)
    })
}

impl<'s> Facts<'s> {
    pub fn of(school: &'s School, lessons: &'s [Value]) -> Self {
        let mut meetings: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in school.calls.iter().filter(|call| has_report(call)) {
            meetings.entry(&call.lesson.meeting_id).or_default().push(call);
        }
        meetings
            .values_mut()
            .for_each(|calls| calls.sort_by_key(|call| call.started_at));
        let text = |value: &'s Value| value.as_str().unwrap();
        let key = |lesson: &'s Value| {
            (
                text(&lesson["externalMeetingId"]),
                text(&lesson["externalUserId"]),
            )
        };
        let metas: BTreeMap<_, _> = lessons
            .iter()
            .map(|lesson| (key(lesson), &lesson["meta"]))
            .collect();
        let mut keys: BTreeSet<(&str, &str)> = metas.keys().copied().collect();
        for call in school.calls.iter().filter(|call| has_report(call)) {
            let people = call
                .participants
                .iter()
                .filter_map(|person| person.external_user_id.as_deref());
            keys.extend(people.map(|user| (call.lesson.meeting_id.as_str(), user)));
        }
        let visits = keys.into_iter().map(|(meeting, user)| {
            let calls = &meetings[meeting];
            Visit::of(
                calls,
                is_unsure(school, calls),
                user,
                metas.get(&(meeting, user)).copied(),
            )
        });
        Self {
            visits: visits.collect(),
            school,
            meetings,
            metas,
        }
    }

    pub fn students(&self) -> impl Iterator<Item = &Visit<'s>> {
        self.visits.iter().filter(|visit| visit.is("student"))
    }

    /// The visits of each meeting.
    pub fn by_meeting(&self) -> BTreeMap<&'s str, Vec<&Visit<'s>>> {
        grouped(self.visits.iter(), |visit| visit.meeting)
    }

    /// The name of a lesson's teachers.
    pub fn teachers(&self, meeting: &str) -> Vec<&'s str> {
        let visits = self
            .visits
            .iter()
            .filter(|visit| visit.meeting == meeting && visit.is("teacher"));
        visits
            .map(|visit| visit.text(&["user_fullname"]).unwrap())
            .collect()
    }
}

impl<'s> Visit<'s> {
    fn of(calls: &[&'s Call], is_unsure: bool, user: &'s str, meta: Option<&'s Value>) -> Self {
        let (mut own, mut stays) = (Vec::new(), Vec::new());
        for call in calls {
            let people = call.participants.iter();
            let people = people.filter(|person| person.external_user_id.as_deref() == Some(user));
            let sessions: Vec<_> = people.flat_map(|person| &person.sessions).collect();
            if !sessions.is_empty() {
                own.push(*call);
            }
            stays.extend(sessions.into_iter().map(|stay| {
                let left = stay.left_at.or(call.finished_at).unwrap();
                (stay.joined_at.timestamp(), left.timestamp())
            }));
        }
        Self {
            meeting: &calls[0].lesson.meeting_id,
            user,
            meta,
            lesson: &calls[0].lesson,
            date: calls[0].started_at.date_naive(),
            attended: match own.is_empty() {
                false => Some(true),
                true => (!is_unsure).then_some(false),
            },
            calls: own,
            stays,
            is_unsure,
        }
    }

    /// A text of the lesson data.
    pub fn text(&self, path: &[&str]) -> Option<&'s str> {
        let mut value = self.meta?;
        for field in path {
            value = value.get(field)?;
        }
        value.as_str()
    }

    /// True if lesson data gives the user this role.
    pub fn is(&self, role: &str) -> bool {
        self.text(&["user_role"]) == Some(role)
    }

    pub fn course(&self) -> &'s str {
        self.text(&["lesson_course", "lesson_course_id"]).unwrap()
    }

    pub fn course_name(&self) -> &'s str {
        self.text(&["lesson_course", "lesson_course_name"]).unwrap()
    }

    /// The Monday of the week.
    pub fn week(&self) -> NaiveDate {
        self.date - Days::new(self.date.weekday().num_days_from_monday().into())
    }

    /// Seconds from the scheduled start to the first join.
    pub fn late_s(&self) -> Option<i64> {
        let first = self.stays.iter().map(|stay| stay.0).min()?;
        Some((first - self.lesson.scheduled_start.timestamp()).max(0))
    }

    pub fn is_late(&self) -> bool {
        self.late_s().is_some_and(|late| late > 300)
    }

    /// Seconds from the last leave to the scheduled end.
    pub fn left_early_s(&self) -> Option<i64> {
        let last = self.stays.iter().map(|stay| stay.1).max()?;
        Some((self.lesson.scheduled_end.timestamp() - last).max(0))
    }

    /// The share of the seconds of the schedule in which the user was there.
    pub fn in_lesson_share(&self) -> f64 {
        let (from, to) = (
            self.lesson.scheduled_start.timestamp(),
            self.lesson.scheduled_end.timestamp(),
        );
        let there = |second: &i64| self.stays.iter().any(|stay| (stay.0..stay.1).contains(second));
        let seconds = (from..to).filter(there).count();
        seconds as f64 / (to - from) as f64
    }
}

/// Groups things by a key.
pub fn grouped<T, K: Ord>(things: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> BTreeMap<K, Vec<T>> {
    let mut groups: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for thing in things {
        groups.entry(key(&thing)).or_default().push(thing);
    }
    groups
}

/// The number of visits of students by their outcome.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub expected: u64,
    pub attended: u64,
    pub absent: u64,
    pub late: u64,
}

impl Counts {
    pub fn of<'v, 's: 'v>(visits: impl IntoIterator<Item = &'v Visit<'s>>) -> Self {
        let mut counts = Self::default();
        for visit in visits {
            counts.expected += 1;
            counts.attended += u64::from(visit.attended == Some(true));
            counts.absent += u64::from(visit.attended == Some(false));
            counts.late += u64::from(visit.attended == Some(true) && visit.is_late());
        }
        counts
    }

    /// The share of those of whom it is known, in whole percent.
    pub fn percent(self) -> Value {
        percent(self.attended, self.attended + self.absent)
    }
}

/// A share in whole percent, half a percent rounded up; null of nothing.
pub fn percent(part: u64, whole: u64) -> Value {
    match whole {
        0 => Value::Null,
        whole => json!((200 * part + whole) / (2 * whole)),
    }
}

/// An instant as Python writes it.
pub fn instant(at: DateTime<Utc>) -> String {
    let micros = at.timestamp_subsec_micros();
    match micros {
        0 => at.format("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
        _ => at.format("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
    }
}

/// The rows in the order of their keys.
pub fn in_order<K: Ord>(mut rows: Vec<(K, Value)>) -> Vec<Value> {
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.into_iter().map(|(_, row)| row).collect()
}
