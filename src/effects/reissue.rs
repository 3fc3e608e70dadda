//! Effects that are made again under other names, after their origin gave up its identity, or died.
//!
//! Who makes them again has taken a snapshot by then and so has seen more than the originals had. What was written meanwhile is not to
//! be removed; what an original removed is. Two cases:
//!
//! - The original had seen all that has lost its metadata. Then its removals reach just what it had seen: of
//!   everything else it is known who wrote it. Other nodes are in the same case, or do not apply the effect (see
//!   `replication::delivery`), so all agree.
//! - It had not: its origin had never met this cluster, or was forsaken (see `replication::stability`). What it had
//!   seen of others may have metadata at one node and none at the next, so removals reach nothing but what was
//!   made again before.
//!
//! What is not here when it is made again, it reaches at no node: elsewhere that may come before it or after it, and would be removed
//! here and stay there.
//!
//! What it had seen of what was made again before, it reaches under the new names, and nothing else of it. So that this is a frontier again,
//! which has no gaps, each origin gets a new name of its own: what an effect had seen of the first so many effects of an origin that were made again, it has
//! seen under the new name as well. Nobody makes any other effects under such a name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Dot, Effect, Frontier, NodeId, Operation, OperationsWriter, Reach, SeenChanges};

/// Makes effects of former identities and of nodes that are gone again, in order, as effects of one node.
#[derive(Debug)]
pub struct Reissue {
    maker: NodeId,
    origins: BTreeMap<NodeId, Renamed>,
    names: BTreeSet<NodeId>,
}

/// What an effect sees that is made again.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What it reaches.
    pub reach: &'a Reach,
    /// The new names of what was made again here before.
    pub names: &'a BTreeSet<NodeId>,
}

/// What was made again of one origin.
#[derive(Debug)]
struct Renamed {
    name: NodeId,
    /// Their former seqs; each one's place is its new one.
    seqs: Vec<u64>,
    /// What the latest of them has seen under its new name.
    seen: Frontier,
}

/// How and when an effect is made again.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// Everything within this has lost its metadata.
    pub folded: &'a Frontier,
    /// Everything applied here.
    pub applied: &'a Frontier,
    /// The hybrid time.
    pub time: u64,
}

impl Reissue {
    /// Nothing was made again by this node so far.
    pub fn new(maker: NodeId) -> Self {
        Reissue { maker, origins: BTreeMap::new(), names: BTreeSet::new() }
    }

    /// Makes an effect again, which had seen `past`. `remake` writes what becomes of an operation, and says whether that counts, be it
    /// that there is nothing left for it to do. `None`: none counts.
    pub fn make(
        &mut self,
        effect: &Effect,
        past: &Frontier,
        making: Making<'_>,
        mut remake: impl FnMut(Operation<'_>, &Sight<'_>, &mut OperationsWriter) -> bool,
    ) -> Option<Effect> {
        let reach = self.reach(effect, past, making);
        let sight = Sight { reach: &reach, names: &self.names };
        let mut writer = OperationsWriter::default();
        let mut is_made = false;
        for operation in effect.operations() {
            is_made |= remake(operation, &sight, &mut writer);
        }
        if !is_made {
            return None;
        }
        let Dot { node: origin, seq } = effect.dot;
        let name = new_name(self.maker, origin);
        self.names.insert(name);
        let fresh = || Renamed { name, seqs: Vec::new(), seen: Frontier::EMPTY };
        let renamed = self.origins.entry(origin).or_insert_with(fresh);
        renamed.seqs.push(seq);
        let is_news = |&(node, seq): &(NodeId, u64)| node != name && seq > renamed.seen.get(node);
        let changes: SeenChanges = making.applied.iter().filter(is_news).collect();
        renamed.seen.clone_from(making.applied);
        let dot = Dot { node: name, seq: renamed.seqs.len() as u64 };
        let mut encoded = Vec::new();
        Effect::encode(&mut encoded, dot, making.time, &changes, Some(&reach), writer.bytes());
        Some(Effect::decode(Bytes::from(encoded)).expect("as it was encoded"))
    }

    /// What an effect, which had seen `past`, reaches when it is made again.
    fn reach(&self, effect: &Effect, past: &Frontier, making: Making<'_>) -> Reach {
        let original = effect.original();
        let former = effect.acts_on.clone().unwrap_or_else(|| Reach { frontier: past.clone(), stable: true, original });
        let is_wide = former.stable && making.folded.within(&former.frontier);
        let mut reach = Reach { frontier: Frontier::EMPTY, stable: is_wide, original };
        if is_wide {
            reach.frontier.clone_from(&former.frontier);
            reach.frontier.meet(making.applied);
        }
        for (&origin, renamed) in &self.origins {
            let seen = former.frontier.get(origin);
            let count = renamed.seqs.partition_point(|&seq| seq <= seen) as u64;
            reach.frontier.raise(renamed.name, count);
        }
        reach
    }
}

/// A name that nobody else has: those of nodes are hashes of their keys, and a maker is made for one identity. (The mixing
/// function of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.)
fn new_name(maker: NodeId, origin: NodeId) -> NodeId {
    let mix = |number: u64| {
        let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    };
    NodeId(mix(maker.0 ^ mix(origin.0)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Action;

    fn effect(node: u64, seq: u64, acts_on: Option<&Reach>) -> Effect {
        let mut writer = OperationsWriter::default();
        writer.push(Operation::Key { database: 0, key: b"k", action: Action::Remove });
        let mut encoded = Vec::new();
        Effect::encode(&mut encoded, Dot { node: NodeId(node), seq }, 9, &[], acts_on, writer.bytes());
        Effect::decode(Bytes::from(encoded)).expect("well formed")
    }

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    fn keep(operation: Operation<'_>, _: &Sight<'_>, writer: &mut OperationsWriter) -> bool {
        writer.push(operation);
        true
    }

    /// Makes effects again one after the other, each with what it had seen, and applies them.
    struct Maker {
        reissue: Reissue,
        folded: Frontier,
        applied: Frontier,
    }

    impl Maker {
        fn new(folded: &[(u64, u64)], applied: &[(u64, u64)]) -> Maker {
            Maker { reissue: Reissue::new(NodeId(9)), folded: frontier(folded), applied: frontier(applied) }
        }

        fn make(&mut self, effect: &Effect, past: &[(u64, u64)]) -> Effect {
            let making = Making { folded: &self.folded, applied: &self.applied, time: 7 };
            let made = self.reissue.make(effect, &frontier(past), making, keep).expect("it is kept");
            self.applied.raise(made.dot.node, made.dot.seq);
            made
        }
    }

    fn name(origin: u64) -> u64 {
        new_name(NodeId(9), NodeId(origin)).0
    }

    fn reach(entries: &[(u64, u64)], stable: bool, (node, seq): (u64, u64)) -> Reach {
        Reach { frontier: frontier(entries), stable, original: Dot { node: NodeId(node), seq } }
    }

    #[test]
    fn each_origin_gets_a_name_and_what_it_had_seen_of_others_follows() {
        let mut maker = Maker::new(&[], &[(2, 3)]);
        let narrow = |entries: &[(u64, u64)], original| reach(entries, true, original);
        let made = maker.make(&effect(1, 5, None), &[(1, 4)]);
        assert_eq!(made.dot, Dot { node: NodeId(name(1)), seq: 1 });
        assert_eq!(made.seen_changes.as_slice(), [(NodeId(2), 3)]);
        assert_eq!(made.acts_on, Some(narrow(&[], (1, 5))));
        // It had seen the first one, and is not seen by the third one.
        let made = maker.make(&effect(3, 1, None), &[(1, 5)]);
        assert_eq!((made.dot.node.0, made.acts_on), (name(3), Some(narrow(&[(name(1), 1)], (3, 1)))));
        let made = maker.make(&effect(1, 6, None), &[(1, 5)]);
        assert_eq!((made.dot.seq, made.acts_on), (2, Some(narrow(&[(name(1), 1)], (1, 6)))));
        assert_eq!(made.seen_changes.as_slice(), [(NodeId(name(3)), 1)]);
        // It had seen its own and the second, but not the third.
        let made = maker.make(&effect(3, 2, None), &[(1, 5), (3, 1)]);
        assert_eq!(made.acts_on, Some(narrow(&[(name(1), 1), (name(3), 1)], (3, 2))));
        let made = maker.make(&effect(3, 3, None), &[(1, 6), (3, 2)]);
        assert_eq!(made.acts_on, Some(narrow(&[(name(1), 2), (name(3), 2)], (3, 3))));
    }

    #[test]
    fn what_had_seen_all_that_is_folded_reaches_what_it_had_seen_and_is_here() {
        let mut maker = Maker::new(&[(2, 3)], &[(1, 2), (2, 9)]);
        let made = maker.make(&effect(1, 5, None), &[(1, 4), (2, 7), (4, 5)]);
        assert_eq!(made.acts_on, Some(reach(&[(1, 2), (2, 7)], true, (1, 5))));
    }

    #[test]
    fn what_had_not_reaches_only_what_was_made_again() {
        let mut maker = Maker::new(&[(2, 8)], &[(2, 9)]);
        maker.make(&effect(1, 5, None), &[(1, 4), (2, 7)]);
        let made = maker.make(&effect(1, 6, None), &[(1, 5), (2, 7)]);
        let narrow = reach(&[(name(1), 1)], false, (1, 6));
        assert_eq!(made.acts_on, Some(narrow.clone()));
        // Once narrow, always narrow: elsewhere it has taken effect so already. It is known for what it was.
        let mut again = Maker::new(&[], &[(name(1), 2)]);
        let made = again.make(&effect(name(1), 2, Some(&narrow)), &[(name(1), 1), (2, 9)]);
        assert_eq!(made.acts_on, Some(reach(&[], false, (1, 6))));
    }

    #[test]
    fn what_has_nothing_to_keep_is_not_made() {
        let mut reissue = Reissue::new(NodeId(9));
        let nothing = Frontier::EMPTY;
        let making = Making { folded: &nothing, applied: &nothing, time: 7 };
        assert_eq!(reissue.make(&effect(1, 1, None), &nothing, making, |_, _, _| false), None);
        let made = reissue.make(&effect(1, 2, None), &nothing, making, keep);
        assert_eq!(made.map(|made| made.dot.seq), Some(1));
    }
}
