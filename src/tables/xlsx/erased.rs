//! Erases people from a workbook: their rows become blank, so that the other rows keep their numbers. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::budget::Budget;
use super::cell_reference::letter;
use super::cell_value::CellValue;
use super::refusal::Refusal;
use super::row_reader::{Book, SheetRow};
use super::sheet_plan::{Header, Target};
use super::workbook::{HEADER_WITHIN, Merged};
use super::written::{self, WrittenCell, WrittenSheet, serial_day};
use crate::lake::erased::Erased;
use crate::lake::table::builtin::participants;
use crate::tables::erase::{ErasedReport, RowPerson, Traces, folded, is_erased};
use crate::tables::mapping::Mapping;
use crate::tables::mapping::plan::TablePlan;

/// A sheet with all its rows.
struct WholeSheet<'m> {
    name: String,
    rows: Vec<SheetRow>,
    /// The cells of each row, and the values that a merged region shares with it.
    filled: Vec<Vec<(u32, CellValue)>>,
    merged: Vec<Region>,
    /// The table that it feeds, and its header.
    bound: Option<(&'m TablePlan, Header)>,
}

/// A merged region: its first and its last row and column.
type Region = ((u32, u32), (u32, u32));

/// What has become of a workbook.
#[derive(Default)]
struct Search {
    /// The rows that go, by sheet and position.
    rows: HashSet<(usize, usize)>,
    /// The cells that go from other rows, by sheet, position and column.
    cells: HashSet<(usize, usize, u32)>,
    /// Folded names of people who stay.
    other_names: BTreeSet<String>,
    counts: BTreeMap<String, u64>,
    mentions: BTreeMap<String, u64>,
}

/// Erases people from a workbook, as [`erase_report`](crate::tables::erase_report) does from a JSON report.
///
/// # Errors
/// The reason why it can't be read.
pub fn erase_workbook(
    bytes: &[u8],
    mapping: &Mapping,
    erased: &Erased,
    known: &mut Traces,
) -> Result<Option<ErasedReport>, Refusal> {
    catch_unwind(AssertUnwindSafe(|| erase(bytes, mapping, erased, known)))
        .unwrap_or(Err(Refusal::Unreadable))
}

fn erase(
    bytes: &[u8],
    mapping: &Mapping,
    erased: &Erased,
    known: &mut Traces,
) -> Result<Option<ErasedReport>, Refusal> {
    let mut book = Book::open(bytes)?;
    let from_1904 = book.is_from_1904();
    let sheets = sheets(&mut book, mapping)?;
    let mut search = Search::default();
    let is_people = |sheet: &WholeSheet<'_>| {
        sheet
            .bound
            .as_ref()
            .is_some_and(|(plan, _)| plan.table.name == participants::NAME)
    };
    search.people(&sheets, &is_people, erased, known);
    for sheet in &sheets {
        for at in 0..sheet.rows.len() {
            known.recognize(sheet.person(at).name.as_deref(), erased);
        }
    }
    if known.is_empty() {
        return Ok(None);
    }
    for (at, sheet) in sheets.iter().enumerate() {
        search.sheet(at, sheet, is_people(sheet), erased, known);
    }
    let Search {
        rows,
        cells,
        counts,
        mentions,
        ..
    } = search;
    if rows.is_empty() && cells.is_empty() && mentions.is_empty() {
        return Ok(None);
    }
    let bytes = match rows.is_empty() && cells.is_empty() {
        true => bytes.to_vec(),
        false => {
            let sheets: Vec<_> = sheets
                .iter()
                .enumerate()
                .map(|(at, sheet)| kept(at, sheet, &rows, &cells))
                .collect();
            written::workbook(&sheets, from_1904).map_err(|_| Refusal::Unreadable)?
        }
    };
    Ok(Some(ErasedReport {
        bytes,
        rows: counts,
        others: cells.len() as u64,
        mentions,
    }))
}

fn sheets<'m>(book: &mut Book, mapping: &'m Mapping) -> Result<Vec<WholeSheet<'m>>, Refusal> {
    let mut budget = Budget::default();
    let mut sheets = Vec::new();
    for part in book.sheets() {
        let mut rows = Vec::new();
        book.rows::<Refusal>(&part, &mut budget, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
        let mut plans = mapping
            .tables
            .iter()
            .filter_map(|plan| Some((plan, plan.sheet.as_ref()?)));
        let bound = plans
            .find(|(_, rules)| rules.is_of(&part.name))
            .and_then(|(plan, rules)| {
                let header = rules.header(&rows[..rows.len().min(HEADER_WITHIN)])?;
                Some((plan, header))
            });
        let mut filling = match bound {
            Some(_) => Merged::of(book, &part)?,
            None => Merged::default(),
        };
        let regions = book.merged(&part)?;
        sheets.push(WholeSheet {
            filled: rows.iter().map(|row| filling.fill(row.clone())).collect(),
            merged: regions.iter().map(|region| (region.start, region.end)).collect(),
            name: part.name,
            rows,
            bound,
        });
    }
    Ok(sheets)
}

impl WholeSheet<'_> {
    /// True if a row is below the header of a sheet that feeds a table.
    fn is_data(&self, row: &SheetRow) -> bool {
        self.bound
            .as_ref()
            .is_some_and(|(_, header)| row.index > header.index)
    }

    /// The person that a row names.
    fn person(&self, at: usize) -> RowPerson {
        let Some((plan, header)) = &self.bound else {
            return RowPerson::default();
        };
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for (column, cell) in &self.filled[at] {
            if let Some(Target::Column(index) | Target::Part(index, _)) = header.targets.get(column) {
                let text = texts.entry(&plan.table.columns[*index].name).or_default();
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&cell.text());
            }
        }
        RowPerson::of(|name| texts.get(name).cloned())
    }
}

impl Search {
    /// Finds the rows of participants of erased people, and learns of them.
    fn people(
        &mut self,
        sheets: &[WholeSheet<'_>],
        is_people: &dyn Fn(&WholeSheet<'_>) -> bool,
        erased: &Erased,
        known: &mut Traces,
    ) {
        let mut people = Vec::new();
        for (of, sheet) in sheets.iter().enumerate().filter(|(_, sheet)| is_people(sheet)) {
            let rows = sheet
                .rows
                .iter()
                .enumerate()
                .filter(|(_, row)| sheet.is_data(row));
            people.extend(rows.map(|(at, _)| ((of, at), sheet.person(at))));
        }
        for (_, person) in &people {
            known.recognize(person.name.as_deref(), erased);
        }
        self.take_known(&mut people, known, |person, known, _| {
            is_erased(person, erased) || known.has(person)
        });
        let others = people.iter().filter(|(_, person)| !person.is_anonymous());
        self.other_names = others
            .filter_map(|(_, person)| person.name.as_deref().map(folded))
            .collect();
        self.take_known(&mut people, known, |person, known, other_names| {
            known.has(person) || known.has_anonymous(person, other_names)
        });
    }

    /// Takes rows of people who are known, as long as they tell more of the people.
    fn take_known(
        &mut self,
        people: &mut Vec<((usize, usize), RowPerson)>,
        known: &mut Traces,
        is_one: impl Fn(&RowPerson, &Traces, &BTreeSet<String>) -> bool,
    ) {
        loop {
            let before = known.clone();
            people.retain(|(place, person)| {
                let goes = is_one(person, known, &self.other_names);
                if goes {
                    known.learn(person);
                    self.rows.insert(*place);
                    *self.counts.entry(participants::NAME.to_owned()).or_default() += 1;
                }
                !goes
            });
            if *known == before {
                return;
            }
        }
    }

    /// Finds the other rows and cells of a sheet that go, and the texts that mention a person.
    fn sheet(&mut self, of: usize, sheet: &WholeSheet<'_>, is_people: bool, erased: &Erased, known: &Traces) {
        if known.is_mentioned_in(&sheet.name, &self.other_names) {
            *self.mentions.entry("name of a sheet".to_owned()).or_default() += 1;
        }
        for (at, row) in sheet.rows.iter().enumerate() {
            if self.rows.contains(&(of, at)) {
                continue;
            }
            let is_data = sheet.is_data(row);
            if is_data && !is_people {
                let person = sheet.person(at);
                let name = person
                    .name
                    .as_deref()
                    .filter(|_| person.participant.is_none() && person.user.is_none());
                let by_name = name.is_some_and(|name| known.is_own_name(name, &self.other_names));
                if is_erased(&person, erased) || known.has(&person) || by_name {
                    self.rows.insert((of, at));
                    let table = sheet.bound.as_ref().map(|(plan, _)| plan.table.name.to_string());
                    *self.counts.entry(table.unwrap_or_default()).or_default() += 1;
                    continue;
                }
            }
            for (column, cell) in &row.cells {
                let text = cell.text();
                // In a sheet that is read, an address in a row of somebody else is that person's: families share them.
                let is_address = sheet.bound.is_none() && known.is_address("", &text);
                if known.is_telling_id(&text) || is_address {
                    // In a sheet that nothing reads, a row with the person's id is about the person.
                    match sheet.bound {
                        Some(_) => drop(self.cells.insert((of, at, *column))),
                        None => drop(self.rows.insert((of, at))),
                    }
                } else if known.is_mentioned_in(&text, &self.other_names) {
                    // The name of the sheet may itself be data.
                    let place = format!("sheet {}, column {}", of + 1, letter(*column));
                    *self.mentions.entry(place).or_default() += 1;
                }
            }
        }
    }
}

/// The sheet without the rows and cells that go.
fn kept(
    of: usize,
    sheet: &WholeSheet<'_>,
    rows: &HashSet<(usize, usize)>,
    cells: &HashSet<(usize, usize, u32)>,
) -> WrittenSheet {
    let stays = |at: &usize| !rows.contains(&(of, *at));
    let (merged, shared) = shrunk(sheet, &stays);
    let kept = sheet.rows.iter().enumerate().filter(|(at, _)| stays(at));
    let kept = kept.map(|(at, row)| {
        let stay = row
            .cells
            .iter()
            .filter(|(column, _)| !cells.contains(&(of, at, *column)));
        let taken_over = shared.get(&at).into_iter().flatten();
        let wrong = row.wrong.iter().map(|column| (*column, WrittenCell::Error));
        let mut written: Vec<_> = stay
            .chain(taken_over)
            .map(|(column, cell)| (*column, written_cell(cell)))
            .chain(wrong)
            .collect();
        written.sort_by_key(|(column, _)| *column);
        (row.index, written)
    });
    WrittenSheet {
        name: sheet.name.clone(),
        rows: kept.collect(),
        merged,
    }
}

/// Cells that a row takes over, by the position of the row.
type TakenOver = BTreeMap<usize, Vec<(u32, CellValue)>>;

/// The merged regions without the rows that go. The value of a region whose first row goes is that of its first row that stays.
fn shrunk(sheet: &WholeSheet<'_>, stays: &dyn Fn(&usize) -> bool) -> (Vec<String>, TakenOver) {
    let place = |(row, column): (u32, u32)| format!("{}{}", letter(column), u64::from(row) + 1);
    let (mut merged, mut shared) = (Vec::new(), TakenOver::new());
    for (start, end) in &sheet.merged {
        let mut within = sheet.rows.iter().enumerate();
        let first = within.find(|(at, row)| (start.0..=end.0).contains(&row.index) && stays(at));
        let Some((at, row)) = first else { continue };
        if row.index != start.0 {
            let value = sheet.filled[at].iter().find(|(column, _)| *column == start.1);
            shared.entry(at).or_default().extend(value.cloned());
        }
        if row.index < end.0 || start.1 < end.1 {
            merged.push(format!("{}:{}", place((row.index, start.1)), place(*end)));
        }
    }
    (merged, shared)
}

fn written_cell(cell: &CellValue) -> WrittenCell {
    match cell {
        CellValue::Text(text) => WrittenCell::Text(text.clone()),
        CellValue::Number(number) => WrittenCell::Number(number.to_string()),
        CellValue::Truth(truth) => WrittenCell::Truth(*truth),
        CellValue::Instant(at) => WrittenCell::Date(serial_day(*at)),
        #[expect(clippy::cast_precision_loss, reason = "no span has 2^53 milliseconds")]
        CellValue::Span(ms) => WrittenCell::Length(*ms as f64 / 86_400_000.0),
    }
}
