//! The command `ferry-worker`.

fn main() {}
