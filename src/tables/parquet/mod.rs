//! Rows to Parquet and back. Pure.

pub(crate) mod cell;
pub(crate) mod columns;
pub(crate) mod edit;
pub(crate) mod merge;
pub(crate) mod proof;
pub(crate) mod read;
pub(crate) mod row;
pub(crate) mod sink;
