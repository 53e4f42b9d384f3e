//! Erases people from landed bytes: reports, workbooks and lesson data. Pure.
//!
//! A person is found by the mapping: the rows of participants that bear an erased id or address, then all rows of other
//! tables that refer to them. What stands elsewhere in a report and bears the id or address goes too. A text that only
//! mentions a name is left to a human.

mod json;
mod lesson;
mod rows;
#[cfg(test)]
mod tests;
mod traces;

pub(in crate::tables) use json::is_erased;
pub use json::{ErasedReport, erase_json, erase_report};
pub use lesson::{ErasedMeta, erase_entry, erase_entry_noting, erase_meta_file, learn_names};
pub use rows::{PeopleOfDay, PersonIds, is_mentioned_in_file};
pub use traces::Traces;
pub(in crate::tables) use traces::{RowPerson, contains_word, folded, is_telling};
