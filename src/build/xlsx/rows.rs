//! From a workbook's rows to those of a table. Pure.

use serde_json::{Map, Value};

use super::plan::{JOINED, LEFT, Target};
use super::workbook::BoundSheet;
use crate::build::cell::{Cell, Session};
use crate::build::mapping::TablePlan;
use crate::build::notes::{Kept, Notes};
use crate::build::rows::Row;
use crate::build::shape;
use crate::lenient;

/// The rows of a table. Each starts as `template`, which holds what does not come from the workbook.
pub(in crate::build) fn rows<'v>(
    plan: &TablePlan,
    sheets: &'v [BoundSheet],
    template: &[Cell<'v>],
    notes: &mut Notes,
) -> Vec<Row<'v>> {
    let mut rows = Vec::new();
    for sheet in sheets {
        for values in &sheet.rows {
            rows.push(row(plan, sheet, values, template, notes));
        }
    }
    rows
}

fn row<'v>(
    plan: &TablePlan,
    sheet: &'v BoundSheet,
    values: &'v [(std::rc::Rc<Target>, Value)],
    template: &[Cell<'v>],
    notes: &mut Notes,
) -> Row<'v> {
    let mut row = Row {
        cells: template.to_vec(),
        extra: Map::new(),
    };
    let (mut joined, mut left) = (None, None);
    for (target, value) in values {
        match &**target {
            Target::Column(index, kind) => match Cell::read(&value.into(), *kind) {
                Ok(cell) => row.cells[*index] = cell,
                Err(_) => notes.bad(&plan.table.name, &plan.table.columns[*index].name),
            },
            Target::Joined => joined = Some(value),
            Target::Left => left = Some(value),
            Target::Extra(name) => {
                // A table without the column loses it, and the workbook has it.
                let kept = plan.table.index("extra").map_or(Kept::Raw, |_| Kept::Extra);
                notes.unmapped(&shape::place_in(&sheet.name, name), kept);
                row.extra.insert(name.clone(), value.clone());
            }
        }
    }
    let stays = plan
        .table
        .columns
        .iter()
        .position(|column| column.kind == crate::lake::table::Type::Sessions);
    if let Some(index) = stays {
        row.cells[index] = match session(joined, left) {
            Ok(session) => Cell::Sessions(session.into_iter().collect()),
            Err(name) => {
                notes.bad(&plan.table.name, name);
                Cell::Sessions(Vec::new())
            }
        };
    }
    row
}

/// The stay that a row is; the name of what is wrong with it otherwise.
fn session(joined: Option<&Value>, left: Option<&Value>) -> Result<Option<Session>, &'static str> {
    let micros = |value: &Value| lenient::instant(value).map(|instant| instant.timestamp_micros());
    let joined = match (joined, left) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(JOINED),
        (Some(joined), _) => micros(joined).ok_or(JOINED)?,
    };
    let left = match left {
        Some(left) => Some(micros(left).filter(|left| *left >= joined).ok_or(LEFT)?),
        None => None,
    };
    Ok(Some(Session { joined, left }))
}
