//! A look at every sheet of a workbook: its header, and the shapes of the cells below it. Pure; called by `check` and before a
//! workbook is masked.

use std::collections::BTreeMap;

use super::budget::Budget;
use super::cell_reference::letter;
use super::cell_value::CellValue;
use super::refusal::Refusal;
use super::row_reader::{Book, SheetRow};
use super::sheet_plan::{JOINED, LEFT, Target};
use super::workbook::HEADER_WITHIN;
use crate::lenient::Scalar;
use crate::tables::fit::value_shape::{Sort, sort, text_shape};
use crate::tables::fit::words;
use crate::tables::mapping::Mapping;
use crate::tables::mapping::plan::TablePlan;

/// Most characters of a text that may be a header.
const LONGEST_HEADER: usize = 60;
/// The rows below a header in which a typed cell is searched.
const TYPED_WITHIN: usize = 5;
/// Most shapes that are kept of a column.
const MOST_SHAPES: usize = 4;

/// A sheet.
#[derive(Debug, Clone)]
pub(crate) struct SheetSurvey {
    /// Its name, which may be data.
    pub name: String,
    /// Its position in the workbook, from 1.
    pub number: usize,
    /// Its name if that is no data: if the mapping names it, or if all its words are known.
    pub told: Option<String>,
    /// The table that it feeds, if its name is known.
    pub table: Option<String>,
    /// The number of its rows that are not empty.
    pub rows: u64,
    /// The header's row, from 0.
    pub header: Option<u32>,
    /// True if the mapping knows the header; else it is only likely.
    pub is_known: bool,
    /// Its columns, those with a header at least.
    pub columns: BTreeMap<u32, ColumnSurvey>,
}

/// A column of a sheet.
#[derive(Debug, Clone, Default)]
pub(crate) struct ColumnSurvey {
    /// Its letter.
    pub letter: String,
    /// Its header; none if there is none, or if it may be data: neither the mapping nor the program's words know it.
    pub header: Option<String>,
    /// The column that it feeds.
    pub feeds: Option<String>,
    /// The number of cells below the header.
    pub cells: u64,
    /// The shapes of those cells.
    pub shapes: BTreeMap<String, u64>,
    /// Their sorts.
    pub sorts: BTreeMap<Sort, u64>,
}

impl ColumnSurvey {
    fn add(&mut self, cell: &CellValue) {
        self.cells += 1;
        let shape = match cell {
            CellValue::Text(text) => format!("\"{}\"", text_shape(text)),
            CellValue::Number(_) => text_shape(&cell.text()),
            CellValue::Truth(_) => "true or false".to_owned(),
            CellValue::Instant(_) => "a date cell".to_owned(),
            CellValue::Span(_) => "a time cell".to_owned(),
        };
        let is_room = self.shapes.len() < MOST_SHAPES;
        match self.shapes.get_mut(&shape) {
            Some(times) => *times += 1,
            None if is_room => drop(self.shapes.insert(shape, 1)),
            None => {}
        }
        if let Some(sort) = sort_of(cell) {
            *self.sorts.entry(sort).or_default() += 1;
        }
    }
}

/// The sort of a cell's value.
fn sort_of(cell: &CellValue) -> Option<Sort> {
    match cell {
        CellValue::Text(text) => sort(Scalar::Text(text)),
        CellValue::Number(_) => Some(Sort::Number),
        CellValue::Truth(_) => Some(Sort::Truth),
        CellValue::Instant(_) => Some(Sort::Instant),
        CellValue::Span(_) => Some(Sort::Duration),
    }
}

/// Surveys all sheets of a workbook.
///
/// # Errors
/// The reason why it can't be read.
pub(crate) fn survey(bytes: &[u8], mapping: &Mapping) -> Result<Vec<SheetSurvey>, Refusal> {
    let mut book = Book::open(bytes)?;
    let mut budget = Budget::default();
    let mut surveys = Vec::new();
    for (number, sheet) in (1..).zip(book.sheets()) {
        let mut first = Vec::new();
        book.rows::<Refusal>(&sheet, &mut budget, &mut |row| {
            if first.len() < HEADER_WITHIN {
                first.push(row);
            }
            Ok(())
        })?;
        let mut survey = headed(&sheet.name, number, &first, mapping);
        book.rows::<Refusal>(&sheet, &mut budget, &mut |row| {
            survey.rows += 1;
            if survey.header.is_none_or(|header| row.index > header) {
                for (column, cell) in &row.cells {
                    survey.column(*column).add(cell);
                }
            }
            Ok(())
        })?;
        surveys.push(survey);
    }
    Ok(surveys)
}

/// A survey with the header among the first rows of a sheet.
pub(super) fn headed(name: &str, number: usize, first: &[SheetRow], mapping: &Mapping) -> SheetSurvey {
    let plan = mapping
        .tables
        .iter()
        .find(|plan| plan.sheet.as_ref().is_some_and(|rules| rules.is_of(name)));
    let known = plan.and_then(|plan| Some((plan, plan.sheet.as_ref()?.header(first)?)));
    let header = match &known {
        Some((_, header)) => Some(header.index),
        None => likely_header(first),
    };
    let mut survey = SheetSurvey {
        name: name.to_owned(),
        number,
        told: told(name, number, plan),
        table: plan.map(|plan| plan.table.name.to_string()),
        rows: 0,
        header,
        is_known: known.is_some(),
        columns: BTreeMap::new(),
    };
    let texts = first.iter().find(|row| Some(row.index) == header);
    for (column, cell) in texts.iter().flat_map(|row| &row.cells) {
        let target = known
            .as_ref()
            .and_then(|(plan, header)| fed(plan, header.targets.get(column)?));
        // A row of data may be taken for a header: only texts that are known are told.
        let is_tested = plan.and_then(|plan| plan.sheet.as_ref());
        let is_tested = |text: &str| is_tested.is_some_and(|rules| rules.tests_header(text));
        let is_header = target.is_some()
            || (is_heading(cell) && (is_tested(&cell.text()) || words::is_known_phrase(&cell.text())));
        let of = survey.column(*column);
        of.header = is_header.then(|| cell.text().split_whitespace().collect::<Vec<_>>().join(" "));
        of.feeds = target;
    }
    survey
}

/// The name of a sheet as far as it is no data.
fn told(name: &str, number: usize, plan: Option<&TablePlan>) -> Option<String> {
    let of_rules = plan.and_then(|plan| plan.sheet.as_ref()?.named(name, number));
    let is_named = of_rules.as_deref() == Some(name);
    match is_named || words::is_known_phrase(name) {
        true => Some(name.to_owned()),
        false => of_rules,
    }
}

impl SheetSurvey {
    /// What people are told of its name: the name in quotes, or its position if the name may be data.
    pub fn label(&self) -> String {
        match &self.told {
            Some(name) => format!("sheet \"{name}\""),
            None => format!("sheet {}", self.number),
        }
    }

    fn column(&mut self, column: u32) -> &mut ColumnSurvey {
        self.columns.entry(column).or_insert_with(|| ColumnSurvey {
            letter: letter(column),
            ..ColumnSurvey::default()
        })
    }
}

/// The name of the column that a target is.
fn fed(plan: &TablePlan, target: &Target) -> Option<String> {
    match target {
        Target::Column(index) | Target::Part(index, _) => Some(plan.table.columns[*index].name.to_string()),
        Target::Joined => Some(JOINED.to_owned()),
        Target::Left => Some(LEFT.to_owned()),
        Target::Extra(_) => None,
    }
}

/// True if a cell may be a heading: a text that is short and surely no data.
fn is_heading(cell: &CellValue) -> bool {
    match cell {
        CellValue::Text(text) => {
            let digits = text.chars().filter(char::is_ascii_digit).count();
            text.chars().count() <= LONGEST_HEADER
                && digits <= 2
                && !sort_of(cell).is_some_and(Sort::is_surely_data)
        }
        _ => false,
    }
}

/// True if a cell is data for certain.
fn is_typed(cell: &CellValue) -> bool {
    sort_of(cell).is_some_and(|sort| sort.is_surely_data() || sort == Sort::Truth)
}

/// The row that is likely to be the header: headings alone, above typed cells in most of the rows that follow.
fn likely_header(rows: &[SheetRow]) -> Option<u32> {
    let is_candidate = |at: usize| {
        let row = &rows[at];
        let below = rows[at + 1..].iter().take(TYPED_WITHIN);
        row.cells.len() >= 2
            && row.wrong.is_empty()
            && row.cells.iter().all(|(_, cell)| is_heading(cell))
            && below.into_iter().any(|under| has_typed_below(row, under))
    };
    let candidates: Vec<usize> = (0..rows.len()).filter(|at| is_candidate(*at)).collect();
    let reach = |place: usize| {
        let (from, to) = (
            candidates[place],
            candidates.get(place + 1).copied().unwrap_or(rows.len()),
        );
        rows[from + 1..to]
            .iter()
            .filter(|under| has_typed_below(&rows[from], under))
            .count()
    };
    // If the rows that follow are equally many, the first candidate wins.
    let best = (0..candidates.len()).max_by_key(|place| (reach(*place), std::cmp::Reverse(*place)))?;
    (reach(best) > 0).then(|| rows[candidates[best]].index)
}

fn has_typed_below(header: &SheetRow, row: &SheetRow) -> bool {
    let is_headed = |column: &u32| header.cells.iter().any(|(known, _)| known == column);
    row.cells
        .iter()
        .any(|(column, cell)| is_headed(column) && is_typed(cell))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: u32, texts: &[&str]) -> SheetRow {
        let cell = |text: &&str| match text.parse() {
            Ok(number) => CellValue::Number(number),
            Err(_) => CellValue::Text((*text).to_owned()),
        };
        SheetRow {
            index,
            cells: (0..).zip(texts.iter().map(cell)).collect(),
            wrong: Vec::new(),
        }
    }

    #[test]
    fn a_header_is_texts_above_typed_cells() {
        let title = row(0, &["Отчёт по уроку"]);
        let header = row(2, &["Кто", "Почта", "Минут"]);
        let people = [
            row(3, &["Иван", "i@x.ru", "5"]),
            row(4, &["Ольга", "o@x.ru", "7"]),
        ];
        let rows = [&[title.clone(), header.clone()][..], &people].concat();
        assert_eq!(likely_header(&rows), Some(2));
        // Without a header, and with texts alone, no row is one.
        assert_eq!(likely_header(&people), None);
        assert_eq!(
            likely_header(&[title, row(1, &["Имя", "Текст"]), row(2, &["Иван", "привет"])]),
            None
        );
        // The names of people above a matrix are data.
        let matrix = [
            row(0, &["Дата", "Иван Петров", "Ольга"]),
            row(1, &["22.11.2026", "5", "7"]),
            row(2, &["Ольга Смирнова"]),
        ];
        let mapping = Mapping::builtin().expect("mapping");
        let survey = headed("Лист1", 1, &matrix, &mapping);
        let headers: Vec<_> = survey
            .columns
            .values()
            .map(|column| column.header.as_deref())
            .collect();
        assert_eq!(
            (survey.header, headers),
            (Some(0), vec![Some("Дата"), None, None])
        );
        // A row of data that is taken for a header is not told, and neither is the name of the sheet.
        let pupils = [row(0, &["Иванова", "домашний класс"]), row(1, &["x", "7"])];
        let survey = headed("7Б Иванова", 3, &pupils, &mapping);
        assert_eq!(survey.header, Some(0));
        assert!(survey.columns.values().all(|column| column.header.is_none()));
        assert_eq!(survey.label(), "sheet 3");
        let rules = "version = 1\n[table.participants.xlsx]\nsheets = ['Класс *']\ncolumns.name = 'Кто'\nskip = { 'Домашний класс' = 'нет' }";
        let own = Mapping::over_builtin(rules, "m").expect("a mapping");
        let survey = headed("Класс Ивановой", 3, &pupils, &own);
        assert_eq!(survey.label(), "sheet \"класс3\"");
        let told: Vec<_> = survey
            .columns
            .values()
            .map(|column| column.header.as_deref())
            .collect();
        assert_eq!(told, [None, Some("домашний класс")]);
        // Two blocks below each other: the one with more rows.
        let call = [row(0, &["Встреча", "Дней"]), row(1, &["x", "7"])];
        let rows = [&call[..], &[header], &people].concat();
        assert_eq!(likely_header(&rows), Some(2));
    }
}
