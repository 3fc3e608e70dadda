//! Tier 2: whole clusters of cores and keyspaces in one event loop with virtual time, without sockets.
//!
//! The loop does for each node what the real runtime (`swytch::cluster`) does around the core, with connections that are
//! simulated. Everything is drawn from the one seed, so a seed is a run.

mod clients;
mod members;
mod network;
mod node;
mod queue;
mod snapshots;
mod world;
mod writes;

pub(crate) use writes::still_to_come;

use crate::scenario::{Outcome, Scenario};

/// Runs a scenario. With `traced`, the outcome tells what happened; the run is the same without.
pub fn run(scenario: &Scenario, seed: u64, traced: bool) -> Outcome {
    world::World::new(scenario, seed, traced).run()
}
