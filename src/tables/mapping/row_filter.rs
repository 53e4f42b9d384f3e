//! The rows of an object that count: `where` and `skip`. Pure.

use std::collections::{BTreeMap, HashSet};

use super::mapping_file::TableRules;
use super::names::{Texts, fold};
use crate::tables::report::node::Node;
use crate::tables::report::path::{Path, Scope};

/// The rules for the rows that count.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RowFilter {
    /// Each must hold.
    only: Vec<Condition>,
    /// None must hold.
    skip: Vec<Condition>,
}

/// A value of a row that equals one of some texts.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    path: Path,
    /// Folded.
    texts: HashSet<String>,
}

impl RowFilter {
    /// Resolves a table's rules; the error is the key, the path and the reason.
    pub fn resolve(rules: &TableRules) -> Result<Self, (&'static str, &str, String)> {
        let resolve =
            |key, conditions| Condition::resolve(conditions).map_err(|(path, reason)| (key, path, reason));
        Ok(Self {
            only: resolve("where", &rules.only)?,
            skip: resolve("skip", &rules.skip)?,
        })
    }

    /// True if the row that these scopes lead to counts.
    pub fn takes(&self, scopes: &[Scope<'_, '_>]) -> bool {
        self.only.iter().all(|condition| condition.holds(scopes))
            && !self.skip.iter().any(|condition| condition.holds(scopes))
    }

    /// True if every row counts.
    pub fn is_empty(&self) -> bool {
        self.only.is_empty() && self.skip.is_empty()
    }

    /// The paths of its conditions, from the row.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let conditions = self.only.iter().chain(&self.skip);
        conditions.map(|condition| &condition.path)
    }
}

impl Condition {
    fn resolve(conditions: &BTreeMap<String, Texts>) -> Result<Vec<Self>, (&str, String)> {
        conditions
            .iter()
            .map(|(path, wanted)| {
                Ok(Self {
                    path: Path::parse(path).map_err(|reason| (path.as_str(), reason))?,
                    texts: wanted.folded(),
                })
            })
            .collect()
    }

    /// A value that does not exist equals the empty text.
    fn holds(&self, scopes: &[Scope<'_, '_>]) -> bool {
        let equals_one = |node: &Node<'_>| match node {
            Node::Null => self.texts.contains(""),
            node => node.to_text().map_or_else(
                || matches!(node, Node::Text(_)) && self.texts.contains(""),
                |text| {
                    let text = fold(&text);
                    self.texts.contains(&text) || self.texts.contains(text.trim_end_matches(':'))
                },
            ),
        };
        // A list equals if any of its elements does.
        let equals = |node: &Node<'_>| match node {
            Node::List(elements) => elements.iter().any(equals_one),
            node => equals_one(node),
        };
        if self.path.arrays() == 0 {
            return match self.path.value(scopes) {
                Some(value) => equals(&value),
                None => self.texts.contains(""),
            };
        }
        let mut holds = false;
        self.path.walk(scopes, &mut |scopes| {
            holds |= scopes.last().is_some_and(|scope| equals(scope.node));
        });
        holds
    }
}
