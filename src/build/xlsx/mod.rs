//! A report as a workbook: bytes → archive within bounds → sheets → rows → tables. Pure and synchronous.
//!
//! ```text
//! container ─► archive (bounds) ─► part (decoder, census) ─► sheet (row by row) ─► workbook (header, merged cells) ─► rows ─► day
//!                                                                                     └► every row, as it is: `report_rows`
//! ```

mod archive;
mod census;
mod container;
mod datum;
mod decoder;
mod feed;
mod formats;
mod inspect;
mod package;
mod part;
mod place;
mod plan;
mod refusal;
mod rows;
mod rules;
mod sheet;
mod strings;
#[cfg(test)]
mod tests;
mod workbook;

pub(super) use feed::recognize;
pub use inspect::{BookInspection, inspect_workbook};
pub(super) use plan::SheetPlan;
pub use refusal::Refusal;
pub(super) use rules::SheetRules;
