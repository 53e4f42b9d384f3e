//! The `telelake` program.

fn main() {}
