//! Whole clusters in simulated time, with everything that can go wrong, and checkers for the promises of `DESIGN.md`.
//!
//! Architecture invariant: everything that happens follows from a [`Scenario`] and a seed.

pub mod checker;
pub mod event_loop;
pub mod network;
pub mod scenario;
pub mod scenarios;
pub mod trace;

pub use scenario::{Fault, Links, Outcome, Scenario, Statistics, Workload};
