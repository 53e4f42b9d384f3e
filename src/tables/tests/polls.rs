//! Polls and votes, in the shape of the simulator and in that of the vendor's chat; what other rows say of the meeting.

use super::*;
use crate::tables::lessons::{LessonEntry, Payload};

#[test]
fn polls_have_an_id_each_and_count_their_votes() {
    let report = json!({
        "participants": [{"id": "p1", "name": "Анна", "externalUserId": "u1", "externalMeetingId": "m1"}],
        "polls": [
            // The shape of the vendor's chat: options without ids, answers in words.
            {"id": "chat", "question": "Столица?", "options": [{"option": "Рим", "valid": true}, {"option": "Осло", "valid": false}],
             "votes": [{"userId": "p1", "answer": "Рим"}, {"userId": "p2", "answer": "Осло"}, {"userId": "p3", "answer": "не знаю"}]},
            {"id": "none", "question": "Никто?", "options": ["да", {"id": 7, "text": "нет", "isRight": "?"}, null], "votes": []},
            {"question": "Без номера?", "votes": [{"participantId": "p1"}]},
            {"id": "chat", "question": "Другой с тем же номером"},
            {"id": "none", "question": "Никто?", "options": ["да", {"id": 7, "text": "нет", "isRight": "?"}, null], "votes": []},
        ],
    });
    let day = build(&report);
    let polls = file(&day, "polls");
    let ids = column(polls, "poll_id");
    assert_eq!(
        ids.iter().filter(|id| id.starts_with("anon-")).count(),
        2,
        "{ids:?}"
    );
    let of = |name: &str| {
        let values: BTreeMap<_, _> = column(polls, "question")
            .into_iter()
            .zip(column(polls, name))
            .collect();
        ["Столица?", "Никто?", "Без номера?", "Другой с тем же номером"].map(|poll| values[poll].clone())
    };
    assert_eq!(of("votes_count"), ["3", "0", "null", "null"]);
    let [capital, nobody, _, other] = of("options");
    assert_eq!(
        capital,
        "[{option_id: null, text: Рим, is_right: true}, {option_id: null, text: Осло, is_right: false}]"
    );
    assert_eq!(
        nobody,
        "[{option_id: null, text: да, is_right: null}, {option_id: 7, text: нет, is_right: null}]"
    );
    assert_eq!(other, "null");
    assert!(day.notes.bad.contains_key("polls.options"), "{:?}", day.notes.bad);

    let votes = file(&day, "poll_votes");
    let of = |name: &str| column(votes, name);
    let answers: BTreeMap<_, _> = of("answer_text")
        .into_iter()
        .zip(of("is_right").into_iter().zip(of("option_text")))
        .collect();
    let expected = |is_right: &str, option: &str| (is_right.to_owned(), option.to_owned());
    assert_eq!(answers["Рим"], expected("true", "Рим"));
    assert_eq!(answers["Осло"], expected("false", "Осло"));
    assert_eq!(answers["не знаю"], expected("null", "null"));
    // The participant of a vote came for a meeting.
    let meetings: BTreeMap<_, _> = of("participant_id")
        .into_iter()
        .zip(of("external_meeting_id"))
        .collect();
    assert_eq!((&*meetings["p1"], &*meetings["p2"]), ("m1", "null"));
}

#[test]
fn a_recording_names_the_meetings_and_the_lesson_of_its_call() {
    let payload = |user: &str, meta: Value| Payload {
        user: user.into(),
        meeting: "m1".into(),
        meta: Some(meta.to_string()),
        start: None,
        unreadable: Vec::new(),
        line: 1,
        repairs: crate::json::Repairs::default(),
    };
    let lesson = json!({"lesson_name": "Дроби", "lesson_course": {"lesson_course_id": "c", "lesson_course_name": "Алгебра"}});
    let entries = [
        payload("u1", json!({"user_role": "teacher"})),
        payload("u2", lesson),
    ];
    let entries = entries.map(|payload| LessonEntry::new(payload, &"f".into(), at("01:00:00")));
    let meta = LessonIndex::of(entries, true);
    let reports: [Result<_>; 1] = [Ok(("c2".into(), ReportFormat::Json, report().to_string().into()))];
    let day = build_day(
        &manifest(),
        &mapping(),
        "file:///lake/",
        at("23:00:00"),
        &meta,
        reports,
    )
    .expect("a day");
    let records = file(&day, "recordings");
    let of = |name: &str| {
        let values: BTreeMap<_, _> = column(records, "record_id")
            .into_iter()
            .zip(column(records, name))
            .collect();
        ["v1", "v2", "v3"].map(|record| values[record].clone())
    };
    assert_eq!(of("room_name"), ["Алгебра", "Алгебра", "Физика"]);
    assert_eq!(of("external_meeting_ids"), ["[m1]", "[m1]", "null"]);
    assert_eq!(of("lesson_name"), ["Дроби", "Дроби", "null"]);
    assert_eq!(of("lesson_course_id"), ["c", "c", "null"]);
    assert_eq!(of("lesson_course_name"), ["Алгебра", "Алгебра", "null"]);
    assert_eq!(of("status"), ["done", "pending", "unavailable"]);
}
