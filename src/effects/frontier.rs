//! A frontier: for each node, the highest seq up to which all of its effects are applied.
//!
//! Because seqs have no gaps and effects are applied in causal order, this handful of integers is the whole
//! causal past of a node (a version vector; Parker et al. 1983, Mattern 1988).

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Dot, NodeId};

/// Map node → highest contiguous seq. Absent means 0. Kept sorted by node: iteration order is deterministic.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frontier {
    entries: Vec<(NodeId, u64)>,
}

impl Frontier {
    /// The empty past.
    pub const EMPTY: Frontier = Frontier { entries: Vec::new() };

    /// The highest contiguous seq of `node`, 0 when nothing of it is known.
    pub fn get(&self, node: NodeId) -> u64 {
        match self.entries.binary_search_by_key(&node, |entry| entry.0) {
            Ok(at) => self.entries[at].1,
            Err(_) => 0,
        }
    }

    /// Is this effect within the frontier?
    pub fn includes(&self, dot: Dot) -> bool {
        dot.seq <= self.get(dot.node)
    }

    /// Sets a node's seq, up or down; 0 removes the entry.
    pub fn set(&mut self, node: NodeId, seq: u64) {
        match self.entries.binary_search_by_key(&node, |entry| entry.0) {
            Ok(at) if seq == 0 => {
                self.entries.remove(at);
            }
            Ok(at) => self.entries[at].1 = seq,
            Err(_) if seq == 0 => {}
            Err(at) => self.entries.insert(at, (node, seq)),
        }
    }

    /// Raises a node's seq to at least `seq`.
    pub fn raise(&mut self, node: NodeId, seq: u64) {
        if self.get(node) < seq {
            self.set(node, seq);
        }
    }

    /// Everything that is in either.
    pub fn join(&mut self, other: &Frontier) {
        for &(node, seq) in &other.entries {
            self.raise(node, seq);
        }
    }

    /// Only what is in both.
    pub fn meet(&mut self, other: &Frontier) {
        for entry in &mut self.entries {
            entry.1 = entry.1.min(other.get(entry.0));
        }
        self.entries.retain(|entry| entry.1 > 0);
    }

    /// Is all of this within `other`?
    pub fn within(&self, other: &Frontier) -> bool {
        self.entries.iter().all(|&(node, seq)| seq <= other.get(node))
    }

    /// Nodes and seqs, by ascending node.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        self.entries.iter().copied()
    }

    /// Has nothing been seen?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many effects lie within.
    pub fn total(&self) -> u64 {
        self.entries.iter().map(|entry| entry.1).sum()
    }

    /// How many nodes have an entry.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// False when a decoded frontier is not in canonical form (sorted, no zero entries): a peer's frame is refused then.
    pub fn is_canonical(&self) -> bool {
        self.entries.iter().all(|entry| entry.1 > 0) && self.entries.windows(2).all(|pair| pair[0].0 < pair[1].0)
    }
}

impl PartialOrd for Frontier {
    /// `None` means concurrent.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.within(other), other.within(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        }
    }
}

impl FromIterator<(NodeId, u64)> for Frontier {
    fn from_iter<I: IntoIterator<Item = (NodeId, u64)>>(entries: I) -> Self {
        let mut frontier = Frontier::default();
        for (node, seq) in entries {
            frontier.raise(node, seq);
        }
        frontier
    }
}

impl fmt::Debug for Frontier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    #[test]
    fn frontiers_compare_as_version_vectors() {
        let low = frontier(&[(1, 2)]);
        let high = frontier(&[(1, 2), (2, 1)]);
        assert_eq!(low.partial_cmp(&high), Some(Ordering::Less));
        assert_eq!(frontier(&[(1, 3)]).partial_cmp(&high), None);
        assert_eq!(high.partial_cmp(&high.clone()), Some(Ordering::Equal));
    }

    #[test]
    fn meet_and_join_are_the_lattice() {
        let mut meet = frontier(&[(1, 5), (2, 1)]);
        meet.meet(&frontier(&[(1, 3), (3, 9)]));
        assert_eq!(meet, frontier(&[(1, 3)]));
        let mut join = frontier(&[(1, 5)]);
        join.join(&frontier(&[(1, 3), (3, 9)]));
        assert_eq!(join, frontier(&[(1, 5), (3, 9)]));
        assert!(join.is_canonical());
    }
}
