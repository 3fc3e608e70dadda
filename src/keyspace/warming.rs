//! Bringing the entries of several keys into the processor's caches, before the commands that need them.
//!
//! A lookup is a chain of reads that each wait for the one before: the index, the position in it, the entry, its bytes.
//! With more keys than the caches hold, a command waits for memory most of its time. The chains of different keys do not
//! depend on each other, so the processor follows many at once, if nothing stands between them; the locks of the
//! commands would. Therefore all locks are taken first, then each step is made for all keys. It reads only: nothing
//! counts as a use, and a key whose lock another thread holds is passed over.

use std::hint::black_box;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::shard::Shard;
use super::{Key, Keyspace};

/// The most keys at a time: about as many reads as a processor core has under way.
pub const MOST_WARMED: usize = 16;

impl Keyspace {
    /// See the module's text.
    pub fn warm(&self, database: u32, keys: &[Key<'_>]) {
        let guards: SmallVec<[(MutexGuard<'_, Shard>, u64); MOST_WARMED]> =
            keys.iter().filter_map(|key| Some((self.try_lock_shard(Self::shard_of(key.hash))?, key.hash))).collect();
        let candidates: SmallVec<[_; MOST_WARMED]> = guards
            .iter()
            .filter_map(|(shard, hash)| {
                let keys = shard.databases.get(database as usize)?;
                Some((keys, keys.candidate(*hash)?))
            })
            .collect();
        for (keys, position) in candidates {
            black_box(keys.at(position).first_byte());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::KeyspaceOptions;
    use crate::keyspace::transaction::Life;

    #[test]
    fn warming_waits_for_no_lock_and_counts_as_no_use() {
        let keyspace = Keyspace::new(KeyspaceOptions::default());
        let keys: Vec<_> = [&b"a"[..], b"b", b"absent"].map(|name| keyspace.key(name)).into();
        for key in &keys[..2] {
            keyspace.lock_one(1, 0, *key).string_set(*key, b"value", Life::Forever);
        }
        let locked = keyspace.lock_one(1, 0, keys[0]);
        keyspace.warm(0, &[keys[0], keys[1], keys[2], keys[1]]);
        keyspace.warm(3, &keys);
        drop(locked);
        let before: Vec<_> = keys.iter().map(|key| keyspace.lock_one(1, 0, *key).facts(*key)).collect();
        keyspace.warm(0, &keys);
        let after: Vec<_> = keys.iter().map(|key| keyspace.lock_one(1, 0, *key).facts(*key)).collect();
        assert_eq!(before, after);
    }
}
