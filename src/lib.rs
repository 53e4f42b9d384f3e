//! telelake: the scheduled batch exporter of teleboss / livedigital lessons to a data lake.
//!
//! The picture to hold in the head is `docs/architecture.md`: `export` walks the API (`api`), lands bytes in the
//! store (`store`), builds a day's tables from them (`build`, what they mean is in `lake`) and commits the day's
//! manifest last. `api`, `store` and `build` never import one another.

pub mod api;
pub mod build;
pub mod cli;
pub mod config;
pub mod dates;
pub mod error;
pub mod export;
pub mod json;
pub mod lake;
pub mod lenient;
pub mod metrics;
pub mod mp4;
pub mod owner;
pub mod printable;
pub mod runlog;
pub mod serve;
pub mod simulator;
pub mod store;
pub mod tls;

pub use error::{Error, ErrorKind, ExitStatus, Result};
