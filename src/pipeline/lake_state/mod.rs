//! The objects of the lake that belong to no single day: its description, catalogues, lease, markers and uploads.

pub(crate) mod budget;
pub(crate) mod catalog;
pub(crate) mod day_index;
pub(crate) mod day_table;
pub(crate) mod erasures;
pub(crate) mod info;
pub(crate) mod lease;
pub(crate) mod open_days;
pub(crate) mod orphan_uploads;
pub(crate) mod policy;
pub(crate) mod shards;
