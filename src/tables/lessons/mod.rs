//! Lesson data of the LMS, from files to rows. A payload is the body of `storeExternalUserMeta`: it describes a user,
//! the lesson, and the levels above them. Pure; `pipeline` stores the files and calls this.
//!
//! ```text
//! file ─ parse ─► payloads ─► lesson day (latest entry of each user and meeting) ─► user_meta, hierarchy
//!                                └─► lookup ─► participants, lesson_attendance
//! ```

pub(crate) mod attendance;
#[cfg(test)]
mod attendance_tests;
mod entry;
pub(crate) mod join;
mod lesson;
mod levels;
mod lookup;
mod parse;
pub(crate) mod presence;
mod shelf;
#[cfg(test)]
mod tests;
mod values;

pub use entry::Entry;
pub use lookup::Meta;
pub use parse::{Malformed, Payload, Payloads, parse};
pub use shelf::{Change, Latest, build_meta_tables, find, shelve};

pub(super) use lesson::Lesson;

/// The deepest nesting of lesson data. It is stored within other objects, and those must be readable again.
pub(super) const DEEPEST: usize = 64;
