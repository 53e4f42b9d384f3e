use serde_json::{Value, json};

use super::*;

fn builtin() -> Mapping {
    Mapping::builtin().expect("mapping")
}

fn fit(report: &Value, mapping: &Mapping) -> Fit {
    fit_report(report.to_string().as_bytes(), mapping, CallTimes::default()).expect("JSON")
}

fn table<'f>(fit: &'f Fit, name: &str) -> &'f TableFit {
    fit.tables
        .iter()
        .find(|table| table.table == name)
        .expect("a table")
}

/// The mapping that a person has who pastes the suggestions.
fn pasted(fit: &Fit) -> Mapping {
    let text = format!("version = 1\n{}", fit.suggestions.join("\n"));
    Mapping::over_builtin(&text, "pasted").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn the_fit_separates_found_columns_from_missing_ones() {
    let report =
        json!({"participants": [{"id": "p", "name": "x", "cameraSeconds": "?"}], "messages": [], "new": 1});
    let fit = fit(&report, &builtin());
    let people = table(&fit, "participants");
    assert_eq!(
        (people.bound.join(", "), people.rows),
        ("participant_id, name".to_owned(), Some(1))
    );
    assert!(
        people.unbound.contains(&"camera_s".to_owned()) && people.unbound.contains(&"sessions".to_owned())
    );
    assert_eq!(table(&fit, "messages").rows, Some(0));
    assert_eq!(table(&fit, "reactions").rows, None);
    assert!(fit.notes.unmapped.contains_key("new"));
    let untaken: Vec<_> = fit
        .untaken
        .iter()
        .map(|field| (field.path.as_str(), field.shape.as_deref()))
        .collect();
    assert_eq!(untaken, [("new", Some("9"))]);
}

#[test]
fn values_that_do_not_fit_are_told_by_shape_and_place_and_never_by_value() {
    let stay = |at: &str| json!({"joinedAt": at, "leftAt": "2026-11-22T10:00:00Z"});
    let report = json!({"participants": [
        {"id": "p1", "cameraSeconds": 5, "sessions": [stay("2026-11-22T09:00:00Z")]},
        {"id": "p2", "cameraSeconds": "семь", "sessions": [stay("2026-11-22T09:00:00Z"), stay("soon 17")]},
        {"id": "p3", "cameraSeconds": "восемь", "sessions": [stay("soon 18")]},
        {"id": {"a": 1}, "sessions": "none"},
    ]});
    let fit = fit(&report, &builtin());
    let of = |column: &str| {
        let misfits = &table(&fit, "participants").misfits;
        misfits
            .iter()
            .find(|misfit| misfit.column == column)
            .cloned()
            .expect(column)
    };
    let camera = of("camera_s");
    assert_eq!(
        (camera.count, camera.of, camera.is_key, camera.is_most()),
        (2, 3, false, true)
    );
    assert_eq!(camera.example, "participants[1].cameraSeconds");
    assert!(
        camera
            .shapes
            .contains(&("\"бббб\"".into(), "participants[].cameraSeconds".into(), 1)),
        "{camera:?}"
    );
    let sessions = of("sessions");
    assert_eq!((sessions.count, sessions.of, sessions.is_key), (3, 5, true));
    assert_eq!(sessions.example, "participants[1].sessions[1].joinedAt");
    let shapes: Vec<_> = sessions
        .shapes
        .iter()
        .map(|(shape, place, times)| (shape.as_str(), place.as_str(), *times))
        .collect();
    assert!(
        shapes.contains(&("\"aaaa 99\"", "participants[].sessions[].joinedAt", 2)),
        "{shapes:?}"
    );
    assert_eq!(of("participant_id").count, 1);
    let shown = format!("{fit:?}");
    for value in ["семь", "восемь", "soon", "p2"] {
        assert!(!shown.contains(value), "{value} in {shown}");
    }
}

#[test]
fn stays_that_miss_the_call_by_hours_suggest_a_zone() {
    let report = json!({
        "startedAt": "2026-11-22T10:00:00Z", "finishedAt": "2026-11-22T10:45:00Z",
        "participants": [{"id": "p", "sessions": [{"joinedAt": "22.11.2026 13:01", "leftAt": "22.11.2026 13:44"}]}],
    });
    let fit = fit(&report, &builtin());
    assert_eq!(fit.outside.and_then(|outside| outside.zone), Some(180));
    assert!(
        fit.suggestions[0].starts_with("zone = \"Europe/Moscow\""),
        "{:?}",
        fit.suggestions
    );
}

#[test]
fn lists_and_fields_under_other_names_are_suggested_and_the_pasted_lines_bind_them() {
    let person = |n: u32| {
        json!({"uid": format!("u-{n}"), "contact": {"mail": format!("a{n}@school.ru"), "tel": "+7 900 123-45-67"}, "fio": "Иван Петров",
               "kind": "pupil", "lms": {"user": format!("s-{n}"), "lesson": "l-7"}, "ms": {"camera": 1500, "microphone": 900},
               "visits": [{"in": "22.11.2026 10:00", "out": "22.11.2026 10:40"}], "n": {"chat": 2, "smiles": 3, "hands": 1}})
    };
    let report = json!({"data": {
        "users": [person(1), person(2)],
        "rooms": [{"id": "r1", "name": "Зал"}],
        "chat": [{"key": "m1", "who": "u-1", "body": "Всем добрый день", "at": 1_795_341_600}],
        "smiles": [{"who": "u-1", "smile": "like", "at": 1_795_341_600}],
        "quizzes": [{"key": "q1", "title": "Сколько будет два и два?", "choices": [{"id": "o1", "text": "Четыре"}],
                     "answers": [{"userId": "u-1", "optionId": "o1", "time": 1_795_341_600}]}],
    }});
    let first = fit(&report, &builtin());
    assert_eq!(table(&first, "participants").rows, None);
    let second = fit(&report, &pasted(&first));
    let people = table(&second, "participants");
    assert_eq!(people.place, "data.users[]");
    assert_eq!(
        people.unbound,
        ["screen_s", "attributes"],
        "{:#?}",
        first.suggestions
    );
    assert_eq!(people.misfits, []);
    for name in ["messages", "reactions"] {
        assert_eq!(
            table(&second, name).unbound,
            [""; 0],
            "{name}: {:#?}",
            first.suggestions
        );
    }
    let votes = table(&second, "poll_votes");
    assert_eq!(votes.rows, Some(1));
    assert!(
        ["poll_id", "question", "option_id", "participant_id", "voted_at"]
            .iter()
            .all(|column| votes.bound.iter().any(|bound| bound == column)),
        "{votes:?} {:#?}",
        first.suggestions
    );
    assert_eq!(
        table(&second, "polls").bound,
        ["poll_id", "question", "options"],
        "{:#?}",
        first.suggestions
    );
    assert!(
        first
            .suggestions
            .iter()
            .any(|line| line.contains("{ from = \"ms.camera\", scale = 0.001 }"))
    );
}

#[test]
fn objects_keyed_by_id_and_events_are_suggested() {
    let person = |name: &str, mail: &str| json!({"fullName": name, "mail": mail, "isHost": false});
    let event = |user: &str, kind: &str| json!({"userId": user, "kind": kind, "time": 1_795_341_600_000_i64});
    let report = json!({
        "users": {"u1000001": person("Иван Петров", "a@s.ru"), "u1000002": person("Ольга Смирнова", "b@s.ru")},
        "events": [event("u1000001", "JOINED"), event("u1000001", "LEFT"), event("u1000002", "JOINED")],
    });
    let lines = fit(&report, &builtin()).suggestions.join("\n");
    for line in [
        "rows = \"users{}\"",
        "participant_id = \"@key\"",
        "name = \"fullName\"",
        "email = \"mail\"",
        "role = { from = \"isHost\", values = { true = \"moderator\", false = \"user\" } }",
        "sessions = { events = \"^.events[]\", key = \"userId\", equals = \"@key\", at = \"time\", type = \"kind\", join = [\"JOINED\"], leave = [\"LEFT\"] }",
    ] {
        assert!(lines.contains(line), "{line}\n{lines}");
    }
    let second = fit(&report, &pasted(&fit(&report, &builtin())));
    assert_eq!(
        table(&second, "participants").bound,
        ["participant_id", "name", "role", "email", "sessions"]
    );
    let flat = json!({"attendees": [
        {"id": 1, "lastName": "Петров", "firstName": "Иван", "join_time": "11/22/2026 10:00:05 AM", "duration": 900, "user_email": "a@s.ru"},
    ]});
    let lines = fit(&flat, &builtin()).suggestions.join("\n");
    for line in [
        "formats = [\"%m/%d/%Y %I:%M:%S %p\"]",
        "name = { concat = [\"lastName\", \"firstName\"] }",
        "sessions = { from = \"@\", fields = { joined_at = \"join_time\", duration_s = \"duration\" } }",
    ] {
        assert!(lines.contains(line), "{line}\n{lines}");
    }
    let second = fit(&flat, &pasted(&fit(&flat, &builtin())));
    assert_eq!(
        table(&second, "participants").bound,
        ["participant_id", "name", "email", "sessions"]
    );
    let apart = json!({
        "people": [{"uid": "u-1", "fio": "Иван Петров", "mail": "a@s.ru"}],
        "visits": [{"participantId": "u-1", "start": "2026-11-22T10:00:00Z", "end": "2026-11-22T10:40:00Z"}],
    });
    let lines = fit(&apart, &builtin()).suggestions.join("\n");
    let line = "sessions = { list = \"^.visits[]\", key = \"participantId\", equals = \"uid\", fields = { joined_at = \"start\", left_at = \"end\" } }";
    assert!(lines.contains(line), "{lines}");
    let second = fit(&apart, &pasted(&fit(&apart, &builtin())));
    assert_eq!(
        table(&second, "participants").bound,
        ["participant_id", "name", "email", "sessions"]
    );
}

#[test]
fn an_unknown_report_of_forty_fields_needs_two_rounds() {
    let person = |id: &str, surname: &str, given: &str, user: &str, is_host: bool| {
        json!({"guid": format!("8f0e6a4e-6a1d-4c57-9d1d-{id}"), "person": {"surname": surname, "given": given, "mail": format!("{user}@s.ru"), "tel": "+79990000001"},
            "lms": {"uid": user, "lesson": "m-77"}, "moderator": is_host, "client": "web", "version": "12.1", "ip": "10.1.1.1", "locale": "ru-RU",
            "visits": [{"enter": "22.11.2026 13:00:05", "exit": "22.11.2026 14:00:00"}], "cam": "1:01:00", "mic": "PT45M", "share": 600,
            "msgs": 4, "likes": 0, "hands": 0, "consent": true})
    };
    let report = json!({
        "conference": {"uid": "cnf-8817", "title": "Алгебра 7Б", "opened": "22.11.2026 13:00:00", "closed": "22.11.2026 14:02:11", "host": {"uid": "t-1"},
            "peak": 3, "tz": "MSK", "recordingUrls": [], "quality": 4.5, "lang": "ru", "build": "5.2.1", "waitingRoom": false},
        "attendees": [person("111111111111", "Петрова", "Ольга", "t-1", true), person("222222222222", "Иванова", "Анна", "u-1", false)],
        "talk": [{"no": 1, "author": "8f0e6a4e-6a1d-4c57-9d1d-222222222222", "body": "привет всем", "when": "22.11.2026 13:02:00"}],
        "emoji": [{"who": "8f0e6a4e-6a1d-4c57-9d1d-222222222222", "kind": "like", "when": "22.11.2026 13:20:00"}],
    });
    let second = fit(&report, &pasted(&fit(&report, &builtin())));
    let people = table(&second, "participants");
    assert_eq!(
        people.unbound,
        ["attributes"],
        "{:#?}",
        fit(&report, &builtin()).suggestions
    );
    assert_eq!(
        table(&second, "messages").bound,
        ["message_id", "participant_id", "sent_at", "text"]
    );
    assert_eq!(
        table(&second, "reactions").bound,
        ["participant_id", "type", "sent_at"]
    );
}

#[test]
fn neither_a_list_nor_a_suggestion_tells_a_key_that_may_be_data() {
    let stay = json!({"joinTime": "2026-11-27T10:00:00Z", "leaveTime": "2026-11-27T10:50:00Z"});
    let user = |uid: &str, name: &str| json!({"uid": uid, "fullName": name, "a@b.ru": [stay]});
    let own = json!({"users": [user("u0", "Иван Петров"), user("u1", "Ольга Смирнова")]});
    let event = |uid: &str| json!({"uid": uid, "osmirnova": stay});
    let elsewhere = json!({"users": [{"uid": "u0", "fullName": "Иван Петров", "login": "osmirnova"}], "ivan@b.ru": [event("u0")],
        "log": [event("u0")], "osmirnova": {"Petya": 1}, "byFirst": {"Olya": 5, "Petya": 7}});
    for report in [own, elsewhere] {
        let fit = fit(&report, &builtin());
        let untaken = fit.untaken.iter().map(|field| field.path.clone());
        let told: Vec<String> = untaken
            .chain(fit.notes.unmapped.keys().cloned())
            .chain(fit.suggestions.iter().cloned())
            .collect();
        assert!(!fit.suggestions.is_empty());
        for key in ["@b", "osmirnova", "Olya", "Petya"] {
            assert!(!told.join("\n").contains(key), "{key}: {told:#?}");
        }
    }
}

#[test]
fn rows_that_do_not_count_or_are_none_are_told() {
    let report = json!({"users": [{"id": 1, "name": "A", "status": "in"}, {"id": 2, "name": "B", "status": "out"}, 5]});
    let with = |rules: &str| {
        let text = format!("version = 1\n[table.participants]\n{rules}");
        let fit = fit(&report, &Mapping::over_builtin(&text, "m").expect(rules));
        let people = table(&fit, "participants");
        (people.rows, people.kept, people.misshapen)
    };
    assert_eq!(with("rows = 'users[]'"), (Some(3), 2, 1));
    assert_eq!(
        with("rows = 'users[]'\nwhere = { statuss = 'in' }"),
        (Some(3), 0, 0)
    );
    assert_eq!(with("rows = 'users'"), (Some(1), 0, 1));
}

#[test]
fn the_place_of_rows_is_that_of_the_mapping() {
    let text = "version = 1\n[table.messages]\nrows = 'chat{}'\n[table.polls]\nrows = 'rooms{}.polls[]'";
    let mapping = Mapping::over_builtin(text, "m").expect("a mapping");
    let fit = fit(
        &json!({"chat": {"m": {"text": "x"}}, "rooms": {"r": {"polls": []}}}),
        &mapping,
    );
    let place = |name| table(&fit, name).place.as_str();
    assert_eq!((place("messages"), place("polls")), ("chat{}", "rooms{}.polls[]"));
}

#[test]
fn names_in_parts_and_lengths_in_minutes_are_suggested() {
    let report = json!({"users": [{"id": "u-1", "Фамилия": "Иванова", "Имя": "Анна",
        "sessions": [{"start": "2026-11-22T10:00:00Z", "durationMinutes": 20}]}]});
    let first = fit(&report, &builtin());
    let lines = first.suggestions.join("\n");
    assert!(
        lines.contains("name = { concat = [\"Фамилия\", \"Имя\"] }"),
        "{lines}"
    );
    assert!(
        lines.contains("duration_s = \"durationMinutes\" }, scale = 60 }"),
        "{lines}"
    );
    let second = fit(&report, &pasted(&first));
    assert_eq!(
        table(&second, "participants").bound,
        ["participant_id", "name", "sessions"]
    );
}

#[test]
fn a_report_that_is_a_list_and_fields_beside_known_ones_are_suggested() {
    let person = |name: &str| json!({"userName": name, "enterTime": "2026-11-22 10:00:00", "exitTime": "2026-11-22 10:40:00"});
    let list = fit(
        &json!([person("Иван Петров"), person("Ольга Смирнова")]),
        &builtin(),
    );
    let paths: Vec<_> = list.untaken.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, ["[].enterTime", "[].exitTime", "[].userName"]);
    let second = fit(&json!([person("Иван Петров")]), &pasted(&list));
    assert_eq!(table(&second, "participants").bound, ["name", "sessions"]);
    let known = json!({"participants": [{"id": "p", "joinTime": "2026-11-22T10:00:00Z", "leaveTime": "2026-11-22T10:40:00Z", "userEmail": "a@s.ru"}]});
    let lines = fit(&known, &builtin()).suggestions;
    assert_eq!(lines[0], "[table.participants.columns]");
    assert!(lines[1].starts_with("email = \"userEmail\""), "{lines:?}");
    assert!(
        lines[2].contains("from = \"@\", fields = { joined_at = \"joinTime\", left_at = \"leaveTime\" }"),
        "{lines:?}"
    );
}

#[test]
fn a_report_that_the_mapping_knows_gets_no_suggestions() {
    let report = json!({"callId": "c", "participants": [
        {"id": "p", "name": "Иван Петров", "role": "user", "email": null, "phone": null, "externalUserId": "u", "externalMeetingId": "m",
         "sessions": [{"joinedAt": "2026-11-22T10:00:00Z", "leftAt": null}], "cameraSeconds": 1}],
        "messages": [{"id": "m", "participantId": "p", "text": "Привет всем в чате", "sentAt": "2026-11-22T10:00:00Z"}], "polls": []});
    let fit = fit(&report, &builtin());
    assert_eq!(
        (fit.suggestions.as_slice(), fit.untaken.as_slice()),
        (&[][..], &[][..])
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_can_be_compared(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = fit_report(&bytes, &builtin(), CallTimes::default());
        let _ = fit_workbook(&bytes, &builtin(), CallTimes::default());
    }
}
