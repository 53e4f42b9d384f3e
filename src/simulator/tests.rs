//! The simulator against its own promises, over HTTP.
