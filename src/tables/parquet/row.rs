//! A row on its way to its table. Pure.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::cell::Cell;
use crate::lake::table::Table;
use crate::tables::privacy::treatment::EntryTreatment;

/// A row on its way to its table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TableRow<'v> {
    /// A cell for each of the table's columns.
    pub cells: Vec<Cell<'v>>,
    /// The fields that no column takes.
    pub extra: Map<String, Value>,
    /// True if it is one stay of a participant, who may have more rows.
    pub is_stay: bool,
    /// What is known of the people in the row beyond its columns; only needed if `[privacy]` treats its table.
    pub people: Option<Box<RowPeople<'v>>>,
}

/// What is known of the people in a row beyond its columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RowPeople<'v> {
    /// The indexes of the columns of entities whose entity is a person in this row; of `attributes` too, if they are those
    /// of a person.
    pub of_person: Vec<usize>,
    /// The name of the row's user, if the row itself has no column for it.
    pub name: Option<Cow<'v, str>>,
    /// The treatments of the entries of a map of cells, in their order.
    pub entries: Vec<EntryTreatment>,
}

impl<'v> TableRow<'v> {
    /// A row of these cells.
    pub fn new(cells: Vec<Cell<'v>>) -> Self {
        Self {
            cells,
            extra: Map::new(),
            is_stay: false,
            people: None,
        }
    }

    /// Moves `extra` into its column.
    pub fn seal(&mut self, column: Option<usize>) {
        if let (Some(column), false) = (column, self.extra.is_empty()) {
            self.cells[column] = Value::Object(std::mem::take(&mut self.extra)).to_string().into();
        }
    }
}

impl<'v> AsRef<[Cell<'v>]> for TableRow<'v> {
    fn as_ref(&self) -> &[Cell<'v>] {
        &self.cells
    }
}

/// The cells of a row: the given columns, all others null.
pub(crate) fn cells<'v>(
    table: &Table,
    known: impl IntoIterator<Item = (&'static str, Cell<'v>)>,
) -> Vec<Cell<'v>> {
    let mut cells = vec![Cell::Null; table.columns.len()];
    // The columns mostly come in the order of the table, so that each is the next one.
    let mut next = 0;
    for (name, cell) in known {
        let is_next = table.columns.get(next).is_some_and(|column| column.name == name);
        let found = if is_next { Some(next) } else { table.index(name) };
        if let Some(index) = found {
            cells[index] = cell;
            next = index + 1;
        }
    }
    cells
}
