//! What is known of the people to erase while a call's reports are read: their ids, addresses and names. It is personal
//! data, which is never written or printed. Pure.

use std::collections::BTreeSet;

use crate::lake::erased::Erased;
use crate::lake::table::builtin::{messages, participants};

/// Fewest characters of an id that can't be any other value by chance, if it has a letter.
const TELLING: usize = 6;
/// The same for an id of letters and digits.
const TELLING_MIXED: usize = 4;
/// Fewest digits of an id, or of a telephone number, that can't be any other value by chance.
const TELLING_DIGITS: usize = 9;
/// Fewest characters of a part of a name that is searched in texts.
const NAME_PART: usize = 4;
/// Words before `id` in the names of fields that hold ids of things, not of people.
const THINGS: [&str; 34] = [
    "answer",
    "app",
    "branch",
    "call",
    "channel",
    "city",
    "class",
    "contract",
    "course",
    "event",
    "file",
    "group",
    "homework",
    "lesson",
    "level",
    "meeting",
    "message",
    "option",
    "order",
    "organization",
    "poll",
    "question",
    "record",
    "recording",
    "room",
    "school",
    "session",
    "space",
    "subject",
    "task",
    "template",
    "tenant",
    "vote",
    "webinar",
];
/// The fields by which an object says who it is about.
const OWN_IDS: [&str; 8] = [
    "id",
    "uid",
    "user",
    "userid",
    "externaluserid",
    "participant",
    "participantid",
    "externalid",
];
/// The fields besides `…name` by which a row says whose it is.
const AUTHORS: [&str; 4] = ["author", "from", "sender", "speaker"];

/// What is known of the people to erase.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// Ids in the LMS.
    pub users: BTreeSet<String>,
    /// Ids of participants in the reports.
    pub participants: BTreeSet<String>,
    /// E-mail addresses in lower case.
    pub emails: BTreeSet<String>,
    /// The digits of telephone numbers.
    pub phones: BTreeSet<String>,
    /// Names in lower case.
    pub names: BTreeSet<String>,
    /// The call whose reports are read.
    call: String,
    /// Keyed hashes of names that were erased from the call's reports before.
    erased_names: BTreeSet<String>,
}

impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Traces")
    }
}

/// The texts by which a row names a person.
#[derive(Debug, Clone, Default)]
pub(in crate::tables) struct RowPerson {
    pub user: Option<String>,
    pub participant: Option<String>,
    pub email: Option<String>,
    pub phone: Option<String>,
    pub name: Option<String>,
}

impl RowPerson {
    /// True if the row says at most a name.
    pub fn is_anonymous(&self) -> bool {
        [&self.user, &self.participant, &self.email, &self.phone]
            .iter()
            .all(|value| value.is_none())
    }

    /// The person of a row, given the texts of its columns.
    pub fn of(mut text: impl FnMut(&str) -> Option<String>) -> Self {
        Self {
            user: text(participants::external_user_id),
            participant: text(participants::participant_id),
            email: text(participants::email),
            phone: text(participants::phone),
            name: text(participants::name).or_else(|| text(messages::participant_name)),
        }
    }
}

impl Traces {
    /// What is known before a call's reports are read: the keyed hashes of the names that were erased from them before.
    pub fn of_call(call: &str, erased_names: BTreeSet<String>) -> Self {
        Self {
            call: call.to_owned(),
            erased_names,
            ..Self::default()
        }
    }

    /// True if nobody is known.
    pub fn is_empty(&self) -> bool {
        [
            &self.users,
            &self.participants,
            &self.emails,
            &self.phones,
            &self.names,
        ]
        .iter()
        .all(|values| values.is_empty())
    }

    /// Learns a name if it was erased from the call before.
    pub(in crate::tables) fn recognize(&mut self, name: Option<&str>, erased: &Erased) {
        if let Some(name) = name
            && !self.erased_names.is_empty()
            && erased.is_among(&self.erased_names, &self.call, name)
        {
            self.names.insert(folded(name));
        }
    }

    /// The keyed hashes of the names that are erased from the call's reports.
    pub fn erased_names(&self, erased: &Erased) -> BTreeSet<String> {
        let names = self.names.iter().map(String::as_str).chain([""]);
        let new = names.filter_map(|name| erased.name_in_call(&self.call, name));
        self.erased_names.iter().cloned().chain(new).collect()
    }

    /// Adds what other traces know.
    pub fn add(&mut self, other: &Self) {
        self.users.extend(other.users.iter().cloned());
        self.participants.extend(other.participants.iter().cloned());
        self.emails.extend(other.emails.iter().cloned());
        self.phones.extend(other.phones.iter().cloned());
        self.names.extend(other.names.iter().cloned());
    }

    /// Adds what a row of an erased person says.
    pub(in crate::tables) fn learn(&mut self, row: &RowPerson) {
        self.users.extend(row.user.iter().map(|id| id.trim().to_owned()));
        self.participants
            .extend(row.participant.iter().map(|id| id.trim().to_owned()));
        self.emails.extend(row.email.iter().map(|email| folded(email)));
        self.phones
            .extend(row.phone.iter().filter_map(|phone| digits(phone)));
        self.names.extend(row.name.iter().map(|name| folded(name)));
        self.names.remove("");
        self.emails.remove("");
    }

    /// True if a row is of a person who is known, by an id, or by an address with the same name, because families share
    /// addresses.
    pub(in crate::tables) fn has(&self, row: &RowPerson) -> bool {
        if let Some(user) = &row.user {
            return self.users.contains(user.trim());
        }
        let same_name = row.name.as_deref().is_none_or(|name| self.has_name(name));
        let has_address = || {
            row.email
                .as_deref()
                .is_some_and(|email| self.emails.contains(&folded(email)))
                || row
                    .phone
                    .as_deref()
                    .and_then(digits)
                    .is_some_and(|phone| self.phones.contains(&phone))
        };
        row.participant
            .as_deref()
            .is_some_and(|id| self.participants.contains(id.trim()))
            || (same_name && has_address())
    }

    /// True if a row that says nothing but a name is of a person who is known, because nobody else in the call has the name.
    pub(in crate::tables) fn has_anonymous(&self, row: &RowPerson, other_names: &BTreeSet<String>) -> bool {
        row.is_anonymous()
            && row
                .name
                .as_deref()
                .is_some_and(|name| self.is_own_name(name, other_names))
    }

    /// True if a name is that of one of the people, and of nobody else.
    pub(in crate::tables) fn is_own_name(&self, name: &str, other_names: &BTreeSet<String>) -> bool {
        self.has_name(name) && !other_names.contains(&folded(name))
    }

    /// True if a value is an id of one of the people.
    pub(in crate::tables) fn is_id(&self, value: &str) -> bool {
        let value = value.trim();
        self.users.contains(value) || self.participants.contains(value)
    }

    /// True if one of the people has the name.
    pub(in crate::tables) fn has_name(&self, name: &str) -> bool {
        self.names.contains(&folded(name))
    }

    /// True if a value is the id of one of the people, and can be nothing else.
    pub(in crate::tables) fn is_telling_id(&self, value: &str) -> bool {
        self.is_id(value) && is_telling(value.trim())
    }

    /// True if a value is the e-mail address of one of the people, or the telephone number in a field for one.
    pub(in crate::tables) fn is_address(&self, field: &str, value: &str) -> bool {
        let is_phone = || {
            let field = plain_field(field);
            ["phone", "tel", "mobile", "телефон"]
                .iter()
                .any(|word| field.contains(word))
                && digits(value).is_some_and(|phone| self.phones.contains(&phone))
        };
        self.emails.contains(&folded(value)) || is_phone()
    }

    /// True if the value of a field is an id of one of the people. `is_person` says that the field is named after people.
    pub(in crate::tables) fn is_id_of(&self, field: &str, is_person: bool, value: &str) -> bool {
        self.is_id(value) && (is_telling(value.trim()) || is_person || is_id_field(field))
    }

    /// The text of an object of the program with a mark in the place of ids and addresses of the people; none if it has none.
    /// Ids that may be something else by chance stay.
    pub fn redacted(&self, text: &str) -> Option<String> {
        const MARK: &str = "erased";
        let ids = self
            .users
            .iter()
            .chain(&self.participants)
            .filter(|id| is_telling(id));
        let mut redacted: Option<String> = None;
        for value in ids.chain(&self.emails) {
            let now = redacted.as_deref().unwrap_or(text);
            let places: Vec<usize> = words(now, value).collect();
            if !places.is_empty() {
                let mut rest = now.to_owned();
                for at in places.into_iter().rev() {
                    rest.replace_range(at..at + value.len(), MARK);
                }
                redacted = Some(rest);
            }
        }
        redacted
    }

    /// True if a text repeats a name, an id or an address of one of the people, for a human to look at. Names, and parts of
    /// names, that others in the call have too do not count.
    pub fn is_mentioned_in(&self, text: &str, other_names: &BTreeSet<String>) -> bool {
        let text = folded(text);
        if text.is_empty() {
            return false;
        }
        let holds = |part: &str| contains_word(&text, part);
        let ids = self
            .users
            .iter()
            .chain(&self.participants)
            .filter(|id| is_telling(id));
        let is_own = |part: &str| !other_names.iter().any(|name| contains_word(name, part));
        ids.map(|id| id.to_lowercase()).any(|id| holds(&id))
            || self.emails.iter().any(|email| holds(email))
            || self.names.iter().any(|name| {
                let parts = name
                    .split_whitespace()
                    .filter(|part| part.chars().count() >= NAME_PART);
                [name.as_str()]
                    .into_iter()
                    .chain(parts)
                    .any(|part| holds(part) && is_own(part))
            })
    }
}

/// True if a field is one of ids that may be those of people.
pub(in crate::tables) fn is_id_field(field: &str) -> bool {
    let field = plain_field(field);
    let prefix = ["ids", "id", "by"]
        .iter()
        .find_map(|ending| field.strip_suffix(ending));
    let is_other = |prefix: &str| prefix.is_empty() || THINGS.iter().any(|thing| prefix.ends_with(thing));
    OWN_IDS[2..].contains(&&*field) || prefix.is_some_and(|prefix| !is_other(prefix))
}

/// True if a field says who the object is about that stands under the name `above`.
pub(in crate::tables) fn is_own_id(field: &str, above: Option<&str>) -> bool {
    let (field, above) = (plain_field(field), above.map(plain_field).unwrap_or_default());
    let of_level = field
        .strip_suffix("id")
        .is_some_and(|level| !level.is_empty() && above.starts_with(level));
    OWN_IDS.contains(&&*field) || of_level
}

/// True if a field says by a name whose a row is.
pub(in crate::tables) fn is_author(field: &str) -> bool {
    let field = plain_field(field);
    field.ends_with("name") || AUTHORS.contains(&&*field) || OWN_IDS[2..].contains(&&*field)
}

/// The part of a field's name that other fields about the same person begin with: `teacher` of `teacher_id`.
pub(in crate::tables) fn prefix_of(field: &str) -> Option<String> {
    const SHORTEST: usize = 3;
    let field = plain_field(field);
    let prefix = field.strip_suffix("id").map(str::to_owned);
    prefix.filter(|prefix| prefix.chars().count() >= SHORTEST)
}

/// A text in lower case, without white space around it.
pub(in crate::tables) fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

/// A field's name in lower case, without the signs between its words.
pub(in crate::tables) fn plain_field(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .collect::<String>()
        .to_lowercase()
}

/// The digits of a telephone number; none if they are too few for one.
fn digits(phone: &str) -> Option<String> {
    const FEWEST: usize = 5;
    let digits: String = phone.chars().filter(char::is_ascii_digit).collect();
    (digits.len() >= FEWEST).then_some(digits)
}

/// True if an id can't be any other value by chance.
pub(in crate::tables) fn is_telling(id: &str) -> bool {
    let digits = id.bytes().filter(u8::is_ascii_digit).count();
    let has_letter = id.chars().any(char::is_alphabetic);
    let least = if digits > 0 { TELLING_MIXED } else { TELLING };
    (has_letter && id.chars().count() >= least) || digits >= TELLING_DIGITS
}

/// True if a text contains a part that is no piece of a longer word.
pub(in crate::tables) fn contains_word(text: &str, part: &str) -> bool {
    words(text, part).next().is_some()
}

/// The places where a text contains a part that is no piece of a longer word.
fn words<'t>(text: &'t str, part: &'t str) -> impl Iterator<Item = usize> + 't {
    let is_whole = move |at: &usize| {
        let before = text[..*at].chars().next_back();
        let after = text[at + part.len()..].chars().next();
        !part.is_empty() && ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    };
    let places = text.match_indices(part).map(|(at, _)| at);
    places.filter(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traces() -> Traces {
        let mut traces = Traces::default();
        traces.learn(&RowPerson {
            user: Some("stud-1001".into()),
            participant: Some("17".into()),
            email: Some(" Anna@Example.org ".into()),
            phone: Some("+7 (999) 123-45-67".into()),
            name: Some("Анна Ли".into()),
        });
        traces
    }

    #[test]
    fn a_row_is_of_the_person_by_an_id_or_by_an_address_with_the_same_name() {
        let traces = traces();
        let row = |user: Option<&str>, participant: Option<&str>, email: Option<&str>, name: Option<&str>| {
            RowPerson {
                user: user.map(Into::into),
                participant: participant.map(Into::into),
                email: email.map(Into::into),
                phone: None,
                name: name.map(Into::into),
            }
        };
        assert!(traces.has(&row(Some("stud-1001"), Some("x"), None, None)));
        assert!(traces.has(&row(None, Some("17"), None, Some("Other"))));
        assert!(traces.has(&row(None, None, Some("ANNA@example.org"), None)));
        assert!(traces.has(&row(None, None, Some("anna@example.org"), Some("анна ли"))));
        let sister = row(None, None, Some("anna@example.org"), Some("Вера Ли"));
        assert!(!traces.has(&sister), "families share an address");
        assert!(
            !traces.has(&row(Some("stud-2"), Some("17"), None, None)),
            "one id, two people"
        );
        let anonymous = row(None, None, None, Some("Анна Ли"));
        assert!(!traces.has(&anonymous) && traces.has_anonymous(&anonymous, &BTreeSet::new()));
        assert!(!traces.has_anonymous(&anonymous, &BTreeSet::from(["анна ли".to_owned()])));
        assert!(
            !traces.has(&row(None, Some("p"), None, Some("Анна Ли"))),
            "a namesake"
        );
    }

    #[test]
    fn a_short_number_is_an_id_only_in_a_field_of_ids() {
        let traces = traces();
        assert!(traces.is_telling_id("stud-1001") && !traces.is_telling_id("17"));
        for field in ["participant_id", "invitedBy", "curatorId", "student_ids", "user"] {
            assert!(traces.is_id_of(field, false, "17"), "{field}");
        }
        for field in [
            "cameraSeconds",
            "roomId",
            "lesson_id",
            "external_meeting_id",
            "id",
        ] {
            assert!(!traces.is_id_of(field, false, "17"), "{field}");
        }
        assert!(traces.is_id_of("id", true, "17") && traces.is_id_of("id", false, "stud-1001"));
        assert!(
            traces.is_address("x", "ANNA@example.org") && !traces.is_address("phone2", "8 (999) 123-45-67")
        );
        assert!(traces.is_address("mobile", "79991234567") && !traces.is_address("id", "79991234567"));
    }

    #[test]
    fn an_object_is_about_a_person_by_its_own_id() {
        assert!(is_own_id("userId", None) && is_own_id("teacher_id", Some("teachers")));
        assert!(!is_own_id("teacher_id", Some("lesson")) && !is_own_id("createdBy", Some("polls")));
        assert_eq!(prefix_of("teacher_id").as_deref(), Some("teacher"));
        assert_eq!((prefix_of("id"), prefix_of("by_id")), (None, None));
    }

    #[test]
    fn a_text_of_the_program_is_redacted() {
        let redacted = traces().redacted(r#"{"user":"stud-1001","other":"stud-10012","seconds":17}"#);
        assert_eq!(
            redacted.as_deref(),
            Some(r#"{"user":"erased","other":"stud-10012","seconds":17}"#)
        );
        assert_eq!(traces().redacted("stud-10012"), None);
    }

    #[test]
    fn a_name_that_others_have_is_no_mention() {
        let others = BTreeSet::from(["анна петрова".to_owned()]);
        assert!(!traces().is_mentioned_in("Спасибо, Анна!", &others));
        assert!(traces().is_mentioned_in("Анна Ли, привет", &others));
    }

    #[test]
    fn a_text_mentions_a_person_by_whole_words() {
        let traces = traces();
        for text in [
            "Спасибо, Анна!",
            "АННА ЛИ здесь",
            "пишите anna@example.org",
            "id stud-1001.",
        ] {
            assert!(traces.is_mentioned_in(text, &BTreeSet::new()), "{text}");
        }
        for text in ["Анналы истории", "нет ли вопросов", "17", "", "stud-10012"] {
            assert!(!traces.is_mentioned_in(text, &BTreeSet::new()), "{text}");
        }
    }
}
