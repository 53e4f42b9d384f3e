//! The rows of one worksheet, one after another as the parser comes to them. Pure.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{DataRef, Dimensions, Reader, SheetType, Xlsx, XlsxCellReader, XlsxError};

use super::datum::{Datum, NoDatum};
use super::refusal::Refusal;

/// Excel's own bounds.
const MOST_ROWS: u32 = 1 << 20;
const MOST_COLUMNS: u32 = 1 << 14;
/// Cells of a workbook, blank ones too.
const MOST_CELLS: u64 = 20_000_000;
/// Bytes of text of a workbook. A shared string stands in the file once and may be in every cell.
const MOST_TEXT: usize = 256 << 20;
/// Bytes of a sheet's name; Excel's own bound is 31 characters.
const MOST_NAME: usize = 1024;
/// Merged regions of a sheet that are looked at.
const MOST_MERGED: usize = 100_000;

/// A row with anything in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SheetRow {
    /// Its number, from 0.
    pub index: u32,
    /// Its values by column, from 0, in order.
    pub cells: Vec<(u32, Datum)>,
    /// Cells that hold an error, or nothing a cell can hold.
    pub wrong: u64,
}

/// What all sheets of a workbook may have together.
#[derive(Debug, Default)]
pub(super) struct Budget {
    cells: u64,
    text: usize,
}

impl Budget {
    fn spend(&mut self, datum: Option<&Datum>) -> Result<(), Refusal> {
        self.cells += 1;
        self.text += datum.map_or(0, Datum::size);
        match self.cells > MOST_CELLS || self.text > MOST_TEXT {
            true => Err(Refusal::TooMuch),
            false => Ok(()),
        }
    }
}

/// Calls the parser, which was made for workbooks of good will: where it panics over another, the workbook is refused
/// and the program goes on. It is dropped then, so that nothing half-done is seen.
fn guarded<T>(call: impl FnOnce() -> Result<T, XlsxError>) -> Result<Result<T, XlsxError>, Refusal> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Refusal::Unreadable)
}

/// An open workbook.
pub(super) struct Book<'b> {
    book: Xlsx<Cursor<&'b [u8]>>,
}

impl<'b> Book<'b> {
    /// Opens a workbook whose archive has been held against its bounds.
    pub fn open(bytes: &'b [u8]) -> Result<Self, Refusal> {
        let book = guarded(|| Xlsx::new(Cursor::new(bytes)))?.map_err(|error| match error {
            XlsxError::Password => Refusal::Encrypted,
            XlsxError::FileNotFound(_) | XlsxError::RelationshipNotFound => Refusal::NotAWorkbook,
            _ => Refusal::Damaged,
        })?;
        Ok(Self { book })
    }

    /// The worksheets by name. One of a name that another had before can't be asked for.
    pub fn sheets(&self) -> Result<Vec<String>, Refusal> {
        let sheets = self.book.sheets_metadata().iter();
        let mut names: Vec<_> = sheets
            .filter(|sheet| sheet.typ == SheetType::WorkSheet)
            .map(|sheet| sheet.name.clone())
            .collect();
        names.sort_unstable();
        names.dedup();
        // It stands in every row of `report_rows`.
        match names.iter().all(|name| name.len() <= MOST_NAME) {
            true => Ok(names),
            false => Err(Refusal::TooMuch),
        }
    }

    /// The regions of merged cells that are more than a row high, by their first column.
    pub fn merged(&mut self, sheet: &str) -> Result<Vec<Dimensions>, Refusal> {
        let regions = guarded(|| self.book.merge_cells_by_sheet_name(sheet))?.unwrap_or_default();
        let high = regions.into_iter().filter(|region| region.end.0 > region.start.0);
        Ok(high.take(MOST_MERGED).collect())
    }

    /// Gives each row of a sheet to `row`, in order.
    pub fn rows<E: From<Refusal>>(
        &mut self,
        sheet: &str,
        budget: &mut Budget,
        row: &mut dyn FnMut(SheetRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = match guarded(|| self.book.worksheet_cells_reader(sheet))? {
            Ok(reader) => reader,
            // A sheet of another kind has no rows.
            Err(XlsxError::NotAWorksheet(_)) => return Ok(()),
            Err(_) => return Err(Refusal::Damaged.into()),
        };
        let mut current = SheetRow::default();
        while let Some((at, value)) = next(&mut reader)? {
            let at = at.unwrap_or((current.index, 0));
            if at.0 >= MOST_ROWS || at.1 >= MOST_COLUMNS {
                return Err(Refusal::TooMuch.into());
            }
            // Excel does not open a sheet whose rows are not in order either.
            if at.0 < current.index {
                return Err(Refusal::Damaged.into());
            }
            if at.0 > current.index {
                let done = std::mem::replace(
                    &mut current,
                    SheetRow {
                        index: at.0,
                        ..SheetRow::default()
                    },
                );
                finish(done, row)?;
            }
            let datum = value.map_or(Err(NoDatum::Wrong), |value| Datum::of(&value));
            budget.spend(datum.as_ref().ok())?;
            match datum {
                Ok(datum) => current.cells.push((at.1, datum)),
                Err(NoDatum::Wrong) => current.wrong += 1,
                Err(NoDatum::Blank) => {}
            }
        }
        finish(current, row)
    }
}

fn finish<E>(mut done: SheetRow, row: &mut dyn FnMut(SheetRow) -> Result<(), E>) -> Result<(), E> {
    if done.cells.is_empty() && done.wrong == 0 {
        return Ok(());
    }
    done.cells.sort_by_key(|(column, _)| *column);
    done.cells.dedup_by_key(|(column, _)| *column);
    row(done)
}

/// A cell's place, where it can be told, and its value, where it has one.
type NextCell<'r> = (Option<(u32, u32)>, Option<DataRef<'r>>);

fn next<'r>(reader: &mut XlsxCellReader<'r, Cursor<&[u8]>>) -> Result<Option<NextCell<'r>>, Refusal> {
    match guarded(|| reader.next_cell())? {
        Ok(Some(cell)) => Ok(Some((Some(cell.get_position()), Some(cell.get_value().clone())))),
        Ok(None) => Ok(None),
        // Faults of one cell's value: newer errors than calamine knows (`#SPILL!`), no number, no string of that index.
        // The reader goes on behind it.
        Err(
            XlsxError::CellError(_)
            | XlsxError::ParseFloat(_)
            | XlsxError::CellTAttribute(_)
            | XlsxError::Unrecognized { .. }
            | XlsxError::Unexpected(_),
        ) => Ok(Some((None, None))),
        Err(_) => Err(Refusal::Damaged),
    }
}
