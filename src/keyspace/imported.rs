//! What a snapshot holds that was imported, until everything that came after its beginning is applied: for each shard of its
//! sender, the frontier at which that was exported.
//!
//! What an effect may not do a second time is asked by the name of a key, and not by a shard of this node: the sender may
//! spread keys by another hash, while a cluster goes from one passphrase to the next. Must not know what the shards hold.

use foldhash::fast::FixedState;

use super::Keyspace;
use super::database::hash_key;
use crate::effects::{Dot, Frontier};
use crate::planted::{Bug, planted};

/// See the module's text.
#[derive(Debug)]
pub struct Imported {
    seed: u64,
    hasher: FixedState,
    shards: Box<[Option<Frontier>]>,
}

impl Imported {
    /// Nothing yet, of a sender whose hash has this seed.
    pub fn new(seed: u64) -> Imported {
        let shards = (0..Keyspace::SHARDS).map(|_| None).collect();
        Imported { seed, hasher: FixedState::with_seed(seed), shards }
    }

    /// The seed of the sender's hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// In which of its sender's shards a key is.
    pub fn shard_of(&self, key: &[u8]) -> usize {
        Keyspace::shard_of(hash_key(&self.hasher, key))
    }

    /// A shard of the sender is in, as it was at that frontier. False if it was in already.
    pub fn add(&mut self, shard: usize, frontier: Frontier) -> bool {
        self.shards[shard].replace(frontier).is_none()
    }

    /// Was every shard exported when all of `begin` was applied, and nothing beyond `end`?
    pub fn is_between(&self, begin: &Frontier, end: &Frontier) -> bool {
        self.shards.iter().flatten().all(|frontier| begin.within(frontier) && frontier.within(end))
    }

    /// Was this effect applied to a key before its shard was exported?
    pub fn has(&self, key: &[u8], dot: Dot) -> bool {
        if planted(Bug::SnapshotSkipsEffects) {
            return self.has_anywhere(dot);
        }
        self.shards[self.shard_of(key)].as_ref().is_some_and(|frontier| frontier.includes(dot))
    }

    /// Was this effect applied to any shard before that was exported?
    pub fn has_anywhere(&self, dot: Dot) -> bool {
        self.shards.iter().flatten().any(|frontier| frontier.includes(dot))
    }
}
