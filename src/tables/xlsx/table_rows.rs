//! Turns a workbook's rows into those of a table. Pure.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::sheet_plan::{JOINED, LEFT, Target};
use super::workbook::TableSheet;
use crate::lake::table::{Type, builtin};
use crate::lenient::{self, Reading};
use crate::tables::build_notes::{Kept, Notes};
use crate::tables::fit::value_shape::value_shape;
use crate::tables::mapping::TablePlan;
use crate::tables::mapping::shape;
use crate::tables::parquet::cell::Cell;
use crate::tables::parquet::row::TableRow;
use crate::tables::report::stay::{ReportedStay, ReportedStays, read_stay};

/// The rows of a table. Each starts as `template`, which holds the values that do not come from the workbook.
pub(crate) fn rows<'v>(
    plan: &TablePlan,
    sheets: &'v [TableSheet],
    template: &[Cell<'v>],
    notes: &mut Notes,
) -> Vec<TableRow<'v>> {
    let mut rows = Vec::new();
    for sheet in sheets {
        for values in &sheet.rows {
            if is_row(plan, values) {
                rows.push(row(plan, sheet, values, template, notes));
            }
        }
    }
    rows
}

fn row<'v>(
    plan: &TablePlan,
    sheet: &'v TableSheet,
    values: &'v [(Rc<Target>, Value)],
    template: &[Cell<'v>],
    notes: &mut Notes,
) -> TableRow<'v> {
    let mut row = TableRow {
        cells: template.to_vec(),
        extra: Map::new(),
    };
    let (mut joined, mut left) = (None, None);
    for (target, value) in values {
        match &**target {
            Target::Column(index, kind) => match Cell::read(&value.into(), *kind) {
                Ok(cell) => row.cells[*index] = cell,
                Err(_) => {
                    let column = &plan.table.columns[*index].name;
                    notes.bad(&plan.table.name, column);
                    misfit(plan, sheet, column, value, notes);
                }
            },
            Target::Joined => joined = Some(value),
            Target::Left => left = Some(value),
            Target::Extra(name) => {
                // Without the column the table loses it, but the workbook keeps it.
                let kept = plan
                    .table
                    .index(builtin::rest::extra)
                    .map_or(Kept::Raw, |_| Kept::Extra);
                notes.unmapped(&shape::place_in(&sheet.name, name), kept);
                row.extra.insert(name.clone(), value.clone());
            }
        }
    }
    let stays = plan
        .table
        .columns
        .iter()
        .position(|column| column.kind == Type::Sessions);
    if let Some(index) = stays {
        let (stays, wrong) = stays_of(joined, left);
        let (sessions, unreadable) = stays.cells();
        row.cells[index] = sessions;
        if let Some(index) = plan.table.index(builtin::participants::sessions_unreadable) {
            row.cells[index] = unreadable;
        }
        if let Some(name) = wrong {
            notes.bad(&plan.table.name, name);
            let value = if name == JOINED { joined } else { left };
            misfit(plan, sheet, name, value.unwrap_or(&Value::Null), notes);
        }
    }
    row
}

/// Keeps the shape of a value that does not fit its column.
fn misfit(plan: &TablePlan, sheet: &TableSheet, column: &str, value: &Value, notes: &mut Notes) {
    if let (true, Some(shape)) = (notes.misfits.is_some(), value_shape(value)) {
        let place = format!("sheet \"{}\"", sheet.name);
        notes.misfit(&plan.table.name, column, shape, place.clone(), || place);
    }
}

/// True if values are a row of the table: some of them feed it, and they are not totals. A row with the start of a stay
/// is a person, whatever the name.
fn is_row(plan: &TablePlan, values: &[(Rc<Target>, Value)]) -> bool {
    let feeds = |target: &Target| !matches!(target, Target::Extra(_));
    let begins = |(target, value): &(Rc<Target>, Value)| {
        matches!(**target, Target::Joined) && lenient::instant(value).is_some()
    };
    let is_skipped = || plan.sheet.as_ref().is_some_and(|sheet| sheet.is_skipped(values));
    values.iter().any(|(target, _)| feeds(target)) && (values.iter().any(begins) || !is_skipped())
}

/// The stay of a row, and the name of a time that can't be read. A row without any time says nothing about stays.
fn stays_of(joined: Option<&Value>, left: Option<&Value>) -> (ReportedStays, Option<&'static str>) {
    let [joined, left] = [joined, left].map(|value| value.map_or(Reading::Absent, lenient::read_instant));
    let mut stays = ReportedStays::default();
    if joined == Reading::Absent && left == Reading::Absent {
        return (stays, None);
    }
    let stay = read_stay(joined, left);
    stays.add(stay);
    let wrong = match stay {
        ReportedStay::Read(_) => None,
        ReportedStay::EndUnreadable(_) => Some(LEFT),
        ReportedStay::Unreadable => Some(JOINED),
    };
    (stays, wrong)
}
