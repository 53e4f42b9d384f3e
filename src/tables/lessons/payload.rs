//! A payload of lesson data: the body of one `storeExternalUserMeta` request. Pure.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::DEEPEST;
use super::lesson;
use crate::ids::{MeetingId, UserId};
use crate::json::Repairs;
use crate::tables::report::node::{JsonObject, Node};

/// A payload of `storeExternalUserMeta`.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    /// The user in the LMS.
    pub user: UserId,
    /// The meeting in the LMS.
    pub meeting: MeetingId,
    /// The lesson data, as JSON with sorted keys; none takes back what was sent before.
    pub meta: Option<String>,
    /// The scheduled start, if it can be read.
    pub start: Option<DateTime<Utc>>,
    /// Columns whose value exists and can't be read.
    pub unreadable: Vec<&'static str>,
    /// The line that it starts on, from 1.
    pub line: u64,
    /// The repairs of its JSON.
    pub repairs: Repairs,
}

impl Payload {
    /// The body of the request to the API.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert(USER[0].into(), self.user.clone().into());
        body.insert(MEETING[0].into(), self.meeting.clone().into());
        // It was written from an object, so it is one.
        let meta = self
            .meta
            .as_deref()
            .and_then(|meta| serde_json::from_str(meta).ok());
        body.insert("meta".into(), meta.unwrap_or_default());
        Value::Object(body)
    }

    /// Reads a payload. Fields beside `meta` are lesson data too, because some systems send it flat. A `meta` of null
    /// takes back what was sent before, whatever stands beside it.
    pub(super) fn read(value: Node<'_>, line: u64, repairs: Repairs) -> Result<Self, Malformed> {
        let deep = !value.is_within(DEEPEST);
        let Node::Object(mut object) = value else {
            return Err(Malformed::new(line, "a payload is an object"));
        };
        let (user, meeting) = (take_id(&mut object, USER), take_id(&mut object, MEETING));
        let refuse = |why: &str| Malformed {
            user: user.as_deref().map(Into::into),
            meeting: meeting.as_deref().map(Into::into),
            ..Malformed::new(line, why)
        };
        if deep {
            return Err(refuse("it is nested too deeply"));
        }
        let Some(of_user) = user.as_deref() else {
            return Err(refuse("externalUserId is missing"));
        };
        let Some(of_meeting) = meeting.as_deref() else {
            return Err(refuse("externalMeetingId is missing"));
        };
        let meta = match object.remove("meta") {
            Some(Node::Null) => None,
            Some(Node::Object(meta)) => Some(object.overlaid(meta)),
            None => Some(object),
            Some(_) => return Err(refuse("meta is no object")),
        };
        let unreadable = meta.as_ref().map(lesson::unreadable).unwrap_or_default();
        let start = meta.as_ref().and_then(lesson::start);
        let meta = meta.map(|meta| meta.to_json()).transpose();
        Ok(Self {
            user: of_user.into(),
            meeting: of_meeting.into(),
            meta: meta.map_err(|error| Malformed::new(line, error.to_string()))?,
            start,
            unreadable,
            line,
            repairs,
        })
    }
}

/// The names of the ids; the first is the vendor's.
const USER: [&str; 2] = ["externalUserId", "external_user_id"];

const MEETING: [&str; 2] = ["externalMeetingId", "external_meeting_id"];

fn take_id<'v>(object: &mut JsonObject<'v>, names: [&str; 2]) -> Option<Cow<'v, str>> {
    names
        .iter()
        .filter_map(|name| object.remove(name))
        .find_map(|value| value.to_text())
}

/// A part of a file that is not a payload: its line, the reason and its ids, but nothing else of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: u64,
    /// The reason.
    pub why: String,
    /// The user, if the id can be read.
    pub user: Option<UserId>,
    /// The meeting, if the id can be read.
    pub meeting: Option<MeetingId>,
}

impl Malformed {
    pub(super) fn new(line: u64, why: impl Into<String>) -> Self {
        Self {
            line,
            why: why.into(),
            user: None,
            meeting: None,
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Malformed {}
