//! Who should have been in a lesson, who was, and for how long: the rows of `lesson_attendance`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::cell::{Cell, Session};
use super::listed::cells;
use super::meta::{Entry, Lesson, Meta};
use super::presence::{Meeting, Presence, Span};
use super::rows::Row;
use super::sink::{Sink, TableFile};
use super::stay;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::key;
use crate::lake::manifest::{Manifest, Quality};
use crate::lake::table::{Table, builtin};

/// The day's file of `lesson_attendance`; none without meetings.
///
/// `own` is the day's presence. `beside` is that of other days in meetings that they share with this one, and `away`
/// names those of them whose first call lies on such a day: they have their rows there.
///
/// # Errors
/// Only a fault of the program itself.
pub fn build_attendance(
    manifest: &Manifest,
    own: &Presence,
    beside: &[Presence],
    away: &BTreeSet<String>,
    meta: &Meta,
    quality: &mut Quality,
) -> Result<Option<TableFile>> {
    let name = "lesson_attendance";
    let table =
        builtin::get(name).ok_or_else(|| Error::new(ErrorKind::Internal, name, "there is no such table"))?;
    let mut all = own.clone();
    beside.iter().for_each(|other| all.join(other));
    let mut sink = Sink::new(table);
    for (id, meeting) in all.meetings.iter().filter(|(id, _)| !away.contains(*id)) {
        let expected: BTreeMap<&str, &Entry> = meta.expected(id).collect();
        let users: BTreeSet<&str> = meeting
            .users
            .keys()
            .map(String::as_str)
            .chain(expected.keys().copied())
            .collect();
        for user in users {
            let lesson = expected.get(user).and_then(|entry| entry.lesson());
            quality.unknown_roles += u64::from(lesson.as_ref().is_some_and(Lesson::role_is_unknown));
            let there = There::of(meeting, user);
            quality.meta_without_participants += u64::from(!there.attended);
            let ids = [
                ("space_id", manifest.space_id.as_str().into()),
                ("external_meeting_id", id.as_str().into()),
                ("external_user_id", user.into()),
            ];
            let mut row = Row {
                cells: there.cells(table, ids, lesson.as_ref(), meeting),
                extra: serde_json::Map::new(),
            };
            sink.push(&mut row)?;
        }
    }
    sink.finish(key::table(name, manifest.date, &manifest.space_id))
}

/// A user's presence in a meeting, over all of its calls.
#[derive(Debug, Default)]
struct There {
    attended: bool,
    /// Call ids in order of their start.
    calls: Vec<String>,
    first_joined: Option<i64>,
    last_left: Option<i64>,
    seconds: Option<f64>,
}

impl There {
    fn of(meeting: &Meeting, user: &str) -> Self {
        let mut calls = Vec::new();
        let (mut sessions, mut known) = (Vec::new(), true);
        for (call, stays) in meeting.users.get(user).into_iter().flatten() {
            // Listed without a single stay: invited, perhaps, but not there.
            if stays.sessions.is_empty() && !stays.unknown {
                continue;
            }
            let span = meeting.calls.get(call).copied().unwrap_or_default();
            known &= !stays.unknown;
            sessions.extend(stays.sessions.iter().map(|session| closed(*session, span)));
            calls.push((span.start, call.clone()));
        }
        calls.sort();
        sessions.sort_unstable();
        let stay = stay::stay(&sessions, None);
        Self {
            attended: !calls.is_empty(),
            calls: calls.into_iter().map(|(_, call)| call).collect(),
            first_joined: stay.first_joined,
            last_left: stay.last_left,
            seconds: stay.seconds.filter(|_| known),
        }
    }

    fn cells<'v>(
        self,
        table: &Table,
        ids: [(&'static str, Cell<'v>); 3],
        lesson: Option<&Lesson>,
        meeting: &Meeting,
    ) -> Vec<Cell<'v>> {
        let start = lesson.and_then(|lesson| lesson.start);
        let end = lesson.and_then(|lesson| lesson.end);
        let late = late_s(start.map(|at| at.timestamp_micros()), self.first_joined);
        let early = late_s(self.last_left, end.map(|at| at.timestamp_micros()));
        let length = lesson.and_then(Lesson::scheduled_s).or_else(|| meeting.seconds());
        let share = match (self.seconds, length) {
            (Some(seconds), Some(length)) => Some((seconds / length).clamp(0.0, 1.0)),
            _ => (!self.attended).then_some(0.0),
        };
        let mut row = cells(
            table,
            ids.into_iter().chain([
                ("meta_matched", lesson.is_some().into()),
                ("attended", self.attended.into()),
                (
                    "call_ids",
                    Cell::Texts(self.calls.into_iter().map(Into::into).collect()),
                ),
                (
                    "first_joined_at",
                    self.first_joined.map_or(Cell::Null, Cell::Time),
                ),
                ("last_left_at", self.last_left.map_or(Cell::Null, Cell::Time)),
                ("duration_s", self.seconds.into()),
                ("attended_share", share.into()),
                ("late_s", late.into()),
                ("left_early_s", early.into()),
            ]),
        );
        if let Some(lesson) = lesson {
            lesson.fill(table, &mut row);
        }
        row
    }
}

impl Meeting {
    /// Seconds in which any of its calls ran; none where that is not known or nothing.
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

/// A session that ends with its call where it is open.
fn closed(session: Session, call: Span) -> Session {
    Session {
        left: session.left.or(call.end.map(|end| end.max(session.joined))),
        ..session
    }
}

/// Seconds from one instant to a later one; 0 where it is none.
pub(super) fn late_s(from: Option<i64>, to: Option<i64>) -> Option<f64> {
    let micros = to?.saturating_sub(from?).max(0);
    // Exact up to 285 years.
    #[allow(clippy::cast_precision_loss)]
    Some(micros as f64 / 1e6)
}
