//! A list.
//!
//! Short: one packed buffer. Long: a deque of them.

use std::ops::Range;

use super::chunks::{Chunks, Elements};
use super::encoded::Encoded;
use super::limits::ChunkLimit;
use super::packed::Packed;
use super::weight::{EMPTY_LISTPACK, weight};
use super::{Element, Limits, allocation};

/// Elements in an order that the clients choose. Indices count from 0.
#[derive(Clone, Debug)]
pub struct ListValue {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Short(Box<Short>),
    Long(Box<Chunks>),
}

#[derive(Clone, Debug)]
struct Short {
    packed: Packed,
    /// Bytes of a listpack of Redis with these elements. Redis's limit is about them, and clients can ask for the form.
    weight: usize,
    limit: ChunkLimit,
}

impl Short {
    fn new(limit: ChunkLimit, packed: Packed) -> Short {
        Short { weight: EMPTY_LISTPACK + packed.iter().map(weight).sum::<usize>(), packed, limit }
    }

    fn has_room(&self, elements: usize, bytes: usize) -> bool {
        self.weight + bytes <= self.limit.bytes() && self.packed.len() + elements <= self.limit.elements()
    }

    fn insert(&mut self, index: usize, bytes: &[u8]) {
        let place = self.packed.seek(index);
        self.packed.insert(place, &Encoded::from(bytes));
        self.weight += weight(self.packed.at(place));
    }

    fn remove(&mut self, start: usize, count: usize) {
        let (from, to) = (self.packed.seek(start), self.packed.seek(start + count));
        self.weight -= self.packed.range(from, to).map(weight).sum::<usize>();
        self.packed.remove(from, count);
    }
}

impl ListValue {
    /// An empty list.
    pub fn new() -> ListValue {
        ListValue::within(&Limits::current())
    }

    /// An empty list whose buffers have these limits.
    pub fn within(limits: &Limits) -> ListValue {
        ListValue { form: Form::Short(Box::new(Short::new(limits.list_chunk, Packed::default()))) }
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Short(short) => short.packed.len(),
            Form::Long(chunks) => chunks.len(),
        }
    }

    /// No element left: the key is to go.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Becomes long when it is too short for so many elements and bytes more.
    fn make_room(&mut self, elements: usize, bytes: usize) {
        if let Form::Short(short) = &mut self.form
            && !short.has_room(elements, bytes)
        {
            self.form = Form::Long(Box::new(Chunks::new(short.limit, std::mem::take(&mut short.packed))));
        }
    }

    /// Becomes short when that leaves half of the buffer free, so that the form does not change back and forth.
    fn settle(&mut self) {
        let Form::Long(chunks) = &mut self.form else { return };
        let limit = chunks.limit();
        if chunks.len() == 0 {
            self.form = Form::Short(Box::new(Short::new(limit, Packed::default())));
        } else if let Some(only) = chunks.only_chunk()
            // An entry of a listpack takes at least one byte more than here, so most lists need not be weighed.
            && only.content() + only.len() <= limit.bytes() / 2
            && only.len() <= limit.elements() / 2
        {
            let short = Short::new(limit, only.clone());
            if short.weight <= limit.bytes() / 2 {
                self.form = Form::Short(Box::new(short));
            }
        }
    }

    /// Adds an element in front of all others.
    pub fn push_front(&mut self, bytes: &[u8]) {
        self.make_room(1, bytes.len());
        match &mut self.form {
            Form::Short(short) => short.insert(0, bytes),
            Form::Long(chunks) => chunks.push_front(&Encoded::from(bytes)),
        }
    }

    /// Adds an element behind all others.
    pub fn push_back(&mut self, bytes: &[u8]) {
        self.make_room(1, bytes.len());
        match &mut self.form {
            Form::Short(short) => short.insert(short.packed.len(), bytes),
            Form::Long(chunks) => chunks.push_back(&Encoded::from(bytes)),
        }
    }

    /// Adds an element in front of the one of this index, which may be the length.
    pub fn insert(&mut self, index: usize, bytes: &[u8]) {
        if index == self.len() {
            return self.push_back(bytes);
        }
        self.make_room(1, bytes.len());
        match &mut self.form {
            Form::Short(short) => short.insert(index, bytes),
            Form::Long(chunks) => chunks.insert(index, &Encoded::from(bytes)),
        }
    }

    /// Changes the element of this index, which must be below the length.
    pub fn set(&mut self, index: usize, bytes: &[u8]) {
        self.make_room(0, bytes.len());
        match &mut self.form {
            Form::Short(short) => {
                let place = short.packed.seek(index);
                short.weight -= weight(short.packed.at(place));
                short.packed.replace(place, &Encoded::from(bytes));
                short.weight += weight(short.packed.at(place));
            }
            Form::Long(chunks) => chunks.set(index, &Encoded::from(bytes)),
        }
        self.settle();
    }

    /// Takes out the first element.
    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        let first = self.get(0)?.to_vec();
        self.remove_range(0, 1);
        Some(first)
    }

    /// Takes out the last element.
    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        let index = self.len().checked_sub(1)?;
        let last = self.get(index)?.to_vec();
        self.remove_range(index, 1);
        Some(last)
    }

    /// Removes the element of this index, which must be below the length.
    pub fn remove(&mut self, index: usize) {
        self.remove_range(index, 1);
    }

    /// Removes `count` elements from an index on, which must all be there.
    pub fn remove_range(&mut self, start: usize, count: usize) {
        match &mut self.form {
            Form::Short(short) => short.remove(start, count),
            Form::Long(chunks) => chunks.remove(start, count),
        }
        self.settle();
    }

    /// The element of this index.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        match &self.form {
            Form::Short(short) => short.packed.get(index).map(Element::from),
            Form::Long(chunks) => chunks.get(index).map(Element::from),
        }
    }

    /// The elements of these indices, in order; in reverse order with `rev()`. The range must lie within the length.
    pub fn range(&self, indices: Range<usize>) -> Elements<'_> {
        match &self.form {
            Form::Short(short) => {
                let (start, end) = (short.packed.seek(indices.start), short.packed.seek(indices.end));
                Elements::of_one(short.packed.range(start, end))
            }
            Form::Long(chunks) => chunks.range(indices),
        }
    }

    /// The elements from an index on, which may be the length.
    pub fn iter_from(&self, index: usize) -> Elements<'_> {
        self.range(index..self.len())
    }

    /// All elements.
    pub fn iter(&self) -> Elements<'_> {
        self.iter_from(0)
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        match &self.form {
            Form::Short(short) => allocation(size_of::<Short>()) + short.packed.memory(),
            Form::Long(chunks) => chunks.memory(),
        }
    }

    /// What `OBJECT ENCODING` calls it.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Short(_) => "listpack",
            Form::Long(_) => "quicklist",
        }
    }
}

impl Default for ListValue {
    fn default() -> ListValue {
        ListValue::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::super::testing::random_element;
    use super::*;

    fn check(list: &ListValue, model: &VecDeque<Vec<u8>>) {
        assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
        assert!(list.iter().map(|element| element.to_vec()).eq(model.iter().cloned()));
        assert!(list.iter().rev().map(|element| element.to_vec()).eq(model.iter().rev().cloned()));
        assert_eq!(list.iter().len(), model.len());
        match &list.form {
            Form::Short(short) => assert_eq!(short.weight, Short::new(short.limit, short.packed.clone()).weight),
            Form::Long(chunks) => chunks.check(),
        }
    }

    fn step(
        list: &mut ListValue,
        model: &mut VecDeque<Vec<u8>>,
        random: &mut fastrand::Rng,
        largest: usize,
        grows: bool,
    ) {
        let element = random_element(random, largest);
        let index = random.usize(..=model.len());
        match random.u8(..if grows { 10 } else { 16 }) {
            0 | 1 => {
                list.push_front(&element);
                model.push_front(element);
            }
            2 | 3 => {
                list.push_back(&element);
                model.push_back(element);
            }
            4 | 5 => {
                list.insert(index, &element);
                model.insert(index, element);
            }
            6 if index < model.len() => {
                list.set(index, &element);
                model[index] = element;
            }
            7 | 10 => assert_eq!(list.pop_front(), model.pop_front()),
            8 | 11 => assert_eq!(list.pop_back(), model.pop_back()),
            9 | 12 if index < model.len() => {
                list.remove(index);
                model.remove(index);
            }
            13 if random.u8(..20) == 0 => {
                let count = random.usize(..=model.len() - index);
                list.remove_range(index, count);
                model.drain(index..index + count);
            }
            _ => {}
        }
        assert_eq!(list.get(index).map(|element| element.to_vec()), model.get(index).cloned());
        let (from, to) = (random.usize(..=model.len()), random.usize(..=model.len()));
        let range = from.min(to)..from.max(to).min(from.min(to) + 40);
        let expected: Vec<&Vec<u8>> = model.range(range.clone()).collect();
        assert!(list.range(range.clone()).map(|element| element.to_vec()).eq(expected.iter().copied().cloned()));
        assert!(list.range(range).rev().map(|element| element.to_vec()).eq(expected.into_iter().rev().cloned()));
    }

    #[test]
    fn behaves_like_a_deque() {
        let mut random = fastrand::Rng::with_seed(41);
        let mut encodings = [0; 2];
        for round in 0..24 {
            let size = [-1, 1, 5, 100][round % 4];
            let limits = Limits { list_chunk: ChunkLimit::new(size), ..Limits::DEFAULT };
            let (mut list, mut model) = (ListValue::within(&limits), VecDeque::new());
            let largest = [30, 300, 9_000][round % 3];
            for number in 0..1_600 {
                step(&mut list, &mut model, &mut random, largest, number / 400 % 2 == 0);
                encodings[usize::from(list.encoding() == "quicklist")] += 1;
                if number % 40 == 0 {
                    check(&list, &model);
                }
            }
            while !model.is_empty() {
                step(&mut list, &mut model, &mut random, largest, false);
                assert_eq!(list.pop_back(), model.pop_back());
                check(&list, &model);
                if random.u8(..60) == 0 {
                    break;
                }
            }
        }
        assert!(encodings.iter().all(|&times| times > 3_000), "{encodings:?}");
    }

    #[test]
    fn the_ends_of_a_long_list_have_room() {
        let mut random = fastrand::Rng::with_seed(43);
        for round in 0..4 {
            let (mut list, mut model) = (ListValue::new(), VecDeque::new());
            // Only at the front, only at the back, and at both ends.
            for number in 0..24_000 {
                let element = random_element(&mut random, 60);
                if round == 0 || round > 1 && random.bool() {
                    list.push_front(&element);
                    model.push_front(element);
                } else {
                    list.push_back(&element);
                    model.push_back(element);
                }
                if round == 3 && random.u8(..3) == 0 {
                    assert_eq!(list.pop_front(), model.pop_front());
                }
                if number % 2_000 == 0 {
                    check(&list, &model);
                }
            }
            let content: usize = model.iter().map(|element| element.len() + 1).sum();
            assert!(list.memory() < content + content / 8, "{} of {content}", list.memory());
            while let Some(element) = model.pop_front() {
                assert_eq!(list.pop_front(), Some(element));
                if model.len() % 2_000 == 0 {
                    check(&list, &model);
                }
            }
        }
    }

    #[test]
    fn is_called_as_in_redis() {
        // 7 bytes of a listpack, and 12 for each of these elements.
        let element = [b'x'; 10];
        let mut list = ListValue::new();
        let mut pushed = 0;
        while list.encoding() == "listpack" {
            list.push_back(&element);
            pushed += 1;
        }
        assert_eq!(pushed, (8_192 - 7 - 10) / 12 + 2);
        while list.encoding() == "quicklist" {
            list.pop_front();
        }
        assert_eq!(list.len(), (4_096 - 7) / 12);
        list.push_back(&[b'x'; 8_192]);
        assert_eq!(list.encoding(), "quicklist");
        list.set(list.len() - 1, b"x");
        assert_eq!(list.encoding(), "listpack");
    }

    #[test]
    fn a_long_list_costs_little_more_than_its_elements() {
        let mut list = ListValue::new();
        (0..100_000).for_each(|number: u32| list.push_back(format!("element {number:08}").as_bytes()));
        assert!(list.memory() < 100_000 * 18 * 102 / 100, "{}", list.memory());
        assert!(size_of::<ListValue>() <= 32);
    }
}
