//! Finds the shapes of values that do not fit their column, for `check`. Pure; costs nothing unless the notes want them.

use super::node::Node;
use super::path::{Path, Step};
use crate::lake::table::Type;
use crate::lenient;
use crate::tables::build_notes::Notes;
use crate::tables::fit::value_shape::value_shape;
use crate::tables::mapping::{ColumnPlan, TablePlan, scopes as scopes_of};

/// Keeps the shapes of the values of a row that a column could not read.
pub(super) fn explain(plan: &TablePlan, column: &ColumnPlan, scopes: &[&Node<'_>], notes: &mut Notes) {
    if notes.misfits.is_none() {
        return;
    }
    let (table, name) = (&*plan.table.name, &*plan.table.columns[column.index].name);
    let is_walked = |path: &&Path| numbers(&path.steps, scopes).len() == path.arrays();
    let rows = plan.rows.iter().find(is_walked).or(plan.rows.first());
    for path in column.taken() {
        let Some(values) = path.elements(scopes) else {
            // Something else stands in the place of a list.
            if let Some(value) = path.list(scopes).filter(|value| !value.is_null()) {
                keep(value, table, name, rows, &path, scopes, None, notes);
            }
            continue;
        };
        let in_list = path.arrays() > 0;
        let inner = Path {
            up: 0,
            steps: path.after_each().to_vec(),
        };
        for (at, element) in values.iter().enumerate() {
            let value = if in_list {
                inner.value(&[element])
            } else {
                Some(element)
            };
            let Some(value) = value.filter(|value| is_misfit(value, column.kind)) else {
                continue;
            };
            keep(
                value,
                table,
                name,
                rows,
                &path,
                scopes,
                in_list.then_some(at),
                notes,
            );
        }
    }
}

/// True if a value can be the one that a column could not read.
fn is_misfit(value: &Node<'_>, kind: Type) -> bool {
    match kind {
        Type::Sessions => lenient::read_instant(value).is_unreadable(),
        _ => !value.is_null(),
    }
}

#[expect(clippy::too_many_arguments, reason = "all of them name the value's place")]
fn keep(
    value: &Node<'_>,
    table: &str,
    column: &str,
    rows: Option<&Path>,
    path: &Path,
    scopes: &[&Node<'_>],
    at: Option<usize>,
    notes: &mut Notes,
) {
    let Some(shape) = value_shape(value) else {
        return;
    };
    let place = place(rows, path, &[], None);
    notes.misfit(table, column, shape, place, || {
        let numbers = rows.map(|rows| numbers(&rows.steps, scopes)).unwrap_or_default();
        self::place(rows, path, &numbers, at)
    });
}

/// The position in its list of each element that leads to a row.
fn numbers(steps: &[Step], scopes: &[&Node<'_>]) -> Vec<usize> {
    let mut numbers = Vec::new();
    let Some((mut value, inner)) = scopes.split_first().map(|(first, rest)| (*first, rest)) else {
        return numbers;
    };
    let mut inner = inner.iter();
    for step in steps {
        if let Step::Field(name) = step {
            let Some(field) = value.get(name.as_str()) else {
                break;
            };
            value = field;
            continue;
        }
        let (Some(elements), Some(element)) = (value.as_list(), inner.next()) else {
            break;
        };
        let Some(at) = elements.iter().position(|other| std::ptr::eq(other, *element)) else {
            break;
        };
        numbers.push(at);
        value = element;
    }
    numbers
}

/// The path of a value from the report on, with the numbers of the elements if they are known.
fn place(rows: Option<&Path>, path: &Path, numbers: &[usize], at: Option<usize>) -> String {
    let mut steps: Vec<Step> = Vec::new();
    let mut known = 0;
    if let Some(rows) = rows {
        let scopes = scopes_of(rows);
        let scope = scopes.len().saturating_sub(path.up + 1);
        steps.extend_from_slice(&rows.steps[..scopes.get(scope).copied().unwrap_or(0)]);
        known = steps.iter().filter(|step| **step == Step::Each).count();
    }
    steps.extend_from_slice(&path.steps);
    let mut numbers = numbers.iter().copied().take(known).chain(at);
    let mut place = String::new();
    for step in &steps {
        if let Step::Field(name) = step {
            if !place.is_empty() {
                place.push('.');
            }
            place.push_str(name);
            continue;
        }
        match numbers.next() {
            Some(number) => place.push_str(&format!("[{number}]")),
            None => place.push_str("[]"),
        }
    }
    place
}
