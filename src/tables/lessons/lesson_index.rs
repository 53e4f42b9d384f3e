//! The lesson data that a build uses, by meeting and user. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::entry::LessonEntry;
use super::lesson::Lesson;
use crate::ids::{MeetingId, UserId};

/// The lesson data of some meetings. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LessonIndex {
    meetings: Arc<BTreeMap<MeetingId, BTreeMap<UserId, LessonEntry>>>,
    /// True if the lake has lesson data of any meeting.
    some: bool,
}

impl LessonIndex {
    /// Keeps the latest of some entries. `some` says whether the lake has lesson data of any meeting.
    pub fn of(entries: impl IntoIterator<Item = LessonEntry>, some: bool) -> Self {
        let mut meetings: BTreeMap<MeetingId, BTreeMap<UserId, LessonEntry>> = BTreeMap::new();
        for entry in entries {
            let users = meetings.entry(entry.meeting.clone()).or_default();
            if users
                .get(&entry.user)
                .is_none_or(|known| entry.is_later_than(known))
            {
                users.insert(entry.user.clone(), entry);
            }
        }
        Self {
            meetings: meetings.into(),
            some,
        }
    }

    /// True if the lake has no lesson data at all. Then nobody lacks it.
    pub fn is_empty(&self) -> bool {
        !self.some
    }

    /// The latest entry of a user in a meeting, unless it was taken back.
    pub fn get(&self, meeting: &str, user: &str) -> Option<&LessonEntry> {
        let entry = self.meetings.get(meeting)?.get(user)?;
        entry.meta.is_some().then_some(entry)
    }

    /// The lesson columns of a user in a meeting.
    pub(in super::super) fn lesson(&self, meeting: &str, user: &str) -> Option<Lesson> {
        self.get(meeting, user)?.lesson()
    }

    /// The users who are expected in a meeting, with their entries.
    pub fn expected<'m>(&'m self, meeting: &str) -> impl Iterator<Item = (&'m str, &'m LessonEntry)> {
        let users = self.meetings.get(meeting).into_iter().flatten();
        users
            .filter(|(_, entry)| entry.meta.is_some())
            .map(|(user, entry)| (user.as_str(), entry))
    }

    /// The number of users whose value can't be read, by meeting and column.
    pub fn unreadable<'m>(
        &self,
        meetings: impl IntoIterator<Item = &'m str>,
    ) -> BTreeMap<(&'m str, &'static str), u64> {
        let mut unreadable = BTreeMap::new();
        for meeting in meetings {
            for (_, entry) in self.expected(meeting) {
                for column in entry.unreadable() {
                    *unreadable.entry((meeting, column)).or_default() += 1;
                }
            }
        }
        unreadable
    }

    /// True if a build of some meetings gives the same result with either of the two.
    pub fn says_the_same<'m>(&self, other: &Self, meetings: impl Iterator<Item = &'m str> + Clone) -> bool {
        self.some == other.some && self.digest(meetings.clone()) == other.digest(meetings)
    }

    /// The digest of the lesson data of some meetings, in hex; empty if there is none. When it changes, days with these
    /// meetings are built again.
    pub fn digest<'m>(&self, meetings: impl IntoIterator<Item = &'m str>) -> String {
        let mut hasher = Sha256::new();
        let mut any = false;
        for meeting in meetings {
            for (user, entry) in self.expected(meeting) {
                any = true;
                for part in [meeting, user, entry.meta.as_deref().unwrap_or_default()] {
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
