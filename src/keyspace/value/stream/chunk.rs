//! Some entries of a stream that follow each other, in one buffer.
//!
//! ```text
//! buffer   the names of the first entry's fields, then entries
//! entry    length of the rest | milliseconds less the base's | sequence less the base's, zigzag | form | elements
//! form     0: the fields have the names at the beginning of the buffer, and only their values follow
//!          n + 1: n fields follow, each a name and a value
//! element  tag, payload: see `encoded`
//! ```
//!
//! Numbers are varints; that of the length may be padded. What is removed is cut out, but stays in the books until the
//! chunk goes: a chunk ends where a node of Redis's radix tree ends, and a node keeps what was removed from it.

use std::ops::Deref;

use super::super::encoded::{Encoded, Stored, decode, size_from_start};
use super::super::limits::NodeLimit;
use super::super::weight::{EMPTY_LISTPACK, weight};
use super::super::{Element, allocation};
use crate::effects::StreamId;

/// One entry. Fields and values take turns.
#[derive(Clone, Debug)]
pub struct StreamEntry<'a> {
    pub id: StreamId,
    pub fields: Fields<'a>,
}

/// The fields and values of an entry: field, value, field, value…
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    /// The names that are not with the values.
    names: Option<&'a [u8]>,
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.names {
            // An odd number is left behind a name.
            Some(names) if self.left % 2 == 1 => Some(take_element(names)),
            _ => Some(take_element(&mut self.rest)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Fields<'_> {}

fn take_stored<'a>(bytes: &mut &'a [u8]) -> Stored<'a> {
    let whole = *bytes;
    let end = 1 + size_from_start(whole[0], whole, 1);
    *bytes = &whole[end..];
    decode(whole[0], &whole[1..end])
}

fn take_element<'a>(bytes: &mut &'a [u8]) -> Element<'a> {
    take_stored(bytes).into()
}

fn put_element(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let encoded = Encoded::from(bytes);
    let start = out.len() + 1;
    out.push(encoded.tag());
    out.resize(start + encoded.size(), 0);
    encoded.write(&mut out[start..]);
    weight(decode(encoded.tag(), &out[start..]))
}

fn take_number(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
        shift += 7;
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes of a number.
fn width(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()).div_ceil(7).max(1) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn number_weight(number: u64) -> usize {
    weight(Stored::Integer(number as i64))
}

/// The most bytes that an element takes.
fn room_for(element: &[u8]) -> usize {
    // A tag, and of longer ones the length at both ends.
    element.len() + if element.len() < 64 { 1 } else { 9 }
}

/// Appends an entry, and returns what it weighs. `named`: without its names.
fn encode<T: Deref<Target = [u8]>>(
    out: &mut Vec<u8>,
    base: StreamId,
    id: StreamId,
    entry: impl Iterator<Item = T> + Clone,
    named: bool,
) -> usize {
    let milliseconds = id.milliseconds - base.milliseconds;
    let sequence = id.sequence.wrapping_sub(base.sequence) as i64;
    let (mut elements, mut room) = (0u64, width(milliseconds) + width(zigzag(sequence)));
    entry.clone().for_each(|element| {
        elements += 1;
        if !named || elements.is_multiple_of(2) {
            room += room_for(&element);
        }
    });
    let form = if named { 0 } else { elements / 2 + 1 };
    let width = width((room + width(form)) as u64);
    let start = out.len() + width;
    out.reserve(width + room + self::width(form));
    out.resize(start, 0);
    put_number(out, milliseconds);
    put_number(out, zigzag(sequence));
    put_number(out, form);
    // The flags take two bytes.
    let mut weight = 2 + number_weight(milliseconds) + weight(Stored::Integer(sequence));
    if named {
        entry.skip(1).step_by(2).for_each(|value| weight += put_element(out, &value));
        weight += number_weight(elements / 2 + 3);
    } else {
        entry.for_each(|element| weight += put_element(out, &element));
        weight += number_weight(elements / 2) + number_weight(elements + 4);
    }
    let mut length = out.len() - start;
    for byte in &mut out[start - width..start] {
        *byte = length as u8 | 0x80;
        length >>= 7;
    }
    out[start - 1] &= 0x7f;
    weight
}

/// See the module's text. Never without an entry, but between a removal and the chunk's own.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// No id is below.
    base: StreamId,
    /// The highest id that it ever had.
    highest: StreamId,
    data: Vec<u8>,
    /// Bytes of the names in front.
    names: u32,
    /// How many they are.
    name_count: u32,
    entries: u32,
    removed: u32,
    /// Bytes of Redis's listpack, without those of the two numbers of entries in it.
    weight: usize,
}

impl Chunk {
    /// With one entry.
    pub fn of<T: Deref<Target = [u8]>>(id: StreamId, entry: impl Iterator<Item = T> + Clone) -> Chunk {
        let (mut data, mut name_count) = (Vec::new(), 0);
        let mut weight = EMPTY_LISTPACK + number_weight(0);
        for name in entry.clone().step_by(2) {
            weight += put_element(&mut data, &name);
            name_count += 1;
        }
        weight += number_weight(u64::from(name_count));
        let names = data.len() as u32;
        let mut chunk = Chunk { base: id, highest: id, data, names, name_count, entries: 0, removed: 0, weight };
        chunk.push(id, entry);
        chunk
    }

    pub fn len(&self) -> usize {
        self.entries as usize
    }

    pub fn base(&self) -> StreamId {
        self.base
    }

    pub fn highest(&self) -> StreamId {
        self.highest
    }

    pub fn memory(&self) -> usize {
        allocation(self.data.capacity())
    }

    /// Gives back the room that it has too much, when nothing more will be pushed.
    pub fn close(&mut self) {
        if self.data.capacity() > self.data.len() + self.data.len() / 16 {
            self.data.shrink_to_fit();
        }
    }

    /// Must an entry with so many bytes of fields and values go into a new chunk?
    pub fn is_full(&self, limit: NodeLimit, bytes: usize) -> bool {
        let counts = number_weight(u64::from(self.entries)) + number_weight(u64::from(self.removed));
        self.weight + counts + bytes >= limit.bytes() || (self.entries + self.removed) as usize >= limit.entries()
    }

    /// Has it grown so much by what came late that it should be cut?
    pub fn is_oversized(&self, limit: NodeLimit) -> bool {
        self.entries > 1 && (self.len() / 2 > limit.entries() || self.data.len() / 2 > limit.bytes())
    }

    /// Adds an entry behind all others.
    pub fn push<T: Deref<Target = [u8]>>(&mut self, id: StreamId, entry: impl Iterator<Item = T> + Clone) {
        let named = self.has_names(entry.clone());
        self.weight += encode(&mut self.data, self.base, id, entry, named);
        self.entries += 1;
        self.highest = self.highest.max(id);
    }

    /// Adds an entry where it belongs. False when there is one of this id.
    pub fn insert<T: Deref<Target = [u8]>>(&mut self, id: StreamId, entry: impl Iterator<Item = T> + Clone) -> bool {
        if id < self.base {
            let mut rebuilt = Chunk::of(id, entry);
            self.iter().for_each(|entry| rebuilt.push(entry.id, entry.fields));
            *self = rebuilt;
            return true;
        }
        let (at, found) = self.seek(id);
        if found.is_some_and(|found| found.id == id) {
            return false;
        }
        let mut encoded = Vec::new();
        let named = self.has_names(entry.clone());
        self.weight += encode(&mut encoded, self.base, id, entry, named);
        self.data.splice(at..at, encoded);
        self.entries += 1;
        self.highest = self.highest.max(id);
        true
    }

    /// Removes an entry. False when it is not there.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let mut entries = self.iter();
        let start = loop {
            let at = self.data.len() - entries.rest.len();
            match entries.next() {
                Some(entry) if entry.id < id => {}
                Some(entry) if entry.id == id => break at,
                _ => return false,
            }
        };
        let end = self.data.len() - entries.rest.len();
        self.data.drain(start..end);
        self.entries -= 1;
        self.removed += 1;
        true
    }

    /// Removes the entries below an id. Returns how many they were.
    pub fn remove_below(&mut self, id: StreamId) -> usize {
        let (end, _) = self.seek(id);
        let removed = self.iter().take_while(|entry| entry.id < id).count();
        self.data.drain(self.names as usize..end);
        self.entries -= removed as u32;
        self.removed += removed as u32;
        removed
    }

    /// Cuts it in the middle. Returns the upper half. It must have two entries.
    pub fn split(&mut self) -> Chunk {
        let middle = self.len() / 2;
        let mut halves = [None, None];
        for (number, StreamEntry { id, fields }) in self.iter().enumerate() {
            match &mut halves[usize::from(number >= middle)] {
                half @ None => *half = Some(Chunk::of(id, fields)),
                Some(half) => half.push(id, fields),
            }
        }
        let [Some(lower), Some(upper)] = halves else { unreachable!("a chunk to be cut has two entries") };
        *self = lower;
        upper
    }

    /// The entries, ascending.
    pub fn iter(&self) -> Entries<'_> {
        Entries { chunk: self, rest: &self.data[self.names as usize..] }
    }

    /// The entries from an id on.
    pub fn iter_from(&self, id: StreamId) -> Entries<'_> {
        let at = if id <= self.base { self.names as usize } else { self.seek(id).0 };
        Entries { chunk: self, rest: &self.data[at..] }
    }

    /// Where the entries begin, for a walk from the last to the first.
    pub fn offsets(&self) -> impl Iterator<Item = u32> {
        let mut entries = self.iter();
        std::iter::from_fn(move || {
            let at = self.data.len() - entries.rest.len();
            entries.skip_one().then_some(at as u32)
        })
    }

    /// The entry that begins there.
    pub fn at(&self, offset: u32) -> StreamEntry<'_> {
        let mut entries = Entries { chunk: self, rest: &self.data[offset as usize..] };
        entries.next().unwrap_or_else(|| unreachable!("an entry begins there"))
    }

    /// Where the first entry with this id or a higher one begins, and the entry.
    fn seek(&self, id: StreamId) -> (usize, Option<StreamEntry<'_>>) {
        let mut entries = self.iter();
        loop {
            let at = self.data.len() - entries.rest.len();
            match entries.next() {
                Some(entry) if entry.id < id => {}
                found => return (at, found),
            }
        }
    }

    fn has_names<T: Deref<Target = [u8]>>(&self, entry: impl Iterator<Item = T>) -> bool {
        let mut names = &self.data[..self.names as usize];
        for name in entry.step_by(2) {
            if names.is_empty() || *take_element(&mut names) != *name {
                return false;
            }
        }
        names.is_empty()
    }
}

/// The entries of a chunk.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    chunk: &'a Chunk,
    rest: &'a [u8],
}

impl Default for Entries<'_> {
    fn default() -> Self {
        static NOTHING: Chunk = Chunk {
            base: StreamId::MIN,
            highest: StreamId::MIN,
            data: Vec::new(),
            names: 0,
            name_count: 0,
            entries: 0,
            removed: 0,
            weight: 0,
        };
        Entries { chunk: &NOTHING, rest: &[] }
    }
}

impl Entries<'_> {
    fn skip_one(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        let length = take_number(&mut self.rest) as usize;
        self.rest = &self.rest[length..];
        true
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = StreamEntry<'a>;

    fn next(&mut self) -> Option<StreamEntry<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let length = take_number(&mut self.rest) as usize;
        let (mut body, rest) = self.rest.split_at(length);
        self.rest = rest;
        let Chunk { base, data, names, name_count, .. } = self.chunk;
        let id = StreamId {
            milliseconds: base.milliseconds + take_number(&mut body),
            sequence: base.sequence.wrapping_add_signed(unzigzag(take_number(&mut body))),
        };
        let fields = match take_number(&mut body) {
            0 => Fields { names: Some(&data[..*names as usize]), rest: body, left: 2 * *name_count as usize },
            form => Fields { names: None, rest: body, left: 2 * (form - 1) as usize },
        };
        Some(StreamEntry { id, fields })
    }
}
