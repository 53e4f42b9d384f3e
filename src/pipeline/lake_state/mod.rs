//! The objects of the lake that belong to no day.

pub(crate) mod catalog;
pub(crate) mod info;
pub(crate) mod lease;
pub(crate) mod open_days;
pub(crate) mod orphan_uploads;
