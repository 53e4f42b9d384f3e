//! bytes → rows → tables: a day's landed reports and its manifest to that day's Parquet files.
//!
//! Pure and synchronous: no network, no clock, no store. `export` calls it after landing, and again whenever the
//! inputs' [`fingerprint`] has changed.
//!
//! ```text
//! report ─ inspect ─► rows ──► people ──► order ──► columns ─► sink ─► TableFile
//! workbook ─ xlsx ──────▲ mapping (file, path, shape)             ▲
//! manifest ─────────────┴─ listed, coverage ─────────────────────┘
//! ```

mod catalog;
mod cell;
mod columns;
mod coverage;
mod day;
mod file;
mod fingerprint;
mod fit;
mod inspect;
mod listed;
mod mapping;
mod notes;
mod overlay;
mod own;
mod path;
mod people;
mod read;
mod rows;
mod shape;
mod sink;
mod stay;
#[cfg(test)]
mod tests;
mod xlsx;

pub use catalog::{build_rooms, build_spaces};
pub use day::{BuiltDay, build_day, due_reports};
pub use fingerprint::fingerprint;
pub use fit::{Fit, TableFit, fit};
pub use inspect::{Inspection, NotJson, inspect};
pub use mapping::Mapping;
pub use notes::Notes;
pub use read::read_text;
pub use sink::TableFile;
pub use xlsx::{BookInspection, Refusal, inspect_workbook};
