//! Whole clusters in simulated time.
//!
//! Architecture invariant: everything that happens follows from a [`Scenario`] and a seed.

pub mod network;
pub mod scenario;

pub use scenario::{Fault, Links, Outcome, Scenario, Statistics, Workload};
