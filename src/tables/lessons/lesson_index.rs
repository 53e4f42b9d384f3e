//! The lesson data that a build uses, by meeting and user. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::entry::LessonEntry;
use super::lesson::Lesson;
use crate::ids::MeetingId;

/// The lesson data of some meetings. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct LessonIndex {
    /// The latest entries of each meeting, by user.
    meetings: Arc<BTreeMap<MeetingId, Vec<Arc<LessonEntry>>>>,
    /// True if the lake has lesson data of any meeting.
    some: bool,
}

impl LessonIndex {
    /// Keeps the latest of some entries. `some` says whether the lake has lesson data of any meeting.
    pub fn of(entries: impl IntoIterator<Item = impl Into<Arc<LessonEntry>>>, some: bool) -> Self {
        let mut meetings: BTreeMap<MeetingId, Vec<Arc<LessonEntry>>> = BTreeMap::new();
        // Entries mostly come by meeting, so that a meeting is looked up once.
        let mut entries = entries.into_iter().map(Into::into).peekable();
        while let Some(first) = entries.next() {
            let users = meetings.entry(first.meeting.clone()).or_default();
            let meeting = first.meeting.clone();
            users.push(first);
            while let Some(entry) = entries.next_if(|entry: &Arc<LessonEntry>| entry.meeting == meeting) {
                users.push(entry);
            }
        }
        for users in meetings.values_mut() {
            // The latest of each user comes first, and stays.
            users.sort_by(|a, b| a.user.cmp(&b.user).then_with(|| b.age().cmp(&a.age())));
            users.dedup_by(|older, latest| older.user == latest.user);
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
        let users = self.meetings.get(meeting)?;
        let at = users
            .binary_search_by(|entry| entry.user.as_str().cmp(user))
            .ok()?;
        users
            .get(at)
            .map(|entry| &**entry)
            .filter(|entry| entry.meta.is_some())
    }

    /// The lesson columns of a user in a meeting.
    pub(in super::super) fn lesson(&self, meeting: &str, user: &str) -> Option<Lesson<'_>> {
        self.get(meeting, user)?.lesson()
    }

    /// The users who are expected in a meeting, with their entries.
    pub fn expected<'m>(&'m self, meeting: &str) -> impl Iterator<Item = (&'m str, &'m LessonEntry)> {
        let entries = self.meetings.get(meeting).into_iter().flatten();
        entries
            .filter(|entry| entry.meta.is_some())
            .map(|entry| (entry.user.as_str(), &**entry))
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
    pub fn says_the_same<'m>(&self, other: &Self, mut meetings: impl Iterator<Item = &'m str>) -> bool {
        self.some == other.some
            && meetings.all(|meeting| {
                let ours = self.expected(meeting).map(|(user, entry)| (user, &entry.meta));
                ours.eq(other.expected(meeting).map(|(user, entry)| (user, &entry.meta)))
            })
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
