//! Admit.
fn main() {}
