//! Many records that are found by their keys: a dense sequence of records and a hash index of their positions.
//!
//! The sequence makes random picks fair and scans exact: a scan walks positions from the end towards 0, a removal moves
//! the last record into the gap, so what stays is never missed. Its order is a function of the operations alone.
//!
//! Neither growing nor shrinking stops the world. The sequence consists of chunks, so no record ever moves to make room.
//! The index moves into a larger or smaller one a few positions at a time, with each change. Until that is done a key
//! that the new index lacks is looked for in the former one. The former index is never corrected: what it says about
//! a position is believed only when the record there has the key.
//!
//! Must not know what the records are.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::Element;

/// Where the hashes of elements begin, so that clients cannot choose collisions. One for the process and not one in each
/// small collection, which would pay eight bytes for what it may never need.
static SEED: OnceLock<u64> = OnceLock::new();

/// Sets where the hashes of elements begin, unless that is set. No result depends on it.
pub fn seed_elements(seed: u64) {
    SEED.get_or_init(|| seed);
}

/// Records in a chunk.
const CHUNK: usize = 512;
/// Positions that one change moves to the new index; enough to be done before that is full.
const MOVED_AT_ONCE: usize = 8;
/// An index of up to this many positions moves in one go.
const MOVED_WHOLE: usize = 512;

/// What a table keeps.
pub trait Record {
    /// What it is found by.
    fn key(&self) -> Element<'_>;

    /// Bytes of memory behind it.
    fn memory(&self) -> usize;

    /// The first byte of what is behind it.
    fn first_byte(&self) -> u8;
}

/// Records with distinct keys.
#[derive(Clone, Debug)]
pub struct Table<R> {
    hasher: FixedState,
    /// All chunks but the last are full, and none is empty.
    chunks: Vec<Vec<R>>,
    length: usize,
    index: HashTable<u32>,
    /// Where positions from `moved` up to `to_move` may still be looked up. Empty unless the index is moving.
    former: HashTable<u32>,
    moved: usize,
    to_move: usize,
    /// Bytes behind the records.
    payload: usize,
}

fn hash(hasher: &FixedState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

fn record<R>(chunks: &[Vec<R>], position: usize) -> &R {
    &chunks[position / CHUNK][position % CHUNK]
}

impl<R: Record> Table<R> {
    /// An empty table.
    pub fn new() -> Table<R> {
        Table {
            hasher: FixedState::with_seed(*SEED.get_or_init(|| 0)),
            chunks: Vec::new(),
            length: 0,
            index: HashTable::new(),
            former: HashTable::new(),
            moved: 0,
            to_move: 0,
            payload: 0,
        }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.length
    }

    /// The record at a position below the length.
    pub fn at(&self, position: usize) -> &R {
        record(&self.chunks, position)
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        let room = match &self.chunks[..] {
            [only] => only.capacity(),
            chunks => chunks.len() * CHUNK,
        };
        let chunks = room * size_of::<R>() + self.chunks.capacity() * size_of::<Vec<R>>();
        chunks + self.payload + self.index.allocation_size() + self.former.allocation_size()
    }

    /// The position of the record with this key; `is_it` compares the record's key with it.
    pub fn find(&self, key: &[u8], is_it: impl Fn(&R) -> bool) -> Option<usize> {
        self.find_hashed(hash(&self.hasher, key), is_it)
    }

    fn find_hashed(&self, hash: u64, is_it: impl Fn(&R) -> bool) -> Option<usize> {
        let found = self.index.find(hash, |&at| is_it(self.at(at as usize)));
        let found = match found {
            None if !self.former.is_empty() => {
                self.former.find(hash, |&at| (at as usize) < self.length && is_it(self.at(at as usize)))
            }
            found => found,
        };
        found.map(|&at| at as usize)
    }

    /// Where the record with this key most likely is, judged without a look at its key.
    pub fn candidate(&self, key: &[u8]) -> Option<usize> {
        self.index.find(hash(&self.hasher, key), |_| true).map(|&at| at as usize)
    }

    /// Looks up the record at a position, as its removal will.
    pub fn warm_removal(&self, position: usize) -> usize {
        self.index.find(hash(&self.hasher, &self.at(position).key()), |_| true).map_or(0, |&at| at as usize)
    }

    /// Adds a record whose key is not there yet, behind all others.
    pub fn push(&mut self, record: R) {
        let position = u32::try_from(self.length).expect("a collection has fewer than 2^32 elements");
        self.move_some();
        if self.index.len() == self.index.capacity() {
            self.start_moving();
        }
        self.payload += record.memory();
        let hash = hash(&self.hasher, &record.key());
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(record),
            None => self.chunks.push(vec![record]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(record);
                self.chunks.push(chunk);
            }
        }
        self.length += 1;
        self.note(hash, position);
    }

    /// Changes a record in a way that leaves its key as it is.
    pub fn update<T>(&mut self, position: usize, change: impl FnOnce(&mut R) -> T) -> T {
        let record = &mut self.chunks[position / CHUNK][position % CHUNK];
        let before = record.memory();
        let result = change(record);
        self.payload = self.payload - before + record.memory();
        result
    }

    /// Takes the record with this key out, if it is there, and says where it was. The last one moves into its place.
    pub fn take(&mut self, key: &[u8], is_it: impl Fn(&R) -> bool) -> Option<(usize, R)> {
        let (hash, position) = self.find_with_hash(key, is_it)?;
        Some((position, self.swap_remove_hashed(position, hash)))
    }

    /// As [`Table::find`]; also tells the hash of the key, for [`Table::swap_remove_hashed`].
    pub fn find_with_hash(&self, key: &[u8], is_it: impl Fn(&R) -> bool) -> Option<(u64, usize)> {
        let hash = hash(&self.hasher, key);
        Some((hash, self.find_hashed(hash, is_it)?))
    }

    /// Takes a record out whose key has this hash. The last one moves into its place.
    pub fn swap_remove_hashed(&mut self, position: usize, hash: u64) -> R {
        let last = self.length - 1;
        let hash_of_last = self::hash(&self.hasher, &record(&self.chunks, last).key());
        if let Ok(found) = self.index.find_entry(hash, |&at| at as usize == position) {
            found.remove();
        }
        if position != last {
            match self.index.find_mut(hash_of_last, |&at| at as usize == last) {
                Some(at) => *at = position as u32,
                None => self.note(hash_of_last, position as u32),
            }
        }
        let chunk = self.chunks.last_mut().expect("a record is in a chunk");
        let mut removed = chunk.pop().expect("no chunk is empty");
        if chunk.is_empty() {
            self.chunks.pop();
        }
        self.length = last;
        if position != last {
            std::mem::swap(&mut removed, &mut self.chunks[position / CHUNK][position % CHUNK]);
        }
        self.payload -= removed.memory();
        self.move_some();
        if self.index.capacity() > 64 && self.length < self.index.capacity() / 8 && self.former.is_empty() {
            self.start_moving();
        }
        removed
    }

    /// Enters a position into the index.
    fn note(&mut self, hash: u64, position: u32) {
        let (hasher, chunks) = (&self.hasher, &self.chunks);
        self.index.insert_unique(hash, position, |&at| self::hash(hasher, &record(chunks, at as usize).key()));
    }

    /// Begins to move to an index of the right size.
    fn start_moving(&mut self) {
        self.move_up_to(usize::MAX);
        let index = HashTable::with_capacity(self.length + self.length / 2 + 1);
        self.former = std::mem::replace(&mut self.index, index);
        (self.moved, self.to_move) = (0, self.length);
        if self.length <= MOVED_WHOLE {
            self.move_up_to(usize::MAX);
        }
    }

    fn move_some(&mut self) {
        self.move_up_to(MOVED_AT_ONCE);
    }

    fn move_up_to(&mut self, count: usize) {
        if self.former.is_empty() {
            return;
        }
        let end = self.to_move.min(self.length);
        let stop = end.min(self.moved.saturating_add(count));
        while self.moved < stop {
            let (position, hash) = (self.moved, hash(&self.hasher, &self.at(self.moved).key()));
            // A record that came to this place by a removal is there already.
            if self.index.find(hash, |&at| at as usize == position).is_none() {
                self.note(hash, position as u32);
            }
            self.moved += 1;
        }
        if self.moved >= end {
            self.former = HashTable::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::keyspace::value::compact::{Compact, Wanted};

    impl Record for (Compact, u64) {
        fn key(&self) -> Element<'_> {
            self.0.element()
        }

        fn memory(&self) -> usize {
            self.0.memory()
        }

        fn first_byte(&self) -> u8 {
            self.0.first_byte()
        }
    }

    fn find(table: &Table<(Compact, u64)>, key: &[u8]) -> Option<usize> {
        let wanted = Wanted::from(key);
        table.find(key, |record| record.0.is(&wanted))
    }

    #[test]
    fn behaves_like_a_map_while_its_index_moves() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut table = Table::new();
        let mut model: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let mut moving = 0;
        for step in 0..120_000u64 {
            // Long phases of growing and of shrinking, through several sizes of the index.
            let grows = step / 30_000 % 2 == 0;
            let key = format!("{}{}", "long:key:".repeat(random.usize(..2)), random.u32(..20_000)).into_bytes();
            match find(&table, &key) {
                Some(at) if grows && random.u8(..4) > 0 => {
                    table.update(at, |record| record.1 = step);
                    model.insert(key, step);
                }
                Some(at) => {
                    let wanted = Wanted::from(&key[..]);
                    let (position, removed) = table.take(&key, |record| record.0.is(&wanted)).expect("present");
                    assert_eq!((position, Some(removed.1)), (at, model.remove(&key)));
                }
                None if grows || random.u8(..8) == 0 => {
                    table.push((Compact::from(Wanted::from(&key[..])), step));
                    assert_eq!(model.insert(key, step), None);
                }
                None => {}
            }
            moving += u32::from(!table.former.is_empty());
            assert_eq!(table.len(), model.len());
            if step % 10_000 == 0 {
                for (key, value) in &model {
                    assert_eq!(table.at(find(&table, key).expect("present")).1, *value);
                }
            }
        }
        assert!(moving > 1_000);
        while table.len() > 0 {
            let at = random.usize(..table.len());
            let hash = hash(&table.hasher, &table.at(at).key());
            let removed = table.swap_remove_hashed(at, hash);
            assert_eq!(model.remove(&*removed.key()), Some(removed.1));
        }
        assert_eq!((model.len(), table.payload, table.chunks.len()), (0, 0, 0));
        assert!(table.index.capacity() <= 64);
    }
}
