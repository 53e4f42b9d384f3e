//! What a build has to say besides its tables: counts by column and by field path, never a value. Pure.

use std::collections::BTreeMap;

/// Paths that are told apart; more of them count together, so that a report of nonsense stays bounded.
const MOST_PATHS: usize = 500;
/// What the paths beyond [`MOST_PATHS`] count as.
const OTHERS: &str = "…";

/// The notes of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Fields that no column takes, by path (`participants[].device`; `call.…` for a call's own), with how often.
    pub unmapped: BTreeMap<String, u64>,
    /// Values that do not fit their column, by `table.column`, with how often.
    pub bad: BTreeMap<String, u64>,
    /// Rows of one participant that became one.
    pub merged_participants: u64,
    /// Messages left out since the same one stood there twice.
    pub duplicate_messages: u64,
    /// The calls whose report can't be read as JSON, though it was landed as such.
    pub unreadable: Vec<String>,
}

impl Notes {
    pub(super) fn unmapped(&mut self, path: &str) {
        count(&mut self.unmapped, path);
    }

    pub(super) fn bad(&mut self, table: &str, column: &str) {
        count(&mut self.bad, &format!("{table}.{column}"));
    }

    /// Adds another build's notes.
    pub fn add(&mut self, other: &Self) {
        for (mine, others) in [(&mut self.unmapped, &other.unmapped), (&mut self.bad, &other.bad)] {
            for (path, times) in others {
                *mine.entry(path.clone()).or_default() += times;
            }
        }
        self.merged_participants += other.merged_participants;
        self.duplicate_messages += other.duplicate_messages;
        self.unreadable.extend_from_slice(&other.unreadable);
    }
}

fn count(counts: &mut BTreeMap<String, u64>, path: &str) {
    if let Some(times) = counts.get_mut(path) {
        *times += 1;
    } else {
        let path = if counts.len() < MOST_PATHS { path } else { OTHERS };
        *counts.entry(path.to_owned()).or_default() += 1;
    }
}
