//! Presence: who was in which call of a meeting. Attendance is computed from it. Pure.
//!
//! The presence of a day comes from its reports while they are built. That of a neighbour day, which shares a meeting,
//! comes from its table of participants.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CallId, MeetingId, RoomId, UserId};
use crate::lake::manifest::Manifest;
use crate::lake::table::builtin::participants;
use crate::lake::table::{DESCRIPTION_KEY, Table};
use crate::small_map::SmallMap;
use crate::tables::parquet::cell::{Cell, Session};
use crate::tables::parquet::row::TableRow;
use crate::tables::privacy::policy::PrivacyPolicy;
use crate::tables::privacy::treatment::Treatment;

/// The columns of `participants` that presence is read from.
const COLUMNS: [&str; 10] = [
    participants::room_id,
    participants::call_id,
    participants::call_started_at,
    participants::call_finished_at,
    participants::external_user_id,
    participants::external_meeting_id,
    participants::sessions,
    participants::sessions_unreadable,
    participants::role,
    participants::name,
];
/// The value of `role` by which a report marks a moderator.
const MODERATOR: &str = "moderator";

/// The presence in the meetings of a day's calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presence {
    pub(crate) meetings: BTreeMap<MeetingId, Meeting>,
    /// True if the ids of its users are pseudonyms, because it was read from a table that has these.
    pub(crate) has_pseudonyms: bool,
}

/// The calls of a meeting and the users in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meeting {
    pub calls: SmallMap<CallId, Span>,
    /// The rooms of these calls.
    pub rooms: BTreeSet<RoomId>,
    /// True if a call had a participant who can't be identified, because the ids could not be read.
    pub has_unknown_people: bool,
    /// The stays of each user in each call.
    pub users: BTreeMap<UserId, SmallMap<CallId, Stays>>,
    /// The users who were in a call as moderators, with the first name that a call knows them by.
    pub moderators: BTreeMap<UserId, Option<String>>,
}

/// A participant, as a row of the table names them.
#[derive(Clone, Copy)]
struct Attendee<'p> {
    user: Option<&'p str>,
    role: Option<&'p str>,
    name: Option<&'p str>,
}

/// A call's times, in microseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: Option<i64>,
    pub end: Option<i64>,
}

/// The stays of one user in one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stays {
    pub sessions: Vec<Session>,
    /// True if the length is unknown: the report says nothing about sessions, or some can't be read.
    pub unknown: bool,
}

impl Stays {
    /// The stays of a user about whose sessions the report says nothing.
    fn unknown() -> Self {
        Self {
            sessions: Vec::new(),
            unknown: true,
        }
    }

    /// True if the user was in the call. A user who is listed without a single stay was perhaps invited, but absent.
    pub fn is_present(&self) -> bool {
        self.unknown || !self.sessions.is_empty()
    }
}

/// The first call of each user who was in several calls of a meeting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstCalls(BTreeMap<MeetingId, BTreeMap<UserId, CallId>>);

impl FirstCalls {
    /// True if a call is the user's first one of the meeting. `before` is the presence in the calls that were built
    /// before; it decides if nothing better is known.
    pub(crate) fn is_first(&self, before: &Presence, meeting: &str, user: &str, call: &str) -> bool {
        match self.0.get(meeting).and_then(|users| users.get(user)) {
            Some(first) => first == call,
            None => !before.has_seen(meeting, user),
        }
    }

    /// True if a build in the order of the manifest, without this knowledge, took another call for a user's first one.
    pub fn contradict(&self, own: &Presence, manifest: &Manifest) -> bool {
        let order: BTreeMap<&str, usize> = manifest.calls_in_order().into_iter().zip(0..).collect();
        self.0.iter().any(|(meeting, users)| {
            users.iter().any(|(user, first)| {
                let calls = own.calls_of(meeting, user);
                let taken = calls.min_by_key(|(call, _)| order.get(*call).copied());
                taken.is_some_and(|(call, _)| *first != call)
            })
        })
    }
}

impl Presence {
    /// The day's meetings with the start of their first call.
    pub fn meetings(&self) -> BTreeMap<MeetingId, Option<DateTime<Utc>>> {
        self.meetings
            .iter()
            .map(|(id, meeting)| {
                (
                    id.clone(),
                    meeting.first_start().and_then(DateTime::from_timestamp_micros),
                )
            })
            .collect()
    }

    /// The first call of each user who was in several calls of a meeting, by the stays. `beside` is the presence of
    /// neighbour days.
    pub fn first_calls(&self, beside: &[Self]) -> FirstCalls {
        let mut firsts = FirstCalls::default();
        for (id, meeting) in &self.joined(beside).meetings {
            for (user, calls) in &meeting.users {
                let calls = || calls.iter().filter(|(_, stays)| stays.is_present());
                if calls().nth(1).is_none() {
                    continue;
                }
                let begin = |(call, stays): &(&CallId, &Stays)| {
                    let joined = stays.sessions.iter().map(|session| session.joined).min();
                    let start = meeting.calls.get(*call).and_then(|span| span.start);
                    let begin = joined.or(start);
                    (begin.is_none(), begin, (*call).clone())
                };
                if let Some((call, _)) = calls().min_by_key(begin) {
                    let users = firsts.0.entry(id.clone()).or_default();
                    users.insert(user.clone(), call.clone());
                }
            }
        }
        firsts
    }

    /// The presence with that of other days in its meetings.
    pub(crate) fn joined(&self, others: &[Self]) -> Cow<'_, Self> {
        let mut all = Cow::Borrowed(self);
        for other in others {
            all.to_mut().join(other);
        }
        all
    }

    /// The calls of a meeting that a user was in.
    fn calls_of<'p>(&'p self, meeting: &str, user: &str) -> impl Iterator<Item = (&'p str, &'p Stays)> {
        let users = self.meetings.get(meeting).map(|meeting| &meeting.users);
        let calls = users.and_then(|users| users.get(user)).into_iter().flatten();
        calls
            .filter(|(_, stays)| stays.is_present())
            .map(|(call, stays)| (call.as_str(), stays))
    }

    fn has_seen(&self, meeting: &str, user: &str) -> bool {
        self.calls_of(meeting, user).next().is_some()
    }

    /// Adds the rows of a call's participants. `has_unknown_people` says that there were others, whose ids could not be
    /// read. Each of them may be a user who seems to be missing.
    pub(crate) fn take(&mut self, table: &Table, rows: &[TableRow<'_>], has_unknown_people: bool) {
        let places = COLUMNS.map(|name| table.index(name));
        for row in rows {
            let cells = places.map(|at| at.map_or(&Cell::Null, |at| &row.cells[at]));
            let time = |cell: &Cell<'_>| match cell {
                Cell::Time(micros) => Some(*micros),
                _ => None,
            };
            let [
                room,
                call,
                start,
                end,
                user,
                meeting,
                sessions,
                unreadable,
                role,
                name,
            ] = cells;
            let (Some(call), Some(meeting)) = (call.as_text(), meeting.as_text()) else {
                continue;
            };
            let span = Span {
                start: time(start),
                end: time(end),
            };
            let stays = match sessions {
                Cell::Sessions(sessions) => Stays {
                    sessions: sessions.to_vec(),
                    unknown: matches!(unreadable, Cell::Int(1..)),
                },
                _ => Stays::unknown(),
            };
            let [user, role, name] = [user, role, name].map(Cell::as_text);
            self.add(
                meeting,
                (room.as_text(), call, span),
                Attendee { user, role, name },
                stays,
            );
            let is_damaged = user.is_some_and(|id| id.contains('\u{fffd}'));
            if let Some(meeting) = self.meetings.get_mut(meeting) {
                meeting.has_unknown_people |= has_unknown_people || is_damaged;
            }
        }
    }

    /// Adds a stay in a call, which is given by its room, its id and its times.
    fn add(
        &mut self,
        meeting: &str,
        (room, call, span): (Option<&str>, &str, Span),
        attendee: Attendee<'_>,
        told: Stays,
    ) {
        let meeting = self.meetings.entry(meeting.into()).or_default();
        meeting.calls.insert(call.into(), span);
        if let Some(room) = room.filter(|room| !meeting.rooms.contains(*room)) {
            meeting.rooms.insert(room.into());
        }
        let Some(user) = attendee.user else {
            return;
        };
        let is_moderator = attendee
            .role
            .is_some_and(|role| role.trim().eq_ignore_ascii_case(MODERATOR));
        if is_moderator && told.is_present() {
            let name = meeting.moderators.entry(user.into()).or_default();
            *name = name.take().or_else(|| attendee.name.map(str::to_owned));
        }
        let stays = meeting.users.entry(user.into()).or_default();
        let stays = stays.get_or_insert_with(call.into(), Stays::default);
        stays.sessions.extend(told.sessions);
        stays.unknown |= told.unknown;
    }

    /// Reads the presence in some meetings from the `participants` file of another day. The file may have pseudonyms of users
    /// and meetings, as the policy makes them, or no ids at all.
    ///
    /// # Errors
    /// `Store` if the bytes are not that table.
    pub fn read(participants: Bytes, meetings: &BTreeSet<MeetingId>, policy: &PrivacyPolicy) -> Result<Self> {
        let damaged =
            |why: &dyn std::fmt::Display| Error::new(ErrorKind::Store, "table participants", why.to_string());
        let builder = ParquetRecordBatchReaderBuilder::try_new(participants).map_err(|e| damaged(&e))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
        let written = Written::of(builder.schema(), meetings, policy)?;
        let reader = builder.with_projection(mask).build().map_err(|e| damaged(&e))?;
        let mut presence = Self {
            has_pseudonyms: written.users == WrittenIds::Pseudonyms,
            ..Self::default()
        };
        for batch in reader {
            let batch = batch.map_err(|e| damaged(&e))?;
            presence
                .take_batch(&batch, &written)
                .ok_or_else(|| damaged(&"it has other columns"))?;
        }
        if written.users == WrittenIds::Null {
            // Any of the participants may be any user.
            let meetings = presence.meetings.values_mut();
            meetings.for_each(|meeting| meeting.has_unknown_people = true);
        }
        Ok(presence)
    }

    fn take_batch(&mut self, batch: &RecordBatch, written: &Written<'_>) -> Option<()> {
        let text = |name| batch.column_by_name(name)?.as_string_opt::<i32>();
        let times = |name| {
            batch
                .column_by_name(name)?
                .as_primitive_opt::<TimestampMicrosecondType>()
        };
        let [calls, users, meetings] = [
            participants::call_id,
            participants::external_user_id,
            participants::external_meeting_id,
        ]
        .map(text);
        let (calls, users, meetings) = (calls?, users?, meetings?);
        let [rooms, roles, names] = [participants::room_id, participants::role, participants::name].map(text);
        let (starts, ends) = (
            times(participants::call_started_at)?,
            times(participants::call_finished_at)?,
        );
        let sessions = batch
            .column_by_name(participants::sessions)?
            .as_list_opt::<i32>()?;
        // Tables of earlier versions lack it.
        let unreadable = batch.column_by_name(participants::sessions_unreadable);
        let unreadable = unreadable.and_then(|column| column.as_primitive_opt::<Int64Type>());
        for row in 0..batch.num_rows() {
            let there = |array: &dyn Array| array.is_valid(row);
            let Some(meeting) = there(meetings).then(|| meetings.value(row)) else {
                continue;
            };
            let Some(meeting) = written.meetings.get(meeting) else {
                continue;
            };
            let span = Span {
                start: there(starts).then(|| starts.value(row)),
                end: there(ends).then(|| ends.value(row)),
            };
            let stays = if there(sessions) {
                Stays {
                    sessions: sessions_of(&sessions.value(row))?,
                    unknown: unreadable.is_some_and(|counts| there(counts) && counts.value(row) > 0),
                }
            } else {
                Stays::unknown()
            };
            let [user, room, role, name] = [Some(users), rooms, roles, names]
                .map(|texts| texts.and_then(|texts| there(texts).then(|| texts.value(row))));
            self.add(
                meeting.as_str(),
                (room, calls.value(row), span),
                Attendee { user, role, name },
                stays,
            );
        }
        Some(())
    }

    /// Merges the presence of another day in meetings that this one knows.
    fn join(&mut self, other: &Self) {
        for (id, theirs) in &other.meetings {
            let Some(ours) = self.meetings.get_mut(id) else {
                continue;
            };
            ours.has_unknown_people |= theirs.has_unknown_people;
            ours.rooms.extend(theirs.rooms.iter().cloned());
            ours.calls
                .extend(theirs.calls.iter().map(|(call, span)| (call.clone(), *span)));
            for (user, name) in &theirs.moderators {
                let mine = ours.moderators.entry(user.clone()).or_default();
                *mine = mine.take().or_else(|| name.clone());
            }
            for (user, stays) in &theirs.users {
                let mine = ours.users.entry(user.clone()).or_default();
                mine.extend(stays.iter().map(|(call, stays)| (call.clone(), stays.clone())));
            }
        }
    }
}

/// The form in which a file has ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WrittenIds {
    Plain,
    Pseudonyms,
    Null,
}

impl WrittenIds {
    /// Reads it from the description of the column.
    fn of(schema: &SchemaRef, column: &str) -> Self {
        let field = schema.field_with_name(column).ok();
        let doc = field.and_then(|field| field.metadata().get(DESCRIPTION_KEY));
        let has = |treatment: Treatment| {
            let remark = treatment.remark().zip(doc);
            remark.is_some_and(|(remark, doc)| doc.starts_with(remark))
        };
        if has(Treatment::Hash) {
            Self::Pseudonyms
        } else if has(Treatment::Null) {
            Self::Null
        } else {
            Self::Plain
        }
    }
}

/// How a file of participants names users and the wanted meetings.
struct Written<'m> {
    users: WrittenIds,
    /// The meetings by the text that stands for them in the file.
    meetings: BTreeMap<String, &'m MeetingId>,
}

impl<'m> Written<'m> {
    fn of(schema: &SchemaRef, meetings: &'m BTreeSet<MeetingId>, policy: &PrivacyPolicy) -> Result<Self> {
        let form = WrittenIds::of(schema, participants::external_meeting_id);
        let text = |meeting: &'m MeetingId| {
            let text = match form {
                WrittenIds::Pseudonyms if policy.makes_pseudonyms() => policy.pseudonym(meeting.as_str())?,
                _ => meeting.as_str().to_owned(),
            };
            Ok((text, meeting))
        };
        Ok(Self {
            users: WrittenIds::of(schema, participants::external_user_id),
            meetings: meetings.iter().map(text).collect::<Result<_>>()?,
        })
    }
}

impl Meeting {
    /// Renames users.
    pub fn rename(&mut self, name: impl Fn(&str) -> Option<UserId>) {
        let renamed = |user: UserId| name(user.as_str()).unwrap_or(user);
        let users = std::mem::take(&mut self.users).into_iter();
        self.users = users.map(|(user, stays)| (renamed(user), stays)).collect();
        let moderators = std::mem::take(&mut self.moderators).into_iter();
        self.moderators = moderators.map(|(user, name)| (renamed(user), name)).collect();
    }

    /// The start of the first call.
    pub fn first_start(&self) -> Option<i64> {
        self.calls.values().filter_map(|span| span.start).min()
    }
}

fn sessions_of(list: &dyn Array) -> Option<Vec<Session>> {
    let fields = list.as_struct_opt()?;
    let times = |name| {
        fields
            .column_by_name(name)?
            .as_primitive_opt::<TimestampMicrosecondType>()
    };
    let (joined, left) = (times("joined_at")?, times("left_at")?);
    let sessions = (0..list.len())
        .filter(|at| joined.is_valid(*at))
        .map(|at| Session {
            joined: joined.value(at),
            left: left.is_valid(at).then(|| left.value(at)),
        });
    Some(sessions.collect())
}
