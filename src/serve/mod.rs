//! The daemon's room. So far it holds what `check` needs of it: when the next runs are due.

pub mod schedule;
