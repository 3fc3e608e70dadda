//! Time stamps: a hybrid logical clock.
//!
//! Algorithm: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks" (2014). The upper 48 bits
//! are wall-clock milliseconds, the lower 16 a counter; receiving a stamp moves the clock past it, so the order
//! of stamps never contradicts causality, whatever the wall clocks say.

use serde::{Deserialize, Serialize};

use super::NodeId;
use crate::planted::{Bug, planted};

const COUNTER_BITS: u32 = 16;

/// A total order over effects that is consistent with causality. Decides between concurrent writes only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Hybrid time: 48 bits of milliseconds since the Unix epoch, 16 bits of counter.
    pub time: u64,
    /// Breaks ties between nodes.
    pub node: NodeId,
}

impl Stamp {
    /// The milliseconds of its hybrid time: the wall clock of its node, unless that ran behind others.
    pub fn millis(&self) -> u64 {
        self.time >> COUNTER_BITS
    }
}

/// The source of a node's stamps.
#[derive(Clone, Debug, Default)]
pub struct HybridClock {
    last: u64,
}

impl HybridClock {
    /// The time of the next local effect; strictly above every time handed out or observed before.
    pub fn tick(&mut self, wall_millis: u64) -> u64 {
        let physical = wall_millis << COUNTER_BITS;
        // A full counter carries into the milliseconds: still monotonic, a little ahead of the wall.
        self.last = if planted(Bug::ClockGoesBack) { physical } else { physical.max(self.last + 1) };
        self.last
    }

    /// Moves the clock past the stamp of an effect from elsewhere.
    pub fn observe(&mut self, time: u64) {
        self.last = self.last.max(time);
    }

    /// The latest time handed out or observed.
    pub fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_when_the_wall_clock_does() {
        let mut clock = HybridClock::default();
        let first = clock.tick(1_000);
        let second = clock.tick(10);
        assert!(second > first);
        clock.observe(5_000 << COUNTER_BITS);
        assert!(clock.tick(20) > 5_000 << COUNTER_BITS);
    }
}
