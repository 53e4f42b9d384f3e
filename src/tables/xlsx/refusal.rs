//! The reasons why a workbook is not read. They never show its content. Pure.

use std::fmt;

/// The reason why a workbook is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not a file that the program knows, or a ZIP archive without a workbook.
    NotAWorkbook,
    /// It is protected by a password.
    Encrypted,
    /// It is of the format that Excel had before 2007.
    Xls,
    /// It is in Excel's binary format.
    Xlsb,
    /// It is a spreadsheet in LibreOffice's format.
    Ods,
    /// It is an HTML page.
    Html,
    /// It is JSON.
    Json,
    /// It is an XML document, not an archive of XML documents.
    Xml,
    /// It is text, such as CSV.
    Text,
    /// Its parts are packed by a method other than deflate.
    Packing,
    /// It is cut short, or its parts are damaged.
    Damaged,
    /// It unpacks to more than any report holds.
    TooLarge,
    /// It has more sheets, rows, columns, cells or text than any report has.
    TooMuch,
    /// It is written in an encoding that workbooks do not use.
    Encoding,
    /// The reader gave up on it.
    Unreadable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAWorkbook => "not an XLSX workbook",
            Self::Encrypted => "a password-protected workbook",
            Self::Xls => "an XLS workbook (Excel 97-2003), not XLSX",
            Self::Xlsb => "an XLSB workbook, not XLSX",
            Self::Ods => "an ODS spreadsheet, not XLSX",
            Self::Html => "an HTML page, not an XLSX workbook",
            Self::Json => "JSON, not an XLSX workbook",
            Self::Xml => "an XML document, not an XLSX workbook",
            Self::Text => "CSV or other text, not an XLSX workbook",
            Self::Packing => "a workbook packed by a method other than deflate",
            Self::Damaged => "a damaged workbook",
            Self::TooLarge => "a workbook that unpacks to more than any report",
            Self::TooMuch => "a workbook with more sheets, cells or text than any report",
            Self::Encoding => "a workbook in an encoding that workbooks do not use",
            Self::Unreadable => "a workbook that can't be read",
        })
    }
}

impl std::error::Error for Refusal {}

/// A part is written to memory, where only its size can fail.
impl From<std::io::Error> for Refusal {
    fn from(_: std::io::Error) -> Self {
        Self::TooLarge
    }
}
