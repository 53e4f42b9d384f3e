//! What the tests stand on.

pub mod again;
pub mod browser;
pub mod daemon;
pub mod eventually;
pub mod fakes3;
pub mod faulty;
pub mod lake;
pub mod memory;
pub mod program;
pub mod truth;
pub mod weed;
