//! Builds a day's Parquet files from its landed reports and its manifest: bytes → rows → tables.
//!
//! Pure and synchronous: no network, no clock, no store. `pipeline` calls it after landing, and again whenever the
//! [`fingerprint()`] of the inputs has changed.
//!
//! ```text
//! report ─ inspect ─► rows ──► people ──► join ──► order ──► columns ─► sink ─► TableFile
//! workbook ─ xlsx ──────▲ mapping            ▲ meta   └► presence ─► attendance ─┘▲
//! manifest ─────────────┴─ listed, coverage ──────────────────────────────────────┘
//! ```

mod build_notes;
mod catalog;
mod coverage;
mod day;
mod days;
mod deletion;
mod erase;
mod fingerprint;
mod fit;
pub mod lessons;
mod listed;
mod mapping;
mod masked;
pub(crate) mod parquet;
pub(crate) mod privacy;
pub(crate) mod report;
#[cfg(test)]
mod tests;
mod xlsx;

pub use build_notes::{About, Kept, Notes, Observation, Sightings};
pub use catalog::{build_rooms, build_spaces};
pub use day::{BuiltDay, Correction, build_day, build_day_knowing, due_reports};
pub use days::{DayRow, SpaceDays};
pub use deletion::rows_after_deletion;
pub use erase::{
    ErasedMeta, ErasedReport, PeopleOfDay, PersonIds, Traces, erase_entry, erase_entry_noting, erase_json,
    erase_meta_file, erase_report, is_mentioned_in_file, learn_names,
};
pub use fingerprint::fingerprint;
pub use fit::{
    CallTimes, ColumnMisfit, Fit, SheetColumn, SheetFit, TableFit, UntakenField, fit_report, fit_workbook,
};
pub use lessons::attendance::{Attendance, OtherDays, build_attendance, lesson_span};
pub use lessons::presence::{FirstCalls, Presence};
pub use mapping::Mapping;
pub use masked::Masker;
pub use parquet::edit::{EditedFile, edit_file};
pub use parquet::merge::merge_files;
pub use parquet::proof::{Footer, RowKey, footer, row_keys};
pub use parquet::read::{RowBatch, read_rows, read_text};
pub use parquet::sink::TableFile;
pub use privacy::policy::{PrivacyPolicy, key_check};
pub use report::inspect::{Inspection, MOST_PARTICIPANTS, MOST_ROWS, NotJson, inspect};
pub use report::outside::OutsideCall;
pub use report::turnout::Turnout;
pub use xlsx::{
    BookInspection, Refusal, erase_workbook, inspect_workbook, learn_workbook, masked_workbook,
    unpacked_bytes,
};
