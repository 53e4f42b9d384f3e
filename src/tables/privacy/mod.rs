//! `[privacy]` in the build: the treatment of each column, applied to each row before it is encoded. Pure.
//!
//! Joins and attendance are made from plain values; [`rows::RowTreater`] is the last step before Parquet, in the sink
//! that every table goes through. `policy` says what happens to a column, `words` and `clean` find people in data for
//! which no column is known.

pub(crate) mod clean;
pub(crate) mod policy;
pub(crate) mod rows;
#[cfg(test)]
mod tests;
pub(crate) mod treatment;
pub(crate) mod words;
