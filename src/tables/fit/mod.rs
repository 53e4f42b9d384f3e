//! Compares the mapping with a report: what it finds there, what it does not, and what it could. Pure; called by `check`.
//!
//! Nothing here holds a value of the report: only names of fields, counts, and the shapes of values.

pub(crate) mod data_names;
pub(crate) mod field_tree;
mod formats;
mod leaf;
mod stays;
mod suggest;
mod toml_lines;
pub(crate) mod value_shape;
pub(crate) mod words;
mod workbook;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use self::data_names::DataNames;
use self::field_tree::{FieldTree, TreeStep};
use self::suggest::TableState;
use self::toml_lines::TomlLines;
use super::mapping::mapping_file::TableSource;
use crate::json::Text;
use crate::lake::table::builtin::participants;
use crate::lenient;
use crate::tables::build_notes::Notes;
use crate::tables::mapping::Mapping;
use crate::tables::mapping::plan::TablePlan;
use crate::tables::mapping::shape::is_plain;
use crate::tables::parquet::cell::{Cell, Session};
use crate::tables::parquet::row::TableRow;
use crate::tables::report::inspect::{self, NotJson};
use crate::tables::report::node::Node;
use crate::tables::report::outside::{OutsideCall, outside};
use crate::tables::report::path::{Path, Step};
use crate::tables::report::people::ParticipantMerger;
use crate::tables::report::rows::{self, RowReader};
pub use workbook::{SheetColumn, SheetFit, fit_workbook};

/// The columns by which people are known: if most of their values do not fit, nobody is.
const KEY_COLUMNS: [&str; 5] = [
    participants::participant_id,
    participants::name,
    participants::external_user_id,
    participants::external_meeting_id,
    participants::sessions,
];
/// The two times of a stay in a workbook, which stand for the column of sessions.
const STAY_COLUMNS: [&str; 2] = ["joined_at", "left_at"];

/// The start and the end of a call, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallTimes {
    /// The start.
    pub started_at: Option<DateTime<Utc>>,
    /// The end.
    pub finished_at: Option<DateTime<Utc>>,
}

impl CallTimes {
    /// The stays that miss the call.
    fn missed_by(self, sessions: &[Session]) -> Option<OutsideCall> {
        let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
        outside(sessions, micros(self.started_at), micros(self.finished_at))
    }
}

/// The result of comparing a report with the mapping: names, counts and shapes, never a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The tables that are read from reports.
    pub tables: Vec<TableFit>,
    /// The fields that no column takes.
    pub untaken: Vec<UntakenField>,
    /// Lines for a mapping file that would take some of them.
    pub suggestions: Vec<String>,
    /// The stays that miss the call, if the call's times are known.
    pub outside: Option<OutsideCall>,
    /// The sheets, if the report is a workbook.
    pub sheets: Vec<SheetFit>,
    /// Counts as a run makes them.
    pub notes: Notes,
}

/// The result of looking for a table in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFit {
    /// The table's name.
    pub table: String,
    /// The place of its rows.
    pub place: String,
    /// The number of its rows; none if the report lacks their place.
    pub rows: Option<u64>,
    /// The number of them that count and can be read.
    pub kept: u64,
    /// The number of them that are no objects.
    pub misshapen: u64,
    /// The mapped columns that have a value in some row.
    pub bound: Vec<String>,
    /// The mapped columns that have no value in any row.
    pub unbound: Vec<String>,
    /// The columns with values that do not fit.
    pub misfits: Vec<ColumnMisfit>,
}

/// The values of a column that do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMisfit {
    /// The column.
    pub column: String,
    /// The number of such values.
    pub count: u64,
    /// The number of all values of the column.
    pub of: u64,
    /// Shapes of such values, with the path that leads to them and their number.
    pub shapes: Vec<(String, String, u64)>,
    /// The path of the first one.
    pub example: String,
    /// True if people are known by this column.
    pub is_key: bool,
}

impl ColumnMisfit {
    /// True if more than half of the values do not fit.
    pub fn is_most(&self) -> bool {
        self.count * 2 > self.of
    }
}

/// A field that no column takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntakenField {
    /// Its path, in the notation of the mapping.
    pub path: String,
    /// The number of its values.
    pub count: u64,
    /// The most frequent shape of its values; none if they have none.
    pub shape: Option<String>,
    /// The sort of thing that they look like.
    pub looks_like: Option<&'static str>,
}

/// Compares a mapping with a JSON report. `call` has the times of its call as far as the caller knows them; if it knows
/// none, those at the top of the report count.
///
/// # Errors
/// If the report is not JSON.
pub fn fit_report(json: &[u8], mapping: &Mapping, call: CallTimes) -> Result<Fit, NotJson> {
    let text = Text::new(json);
    let (report, repairs) = inspect::parse(&text)?;
    let mut notes = Notes::with_misfits();
    notes.mended(repairs);
    let (tree, people) = (FieldTree::of(&[&report]), DataNames::of(&report, mapping));
    if !inspect::is_crowded(mapping, &report) {
        rows::count_rest(mapping, TableSource::Report, &report, &mut notes);
    }
    let of_reports = mapping
        .tables
        .iter()
        .filter(|plan| plan.source == TableSource::Report);
    let mut plans: Vec<&TablePlan> = of_reports.collect();
    // The sort is stable: people come first.
    plans.sort_by_key(|plan| plan.table.name != participants::NAME);
    let (mut tables, mut states, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
    for plan in plans {
        let template = vec![Cell::Null; plan.table.columns.len()];
        let rows = RowReader::new(mapping, plan).rows(&report, &template, &mut notes);
        let place = plan.rows.iter().find(|path| path.is_in(&report));
        let shown = place.map(|path| people.shown(&as_written(&path.steps)));
        let place = place.map(|path| steps_of(&path.steps, &tree));
        let fit = table_fit(plan, &rows, rows::count(plan, &report), shown, &notes);
        sessions.extend(sessions_of(plan, &rows));
        observe_people(plan, &rows, &mut notes);
        states.push(state_of(plan, &fit, place, &tree));
        tables.push(fit);
    }
    let call = if call == CallTimes::default() {
        own_times(&report)
    } else {
        call
    };
    // The notes count the fields of objects alone, and a report may be a list.
    let is_read = states.iter().any(|state| state.rows.is_some());
    let is_foreign_list = !report.is_object() && !is_read;
    let is_untaken = |steps: &[TreeStep]| is_foreign_list || is_counted(steps, &notes);
    let outside = call.missed_by(&sessions);
    let toml = TomlLines::of_zone(outside.as_ref());
    let untaken = untaken(&tree, &people, &is_untaken);
    let suggestions = suggest::suggest(&tree, &states, &people, &is_untaken, toml);
    hide(&mut notes, &people);
    Ok(Fit {
        untaken,
        suggestions,
        outside,
        sheets: Vec::new(),
        tables,
        notes,
    })
}

/// The steps of a mapping's path as the mapping writes them.
fn as_written(steps: &[Step]) -> Vec<TreeStep> {
    let step = |step: &Step| match step {
        Step::Field(name) => TreeStep::Field(name.clone()),
        Step::Each => TreeStep::Each,
        Step::Values => TreeStep::Values,
    };
    steps.iter().map(step).collect()
}

/// The steps of a mapping's path in a report. A step into many values is one into a list or into the values of an object.
fn steps_of(steps: &[Step], tree: &FieldTree) -> Vec<TreeStep> {
    let mut found: Vec<TreeStep> = Vec::new();
    for step in steps {
        let here = tree.at(&found);
        found.push(match step {
            Step::Field(name) => TreeStep::Field(name.clone()),
            _ if here.is_some_and(|here| here.each.is_none() && here.values.is_some()) => TreeStep::Values,
            _ => TreeStep::Each,
        });
    }
    found
}

/// The columns that the mapping feeds, in the table's order.
fn mapped(plan: &TablePlan) -> Vec<usize> {
    let mut columns: Vec<_> = plan.columns.iter().map(|column| column.index).collect();
    columns.sort_unstable();
    columns
}

/// Compares the rows that were read with the columns of their table.
fn table_fit(
    plan: &TablePlan,
    rows: &[TableRow<'_>],
    count: Option<u64>,
    place: Option<String>,
    notes: &Notes,
) -> TableFit {
    let is_bound = |index: &usize| rows.iter().any(|row| row.cells[*index].is_some());
    let (bound, unbound): (Vec<_>, Vec<_>) = mapped(plan).into_iter().partition(is_bound);
    let name = |index: usize| plan.table.columns[index].name.to_string();
    let table = plan.table.name.to_string();
    let misfits = plan
        .table
        .columns
        .iter()
        .enumerate()
        .filter_map(|(index, column)| {
            let read: u64 = rows.iter().map(|row| values(&row.cells[index])).sum();
            misfit(&table, &column.name, read, notes)
        });
    let misfits = misfits.collect();
    TableFit {
        place: place.unwrap_or_default(),
        rows: count,
        kept: rows.len() as u64,
        misshapen: notes
            .bad
            .get(&format!("{table}.(row)"))
            .map_or(0, |seen| seen.values().sum()),
        bound: bound.into_iter().map(name).collect(),
        unbound: unbound.into_iter().map(name).collect(),
        misfits,
        table,
    }
}

/// The number of values in a cell.
fn values(cell: &Cell<'_>) -> u64 {
    match cell {
        Cell::Null => 0,
        Cell::Sessions(sessions) => sessions.len() as u64,
        _ => 1,
    }
}

/// The values of a column that do not fit, if there are any; `read` is the number of those that do.
fn misfit(table: &str, column: &str, read: u64, notes: &Notes) -> Option<ColumnMisfit> {
    let key = format!("{table}.{column}");
    let count: u64 = notes.bad.get(&key)?.values().sum();
    let samples = notes
        .misfits
        .as_ref()
        .and_then(|misfits| misfits.get(&key))
        .cloned()
        .unwrap_or_default();
    let shapes = samples
        .shapes
        .into_iter()
        .map(|((shape, place), times)| (shape, place, times));
    let mut shapes: Vec<_> = shapes.collect();
    shapes.sort_by_key(|(_, _, times)| std::cmp::Reverse(*times));
    let is_key =
        table == participants::NAME && (KEY_COLUMNS.contains(&column) || STAY_COLUMNS.contains(&column));
    Some(ColumnMisfit {
        column: column.to_owned(),
        count,
        of: read + count,
        shapes,
        example: samples.example,
        is_key,
    })
}

/// Makes the notes of a run about people who are merged.
fn observe_people(plan: &TablePlan, rows: &[TableRow<'_>], notes: &mut Notes) {
    let merger = ParticipantMerger::of(plan).filter(|_| plan.table.name == participants::NAME);
    if let Some(merger) = merger {
        merger.merge(rows.to_vec(), "", None, notes);
    }
}

fn sessions_of(plan: &TablePlan, rows: &[TableRow<'_>]) -> Vec<Session> {
    let index = plan
        .table
        .index(participants::sessions)
        .filter(|_| plan.table.name == participants::NAME);
    let cells = rows.iter().filter_map(|row| row.cells.get(index?));
    let sessions = cells.filter_map(|cell| match cell {
        Cell::Sessions(sessions) => Some(sessions.to_vec()),
        _ => None,
    });
    sessions.flatten().collect()
}

fn state_of(plan: &TablePlan, fit: &TableFit, rows: Option<Vec<TreeStep>>, tree: &FieldTree) -> TableState {
    let known = plan.columns.iter().flat_map(|column| {
        let paths: Vec<Path> = column.taken().into_iter().filter(|path| path.up == 0).collect();
        let name = plan.table.columns[column.index].name.to_string();
        paths
            .into_iter()
            .map(move |path| (name.clone(), steps_of(&path.steps, &FieldTree::default())))
    });
    // The list around the rows may be there without theirs.
    let rows = rows.filter(|steps| tree.at(steps).is_some());
    TableState {
        table: fit.table.clone(),
        known: known.collect(),
        rows,
        unbound: fit.unbound.iter().cloned().collect(),
        misfits: fit
            .misfits
            .iter()
            .filter(|misfit| misfit.is_most())
            .map(|misfit| misfit.column.clone())
            .collect(),
    }
}

/// The times of the call at the top of a report.
fn own_times(report: &Node<'_>) -> CallTimes {
    let find = |names: words::WordList| {
        let Node::Object(fields) = report else {
            return None;
        };
        let mut named = fields
            .iter()
            .filter(|(name, _)| names.contains(&words::fold(name)));
        named.find_map(|(_, value)| lenient::instant(value))
    };
    CallTimes {
        started_at: find(words::CALL_START),
        finished_at: find(words::CALL_END),
    }
}

/// True if the notes count a field, or one around it, as one that no column takes.
fn is_counted(steps: &[TreeStep], notes: &Notes) -> bool {
    let (mut braces, mut stars) = (String::new(), String::new());
    let add = |step: &TreeStep| {
        match step {
            TreeStep::Field(name) => {
                for path in [&mut braces, &mut stars] {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(if is_plain(name) { name } else { "*" });
                }
            }
            TreeStep::Each => [&mut braces, &mut stars]
                .into_iter()
                .for_each(|path| path.push_str("[]")),
            TreeStep::Values => {
                braces.push_str("{}");
                stars.push_str(".*");
            }
        }
        notes.unmapped.contains_key(&braces) || notes.unmapped.contains_key(&stars)
    };
    steps.iter().any(add)
}

/// The fields that no column takes, in the order of their paths.
fn untaken(
    tree: &FieldTree,
    people: &DataNames,
    is_untaken: &dyn Fn(&[TreeStep]) -> bool,
) -> Vec<UntakenField> {
    let mut found: BTreeMap<String, UntakenField> = BTreeMap::new();
    tree.walk(&mut Vec::new(), &mut |steps, field| {
        if field.is_leaf() && is_untaken(steps) {
            let path = people.shown(steps);
            let known = found.entry(path.clone()).or_insert_with(|| UntakenField {
                path,
                count: 0,
                shape: field.shape().map(str::to_owned),
                looks_like: field.sort().map(value_shape::Sort::named),
            });
            known.count += field.seen;
        }
        true
    });
    found.into_values().collect()
}

/// Hides names that may be data in the notes about fields that no column takes.
fn hide(notes: &mut Notes, people: &DataNames) {
    for (path, sightings) in std::mem::take(&mut notes.unmapped) {
        let shown = notes.unmapped.entry(people.shown_path(&path)).or_default();
        for (about, times) in sightings {
            *shown.entry(about).or_default() += times;
        }
    }
}

/// The names of columns in one set.
fn names(columns: &[String]) -> BTreeSet<&str> {
    columns.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests;
