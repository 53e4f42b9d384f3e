//! Meta files: a JSON array, JSON Lines or one object; payloads with the lines that they stand on. Pure.
//!
//! A file is read value by value, so that memory does not follow its size, and a value that can't be read costs no
//! other one.

use serde_json::{Map, Value};

use super::DEEPEST;
use super::lesson::Lesson;
use super::values::Values;
use crate::ids::{MeetingId, UserId};
use crate::json::Repairs;
use crate::lenient;

/// One payload of `storeExternalUserMeta`.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    /// The user in the LMS.
    pub user: UserId,
    /// The meeting in the LMS.
    pub meeting: MeetingId,
    /// What is said of them; none takes back what was said before.
    pub meta: Option<Map<String, Value>>,
    /// The line that it starts on, from 1.
    pub line: u64,
    /// What was mended in its JSON.
    pub repairs: Repairs,
}

impl Payload {
    /// What the API takes.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert(USER[0].into(), self.user.clone().into());
        body.insert(MEETING[0].into(), self.meeting.clone().into());
        let meta = self.meta.clone().map_or(Value::Null, Value::Object);
        body.insert("meta".into(), meta);
        Value::Object(body)
    }

    /// Columns whose value is there and can't be read.
    pub fn unreadable(&self) -> Vec<&'static str> {
        self.meta
            .as_ref()
            .map(|meta| Lesson::of(meta).unreadable)
            .unwrap_or_default()
    }

    /// Reads a payload. Fields beside `meta` are taken for meta too: some systems send it flat. A `meta` of null takes
    /// back what was said before, whatever stands beside it.
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

/// A meta with the fields that stand beside it, where it does not have them itself.
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

/// A part of a file that is no payload: where and why, never what stands there but ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
    /// The user that it is about, where that can be read.
    pub user: Option<UserId>,
    /// The meeting that it is about, where that can be read.
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

/// Reads a whole file that must be good to the last line: a JSON array, JSON Lines, or objects one after another. A
/// byte order mark is nothing.
///
/// # Errors
/// The first line that is no JSON or no payload.
pub fn parse(bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    Payloads::new(bytes).collect()
}

/// The payloads of a file, one after another; in place of one that can't be read, why.
pub struct Payloads<R> {
    values: Values<R>,
    /// The elements of an array that stood on one line, last one first.
    waiting: Vec<(Value, u64, Repairs)>,
}

impl<R: std::io::BufRead> Payloads<R> {
    /// Reads from the start of a file.
    pub fn new(file: R) -> Self {
        Self {
            values: Values::new(file),
            waiting: Vec::new(),
        }
    }
}

impl<R: std::io::BufRead> Iterator for Payloads<R> {
    type Item = Result<Payload, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((value, line, repairs)) = self.waiting.pop() {
                return Some(Payload::read(value, line, repairs));
            }
            match self.values.next()? {
                Ok((Value::Array(elements), line, repairs)) => {
                    let elements = elements
                        .into_iter()
                        .map(|element| (element, line, Repairs::default()));
                    self.waiting = elements.rev().collect();
                    // They are counted once.
                    if let Some(first) = self.waiting.last_mut() {
                        first.2 = repairs;
                    }
                }
                Ok((value, line, repairs)) => return Some(Payload::read(value, line, repairs)),
                Err(malformed) => return Some(Err(malformed)),
            }
        }
    }
}
