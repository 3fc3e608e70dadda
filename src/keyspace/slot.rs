//! A key's place in its database, for what an action changes there as it would on a single node.

use foldhash::fast::FixedState;

use super::Millis;
use super::access::Access;
use super::database::Database;
use super::edit::Edit;
use super::entry::Entry;
use super::shard::Place;
use super::value::{Collection, Value};

/// See the module's text.
#[derive(Debug)]
pub struct KeySlot<'a> {
    pub database: &'a mut Database,
    pub hasher: &'a FixedState,
    pub place: &'a Place<'a>,
    /// Where the key's entry is.
    pub found: Option<usize>,
    pub now: Millis,
}

impl KeySlot<'_> {
    /// The key's entry.
    #[inline]
    pub fn entry(&self) -> Option<&Entry> {
        self.found.map(|at| self.database.at(at))
    }

    /// Replaces a string, or makes one, whatever the key held. True when the key is new.
    #[inline]
    pub fn set_string(self, value: &[u8], deadline: Option<Millis>) -> bool {
        match self.found {
            Some(at) => {
                self.database.update(at, |entry| entry.set_string(value, deadline));
                false
            }
            None => {
                let entry = Entry::string(self.place.key, value, deadline, Access::new(self.now));
                self.insert(entry)
            }
        }
    }

    /// Changes a part of a string, or makes one. `result` is the string after it, where the caller has computed it
    /// already. True when the key is new.
    #[inline]
    pub fn edit_text(self, edit: &Edit<&[u8]>, result: Option<&[u8]>) -> bool {
        match self.found {
            Some(at) => {
                self.database.update(at, |entry| match result {
                    Some(result) => entry.edit_text(|text| {
                        text.clear();
                        text.extend_from_slice(result);
                    }),
                    None => entry.apply_edit(edit),
                });
                false
            }
            None => {
                let mut text = None;
                edit.apply(&mut text);
                self.create(Value::text(text.expect("an edit makes a string")))
            }
        }
    }

    /// Changes a collection, or makes one. Passes on what `edit` says; true when the key is new.
    #[inline]
    pub fn edit<C: Collection>(self, edit: impl FnOnce(&mut C) -> bool) -> bool {
        match self.found {
            Some(at) => self.database.update(at, |entry| edit(collection_of(entry))),
            None => {
                let mut collection = C::empty();
                edit(&mut collection);
                self.create(collection.into_value())
            }
        }
    }

    /// Changes a collection in a way that neither makes nor removes elements. True when it is there.
    #[inline]
    pub fn edit_existing<C: Collection>(self, edit: impl FnOnce(&mut C)) -> bool {
        if let Some(at) = self.found {
            self.database.update(at, |entry| edit(collection_of(entry)));
        }
        self.found.is_some()
    }

    /// Takes something out of a collection; the last element takes the key with it. Passes on what `edit` says; false
    /// without such a key.
    #[inline]
    pub fn remove_from<C: Collection>(self, edit: impl FnOnce(&mut C) -> bool) -> bool {
        let Some(at) = self.found else { return false };
        let removed = self.database.update(at, |entry| edit(collection_of(entry)));
        if self.database.at(at).collection().is_some_and(Value::is_empty_collection) {
            self.database.remove(self.hasher, at);
        }
        removed
    }

    /// Removes the key. True when it was there.
    #[inline]
    pub fn remove(self) -> bool {
        if let Some(at) = self.found {
            self.database.remove(self.hasher, at);
        }
        self.found.is_some()
    }

    /// Changes until when the key lives. True when it is there.
    #[inline]
    pub fn set_deadline(self, deadline: Option<Millis>) -> bool {
        if let Some(at) = self.found {
            self.database.update(at, |entry| entry.set_deadline(deadline));
        }
        self.found.is_some()
    }

    fn create(self, value: Value) -> bool {
        let entry = Entry::new(self.place.key, value, None, Access::new(self.now));
        self.insert(entry)
    }

    fn insert(self, entry: Entry) -> bool {
        self.database.insert(self.hasher, self.place.hash, entry);
        true
    }
}

fn collection_of<C: Collection>(entry: &mut Entry) -> &mut C {
    entry.collection_mut().and_then(C::of_mut).unwrap_or_else(|| unreachable!("an action meets its own type"))
}
