//! What the tests stand on.

pub mod again;
pub mod weed;
