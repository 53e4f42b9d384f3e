//! Turns a workbook's rows into those of a table. Pure.

use std::collections::BTreeMap;

use super::sheet_plan::{JOINED, LEFT, RowValues, SheetPlan, Target};
use super::workbook::TableSheet;
use crate::lake::table::{Type, builtin};
use crate::lenient::Reading;
use crate::tables::build_notes::{Kept, Notes};
use crate::tables::fit::value_shape::value_shape;
use crate::tables::mapping::plan::TablePlan;
use crate::tables::mapping::shape;
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::TableRow;
use crate::tables::report::node::Node;
use crate::tables::report::rows::push_part;
use crate::tables::report::stay::{ReportedStay, ReportedStays, read_stay};

/// The rows of a table. Each starts as `template`, which holds the values that do not come from the workbook.
pub(crate) fn rows<'v>(
    plan: &TablePlan,
    sheets: &'v [TableSheet],
    template: &[Cell<'v>],
    notes: &mut Notes,
) -> Vec<TableRow<'v>> {
    let mut rows = Vec::new();
    let Some(rules) = &plan.sheet else {
        return rows;
    };
    for sheet in sheets {
        for values in &sheet.rows {
            let values = RowOf {
                plan,
                rules,
                sheet,
                values,
            };
            if values.counts() {
                rows.push(values.row(template, notes));
            }
        }
    }
    rows
}

/// A row of a sheet, and the rules for it.
#[derive(Clone, Copy)]
struct RowOf<'p, 'v> {
    plan: &'p TablePlan,
    rules: &'p SheetPlan,
    sheet: &'v TableSheet,
    values: &'v RowValues,
}

/// The times of a row that is a stay.
#[derive(Default)]
struct StayCells<'v> {
    joined: Option<Node<'v>>,
    left: Option<Node<'v>>,
}

impl<'v> RowOf<'_, 'v> {
    /// True if the values are a row of the table: some of them feed it, and they are not totals. A row with the start of a
    /// stay is a person, whatever the name.
    fn counts(self) -> bool {
        let from_1904 = self.sheet.from_1904;
        let feeds = |target: &Target| !matches!(target, Target::Extra(_));
        let begins = self.values.iter().any(|(target, value)| {
            let rules = self.rules.rules_of(target).filter(|_| **target == Target::Joined);
            rules.is_some_and(|rules| {
                let node = value.node(rules.kind, false, from_1904);
                rules.instant(&node).ok().is_some()
            })
        });
        self.values.iter().any(|(target, _)| feeds(target))
            && self.rules.is_wanted(self.values, from_1904)
            && (begins || !self.rules.is_skipped(self.values, from_1904))
    }

    fn row(self, template: &[Cell<'v>], notes: &mut Notes) -> TableRow<'v> {
        let table = &self.plan.table;
        let mut row = TableRow::new(template.to_vec());
        // Each row of participants is one stay.
        row.is_stay = true;
        let mut stay = StayCells::default();
        let mut parts: BTreeMap<usize, BTreeMap<usize, Node<'v>>> = BTreeMap::new();
        for (target, value) in self.values {
            let node = |kind, is_length| value.node(kind, is_length, self.sheet.from_1904);
            match (&**target, self.rules.rules_of(target)) {
                (Target::Column(index), Some(rules)) => {
                    self.put(&mut row, *index, &node(rules.kind, rules.is_length()), notes);
                }
                (Target::Part(index, number), _) => {
                    let parts = parts.entry(*index).or_default();
                    parts.insert(*number, node(Type::String, false));
                }
                (Target::Joined, _) => stay.joined = Some(node(Type::Timestamp, false)),
                (Target::Left, _) => stay.left = Some(node(Type::Timestamp, false)),
                (Target::Extra(name), _) => {
                    // Without the column the table loses it, but the workbook keeps it.
                    let kept = table
                        .index(builtin::rest::extra)
                        .map_or(Kept::Raw, |_| Kept::Extra);
                    notes.unmapped(&shape::place_in(&self.sheet.name, name), kept);
                    row.extra.insert(name.clone(), node(Type::Json, false).to_value());
                }
                (Target::Column(_), None) => {}
            }
        }
        for (index, parts) in parts {
            let mut joined = String::new();
            for part in parts.values() {
                push_part(&mut joined, part.to_text().as_deref().unwrap_or_default());
            }
            self.put(&mut row, index, &Node::Text(joined.into()), notes);
        }
        for (index, default) in self.rules.defaults() {
            if !row.cells[index].is_some() {
                row.cells[index] = default;
            }
        }
        self.put_stay(&mut row, &stay, notes);
        row
    }

    /// Reads a value into its column.
    fn put(self, row: &mut TableRow<'v>, index: usize, value: &Node<'v>, notes: &mut Notes) {
        let Some(rules) = self.rules.rules_of(&Target::Column(index)) else {
            return;
        };
        let table = &self.plan.table;
        match rules.read(value) {
            Ok(Cell::Null) => {}
            Ok(cell) => row.cells[index] = cell,
            Err(_) => self.misfit(&table.columns[index].name, value, notes),
        }
    }

    /// Counts a value that does not fit its column, and keeps its shape if it is wanted.
    fn misfit(self, column: &str, value: &Node<'_>, notes: &mut Notes) {
        let table = &self.plan.table;
        notes.bad(&table.name, column);
        if let (true, Some(shape)) = (notes.misfits.is_some(), value_shape(value)) {
            let place = format!("sheet \"{}\"", self.sheet.name);
            notes.misfit(&table.name, column, shape, place.clone(), || place);
        }
    }

    /// Fills the stay of a row. A row without any time says nothing about stays.
    fn put_stay(self, row: &mut TableRow<'v>, times: &StayCells<'v>, notes: &mut Notes) {
        let table = &self.plan.table;
        let mut columns = table.columns.iter();
        let Some(index) = columns.position(|column| column.kind == Type::Sessions) else {
            return;
        };
        let read = |target: &Target, node: &Option<Node<'v>>| match (self.rules.rules_of(target), node) {
            (Some(rules), Some(node)) => rules.instant(node),
            _ => Reading::Absent,
        };
        let joined = read(&Target::Joined, &times.joined);
        let left = read(&Target::Left, &times.left);
        let mut stays = ReportedStays::default();
        if joined != Reading::Absent || left != Reading::Absent {
            let stay = read_stay(joined, left);
            let length = self.rules.length.and_then(|index| match row.cells[index] {
                Cell::Double(seconds) => Some(seconds),
                _ => None,
            });
            stays.add(stay.lasting(length));
            match stay {
                ReportedStay::Read(_) => {}
                ReportedStay::EndUnreadable(_) => {
                    self.misfit(LEFT, times.left.as_ref().unwrap_or(&Node::Null), notes)
                }
                ReportedStay::Unreadable => {
                    self.misfit(JOINED, times.joined.as_ref().unwrap_or(&Node::Null), notes)
                }
            }
        }
        let (sessions, unreadable) = stays.cells();
        row.cells[index] = sessions;
        if let Some(index) = table.index(builtin::participants::sessions_unreadable) {
            row.cells[index] = unreadable;
        }
    }
}
