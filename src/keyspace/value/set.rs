//! A set.
//!
//! Small: sorted integers, as long as all members are such; else one packed buffer, in the order in which the members
//! came. Large: a table of members.

use std::ops::Range;

use super::compact::{Compact, Wanted};
use super::encoded::Encoded;
use super::integers::Integers;
use super::packed::{Entries, Packed};
use super::table::{Record, Table};
use super::{Element, Limits, allocation};
use crate::keyspace::integer;

/// Distinct members. Iteration order is a function of the operations alone.
#[derive(Clone, Debug)]
pub struct SetValue {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Integers(Box<Integers>),
    Small(Box<Packed>),
    Large(Box<Table<Compact>>),
}

impl Record for Compact {
    fn key(&self) -> Element<'_> {
        self.element()
    }

    fn memory(&self) -> usize {
        Compact::memory(self)
    }

    fn first_byte(&self) -> u8 {
        Compact::first_byte(self)
    }
}

fn find_member(table: &Table<Compact>, member: &[u8]) -> Option<usize> {
    let wanted = Wanted::from(member);
    table.find(member, |other| other.is(&wanted))
}

impl Default for SetValue {
    fn default() -> SetValue {
        SetValue::new()
    }
}

impl SetValue {
    /// An empty set.
    pub fn new() -> SetValue {
        SetValue { form: Form::Integers(Box::new(Integers::new())) }
    }

    /// Where in the large form a key most likely is.
    pub fn candidate(&self, key: &[u8]) -> Option<usize> {
        if let Form::Large(table) = &self.form { table.candidate(key) } else { None }
    }

    /// The first byte of the element at a position that `candidate` named.
    pub fn first_byte(&self, position: usize) -> u8 {
        if let Form::Large(table) = &self.form { table.at(position).first_byte() } else { 0 }
    }

    /// Reads what the removal of the member at a position of the large form will read.
    pub fn warm_removal(&self, position: usize) -> usize {
        if let Form::Large(table) = &self.form { table.warm_removal(position) } else { 0 }
    }

    /// How many members.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => integers.len(),
            Form::Small(packed) => packed.len(),
            Form::Large(table) => table.len(),
        }
    }

    /// No member left: the key is to go.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Is it a member?
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.form {
            Form::Integers(integers) => integer::parse(member).is_some_and(|number| integers.contains(number)),
            Form::Small(packed) => packed.find::<1>(&Encoded::from(member)).is_some(),
            Form::Large(table) => find_member(table, member).is_some(),
        }
    }

    /// Adds a member; true when it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        self.insert_within(&Limits::current(), member)
    }

    /// As [`SetValue::insert`], with other limits of the small forms.
    pub fn insert_within(&mut self, limits: &Limits, member: &[u8]) -> bool {
        if let Form::Integers(integers) = &mut self.form {
            let number = integer::parse(member);
            if number.is_some_and(|number| integers.contains(number)) {
                return false;
            }
            match number {
                Some(number) if integers.len() < limits.set_integers => return integers.insert(number),
                // Too many integers are too many for a packed buffer, too, except for a set that has none yet.
                Some(_) if integers.len() > 0 => drop(self.grow()),
                _ => self.pack(limits, member.len()),
            }
        }
        if let Form::Small(packed) = &mut self.form {
            let entry = Encoded::from(member);
            if packed.find::<1>(&entry).is_some() {
                return false;
            }
            if packed.len() < limits.set_members
                && member.len() <= limits.set_bytes
                && packed.is_safe_to_add(member.len())
            {
                packed.push(&entry);
                return true;
            }
        }
        let table = self.grow();
        let is_new = find_member(table, member).is_none();
        if is_new {
            table.push(Compact::from(Wanted::from(member)));
        }
        is_new
    }

    /// Integers become a packed buffer, if it may have them and a further member of so many bytes.
    fn pack(&mut self, limits: &Limits, bytes: usize) {
        let longest = self.iter().map(|member| member.len()).fold(bytes, usize::max);
        if self.len() < limits.set_members && longest <= limits.set_bytes {
            let mut packed = Packed::default();
            self.iter().for_each(|member| packed.push(&Encoded::from(&*member)));
            self.form = Form::Small(Box::new(packed));
        }
    }

    /// The large form.
    fn grow(&mut self) -> &mut Table<Compact> {
        if !matches!(self.form, Form::Large(_)) {
            let mut table = Table::new();
            self.iter().for_each(|member| table.push(Compact::from(Wanted::from(&*member))));
            self.form = Form::Large(Box::new(table));
        }
        match &mut self.form {
            Form::Large(table) => table,
            _ => unreachable!("it has just grown"),
        }
    }

    /// Removes a member; true when it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.form {
            Form::Integers(integers) => integer::parse(member).is_some_and(|number| integers.remove(number)),
            Form::Small(packed) => {
                let Some(place) = packed.find::<1>(&Encoded::from(member)) else { return false };
                packed.remove(place, 1);
                true
            }
            Form::Large(table) => {
                let wanted = Wanted::from(member);
                table.take(member, |other| other.is(&wanted)).is_some()
            }
        }
    }

    /// Does a scan take all members at once? Otherwise it walks positions from the end towards 0 and misses nothing
    /// that stays: positions are stable but for removals, which move the last member into the gap.
    pub fn is_scanned_whole(&self) -> bool {
        !matches!(self.form, Form::Large(_))
    }

    /// The member at a position below the length: for random picks.
    pub fn at(&self, position: usize) -> Option<Element<'_>> {
        if position >= self.len() {
            return None;
        }
        match &self.form {
            Form::Integers(integers) => Some(integers.at(position).into()),
            Form::Small(packed) => packed.get(position).map(Element::from),
            Form::Large(table) => Some(table.at(position).element()),
        }
    }

    /// The members at these positions. The range must lie within the length.
    pub fn range(&self, positions: Range<usize>) -> Members<'_> {
        Members(match &self.form {
            Form::Integers(integers) => Walk::Integers(positions, integers),
            Form::Small(packed) => Walk::Small(packed.range(packed.seek(positions.start), packed.seek(positions.end))),
            Form::Large(table) => Walk::Large(positions, table),
        })
    }

    /// All members.
    pub fn iter(&self) -> Members<'_> {
        self.range(0..self.len())
    }

    /// Bytes of memory, about.
    pub fn memory(&self) -> usize {
        match &self.form {
            Form::Integers(integers) => allocation(size_of::<Integers>()) + integers.memory(),
            Form::Small(packed) => allocation(size_of::<Packed>()) + packed.memory(),
            Form::Large(table) => allocation(size_of::<Table<Compact>>()) + table.memory(),
        }
    }

    /// What `OBJECT ENCODING` calls it.
    pub fn encoding(&self) -> &'static str {
        match &self.form {
            Form::Integers(_) => "intset",
            Form::Small(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }
}

/// Members.
#[derive(Clone, Debug)]
pub struct Members<'a>(Walk<'a>);

#[derive(Clone, Debug)]
enum Walk<'a> {
    Integers(Range<usize>, &'a Integers),
    Small(Entries<'a>),
    Large(Range<usize>, &'a Table<Compact>),
}

impl<'a> Iterator for Members<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        match &mut self.0 {
            Walk::Integers(positions, integers) => Some(integers.at(positions.next()?).into()),
            Walk::Small(entries) => entries.next().map(Element::from),
            Walk::Large(positions, table) => Some(table.at(positions.next()?).element()),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.0 {
            Walk::Integers(positions, _) | Walk::Large(positions, _) => positions.size_hint(),
            Walk::Small(entries) => entries.size_hint(),
        }
    }
}

impl DoubleEndedIterator for Members<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Integers(positions, integers) => Some(integers.at(positions.next_back()?).into()),
            Walk::Small(entries) => entries.next_back().map(Element::from),
            Walk::Large(positions, table) => Some(table.at(positions.next_back()?).element()),
        }
    }
}

impl ExactSizeIterator for Members<'_> {}

#[cfg(test)]
mod tests {
    use super::super::testing::random_element;
    use super::*;

    fn check(set: &SetValue, model: &[Vec<u8>]) {
        assert_eq!((set.len(), set.is_empty(), set.iter().len()), (model.len(), model.is_empty(), model.len()));
        assert!(set.iter().map(|member| member.to_vec()).eq(model.iter().cloned()));
        assert!(set.iter().rev().map(|member| member.to_vec()).eq(model.iter().rev().cloned()));
    }

    /// The order in which the members of `model` have to come.
    fn settle(set: &SetValue, model: &mut [Vec<u8>]) {
        if set.encoding() == "intset" {
            model.sort_by_key(|member| integer::parse(member).expect("an integer"));
        }
    }

    #[test]
    fn behaves_like_a_vector() {
        let mut random = fastrand::Rng::with_seed(53);
        let mut encodings = [0; 3];
        for round in 0..36 {
            let limits = Limits {
                set_integers: [0, 20, 512][round % 3],
                set_members: [0, 10, 60, 128][round % 4],
                ..Limits::DEFAULT
            };
            let (mut set, mut model) = (SetValue::new(), Vec::new());
            for step in 0..2_000 {
                let member = match step {
                    0..600 => random.i64(-200..200).to_string().into_bytes(),
                    600..1_200 => random_element(&mut random, 30),
                    _ => random_element(&mut random, 400),
                };
                let (found, encoding) = (model.iter().position(|other| *other == member), set.encoding());
                if random.u8(..5) < 2 {
                    assert_eq!(set.remove(&member), found.is_some());
                    match found {
                        Some(at) if encoding == "hashtable" => drop(model.swap_remove(at)),
                        Some(at) => drop(model.remove(at)),
                        None => {}
                    }
                    assert_eq!(set.encoding(), encoding);
                } else {
                    let is_new = found.is_none();
                    assert_eq!(set.insert_within(&limits, &member), is_new);
                    let (was_empty, length) = (model.is_empty(), model.len() + usize::from(is_new));
                    let is_integer = integer::parse(&member).is_some();
                    let can_pack = length <= limits.set_members && member.len() <= 64;
                    let expected = match encoding {
                        _ if !is_new => encoding,
                        "intset" if is_integer && length <= limits.set_integers => "intset",
                        "intset" if is_integer && !was_empty => "hashtable",
                        "intset" | "listpack" if can_pack => "listpack",
                        _ => "hashtable",
                    };
                    assert_eq!(set.encoding(), expected);
                    if is_new {
                        model.push(member.clone());
                    }
                }
                settle(&set, &mut model);
                let forms = ["intset", "listpack", "hashtable"];
                encodings[forms.iter().position(|form| *form == set.encoding()).expect("one of three")] += 1;
                assert_eq!(set.contains(&member), model.contains(&member));
                let (from, to) = (random.usize(..=model.len()), random.usize(..=model.len()));
                assert_eq!(set.at(from).map(|member| member.to_vec()), model.get(from).cloned());
                let range = from.min(to)..from.max(to).min(from.min(to) + 20);
                assert!(set.range(range.clone()).map(|member| member.to_vec()).eq(model[range].iter().cloned()));
                if step % 50 == 0 {
                    check(&set, &model);
                }
            }
            for member in std::mem::take(&mut model) {
                assert!(set.remove(&member));
            }
            check(&set, &model);
        }
        assert!(encodings.iter().all(|&times| times > 1_000), "{encodings:?}");
        assert!(size_of::<SetValue>() <= 32);
    }
}
