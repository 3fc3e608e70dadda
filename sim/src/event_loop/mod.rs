//! Tier 2: whole clusters of cores and keyspaces in one event loop with virtual time, without sockets.
//!
//! The loop does for each node what the real runtime (`swytch::cluster`) does around the core, with connections that are
//! simulated. Everything is drawn from the one seed, so a seed is a run.

mod clients;
pub(crate) mod members;
mod network;
mod node;
mod queue;
mod snapshots;
mod world;
mod writes;

pub(crate) use writes::still_to_come;

use std::panic::AssertUnwindSafe;

use crate::scenario::{Outcome, Scenario};

/// Runs a scenario. With `traced`, the outcome tells what happened; the run is the same without. Code that panics breaks a
/// promise, too: nothing that a node meets may end it.
pub fn run(scenario: &Scenario, seed: u64, traced: bool) -> Outcome {
    let run = || world::World::new(scenario, seed, traced).run();
    std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("something without words");
        Outcome { violations: vec![format!("P5: a panic: {text}")], ..Outcome::default() }
    })
}
