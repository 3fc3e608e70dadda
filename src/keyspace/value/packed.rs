//! A packed buffer: a sequence of byte strings in one allocation, for few elements.
//!
//! It can be walked from both ends, and changed in the middle at the cost of moving what lies behind. An entry costs
//! its payload and one byte (see `encoded`). An empty buffer allocates nothing.
//!
//! ```text
//! page:  number of entries | bytes of payload | payload, first to last | free | tags, last to first
//! ```
//!
//! The tags have an area of their own, which grows towards the payload. A new last entry moves nothing, and a search
//! runs through the tags, which are dense, and looks at the payload only where a tag fits. The two numbers take 2 bytes
//! each in a page below 64 KiB, else 4.
//!
//! Must not know what the entries mean.

use super::allocation;
use super::encoded::{Encoded, Stored, decode, size_from_end, size_from_start};

/// Pages up to this size have short numbers in front.
const NARROW_PAGE: usize = u16::MAX as usize;
const NARROW_HEADER: usize = 4;
const WIDE_HEADER: usize = 8;

/// A buffer of several entries stays below this many bytes, whatever limits are configured.
const SAFE_LENGTH: usize = 1 << 30;

/// A sequence of byte strings.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    page: Box<[u8]>,
}

/// Where an entry begins. Valid until the buffer changes in front of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    index: usize,
    offset: usize,
}

impl Place {
    /// How many entries lie before it.
    pub fn index(self) -> usize {
        self.index
    }
}

#[derive(Clone, Copy)]
struct Shape {
    entries: usize,
    payload: usize,
}

/// Page length for contents of so many bytes, tags included.
fn page_length(content: usize) -> usize {
    match content {
        0 => 0,
        _ => match allocation(content + NARROW_HEADER) {
            narrow @ ..=NARROW_PAGE => narrow,
            _ => allocation(content + WIDE_HEADER),
        },
    }
}

fn header_length(page_length: usize) -> usize {
    if page_length <= NARROW_PAGE { NARROW_HEADER } else { WIDE_HEADER }
}

impl Packed {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.shape().entries
    }

    /// No entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the entries, tags included.
    pub fn content(&self) -> usize {
        let shape = self.shape();
        shape.entries + shape.payload
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.page.len()
    }

    /// Can entries of so many bytes be added to a buffer that has some, without making it unreasonably long?
    pub fn is_safe_to_add(&self, bytes: usize) -> bool {
        self.content().saturating_add(bytes) <= SAFE_LENGTH
    }

    /// Bytes of a buffer with entries of so many bytes, tags included.
    pub fn length_of(content: usize) -> usize {
        content + NARROW_HEADER
    }

    fn header_length(&self) -> usize {
        header_length(self.page.len())
    }

    fn shape(&self) -> Shape {
        match *self.page {
            [] => Shape { entries: 0, payload: 0 },
            [a, b, c, d, ..] if self.page.len() <= NARROW_PAGE => Shape {
                entries: usize::from(u16::from_le_bytes([a, b])),
                payload: usize::from(u16::from_le_bytes([c, d])),
            },
            [a, b, c, d, e, f, g, h, ..] => Shape {
                entries: u32::from_le_bytes([a, b, c, d]) as usize,
                payload: u32::from_le_bytes([e, f, g, h]) as usize,
            },
            _ => unreachable!("a page has a header"),
        }
    }

    fn set_shape(&mut self, shape: Shape) {
        if self.page.len() <= NARROW_PAGE {
            self.page[..2].copy_from_slice(&(shape.entries as u16).to_le_bytes());
            self.page[2..4].copy_from_slice(&(shape.payload as u16).to_le_bytes());
        } else {
            self.page[..4].copy_from_slice(&(shape.entries as u32).to_le_bytes());
            self.page[4..8].copy_from_slice(&(shape.payload as u32).to_le_bytes());
        }
    }

    /// The payload, and the tags from last to first.
    fn parts(&self) -> (&[u8], &[u8]) {
        if self.page.is_empty() {
            return (&[], &[]);
        }
        let (shape, header) = (self.shape(), self.header_length());
        (&self.page[header..header + shape.payload], &self.page[self.page.len() - shape.entries..])
    }

    /// The place in front of the first entry.
    pub fn start(&self) -> Place {
        Place::default()
    }

    /// The place behind the last entry.
    pub fn end(&self) -> Place {
        let shape = self.shape();
        Place { index: shape.entries, offset: shape.payload }
    }

    /// The place of the entry with this number, which may be the number of entries; walks from the nearer end.
    pub fn seek(&self, index: usize) -> Place {
        let (payload, tags) = self.parts();
        assert!(index <= tags.len(), "there is no entry {index} of {}", tags.len());
        if index <= tags.len() / 2 {
            let before = tags.iter().rev().take(index);
            return Place { index, offset: before.fold(0, |at, &tag| at + size_from_start(tag, payload, at)) };
        }
        let behind = tags.iter().take(tags.len() - index);
        let offset = behind.fold(payload.len(), |at, &tag| at - size_from_end(tag, payload, at));
        Place { index, offset }
    }

    /// The entry with this number.
    pub fn get(&self, index: usize) -> Option<Stored<'_>> {
        (index < self.len()).then(|| self.at(self.seek(index)))
    }

    /// The entry at a place in front of the end.
    pub fn at(&self, place: Place) -> Stored<'_> {
        let (payload, tags) = self.parts();
        let tag = tags[tags.len() - 1 - place.index];
        let size = size_from_start(tag, payload, place.offset);
        decode(tag, &payload[place.offset..place.offset + size])
    }

    /// Bytes of the entry at a place, its tag included.
    pub fn size_at(&self, place: Place) -> usize {
        let (payload, tags) = self.parts();
        1 + size_from_start(tags[tags.len() - 1 - place.index], payload, place.offset)
    }

    /// The place behind the entry at a place.
    pub fn next(&self, place: Place) -> Place {
        let (payload, tags) = self.parts();
        let tag = tags[tags.len() - 1 - place.index];
        Place { index: place.index + 1, offset: place.offset + size_from_start(tag, payload, place.offset) }
    }

    /// All entries.
    pub fn iter(&self) -> Entries<'_> {
        self.range(self.start(), self.end())
    }

    /// The entries between two places.
    pub fn range(&self, start: Place, end: Place) -> Entries<'_> {
        let (payload, tags) = self.parts();
        let tags = &tags[tags.len() - end.index..tags.len() - start.index];
        Entries { tags, payload, front: start.offset, back: end.offset }
    }

    /// The first entry equal to this one, among each `STEP`th: 1 for all, 2 for the keys of a sequence of pairs.
    pub fn find<const STEP: usize>(&self, entry: &Encoded<'_>) -> Option<Place> {
        let (payload, tags) = self.parts();
        let (wanted, probe) = (entry.tag(), entry.probe());
        // The four bytes of the probe begin in the header at worst.
        let probe_at = self.header_length() + probe.end - 4;
        let mut offset = 0;
        for (number, group) in tags.rchunks_exact(STEP).enumerate() {
            if group[STEP - 1] == wanted
                && let Some(&[a, b, c, d]) = self.page.get(probe_at + offset..probe_at + offset + 4)
                && probe.fits([a, b, c, d])
                && is_at(entry, payload, offset)
            {
                return Some(Place { index: number * STEP, offset });
            }
            for &tag in group.iter().rev() {
                offset += size_from_start(tag, payload, offset);
            }
        }
        None
    }

    /// Puts an entry in front of the one at a place.
    pub fn insert(&mut self, place: Place, entry: &Encoded<'_>) {
        let size = entry.size();
        self.reserve(1 + size);
        let (shape, header, length) = (self.shape(), self.header_length(), self.page.len());
        let at = header + place.offset;
        self.page.copy_within(at..header + shape.payload, at + size);
        entry.write(&mut self.page[at..at + size]);
        let tag_at = length - 1 - place.index;
        self.page.copy_within(length - shape.entries..tag_at + 1, length - shape.entries - 1);
        self.page[tag_at] = entry.tag();
        self.set_shape(Shape { entries: shape.entries + 1, payload: shape.payload + size });
    }

    /// Puts an entry behind all others.
    pub fn push(&mut self, entry: &Encoded<'_>) {
        self.insert(self.end(), entry);
    }

    /// Removes `count` entries from a place on.
    pub fn remove(&mut self, place: Place, count: usize) {
        if count == 0 {
            return;
        }
        let (payload, tags) = self.parts();
        let kept = tags.len() - place.index - count;
        let removed = tags[kept..kept + count].iter().rev();
        let end = removed.fold(place.offset, |at, &tag| at + size_from_start(tag, payload, at));
        let (shape, header, length) = (self.shape(), self.header_length(), self.page.len());
        self.page.copy_within(header + end..header + shape.payload, header + place.offset);
        let first_tag = length - shape.entries;
        self.page.copy_within(first_tag..first_tag + kept, first_tag + count);
        self.set_shape(Shape { entries: shape.entries - count, payload: shape.payload - (end - place.offset) });
        self.give_back();
    }

    /// Puts an entry into the place of another.
    pub fn replace(&mut self, place: Place, entry: &Encoded<'_>) {
        let (payload, tags) = self.parts();
        let before = size_from_start(tags[tags.len() - 1 - place.index], payload, place.offset);
        let after = entry.size();
        if after > before {
            self.reserve(after - before);
        }
        let (shape, header, length) = (self.shape(), self.header_length(), self.page.len());
        let at = header + place.offset;
        if after != before {
            self.page.copy_within(at + before..header + shape.payload, at + after);
            self.set_shape(Shape { payload: shape.payload - before + after, ..shape });
        }
        entry.write(&mut self.page[at..at + after]);
        self.page[length - 1 - place.index] = entry.tag();
        if after < before {
            self.give_back();
        }
    }

    /// Takes the entries from a place on into a buffer of their own.
    pub fn split_off(&mut self, place: Place) -> Packed {
        let (payload, tags) = self.parts();
        let (payload, tags) = (&payload[place.offset..], &tags[..tags.len() - place.index]);
        let tail = Packed::from_parts(payload, tags);
        self.remove(place, tail.len());
        tail
    }

    /// Puts all entries of another buffer behind these.
    pub fn append(&mut self, other: &Packed) {
        if other.is_empty() {
            return;
        }
        let (payload, tags) = other.parts();
        self.reserve(payload.len() + tags.len());
        let (shape, header, length) = (self.shape(), self.header_length(), self.page.len());
        self.page[header + shape.payload..][..payload.len()].copy_from_slice(payload);
        self.page[length - shape.entries - tags.len()..][..tags.len()].copy_from_slice(tags);
        self.set_shape(Shape { entries: shape.entries + tags.len(), payload: shape.payload + payload.len() });
    }

    fn from_parts(payload: &[u8], tags: &[u8]) -> Packed {
        let length = page_length(payload.len() + tags.len());
        assert!(length <= u32::MAX as usize, "a buffer is shorter than 4 GiB");
        let mut packed = Packed { page: vec![0; length].into_boxed_slice() };
        if length > 0 {
            let header = header_length(length);
            packed.page[header..header + payload.len()].copy_from_slice(payload);
            packed.page[length - tags.len()..].copy_from_slice(tags);
            packed.set_shape(Shape { entries: tags.len(), payload: payload.len() });
        }
        packed
    }

    /// Makes room for so many bytes more.
    fn reserve(&mut self, bytes: usize) {
        let content = self.content() + bytes;
        if self.page.is_empty() || self.header_length() + content > self.page.len() {
            self.resize(page_length(content));
        }
    }

    /// Gives memory back when half of it is unused.
    fn give_back(&mut self) {
        let needed = page_length(self.content());
        if 2 * needed <= self.page.len() {
            self.resize(needed);
        }
    }

    fn resize(&mut self, length: usize) {
        assert!(length <= u32::MAX as usize, "a buffer is shorter than 4 GiB");
        let mut page = vec![0; length].into_boxed_slice();
        let (shape, (payload, tags)) = (self.shape(), self.parts());
        if length > 0 {
            let header = header_length(length);
            page[header..header + payload.len()].copy_from_slice(payload);
            page[length - tags.len()..].copy_from_slice(tags);
        }
        self.page = page;
        if length > 0 {
            self.set_shape(shape);
        }
    }
}

/// Is the payload at this offset that of the entry, given that the tags are equal? Apart from the loop that asks, so
/// that the loop stays small.
#[inline(never)]
fn is_at(entry: &Encoded<'_>, payload: &[u8], offset: usize) -> bool {
    let size = size_from_start(entry.tag(), payload, offset);
    entry.has_payload(&payload[offset..offset + size])
}

/// Entries in order.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    /// Tags that are left, from last to first.
    tags: &'a [u8],
    payload: &'a [u8],
    front: usize,
    back: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Stored<'a>;

    fn next(&mut self) -> Option<Stored<'a>> {
        let (&tag, rest) = self.tags.split_last()?;
        let size = size_from_start(tag, self.payload, self.front);
        let start = self.front;
        (self.tags, self.front) = (rest, start + size);
        Some(decode(tag, &self.payload[start..start + size]))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.tags.len(), Some(self.tags.len()))
    }
}

impl DoubleEndedIterator for Entries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (&tag, rest) = self.tags.split_first()?;
        let size = size_from_end(tag, self.payload, self.back);
        let end = self.back;
        (self.tags, self.back) = (rest, end - size);
        Some(decode(tag, &self.payload[end - size..end]))
    }
}

impl ExactSizeIterator for Entries<'_> {}

#[cfg(test)]
mod tests {
    use super::super::Element;
    use super::super::testing::random_element;
    use super::*;

    fn encoded(bytes: &[u8]) -> Encoded<'_> {
        Encoded::from(bytes)
    }

    fn check(packed: &Packed, model: &[Vec<u8>]) {
        assert_eq!(packed.len(), model.len());
        let forwards: Vec<Vec<u8>> = packed.iter().map(|entry| Element::from(entry).to_vec()).collect();
        let mut backwards: Vec<Vec<u8>> = packed.iter().rev().map(|entry| Element::from(entry).to_vec()).collect();
        backwards.reverse();
        assert_eq!((&forwards[..], &backwards[..]), (model, model));
        let needed = page_length(packed.content());
        assert!(needed <= packed.memory() && packed.memory() <= 2 * needed);
    }

    #[test]
    fn behaves_like_a_vector() {
        let mut random = fastrand::Rng::with_seed(11);
        for round in 0..40 {
            let (mut packed, mut model) = (Packed::default(), Vec::new());
            let largest = [20, 300, 5_000][round % 3];
            for step in 0..400 {
                let index = random.usize(..=model.len());
                let place = packed.seek(index);
                let element = random_element(&mut random, largest);
                // Grows at first, then shrinks to nothing.
                match random.usize(..if step < 250 { 4 } else { 8 }) {
                    0 if index < model.len() => {
                        packed.replace(place, &encoded(&element));
                        model[index] = element;
                    }
                    0..3 => {
                        packed.insert(place, &encoded(&element));
                        model.insert(index, element);
                    }
                    3 => {
                        let tail = packed.split_off(place);
                        check(&packed, &model[..index]);
                        check(&tail, &model[index..]);
                        packed.append(&tail);
                    }
                    _ => {
                        let count = random.usize(..=(model.len() - index).min(3));
                        packed.remove(place, count);
                        model.drain(index..index + count);
                    }
                }
                check(&packed, &model);
                let (from, to) = (random.usize(..=model.len()), random.usize(..=model.len()));
                let (from, to) = (from.min(to), from.max(to));
                let range = packed.range(packed.seek(from), packed.seek(to));
                assert!(range.map(|entry| Element::from(entry).to_vec()).eq(model[from..to].iter().cloned()));
                if let Some(element) = model.get(from) {
                    assert_eq!(*Element::from(packed.get(from).expect("present")), **element);
                    let found = packed.find::<1>(&encoded(element)).expect("present");
                    assert_eq!(Some(found.index()), model.iter().position(|other| other == element));
                    assert_eq!(packed.next(found), packed.seek(found.index() + 1));
                }
                assert_eq!(packed.get(model.len()), None);
            }
        }
    }

    #[test]
    fn pairs_are_found_by_their_first_half() {
        let mut packed = Packed::default();
        for word in ["a", "b", "b", "c", "7", "a", "c", "7"] {
            packed.push(&encoded(word.as_bytes()));
        }
        let find = |word: &str| packed.find::<2>(&encoded(word.as_bytes())).map(Place::index);
        assert_eq!([find("a"), find("b"), find("c"), find("7"), find("d")], [Some(0), Some(2), Some(6), Some(4), None]);
    }

    #[test]
    fn costs_one_byte_an_entry_and_four_at_all() {
        let mut packed = Packed::default();
        assert_eq!((packed.memory(), size_of::<Packed>()), (0, 16));
        for _ in 0..10 {
            packed.push(&encoded(b"abcde"));
        }
        assert_eq!((packed.content(), packed.memory()), (60, 64));
        packed.push(&encoded(b"-1"));
        assert_eq!((packed.content(), packed.memory()), (62, 80));
    }

    #[test]
    fn a_page_may_become_wide_and_narrow_again() {
        let (mut packed, mut model) = (Packed::default(), Vec::new());
        for length in [60_000, 3, 10_000, 4_500] {
            model.push(vec![b'w'; length]);
            packed.push(&encoded(&model[model.len() - 1]));
            check(&packed, &model);
        }
        packed.remove(packed.seek(0), 1);
        model.remove(0);
        check(&packed, &model);
        packed.remove(packed.start(), 3);
        check(&packed, &[]);
        assert_eq!(packed.memory(), 0);
    }
}
