//! The vendor's API: what can be asked, what an answer means, and the one sender.
//!
//! `export` and `cli` call [`Client`]; `simulator` may use the wire types. Everything but `client` and `download` is
//! pure: `request` builds requests, `wire` reads answers, `paging` decides whether to ask on, `retry` how long to
//! wait, `problem` how a failure is told.
//!
//! What an error here says is safe to log: no body, token, query or signed URL.

mod client;
mod download;
mod pace;
mod paging;
mod problem;
mod request;
mod retry;
mod wire;

#[cfg(test)]
mod tests;

pub use client::{Client, Stats, Tuning};
pub use download::{Download, Link, Resume};
pub use paging::Listing;
pub use wire::{Call, Item, Record, Room, Space};
