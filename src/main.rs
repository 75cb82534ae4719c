//! The `outpost` command.

fn main() {}
