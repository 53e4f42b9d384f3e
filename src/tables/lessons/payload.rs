//! A payload of lesson data: the body of one `storeExternalUserMeta` request. Pure.

use serde_json::{Map, Value};

use super::DEEPEST;
use super::lesson::Lesson;
use crate::ids::{MeetingId, UserId};
use crate::json::Repairs;
use crate::lenient;

/// A payload of `storeExternalUserMeta`.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    /// The user in the LMS.
    pub user: UserId,
    /// The meeting in the LMS.
    pub meeting: MeetingId,
    /// The lesson data; none takes back what was sent before.
    pub meta: Option<Map<String, Value>>,
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
        let meta = self.meta.clone().map_or(Value::Null, Value::Object);
        body.insert("meta".into(), meta);
        Value::Object(body)
    }

    /// Columns whose value exists and can't be read.
    pub fn unreadable(&self) -> Vec<&'static str> {
        self.meta
            .as_ref()
            .map(|meta| Lesson::of(meta).unreadable)
            .unwrap_or_default()
    }

    /// Reads a payload. Fields beside `meta` are lesson data too, because some systems send it flat. A `meta` of null
    /// takes back what was sent before, whatever stands beside it.
    pub(super) fn read(value: Value, line: u64, repairs: Repairs) -> Result<Self, Malformed> {
        let deep = !lenient::is_within(&value, DEEPEST);
        let Value::Object(mut object) = value else {
            return Err(Malformed::new(line, "a payload is an object"));
        };
        let (user, meeting) = (take_id(&mut object, USER), take_id(&mut object, MEETING));
        let refuse = |why: &str| Malformed {
            user: user.clone().map(Into::into),
            meeting: meeting.clone().map(Into::into),
            ..Malformed::new(line, why)
        };
        if deep {
            return Err(refuse("it is nested too deeply"));
        }
        let Some(of_user) = user.clone() else {
            return Err(refuse("externalUserId is missing"));
        };
        let Some(of_meeting) = meeting.clone() else {
            return Err(refuse("externalMeetingId is missing"));
        };
        let meta = match object.remove("meta") {
            Some(Value::Null) => None,
            Some(Value::Object(meta)) => Some(with_fields(meta, object)),
            None => Some(object),
            Some(_) => return Err(refuse("meta is no object")),
        };
        Ok(Self {
            user: of_user.into(),
            meeting: of_meeting.into(),
            meta,
            line,
            repairs,
        })
    }
}

/// Adds the fields beside a `meta` that it does not have itself.
fn with_fields(mut meta: Map<String, Value>, beside: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in beside {
        meta.entry(name).or_insert(value);
    }
    meta
}

/// The names of the ids; the first is the vendor's.
const USER: [&str; 2] = ["externalUserId", "external_user_id"];

const MEETING: [&str; 2] = ["externalMeetingId", "external_meeting_id"];

fn take_id(object: &mut Map<String, Value>, names: [&str; 2]) -> Option<String> {
    names
        .iter()
        .filter_map(|name| object.remove(*name))
        .find_map(|value| lenient::text(&value))
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
