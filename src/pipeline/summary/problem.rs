//! An entry in the lists of a run's summary. Pure.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::problem_kind::ProblemKind;
use crate::ids::{CallId, MeetingId, RecordId, RoomId, SpaceId, UserId};
use crate::sanitize::escaped;

/// An entry of a summary: something failed, is pending, or needs a look; with the ids that it is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The kind: a word for scripts.
    pub kind: ProblemKind,
    /// A sentence for people.
    pub message: String,
    /// The day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    /// The space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub space_id: Option<SpaceId>,
    /// The room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<RoomId>,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<RecordId>,
    /// The meeting in the LMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_meeting_id: Option<MeetingId>,
    /// The user in the LMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_user_id: Option<UserId>,
    /// The number of times that it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Problem {
    /// A problem that names no object yet.
    pub fn new(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: escaped(&message.into()).into_owned(),
            ..Self::default()
        }
    }

    /// Names a day: a date of a space.
    #[must_use]
    pub fn on(mut self, date: NaiveDate, space: &SpaceId) -> Self {
        self.date = Some(date);
        self.space(space)
    }

    /// Names a space.
    #[must_use]
    pub fn space(mut self, id: &str) -> Self {
        self.space_id = Some(id.into());
        self
    }

    /// Names a room.
    #[must_use]
    pub fn room(mut self, id: &str) -> Self {
        self.room_id = Some(id.into());
        self
    }

    /// Names a call.
    #[must_use]
    pub fn call(mut self, id: &str) -> Self {
        self.call_id = Some(id.into());
        self
    }

    /// Names a record.
    #[must_use]
    pub fn record(mut self, id: &str) -> Self {
        self.record_id = Some(id.into());
        self
    }

    /// Names a meeting of the LMS.
    #[must_use]
    pub fn meeting(mut self, id: &str) -> Self {
        self.external_meeting_id = Some(id.into());
        self
    }

    /// Names a user of the LMS.
    #[must_use]
    pub fn user(mut self, id: &str) -> Self {
        self.external_user_id = Some(id.into());
        self
    }

    /// Says how many times it happened.
    #[must_use]
    pub fn count(mut self, times: u64) -> Self {
        self.count = Some(times);
        self
    }

    /// The place of the problem in a sorted list.
    pub(super) fn order(&self) -> impl Ord {
        (
            self.date,
            &self.space_id,
            &self.room_id,
            &self.call_id,
            &self.record_id,
            &self.kind,
        )
    }

    /// Formats the problem as one line: the date, the most specific of the ids, and the message.
    pub fn one_line(&self) -> String {
        let ids = [
            ("record", self.record_id.as_deref()),
            ("call", self.call_id.as_deref()),
            ("room", self.room_id.as_deref()),
            ("meeting", self.external_meeting_id.as_deref()),
            ("space", self.space_id.as_deref()),
        ];
        let id = ids
            .iter()
            .find_map(|(what, id)| id.map(|id| format!("{what} {}: ", escaped(id))));
        let date = self.date.map(|date| format!("{date} "));
        format!(
            "{}{}{}",
            date.unwrap_or_default(),
            id.unwrap_or_default(),
            self.message
        )
    }
}
