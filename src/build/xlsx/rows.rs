//! From a workbook's rows to those of a table. Pure.

use std::rc::Rc;

use serde_json::{Map, Value};

use super::plan::{JOINED, LEFT, Target};
use super::workbook::BoundSheet;
use crate::build::cell::{Cell, Session};
use crate::build::mapping::TablePlan;
use crate::build::notes::{Kept, Notes};
use crate::build::rows::Row;
use crate::build::shape;
use crate::lenient::{self, Reading};

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
            if is_row(plan, values) {
                rows.push(row(plan, sheet, values, template, notes));
            }
        }
    }
    rows
}

fn row<'v>(
    plan: &TablePlan,
    sheet: &'v BoundSheet,
    values: &'v [(Rc<Target>, Value)],
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
        let (session, wrong) = session(joined, left);
        row.cells[index] = session.map_or(Cell::Null, |session| Cell::Sessions(vec![session]));
        if let Some(name) = wrong {
            notes.bad(&plan.table.name, name);
        }
    }
    row
}

/// Whether values are those of a row of the table: some of them feed it, and they are no totals. Who has a start of a
/// stay is somebody, whatever the name.
fn is_row(plan: &TablePlan, values: &[(Rc<Target>, Value)]) -> bool {
    let feeds = |target: &Target| !matches!(target, Target::Extra(_));
    let begins = |(target, value): &(Rc<Target>, Value)| {
        matches!(**target, Target::Joined) && lenient::instant(value).is_some()
    };
    let is_skipped = || plan.sheet.as_ref().is_some_and(|sheet| sheet.is_skipped(values));
    values.iter().any(|(target, _)| feeds(target)) && (values.iter().any(begins) || !is_skipped())
}

/// The stay that a row is, and what of it can't be read. A good start is kept whatever the end is: without one, or with
/// one before the start, the stay is open. Without a start the person was there, and nothing is known of the stay.
fn session(joined: Option<&Value>, left: Option<&Value>) -> (Option<Session>, Option<&'static str>) {
    let [joined, left] = [joined, left].map(|value| {
        let read = value.map_or(Reading::Absent, lenient::read_instant);
        match read {
            Reading::Read(instant) => Reading::Read(instant.timestamp_micros()),
            Reading::Absent => Reading::Absent,
            Reading::Unreadable => Reading::Unreadable,
        }
    });
    let Reading::Read(joined) = joined else {
        let is_nothing = joined == Reading::Absent && left == Reading::Absent;
        return (None, (!is_nothing).then_some(JOINED));
    };
    let end = left.ok().filter(|left| *left >= joined);
    let wrong = (left != Reading::Absent && end.is_none()).then_some(LEFT);
    (Some(Session { joined, left: end }), wrong)
}
