//! Yao Bank: customer.
fn main() {}
