//! What an effect reaches that is made again under another name, after its origin gave up its identity.
//!
//! The origin has taken a snapshot by then and so has seen more than the original had. What was written meanwhile is not to
//! be removed; what the original removed is. Two cases:
//!
//! - The original had seen all that has lost its metadata. Then its removals reach just what it had seen: of
//!   everything else it is known who wrote it. Other nodes are in the same case, or do not apply the effect (see
//!   `replication::delivery`), so all agree.
//! - It had not: its origin had never met this cluster, or was forsaken (see `replication::stability`). What it had
//!   seen of others may have metadata at one node and none at the next, so removals reach nothing but what was
//!   made again before.

use super::{Effect, Frontier, NodeId, Reach};

/// The effects of one former identity, in order.
#[derive(Debug)]
pub struct Reissue<'a> {
    old: NodeId,
    folded: &'a Frontier,
    /// Former seqs and their new ones, of the effects made again so far.
    renamed: Vec<(u64, u64)>,
}

impl<'a> Reissue<'a> {
    /// For the effects of `old`, where everything within `folded` has lost its metadata.
    pub fn new(old: NodeId, folded: &'a Frontier) -> Self {
        Reissue { old, folded, renamed: Vec::new() }
    }

    /// What an effect of the former identity, which had seen `past`, reaches when `node` makes it again.
    pub fn reach(&self, effect: &Effect, past: &Frontier, node: NodeId) -> Reach {
        let former = effect.acts_on.clone().unwrap_or_else(|| Reach { frontier: past.clone(), stable: true });
        let own = former.frontier.get(self.old);
        let mut reach = match former.stable && self.folded.within(&former.frontier) {
            true => former,
            false => Reach { frontier: Frontier::EMPTY, stable: false },
        };
        if let Some((_, new)) = self.renamed.iter().rev().find(|(before, _)| *before <= own) {
            reach.frontier.raise(node, *new);
        }
        reach
    }

    /// Notes that the former effect `old` was made again as `new`.
    pub fn made(&mut self, old: u64, new: u64) {
        self.renamed.push((old, new));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::effects::Dot;

    fn effect(node: u64, seq: u64, acts_on: Option<&Reach>) -> Effect {
        let mut encoded = Vec::new();
        Effect::encode(&mut encoded, Dot { node: NodeId(node), seq }, 9, &[], acts_on, &[]);
        Effect::decode(Bytes::from(encoded)).expect("well formed")
    }

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    #[test]
    fn what_had_seen_all_that_is_folded_reaches_what_it_had_seen() {
        let folded = frontier(&[(2, 3)]);
        let mut reissue = Reissue::new(NodeId(1), &folded);
        let reach = reissue.reach(&effect(1, 5, None), &frontier(&[(1, 4), (2, 7)]), NodeId(9));
        assert_eq!(reach, Reach { frontier: frontier(&[(1, 4), (2, 7)]), stable: true });
        reissue.made(5, 1);
        let reach = reissue.reach(&effect(1, 6, None), &frontier(&[(1, 5), (2, 7)]), NodeId(9));
        assert_eq!(reach, Reach { frontier: frontier(&[(1, 5), (2, 7), (9, 1)]), stable: true });
    }

    #[test]
    fn what_had_not_reaches_only_what_was_made_again() {
        let folded = frontier(&[(2, 8)]);
        let mut reissue = Reissue::new(NodeId(1), &folded);
        reissue.made(5, 1);
        let narrow = Reach { frontier: frontier(&[(9, 1)]), stable: false };
        assert_eq!(reissue.reach(&effect(1, 6, None), &frontier(&[(1, 5), (2, 7)]), NodeId(9)), narrow);
        // Once narrow, always narrow: elsewhere it has taken effect so already.
        let nothing = Reach { frontier: Frontier::EMPTY, stable: false };
        let none_folded = Frontier::EMPTY;
        let again = Reissue::new(NodeId(9), &none_folded);
        assert_eq!(again.reach(&effect(9, 2, Some(&narrow)), &frontier(&[(9, 1)]), NodeId(11)), nothing);
    }
}
