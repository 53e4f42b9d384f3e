//! Finds the stays of people in a JSON report that no mapping describes: in the row, in a list of the row, in another list, or
//! as events of joining and leaving. Pure.

use super::data_names::DataNames;
use super::field_tree::{FieldTree, TreeStep, path_text};
use super::leaf::{Leaf, best, scale, shown_leaves};
use super::toml_lines::quoted;
use super::words;

/// A feed of the column of sessions.
pub(crate) struct FoundStays<'t> {
    /// The feed as TOML.
    pub feed: String,
    /// The reason.
    pub because: &'static str,
    /// The fields of times.
    pub times: Vec<&'t FieldTree>,
}

/// True if a row has a list of stays that the mapping knows.
pub(crate) fn is_known(row: &FieldTree, known: &[(String, Vec<TreeStep>)]) -> bool {
    let of_sessions = known.iter().filter(|(column, _)| column == "sessions");
    of_sessions
        .into_iter()
        .any(|(_, steps)| row.at(steps).is_some_and(FieldTree::is_leaf))
}

/// The fields of a stay as TOML, and their values.
fn stay_fields<'t>(all: &[&Leaf<'t>]) -> Option<(String, Vec<&'t FieldTree>)> {
    let joined = best(&words::JOINED, all.iter().copied())?;
    let rest = || all.iter().copied().filter(|leaf| leaf.steps != joined.steps);
    let mut fields = format!("joined_at = {}", quoted(&joined.path()));
    let mut times = vec![joined.tree];
    let mut scaled = None;
    if let Some(left) = best(&words::LEFT, rest()) {
        fields.push_str(&format!(", left_at = {}", quoted(&left.path())));
        times.push(left.tree);
    } else if let Some(length) = best(&words::LENGTH, rest()) {
        fields.push_str(&format!(", duration_s = {}", quoted(&length.path())));
        scaled = scale(length).map(|scale| format!(", scale = {scale}"));
    } else {
        return None;
    }
    Some((format!("{{ {fields} }}{}", scaled.unwrap_or_default()), times))
}

/// The steps from a row to its own list of stays.
pub(crate) fn own_list<'t>(row: &'t FieldTree, names: &DataNames) -> Option<(Vec<TreeStep>, &'t FieldTree)> {
    let mut found = None;
    row.walk(&mut Vec::new(), &mut |steps, tree| {
        let is_list = steps.last() == Some(&TreeStep::Each) && tree.objects > 0;
        if is_list
            && found.is_none()
            && !names.hides(steps)
            && stay_fields(&shown_leaves(tree, names).iter().collect::<Vec<_>>()).is_some()
        {
            found = Some((steps.to_vec(), tree));
        }
        !steps.last().is_some_and(TreeStep::is_many)
    });
    found
}

/// Finds the stays of the people whose rows are `row`, which `free` are the fields of.
pub(crate) fn find<'t>(
    tree: &'t FieldTree,
    rows: &[TreeStep],
    row: &'t FieldTree,
    free: &[&Leaf<'t>],
    names: &DataNames,
) -> Option<FoundStays<'t>> {
    if let Some((steps, list)) = own_list(row, names) {
        let (fields, times) = stay_fields(&shown_leaves(list, names).iter().collect::<Vec<_>>())?;
        let feed = format!("{{ from = {}, fields = {fields} }}", quoted(&path_text(&steps)));
        return Some(FoundStays {
            feed,
            because: "stays of the person",
            times,
        });
    }
    if let Some((fields, times)) = stay_fields(free) {
        let feed = format!("{{ from = \"@\", fields = {fields} }}");
        return Some(FoundStays {
            feed,
            because: "the row is a stay",
            times,
        });
    }
    elsewhere(tree, rows, row, names)
}

/// Stays or events in a list beside the people, joined by an id.
fn elsewhere<'t>(
    tree: &'t FieldTree,
    rows: &[TreeStep],
    row: &'t FieldTree,
    names: &DataNames,
) -> Option<FoundStays<'t>> {
    let ids = shown_leaves(row, names);
    let mut found = None;
    let up = "^".repeat(rows.iter().filter(|step| step.is_many()).count());
    tree.walk(&mut Vec::new(), &mut |steps, list| {
        let is_list = steps.last() == Some(&TreeStep::Each) && list.objects > 0 && steps != rows;
        let is_top = steps.iter().filter(|step| step.is_many()).count() == 1;
        if found.is_none() && is_list && is_top && !names.hides(steps) {
            let path = quoted(&format!("{up}.{}", path_text(steps)));
            found = joined_list(list, &path, &ids, names);
        }
        true
    });
    found
}

fn joined_list<'t>(
    list: &'t FieldTree,
    path: &str,
    ids: &[Leaf<'_>],
    names: &DataNames,
) -> Option<FoundStays<'t>> {
    let fields = shown_leaves(list, names);
    let (key, equals) = fields.iter().find_map(|key| {
        let is_owner = words::OWNER.names.contains(&key.name) && !key.tree.distinct.is_empty();
        let equals = ids
            .iter()
            .filter(|id| is_owner && shares(key.tree, id.tree))
            .max_by_key(|id| id.tree.distinct.len())?;
        Some((key, equals))
    })?;
    let joint = format!(
        "key = {}, equals = {}",
        quoted(&key.path()),
        quoted(&equals.path())
    );
    if let Some((fields, times)) = stay_fields(&fields.iter().collect::<Vec<_>>()) {
        let feed = format!("{{ list = {path}, {joint}, fields = {fields} }}");
        return Some(FoundStays {
            feed,
            because: "stays in a list of their own",
            times,
        });
    }
    let kind = fields.iter().find(|leaf| {
        let words = &leaf.tree.stay_words;
        words.iter().any(|word| words::is_join(word)) && words.iter().any(|word| words::is_leave(word))
    })?;
    let at = best(&words::EVENT_AT, &fields)?;
    let these = |is: fn(&str) -> bool| {
        let words: Vec<_> = kind
            .tree
            .stay_words
            .iter()
            .filter(|word| is(word))
            .map(|word| quoted(word))
            .collect();
        words.join(", ")
    };
    let feed = format!(
        "{{ events = {path}, {joint}, at = {}, type = {}, join = [{}], leave = [{}] }}",
        quoted(&at.path()),
        quoted(&kind.path()),
        these(words::is_join),
        these(words::is_leave)
    );
    Some(FoundStays {
        feed,
        because: "events of joining and leaving",
        times: vec![at.tree],
    })
}

/// True if most values of one field are values of another.
fn shares(key: &FieldTree, id: &FieldTree) -> bool {
    let common = key.distinct.intersection(&id.distinct).count();
    common > 0 && common * 2 >= key.distinct.len()
}
