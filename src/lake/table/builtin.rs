//! The tables that every lake has. Pure data; a test holds them against a snapshot.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::Type::{Bool, Double, Int64, Json, Map, Sessions, String as Text, Strings, Timestamp};
use super::{Column, Table, Type};

/// All of them.
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

/// The one of that name.
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

/// The names of the columns that tell a row's call, in order: the program's own, no mapping feeds them.
pub const CALL_COLUMNS: [&str; 7] = [
    "space_id",
    "space_name",
    "room_id",
    "room_name",
    "call_id",
    "call_started_at",
    "call_finished_at",
];

/// The columns of `participants` that say how a row came about: the program's own too.
pub const PERSON_COLUMNS: [&str; 3] = ["sessions_unreadable", "source", "identity"];

/// The columns that tell a row's call.
pub fn call_columns() -> Vec<Column> {
    columns![
        "space_id" Text "Id of the space the call was held in (API)",
        "space_name" Text "Name of the space when the day was last looked at (API)",
        "room_id" Text "Id of the room the call was held in (API)",
        "room_name" Text "Name of the room when the day was last looked at (API)",
        "call_id" Text "Id of the call (API)",
        "call_started_at" Timestamp "Start of the call, the first join (API startedAt)",
        "call_finished_at" Timestamp "End of the call, the last leave (API finishedAt); null while it runs",
    ]
}

/// What of a row no column takes.
pub fn extra_column() -> Column {
    col(
        "extra",
        Json,
        "Fields of the source object that no column takes, as a JSON object; null when there are none",
    )
}

fn lesson_columns() -> Vec<Column> {
    columns![
        "meta_matched" Bool "Whether lesson data came for this external user and meeting (storeExternalUserMeta)",
        "user_fullname" Text "Full name of the user (lesson meta)",
        "user_role" Text "Role of the user: student, teacher, parent, assistant or the school's own (lesson meta)",
        "lesson_name" Text "Name of the lesson (lesson meta)",
        "lesson_scheduled_start_at" Timestamp "Scheduled start of the lesson (lesson meta)",
        "lesson_scheduled_end_at" Timestamp "Scheduled end of the lesson (lesson meta)",
        "lesson_course_id" Text "Id of the course (lesson meta)",
        "lesson_course_name" Text "Name of the course (lesson meta)",
        "student_group_id" Text "Id of the student group (lesson meta)",
        "student_group_name" Text "Name of the student group (lesson meta)",
        "attributes" Map "Every other scalar of the lesson meta, nested ones by dotted path",
    ]
}

fn calls() -> Table {
    let columns = columns![
        "space_id" Key "Id of the space the call was held in (API)",
        "call_id" Key "Id of the call (API id)",
        "space_name" Text "Name of the space when the day was last looked at (API)",
        "room_id" Text "Id of the room the call was held in (API roomId)",
        "room_name" Text "Name of the room when the day was last looked at (API)",
        "room_alias" Text "Short link of the room when the day was last looked at (API)",
        "room_type" Text "Type of the room: lesson or webinar (API roomType)",
        "is_breakout_room" Bool "Whether the room is a breakout room of another (API isBreakoutRoom)",
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
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null when there are none",
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
        "participant_id" Key "Id of the participant in the report; `anon-…` is the program's own where the report has none, or gives it to somebody else too",
        "name" Text "Name that the participant entered the room with (report)",
        "role" Text "Role in the room as the report names it: user, moderator or another; null where it names none (report)",
        "email" Text "E-mail, where it was asked for or passed with the invitation (report)",
        "phone" Text "Telephone, where it was asked for or passed with the invitation (report)",
        "external_user_id" Text "Id of the user in the LMS (report externalUserId)",
        "external_meeting_id" Text "Id of the meeting in the LMS (report externalMeetingId)",
        "first_joined_at" Timestamp "Start of the first session",
        "last_left_at" Timestamp "End of the last session; an open one ends with the call",
        "sessions" Sessions "Stays in the call that could be read, sorted; left_at is null where one is open or its end can't be read. An empty list: the report says that the participant was not there. Null: the participant was there, and the report has no times of it or none that can be read",
        "sessions_count" Int64 "Number of sessions",
        "sessions_unreadable" Int64 "Stays that the report tells of and whose start can't be read; they are not in sessions",
        "duration_s" Double "Seconds in the call: overlapping sessions counted once, an open one ends with the call; at least so many where sessions_unreadable is above 0; null where sessions is",
        "camera_s" Double "Seconds with the camera on (report)",
        "microphone_s" Double "Seconds with the microphone on (report)",
        "screen_s" Double "Seconds of screen sharing (report)",
        "messages_count" Int64 "Chat messages written (report)",
        "reactions_count" Int64 "Reactions sent (report)",
        "hand_raises_count" Int64 "Times the hand was raised (report)",
    ];
    let late = columns![
        "late_s" Double "Seconds from the scheduled start of the lesson to the first join, not below 0; only where the user was first in the meeting, else null; null too without lesson meta, and where a stay can't be read",
        "source" Text "Format of the report that the row comes from: json or xlsx",
        "identity" Text "What tells the participant apart, and rows of one were joined by: id, external_user_id, email, phone or name; null where the report has none of them",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null when there are none",
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
        "sent_at" Timestamp "When it was sent (report)",
        "text" Text "Its text (report)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null when there are none",
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
        "type" Text "Kind of the reaction (report)",
        "sent_at" Timestamp "When it was sent (report)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null when there are none",
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
        "voted_at" Timestamp "When the vote was given (report)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null when there are none",
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
        "cells" Map "Its cells that are not empty, as text by the header's text; by the column's letter where no header is known",
    ];
    table(
        "report_rows",
        "a row of an XLSX report that is not empty, below the header where one is known",
        [call_columns(), own],
        &["room_id", "call_started_at", "call_id", "sheet", "row_number"],
    )
}

fn recordings() -> Table {
    let columns = columns![
        "space_id" Key "Id of the space (API)",
        "record_id" Key "Id of the record (API id)",
        "room_id" Text "Id of the room it was made in (API)",
        "call_id" Text "Id of the call it is of (API callId); null where the API does not say",
        "name" Text "Name of the record (API)",
        "state" Text "State of the record as the API names it (API)",
        "started_at" Timestamp "Start of the record (API startedAt)",
        "finished_at" Timestamp "End of the record (API finishedAt); null while it runs",
        "file_size" Int64 "Size in bytes as the API says; may be wrong (API fileSize)",
        "status" Text "Whether the file is in the lake: done, pending, failed (also when refused), unavailable (the platform has given it up) or lost (given up on after export.give_up)",
        "uri" Text "Where the file lies; null unless done",
        "bytes" Int64 "Size in bytes of the file in the lake; null unless done",
        "sha256" Text "SHA-256 of the file in the lake, in hex; null unless done",
        "error" Text "Why it is not done; null when it is",
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
        "external_user_id" Key "Id of the user in the LMS (meta externalUserId)",
        "external_meeting_id" Key "Id of the meeting in the LMS (meta externalMeetingId)",
    ];
    let lesson = lesson_columns()
        .into_iter()
        .filter(|column| column.name != "meta_matched")
        .collect();
    let own = columns![
        "meta" Json "The meta as received, as JSON (meta)",
        "received_at" Timestamp "When it was received; of several for one user and meeting the latest stands",
    ];
    table(
        "user_meta",
        "a user of a meeting, as the LMS last told",
        [ids, lesson, own],
        &["external_meeting_id", "external_user_id"],
    )
}

fn hierarchy() -> Table {
    let columns = columns![
        "external_user_id" Text "Id of the user in the LMS (meta externalUserId)",
        "external_meeting_id" Text "Id of the meeting in the LMS (meta externalMeetingId)",
        "level" Text "Key of the level: student_group, lesson_course or the school's own (meta)",
        "parent_level" Text "Key of the level that it stands in; null for the outermost",
        "depth" Int64 "How deep it stands, from 1",
        "entity_id" Text "What it is the level of: its `<level>_id`, else the first `…_id`, else `id` (meta)",
        "entity_name" Text "The name of that: its `<level>_name`, else the first `…_name`, else `name` (meta)",
        "attributes" Map "Its other scalars (meta)",
    ];
    table(
        "hierarchy",
        "a level of a user's meeting: each object nested in the meta",
        [columns],
        &["external_meeting_id", "external_user_id"],
    )
}

fn lesson_attendance() -> Table {
    let ids = columns![
        "space_id" Text "Id of the space the meeting's first call was held in (API)",
        "external_meeting_id" Key "Id of the meeting in the LMS",
        "external_user_id" Key "Id of the user in the LMS",
    ];
    let own = columns![
        "attended" Bool "Whether the user was in one of the meeting's calls; null where none has the user and calls_without_report is above 0, or a participant's ids could not be read",
        "call_ids" Strings "The meeting's calls that the user was in, in order of their start",
        "first_joined_at" Timestamp "Start of the first session in any of them",
        "last_left_at" Timestamp "End of the last one; an open one ends with its call",
        "duration_s" Double "Seconds in the meeting's calls, overlapping sessions counted once, not cut to the schedule; null where a session can't be read or attended is null",
        "attended_share" Double "duration_s of the scheduled length, or of the calls' where none is scheduled; 0 to 1; null where duration_s is",
        "late_s" Double "Seconds from the scheduled start to the first join, not below 0; null without either, and where a session can't be read",
        "left_early_s" Double "Seconds from the last leave to the scheduled end, not below 0; null without either, and where a session can't be read",
        "calls_without_report" Int64 "Calls in the meeting's rooms on the day that overlap the schedule and have no report that says who was there",
    ];
    table(
        "lesson_attendance",
        "a user expected at, or present in, a meeting; on the day of its first call",
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
        "reports_pending" Int64 "Reports that are not there yet, or say nothing that the mapping understands of who was there",
        "reports_failed" Int64 "Reports that could not be had or not be used",
        "reports_denied" Int64 "Reports that the API refuses to this token or tariff",
        "reports_lost" Int64 "Reports that did not come within export.give_up",
        "records_done" Int64 "Recordings in the lake",
        "records_pending" Int64 "Recordings that are not there yet",
        "records_failed" Int64 "Recordings that could not be had or are refused",
        "records_unavailable" Int64 "Recordings that the platform itself has given up",
        "records_lost" Int64 "Recordings that did not come within export.give_up",
        "recorded_bytes" Int64 "Size in bytes of the recordings in the lake",
        "complete" Bool "Whether all that the platform has of the room on the day is in the lake: all was listed, and nothing is pending, failed, denied or lost",
        "reason" Text "Why the first thing that is not done is not; null where all is done",
        "checked_at" Timestamp "When the day last changed",
    ];
    table(
        "coverage",
        "a room with anything on the day",
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
        "is_public" Bool "Whether anyone with the link may join (API isPublic)",
        "app_id" Text "Id of the application (API appId)",
        "channel_id" Text "Id of the room's channel, internal to the platform (API channelId)",
        "template_id" Text "Id of the template (API templateId)",
        "parent_room_id" Text "Id of the room that it is a breakout room of (API parentRoomId)",
        "is_favorite" Bool "Whether the token's user marked it (API isFavorite)",
        "is_chat_allowed" Bool "Whether there is a chat (API isChatAllowed)",
        "is_record_allowed" Bool "Whether it may be recorded (API isRecordAllowed)",
        "is_auto_recording_allowed" Bool "Whether recording starts when a moderator enters (API isAutoRecordingAllowed)",
        "is_screensharing_allowed" Bool "Whether participants may share the screen (API isScreensharingAllowed)",
        "is_microphone_publishing_allowed" Bool "Whether participants may speak (API isMicrophonePublishingAllowed)",
        "is_screen_media_publishing_allowed" Bool "Whether participants may publish the screen's media (API isScreenMediaPublishingAllowed)",
        "is_camera_publishing_allowed" Bool "Whether participants may show video (API isCameraPublishingAllowed)",
        "is_avatars_allowed" Bool "Whether there are avatars (API isAvatarsAllowed)",
        "is_self_renaming_allowed" Bool "Whether participants may rename themselves (API isSelfRenamingAllowed)",
        "is_hand_raising_allowed" Bool "Whether participants may raise the hand (API isHandRaisingAllowed)",
        "is_remote_drawing_allowed" Bool "Whether one may draw on another's screen (API isRemoteDrawingAllowed)",
        "waiting_room_audience" Text "Who waits to be let in (API waitingRoomAudience)",
        "breakout_rooms" Json "State of the breakout rooms, as JSON (API breakoutRooms)",
        "join_settings" Json "What one is asked for on entering, as JSON (API joinSettings)",
        "role_in_room" Text "Role of the token's user (API roleInRoom)",
        "redirect_url" Text "Where participants are sent when the call ends (API redirectUrl)",
        "last_call_at" Timestamp "When the room last had a call (API lastCallAt)",
        "created_at" Timestamp "When the room was made (API createdAt)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null when there are none",
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
        "created_at" Timestamp "When the space was made (API createdAt)",
        "extra" Json "Fields of the source object that no column takes, as a JSON object; null when there are none",
    ];
    table(
        "spaces",
        "a space, as the API last listed it; one that is gone keeps its row",
        [columns],
        &["space_id"],
    )
}
