//! A hash.
//!
//! Small: one packed buffer of pairs, in the order in which the fields came. Large: a table of fields. A hash whose
//! fields end by themselves has their deadlines besides; the others pay nothing for that. What time it is only the reader
//! knows: [`HashValue::at_time`] shows what clients see.

use std::ops::Range;

use super::deadlines::Deadlines;
use super::encoded::Encoded;
use super::packed::{Entries, Packed, Place};
use super::table::{Record, Table};
use super::{Element, HashView, Limits, allocation};
use crate::keyspace::Millis;

/// Fields with values. Iteration order is a function of the operations alone.
#[derive(Clone, Debug)]
pub struct HashValue(Parts);

/// Most hashes are small and have no deadlines: these take two words.
#[derive(Clone, Debug)]
enum Parts {
    Plain(Packed),
    Full(Box<Full>),
}

#[derive(Clone, Debug)]
struct Full {
    form: Form,
    /// There once a field has had a deadline.
    deadlines: Option<Deadlines>,
}

#[derive(Clone, Debug)]
enum Form {
    Small(Packed),
    Large(Table<Field>),
}

/// The form of a hash, wherever it lies.
enum FormRef<'a> {
    Small(&'a Packed),
    Large(&'a Table<Field>),
}

/// The same, for changes.
enum FormMut<'a> {
    Small(&'a mut Packed),
    Large(&'a mut Table<Field>),
}

/// A field and its value in one allocation: the field's length, the field, the value. The length is one byte, or
/// [`LONG_FIELD`] and four bytes.
#[derive(Clone, Debug)]
struct Field(Box<[u8]>);

const LONG_FIELD: u8 = u8::MAX;

impl Field {
    fn new(field: &[u8], value: &[u8]) -> Field {
        let mut bytes = Vec::with_capacity(5 + field.len() + value.len());
        match u8::try_from(field.len()) {
            Ok(length) if length != LONG_FIELD => bytes.push(length),
            _ => {
                let length = u32::try_from(field.len()).expect("an element is shorter than 4 GiB");
                bytes.push(LONG_FIELD);
                bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(value);
        Field(bytes.into_boxed_slice())
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        match *self.0 {
            [LONG_FIELD, a, b, c, d, ref rest @ ..] => rest.split_at(u32::from_le_bytes([a, b, c, d]) as usize),
            [length, ref rest @ ..] => rest.split_at(usize::from(length)),
            [] => unreachable!("a record begins with a length"),
        }
    }

    fn field(&self) -> &[u8] {
        self.parts().0
    }

    fn value(&self) -> &[u8] {
        self.parts().1
    }

    fn set_value(&mut self, value: &[u8]) {
        let (field, current) = self.parts();
        if current.len() == value.len() {
            let at = self.0.len() - value.len();
            self.0[at..].copy_from_slice(value);
        } else {
            *self = Field::new(field, value);
        }
    }
}

impl Record for Field {
    fn key(&self) -> Element<'_> {
        self.field().into()
    }

    fn memory(&self) -> usize {
        allocation(self.0.len())
    }

    fn first_byte(&self) -> u8 {
        self.0[0]
    }
}

fn find_pair(packed: &Packed, field: &[u8]) -> Option<Place> {
    packed.find::<2>(&Encoded::from(field))
}

fn find_field(table: &Table<Field>, field: &[u8]) -> Option<usize> {
    table.find(field, |other| *other.field() == *field)
}

impl Default for HashValue {
    fn default() -> HashValue {
        HashValue::new()
    }
}

impl HashValue {
    /// An empty hash.
    pub fn new() -> HashValue {
        HashValue(Parts::Plain(Packed::default()))
    }

    fn form(&self) -> FormRef<'_> {
        match &self.0 {
            Parts::Plain(packed) => FormRef::Small(packed),
            Parts::Full(full) => match &full.form {
                Form::Small(packed) => FormRef::Small(packed),
                Form::Large(table) => FormRef::Large(table),
            },
        }
    }

    fn parts_mut(&mut self) -> (FormMut<'_>, Option<&mut Deadlines>) {
        match &mut self.0 {
            Parts::Plain(packed) => (FormMut::Small(packed), None),
            Parts::Full(full) => match &mut full.form {
                Form::Small(packed) => (FormMut::Small(packed), full.deadlines.as_mut()),
                Form::Large(table) => (FormMut::Large(table), full.deadlines.as_mut()),
            },
        }
    }

    fn deadlines(&self) -> Option<&Deadlines> {
        if let Parts::Full(full) = &self.0 { full.deadlines.as_ref() } else { None }
    }

    /// All that a hash may have, with room for it.
    fn full(&mut self) -> &mut Full {
        if let Parts::Plain(packed) = &mut self.0 {
            let form = Form::Small(std::mem::take(packed));
            self.0 = Parts::Full(Box::new(Full { form, deadlines: None }));
        }
        match &mut self.0 {
            Parts::Full(full) => full,
            Parts::Plain(_) => unreachable!("it has just become full"),
        }
    }

    /// Where in the large form a key most likely is.
    pub fn candidate(&self, key: &[u8]) -> Option<usize> {
        if let FormRef::Large(table) = self.form() { table.candidate(key) } else { None }
    }

    /// The first byte of the element at a position that `candidate` named.
    pub fn first_byte(&self, position: usize) -> u8 {
        if let FormRef::Large(table) = self.form() { table.at(position).first_byte() } else { 0 }
    }

    /// How many fields.
    pub fn len(&self) -> usize {
        match self.form() {
            FormRef::Small(packed) => packed.len() / 2,
            FormRef::Large(table) => table.len(),
        }
    }

    /// No field left: the key is to go.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A field's value.
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        match self.form() {
            FormRef::Small(packed) => find_pair(packed, field).map(|place| packed.at(packed.next(place)).into()),
            FormRef::Large(table) => find_field(table, field).map(|position| table.at(position).value().into()),
        }
    }

    /// What clients see of it at this time.
    #[inline]
    pub fn at_time(&self, now: Millis) -> HashView<'_> {
        HashView::new(self, self.deadlines(), now)
    }

    /// When a field ends.
    pub fn deadline(&self, field: &[u8]) -> Option<Millis> {
        self.deadlines()?.of(self.position(field)?)
    }

    /// Changes when a field ends, if there is such a field.
    pub fn set_deadline(&mut self, field: &[u8], deadline: Option<Millis>) {
        if deadline.is_none() && self.deadlines().is_none() {
            return;
        }
        let Some(position) = self.position(field) else { return };
        let length = self.len();
        let Full { form, deadlines } = self.full();
        let deadlines = deadlines.get_or_insert_with(|| {
            let mut deadlines = Deadlines::default();
            if matches!(form, Form::Large(_)) {
                deadlines.put_in_order();
            }
            deadlines
        });
        deadlines.set(position, length, deadline);
    }

    /// When the first field ends.
    #[inline]
    pub fn earliest_deadline(&self) -> Option<Millis> {
        self.deadlines()?.earliest()
    }

    /// Have all fields ended? Then the key is to go.
    #[inline]
    pub fn is_over(&self, now: Millis) -> bool {
        self.deadlines().is_some_and(|deadlines| {
            deadlines.count() == self.len() && deadlines.latest().is_some_and(|latest| latest <= now)
        })
    }

    /// The fields that have ended.
    pub fn ended(&self, now: Millis) -> impl Iterator<Item = Element<'_>> {
        let positions = self.deadlines().into_iter().flat_map(move |deadlines| deadlines.ended(now));
        positions.filter_map(|position| self.at(position)).map(|(field, _)| field)
    }

    fn position(&self, field: &[u8]) -> Option<usize> {
        match self.form() {
            FormRef::Small(packed) => find_pair(packed, field).map(|place| place.index() / 2),
            FormRef::Large(table) => find_field(table, field),
        }
    }

    /// Sets a field, which keeps its deadline; true when it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.insert_within(&Limits::current(), field, value)
    }

    /// As [`HashValue::insert`], with other limits of the small form.
    pub fn insert_within(&mut self, limits: &Limits, field: &[u8], value: &[u8]) -> bool {
        let (form, deadlines) = self.parts_mut();
        if let FormMut::Small(packed) = form
            && field.len().max(value.len()) <= limits.hash_bytes
            && packed.is_safe_to_add(field.len() + value.len())
        {
            if let Some(place) = find_pair(packed, field) {
                packed.replace(packed.next(place), &Encoded::from(value));
                return false;
            }
            if packed.len() / 2 < limits.hash_fields {
                packed.push(&Encoded::from(field));
                packed.push(&Encoded::from(value));
                if let Some(deadlines) = deadlines {
                    deadlines.push();
                }
                return true;
            }
        }
        self.grow();
        let (FormMut::Large(table), deadlines) = self.parts_mut() else { unreachable!("it has just grown") };
        match find_field(table, field) {
            Some(position) => {
                table.update(position, |record| record.set_value(value));
                false
            }
            None => {
                table.push(Field::new(field, value));
                if let Some(deadlines) = deadlines {
                    deadlines.push();
                }
                true
            }
        }
    }

    /// Makes it large.
    fn grow(&mut self) {
        let Full { form, deadlines } = self.full();
        if let Form::Small(packed) = form {
            let mut table = Table::new();
            for (field, value) in Fields(Walk::Small(packed.iter())) {
                table.push(Field::new(&field, &value));
            }
            *form = Form::Large(table);
            if let Some(deadlines) = deadlines {
                deadlines.put_in_order();
            }
        }
    }

    /// Removes a field; true when it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let (form, deadlines) = self.parts_mut();
        let position = match form {
            FormMut::Small(packed) => {
                let Some(place) = find_pair(packed, field) else { return false };
                packed.remove(place, 2);
                place.index() / 2
            }
            FormMut::Large(table) => {
                let Some((position, _)) = table.take(field, |other| *other.field() == *field) else { return false };
                position
            }
        };
        if let Some(deadlines) = deadlines {
            deadlines.remove(position);
        }
        true
    }

    /// Does a scan take all fields at once? Otherwise it walks positions from the end towards 0 and misses nothing that
    /// stays: positions are stable but for removals, which move the last field into the gap.
    pub fn is_scanned_whole(&self) -> bool {
        matches!(self.form(), FormRef::Small(_))
    }

    /// The field at a position below the length: for random picks.
    pub fn at(&self, position: usize) -> Option<(Element<'_>, Element<'_>)> {
        match self.form() {
            FormRef::Small(packed) => {
                let field = packed.get(2 * position)?;
                Some((field.into(), packed.get(2 * position + 1)?.into()))
            }
            FormRef::Large(table) if position < table.len() => Some(pair(table, position)),
            FormRef::Large(_) => None,
        }
    }

    /// The fields at these positions, with their values. The range must lie within the length.
    pub fn range(&self, positions: Range<usize>) -> Fields<'_> {
        Fields(match self.form() {
            FormRef::Small(packed) => {
                Walk::Small(packed.range(packed.seek(2 * positions.start), packed.seek(2 * positions.end)))
            }
            FormRef::Large(table) => Walk::Large(positions, table),
        })
    }

    /// All fields with their values.
    pub fn iter(&self) -> Fields<'_> {
        self.range(0..self.len())
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        let fields = match self.form() {
            FormRef::Small(packed) => packed.memory(),
            FormRef::Large(table) => table.memory(),
        };
        let full = if matches!(self.0, Parts::Full(_)) { allocation(size_of::<Full>()) } else { 0 };
        full + fields + self.deadlines().map_or(0, Deadlines::memory)
    }

    /// What `OBJECT ENCODING` calls it.
    pub fn encoding(&self) -> &'static str {
        match self.form() {
            // As in Redis it stays that when no field has a deadline any more.
            FormRef::Small(_) if self.deadlines().is_some() => "listpackex",
            FormRef::Small(_) => "listpack",
            FormRef::Large(_) => "hashtable",
        }
    }
}

/// Fields with their values.
#[derive(Clone, Debug)]
pub struct Fields<'a>(Walk<'a>);

#[derive(Clone, Debug)]
enum Walk<'a> {
    Small(Entries<'a>),
    Large(Range<usize>, &'a Table<Field>),
}

fn pair(table: &Table<Field>, position: usize) -> (Element<'_>, Element<'_>) {
    let (field, value) = table.at(position).parts();
    (field.into(), value.into())
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Element<'a>, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Small(entries) => Some((entries.next()?.into(), entries.next()?.into())),
            Walk::Large(positions, table) => Some(pair(table, positions.next()?)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let length = match &self.0 {
            Walk::Small(entries) => entries.len() / 2,
            Walk::Large(positions, _) => positions.len(),
        };
        (length, Some(length))
    }
}

impl DoubleEndedIterator for Fields<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Small(entries) => {
                let value = entries.next_back()?.into();
                Some((entries.next_back()?.into(), value))
            }
            Walk::Large(positions, table) => Some(pair(table, positions.next_back()?)),
        }
    }
}

impl ExactSizeIterator for Fields<'_> {}

#[cfg(test)]
mod tests {
    use super::super::testing::random_element;
    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn owned(pair: (Element<'_>, Element<'_>)) -> (Vec<u8>, Vec<u8>) {
        (pair.0.to_vec(), pair.1.to_vec())
    }

    fn check(hash: &HashValue, model: &Pairs) {
        assert_eq!((hash.len(), hash.is_empty(), hash.iter().len()), (model.len(), model.is_empty(), model.len()));
        assert!(hash.iter().map(owned).eq(model.iter().cloned()));
        assert!(hash.iter().rev().map(owned).eq(model.iter().rev().cloned()));
        assert_eq!(hash.at(model.len()).map(owned), None);
    }

    #[test]
    fn behaves_like_a_vector_of_pairs() {
        let mut random = fastrand::Rng::with_seed(43);
        for round in 0..24 {
            let limits = Limits { hash_fields: [0, 7, 50, 128][round % 4], ..Limits::DEFAULT };
            let (mut hash, mut model) = (HashValue::new(), Pairs::new());
            for step in 0..2_500 {
                let largest = if step < 800 { 30 } else { 400 };
                let (field, value) = (random_element(&mut random, largest), random_element(&mut random, largest));
                let found = model.iter().position(|pair| pair.0 == field);
                let is_small = hash.is_scanned_whole();
                if random.u8(..3) == 0 {
                    assert_eq!(hash.remove(&field), found.is_some());
                    match found {
                        Some(at) if is_small => drop(model.remove(at)),
                        Some(at) => drop(model.swap_remove(at)),
                        None => {}
                    }
                } else {
                    assert_eq!(hash.insert_within(&limits, &field, &value), found.is_none());
                    let too_large = field.len().max(value.len()) > 64;
                    match found {
                        Some(at) => model[at].1.clone_from(&value),
                        None => model.push((field.clone(), value)),
                    }
                    let grows = too_large || found.is_none() && model.len() > limits.hash_fields;
                    assert_eq!(hash.is_scanned_whole(), is_small && !grows);
                }
                let expected = model.iter().find(|pair| pair.0 == field).map(|pair| &pair.1[..]);
                assert_eq!(hash.get(&field).as_deref(), expected);
                let (from, to) = (random.usize(..=model.len()), random.usize(..=model.len()));
                assert_eq!(hash.at(from).map(owned), model.get(from).cloned());
                let range = from.min(to)..from.max(to).min(from.min(to) + 20);
                assert!(hash.range(range.clone()).map(owned).eq(model[range].iter().cloned()));
                if step % 50 == 0 {
                    check(&hash, &model);
                }
            }
            assert_eq!(hash.encoding(), "hashtable");
            for (field, _) in std::mem::take(&mut model) {
                assert!(hash.remove(&field));
            }
            check(&hash, &model);
        }
    }

    #[test]
    fn fields_of_every_length_are_told_from_their_values() {
        let mut hash = HashValue::new();
        let lengths = [0, 1, 254, 255, 256, 70_000];
        for length in lengths {
            assert!(hash.insert(&vec![b'f'; length], &vec![b'v'; 300 + length]));
            assert!(!hash.insert(&vec![b'f'; length], &vec![b'w'; 300 + length]));
            assert!(!hash.insert(&vec![b'f'; length], &vec![b'x'; length]));
        }
        for length in lengths {
            assert_eq!(hash.get(&vec![b'f'; length]).as_deref(), Some(&vec![b'x'; length][..]));
        }
        assert!(size_of::<HashValue>() <= 32);
    }

    #[test]
    fn deadlines_stay_with_their_fields() {
        let mut random = fastrand::Rng::with_seed(29);
        for round in 0..24 {
            let limits = Limits { hash_fields: [0, 7, 128][round % 3], ..Limits::DEFAULT };
            let mut hash = HashValue::new();
            let mut model: Vec<(Vec<u8>, Vec<u8>, Option<Millis>)> = Vec::new();
            for step in 0..1_500 {
                let field = random.u8(..if step < 500 { 12 } else { 200 }).to_string().into_bytes();
                let found = model.iter().position(|other| other.0 == field);
                let is_small = hash.is_scanned_whole();
                match random.u8(..6) {
                    0 | 1 => {
                        let deadline = (random.u8(..3) > 0).then(|| random.u64(1..100));
                        hash.set_deadline(&field, deadline);
                        if let Some(at) = found {
                            model[at].2 = deadline;
                        }
                    }
                    2 => {
                        assert_eq!(hash.remove(&field), found.is_some());
                        match found {
                            Some(at) if is_small => drop(model.remove(at)),
                            Some(at) => drop(model.swap_remove(at)),
                            None => {}
                        }
                    }
                    _ => {
                        let value = step.to_string().into_bytes();
                        assert_eq!(hash.insert_within(&limits, &field, &value), found.is_none());
                        match found {
                            Some(at) => model[at].1 = value,
                            None => model.push((field.clone(), value, None)),
                        }
                    }
                }
                let expected = model.iter().find(|other| other.0 == field);
                assert_eq!(hash.deadline(&field), expected.and_then(|expected| expected.2));
                let now = random.u64(..120);
                let has_ended = |field: &(Vec<u8>, Vec<u8>, Option<Millis>)| field.2.is_some_and(|end| end <= now);
                let live: Vec<_> = model.iter().filter(|field| !has_ended(field)).cloned().collect();
                let view = hash.at_time(now);
                assert_eq!((view.len(), view.is_empty()), (live.len(), live.is_empty()));
                assert_eq!(hash.is_over(now), live.is_empty() && !model.is_empty());
                assert_eq!(hash.earliest_deadline(), model.iter().filter_map(|field| field.2).min());
                let visible = expected.filter(|expected| !has_ended(expected));
                assert_eq!(view.get(&field).as_deref(), visible.map(|visible| &visible.1[..]));
                assert_eq!(view.deadline(&field), visible.map(|visible| visible.2));
                let all = view.iter_with_deadlines().map(|(field, value, end)| (field.to_vec(), value.to_vec(), end));
                assert!(all.eq(live.iter().cloned()));
                let numbered = view.numbered();
                assert_eq!((numbered.len(), numbered.is_empty()), (live.len(), live.is_empty()));
                let number = random.usize(..=live.len());
                let picked = numbered.get(number).map(owned);
                assert_eq!(picked, live.get(number).map(|(field, value, _)| (field.clone(), value.clone())));
                let mut ended: Vec<_> = hash.ended(now).map(|field| field.to_vec()).collect();
                let mut gone: Vec<_> =
                    model.iter().filter(|field| has_ended(field)).map(|field| field.0.clone()).collect();
                ended.sort_unstable();
                gone.sort_unstable();
                assert_eq!(ended, gone);
            }
        }
    }

    #[test]
    fn a_hash_without_deadlines_pays_nothing_for_them() {
        let mut hash = HashValue::new();
        for number in 0..500 {
            hash.insert(number.to_string().as_bytes(), b"v");
            hash.set_deadline(number.to_string().as_bytes(), None);
        }
        let before = hash.memory();
        assert!(matches!(hash.0, Parts::Plain(_)));
        hash.set_deadline(b"7", Some(1));
        assert!(hash.memory() > before + 500 * size_of::<Millis>());
        hash.set_deadline(b"7", None);
        assert!(hash.memory() < before + 200);
    }
}
