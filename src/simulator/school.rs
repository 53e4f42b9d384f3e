//! The simulated school as plain data: the source of every answer, and the truth that tests compare an export with.
//! Pure; made by `generate`, edited by tests through [`super::Simulator::edit`].

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::seeded::hex_id;

/// The whole school. Edit the lists freely: the index is rebuilt after every edit.
#[derive(Debug, Clone, Default)]
pub struct School {
    /// All spaces, in the order they are listed.
    pub spaces: Vec<Space>,
    /// All rooms of all spaces, in the order they are listed.
    pub rooms: Vec<Room>,
    /// All calls.
    pub calls: Vec<Call>,
    /// All records.
    pub records: Vec<Record>,
    /// Rooms that are missing from the list of rooms but answer by their id, like deleted rooms.
    pub unlisted: HashSet<String>,
    index: Index,
}

/// Positions by id, so that no request searches the whole school.
#[derive(Debug, Clone, Default)]
struct Index {
    spaces: HashMap<String, usize>,
    rooms: HashMap<String, usize>,
    calls: HashMap<String, usize>,
    records: HashMap<String, usize>,
    rooms_of_space: HashMap<String, Vec<usize>>,
    calls_of_room: HashMap<String, Vec<usize>>,
    records_of_room: HashMap<String, Vec<usize>>,
}

/// A space.
#[derive(Debug, Clone)]
pub struct Space {
    /// 24 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Refuse every request below the space with this status (403, 404, 500, …); the space is still listed.
    pub refuse: Option<u16>,
}

/// A room of a space.
#[derive(Debug, Clone)]
pub struct Room {
    /// 24 hex digits.
    pub id: String,
    /// Its space.
    pub space_id: String,
    /// The short name in links.
    pub alias: String,
    /// Its name.
    pub name: String,
    /// `lesson` or `webinar`.
    pub kind: RoomKind,
    /// The parent room, if this room is a breakout room.
    pub parent_room_id: Option<String>,
    /// The time when the room was created.
    pub created_at: DateTime<Utc>,
    /// The start of its last call before those of the school; only `lastCallAt` shows it.
    pub earlier_call_at: Option<DateTime<Utc>>,
    /// Refuse every request below the room with this status (403, 404, 500, …); the room is still listed.
    pub refuse: Option<u16>,
}

/// The `type` of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomKind {
    /// A room for lessons.
    Lesson,
    /// A room for webinars.
    Webinar,
}

/// A call of a room.
#[derive(Debug, Clone)]
pub struct Call {
    /// 24 hex digits.
    pub id: String,
    /// Its space.
    pub space_id: String,
    /// Its room.
    pub room_id: String,
    /// The first join.
    pub started_at: DateTime<Utc>,
    /// The last leave; `None` while the call runs.
    pub finished_at: Option<DateTime<Utc>>,
    /// True for a call of a breakout room.
    pub is_breakout: bool,
    /// The tariff.
    pub plan_alias: String,
    /// The lesson of the LMS.
    pub lesson: Lesson,
    /// The participants.
    pub participants: Vec<Participant>,
    /// The chat.
    pub messages: Vec<Message>,
    /// Reactions.
    pub reactions: Vec<Reaction>,
    /// Polls with their votes.
    pub polls: Vec<Poll>,
    /// The answer to a request for the JSON report.
    pub json: Report,
    /// The answer to a request for the XLSX report.
    pub xlsx: Report,
}

impl Call {
    /// Sets the answers to requests for both reports.
    pub fn set_report(&mut self, report: Report) {
        self.json = report.clone();
        self.xlsx = report;
    }
}

/// The answer to a request for a report. A call without `finished_at` always answers 404.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The whole report.
    Whole,
    /// The report without this many of the last participants.
    Without(usize),
    /// 404: the report is not ready yet.
    Missing,
    /// 403: the tariff does not include it.
    Denied,
    /// Any other refusal.
    Status(u16),
    /// 200 and these bytes: `b""`, `b"{}"`, a page of HTML.
    Bytes(Vec<u8>),
}

impl Report {
    /// A report without participants.
    pub const EMPTY: Self = Self::Without(usize::MAX);

    /// A report of other bytes.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bytes(bytes.as_ref().to_vec())
    }
}

/// A lesson of the LMS.
#[derive(Debug, Clone)]
pub struct Lesson {
    /// The LMS's id: `externalMeetingId`.
    pub meeting_id: String,
    /// Its name.
    pub name: String,
    /// The planned start.
    pub scheduled_start: DateTime<Utc>,
    /// The planned end.
    pub scheduled_end: DateTime<Utc>,
    /// The course's id and name.
    pub course: (String, String),
    /// The student group's id and name.
    pub group: (String, String),
}

/// A participant of a call.
#[derive(Debug, Clone)]
pub struct Participant {
    /// The vendor's id of the participant.
    pub id: Option<String>,
    /// The displayed name.
    pub name: String,
    /// True for a moderator (the teacher).
    pub moderator: bool,
    /// The e-mail address of a registered person.
    pub email: Option<String>,
    /// The telephone number of a registered person.
    pub phone: Option<String>,
    /// The LMS's id of the person; `None` for guests.
    pub external_user_id: Option<String>,
    /// The stays, in order; a stay without a leave was never closed.
    pub sessions: Vec<Session>,
    /// Seconds with the camera on.
    pub camera_seconds: i64,
    /// Seconds with the microphone on.
    pub microphone_seconds: i64,
    /// Seconds of sharing the screen.
    pub screen_seconds: i64,
    /// Raised hands.
    pub hand_raises: i64,
}

/// A stay in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The join.
    pub joined_at: DateTime<Utc>,
    /// The leave.
    pub left_at: Option<DateTime<Utc>>,
}

/// A chat message.
#[derive(Debug, Clone)]
pub struct Message {
    /// 24 hex digits.
    pub id: String,
    /// The sender's position in the call's participants.
    pub from: usize,
    /// The text.
    pub text: String,
    /// The time it was sent.
    pub sent_at: DateTime<Utc>,
}

/// A reaction.
#[derive(Debug, Clone)]
pub struct Reaction {
    /// The sender's position in the call's participants.
    pub from: usize,
    /// `like`, `clap`, …
    pub kind: String,
    /// The time it was sent.
    pub sent_at: DateTime<Utc>,
}

/// A poll.
#[derive(Debug, Clone)]
pub struct Poll {
    /// 24 hex digits.
    pub id: String,
    /// The question.
    pub question: String,
    /// The ids and texts of the options.
    pub options: Vec<(String, String)>,
    /// The votes.
    pub votes: Vec<Vote>,
}

/// A vote.
#[derive(Debug, Clone)]
pub struct Vote {
    /// The voter's position in the call's participants.
    pub from: usize,
    /// The position in the poll's options.
    pub option: usize,
    /// The time of the vote.
    pub voted_at: DateTime<Utc>,
}

/// A record, which is a video of a call.
#[derive(Debug, Clone)]
pub struct Record {
    /// 24 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its space.
    pub space_id: String,
    /// Its room.
    pub room_id: String,
    /// Its call.
    pub call_id: Option<String>,
    /// The state.
    pub state: RecordState,
    /// The time when the record was created.
    pub created_at: DateTime<Utc>,
    /// The start of the recording.
    pub started_at: Option<DateTime<Utc>>,
    /// The end of the recording; `None` while it runs and nothing can be downloaded.
    pub finished_at: Option<DateTime<Utc>>,
    /// The value of `fileSize`.
    pub file_size: Option<u64>,
    /// The real size, in bytes.
    pub size: u64,
}

/// The `state` of a record. The vendor does not list the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// The recording still runs.
    New,
    /// The recording ended normally.
    Finished,
    /// The recording was stopped at once.
    Aborted,
    /// There is no recording.
    Failed,
}

impl Record {
    /// True if the record can be downloaded.
    pub fn is_downloadable(&self) -> bool {
        self.finished_at.is_some() && self.size > 0
    }
}

impl School {
    /// Rebuilds the index after the lists changed.
    pub(super) fn reindex(&mut self) {
        let position = |(i, id): (usize, &String)| (id.clone(), i);
        let mut index = Index {
            spaces: self
                .spaces
                .iter()
                .map(|s| &s.id)
                .enumerate()
                .map(position)
                .collect(),
            rooms: self
                .rooms
                .iter()
                .map(|r| &r.id)
                .enumerate()
                .map(position)
                .collect(),
            calls: self
                .calls
                .iter()
                .map(|c| &c.id)
                .enumerate()
                .map(position)
                .collect(),
            records: self
                .records
                .iter()
                .map(|r| &r.id)
                .enumerate()
                .map(position)
                .collect(),
            ..Index::default()
        };
        for (i, room) in self.rooms.iter().enumerate() {
            index
                .rooms_of_space
                .entry(room.space_id.clone())
                .or_default()
                .push(i);
        }
        for (i, call) in self.calls.iter().enumerate() {
            index
                .calls_of_room
                .entry(call.room_id.clone())
                .or_default()
                .push(i);
        }
        for (i, record) in self.records.iter().enumerate() {
            index
                .records_of_room
                .entry(record.room_id.clone())
                .or_default()
                .push(i);
        }
        self.index = index;
    }

    /// The space of this id.
    pub fn space(&self, id: &str) -> Option<&Space> {
        self.spaces.get(*self.index.spaces.get(id)?)
    }

    /// The room of this id.
    pub fn room(&self, id: &str) -> Option<&Room> {
        self.rooms.get(*self.index.rooms.get(id)?)
    }

    /// The call of this id.
    pub fn call(&self, id: &str) -> Option<&Call> {
        self.calls.get(*self.index.calls.get(id)?)
    }

    /// The record of this id.
    pub fn record(&self, id: &str) -> Option<&Record> {
        self.records.get(*self.index.records.get(id)?)
    }

    /// A record's position in the list.
    pub(super) fn record_position(&self, id: &str) -> usize {
        self.index.records.get(id).copied().unwrap_or(0)
    }

    /// The space of this id, to edit.
    pub fn space_mut(&mut self, id: &str) -> Option<&mut Space> {
        self.spaces.iter_mut().find(|space| space.id == id)
    }

    /// The room of this id, to edit.
    pub fn room_mut(&mut self, id: &str) -> Option<&mut Room> {
        self.rooms.iter_mut().find(|room| room.id == id)
    }

    /// The call of this id, to edit.
    pub fn call_mut(&mut self, id: &str) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.id == id)
    }

    /// The record of this id, to edit.
    pub fn record_mut(&mut self, id: &str) -> Option<&mut Record> {
        self.records.iter_mut().find(|record| record.id == id)
    }

    /// The rooms of a space.
    pub fn rooms_of(&self, space: &str) -> impl Iterator<Item = &Room> {
        let found = self.index.rooms_of_space.get(space);
        found.into_iter().flatten().filter_map(|&i| self.rooms.get(i))
    }

    /// The calls of a room.
    pub fn calls_of(&self, room: &str) -> impl Iterator<Item = &Call> {
        let found = self.index.calls_of_room.get(room);
        found.into_iter().flatten().filter_map(|&i| self.calls.get(i))
    }

    /// The records of a room.
    pub fn records_of(&self, room: &str) -> impl Iterator<Item = &Record> {
        let found = self.index.records_of_room.get(room);
        found.into_iter().flatten().filter_map(|&i| self.records.get(i))
    }

    /// The `lastCallAt` of a room: the start of its last call, if it had one.
    pub fn last_call_at(&self, room: &Room) -> Option<DateTime<Utc>> {
        let here = self.calls_of(&room.id).map(|call| call.started_at).max();
        here.max(room.earlier_call_at)
    }

    /// Makes a call run on: removes `finished_at`, which a later edit may set again.
    pub fn reopen(&mut self, call: &str) {
        if let Some(call) = self.call_mut(call) {
            call.finished_at = None;
        }
    }

    /// Adds a copy of a call that starts `later`, and returns its id. `None` if there is no such call.
    pub fn add_call_like(&mut self, call: &str, later: TimeDelta) -> Option<String> {
        let mut copy = self.call(call)?.clone();
        copy.id = hex_id(&format!("{call}+{later}"));
        copy.started_at += later;
        copy.finished_at = copy.finished_at.map(|at| at + later);
        for session in copy
            .participants
            .iter_mut()
            .flat_map(|person| &mut person.sessions)
        {
            session.joined_at += later;
            session.left_at = session.left_at.map(|at| at + later);
        }
        let sent = copy.messages.iter_mut().map(|message| &mut message.sent_at);
        let sent = sent.chain(copy.reactions.iter_mut().map(|reaction| &mut reaction.sent_at));
        let votes = copy.polls.iter_mut().flat_map(|poll| &mut poll.votes);
        for at in sent.chain(votes.map(|vote| &mut vote.voted_at)) {
            *at += later;
        }
        for message in &mut copy.messages {
            message.id = hex_id(&format!("{}+{later}", message.id));
        }
        let id = copy.id.clone();
        self.calls.push(copy);
        self.reindex();
        Some(id)
    }

    /// The `storeExternalUserMeta` payloads of the LMS: one for each person of each meeting.
    pub fn metas(&self) -> Vec<Value> {
        let mut seen = std::collections::HashSet::new();
        let mut metas = Vec::new();
        for call in &self.calls {
            for person in &call.participants {
                let Some(user) = &person.external_user_id else {
                    continue;
                };
                if seen.insert((user, &call.lesson.meeting_id)) {
                    metas.push(call.lesson.meta(user, person));
                }
            }
        }
        metas
    }
}

impl Lesson {
    /// The payload of a person, as the guide shows it.
    pub(super) fn meta(&self, user: &str, person: &Participant) -> Value {
        let minute = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
        json!({
            "externalUserId": user,
            "externalMeetingId": self.meeting_id,
            "meta": {
                "lesson_scheduled_start_dt": minute(self.scheduled_start),
                "lesson_scheduled_end_dt": minute(self.scheduled_end),
                "lesson_name": self.name,
                "user_fullname": person.name,
                "user_role": if person.moderator { "teacher" } else { "student" },
                "student_group": {
                    "student_group_id": self.group.0,
                    "student_group_name": self.group.1,
                },
                "lesson_course": {
                    "lesson_course_id": self.course.0,
                    "lesson_course_name": self.course.1,
                },
            },
        })
    }
}
