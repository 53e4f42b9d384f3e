//! Lesson data: the import from files, feeds and reports, and the lookup by the days that are built.

pub(crate) mod cache;
pub(crate) mod feeds;
pub(crate) mod import;
pub(crate) mod index;
pub(crate) mod lake;
pub(crate) mod lesson_days;
mod lesson_reader;
pub(crate) mod meeting_days;
pub(crate) mod meeting_months;
pub(crate) mod meta_file;
