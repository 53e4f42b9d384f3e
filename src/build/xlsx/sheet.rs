//! The rows of one worksheet, one after another as the parser comes to them. Pure.
//!
//! What the sheet says of its own size is not read: some programs write `A1`, or nothing, or the whole sheet.

use std::io::Read;

use quick_xml::events::{BytesStart, Event};

use super::archive::Archive;
use super::datum::{Datum, Meaning, NoDatum};
use super::package::{Package, SheetPart};
use super::part::{Depth, Part, attribute};
use super::place::{self, Region};
use super::refusal::Refusal;
use super::{formats, strings};

/// Cells of a workbook, blank ones too.
const MOST_CELLS: u64 = 20_000_000;
/// Bytes of text of a workbook. A shared string stands in the file once and may be in every cell.
const MOST_TEXT: usize = 256 << 20;
/// Merged regions of a sheet that are looked at.
const MOST_MERGED: usize = 100_000;

/// A row with anything in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SheetRow {
    /// Its number, from 0.
    pub index: u32,
    /// Its values by column, from 0, in order.
    pub cells: Vec<(u32, Datum)>,
    /// The columns whose cell holds an error, or nothing a cell can hold.
    pub wrong: Vec<u32>,
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

/// An open workbook.
pub(super) struct Book<'b> {
    archive: Archive<'b>,
    package: Package,
    meaning: Meaning,
    /// Characters that could not be decoded, in what has been read.
    pub replaced: u64,
}

impl<'b> Book<'b> {
    /// Opens a workbook.
    pub fn open(bytes: &'b [u8]) -> Result<Self, Refusal> {
        let mut archive = Archive::open(bytes)?;
        let package = Package::read(&mut archive)?;
        let strings = strings::read(&mut archive, &package.strings)?;
        let meaning = Meaning {
            strings: strings.texts,
            formats: formats::read(&mut archive, &package.styles)?,
            from_1904: package.from_1904,
        };
        Ok(Self {
            archive,
            package,
            meaning,
            replaced: strings.replaced,
        })
    }

    /// The worksheets by name: in that order `report_rows` has their rows.
    pub fn sheets(&self) -> Vec<SheetPart> {
        let mut sheets = self.package.sheets.clone();
        sheets.sort_by(|one, other| one.name.cmp(&other.name));
        sheets
    }

    /// Whether serial days count from 1904.
    pub fn is_from_1904(&self) -> bool {
        self.package.from_1904
    }

    /// The regions of merged cells that are more than a row high.
    pub fn merged(&mut self, sheet: &SheetPart) -> Result<Vec<Region>, Refusal> {
        let mut part = self.archive.part(&sheet.path)?.ok_or(Refusal::Damaged)?;
        let mut regions = Vec::new();
        part.each(&mut |name, element| {
            if name == "mergeCell" && regions.len() < MOST_MERGED {
                let region = attribute(element, "ref").and_then(|text| place::region(&text));
                regions.extend(region.filter(|region| region.last_row > region.first_row));
            }
            Ok(())
        })?;
        Ok(regions)
    }

    /// Gives each row of a sheet to `row`, in order.
    pub fn rows<E: From<Refusal>>(
        &mut self,
        sheet: &SheetPart,
        budget: &mut Budget,
        row: &mut dyn FnMut(SheetRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let part = self.archive.part(&sheet.path)?.ok_or(Refusal::Damaged)?;
        let mut cells = Cells {
            part,
            meaning: &self.meaning,
            row: 0,
            column: 0,
        };
        if !cells.find_data()? {
            return Ok(());
        }
        let mut current = SheetRow::default();
        while let Some((at, datum)) = cells.next()? {
            // Excel does not open a sheet whose rows are not in order either.
            if at.0 < current.index {
                return Err(Refusal::Damaged.into());
            }
            if at.0 > current.index {
                let index = at.0;
                let next = SheetRow {
                    index,
                    ..SheetRow::default()
                };
                finish(std::mem::replace(&mut current, next), row)?;
            }
            budget.spend(datum.as_ref().ok())?;
            match datum {
                Ok(datum) => current.cells.push((at.1, datum)),
                Err(NoDatum::Wrong) => current.wrong.push(at.1),
                Err(NoDatum::Blank) => {}
            }
        }
        self.replaced += cells.part.replaced();
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

/// A sheet's cells on their way.
struct Cells<'m, R: Read> {
    part: Part<R>,
    meaning: &'m Meaning,
    /// Where the next cell is if it does not say.
    row: u32,
    column: u32,
}

/// A cell's row and column, from 0, and its value.
type PlacedDatum = ((u32, u32), Result<Datum, NoDatum>);

impl<R: Read> Cells<'_, R> {
    /// Goes to the sheet's data; false where the sheet has none.
    fn find_data(&mut self) -> Result<bool, Refusal> {
        let mut depth = Depth::default();
        loop {
            match self.part.next()? {
                Event::Start(start) if start.local_name().as_ref() == "sheetData" => return Ok(true),
                Event::Start(_) => depth.down(),
                Event::End(_) => depth.up(),
                Event::Eof => return depth.end().map(|()| false),
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<Option<PlacedDatum>, Refusal> {
        loop {
            let (kind, format) = match self.part.next()? {
                Event::Start(start) => match start.local_name().as_ref() {
                    "row" => {
                        self.row = row_of(&start, self.row)?;
                        self.column = 0;
                        continue;
                    }
                    "c" => {
                        let place = attribute(&start, "r").filter(|place| !place.trim().is_empty());
                        if let Some(text) = place {
                            (self.row, self.column) = place::cell(&text)?;
                        }
                        let text = |name| attribute(&start, name).map(|value| value.trim().to_owned());
                        (text("t"), text("s"))
                    }
                    _ => continue,
                },
                Event::End(end) => match end.local_name().as_ref() {
                    "row" => {
                        self.row = self.row.saturating_add(1);
                        continue;
                    }
                    "sheetData" => return Ok(None),
                    _ => continue,
                },
                Event::Eof => return Err(Refusal::Damaged),
                _ => continue,
            };
            let datum = self.value(kind.as_deref(), format.as_deref())?;
            let at = place::within(self.row, self.column)?;
            self.column += 1;
            return Ok(Some((at, datum)));
        }
    }

    /// The value of a cell that has just begun.
    fn value(&mut self, kind: Option<&str>, format: Option<&str>) -> Result<Result<Datum, NoDatum>, Refusal> {
        let mut datum = Err(NoDatum::Blank);
        let is_inline = matches!(kind, Some("inlineStr" | "is"));
        loop {
            let element = match self.part.next()? {
                Event::Start(start) => start.local_name().as_ref().to_owned(),
                Event::End(end) if end.local_name().as_ref() == "c" => return Ok(datum),
                Event::Eof => return Err(Refusal::Damaged),
                _ => continue,
            };
            let text = match element.as_str() {
                "is" => strings::rich_text(&mut self.part, "is")?,
                // Of an inline text the value is only a copy.
                "v" if !is_inline => self.part.text("v")?,
                other => {
                    self.part.skip(other)?;
                    continue;
                }
            };
            let kind = if element == "is" { Some("inlineStr") } else { kind };
            datum = match text {
                Some(text) => self.meaning.datum(kind, format, &text),
                None => Err(NoDatum::Wrong),
            };
        }
    }
}

/// A row's number, from 0; the next one where it does not say.
fn row_of(row: &BytesStart<'_>, next: u32) -> Result<u32, Refusal> {
    match attribute(row, "r").as_deref().map(str::trim) {
        None | Some("") => Ok(next),
        Some(number) => {
            let number: u32 = number.parse().map_err(|_| Refusal::Damaged)?;
            number.checked_sub(1).ok_or(Refusal::Damaged)
        }
    }
}
