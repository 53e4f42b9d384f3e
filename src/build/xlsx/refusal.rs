//! Why a workbook is not read. Pure; says what, never what stands in it.

use std::fmt;

/// Why a workbook is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no ZIP archive, or a ZIP archive without a workbook.
    NotAWorkbook,
    /// It is protected by a password, or of Excel's old format: both come in the same container.
    Encrypted,
    /// It is cut, or its parts are not what they should be.
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
            Self::NotAWorkbook => "no XLSX workbook",
            Self::Encrypted => "an encrypted workbook, or one of Excel's old format",
            Self::Damaged => "a damaged workbook",
            Self::TooLarge => "a workbook that unpacks to more than any report",
            Self::TooMuch => "a workbook with more sheets, cells or text than any report",
            Self::Encoding => "a workbook in an encoding that workbooks do not use",
            Self::Unreadable => "a workbook that can't be read",
        })
    }
}

impl std::error::Error for Refusal {}
