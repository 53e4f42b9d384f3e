//! Reads a whole workbook, sheet by sheet; those of tables below their headers. Pure.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::budget::Budget;
use super::cell_reference::letter;
use super::cell_value::{CellValue, UNREADABLE};
use super::package::SheetPart;
use super::refusal::Refusal;
use super::row_reader::{Book, SheetRow};
use super::sheet_plan::{Header, RowValues, SheetPlan, Target};
use crate::error::Error;
use crate::tables::mapping::Mapping;
use crate::tables::privacy::policy::SheetCell;

/// Rows in which the header is searched.
pub(super) const HEADER_WITHIN: usize = 50;
/// Most rows of tables, most of their values, and most bytes of their texts. Unlike `report_rows` they are held in
/// memory.
const MOST_BOUND: (usize, usize, usize) = (250_000, 4_000_000, 128 << 20);

/// The content of a workbook for the tables.
#[derive(Debug, Default)]
pub(crate) struct Workbook {
    /// The number of rows of all sheets that are not empty, with titles and headers.
    pub rows: u64,
    /// The rows of each table whose sheet and header were found.
    pub tables: BTreeMap<String, Vec<TableSheet>>,
    /// The number of cells that hold an error instead of a value.
    pub wrong: u64,
    /// The number of characters that could not be decoded.
    pub replaced: u64,
    /// The number of tables' sheets without a header that the mapping knows.
    pub headless: u64,
    held: HeldSize,
}

/// The size of the tables' rows in memory.
#[derive(Debug, Default)]
struct HeldSize {
    rows: usize,
    values: usize,
    text: usize,
}

impl HeldSize {
    fn add(&mut self, cells: &[(u32, CellValue)]) -> Result<(), Refusal> {
        self.rows += 1;
        self.values += cells.len();
        // Merged cells count in every row, although their text stands in the file once.
        self.text += cells.iter().map(|(_, datum)| datum.size()).sum::<usize>();
        let (rows, values, text) = MOST_BOUND;
        match self.rows > rows || self.values > values || self.text > text {
            true => Err(Refusal::TooMuch),
            false => Ok(()),
        }
    }
}

/// A table's rows in one sheet.
#[derive(Debug)]
pub(crate) struct TableSheet {
    /// The sheet's name.
    pub name: String,
    /// The values of each row.
    pub rows: Vec<RowValues>,
    /// True if serial days count from 1904.
    pub from_1904: bool,
}

/// A row for `report_rows`.
#[derive(Debug)]
pub(crate) struct RawRow<'l> {
    pub sheet: &'l str,
    /// From 1, as Excel counts.
    pub number: i64,
    pub cells: Vec<RawCell>,
    /// The table that the sheet feeds, if its header is known.
    pub table: Option<&'l str>,
}

/// A cell of such a row.
#[derive(Debug)]
pub(crate) struct RawCell {
    /// The text of its header, else the letter of its column.
    pub name: String,
    pub text: String,
    /// The index of the table's column that it feeds.
    pub fed: Option<usize>,
    /// True if it is a time of the stay that the row is.
    pub is_time: bool,
}

impl RawRow<'_> {
    /// The place of a cell in the eyes of the privacy policy.
    pub fn place(&self, cell: &RawCell) -> SheetCell<'_> {
        match (self.table, cell.fed) {
            (None, _) => SheetCell::Headless,
            (Some(table), Some(column)) => SheetCell::Fed(table, column),
            (Some(_), None) if cell.is_time => SheetCell::Time,
            (Some(_), None) => SheetCell::Other,
        }
    }
}

/// The reason why reading ended early.
#[derive(Debug)]
pub(crate) enum ReadStop {
    /// The workbook is refused.
    Refused(Refusal),
    /// Its rows could not be written.
    Failed(Error),
}

impl From<Refusal> for ReadStop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for ReadStop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Receives the rows of a workbook while they are read.
type RawRows<'l> = &'l mut dyn FnMut(RawRow<'_>) -> Result<(), Error>;

/// Reads a workbook. Each row goes to `lines` as it is read, even if the workbook turns out to be damaged further on.
/// The rows of tables are kept.
pub(crate) fn read(bytes: &[u8], mapping: &Mapping, lines: RawRows<'_>) -> Result<Workbook, ReadStop> {
    // The libraries that read the archive and the XML were made for harmless files. If one of them panics, the workbook
    // is refused and the program goes on.
    catch_unwind(AssertUnwindSafe(|| read_sheets(bytes, mapping, lines)))
        .unwrap_or(Err(ReadStop::Refused(Refusal::Unreadable)))
}

fn read_sheets(bytes: &[u8], mapping: &Mapping, lines: RawRows<'_>) -> Result<Workbook, ReadStop> {
    let mut book = Book::open(bytes)?;
    let mut workbook = Workbook::default();
    let mut budget = Budget::default();
    for sheet in book.sheets() {
        let plan = mapping.tables.iter().find_map(|plan| {
            let rules = plan.sheet.as_ref().filter(|rules| rules.is_of(&sheet.name))?;
            Some((plan.table.name.to_string(), rules))
        });
        let merged = match plan {
            Some(_) => Merged::of(&mut book, &sheet)?,
            None => Merged::default(),
        };
        let rules = plan.as_ref().map(|(table, rules)| (table.as_str(), *rules));
        let mut reading = SheetReading::new(&sheet.name, rules, merged, &mut workbook);
        reading.from_1904 = book.is_from_1904();
        book.rows(&sheet, &mut budget, &mut |row| reading.take(row, lines))?;
        let bound = reading.end(lines)?;
        if let (Some((table, _)), Some(bound)) = (plan, bound) {
            workbook.tables.entry(table).or_default().push(bound);
        }
    }
    workbook.replaced = book.replaced;
    Ok(workbook)
}

/// A sheet while it is read.
struct SheetReading<'r> {
    sheet: &'r str,
    /// The table that the sheet feeds.
    table: &'r str,
    plan: Option<&'r SheetPlan>,
    /// True if serial days count from 1904.
    from_1904: bool,
    merged: Merged,
    workbook: &'r mut Workbook,
    /// The first rows, until it is known which of them is the header.
    first: Vec<SheetRow>,
    searching: bool,
    header: Option<Bound>,
    rows: Vec<RowValues>,
}

/// A header that was found; all rows share its targets.
struct Bound {
    header: Header,
    targets: HashMap<u32, Rc<Target>>,
}

impl<'r> SheetReading<'r> {
    fn new(
        sheet: &'r str,
        plan: Option<(&'r str, &'r SheetPlan)>,
        merged: Merged,
        workbook: &'r mut Workbook,
    ) -> Self {
        let (table, plan) = plan.unzip();
        Self {
            sheet,
            table: table.unwrap_or_default(),
            plan,
            from_1904: false,
            merged,
            workbook,
            first: Vec::new(),
            searching: plan.is_some(),
            header: None,
            rows: Vec::new(),
        }
    }

    fn take(&mut self, row: SheetRow, lines: RawRows<'_>) -> Result<(), ReadStop> {
        self.workbook.rows += 1;
        self.workbook.wrong += row.wrong.len() as u64;
        if !self.searching {
            return self.put(row, lines);
        }
        self.first.push(row);
        match self.first.len() < HEADER_WITHIN {
            true => Ok(()),
            false => self.decide(lines),
        }
    }

    /// Finds the header among the first rows; the rows below it belong to the table.
    fn decide(&mut self, lines: RawRows<'_>) -> Result<(), ReadStop> {
        self.searching = false;
        self.header = self
            .plan
            .and_then(|plan| plan.header(&self.first))
            .map(|header| Bound {
                targets: header
                    .targets
                    .iter()
                    .map(|(column, target)| (*column, Rc::new(target.clone())))
                    .collect(),
                header,
            });
        for row in std::mem::take(&mut self.first) {
            self.put(row, lines)?;
        }
        Ok(())
    }

    fn put(&mut self, row: SheetRow, lines: RawRows<'_>) -> Result<(), ReadStop> {
        if self
            .header
            .as_ref()
            .is_some_and(|bound| row.index <= bound.header.index)
        {
            return Ok(());
        }
        let name = |column: &u32| match &self.header {
            Some(bound) => bound.header.names.get(column).cloned(),
            None => None,
        };
        let target = |column: &u32| self.header.as_ref()?.targets.get(column).map(Rc::as_ref);
        let cells: Vec<_> = row
            .cells
            .iter()
            .map(|(column, datum)| RawCell {
                name: name(column).unwrap_or_else(|| letter(*column)),
                text: datum.text(),
                fed: match target(column) {
                    Some(Target::Column(index) | Target::Part(index, _)) => Some(*index),
                    _ => None,
                },
                is_time: matches!(target(column), Some(Target::Joined | Target::Left)),
            })
            .collect();
        if !cells.is_empty() {
            lines(RawRow {
                sheet: self.sheet,
                number: i64::from(row.index) + 1,
                cells,
                table: self.header.as_ref().map(|_| self.table),
            })?;
        }
        if self.header.is_some() {
            self.bind(row)?;
        }
        Ok(())
    }

    /// Keeps the row for its table.
    fn bind(&mut self, row: SheetRow) -> Result<(), Refusal> {
        let Some(bound) = &self.header else {
            return Ok(());
        };
        // A row that holds only errors has no values.
        if row.cells.is_empty() {
            return Ok(());
        }
        // A time of a stay counts even if its cell can't be read.
        let is_stay = |column: &u32| {
            let target = bound.targets.get(column).map(Rc::as_ref);
            matches!(target, Some(Target::Joined | Target::Left))
        };
        let wrong: Vec<_> = row.wrong.iter().copied().filter(is_stay).collect();
        let cells = self.merged.fill(row);
        self.workbook.held.add(&cells)?;
        let wrong = wrong.iter().filter_map(|column| {
            let target = bound.targets.get(column)?;
            Some((Rc::clone(target), CellValue::Text(UNREADABLE.into())))
        });
        let values = cells.into_iter().map(|(column, datum)| {
            let target = match bound.targets.get(&column) {
                Some(target) => Rc::clone(target),
                None => Rc::new(Target::Extra(letter(column))),
            };
            (target, datum)
        });
        self.rows.push(values.chain(wrong).collect());
        Ok(())
    }

    fn end(mut self, lines: RawRows<'_>) -> Result<Option<TableSheet>, ReadStop> {
        if self.searching {
            let any = !self.first.is_empty();
            self.decide(lines)?;
            if any && self.header.is_none() {
                self.workbook.headless += 1;
            }
        } else if self.plan.is_some() && self.header.is_none() {
            self.workbook.headless += 1;
        }
        let (name, rows, from_1904) = (self.sheet.to_owned(), self.rows, self.from_1904);
        Ok(self.header.map(|_| TableSheet {
            name,
            rows,
            from_1904,
        }))
    }
}

/// Cells that are merged over several rows: the value stands only in the first row, and applies to all.
#[derive(Default)]
pub(super) struct Merged {
    /// First and last row of each region, by column and in order.
    regions: BTreeMap<u32, Vec<(u32, u32)>>,
    /// The value of the region that each column is in, and the region's last row.
    current: BTreeMap<u32, (u32, CellValue)>,
}

impl Merged {
    pub fn of(book: &mut Book, sheet: &SheetPart) -> Result<Self, Refusal> {
        let mut regions: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for region in book.merged(sheet)? {
            let of_column = regions.entry(region.start.1).or_default();
            of_column.push((region.start.0, region.end.0));
        }
        regions.values_mut().for_each(|regions| regions.sort_unstable());
        Ok(Self {
            regions,
            current: BTreeMap::new(),
        })
    }

    /// A row's values, with those that it shares with rows above it.
    pub fn fill(&mut self, row: SheetRow) -> Vec<(u32, CellValue)> {
        let mut cells = row.cells;
        if self.regions.is_empty() {
            return cells;
        }
        self.current.retain(|_, (last, _)| *last >= row.index);
        for (column, datum) in &cells {
            let of_column = self.regions.get(column).map_or(&[][..], Vec::as_slice);
            if let Ok(at) = of_column.binary_search_by_key(&row.index, |(first, _)| *first) {
                self.current.insert(*column, (of_column[at].1, datum.clone()));
            }
        }
        let shared: Vec<_> = self
            .current
            .iter()
            .filter(|(column, _)| {
                cells
                    .binary_search_by_key(*column, |(column, _)| *column)
                    .is_err()
            })
            .map(|(column, (_, datum))| (*column, datum.clone()))
            .collect();
        cells.extend(shared);
        cells.sort_by_key(|(column, _)| *column);
        cells
    }
}
