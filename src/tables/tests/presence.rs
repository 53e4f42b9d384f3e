//! An unreadable part of a report never makes anybody absent.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rust_xlsxwriter::Workbook;
use serde_json::{Value, json};

use super::{at, call, column, file, landing, mapping};
use crate::config::ReportFormat;
use crate::lake::manifest::{Landing, Manifest, Quality, Shortfall, Status};
use crate::tables::lessons::LessonIndex;
use crate::tables::{
    BuiltDay, FirstCalls, Mapping, Observation, OtherDays, build_attendance, build_day_knowing, read_text,
};

/// A day of calls of an hour, each with its room, the hour of its start, and a report in the lake.
fn day(calls: &[(&str, &str, u32)]) -> Manifest {
    let mut day = Manifest::new("2026-11-22".parse().expect("date"), "s1".to_owned());
    day.listed = true;
    for (id, room, hour) in calls {
        let (start, end) = (format!("{hour:02}:00:00"), format!("{:02}:00:00", hour + 1));
        let done = landing(Status::Done, Some(&format!("{id}.json")), None);
        let mut entry = call(room, &start, Some(&end), done, json!({"id": id}));
        entry.participants = Some(2);
        day.calls.insert((*id).into(), entry);
    }
    day
}

fn build(manifest: &Manifest, mapping: &Mapping, firsts: &FirstCalls, reports: &[(&str, Value)]) -> BuiltDay {
    let due = manifest.calls_in_order();
    let reports = due.iter().filter_map(|id| {
        let (_, report) = reports.iter().find(|(call, _)| call == id)?;
        Some(Ok(((*id).into(), ReportFormat::Json, report.to_string().into())))
    });
    let reports: Vec<_> = reports.collect();
    build_day_knowing(
        firsts,
        manifest,
        mapping,
        "",
        at("23:00:00"),
        &LessonIndex::default(),
        reports,
    )
    .expect("a day")
}

/// A day's one call with these participants.
fn built(participants: Value) -> BuiltDay {
    let report = json!({"participants": participants});
    build(
        &day(&[("c1", "r1", 10)]),
        &mapping(),
        &FirstCalls::default(),
        &[("c1", report)],
    )
}

/// User, attended and duration of everybody in the attendance.
fn attendance(manifest: &Manifest, built: &BuiltDay) -> Vec<[String; 3]> {
    let mut quality = Quality::default();
    let attendance = build_attendance(
        manifest,
        &built.presence,
        &OtherDays::default(),
        &LessonIndex::default(),
        mapping().privacy(),
        &mut quality,
    );
    let Some(file) = attendance.expect("attendance").file else {
        return Vec::new();
    };
    let rows = read_text(file.bytes, &["external_user_id", "attended", "duration_s"]).expect("rows");
    rows.into_iter()
        .map(|row| [row[0].clone(), row[1].clone(), row[2].clone()])
        .collect()
}

fn person(user: &str, sessions: Value) -> Value {
    json!({"id": user, "externalUserId": user, "externalMeetingId": "m", "sessions": sessions})
}

fn stay(joined: Value, left: Value) -> Value {
    json!([{"joinedAt": joined, "leftAt": left}])
}

#[test]
fn only_an_explicit_empty_list_is_absence() {
    let good = "2026-11-22T10:00:00Z";
    for (sessions, expected) in [
        (json!([]), ["[]", "0", "0.0", "false"]),
        (Value::Null, ["null", "0", "null", "true"]),
        (json!("x"), ["null", "1", "null", "true"]),
        (json!(5), ["null", "1", "null", "true"]),
        (json!(true), ["null", "1", "null", "true"]),
        (json!({"joinedAt": good}), ["null", "1", "null", "true"]),
        (json!([null]), ["null", "1", "null", "true"]),
        (json!([{}, 5]), ["null", "2", "null", "true"]),
        (stay(json!("?"), json!(good)), ["null", "1", "null", "true"]),
        (
            stay(json!("9999-12-31T00:00:00Z"), Value::Null),
            ["null", "1", "null", "true"],
        ),
    ] {
        let participants = json!([
            person("u", sessions.clone()),
            person("v", stay(json!(good), Value::Null))
        ]);
        let built = built(participants);
        let people = file(&built, "participants");
        let of_user = |name: &str| {
            let at = column(people, "external_user_id")
                .iter()
                .position(|user| user == "u");
            column(people, name)[at.expect("a row")].clone()
        };
        let attended = attendance(&day(&[("c1", "r1", 10)]), &built)[0][1].clone();
        let found = ["sessions", "sessions_unreadable", "duration_s"].map(of_user);
        assert_eq!(
            [&*found[0], &*found[1], &*found[2], &*attended],
            expected,
            "{sessions}"
        );
        let is_bad = expected[1] != "0";
        assert_eq!(
            built.notes.bad.contains_key("participants.sessions"),
            is_bad,
            "{sessions}"
        );
    }
}

#[test]
fn a_stay_whose_end_can_t_be_read_keeps_its_start() {
    let good = "2026-11-22T10:10:00Z";
    for (left, seconds) in [
        (json!(null), "3000.0"),
        (json!(""), "3000.0"),
        (json!("-"), "3000.0"),
        (json!(0), "3000.0"),
        (json!(false), "3000.0"),
        (json!("soon"), "3000.0"),
        (json!({}), "3000.0"),
        (json!("9999-12-31T00:00:00Z"), "3000.0"),
        (json!("2026-11-22T09:00:00Z"), "3000.0"),
        (json!("2026-11-22T10:09:58Z"), "0.0"),
        (json!("2026-11-22T10:10:30Z"), "30.0"),
    ] {
        let built = built(json!([person("u", stay(json!(good), left.clone()))]));
        let people = file(&built, "participants");
        assert_eq!(column(people, "duration_s"), [seconds], "{left}");
        assert_eq!(column(people, "sessions_count"), ["1"], "{left}");
        assert_eq!(column(people, "sessions_unreadable"), ["0"], "{left}");
    }
}

#[test]
fn a_stay_that_can_t_be_read_beside_a_good_one_makes_the_length_uncertain() {
    let sessions = json!([
        {"joinedAt": "2026-11-22T10:30:00Z", "leftAt": "2026-11-22T10:40:00Z"},
        {"joinedAt": "?", "leftAt": "2026-11-22T10:20:00Z"},
    ]);
    let built = built(json!([person("u", sessions)]));
    let people = file(&built, "participants");
    assert_eq!(column(people, "sessions_count"), ["1"]);
    assert_eq!(column(people, "sessions_unreadable"), ["1"]);
    assert_eq!(column(people, "duration_s"), ["600.0"], "at least so long");
    assert_eq!(
        attendance(&day(&[("c1", "r1", 10)]), &built),
        [["u".to_owned(), "true".to_owned(), String::new()]]
    );
}

#[test]
fn one_participant_id_of_two_external_users_is_two_people() {
    let stay = || stay(json!("2026-11-22T10:00:00Z"), json!("2026-11-22T10:10:00Z"));
    let of = |user: &str, sessions: Value| json!({"id": "p", "name": user, "externalUserId": user, "externalMeetingId": "m", "sessions": sessions});
    let participants = json!([
        of("u1", stay()),
        of("u2", stay()),
        of("u2", json!([{"joinedAt": "2026-11-22T10:20:00Z", "leftAt": "2026-11-22T10:30:00Z"}])),
        of("u1", stay()),
        {"id": "q", "externalUserId": " U1", "sessions": []},
    ]);
    let report = json!({"participants": participants, "messages": [
        {"id": "1", "participantId": "p", "text": "x", "sentAt": "2026-11-22T10:01:00Z"},
        {"id": "2", "participantId": "q", "text": "y", "sentAt": "2026-11-22T10:02:00Z"},
    ]});
    let manifest = day(&[("c1", "r1", 10)]);
    let reports = [("c1", report)];
    let built = build(&manifest, &mapping(), &FirstCalls::default(), &reports);
    let people = file(&built, "participants");
    let ids = column(people, "participant_id");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3, "{ids:?}");
    let mut rows: Vec<_> = column(people, "external_user_id")
        .into_iter()
        .zip(column(people, "duration_s"))
        .zip(column(people, "identity"))
        .collect();
    rows.sort();
    let row = |user: &str, seconds: &str, identity: &str| {
        ((user.to_owned(), seconds.to_owned()), identity.to_owned())
    };
    assert_eq!(
        rows,
        [
            row(" U1", "0.0", "id"),
            row("u1", "600.0", "id"),
            row("u2", "1200.0", "external_user_id")
        ]
    );
    assert!(ids.contains(&"p".to_owned()) && ids.iter().any(|id| id.starts_with("anon-")));
    let attended: Vec<_> = attendance(&manifest, &built)
        .into_iter()
        .map(|[user, attended, _]| (user, attended))
        .collect();
    assert_eq!(
        attended,
        [
            ("u1".to_owned(), "true".to_owned()),
            ("u2".to_owned(), "true".to_owned())
        ]
    );
    // It is not known which of the two wrote it.
    let messages = file(&built, "messages");
    assert_eq!(column(messages, "external_user_id"), ["null", " U1"]);
    for seen in [Observation::SharedParticipantIds, Observation::LookAlikeIds] {
        assert!(built.notes.observed.contains_key(&seen), "{seen:?}");
    }
    assert_eq!(
        built,
        build(&manifest, &mapping(), &FirstCalls::default(), &reports)
    );
}

#[test]
fn a_call_with_stays_outside_it_is_reported() {
    let moscow = stay(json!("2026-11-22 13:00"), json!("2026-11-22 14:00"));
    let people = json!([person("u", moscow.clone()), person("v", moscow)]);
    let outside = built(people).notes.outside_calls;
    assert_eq!(outside.len(), 1);
    assert_eq!(
        (&*outside[0].0, outside[0].1.stays, outside[0].1.zone),
        ("c1", 2, Some(180))
    );
    let inside = json!([person(
        "u",
        stay(json!("2026-11-22 10:00"), json!("2026-11-22 11:04"))
    )]);
    assert!(built(inside).notes.outside_calls.is_empty());
}

#[test]
fn a_build_judges_a_report_by_its_mapping() {
    let other = Mapping::over_builtin("version = 1\n[table.participants]\nrows = 'users[]'\n", "test");
    let other = other.expect("a mapping");
    let report = json!({"users": [person("u", stay(json!("2026-11-22T10:00:00Z"), Value::Null))]});
    let manifest = day(&[("c1", "r1", 10)]);
    let with = |manifest: &Manifest, mapping: &Mapping, report: &Value| {
        build(
            manifest,
            mapping,
            &FirstCalls::default(),
            &[("c1", report.clone())],
        )
    };
    let json_of = |manifest: &Manifest| manifest.calls["c1"].reports[&ReportFormat::Json].clone();
    let coverage = |built: &BuiltDay| {
        let coverage = file(built, "coverage");
        ["reports_done", "reports_pending", "reports_failed", "complete"]
            .map(|name| column(coverage, name)[0].clone())
    };
    let corrected = |built: &BuiltDay, manifest: &Manifest| {
        let mut manifest = manifest.clone();
        built.corrections.iter().for_each(|it| it.apply(&mut manifest));
        manifest
    };

    // A mapping that finds nobody does not say done.
    let nobody = with(&manifest, &mapping(), &report);
    assert_eq!(coverage(&nobody), ["0", "1", "0", "false"]);
    let pending = corrected(&nobody, &manifest);
    assert_eq!(json_of(&pending).shortfall(), Some(Shortfall::Nobody));
    assert!(with(&pending, &mapping(), &report).corrections.is_empty());

    // A mapping that finds them does.
    let found = with(&pending, &other, &report);
    assert_eq!(coverage(&found), ["1", "0", "0", "true"]);
    let done = json_of(&corrected(&found, &pending));
    let participants = done.landed.as_ref().and_then(|landed| landed.participants);
    assert_eq!(
        (done.status, done.reason, participants),
        (Status::Done, None, Some(1))
    );

    let timeless = json!({"participants": [person("u", stay(json!("?"), json!("?")))]});
    let built = with(&manifest, &mapping(), &timeless);
    assert_eq!(coverage(&built), ["0", "1", "0", "false"]);
    assert_eq!(attendance(&manifest, &built)[0][1], "true");
    // Everybody absent from a call that counts people.
    let empty = json!({"participants": [person("u", json!([]))]});
    assert_eq!(
        coverage(&with(&manifest, &mapping(), &empty)),
        ["0", "1", "0", "false"]
    );
}

#[test]
fn a_landed_report_that_is_no_json_is_not_done() {
    let manifest = day(&[("c1", "r1", 10)]);
    let reports = vec![Ok(("c1".into(), ReportFormat::Json, "<html>".into()))];
    let built = build_day_knowing(
        &FirstCalls::default(),
        &manifest,
        &mapping(),
        "",
        at("23:00:00"),
        &LessonIndex::default(),
        reports,
    )
    .expect("a day");
    let correction = &built.corrections[0].landing;
    assert_eq!(
        (correction.status, correction.shortfall()),
        (Status::Failed, Some(Shortfall::Unreadable))
    );
    assert_eq!(column(file(&built, "coverage"), "complete"), ["false"]);
}

/// Lateness by call: meta that a report holds gives the schedule.
fn late(
    calls: &[(&str, &str, u32)],
    firsts: &FirstCalls,
    joined: &[(&str, &str)],
) -> (BuiltDay, Vec<(String, String)>) {
    let manifest = day(calls);
    let meta = json!({"lesson_scheduled_start_dt": "2026-11-22 10:00"});
    let reports: Vec<_> = joined
        .iter()
        .map(|(call, joined)| {
            let mut person = person("u", stay(json!(format!("2026-11-22T{joined}Z")), Value::Null));
            person["meta"] = meta.clone();
            (*call, json!({"participants": [person]}))
        })
        .collect();
    let built = build(&manifest, &mapping(), firsts, &reports);
    let people = file(&built, "participants");
    let late = column(people, "call_id")
        .into_iter()
        .zip(column(people, "late_s"))
        .collect();
    (built, late)
}

#[test]
fn a_user_is_late_once_a_meeting() {
    let pair = |call: &str, late: &str| (call.to_owned(), late.to_owned());
    let calls = [("c1", "r1", 10), ("c2", "r1", 11)];
    let joined = [("c1", "10:05:00"), ("c2", "11:00:00")];
    let (built, found) = late(&calls, &FirstCalls::default(), &joined);
    assert_eq!(found, [pair("c1", "300.0"), pair("c2", "null")]);
    assert!(
        !built
            .presence
            .first_calls(&[])
            .contradict(&built.presence, &day(&calls))
    );

    // The room that comes first in the table is not that of the first call.
    let calls = [("c1", "r2", 10), ("c2", "r1", 11)];
    let (built, _) = late(&calls, &FirstCalls::default(), &joined);
    let firsts = built.presence.first_calls(&[]);
    assert!(firsts.contradict(&built.presence, &day(&calls)));
    let (_, found) = late(&calls, &firsts, &joined);
    assert_eq!(found, [pair("c2", "null"), pair("c1", "300.0")]);

    // The first call is another day's.
    let (yesterday, _) = late(&[("c0", "r1", 9)], &FirstCalls::default(), &[("c0", "09:58:00")]);
    let firsts = built.presence.first_calls(&[yesterday.presence]);
    assert!(firsts.contradict(&built.presence, &day(&calls)));
    let (_, found) = late(&calls, &firsts, &joined);
    assert_eq!(found, [pair("c2", "null"), pair("c1", "null")]);
}

#[test]
fn a_workbook_without_readable_times_makes_nobody_absent() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Участники").expect("a sheet");
    let rows = [
        ["ID пользователя", "ID встречи", "Вход", "Выход"],
        ["u1", "m", "", ""],
        ["u2", "m", "утром", "2026-11-22 10:20"],
        ["u3", "m", "2026-11-22 10:10", "вечером"],
        ["u4", "m", "2026-11-22 10:10", "2026-11-22 10:20"],
        ["u4", "m", "позже", ""],
    ];
    for (row, texts) in (0..).zip(rows) {
        for (column, text) in (0..).zip(texts) {
            sheet.write_string(row, column, text).expect("a cell");
        }
    }
    let bytes = book.save_to_buffer().expect("a workbook");
    let mut manifest = day(&[("c1", "r1", 10)]);
    let entry = manifest.calls.get_mut("c1").expect("the call");
    let landing: Landing = entry.reports.remove(&ReportFormat::Json).expect("a report");
    entry.reports.insert(ReportFormat::Xlsx, landing);
    let reports = vec![Ok(("c1".into(), ReportFormat::Xlsx, bytes.into()))];
    let built = build_day_knowing(
        &FirstCalls::default(),
        &manifest,
        &mapping(),
        "",
        at("23:00:00"),
        &LessonIndex::default(),
        reports,
    )
    .expect("a day");
    let row = |user: &str, seconds: &str| [user.to_owned(), "true".to_owned(), seconds.to_owned()];
    assert_eq!(
        attendance(&manifest, &built),
        [row("u1", ""), row("u2", ""), row("u3", "3000.0"), row("u4", "")]
    );
    let people = file(&built, "participants");
    let mut unreadable: Vec<_> = column(people, "external_user_id")
        .into_iter()
        .zip(column(people, "sessions_unreadable"))
        .map(|(user, count)| format!("{user} {count}"))
        .collect();
    unreadable.sort();
    assert_eq!(unreadable, ["u1 0", "u2 1", "u3 0", "u4 1"]);
    assert!(column(people, "source").iter().all(|source| source == "xlsx"));
    assert!(
        built
            .corrections
            .iter()
            .all(|it| it.landing.status == Status::Done)
    );
}

proptest! {
    /// Whatever stands in the place of a person's sessions or of one of their times, the person was there.
    #[test]
    fn nobody_who_has_a_stay_is_absent(
        odd in prop_oneof![
            Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from), "\\PC{0,12}".prop_map(Value::from), Just(json!({})), Just(json!([{}])),
            Just(json!("9999-12-31")), Just(json!("2026-11-22T10:00:00Z")),
        ],
        place in 0..4,
    ) {
        let mut sessions = stay(json!("2026-11-22T10:00:00Z"), json!("2026-11-22T10:10:00Z"));
        match place {
            0 => sessions[0]["joinedAt"] = odd,
            1 => sessions[0]["leftAt"] = odd,
            2 => sessions[0] = odd,
            _ => sessions = odd,
        }
        let built = built(json!([person("u", sessions)]));
        let attendance = attendance(&day(&[("c1", "r1", 10)]), &built);
        prop_assert_eq!(&attendance[0][1], "true");
    }
}
