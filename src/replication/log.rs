//! The effects that somebody may still need: encoded, per origin, without gaps, from the floor to the frontier.
//!
//! # Bounds
//!
//! A byte budget, which `stability` enforces by giving up those for whom the log is kept. As one command may be larger
//! than any sensible budget, twice the largest effect is always allowed: otherwise one large SET would cut off every
//! peer at once.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::effects::{Dot, Frontier, NodeId};
use crate::planted::{Bug, planted};

/// What an effect in the log costs besides its bytes.
pub(super) const OVERHEAD_BYTES: usize = 64;

/// Effects in the order in which they were applied, found by origin and seq.
#[derive(Debug)]
pub(super) struct Log {
    origins: BTreeMap<NodeId, OriginLog>,
    bytes: usize,
    effects: usize,
    limit: usize,
    /// How many effects were ever appended: each one's place in the order of application.
    appended: u64,
    /// The effects that are large against the budget, and their sizes.
    large: BTreeMap<Dot, usize>,
}

#[derive(Debug, Default)]
struct OriginLog {
    /// The seq of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    encoded: Bytes,
    place: u64,
    /// The size of all this origin's effects up to this one, for the size of a range in constant time.
    total: u64,
}

impl Log {
    pub(super) fn new(limit: usize) -> Self {
        Log { origins: BTreeMap::new(), bytes: 0, effects: 0, limit, appended: 0, large: BTreeMap::new() }
    }

    /// Effects, and what they cost in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.effects, self.bytes)
    }

    /// What the log may cost at present.
    pub(super) fn allowance(&self) -> usize {
        if planted(Bug::IgnoreLogLimit) {
            return usize::MAX;
        }
        self.limit.max(2 * self.large.values().max().copied().unwrap_or(0))
    }

    /// Appends the next effect of its origin.
    pub(super) fn append(&mut self, dot: Dot, encoded: Bytes) {
        let cost = cost(&encoded);
        let log = self.origins.entry(dot.node).or_default();
        if log.entries.is_empty() {
            log.first = dot.seq;
        }
        assert_eq!(
            log.first + log.entries.len() as u64,
            dot.seq,
            "effects are logged as they are applied: without gaps"
        );
        let total = log.entries.back().map_or(0, |entry| entry.total) + encoded.len() as u64;
        log.entries.push_back(Entry { encoded, place: self.appended, total });
        self.appended += 1;
        self.bytes += cost;
        self.effects += 1;
        if cost > self.limit / 4 {
            self.large.insert(dot, cost);
        }
    }

    /// The effects of `origin` in (after, upto], as many as fit into `bytes`, but at least one. None when the first of
    /// them is not here.
    pub(super) fn range(&self, origin: NodeId, after: u64, upto: u64, bytes: usize) -> Vec<Bytes> {
        let Some(log) = self.origins.get(&origin) else { return Vec::new() };
        let Some(start) = (after + 1).checked_sub(log.first).and_then(|start| usize::try_from(start).ok()) else {
            return Vec::new();
        };
        let count = usize::try_from(upto.saturating_sub(after)).unwrap_or(usize::MAX);
        let mut taken = 0;
        let entries = log.entries.iter().skip(start).take(count).enumerate();
        let fitting = entries.take_while(|(index, entry)| {
            taken += entry.encoded.len();
            *index == 0 || taken <= bytes
        });
        fitting.map(|(_, entry)| entry.encoded.clone()).collect()
    }

    /// All effects, in the order in which they were applied.
    pub(super) fn all(&self) -> Vec<Bytes> {
        in_order(self.origins.values().flat_map(|log| &log.entries))
    }

    /// The effects within `floor`, in the order in which they were applied.
    pub(super) fn within(&self, floor: &Frontier) -> Vec<Bytes> {
        in_order(self.origins.iter().flat_map(|(&origin, log)| {
            let count = (floor.get(origin) + 1).saturating_sub(log.first);
            log.entries.iter().take(usize::try_from(count).unwrap_or(usize::MAX))
        }))
    }

    /// The effects beyond `begin`, in the order in which they were applied. `begin` is not before the floor.
    pub(super) fn after(&self, begin: &Frontier) -> Vec<Bytes> {
        in_order(self.origins.iter().flat_map(|(&origin, log)| {
            let within = (begin.get(origin) + 1).saturating_sub(log.first);
            log.entries.iter().skip(usize::try_from(within).unwrap_or(usize::MAX))
        }))
    }

    /// The bytes of the effects of `origin` in (after, upto] that are here.
    pub(super) fn bytes_between(&self, origin: NodeId, after: u64, upto: u64) -> u64 {
        let Some(log) = self.origins.get(&origin) else { return 0 };
        let total_at = |seq: u64| {
            let before_first = log.entries.front().map_or(0, |entry| entry.total - entry.encoded.len() as u64);
            let index = seq.checked_sub(log.first).and_then(|index| usize::try_from(index).ok());
            index.map_or(before_first, |index| {
                log.entries.get(index).or(log.entries.back()).map_or(before_first, |entry| entry.total)
            })
        };
        total_at(upto).saturating_sub(total_at(after))
    }

    /// Drops everything within `floor`.
    pub(super) fn trim(&mut self, floor: &Frontier) {
        for (origin, upto) in floor.iter() {
            let Some(log) = self.origins.get_mut(&origin) else { continue };
            while log.first <= upto
                && let Some(entry) = log.entries.pop_front()
            {
                self.large.remove(&Dot { node: origin, seq: log.first });
                log.first += 1;
                self.bytes -= cost(&entry.encoded);
                self.effects -= 1;
            }
            if log.entries.is_empty() {
                self.origins.remove(&origin);
            } else if log.entries.len() < log.entries.capacity() / 4 {
                log.entries.shrink_to(log.entries.len() * 2);
            }
        }
    }

    /// How far to trim, from what was applied first and not beyond `bound`, to come down to `target` bytes. As it
    /// follows the order of application, the result is causally closed whenever `floor`, the present one, is.
    pub(super) fn cut(&self, floor: &Frontier, bound: &Frontier, target: usize) -> Frontier {
        let mut cut = floor.clone();
        let mut bytes = self.bytes;
        let mut heads: BTreeMap<u64, (NodeId, usize)> = BTreeMap::new();
        for (&origin, log) in &self.origins {
            heads.extend(log.entries.front().map(|entry| (entry.place, (origin, 0))));
        }
        while bytes > target
            && let Some((_, (origin, index))) = heads.pop_first()
        {
            let log = &self.origins[&origin];
            let dot = Dot { node: origin, seq: log.first + index as u64 };
            if !bound.includes(dot) {
                break;
            }
            cut.raise(dot.node, dot.seq);
            bytes -= cost(&log.entries[index].encoded);
            heads.extend(log.entries.get(index + 1).map(|entry| (entry.place, (origin, index + 1))));
        }
        cut
    }
}

fn in_order<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Bytes> {
    let mut entries: Vec<&Entry> = entries.collect();
    entries.sort_unstable_by_key(|entry| entry.place);
    entries.into_iter().map(|entry| entry.encoded.clone()).collect()
}

/// What an effect in the log costs.
pub(super) fn cost(encoded: &Bytes) -> usize {
    encoded.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(node: u64, seq: u64) -> Dot {
        Dot { node: NodeId(node), seq }
    }

    fn sample() -> Log {
        let mut log = Log::new(10_000);
        for seq in 1..=10 {
            log.append(dot(1, seq), Bytes::from(vec![seq as u8; 100]));
            log.append(dot(2, seq), Bytes::from(vec![seq as u8; 10]));
        }
        log
    }

    #[test]
    fn ranges_are_cut_to_size_but_never_to_nothing() {
        let mut log = sample();
        assert_eq!(log.range(NodeId(1), 2, 9, 250).len(), 2);
        assert_eq!(log.range(NodeId(1), 2, 9, 5).len(), 1);
        assert_eq!(log.range(NodeId(1), 2, 4, 5_000).len(), 2);
        assert_eq!(log.bytes_between(NodeId(1), 2, 5), 300);
        assert_eq!(log.bytes_between(NodeId(3), 2, 5), 0);
        log.trim(&[(NodeId(1), 4)].into_iter().collect());
        assert!(log.range(NodeId(1), 3, 9, 250).is_empty());
        assert_eq!(log.range(NodeId(1), 4, 9, 150), [Bytes::from(vec![5; 100])]);
        assert_eq!(log.bytes_between(NodeId(1), 2, 5), 100);
        assert_eq!(log.size().0, 16);
        log.trim(&[(NodeId(1), 10), (NodeId(2), 10)].into_iter().collect());
        assert_eq!(log.size(), (0, 0));
    }

    #[test]
    fn a_cut_follows_the_order_of_application() {
        let log = sample();
        let bound = [(NodeId(1), 10), (NodeId(2), 10)].into_iter().collect();
        let cut = log.cut(&Frontier::EMPTY, &bound, log.size().1 / 2);
        assert_eq!((cut.get(NodeId(1)), cut.get(NodeId(2))), (5, 5));
        let bound = [(NodeId(1), 3), (NodeId(2), 2)].into_iter().collect();
        assert_eq!(log.cut(&Frontier::EMPTY, &bound, 0), bound);
    }

    #[test]
    fn what_came_after_a_frontier_comes_in_the_order_of_application() {
        let mut log = sample();
        let begin = [(NodeId(1), 8), (NodeId(2), 9)].into_iter().collect();
        let expected = [vec![9; 100], vec![10; 100], vec![10; 10]].map(Bytes::from);
        assert_eq!(log.after(&begin), expected);
        log.trim(&begin);
        assert_eq!(log.after(&begin), expected);
        assert!(log.after(&[(NodeId(1), 10), (NodeId(2), 10)].into_iter().collect()).is_empty());
    }

    #[test]
    fn a_large_effect_raises_the_allowance_while_it_is_here() {
        let mut log = Log::new(1_000);
        log.append(dot(1, 1), Bytes::from(vec![0; 5_000]));
        assert_eq!(log.allowance(), 2 * 5_064);
        log.trim(&[(NodeId(1), 1)].into_iter().collect());
        assert_eq!(log.allowance(), 1_000);
    }
}
