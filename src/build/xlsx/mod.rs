//! A report as a workbook: bytes → archive within bounds → sheets → rows → tables. Pure and synchronous.
//!
//! ```text
//! archive (bounds, census) ─► sheet (calamine, row by row) ─► workbook (header, merged cells) ─► rows ─► day
//!                                                                └► every row, as it is: `report_rows`
//! ```

mod archive;
mod census;
mod datum;
mod feed;
mod inspect;
mod plan;
mod refusal;
mod rows;
mod sheet;
#[cfg(test)]
mod tests;
mod workbook;

pub(super) use feed::recognize;
pub use inspect::{BookInspection, inspect_workbook};
pub(super) use plan::{SheetPlan, SheetRules};
pub use refusal::Refusal;
