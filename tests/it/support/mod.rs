//! The tools of the integration tests; see `README.md` in this folder.

pub mod again;
pub mod browser;
pub mod daemon;
pub mod eventually;
pub mod fakes3;
pub mod faulty;
pub mod lake;
pub mod memory;
pub mod midnight;
pub mod program;
pub mod truth;
pub mod weed;
