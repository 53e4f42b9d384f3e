//! bytes → rows → tables.

mod cell;
mod columns;
mod file;
mod fingerprint;
mod inspect;
mod mapping;
mod notes;
mod path;
mod people;
mod rows;
mod shape;
mod sink;
mod stay;

pub use fingerprint::fingerprint;
pub use inspect::{Inspection, NotJson, inspect};
pub use mapping::Mapping;
pub use notes::Notes;
pub use sink::TableFile;
