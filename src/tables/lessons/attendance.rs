//! Attendance: who was expected in a lesson, who was there, and for how long. These are the rows of
//! `lesson_attendance`. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::presence::{Meeting, Presence, Span};
use super::teachers::Teachers;
use crate::error::Result;
use crate::ids::{CallId, MeetingId, UserId};
use crate::lake::key;
use crate::lake::manifest::{LessonSpan, Manifest, Quality, UnreportedCall};
use crate::lake::table::builtin::lesson_attendance;
use crate::tables::lessons::{Lesson, LessonColumns, LessonEntry, LessonIndex};
use crate::tables::parquet::cell::{Cell, Session};
use crate::tables::parquet::row::{TableRow, cells};
use crate::tables::parquet::sink::{Sink, TableFile};
use crate::tables::privacy::policy::PrivacyPolicy;
use crate::tables::report::stay;

/// The attendance in a day's meetings.
#[derive(Debug, Default)]
pub struct Attendance {
    /// The day's file of `lesson_attendance`; none without meetings.
    pub file: Option<TableFile>,
    /// The number of absent users whose id differs from that of a present user only by case or spaces, by meeting.
    pub look_alikes: BTreeMap<MeetingId, u64>,
}

/// The knowledge of neighbour days about the meetings of a day.
#[derive(Debug, Clone, Default)]
pub struct OtherDays {
    /// The presence in meetings that they share with the day.
    pub presences: Vec<Presence>,
    /// The shared meetings whose first call lies on a neighbour day: they have their rows there.
    pub started_elsewhere: BTreeSet<MeetingId>,
    /// Their calls without a report that may have been held at the time of a meeting of the day.
    pub unreported: BTreeMap<CallId, UnreportedCall>,
    /// Users of the presences of whom only the pseudonym is known.
    pub pseudonyms: BTreeSet<String>,
}

impl OtherDays {
    /// Gives the users of the other days their plain ids, as far as the day itself or its lesson data has them: the tables of
    /// the other days may have pseudonyms.
    ///
    /// # Errors
    /// Only a fault of the program itself.
    pub fn recognize(&mut self, own: &Presence, meta: &LessonIndex, policy: &PrivacyPolicy) -> Result<()> {
        if !policy.makes_pseudonyms() {
            return Ok(());
        }
        for presence in self
            .presences
            .iter_mut()
            .filter(|presence| presence.has_pseudonyms)
        {
            for (id, meeting) in &mut presence.meetings {
                let here = own
                    .meetings
                    .get(id)
                    .into_iter()
                    .flat_map(|meeting| meeting.users.keys());
                let users = here
                    .map(UserId::as_str)
                    .chain(meta.expected(id).map(|(user, _)| user));
                let mut plain = HashMap::new();
                for user in users {
                    plain.insert(policy.pseudonym(user)?, user);
                }
                meeting.rename(|user| plain.get(user).map(|plain| UserId::from(*plain)));
                let known: HashSet<&str> = plain.into_values().collect();
                let unknown = meeting.users.keys().filter(|user| !known.contains(user.as_str()));
                self.pseudonyms
                    .extend(unknown.map(|user| user.as_str().to_owned()));
            }
        }
        Ok(())
    }
}

/// The time of a day's meetings, as far as the day itself knows. Calls outside of it do not count in their attendance.
pub fn lesson_span(own: &Presence, meta: &LessonIndex) -> LessonSpan {
    let spans = own.meetings.iter().map(|(id, meeting)| {
        let schedules: Vec<_> = meta.expected(id).map(|(_, entry)| entry.schedule()).collect();
        span_of(meeting, schedules.into_iter())
    });
    spans.reduce(LessonSpan::union).unwrap_or_default()
}

/// Builds the day's file of `lesson_attendance`. `own` is the day's presence.
///
/// # Errors
/// Only a fault of the program itself.
pub fn build_attendance(
    manifest: &Manifest,
    own: &Presence,
    others: &OtherDays,
    meta: &LessonIndex,
    policy: &PrivacyPolicy,
    quality: &mut Quality,
) -> Result<Attendance> {
    let all = own.joined(&others.presences);
    // A call that moved may still lie on its old day too, and this day knows more of it.
    let elsewhere = others.unreported.iter();
    let mut unreported = manifest.unreported_calls();
    unreported.extend(
        elsewhere
            .filter(|(id, _)| !manifest.calls.contains_key(*id))
            .map(|(id, call)| (id.clone(), call.clone())),
    );
    let mut sink = Sink::knowing(lesson_attendance::table(), policy, others.pseudonyms.clone());
    let columns = LessonColumns::of(lesson_attendance::table());
    let mut look_alikes = BTreeMap::new();
    for (id, meeting) in all
        .meetings
        .iter()
        .filter(|(id, _)| !others.started_elsewhere.contains(*id))
    {
        let expected: BTreeMap<&str, &LessonEntry> = meta.expected(id).collect();
        let mut lessons: BTreeMap<&str, Lesson<'_>> = expected
            .iter()
            .filter_map(|(user, entry)| Some((*user, entry.lesson()?)))
            .collect();
        let calls = MeetingCalls {
            meeting,
            calls_without_report: calls_without_report(&unreported, meeting, lessons.values()),
            teachers: Teachers::of(meeting, &lessons),
            columns: &columns,
        };
        let users = meeting.users.keys().map(UserId::as_str);
        let users: BTreeSet<&str> = users.chain(expected.keys().copied()).collect();
        let (mut present, mut absent, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for user in users {
            let lesson = lessons.remove(user);
            let there = UserAttendance::of(&calls, user);
            quality.unknown_roles += u64::from(lesson.as_ref().is_some_and(Lesson::role_is_unknown));
            quality.meta_without_participants += u64::from(there.attended == Some(false));
            match there.attended {
                Some(true) => present.push(user),
                _ => absent.push(user),
            }
            let ids = [
                (lesson_attendance::space_id, manifest.space_id.as_str().into()),
                (lesson_attendance::external_meeting_id, id.as_str().into()),
                (lesson_attendance::external_user_id, user.into()),
            ];
            rows.push(TableRow::new(there.cells(ids, lesson, &calls)));
        }
        sink.push_all(&mut rows)?;
        let alike = absent_look_alikes(&present, &absent);
        if alike > 0 {
            look_alikes.insert(id.clone(), alike);
        }
    }
    let key = key::table(lesson_attendance::NAME, manifest.date, &manifest.space_id);
    let file = sink.finish(key)?;
    Ok(Attendance { file, look_alikes })
}

/// The number of absent users whose id is that of a present user, but for case and spaces.
fn absent_look_alikes(present: &[&str], absent: &[&str]) -> u64 {
    let plain = |id: &&str| id.trim().to_lowercase();
    let present: BTreeSet<String> = present.iter().map(plain).collect();
    absent.iter().map(plain).filter(|id| present.contains(id)).count() as u64
}

/// A meeting with what all rows of its users have in common.
struct MeetingCalls<'m> {
    meeting: &'m Meeting,
    /// The number of its calls about which nothing is known.
    calls_without_report: u64,
    teachers: Teachers,
    columns: &'m LessonColumns,
}

/// The number of calls without a report in the rooms of a meeting and during it: any of its users may have been in them.
fn calls_without_report<'l>(
    unreported: &BTreeMap<CallId, UnreportedCall>,
    meeting: &Meeting,
    lessons: impl Iterator<Item = &'l Lesson<'l>> + Clone,
) -> u64 {
    let span = span_of(meeting, lessons.map(|lesson| [lesson.start, lesson.end]));
    let calls = unreported.iter().filter(|(id, call)| {
        !meeting.calls.contains_key(*id) && meeting.rooms.contains(&call.room_id) && span.overlaps(call)
    });
    calls.count() as u64
}

/// The time of a meeting: from the first start to the last end of its schedules, or if they have none, of its calls.
fn span_of(
    meeting: &Meeting,
    schedules: impl Iterator<Item = [Option<DateTime<Utc>>; 2]> + Clone,
) -> LessonSpan {
    let instant = |at: Option<i64>| at.and_then(DateTime::from_timestamp_micros);
    let calls = meeting.calls.values();
    let start = schedules.clone().filter_map(|[start, _]| start).min();
    let end = schedules.filter_map(|[_, end]| end).max();
    LessonSpan {
        from: start.or_else(|| instant(calls.clone().filter_map(|span| span.start).min())),
        to: end.or_else(|| instant(calls.filter_map(|span| span.end).max())),
    }
}

/// A user's presence in a meeting, over all of its calls.
#[derive(Debug, Default)]
struct UserAttendance {
    /// None if no call has the user, and there are calls or participants about which nothing is known.
    attended: Option<bool>,
    /// Call ids in order of their start.
    calls: Vec<CallId>,
    first_joined: Option<i64>,
    last_left: Option<i64>,
    seconds: Option<f64>,
    /// True if all of the user's stays are known.
    is_exact: bool,
    /// The user's stays in all calls, sorted; an open one ends with its call.
    sessions: Vec<Session>,
}

impl UserAttendance {
    fn of(of: &MeetingCalls<'_>, user: &str) -> Self {
        let mut calls = Vec::new();
        let (mut sessions, mut is_exact) = (Vec::new(), true);
        for (call, stays) in of.meeting.users.get(user).into_iter().flatten() {
            if !stays.is_present() {
                continue;
            }
            let span = of.meeting.calls.get(call).copied().unwrap_or_default();
            is_exact &= !stays.unknown;
            sessions.extend(stays.sessions.iter().map(|session| closed(*session, span)));
            calls.push((span.start, call.clone()));
        }
        calls.sort();
        sessions.sort_unstable();
        let stay = stay::stay(&sessions, None);
        let attended = match calls.is_empty() {
            false => Some(true),
            true => {
                // A user who is listed as absent is not one of those whose ids could not be read.
                let may_be_unknown = of.meeting.has_unknown_people && !of.meeting.users.contains_key(user);
                (of.calls_without_report == 0 && !may_be_unknown).then_some(false)
            }
        };
        Self {
            attended,
            calls: calls.into_iter().map(|(_, call)| call).collect(),
            first_joined: stay.first_joined,
            last_left: stay.last_left,
            seconds: stay.seconds.filter(|_| is_exact && attended.is_some()),
            is_exact,
            sessions,
        }
    }

    /// Seconds within a schedule, and the schedule's length. None without a schedule, or if `duration_s` is null.
    fn in_lesson(&self, lesson: Option<&Lesson<'_>>) -> Option<(f64, f64)> {
        let lesson = lesson.filter(|_| self.seconds.is_some())?;
        let [start, end] = [lesson.start?, lesson.end?].map(|at| at.timestamp_micros());
        let end = end.max(start);
        let mut within = self.sessions.clone();
        for session in &mut within {
            session.joined = session.joined.clamp(start, end);
            session.left = session.left.map(|left| left.clamp(start, end));
        }
        Some((stay::stay(&within, None).seconds?, lesson.scheduled_s()?))
    }

    fn cells<'v>(
        self,
        ids: [(&'static str, Cell<'v>); 3],
        lesson: Option<Lesson<'v>>,
        of: &'v MeetingCalls<'_>,
    ) -> Vec<Cell<'v>> {
        // Any stay that can't be read may have been the first or the last.
        let times = lesson.as_ref().filter(|_| self.is_exact);
        let start = times.and_then(|lesson| lesson.start);
        let end = times.and_then(|lesson| lesson.end);
        let late = stay::seconds_between(start.map(|at| at.timestamp_micros()), self.first_joined);
        let early = stay::seconds_between(self.last_left, end.map(|at| at.timestamp_micros()));
        let length = lesson
            .as_ref()
            .and_then(Lesson::scheduled_s)
            .or_else(|| of.meeting.seconds());
        let share = match (self.seconds, length) {
            (Some(seconds), Some(length)) => Some((seconds / length).clamp(0.0, 1.0)),
            _ => (self.attended == Some(false)).then_some(0.0),
        };
        let in_lesson = self.in_lesson(lesson.as_ref());
        let [teacher_ids, teacher_names] = of.teachers.cells();
        let mut row = cells(
            lesson_attendance::table(),
            ids.into_iter().chain([
                (lesson_attendance::meta_matched, lesson.is_some().into()),
                (lesson_attendance::teacher_ids, teacher_ids),
                (lesson_attendance::teacher_names, teacher_names),
                (lesson_attendance::attended, self.attended.into()),
                (
                    lesson_attendance::call_ids,
                    Cell::Texts(
                        self.calls
                            .into_iter()
                            .map(|call| String::from(call).into())
                            .collect(),
                    ),
                ),
                (
                    lesson_attendance::first_joined_at,
                    self.first_joined.map_or(Cell::Null, Cell::Time),
                ),
                (
                    lesson_attendance::last_left_at,
                    self.last_left.map_or(Cell::Null, Cell::Time),
                ),
                (lesson_attendance::duration_s, self.seconds.into()),
                (lesson_attendance::attended_share, share.into()),
                (lesson_attendance::late_s, late.into()),
                (lesson_attendance::left_early_s, early.into()),
                (
                    lesson_attendance::in_lesson_s,
                    in_lesson.map(|(seconds, _)| seconds).into(),
                ),
                (
                    lesson_attendance::in_lesson_share,
                    in_lesson
                        .map(|(seconds, length)| (seconds / length).clamp(0.0, 1.0))
                        .into(),
                ),
                (
                    lesson_attendance::calls_without_report,
                    Cell::count(of.calls_without_report),
                ),
            ]),
        );
        if let Some(lesson) = lesson {
            of.columns.fill(lesson, &mut row);
        }
        row
    }
}

impl Meeting {
    /// Seconds in which any of its calls ran; none if that is unknown or 0.
    fn seconds(&self) -> Option<f64> {
        let mut spans: Vec<_> = self
            .calls
            .values()
            .map(|span| {
                Some(Session {
                    joined: span.start?,
                    left: Some(span.end?.max(span.start?)),
                })
            })
            .collect::<Option<_>>()?;
        spans.sort_unstable();
        stay::stay(&spans, None).seconds.filter(|seconds| *seconds > 0.0)
    }
}

/// The session; an open one ends with its call.
fn closed(session: Session, call: Span) -> Session {
    Session {
        left: session.left.or(call.end.map(|end| end.max(session.joined))),
        ..session
    }
}
