//! The people who were erased from the lake, as keyed hashes. Pure.
//!
//! A tombstone holds no id: whoever has the key can test if a given id was erased, but nobody can list the ids.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::pseudonym::PseudonymKey;

/// The kind of value by which a person is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KnownBy {
    /// The id of the user in the LMS.
    User,
    /// An e-mail address.
    Email,
    /// The id of a participant in the reports.
    Participant,
}

/// A person, by a value of one kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Person {
    /// The kind of the value.
    pub known_by: KnownBy,
    /// The value. It is personal data.
    pub value: String,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Person({:?})", self.known_by)
    }
}

/// The tombstone of a person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tombstone {
    /// The kind of the value.
    pub known_by: KnownBy,
    /// The keyed hash of the value, in hex.
    pub hash: String,
}

/// The form of a value that is hashed, so that differences in how people write it do not count.
fn plain(known_by: KnownBy, value: &str) -> String {
    match known_by {
        KnownBy::Email => value.trim().to_lowercase(),
        KnownBy::User | KnownBy::Participant => value.trim().to_owned(),
    }
}

/// The tombstone of a person.
pub fn tombstone(key: &PseudonymKey, person: &Person) -> Tombstone {
    let Person { known_by, value } = person;
    let kind = match known_by {
        KnownBy::User => "user",
        KnownBy::Email => "email",
        KnownBy::Participant => "participant",
    };
    Tombstone {
        known_by: *known_by,
        hash: key.of(&format!("{kind}\0{}", plain(*known_by, value))),
    }
}

/// Tombstones, and the key that they were made with.
#[derive(Debug, Clone, Default)]
pub struct Erased {
    tombstones: BTreeSet<Tombstone>,
    /// None if there are none.
    key: Option<PseudonymKey>,
}

impl Erased {
    /// The people with these tombstones, which were made with a key.
    pub fn new(key: PseudonymKey, tombstones: impl IntoIterator<Item = Tombstone>) -> Self {
        let tombstones: BTreeSet<_> = tombstones.into_iter().collect();
        Self {
            key: (!tombstones.is_empty()).then_some(key),
            tombstones,
        }
    }

    /// True if nobody was erased.
    pub fn is_empty(&self) -> bool {
        self.tombstones.is_empty()
    }

    /// True if the person was erased.
    pub fn has(&self, known_by: KnownBy, value: &str) -> bool {
        let Some(key) = self.key.as_ref().filter(|_| !value.trim().is_empty()) else {
            return false;
        };
        let person = Person {
            known_by,
            value: value.to_owned(),
        };
        self.tombstones.contains(&tombstone(key, &person))
    }

    /// The keyed hash of the name of an erased person in a call, by which the call's other reports recognize the person.
    pub fn name_in_call(&self, call: &str, name: &str) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(key.of(&format!("name\0{call}\0{}", name.trim().to_lowercase())))
    }

    /// True if a name is one of those that were erased from a call.
    pub fn is_among(&self, hashes: &BTreeSet<String>, call: &str, name: &str) -> bool {
        self.name_in_call(call, name)
            .is_some_and(|hash| hashes.contains(&hash))
    }

    /// True if the user of the LMS was erased.
    pub fn has_user(&self, id: &str) -> bool {
        self.has(KnownBy::User, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_recognizes_its_person_and_names_nobody() {
        let key = PseudonymKey::new(b"k");
        let person = |known_by, value: &str| Person {
            known_by,
            value: value.into(),
        };
        let stones = [
            tombstone(&key, &person(KnownBy::User, "u-17")),
            tombstone(&key, &person(KnownBy::Email, "Anna@Example.org")),
        ];
        let shown =
            serde_json::to_string(&stones).expect("JSON") + &format!("{:?}", person(KnownBy::User, "u-17"));
        assert!(
            !shown.contains("u-17") && !shown.to_lowercase().contains("anna"),
            "{shown}"
        );
        assert!(Erased::default().is_empty() && !Erased::default().has_user("u-17"));
        let erased = Erased::new(key, stones);
        assert!(erased.has_user("u-17") && erased.has_user(" u-17 ") && !erased.has_user("u-1"));
        assert!(erased.has(KnownBy::Email, "anna@example.org"));
        assert!(!erased.has(KnownBy::Participant, "u-17") && !erased.has_user(""));
        let names = erased.name_in_call("c", "Anna").into_iter().collect();
        assert!(erased.is_among(&names, "c", " anna") && !erased.is_among(&names, "d", "anna"));
    }
}
