//! Bringing the entries of several keys into the processor's caches, before the commands that need them.
//!
//! A lookup is a chain of reads that each wait for the one before: the index, the position in it, the entry, its bytes,
//! and the same again for an element of a large collection. With more data than the caches hold, a command waits for
//! memory most of its time. The chains of different keys do not depend on each other, so the processor follows many at
//! once, if nothing stands between them; the locks of the commands would. Therefore all locks are taken first, then each
//! step is made for all keys. It reads only: nothing counts as a use, and a key whose lock another thread holds is
//! passed over.

use std::hint::black_box;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::shard::Shard;
use super::value::Choice;
use super::{Key, Keyspace, Transaction};

/// The most keys at a time: about as many reads as a processor core has under way.
pub const MOST_WARMED: usize = 16;

type Few<T> = SmallVec<[T; MOST_WARMED]>;

/// Which element of its key's value a command most likely needs.
#[derive(Clone, Copy, Debug)]
pub enum Reach<'a> {
    /// One that is named by the words behind the key.
    Named([&'a [u8]; 2]),
    /// One that it chooses itself, and takes out.
    Taken(Choice),
}

impl Keyspace {
    /// See the module's text. The words that follow a key in its request may be elements.
    pub fn warm(&self, database: u32, targets: &[(Key<'_>, [&[u8]; 2])]) {
        let _inside = self.gates().enter();
        let mut guards: Few<(usize, MutexGuard<'_, Shard>)> = SmallVec::new();
        for (key, _) in targets {
            let shard = Self::shard_of(key.hash);
            if guards.iter().all(|(locked, _)| *locked != shard)
                && let Some(guard) = self.try_lock_inside(shard)
            {
                guards.push((shard, guard));
            }
        }
        let candidates: Few<_> = targets
            .iter()
            .filter_map(|(key, words)| {
                let shard = Self::shard_of(key.hash);
                let (_, guard) = guards.iter().find(|(locked, _)| *locked == shard)?;
                let keys = guard.databases.get(database as usize)?;
                Some((keys, keys.candidate(key.hash)?, words))
            })
            .collect();
        let entries: Few<_> = candidates.iter().map(|(keys, position, words)| (keys.at(*position), words)).collect();
        for (entry, _) in &entries {
            black_box(entry.first_byte());
        }
        let elements: Few<_> = entries
            .iter()
            .filter_map(|(entry, words)| {
                let value = entry.collection()?;
                Some((value, value.candidate(words)?))
            })
            .collect();
        for (value, position) in elements {
            black_box(value.first_byte(position));
        }
    }
}

impl Transaction<'_> {
    /// The same for a command of many keys, which it has locked.
    pub fn warm(&self, keys: &[Key<'_>]) {
        for keys in keys.chunks(MOST_WARMED) {
            let candidates: Few<_> = keys
                .iter()
                .filter_map(|key| {
                    let keys = self.shard(*key).databases.get(self.database() as usize)?;
                    Some((keys, keys.candidate(key.hash)?))
                })
                .collect();
            let entries: Few<_> = candidates.iter().map(|(keys, position)| keys.at(*position)).collect();
            for entry in &entries {
                black_box(entry.first_byte());
            }
        }
    }
}

impl Transaction<'_> {
    /// The same for commands that will run one after the other on keys of the one shard that is locked. `random` is a copy of
    /// what they will choose by.
    pub fn warm_in_turn<'k>(&self, targets: impl Iterator<Item = (Key<'k>, Reach<'k>)>, mut random: fastrand::Rng) {
        let mut elements: SmallVec<[_; MOST_WARMED]> = SmallVec::new();
        let mut removals: SmallVec<[_; MOST_WARMED]> = SmallVec::new();
        // Nearly always the commands have one key, which is looked up once.
        let (mut current, mut value, mut taken) = (None, None, 0);
        for (key, reach) in targets {
            if current != Some(key.bytes) {
                (current, taken) = (Some(key.bytes), 0);
                let keys = self.shard(key).databases.get(self.database() as usize);
                let entry = keys.and_then(|keys| Some(keys.at(keys.candidate(key.hash)?)));
                value = entry.and_then(|entry| {
                    black_box(entry.first_byte());
                    entry.collection()
                });
            }
            let Some(value) = value else { continue };
            match reach {
                Reach::Named(words) => elements.extend(value.candidate(&words).map(|at| (value, at))),
                Reach::Taken(choice) => {
                    let Some(at) = value.candidate_to_take(choice, taken, &mut random) else { continue };
                    // Whose order chooses, lies mostly in that order in memory, and its index entries are soon known to the
                    // caches: to look for these beforehand costs more than it saves.
                    let list = if choice == Choice::Random { &mut removals } else { &mut elements };
                    list.push((value, at));
                    list.extend(value.candidate_to_move(taken).map(|at| (value, at)));
                    taken += 1;
                }
            }
        }
        for (value, at) in elements.iter().chain(&removals) {
            black_box(value.first_byte(*at));
        }
        for (value, at) in &removals {
            black_box(value.warm_removal(*at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effects::Score;
    use crate::keyspace::KeyspaceOptions;
    use crate::keyspace::transaction::Life;

    #[test]
    fn warming_waits_for_no_lock_and_counts_as_no_use() {
        let keyspace = Keyspace::new(KeyspaceOptions::default());
        let keys: Vec<_> =
            [&b"a"[..], b"b", b"hash", b"set", b"sorted", b"absent"].map(|name| keyspace.key(name)).into();
        for key in &keys[..2] {
            keyspace.lock_one(1, 0, *key).string_set(*key, b"value", Life::Forever);
        }
        for number in 0..1000 {
            let element = number.to_string().into_bytes();
            keyspace.lock_one(1, 0, keys[2]).hash_set(keys[2], &element, b"value").expect("a hash");
            keyspace.lock_one(1, 0, keys[3]).set_add(keys[3], &element).expect("a set");
            keyspace.lock_one(1, 0, keys[4]).score_set(keys[4], &element, Score::ZERO).expect("a sorted set");
        }
        let targets: Vec<_> = keys.iter().map(|key| (*key, [&b"77"[..], b"no such element"])).collect();
        let locked = keyspace.lock_one(1, 0, keys[0]);
        keyspace.warm(0, &targets);
        keyspace.warm(0, &[targets[1], targets[2], targets[1], targets[2]]);
        keyspace.warm(3, &targets);
        drop(locked);
        let before: Vec<_> = keys.iter().map(|key| keyspace.lock_one(1, 0, *key).facts(*key)).collect();
        keyspace.warm(0, &targets);
        let after: Vec<_> = keys.iter().map(|key| keyspace.lock_one(1, 0, *key).facts(*key)).collect();
        let transaction = keyspace.lock_keys(1, 0, keys.iter().copied());
        transaction.warm(&keys);
        drop(transaction);
        for key in &keys {
            let reaches = [
                Reach::Named([b"77", b""]),
                Reach::Taken(Choice::Lowest),
                Reach::Taken(Choice::Random),
                Reach::Taken(Choice::Highest),
            ];
            let transaction = keyspace.lock_one(1, 0, *key);
            let targets = reaches.iter().cycle().take(5000).map(|reach| (*key, *reach));
            transaction.warm_in_turn(targets, fastrand::Rng::with_seed(1));
        }
        let last: Vec<_> = keys.iter().map(|key| keyspace.lock_one(1, 0, *key).facts(*key)).collect();
        assert_eq!((&before, &before), (&after, &last));
    }
}
