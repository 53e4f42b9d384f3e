//! The place of a table's rows in an object, and what a row can see from there. Pure.

use super::mapping_file::TableSource;
use crate::lake::table::Table;
use crate::lenient::InstantRules;
use crate::tables::report::path::{Path, Step};

/// The place of a column's rows.
#[derive(Clone, Copy)]
pub(super) struct RowPlace<'r> {
    pub table: &'r Table,
    pub source: TableSource,
    /// The paths of the rows.
    pub rows: &'r [Path],
    /// How the table's instants are read.
    pub instants: &'r InstantRules,
}

impl RowPlace<'_> {
    /// The number of values that a row can see, itself included.
    pub fn depth(self) -> usize {
        let depths = self.rows.iter().map(|path| scopes(path).len());
        depths.max().unwrap_or(1)
    }

    /// Refuses paths from the row that can never match.
    pub fn check<'p>(self, paths: impl IntoIterator<Item = &'p Path>) -> Result<(), String> {
        for path in paths {
            if path.up >= self.depth() {
                return Err("a path has more `^` than its rows lie deep".into());
            }
            if path.is_key && !self.rows.iter().any(|rows| has_key(rows, path.up)) {
                let ups = "^".repeat(path.up);
                return Err(format!(
                    "`{ups}@key` is no key: only the values of an object, such as `users{{}}`, have one"
                ));
            }
        }
        Ok(())
    }
}

/// True if the value that encloses the rows of a path by `up` stands under a key.
fn has_key(rows: &Path, up: usize) -> bool {
    let scopes = scopes(rows);
    let Some(scope) = scopes.len().checked_sub(up + 1) else {
        return false;
    };
    let end = scopes[scope];
    end > 0 && rows.steps[end - 1] == Step::Values
}

/// The number of steps of a rows' path that lead to each value that a row can see: the whole object first, the row
/// last.
pub(crate) fn scopes(rows: &Path) -> Vec<usize> {
    let steps = rows.steps.iter().enumerate();
    let many = steps.filter(|(_, step)| step.is_many()).map(|(at, _)| at + 1);
    let mut scopes: Vec<usize> = std::iter::once(0).chain(many).collect();
    if scopes.last() != Some(&rows.steps.len()) {
        scopes.push(rows.steps.len());
    }
    scopes
}
