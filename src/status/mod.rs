//! Read models of the lake for people. They need no API; `cli status` and the daemon show them.

pub(crate) mod coverage;

pub use coverage::{
    Coverage, DayStatus, KnownRoom, Lack, MarkedDays, NOT_BUILT, never_looked_at, pending_by_age,
};
