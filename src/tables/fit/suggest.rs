//! Suggests lines of a mapping for a JSON report: lists that look like the rows of a table, and fields that look like its
//! columns. Pure.

use std::collections::BTreeSet;

use super::data_names::DataNames;
use super::field_tree::{FieldTree, TreeStep, path_text};
use super::formats;
use super::leaf::{Leaf, best, leaves, scale, score, shown_leaves, step_name};
use super::stays;
use super::toml_lines::{TomlLines, quoted};
use super::value_shape::Sort;
use super::words::{self, ColumnWords, TableWords, WordList};

/// The least score of a list that is suggested as the rows of a table.
const LEAST_ROWS: i32 = 4;
/// Names of lists that are rows of no table here.
const OTHER_LISTS: [&str; 10] = [
    "rooms",
    "breakoutrooms",
    "records",
    "recordings",
    "files",
    "documents",
    "spaces",
    "calls",
    "meetings",
    "tags",
];
/// Names of the lists of a poll's options.
const OPTION_LISTS: [&str; 6] = ["options", "choices", "variants", "варианты", "answers", "items"];

/// A table as the mapping finds it in a report.
#[derive(Debug, Clone)]
pub(crate) struct TableState {
    /// The table.
    pub table: String,
    /// The path of its rows, if it has any.
    pub rows: Option<Vec<TreeStep>>,
    /// The columns without a value.
    pub unbound: BTreeSet<String>,
    /// The paths from a row that feed each column.
    pub known: Vec<(String, Vec<TreeStep>)>,
    /// Columns whose values mostly do not fit.
    pub misfits: BTreeSet<String>,
}

/// Suggests lines for all tables. `is_untaken` tells if no column takes a field.
pub(crate) fn suggest(
    tree: &FieldTree,
    states: &[TableState],
    people: &DataNames,
    is_untaken: &dyn Fn(&[TreeStep]) -> bool,
    mut toml: TomlLines,
) -> Vec<String> {
    let mut taken: Vec<Vec<TreeStep>> = states.iter().filter_map(|state| state.rows.clone()).collect();
    for table in &words::TABLES {
        let Some(state) = states.iter().find(|state| state.table == table.table) else {
            continue;
        };
        let rows = match &state.rows {
            Some(rows) => rows.clone(),
            None => match find_rows(tree, table, people, &taken) {
                Some(rows) => rows,
                None => continue,
            },
        };
        taken.push(rows.clone());
        let Some(row) = tree.at(&rows) else {
            continue;
        };
        let table_lines = TableLines {
            tree,
            table,
            state,
            rows: &rows,
            row,
            people,
            is_untaken,
        };
        table_lines.write(&mut toml);
    }
    toml.finish()
}

/// The list that looks most like the rows of a table.
fn find_rows(
    tree: &FieldTree,
    table: &TableWords,
    people: &DataNames,
    taken: &[Vec<TreeStep>],
) -> Option<Vec<TreeStep>> {
    let mut found: Option<(i32, u64, Vec<TreeStep>)> = None;
    tree.walk(&mut Vec::new(), &mut |steps, inner| {
        let is_rows = inner.objects > 0 && steps.last().is_some_and(TreeStep::is_many);
        if is_rows && !people.hides(steps) && !taken.iter().any(|rows| rows == steps) {
            let score = rows_score(tree, table, steps, inner, people);
            let is_better = found
                .as_ref()
                .is_none_or(|(best, seen, _)| (score, inner.seen) > (*best, *seen));
            if score >= LEAST_ROWS && is_better {
                found = Some((score, inner.seen, steps.to_vec()));
            }
        }
        true
    });
    found.map(|(_, _, steps)| steps)
}

/// The name of the list that leads to a row.
fn list_name(steps: &[TreeStep]) -> String {
    steps
        .iter()
        .rev()
        .find(|step| !step.is_many())
        .map(step_name)
        .unwrap_or_default()
}

fn rows_score(
    tree: &FieldTree,
    table: &TableWords,
    steps: &[TreeStep],
    row: &FieldTree,
    names: &DataNames,
) -> i32 {
    let name = list_name(steps);
    let mut score = if table.lists.contains(&name) { 3 } else { 0 };
    let is_other = words::TABLES
        .iter()
        .any(|other| other.table != table.table && other.lists.contains(&name));
    if score == 0 && (is_other || OTHER_LISTS.contains(&name.as_str())) {
        return 0;
    }
    let leaves = leaves(row);
    let has = |column: &str| {
        let words = table.columns.iter().find(|words| words.column == column);
        words.is_some_and(|words| best(words, &leaves).is_some())
    };
    let points = |column: &str, points: i32| if has(column) { points } else { 0 };
    score += match table.table {
        "participants" => {
            let times = best(&words::JOINED, &leaves).is_some() || stays::own_list(row, names).is_some();
            let parts = words::NAME_PARTS[1]
                .iter()
                .any(|part| leaves.iter().any(|leaf| leaf.name == *part));
            let named = if parts { 2 } else { points("name", 2) };
            let who = named + points("email", 2) + points("external_user_id", 1) + points("phone", 1);
            if who == 0 && !(score > 0 && has("participant_id")) {
                return 0;
            }
            who + points("participant_id", 1) + if times { 2 } else { 0 }
        }
        "messages" if has("text") => {
            2 + points("sent_at", 1) + points("participant_id", 1) + if has("sent_at") { 0 } else { -2 }
        }
        "reactions" if score > 0 => points("type", 1) + points("sent_at", 1) + points("participant_id", 1),
        "polls" if has("question") => {
            2 + i32::from(option_list(row).is_some())
                - if score == 0 && option_list(row).is_none() {
                    2
                } else {
                    0
                }
        }
        "poll_votes" if enclosing_poll(tree, steps).is_some() => {
            1 + points("participant_id", 2) + points("option_id", 1) + points("voted_at", 1)
                - i32::from(option_row(row)) * 3
        }
        _ => return 0,
    };
    score
}

/// True if a row looks like an option of a poll and not like a vote.
fn option_row(row: &FieldTree) -> bool {
    !leaves(row)
        .iter()
        .any(|leaf| words::OWNER.names.contains(&leaf.full) && leaf.name != "id")
}

/// The list of options in a poll.
fn option_list(row: &FieldTree) -> Option<&String> {
    let place = |name: &str| OPTION_LISTS.iter().position(|known| *known == words::fold(name));
    let are_options = |field: &FieldTree| field.each.as_deref().is_some_and(option_row);
    let lists = row.fields.iter().filter(|(_, field)| are_options(field));
    lists
        .filter_map(|(name, _)| Some((place(name)?, name)))
        .min()
        .map(|(_, name)| name)
}

/// The steps to the poll around a list of votes, and the number of lists between.
fn enclosing_poll(tree: &FieldTree, steps: &[TreeStep]) -> Option<(Vec<TreeStep>, usize)> {
    let ends: Vec<usize> = (1..steps.len()).filter(|end| steps[end - 1].is_many()).collect();
    let polls = words::TABLES.iter().find(|table| table.table == "polls")?;
    ends.iter().rev().enumerate().find_map(|(up, end)| {
        let poll = tree.at(&steps[..*end])?;
        let is_poll = polls.lists.contains(&list_name(&steps[..*end]));
        let asks = polls.columns.iter().find(|words| words.column == "question")?;
        (is_poll || best(asks, &leaves(poll)).is_some()).then(|| (steps[..*end].to_vec(), up + 1))
    })
}

/// The lines for one table.
struct TableLines<'t> {
    tree: &'t FieldTree,
    table: &'static TableWords,
    state: &'t TableState,
    rows: &'t [TreeStep],
    row: &'t FieldTree,
    people: &'t DataNames,
    is_untaken: &'t dyn Fn(&[TreeStep]) -> bool,
}

impl TableLines<'_> {
    fn is_new(&self) -> bool {
        self.state.rows.is_none()
    }

    fn write(&self, toml: &mut TomlLines) {
        let name = self.table.table;
        if self.is_new() {
            let count = self.row.objects;
            toml.table_line(
                name,
                &format!("rows = {}", quoted(&path_text(self.rows))),
                &format!("{count} objects"),
            );
        }
        let all = leaves(self.row);
        let free: Vec<Leaf<'_>> = all.into_iter().filter(|leaf| self.is_free(leaf)).collect();
        let mut used = BTreeSet::new();
        let parts = self.parts_of_name(&free);
        let whole: Vec<&Leaf<'_>> = free
            .iter()
            .filter(|leaf| parts.len() < 2 || !parts.iter().any(|part| part.steps == leaf.steps))
            .collect();
        for (column, leaf) in self.assigned(&whole) {
            used.insert(leaf.path());
            formats::note(leaf.tree, toml);
            toml.column_line(name, column.column, &feed(column, leaf), &because(leaf));
        }
        match name {
            "participants" => {
                self.name_in_parts(&free, toml);
                self.sessions(&free, &mut used, toml);
            }
            "polls" => self.options(toml),
            "poll_votes" => self.of_poll(toml),
            _ => {}
        }
    }

    /// True if a field may feed another column.
    fn is_free(&self, leaf: &Leaf<'_>) -> bool {
        if self.people.hides(&leaf.steps) {
            return false;
        }
        if self.is_new() {
            return !self
                .state
                .known
                .iter()
                .any(|(column, steps)| *steps == leaf.steps && !self.state.misfits.contains(column));
        }
        (self.is_untaken)(&[self.rows, &leaf.steps].concat())
    }

    /// True if a column needs a field.
    fn is_wanted(&self, column: &str) -> bool {
        if !self.is_new() {
            return self.state.unbound.contains(column);
        }
        // Other rows may have the fields that the mapping knows.
        let known = self.state.known.iter().filter(|(known, _)| known == column);
        !known
            .into_iter()
            .any(|(_, steps)| self.row.at(steps).is_some_and(FieldTree::is_leaf))
    }

    /// Each wanted column with its field, the best pairs first.
    fn assigned<'l, 't>(&self, free: &[&'l Leaf<'t>]) -> Vec<(&'static ColumnWords, &'l Leaf<'t>)> {
        let mut pairs: Vec<(i32, usize, &'static ColumnWords, &Leaf<'_>)> = Vec::new();
        for (order, column) in self
            .table
            .columns
            .iter()
            .enumerate()
            .filter(|(_, words)| self.is_wanted(words.column))
        {
            for leaf in free.iter().copied() {
                let mut points = score(column, leaf).unwrap_or(i32::MIN);
                let is_key = column.column == "participant_id" && self.table.table == "participants";
                let repeats = (leaf.tree.distinct.len() as u64) < leaf.tree.seen;
                points = points.saturating_sub(if is_key && repeats { 40 } else { 0 });
                let is_foreign = is_key && words::is_of_other_system(&leaf.full);
                points = points.saturating_sub(if is_foreign { 30 } else { 0 });
                if points > 0 {
                    pairs.push((points, order, column, leaf));
                }
            }
        }
        pairs.sort_by_key(|(points, order, ..)| (std::cmp::Reverse(*points), *order));
        let (mut columns, mut fields) = (BTreeSet::new(), BTreeSet::new());
        let mut chosen: Vec<_> = pairs
            .into_iter()
            .filter(|(_, _, column, leaf)| {
                let is_new = !columns.contains(column.column) && !fields.contains(&leaf.path());
                is_new && columns.insert(column.column) && fields.insert(leaf.path())
            })
            .collect();
        chosen.sort_by_key(|(_, order, ..)| *order);
        chosen
            .into_iter()
            .map(|(_, _, column, leaf)| (column, leaf))
            .collect()
    }

    /// The fields of the parts of a name.
    fn parts_of_name<'l, 't>(&self, free: &'l [Leaf<'t>]) -> Vec<&'l Leaf<'t>> {
        let part = |names: &WordList| free.iter().find(|leaf| names.contains(&leaf.name));
        match self.table.table {
            "participants" => words::NAME_PARTS.iter().filter_map(part).collect(),
            _ => Vec::new(),
        }
    }

    fn name_in_parts(&self, free: &[Leaf<'_>], toml: &mut TomlLines) {
        if !self.is_wanted("name") || toml.has("participants", "name") {
            return;
        }
        let parts = self.parts_of_name(free);
        let parts: Vec<String> = parts.iter().map(|leaf| quoted(&leaf.path())).collect();
        match parts.as_slice() {
            [] => {}
            [one] => toml.column_line("participants", "name", one, "a part of a name"),
            several => toml.column_line(
                "participants",
                "name",
                &format!("{{ concat = [{}] }}", several.join(", ")),
                "parts of a name",
            ),
        }
    }

    fn sessions(&self, free: &[Leaf<'_>], used: &mut BTreeSet<String>, toml: &mut TomlLines) {
        let is_wanted = match self.is_new() {
            true => !stays::is_known(self.row, &self.state.known),
            false => self.state.unbound.contains("sessions") || self.state.misfits.contains("sessions"),
        };
        if !is_wanted {
            return;
        }
        let free: Vec<&Leaf<'_>> = free.iter().filter(|leaf| !used.contains(&leaf.path())).collect();
        if let Some(found) = stays::find(self.tree, self.rows, self.row, &free, self.people) {
            for tree in found.times {
                formats::note(tree, toml);
            }
            toml.column_line("participants", "sessions", &found.feed, found.because);
        }
    }

    fn options(&self, toml: &mut TomlLines) {
        let Some(list) =
            option_list(self.row).filter(|_| self.is_wanted("options") && !self.is_known_list("options"))
        else {
            return;
        };
        let Some(option) = self.row.fields.get(list).and_then(|list| list.each.as_deref()) else {
            return;
        };
        let leaves = shown_leaves(option, self.people);
        let find = |names: &[&str]| {
            leaves
                .iter()
                .find(|leaf| names.contains(&leaf.name.as_str()))
                .map(|leaf| quoted(&leaf.path()))
        };
        let fields: Vec<String> = [
            ("option_id", find(&["id", "optionid", "key", "uuid", "choiceid"])),
            (
                "text",
                find(&["text", "title", "label", "option", "name", "value", "answer"]),
            ),
            (
                "is_right",
                find(&["isright", "valid", "correct", "iscorrect", "right"]),
            ),
        ]
        .into_iter()
        .filter_map(|(field, path)| Some(format!("{field} = {}", path?)))
        .collect();
        let feed = format!(
            "{{ from = {}, fields = {{ {} }} }}",
            quoted(&format!("{list}[]")),
            fields.join(", ")
        );
        toml.column_line("polls", "options", &feed, "options");
    }

    fn is_known_list(&self, column: &str) -> bool {
        let known = self.state.known.iter().filter(|(known, _)| known == column);
        known.into_iter().any(|(_, steps)| self.row.at(steps).is_some())
    }

    /// The columns of a vote that its poll has: they do not survive other `rows`.
    fn of_poll(&self, toml: &mut TomlLines) {
        let Some((poll, up)) = enclosing_poll(self.tree, self.rows).filter(|_| self.is_new()) else {
            return;
        };
        let polls = words::TABLES.iter().find(|table| table.table == "polls");
        let (Some(polls), Some(tree)) = (polls, self.tree.at(&poll)) else {
            return;
        };
        let leaves = shown_leaves(tree, self.people);
        for column in polls.columns {
            if let Some(leaf) = best(column, &leaves) {
                let path = format!("{}.{}", "^".repeat(up), leaf.path());
                toml.column_line("poll_votes", column.column, &quoted(&path), "of the poll");
            }
        }
    }
}

/// The feed of a column from a field, with the factor that its name speaks for.
fn feed(column: &ColumnWords, leaf: &Leaf<'_>) -> String {
    let path = quoted(&leaf.path());
    let scale = scale(leaf).filter(|_| column.column.ends_with("_s"));
    if column.column == "role" && leaf.tree.sort() == Some(Sort::Truth) {
        format!("{{ from = {path}, values = {{ true = \"moderator\", false = \"user\" }} }}")
    } else if let Some(scale) = scale {
        format!("{{ from = {path}, scale = {scale} }}")
    } else {
        path
    }
}

fn because(leaf: &Leaf<'_>) -> String {
    match leaf.tree.sort() {
        Some(sort) => format!("looks like {}", sort.named()),
        None => "by its name".to_owned(),
    }
}
