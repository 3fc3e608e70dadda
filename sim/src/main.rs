//! Runs one scenario, or many seeds of it.

fn main() {}
