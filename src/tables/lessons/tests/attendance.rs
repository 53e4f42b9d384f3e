//! Attendance against what one would count by hand, and against a slow reference.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::lake::manifest::{CallEntry, Landing, Manifest, Quality, Shortfall, Status, UnreportedCall};
use crate::small_map::SmallMap;
use crate::tables::PrivacyPolicy;
use crate::tables::lessons::attendance::{Attendance, OtherDays, build_attendance, lesson_span};
use crate::tables::lessons::presence::{Meeting, Presence, Span, Stays};
use crate::tables::lessons::{LessonEntry, LessonIndex, Payload};
use crate::tables::parquet::cell::Session;
use crate::tables::read_text;
use crate::tables::tests::{call, landing};

const SECOND: i64 = 1_000_000;
/// 2026-11-22 10:00 UTC.
const START: i64 = 1_795_341_600;

/// Times in seconds from the start.
fn at(seconds: i64) -> i64 {
    (START + seconds) * SECOND
}

/// The attendance of a day without a privacy policy.
fn built(
    day: &Manifest,
    own: &Presence,
    others: &OtherDays,
    meta: &LessonIndex,
    quality: &mut Quality,
) -> Attendance {
    build_attendance(day, own, others, meta, &PrivacyPolicy::default(), quality).expect("attendance")
}

fn option_of_second() -> impl Strategy<Value = Option<i64>> {
    proptest::option::weighted(0.8, 0_i64..100)
}

/// Joined, and left.
type Sessions<'a> = &'a [(i64, Option<i64>)];

fn stays(sessions: Sessions<'_>) -> Stays {
    Stays {
        sessions: sessions
            .iter()
            .map(|(joined, left)| Session {
                joined: at(*joined),
                left: left.map(at),
            })
            .collect(),
        unknown: false,
    }
}

/// Calls with their times, and the stays of users in them.
fn meeting(calls: &[(&str, i64, Option<i64>)], users: &[(&str, &str, Sessions<'_>)]) -> Meeting {
    let mut meeting = Meeting::default();
    for (call, start, end) in calls {
        let span = Span {
            start: Some(at(*start)),
            end: end.map(at),
        };
        meeting.calls.insert((*call).into(), span);
        meeting.rooms.insert("r1".into());
    }
    for (user, call, sessions) in users {
        let of_user = meeting.users.entry((*user).into()).or_default();
        of_user.insert((*call).into(), stays(sessions));
    }
    meeting
}

fn others(beside: &[Presence]) -> OtherDays {
    OtherDays {
        presences: beside.to_vec(),
        ..OtherDays::default()
    }
}

fn presence(meeting: Meeting) -> Presence {
    Presence {
        meetings: [("m".into(), meeting)].into(),
        ..Presence::default()
    }
}

fn meta(entries: &[(&str, Value)]) -> LessonIndex {
    let entries = entries.iter().map(|(user, meta)| {
        let payload = Payload {
            user: (*user).into(),
            meeting: "m".into(),
            meta: Some(Value::Object(meta.as_object().cloned().unwrap_or_default()).to_string()),
            start: None,
            unreadable: Vec::new(),
            line: 1,
            repairs: crate::json::Repairs::default(),
        };
        LessonEntry::new(payload, &"f".into(), chrono::DateTime::UNIX_EPOCH)
    });
    LessonIndex::of(entries, true)
}

const COLUMNS: [&str; 13] = [
    "external_user_id",
    "meta_matched",
    "user_role",
    "attended",
    "call_ids",
    "first_joined_at",
    "last_left_at",
    "duration_s",
    "attended_share",
    "late_s",
    "left_early_s",
    "in_lesson_s",
    "in_lesson_share",
];

fn rows(own: &Presence, beside: &[Presence], meta: &LessonIndex, quality: &mut Quality) -> Vec<Vec<String>> {
    let day = Manifest::new("2026-11-22".parse().expect("date"), "s1");
    let file = built(&day, own, &others(beside), meta, quality);
    file.file
        .map_or(Vec::new(), |file| read_text(file.bytes, &COLUMNS).expect("rows"))
}

#[test]
fn everybody_expected_or_present_has_a_row() {
    let lesson = |role: &str| json!({"lesson_scheduled_start_dt": "2026-11-22 10:00", "lesson_scheduled_end_dt": "2026-11-22 11:00", "user_role": role});
    let own = presence(meeting(
        &[("c1", -600, Some(-590)), ("c2", 0, Some(3000))],
        &[
            // A false start, then the lesson, left to its end and after it.
            ("early", "c1", &[(-600, Some(-590))]),
            ("early", "c2", &[(0, Some(3000))]),
            ("guest", "c2", &[(60, Some(120)), (100, Some(180))]),
            ("late", "c2", &[(300, Some(400)), (350, None)]),
            ("listed", "c2", &[]),
        ],
    ));
    let other_day = presence(meeting(
        &[("c3", 90_000, Some(90_100))],
        &[("early", "c3", &[(90_000, None)])],
    ));
    let meta = meta(&[
        ("early", lesson("teacher")),
        ("late", lesson("student")),
        ("absent", lesson("curator")),
        ("listed", lesson("parent")),
    ]);
    let mut quality = Quality::default();
    let rows = rows(&own, &[other_day], &meta, &mut quality);
    let text: Vec<_> = rows
        .into_iter()
        .map(|row| {
            let cells = row.iter().map(|cell| if cell.is_empty() { "-" } else { cell });
            cells.collect::<Vec<_>>().join(" | ")
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    absent | true | curator | false | [] | - | - | 0.0 | 0.0 | - | - | 0.0 | 0.0
    early | true | teacher | true | [c1, c2, c3] | 2026-11-22 09:50:00 | 2026-11-23 11:01:40 | 3110.0 | 0.8638888888888889 | 0.0 | 0.0 | 3000.0 | 0.8333333333333334
    guest | false | - | true | [c2] | 2026-11-22 10:01:00 | 2026-11-22 10:03:00 | 120.0 | 0.03858520900321544 | - | - | - | -
    late | true | student | true | [c2] | 2026-11-22 10:05:00 | 2026-11-22 10:50:00 | 2700.0 | 0.75 | 300.0 | 600.0 | 2700.0 | 0.75
    listed | true | parent | false | [] | - | - | 0.0 | 0.0 | - | - | 0.0 | 0.0
    ");
    assert_eq!((quality.meta_without_participants, quality.unknown_roles), (2, 1));
}

fn instant(seconds: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp(START + seconds, 0).expect("an instant")
}

/// The ids and names of the teachers in each row; all rows of a meeting have the same.
fn teachers(own: &Presence, beside: &[Presence], meta: &LessonIndex) -> [String; 2] {
    let day = Manifest::new("2026-11-22".parse().expect("date"), "s1");
    let built = built(&day, own, &others(beside), meta, &mut Quality::default());
    let bytes = built.file.expect("a file").bytes;
    let rows = read_text(bytes, &["teacher_ids", "teacher_names"]).expect("rows");
    assert!(rows.iter().all(|row| row == &rows[0]), "{rows:?}");
    [rows[0][0].clone(), rows[0][1].clone()]
}

#[test]
fn lesson_data_names_the_teachers_and_else_the_moderators_are() {
    let mut held = meeting(
        &[("c1", 0, Some(1000))],
        &[("pupil", "c1", &[(0, None)]), ("host", "c1", &[(0, None)])],
    );
    held.moderators = [("host".into(), Some("Хост".to_owned())), ("pupil".into(), None)].into();
    let mut other_day = meeting(&[("c2", 90_000, Some(90_100))], &[]);
    other_day.moderators = [("host".into(), None), ("second".into(), None)].into();
    let (held, other_day) = (presence(held), [presence(other_day)]);
    let role = |role: &str| json!({"user_role": role});
    // A moderator whom lesson data calls a student is no teacher.
    let pupils = [("pupil", role("student"))];
    assert_eq!(teachers(&held, &[], &meta(&pupils)), ["[host]", "[Хост]"]);
    assert_eq!(
        teachers(&held, &other_day, &meta(&pupils)),
        ["[host, second]", "[Хост, second]"]
    );
    // A teacher of the lesson data counts also if absent, and then the moderators do not.
    let planned = meta(&[
        ("pupil", role("student")),
        ("t2", json!({"user_role": "Teacher", "user_fullname": "Анна Ли"})),
        ("t1", role("teacher")),
    ]);
    assert_eq!(
        teachers(&held, &other_day, &planned),
        ["[t1, t2]", "[t1, Анна Ли]"]
    );
    assert_eq!(
        teachers(&presence(meeting(&[], &[])), &[], &meta(&pupils)),
        ["[]", "[]"]
    );
}

#[test]
fn an_unseen_user_may_be_a_participant_with_unreadable_ids() {
    let meta = meta(&[("here", json!({})), ("unseen", json!({})), ("listed", json!({}))]);
    let mut held = meeting(
        &[("c1", 0, Some(1000))],
        &[("here", "c1", &[(0, Some(1000))]), ("listed", "c1", &[])],
    );
    for (has_unknown_people, unseen) in [(false, "false"), (true, "")] {
        held.has_unknown_people = has_unknown_people;
        let rows = rows(&presence(held.clone()), &[], &meta, &mut Quality::default());
        let attended: Vec<_> = rows
            .iter()
            .map(|row| [row[0].as_str(), row[3].as_str()])
            .collect();
        assert_eq!(
            attended,
            [["here", "true"], ["listed", "false"], ["unseen", unseen]]
        );
    }
}

#[test]
fn nobody_is_absent_while_a_call_of_the_lesson_has_no_report() {
    let lesson = json!({"lesson_scheduled_start_dt": "2026-11-22 10:00", "lesson_scheduled_end_dt": "2026-11-22 11:00"});
    let meta = meta(&[("here", lesson.clone()), ("unseen", lesson)]);
    let own = presence(meeting(
        &[("c1", 0, Some(1000))],
        &[("here", "c1", &[(0, Some(1000))]), ("listed", "c1", &[])],
    ));
    let done = || landing(Status::Done, Some("k"), None);
    let denied = || landing(Status::Denied, None, Some("403"));
    let nobody = || {
        let mut landing = landing(Status::Pending, Some("k"), Some("nobody"));
        if let Some(landed) = &mut landing.landed {
            landed.shortfall = Some(Shortfall::Nobody);
        }
        landing
    };
    for (room, start, end, report, expected) in [
        ("r1", 1200, Some(2000), denied(), 1),
        ("r1", 1200, None, Landing::pending("it runs"), 1),
        ("r1", -600, Some(100), nobody(), 1),
        // It has a report, is of another room, or was held before or after the lesson.
        ("r1", 1200, Some(2000), done(), 0),
        ("r2", 1200, Some(2000), denied(), 0),
        ("r1", -600, Some(-10), denied(), 0),
        ("r1", 3600, Some(3700), denied(), 0),
    ] {
        let mut day = Manifest::new("2026-11-22".parse().expect("date"), "s1".to_owned());
        let entry = |room: &str, start, end: Option<i64>, report| {
            let mut entry = call(room, "10:00:00", None, report, json!({}));
            entry.started_at = Some(instant(start));
            entry.finished_at = end.map(instant);
            entry
        };
        day.calls.insert("c1".into(), entry("r1", 0, Some(1000), done()));
        day.calls.insert("c2".into(), entry(room, start, end, report));
        let mut quality = Quality::default();
        let built = built(&day, &own, &OtherDays::default(), &meta, &mut quality);
        let columns = [
            "external_user_id",
            "attended",
            "attended_share",
            "duration_s",
            "calls_without_report",
        ];
        let rows = read_text(built.file.expect("a file").bytes, &columns).expect("rows");
        let count = expected.to_string();
        let [attended, share] = if expected > 0 { ["", ""] } else { ["false", "0.0"] };
        assert_eq!(
            rows[0],
            ["here", "true", "0.2777777777777778", "1000.0", &count],
            "{room} {start}"
        );
        assert_eq!(rows[1], ["listed", attended, share, share, &count]);
        assert_eq!(rows[2], ["unseen", attended, share, share, &count]);
        assert_eq!(
            quality.meta_without_participants,
            if expected > 0 { 0 } else { 2 }
        );
    }
}

#[test]
fn nobody_is_absent_while_a_call_of_another_date_has_no_report() {
    let lesson = json!({"lesson_scheduled_start_dt": "2026-11-22 10:00", "lesson_scheduled_end_dt": "2026-11-23 02:00"});
    let meta = meta(&[("unseen", lesson)]);
    let own = presence(meeting(&[("c1", 0, Some(1000))], &[]));
    let mut of_other = meeting(&[("c3", 60_000, Some(61_000))], &[]);
    of_other.rooms = BTreeSet::from(["r3".into()]);
    let unreported = |room: &str, start, end: Option<i64>| UnreportedCall {
        room_id: room.into(),
        started_at: Some(instant(start)),
        finished_at: end.map(instant),
    };
    let after_midnight = 14 * 3600 + 600;
    for (id, call, expected) in [
        (
            "c2",
            unreported("r1", after_midnight, Some(after_midnight + 60)),
            "1",
        ),
        ("c2", unreported("r1", -50_000, Some(60)), "1"),
        ("c2", unreported("r1", -50_000, None), "1"),
        // The room of another call of the meeting, which was held on the other day.
        ("c2", unreported("r3", after_midnight, None), "1"),
        // It is of another room, or was held at another time; or its report is known here.
        ("c2", unreported("r2", after_midnight, None), "0"),
        ("c2", unreported("r1", 16 * 3600, None), "0"),
        ("c2", unreported("r1", -50_000, Some(-10)), "0"),
        ("moved", unreported("r1", after_midnight, None), "0"),
    ] {
        let mut day = Manifest::new("2026-11-22".parse().expect("date"), "s1".to_owned());
        let done = call_of("r1", landing(Status::Done, Some("k"), None));
        day.calls.insert("moved".into(), done);
        let others = OtherDays {
            presences: vec![presence(of_other.clone())],
            unreported: [(id.into(), call.clone())].into(),
            ..OtherDays::default()
        };
        let built = built(&day, &own, &others, &meta, &mut Quality::default());
        let columns = ["attended", "calls_without_report"];
        let rows = read_text(built.file.expect("a file").bytes, &columns).expect("rows");
        let attended = if expected == "1" { "" } else { "false" };
        assert_eq!(rows, [[attended, expected]], "{id} {call:?}");
    }
}

fn call_of(room: &str, report: Landing) -> CallEntry {
    call(room, "10:00:00", None, report, json!({}))
}

#[test]
fn an_absent_user_whose_id_differs_by_case_is_counted() {
    let own = presence(meeting(&[("c1", 0, Some(10))], &[("U1", "c1", &[(0, None)])]));
    let meta = meta(&[("u1 ", json!({})), ("u2", json!({}))]);
    let day = Manifest::new("2026-11-22".parse().expect("date"), "s1".to_owned());
    let mut quality = Quality::default();
    let built = built(&day, &own, &OtherDays::default(), &meta, &mut quality);
    assert_eq!(built.look_alikes, [("m".into(), 1)].into());
    assert_eq!(
        built.file.map(|file| file.rows),
        Some(3),
        "they stay different users"
    );
}

proptest! {
    /// A neighbour day is looked at only if its calls meet the span of all meetings, so that span leaves out no call that counts.
    #[test]
    fn a_call_that_counts_in_a_meeting_meets_the_span_of_the_day(
        meetings in proptest::collection::vec((option_of_second(), option_of_second(), any::<bool>()), 1..5),
        began in option_of_second(), ended in option_of_second(),
    ) {
        let silent = UnreportedCall {
            room_id: "r1".into(),
            started_at: began.map(instant),
            finished_at: ended.map(instant),
        };
        let mut own = Presence::default();
        for (number, (start, end, is_held)) in meetings.iter().enumerate() {
            let mut meeting = Meeting { rooms: BTreeSet::from(["r1".into()]), ..Meeting::default() };
            let span = Span { start: start.map(at), end: end.map(at) };
            if *is_held {
                meeting.calls.insert("c".into(), span);
            }
            meeting.users.insert("u".into(), SmallMap::default());
            own.meetings.insert(format!("m{number}").into(), meeting);
        }
        let others = OtherDays {
            unreported: [("silent".into(), silent.clone())].into(),
            ..OtherDays::default()
        };
        let day = Manifest::new("2026-11-22".parse().expect("date"), "s1");
        let meta = LessonIndex::default();
        let built = built(&day, &own, &others, &meta, &mut Quality::default());
        let counts = read_text(built.file.expect("a file").bytes, &["calls_without_report"]).expect("rows");
        let counts_in_any = counts.iter().any(|row| row[0] == "1");
        let meets = lesson_span(&own, &meta).overlaps(&silent);
        prop_assert!(meets || !counts_in_any);
        prop_assert!(counts_in_any || !meets || meetings.len() > 1, "one meeting is the whole day");
    }

    /// The reference: every second is asked whether the user was in some call.
    #[test]
    fn the_duration_is_the_number_of_seconds_in_any_call(
        stays in proptest::collection::vec((0_usize..3, 0_i64..80, proptest::option::of(0_i64..40)), 1..10),
        ends in proptest::array::uniform3(0_i64..120),
    ) {
        let names = ["a", "b", "c"];
        let mut here = Meeting::default();
        for (name, end) in names.iter().zip(ends) {
            here.calls.insert((*name).into(), Span { start: Some(at(0)), end: Some(at(end)) });
        }
        for (call, joined, length) in &stays {
            let of_user = here.users.entry("u".into()).or_default();
            let session = Session { joined: at(*joined), left: length.map(|length| at(joined + length)) };
            of_user.get_or_insert_with(names[*call].into(), Stays::default).sessions.push(session);
        }
        let covered = (0..200).filter(|second| stays.iter().any(|(call, joined, length)| {
            let left = length.map_or(ends[*call], |length| joined + length);
            joined <= second && *second < left
        })).count();
        let rows = rows(&presence(here.clone()), &[], &LessonIndex::default(), &mut Quality::default());
        prop_assert_eq!(rows.len(), 1);
        let scheduled = json!({
            "lesson_scheduled_start_dt": "2026-11-22T10:00:20Z", "lesson_scheduled_end_dt": "2026-11-22T10:01:00Z",
        });
        let in_lesson = (20..60).filter(|second| stays.iter().any(|(call, joined, length)| {
            let left = length.map_or(ends[*call], |length| joined + length);
            joined <= second && *second < left
        })).count();
        let planned = super::attendance::rows(&presence(here.clone()), &[], &meta(&[("u", scheduled)]), &mut Quality::default());
        prop_assert_eq!(&planned[0][11], &format!("{in_lesson}.0"));
        let share: f64 = planned[0][12].parse().unwrap_or(f64::NAN);
        prop_assert!((share - in_lesson as f64 / 40.0).abs() < 1e-9);
        prop_assert_eq!(&rows[0][11..], ["", ""]);
        prop_assert_eq!(&rows[0][7], &format!("{covered}.0"));
        let share: f64 = rows[0][8].parse().unwrap_or(0.0);
        prop_assert!((0.0..=1.0).contains(&share));
    }
}
