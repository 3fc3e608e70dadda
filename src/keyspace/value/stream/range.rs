//! Walks through the entries of a stream.

use std::collections::{VecDeque, vec_deque};

use smallvec::SmallVec;

use super::chunk::{Chunk, Entries, StreamEntry};
use crate::effects::StreamId;

/// The entries of a range, ascending.
#[derive(Clone, Debug)]
pub struct Range<'a> {
    current: Entries<'a>,
    chunks: vec_deque::Iter<'a, Chunk>,
    to: StreamId,
}

impl<'a> Range<'a> {
    pub fn new(chunks: &'a VecDeque<Chunk>, from: StreamId, to: StreamId) -> Range<'a> {
        let first = chunks.partition_point(|chunk| chunk.highest() < from);
        let mut chunks = chunks.range(first..);
        Range { current: chunks.next().map(|chunk| chunk.iter_from(from)).unwrap_or_default(), chunks, to }
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            if let Some(entry) = self.current.next() {
                return (entry.id <= self.to).then_some(entry);
            }
            self.current = self.chunks.next()?.iter();
        }
    }
}

/// The entries of a range, descending.
#[derive(Clone, Debug)]
pub struct RangeBack<'a> {
    current: Option<&'a Chunk>,
    /// Where the entries of the current chunk begin that are still to come.
    offsets: SmallVec<[u32; 100]>,
    chunks: vec_deque::Iter<'a, Chunk>,
    from: StreamId,
    to: StreamId,
}

impl<'a> RangeBack<'a> {
    pub fn new(chunks: &'a VecDeque<Chunk>, from: StreamId, to: StreamId) -> RangeBack<'a> {
        let end = chunks.partition_point(|chunk| chunk.base() <= to);
        RangeBack { current: None, offsets: SmallVec::new(), chunks: chunks.range(..end), from, to }
    }
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        loop {
            while let (Some(chunk), Some(offset)) = (self.current, self.offsets.pop()) {
                let entry = chunk.at(offset);
                if entry.id < self.from {
                    return None;
                }
                if entry.id <= self.to {
                    return Some(entry);
                }
            }
            let chunk = self.chunks.next_back()?;
            self.current = Some(chunk);
            self.offsets.extend(chunk.offsets());
        }
    }
}
