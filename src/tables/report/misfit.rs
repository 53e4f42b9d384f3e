//! Finds the shapes of values that do not fit their column, for `check`. Pure; costs nothing unless the notes want them.

use std::fmt::Write as _;

use super::node::Node;
use super::path::{Path, Scope, Step};
use crate::tables::build_notes::Notes;
use crate::tables::fit::value_shape::value_shape;
use crate::tables::mapping::plan::{ColumnPlan, TablePlan};
use crate::tables::mapping::row_place::scopes as scopes_of;

/// Keeps the shapes of the values of a row that a column could not read.
pub(super) fn explain(plan: &TablePlan, column: &ColumnPlan, scopes: &[Scope<'_, '_>], notes: &mut Notes) {
    let (table, name) = (&*plan.table.name, &*plan.table.columns[column.index].name);
    let Some(explained) = notes.explained(table, name).filter(|rows| *rows < MOST_EXPLAINED) else {
        return;
    };
    let mut rows = plan.rows.iter();
    let seen = Seen {
        table,
        column: name,
        rows: rows.find(|path| scopes.first().is_some_and(|report| path.is_in(report.node))),
        scopes,
    };
    for path in unread(column, explained == 0) {
        if path.arrays() == 0 {
            let value = path.value(scopes).filter(|value| is_misfit(value, column));
            if let Some(value) = value {
                seen.keep(&value, &path, None, notes);
            }
            continue;
        }
        let mut at = 0;
        let walked = path.walk(scopes, &mut |inner| {
            let value = inner.last().map(|scope| scope.node);
            if let Some(value) = value.filter(|value| is_misfit(value, column)) {
                seen.keep(value, &path, Some(at), notes);
            }
            at += 1;
        });
        // Something else stands in the place of a list.
        let misplaced = path.collection(scopes).filter(|_| walked.misshapen > 0);
        if let Some(value) = misplaced.filter(|value| !value.is_null()) {
            seen.keep(value, &path, None, notes);
        }
    }
}

/// The most rows of a column whose values are explained.
const MOST_EXPLAINED: u64 = 1_000;

/// The paths of a column whose values may not fit: of sessions, those of times. A list that all rows share is walked for
/// the first row alone.
fn unread(column: &ColumnPlan, is_first: bool) -> Vec<Path> {
    let Some(session) = &column.session else {
        return column.taken();
    };
    let times: Vec<&Path> = session.joined.iter().chain(&session.left).collect();
    let below = |list: &Path, times: &[&Path]| times.iter().map(|time| list.then(time)).collect::<Vec<_>>();
    let mut paths: Vec<Path> = column.from.iter().flat_map(|from| below(from, &times)).collect();
    if let Some(elsewhere) = session.elsewhere.as_ref().filter(|_| is_first) {
        paths.extend(match &elsewhere.events {
            Some(events) => below(&elsewhere.list, &events.at.iter().collect::<Vec<_>>()),
            None => below(&elsewhere.list, &times),
        });
    }
    paths
}

/// True if a value can be the one that a column could not read.
fn is_misfit(value: &Node<'_>, column: &ColumnPlan) -> bool {
    match &column.session {
        Some(session) => session.values.instant(value).is_unreadable(),
        None => !value.is_null(),
    }
}

/// Where values that do not fit are seen.
#[derive(Clone, Copy)]
struct Seen<'s, 'n, 'v> {
    table: &'s str,
    column: &'s str,
    rows: Option<&'s Path>,
    scopes: &'s [Scope<'n, 'v>],
}

impl Seen<'_, '_, '_> {
    /// Keeps the shape of a value; `at` is its number in its list.
    fn keep(self, value: &Node<'_>, path: &Path, at: Option<usize>, notes: &mut Notes) {
        let Some(shape) = value_shape(value) else {
            return;
        };
        let place = place(self.rows, path, &[], None);
        notes.misfit(self.table, self.column, shape, place, || {
            let numbers = self.rows.map(|rows| numbers(&rows.steps, self.scopes));
            self::place(self.rows, path, &numbers.unwrap_or_default(), at)
        });
    }
}

/// The position in its list of each element that leads to a row; none for the values of an object.
fn numbers(steps: &[Step], scopes: &[Scope<'_, '_>]) -> Vec<Option<usize>> {
    let mut numbers = Vec::new();
    let Some((mut value, inner)) = scopes.split_first().map(|(first, rest)| (first.node, rest)) else {
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
        let Some(element) = inner.next().map(|scope| scope.node) else {
            break;
        };
        let elements = value.as_list().into_iter().flatten();
        numbers.push(
            elements
                .into_iter()
                .position(|other| std::ptr::eq(other, element)),
        );
        value = element;
    }
    numbers
}

/// The path of a value from the report on, with the numbers of the elements if they are known.
fn place(rows: Option<&Path>, path: &Path, numbers: &[Option<usize>], at: Option<usize>) -> String {
    let mut steps: Vec<Step> = Vec::new();
    let mut known = 0;
    if let Some(rows) = rows {
        let scopes = scopes_of(rows);
        let scope = scopes.len().saturating_sub(path.up + 1);
        steps.extend_from_slice(&rows.steps[..scopes.get(scope).copied().unwrap_or(0)]);
        known = steps.iter().filter(|step| step.is_many()).count();
    }
    steps.extend_from_slice(&path.steps);
    let mut numbers = numbers.iter().copied().take(known).chain([at]);
    let mut place = String::new();
    for step in &steps {
        match (step, step.is_many().then(|| numbers.next().flatten()).flatten()) {
            (Step::Field(name), _) => {
                if !place.is_empty() {
                    place.push('.');
                }
                place.push_str(name);
            }
            (Step::Each, Some(number)) => {
                let _ = write!(place, "[{number}]");
            }
            (Step::Each, None) => place.push_str("[]"),
            (Step::Values, _) => place.push_str("{}"),
        }
    }
    place
}
