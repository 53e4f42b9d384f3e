//! What a build has to say besides its tables: counts by column and by field path, never a value. Pure.

use std::collections::BTreeMap;

use super::xlsx::Refusal;

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
    /// The calls whose workbook can't be read, though it was landed as one.
    pub refused_workbooks: Vec<(String, Refusal)>,
    /// Sheets of tables without a header that the mapping knows.
    pub headless_sheets: u64,
    /// The calls whose JSON and workbook do not have the same number of participants, with both.
    pub differing_participants: Vec<(String, u64, u64)>,
}

impl Notes {
    pub(super) fn unmapped(&mut self, path: &str) {
        count(&mut self.unmapped, path);
    }

    pub(super) fn bad(&mut self, table: &str, column: &str) {
        count(&mut self.bad, &format!("{table}.{column}"));
    }

    pub(super) fn bad_times(&mut self, table: &str, column: &str, times: u64) {
        if times > 0 {
            *self.bad.entry(format!("{table}.{column}")).or_default() += times;
        }
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
        self.refused_workbooks.extend_from_slice(&other.refused_workbooks);
        self.headless_sheets += other.headless_sheets;
        self.differing_participants
            .extend_from_slice(&other.differing_participants);
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
