//! A long list: a deque of packed buffers.
//!
//! Each buffer has up to a limit of bytes and elements; a single larger element has one of its own. The deque knows the
//! length of each buffer, so that a search for an index reads nothing else.

use std::collections::{VecDeque, vec_deque};
use std::ops::Range;

use super::encoded::{Encoded, Stored};
use super::limits::ChunkLimit;
use super::packed::{Entries, Packed};
use super::{Element, allocation};

/// From so many chunks on, one that is half empty at either end does not matter.
const LONG: usize = 16;
/// A new chunk at an end has room for no more than so many bytes.
const LARGEST_ROOM: usize = 8 << 10;

#[derive(Clone, Debug)]
struct Chunk {
    packed: Packed,
    length: usize,
}

/// A sequence of byte strings. No chunk is empty.
#[derive(Clone, Debug)]
pub struct Chunks {
    chunks: VecDeque<Chunk>,
    length: usize,
    limit: ChunkLimit,
    /// Bytes behind the chunks.
    payload: usize,
}

impl Chunks {
    /// With the entries of this buffer, and chunks of up to this limit.
    pub fn new(limit: ChunkLimit, packed: Packed) -> Chunks {
        let mut chunks = Chunks { chunks: VecDeque::new(), length: 0, limit, payload: 0 };
        chunks.put(0, packed);
        chunks
    }

    /// How large a chunk may become.
    pub fn limit(&self) -> ChunkLimit {
        self.limit
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        self.payload + allocation(self.chunks.capacity() * size_of::<Chunk>()) + allocation(size_of::<Chunks>())
    }

    /// The buffer, when there is exactly one.
    pub fn only_chunk(&self) -> Option<&Packed> {
        if self.chunks.len() == 1 { Some(&self.chunks[0].packed) } else { None }
    }

    fn put(&mut self, number: usize, packed: Packed) {
        if packed.is_empty() {
            return;
        }
        self.length += packed.len();
        self.payload += packed.memory();
        self.chunks.insert(number, Chunk { length: packed.len(), packed });
    }

    fn put_alone(&mut self, number: usize, entry: &Encoded<'_>) {
        let mut packed = Packed::default();
        packed.push(entry);
        self.put(number, packed);
    }

    /// As [`Chunks::put_alone`], at an end, where more is likely to come: in a long list there is room for it at once.
    fn put_at_end(&mut self, in_front: bool, entry: &Encoded<'_>) {
        let number = if in_front { 0 } else { self.chunks.len() };
        let room = self.limit.bytes().min(LARGEST_ROOM);
        if self.chunks.len() < LONG || self.limit.elements() < room || entry.size() > room / 16 {
            return self.put_alone(number, entry);
        }
        let mut packed = Packed::with_room(room, in_front);
        packed.insert(packed.start(), entry);
        self.put(number, packed);
    }

    /// Changes a chunk, and keeps the books. A chunk that is empty then has to go.
    fn edit<T>(&mut self, number: usize, change: impl FnOnce(&mut Packed) -> T) -> T {
        let chunk = &mut self.chunks[number];
        let (length, memory) = (chunk.length, chunk.packed.memory());
        let result = change(&mut chunk.packed);
        chunk.length = chunk.packed.len();
        self.length = self.length - length + chunk.length;
        self.payload = self.payload - memory + chunk.packed.memory();
        result
    }

    fn drop_chunks(&mut self, numbers: Range<usize>) {
        for chunk in self.chunks.drain(numbers) {
            self.length -= chunk.length;
            self.payload -= chunk.packed.memory();
        }
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }

    /// May a buffer of so many elements and bytes be a chunk?
    fn is_within_limit(&self, elements: usize, content: usize) -> bool {
        elements <= self.limit.elements() && Packed::length_of(content) <= self.limit.bytes()
    }

    fn fits(&self, number: usize, entry: &Encoded<'_>) -> bool {
        let chunk = &self.chunks[number];
        self.is_within_limit(chunk.length + 1, chunk.packed.content() + 1 + entry.size())
    }

    /// The chunk with the element of this index, and the element's index within it; walks from the nearer end.
    fn locate(&self, index: usize) -> (usize, usize) {
        if index < self.length / 2 {
            let mut before = 0;
            for (number, chunk) in self.chunks.iter().enumerate() {
                if index < before + chunk.length {
                    return (number, index - before);
                }
                before += chunk.length;
            }
        } else {
            let mut before = self.length;
            for (number, chunk) in self.chunks.iter().enumerate().rev() {
                before -= chunk.length;
                if index >= before {
                    return (number, index - before);
                }
            }
        }
        unreachable!("there is no element {index} of {}", self.length)
    }

    pub fn push_front(&mut self, entry: &Encoded<'_>) {
        if !self.chunks.is_empty() && self.fits(0, entry) {
            self.edit(0, |packed| packed.insert(packed.start(), entry));
        } else {
            self.put_at_end(true, entry);
        }
    }

    pub fn push_back(&mut self, entry: &Encoded<'_>) {
        match self.chunks.len().checked_sub(1) {
            Some(last) if self.fits(last, entry) => self.edit(last, |packed| packed.push(entry)),
            _ => self.put_at_end(false, entry),
        }
    }

    /// Puts an element in front of the one of this index, which must be there.
    pub fn insert(&mut self, index: usize, entry: &Encoded<'_>) {
        let (number, within) = self.locate(index);
        if self.fits(number, entry) {
            self.edit(number, |packed| packed.insert(packed.seek(within), entry));
        } else if within > 0 {
            let tail = self.edit(number, |packed| packed.split_off(packed.seek(within)));
            self.put(number + 1, tail);
            self.insert_between(number + 1, entry);
        } else {
            self.insert_between(number, entry);
        }
    }

    /// Puts an element in front of the chunk of this number: to the end of the one before or to its beginning, if there
    /// is room, else into a chunk of its own.
    fn insert_between(&mut self, number: usize, entry: &Encoded<'_>) {
        if number > 0 && self.fits(number - 1, entry) {
            self.edit(number - 1, |packed| packed.push(entry));
        } else if self.fits(number, entry) {
            self.edit(number, |packed| packed.insert(packed.start(), entry));
        } else {
            self.put_alone(number, entry);
        }
    }

    /// Puts an element into the place of another.
    pub fn set(&mut self, index: usize, entry: &Encoded<'_>) {
        let (number, within) = self.locate(index);
        let chunk = &self.chunks[number];
        let place = chunk.packed.seek(within);
        let content = chunk.packed.content() - chunk.packed.size_at(place) + 1 + entry.size();
        if chunk.length == 1 || self.is_within_limit(chunk.length, content) {
            self.edit(number, |packed| packed.replace(place, entry));
            return self.join(number);
        }
        self.edit(number, |packed| packed.remove(place, 1));
        if within < self.chunks[number].length {
            self.insert(index, entry);
        } else if number + 1 < self.chunks.len() {
            self.insert_between(number + 1, entry);
        } else {
            self.push_back(entry);
        }
    }

    /// Removes elements, which must be there.
    pub fn remove(&mut self, start: usize, count: usize) {
        if count == 0 {
            return;
        }
        let (first, from) = self.locate(start);
        let (last, to) = self.locate(start + count - 1);
        let to = to + 1;
        if first == last && to - from < self.chunks[first].length {
            self.edit(first, |packed| packed.remove(packed.seek(from), count));
            self.join(first);
            return;
        }
        // Whole chunks go, and parts of the first and the last one.
        let mut whole = first..last + 1;
        if to < self.chunks[last].length {
            self.edit(last, |packed| packed.remove(packed.start(), to));
            whole.end -= 1;
        }
        if from > 0 {
            self.edit(first, |packed| packed.remove(packed.seek(from), packed.len() - from));
            whole.start += 1;
        }
        self.drop_chunks(whole.clone());
        self.join(whole.start);
    }

    /// Joins a chunk with the one before or behind it where that leaves half of a chunk free.
    fn join(&mut self, number: usize) {
        for left in [number, number.wrapping_sub(1)] {
            let right = left.wrapping_add(1);
            let (Some(one), Some(other)) = (self.chunks.get(left), self.chunks.get(right)) else { continue };
            let content = one.packed.content() + other.packed.content();
            if self.is_within_limit(one.length + other.length, 2 * content) {
                let moving = self.edit(right, |packed| packed.split_off(packed.start()));
                self.drop_chunks(right..right + 1);
                self.edit(left, |packed| packed.append(&moving));
            }
        }
    }

    /// The element of this index.
    pub fn get(&self, index: usize) -> Option<Stored<'_>> {
        if index >= self.length {
            return None;
        }
        let (number, within) = self.locate(index);
        self.chunks[number].packed.get(within)
    }

    /// The elements of these indices, which must be there.
    pub fn range(&self, indices: Range<usize>) -> Elements<'_> {
        if indices.is_empty() {
            return Elements::of_one(Entries::default());
        }
        let (first, from) = self.locate(indices.start);
        let (last, to) = self.locate(indices.end - 1);
        let (front, back) = (&self.chunks[first].packed, &self.chunks[last].packed);
        if first == last {
            return Elements::of_one(front.range(front.seek(from), front.seek(to + 1)));
        }
        Elements {
            left: indices.len(),
            front: front.range(front.seek(from), front.end()),
            middle: self.chunks.range(first + 1..last),
            back: back.range(back.start(), back.seek(to + 1)),
        }
    }
}

#[cfg(test)]
impl Chunks {
    /// Checks what the deque says about its chunks.
    pub fn check(&self) {
        let sum = |of: fn(&Chunk) -> usize| self.chunks.iter().map(of).sum::<usize>();
        assert_eq!(self.length, sum(|chunk| chunk.packed.len()));
        assert_eq!(self.payload, sum(|chunk| chunk.packed.memory()));
        for chunk in &self.chunks {
            assert!(chunk.length > 0 && chunk.length == chunk.packed.len());
            assert!(chunk.length == 1 || self.is_within_limit(chunk.length, chunk.packed.content()));
        }
    }
}

/// Elements in order.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    left: usize,
    front: Entries<'a>,
    middle: vec_deque::Iter<'a, Chunk>,
    back: Entries<'a>,
}

impl<'a> Elements<'a> {
    /// Those of one buffer.
    pub fn of_one(entries: Entries<'a>) -> Elements<'a> {
        Elements { left: entries.len(), front: entries, middle: vec_deque::Iter::default(), back: Entries::default() }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        self.left = self.left.checked_sub(1)?;
        loop {
            if let Some(stored) = self.front.next() {
                return Some(stored.into());
            }
            match self.middle.next() {
                Some(chunk) => self.front = chunk.packed.iter(),
                None => return self.back.next().map(Element::from),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl DoubleEndedIterator for Elements<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        loop {
            if let Some(stored) = self.back.next_back() {
                return Some(stored.into());
            }
            match self.middle.next_back() {
                Some(chunk) => self.back = chunk.packed.iter(),
                None => return self.front.next_back().map(Element::from),
            }
        }
    }
}

impl ExactSizeIterator for Elements<'_> {}
