//! Work that no client asks for: keys and fields whose time is over, and room for new ones when the data is well above its limit.

use std::sync::atomic::Ordering::Relaxed;

use super::entry::Entry;
use super::{Keyspace, Millis};

/// A shard that is another member's to expire is taken over after this time: its member may be gone.
const TAKE_OVER_AFTER: Millis = 10_000;

/// Expiry collects at most so many keys of a shard at once, and as many fields of hashes.
const EXPIRE_AT_ONCE: usize = 1000;

impl Keyspace {
    /// Counts expired and evicted keys, and the time above the limit, from 0 on.
    pub fn reset_counters(&self, now: Millis) {
        self.reset_exceeded(now);
        self.expired.store(0, Relaxed);
        self.evicted.store(0, Relaxed);
    }

    /// A turn of the background work: removes expired keys in the next `shards` shards, and evicts when the data is well
    /// above the limit (writes evict for themselves).
    pub fn upkeep(&self, now: Millis, shards: usize) {
        for _ in 0..shards {
            let shard = self.next_expiry_shard.fetch_add(1, Relaxed) % Self::SHARDS;
            self.expire(shard, now);
        }
        if self.has_too_many_tracked() {
            self.bound_tracked(now);
        }
        if self.is_exceeded() {
            self.note_exceeded(now);
        }
        let limit = self.memory_limit();
        if limit > 0 && self.memory() > limit + limit / 20 {
            self.make_room(now);
        }
    }

    fn expire(&self, shard: usize, now: Millis) {
        let over = if self.is_mine(shard) { now } else { now.saturating_sub(TAKE_OVER_AFTER) };
        let mut due: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut guard = self.lock_shard(shard);
        self.report_metadata(&mut guard);
        for (number, database) in guard.databases.iter_mut().enumerate() {
            if database.earliest_end() > over {
                continue;
            }
            let is_over = |entry: &&Entry| entry.earliest_end().is_some_and(|end| end <= over);
            let keys = database.entries().iter().filter(is_over).take(EXPIRE_AT_ONCE);
            due.extend(keys.map(|entry| (number as u32, entry.key().to_vec())));
            database.refresh_earliest_end();
        }
        drop(guard);
        let mut fields = EXPIRE_AT_ONCE;
        for (database, name) in due {
            let key = self.key(&name);
            let mut transaction = self.lock_one(now, database, key);
            // It may have been renewed in between.
            if transaction.has_expired(key) {
                transaction.remove(key);
            } else {
                fields -= transaction.hash_expire(key, over, fields);
            }
        }
    }
}
