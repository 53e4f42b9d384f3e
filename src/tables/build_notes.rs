//! Counts of a build for the summary of a run, by column, field and call. They never hold a value. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::xlsx::Refusal;
use crate::json::Repairs;
use crate::lake::table::builtin::participants;
use crate::tables::report::outside::OutsideCall;

/// Paths that are counted separately. Further paths share one count, so that a report of nonsense stays bounded.
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

/// The place where the lake keeps a field that no column takes.
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
    /// Rows that repeat a participant of the same report.
    MergedParticipants,
    /// Rows of a workbook that were merged into one participant by the name alone.
    MergedByName,
    /// Participants who share user and meeting with another participant of their call.
    DuplicateExternalIds,
    /// Participant ids that a report gives to people with different external ids.
    SharedParticipantIds,
    /// External user ids of a call that differ only by case or by spaces around them.
    LookAlikeIds,
    /// Sessions or events of a list that belong to none of the participants.
    UnclaimedSessions,
    /// Sheets of tables without a header that the mapping knows.
    HeadlessSheets,
    /// Characters that could not be decoded and became U+FFFD.
    MendedCharacters,
    /// Numbers that no column can hold.
    ImpossibleNumbers,
}

impl Observation {
    /// The sentence of the warning, after the number of sightings.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::MergedParticipants => {
                "rows repeat a participant of the same report and were merged with it"
            }
            Self::MergedByName => {
                "stays of the report were merged with an earlier one by the name alone: two participants of the same name count as one"
            }
            Self::DuplicateExternalIds => {
                "participants share user and meeting with another participant of their call"
            }
            Self::SharedParticipantIds => {
                "participant ids stand for people with different external user ids: each person is a separate participant"
            }
            Self::LookAlikeIds => {
                "external user ids differ from another one of their call only by case or spaces: they count as different users"
            }
            Self::UnclaimedSessions => {
                "sessions or events of the report's list name nobody among its participants: `raw/` alone has them"
            }
            Self::HeadlessSheets => {
                "sheets of tables have no header that the mapping knows: they feed no table"
            }
            Self::MendedCharacters => "characters of the report can't be decoded and were replaced by U+FFFD",
            Self::ImpossibleNumbers => {
                "numbers of the report can't be stored, such as NaN or 1e400, and are null"
            }
        }
    }
}

/// Counts of a build, each with the object that it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Fields that no column takes, by path (`participants[].device`; `call.…` for a call's own).
    pub unmapped: BTreeMap<String, Sightings>,
    /// The place where the lake keeps each of these fields; all places of the fields that share a count.
    pub kept: BTreeMap<String, BTreeSet<Kept>>,
    /// Values that do not fit their column, by `table.column`.
    pub bad: BTreeMap<String, Sightings>,
    /// Other observations.
    pub observed: BTreeMap<Observation, Sightings>,
    /// Messages that were dropped because the same one was there before.
    pub duplicate_messages: u64,
    /// Calls whose JSON report landed and can't be read as JSON.
    pub unreadable: Vec<String>,
    /// Calls whose workbook landed and can't be read as one.
    pub refused_workbooks: Vec<(String, Refusal)>,
    /// Calls whose JSON report and workbook differ in the number of participants, with both numbers.
    pub differing_participants: Vec<(String, u64, u64)>,
    /// Calls whose report has stays outside the call.
    pub outside_calls: Vec<(String, OutsideCall)>,
    /// The shapes of values that do not fit, by `table.column`, if they are wanted.
    pub misfits: Option<BTreeMap<String, MisfitSamples>>,
    /// The object that the next notes are about.
    about: About,
}

/// Most shapes that are kept of the values of a column that do not fit.
const MOST_SHAPES: usize = 5;

/// The shapes of the values that do not fit a column, never the values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MisfitSamples {
    /// The number of values by shape and place. Further shapes are not counted.
    pub shapes: BTreeMap<(String, String), u64>,
    /// The path of the first such value.
    pub example: String,
    /// The number of rows that were looked at.
    pub rows: u64,
}

impl Notes {
    /// Notes that keep the shapes of values that do not fit.
    pub(super) fn with_misfits() -> Self {
        Self {
            misfits: Some(BTreeMap::new()),
            ..Self::default()
        }
    }

    /// Counts a row of which the misfits of a column are kept, and returns the number of rows before; none if they are
    /// not wanted.
    pub(super) fn explained(&mut self, table: &str, column: &str) -> Option<u64> {
        let samples = self
            .misfits
            .as_mut()?
            .entry(format!("{table}.{column}"))
            .or_default();
        samples.rows += 1;
        Some(samples.rows - 1)
    }

    /// Keeps the shape of a value that does not fit, and the path `place` of such values. `example` makes the path of
    /// this value.
    pub(super) fn misfit(
        &mut self,
        table: &str,
        column: &str,
        shape: String,
        place: String,
        example: impl FnOnce() -> String,
    ) {
        let Some(misfits) = &mut self.misfits else {
            return;
        };
        let samples = misfits.entry(format!("{table}.{column}")).or_default();
        if samples.example.is_empty() {
            samples.example = example();
        }
        let key = (shape, place);
        let is_room = samples.shapes.len() < MOST_SHAPES;
        match samples.shapes.get_mut(&key) {
            Some(times) => *times += 1,
            None if is_room => drop(samples.shapes.insert(key, 1)),
            None => {}
        }
    }

    /// Sets the object that the next notes are about.
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

    /// The number of participants who can't be identified, because their ids or their whole entries could not be read.
    pub(super) fn unknown_people(&self) -> u64 {
        [
            "(row)",
            participants::external_user_id,
            participants::external_meeting_id,
        ]
        .iter()
        .filter_map(|column| self.bad.get(&format!("{}.{column}", participants::NAME)))
        .flat_map(BTreeMap::values)
        .sum()
    }

    /// Counts an observation.
    pub(super) fn observe(&mut self, observation: Observation, times: u64) {
        if times > 0 {
            add(self.observed.entry(observation).or_default(), &self.about, times);
        }
    }

    /// Counts the repairs of a report.
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

/// Counts a path, and returns the path under which it was counted.
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
