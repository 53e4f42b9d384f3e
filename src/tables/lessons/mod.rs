//! Lesson data of the LMS, from files to rows. A payload is the body of `storeExternalUserMeta`: it describes a user,
//! the lesson, and the levels above them. Pure; `pipeline` stores the files and calls this.
//!
//! ```text
//! file ─ parse ─► payloads ─► lesson day (latest entry of each user and meeting) ─► user_meta, hierarchy
//!                                └─► index ─► participants, lesson_attendance
//! ```

pub(crate) mod attendance;
mod entry;
pub(crate) mod join;
mod lesson;
mod lesson_day;
mod lesson_index;
mod lesson_line;
mod levels;
mod payload;
mod payloads;
pub(crate) mod presence;
mod teachers;
#[cfg(test)]
mod tests;

pub use entry::LessonEntry;
pub use lesson_day::{
    EntryFate, LatestEntries, LessonDayChange, all_entries, build_lesson_tables, change_lesson_day,
    edit_lesson_day, find_entries,
};
pub use lesson_index::LessonIndex;
pub use payload::{Malformed, Payload};
pub use payloads::{Payloads, parse};

pub(super) use lesson::{Lesson, LessonColumns};

/// The deepest nesting of lesson data. It is stored within other objects, and those must be readable again.
pub(super) const DEEPEST: usize = 64;
