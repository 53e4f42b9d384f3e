//! The tables that every lake has. Pure data; a snapshot test guards them.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::Type::{Bool, Double, Int64, Json, Map, Sessions, String as Text, Strings, Timestamp};
use super::{Column, Table, Type};

/// All built-in tables.
pub fn all() -> &'static [Table] {
    static TABLES: LazyLock<Vec<Table>> = LazyLock::new(|| {
        vec![
            calls(),
            participants(),
            messages(),
            reactions(),
            poll_votes(),
            report_rows(),
            recordings(),
            user_meta(),
            hierarchy(),
            lesson_attendance(),
            coverage(),
            rooms(),
            spaces(),
        ]
    });
    &TABLES
}

/// The built-in table of a name.
pub fn get(name: &str) -> Option<&'static Table> {
    all().iter().find(|table| table.name == name)
}

fn table(
    name: &'static str,
    row: &'static str,
    columns: impl IntoIterator<Item = Vec<Column>>,
    order: &[&'static str],
) -> Table {
    Table {
        name: name.into(),
        row: row.into(),
        columns: columns.into_iter().flatten().collect(),
        order: order.iter().map(|name| Cow::Borrowed(*name)).collect(),
    }
}

fn col(name: &'static str, kind: Type, doc: &'static str) -> Column {
    Column {
        name: name.into(),
        kind,
        doc: doc.into(),
        key: false,
    }
}

/// Columns line by line: name, type (`Key`: text of the table's key) and description.
macro_rules! columns {
    (@ $name:literal Key $doc:literal) => { Column { key: true, ..col($name, Text, $doc) } };
    (@ $name:literal $kind:ident $doc:literal) => { col($name, $kind, $doc) };
    ($($name:literal $kind:ident $doc:literal,)*) => { vec![$(columns!(@ $name $kind $doc)),*] };
}

/// The names of the columns that identify a row's call, in order. The program fills them; no mapping can.
pub const CALL_COLUMNS: [&str; 7] = [
    "space_id",
    "space_name",
    "room_id",
    "room_name",
    "call_id",
    "call_started_at",
    "call_finished_at",
];

/// Columns of `participants` that say where a row comes from. The program fills them as well.
pub const PERSON_COLUMNS: [&str; 3] = ["sessions_unreadable", "source", "identity"];

/// The columns that identify a row's call.
pub fn call_columns() -> Vec<Column> {
    columns![
        "space_id" Text "Id of the space the call was held in (API)",
        "space_name" Text "Name of the space when the day was last listed (API)",
        "room_id" Text "Id of the room the call was held in (API)",
        "room_name" Text "Name of the room when the day was last listed (API)",
        "call_id" Text "Id of the call (API)",
        "call_started_at" Timestamp "Start of the call, the first join (API startedAt)",
        "call_finished_at" Timestamp "End of the call, the last leave (API finishedAt); null while it runs",
    ]
}

/// The column for the fields that no other column takes.
pub fn extra_column() -> Column {
    col(
        "extra",
        Json,
        "Fields of the source object that no column takes, as a JSON object; null if there are none",
    )
}

fn lesson_columns() -> Vec<Column> {
    columns![
        "meta_matched" Bool "True if lesson data came for this external user and meeting (storeExternalUserMeta)",
        "user_fullname" Text "Full name of the user (lesson data)",
        "user_role" Text "Role of the user: student, teacher, parent, assistant or the school's own (lesson data)",
        "lesson_name" Text "Name of the lesson (lesson data)",
        "lesson_scheduled_start_at" Timestamp "Scheduled start of the lesson (lesson data)",
        "lesson_scheduled_end_at" Timestamp "Scheduled end of the lesson (lesson data)",
        "lesson_course_id" Text "Id of the course (lesson data)",
        "lesson_course_name" Text "Name of the course (lesson data)",
        "student_group_id" Text "Id of the student group (lesson data)",
        "student_group_name" Text "Name of the student group (lesson data)",
        "attributes" Map "Every other scalar value of the lesson data; nested ones by dotted path",
    ]
}

fn calls() -> Table {
    let columns = columns![
        "space_id" Key "Id of the space the call was held in (API)",
        "call_id" Key "Id of the call (API id)",
        "space_name" Text "Name of the space when the day was last listed (API)",
        "room_id" Text "Id of the room the call was held in (API roomId)",
        "room_name" Text "Name of the room when the day was last listed (API)",
        "room_alias" Text "Short link of the room when the day was last listed (API)",
        "room_type" Text "Type of the room: lesson or webinar (API roomType)",
        "is_breakout_room" Bool "True if the room is a breakout room of another room (API isBreakoutRoom)",
        "plan_alias" Text "Tariff that the call was held under (API planAlias)",
        "participants_count" Int64 "Participants, as the API counts them (API participantsCount)",
        "total_participants_count" Int64 "Participants in total, as the API counts them (API totalParticipantsCount)",
        "unique_participants_count" Int64 "Distinct participants, as the API counts them (API uniqueParticipantsCount)",
        "started_at" Timestamp "Start of the call, the first join (API startedAt)",
        "finished_at" Timestamp "End of the call, the last leave (API finishedAt); null while it runs",
        "duration_s" Double "Seconds from start to end; null while the call runs",
        "external_meeting_ids" Strings "Meetings of the LMS that the participants came for, distinct and sorted (report)",
        "report_json" Text "Key of the JSON report in the lake; null where none was landed",
        "report_xlsx" Text "Key of the XLSX report in the lake; null where none was landed",
        "recordings_count" Int64 "Records of the call that the API listed, exported or not",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
    table(
        "calls",
        "a call",
        [columns],
        &["room_id", "started_at", "call_id"],
    )
}

fn participants() -> Table {
    let mut call = call_columns();
    for column in &mut call {
        column.key = column.name == "call_id";
    }
    let own = columns![
        "participant_id" Key "Id of the participant in the report; `anon-…` is an id made by the program, if the report has none or gives the same id to somebody else",
        "name" Text "Name that the participant entered the room with (report)",
        "role" Text "Role in the room as the report names it: user, moderator or another; null if it names none (report)",
        "email" Text "E-mail, if it was asked for or passed with the invitation (report)",
        "phone" Text "Telephone number, if it was asked for or passed with the invitation (report)",
        "external_user_id" Text "Id of the user in the LMS (report externalUserId)",
        "external_meeting_id" Text "Id of the meeting in the LMS (report externalMeetingId)",
        "first_joined_at" Timestamp "Start of the first session",
        "last_left_at" Timestamp "End of the last session; an open session ends with the call",
        "sessions" Sessions "Stays in the call that could be read, sorted. left_at is null if the stay is open or its end can't be read. An empty list: the report says that the participant was absent. Null: the participant was present, but the report has no times, or none that can be read",
        "sessions_count" Int64 "Number of sessions",
        "sessions_unreadable" Int64 "Stays in the report whose start can't be read; they are not in sessions",
        "duration_s" Double "Seconds in the call. Overlapping sessions count once, and an open one ends with the call. A lower bound if sessions_unreadable is above 0; null if sessions is null",
        "camera_s" Double "Seconds with the camera on (report)",
        "microphone_s" Double "Seconds with the microphone on (report)",
        "screen_s" Double "Seconds of screen sharing (report)",
        "messages_count" Int64 "Chat messages written (report)",
        "reactions_count" Int64 "Reactions sent (report)",
        "hand_raises_count" Int64 "Times the hand was raised (report)",
    ];
    let late = columns![
        "late_s" Double "Seconds from the scheduled start of the lesson to the first join, at least 0. Only in the row of the user's first join of the meeting; null in others, without lesson data, and if a stay can't be read",
        "source" Text "Format of the report that the row comes from: json or xlsx",
        "identity" Text "Field that identifies the participant and by which rows were merged: id, external_user_id, email, phone or name; null if the report has none of them",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
    table(
        "participants",
        "a participant of a call",
        [call, own, lesson_columns(), late],
        &[
            "room_id",
            "call_started_at",
            "call_id",
            "first_joined_at",
            "participant_id",
        ],
    )
}

fn messages() -> Table {
    let own = columns![
        "message_id" Text "Id of the message (report)",
        "participant_id" Text "Id of the participant who wrote it (report)",
        "external_user_id" Text "Id of that participant in the LMS",
        "participant_name" Text "Name of that participant",
        "sent_at" Timestamp "Time when it was sent (report)",
        "text" Text "Its text (report)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
    table(
        "messages",
        "a chat message",
        [call_columns(), own],
        &["room_id", "call_started_at", "call_id", "sent_at", "message_id"],
    )
}

fn reactions() -> Table {
    let own = columns![
        "participant_id" Text "Id of the participant who sent it (report)",
        "external_user_id" Text "Id of that participant in the LMS",
        "type" Text "Type of the reaction (report)",
        "sent_at" Timestamp "Time when it was sent (report)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
    table(
        "reactions",
        "a reaction",
        [call_columns(), own],
        &[
            "room_id",
            "call_started_at",
            "call_id",
            "sent_at",
            "participant_id",
            "type",
        ],
    )
}

fn poll_votes() -> Table {
    let own = columns![
        "poll_id" Text "Id of the poll (report)",
        "question" Text "Question of the poll (report)",
        "option_id" Text "Id of the option voted for (report)",
        "option_text" Text "Text of that option (report)",
        "participant_id" Text "Id of the participant who voted (report)",
        "external_user_id" Text "Id of that participant in the LMS",
        "voted_at" Timestamp "Time of the vote (report)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
    table(
        "poll_votes",
        "a vote",
        [call_columns(), own],
        &[
            "room_id",
            "call_started_at",
            "call_id",
            "voted_at",
            "poll_id",
            "participant_id",
            "option_id",
        ],
    )
}

fn report_rows() -> Table {
    let own = columns![
        "sheet" Text "Name of the sheet (XLSX report)",
        "row_number" Int64 "Number of the row in its sheet, from 1",
        "cells" Map "Its cells that are not empty, as text, by the text of the header; by the column's letter if no header is known",
    ];
    table(
        "report_rows",
        "a row of an XLSX report that is not empty; if the header is known, only rows below it",
        [call_columns(), own],
        &["room_id", "call_started_at", "call_id", "sheet", "row_number"],
    )
}

fn recordings() -> Table {
    let columns = columns![
        "space_id" Key "Id of the space (API)",
        "record_id" Key "Id of the record (API id)",
        "room_id" Text "Id of the room it was made in (API)",
        "call_id" Text "Id of the call that it was recorded in (API callId); null if the API does not say",
        "name" Text "Name of the record (API)",
        "state" Text "State of the record, in the API's words (API)",
        "started_at" Timestamp "Start of the record (API startedAt)",
        "finished_at" Timestamp "End of the record (API finishedAt); null while it runs",
        "file_size" Int64 "Size in bytes according to the API; may be wrong (API fileSize)",
        "status" Text "State of the file: done (it is in the lake), pending, failed (also if refused), unavailable (the platform has given it up) or lost (given up after export.give_up)",
        "uri" Text "Address of the file; null unless done",
        "bytes" Int64 "Size in bytes of the file in the lake; null unless done",
        "sha256" Text "SHA-256 of the file in the lake, in hex; null unless done",
        "error" Text "Reason why it is not done; null if it is done",
    ];
    table(
        "recordings",
        "a record",
        [columns],
        &["room_id", "started_at", "record_id"],
    )
}

fn user_meta() -> Table {
    let ids = columns![
        "external_user_id" Key "Id of the user in the LMS (lesson data externalUserId)",
        "external_meeting_id" Key "Id of the meeting in the LMS (lesson data externalMeetingId)",
    ];
    let lesson = lesson_columns()
        .into_iter()
        .filter(|column| column.name != "meta_matched")
        .collect();
    let own = columns![
        "meta" Json "The lesson data as received, as JSON (lesson data meta)",
        "received_at" Timestamp "Time of its receipt; the latest lesson data of a user and meeting wins",
    ];
    table(
        "user_meta",
        "a user of a meeting, with the latest lesson data",
        [ids, lesson, own],
        &["external_meeting_id", "external_user_id"],
    )
}

fn hierarchy() -> Table {
    let columns = columns![
        "external_user_id" Text "Id of the user in the LMS (lesson data externalUserId)",
        "external_meeting_id" Text "Id of the meeting in the LMS (lesson data externalMeetingId)",
        "level" Text "Key of the level: student_group, lesson_course or the school's own (lesson data)",
        "parent_level" Text "Key of the level that encloses it; null for the outermost",
        "depth" Int64 "Depth of the level, from 1",
        "entity_id" Text "Id of its entity: its `<level>_id`, else the first `…_id`, else `id` (lesson data)",
        "entity_name" Text "Name of its entity: its `<level>_name`, else the first `…_name`, else `name` (lesson data)",
        "attributes" Map "Its other scalar values (lesson data)",
    ];
    table(
        "hierarchy",
        "a level of a user's meeting: each object nested in the lesson data",
        [columns],
        &["external_meeting_id", "external_user_id"],
    )
}

fn lesson_attendance() -> Table {
    let ids = columns![
        "space_id" Text "Id of the space in which the meeting's first call was held (API)",
        "external_meeting_id" Key "Id of the meeting in the LMS",
        "external_user_id" Key "Id of the user in the LMS",
    ];
    let own = columns![
        "attended" Bool "True if the user was in one of the meeting's calls. Null if no call has the user, and calls_without_report is above 0 or a participant's ids could not be read",
        "call_ids" Strings "The meeting's calls in which the user was, in order of their start",
        "first_joined_at" Timestamp "Start of the first session in any of them",
        "last_left_at" Timestamp "End of the last session in any of them; an open session ends with its call",
        "duration_s" Double "Seconds in the meeting's calls. Overlapping sessions count once, and time outside the schedule counts. Null if a session can't be read or attended is null",
        "attended_share" Double "duration_s as a share of the scheduled length, or of the calls' length if none is scheduled; 0 to 1; null if duration_s is null",
        "late_s" Double "Seconds from the scheduled start to the first join, at least 0; null if either is unknown, or a session can't be read",
        "left_early_s" Double "Seconds from the last leave to the scheduled end, at least 0; null if either is unknown, or a session can't be read",
        "calls_without_report" Int64 "Calls of the day in the meeting's rooms that overlap the schedule and have no report of who was there",
    ];
    table(
        "lesson_attendance",
        "a user who was expected in a meeting or was in it; on the day of the meeting's first call",
        [ids, lesson_columns(), own],
        &["external_meeting_id", "external_user_id"],
    )
}

fn coverage() -> Table {
    let columns = columns![
        "space_id" Key "Id of the space (API)",
        "room_id" Key "Id of the room (API)",
        "calls" Int64 "Calls of the day",
        "calls_pending" Int64 "Calls that run or have not settled",
        "reports_done" Int64 "Reports in the lake (a call has one for each configured format)",
        "reports_pending" Int64 "Reports that are not there yet, or in which the mapping does not find who was in the call",
        "reports_failed" Int64 "Reports that could not be fetched or used",
        "reports_denied" Int64 "Reports that the API refuses to this token or tariff",
        "reports_lost" Int64 "Reports that did not come within export.give_up",
        "records_done" Int64 "Recordings in the lake",
        "records_pending" Int64 "Recordings that are not there yet",
        "records_failed" Int64 "Recordings that could not be fetched, or that the API refuses",
        "records_unavailable" Int64 "Recordings that the platform itself has given up",
        "records_lost" Int64 "Recordings that did not come within export.give_up",
        "recorded_bytes" Int64 "Size in bytes of the recordings in the lake",
        "complete" Bool "True if the lake has all that the platform has of the room on the day: everything was listed, and nothing is pending, failed, denied or lost",
        "reason" Text "Reason of the first item that is not done; null if all are done",
        "checked_at" Timestamp "Time when the day last changed",
    ];
    table(
        "coverage",
        "a room with a call or a record on the day, or that could not be listed",
        [columns],
        &["room_id"],
    )
}

fn rooms() -> Table {
    let columns = columns![
        "room_id" Key "Id of the room (API id)",
        "space_id" Text "Id of its space (API spaceId)",
        "alias" Text "Short link of the room (API)",
        "name" Text "Name of the room (API)",
        "type" Text "lesson: all may speak; webinar: only the creator and moderators (API)",
        "is_public" Bool "True if anyone with the link may join (API isPublic)",
        "app_id" Text "Id of the application (API appId)",
        "channel_id" Text "Id of the room's channel, internal to the platform (API channelId)",
        "template_id" Text "Id of the template (API templateId)",
        "parent_room_id" Text "Id of the room that it is a breakout room of (API parentRoomId)",
        "is_favorite" Bool "True if the token's user marked it as a favourite (API isFavorite)",
        "is_chat_allowed" Bool "True if there is a chat (API isChatAllowed)",
        "is_record_allowed" Bool "True if it may be recorded (API isRecordAllowed)",
        "is_auto_recording_allowed" Bool "True if recording starts when a moderator enters (API isAutoRecordingAllowed)",
        "is_screensharing_allowed" Bool "True if participants may share the screen (API isScreensharingAllowed)",
        "is_microphone_publishing_allowed" Bool "True if participants may speak (API isMicrophonePublishingAllowed)",
        "is_screen_media_publishing_allowed" Bool "True if participants may publish the screen's media (API isScreenMediaPublishingAllowed)",
        "is_camera_publishing_allowed" Bool "True if participants may show video (API isCameraPublishingAllowed)",
        "is_avatars_allowed" Bool "True if there are avatars (API isAvatarsAllowed)",
        "is_self_renaming_allowed" Bool "True if participants may rename themselves (API isSelfRenamingAllowed)",
        "is_hand_raising_allowed" Bool "True if participants may raise their hand (API isHandRaisingAllowed)",
        "is_remote_drawing_allowed" Bool "True if participants may draw on another's screen (API isRemoteDrawingAllowed)",
        "waiting_room_audience" Text "Participants who have to wait until they are let in (API waitingRoomAudience)",
        "breakout_rooms" Json "State of the breakout rooms, as JSON (API breakoutRooms)",
        "join_settings" Json "Data that participants are asked for on entering, as JSON (API joinSettings)",
        "role_in_room" Text "Role of the token's user (API roleInRoom)",
        "redirect_url" Text "Address that participants are sent to when the call ends (API redirectUrl)",
        "last_call_at" Timestamp "Time when the room last had a call (API lastCallAt)",
        "created_at" Timestamp "Time when the room was created (API createdAt)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
    table(
        "rooms",
        "a room, as the API last listed it; one that is gone keeps its row",
        [columns],
        &["room_id"],
    )
}

fn spaces() -> Table {
    let columns = columns![
        "space_id" Key "Id of the space (API id)",
        "name" Text "Name of the space (API)",
        "description" Text "Description of the space (API)",
        "logo" Text "Address of its logo (API)",
        "is_public" Bool "No longer used by the platform (API isPublic)",
        "created_at" Timestamp "Time when the space was created (API createdAt)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
    table(
        "spaces",
        "a space, as the API last listed it; one that is gone keeps its row",
        [columns],
        &["space_id"],
    )
}
