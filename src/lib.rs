//! telelake: the scheduled batch exporter of teleboss / livedigital lessons to a data lake.
//!
//! `docs/architecture.md` is the map. The `pipeline` walks the vendor's API (`api`), lands raw bytes in the store (`store`),
//! builds a day's tables from them (`tables`, defined in `lake`) and commits the day's manifest last. `api`, `store` and
//! `tables` never import one another.

pub mod api;
pub mod attendance;
mod backoff;
pub mod cli;
pub mod config;
pub mod crontab;
pub mod dates;
pub mod delta;
pub mod error;
pub mod ids;
pub mod json;
mod kinds;
pub mod lake;
mod lang;
pub mod lenient;
pub mod metrics;
pub mod mp4;
pub mod notify;
pub mod owner;
pub mod pipeline;
pub mod pseudonym;
pub mod runlog;
pub mod sanitize;
pub mod schedule;
pub mod serve;
pub mod shard;
pub mod simulator;
pub mod small_map;
pub mod status;
pub mod store;
pub mod tables;
mod task;
pub mod tls;
pub mod verify;

pub use error::{Error, ErrorKind, ExitStatus, Result};
