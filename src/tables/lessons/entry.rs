//! The lesson data of a user in a meeting, and where it came from. Pure.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lesson::Lesson;
use super::parse::Payload;
use crate::ids::{MeetingId, UserId};
use crate::lake;

/// The lesson data of a user in a meeting, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The meeting in the LMS.
    pub meeting: MeetingId,
    /// The user in the LMS.
    pub user: UserId,
    /// When its file came.
    pub received_at: DateTime<Utc>,
    /// The file that it came in; empty for one that a report brought.
    pub file: Arc<str>,
    /// Its line there; of one that a report brought, when that was landed.
    pub line: u64,
    /// What is said, as JSON with sorted keys: text takes a fraction of the memory of its values. None takes back what
    /// was said before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<String>,
}

impl Entry {
    /// A payload of a file that came at a time.
    pub fn new(payload: Payload, file: &Arc<str>, received_at: DateTime<Utc>) -> Self {
        Self {
            user: payload.user,
            meeting: payload.meeting,
            received_at,
            file: Arc::clone(file),
            line: payload.line,
            meta: payload.meta.map(|meta| Value::Object(meta).to_string()),
        }
    }

    /// A meta that a call's report holds: as old as the call, so that it lies beside it; of two, that of the report
    /// landed later counts.
    pub(in crate::tables) fn embedded(
        user: &str,
        meeting: &str,
        meta: Map<String, Value>,
        called_at: DateTime<Utc>,
        landed_at: DateTime<Utc>,
    ) -> Self {
        Self {
            user: user.into(),
            meeting: meeting.into(),
            received_at: called_at,
            file: "".into(),
            line: landed_at.timestamp().unsigned_abs(),
            meta: Some(Value::Object(meta).to_string()),
        }
    }

    /// What is said, as an object.
    pub(super) fn object(&self) -> Option<Map<String, Value>> {
        // It was written from an object, so it is one.
        serde_json::from_str(self.meta.as_deref()?).ok()
    }

    /// The lesson columns; none where the entry was taken back.
    pub(in crate::tables) fn lesson(&self) -> Option<Lesson> {
        self.object().as_ref().map(Lesson::of)
    }

    /// The date of its rows in `user_meta` and `hierarchy`: that of the scheduled start; where none can be read, that of
    /// the entry that it replaces, or of its arrival.
    pub fn date(&self, zone: Tz, before: Option<NaiveDate>) -> NaiveDate {
        match (self.lesson().and_then(|lesson| lesson.start), before) {
            (Some(start), _) => lake::date_of(start, zone),
            (None, Some(before)) => before,
            (None, None) => lake::date_of(self.received_at, zone),
        }
    }

    /// Columns whose value was there and could not be read.
    pub fn unreadable(&self) -> Vec<&'static str> {
        self.lesson().map(|lesson| lesson.unreadable).unwrap_or_default()
    }

    /// Whether it takes the place of another of the same user and meeting: it came later, in a file that is later by
    /// name, or on a later line. What was sent goes before what a report holds: that is as old as the call.
    pub fn is_later_than(&self, other: &Self) -> bool {
        let sent = |entry: &Self| !entry.file.is_empty();
        (sent(self), self.received_at, &self.file, self.line)
            > (sent(other), other.received_at, &other.file, other.line)
    }

    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.meeting.len() + self.user.len() + self.meta.as_ref().map_or(0, String::len)
    }
}
