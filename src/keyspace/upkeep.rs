//! Work that no client asks for: keys and fields whose time is over, and room for new ones.

use std::sync::atomic::Ordering::Relaxed;

use super::entry::Entry;
use super::{EventClasses, Keyspace, Millis, is_system_key};

/// A sample of this size picks the key to evict; Redis's default is 5, 10 comes close to exact.
const EVICTION_SAMPLE: usize = 10;

/// One call of `make_room` evicts at most so many keys, so that a single write never waits long; the rest follows.
const EVICTIONS_AT_ONCE: usize = 64;

/// A shard that is another member's to expire is taken over after this time: its member may be gone.
const TAKE_OVER_AFTER: Millis = 10_000;

/// Expiry collects at most so many keys of a shard at once, and as many fields of hashes.
const EXPIRE_AT_ONCE: usize = 1000;

impl Keyspace {
    /// Counts expired and evicted keys from 0 on.
    pub fn reset_counters(&self) {
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

    /// Evicts keys that are used least until the data is within its limit. False when nothing is left to evict.
    pub fn make_room(&self, now: Millis) -> bool {
        let limit = self.memory_limit();
        for _ in 0..EVICTIONS_AT_ONCE {
            if limit == 0 || self.memory() <= limit {
                return true;
            }
            if !self.evict_one(now) {
                return false;
            }
        }
        true
    }

    /// Evicts the key with the lowest use among a random sample (approximated LFU).
    fn evict_one(&self, now: Millis) -> bool {
        let mut worst: Option<(u8, u32, Vec<u8>)> = None;
        let mut shard = self.random.lock().usize(..Self::SHARDS);
        let mut sampled = 0;
        // The sample may lie in several shards; empty ones are passed over, all of them once at most.
        for _ in 0..Self::SHARDS {
            let guard = self.lock_shard(shard);
            for (number, database) in guard.databases.iter().enumerate().filter(|(_, database)| database.len() > 0) {
                let mut random = self.random.lock();
                for _ in 0..EVICTION_SAMPLE / 2 {
                    let entry = database.at(random.usize(..database.len()));
                    if is_system_key(entry.key()) {
                        continue;
                    }
                    sampled += 1;
                    let frequency = entry.access().frequency(now);
                    if worst.as_ref().is_none_or(|(lowest, ..)| frequency < *lowest) {
                        worst = Some((frequency, number as u32, entry.key().to_vec()));
                    }
                }
            }
            if sampled >= EVICTION_SAMPLE {
                break;
            }
            shard = (shard + 1) % Self::SHARDS;
        }
        let Some((_, database, name)) = worst else { return false };
        let key = self.key(&name);
        let mut transaction = self.lock_one(now, database, key);
        if transaction.remove(key) {
            transaction.announce(EventClasses::EVICTED, "evicted", key);
        }
        drop(transaction);
        self.evicted.fetch_add(1, Relaxed);
        true
    }
}
