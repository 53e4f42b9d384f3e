//! A row on its way to its table. Pure.

use serde_json::{Map, Value};

use super::cell::Cell;
use crate::lake::table::Table;

/// A row on its way to its table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TableRow<'v> {
    /// A cell for each of the table's columns.
    pub cells: Vec<Cell<'v>>,
    /// The fields that no column takes.
    pub extra: Map<String, Value>,
    /// True if it is one stay of a participant, who may have more rows.
    pub is_stay: bool,
}

impl<'v> TableRow<'v> {
    /// A row of these cells.
    pub fn new(cells: Vec<Cell<'v>>) -> Self {
        Self {
            cells,
            extra: Map::new(),
            is_stay: false,
        }
    }

    /// Moves `extra` into its column.
    pub fn seal(&mut self, column: Option<usize>) {
        if let (Some(column), false) = (column, self.extra.is_empty()) {
            self.cells[column] = Value::Object(std::mem::take(&mut self.extra)).to_string().into();
        }
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
