//! The webhook's wire types: envelope and event. Pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::lenient;

/// The names of events that the vendor's guide lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// `call_started`
    CallStarted,
    /// `call_finished`
    CallFinished,
    /// `record_started`
    RecordStarted,
    /// `record_finished`
    RecordFinished,
    /// `record_aborted`: the recording was stopped within three seconds.
    RecordAborted,
    /// `record_failed`
    RecordFailed,
    /// Any event that the guide does not list.
    Other,
}

impl Name {
    fn read(text: &str) -> Self {
        match text {
            "call_started" => Self::CallStarted,
            "call_finished" => Self::CallFinished,
            "record_started" => Self::RecordStarted,
            "record_finished" => Self::RecordFinished,
            "record_aborted" => Self::RecordAborted,
            "record_failed" => Self::RecordFailed,
            _ => Self::Other,
        }
    }

    /// The vendor's word; `other` for an event that the guide does not list.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallStarted => "call_started",
            Self::CallFinished => "call_finished",
            Self::RecordStarted => "record_started",
            Self::RecordFinished => "record_finished",
            Self::RecordAborted => "record_aborted",
            Self::RecordFailed => "record_failed",
            Self::Other => "other",
        }
    }

    /// True if the event needs work: something to fetch or to look at.
    pub fn has_work(self) -> bool {
        matches!(
            self,
            Self::CallFinished | Self::RecordFinished | Self::RecordAborted | Self::RecordFailed
        )
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// The name of the event.
    #[serde(rename = "event")]
    pub name: Name,
    /// The space.
    #[serde(rename = "space_id")]
    pub space: String,
    /// The room.
    #[serde(rename = "room_id")]
    pub room: String,
    /// The record; only `record_…` events have one.
    #[serde(rename = "record_id", default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// An event as it is kept in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// The time of receipt.
    pub received_at: DateTime<Utc>,
}

/// The envelope of an event: the signed text and its signature.
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    /// The signature, in hex.
    #[serde(borrow)]
    pub signature: std::borrow::Cow<'a, str>,
    /// The signed text, byte for byte as it was sent.
    #[serde(borrow)]
    pub body: &'a RawValue,
}

/// Longer ids are invalid.
const LONGEST_ID: usize = 128;

impl<'a> Envelope<'a> {
    /// Parses a request's body; `None` if it is not an event. The signature is not checked here.
    pub fn read(bytes: &'a [u8]) -> Option<(Self, Event)> {
        let envelope: Self = serde_json::from_slice(bytes).ok()?;
        // A struct, not a map, so that a duplicate field is an error: it is a mistake or an attack.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            event_name: String,
            space_id: Value,
            room_id: Value,
            #[serde(default)]
            record_id: Value,
        }
        let body: Body = serde_json::from_str(envelope.body.get()).ok()?;
        let id = |value: &Value| {
            lenient::text(value)
                .filter(|id| !id.is_empty() && id.len() <= LONGEST_ID && !id.chars().any(char::is_control))
        };
        let event = Event {
            name: Name::read(&body.event_name),
            space: id(&body.space_id)?,
            room: id(&body.room_id)?,
            record: id(&body.record_id),
        };
        Some((envelope, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Event> {
        Envelope::read(text.as_bytes()).map(|(_, event)| event)
    }

    #[test]
    fn the_guides_event_is_parsed_and_its_body_kept_byte_for_byte() {
        let text = r#"{ "signature": "ab12", "body" : {"eventName": "record_finished",
            "roomId":"649c","spaceId":"6421", "recordId": "64b6" , "new": [1, 2]} }"#;
        let (envelope, event) = Envelope::read(text.as_bytes()).expect("an event");
        assert!(
            envelope
                .body
                .get()
                .starts_with("{\"eventName\": \"record_finished\",\n")
        );
        assert!(envelope.body.get().ends_with("[1, 2]}"));
        assert_eq!(
            event,
            Event {
                name: Name::RecordFinished,
                space: "6421".into(),
                room: "649c".into(),
                record: Some("64b6".into()),
            }
        );
        let kept = Kept {
            event,
            received_at: DateTime::UNIX_EPOCH,
        };
        let line = serde_json::to_string(&kept).expect("JSON");
        assert_eq!(
            line,
            r#"{"event":"record_finished","space_id":"6421","room_id":"649c","record_id":"64b6","received_at":"1970-01-01T00:00:00Z"}"#
        );
        assert_eq!(serde_json::from_str::<Kept>(&line).expect("back"), kept);
    }

    #[test]
    fn an_invalid_body_is_no_event() {
        let good = r#"{"signature":"a","body":{"eventName":"call_finished","roomId":"r","spaceId":"s"}}"#;
        assert_eq!(read(good).expect("an event").record, None);
        for bad in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"signature":"a"}"#,
            r#"{"signature":1,"body":{"eventName":"call_finished","roomId":"r","spaceId":"s"}}"#,
            r#"{"signature":"a","body":{"eventName":"call_finished","roomId":"","spaceId":"s"}}"#,
            r#"{"signature":"a","body":{"eventName":"call_finished","roomId":null,"spaceId":"s"}}"#,
            r#"{"signature":"a","body":{"eventName":"call_finished","roomId":"r\u0000","spaceId":"s"}}"#,
            r#"{"signature":"a","body":{"eventName":"call_finished","roomId":"r","roomId":"q","spaceId":"s"}}"#,
            r#"{"signature":"a","signature":"b","body":{"eventName":"call_finished","roomId":"r","spaceId":"s"}}"#,
            &good[..good.len() - 1],
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let long = good.replace("\"r\"", &format!("\"{}\"", "r".repeat(LONGEST_ID + 1)));
        assert_eq!(read(&long), None);
    }
}
