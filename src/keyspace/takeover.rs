//! Taking over the data of another keyspace, which was filled from a peer's snapshot beside this one while that went on serving; or many
//! effects at once.
//!
//! Nobody is shown a state in between: everything is locked. When one keyspace takes the place of the other, who waits for keys, watches them
//! or keeps copies of them learns that every key may have changed. A cut that is under way goes on with the keys that it began with;
//! SCANs that are under way may pass over keys, as these lie in another order afterwards. Must not know why anybody takes over what.

use super::database::Database;
use super::transaction::Transaction;
use super::{Keyspace, KeyspaceOptions, Millis};
use crate::effects::{Effect, Frontier, NodeId};

/// Everything is locked, for what comes in the place of it or on top.
#[derive(Debug)]
pub struct Takeover<'k> {
    transaction: Transaction<'k>,
}

impl Keyspace {
    /// An empty keyspace that spreads keys as this one does, to be filled from a snapshot. It makes no effects: those of this node
    /// are applied to it like all others.
    pub fn beside(&self) -> Keyspace {
        Keyspace::new(KeyspaceOptions {
            databases: self.databases(),
            hash_seed: self.hash_seed,
            memory_limit: 0,
            random_seed: self.random.lock().u64(..),
            node: Some(NodeId::default()),
        })
    }

    /// Locks everything. Only in a cluster.
    pub fn begin_takeover(&self, now: Millis) -> Takeover<'_> {
        Takeover { transaction: self.lock_all(now, 0) }
    }
}

impl Takeover<'_> {
    /// The effects that nobody had collected before everything was locked.
    pub fn drain(&mut self) -> Vec<Effect> {
        self.transaction.origin().drain()
    }

    /// The latest stamp that was given or seen here.
    pub fn latest_time(&mut self) -> u64 {
        self.transaction.origin().last_time()
    }

    /// Applies effects of others, in a causal order. All of `frontier` is applied then, the effects that are not among these because
    /// others of these have made them void; no stamp of any of them is later than `time`.
    pub fn apply(mut self, effects: &[(Effect, Frontier)], frontier: &Frontier, time: u64) {
        let transaction = &mut self.transaction;
        let keyspace = transaction.keyspace();
        let mut applied = transaction.origin().frontier().clone();
        for (effect, seen) in effects {
            keyspace.apply_in(transaction, effect, (seen, &applied), None);
            applied.join(seen);
            applied.raise(effect.dot.node, effect.dot.seq);
        }
        transaction.origin().take_over(frontier, time);
    }

    /// Puts all that the other one holds in the place of what is here. It has applied all effects of this node.
    pub fn finish(self, other: &Keyspace) {
        let Takeover { mut transaction } = self;
        transaction.note_everything_stale();
        let mut former: Vec<Vec<Database>> = Vec::new();
        for (number, shard) in transaction.shards_mut() {
            let databases = std::mem::take(&mut other.lock_shard(number).databases);
            former.push(shard.replace(databases));
        }
        transaction.origin().take_over(&other.frontier(), other.latest_time());
        // What was here goes without a lock.
        drop(transaction);
    }
}
