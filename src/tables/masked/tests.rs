use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::*;
use crate::lenient;

fn masker(learned: &[&Value]) -> Masker {
    let mut masker = Masker::new([7; 32], &Mapping::builtin().expect("mapping"));
    for value in learned {
        masker.learn_json(value.to_string().as_bytes()).expect("JSON");
    }
    masker
}

fn masked(value: &Value) -> Value {
    masker(&[value]).json(value.to_string().as_bytes()).expect("JSON")
}

/// All texts and numbers of a value, and the keys of its objects.
fn scalars(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| scalars(element, found)),
        Value::Object(fields) => fields.values().for_each(|field| scalars(field, found)),
        Value::String(text) => drop(found.insert(text.clone())),
        Value::Number(number) => drop(found.insert(number.to_string())),
        Value::Null | Value::Bool(_) => {}
    }
}

/// The value with each letter and digit replaced by its kind.
fn form(value: &Value) -> String {
    let kind = |c: char| match c {
        '0'..='9' => '9',
        _ if c.is_uppercase() => 'A',
        _ if c.is_lowercase() => 'a',
        _ => c,
    };
    value.to_string().chars().map(kind).collect()
}

#[test]
fn no_value_stays_and_every_form_does() {
    let report = json!({
        "roomName": "Алгебра, 7Б (Иванова М. П.)", "url": "https://school.example/r/1", "quality": 4.25, "empty": [], "none": null,
        "participants": [
            {"id": "64ab00000000000000000001", "name": "Иван Петров", "email": "i.petrov@school.ru", "phone": "+7 900 123-45-67",
             "role": "moderator", "cameraSeconds": 125, "isGuest": false, "handRaisesCount": 0, "screenSeconds": 17.5,
             "meta": {"lesson": "Дроби", "teacher": {"fio": "Мария Иванова"}}},
        ],
        "messages": [{"participantId": "64ab00000000000000000001", "text": "Всем привет 👍"}],
    });
    let result = masked(&report);
    assert_eq!(form(&result).replace('😀', "").len(), form(&result).len());
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    scalars(&report, &mut before);
    scalars(&result, &mut after);
    let same: Vec<_> = before.intersection(&after).collect();
    assert_eq!(same, ["0"], "only 0 stays");
    let shown = result.to_string();
    for value in before.iter().filter(|value| value.chars().count() >= 6) {
        assert!(!shown.contains(value.as_str()), "{value}");
    }
    // The forms are equal but for the emoji, which is another one.
    let picture = |text: String| {
        text.chars()
            .filter(|c| !('\u{1f000}'..='\u{1faff}').contains(c))
            .collect::<String>()
    };
    assert_eq!(picture(form(&result)), picture(form(&report)));
    assert_eq!(
        result["participants"][0]["id"],
        result["messages"][0]["participantId"]
    );
    assert_eq!(result["participants"][0]["isGuest"], false);
    assert_eq!((&result["empty"], &result["none"]), (&json!([]), &Value::Null));
    assert!(
        result["quality"]
            .as_f64()
            .is_some_and(|number| number.fract() != 0.0)
    );
    assert!(
        result["url"]
            .as_str()
            .is_some_and(|url| url.starts_with("https://"))
    );
}

#[test]
fn instants_stay_instants_of_the_same_notation_and_keep_their_distance() {
    let notations = [
        "2026-11-22T10:00:05Z",
        "2026-11-22T13:00:05+03:00",
        "2026-11-22 10:00:05",
        "2026-11-22T10:00:05.000Z",
        "22.11.2026 10:00:05",
        "22.11.26 10:00:05",
        "1795341605",
        "Sun, 22 Nov 2026 10:00:05 GMT",
    ];
    let report = json!({ "at": notations, "startTime": 1_795_341_605, "endedAtMs": 1_795_341_605_000_i64 });
    let result = masked(&report);
    let read =
        |value: &Value| -> DateTime<Utc> { lenient::instant(value).unwrap_or_else(|| panic!("{value}")) };
    let moved: BTreeSet<_> = result["at"]
        .as_array()
        .expect("a list")
        .iter()
        .chain([&result["startTime"], &result["endedAtMs"]])
        .map(read)
        .collect();
    assert_eq!(moved.len(), 1, "{result}");
    let (original, moved) = (read(&json!(notations[0])), *moved.iter().next().expect("one"));
    assert!(moved < original - TimeDelta::days(999), "{moved}");
    assert_eq!(form(&result["at"]), form(&report["at"]), "{result}");
    assert_eq!(form(&result["endedAtMs"]), form(&report["endedAtMs"]));
}

#[test]
fn other_notations_of_time_stay_readable() {
    let report = json!({
        "us": ["11/22/2026 10:00:05 PM", "01/02/2026 12:00:00 AM"], "eu": ["22/11/2026 10:00"], "clock": ["1:02:03", "23:59"],
        "words": ["Nov 22, 2026 10:05 AM", "22 ноября 2026 г., 10:05"], "long": ["PT1H2M3S", "55 мин"],
    });
    let result = masked(
        &json!({"us": report["us"], "clock": report["clock"], "words": report["words"], "long": report["long"]}),
    );
    for text in result["us"].as_array().expect("a list") {
        let text = text.as_str().expect("text");
        assert!(
            chrono::NaiveDateTime::parse_from_str(text, "%m/%d/%Y %I:%M:%S %p").is_ok(),
            "{text}"
        );
    }
    let eu = masked(&json!({"eu": report["eu"]}))["eu"][0]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(
        chrono::NaiveDateTime::parse_from_str(&eu, "%d/%m/%Y %H:%M").is_ok(),
        "{eu}"
    );
    let word = result["words"][0].as_str().expect("text");
    assert!(
        chrono::NaiveDateTime::parse_from_str(word, "%b %d, %Y %I:%M %p").is_ok(),
        "{word}"
    );
    assert!(
        result["words"][1]
            .as_str()
            .is_some_and(|text| text.ends_with(|c: char| c.is_ascii_digit()) && text.contains(" г., "))
    );
    assert_eq!(form(&result["long"]), form(&report["long"]));
    assert_eq!(form(&result["clock"]), form(&report["clock"]));
}

#[test]
fn text_behind_a_clock_or_a_length_is_masked() {
    let texts = [
        "18:30. Мария Ивановна заболела",
        "1:02:03.secret password",
        "12:30.Иван",
        "5 мин ⠊⠧⠁⠝",
        "1:2:3.Секрет",
    ];
    let report = json!({ "text": texts });
    let shown = masked(&report).to_string();
    for word in ["Мария", "заболела", "secret", "password", "Иван", "Секрет"] {
        assert!(!shown.contains(word), "{word}: {shown}");
    }
    // The mask of a duration is safe even if a text is taken for one.
    let mut noise = Noise::new(&[1; 32], 0, "x");
    let clock = noise.text("1h 2m");
    assert!(clock.contains('h') && clock.ends_with('m'), "{clock}");
}

#[test]
fn text_in_odd_scripts_and_beside_instants_is_masked() {
    let report = json!({"at": [
        "Fri, 27 Nov 2026 10:05:06 GMT (Ivan Petrov)", "2026-11-27 10:00+12345", "2026-11-27 10:00+0399", "2026-11-27 10:00:00 +03:00",
        "2026-11-27T10:00:00+0530",
        1_795_341_600_789_i64, "1795341600.123456",
    ], "text": ["NaN", "inf", "Infinity", "⠊⠧⠁⠝", "\u{e0049}\u{e0076}\u{e0061}", "\u{e000}\u{e001}\u{e002}", "Ан\u{301}на", "№ «5» — да…"]});
    let result = masked(&report);
    let shown = result.to_string();
    for original in [
        "Ivan",
        "12345",
        "0399",
        "789",
        "123456",
        "NaN",
        "inf",
        "Infinity",
        "⠊",
        "\u{e0049}",
        "\u{e000}",
        "\u{301}",
    ] {
        assert!(!shown.contains(original), "{original}: {shown}");
    }
    for (place, end) in [(3, " +03:00"), (4, "+0530")] {
        assert!(
            result["at"][place].as_str().is_some_and(|at| at.ends_with(end)),
            "{shown}"
        );
    }
    let kept = result["text"][7].as_str().expect("a text");
    assert!(kept.starts_with("№ «") && kept.ends_with('…'), "{shown}");
}

#[test]
fn keys_that_may_be_data_are_masked_like_values() {
    let report = json!({
        "users": {"64ab00000000000000000001": {"name": "Иван Петров"}},
        "votes": {"ivan": {"n": 5, "at": 2}, "olga": {"n": 7, "at": 3}},
        "byMail": {"a@school.ru": 17}, "Петров": 25, "participants": [{"id": "64ab00000000000000000001", "name": "Ivan Petrov"}],
        "ivan": 33, "cameraSeconds": 45,
    });
    let result = masked(&report);
    let shown = result.to_string();
    for key in ["64ab", "ivan", "olga", "school", "Петров"] {
        assert!(!shown.contains(key), "{key}: {shown}");
    }
    for key in [
        "users",
        "votes",
        "byMail",
        "participants",
        "name",
        "cameraSeconds",
    ] {
        assert!(shown.contains(&format!("\"{key}\"")), "{key}: {shown}");
    }
    let id = result["participants"][0]["id"].as_str().expect("an id");
    assert!(result["users"].get(id).is_some(), "{shown}");
}

#[test]
fn ids_and_telephone_numbers_in_the_range_of_the_epoch_are_not_moved() {
    let report = json!({"startedAt": 1_500_000_123, "numericId": 1_500_000_123, "phones": [2_025_550_123_u64], "inn": "1655000123",
        "from": 1_600_000_000, "deadline": 1_700_000_000, "times": {"64ab00000000000000000001": {"at": 1_700_000_000}}});
    let rules = "version = 1\n[table.homework]\nrows = 'tasks[]'\n[table.homework.columns]\ndue = { from = 'deadline', type = 'timestamp' }";
    let mapping = Mapping::over_builtin(rules, "m").expect("a mapping");
    let mut masker = Masker::new([7; 32], &mapping);
    let bytes = report.to_string();
    masker.learn_json(bytes.as_bytes()).expect("JSON");
    let result = masker.json(bytes.as_bytes()).expect("JSON");
    let whole = |value: &Value| {
        let text = value.to_string();
        text.trim_matches('"').parse::<i64>().expect("a number")
    };
    let shift = whole(&result["startedAt"]) - 1_500_000_123;
    assert_ne!(shift % 300, 0);
    for (path, original) in [
        ("/numericId", 1_500_000_123),
        ("/phones/0", 2_025_550_123),
        ("/inn", 1_655_000_123),
        ("/from", 1_600_000_000),
    ] {
        let masked = whole(result.pointer(path).expect(path));
        assert_ne!(masked - original, shift, "{path}");
    }
    assert_eq!(whole(&result["deadline"]) - 1_700_000_000, shift);
    assert_eq!(masker.cell_number(45_983.0, false).fract(), 0.0);
    let moved = |masker: &mut Masker, is_time| masker.cell_number(45_983.5, is_time);
    assert_eq!(moved(&mut masker, true), masker.serial(45_983.5));
    assert_ne!(moved(&mut masker, false), masker.serial(45_983.5));
}

#[test]
fn keys_that_are_logins_first_names_or_addresses_are_masked() {
    let report = json!({
        "participants": [{"id": "u1", "name": "Ольга Смирнова", "login": "osmirnova"}, {"id": "u2", "login": "ppetrov"}],
        "byMail": {"total": 2, "average": 3.5, "best": 7, "ivan.ivanov@example.org": 5},
        "mixedMail": {"olga@example.org": {"x": 1}, "petr@example.org": 5}, "byLogin": {"OSmirnova": 5, "ppetrov": 7},
        "byFirst": {"Olya": 5, "Petya": 7}, "mixed": {"masha": {"s": 1}, "dasha": {"s": 2}, "title": 5}, "tel.8900": 1,
    });
    let shown = masked(&report).to_string();
    for key in [
        "ivan", "example", "smirnova", "petrov", "Olya", "Petya", "masha", "dasha", "tel.",
    ] {
        assert!(!shown.contains(key), "{key}: {shown}");
    }
    for key in ["byMail", "total", "average", "best", "login", "title"] {
        assert!(shown.contains(&format!("\"{key}\"")), "{key}: {shown}");
    }
}

#[test]
fn a_masked_value_is_no_value_of_the_answers() {
    // All numbers of two digits but one are values.
    let numbers: Vec<u32> = (100..=998).collect();
    let report = json!({ "n": numbers });
    let result = masked(&report);
    let taken: BTreeSet<u64> = numbers.iter().map(|number| u64::from(*number)).collect();
    for number in result["n"].as_array().expect("a list") {
        assert!(!taken.contains(&number.as_u64().expect("a number")), "{number}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_masked_without_a_panic_and_once(text in "\\PC*|[-+0-9TZ:./ APMapm]{0,30}|[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} [0-9]{1,2}:[0-9]{2}") {
        let value = json!([text]);
        let mut masker = masker(&[&value]);
        let once = masker.text(&text);
        proptest::prop_assert_eq!(&once, &masker.text(&text));
        let tells = text.trim().chars().count() >= TELLING && text.chars().any(|c| c.is_alphanumeric() && c.is_ascii());
        let stays = matches!(text.trim().to_ascii_lowercase().as_str(), "true" | "false");
        proptest::prop_assert!(!tells || stays || once.trim() != text.trim(), "{}", once);
    }

    #[test]
    fn any_number_keeps_its_type_and_digits(number in proptest::prelude::any::<i64>(), float in -1e6..1e6_f64) {
        let mut masker = masker(&[]);
        let masked = masker.number(&number.into(), true);
        proptest::prop_assert!(masked.is_i64() || masked.is_u64(), "{}", masked);
        let number = serde_json::Number::from_f64((float * 100.0).round() / 100.0).expect("a number");
        let masked = masker.number(&number, true);
        proptest::prop_assert!(masked.is_f64() || number.as_f64() == Some(0.0), "{} {}", number, masked);
    }
}
