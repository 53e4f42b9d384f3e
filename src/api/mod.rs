//! The vendor's API: what can be asked, what an answer means, and the one sender.
//!
//! `export` and `cli` call [`Client`]; `simulator` may use the wire types. Everything but `sender`, `body`, `download`,
//! `credential` and the face of all, `client`, is pure: `request` builds requests, `wire` and `answer` read answers, `paging` decides
//! whether to ask on, `retry`, `pace` and `throttle` when, `problem` how a failure is told.
//!
//! What an error here says is safe to log: no body, token, query or signed URL.

mod answer;
mod body;
mod circuit;
mod circuits;
mod client;
mod credential;
mod download;
mod encoding;
mod envelope;
mod gate;
mod guard;
mod pace;
mod paging;
mod pressure;
mod problem;
mod proof;
mod request;
mod retry;
mod seen;
mod sender;
mod throttle;
mod wire;

#[cfg(test)]
mod paging_tests;
#[cfg(test)]
mod tests;

pub use circuits::Refused;
pub use client::{Client, Limited, Stats, Tuning};
pub use download::{Download, Link, Resume};
pub use paging::{Gap, Listing};
pub use wire::{Call, Item, Record, Room, Space, Webhook};
