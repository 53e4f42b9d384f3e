//! Meta files: a JSON array, JSON Lines or one object; payloads with the lines that they stand on. Pure.

use serde_json::{Map, Value};

use super::DEEPEST;
use crate::lenient;

/// One payload of `storeExternalUserMeta`.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    /// The user in the LMS.
    pub user: String,
    /// The meeting in the LMS.
    pub meeting: String,
    /// What is said of them.
    pub meta: Map<String, Value>,
    /// The line that it starts on, from 1.
    pub line: u64,
}

impl Payload {
    /// What the API takes.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert(USER[0].into(), self.user.clone().into());
        body.insert(MEETING[0].into(), self.meeting.clone().into());
        body.insert("meta".into(), Value::Object(self.meta.clone()));
        Value::Object(body)
    }

    /// Reads a payload. Fields beside `meta` are taken for meta too: some systems send it flat.
    fn read(value: Value, line: u64) -> Result<Self, Malformed> {
        let refuse = |why: &str| Malformed {
            line,
            why: why.into(),
        };
        if !lenient::is_within(&value, DEEPEST) {
            return Err(refuse("it is nested too deeply"));
        }
        let Value::Object(mut object) = value else {
            return Err(refuse("a payload is an object"));
        };
        let user = take_id(&mut object, USER).ok_or_else(|| refuse("externalUserId is missing"))?;
        let meeting = take_id(&mut object, MEETING).ok_or_else(|| refuse("externalMeetingId is missing"))?;
        let mut meta = match object.remove("meta") {
            Some(Value::Object(meta)) => meta,
            None | Some(Value::Null) => Map::new(),
            Some(_) => return Err(refuse("meta is no object")),
        };
        for (name, value) in object {
            meta.entry(name).or_insert(value);
        }
        Ok(Self {
            user,
            meeting,
            meta,
            line,
        })
    }
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

/// A file that is not what it should be: where and why, never what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Malformed {}

/// Reads a file: a JSON array, JSON Lines, or objects one after another. A byte order mark is nothing.
///
/// # Errors
/// The first line that is no JSON or no payload. A file is taken whole or not at all.
pub fn parse(bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed {
        line: line_at(bytes, error.valid_up_to()),
        why: "not UTF-8".into(),
    })?;
    let by_lines = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| serde_json::from_str::<Value>(line).is_ok());
    if by_lines { lines(text) } else { whole(text) }
}

/// A value a line: a broken one is told by its own line, not by where the next one surprised the parser.
fn lines(text: &str) -> Result<Vec<Payload>, Malformed> {
    let mut payloads = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str(line).map_err(|error| Malformed {
            line: number,
            why: reason(line, &error),
        })?;
        match value {
            Value::Array(elements) => {
                for element in elements {
                    payloads.push(Payload::read(element, number)?);
                }
            }
            value => payloads.push(Payload::read(value, number)?),
        }
    }
    Ok(payloads)
}

/// Values over several lines.
fn whole(text: &str) -> Result<Vec<Payload>, Malformed> {
    let mut payloads = Vec::new();
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    // Counted on from value to value: counting from the start for each would take the square of the file.
    let (mut counted, mut line) = (0, 1);
    loop {
        let rest = &text[values.byte_offset()..];
        let start = values.byte_offset() + (rest.len() - rest.trim_start().len());
        let Some(value) = values.next() else {
            return Ok(payloads);
        };
        let value = value.map_err(|error| Malformed {
            line: error.line() as u64,
            why: reason(text, &error),
        })?;
        line += line_at(&text.as_bytes()[counted..], start - counted) - 1;
        counted = start;
        match value {
            Value::Array(elements) => {
                let lines = element_lines(&text.as_bytes()[start..values.byte_offset()], line);
                for (at, element) in elements.into_iter().enumerate() {
                    payloads.push(Payload::read(element, lines.get(at).copied().unwrap_or(line))?);
                }
            }
            value => payloads.push(Payload::read(value, line)?),
        }
    }
}

/// The line of a byte, from 1.
fn line_at(bytes: &[u8], offset: usize) -> u64 {
    1 + bytes[..offset].iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The lines on which the elements of an array start; the array is known to be JSON.
fn element_lines(array: &[u8], mut line: u64) -> Vec<u64> {
    let mut lines = Vec::new();
    let (mut depth, mut in_text, mut escaped, mut due) = (0_usize, false, false, false);
    for byte in array {
        if *byte == b'\n' {
            line += 1;
        }
        if in_text {
            in_text = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        if due && !byte.is_ascii_whitespace() {
            lines.push(line);
            due = false;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                depth += 1;
                due = depth == 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => due = true,
            _ => {}
        }
    }
    lines
}

/// What is wrong, in the parser's words without its place; a comment is the commonest mistake and is named.
fn reason(text: &str, error: &serde_json::Error) -> String {
    let line = text
        .as_bytes()
        .split(|byte| *byte == b'\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let rest = &line[error.column().saturating_sub(1).min(line.len())..];
    if [b"//".as_slice(), b"/*", b"#"]
        .iter()
        .any(|mark| rest.starts_with(mark))
    {
        return "a comment: JSON has none, remove it".into();
    }
    if error.is_eof() {
        return "ends in the middle of a JSON value".into();
    }
    let message = error.to_string();
    let words = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(words, _)| words);
    format!("not JSON: {words} at column {}", error.column())
}
