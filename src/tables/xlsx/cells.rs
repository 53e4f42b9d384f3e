//! Copies the cells of a worksheet into the clean copy. Pure.
//!
//! The size that the sheet declares is not copied, because some programs write `A1`, or nothing, or the whole sheet.

use std::borrow::Cow;
use std::io::{Read, Write};

use quick_xml::events::{BytesStart, Event};

use super::budget::Budget;
use super::cell_reference;
use super::clean_value::{CleanValue, FAILED, clean_value};
use super::refusal::Refusal;
use super::rich_text::rich_text;
use super::xml_part::{XmlPart, attribute};

/// Most merged regions of a sheet that are read.
const MOST_MERGED: usize = 100_000;

/// The types of cells that hold a text of their own.
const TEXTS: [&str; 3] = ["str", "d", "inlineStr"];

/// A sheet's cells.
pub(super) struct Cells<R: Read> {
    part: XmlPart<R>,
    /// Elements that are open around the sheet's data.
    around: u64,
    /// The number of shared strings.
    strings: usize,
    /// The position of the next cell, if the cell does not state it.
    row: u32,
    column: u32,
}

/// A cell's type, and the number of its format.
type CellMarks = (Option<String>, Option<usize>);

impl<R: Read> Cells<R> {
    /// The cells of a part, in a workbook with so many shared strings.
    pub fn new(part: XmlPart<R>, strings: usize) -> Self {
        Self {
            part,
            around: 0,
            strings,
            row: 0,
            column: 0,
        }
    }

    /// The number of characters that could not be decoded so far and were replaced.
    pub fn replaced(&self) -> u64 {
        self.part.replaced()
    }

    /// Copies the cells that hold something, each with its position, and the merged regions.
    pub fn copy(&mut self, budget: &mut Budget, out: &mut dyn Write) -> Result<(), Refusal> {
        out.write_all(b"<worksheet><sheetData>")?;
        let has_data = self.find_data()?;
        let mut last = 0;
        while has_data && let Some((kind, format)) = self.next()? {
            let value = self.value(kind.as_deref())?;
            let at = cell_reference::within(self.row, self.column)?;
            self.column += 1;
            // Excel does not open a sheet whose rows are out of order either.
            if at.0 < last {
                return Err(Refusal::Damaged);
            }
            last = at.0;
            let text = value.as_ref().filter(|(kind, _)| TEXTS.contains(kind));
            budget.spend(text.map_or(0, |(_, text)| text.len()))?;
            if let Some(value) = value {
                write_cell(at, value, format, out)?;
            }
        }
        out.write_all(b"</sheetData><mergeCells>")?;
        if has_data {
            self.copy_merged(out)?;
        }
        out.write_all(b"</mergeCells></worksheet>")?;
        Ok(())
    }

    /// Moves to the sheet's data; false if the sheet has none.
    fn find_data(&mut self) -> Result<bool, Refusal> {
        loop {
            match self.part.next()? {
                Event::Start(start) if start.local_name().as_ref() == "sheetData" => break,
                Event::Eof => return Ok(false),
                _ => {}
            }
        }
        self.around = self.part.open() - 1;
        Ok(true)
    }

    /// Moves to the value of the next cell, and returns the cell's type and format.
    fn next(&mut self) -> Result<Option<CellMarks>, Refusal> {
        loop {
            match self.part.next()? {
                Event::Start(start) => match start.local_name().as_ref() {
                    "row" => {
                        self.row = row_of(&start, self.row)?;
                        self.column = 0;
                    }
                    "c" => {
                        let place = attribute(&start, "r").filter(|place| !place.trim().is_empty());
                        if let Some(text) = place {
                            (self.row, self.column) = cell_reference::cell(&text)?;
                        }
                        let kind = attribute(&start, "t").map(|kind| kind.trim().to_owned());
                        let format = attribute(&start, "s").and_then(|format| format.trim().parse().ok());
                        return Ok(Some((kind, format)));
                    }
                    _ => {}
                },
                Event::End(end) => match end.local_name().as_ref() {
                    "row" => self.row = self.row.saturating_add(1),
                    "sheetData" => {
                        self.part.close(self.around);
                        return Ok(None);
                    }
                    _ => {}
                },
                Event::Eof => return Err(Refusal::Damaged),
                _ => {}
            }
        }
    }

    /// The value of a cell that has just begun.
    fn value(&mut self, kind: Option<&str>) -> Result<Option<CleanValue<'static>>, Refusal> {
        let mut value = None;
        let is_inline = matches!(kind, Some("inlineStr" | "is"));
        loop {
            let element = match self.part.next()? {
                Event::Start(start) => start.local_name().as_ref().to_owned(),
                Event::End(end) if end.local_name().as_ref() == "c" => return Ok(value),
                Event::Eof => return Err(Refusal::Damaged),
                _ => continue,
            };
            match element.as_str() {
                "is" => value = Some(("inlineStr", rich_text(&mut self.part, "is")?.into())),
                // Beside an inline text the value is only a copy.
                "v" if !is_inline => {
                    let text = self.part.text("v")?.unwrap_or_else(|| FAILED.to_owned());
                    let clean = clean_value(kind, &text, self.strings);
                    value = clean.map(|(kind, text)| (kind, Cow::Owned(text.into_owned())));
                }
                other => self.part.skip(other)?,
            }
        }
    }

    /// Copies the merged regions that follow the cells, up to the end of the part.
    fn copy_merged(&mut self, out: &mut dyn Write) -> Result<(), Refusal> {
        let mut count = 0;
        loop {
            match self.part.next()? {
                Event::Start(start) => {
                    let is_region = start.local_name().as_ref() == "mergeCell" && count < MOST_MERGED;
                    let text = attribute(&start, "ref").filter(|_| is_region);
                    if let Some(region) = text.and_then(|text| cell_reference::region(&text)) {
                        count += 1;
                        write!(out, r#"<mergeCell ref="{region}"/>"#)?;
                    }
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Writes a cell. It needs no row around it, because it states its position.
fn write_cell(
    at: (u32, u32),
    (kind, text): CleanValue<'_>,
    format: Option<usize>,
    out: &mut dyn Write,
) -> Result<(), Refusal> {
    write!(out, r#"<c r="{}" t="{kind}""#, cell_reference::name(at))?;
    if let Some(format) = format {
        write!(out, r#" s="{format}""#)?;
    }
    match kind {
        "inlineStr" => write!(out, "><is>{text}</is></c>")?,
        _ => write!(out, "><v>{text}</v></c>")?,
    }
    Ok(())
}

/// A row's number, from 0; `next` if the row does not state it.
fn row_of(row: &BytesStart<'_>, next: u32) -> Result<u32, Refusal> {
    match attribute(row, "r").as_deref().map(str::trim) {
        None | Some("") => Ok(next),
        Some(number) => {
            let number: u32 = number.parse().map_err(|_| Refusal::Damaged)?;
            number.checked_sub(1).ok_or(Refusal::Damaged)
        }
    }
}
