//! A report as a workbook: bytes → archive within limits → clean copy → calamine → rows → tables. Pure and synchronous.
//!
//! ```text
//! container ─► archive (limits) ─► part (decoder, census) ─► copy (cells, value, text) ─► sheet (calamine, row by row)
//!   ─► workbook (header, merged cells) ─► rows ─► day
//!         └► every row, as it is: `report_rows`
//! ```

mod archive;
mod cells;
mod census;
mod container;
mod copy;
mod datum;
mod decoder;
mod feed;
mod inspect;
mod package;
mod part;
mod place;
mod plan;
mod refusal;
mod rows;
mod rules;
mod sheet;
#[cfg(test)]
mod tests;
mod text;
mod value;
mod workbook;

pub use archive::unpacked_bytes;
pub(super) use feed::recognize;
pub use inspect::{BookInspection, inspect_workbook};
pub(super) use plan::SheetPlan;
pub use refusal::Refusal;
pub(super) use rules::SheetRules;
