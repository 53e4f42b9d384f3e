//! The objects of the API's answers, read leniently. Pure; `client` reads answers with it, `pipeline` reads the objects
//! kept in a manifest.
//!
//! The vendor's guide names few fields and guarantees none. Therefore every object keeps its raw JSON (`raw`), and a
//! field that is missing, null or of another type reads as `None`. Only an `id` is required, because objects without
//! one can't be told apart.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::envelope::{self, More, PageEnvelope};
use crate::config::Secret;
use crate::ids::{CallId, RecordId, RoomId, SpaceId};
use crate::json::{self, RawJson, Repairs};
use crate::lenient::{self, Reading};

/// An object of a list.
pub trait Item: Sized {
    /// Reads an object; `None` if the value is no object or has no id.
    fn from_raw(raw: Value) -> Option<Self>;

    /// The id as text. The API's ids are 24 hex digits, but the program treats them as opaque.
    fn id(&self) -> &str;
}

/// A space.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// `id`
    pub id: SpaceId,
    /// `name`
    pub name: Option<String>,
    /// Fields whose value can't be read as the expected type.
    pub unreadable: Vec<&'static str>,
    /// The object as it came.
    pub raw: RawJson,
}

/// A room of a space.
#[derive(Debug, Clone, PartialEq)]
pub struct Room {
    /// `id`
    pub id: RoomId,
    /// `alias`: the room's name in links.
    pub alias: Option<String>,
    /// `name`
    pub name: Option<String>,
    /// `type`, such as `lesson` or `webinar`.
    pub room_type: Option<String>,
    /// `lastCallAt`
    pub last_call_at: Option<DateTime<Utc>>,
    /// True if `lastCallAt` is a date without a time.
    pub last_call_is_date: bool,
    /// `createdAt`
    pub created_at: Option<DateTime<Utc>>,
    /// Fields whose value can't be read as the expected type.
    pub unreadable: Vec<&'static str>,
    /// The object as it came.
    pub raw: RawJson,
}

/// A call: one run of a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// `id`
    pub id: CallId,
    /// `roomId`
    pub room_id: Option<RoomId>,
    /// `active`: true while the call is still going on.
    pub active: Option<bool>,
    /// `startedAt`
    pub started_at: Option<DateTime<Utc>>,
    /// `finishedAt`
    pub finished_at: Option<DateTime<Utc>>,
    /// The largest of `participantsCount`, `totalParticipantsCount` and `uniqueParticipantsCount`, because the guide
    /// does not say how they differ and any of them may be the only one with a value.
    pub participants: Option<i64>,
    /// `isBreakoutRoom`
    pub is_breakout_room: Option<bool>,
    /// Fields whose value can't be read as the expected type.
    pub unreadable: Vec<&'static str>,
    /// The object as it came.
    pub raw: RawJson,
}

/// A record: one video of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `id`
    pub id: RecordId,
    /// `name`
    pub name: Option<String>,
    /// `roomId`
    pub room_id: Option<RoomId>,
    /// `callId`
    pub call_id: Option<CallId>,
    /// `state`. The guide does not list its values.
    pub state: Option<String>,
    /// `fileSize`, bytes. It may be wrong.
    pub file_size: Option<u64>,
    /// `createdAt`
    pub created_at: Option<DateTime<Utc>>,
    /// `startedAt`
    pub started_at: Option<DateTime<Utc>>,
    /// `finishedAt`
    pub finished_at: Option<DateTime<Utc>>,
    /// Fields whose value can't be read as the expected type.
    pub unreadable: Vec<&'static str>,
    /// The object as it came.
    pub raw: RawJson,
}

/// A space's webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// `url`: the address to which events are sent.
    pub url: Option<String>,
    /// `isActive`
    pub is_active: Option<bool>,
    /// `secret`. Some answers leave it out. The guide also spells it `seret`, surely by mistake.
    pub secret: Option<Secret>,
}

impl Webhook {
    /// Reads an answer's body; `None` if it is no JSON object.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let (raw, _) = json::read::<Value>(body)
            .ok()
            .filter(|(raw, _)| raw.is_object())?;
        let secret = text(&raw, "secret").or_else(|| text(&raw, "seret"));
        Some(Self {
            url: text(&raw, "url"),
            is_active: raw.get("isActive").and_then(Value::as_bool),
            secret: secret
                .as_deref()
                .map(Secret::new)
                .filter(|secret| !secret.is_empty()),
        })
    }
}

/// The text of a field; `None` if it is empty or no text.
fn text(raw: &Value, field: &str) -> Option<String> {
    raw.get(field).and_then(lenient::text)
}

/// Reads the fields of an object and remembers those that can't be read.
struct FieldReader<'v> {
    raw: &'v Value,
    unreadable: Vec<&'static str>,
}

impl<'v> FieldReader<'v> {
    fn of(raw: &'v Value) -> Self {
        Self {
            raw,
            unreadable: Vec::new(),
        }
    }

    fn text(&mut self, field: &'static str) -> Option<String> {
        let is_empty = |value: &Value| value.as_str().is_some_and(str::is_empty);
        self.read(field, lenient::text, is_empty)
    }

    fn instant(&mut self, field: &'static str) -> Option<DateTime<Utc>> {
        let is_absent = |value: &Value| lenient::read_instant(value) == Reading::Absent;
        self.read(field, lenient::instant, is_absent)
    }

    fn boolean(&mut self, field: &'static str) -> Option<bool> {
        self.read(field, lenient::boolean, is_blank)
    }

    fn count<N: TryFrom<i64>>(&mut self, field: &'static str) -> Option<N> {
        let count = |value: &Value| {
            lenient::integer(value)
                .filter(|number| *number >= 0)?
                .try_into()
                .ok()
        };
        self.read(field, count, is_blank)
    }

    fn read<T>(
        &mut self,
        field: &'static str,
        read: impl Fn(&'v Value) -> Option<T>,
        is_absent: impl Fn(&'v Value) -> bool,
    ) -> Option<T> {
        let value = self.raw.get(field).filter(|value| !value.is_null())?;
        let read = read(value);
        if read.is_none() && !is_absent(value) {
            self.unreadable.push(field);
        }
        read
    }
}

fn is_blank(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// The id of an object: `id`, or `_id` if that is missing. An id is a text, a number, or MongoDB's notation
/// `{"$oid": "…"}`.
pub(super) fn id(raw: &Value) -> Option<String> {
    id_in(raw, "id").or_else(|| id_in(raw, "_id"))
}

/// True if an object has its id only in `_id`.
pub(super) fn has_other_id(raw: &Value) -> bool {
    id_in(raw, "id").is_none() && id_in(raw, "_id").is_some()
}

fn id_in(raw: &Value, field: &str) -> Option<String> {
    let id = raw.get(field)?;
    let id = id.get("$oid").unwrap_or(id);
    Some(id)
        .filter(|id| id.is_string() || id.is_number())
        .and_then(lenient::text)
}

/// True for the text of a date without a time.
fn is_date(value: Option<&Value>) -> bool {
    let text = value.and_then(Value::as_str);
    text.is_some_and(|text| !text.contains(':') && text.contains(['-', '.']))
}

impl Item for Space {
    fn from_raw(raw: Value) -> Option<Self> {
        let mut fields = FieldReader::of(&raw);
        Some(Self {
            id: id(&raw)?.into(),
            name: fields.text("name"),
            unreadable: fields.unreadable,
            raw: (&raw).into(),
        })
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Item for Room {
    fn from_raw(raw: Value) -> Option<Self> {
        let mut fields = FieldReader::of(&raw);
        Some(Self {
            id: id(&raw)?.into(),
            alias: fields.text("alias"),
            name: fields.text("name"),
            room_type: fields.text("type"),
            last_call_at: fields.instant("lastCallAt"),
            last_call_is_date: is_date(raw.get("lastCallAt")),
            created_at: fields.instant("createdAt"),
            unreadable: fields.unreadable,
            raw: (&raw).into(),
        })
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Item for Call {
    fn from_raw(raw: Value) -> Option<Self> {
        const COUNTS: [&str; 3] = [
            "participantsCount",
            "totalParticipantsCount",
            "uniqueParticipantsCount",
        ];
        let mut fields = FieldReader::of(&raw);
        Some(Self {
            id: id(&raw)?.into(),
            room_id: fields.text("roomId").map(Into::into),
            active: fields.boolean("active"),
            started_at: fields.instant("startedAt"),
            finished_at: fields.instant("finishedAt"),
            participants: COUNTS.iter().filter_map(|field| fields.count(field)).max(),
            is_breakout_room: fields.boolean("isBreakoutRoom"),
            unreadable: fields.unreadable,
            raw: (&raw).into(),
        })
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Item for Record {
    fn from_raw(raw: Value) -> Option<Self> {
        let mut fields = FieldReader::of(&raw);
        Some(Self {
            id: id(&raw)?.into(),
            name: fields.text("name"),
            room_id: fields.text("roomId").map(Into::into),
            call_id: fields.text("callId").map(Into::into),
            state: fields.text("state"),
            file_size: fields.count("fileSize"),
            created_at: fields.instant("createdAt"),
            started_at: fields.instant("startedAt"),
            finished_at: fields.instant("finishedAt"),
            unreadable: fields.unreadable,
            raw: (&raw).into(),
        })
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ListPage {
    pub(super) items: Vec<Value>,
    pub(super) total: Option<u64>,
    /// The page's statement about further pages.
    pub(super) more: More,
    /// The server's count of pages.
    pub(super) pages: Option<u64>,
    /// The size of the answer.
    pub(super) bytes: usize,
    /// Faults in the JSON that were repaired.
    pub(super) repairs: Repairs,
}

/// The reason why an answer is no page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotAPage {
    Html,
    /// JSON that ends too early.
    CutShort,
    NotJson,
    /// JSON without a list of items, described in words.
    NoItems(String),
    TooDeep,
    TooMany,
}

/// The deepest nesting of an item. Items are stored within other JSON, which must stay readable.
const DEEPEST: usize = 32;
/// The most JSON values in one page, because a value takes far more memory than its one or two bytes of JSON.
const MOST_VALUES: usize = 2_000_000;

/// Reads `{"items":[…],"total"?}` or a bare array. `items: null` is an empty list.
pub(super) fn page(body: &Bytes) -> Result<ListPage, NotAPage> {
    if looks_like_html(body) {
        return Err(NotAPage::Html);
    }
    if json::most_values(body) > MOST_VALUES {
        return Err(NotAPage::TooMany);
    }
    let (answer, repairs) = json::read(body).map_err(|error| {
        if error.is_eof() {
            NotAPage::CutShort
        } else {
            NotAPage::NotJson
        }
    })?;
    let (items, envelope) = items(answer)?;
    if items.iter().any(|item| !lenient::is_within(item, DEEPEST)) {
        return Err(NotAPage::TooDeep);
    }
    Ok(ListPage {
        items,
        total: envelope.total,
        more: envelope.more,
        pages: envelope.pages,
        bytes: body.len(),
        repairs,
    })
}

/// Splits an answer into its items and the fields around them.
fn items(answer: Value) -> Result<(Vec<Value>, PageEnvelope), NotAPage> {
    match answer {
        Value::Array(items) => Ok((items, PageEnvelope::default())),
        Value::Object(mut object) => match object.remove("items") {
            Some(Value::Array(items)) => Ok((items, PageEnvelope::read(&object))),
            Some(Value::Null) => Ok((Vec::new(), PageEnvelope::read(&object))),
            Some(other) => {
                object.insert("items".into(), other);
                Err(NotAPage::NoItems(envelope::describe(&Value::Object(object))))
            }
            None => Err(NotAPage::NoItems(envelope::describe(&Value::Object(object)))),
        },
        other => Err(NotAPage::NoItems(envelope::describe(&other))),
    }
}

/// True if a body is markup: a proxy's error page, or a web site instead of the API.
pub(super) fn looks_like_html(body: &[u8]) -> bool {
    without_mark(body).trim_ascii_start().first() == Some(&b'<')
}

/// The body without a byte order mark, which some servers put before JSON.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The link in an answer: a URL as plain text, as a JSON string or as a field of a JSON object.
pub(super) fn link(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body)
        .ok()?
        .trim_start_matches('\u{feff}')
        .trim();
    let text = match serde_json::from_str(body) {
        Ok(Value::String(text)) => text.trim().to_owned(),
        Ok(Value::Object(object)) => ["url", "link", "href", "downloadUrl"]
            .iter()
            .find_map(|field| {
                object
                    .get(*field)
                    .and_then(Value::as_str)
                    .filter(|text| !text.trim().is_empty())
            })?
            .trim()
            .to_owned(),
        Ok(_) => return None,
        Err(_) => body.to_owned(),
    };
    // A URL may hold spaces. Any other text with a space is no link.
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    let is_one = !text.contains(|c: char| c.is_whitespace() && (c != ' ' || !is_url));
    (!text.is_empty() && is_one).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_of_the_guide_are_read_and_kept_as_raw_json() {
        let raw = json!({"id": "c1", "active": false, "roomId": "r1", "participantsCount": 0, "planAlias": "pro",
            "isBreakoutRoom": true, "totalParticipantsCount": 7, "uniqueParticipantsCount": "5",
            "startedAt": "2023-08-12T12:26:51.553Z", "finishedAt": null, "new": {"field": 1}});
        let call = Call::from_raw(raw.clone()).unwrap();
        assert_eq!(
            (call.participants, call.active, call.is_breakout_room),
            (Some(7), Some(false), Some(true))
        );
        assert_eq!(
            (call.started_at.unwrap().timestamp_millis(), call.finished_at),
            (1_691_843_211_553, None)
        );
        assert_eq!((call.room_id.as_deref(), call.raw.value()), (Some("r1"), raw));

        let record =
            Record::from_raw(json!({"id": 12, "fileSize": 5_000_000_000_u64, "callId": ""})).unwrap();
        assert_eq!(
            (record.id(), record.file_size, record.call_id.as_deref()),
            ("12", Some(5_000_000_000), None)
        );
        let room =
            Room::from_raw(json!({"id": "r", "type": "webinar", "lastCallAt": 1_691_843_211})).unwrap();
        assert_eq!(
            (room.room_type.as_deref(), room.last_call_at.is_some()),
            (Some("webinar"), true)
        );
    }

    #[test]
    fn a_field_of_another_type_is_no_error_but_a_missing_id_is() {
        let odd = json!({"id": "x", "name": [], "active": "maybe", "fileSize": -1, "startedAt": {}, "roomId": null,
            "participantsCount": "many", "lastCallAt": "soon"});
        let call = Call::from_raw(odd.clone()).unwrap();
        assert_eq!(call.participants, None);
        assert_eq!(call.unreadable, ["active", "startedAt", "participantsCount"]);
        let record = Record::from_raw(odd.clone()).unwrap();
        assert_eq!(record.file_size, None);
        assert_eq!(record.unreadable, ["name", "fileSize", "startedAt"]);
        let room = Room::from_raw(odd.clone()).unwrap();
        assert_eq!(
            (room.last_call_at, room.unreadable),
            (None, vec!["name", "lastCallAt"])
        );
        assert_eq!(Space::from_raw(odd).unwrap().name, None);
        for raw in [
            json!({}),
            json!({"id": null}),
            json!({"id": ""}),
            json!({"id": []}),
            json!({"id": true}),
            json!({"_id": null}),
            json!({"_id": {"$oid": []}}),
            json!(7),
        ] {
            assert_eq!(Space::from_raw(raw.clone()), None, "{raw}");
        }
    }

    #[test]
    fn a_missing_id_is_replaced_by_the_databases_id() {
        for raw in [
            json!({"_id": "a"}),
            json!({"id": null, "_id": "a"}),
            json!({"id": "", "_id": "a"}),
            json!({"_id": {"$oid": "a"}}),
            json!({"id": "a", "_id": "b"}),
        ] {
            assert_eq!(id(&raw).as_deref(), Some("a"), "{raw}");
            assert_eq!(Room::from_raw(raw.clone()).unwrap().id, "a", "{raw}");
        }
    }

    #[test]
    fn a_list_is_an_object_with_items_or_a_bare_array() {
        let read = |text: &str| {
            page(&Bytes::copy_from_slice(text.as_bytes())).map(|page| (page.items.len(), page.total))
        };
        assert_eq!(read(r#"{"items":[{},{}],"total":9}"#), Ok((2, Some(9))));
        assert_eq!(read(r#"{"items":[],"total":"3"}"#), Ok((0, Some(3))));
        assert_eq!(read(r#"{"items":null}"#), Ok((0, None)));
        assert_eq!(read("[1]"), Ok((1, None)));
        assert_eq!(read("\u{feff}[]"), Ok((0, None)));
        for none in [r#"{"data":[]}"#, r#"{"items":{}}"#, "null"] {
            assert!(matches!(read(none), Err(NotAPage::NoItems(_))), "{none}");
        }
        assert_eq!(read(r#"{"items":[{"#), Err(NotAPage::CutShort));
        assert_eq!(read("oops"), Err(NotAPage::NotJson));
        assert_eq!(
            read(r#"{"items":[{"id":"r1"},{"id":"r2","name":"урок \ud83d"}]}"#),
            Ok((2, None))
        );
        assert_eq!(read(r#"[{"id":NaN},{"id":1e400}]"#), Ok((2, None)));
        let nested = |depth| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(read(&nested(DEEPEST)), Ok((1, None)));
        assert_eq!(read(&nested(DEEPEST + 1)), Err(NotAPage::TooDeep));
        assert_eq!(read(&nested(100_000)), Err(NotAPage::NotJson));
        assert_eq!(
            read(&format!("[{}0]", "0,".repeat(MOST_VALUES))),
            Err(NotAPage::TooMany)
        );
        assert_eq!(read(" \n<!DOCTYPE html>"), Err(NotAPage::Html));
    }

    #[test]
    fn a_link_is_read_from_text_a_json_string_or_an_object() {
        let url = "https://blob.example/r.mp4?sig=1";
        for body in [
            url.to_owned(),
            format!("  {url}\n"),
            format!("\"{url}\""),
            format!("{{\"url\":\"{url}\"}}"),
            format!("{{\"url\":null,\"downloadUrl\":\"{url}\"}}"),
        ] {
            assert_eq!(link(body.as_bytes()).as_deref(), Some(url), "{body}");
        }
        let spaced = "https://blob.example/мой урок.mp4";
        assert_eq!(link(spaced.as_bytes()).as_deref(), Some(spaced));
        for body in [
            "http://a\nhttp://b",
            "",
            "null",
            "[]",
            "{}",
            "not ready yet",
            "\"\"",
            "<html> </html>",
        ] {
            assert_eq!(link(body.as_bytes()), None, "{body}");
        }
    }
}
