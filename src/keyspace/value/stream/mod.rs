//! A stream: entries in the order of their ids, and consumer groups.
//!
//! The entries lie in a deque of packed chunks (`chunk`). Where chunks end is where nodes of Redis's radix tree end, since
//! `XTRIM ~` removes only whole ones. An entry mostly comes behind all others; one that a peer sent late goes where it
//! belongs.
//!
//! A stream lives on without entries.

mod chunk;
mod display;
mod distance;
mod group;
mod range;
#[cfg(test)]
mod tests;
mod trim;

pub use chunk::{Fields, StreamEntry};
pub use group::{Consumer, Group, Pending};
pub use range::{Range, RangeBack};
pub use trim::{Trim, TrimTo};

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;

use super::{Limits, allocation};
use crate::effects::StreamId;
use chunk::Chunk;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct StreamValue {
    chunks: VecDeque<Chunk>,
    length: usize,
    /// Bytes of memory behind the chunks.
    payload: usize,
    /// The highest id that it ever had, or was told to have had.
    pub last_id: StreamId,
    /// How many entries were ever added, or are said to have been.
    pub entries_added: u64,
    /// The highest id of an entry that was deleted; 0-0 if none was.
    pub max_deleted_id: StreamId,
    groups: BTreeMap<Box<[u8]>, Group>,
    /// Bytes of memory behind the groups.
    groups_memory: usize,
}

impl StreamValue {
    /// Without entries.
    pub fn new() -> StreamValue {
        StreamValue::default()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.length
    }

    /// No entry is there. The stream is, all the same.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The lowest ids of the chunks.
    pub fn chunk_ids(&self) -> impl Iterator<Item = StreamId> {
        self.chunks.iter().map(Chunk::base)
    }

    /// What `OBJECT ENCODING` says.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Bytes of memory behind the value, about.
    pub fn memory(&self) -> usize {
        allocation(size_of::<StreamValue>())
            + self.payload
            + allocation(self.chunks.capacity() * size_of::<Chunk>())
            + self.groups_memory
    }

    /// Adds an entry (field, value, field, value…) as XADD does. False when there is one of this id, which stays.
    pub fn add<T: Deref<Target = [u8]>>(&mut self, id: StreamId, entry: impl Iterator<Item = T> + Clone) -> bool {
        let is_new = self.insert(id, entry);
        if is_new {
            self.last_id = self.last_id.max(id);
            self.entries_added = self.entries_added.saturating_add(1);
        }
        is_new
    }

    /// Adds an entry; nothing else changes. False when there is one of this id, which stays.
    pub fn insert<T: Deref<Target = [u8]>>(&mut self, id: StreamId, entry: impl Iterator<Item = T> + Clone) -> bool {
        self.insert_within(&Limits::current(), id, entry)
    }

    /// As [`StreamValue::insert`], with other limits.
    pub fn insert_within<T: Deref<Target = [u8]>>(
        &mut self,
        limits: &Limits,
        id: StreamId,
        entry: impl Iterator<Item = T> + Clone,
    ) -> bool {
        let limit = limits.stream_node;
        let last = self.chunks.len().wrapping_sub(1);
        match self.chunks.back() {
            Some(chunk) if chunk.highest() >= id => return self.insert_late(limits, id, entry),
            Some(chunk) if !chunk.is_full(limit, entry.clone().map(|element| element.len()).sum()) => {
                self.edit(last, |chunk| chunk.push(id, entry));
            }
            back => {
                if back.is_some() {
                    self.edit(last, Chunk::close);
                }
                let chunk = Chunk::of(id, entry);
                self.payload += chunk.memory();
                self.chunks.push_back(chunk);
            }
        }
        self.length += 1;
        true
    }

    fn insert_late<T: Deref<Target = [u8]>>(
        &mut self,
        limits: &Limits,
        id: StreamId,
        entry: impl Iterator<Item = T> + Clone,
    ) -> bool {
        let at = self.chunk_of(id).unwrap_or(0);
        if !self.edit(at, |chunk| chunk.insert(id, entry)) {
            return false;
        }
        self.length += 1;
        if self.chunks[at].is_oversized(limits.stream_node) {
            let upper = self.edit(at, Chunk::split);
            self.payload += upper.memory();
            self.chunks.insert(at + 1, upper);
        }
        true
    }

    /// Removes an entry; nothing else changes. False when it is not there.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let Some(at) = self.chunk_of(id) else { return false };
        if !self.edit(at, |chunk| chunk.remove(id)) {
            return false;
        }
        self.length -= 1;
        if self.chunks[at].len() == 0 {
            self.drop_chunk(at);
        }
        true
    }

    /// Removes the entries below an id; nothing else changes. Returns how many they were.
    pub fn remove_below(&mut self, id: StreamId) -> usize {
        let before = self.length;
        while let Some(first) = self.chunks.front()
            && first.base() < id
        {
            let whole = self.chunks.get(1).map_or(first.highest() < id, |second| second.base() <= id);
            if whole {
                self.length -= first.len();
                self.drop_chunk(0);
                continue;
            }
            self.length -= self.edit(0, |chunk| chunk.remove_below(id));
            // Where an entry above was deleted the chunk stays, without entries, as in Redis: so that the next chunk
            // begins where it does there.
            if self.chunks[0].len() == 0 && self.chunks[0].highest() < id {
                self.drop_chunk(0);
            }
            break;
        }
        before - self.length
    }

    /// The entry with this id.
    pub fn get(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.chunks[self.chunk_of(id)?].iter_from(id).next().filter(|entry| entry.id == id)
    }

    /// The id of the first entry; 0-0 without entries.
    pub fn first_id(&self) -> StreamId {
        self.iter().next().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// All entries, ascending.
    pub fn iter(&self) -> Range<'_> {
        self.range(StreamId::MIN, StreamId::MAX)
    }

    /// The entries from one id to another, both of which are meant, too. Ascending.
    pub fn range(&self, from: StreamId, to: StreamId) -> Range<'_> {
        Range::new(&self.chunks, from, to)
    }

    /// The same, descending.
    pub fn range_back(&self, from: StreamId, to: StreamId) -> RangeBack<'_> {
        RangeBack::new(&self.chunks, from, to)
    }

    /// The groups by name.
    pub fn groups(&self) -> &BTreeMap<Box<[u8]>, Group> {
        &self.groups
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Makes a group, in the place of the one of this name, if there is one.
    pub fn put_group(&mut self, name: &[u8], group: Group) {
        self.remove_group(name);
        self.groups_memory += group_memory(name, &group);
        self.groups.insert(name.into(), group);
    }

    /// Removes a group.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        let group = self.groups.remove(name)?;
        self.groups_memory -= group_memory(name, &group);
        Some(group)
    }

    /// Changes a group. `None` without one of this name.
    pub fn edit_group<R>(&mut self, name: &[u8], edit: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let group = self.groups.get_mut(name)?;
        let before = group.memory();
        let result = edit(group);
        self.groups_memory = self.groups_memory - before + group.memory();
        Some(result)
    }

    /// The chunk in which an entry of this id would lie. None when that would be in front of all.
    fn chunk_of(&self, id: StreamId) -> Option<usize> {
        self.chunks.partition_point(|chunk| chunk.base() <= id).checked_sub(1)
    }

    /// Changes a chunk, and keeps the books of memory.
    fn edit<R>(&mut self, at: usize, edit: impl FnOnce(&mut Chunk) -> R) -> R {
        let chunk = &mut self.chunks[at];
        let before = chunk.memory();
        let result = edit(chunk);
        self.payload = self.payload - before + chunk.memory();
        result
    }

    fn drop_chunk(&mut self, at: usize) {
        if let Some(chunk) = self.chunks.remove(at) {
            self.payload -= chunk.memory();
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }
}

fn group_memory(name: &[u8], group: &Group) -> usize {
    allocation(name.len()) + size_of::<(Box<[u8]>, Group)>() * 3 / 2 + group.memory()
}
