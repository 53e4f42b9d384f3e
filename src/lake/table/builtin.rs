//! The tables that every lake has. Pure data; a snapshot test guards them.
//!
//! The macro below makes a module of each table: its name, its definition, and a constant for the name of each column, so
//! that a wrong name does not compile.
#![expect(
    non_upper_case_globals,
    non_camel_case_types,
    reason = "constants are named like the columns and tables that they name"
)]

use std::sync::LazyLock;

use super::{Column, PersonalData, Table, TableScope, Type};

/// All built-in tables.
pub fn all() -> &'static [Table] {
    static TABLES: LazyLock<Vec<Table>> = LazyLock::new(definitions);
    &TABLES
}

/// The built-in table of a name.
pub fn get(name: &str) -> Option<&'static Table> {
    all().iter().find(|table| table.name == name)
}

/// The names of the tables with a file for each date: those of lesson data.
pub fn per_date() -> impl Iterator<Item = &'static str> {
    let tables = all().iter().filter(|table| table.scope == TableScope::PerDate);
    tables.map(|table| table.name.as_ref())
}

/// The name that an identifier stands for: `type` for `r#type`.
const fn plain(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// Constants for the names of columns, and a function that gives the columns. A line is the name, the kind and the
/// description. The kind is a type, or a name that says more: `Key` is text of the table's key, `DateKey` a date of it, and
/// the others are columns that say something of people ([`PersonalData`]).
macro_rules! columns {
    (@kind Key) => { Type::String };
    (@kind DateKey) => { Type::Date };
    (@kind PersonIdKey) => { Type::String };
    (@kind PersonId) => { Type::String };
    (@kind PersonIds) => { Type::Strings };
    (@kind PersonName) => { Type::String };
    (@kind PersonNames) => { Type::Strings };
    (@kind Contact) => { Type::String };
    (@kind Words) => { Type::String };
    (@kind WordedOptions) => { Type::Options };
    (@kind AsReceived) => { Type::Json };
    (@kind Attributes) => { Type::Map };
    (@kind Extra) => { Type::Json };
    (@kind OpenJson) => { Type::Json };
    (@kind SheetCells) => { Type::Map };
    (@kind EntityId) => { Type::String };
    (@kind EntityName) => { Type::String };
    (@kind $kind:ident) => { Type::$kind };
    (@key Key) => { true };
    (@key DateKey) => { true };
    (@key PersonIdKey) => { true };
    (@key $kind:ident) => { false };
    (@personal PersonIdKey) => { PersonalData::PersonId };
    (@personal PersonId) => { PersonalData::PersonId };
    (@personal PersonIds) => { PersonalData::PersonId };
    (@personal PersonName) => { PersonalData::PersonName };
    (@personal PersonNames) => { PersonalData::PersonName };
    (@personal Contact) => { PersonalData::Contact };
    (@personal Words) => { PersonalData::Words };
    (@personal WordedOptions) => { PersonalData::Words };
    (@personal AsReceived) => { PersonalData::AsReceived };
    (@personal Attributes) => { PersonalData::Unknown };
    (@personal Extra) => { PersonalData::Unknown };
    (@personal OpenJson) => { PersonalData::Open };
    (@personal SheetCells) => { PersonalData::SheetCells };
    (@personal EntityId) => { PersonalData::EntityId };
    (@personal EntityName) => { PersonalData::EntityName };
    (@personal $kind:ident) => { PersonalData::No };
    (@names $($name:ident $doc:literal,)*) => {
        $(#[doc = $doc] pub const $name: &str = plain(stringify!($name));)*
    };
    (@list $($name:ident $kind:ident $doc:literal,)*) => {
        vec![$(Column {
            name: $name.into(),
            kind: columns!(@kind $kind),
            doc: $doc.into(),
            key: columns!(@key $kind),
            personal: columns!(@personal $kind),
        }),*]
    };
    ($group:ident: $($name:ident $kind:ident $doc:literal,)*) => {
        columns!(@names $($name $doc,)*);
        /// The columns of the group.
        pub fn $group() -> Vec<Column> {
            columns!(@list $($name $kind $doc,)*)
        }
    };
}

/// A module for each table. A table is a list of groups: the columns of a module in brackets, then columns of its own.
macro_rules! tables {
    ($(
        $table:ident $row:literal $scope:ident, sorted by $($order:ident)*
        $([$group:ident] { $($name:ident $kind:ident $doc:literal,)* })*
        ;
    )*) => {
        /// The position of each table in [`all`].
        enum Position {
            $($table),*
        }

        fn definitions() -> Vec<Table> {
            vec![$($table::define()),*]
        }

        $(
            #[doc = concat!("The table of which a row is for ", $row, ".")]
            pub mod $table {
                use super::{Column, PersonalData, Position, Table, TableScope, Type, plain};
                $(pub use super::$group::*;)*

                /// The table's name.
                pub const NAME: &str = stringify!($table);

                $(columns!(@names $($name $doc,)*);)*

                /// The table's definition.
                pub fn table() -> &'static Table {
                    &super::all()[Position::$table as usize]
                }

                pub(super) fn define() -> Table {
                    let mut columns = Vec::new();
                    $(
                        columns.extend(super::$group::$group());
                        let own: Vec<Column> = columns!(@list $($name $kind $doc,)*);
                        columns.extend(own);
                    )*
                    Table {
                        name: NAME.into(),
                        row: $row.into(),
                        scope: TableScope::$scope,
                        columns,
                        order: vec![$($order.into()),*],
                    }
                }
            }
        )*
    };
}

/// The names of the columns that identify a row's call, in order. The program fills them; no mapping can.
pub const CALL_COLUMNS: [&str; 7] = [
    call::space_id,
    call::space_name,
    call::room_id,
    call::room_name,
    call::call_id,
    call::call_started_at,
    call::call_finished_at,
];

/// Columns of `participants` that say where a row comes from. The program fills them as well.
pub const PERSON_COLUMNS: [&str; 3] = [
    participants::sessions_unreadable,
    participants::source,
    participants::identity,
];

/// The columns that identify a row's call.
pub mod call {
    use super::{Column, PersonalData, Type, plain};

    columns![call:
        space_id String "Id of the space the call was held in (API)",
        space_name String "Name of the space when the day was last listed (API)",
        room_id String "Id of the room the call was held in (API)",
        room_name String "Name of the room when the day was last listed (API)",
        call_id String "Id of the call (API)",
        call_started_at Timestamp "Start of the call, the first join (API startedAt)",
        call_finished_at Timestamp "End of the call, the last leave (API finishedAt); null while it runs",
    ];
}

/// The columns of [`call`], with the call's id as a part of the key.
pub mod keyed_call {
    use super::Column;
    pub use super::call::*;

    /// The columns of the group.
    pub fn keyed_call() -> Vec<Column> {
        let mut columns = call();
        for column in &mut columns {
            column.key = column.name == call_id;
        }
        columns
    }
}

/// The columns that lesson data fills.
pub mod lesson {
    use super::{Column, PersonalData, Type, plain};

    columns![lesson:
        meta_matched Bool "True if lesson data came for this external user and meeting (storeExternalUserMeta)",
        user_fullname PersonName "Full name of the user (lesson data)",
        user_role String "Role of the user: student, teacher, parent, assistant or the school's own (lesson data)",
        lesson_name String "Name of the lesson (lesson data)",
        lesson_scheduled_start_at Timestamp "Scheduled start of the lesson (lesson data)",
        lesson_scheduled_end_at Timestamp "Scheduled end of the lesson (lesson data)",
        lesson_course_id String "Id of the course (lesson data)",
        lesson_course_name String "Name of the course (lesson data)",
        student_group_id String "Id of the student group (lesson data)",
        student_group_name String "Name of the student group (lesson data)",
        attributes Attributes "Every other scalar value of the lesson data; nested ones by dotted path",
    ];
}

/// The columns of [`lesson`] in the table of the lesson data itself.
pub mod sent_lesson {
    use super::Column;
    pub use super::lesson::*;

    /// The columns of the group.
    pub fn sent_lesson() -> Vec<Column> {
        let mut columns = lesson();
        columns.retain(|column| column.name != meta_matched);
        columns
    }
}

mod none {
    use super::Column;

    /// No columns.
    pub fn none() -> Vec<Column> {
        Vec::new()
    }
}

/// The column for the fields that no other column takes.
pub mod rest {
    use super::{Column, PersonalData, Type, plain};

    columns![rest:
        extra Extra "Fields of the source object that no column takes, as a JSON object; null if there are none",
    ];
}

tables! {
    calls "a call" PerDay, sorted by room_id started_at call_id
        [none] {
            space_id Key "Id of the space the call was held in (API)",
            call_id Key "Id of the call (API id)",
            space_name String "Name of the space when the day was last listed (API)",
            room_id String "Id of the room the call was held in (API roomId)",
            room_name String "Name of the room when the day was last listed (API)",
            room_alias String "Short link of the room when the day was last listed (API)",
            room_type String "Type of the room: lesson or webinar (API roomType)",
            is_breakout_room Bool "True if the room is a breakout room of another room (API isBreakoutRoom)",
            plan_alias String "Tariff that the call was held under (API planAlias)",
            participants_count Int64 "Participants, as the API counts them (API participantsCount)",
            total_participants_count Int64 "Participants in total, as the API counts them (API totalParticipantsCount)",
            unique_participants_count Int64 "Distinct participants, as the API counts them (API uniqueParticipantsCount)",
            started_at Timestamp "Start of the call, the first join (API startedAt)",
            finished_at Timestamp "End of the call, the last leave (API finishedAt); null while it runs",
            duration_s Double "Seconds from start to end; null while the call runs",
            external_meeting_ids Strings "Meetings of the LMS that the participants came for, distinct and sorted (report)",
            report_json String "Key of the JSON report in the lake; null where none was landed",
            report_xlsx String "Key of the XLSX report in the lake; null where none was landed",
            recordings_count Int64 "Records of the call that the API listed, exported or not",
        }
        [rest] {}
    ;
    participants "a participant of a call" PerDay, sorted by room_id call_started_at call_id first_joined_at participant_id
        [keyed_call] {
            participant_id PersonIdKey "Id of the participant in the report; `anon-…` is an id made by the program, if the report has none or gives the same id to somebody else",
            name PersonName "Name that the participant entered the room with (report)",
            role String "Role in the room as the report names it: user, moderator or another; null if it names none (report)",
            email Contact "E-mail, if it was asked for or passed with the invitation (report)",
            phone Contact "Telephone number, if it was asked for or passed with the invitation (report)",
            external_user_id PersonId "Id of the user in the LMS (report externalUserId)",
            external_meeting_id String "Id of the meeting in the LMS (report externalMeetingId)",
            first_joined_at Timestamp "Start of the first session",
            last_left_at Timestamp "End of the last session; an open session ends with the call",
            sessions Sessions "Stays in the call that could be read, sorted. left_at is null if the stay is open or its end can't be read. An empty list: the report says that the participant was absent. Null: the participant was present, but the report has no times, or none that can be read",
            sessions_count Int64 "Number of sessions",
            sessions_unreadable Int64 "Stays in the report whose start can't be read; they are not in sessions",
            duration_s Double "Seconds in the call. Overlapping sessions count once, and an open one ends with the call. A lower bound if sessions_unreadable is above 0; null if sessions is null",
            camera_s Double "Seconds with the camera on (report)",
            microphone_s Double "Seconds with the microphone on (report)",
            screen_s Double "Seconds of screen sharing (report)",
            messages_count Int64 "Chat messages written (report)",
            reactions_count Int64 "Reactions sent (report)",
            hand_raises_count Int64 "Times the hand was raised (report)",
        }
        [lesson] {
            late_s Double "Seconds from the scheduled start of the lesson to the first join, at least 0. Only in the row of the user's first join of the meeting; null in others, without lesson data, and if a stay can't be read",
            source String "Format of the report that the row comes from: json or xlsx",
            identity String "Field that identifies the participant and by which rows were merged: id, external_user_id, email, phone or name; null if the report has none of them",
        }
        [rest] {}
    ;
    messages "a chat message" PerDay, sorted by room_id call_started_at call_id sent_at message_id
        [call] {
            message_id String "Id of the message (report)",
            participant_id PersonId "Id of the participant who wrote it (report)",
            external_user_id PersonId "Id of that participant in the LMS (report)",
            external_meeting_id String "Id of the meeting in the LMS that the participant came for (report)",
            participant_name PersonName "Name of that participant (report)",
            sent_at Timestamp "Time when it was sent (report)",
            text Words "Its text (report)",
        }
        [rest] {}
    ;
    reactions "a reaction" PerDay, sorted by room_id call_started_at call_id sent_at participant_id r#type
        [call] {
            participant_id PersonId "Id of the participant who sent it (report)",
            external_user_id PersonId "Id of that participant in the LMS (report)",
            external_meeting_id String "Id of the meeting in the LMS that the participant came for (report)",
            r#type String "Type of the reaction (report)",
            sent_at Timestamp "Time when it was sent (report)",
        }
        [rest] {}
    ;
    poll_votes "a vote" PerDay, sorted by room_id call_started_at call_id voted_at poll_id participant_id option_id
        [call] {
            poll_id String "Id of the poll (report)",
            question Words "Question of the poll (report)",
            option_id String "Id of the option voted for (report)",
            option_text Words "Text of that option (report)",
            answer_text Words "Answer in the participant's own words, if the vote has one (report)",
            is_right Bool "True if the vote is right: by the vote itself, else by its option; null if the report says neither",
            participant_id PersonId "Id of the participant who voted (report)",
            external_user_id PersonId "Id of that participant in the LMS (report)",
            external_meeting_id String "Id of the meeting in the LMS that the participant came for (report)",
            voted_at Timestamp "Time of the vote (report)",
        }
        [rest] {}
    ;
    polls "a poll of a call, also without votes" PerDay, sorted by room_id call_started_at call_id poll_id
        [keyed_call] {
            poll_id Key "Id of the poll in the report; `anon-…` is an id made by the program, if the report has none or gives the same id to another poll",
            question Words "Question of the poll (report)",
            options WordedOptions "Its options in the order of the report. is_right is null if the report does not say so (report)",
            votes_count Int64 "Number of its votes in the report: its rows in poll_votes, by poll_id; null if the program made the id",
        }
        [rest] {}
    ;
    report_rows "a row of an XLSX report that is not empty; if the header is known, only rows below it" PerDay, sorted by room_id call_started_at call_id sheet row_number
        [call] {
            sheet String "Name of the sheet (XLSX report)",
            row_number Int64 "Number of the row in its sheet, from 1",
            cells SheetCells "Its cells that are not empty, as text, by the text of the header; by the column's letter if no header is known",
        }
    ;
    recordings "a record" PerDay, sorted by room_id started_at record_id
        [none] {
            space_id Key "Id of the space (API)",
            record_id Key "Id of the record (API id)",
            room_id String "Id of the room it was made in (API)",
            room_name String "Name of that room when the day was last listed (API)",
            call_id String "Id of the call that it was recorded in (API callId); null if the API does not say",
            external_meeting_ids Strings "Meetings of the LMS that the participants of the call came for, distinct and sorted (report); null if the call is unknown",
            lesson_name String "Name of the lesson: the first in the lesson data of these meetings, by meeting and user id",
            lesson_course_id String "Id of the course, found in the same way (lesson data)",
            lesson_course_name String "Name of the course, found in the same way (lesson data)",
            name Words "Name of the record (API)",
            state String "State of the record, in the API's words (API)",
            started_at Timestamp "Start of the record (API startedAt)",
            finished_at Timestamp "End of the record (API finishedAt); null while it runs",
            file_size Int64 "Size in bytes according to the API; may be wrong (API fileSize)",
            status String "State of the file: done (it is in the lake), pending, failed (also if refused), unavailable (the platform has given it up), lost (given up after export.give_up) or deleted (its retention is over, or people were erased, see error; it counts as done)",
            uri String "Address of the file; null unless done",
            bytes Int64 "Size in bytes of the file in the lake; null unless done",
            sha256 String "SHA-256 of the file in the lake, in hex; null unless done",
            error String "Reason why it is not done; null if it is done",
        }
    ;
    user_meta "a user of a meeting, with the latest lesson data" PerDate, sorted by external_meeting_id external_user_id
        [none] {
            external_user_id PersonIdKey "Id of the user in the LMS (lesson data externalUserId)",
            external_meeting_id Key "Id of the meeting in the LMS (lesson data externalMeetingId)",
        }
        [sent_lesson] {
            meta AsReceived "The lesson data as received, as JSON (lesson data meta)",
            received_at Timestamp "Time of its receipt; the latest lesson data of a user and meeting wins",
        }
    ;
    hierarchy "a level of a user's meeting: each object nested in the lesson data" PerDate, sorted by external_meeting_id external_user_id
        [none] {
            external_user_id PersonId "Id of the user in the LMS (lesson data externalUserId)",
            external_meeting_id String "Id of the meeting in the LMS (lesson data externalMeetingId)",
            level String "Key of the level: student_group, lesson_course or the school's own (lesson data)",
            path String "Keys of all levels from the outermost to this one, joined by dots; elements of an array have the array's path (lesson data)",
            parent_level String "Key of the level that encloses it; null for the outermost",
            parent_entity_id EntityId "entity_id of the level that encloses it; null for the outermost (lesson data)",
            depth Int64 "Depth of the level, from 1",
            entity_id EntityId "Id of its entity: its `<level>_id`, else the first `…_id`, else `id`, else `<level>Id`, else the first `…Id`. Fields are in the order of their names (lesson data)",
            entity_name EntityName "Name of its entity: its `<level>_name`, else the first `…_name`, else `name`, else `<level>Name`, else the first `…Name`. Fields are in the order of their names (lesson data)",
            attributes Attributes "Its other scalar values (lesson data)",
        }
    ;
    lesson_attendance "a user who was expected in a meeting or was in it; on the day of the meeting's first call" PerDay, sorted by external_meeting_id external_user_id
        [none] {
            space_id String "Id of the space in which the meeting's first call was held (API)",
            external_meeting_id Key "Id of the meeting in the LMS",
            external_user_id PersonIdKey "Id of the user in the LMS",
        }
        [lesson] {
            teacher_ids PersonIds "Ids in the LMS of the meeting's teachers, sorted: users whose lesson data has the role teacher. If there are none, the moderators in the meeting's calls who have an external user id and are no student or parent by lesson data. An empty list if there are none either",
            teacher_names PersonNames "Names of the teachers, in the order of teacher_ids: the full name in the lesson data, else the name that a moderator entered the room with (report), else the id",
            attended Bool "True if the user was in one of the meeting's calls. Null if no call has the user, and calls_without_report is above 0 or a participant's ids could not be read",
            call_ids Strings "The meeting's calls in which the user was, in order of their start",
            first_joined_at Timestamp "Start of the first session in any of them",
            last_left_at Timestamp "End of the last session in any of them; an open session ends with its call",
            duration_s Double "Seconds in the meeting's calls. Overlapping sessions count once, and time outside the schedule counts. Null if a session can't be read or attended is null",
            attended_share Double "duration_s as a share of the scheduled length, or of the calls' length if none is scheduled; 0 to 1; null if duration_s is null",
            late_s Double "Seconds from the scheduled start to the first join, at least 0; null if either is unknown, or a session can't be read",
            left_early_s Double "Seconds from the last leave to the scheduled end, at least 0; null if either is unknown, or a session can't be read",
            in_lesson_s Double "Seconds in the meeting's calls from the scheduled start to the scheduled end. Overlapping sessions count once; 0 for an absent user. Null without a schedule in the user's lesson data, or if duration_s is null",
            in_lesson_share Double "in_lesson_s as a share of the scheduled length; 0 to 1; null if in_lesson_s is null",
            calls_without_report Int64 "Calls in the meeting's rooms that overlap the schedule and have no report of who was there, also those of the date before or after",
        }
    ;
    coverage "a room with a call or a record on the day, or that could not be listed" PerDay, sorted by room_id
        [none] {
            space_id Key "Id of the space (API)",
            room_id Key "Id of the room (API)",
            calls Int64 "Calls of the day",
            calls_pending Int64 "Calls that run or have not settled",
            reports_done Int64 "Reports in the lake (a call has one for each configured format)",
            reports_pending Int64 "Reports that are not there yet, or in which the mapping does not find who was in the call",
            reports_failed Int64 "Reports that could not be fetched or used",
            reports_denied Int64 "Reports that the API refuses to this token or tariff",
            reports_lost Int64 "Reports that did not come within export.give_up",
            records_done Int64 "Recordings in the lake",
            records_pending Int64 "Recordings that are not there yet",
            records_failed Int64 "Recordings that could not be fetched, or that the API refuses",
            records_unavailable Int64 "Recordings that the platform itself has given up",
            records_lost Int64 "Recordings that did not come within export.give_up",
            recorded_bytes Int64 "Size in bytes of the recordings in the lake",
            complete Bool "True if the lake has all that the platform has of the room on the day: everything was listed, and nothing is pending, failed, denied or lost",
            reason String "Reason of the first item that is not done; null if all are done",
            listed_at Timestamp "Start of the run that last listed the space's calls of the day (UTC); a listing that changed nothing of the day is not noted. Null if only single rooms were asked",
            built_at Timestamp "Start of the run that last built the day's tables from changed inputs (UTC)",
        }
    ;
    days "a day of a space that was looked at, also without calls" PerSpace, sorted by date
        [none] {
            space_id Key "Id of the space (API)",
            date DateKey "The day: the date in time_zone on which its calls began",
            space_name String "Name of the space when the day was last listed (API)",
            time_zone String "Time zone of the lake, in which dates begin at midnight (timezone in the configuration)",
            listed_at Timestamp "Start of the run that last listed the space's calls of the day (UTC); a listing that changed nothing of the day is not noted. Null if only single rooms were asked",
            built_at Timestamp "Start of the run that last built the day's tables from changed inputs (UTC). Rows of the day that are newer than your last read are in the days with a later built_at",
            complete Bool "True if the lake has all that the platform has of the day: everything was listed, nothing is pending, failed, denied or lost, and the tables were built from it",
            reason String "Reason of the first item that is not done; null if complete",
            calls Int64 "Calls of the day",
            participants Int64 "Rows of the table participants of the day",
            reports_done Int64 "Reports in the lake (each format of a call is one)",
            reports_pending Int64 "Reports that are not there yet",
            reports_failed Int64 "Reports that could not be fetched or read",
            reports_denied Int64 "Reports that the API refuses to this token or tariff",
            reports_lost Int64 "Reports that did not come within export.give_up",
            records_done Int64 "Recordings in the lake",
            records_pending Int64 "Recordings that are not there yet",
            records_failed Int64 "Recordings that could not be fetched, or that the API refuses",
            records_unavailable Int64 "Recordings that the platform itself has given up",
            records_lost Int64 "Recordings that did not come within export.give_up",
            recorded_bytes Int64 "Size in bytes of the recordings in the lake",
            rows Counts "Number of rows of each table that has a file of the day, by the table's name",
            fingerprint String "Digest of all inputs of the day's tables; null until they are built",
            mapping_digest String "Digest of the mapping that they were built with (SHA-256, hex)",
            program_version String "Version of the program that built them",
        }
    ;
    rooms "a room, as the API last listed it; one that is gone keeps its row" PerSpace, sorted by room_id
        [none] {
            room_id Key "Id of the room (API id)",
            space_id String "Id of its space (API spaceId)",
            alias String "Short link of the room (API)",
            name String "Name of the room (API)",
            r#type String "lesson: all may speak; webinar: only the creator and moderators (API)",
            is_public Bool "True if anyone with the link may join (API isPublic)",
            app_id String "Id of the application (API appId)",
            channel_id String "Id of the room's channel, internal to the platform (API channelId)",
            template_id String "Id of the template (API templateId)",
            parent_room_id String "Id of the room that it is a breakout room of (API parentRoomId)",
            is_favorite Bool "True if the token's user marked it as a favourite (API isFavorite)",
            is_chat_allowed Bool "True if there is a chat (API isChatAllowed)",
            is_record_allowed Bool "True if it may be recorded (API isRecordAllowed)",
            is_auto_recording_allowed Bool "True if recording starts when a moderator enters (API isAutoRecordingAllowed)",
            is_screensharing_allowed Bool "True if participants may share the screen (API isScreensharingAllowed)",
            is_microphone_publishing_allowed Bool "True if participants may speak (API isMicrophonePublishingAllowed)",
            is_screen_media_publishing_allowed Bool "True if participants may publish the screen's media (API isScreenMediaPublishingAllowed)",
            is_camera_publishing_allowed Bool "True if participants may show video (API isCameraPublishingAllowed)",
            is_avatars_allowed Bool "True if there are avatars (API isAvatarsAllowed)",
            is_self_renaming_allowed Bool "True if participants may rename themselves (API isSelfRenamingAllowed)",
            is_hand_raising_allowed Bool "True if participants may raise their hand (API isHandRaisingAllowed)",
            is_remote_drawing_allowed Bool "True if participants may draw on another's screen (API isRemoteDrawingAllowed)",
            waiting_room_audience String "Participants who have to wait until they are let in (API waitingRoomAudience)",
            breakout_rooms OpenJson "State of the breakout rooms, as JSON (API breakoutRooms)",
            join_settings Json "Data that participants are asked for on entering, as JSON (API joinSettings)",
            role_in_room String "Role of the token's user (API roleInRoom)",
            redirect_url String "Address that participants are sent to when the call ends (API redirectUrl)",
            last_call_at Timestamp "Time when the room last had a call (API lastCallAt)",
            created_at Timestamp "Time when the room was created (API createdAt)",
        }
        [rest] {}
    ;
    spaces "a space, as the API last listed it; one that is gone keeps its row" Single, sorted by space_id
        [none] {
            space_id Key "Id of the space (API id)",
            name String "Name of the space (API)",
            description String "Description of the space (API)",
            logo String "Address of its logo (API)",
            is_public Bool "No longer used by the platform (API isPublic)",
            created_at Timestamp "Time when the space was created (API createdAt)",
        }
        [rest] {}
    ;
}
