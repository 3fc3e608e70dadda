//! Reads and writes of lists.

use super::{Key, Transaction};
use crate::effects::{Action, Elements, End, Prints, PrintsWriter, Ranges};
use crate::keyspace::{ListValue, WrongType};

impl Transaction<'_> {
    /// A list.
    pub fn list(&mut self, key: Key<'_>) -> Result<Option<&ListValue>, WrongType> {
        self.collection(key)
    }

    /// Pushes elements to an end, one after the other. Returns how many there are then.
    pub fn list_push(&mut self, key: Key<'_>, end: End, elements: Elements<'_>) -> Result<usize, WrongType> {
        let found = self.collection_at(key)?.map(|(at, list): (_, &ListValue)| (at, list.len()));
        self.prepare(key, found.is_some());
        let (at, length) = found.unzip();
        self.write_at(key, at, Action::ListPush { end, elements }, None);
        Ok(length.unwrap_or(0) + elements.len())
    }

    /// Inserts an element in front of the one at a position, which is at most the length. Nothing without a list.
    pub fn list_insert(&mut self, key: Key<'_>, position: usize, element: &[u8]) -> Result<(), WrongType> {
        if self.list(key)?.is_some_and(|list| position <= list.len()) {
            self.write(key, Action::ListInsert { position: position as u64, element }, None);
        }
        Ok(())
    }

    /// Sets the element at a position counted from an end. False when there is none.
    pub fn list_set(&mut self, key: Key<'_>, from: End, position: usize, element: &[u8]) -> Result<bool, WrongType> {
        let there = self.list(key)?.is_some_and(|list| position < list.len());
        if there {
            self.write(key, Action::ListSet { from, position: position as u64, element }, None);
        }
        Ok(there)
    }

    /// Removes the elements at positions counted from an end, which must be there. A list without elements goes.
    pub fn list_remove(&mut self, key: Key<'_>, from: End, ranges: Ranges<'_>) -> Result<(), WrongType> {
        let (is_noted, positions) = (self.makes_effects(), ranges.positions());
        let Some(list) = self.list(key)? else { return Ok(()) };
        if positions >= list.len() as u64 {
            self.write(key, Action::Remove, None);
            return Ok(());
        }
        let mut looks = PrintsWriter::default();
        if is_noted && positions <= Prints::MOST {
            for position in ranges.iter().flatten() {
                let distance = position as usize;
                let at = if from == End::Left { distance } else { list.len() - 1 - distance };
                looks.push(Prints::of(&list.get(at).expect("it is there")));
            }
        }
        self.write(key, Action::ListRemove { from, ranges, prints: looks.prints(), whole: false }, None);
        Ok(())
    }
}
