//! Read models of the lake for people. Needs no API; used by `cli status` and by the daemon.

pub(crate) mod coverage;

pub use coverage::{
    Coverage, DayStatus, KnownRoom, Lack, MarkedDays, NOT_BUILT, never_looked_at, pending_by_age,
};
