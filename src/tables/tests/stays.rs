//! The forms in which a report gives the stays of people.

use super::language::{rows, rows_of, sessions};
use super::own::{over, refusal};
use super::*;

#[test]
fn sessions_come_from_a_list_elsewhere() {
    let report = json!({
        "participants": [{"id": 1, "name": "Анна"}, {"id": 2, "name": "Борис"}, {"id": 3, "name": "Вера"}, {"name": "Глеб"}],
        "sessions": [
            {"participantId": "1", "start": "2026-11-22 10:00", "end": "2026-11-22 10:10"},
            {"participantId": 2, "start": "2026-11-22 10:05", "end": "2026-11-22 10:15"},
            {"participantId": "1", "start": "2026-11-22 10:20", "end": null},
            {"participantId": 3, "start": "never", "end": null},
            {"start": "2026-11-22 10:00"}]});
    let mapping = "[table.participants]\ncolumns.sessions = { list = '^.sessions[]', key = 'participantId', equals = 'id', \
        fields = { joined_at = 'start', left_at = 'end' } }";
    assert_eq!(
        sessions(mapping, &report),
        [
            "Анна [{10:00:00–10:10:00}, {10:20:00–}]",
            "Борис [{10:05:00–10:15:00}]",
            "Вера null ?1",
            "Глеб null"
        ]
    );
    let day = build_with(&manifest(), &over(mapping), report.to_string());
    assert_eq!(total(day.notes.observed.get(&Observation::UnclaimedSessions)), 1);
    // Each room has a list of its own.
    let rooms = json!({"rooms": [
        {"users": [{"id": 1, "name": "Анна"}], "log": [{"u": 1, "start": "2026-11-22 10:00", "end": "2026-11-22 10:10"}]},
        {"users": [{"id": 1, "name": "Борис"}], "log": [{"u": 1, "start": "2026-11-22 10:20", "end": "2026-11-22 10:30"}]}]});
    let nested = "[table.participants]\nrows = 'rooms[].users[]'\ncolumns.participant_id = { from = 'name', replace = true }\n\
        columns.sessions = { list = '^.log[]', key = 'u', equals = 'id', fields = { joined_at = 'start', left_at = 'end' } }";
    assert_eq!(
        sessions(nested, &rooms),
        ["Анна [{10:00:00–10:10:00}]", "Борис [{10:20:00–10:30:00}]"]
    );
    let broken = json!({"participants": [{"id": 1, "name": "Анна"}], "sessions": 5});
    assert_eq!(sessions(mapping, &broken), ["Анна null ?1"]);
    for (feed, reason) in [
        ("list = '^.s[]', key = 'a'", "belong together"),
        ("list = '^.s[]'", "needs `key` and `equals`"),
        (
            "list = '^.s', key = 'a', equals = 'b'",
            "must step into a list: `^.s[]`",
        ),
        ("list = '^^.s[]', key = 'a', equals = 'b'", "more `^`"),
        (
            "list = '^.s[]', events = '^.e[]', key = 'a', equals = 'b'",
            "not from both",
        ),
        ("from = 'a[]', equals = 'b'", "`equals` is for sessions"),
        ("list = '^.s[]', key = 'a[]', equals = 'b'", "single values"),
        ("fields = { joined = 'a' }", "`fields` has no `joined`"),
    ] {
        let refused = refusal(&format!("[table.participants]\ncolumns.sessions = {{ {feed} }}"));
        assert!(
            refused.starts_with("mine.toml: line 3: [table.participants] column `sessions`: "),
            "{refused}"
        );
        assert!(refused.contains(reason), "{refused}");
    }
    assert!(
        refusal("[table.messages]\ncolumns.text = { list = '^.s[]', key = 'a', equals = 'b' }")
            .contains("only sessions")
    );
}

#[test]
fn sessions_come_from_events() {
    let event = |who: &str, kind: &str, minute: u32| json!({"userId": who, "kind": kind, "time": format!("2026-11-22 10:{minute:02}")});
    let report = json!({
        "participants": [{"id": "1", "name": "Анна"}, {"id": "2", "name": "Борис"}, {"id": "3", "name": "Вера"}],
        "events": [event("1", "JOINED", 0), event("2", "joined", 5), event("1", "MUTED", 6), event("1", "LEFT", 10),
                   event("1", "JOINED", 20), event("9", "JOINED", 1)]});
    let mapping = "[table.participants]\ncolumns.sessions = { events = '^.events[]', key = 'userId', equals = 'id', \
        at = 'time', type = 'kind', join = ['JOINED'], leave = ['LEFT'] }";
    assert_eq!(
        sessions(mapping, &report),
        [
            "Анна [{10:00:00–10:10:00}, {10:20:00–}]",
            "Борис [{10:05:00–}]",
            "Вера null"
        ]
    );
    let day = build_with(&manifest(), &over(mapping), report.to_string());
    assert_eq!(total(day.notes.observed.get(&Observation::UnclaimedSessions)), 1);
    // The list of events is all that there is.
    let alone = json!({"events": report["events"]});
    let rows_of_events = "[table.participants]\nrows = 'events[]'\nwhere = { kind = ['JOINED', 'LEFT'] }\n\
        columns.external_user_id = 'userId'\n\
        columns.sessions = { events = '^.events[]', key = 'userId', equals = 'userId', at = 'time', type = 'kind', \
        join = 'JOINED', leave = 'LEFT' }";
    assert_eq!(
        rows(
            rows_of_events,
            &alone,
            "participants",
            &["external_user_id", "sessions_count", "identity"]
        ),
        [
            "1 | 2 | external_user_id",
            "2 | 1 | external_user_id",
            "9 | 1 | external_user_id"
        ]
    );
    // The report is itself the list of events.
    let itself = "[table.participants]\nrows = '[]'\ncolumns.external_user_id = 'userId'\n\
        columns.sessions = { events = '^[]', key = 'userId', equals = 'userId', at = 'time', type = 'kind', join = 'JOINED', leave = 'LEFT' }";
    assert_eq!(
        rows(
            itself,
            &report["events"],
            "participants",
            &["external_user_id", "sessions_count"]
        ),
        ["1 | 2", "2 | 1", "9 | 1"]
    );
    // Each person has events of its own.
    let own = json!({"participants": [{"id": "1", "name": "Анна", "log": [event("", "in", 3), event("", "out", 4)]}]});
    let own_events = "[table.participants]\ncolumns.sessions = { events = 'log[]', at = 'time', type = 'kind', join = 'in', leave = 'out' }";
    assert_eq!(sessions(own_events, &own), ["Анна [{10:03:00–10:04:00}]"]);
    for (feed, reason) in [
        ("events = 'e[]'", "need all of `at`, `type`, `join` and `leave`"),
        (
            "events = 'e[]', at = 't', join = 'a', leave = 'b'",
            "need the `type`",
        ),
        (
            "events = 'e[]', at = 't', type = 'k', join = 'a', leave = ['A']",
            "is in `join` and in `leave`",
        ),
        ("from = 'e[]', at = 't'", "for `events`"),
    ] {
        let refused = refusal(&format!("[table.participants]\ncolumns.sessions = {{ {feed} }}"));
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn rows_that_are_stays_become_people_by_what_identifies_them() {
    let stay = |fields: Value, from: u32, to: u32| {
        let mut row = fields;
        row["in"] = json!(format!("2026-11-22 10:{from:02}"));
        row["out"] = json!(format!("2026-11-22 10:{to:02}"));
        row
    };
    let report = json!({"participants": [
        stay(json!({"externalUserId": "u1", "name": "Анна"}), 0, 10),
        stay(json!({"externalUserId": "u1", "name": "Анна С."}), 20, 30),
        stay(json!({"email": "b@example.org", "name": "Борис"}), 0, 5),
        stay(json!({"email": "b@example.org", "name": "Борис"}), 6, 9),
        stay(json!({"phone": "+79990000001", "name": "Вера"}), 0, 5),
        stay(json!({"name": "Глеб"}), 0, 5),
        stay(json!({"name": "Глеб"}), 10, 15),
        json!({"name": "Глеб"})]});
    let mapping = over(
        "[table.participants]\ncolumns.sessions = { from = '@', fields = { joined_at = 'in', left_at = 'out' } }",
    );
    let day = build_with(&manifest(), &mapping, report.to_string());
    let mut people = rows_of(
        &day,
        "participants",
        &["name", "sessions_count", "duration_s", "identity"],
    );
    people.sort();
    assert_eq!(
        people,
        [
            "Анна | 2 | 1200.0 | external_user_id",
            "Борис | 2 | 480.0 | email",
            "Вера | 1 | 300.0 | phone",
            "Глеб | 2 | 600.0 | name"
        ]
    );
    assert_eq!(total(day.notes.observed.get(&Observation::MergedByName)), 2);
    assert_eq!(total(day.notes.observed.get(&Observation::MergedParticipants)), 0);
}

#[test]
fn stays_with_ids_of_their_own_become_people_too() {
    let stay = |id: &str, who: Value, name: &str, from: u32| {
        let mut row = json!({"id": id, "name": name, "in": format!("2026-11-22 10:{from:02}"), "out": format!("2026-11-22 10:{:02}", from + 5)});
        row.as_object_mut()
            .expect("object")
            .extend(who.as_object().expect("object").clone());
        row
    };
    let report = json!({"participants": [
        stay("1", json!({"externalUserId": "u1"}), "Анна", 0),
        stay("2", json!({"externalUserId": "u1"}), "Анна С.", 10),
        stay("3", json!({"email": "b@example.org"}), "Борис", 0),
        stay("4", json!({"email": "b@example.org"}), "Борис", 10),
        // The address of a family.
        stay("5", json!({"email": "b@example.org"}), "Вера", 0),
        stay("6", json!({}), "Глеб", 0),
        stay("7", json!({}), "Глеб", 10),
        stay("8", json!({}), "Дина", 0),
        stay("8", json!({}), "Дина", 10)]});
    let mapping = "[table.participants]\ncolumns.sessions = { from = '@', fields = { joined_at = 'in', left_at = 'out' } }";
    assert_eq!(
        rows(
            mapping,
            &report,
            "participants",
            &["name", "participant_id", "sessions_count", "identity"]
        ),
        [
            "Анна | 1 | 2 | external_user_id",
            "Борис | 3 | 2 | email",
            "Вера | 5 | 1 | id",
            "Глеб | 6 | 1 | id",
            "Глеб | 7 | 1 | id",
            "Дина | 8 | 2 | id"
        ]
    );
}

#[test]
fn a_placeholder_identifies_nobody_and_people_write_addresses_in_many_ways() {
    let stay = |who: Value, name: &str, from: u32| {
        let mut row = json!({"name": name, "in": format!("2026-11-22 10:{from:02}"), "out": format!("2026-11-22 10:{:02}", from + 5)});
        row.as_object_mut()
            .expect("object")
            .extend(who.as_object().expect("object").clone());
        row
    };
    let report = json!({"participants": [
        stay(json!({"email": "-"}), "Вера", 0),
        stay(json!({"email": "NULL", "externalUserId": "n/a"}), "Глеб", 0),
        stay(json!({"email": "anna@x.ru"}), "Анна", 0),
        stay(json!({"email": "Anna@X.ru "}), "Анна", 10),
        stay(json!({"phone": "+7 (999) 000-00-01"}), "Дина", 0),
        stay(json!({"phone": 79_990_000_001_i64}), "Дина", 10),
        stay(json!({"phone": "нет"}), "Егор", 0)]});
    let mapping = "[table.participants]\ncolumns.sessions = { from = '@', fields = { joined_at = 'in', left_at = 'out' } }";
    assert_eq!(
        rows(
            mapping,
            &report,
            "participants",
            &["name", "sessions_count", "identity"]
        ),
        [
            "Анна | 2 | email",
            "Вера | 1 | name",
            "Глеб | 1 | name",
            "Дина | 2 | phone",
            "Егор | 1 | name"
        ]
    );
}

#[test]
fn a_length_without_times_is_no_duration() {
    let refused = refusal("[table.participants]\ncolumns.duration_s = 'length'");
    assert!(
        refused.contains("name a length as `duration_s` in the `fields` of `sessions`"),
        "{refused}"
    );
    let report = json!({"participants": [{"id": "1", "name": "Анна", "sessions": [{"length": "PT5M"}]}]});
    let mapping = "[table.participants]\ncolumns.sessions = { fields = { duration_s = 'length' } }";
    assert_eq!(
        rows(
            mapping,
            &report,
            "participants",
            &["sessions", "duration_s", "sessions_unreadable"]
        ),
        ["null | null | 1"]
    );
}

#[test]
fn a_start_and_a_length_give_the_end() {
    let report = json!({"participants": [
        {"id": "1", "name": "Анна", "sessions": [{"joinedAt": "2026-11-22 10:00", "length": "PT55M"}]},
        {"id": "2", "name": "Борис", "sessions": [{"joinedAt": "2026-11-22 10:00", "length": 10}]},
        {"id": "3", "name": "Вера", "sessions": [{"joinedAt": "2026-11-22 10:00", "leftAt": "2026-11-22 10:01", "length": 10}]},
        {"id": "4", "name": "Глеб", "sessions": [{"joinedAt": "2026-11-22 10:00", "length": "soon"}]}]});
    let mapping =
        "[table.participants]\ncolumns.sessions = { scale = 60, fields = { duration_s = 'length' } }";
    assert_eq!(
        sessions(mapping, &report),
        [
            "Анна [{10:00:00–10:55:00}]",
            "Борис [{10:00:00–10:10:00}]",
            "Вера [{10:00:00–10:01:00}]",
            "Глеб [{10:00:00–}]"
        ]
    );
}

proptest! {
    /// Nobody is absent, and nothing panics, whatever stands in the place of sessions.
    #[test]
    fn any_value_in_the_place_of_a_list_or_of_events_leaves_everybody_present(
        list in prop_oneof![Just(json!(null)), Just(json!(5)), Just(json!("x")), Just(json!({})), Just(json!([1, null, {}])),
            Just(json!([{"u": "1"}])), Just(json!({"k": {"u": "1", "t": {}}})), Just(json!([[{"u": "1"}]]))],
        is_events in any::<bool>(),
    ) {
        let report = json!({"participants": [{"id": "1", "name": "Анна"}], "log": list});
        let feed = match is_events {
            true => "events = '^.log[]', key = 'u', equals = 'id', at = 't', type = 'k', join = 'a', leave = 'b'",
            false => "list = '^.log[]', key = 'u', equals = 'id'",
        };
        let people = sessions(&format!("[table.participants]\ncolumns.sessions = {{ {feed} }}"), &report);
        prop_assert_eq!(people.len(), 1);
        prop_assert!(people[0].starts_with("Анна null"), "{}", people[0]);
    }
}
