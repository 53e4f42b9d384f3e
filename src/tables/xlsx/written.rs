//! Writes a workbook anew: sheets, cells of each type and merged regions, and nothing else. Pure.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use chrono::{DateTime, Utc};
use quick_xml::escape::escape;
use zip::write::SimpleFileOptions;
use zip::{ZipWriter, result::ZipResult};

use super::cell_reference::letter;

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONSHIPS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const MIME: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";
/// Index of the format of dates in [`STYLES`].
const DATE: u8 = 1;
/// Index of the format of lengths of time in [`STYLES`].
const LENGTH: u8 = 2;
/// Three cell formats.
const STYLES: &str = r#"<numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy-mm-dd hh:mm:ss"/><numFmt numFmtId="165" formatCode="[h]:mm:ss"/></numFmts><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts><fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs><cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/><xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/><xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>"#;
/// Excel's serial number of 1970-01-01.
const UNIX_EPOCH: f64 = 25_569.0;

/// The days between the first days of Excel's two calendars.
const DAYS_TO_1904: f64 = 1462.0;

/// A sheet to be written.
pub(super) struct WrittenSheet {
    pub name: String,
    /// The rows by their index from 0; each has its cells by column.
    pub rows: Vec<(u32, Vec<(u32, WrittenCell)>)>,
    /// The merged regions, such as `A1:A3`.
    pub merged: Vec<String>,
}

/// A cell to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum WrittenCell {
    Text(String),
    /// The digits of a number.
    Number(String),
    Truth(bool),
    /// A date, in days of Excel's calendar that begins in 1900.
    Date(f64),
    /// A length of time in days.
    Length(f64),
    /// The error of a formula.
    Error,
}

/// The day of an instant in Excel's calendar that begins in 1900.
pub(super) fn serial_day(at: DateTime<Utc>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century")]
    let days = at.timestamp_millis() as f64 / 86_400_000.0;
    UNIX_EPOCH + days
}

/// The bytes of a workbook. `from_1904` is its calendar.
///
/// # Errors
/// The archive can't be made.
pub(super) fn workbook(sheets: &[WrittenSheet], from_1904: bool) -> ZipResult<Vec<u8>> {
    let parts: Vec<_> = sheets
        .iter()
        .map(|sheet| (sheet.name.clone(), sheet_xml(sheet, from_1904)))
        .collect();
    packed(&parts, from_1904)
}

fn sheet_xml(sheet: &WrittenSheet, from_1904: bool) -> String {
    let mut rows = String::new();
    for (index, cells) in &sheet.rows {
        let number = u64::from(*index) + 1;
        let _ = write!(rows, r#"<row r="{number}">"#);
        for (column, cell) in cells {
            push_cell(
                &mut rows,
                &format!("{}{number}", letter(*column)),
                cell,
                from_1904,
            );
        }
        rows.push_str("</row>");
    }
    let mut merged = String::new();
    for region in &sheet.merged {
        let _ = write!(merged, r#"<mergeCell ref="{region}"/>"#);
    }
    if !merged.is_empty() {
        merged = format!(
            r#"<mergeCells count="{}">{merged}</mergeCells>"#,
            sheet.merged.len()
        );
    }
    format!(r#"{XML}<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData>{merged}</worksheet>"#)
}

fn push_cell(xml: &mut String, place: &str, cell: &WrittenCell, from_1904: bool) {
    let _ = match cell {
        WrittenCell::Text(text) => write!(
            xml,
            r#"<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{}</t></is></c>"#,
            escape(text)
        ),
        WrittenCell::Number(digits) => write!(xml, r#"<c r="{place}"><v>{digits}</v></c>"#),
        WrittenCell::Truth(truth) => write!(xml, r#"<c r="{place}" t="b"><v>{}</v></c>"#, u8::from(*truth)),
        WrittenCell::Date(day) => {
            let day = if from_1904 { day - DAYS_TO_1904 } else { *day };
            write!(xml, r#"<c r="{place}" s="{DATE}"><v>{day}</v></c>"#)
        }
        WrittenCell::Length(days) => write!(xml, r#"<c r="{place}" s="{LENGTH}"><v>{days}</v></c>"#),
        WrittenCell::Error => write!(xml, r#"<c r="{place}" t="e"><v>#N/A</v></c>"#),
    };
}

/// The archive of sheets.
fn packed(sheets: &[(String, String)], from_1904: bool) -> ZipResult<Vec<u8>> {
    let (mut types, mut list, mut relations) = (String::new(), String::new(), String::new());
    for (number, (name, _)) in (1..).zip(sheets) {
        let _ = write!(
            types,
            r#"<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{MIME}.worksheet+xml"/>"#
        );
        let _ = write!(
            list,
            r#"<sheet name="{}" sheetId="{number}" r:id="rId{number}"/>"#,
            escape(name.as_str())
        );
        let _ = write!(
            relations,
            r#"<Relationship Id="rId{number}" Type="{RELATIONSHIPS}/worksheet" Target="worksheets/sheet{number}.xml"/>"#
        );
    }
    let styles = sheets.len() + 1;
    let mut parts = vec![
        (
            "[Content_Types].xml".to_owned(),
            format!(
                r#"{XML}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="{MIME}.sheet.main+xml"/><Override PartName="/xl/styles.xml" ContentType="{MIME}.styles+xml"/>{types}</Types>"#
            ),
        ),
        (
            "_rels/.rels".to_owned(),
            format!(
                r#"{XML}<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" Type="{RELATIONSHIPS}/officeDocument" Target="xl/workbook.xml"/></Relationships>"#
            ),
        ),
        (
            "xl/workbook.xml".to_owned(),
            format!(
                r#"{XML}<workbook xmlns="{MAIN}" xmlns:r="{RELATIONSHIPS}"><workbookPr date1904="{}"/><sheets>{list}</sheets></workbook>"#,
                u8::from(from_1904)
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels".to_owned(),
            format!(
                r#"{XML}<Relationships xmlns="{PACKAGE}/relationships">{relations}<Relationship Id="rId{styles}" Type="{RELATIONSHIPS}/styles" Target="styles.xml"/></Relationships>"#
            ),
        ),
        (
            "xl/styles.xml".to_owned(),
            format!(r#"{XML}<styleSheet xmlns="{MAIN}">{STYLES}</styleSheet>"#),
        ),
    ];
    for (number, (_, sheet)) in (1..).zip(sheets) {
        parts.push((format!("xl/worksheets/sheet{number}.xml"), sheet.clone()));
    }
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, part) in parts {
        // The default options hold a fixed time, so that the bytes don't depend on the clock.
        archive.start_file(name, SimpleFileOptions::default())?;
        archive.write_all(part.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}
