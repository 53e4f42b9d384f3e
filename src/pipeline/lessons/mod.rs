//! Lesson data: imported from files and feeds, and looked up by the days that are built.

pub(crate) mod cache;
pub(crate) mod feeds;
pub(crate) mod import;
pub(crate) mod lesson_days;
pub(crate) mod meeting_days;
