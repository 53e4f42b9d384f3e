//! The mapping's rules for a table in a workbook: the sheet's name and the texts of its header. Pure.

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::cell_reference::letter;
use super::cell_value::CellValue;
use super::row_reader::SheetRow;
use super::sheet_rules::{SheetRules, fold};
use crate::lake::table::{Table, Type, builtin};

/// The two times of a stay; they are not columns themselves.
pub(super) const JOINED: &str = "joined_at";
pub(super) const LEFT: &str = "left_at";
/// The fewest known headers that make a row the header, if the table has that many.
const FEWEST: usize = 2;
/// Most characters of a header's text that name its column.
const MOST_NAME: usize = 200;
/// Most bytes of a text that may be a header.
const MOST_FOLDED: usize = 1024;

/// The destination of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The column of that index and type.
    Column(usize, Type),
    /// The start of the stay that the row is.
    Joined,
    /// The end of that stay.
    Left,
    /// `extra`, under its header.
    Extra(String),
}

/// A table's `xlsx` rules, resolved. Names and headers are folded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SheetPlan {
    sheets: Vec<String>,
    columns: Vec<(Target, Vec<String>)>,
    /// Replacements for values, by column.
    values: HashMap<usize, HashMap<String, String>>,
    /// The texts of rows that are skipped, by column.
    skip: HashMap<usize, Vec<String>>,
}

/// A header and the meaning of the sheet's columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    /// The row, from 0.
    pub index: u32,
    /// The destination of each of the sheet's columns.
    pub targets: HashMap<u32, Target>,
    /// The name of each of them.
    pub names: HashMap<u32, String>,
}

impl SheetPlan {
    /// Resolves rules; the error is only the reason.
    pub fn resolve(table: &Table, rules: &SheetRules) -> Result<Self, String> {
        if rules.sheets.0.is_empty() {
            return Err("`xlsx.sheets` must name a sheet".into());
        }
        if rules.columns.is_empty() {
            return Err("`xlsx.columns` must name a column with its header".into());
        }
        let columns = headers(table, rules)?;
        let fed = |key: &str, name: &str| {
            let index = table.index(name).filter(|_| rules.columns.contains_key(name));
            index.ok_or_else(|| format!("`xlsx.{key}` of `{name}`, which `xlsx` does not feed"))
        };
        let mut values: HashMap<usize, HashMap<String, String>> = HashMap::new();
        for (name, known) in &rules.values {
            let index = fed("values", name)?;
            for (value, texts) in known {
                let of = values.entry(index).or_default();
                of.extend(texts.0.iter().map(|text| (fold(text), value.clone())));
            }
        }
        let mut skip = HashMap::new();
        for (name, texts) in &rules.skip {
            let texts: Vec<_> = texts.0.iter().map(|text| fold(text)).collect();
            skip.insert(fed("skip", name)?, texts);
        }
        Ok(Self {
            sheets: rules.sheets.0.iter().map(|name| fold(name)).collect(),
            columns,
            values,
            skip,
        })
    }

    /// True if a sheet of that name belongs to this table.
    pub fn is_of(&self, sheet: &str) -> bool {
        self.sheets.contains(&fold(sheet))
    }

    /// The replacement for a value in its column.
    pub fn value_of(&self, column: usize, text: &str) -> Option<&str> {
        let known = self.values.get(&column).filter(|_| text.len() <= MOST_FOLDED)?;
        known.get(&fold(text)).map(String::as_str)
    }

    /// True if a row is one of totals or the like, and not one of the table. The column of the rule decides; if it has
    /// no value in the row, any other column does.
    pub fn is_skipped(&self, values: &[(Rc<Target>, Value)]) -> bool {
        self.skip.iter().any(|(column, words)| {
            let in_column = |target: &Target| matches!(target, Target::Column(index, _) if index == column);
            let own = values.iter().find(|(target, _)| in_column(target));
            match own {
                Some((_, value)) => is_one_of(words, value),
                None => values.iter().any(|(_, value)| is_one_of(words, value)),
            }
        })
    }

    /// The header among a sheet's first rows: the first row that has the most columns.
    pub(super) fn header(&self, rows: &[SheetRow]) -> Option<Header> {
        let fewest = FEWEST.min(self.columns.len()).max(1);
        let mut best: Option<(usize, Header)> = None;
        for row in rows {
            let (found, header) = self.held_against(row);
            if found >= fewest && best.as_ref().is_none_or(|(most, _)| found > *most) {
                best = Some((found, header));
            }
        }
        best.map(|(_, header)| header)
    }

    fn held_against(&self, row: &SheetRow) -> (usize, Header) {
        let mut places: HashMap<String, u32> = HashMap::new();
        for (column, datum) in &row.cells {
            // Longer texts are no headers, and folding them costs time.
            if let CellValue::Text(text) = datum
                && text.len() <= MOST_FOLDED
            {
                places.entry(fold(text)).or_insert(*column);
            }
        }
        let mut targets = HashMap::new();
        let mut found = 0;
        for (target, headers) in &self.columns {
            // A column may have several names; the first that exists counts.
            let known = headers.iter().filter_map(|header| places.get(header));
            if let Some(place) = known.into_iter().find(|place| !targets.contains_key(*place)) {
                targets.insert(*place, target.clone());
                found += 1;
            }
        }
        let names = names(row);
        for (column, name) in &names {
            targets
                .entry(*column)
                .or_insert_with(|| Target::Extra(name.clone()));
        }
        let index = row.index;
        (
            found,
            Header {
                index,
                targets,
                names,
            },
        )
    }
}

/// True if a text is one of some words, perhaps with a number behind it: `Итого`, `Итого:`, `Total (25)`.
fn is_one_of(words: &[String], value: &Value) -> bool {
    let Some(text) = value.as_str().filter(|text| text.len() <= MOST_FOLDED) else {
        return false;
    };
    let text = fold(text);
    words.iter().any(|word| {
        text.strip_prefix(word.as_str()).is_some_and(|rest| {
            let rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric());
            rest.chars().next().is_none_or(|c| c.is_numeric())
        })
    })
}

/// The header's texts, which are cut because each stands in every row of `report_rows`. A text that was there before
/// gets its column's letter.
fn names(row: &SheetRow) -> HashMap<u32, String> {
    let mut seen = std::collections::HashSet::new();
    let mut names = HashMap::new();
    for (column, datum) in &row.cells {
        let text: String = datum.text().trim().chars().take(MOST_NAME).collect();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = match seen.insert(text.clone()) {
            true => text,
            false => format!("{text} ({})", letter(*column)),
        };
        names.insert(*column, name);
    }
    names
}

/// The headers of each column that is fed.
fn headers(table: &Table, rules: &SheetRules) -> Result<Vec<(Target, Vec<String>)>, String> {
    let stays = table.columns.iter().any(|column| column.kind == Type::Sessions);
    rules
        .columns
        .iter()
        .map(|(name, headers)| {
            let refuse = |reason| format!("column `{name}` of `xlsx`: {reason}");
            let headers: Vec<_> = headers.names.0.iter().map(|header| fold(header)).collect();
            if headers.iter().all(String::is_empty) {
                return Err(refuse("a header's text is missing"));
            }
            let target = match name.as_str() {
                JOINED if stays => Target::Joined,
                LEFT if stays => Target::Left,
                name => column(table, name).map_err(refuse)?,
            };
            Ok((target, headers))
        })
        .collect()
}

fn column(table: &Table, name: &str) -> Result<Target, &'static str> {
    let index = table.index(name).ok_or("the table has no such column")?;
    if name == builtin::rest::extra || builtin::CALL_COLUMNS.contains(&name) {
        return Err("it is filled by the program");
    }
    match table.columns[index].kind {
        Type::Sessions => Err("a row is one stay: `joined_at` and `left_at` feed it"),
        kind => Ok(Target::Column(index, kind)),
    }
}

#[cfg(test)]
mod tests {
    use crate::tables::Mapping;

    use super::*;

    #[test]
    fn wrong_sheet_rules_are_refused_with_place_and_reason() {
        let refusal = |table: &str, xlsx: &str| {
            let text = format!(
                "version = 1\n[table.{table}]\nrows = 'm[]'\ncolumns = {{}}\n[table.{table}.xlsx]\n{xlsx}"
            );
            Mapping::parse(&text, "mapping.toml").expect_err(xlsx).to_string()
        };
        insta::assert_snapshot!(
            [
                refusal("messages", "sheets = 'Чат'"),
                refusal("messages", "sheets = []\ncolumns = {}"),
                refusal("messages", "sheets = 'Чат'\ncolumns = {body = 'Текст'}"),
                refusal("messages", "sheets = 'Чат'\ncolumns = {call_id = 'Звонок'}"),
                refusal("messages", "sheets = 'Чат'\ncolumns = {joined_at = 'Вход'}"),
                refusal("messages", "sheets = 'Чат'\ncolumns = {text = ' '}"),
                refusal(
                    "messages",
                    "sheets = 'Чат'\ncolumns = {text = 'Текст'}\nvalues = {role = {user = 'Гость'}}"
                ),
                refusal("messages", "sheets = 'Чат'\nrange = 'A1:B2'\ncolumns = {}"),
                refusal("participants", "sheets = 'Люди'\ncolumns = {sessions = 'Вход'}"),
            ]
            .join("\n")
        );
    }

    #[test]
    fn the_header_is_the_row_with_the_most_known_columns() {
        let mapping = Mapping::builtin().expect("mapping");
        let plan = mapping
            .plan("participants")
            .and_then(|plan| plan.sheet.as_ref())
            .expect("plan");
        let row = |index: u32, texts: &[&str]| SheetRow {
            index,
            cells: (0..)
                .zip(texts)
                .map(|(at, text)| (at, CellValue::Text((*text).into())))
                .collect(),
            wrong: Vec::new(),
        };
        let titles = row(0, &["Участник", "Роль"]);
        let header = row(3, &["№", "ИМЯ", "e - mail", "Вход", "Вход"]);
        let found = plan
            .header(&[titles.clone(), header.clone(), header])
            .expect("a header");
        assert_eq!((found.index, found.targets.len()), (3, 5));
        assert_eq!(found.names[&4], "Вход (E)");
        assert_eq!(found.targets[&3], Target::Joined);
        assert_eq!(found.targets[&4], Target::Extra("Вход (E)".into()));
        assert!(plan.header(&[row(0, &["Имя"])]).is_none());
        assert!(plan.is_of(" УЧАСТНИКИ"));
    }
}
