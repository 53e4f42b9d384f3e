//! The notes of a build besides its tables: counts by column, field and call, never a value. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::xlsx::Refusal;
use crate::json::Repairs;
use crate::tables::report::outside::OutsideCall;

/// Paths that are told apart; more of them count together, so that a report of nonsense stays bounded.
const MOST_PATHS: usize = 500;
/// The name under which the paths beyond [`MOST_PATHS`] are counted.
const OTHERS: &str = "…";

/// The object of a day that a note is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The day, or a report that is of no day.
    #[default]
    Day,
    /// The call of this id.
    Call(String),
    /// The record of this id.
    Record(String),
    /// The room of this id.
    Room(String),
}

/// The number of times that something was seen, by the object that it is about.
pub type Sightings = BTreeMap<About, u64>;

/// Where the lake keeps a field that no column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// In the `extra` of its row.
    Extra,
    /// In the report as it came, and in no table.
    Raw,
    /// In the day's manifest, which holds what the API listed, and in no table.
    Manifest,
}

/// Something in a report that deserves a look, besides fields and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observation {
    /// Rows of a participant that its report had before.
    MergedParticipants,
    /// Rows of a workbook that became one participant by nothing but the name.
    MergedByName,
    /// Participants who share user and meeting with another one of their call.
    DuplicateExternalIds,
    /// Participant ids that a report gives to people with different external ids.
    SharedParticipantIds,
    /// External user ids of a call that differ only by case or by spaces around them.
    LookAlikeIds,
    /// Sheets of tables without a header that the mapping knows.
    HeadlessSheets,
    /// Characters that stand as U+FFFD.
    MendedCharacters,
    /// Numbers that no column can hold.
    ImpossibleNumbers,
}

impl Observation {
    /// The sentence of the warning, behind the number of sightings.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::MergedParticipants => {
                "rows of participants that their report had before became one with them"
            }
            Self::MergedByName => {
                "rows of the XLSX report became one participant with an earlier row by the name alone: two participants of one name count as one"
            }
            Self::DuplicateExternalIds => {
                "participants share user and meeting with another one of their call"
            }
            Self::SharedParticipantIds => {
                "participant ids stand for people with different external user ids: each is a participant of its own"
            }
            Self::LookAlikeIds => {
                "external user ids differ from another one of their call only by case or spaces: they stay different users"
            }
            Self::HeadlessSheets => {
                "sheets of tables have no header that the mapping knows: they feed no table"
            }
            Self::MendedCharacters => "characters of the report can't be read and stand as U+FFFD",
            Self::ImpossibleNumbers => "numbers of the report are none, such as NaN or 1e400, and are null",
        }
    }
}

/// The notes of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Fields that no column takes, by path (`participants[].device`; `call.…` for a call's own), with how often.
    pub unmapped: BTreeMap<String, Sightings>,
    /// Where the lake keeps each of these fields; of those that count together, all the places.
    pub kept: BTreeMap<String, BTreeSet<Kept>>,
    /// Values that do not fit their column, by `table.column`, with how often.
    pub bad: BTreeMap<String, Sightings>,
    /// Other things that deserve a look, with the number of times.
    pub observed: BTreeMap<Observation, Sightings>,
    /// Messages left out since the same one stood there twice.
    pub duplicate_messages: u64,
    /// The calls whose report can't be read as JSON, though it was landed as such.
    pub unreadable: Vec<String>,
    /// The calls whose workbook can't be read, though it was landed as one.
    pub refused_workbooks: Vec<(String, Refusal)>,
    /// The calls whose JSON and workbook do not have the same number of participants, with both.
    pub differing_participants: Vec<(String, u64, u64)>,
    /// The calls that some stays of their report lie outside of.
    pub outside_calls: Vec<(String, OutsideCall)>,
    /// The object that the next notes are about.
    about: About,
}

impl Notes {
    /// Says what the notes from here on are about.
    pub(super) fn about(&mut self, about: About) {
        self.about = about;
    }

    pub(super) fn unmapped(&mut self, path: &str, kept: Kept) {
        let path = count(&mut self.unmapped, path, &self.about);
        match self.kept.get_mut(path) {
            Some(known) => drop(known.insert(kept)),
            None => drop(self.kept.insert(path.to_owned(), [kept].into())),
        }
    }

    pub(super) fn bad(&mut self, table: &str, column: &str) {
        self.bad_times(table, column, 1);
    }

    pub(super) fn bad_times(&mut self, table: &str, column: &str, times: u64) {
        if times > 0 {
            let sightings = self.bad.entry(format!("{table}.{column}")).or_default();
            add(sightings, &self.about, times);
        }
    }

    /// The number of participants who can't be told: their ids, or their whole entries, could not be read.
    pub(super) fn unknown_people(&self) -> u64 {
        ["(row)", "external_user_id", "external_meeting_id"]
            .iter()
            .filter_map(|column| self.bad.get(&format!("participants.{column}")))
            .flat_map(BTreeMap::values)
            .sum()
    }

    /// Counts something that was seen so many times.
    pub(super) fn observe(&mut self, observation: Observation, times: u64) {
        if times > 0 {
            add(self.observed.entry(observation).or_default(), &self.about, times);
        }
    }

    /// Counts what had to be mended in a report.
    pub(super) fn mended(&mut self, repairs: Repairs) {
        self.observe(Observation::MendedCharacters, repairs.characters);
        self.observe(Observation::ImpossibleNumbers, repairs.numbers);
    }
}

fn add(sightings: &mut Sightings, about: &About, times: u64) {
    match sightings.get_mut(about) {
        Some(known) => *known += times,
        None => drop(sightings.insert(about.clone(), times)),
    }
}

/// Counts a path; gives the one that it was counted as.
fn count<'p>(counts: &mut BTreeMap<String, Sightings>, path: &'p str, about: &About) -> &'p str {
    if let Some(sightings) = counts.get_mut(path) {
        add(sightings, about, 1);
        return path;
    }
    let path = if counts.len() < MOST_PATHS { path } else { OTHERS };
    add(counts.entry(path.to_owned()).or_default(), about, 1);
    path
}

#[cfg(test)]
pub(super) fn total(sightings: Option<&Sightings>) -> u64 {
    sightings.into_iter().flat_map(BTreeMap::values).sum()
}
