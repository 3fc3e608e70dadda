//! What operators and clients can see of a running node.
//!
//! Architecture invariant: nothing here knows a command, a key or a peer; whoever does something counts it here.

pub mod stats;

pub use stats::{Stats, ThreadStats};
