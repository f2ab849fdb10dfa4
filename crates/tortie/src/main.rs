//! The command line of Tortie.
fn main() {}
