//! The `thumbformer` command.
fn main() {}
