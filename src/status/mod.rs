//! Read models of the lake for people. They need no API; `cli status` and the daemon show them.

pub(crate) mod coverage;
mod day_cache;
mod day_ids;
mod day_status;
mod gaps;
mod index;
mod index_sync;
mod listing;
mod missing;
mod open_days;
mod rooms;
mod table_index;

pub use coverage::{Coverage, LakeCoverage};
pub use day_status::{DayStatus, NOT_BUILT};
pub use gaps::never_looked_at;
pub use listing::DateRange;
pub use missing::{Lack, LackKind};
pub use open_days::{MarkedDays, pending_by_age};
pub use rooms::KnownRoom;
pub use table_index::{DayTables, TableDigest, day_tables};
