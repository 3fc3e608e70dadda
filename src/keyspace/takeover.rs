//! Taking over the data of another keyspace, which was filled from a peer's snapshot beside this one while that went on serving.
//!
//! Nobody is shown a state in between: everything is locked while one takes the place of the other. Who waits for keys, watches them
//! or keeps copies of them learns that every key may have changed. A cut that is under way goes on with the keys that it began with;
//! SCANs that are under way may pass over keys, as these lie in another order afterwards. Must not know why anybody takes over what.

use super::database::Database;
use super::transaction::Transaction;
use super::{Keyspace, KeyspaceOptions, Millis};
use crate::effects::{Effect, NodeId};

/// Everything is locked, for what comes in the place of it.
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
