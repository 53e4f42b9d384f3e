//! The fields of a row, and how well each fits a column. Pure.

use super::data_names::DataNames;
use super::field_tree::{FieldTree, TreeStep, path_text};
use super::value_shape::Sort;
use super::words::{self, ColumnWords};

/// A field of a row that may feed a column.
pub(crate) struct Leaf<'t> {
    /// The steps from the row.
    pub steps: Vec<TreeStep>,
    /// Its name, folded.
    pub name: String,
    /// Its name behind that of the object around it, folded.
    pub full: String,
    /// Its values.
    pub tree: &'t FieldTree,
}

impl Leaf<'_> {
    /// The path from the row.
    pub fn path(&self) -> String {
        path_text(&self.steps)
    }
}

/// The fields of a row, outside of lists.
pub(crate) fn leaves(row: &FieldTree) -> Vec<Leaf<'_>> {
    let mut found = Vec::new();
    row.walk(&mut Vec::new(), &mut |steps, tree| {
        if steps.last().is_some_and(TreeStep::is_many) {
            return false;
        }
        if tree.is_leaf() && !steps.is_empty() {
            let names: Vec<String> = steps.iter().map(step_name).collect();
            let parent = names.len().checked_sub(2).map_or("", |at| &names[at]);
            let name = names.last().cloned().unwrap_or_default();
            found.push(Leaf {
                steps: steps.to_vec(),
                full: format!("{parent}{name}"),
                name,
                tree,
            });
        }
        true
    });
    if let Some(keys) = &row.keys {
        found.push(Leaf {
            steps: vec![TreeStep::Field("@key".to_owned())],
            name: "key".to_owned(),
            full: "id".to_owned(),
            tree: keys,
        });
    }
    found
}

/// The fields of a row, outside of lists, whose names are no data.
pub(crate) fn shown_leaves<'t>(row: &'t FieldTree, names: &DataNames) -> Vec<Leaf<'t>> {
    let mut leaves = leaves(row);
    leaves.retain(|leaf| !names.hides(&leaf.steps));
    leaves
}

/// The name of a field, folded.
pub(crate) fn step_name(step: &TreeStep) -> String {
    match step {
        TreeStep::Field(name) => words::fold(name),
        TreeStep::Each | TreeStep::Values => String::new(),
    }
}

/// The fitness of a field for a column; none if it does not fit.
pub(crate) fn score(column: &ColumnWords, leaf: &Leaf<'_>) -> Option<i32> {
    let place = |name: &str| column.names.position(name);
    let at = |base: i32, position: usize| base - i32::try_from(position.min(60)).unwrap_or(60);
    let by_name = match (place(&leaf.full), place(&leaf.name)) {
        (Some(position), _) if leaf.full != leaf.name => Some(at(105, position)),
        (_, Some(position)) => Some(at(100, position)),
        _ => {
            let is_part = |known: &str| known.chars().count() >= 6 && leaf.full.contains(known);
            column.names.iter().any(is_part).then_some(35)
        }
    };
    let fits = leaf.tree.sort().map(|sort| column.sorts.contains(&sort));
    let depth = i32::try_from(leaf.steps.len())
        .unwrap_or(i32::MAX)
        .saturating_mul(2);
    match (by_name, fits) {
        (Some(name), Some(true)) => Some(name - depth),
        // Nothing is known of its values.
        (Some(name), None) if name > 35 => Some(name - depth - 20),
        (None, Some(true)) if column.by_sort => Some(30 - depth),
        _ => None,
    }
}

/// The factor to seconds that the name of a length speaks for, as TOML writes it.
pub(crate) fn scale(leaf: &Leaf<'_>) -> Option<&'static str> {
    let ends = |ends: &[&str]| {
        ends.iter()
            .any(|end| leaf.name.ends_with(end) || leaf.full.starts_with(end))
    };
    if ends(&["ms", "millis", "milliseconds"]) {
        Some("0.001")
    } else if ends(&["min", "mins", "minutes"]) && leaf.tree.sort() == Some(Sort::Number) {
        Some("60")
    } else {
        None
    }
}

/// The best field for a column.
pub(crate) fn best<'l, 't: 'l>(
    column: &ColumnWords,
    leaves: impl IntoIterator<Item = &'l Leaf<'t>>,
) -> Option<&'l Leaf<'t>> {
    let scored = leaves
        .into_iter()
        .filter_map(|leaf| Some((score(column, leaf)?, leaf)));
    scored
        .max_by_key(|(score, leaf)| (*score, std::cmp::Reverse(leaf.steps.len())))
        .map(|(_, leaf)| leaf)
}
