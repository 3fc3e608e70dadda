//! What an effect reaches that is made again under another name, after its origin gave up its identity, or died.
//!
//! Who makes it again has taken a snapshot by then and so has seen more than the original had. What was written meanwhile is not to
//! be removed; what the original removed is. Two cases:
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
//! What it had seen of what was made again before, it reaches under the new names. A frontier has no gaps: if effects of several
//! nodes are made again, an effect that had not seen one of those before reaches none from that one on. Then too little is removed
//! rather than too much. (Effects of the node itself that makes all of them again had seen all those before.)

use std::collections::BTreeMap;

use super::{Dot, Effect, Frontier, NodeId, Reach};

/// Effects that one node makes again, of its former identities and of other nodes, in order.
#[derive(Debug)]
pub struct Reissue<'a> {
    folded: &'a Frontier,
    /// Former seqs and their new ones, of the effects made again so far.
    renamed: BTreeMap<NodeId, Vec<(u64, u64)>>,
    /// Up to here all that the node made under its new name was made again here.
    whole: u64,
}

impl<'a> Reissue<'a> {
    /// Where everything within `folded` has lost its metadata.
    pub fn new(folded: &'a Frontier) -> Self {
        Reissue { folded, renamed: BTreeMap::new(), whole: 0 }
    }

    /// What an effect, which had seen `past`, reaches when `node` makes it again, which has applied this.
    pub fn reach(&self, effect: &Effect, past: &Frontier, node: NodeId, applied: &Frontier) -> Reach {
        let former = effect.acts_on.clone().unwrap_or_else(|| Reach { frontier: past.clone(), stable: true });
        let first_unseen = self.renamed.iter().filter_map(|(&origin, made)| {
            let seen = former.frontier.get(origin);
            made.get(made.partition_point(|&(old, _)| old <= seen)).map(|&(_, new)| new)
        });
        let renamed = first_unseen.min().map_or(self.whole, |new| self.whole.min(new - 1));
        let mut reach = match former.stable && self.folded.within(&former.frontier) {
            true => former,
            false => Reach { frontier: Frontier::EMPTY, stable: false },
        };
        reach.frontier.meet(applied);
        if renamed > 0 {
            reach.frontier.raise(node, renamed);
        }
        reach
    }

    /// Notes that the former effect `old` was made again under this seq.
    pub fn made(&mut self, old: Dot, new: u64) {
        self.whole += u64::from(new == self.whole + 1);
        self.renamed.entry(old.node).or_default().push((old.seq, new));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn effect(node: u64, seq: u64, acts_on: Option<&Reach>) -> Effect {
        let mut encoded = Vec::new();
        Effect::encode(&mut encoded, Dot { node: NodeId(node), seq }, 9, &[], acts_on, &[]);
        Effect::decode(Bytes::from(encoded)).expect("well formed")
    }

    fn dot(node: u64, seq: u64) -> Dot {
        Dot { node: NodeId(node), seq }
    }

    fn all() -> Frontier {
        (1..12).map(|node| (NodeId(node), 99)).collect()
    }

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    #[test]
    fn what_had_seen_all_that_is_folded_reaches_what_it_had_seen() {
        let folded = frontier(&[(2, 3)]);
        let mut reissue = Reissue::new(&folded);
        let reach = reissue.reach(&effect(1, 5, None), &frontier(&[(1, 4), (2, 7)]), NodeId(9), &all());
        assert_eq!(reach, Reach { frontier: frontier(&[(1, 4), (2, 7)]), stable: true });
        reissue.made(dot(1, 5), 1);
        let reach = reissue.reach(&effect(1, 6, None), &frontier(&[(1, 5), (2, 7)]), NodeId(9), &all());
        assert_eq!(reach, Reach { frontier: frontier(&[(1, 5), (2, 7), (9, 1)]), stable: true });
    }

    #[test]
    fn what_had_not_reaches_only_what_was_made_again() {
        let folded = frontier(&[(2, 8)]);
        let mut reissue = Reissue::new(&folded);
        reissue.made(dot(1, 5), 1);
        let narrow = Reach { frontier: frontier(&[(9, 1)]), stable: false };
        assert_eq!(reissue.reach(&effect(1, 6, None), &frontier(&[(1, 5), (2, 7)]), NodeId(9), &all()), narrow);
        // Once narrow, always narrow: elsewhere it has taken effect so already.
        let nothing = Reach { frontier: Frontier::EMPTY, stable: false };
        let none_folded = Frontier::EMPTY;
        let again = Reissue::new(&none_folded);
        assert_eq!(again.reach(&effect(9, 2, Some(&narrow)), &frontier(&[(9, 1)]), NodeId(11), &all()), nothing);
    }

    #[test]
    fn effects_of_two_origins_reach_each_other_under_their_new_names() {
        let folded = frontier(&[(2, 3)]);
        let mut reissue = Reissue::new(&folded);
        let reach = |reissue: &Reissue<'_>, node, seq, past: &[(u64, u64)]| {
            reissue.reach(&effect(node, seq, None), &frontier(past), NodeId(9), &all())
        };
        // 1:5, 7:1 that had seen it, 1:6 that had not seen 7:1, and two that follow 7:1.
        reissue.made(dot(1, 5), 1);
        let narrow = |upto| Reach { frontier: frontier(&[(9, upto)]), stable: false };
        assert_eq!(reach(&reissue, 7, 1, &[(1, 5)]), narrow(1));
        reissue.made(dot(7, 1), 2);
        assert_eq!(reach(&reissue, 1, 6, &[(1, 5), (2, 3)]).frontier, frontier(&[(1, 5), (2, 3), (9, 1)]));
        reissue.made(dot(1, 6), 3);
        // From what it had not seen on it reaches nothing, not even its own.
        assert_eq!(reach(&reissue, 7, 2, &[(1, 5), (7, 1)]), narrow(2));
        reissue.made(dot(7, 2), 4);
        assert_eq!(reach(&reissue, 7, 3, &[(1, 5), (7, 2)]), narrow(2));
        assert_eq!(reach(&reissue, 7, 3, &[(1, 6), (7, 2)]), narrow(4));
    }

    #[test]
    fn what_is_made_again_later_does_not_reach_what_was_written_meanwhile() {
        let folded = frontier(&[(2, 3)]);
        let mut reissue = Reissue::new(&folded);
        reissue.made(dot(7, 1), 40);
        let reach = reissue.reach(&effect(7, 2, None), &frontier(&[(7, 1)]), NodeId(9), &all());
        assert_eq!(reach, Reach { frontier: Frontier::EMPTY, stable: false });
    }

    #[test]
    fn what_is_not_here_is_reached_nowhere() {
        let folded = frontier(&[(2, 3)]);
        let reissue = Reissue::new(&folded);
        let past = frontier(&[(1, 4), (2, 7), (3, 5)]);
        let reach = reissue.reach(&effect(1, 5, None), &past, NodeId(9), &frontier(&[(1, 2), (2, 9)]));
        assert_eq!(reach, Reach { frontier: frontier(&[(1, 2), (2, 7)]), stable: true });
    }
}
