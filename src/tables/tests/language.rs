//! Each ability of the mapping language, from a report of that shape to the rows.

use super::own::{over, refusal};
use super::*;

/// The values of some columns in the rows of a table that a report gives; rows of several columns are sorted.
pub(super) fn rows(mapping: &str, report: &Value, table: &str, columns: &[&str]) -> Vec<String> {
    let day = build_with(&manifest(), &over(mapping), report.to_string());
    let mut rows = rows_of(&day, table, columns);
    if columns.len() > 1 {
        rows.sort();
    }
    rows
}

pub(super) fn rows_of(day: &BuiltDay, table: &str, columns: &[&str]) -> Vec<String> {
    let file = file(day, table);
    let columns: Vec<_> = columns.iter().map(|name| column(file, name)).collect();
    let row = |at: usize| {
        columns
            .iter()
            .map(|column| column[at].as_str())
            .collect::<Vec<_>>()
    };
    (0..columns[0].len()).map(|at| row(at).join(" | ")).collect()
}

/// The sessions of each participant in minutes from the start of the call at 10:00, by name.
pub(super) fn sessions(mapping: &str, report: &Value) -> Vec<String> {
    let day = build_with(&manifest(), &over(mapping), report.to_string());
    sessions_of(&day)
}

fn sessions_of(day: &BuiltDay) -> Vec<String> {
    let file = file(day, "participants");
    let (names, sessions) = (column(file, "name"), column(file, "sessions"));
    let unreadable = column(file, "sessions_unreadable");
    let mut people: Vec<_> = names
        .into_iter()
        .zip(sessions)
        .zip(unreadable)
        .map(|((name, sessions), unreadable)| {
            let sessions = sessions
                .replace("joined_at: 2026-11-22T", "")
                .replace(", left_at: 2026-11-22T", "–")
                .replace(", left_at: null", "–")
                .replace('Z', "");
            let unreadable = if unreadable == "0" {
                String::new()
            } else {
                format!(" ?{unreadable}")
            };
            format!("{name} {sessions}{unreadable}")
        })
        .collect();
    people.sort();
    people
}

#[test]
fn the_values_of_an_object_are_rows_and_their_keys_are_columns() {
    let report = json!({"users": {
        "u1": {"name": "Анна", "devices": {"d1": {"in": "2026-11-22 10:00", "out": "2026-11-22 10:30"},
                                           "d2": {"in": "2026-11-22 10:40", "out": "2026-11-22 10:50"}}},
        "u2": {"name": "Борис", "devices": {}},
        "u3": {"name": "Вера"},
        "u4": {"name": "Глеб", "devices": 5}},
        "polls": {"q1": {"title": "Да?", "votes": {"u1": "нет", "u2": "да"}}}});
    let mapping = "[table.participants]\nrows = 'users{}'\ncolumns.participant_id = '@key'\n\
        columns.sessions = { from = 'devices{}', fields = { joined_at = 'in', left_at = 'out' } }\n\
        [table.poll_votes]\nrows = 'polls{}.votes{}'\n\
        columns.poll_id = '^@key'\ncolumns.question = '^.title'\ncolumns.participant_id = '@key'\ncolumns.answer_text = '@'";
    assert_eq!(
        rows(
            mapping,
            &report,
            "participants",
            &["participant_id", "name", "identity"]
        ),
        [
            "u1 | Анна | id",
            "u2 | Борис | id",
            "u3 | Вера | id",
            "u4 | Глеб | id"
        ]
    );
    assert_eq!(
        sessions(mapping, &report),
        [
            "Анна [{10:00:00–10:30:00}, {10:40:00–10:50:00}]",
            "Борис []",
            "Вера null",
            "Глеб null ?1"
        ]
    );
    let columns = ["poll_id", "question", "participant_id", "answer_text"];
    let votes = rows(mapping, &report, "poll_votes", &columns);
    assert_eq!(votes, ["q1 | Да? | u1 | нет", "q1 | Да? | u2 | да"]);
}

#[test]
fn a_report_may_itself_be_an_object_of_rows() {
    let report = json!({"u1": {"name": "Анна", "age": 9}, "u2": {"name": "Борис"}});
    let mapping = over("[table.participants]\nrows = '{}'\ncolumns.participant_id = '@key'");
    let day = build_with(&manifest(), &mapping, report.to_string());
    assert_eq!(column(file(&day, "participants"), "participant_id"), ["u1", "u2"]);
    assert_eq!(total(day.notes.unmapped.get("{}.age")), 1);
}

#[test]
fn a_row_may_be_a_list_of_stays() {
    let report =
        json!({"users": {"u1": [{"in": "2026-11-22 10:00", "out": "2026-11-22 10:10"}], "u2": [], "u3": 5}});
    let mapping = "[table.participants]\nrows = 'users{}'\ncolumns.name = '@key'\n\
        columns.sessions = { from = '[]', fields = { joined_at = 'in', left_at = 'out' } }";
    assert_eq!(sessions(mapping, &report), ["u1 [{10:00:00–10:10:00}]", "u2 []"]);
}

#[test]
fn a_report_may_itself_be_a_list_of_rows() {
    let report = json!([{"id": "1", "name": "Анна"}, {"id": "2", "name": "Борис"}]);
    let mapping = "[table.participants]\nrows = '[]'";
    assert_eq!(
        rows(mapping, &report, "participants", &["name"]),
        ["Анна", "Борис"]
    );
    let seen = inspect(report.to_string().as_bytes(), &over(mapping)).expect("JSON");
    assert_eq!((seen.nested, seen.participants), (true, Some(2)));
}

#[test]
fn times_without_a_zone_are_in_the_zone_of_the_column_the_table_or_the_mapping() {
    let report = json!({
        "participants": [{"id": "p", "name": "Анна", "sessions": [{"joinedAt": "2026-11-22 13:00", "leftAt": "2026-11-22T10:30:00Z"}]}],
        "messages": [{"id": "1", "sentAt": "22.11.2026 15:01"}],
        "reactions": [{"sentAt": "2026-11-22 13:02"}]});
    let mapping = "zone = 'Europe/Moscow'\n[table.messages]\nzone = 'Asia/Yekaterinburg'\n[table.reactions]\nzone = 'UTC'\n\
        columns.sent_at = { zone = 'Europe/Moscow' }";
    assert_eq!(sessions(mapping, &report), ["Анна [{10:00:00–10:30:00}]"]);
    assert_eq!(
        rows(mapping, &report, "messages", &["sent_at"]),
        ["2026-11-22T10:01:00Z"]
    );
    assert_eq!(
        rows(mapping, &report, "reactions", &["sent_at"]),
        ["2026-11-22T10:02:00Z"]
    );
    assert_eq!(
        refusal("zone = 'MSK'\n"),
        "mine.toml: line 2: `zone`: `MSK` is no IANA time zone: write one such as `Europe/Moscow`"
    );
    assert_eq!(
        refusal("[table.messages]\ncolumns.sent_at = { zone = 'Moscow' }"),
        "mine.toml: line 3: [table.messages] column `sent_at`: `zone`: `Moscow` is no IANA time zone: write one such as \
         `Europe/Moscow`"
    );
}

#[test]
fn formats_are_tried_first_in_the_column_the_table_or_the_mapping() {
    let report = json!({
        "participants": [{"id": "p", "name": "Анна", "sessions": [{"joinedAt": "11/22/2026 01:00:00 PM", "leftAt": "2026-11-22T10:30:00Z"}]}],
        "messages": [{"id": "1", "sentAt": "22/11/2026 10:01"}, {"id": "2", "sentAt": "11/22/2026 10:01:00 AM"}]});
    let mapping = over(
        "formats = ['%m/%d/%Y %I:%M:%S %p']\nzone = 'Europe/Moscow'\n\
         [table.messages]\nformats = '%d/%m/%Y %H:%M'\nzone = 'UTC'",
    );
    let day = build_with(&manifest(), &mapping, report.to_string());
    assert_eq!(sessions_of(&day), ["Анна [{10:00:00–10:30:00}]"]);
    assert_eq!(
        rows_of(&day, "messages", &["sent_at"]),
        ["null", "2026-11-22T10:01:00Z"]
    );
    assert_eq!(total(day.notes.bad.get("messages.sent_at")), 1);
    assert_eq!(
        refusal("[table.messages]\nformats = ['%H:%M']"),
        "mine.toml: line 3: [table.messages] `formats`: `%H:%M` does not state a whole date and time: it needs year, month and day, and `%p` beside `%I`"
    );
    assert!(refusal("[table.messages]\ncolumns.text = { formats = '%F' }").contains("only instants"));
}

#[test]
fn lengths_of_time_are_read_in_every_column_of_seconds() {
    let report = json!({"participants": [
        {"id": "1", "cameraSeconds": "PT1H2M3S", "microphoneSeconds": "1:02:03", "screenSeconds": "55 мин"},
        {"id": "2", "cameraSeconds": 5, "microphoneSeconds": "7.5", "screenSeconds": "1h 2m 3s"},
        {"id": "3", "cameraSeconds": "soon", "microphoneSeconds": "10:20", "screenSeconds": ""},
        {"id": "4", "minutes": 2, "cameraSeconds": "x"}, {"id": "5", "minutes": "3 min"}]});
    let mapping = "[table.participants]\ncolumns.camera_s = ['cameraSeconds']\n\
        [table.talks]\nrows = 'participants[]'\ncolumns.id = { from = 'id', type = 'string' }\n\
        columns.talk_s = { from = 'minutes', scale = 60, type = 'double' }";
    let day = build_with(&manifest(), &over(mapping), report.to_string());
    assert_eq!(
        rows_of(&day, "participants", &["camera_s", "microphone_s", "screen_s"]),
        [
            "3723.0 | 3723.0 | 3300.0",
            "5.0 | 7.5 | 3723.0",
            "null | null | null",
            "null | null | null",
            "null | null | null"
        ]
    );
    assert_eq!(total(day.notes.bad.get("participants.camera_s")), 2);
    assert_eq!(total(day.notes.bad.get("participants.microphone_s")), 1);
    let talks = read_text(file(&day, "talks").bytes.clone(), &["id", "talk_s"]).expect("rows");
    let talks: Vec<_> = talks.iter().map(|row| row.join(" ")).collect();
    assert_eq!(talks[3..], ["4 120.0", "5 180.0"]);
}

#[test]
fn other_words_stand_for_values() {
    let report = json!({"participants": [
        {"id": "1", "isModerator": true}, {"id": "2", "isModerator": false}, {"id": "3"}, {"id": "4", "isModerator": "TRUE"},
        {"id": "5", "isModerator": null}, {"id": "6", "isModerator": "someone", "role": "moderator"}]});
    let values = "values = { true = 'moderator', false = 'user' }";
    let role = |feed: &str| {
        let mapping = format!("[table.participants]\ncolumns.role = {{ {feed} }}");
        rows(&mapping, &report, "participants", &["role"]).join(" ")
    };
    assert_eq!(
        role(&format!("from = 'isModerator', {values}, default = 'user'")),
        "moderator user user moderator user user"
    );
    assert_eq!(
        role(&format!("from = 'isModerator', {values}")),
        "moderator user null moderator null someone"
    );
    // An empty text makes a word nothing.
    assert_eq!(
        role("values = { moderator = '' }, default = 'user'"),
        "user user user user user user"
    );
    assert_eq!(
        role("values = { moderator = '' }"),
        "null null null null null null"
    );
    // Without a path they apply to the built-in one.
    assert_eq!(
        role("values = { moderator = 'teacher' }"),
        "null null null null null teacher"
    );
    let polls = json!({"polls": [{"id": 1, "votes": [{"verdict": "верно"}, {"verdict": "Не верно"}, {"verdict": "?"}]}]});
    let mapping = over(
        "[table.poll_votes]\ncolumns.is_right = { from = 'verdict', values = { 'верно' = true, 'неверно' = false } }",
    );
    let day = build_with(&manifest(), &mapping, polls.to_string());
    assert_eq!(
        column(file(&day, "poll_votes"), "is_right"),
        ["true", "false", "null"]
    );
    assert_eq!(total(day.notes.bad.get("poll_votes.is_right")), 1);
    let refused = |feed: &str| {
        refusal(&format!(
            "[table.poll_votes]\ncolumns.is_right = {{ from = 'a', {feed} }}"
        ))
    };
    assert!(refused("values = { yes = 'sure' }").contains("`yes`: \"sure\" does not fit the type bool"));
    assert!(refused("default = 'sure'").contains("`default`: \"sure\" does not fit"));
    assert!(
        refusal("[table.participants]\ncolumns.sessions = { default = 5 }").contains("only texts, numbers")
    );
}

#[test]
fn a_default_alone_is_nobody() {
    let mapping = over(
        "[table.participants]\ncolumns.role = { from = 'isModerator', values = { true = 'moderator' }, default = 'user' }",
    );
    let seen = inspect(
        br#"{"participants": [{"fullName": "A"}, {"fullName": "B"}]}"#,
        &mapping,
    )
    .expect("JSON");
    assert_eq!((seen.participants, seen.turnout.people), (Some(2), 0));
    let seen = inspect(br#"{"participants": [{"name": "A"}]}"#, &mapping).expect("JSON");
    assert_eq!(seen.turnout.people, 1);
}

#[test]
fn rows_that_do_not_count_are_left_out() {
    let report = json!({"participants": [
        {"id": "1", "name": "Анна", "status": "in_meeting", "user": {"kind": 1}},
        {"id": "2", "name": "Борис", "status": "In_Meeting", "user": {"kind": 2}},
        {"id": "3", "name": "Вера", "status": "waiting", "user": {"kind": 1}},
        {"id": "4", "name": "Итого:", "status": "in_meeting"},
        {"id": "5", "name": "Глеб", "user": {"kind": null}}]});
    let names = |rules: &str| {
        let mapping = format!("[table.participants]\n{rules}");
        rows(&mapping, &report, "participants", &["name"]).join(" ")
    };
    assert_eq!(names("where = { status = 'in_meeting' }"), "Анна Борис Итого:");
    assert_eq!(
        names("where = { status = ['in_meeting', 'waiting'] }\nskip = { name = ['Итого', 'Total'] }"),
        "Анна Борис Вера"
    );
    assert_eq!(
        names("where = { status = 'in_meeting', 'user.kind' = 1 }"),
        "Анна"
    );
    assert_eq!(
        names("where = { 'user.kind' = [1, 2] }\nskip = { name = 'вера' }"),
        "Анна Борис"
    );
    // A list equals if one of its elements does.
    let tagged = json!({"participants": [{"id": "1", "name": "Анна", "tags": ["a", "s"]}, {"id": "2", "name": "Борис", "tags": []}]});
    let by_tag = "[table.participants]\nwhere = { tags = 's' }";
    assert_eq!(rows(by_tag, &tagged, "participants", &["name"]), ["Анна"]);
    // A field that only a condition reads is kept, and is no news.
    let day = build_with(&manifest(), &over(by_tag), tagged.to_string());
    assert_eq!(
        column(file(&day, "participants"), "extra"),
        ["{\"tags\":[\"a\",\"s\"]}"]
    );
    assert!(
        day.notes
            .unmapped
            .keys()
            .all(|path| !path.starts_with("participants")),
        "{:?}",
        day.notes.unmapped
    );
    // A value that does not exist equals the empty text.
    assert_eq!(names("where = { status = '' }"), "Глеб");
    assert_eq!(names("skip = { status = '' }"), "Анна Борис Вера Итого:");
    assert_eq!(
        refusal("[table.participants]\nskip = { 'a.*' = 'x' }"),
        "mine.toml: line 3: [table.participants] `skip`: `a.*`: `*` can't match: `[]` steps into a list, `{}` into an object by \
         key, both at the end of a name; a backslash before `*` makes it a part of the name"
    );
    assert!(
        refusal("[table.participants]\nwhere = { user.kind = 1 }")
            .contains("a path with dots stands in quotes")
    );
    assert!(refusal("[table.participants]\nwhere = { kind = [] }").contains("line 3: [table.participants]"));
    assert!(refusal("[table.participants]\nwhere = { '^^.kind' = 'x' }").contains("more `^`"));
}

#[test]
fn a_name_is_joined_from_its_parts() {
    let report = json!({"participants": [
        {"id": "1", "lastName": "Иванова", "firstName": "Анна", "name": "anna17"},
        {"id": "2", "lastName": " ", "firstName": "Борис"}, {"id": "3", "name": "Вера"}, {"id": "4", "lastName": null}]});
    let mapping = "[table.participants]\ncolumns.name = { concat = ['lastName', 'firstName'] }";
    assert_eq!(
        rows(mapping, &report, "participants", &["name"]),
        ["Иванова Анна", "Борис", "Вера", "null"]
    );
    assert!(
        refusal("[table.participants]\ncolumns.camera_s = { concat = ['a', 'b'] }").contains("only texts")
    );
    assert!(
        refusal("[table.participants]\ncolumns.name = { concat = ['a[]'] }").contains("steps into an array")
    );
}

#[test]
fn texts_that_a_list_lacks_are_no_empty_list() {
    let report = json!({"tasks": [{"tags": [{"name": "a"}, {}]}, {"tags": ["x"]}, {"tags": []}, {}]});
    let mapping =
        over("[table.tasks]\nrows = 'tasks[]'\ncolumns.tags = { from = 'tags[].name', type = 'list' }");
    let day = build_with(&manifest(), &mapping, report.to_string());
    let tags = read_text(file(&day, "tasks").bytes.clone(), &["tags"]).expect("rows");
    let tags: Vec<_> = tags.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(tags, ["[a]", "", "[]", ""]);
    assert_eq!(total(day.notes.bad.get("tasks.tags")), 1);
}

#[test]
fn a_mapping_without_a_version_is_refused() {
    let refused = Mapping::over_builtin("[table.messages]\ncolumns.text = 'body'", "mine.toml")
        .expect_err("no version");
    let expected = "mine.toml: the version is missing: `version = 1` stands at the top";
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn a_wrong_name_of_a_column_gives_the_nearest() {
    assert!(refusal("[table.participants]\ncolumns.nmae = 'n'").contains("the nearest is `name`"));
    assert!(refusal("[table.participants]\ncolumns.xyzzy = 'n'").contains("`telelake schema` lists"));
}

#[test]
fn a_path_that_can_never_match_is_refused_with_its_line() {
    for (rules, reason) in [
        (
            "rows = 'users.*[]'",
            "line 3: [table.participants] `rows`: `users.*[]`: `*` can't match",
        ),
        (
            "rows = 'users[0]'",
            "line 3: [table.participants] `rows`: `users[0]`: `[` can't match",
        ),
        ("rows = '$.users[]'", "a path begins at the object itself"),
        ("rows = '@key'", "must be a path from the whole object"),
        (
            "columns.name = '@key'",
            "line 3: [table.participants] column `name`: `@key` is no key",
        ),
        ("columns.name = '^@key'", "`^@key` is no key"),
        ("columns.name = 'user.@key'", "stands alone"),
        ("columns.name = '@.name'", "the row's own fields have no `@.`"),
        (
            "rows = 'users{}'\ncolumns.name = '^@key'",
            "line 4: [table.participants] column `name`: `^@key` is no key",
        ),
        ("rows = 'users{}.data'\ncolumns.name = '@key'", "`@key` is no key"),
    ] {
        let refused = refusal(&format!("[table.participants]\n{rules}"));
        assert!(refused.contains(reason), "{refused}");
    }
    over("[table.participants]\nrows = 'users{}.data'\ncolumns.name = '^@key'");
    over("[table.participants]\nrows = ['users[]', 'users{}']\ncolumns.participant_id = ['id', '@key']");
}
