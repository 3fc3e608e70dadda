//! The keyspace alone, and two or three of them exchanging effects by hand.

mod alone;
mod groups;
mod lists;
mod lives;
mod made_again;
mod merging;
mod snapshots;
mod takeover;

use super::*;
use crate::effects::{Effect, Elements, End, Frontier, NodeId, Ranges, RangesWriter, Registers, Reissue, StreamId};

fn single() -> Keyspace {
    Keyspace::new(KeyspaceOptions::default())
}

/// A node of a cluster in miniature: a keyspace and the full past of the effects it hands out.
pub(super) struct Node {
    pub keyspace: Keyspace,
    seen: Frontier,
}

impl Node {
    fn new(id: u64) -> Node {
        let node = Some(NodeId(id));
        Node { keyspace: Keyspace::new(KeyspaceOptions { node, ..Default::default() }), seen: Frontier::EMPTY }
    }

    /// Runs a write on one key, and returns its effect with everything that it had seen.
    fn write(
        &mut self,
        now: Millis,
        name: &str,
        write: impl FnOnce(&mut Transaction<'_>, Key<'_>),
    ) -> (Effect, Frontier) {
        let key = self.keyspace.key(name.as_bytes());
        let mut transaction = self.keyspace.lock_one(now, 0, key);
        write(&mut transaction, key);
        transaction.commit();
        self.made()
    }

    /// Removes everything.
    fn flush(&mut self, now: Millis) -> (Effect, Frontier) {
        self.keyspace.lock_all(now, 0).flush(None);
        self.made()
    }

    /// The effect of what was just done, with everything that it had seen.
    fn made(&mut self) -> (Effect, Frontier) {
        let effect = self.keyspace.drain_effects().remove(0);
        for (node, seq) in &effect.seen_changes {
            self.seen.raise(*node, *seq);
        }
        let seen = self.seen.clone();
        self.seen.raise(effect.dot.node, effect.dot.seq);
        (effect, seen)
    }

    fn apply(&self, (effect, seen): &(Effect, Frontier)) {
        self.keyspace.apply(effect, seen, 0);
    }

    fn dump(&self) -> String {
        self.keyspace.dump().join("; ")
    }
}

fn nodes() -> [Node; 3] {
    [Node::new(1), Node::new(2), Node::new(3)]
}

fn fold(node: &Node, stable: &Frontier) {
    (0..Keyspace::SHARDS).for_each(|shard| node.keyspace.fold(shard, stable));
}
