//! A report as a workbook: bytes → archive within limits → clean copy → calamine → rows → tables. Pure and synchronous.
//!
//! ```text
//! file_kind ─► archive (limits) ─► xml_part (decoder) ─► clean_copy (cells, clean_value, rich_text) ─► row_reader (calamine)
//!   ─► workbook (header, merged cells) ─► table_rows ─► day
//!         └► every row, as it is: `report_rows`
//! ```

mod archive;
mod budget;
mod cell_reference;
mod cell_value;
mod cells;
mod clean_copy;
mod clean_value;
mod decoder;
mod erased;
mod file_kind;
mod inspect;
mod masked;
mod package;
mod refusal;
mod rich_text;
mod row_reader;
mod sheet_plan;
mod sheet_rules;
pub(super) mod survey;
pub(super) mod table_rows;
#[cfg(test)]
mod tests;
pub(super) mod workbook;
mod written;
mod xml_part;

pub use archive::unpacked_bytes;
pub use erased::erase_workbook;
pub use inspect::{BookInspection, inspect_workbook};
pub use masked::{learn_workbook, masked_workbook};
pub use refusal::Refusal;
pub(super) use sheet_plan::SheetPlan;
pub(super) use sheet_rules::SheetRules;
