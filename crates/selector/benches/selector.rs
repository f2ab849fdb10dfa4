//! Selector benchmarks.
fn main() {}
