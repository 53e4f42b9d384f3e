//! Reads the rows of a workbook's sheets from the clean copy with calamine. Pure.

use std::io::Cursor;

use calamine::{DataRef, Dimensions, Reader, Xlsx};

use super::archive::Archive;
use super::budget::Budget;
use super::cell_value::{CellValue, NoValue};
use super::clean_copy::clean_copy;
use super::package::{Package, SheetPart};
use super::refusal::Refusal;

/// A row that is not empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SheetRow {
    /// Its number, from 0.
    pub index: u32,
    /// Its values by column, from 0, in order.
    pub cells: Vec<(u32, CellValue)>,
    /// The columns whose cell holds an error, or something that no cell can hold.
    pub wrong: Vec<u32>,
}

/// An open workbook.
pub(super) struct Book {
    book: Xlsx<Cursor<Vec<u8>>>,
    package: Package,
    /// The number of characters that could not be decoded.
    pub replaced: u64,
}

impl Book {
    /// Opens a workbook.
    pub fn open(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut archive = Archive::open(bytes)?;
        let package = Package::read(&mut archive)?;
        let copy = clean_copy(&mut archive, &package)?;
        Ok(Self {
            book: Xlsx::new(Cursor::new(copy.bytes)).map_err(|_| Refusal::Damaged)?,
            package,
            replaced: copy.replaced,
        })
    }

    /// The worksheets by name, which is the order of their rows in `report_rows`.
    pub fn sheets(&self) -> Vec<SheetPart> {
        let mut sheets = self.package.sheets.clone();
        sheets.sort_by(|one, other| one.name.cmp(&other.name));
        sheets
    }

    /// True if serial days count from 1904.
    pub fn is_from_1904(&self) -> bool {
        self.book.has_1904_epoch()
    }

    /// The regions of merged cells that are more than one row high.
    pub fn merged(&mut self, sheet: &SheetPart) -> Result<Vec<Dimensions>, Refusal> {
        let regions = self.book.merge_cells_by_sheet_name(&sheet.number.to_string());
        let mut regions = regions.map_err(|_| Refusal::Damaged)?;
        regions.retain(|region| region.end.0 > region.start.0);
        Ok(regions)
    }

    /// Passes each row of a sheet to `row`, in order.
    pub fn rows<E: From<Refusal>>(
        &mut self,
        sheet: &SheetPart,
        budget: &mut Budget,
        row: &mut dyn FnMut(SheetRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let reader = self.book.worksheet_cells_reader(&sheet.number.to_string());
        let mut reader = reader.map_err(|_| Refusal::Damaged)?;
        let mut current = SheetRow::default();
        while let Some(cell) = reader.next_cell().map_err(|_| Refusal::Damaged)? {
            let (index, column) = cell.get_position();
            if index != current.index {
                let next = SheetRow {
                    index,
                    ..SheetRow::default()
                };
                finish(std::mem::replace(&mut current, next), row)?;
            }
            let value: &DataRef<'_> = cell.get_value();
            let datum = CellValue::of(value);
            budget.spend(datum.as_ref().map_or(0, CellValue::size))?;
            match datum {
                Ok(datum) => current.cells.push((column, datum)),
                Err(NoValue::Wrong) => current.wrong.push(column),
                Err(NoValue::Blank) => {}
            }
        }
        finish(current, row)
    }
}

fn finish<E>(mut done: SheetRow, row: &mut dyn FnMut(SheetRow) -> Result<(), E>) -> Result<(), E> {
    if done.cells.is_empty() && done.wrong.is_empty() {
        return Ok(());
    }
    done.cells.sort_by_key(|(column, _)| *column);
    done.cells.dedup_by_key(|(column, _)| *column);
    row(done)
}
