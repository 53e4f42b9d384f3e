//! The participants of a report: an id and a row for each, with the totals of their sessions. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::stay;
use super::turnout::Turnout;
use crate::lake::table::Type;
use crate::lake::table::builtin::{self, participants};
use crate::tables::build_notes::{Notes, Observation};
use crate::tables::mapping::plan::TablePlan;
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::TableRow;

/// The fields that a surrogate id is made from, besides the call: the first that has a value.
const IDENTITY: [&str; 4] = [
    participants::external_user_id,
    participants::email,
    participants::phone,
    participants::name,
];
/// The fewest digits of a telephone number that tells people apart.
const FEWEST_DIGITS: usize = 5;
/// The value of `identity` for a participant who has an id in the report.
const BY_ID: &str = "id";

/// The indexes of the columns that participants are merged by.
#[derive(Debug, Clone)]
pub(crate) struct ParticipantMerger {
    id: usize,
    /// The columns of [`IDENTITY`].
    known_by: [usize; 4],
    identity: Option<usize>,
    sessions: usize,
    sessions_count: usize,
    sessions_unreadable: Option<usize>,
    first_joined_at: usize,
    last_left_at: usize,
    duration_s: usize,
    summed: Vec<usize>,
    /// The columns that say anything about a person.
    telling: Vec<usize>,
}

/// The participants of a report.
#[derive(Debug, Default)]
pub(crate) struct MergedParticipants<'v> {
    /// A row for each participant, in the order of the report.
    pub rows: Vec<TableRow<'v>>,
    pub turnout: Turnout,
    /// Participant ids that the report gives to several people, so that other rows with such an id belong to nobody
    /// known.
    pub shared_ids: HashSet<String>,
}

/// A participant while rows are merged.
struct Person {
    /// The index of its row.
    at: usize,
    external_id: Option<String>,
    /// Hashes of the rows seen of it: the same row twice adds nothing.
    seen: HashSet<u64>,
}

/// The participants that are merged so far.
#[derive(Default)]
struct Merging<'v> {
    settled: MergedParticipants<'v>,
    /// The people of each participant id; almost always one.
    by_id: HashMap<String, Vec<Person>>,
    anonymous: HashMap<String, u64>,
    /// True if a row says anything about a person, by row.
    is_told: Vec<bool>,
}

impl ParticipantMerger {
    /// Finds the columns; none in a table other than that of participants.
    pub fn of(plan: &TablePlan) -> Option<Self> {
        let table = &plan.table;
        let is_sum = |kind| matches!(kind, Type::Int64 | Type::Double);
        let mut known_by = [0; 4];
        for (place, name) in known_by.iter_mut().zip(IDENTITY) {
            *place = table.index(name)?;
        }
        let is_own = |name: &str| {
            builtin::CALL_COLUMNS.contains(&name)
                || builtin::PERSON_COLUMNS.contains(&name)
                || name == participants::meta_matched
        };
        let columns = 0..table.columns.len();
        Some(Self {
            id: table.index(participants::participant_id)?,
            known_by,
            identity: table.index(participants::identity),
            sessions: table.index(participants::sessions)?,
            sessions_count: table.index(participants::sessions_count)?,
            sessions_unreadable: table.index(participants::sessions_unreadable),
            first_joined_at: table.index(participants::first_joined_at)?,
            last_left_at: table.index(participants::last_left_at)?,
            duration_s: table.index(participants::duration_s)?,
            summed: columns
                .clone()
                .filter(|index| is_sum(table.columns[*index].kind))
                .collect(),
            // A default says nothing about a person.
            telling: columns
                .filter(|index| !is_own(&table.columns[*index].name) && !plan.has_default(*index))
                .collect(),
        })
    }

    /// Merges the rows of a report into one row for each participant, in the order of the report.
    ///
    /// If rows are stays, those with the same external user, e-mail, telephone or name (the first that has a value) belong
    /// to one participant: by the external user whatever their ids, by e-mail or telephone if the ids do not differ
    /// together with the names, by the name if neither has an id. Stays that have only the name in common are counted in
    /// the notes, because they may be of two persons.
    pub fn merge<'v>(
        &self,
        mut rows: Vec<TableRow<'v>>,
        call: &str,
        call_end: Option<DateTime<Utc>>,
        notes: &mut Notes,
    ) -> MergedParticipants<'v> {
        let merged_by_name = self.join_stays(&mut rows, call);
        notes.observe(Observation::MergedByName, merged_by_name);
        // Several stays of one participant are expected.
        let people = rows.iter().filter(|row| !row.is_stay).count();
        let settled = self.add_all_up(self.merge_all(rows, call, notes), call_end);
        let repeated = people.saturating_sub(settled.rows.len()) as u64;
        notes.observe(Observation::MergedParticipants, repeated);
        settled
    }

    /// Gives the same id to the stays of one person, and returns how many were joined by the name alone.
    fn join_stays(&self, rows: &mut [TableRow<'_>], call: &str) -> u64 {
        // The first stay of each person, and true if it has an id of its own.
        let mut first: HashMap<(usize, String), (usize, bool)> = HashMap::new();
        let mut merged_by_name = 0;
        for at in 0..rows.len() {
            let row = &rows[at];
            let Some((index, field, who)) = self.who(row).filter(|_| row.is_stay) else {
                continue;
            };
            let own_id = row.cells[self.id].is_some();
            let (earlier, is_identified) = *first.entry((index, who)).or_insert((at, own_id));
            let is_same =
                earlier != at && self.is_same_person(&rows[earlier], row, index, is_identified || own_id);
            let mut id = match own_id {
                true => row.cells[self.id].clone(),
                // Pass a fresh counter, so that every stay of the same person gets the same surrogate id.
                false => self.surrogate(row, call, &mut HashMap::new()).0.into(),
            };
            if is_same {
                id = rows[earlier].cells[self.id].clone();
                merged_by_name += u64::from(index == self.known_by[3]);
                if own_id && id != rows[at].cells[self.id] {
                    self.identify(&mut rows[earlier], Some(field));
                }
            }
            if !own_id {
                self.identify(&mut rows[at], Some(field));
            }
            rows[at].cells[self.id] = id;
        }
        merged_by_name
    }

    /// True if two stays that have the value of a column in common are of one person. `has_ids` tells if one of them has
    /// an id.
    fn is_same_person(&self, one: &TableRow<'_>, other: &TableRow<'_>, column: usize, has_ids: bool) -> bool {
        let [external_user, .., name] = self.known_by;
        let names = [one, other].map(|row| &row.cells[name]);
        let same_name = names[0] == names[1] || names.iter().any(|name| !name.is_some());
        !has_ids || column == external_user || (column != name && same_name)
    }

    /// The number of participants that a list of stays could tell apart: those with a stay, by the rules for stays of
    /// [`ParticipantMerger::merge`]. `rows` must be merged.
    pub fn told_apart(&self, rows: &[TableRow<'_>]) -> u64 {
        let mut nobody = 0;
        let mut seen = HashSet::new();
        for row in rows.iter().filter(|row| !self.is_absent(row)) {
            match self.who(row) {
                Some((column, _, who)) => {
                    seen.insert((column, who));
                }
                None => nobody += 1,
            }
        }
        seen.len() as u64 + nobody
    }

    /// The first column of [`IDENTITY`] that says who a row is about, its name, and its value without differences in how
    /// people write it.
    fn who(&self, row: &TableRow<'_>) -> Option<(usize, &'static str, String)> {
        self.known_by.iter().zip(IDENTITY).find_map(|(index, field)| {
            let who = identity_of(field, row.cells[*index].as_text()?)?;
            Some((*index, field, who))
        })
    }

    /// True if the report says that a participant was absent: only an empty list of sessions says so.
    fn is_absent(&self, row: &TableRow<'_>) -> bool {
        matches!(&row.cells[self.sessions], Cell::Sessions(sessions) if sessions.is_empty())
    }

    /// Fills `identity` with the field that identifies a participant.
    fn identify(&self, row: &mut TableRow<'_>, known_by: Option<&'static str>) {
        if let Some(index) = self.identity.filter(|index| !row.cells[*index].is_some()) {
            row.cells[index] = known_by.into();
        }
    }

    fn merge_all<'v>(
        &self,
        rows: Vec<TableRow<'v>>,
        call: &str,
        notes: &mut Notes,
    ) -> MergedParticipants<'v> {
        let mut merging = Merging::default();
        for row in rows {
            self.take(&mut merging, row, call);
        }
        let Merging {
            mut settled, is_told, ..
        } = merging;
        settled.turnout.people = is_told.into_iter().filter(|told| *told).count() as u64;
        notes.observe(Observation::SharedParticipantIds, settled.shared_ids.len() as u64);
        let external_ids = settled
            .rows
            .iter()
            .filter_map(|row| row.cells[self.known_by[0]].as_text());
        notes.observe(Observation::LookAlikeIds, look_alikes(external_ids));
        settled
    }

    /// Adds a row to the participant of its id, unless that participant has another external id: one id with two
    /// external ids is two people.
    fn take<'v>(&self, merging: &mut Merging<'v>, mut row: TableRow<'v>, call: &str) {
        let is_told =
            self.telling.iter().any(|index| row.cells[*index].is_some()) || self.unreadable(&row.cells) > 0;
        let (mut id, mut known_by) = match row.cells[self.id].as_text() {
            Some(id) => (id.to_owned(), Some(BY_ID)),
            None => self.surrogate(&row, call, &mut merging.anonymous),
        };
        let external_id = row.cells[self.known_by[0]].as_text().map(str::to_owned);
        let settled = &mut merging.settled;
        let people = merging.by_id.entry(id.clone()).or_default();
        if let Some(person) = same_person(people, external_id.as_deref()) {
            person.external_id = person.external_id.take().or(external_id);
            merging.is_told[person.at] |= is_told;
            self.take_again(person, &mut settled.rows[person.at], row);
            return;
        }
        if !people.is_empty() {
            settled.shared_ids.insert(id.clone());
            let external_id = external_id.as_deref().unwrap_or_default();
            id = surrogate_id(&format!("{call}\0{BY_ID}\0{id}\0{external_id}"));
            known_by = Some(IDENTITY[0]);
            if let Some(index) = self.identity {
                row.cells[index] = Cell::Null;
            }
        }
        self.identify(&mut row, known_by);
        row.cells[self.id] = id.into();
        people.push(Person {
            at: settled.rows.len(),
            external_id,
            seen: HashSet::new(),
        });
        settled.rows.push(row);
        merging.is_told.push(is_told);
    }

    /// Adds a further row of a participant, unless the same row was there before.
    fn take_again<'v>(&self, person: &mut Person, mine: &mut TableRow<'v>, mut row: TableRow<'v>) {
        for index in self.identity.into_iter().chain([self.id]) {
            row.cells[index] = mine.cells[index].clone();
        }
        if person.seen.is_empty() {
            person.seen.insert(digest(mine));
        }
        if person.seen.insert(digest(&row)) {
            self.join(mine, row);
        }
    }

    /// An id for a participant without one, the same in every build, and the field that it is made from. Rows of one
    /// external user are one participant; other rows that look the same are told apart by their order.
    fn surrogate(
        &self,
        row: &TableRow<'_>,
        call: &str,
        anonymous: &mut HashMap<String, u64>,
    ) -> (String, Option<&'static str>) {
        let known = self.who(row);
        let (what, who) = known.as_ref().map_or(("", ""), |(_, what, who)| (*what, who));
        let identity = format!("{call}\0{what}\0{who}");
        let number = anonymous.entry(identity.clone()).or_insert(0);
        if what != IDENTITY[0] {
            *number += 1;
        }
        let id = surrogate_id(&format!("{identity}\0{number}"));
        (id, known.map(|(_, what, _)| what))
    }

    /// Merges another row of the same participant: sessions are united, counts are added, and otherwise the first value
    /// stays. A row without a new session repeats the same stay, so the larger of the two counts stays.
    fn join<'v>(&self, row: &mut TableRow<'v>, other: TableRow<'v>) {
        let again = match (&row.cells[self.sessions], &other.cells[self.sessions]) {
            (Cell::Sessions(mine), Cell::Sessions(more)) => {
                !more.is_empty() && more.iter().all(|one| mine.contains(one))
            }
            _ => false,
        };
        // If one row says absent and the other has no times, the person was there at unknown times.
        let absent_and_not = match (&row.cells[self.sessions], &other.cells[self.sessions]) {
            (Cell::Sessions(list), Cell::Null) | (Cell::Null, Cell::Sessions(list)) => list.is_empty(),
            _ => false,
        };
        for (index, cell) in other.cells.into_iter().enumerate() {
            let mine = &mut row.cells[index];
            match (&mut *mine, cell) {
                (mine, _) if absent_and_not && index == self.sessions => *mine = Cell::Null,
                (Cell::Null, cell) => *mine = cell,
                (Cell::Sessions(mine), Cell::Sessions(more)) => {
                    let mut all = [&**mine, &more].concat();
                    all.sort_unstable();
                    all.dedup();
                    *mine = all.into();
                }
                (Cell::Int(mine), Cell::Int(more)) if again => *mine = more.max(*mine),
                (Cell::Double(mine), Cell::Double(more)) if again => *mine = more.max(*mine),
                (Cell::Int(mine), Cell::Int(more)) if self.summed.contains(&index) => {
                    *mine = mine.saturating_add(more);
                }
                (Cell::Double(mine), Cell::Double(more)) if self.summed.contains(&index) => {
                    *mine = (*mine + more).clamp(f64::MIN, f64::MAX);
                }
                _ => {}
            }
        }
        for (name, value) in other.extra {
            row.extra.entry(name).or_insert(value);
        }
    }

    fn add_all_up<'v>(
        &self,
        mut settled: MergedParticipants<'v>,
        call_end: Option<DateTime<Utc>>,
    ) -> MergedParticipants<'v> {
        let call_end = call_end.map(|end| end.timestamp_micros());
        for row in &mut settled.rows {
            self.add_up(&mut row.cells, call_end);
            let turnout = &mut settled.turnout;
            turnout.present += u64::from(!self.is_absent(row));
            if let Cell::Sessions(sessions) = &row.cells[self.sessions] {
                turnout.sessions += sessions.len() as u64;
            }
            turnout.sessions_unreadable += self.unreadable(&row.cells);
        }
        settled
    }

    fn unreadable(&self, cells: &[Cell<'_>]) -> u64 {
        match self.sessions_unreadable.map(|index| &cells[index]) {
            Some(Cell::Int(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        }
    }

    fn add_up(&self, cells: &mut [Cell<'_>], call_end: Option<i64>) {
        if let Some(index) = self.sessions_unreadable.filter(|index| !cells[*index].is_some()) {
            cells[index] = Cell::Int(0);
        }
        let Cell::Sessions(sessions) = &mut cells[self.sessions] else {
            // A length without times says nothing about when somebody was there.
            cells[self.duration_s] = Cell::Null;
            return;
        };
        sessions.sort_unstable();
        let count = sessions.len();
        let stay = stay::stay(sessions, call_end);
        cells[self.sessions_count] = Cell::count(count);
        cells[self.first_joined_at] = stay.first_joined.map_or(Cell::Null, Cell::Time);
        cells[self.last_left_at] = stay.last_left.map_or(Cell::Null, Cell::Time);
        cells[self.duration_s] = stay.seconds.into();
    }
}

/// What a value says about who somebody is; none if it is a placeholder, or can't be such a value.
fn identity_of(field: &str, text: &str) -> Option<String> {
    /// Words that systems write where they know nothing.
    const NOTHING: [&str; 12] = [
        "",
        "-",
        "–",
        "—",
        "null",
        "none",
        "nil",
        "n/a",
        "na",
        "unknown",
        "undefined",
        "нет",
    ];
    let folded = text.trim().to_lowercase();
    if NOTHING.contains(&&*folded) {
        return None;
    }
    match field {
        participants::email => folded.contains('@').then_some(folded),
        participants::phone => {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            (digits.len() >= FEWEST_DIGITS).then_some(digits)
        }
        _ => Some(text.to_owned()),
    }
}

/// The person with this external id among those of one participant id; else one for whom either side has no external
/// id.
fn same_person<'p>(people: &'p mut [Person], external_id: Option<&str>) -> Option<&'p mut Person> {
    let same = |person: &Person| person.external_id.as_deref() == external_id;
    let alike = |person: &Person| person.external_id.is_none() || external_id.is_none();
    let at = people
        .iter()
        .position(same)
        .or_else(|| people.iter().position(alike))?;
    people.get_mut(at)
}

/// An id made by the program for something without one.
pub(crate) fn surrogate_id(identity: &str) -> String {
    let hash = hex::encode(Sha256::digest(identity));
    format!("anon-{}", &hash[..16])
}

/// The number of ids that differ from another one only by case or surrounding spaces.
pub(crate) fn look_alikes<'i>(ids: impl IntoIterator<Item = &'i str>) -> u64 {
    let mut seen: HashMap<String, BTreeSet<&str>> = HashMap::new();
    for id in ids {
        seen.entry(id.trim().to_lowercase()).or_default().insert(id);
    }
    let groups = seen.values().map(BTreeSet::len).filter(|ids| *ids > 1);
    groups.sum::<usize>() as u64
}

/// A hash of a row; equal rows have equal hashes.
pub(crate) fn digest(row: &TableRow<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{row:?}").hash(&mut hasher);
    hasher.finish()
}
