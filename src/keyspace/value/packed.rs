//! A packed buffer: a sequence of byte strings in one allocation, for few elements.
//!
//! It can be walked from both ends, and changed in the middle at the cost of moving what lies behind. An entry costs
//! its payload and one byte (see `encoded`). An empty buffer allocates nothing.
//!
//! ```text
//! page:  number of entries | bytes of payload | bytes of the gap | gap | payload, first to last | free | tags, last to first
//! ```
//!
//! The tags have an area of their own, which grows towards the payload. A new last entry moves nothing, and a search
//! runs through the tags, which are dense, and looks at the payload only where a tag fits. In a page of more than
//! [`SMALL_PAGE`] bytes the payload may begin behind a gap, so that a first entry comes and goes without moving it. The
//! numbers take 2 bytes each in a page below 64 KiB, else 4; a small page has none for the gap.
//!
//! Must not know what the entries mean.

use super::allocation;
use super::encoded::{Encoded, Stored, decode, size_from_end, size_from_start};

/// Pages up to this size have no gap.
const SMALL_PAGE: usize = 1024;
const SMALL_HEADER: usize = 4;
/// Pages up to this size have short numbers in front.
const NARROW_PAGE: usize = u16::MAX as usize;
const NARROW_HEADER: usize = 6;
const WIDE_HEADER: usize = 12;

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
    gap: usize,
}

impl Shape {
    fn content(self) -> usize {
        self.entries + self.payload
    }
}

/// Bytes that are to be added to a page.
#[derive(Clone, Copy)]
struct Addition {
    payload: usize,
    tags: usize,
    /// The payload goes in front of all others.
    is_first: bool,
}

/// Page length for contents of so many bytes, tags included.
fn page_length(content: usize) -> usize {
    if content == 0 {
        return 0;
    }
    let of = |header| allocation(content + header);
    match (of(SMALL_HEADER), of(NARROW_HEADER)) {
        (small @ ..=SMALL_PAGE, _) => small,
        (_, narrow @ ..=NARROW_PAGE) => narrow,
        _ => of(WIDE_HEADER),
    }
}

fn header_length(page_length: usize) -> usize {
    if page_length <= SMALL_PAGE {
        SMALL_HEADER
    } else if page_length <= NARROW_PAGE {
        NARROW_HEADER
    } else {
        WIDE_HEADER
    }
}

impl Packed {
    /// No entries, in a page of so many bytes with its room in front, or behind.
    pub fn with_room(length: usize, in_front: bool) -> Packed {
        let free = length - header_length(length);
        // The tags of usual elements need no more than an eighth.
        let gap = if in_front && length > SMALL_PAGE { free / 8 * 7 } else { 0 };
        Packed::from_parts(length, gap, &[], &[])
    }

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
        self.shape().content()
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
        content + if content + SMALL_HEADER <= SMALL_PAGE { SMALL_HEADER } else { NARROW_HEADER }
    }

    fn header_length(&self) -> usize {
        header_length(self.page.len())
    }

    fn shape(&self) -> Shape {
        let narrow = |a, b| usize::from(u16::from_le_bytes([a, b]));
        let wide = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte));
        match *self.page {
            [] => Shape { entries: 0, payload: 0, gap: 0 },
            [a, b, c, d, ..] if self.page.len() <= SMALL_PAGE => {
                Shape { entries: narrow(a, b), payload: narrow(c, d), gap: 0 }
            }
            [a, b, c, d, e, f, ..] if self.page.len() <= NARROW_PAGE => {
                Shape { entries: narrow(a, b), payload: narrow(c, d), gap: narrow(e, f) }
            }
            _ => {
                Shape { entries: wide(&self.page[..4]), payload: wide(&self.page[4..8]), gap: wide(&self.page[8..12]) }
            }
        }
    }

    fn set_shape(&mut self, Shape { entries, payload, gap }: Shape) {
        if self.page.len() <= NARROW_PAGE {
            self.page[..2].copy_from_slice(&(entries as u16).to_le_bytes());
            self.page[2..4].copy_from_slice(&(payload as u16).to_le_bytes());
            if self.page.len() > SMALL_PAGE {
                self.page[4..6].copy_from_slice(&(gap as u16).to_le_bytes());
            }
        } else {
            self.page[..4].copy_from_slice(&(entries as u32).to_le_bytes());
            self.page[4..8].copy_from_slice(&(payload as u32).to_le_bytes());
            self.page[8..12].copy_from_slice(&(gap as u32).to_le_bytes());
        }
    }

    /// Where the payload begins in the page.
    fn payload_at(&self) -> usize {
        self.header_length() + self.shape().gap
    }

    /// The payload, and the tags from last to first.
    fn parts(&self) -> (&[u8], &[u8]) {
        if self.page.is_empty() {
            return (&[], &[]);
        }
        let (shape, at) = (self.shape(), self.payload_at());
        (&self.page[at..at + shape.payload], &self.page[self.page.len() - shape.entries..])
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
        let probe_at = self.payload_at() + probe.end - 4;
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
        let before = self.shape();
        let is_first = place.index == 0 && (before.entries > 0 || before.gap > 0);
        self.make_room(Addition { payload: size, tags: 1, is_first });
        let (mut shape, length) = (self.shape(), self.page.len());
        let at = if is_first && length > SMALL_PAGE {
            shape.gap -= size;
            self.header_length() + shape.gap
        } else {
            let start = self.payload_at();
            let at = start + place.offset;
            self.page.copy_within(at..start + shape.payload, at + size);
            at
        };
        entry.write(&mut self.page[at..at + size]);
        let tag_at = length - 1 - place.index;
        self.page.copy_within(length - shape.entries..tag_at + 1, length - shape.entries - 1);
        self.page[tag_at] = entry.tag();
        self.set_shape(Shape { entries: shape.entries + 1, payload: shape.payload + size, ..shape });
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
        let (mut shape, start, length) = (self.shape(), self.payload_at(), self.page.len());
        if place.index == 0 && length > SMALL_PAGE {
            shape.gap += end;
        } else {
            self.page.copy_within(start + end..start + shape.payload, start + place.offset);
        }
        let first_tag = length - shape.entries;
        self.page.copy_within(first_tag..first_tag + kept, first_tag + count);
        let payload = shape.payload - (end - place.offset);
        self.set_shape(Shape { entries: shape.entries - count, payload, ..shape });
        self.give_back();
    }

    /// Puts an entry into the place of another.
    pub fn replace(&mut self, place: Place, entry: &Encoded<'_>) {
        let (payload, tags) = self.parts();
        let before = size_from_start(tags[tags.len() - 1 - place.index], payload, place.offset);
        let after = entry.size();
        if after > before {
            self.make_room(Addition { payload: after - before, tags: 0, is_first: false });
        }
        let (shape, start, length) = (self.shape(), self.payload_at(), self.page.len());
        let at = start + place.offset;
        if after != before {
            self.page.copy_within(at + before..start + shape.payload, at + after);
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
        let tail = Packed::from_parts(page_length(payload.len() + tags.len()), 0, payload, tags);
        self.remove(place, tail.len());
        tail
    }

    /// Puts all entries of another buffer behind these.
    pub fn append(&mut self, other: &Packed) {
        if other.is_empty() {
            return;
        }
        let (payload, tags) = other.parts();
        self.make_room(Addition { payload: payload.len(), tags: tags.len(), is_first: false });
        let (shape, start, length) = (self.shape(), self.payload_at(), self.page.len());
        self.page[start + shape.payload..][..payload.len()].copy_from_slice(payload);
        self.page[length - shape.entries - tags.len()..][..tags.len()].copy_from_slice(tags);
        let (entries, payload) = (shape.entries + tags.len(), shape.payload + payload.len());
        self.set_shape(Shape { entries, payload, ..shape });
    }

    /// With a gap of so many bytes.
    fn from_parts(length: usize, gap: usize, payload: &[u8], tags: &[u8]) -> Packed {
        assert!(length <= u32::MAX as usize, "a buffer is shorter than 4 GiB");
        if length == 0 {
            return Packed::default();
        }
        let mut page = Vec::with_capacity(length);
        page.resize(header_length(length) + gap, 0);
        page.extend_from_slice(payload);
        page.resize(length - tags.len(), 0);
        page.extend_from_slice(tags);
        let mut packed = Packed { page: page.into_boxed_slice() };
        packed.set_shape(Shape { entries: tags.len(), payload: payload.len(), gap });
        packed
    }

    /// Makes room for an addition: in the gap for a first payload, if the page has one, else all of it behind the payload.
    fn make_room(&mut self, addition: Addition) {
        let Addition { payload, tags, is_first } = addition;
        let (shape, header, length) = (self.shape(), self.header_length(), self.page.len());
        let has_page = length > 0;
        let free = if has_page { length - header - shape.content() } else { 0 };
        if !has_page || free < payload + tags {
            let length = page_length(shape.content() + payload + tags);
            let free = length - header_length(length) - shape.content();
            return self.resize(length, gap_with(addition, length, free));
        }
        let has_room = match is_first && length > SMALL_PAGE {
            true => shape.gap >= payload && free - shape.gap >= tags,
            false => free - shape.gap >= payload + tags,
        };
        if !has_room {
            // Divided such that it is not the same again with the next one.
            let gap = match is_first {
                true => gap_with(addition, length, free),
                false => (free - payload - tags) / 2,
            };
            let start = header + shape.gap;
            self.page.copy_within(start..start + shape.payload, header + gap);
            self.set_shape(Shape { gap, ..shape });
        }
    }

    /// Gives memory back when half of it is unused.
    fn give_back(&mut self) {
        let needed = page_length(self.content());
        if 2 * needed <= self.page.len() {
            self.resize(needed, 0);
        }
    }

    fn resize(&mut self, length: usize, gap: usize) {
        let (payload, tags) = self.parts();
        *self = Packed::from_parts(length, gap, payload, tags);
    }
}

/// The gap of a page with so many free bytes: for a first payload most of what the addition leaves, and the addition.
fn gap_with(addition: Addition, length: usize, free: usize) -> usize {
    if addition.is_first && length > SMALL_PAGE {
        addition.payload + (free - addition.payload - addition.tags) / 8 * 7
    } else {
        0
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
        for round in 0..60 {
            let (mut packed, mut model) = (Packed::default(), Vec::new());
            let largest = [20, 300, 5_000][round % 3];
            for step in 0..400 {
                let index = match random.u8(..4) {
                    0 => 0,
                    1 => model.len(),
                    _ => random.usize(..=model.len()),
                };
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
    fn is_a_queue_from_either_end() {
        for (length, first_in) in [(30, true), (30, false), (3, true), (1_000, true)] {
            let (mut packed, mut model) = (Packed::with_room(length * 20, first_in), Vec::new());
            assert!(packed.is_empty() && packed.memory() >= length * 20 && packed.iter().next().is_none());
            for number in 0..600u32 {
                let element = number.to_string().repeat(length).into_bytes();
                let place = if first_in { packed.start() } else { packed.end() };
                packed.insert(place, &encoded(&element));
                model.insert(place.index(), element);
                if number > 60 {
                    let place = packed.seek(if first_in { model.len() - 1 } else { 0 });
                    packed.remove(place, 1);
                    model.remove(place.index());
                    check(&packed, &model);
                }
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
