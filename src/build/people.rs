//! The participants of one report: an id for each, one row for each, and what their sessions add up to. Pure.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::cell::Cell;
use super::notes::{Notes, Observation};
use super::rows::Row;
use super::stay;
use crate::lake::table::{Table, Type};

/// What a surrogate id is made from, besides the call: the first that is there.
const IDENTITY: [&str; 4] = ["external_user_id", "email", "phone", "name"];

/// Where the columns that are worked on stand.
#[derive(Debug, Clone)]
pub(super) struct People {
    id: usize,
    identity: [usize; 4],
    sessions: usize,
    sessions_count: usize,
    first_joined_at: usize,
    last_left_at: usize,
    duration_s: usize,
    summed: Vec<usize>,
}

impl People {
    /// Finds the columns; none in a table that is not that of participants.
    pub fn of(table: &Table) -> Option<Self> {
        let is_sum = |kind| matches!(kind, Type::Int64 | Type::Double);
        let mut identity = [0; 4];
        for (place, name) in identity.iter_mut().zip(IDENTITY) {
            *place = table.index(name)?;
        }
        Some(Self {
            id: table.index("participant_id")?,
            identity,
            sessions: table.index("sessions")?,
            sessions_count: table.index("sessions_count")?,
            first_joined_at: table.index("first_joined_at")?,
            last_left_at: table.index("last_left_at")?,
            duration_s: table.index("duration_s")?,
            summed: (0..table.columns.len())
                .filter(|index| is_sum(table.columns[*index].kind))
                .collect(),
        })
    }

    /// Makes the rows of a report into those of the table: one for each participant, in the order of the report.
    pub fn settle<'v>(
        &self,
        rows: Vec<Row<'v>>,
        call: &str,
        call_end: Option<DateTime<Utc>>,
        notes: &mut Notes,
    ) -> Vec<Row<'v>> {
        let mut people = self.merge(rows, call, notes);
        for row in &mut people {
            self.add_up(&mut row.cells, call_end.map(|end| end.timestamp_micros()));
        }
        people
    }

    /// Makes rows of which each is one stay into those of the table: rows of the same external user, e-mail, telephone
    /// or name, whichever is there first, are one participant's. Those that have nothing but the name in common are
    /// told, as they may be two persons'.
    pub fn settle_stays<'v>(
        &self,
        mut rows: Vec<Row<'v>>,
        call: &str,
        call_end: Option<DateTime<Utc>>,
        notes: &mut Notes,
    ) -> Vec<Row<'v>> {
        let mut named = HashSet::new();
        let mut merged = 0;
        for row in &mut rows {
            if row.cells[self.id].is_some() || !self.is_known(row) {
                continue;
            }
            // The first of its kind, each time: so all have one id, that of the only one who looks so.
            let id = self.surrogate(row, call, &mut HashMap::new());
            if self.has_name_alone(row) && !named.insert(id.clone()) {
                merged += 1;
            }
            row.cells[self.id] = id.into();
        }
        notes.observe(Observation::MergedByName, merged);
        // That stays of one participant become one row is no news here.
        self.settle(rows, call, call_end, &mut Notes::default())
    }

    /// How many participants could be told apart in a list of stays: those with a stay, by what [`People::settle_stays`]
    /// goes by. `rows` are settled.
    pub fn told_apart(&self, rows: &[Row<'_>]) -> u64 {
        let mut nobody = 0;
        let mut seen = HashSet::new();
        for row in rows {
            if matches!(&row.cells[self.sessions], Cell::Sessions(sessions) if sessions.is_empty()) {
                continue;
            }
            match self.is_known(row) {
                true => {
                    seen.insert(self.surrogate(row, "", &mut HashMap::new()));
                }
                false => nobody += 1,
            }
        }
        seen.len() as u64 + nobody
    }

    fn has_name_alone(&self, row: &Row<'_>) -> bool {
        let [of_others @ .., _] = self.identity;
        !of_others.iter().any(|index| row.cells[*index].is_some())
    }

    fn is_known(&self, row: &Row<'_>) -> bool {
        self.identity.iter().any(|index| row.cells[*index].is_some())
    }

    fn merge<'v>(&self, rows: Vec<Row<'v>>, call: &str, notes: &mut Notes) -> Vec<Row<'v>> {
        let mut people: Vec<Row<'v>> = Vec::with_capacity(rows.len());
        // Each participant's place, and the rows seen of it: the same row twice adds nothing.
        let mut places: HashMap<String, (usize, HashSet<u64>)> = HashMap::with_capacity(rows.len());
        let mut anonymous = HashMap::new();
        for mut row in rows {
            let id = match row.cells[self.id].as_text() {
                Some(id) => id.to_owned(),
                None => self.surrogate(&row, call, &mut anonymous),
            };
            row.cells[self.id] = id.clone().into();
            match places.get_mut(&id) {
                None => {
                    places.insert(id, (people.len(), HashSet::new()));
                    people.push(row);
                }
                Some((place, seen)) => {
                    notes.observe(Observation::MergedParticipants, 1);
                    if seen.is_empty() {
                        seen.insert(digest(&people[*place]));
                    }
                    if seen.insert(digest(&row)) {
                        self.join(&mut people[*place], row);
                    }
                }
            }
        }
        people
    }

    /// An id for a participant without one, the same at every build. Those of one external user are one participant;
    /// others who look the same are told apart by their order.
    fn surrogate(&self, row: &Row<'_>, call: &str, anonymous: &mut HashMap<String, u64>) -> String {
        let known = IDENTITY
            .iter()
            .zip(self.identity)
            .find_map(|(name, index)| Some((*name, row.cells[index].as_text()?)));
        let (what, who) = known.unwrap_or(("", ""));
        let identity = format!("{call}\0{what}\0{who}");
        let number = anonymous.entry(identity.clone()).or_insert(0);
        if what != IDENTITY[0] {
            *number += 1;
        }
        let hash = hex::encode(Sha256::digest(format!("{identity}\0{number}")));
        format!("anon-{}", &hash[..16])
    }

    /// Adds another row of the same participant: sessions together, counts added, otherwise the first that is there. A
    /// row that tells of no other session is the same stay told twice: of its counts the larger one stands.
    fn join<'v>(&self, row: &mut Row<'v>, other: Row<'v>) {
        let again = match (&row.cells[self.sessions], &other.cells[self.sessions]) {
            (Cell::Sessions(mine), Cell::Sessions(more)) => {
                !more.is_empty() && more.iter().all(|one| mine.contains(one))
            }
            _ => false,
        };
        for (index, cell) in other.cells.into_iter().enumerate() {
            let mine = &mut row.cells[index];
            match (&mut *mine, cell) {
                (Cell::Null, cell) => *mine = cell,
                (Cell::Sessions(mine), Cell::Sessions(more)) => {
                    mine.extend(more);
                    mine.sort_unstable();
                    mine.dedup();
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

    fn add_up(&self, cells: &mut [Cell<'_>], call_end: Option<i64>) {
        let Cell::Sessions(sessions) = &mut cells[self.sessions] else {
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

/// What tells a row from another; the same rows give the same.
pub(super) fn digest(row: &Row<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{row:?}").hash(&mut hasher);
    hasher.finish()
}
