//! The limits on the cells and the text of a whole workbook. Pure.

use super::refusal::Refusal;

/// Most cells of a workbook, with blank ones.
const MOST_CELLS: u64 = 20_000_000;

/// Most bytes of text in a workbook. A shared string stands in the file once and may be in every cell.
const MOST_TEXT: usize = 256 << 20;

/// Counts the cells and the text of all sheets against the limits.
#[derive(Debug, Default)]
pub(super) struct Budget {
    cells: u64,
    text: usize,
}

impl Budget {
    /// Counts a cell with so many bytes of text.
    pub fn spend(&mut self, text: usize) -> Result<(), Refusal> {
        self.cells += 1;
        self.text += text;
        match self.cells > MOST_CELLS || self.text > MOST_TEXT {
            true => Err(Refusal::TooMuch),
            false => Ok(()),
        }
    }
}
