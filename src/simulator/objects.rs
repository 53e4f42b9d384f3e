//! The API's objects as the guide shows them. Ragged objects have unknown fields and lack optional ones. Pure; used by
//! `answers`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::school::{Call, Record, Room, RoomKind, School, Space};
use super::seeded::{hash, hex_id, is_in_share};

/// An instant as the vendor writes it.
pub(super) fn stamp(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A space.
pub(super) fn space(space: &Space, ragged: bool) -> Value {
    let object = json!({
        "id": space.id,
        "name": space.name,
        "description": "Группа школы",
        "logo": null,
        "isPublic": true,
    });
    tear(object, &space.id, ragged, &["description", "logo"])
}

/// A room, with its `lastCallAt`.
pub(super) fn room(school: &School, room: &Room, ragged: bool) -> Value {
    let object = json!({
        "id": room.id,
        "appId": hex_id("app"),
        "channelId": hex_id(&format!("{}/channel", room.id)),
        "alias": room.alias,
        "name": room.name,
        "isPublic": true,
        "spaceId": room.space_id,
        "templateId": null,
        "parentRoomId": room.parent_room_id,
        "isChatAllowed": true,
        "isFavorite": false,
        "isRecordAllowed": true,
        "isScreensharingAllowed": true,
        "isAutoRecordingAllowed": false,
        "type": room.kind,
        "waitingRoomAudience": "nobody",
        "breakoutRooms": {"status": "enabled", "session": {"status": "ready", "startedAt": null}},
        "createdAt": stamp(room.created_at),
        "lastCallAt": school.last_call_at(room).map(stamp),
    });
    tear(
        object,
        &room.id,
        ragged,
        &["isFavorite", "templateId", "waitingRoomAudience"],
    )
}

/// A call.
pub(super) fn call(call: &Call, kind: RoomKind, ragged: bool) -> Value {
    let sessions: usize = call.participants.iter().map(|person| person.sessions.len()).sum();
    let object = json!({
        "id": call.id,
        "active": call.finished_at.is_none(),
        "roomId": call.room_id,
        "participantsCount": call.participants.len(),
        "isBreakoutRoom": call.is_breakout,
        "planAlias": call.plan_alias,
        "roomType": kind,
        "totalParticipantsCount": sessions,
        "uniqueParticipantsCount": call.participants.len(),
        "startedAt": stamp(call.started_at),
        "finishedAt": call.finished_at.map(stamp),
    });
    tear(object, &call.id, ragged, &["planAlias", "totalParticipantsCount"])
}

/// A record.
pub(super) fn record(record: &Record, ragged: bool) -> Value {
    let object = json!({
        "id": record.id,
        "name": record.name,
        "fileSize": record.file_size,
        "roomId": record.room_id,
        "spaceId": record.space_id,
        "callId": record.call_id,
        "state": record.state,
        "createdAt": stamp(record.created_at),
        "startedAt": record.started_at.map(stamp),
        "finishedAt": record.finished_at.map(stamp),
    });
    tear(object, &record.id, ragged, &["name"])
}

/// Adds an unknown field to some objects, and removes optional fields from others or makes them null.
fn tear(object: Value, id: &str, ragged: bool, optional: &[&str]) -> Value {
    let Value::Object(mut fields) = object else {
        return object;
    };
    if ragged {
        if is_in_share(&format!("{id}/unknown"), 0.25) {
            fields.insert("labels".into(), json!({"source": "lms", "tags": ["α", 1, null]}));
        }
        for field in optional {
            tear_field(&mut fields, &format!("{id}/{field}"), field);
        }
    }
    Value::Object(fields)
}

fn tear_field(fields: &mut Map<String, Value>, name: &str, field: &str) {
    match hash(name) % 16 {
        0 => drop(fields.remove(field)),
        1 => drop(fields.insert(field.to_owned(), Value::Null)),
        _ => {}
    }
}
