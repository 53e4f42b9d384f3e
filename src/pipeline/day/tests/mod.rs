//! Tests of the pure core of a day's work.

mod claim;
mod due;
mod edit;
mod expire;
mod judge;
mod merge;
