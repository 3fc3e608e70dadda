//! The state of the core, and how an input finds the part that it concerns.

use super::{ClusterReport, CoreOptions, Input, Now, Output};
use crate::effects::{Effect, Frontier};

/// One node's part in replication. See the module for what surrounds it.
#[derive(Debug)]
pub struct Core {
    options: CoreOptions,
    frontier: Frontier,
}

impl Core {
    /// A core that has applied nothing and knows nobody.
    pub fn new(options: CoreOptions, _now: Now) -> Core {
        Core { options, frontier: Frontier::default() }
    }

    /// Handles one input and appends what is to be done to `out`.
    pub fn step(&mut self, _now: Now, _input: Input, _out: &mut Vec<Output>) {}

    /// What this node knows about its cluster.
    pub fn report(&self, _now: Now) -> ClusterReport {
        ClusterReport { node: self.options.node, ..ClusterReport::default() }
    }

    /// Everything applied here.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The own effects that are still in the log, in order, with all that each had seen: for a rebase.
    pub fn into_own_effects(self) -> (Vec<Effect>, Vec<Frontier>) {
        (Vec::new(), Vec::new())
    }
}
