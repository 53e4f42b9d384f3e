//! A day under `[privacy]`: what is left of people in its tables.

use super::own::over;
use super::*;
use crate::config::{ColumnTreatment, Privacy, Profile, UnknownData};
use crate::pseudonym::PseudonymKey;

const KEY: &str = "the key of these tests";

/// A `[privacy]` with a profile, and with treatments of columns.
fn privacy(profile: Profile, columns: &[(&str, ColumnTreatment)]) -> Privacy {
    let mut privacy = Privacy::default();
    privacy.profile = profile;
    privacy.columns = columns
        .iter()
        .map(|(name, treatment)| ((*name).to_owned(), *treatment))
        .collect();
    privacy
}

fn under(mapping: Mapping, privacy: &Privacy) -> Mapping {
    let mapping = mapping.under(privacy).expect("a policy");
    mapping.with_key(KEY, "key").expect("a key")
}

fn pseudonym(value: &str) -> String {
    PseudonymKey::new(KEY.as_bytes()).of(value)
}

/// The rows of a table as JSON-like texts of some columns.
fn rows(day: &BuiltDay, table: &str, columns: &[&str]) -> Vec<Vec<String>> {
    read_text(file(day, table).bytes.clone(), columns).expect("readable")
}

fn strings<const N: usize>(rows: [[&str; N]; 1]) -> Vec<Vec<String>> {
    rows.iter()
        .map(|row| row.iter().map(|text| (*text).to_owned()).collect())
        .collect()
}

#[test]
fn nothing_changes_without_a_policy() {
    let mapping = under(mapping(), &Privacy::default());
    assert_eq!(
        build_with(&manifest(), &mapping, report().to_string()),
        build(&report())
    );
    assert_eq!(
        fingerprint(&manifest(), &mapping),
        fingerprint(&manifest(), &self::mapping())
    );
}

#[test]
fn profiles_keep_ids_as_pseudonyms_and_lose_names_and_texts() {
    let report = json!({
        "participants": [
            {"id": "p1", "name": "Анна", "role": "moderator", "email": "a@example.org", "phone": "+7900",
             "externalUserId": "u1", "externalMeetingId": "m1", "device": "phone", "userAgentOwner": "Анна",
             "login": "anna", "shown": " Анна ", "profile": {"user_id": 17, "contacts": {"x": 1}, "tier": "gold"}},
        ],
        "messages": [{"id": "1", "participantId": "p1", "text": "привет", "sentAt": "2026-11-22T10:01:00Z"}],
        "polls": [{"id": "q", "question": "Да?", "options": [{"id": "1", "text": "да"}],
            "votes": [{"participantId": "p1", "optionId": "1", "votedAt": "2026-11-22T10:40:00Z"}]}],
    });
    let build = |profile| {
        build_with(
            &manifest(),
            &under(mapping(), &privacy(profile, &[])),
            report.to_string(),
        )
    };
    let (id, user) = (pseudonym("p1"), pseudonym("u1"));
    let columns = [
        "participant_id",
        "external_user_id",
        "name",
        "email",
        "phone",
        "role",
        "extra",
    ];
    let extra = format!(
        r#"{{"device":"phone","profile":{{"tier":"gold","user_id":"{}"}}}}"#,
        pseudonym("17")
    );
    let day = build(Profile::Pseudonymous);
    let expected = strings([[&id, &user, "", "", "", "moderator", &extra]]);
    assert_eq!(rows(&day, "participants", &columns), expected);
    let message = ["participant_id", "external_user_id", "participant_name", "text"];
    assert_eq!(
        rows(&day, "messages", &message),
        strings([[&id, &user, "", "привет"]])
    );
    let day = build(Profile::Minimal);
    let expected = strings([[&id, &user, "", "", "", "moderator", ""]]);
    assert_eq!(rows(&day, "participants", &columns), expected);
    assert_eq!(rows(&day, "messages", &message), strings([[&id, &user, "", ""]]));
    let vote = [
        "poll_id",
        "question",
        "option_id",
        "option_text",
        "participant_id",
    ];
    assert_eq!(
        rows(&day, "poll_votes", &vote),
        strings([["q", "", "1", "", &id]])
    );
    assert_eq!(
        rows(&day, "polls", &["question", "options", "votes_count"]),
        strings([["", "", "1"]])
    );
    assert!(
        rows(&day, "recordings", &["name"])
            .iter()
            .all(|row| row[0].is_empty())
    );
    assert!(
        rows(&day, "calls", &["room_name"])
            .iter()
            .any(|row| row[0] == "Алгебра")
    );
}

#[test]
fn the_most_exact_name_of_a_column_counts() {
    let columns = [
        ("*.participant_id", ColumnTreatment::Hash),
        ("messages.*", ColumnTreatment::Null),
        ("messages.participant_id", ColumnTreatment::Keep),
        ("messages.text", ColumnTreatment::Hash),
        ("participants.name", ColumnTreatment::Hash),
    ];
    let mapping = under(mapping(), &privacy(Profile::None, &columns));
    let day = build_with(&manifest(), &mapping, report().to_string());
    let messages = rows(
        &day,
        "messages",
        &["participant_id", "text", "call_id", "participant_name"],
    );
    assert!(
        messages.contains(&["p1".to_owned(), pseudonym("привет"), String::new(), String::new()].to_vec())
    );
    let people = rows(&day, "participants", &["participant_id", "name", "email"]);
    assert!(people.contains(&[pseudonym("p2"), pseudonym("Борис"), "b@example.org".to_owned()].to_vec()));
    let reactions = rows(&day, "reactions", &["participant_id", "type"]);
    assert_eq!(reactions, strings([[&pseudonym("p1"), "like"]]));
}

#[test]
fn unknown_data_is_dropped_with_every_profile() {
    let mut dropping = privacy(Profile::None, &[]);
    dropping.unknown = UnknownData::Drop;
    let day = build_with(&manifest(), &under(mapping(), &dropping), report().to_string());
    assert!(
        rows(&day, "participants", &["extra"])
            .iter()
            .all(|row| row[0].is_empty())
    );
    assert!(
        rows(&day, "calls", &["extra"])
            .iter()
            .all(|row| row[0].is_empty())
    );
    assert!(
        rows(&day, "participants", &["name"])
            .iter()
            .any(|row| row[0] == "Борис")
    );
}

#[test]
fn a_table_of_ones_own_is_treated_by_the_names_of_its_columns() {
    let own = "[table.visits]\nrows = 'visits[]'\n\
               columns.visitor_user_id = { from = 'who', type = 'string' }\n\
               columns.teacher_name = { from = 'teacher', type = 'string' }\n\
               columns.device = { from = 'device', type = 'string' }\n\
               columns.data = { from = 'data', type = 'json' }\n\
               columns.phones = { from = 'phones', type = 'list' }\n\
               columns.tags = { from = 'tags', type = 'list' }";
    let report = json!({"visits": [{"who": "u1", "teacher": "Пётр", "device": "pc", "data": {"a": 1, "email": "x"},
        "phones": ["1"], "tags": ["new", "x@example.org"]},
        {"who": "u2", "device": "+7 900 123-45-67"}]});
    let columns = [
        "visitor_user_id",
        "teacher_name",
        "device",
        "data",
        "phones",
        "tags",
    ];
    let day = build_with(
        &manifest(),
        &under(over(own), &privacy(Profile::Pseudonymous, &[])),
        report.to_string(),
    );
    let found = rows(&day, "visits", &columns);
    assert_eq!(
        found[0],
        strings([[&pseudonym("u1"), "", "pc", "{\"a\":1}", "", "[new]"]])[0]
    );
    assert_eq!(found[1], strings([[&pseudonym("u2"), "", "", "", "", ""]])[0]);
    // The user's word counts more than the name.
    let kept = [
        ("visits.teacher_name", ColumnTreatment::Keep),
        ("visits.device", ColumnTreatment::Hash),
    ];
    let day = build_with(
        &manifest(),
        &under(over(own), &privacy(Profile::Pseudonymous, &kept)),
        report.to_string(),
    );
    let found = rows(&day, "visits", &["teacher_name", "device"]);
    assert_eq!(found[0], ["Пётр".to_owned(), pseudonym("pc")]);
}

#[test]
fn rows_are_sorted_by_their_pseudonyms_so_that_the_order_tells_nothing() {
    let people: Vec<Value> = (0..40)
        .map(|n| json!({"id": format!("p{n:02}"), "name": "x"}))
        .collect();
    let report = json!({"participants": people}).to_string();
    let day = build_with(
        &manifest(),
        &under(mapping(), &privacy(Profile::Pseudonymous, &[])),
        report,
    );
    let ids: Vec<String> = rows(&day, "participants", &["participant_id"])
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(ids.len(), 40);
    assert!(ids.is_sorted());
    assert!(
        ids != (0..40)
            .map(|n| pseudonym(&format!("p{n:02}")))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_policy_or_a_key_is_an_input_of_the_day() {
    let print = |mapping: &Mapping| fingerprint(&manifest(), mapping);
    let pseudonymous = privacy(Profile::Pseudonymous, &[]);
    let mut dropping = pseudonymous.clone();
    dropping.unknown = UnknownData::Drop;
    let exact = privacy(Profile::Pseudonymous, &[("messages.text", ColumnTreatment::Null)]);
    let other_key = mapping()
        .under(&pseudonymous)
        .and_then(|it| it.with_key("another key of tests", ""));
    let prints = [
        print(&mapping()),
        print(&under(mapping(), &pseudonymous)),
        print(&under(mapping(), &privacy(Profile::Minimal, &[]))),
        print(&under(mapping(), &dropping)),
        print(&under(mapping(), &exact)),
        print(&other_key.expect("a key")),
    ];
    let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
    assert_eq!(distinct.len(), prints.len());
    assert_eq!(print(&under(mapping(), &pseudonymous)), prints[1]);
}

#[test]
fn nothing_is_written_without_the_key() {
    let mapping = mapping()
        .under(&privacy(Profile::Pseudonymous, &[]))
        .expect("a policy");
    let reports: [Result<_>; 1] = [Ok(("c2".into(), ReportFormat::Json, report().to_string().into()))];
    let built = build_day(
        &manifest(),
        &mapping,
        "",
        at("23:00:00"),
        &LessonIndex::default(),
        reports,
    );
    let error = built.expect_err("no key");
    assert_eq!(error.kind(), crate::ErrorKind::Internal);
    let refused = mapping.with_key("", "/etc/key").expect_err("no key");
    assert!(
        refused.to_string().contains("is empty") && refused.about().contains("/etc/key"),
        "{refused}"
    );
}
