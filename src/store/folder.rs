//! A folder.
