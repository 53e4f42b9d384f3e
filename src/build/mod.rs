//! bytes → rows → tables.

mod cell;
mod file;
mod mapping;
mod notes;
mod path;
mod shape;

pub use mapping::Mapping;
pub use notes::Notes;
