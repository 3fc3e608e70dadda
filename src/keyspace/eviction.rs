//! Room for new keys: which keys go when the data has reached its limit (`maxmemory-policy`).
//!
//! The key to go is the best of a random sample (Redis's documentation, "Key eviction"). The sample comes from the dense vectors of
//! one shard, or of several when one has too few; that of the policies that spare keys without a deadline comes from a row of bits
//! beside them, so those that have one are found at once, however rare they are.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::database::Database;
use super::entry::Entry;
use super::{EventClasses, Keyspace, Millis, is_system_key};

/// Which keys go first when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// Of those with a deadline, the one that was not used for longest.
    VolatileLru,
    /// Of those with a deadline, the one that is used least often.
    VolatileLfu,
    /// Any with a deadline.
    VolatileRandom,
    /// The one whose deadline comes first.
    VolatileTtl,
    /// The one that was not used for longest.
    AllKeysLru,
    /// The one that is used least often.
    AllKeysLfu,
    /// Any.
    AllKeysRandom,
    /// None.
    NoEviction,
}

impl EvictionPolicy {
    /// All, in the order in which Redis names them.
    pub const ALL: [EvictionPolicy; 8] = [
        EvictionPolicy::VolatileLru,
        EvictionPolicy::VolatileLfu,
        EvictionPolicy::VolatileRandom,
        EvictionPolicy::VolatileTtl,
        EvictionPolicy::AllKeysLru,
        EvictionPolicy::AllKeysLfu,
        EvictionPolicy::AllKeysRandom,
        EvictionPolicy::NoEviction,
    ];

    /// As in `maxmemory-policy`.
    pub fn name(self) -> &'static str {
        match self {
            EvictionPolicy::VolatileLru => "volatile-lru",
            EvictionPolicy::VolatileLfu => "volatile-lfu",
            EvictionPolicy::VolatileRandom => "volatile-random",
            EvictionPolicy::VolatileTtl => "volatile-ttl",
            EvictionPolicy::AllKeysLru => "allkeys-lru",
            EvictionPolicy::AllKeysLfu => "allkeys-lfu",
            EvictionPolicy::AllKeysRandom => "allkeys-random",
            EvictionPolicy::NoEviction => "noeviction",
        }
    }

    /// The one of this name, in any case.
    pub fn named(name: &[u8]) -> Option<EvictionPolicy> {
        EvictionPolicy::ALL.into_iter().find(|policy| name.eq_ignore_ascii_case(policy.name().as_bytes()))
    }

    /// Does it go by how often keys are used?
    pub fn counts_uses(self) -> bool {
        matches!(self, EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu)
    }

    /// Does it spare keys without a deadline?
    fn spares_lasting(self) -> bool {
        use EvictionPolicy::{VolatileLfu, VolatileLru, VolatileRandom, VolatileTtl};
        matches!(self, VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl)
    }

    /// The higher, the sooner it goes.
    fn rank(self, entry: &Entry, now: Millis) -> u64 {
        match self {
            EvictionPolicy::VolatileLru | EvictionPolicy::AllKeysLru => entry.access().idle(now),
            EvictionPolicy::VolatileLfu | EvictionPolicy::AllKeysLfu => {
                u64::from(u8::MAX - entry.access().frequency(now))
            }
            EvictionPolicy::VolatileTtl => Millis::MAX - entry.deadline().unwrap_or(Millis::MAX),
            EvictionPolicy::VolatileRandom | EvictionPolicy::AllKeysRandom | EvictionPolicy::NoEviction => 0,
        }
    }
}

/// Parameters of eviction, and its books.
#[derive(Debug)]
pub struct Eviction {
    /// The place of the policy among all.
    policy: AtomicU8,
    samples: AtomicU32,
    tenacity: AtomicU32,
    /// Since when the data exceeds its limit; 0: it does not.
    exceeded_since: AtomicU64,
    /// For how long it did before.
    exceeded: AtomicU64,
}

impl Default for Eviction {
    fn default() -> Eviction {
        Eviction {
            policy: AtomicU8::new(EvictionPolicy::AllKeysLfu as u8),
            samples: AtomicU32::new(DEFAULT_SAMPLES),
            tenacity: AtomicU32::new(DEFAULT_TENACITY),
            exceeded_since: AtomicU64::new(0),
            exceeded: AtomicU64::new(0),
        }
    }
}

/// Redis's default is 5, beside a memory of the best of former samples. 10 come close to exact without one.
const DEFAULT_SAMPLES: u32 = 10;

/// Redis's default.
const DEFAULT_TENACITY: u32 = 10;

/// With the default tenacity one write evicts at most so many keys, so that it never waits long; the rest follows.
const EVICTIONS_AT_ONCE: usize = 64;

/// How many keys one write may evict. In Redis the parameter is about time: from next to none, by steps of a seventh or so, to as long as
/// it takes.
fn evictions_at_once(tenacity: u32) -> usize {
    match tenacity {
        0..=10 => (EVICTIONS_AT_ONCE * tenacity as usize / 10).max(1),
        11..=99 => (EVICTIONS_AT_ONCE as f64 * 1.15f64.powi(tenacity as i32 - 10)) as usize,
        _ => usize::MAX,
    }
}

impl Keyspace {
    /// Which keys go first.
    pub fn eviction_policy(&self) -> EvictionPolicy {
        EvictionPolicy::ALL[usize::from(self.eviction.policy.load(Relaxed))]
    }

    /// Changes which keys go first.
    pub fn set_eviction_policy(&self, policy: EvictionPolicy) {
        self.eviction.policy.store(policy as u8, Relaxed);
    }

    /// How many keys a sample has, at least if there are so many.
    pub fn eviction_samples(&self) -> u32 {
        self.eviction.samples.load(Relaxed)
    }

    /// Changes the size of a sample.
    pub fn set_eviction_samples(&self, samples: u32) {
        self.eviction.samples.store(samples, Relaxed);
    }

    /// How much one write may do to make room: 0 to 100.
    pub fn eviction_tenacity(&self) -> u32 {
        self.eviction.tenacity.load(Relaxed)
    }

    /// Changes how much one write may do to make room.
    pub fn set_eviction_tenacity(&self, tenacity: u32) {
        self.eviction.tenacity.store(tenacity, Relaxed);
    }

    /// For how many milliseconds the data has exceeded its limit in all, and for how many it does now: since evictions did not suffice.
    pub fn exceeded(&self, now: Millis) -> (u64, u64) {
        let since = self.eviction.exceeded_since.load(Relaxed);
        let current = if since == 0 { 0 } else { now.saturating_sub(since) };
        (self.eviction.exceeded.load(Relaxed) + current, current)
    }

    pub(super) fn reset_exceeded(&self, now: Millis) {
        self.eviction.exceeded.store(0, Relaxed);
        let since = &self.eviction.exceeded_since;
        let _ = since.fetch_update(Relaxed, Relaxed, |since| (since != 0).then_some(now));
    }

    /// Does the data exceed its limit, as far as that was noted?
    pub(super) fn is_exceeded(&self) -> bool {
        self.eviction.exceeded_since.load(Relaxed) != 0
    }

    /// Notes whether the data exceeds its limit, after evictions.
    pub(super) fn note_exceeded(&self, now: Millis) {
        let limit = self.memory_limit();
        let exceeds = limit > 0 && self.memory() > limit;
        let since = self.eviction.exceeded_since.load(Relaxed);
        if exceeds && since == 0 {
            self.eviction.exceeded_since.store(now.max(1), Relaxed);
        } else if !exceeds && since != 0 {
            self.eviction.exceeded_since.store(0, Relaxed);
            self.eviction.exceeded.fetch_add(now.saturating_sub(since), Relaxed);
        }
    }

    /// Evicts keys until the data is within its limit. False when nothing is left that may be evicted.
    pub fn make_room(&self, now: Millis) -> bool {
        let limit = self.memory_limit();
        if limit == 0 || self.memory() <= limit {
            return true;
        }
        let may_go_on = self.evict_down_to(limit, now);
        self.note_exceeded(now);
        may_go_on
    }

    fn evict_down_to(&self, limit: usize, now: Millis) -> bool {
        let policy = self.eviction_policy();
        if policy == EvictionPolicy::NoEviction {
            return false;
        }
        for _ in 0..evictions_at_once(self.eviction_tenacity()) {
            if !self.evict_one(policy, now) {
                return false;
            }
            if self.memory() <= limit {
                return true;
            }
        }
        true
    }

    /// Evicts the best of a random sample.
    fn evict_one(&self, policy: EvictionPolicy, now: Millis) -> bool {
        let wanted = self.eviction_samples() as usize;
        let mut sample = Sample { policy, now, size: 0, best: None };
        let start = self.random.lock().usize(..Self::SHARDS);
        // The sample may lie in several shards; those without candidates are passed over, all of them once at most.
        for shard in (0..Self::SHARDS).map(|step| (start + step) % Self::SHARDS) {
            let guard = self.lock_shard(shard);
            for (number, database) in guard.databases.iter().enumerate() {
                // Half of it from one database, so that it does not depend on one shard alone.
                let most = wanted.div_ceil(2).min(sample.candidates(database));
                if most > 0 {
                    let mut random = self.random.lock();
                    (0..most).for_each(|_| sample.add(number as u32, database, &mut random));
                }
            }
            if sample.size >= wanted {
                break;
            }
        }
        let Some((_, database, name)) = sample.best else { return false };
        let key = self.key(&name);
        let mut transaction = self.lock_one(now, database, key);
        if transaction.remove(key) {
            transaction.announce(EventClasses::EVICTED, "evicted", key);
            self.evicted.fetch_add(1, Relaxed);
        }
        true
    }
}

/// Keys that were looked at, and the one among them that is to go.
struct Sample {
    policy: EvictionPolicy,
    now: Millis,
    size: usize,
    best: Option<(u64, u32, Vec<u8>)>,
}

impl Sample {
    /// How many keys of a database may go.
    fn candidates(&self, database: &Database) -> usize {
        if self.policy.spares_lasting() { database.with_deadline() } else { database.len() }
    }

    /// Looks at a key of a database that has candidates.
    fn add(&mut self, number: u32, database: &Database, random: &mut fastrand::Rng) {
        let place = random.usize(..database.len());
        let place = if self.policy.spares_lasting() { database.with_deadline_from(place) } else { Some(place) };
        let Some(entry) = place.map(|place| database.at(place)).filter(|entry| !is_system_key(entry.key())) else {
            return;
        };
        self.size += 1;
        let rank = self.policy.rank(entry, self.now);
        if self.best.as_ref().is_none_or(|(best, ..)| rank > *best) {
            self.best = Some((rank, number, entry.key().to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{KeyspaceOptions, Life};

    fn keyspace(policy: EvictionPolicy, memory_limit: usize) -> Keyspace {
        let keyspace = Keyspace::new(KeyspaceOptions { memory_limit, ..Default::default() });
        keyspace.set_eviction_policy(policy);
        keyspace
    }

    fn set(keyspace: &Keyspace, now: Millis, name: &str, life: Life) {
        let key = keyspace.key(name.as_bytes());
        keyspace.lock_one(now, 0, key).string_set(key, &[b'v'; 50], life);
    }

    fn is_there(keyspace: &Keyspace, name: &str) -> bool {
        let key = keyspace.key(name.as_bytes());
        keyspace.lock_one(0, 0, key).kind(key).is_some()
    }

    fn count(keyspace: &Keyspace, prefix: &str, keys: usize) -> usize {
        (0..keys).filter(|number| is_there(keyspace, &format!("{prefix}{number}"))).count()
    }

    /// Half of the keys of each kind in a keyspace that has room for half of all. `hot` ones are used again and again.
    fn survivors(policy: EvictionPolicy) -> (usize, usize, Keyspace) {
        const KEYS: usize = 3_000;
        let keyspace = keyspace(policy, 0);
        for number in 0..KEYS {
            set(&keyspace, 0, &format!("hot{number}"), Life::Until(1_000_000_000));
            set(&keyspace, 0, &format!("cold{number}"), Life::Until(1_000_000_000));
        }
        for second in 1..20 {
            for number in 0..KEYS {
                let name = format!("hot{number}");
                let key = keyspace.key(name.as_bytes());
                keyspace.lock_one(second * 1000, 0, key).touch(key);
            }
        }
        let limit = keyspace.memory() / 2;
        keyspace.set_memory_limit(limit);
        while keyspace.memory() > limit {
            assert!(keyspace.make_room(20_000));
        }
        (count(&keyspace, "hot", KEYS), count(&keyspace, "cold", KEYS), keyspace)
    }

    #[test]
    fn what_is_used_stays() {
        for policy in EvictionPolicy::ALL {
            let (hot, cold) = match policy {
                EvictionPolicy::NoEviction => continue,
                policy => {
                    let (hot, cold, keyspace) = survivors(policy);
                    assert_eq!(hot + cold + keyspace.evicted() as usize, 6_000, "{policy:?}");
                    (hot, cold)
                }
            };
            // What is left of all is about half. The tables of the shards take a part of it.
            assert!((1_000..3_500).contains(&(hot + cold)), "{policy:?}: {hot} {cold}");
            match policy {
                EvictionPolicy::AllKeysRandom | EvictionPolicy::VolatileRandom | EvictionPolicy::VolatileTtl => {
                    assert!(hot.abs_diff(cold) < (hot + cold) / 4, "{policy:?}: {hot} {cold}");
                }
                _ => assert!(hot > 5 * cold, "{policy:?}: {hot} {cold}"),
            }
        }
    }

    #[test]
    fn without_eviction_nothing_goes() {
        let keyspace = keyspace(EvictionPolicy::NoEviction, 100);
        set(&keyspace, 0, "k", Life::Until(10));
        assert!(!keyspace.make_room(0) && is_there(&keyspace, "k") && keyspace.evicted() == 0);
        keyspace.set_memory_limit(0);
        assert!(keyspace.make_room(0));
    }

    #[test]
    fn keys_without_a_deadline_are_spared_and_others_found_though_they_are_few() {
        for policy in EvictionPolicy::ALL.into_iter().filter(|policy| policy.spares_lasting()) {
            let keyspace = keyspace(policy, 0);
            for number in 0..20_000 {
                set(&keyspace, 0, &format!("lasting{number}"), Life::Forever);
            }
            for number in 0..5 {
                set(&keyspace, 0, &format!("ending{number}"), Life::Until(1_000 + number));
            }
            keyspace.set_memory_limit(1);
            for left in (0..5).rev() {
                assert!(keyspace.evict_one(policy, 0), "{policy:?}");
                assert_eq!(count(&keyspace, "ending", 5), left, "{policy:?}");
                if policy == EvictionPolicy::VolatileTtl {
                    assert!(left == 0 || is_there(&keyspace, "ending4"), "the sample has all of them");
                }
            }
            assert!(!keyspace.make_room(0), "{policy:?}: nothing may go");
            assert_eq!((keyspace.evicted(), keyspace.size(0)), (5, (20_000, 0)));
        }
    }

    #[test]
    fn tenacity_says_how_much_one_write_does() {
        assert_eq!([0, 5, 10, 100].map(evictions_at_once), [1, 32, EVICTIONS_AT_ONCE, usize::MAX]);
        assert!((11..100).all(|tenacity| evictions_at_once(tenacity) > evictions_at_once(tenacity - 1)));
        let keyspace = keyspace(EvictionPolicy::AllKeysRandom, 0);
        (0..500).for_each(|number| set(&keyspace, 0, &number.to_string(), Life::Forever));
        keyspace.set_memory_limit(keyspace.memory() - 10_000);
        keyspace.set_eviction_tenacity(0);
        assert!(keyspace.make_room(0) && keyspace.evicted() == 1);
        keyspace.set_eviction_tenacity(100);
        assert!(keyspace.make_room(0) && keyspace.memory() <= keyspace.memory_limit());
    }

    #[test]
    fn the_time_above_the_limit_is_counted() {
        let keyspace = keyspace(EvictionPolicy::NoEviction, 1);
        set(&keyspace, 0, "k", Life::Forever);
        keyspace.note_exceeded(1_000);
        assert_eq!(keyspace.exceeded(1_500), (500, 500));
        keyspace.set_memory_limit(0);
        keyspace.note_exceeded(2_000);
        assert_eq!(keyspace.exceeded(3_000), (1_000, 0));
        keyspace.reset_exceeded(3_000);
        assert_eq!(keyspace.exceeded(3_000), (0, 0));
    }

    #[test]
    fn names_are_those_of_redis() {
        for policy in EvictionPolicy::ALL {
            assert_eq!(EvictionPolicy::named(policy.name().to_uppercase().as_bytes()), Some(policy));
        }
        assert_eq!(EvictionPolicy::named(b"lru"), None);
    }
}
