//! Compares the mapping with a workbook. Pure; called by `check`.

use super::field_tree::FieldTree;
use super::leaf::{Leaf, score};
use super::toml_lines::{TomlLines, quoted};
use super::value_shape::Sort;
use super::words::{self, ColumnWords, TableWords};
use super::{
    CallTimes, ColumnMisfit, Fit, KEY_COLUMNS, STAY_COLUMNS, TableFit, UntakenField, misfit, names,
    observe_people, sessions_of, values,
};
use crate::lake::table::builtin::participants;
use crate::tables::build_notes::Notes;
use crate::tables::mapping::Mapping;
use crate::tables::mapping::plan::TablePlan;
use crate::tables::parquet::cell::Cell;
use crate::tables::xlsx::survey::{ColumnSurvey, SheetSurvey, survey};
use crate::tables::xlsx::{Refusal, table_rows, workbook};

/// The tables that a workbook is suggested to feed.
const OF_WORKBOOKS: [&str; 2] = [participants::NAME, "messages"];
/// The fewest columns that make a sheet a table.
const LEAST_COLUMNS: usize = 2;

/// A sheet of a workbook as the mapping sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetFit {
    /// The sheet as people are told of it: `sheet "Участники"`, or `sheet 3` if its name may be data.
    pub label: String,
    /// The table that it feeds, if the mapping knows its name.
    pub table: Option<String>,
    /// The number of its rows that are not empty.
    pub rows: u64,
    /// The number of the header's row, from 1.
    pub header_row: Option<u32>,
    /// True if the mapping knows the header; else it is only likely.
    pub is_known: bool,
    /// Its columns, in order.
    pub columns: Vec<SheetColumn>,
}

/// A column of a sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetColumn {
    /// The text of its header, or its letter if that text may be data.
    pub header: String,
    /// The column of the table that it feeds.
    pub feeds: Option<String>,
    /// The number of its cells below the header.
    pub cells: u64,
    /// The most frequent shape of these cells.
    pub shape: Option<String>,
}

/// Compares a mapping with a workbook.
///
/// # Errors
/// The reason why it can't be read.
pub fn fit_workbook(bytes: &[u8], mapping: &Mapping, call: CallTimes) -> Result<Fit, Refusal> {
    let sheets = survey(bytes, mapping)?;
    let book = workbook::read(bytes, mapping, &mut |_| Ok(())).map_err(|stop| match stop {
        workbook::ReadStop::Refused(refusal) => refusal,
        // Nothing is written here that could fail.
        workbook::ReadStop::Failed(_) => Refusal::Unreadable,
    })?;
    let mut notes = Notes::with_misfits();
    let (mut tables, mut sessions) = (Vec::new(), Vec::new());
    for plan in people_first(mapping) {
        let Some(found) = book.tables.get(&*plan.table.name) else {
            tables.push(missing(plan));
            continue;
        };
        let template = vec![Cell::Null; plan.table.columns.len()];
        let rows = table_rows::rows(plan, found, &template, &mut notes);
        sessions.extend(sessions_of(plan, &rows));
        observe_people(plan, &rows, &mut notes);
        let label = |name: &str| sheets.iter().find(|sheet| sheet.name == name);
        let places: Vec<_> = found
            .iter()
            .filter_map(|sheet| Some(label(&sheet.name)?.label()))
            .collect();
        let headed = sheets
            .iter()
            .filter(|sheet| sheet.is_known && sheet.table.as_deref() == Some(&*plan.table.name));
        let headed: Vec<&ColumnSurvey> = headed.flat_map(|sheet| sheet.columns.values()).collect();
        let (bound, unbound) = fed(plan, &headed);
        let misfits = bound.iter().filter_map(|column| {
            let read = match plan.table.index(column) {
                Some(index) => rows.iter().map(|row| values(&row.cells[index])).sum(),
                None => sessions.len() as u64,
            };
            misfit(&plan.table.name, column, read, &notes).map(|misfit| relabelled(misfit, &sheets))
        });
        tables.push(TableFit {
            table: plan.table.name.to_string(),
            place: places.join(", "),
            rows: Some(found.iter().map(|sheet| sheet.rows.len() as u64).sum()),
            kept: rows.len() as u64,
            misshapen: 0,
            misfits: misfits.collect(),
            bound,
            unbound,
        });
    }
    let outside = call.missed_by(&sessions);
    Ok(Fit {
        untaken: untaken(&sheets),
        suggestions: suggest(&sheets, TomlLines::of_zone(outside.as_ref())),
        outside,
        sheets: sheets.iter().map(sheet_fit).collect(),
        tables,
        notes,
    })
}

/// Values that do not fit, in sheets as people are told of them.
fn relabelled(mut misfit: ColumnMisfit, sheets: &[SheetSurvey]) -> ColumnMisfit {
    let places = misfit.shapes.iter_mut().map(|(_, place, _)| place);
    for place in places.chain([&mut misfit.example]) {
        let is_it = |sheet: &&SheetSurvey| *place == format!("sheet \"{}\"", sheet.name);
        if let Some(sheet) = sheets.iter().find(is_it) {
            *place = sheet.label();
        }
    }
    misfit
}

fn missing(plan: &TablePlan) -> TableFit {
    TableFit {
        table: plan.table.name.to_string(),
        place: String::new(),
        rows: None,
        kept: 0,
        misshapen: 0,
        bound: Vec::new(),
        unbound: Vec::new(),
        misfits: Vec::new(),
    }
}

/// The columns of a table that some header feeds and some cell has a value for, and the others that could.
fn fed(plan: &TablePlan, headed: &[&ColumnSurvey]) -> (Vec<String>, Vec<String>) {
    let is_fed = |name: &str| {
        headed
            .iter()
            .any(|column| column.cells > 0 && column.feeds.as_deref() == Some(name))
    };
    let of_table = words::TABLES.iter().find(|table| table.table == plan.table.name);
    let of_words = of_table
        .iter()
        .flat_map(|table| table.columns)
        .map(|words| words.column);
    let mut all: Vec<String> = of_words.map(str::to_owned).collect();
    if plan.table.name == participants::NAME {
        all.extend(STAY_COLUMNS.map(str::to_owned));
    }
    let others = headed.iter().filter_map(|column| column.feeds.clone());
    for name in others {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    // A row of a workbook has no id of a participant or a message.
    all.retain(|name| is_fed(name) || !matches!(name.as_str(), participants::participant_id | "message_id"));
    all.into_iter().partition(|name| is_fed(name))
}

fn header_of(column: &ColumnSurvey) -> String {
    column
        .header
        .clone()
        .unwrap_or_else(|| format!("column {}", column.letter))
}

fn most(shapes: &std::collections::BTreeMap<String, u64>) -> Option<String> {
    shapes
        .iter()
        .max_by_key(|(_, times)| **times)
        .map(|(shape, _)| shape.clone())
}

fn sheet_fit(sheet: &SheetSurvey) -> SheetFit {
    SheetFit {
        label: sheet.label(),
        table: sheet.table.clone(),
        rows: sheet.rows,
        header_row: sheet.header.map(|row| row + 1),
        is_known: sheet.is_known,
        columns: sheet
            .columns
            .values()
            .map(|column| SheetColumn {
                header: header_of(column),
                feeds: column.feeds.clone(),
                cells: column.cells,
                shape: most(&column.shapes),
            })
            .collect(),
    }
}

/// The columns that feed no table.
fn untaken(sheets: &[SheetSurvey]) -> Vec<UntakenField> {
    let columns = sheets
        .iter()
        .flat_map(|sheet| sheet.columns.values().map(move |column| (sheet, column)));
    columns
        .filter(|(_, column)| column.feeds.is_none() && column.cells > 0)
        .map(|(sheet, column)| UntakenField {
            path: format!("{}, {}", sheet.label(), header_of(column)),
            count: column.cells,
            shape: most(&column.shapes),
            looks_like: sort_of(column).map(Sort::named),
        })
        .collect()
}

/// The sort that most cells of a column have.
fn sort_of(column: &ColumnSurvey) -> Option<Sort> {
    tree_of(column).sort()
}

/// A column as a field whose name is its header.
fn tree_of(column: &ColumnSurvey) -> FieldTree {
    FieldTree {
        seen: column.cells,
        sorts: column.sorts.clone(),
        shapes: column.shapes.clone(),
        ..FieldTree::default()
    }
}

/// Suggests lines for sheets that no table takes, and for headers that no column takes.
fn suggest(sheets: &[SheetSurvey], mut toml: TomlLines) -> Vec<String> {
    let fed_tables: Vec<&str> = sheets
        .iter()
        .filter(|sheet| sheet.is_known)
        .filter_map(|sheet| sheet.table.as_deref())
        .collect();
    for sheet in sheets.iter().filter(|sheet| sheet.header.is_some()) {
        let trees: Vec<(String, FieldTree)> = sheet
            .columns
            .values()
            .filter(|column| column.feeds.is_none())
            .filter_map(|column| Some((column.header.clone()?, tree_of(column))))
            .collect();
        let table = match &sheet.table {
            Some(table) => words::TABLES.iter().find(|words| words.table == table),
            None => best_table(sheet, &trees, &fed_tables),
        };
        let Some(table) = table else {
            continue;
        };
        if sheet.table.is_none() {
            let row = sheet.header.unwrap_or(0) + 1;
            match &sheet.told {
                Some(name) => toml.sheet(table.table, name, &format!("header in row {row}")),
                // The name may be data: the user writes it.
                None => toml.sheet(
                    table.table,
                    &format!("NAME OF SHEET {}", sheet.number),
                    &format!(
                        "header in row {row}; write the name of sheet {} here",
                        sheet.number
                    ),
                ),
            }
        }
        let bound: Vec<String> = sheet
            .columns
            .values()
            .filter_map(|column| column.feeds.clone())
            .collect();
        let parts = name_parts(table, &trees, &bound);
        if let [_, _, ..] = parts[..] {
            let feed: Vec<_> = parts.iter().map(|header| quoted(header)).collect();
            toml.sheet_feed(
                table.table,
                "name",
                &format!("{{ concat = [{}] }}", feed.join(", ")),
                "parts of a name",
            );
        }
        let trees: Vec<_> = trees
            .into_iter()
            .filter(|(header, _)| !parts.contains(header))
            .collect();
        for (column, header, tree) in assigned(table, &trees, &bound) {
            super::formats::note(tree, &mut toml);
            let because = tree
                .sort()
                .map(|sort| format!("looks like {}", sort.named()))
                .unwrap_or_default();
            toml.sheet_column(table.table, column, header, &because);
        }
    }
    toml.finish()
}

/// The headers of the parts of a name, if a sheet has several; else none.
fn name_parts(table: &TableWords, trees: &[(String, FieldTree)], bound: &[String]) -> Vec<String> {
    if table.table != participants::NAME || bound.iter().any(|column| column == participants::name) {
        return Vec::new();
    }
    let headers = trees.iter().map(|(header, _)| header);
    let part = |names: &words::WordList| {
        headers
            .clone()
            .find(|header| names.contains(&words::fold(header)))
    };
    let parts: Vec<String> = words::NAME_PARTS.iter().filter_map(part).cloned().collect();
    if parts.len() > 1 { parts } else { Vec::new() }
}

/// The table that a sheet's headers speak for.
fn best_table(
    sheet: &SheetSurvey,
    trees: &[(String, FieldTree)],
    fed: &[&str],
) -> Option<&'static TableWords> {
    let name = words::fold(&sheet.name);
    let tables = words::TABLES
        .iter()
        .filter(|table| OF_WORKBOOKS.contains(&table.table) && !fed.contains(&table.table));
    let scored = tables.map(|table| {
        let columns = assigned(table, trees, &[]);
        let is_message = table.table != "messages" || columns.iter().any(|(column, ..)| *column == "text");
        let is_person = table.table != participants::NAME
            || columns
                .iter()
                .any(|(column, ..)| KEY_COLUMNS.contains(column) || *column == participants::email);
        let is_named = table.lists.iter().any(|list| name.contains(list));
        let points = if is_message && is_person {
            columns.len() + usize::from(is_named)
        } else {
            0
        };
        (points, table)
    });
    let best = scored.max_by_key(|(points, table)| (*points, std::cmp::Reverse(table.table)))?;
    (best.0 >= LEAST_COLUMNS).then_some(best.1)
}

/// Each free column of a table with the header that speaks for it, the best pairs first.
fn assigned<'t>(
    table: &TableWords,
    trees: &'t [(String, FieldTree)],
    bound: &[String],
) -> Vec<(&'static str, &'t str, &'t FieldTree)> {
    let times: &[&ColumnWords] = if table.table == participants::NAME {
        &[&words::JOINED, &words::LEFT]
    } else {
        &[]
    };
    let columns = table.columns.iter().chain(times.iter().copied());
    let bound = names(bound);
    let is_free = |words: &&ColumnWords| {
        !bound.contains(words.column) && !matches!(words.column, participants::participant_id | "message_id")
    };
    let mut pairs = Vec::new();
    for column in columns.filter(is_free) {
        for (header, tree) in trees {
            let name = words::fold(header);
            let leaf = Leaf {
                steps: Vec::new(),
                full: name.clone(),
                name,
                tree,
            };
            if let Some(points) = score(column, &leaf).filter(|points| *points > 0) {
                pairs.push((points, column.column, header.as_str(), tree));
            }
        }
    }
    pairs.sort_by_key(|(points, ..)| std::cmp::Reverse(*points));
    let mut chosen: Vec<(&'static str, &str, &FieldTree)> = Vec::new();
    for (_, column, header, tree) in pairs {
        if !chosen
            .iter()
            .any(|(known, text, _)| *known == column || *text == header)
        {
            chosen.push((column, header, tree));
        }
    }
    chosen
}

/// The tables that workbooks feed, that of people first.
fn people_first(mapping: &Mapping) -> Vec<&TablePlan> {
    let mut plans: Vec<&TablePlan> = mapping
        .tables
        .iter()
        .filter(|plan| plan.sheet.is_some())
        .collect();
    plans.sort_by_key(|plan| plan.table.name != participants::NAME);
    plans
}
