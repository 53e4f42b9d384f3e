//! What a day's build knows of its lessons: the latest meta by meeting and user. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::lesson::Lesson;
use super::shelf::{Entry, Shelf};

/// The meta around a day.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    shelves: Vec<Arc<Shelf>>,
}

impl Meta {
    /// The meta of some dates.
    pub fn of(shelves: Vec<Arc<Shelf>>) -> Self {
        Self { shelves }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.shelves.iter().all(|shelf| shelf.is_empty())
    }

    /// The latest entry of a user and meeting.
    pub fn get(&self, meeting: &str, user: &str) -> Option<&Entry> {
        self.shelves
            .iter()
            .filter_map(|shelf| shelf.get(meeting, user))
            .reduce(|known, entry| if entry.is_later_than(known) { entry } else { known })
    }

    /// What the lesson columns say of a user in a meeting.
    pub(in super::super) fn lesson(&self, meeting: &str, user: &str) -> Option<Lesson> {
        self.get(meeting, user).map(|entry| Lesson::of(&entry.meta))
    }

    /// Who is expected in a meeting: its users, in order.
    pub fn expected<'m>(&'m self, meeting: &'m str) -> BTreeMap<&'m str, &'m Entry> {
        let mut expected: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in self.shelves.iter().flat_map(|shelf| shelf.of_meeting(meeting)) {
            let known = expected.entry(&entry.user).or_insert(entry);
            if entry.is_later_than(known) {
                *known = entry;
            }
        }
        expected
    }

    /// The digest of all that is known of some meetings, in hex; empty where nothing is. When it changes, days with
    /// these meetings are built again.
    pub fn digest<'m>(&self, meetings: impl IntoIterator<Item = &'m str>) -> String {
        let mut hasher = Sha256::new();
        let mut any = false;
        for meeting in meetings {
            for (user, entry) in self.expected(meeting) {
                any = true;
                let meta = Value::Object(entry.meta.clone()).to_string();
                for part in [meeting, user, &meta] {
                    hasher.update((part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
            }
        }
        if any {
            hex::encode(hasher.finalize())
        } else {
            String::new()
        }
    }
}
