//! What a keyspace is made with.

use crate::effects::NodeId;

/// How to make a [`super::Keyspace`].
#[derive(Clone, Debug)]
pub struct KeyspaceOptions {
    /// How many databases SELECT can choose from.
    pub databases: u32,
    /// Seeds the hash of keys, which decides which shard a key is in. Nodes of a cluster may differ in it; that they have the
    /// same makes snapshots a little cheaper and shares out the background work evenly.
    pub hash_seed: u64,
    /// Bytes of data above which keys are evicted; 0: no limit.
    pub memory_limit: usize,
    /// Seeds random picks: eviction, RANDOMKEY, the access counters.
    pub random_seed: u64,
    /// In a cluster, the node whose effects local writes become. `None`: writes leave no effects and no metadata.
    pub node: Option<NodeId>,
}

impl Default for KeyspaceOptions {
    fn default() -> Self {
        KeyspaceOptions { databases: 16, hash_seed: 0, memory_limit: 0, random_seed: 0, node: None }
    }
}
