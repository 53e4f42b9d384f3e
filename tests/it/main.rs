//! The integration tests, in one binary: what is built once is linked once, and the tests share one S3 server.

#![allow(clippy::unwrap_used)]

mod cli;
mod documents;
mod export;
mod readers;
mod reliability;
mod serve;
mod soak;
mod store;
mod support;
