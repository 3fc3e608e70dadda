//! The keys of one database within one shard: a dense vector of entries and an index of their positions.
//!
//! The dense vector makes random picks and scans exact: a scan walks positions from the end towards 0, a removal moves
//! the last entry into the gap, so what stays is never missed, whatever happens in between.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::causality::KeyCausality;
use super::cut::Pending;
use super::entry::Entry;
use super::{Millis, is_system_key};

/// The hash of a key's name.
pub fn hash_key(hasher: &FixedState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Keys of one database in one shard.
#[derive(Debug, Default)]
pub struct Database {
    index: HashTable<u32>,
    pub(super) entries: Vec<Entry>,
    /// How many entries are keys of the system.
    of_system: usize,
    /// How many entries end at some time.
    with_deadline: usize,
    /// A bit for each position, set where the entry ends at some time. Positions behind the last such bit may be left out.
    deadlines: Vec<u64>,
    /// How many entries end at some time, or have elements that do.
    ending: usize,
    /// How many entries have elements that end at some time.
    with_ending_elements: usize,
    /// Nothing ends earlier than this: lets expiry pass over most shards at a glance.
    earliest_end: Millis,
    /// Bytes behind the entries.
    payload: usize,
    /// What is not yet stable, by key. Sorted: its order reaches snapshots.
    pub unstable: BTreeMap<Box<[u8]>, KeyCausality>,
    /// What a cut still has to hand out.
    pub(super) pending: Option<Box<Pending>>,
}

impl Database {
    /// How many keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many keys are those of clients.
    pub fn visible(&self) -> usize {
        self.entries.len() - self.of_system
    }

    /// How many keys end at some time.
    pub fn with_deadline(&self) -> usize {
        self.with_deadline
    }

    /// The position of an entry that ends at some time: the first from there on, or from the beginning.
    pub fn with_deadline_from(&self, position: usize) -> Option<usize> {
        let (word, bit) = (position / 64, position % 64);
        let first = |range: std::ops::Range<usize>| {
            let words = self.deadlines.get(range.clone()).unwrap_or_default();
            let at = words.iter().position(|bits| *bits != 0)?;
            Some((range.start + at) * 64 + words[at].trailing_zeros() as usize)
        };
        let all = self.deadlines.len();
        let near = self.deadlines.get(word).map_or(0, |bits| bits >> bit << bit);
        match near {
            0 => first((word + 1).min(all)..all).or_else(|| first(0..(word + 1).min(all))),
            near => Some(word * 64 + near.trailing_zeros() as usize),
        }
    }

    /// Notes whether the entry at a position ends at some time.
    fn note_deadline(&mut self, position: usize, ends: bool) {
        let (word, bit) = (position / 64, 1 << (position % 64));
        match self.deadlines.get_mut(word) {
            Some(bits) if ends => *bits |= bit,
            Some(bits) => *bits &= !bit,
            None if ends => {
                self.deadlines.resize(word + 1, 0);
                self.deadlines[word] = bit;
            }
            None => {}
        }
    }

    fn has_deadline_at(&self, position: usize) -> bool {
        self.deadlines.get(position / 64).is_some_and(|bits| bits >> (position % 64) & 1 != 0)
    }

    /// Does some key have elements that end by themselves?
    pub fn has_ending_elements(&self) -> bool {
        self.with_ending_elements > 0
    }

    /// Bytes of memory, the table included, about.
    pub fn memory(&self) -> usize {
        self.payload
            + self.entries.capacity() * size_of::<Entry>()
            + self.index.capacity() * 6
            + self.deadlines.capacity() * size_of::<u64>()
    }

    /// Where a key is.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.index.find(hash, |&at| self.entries[at as usize].key() == key).map(|&at| at as usize)
    }

    /// Where a key of that hash most likely is, judged without a look at its name.
    pub fn candidate(&self, hash: u64) -> Option<usize> {
        self.index.find(hash, |_| true).map(|&at| at as usize)
    }

    /// The entry at a position.
    pub fn at(&self, position: usize) -> &Entry {
        &self.entries[position]
    }

    /// The entry at a position, and what is not yet stable, to be changed.
    pub fn with_unstable(
        &mut self,
        position: Option<usize>,
    ) -> (Option<&Entry>, &mut BTreeMap<Box<[u8]>, KeyCausality>) {
        (position.map(|at| &self.entries[at]), &mut self.unstable)
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds an entry whose key is not there yet.
    pub fn insert(&mut self, hasher: &FixedState, hash: u64, entry: Entry) -> usize {
        let at = self.entries.len();
        let position = u32::try_from(at).expect("a shard holds fewer than 2^32 keys");
        self.account(None, Some(&entry));
        if entry.deadline().is_some() {
            self.note_deadline(at, true);
        }
        if at == self.entries.capacity() {
            // By a quarter and not by doubling: a third of a table that grows would be empty on average.
            self.entries.reserve_exact((at / 4).max(4));
        }
        self.entries.push(entry);
        let entries = &self.entries;
        self.index.insert_unique(hash, position, |&at| hash_key(hasher, entries[at as usize].key()));
        at
    }

    /// Changes an entry, and keeps the books.
    pub fn update<T>(&mut self, position: usize, change: impl FnOnce(&mut Entry) -> T) -> T {
        self.keep_for_cut(position);
        let entry = &mut self.entries[position];
        let (memory, ends) = (entry.memory(), Ends::of(entry));
        let result = change(entry);
        self.payload = self.payload - memory + entry.memory();
        let new_ends = Ends::of(entry);
        if ends != new_ends {
            self.account_ends(ends, new_ends);
            self.note_deadline(position, new_ends.has_deadline);
        }
        result
    }

    /// Changes an entry in a way that changes neither its size nor its end.
    pub fn entry_mut(&mut self, position: usize) -> &mut Entry {
        &mut self.entries[position]
    }

    /// Takes an entry out; the last one moves into its place.
    pub fn remove(&mut self, hasher: &FixedState, position: usize) -> Entry {
        self.keep_for_cut(position);
        let hash = hash_key(hasher, self.entries[position].key());
        self.unlink(hash, position);
        let entry = self.entries.swap_remove(position);
        let moved = self.entries.len();
        if moved != position {
            let hash = hash_key(hasher, self.entries[position].key());
            let slot = self.index.find_mut(hash, |&at| at as usize == moved).expect("every entry is indexed");
            *slot = position as u32;
        }
        // The last one has moved into the gap.
        self.note_deadline(position, self.has_deadline_at(moved));
        self.note_deadline(moved, false);
        if let Some(pending) = &mut self.pending {
            pending.note_removal(position, moved);
        }
        self.account(Some(&entry), None);
        self.shrink(hasher);
        entry
    }

    /// An entry is about to change: a cut that has not handed it out yet keeps it as it is.
    #[inline]
    fn keep_for_cut(&mut self, position: usize) {
        if let Some(pending) = &mut self.pending
            && !pending.keep(position, &self.entries[position])
        {
            self.pending = None;
        }
    }

    fn unlink(&mut self, hash: u64, position: usize) {
        self.index
            .find_entry(hash, |&at| at as usize == position)
            .unwrap_or_else(|_| unreachable!("every entry is indexed"))
            .remove();
    }

    /// Gives memory back when three quarters of it are unused.
    fn shrink(&mut self, hasher: &FixedState) {
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
            self.deadlines.truncate(self.entries.len().div_ceil(64));
            self.deadlines.shrink_to_fit();
            let entries = &self.entries;
            self.index.shrink_to(entries.len() * 2, |&at| hash_key(hasher, entries[at as usize].key()));
        }
    }

    /// Neither an entry nor an element ends earlier than this.
    pub fn earliest_end(&self) -> Millis {
        if self.ending == 0 { Millis::MAX } else { self.earliest_end }
    }

    /// Computes `earliest_end` anew.
    pub fn refresh_earliest_end(&mut self) {
        self.earliest_end = self.entries.iter().filter_map(Entry::earliest_end).min().unwrap_or(Millis::MAX);
    }

    fn account(&mut self, before: Option<&Entry>, after: Option<&Entry>) {
        let is_system = |entry: &Entry| usize::from(is_system_key(entry.key()));
        self.of_system += after.map_or(0, is_system);
        self.of_system -= before.map_or(0, is_system);
        self.payload += after.map_or(0, Entry::memory);
        self.payload -= before.map_or(0, Entry::memory);
        self.account_ends(before.map_or(Ends::default(), Ends::of), after.map_or(Ends::default(), Ends::of));
    }

    fn account_ends(&mut self, before: Ends, after: Ends) {
        if self.ending == 0 {
            self.earliest_end = Millis::MAX;
        }
        self.with_deadline += usize::from(after.has_deadline);
        self.with_deadline -= usize::from(before.has_deadline);
        self.ending += usize::from(after.earliest.is_some());
        self.ending -= usize::from(before.earliest.is_some());
        self.with_ending_elements += usize::from(after.has_ending_elements);
        self.with_ending_elements -= usize::from(before.has_ending_elements);
        if let Some(after) = after.earliest {
            self.earliest_end = self.earliest_end.min(after);
        }
    }
}

/// When an entry ends, as far as the books are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    has_deadline: bool,
    has_ending_elements: bool,
    /// Of the entry and its elements.
    earliest: Option<Millis>,
}

impl Ends {
    fn of(entry: &Entry) -> Ends {
        let (deadline, elements) = (entry.deadline(), entry.earliest_element_end());
        Ends {
            has_deadline: deadline.is_some(),
            has_ending_elements: elements.is_some(),
            earliest: deadline.into_iter().chain(elements).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::access::Access;

    #[test]
    fn behaves_like_a_map_and_counts_right() {
        let hasher = FixedState::with_seed(1);
        let mut random = fastrand::Rng::with_seed(2);
        let mut database = Database::default();
        let mut model: BTreeMap<Vec<u8>, Option<u64>> = BTreeMap::new();
        for _ in 0..20_000 {
            let key = random.u16(0..500).to_string().into_bytes();
            let hash = hash_key(&hasher, &key);
            let deadline = random.bool().then(|| random.u64(1..1000));
            match database.find(hash, &key) {
                Some(at) if random.bool() => {
                    database.remove(&hasher, at);
                    model.remove(&key);
                }
                Some(at) => {
                    database.update(at, |entry| entry.set_deadline(deadline));
                    model.insert(key, deadline);
                }
                None => {
                    database.insert(&hasher, hash, Entry::string(&key, b"v", deadline, Access::new(0)));
                    model.insert(key, deadline);
                }
            }
            assert_eq!(database.len(), model.len());
            assert_eq!(database.with_deadline(), model.values().flatten().count());
        }
        for (key, deadline) in &model {
            let at = database.find(hash_key(&hasher, key), key).expect("present");
            assert_eq!(database.at(at).deadline(), *deadline);
            assert!(deadline.is_none_or(|deadline| database.earliest_end() <= deadline));
        }
        let ending = |database: &Database| {
            let places = database.entries().iter().enumerate();
            places.filter(|(_, entry)| entry.deadline().is_some()).map(|(at, _)| at).collect::<Vec<_>>()
        };
        for start in 0..database.len() {
            let ending = ending(&database);
            let next = ending.iter().find(|at| **at >= start).or(ending.first()).copied();
            assert_eq!(database.with_deadline_from(start), next, "from {start}");
        }
        let payload: usize = database.entries().iter().map(Entry::memory).sum();
        assert_eq!(database.payload, payload);
    }
}
