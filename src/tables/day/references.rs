//! The rows of a call that refer to its participants, and the columns of participants that they are filled from. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::config::ReportFormat;
use crate::lake::table::builtin::{messages, participants};
use crate::lake::table::{Table, Type};
use crate::tables::parquet::cell::{Cell, Session};
use crate::tables::parquet::row::TableRow;
use crate::tables::report::people::digest;

/// Fills the `source` column in rows of participants.
pub(super) fn stamp(table: &Table, source: ReportFormat, rows: &mut [TableRow<'_>]) {
    if let Some(index) = table.index(participants::source) {
        for row in rows {
            row.cells[index] = source.as_str().into();
        }
    }
}

/// All sessions of a call's participants.
pub(super) fn sessions(table: &Table, rows: &[TableRow<'_>]) -> Vec<Session> {
    let Some(index) = table.index(participants::sessions) else {
        return Vec::new();
    };
    let of_row = |row: &TableRow<'_>| match &row.cells[index] {
        Cell::Sessions(sessions) => sessions.to_vec(),
        _ => Vec::new(),
    };
    rows.iter().flat_map(of_row).collect()
}

pub(super) fn distinct(table: &Table, column: &str, rows: &[TableRow<'_>]) -> BTreeSet<String> {
    let Some(index) = table.index(column) else {
        return BTreeSet::new();
    };
    rows.iter()
        .filter_map(|row| row.cells[index].as_text().map(str::to_owned))
        .collect()
}

/// Columns of other tables that are filled from the participant.
const INTRODUCED: [&str; 3] = [
    messages::external_user_id,
    messages::external_meeting_id,
    messages::participant_name,
];

/// The values of a participant for the columns of [`INTRODUCED`].
pub(super) type Introduction<'v> = [Cell<'v>; 3];

pub(super) fn people_by_id<'v>(table: &Table, rows: &[TableRow<'v>]) -> HashMap<String, Introduction<'v>> {
    let [id, user, meeting, name] = [
        participants::participant_id,
        participants::external_user_id,
        participants::external_meeting_id,
        participants::name,
    ]
    .map(|name| table.index(name));
    let at = |row: &TableRow<'v>, index: Option<usize>| index.map_or(Cell::Null, |at| row.cells[at].clone());
    rows.iter()
        .filter_map(|row| {
            Some((
                row.cells[id?].as_text()?.to_owned(),
                [at(row, user), at(row, meeting), at(row, name)],
            ))
        })
        .collect()
}

/// Fills in the participant's values in rows that name a participant and lack them.
pub(super) fn introduce<'v>(
    table: &Table,
    known: &HashMap<String, Introduction<'v>>,
    rows: &mut [TableRow<'v>],
) {
    let Some(id) = table.index(messages::participant_id) else {
        return;
    };
    // A column of a user-defined table may have the same name and another type.
    let text = |name| {
        let index = table.index(name)?;
        (table.columns[index].kind == Type::String).then_some(index)
    };
    // Look the columns up once, not for every row.
    let places = INTRODUCED.map(text);
    if places == [None; 3] {
        return;
    }
    for row in rows {
        let Some(introduction) = row.cells[id].as_text().and_then(|id| known.get(id)) else {
            continue;
        };
        for (place, cell) in places.iter().zip(introduction) {
            if let Some(index) = *place
                && matches!(row.cells[index], Cell::Null)
            {
                row.cells[index] = cell.clone();
            }
        }
    }
}

/// Drops rows that repeat an earlier row of the same id. Rows without an id stay, because two equal ones may be two
/// messages.
pub(super) fn drop_duplicates(rows: &mut Vec<TableRow<'_>>, id: usize) -> u64 {
    let before = rows.len();
    // Ids mostly ascend with the time, and then none of them appears twice.
    let is_sorted = rows.is_sorted_by(|a, b| match (a.cells[id].as_text(), b.cells[id].as_text()) {
        (Some(a), Some(b)) => a < b,
        _ => false,
    });
    if is_sorted {
        return 0;
    }
    let mut ids = HashSet::with_capacity(before);
    // Usually there are none, and then nothing is copied.
    let twice: HashSet<String> = rows
        .iter()
        .filter_map(|row| row.cells[id].as_text())
        .filter(|id| !ids.insert(*id))
        .map(str::to_owned)
        .collect();
    if twice.is_empty() {
        return 0;
    }
    let mut seen = HashSet::new();
    rows.retain(|row| match row.cells[id].as_text() {
        Some(id) if twice.contains(id) => seen.insert(digest(row)),
        _ => true,
    });
    (before - rows.len()) as u64
}

/// Fills the participant in rows of a table without ids: the participant of that name, if only one has it.
pub(super) fn recognize<'v>(
    people_table: &Table,
    people: &[TableRow<'v>],
    table: &Table,
    rows: &mut [TableRow<'v>],
) {
    let columns = (|| {
        let of = (
            people_table.index(participants::name)?,
            people_table.index(participants::participant_id)?,
        );
        let row = (
            table.index(messages::participant_name)?,
            table.index(messages::participant_id)?,
        );
        Some((of, row))
    })();
    let Some(((name, id), (row_name, row_id))) = columns else {
        return;
    };
    let mut known: HashMap<&str, Option<Cell<'v>>> = HashMap::new();
    for person in people {
        if let Some(name) = person.cells[name].as_text() {
            known
                .entry(name)
                .and_modify(|of| *of = None)
                .or_insert_with(|| Some(person.cells[id].clone()));
        }
    }
    for row in rows {
        if row.cells[row_id].is_some() {
            continue;
        }
        let of = row.cells[row_name].as_text().and_then(|name| known.get(name));
        if let Some(Some(of)) = of {
            row.cells[row_id] = of.clone();
        }
    }
}
