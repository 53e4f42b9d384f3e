//! telelake: the scheduled batch exporter of teleboss / livedigital lessons to a data lake.
//!
//! The picture to hold in the head is `docs/architecture.md`: `export` walks the API (`api`), lands bytes in the
//! store (`store`), builds a day's tables from them (`build`, what they mean is in `lake`) and commits the day's
//! manifest last. `api`, `store` and `build` never import one another.

pub mod api;
mod backoff;
pub mod cli;
pub mod config;
pub mod crontab;
pub mod dates;
pub mod error;
pub mod ids;
pub mod json;
pub mod lake;
pub mod lenient;
pub mod metrics;
pub mod mp4;
pub mod notify;
pub mod owner;
pub mod pipeline;
pub mod runlog;
pub mod sanitize;
pub mod schedule;
pub mod serve;
pub mod simulator;
pub mod status;
pub mod store;
pub mod tables;
mod task;
pub mod tls;
pub mod verify;

pub use error::{Error, ErrorKind, ExitStatus, Result};
