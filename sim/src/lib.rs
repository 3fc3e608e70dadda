//! Whole clusters in simulated time, with everything that can go wrong, and checkers for the promises of `DESIGN.md`.
//!
//! Architecture invariant: everything that happens follows from a [`Scenario`] and a seed.

pub mod checker;
pub mod coverage;
pub mod event_loop;
pub mod minimise;
pub mod network;
pub mod plan;
pub mod scale;
pub mod scenario;
pub mod scenarios;
pub mod swarm;
pub mod trace;

pub use coverage::Coverage;
pub use scenario::{Ending, Fault, Links, Outcome, Scenario, Statistics, Workload};
