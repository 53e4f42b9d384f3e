//! bytes → rows → tables: a day's landed reports and its manifest to that day's Parquet files.
//!
//! Pure and synchronous: no network, no clock, no store. `export` calls it after landing, and again whenever the
//! inputs' [`fingerprint`] has changed.
//!
//! ```text
//! report ─ inspect ─► rows ──► people ──► join ──► order ──► columns ─► sink ─► TableFile
//! workbook ─ xlsx ──────▲ mapping            ▲ meta   └► presence ─► attendance ─┘▲
//! manifest ─────────────┴─ listed, coverage ──────────────────────────────────────┘
//! ```

mod attendance;
#[cfg(test)]
mod attendance_tests;
mod catalog;
mod cell;
mod columns;
mod coverage;
mod day;
mod file;
mod fingerprint;
mod fit;
mod inspect;
mod join;
mod listed;
mod mapping;
pub mod meta;
mod node;
mod notes;
mod outside;
mod overlay;
mod own;
mod path;
mod people;
mod presence;
mod proof;
mod read;
mod rows;
mod shape;
mod sink;
mod stay;
#[cfg(test)]
mod tests;
mod turnout;
mod xlsx;

pub use attendance::{Attendance, build_attendance};
pub use catalog::{build_rooms, build_spaces};
pub use day::{BuiltDay, Correction, build_day, build_day_knowing, due_reports};
pub use fingerprint::fingerprint;
pub use fit::{Fit, TableFit, fit};
pub use inspect::{Inspection, MOST_PARTICIPANTS, MOST_ROWS, NotJson, inspect};
pub use mapping::Mapping;
pub use notes::{About, Kept, Notes, Observation, Sightings};
pub use outside::OutsideCall;
pub use presence::{FirstCalls, Presence};
pub use proof::{Footer, RowKey, footer, row_keys};
pub use read::read_text;
pub use sink::TableFile;
pub use turnout::Turnout;
pub use xlsx::{BookInspection, Refusal, inspect_workbook, unpacked_bytes};
