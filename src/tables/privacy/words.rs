//! People in data for which no column is known: by the words of its names, and by the form of its values. Pure.
//!
//! `docs/privacy.md` lists the words; a test compares them.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::lake::table::{PersonalData, Type};

/// Words for people. A level, object or field named by one of them is of a person, unless the next word is one of
/// [`COLLECTIVE`].
pub(crate) const PEOPLE: &[&str] = &[
    "admin",
    "administrator",
    "assistant",
    "author",
    "by",
    "child",
    "children",
    "client",
    "coach",
    "creator",
    "curator",
    "customer",
    "director",
    "employee",
    "father",
    "friend",
    "guardian",
    "guest",
    "host",
    "instructor",
    "kid",
    "leader",
    "learner",
    "lecturer",
    "manager",
    "member",
    "mentor",
    "methodist",
    "moderator",
    "mother",
    "operator",
    "organizer",
    "owner",
    "parent",
    "participant",
    "payer",
    "people",
    "person",
    "pupil",
    "recipient",
    "responsible",
    "sender",
    "speaker",
    "staff",
    "student",
    "supervisor",
    "teacher",
    "trainer",
    "tutor",
    "user",
    "uchenik",
    "uchitel",
    "prepodavatel",
    "roditel",
    "автор",
    "гости",
    "гость",
    "дети",
    "мама",
    "мать",
    "отец",
    "папа",
    "ребенок",
    "ребёнок",
];
/// Beginnings of Russian words for people.
pub(crate) const PEOPLE_RU: &[&str] = &[
    "администратор",
    "ассистент",
    "ведущ",
    "владел",
    "воспитател",
    "директор",
    "заказчик",
    "клиент",
    "куратор",
    "менеджер",
    "ментор",
    "методист",
    "модератор",
    "наставни",
    "опекун",
    "организатор",
    "ответственн",
    "педагог",
    "плательщик",
    "пользовател",
    "преподавател",
    "репетитор",
    "родител",
    "руководител",
    "слушател",
    "сотрудник",
    "студент",
    "тренер",
    "тьютор",
    "участни",
    "учащ",
    "ученик",
    "учениц",
    "учител",
    "человек",
];
/// Words after which a word for people names no single person: `student_group`, `teacher_count`.
pub(crate) const COLLECTIVE: &[&str] = &[
    "capacity",
    "category",
    "class",
    "count",
    "course",
    "grade",
    "group",
    "groups",
    "level",
    "limit",
    "number",
    "role",
    "team",
    "total",
    "type",
    "группа",
    "группы",
    "категория",
    "класс",
    "количество",
    "команда",
    "курс",
    "лимит",
    "поток",
    "роль",
    "тип",
    "уровень",
    "число",
];
/// Words of names of people.
pub(crate) const NAMES: &[&str] = &[
    "firstname",
    "fullname",
    "lastname",
    "login",
    "middlename",
    "nick",
    "nickname",
    "patronymic",
    "surname",
    "username",
    "fio",
    "имя",
    "логин",
    "ник",
    "отчество",
    "фамилия",
    "фио",
];
/// Words that make `name` the name of a person when they stand before it.
pub(crate) const BEFORE_NAME: &[&str] = &[
    "display", "family", "first", "full", "given", "last", "middle", "nick", "real", "second", "user",
];
/// Words of contacts and of other data that identifies a person.
pub(crate) const CONTACTS: &[&str] = &[
    "address",
    "avatar",
    "birth",
    "birthdate",
    "birthday",
    "contact",
    "dob",
    "email",
    "facebook",
    "inn",
    "instagram",
    "ip",
    "mail",
    "messenger",
    "mobile",
    "passport",
    "phone",
    "photo",
    "skype",
    "snils",
    "tel",
    "telegram",
    "telephone",
    "tg",
    "viber",
    "vk",
    "whatsapp",
    "инн",
];
/// Beginnings of Russian words for them, and for names.
pub(crate) const CONTACTS_RU: &[&str] = &[
    "адрес",
    "ватсап",
    "контакт",
    "мобильн",
    "отчеств",
    "паспорт",
    "почт",
    "рожден",
    "снилс",
    "телеграм",
    "телефон",
    "фамили",
    "фото",
];
/// Words for ids.
pub(crate) const IDS: &[&str] = &["id", "ids", "uid", "uuid", "guid"];

/// All lists, each with its title in documents.
pub(crate) const LISTS: [(&str, &[&str]); 8] = [
    ("people", PEOPLE),
    ("people, beginnings of Russian words", PEOPLE_RU),
    ("no single person, after a word for people", COLLECTIVE),
    ("names of people", NAMES),
    ("names of people, before `name`", BEFORE_NAME),
    ("contacts and other data of a person", CONTACTS),
    ("contacts, beginnings of Russian words", CONTACTS_RU),
    ("ids, which become pseudonyms after a word for people", IDS),
];

/// What the name of a value says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameMeaning {
    /// Nothing of a person.
    Neutral,
    /// It is the id of a person.
    PersonId,
    /// It is something else of a person.
    Personal,
}

/// The most names whose meaning is kept.
const MOST_KEPT: usize = 4096;

/// The meanings of names that were asked for before: the same names come in every row.
#[derive(Debug, Default)]
pub(crate) struct KnownMeanings(RefCell<HashMap<String, NameMeaning>>);

impl KnownMeanings {
    /// The [`meaning`] of a name.
    pub fn of(&self, path: &str) -> NameMeaning {
        let mut known = self.0.borrow_mut();
        if let Some(meaning) = known.get(path) {
            return *meaning;
        }
        let meaning = meaning(path);
        if known.len() < MOST_KEPT {
            known.insert(path.to_owned(), meaning);
        }
        meaning
    }
}

/// The meaning of a name, which may be a dotted path.
pub(crate) fn meaning(path: &str) -> NameMeaning {
    if looks_like_contact(path) {
        return NameMeaning::Personal;
    }
    let (mut of_person, mut last) = (false, Vec::new());
    for segment in path.split('.') {
        if of_person && !is_field(segment) {
            return NameMeaning::Personal;
        }
        let words = words(segment);
        if has_contact_or_name(&words) {
            return NameMeaning::Personal;
        }
        of_person |= names_a_person(&words);
        // The number of an element says nothing.
        if words.iter().any(|word| word.parse::<u64>().is_err()) {
            last = words;
        }
    }
    let is_id = last.last().is_some_and(|word| IDS.contains(&word.as_str()));
    match (of_person, is_id) {
        (true, true) => NameMeaning::PersonId,
        (true, false) => NameMeaning::Personal,
        // The data is that of a user, so that its own name is the user's.
        (false, _) if ["name", "имя"].contains(&path.to_lowercase().as_str()) => NameMeaning::Personal,
        (false, _) => NameMeaning::Neutral,
    }
}

/// The most digits of the number of an element. A longer one may be an id.
const INDEX_DIGITS: usize = 3;

/// True if a name below that of a person is one of a field. Others are keys of people: their names, ids or addresses.
pub(crate) fn is_field(name: &str) -> bool {
    let is_index = name.len() <= INDEX_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    let is_word = name.starts_with(|char: char| char.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    is_index || is_word
}

/// True if a level's path is that of people: one of its keys names a person.
pub(crate) fn is_of_people(path: &str) -> bool {
    path.split('.').any(|segment| names_a_person(&words(segment)))
}

/// The class of a column that the user defined, by its name and type.
pub(crate) fn class_of(name: &str, kind: Type) -> PersonalData {
    let holds_texts = matches!(kind, Type::String | Type::Strings);
    match (meaning(name), kind) {
        (NameMeaning::PersonId, _) if holds_texts => PersonalData::PersonId,
        (NameMeaning::Personal, Type::String | Type::Strings) => PersonalData::Contact,
        (_, Type::Json | Type::Map | Type::String | Type::Strings) => PersonalData::Open,
        _ => PersonalData::No,
    }
}

fn names_a_person(words: &[String]) -> bool {
    let is_collective = |word: Option<&String>| word.is_some_and(|word| COLLECTIVE.contains(&word.as_str()));
    words.iter().enumerate().any(|(at, word)| {
        let singular = word.strip_suffix('s').unwrap_or(word);
        let is_person = [word, singular].iter().any(|word| PEOPLE.contains(word));
        let is_person =
            is_person || (is_cyrillic(word) && PEOPLE_RU.iter().any(|stem| word.starts_with(stem)));
        is_person && !is_collective(words.get(at + 1))
    })
}

fn has_contact_or_name(words: &[String]) -> bool {
    let is_contact = |word: &String| {
        let singular = word.strip_suffix('s').unwrap_or(word);
        [word, singular]
            .iter()
            .any(|word| CONTACTS.contains(word) || NAMES.contains(word))
            || (is_cyrillic(word) && CONTACTS_RU.iter().any(|stem| word.starts_with(stem)))
    };
    let is_name = |pair: &[String]| BEFORE_NAME.contains(&pair[0].as_str()) && pair[1] == "name";
    words.iter().any(is_contact) || words.windows(2).any(is_name)
}

fn is_cyrillic(word: &str) -> bool {
    word.chars()
        .any(|char| ('а'..='я').contains(&char) || char == 'ё')
}

/// The words of a name in lower case: `studentFullName` and `student_full-name` have the same.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_lower = false;
    for char in name.chars() {
        if !char.is_alphanumeric() || (char.is_uppercase() && was_lower) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
        }
        if char.is_alphanumeric() {
            word.extend(char.to_lowercase());
        }
        was_lower = char.is_lowercase() || char.is_numeric();
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// True if a text has an e-mail address or a telephone number in it.
pub(crate) fn looks_like_contact(text: &str) -> bool {
    has_email(text) || has_phone(text)
}

fn has_email(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let domain: String = text[at + 1..]
            .chars()
            .take_while(|char| char.is_alphanumeric() || ".-".contains(*char))
            .collect();
        let labels: Vec<&str> = domain.trim_end_matches('.').split('.').collect();
        before.is_some_and(|char| char.is_alphanumeric() || "._+-".contains(char))
            && labels.len() > 1
            && labels.iter().all(|label| !label.is_empty())
    })
}

/// The fewest and the most digits of a telephone number with its area code.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 10..=15;

/// A telephone number: a run of digits and separators, which begins with `+`, has brackets or separators, or is a Russian
/// number without them. A point separates too, but not alone, because numbers have one.
fn has_phone(text: &str) -> bool {
    let is_part = |char: char| char.is_ascii_digit() || "+-()  ".contains(char);
    let mut rest = text;
    while let Some(start) = rest.find(|char: char| char.is_ascii_digit() || "+(".contains(char)) {
        let follows_word = rest[..start]
            .chars()
            .next_back()
            .is_some_and(char::is_alphanumeric);
        let run = &rest[start..];
        let end = run.find(|char| !is_part(char)).unwrap_or(run.len());
        let continues = run[end..]
            .chars()
            .next()
            .is_some_and(|char| char.is_alphabetic() || ":_".contains(char));
        let digits: String = run[..end].chars().filter(char::is_ascii_digit).collect();
        let number = run[..end].trim_end_matches(|char: char| !char.is_ascii_digit());
        let is_marked = number.contains(['+', '(', ' ', '-', '\u{a0}']);
        let is_russian = (digits.len() == 11 && digits.starts_with(['7', '8']))
            || (digits.len() == 10 && digits.starts_with('9'));
        if !follows_word && !continues && PHONE_DIGITS.contains(&digits.len()) && (is_marked || is_russian) {
            return true;
        }
        rest = &run[end.max(1)..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_values_say_if_they_are_of_people() {
        for (path, expected) in [
            ("teacher_id", NameMeaning::PersonId),
            ("curators.0.id", NameMeaning::PersonId),
            ("students.Иванов Иван.id", NameMeaning::Personal),
            ("students.lms-17.id", NameMeaning::Personal),
            ("students.4711.id", NameMeaning::Personal),
            ("createdBy", NameMeaning::Personal),
            ("main_teacher", NameMeaning::Personal),
            ("tutor.name", NameMeaning::Personal),
            ("parents.1.relation", NameMeaning::Personal),
            ("преподаватель", NameMeaning::Personal),
            ("Ученики.класс_обучения", NameMeaning::Personal),
            ("contact_email", NameMeaning::Personal),
            ("Телефон родителя", NameMeaning::Personal),
            ("E-mail", NameMeaning::Personal),
            ("displayName", NameMeaning::Personal),
            ("name", NameMeaning::Personal),
            ("ivan@example.org", NameMeaning::Personal),
            ("student_group.capacity", NameMeaning::Neutral),
            ("student_group_id", NameMeaning::Neutral),
            ("teachers_count", NameMeaning::Neutral),
            ("branch.name", NameMeaning::Neutral),
            ("city_id", NameMeaning::Neutral),
            ("lesson_number", NameMeaning::Neutral),
            ("device", NameMeaning::Neutral),
            ("Город", NameMeaning::Neutral),
        ] {
            assert_eq!(meaning(path), expected, "{path}");
        }
        assert!(is_of_people("student.address") && is_of_people("city.teacher_info"));
        assert!(!is_of_people("student_group") && !is_of_people("city.branch"));
    }

    #[test]
    fn addresses_and_telephone_numbers_are_recognized_in_a_text() {
        for text in [
            "ivan@example.org",
            "mail to ivan.petrov+x@sub.example.org, please",
            "почта@школа.рф",
            "+79991234567",
            "8 (999) 123-45-67",
            "79991234567",
            "9991234567",
            "тел. +7 999 123 45 67, вечером",
            "(495) 123-45-67",
            "+442071838750",
        ] {
            assert!(looks_like_contact(text), "{text}");
        }
        for text in [
            "@ivan",
            "a@b",
            "2026-11-22",
            "2026-11-22 18:30",
            "2026-11-22T18:30:00Z",
            "1764000000000",
            "3.14159265358979",
            "550e8400-e29b-41d4-a716-446655440000",
            "652f1ab6c3d4e5f60718293a",
            "123456789012345678",
            "Математика, 7 класс",
            "12",
            "1 000 000",
            "+",
            "()",
        ] {
            assert!(!looks_like_contact(text), "{text}");
        }
    }

    #[test]
    fn a_column_of_the_user_gets_its_class_by_its_name() {
        for (name, kind, expected) in [
            ("visitor_user_id", Type::String, PersonalData::PersonId),
            ("teacher_ids", Type::Strings, PersonalData::PersonId),
            ("author_name", Type::String, PersonalData::Contact),
            ("phone", Type::String, PersonalData::Contact),
            ("device", Type::String, PersonalData::Open),
            ("data", Type::Json, PersonalData::Open),
            ("teacher", Type::Json, PersonalData::Open),
            ("count", Type::Int64, PersonalData::No),
        ] {
            assert_eq!(class_of(name, kind), expected, "{name}");
        }
    }
}
