//! The vendor's API: requests, wire types, paging, and the only sender.
//!
//! `pipeline` and `cli` call [`Client`], which has a method for each endpoint. `send` holds the only sender: authorization,
//! pace, retries, pressure and circuits. `listing` reads a list page by page. All other files are pure: `request` builds
//! requests, `wire`, `envelope` and `answer` read answers, `paging` and `proof` decide when a list is complete, `ahead`
//! decides which pages are asked for before they are due, `problem` turns failures into errors.
//!
//! Every error of this module is safe to log: it holds no body, token, query or signed URL.

mod ahead;
mod answer;
mod as_it_came;
mod client;
mod encoding;
mod envelope;
mod listing;
mod paging;
mod problem;
mod proof;
mod request;
mod retry_after;
mod seen_items;
mod send;
mod wire;

#[cfg(test)]
mod tests;

pub use as_it_came::{AnswerAsItCame, LinkKind, Question};
pub use client::Client;
pub use listing::ListingPages;
pub use paging::{Gap, Listing};
pub use send::{Download, Limited, Link, Refused, RequestBudget, Resume, Stats, Tuning, is_strong};
pub use wire::{Call, Item, Record, Room, Space, Webhook};
