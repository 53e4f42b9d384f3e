//! The integration tests, in one binary, so that they are linked once and share an S3 server.

// The futures of whole runs are nested deeper than the compiler looks by default when it computes their size.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used)]

mod analysts;
mod check;
mod cli;
mod delta;
mod documents;
mod forget;
mod house;
mod pipeline;
mod privacy;
mod readers;
mod reliability;
mod retain;
mod serve;
mod shards;
mod soak;
mod status;
mod store;
mod support;
mod verify;
