//! Yao Bank: summary.
fn main() {}
