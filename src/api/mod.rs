//! The vendor's API.
