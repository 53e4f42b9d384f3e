//! The mapping's rules for a table in a workbook: the sheet's name and the texts of its header. Pure.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::cell_reference::letter;
use super::cell_value::CellValue;
use super::row_reader::SheetRow;
use super::sheet_rules::{Headers, SheetRules};
use crate::lake::table::builtin::{self, participants};
use crate::lake::table::{Table, Type};
use crate::lenient::InstantRules;
use crate::tables::mapping::names::{Names, Texts, fold};
use crate::tables::mapping::no_column::no_column;
use crate::tables::mapping::value_rules::{self, InstantFault, ValueRules};
use crate::tables::parquet::cell::Cell;

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
    /// The column of that index.
    Column(usize),
    /// A part of the text of a column: its index, and the number of the part.
    Part(usize, usize),
    /// The start of the stay that the row is.
    Joined,
    /// The end of that stay.
    Left,
    /// `extra`, under its header.
    Extra(String),
}

/// The values of a row, each with its destination.
pub(crate) type RowValues = Vec<(Rc<Target>, CellValue)>;

/// A table's `xlsx` rules, resolved. Names and headers are folded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SheetPlan {
    sheets: Vec<String>,
    columns: Vec<(Target, Vec<String>)>,
    /// How values are read, by column.
    rules: HashMap<usize, ValueRules>,
    joined: ValueRules,
    left: ValueRules,
    /// The column that gives the length of a stay without an end.
    pub(super) length: Option<usize>,
    only: Vec<Condition>,
    skip: Vec<Condition>,
}

/// Texts that a row has in one of the sheet's columns.
#[derive(Debug, Clone, PartialEq)]
struct Condition {
    place: ConditionPlace,
    /// Folded.
    texts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum ConditionPlace {
    Fed(Target),
    /// A folded header that feeds no column.
    Header(String),
}

/// A fault of the rules, and the keys below `xlsx` at which it stands.
#[derive(Debug)]
pub(crate) struct SheetFault<'r> {
    pub at: Vec<&'r str>,
    pub reason: String,
}

impl<'r> SheetFault<'r> {
    fn of_column(name: &'r str, reason: &str) -> Self {
        Self {
            at: vec!["columns", name],
            reason: format!("column `{name}` of `xlsx`: {reason}"),
        }
    }
}

impl From<InstantFault> for SheetFault<'_> {
    fn from(fault: InstantFault) -> Self {
        Self {
            at: vec![fault.key],
            reason: fault.reason,
        }
    }
}

impl From<String> for SheetFault<'_> {
    fn from(reason: String) -> Self {
        Self {
            at: Vec::new(),
            reason,
        }
    }
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
    /// Resolves rules. `outer` are the table's rules for instants.
    pub fn resolve<'r>(
        table: &Table,
        rules: &'r SheetRules,
        outer: &InstantRules,
    ) -> Result<Self, SheetFault<'r>> {
        if rules.sheets.is_empty() {
            return Err("`xlsx.sheets` must name a sheet".to_owned().into());
        }
        if rules.columns.is_empty() {
            return Err("`xlsx.columns` must name a column with its header"
                .to_owned()
                .into());
        }
        let instants = value_rules::instants(outer, rules.zone.as_deref(), &rules.formats)?;
        let stay_rules = |name: &'static str| {
            let options = rules.columns.get(name).map(|headers| &headers.options);
            let options = options.cloned().unwrap_or_default();
            ValueRules::resolve(Type::Timestamp, name, &options, &instants)
                .map_err(|reason| SheetFault::of_column(name, &reason))
        };
        let has_stays = table.columns.iter().any(|column| column.kind == Type::Sessions);
        let length = table.index(participants::duration_s).filter(|_| has_stays);
        let mut plan = Self {
            sheets: rules.sheets.0.iter().map(|name| fold(name)).collect(),
            columns: Vec::new(),
            rules: HashMap::new(),
            joined: stay_rules(JOINED)?,
            left: stay_rules(LEFT)?,
            length,
            only: Vec::new(),
            skip: Vec::new(),
        };
        for (name, headers) in &rules.columns {
            plan.add_column(table, has_stays, name, headers, &instants)
                .map_err(|reason| SheetFault::of_column(name, &reason))?;
        }
        plan.length = plan.length.filter(|index| plan.rules.contains_key(index));
        plan.add_words(table, rules)?;
        plan.only = plan.conditions(table, "where", &rules.only)?;
        plan.skip = plan.conditions(table, "skip", &rules.skip)?;
        Ok(plan)
    }

    fn add_column(
        &mut self,
        table: &Table,
        has_stays: bool,
        name: &str,
        headers: &Headers,
        instants: &InstantRules,
    ) -> Result<(), String> {
        let folded = |names: &Names| names.0.iter().map(|name| fold(name)).collect::<Vec<_>>();
        let (names, parts) = (folded(&headers.names), folded(&headers.concat));
        if names.iter().chain(&parts).all(String::is_empty) {
            return Err("a header's text is missing".into());
        }
        let stay = match name {
            JOINED if has_stays => Some(Target::Joined),
            LEFT if has_stays => Some(Target::Left),
            _ => None,
        };
        if let Some(target) = stay {
            if !parts.is_empty() {
                return Err("only texts have `concat`".into());
            }
            self.columns.push((target, names));
            return Ok(());
        }
        let (index, kind) = column(table, name)?;
        if kind != Type::String && !parts.is_empty() {
            return Err("only texts have `concat`".into());
        }
        let values = ValueRules::resolve(kind, name, &headers.options, instants)?;
        self.rules.insert(index, values);
        let parts = parts.into_iter().enumerate();
        self.columns
            .extend(parts.map(|(number, part)| (Target::Part(index, number), vec![part])));
        if !names.is_empty() {
            self.columns.push((Target::Column(index), names));
        }
        Ok(())
    }

    /// Adds the `values` that stand beside the columns.
    fn add_words<'r>(&mut self, table: &Table, rules: &'r SheetRules) -> Result<(), SheetFault<'r>> {
        for (name, known) in &rules.values {
            let fault = |reason| SheetFault {
                at: vec!["values", name],
                reason,
            };
            let index = table.index(name);
            let Some(values) = index.and_then(|index| self.rules.get_mut(&index)) else {
                return Err(fault(format!(
                    "`xlsx.values` of `{name}`, which `xlsx` does not feed"
                )));
            };
            for (value, texts) in known {
                values
                    .add_words(value, texts)
                    .map_err(|reason| fault(format!("`xlsx.values` of `{name}`: {reason}")))?;
            }
        }
        Ok(())
    }

    fn conditions<'r>(
        &self,
        table: &Table,
        key: &'static str,
        conditions: impl IntoIterator<Item = (&'r String, &'r Texts)>,
    ) -> Result<Vec<Condition>, SheetFault<'r>> {
        let resolve = |(name, texts): (&'r String, &Texts)| {
            let header = fold(name);
            let fed = match table.index(name) {
                Some(index) => self.rules.contains_key(&index).then_some(Target::Column(index)),
                None => {
                    let mut columns = self.columns.iter();
                    let column = columns.find(|(_, headers)| headers.contains(&header));
                    column.map(|(target, _)| target.clone())
                }
            };
            // A name like that of a column is one, and no header.
            let is_column = name
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
            if fed.is_none() && is_column {
                return Err(SheetFault {
                    at: vec![key, name],
                    reason: format!("`xlsx.{key}` of `{name}`, which `xlsx` does not feed"),
                });
            }
            Ok(Condition {
                place: fed.map_or(ConditionPlace::Header(header), ConditionPlace::Fed),
                texts: texts.folded(),
            })
        };
        conditions.into_iter().map(resolve).collect()
    }

    /// True if a sheet of that name belongs to this table.
    pub fn is_of(&self, sheet: &str) -> bool {
        let sheet = fold(sheet);
        self.sheets.iter().any(|pattern| is_like(pattern, &sheet))
    }

    /// The name of a sheet as far as the rules have it: itself if they name it, and a pattern with `number` for what the
    /// pattern leaves open if they have one.
    pub fn named(&self, sheet: &str, number: usize) -> Option<String> {
        let folded = fold(sheet);
        if self.sheets.contains(&folded) && !sheet.contains(['*', '?']) {
            return Some(sheet.to_owned());
        }
        let pattern = self.sheets.iter().find(|pattern| is_like(pattern, &folded))?;
        Some(pattern.replace('*', &number.to_string()).replace('?', "x"))
    }

    /// True if `where` or `skip` names a header that feeds no column.
    pub fn tests_header(&self, text: &str) -> bool {
        let header = fold(text);
        let is_it = |condition: &Condition| matches!(&condition.place, ConditionPlace::Header(known) if *known == header);
        self.only.iter().chain(&self.skip).any(is_it)
    }

    /// How the values of a destination are read; none for those that no column takes.
    pub(super) fn rules_of(&self, target: &Target) -> Option<&ValueRules> {
        match target {
            Target::Column(index) | Target::Part(index, _) => self.rules.get(index),
            Target::Joined => Some(&self.joined),
            Target::Left => Some(&self.left),
            Target::Extra(_) => None,
        }
    }

    /// The columns that have a value in rows without one.
    pub(super) fn defaults(&self) -> impl Iterator<Item = (usize, Cell<'static>)> {
        let rules = self.rules.iter().filter(|(_, rules)| rules.has_default());
        rules.map(|(index, rules)| (*index, rules.default()))
    }

    /// True if a column has a value in rows without one.
    pub fn has_default(&self, column: usize) -> bool {
        self.rules.get(&column).is_some_and(ValueRules::has_default)
    }

    /// True if a row has all the texts that the rules ask for.
    pub(super) fn is_wanted(&self, values: &RowValues, from_1904: bool) -> bool {
        self.only.iter().all(|condition| {
            let own = values.iter().find(|(target, _)| condition.place.is_at(target));
            let Some((target, value)) = own else {
                return condition.texts.iter().any(String::is_empty);
            };
            let texts = self.texts_of(target, value, from_1904);
            texts.iter().any(|text| condition.texts.contains(&fold(text)))
        })
    }

    /// True if a row is one of totals or the like, and not one of the table. The column of the rule decides; if it has
    /// no value in the row, any other column does.
    pub(super) fn is_skipped(&self, values: &RowValues, from_1904: bool) -> bool {
        self.skip.iter().any(|Condition { place, texts }| {
            let is_one = |(target, value): &(Rc<Target>, CellValue)| {
                let values = self.texts_of(target, value, from_1904);
                values.iter().any(|value| is_one_of(texts, value))
            };
            match values.iter().find(|(target, _)| place.is_at(target)) {
                Some(own) => is_one(own),
                None => values.iter().any(is_one),
            }
        })
    }

    /// A value as it stands in the workbook, and as its column reads it.
    fn texts_of<'d>(&self, target: &Target, value: &'d CellValue, from_1904: bool) -> Vec<Cow<'d, str>> {
        let read = self.rules_of(target).and_then(|rules| {
            let cell = rules.read(&value.node(rules.kind, rules.is_length(), from_1904));
            cell.ok()?.as_text().map(|text| text.to_owned().into())
        });
        let written = match value {
            CellValue::Text(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(other.text()),
        };
        std::iter::once(written).chain(read).collect()
    }

    /// The header among a sheet's first rows: the first row that has the most columns.
    pub(super) fn header(&self, rows: &[SheetRow]) -> Option<Header> {
        let fewest = FEWEST.min(self.columns.len()).max(1);
        let mut best: Option<(usize, Header)> = None;
        for row in rows {
            let (found, header) = self.held_against(row);
            if !self.has_conditions(&header) {
                continue;
            }
            if found >= fewest && best.as_ref().is_none_or(|(most, _)| found > *most) {
                best = Some((found, header));
            }
        }
        best.map(|(_, header)| header)
    }

    /// True if a header has the texts that `where` asks for; without them no row would count.
    fn has_conditions(&self, header: &Header) -> bool {
        let targets = || header.targets.values();
        let is_there = |condition: &Condition| targets().any(|target| condition.place.is_at(target));
        let is_empty = |condition: &Condition| condition.texts.iter().any(String::is_empty);
        self.only
            .iter()
            .all(|condition| is_there(condition) || is_empty(condition))
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

impl ConditionPlace {
    fn is_at(&self, target: &Target) -> bool {
        match (self, target) {
            (Self::Fed(Target::Column(fed)), Target::Part(index, _)) => fed == index,
            (Self::Fed(fed), target) => fed == target,
            (Self::Header(header), Target::Extra(name)) => *header == fold(name),
            (Self::Header(_), _) => false,
        }
    }
}

/// True if a text has the form of a pattern, in which `*` stands for any characters and `?` for one.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut within) = (0, 0);
    // The last `*`, and the place in the text up to which it reaches.
    let mut star: Option<(usize, usize)> = None;
    while within < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, within));
                at += 1;
            }
            Some(char) if *char == '?' || *char == text[within] => {
                at += 1;
                within += 1;
            }
            _ => {
                let Some((from, reached)) = star else {
                    return false;
                };
                star = Some((from, reached + 1));
                (at, within) = (from + 1, reached + 1);
            }
        }
    }
    pattern[at..].iter().all(|char| *char == '*')
}

/// True if a text is one of some words, perhaps with a number behind it: `Итого`, `Итого:`, `Total (25)`.
fn is_one_of(words: &[String], text: &str) -> bool {
    if text.len() > MOST_FOLDED {
        return false;
    }
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
    let mut seen = HashSet::new();
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

/// The index and type of a column that a sheet may feed.
fn column(table: &Table, name: &str) -> Result<(usize, Type), String> {
    let index = table.index(name).ok_or_else(|| no_column(table, name))?;
    if name == builtin::rest::extra || builtin::CALL_COLUMNS.contains(&name) {
        return Err("it is filled by the program".into());
    }
    match table.columns[index].kind {
        Type::Sessions => Err("a row is one stay: `joined_at` and `left_at` feed it".into()),
        kind => Ok((index, kind)),
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
