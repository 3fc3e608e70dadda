//! Reads and writes of hashes.

use super::{Key, Life, Transaction, WriteError};
use crate::effects::Action;
use crate::keyspace::entry::Entry;
use crate::keyspace::long_double::FloatError;
use crate::keyspace::value::Collection;
use crate::keyspace::{EventClasses, HashValue, HashView, Millis, WrongType, integer, long_double};

impl Transaction<'_> {
    /// A hash, without the fields whose time is over.
    pub fn hash(&mut self, key: Key<'_>) -> Result<Option<HashView<'_>>, WrongType> {
        let now = self.now;
        Ok(self.collection(key)?.map(|hash: &HashValue| hash.at_time(now)))
    }

    /// Sets a field of a hash, which lives for ever. True when it is new.
    pub fn hash_set(&mut self, key: Key<'_>, field: &[u8], value: &[u8]) -> Result<bool, WrongType> {
        self.hash_set_with_life(key, field, value, Life::Forever)
    }

    /// Sets a field of a hash, which lives so long. True when it is new.
    pub fn hash_set_with_life(
        &mut self,
        key: Key<'_>,
        field: &[u8],
        value: &[u8],
        life: Life,
    ) -> Result<bool, WrongType> {
        let now = self.now;
        let found = self.collection_at(key)?.map(|(at, hash): (_, &HashValue)| (at, hash.at_time(now)));
        let (at, hash) = found.unzip();
        let is_new = hash.is_none_or(|hash| hash.get(field).is_none());
        let deadline = match life {
            Life::Forever => None,
            Life::Until(deadline) => Some(deadline),
            Life::Keep => hash.and_then(|hash| hash.deadline(field)).flatten(),
        };
        self.prepare(key, at.is_some());
        self.write_at(key, at, Action::FieldSet { field, value, deadline }, None);
        Ok(is_new)
    }

    /// Adds to an integer field; an absent one counts as 0.
    pub fn hash_add(&mut self, key: Key<'_>, field: &[u8], increment: i64) -> Result<i64, WriteError> {
        let current = match self.hash(key)?.and_then(|hash| hash.get(field)) {
            Some(text) => Some(integer::parse(&text).ok_or(WriteError::HashValueNotAnInteger)?),
            None => None,
        };
        let sum = current.unwrap_or(0).checked_add(increment).ok_or(WriteError::Overflow)?;
        self.prepare_field(key, field, current.is_none());
        let mut digits = itoa::Buffer::new();
        self.write(key, Action::FieldAdd { field, increment }, Some(digits.format(sum).as_bytes()));
        Ok(sum)
    }

    /// Adds to a number field; an absent one counts as 0. Returns the new text.
    pub fn hash_add_float(&mut self, key: Key<'_>, field: &[u8], increment: &[u8]) -> Result<Vec<u8>, WriteError> {
        let current = self.hash(key)?.and_then(|hash| hash.get(field));
        let is_new = current.is_none();
        let sum = long_double::add(current.as_deref().unwrap_or(b"0"), increment).map_err(|error| match error {
            FloatError::CurrentNotAFloat => WriteError::HashValueNotAFloat,
            FloatError::IncrementNotAFloat => WriteError::NotAFloat,
            FloatError::NotFinite => WriteError::NotFinite,
        })?;
        self.prepare_field(key, field, is_new);
        self.write(key, Action::FieldAddFloat { field, increment }, Some(&sum));
        Ok(sum)
    }

    /// Before an addition to a field: what is over goes first. In a cluster a write that makes a new field says so by
    /// removing whatever concurrent changes may have left of its former life, as `prepare` does for keys.
    fn prepare_field(&mut self, key: Key<'_>, field: &[u8], is_new: bool) {
        let is_live = self.live(key).is_some();
        self.prepare(key, is_live);
        let hash = self.shard(key).entry(&self.place(key)).and_then(Entry::collection).and_then(HashValue::of);
        let Some(hash) = hash.filter(|_| is_new) else { return };
        let has_ended = hash.get(field).is_some();
        if has_ended || self.makes_effects() {
            if has_ended {
                self.announce(EventClasses::HASH, "hexpired", key);
            }
            self.write(key, Action::FieldRemove { field }, None);
        }
    }

    /// Removes a field. True when it was there. A hash without fields goes.
    pub fn hash_remove(&mut self, key: Key<'_>, field: &[u8]) -> Result<bool, WrongType> {
        let Some(hash) = self.hash(key)? else { return Ok(false) };
        let there = hash.get(field).is_some();
        if there {
            // The last element takes the key with it, and with the key its TTL.
            let last = hash.len() == 1;
            self.write(key, if last { Action::Remove } else { Action::FieldRemove { field } }, None);
        }
        Ok(there)
    }

    /// Changes until when a field lives; `None`: for ever. False without such a field.
    pub fn hash_set_deadline(
        &mut self,
        key: Key<'_>,
        field: &[u8],
        deadline: Option<Millis>,
    ) -> Result<bool, WrongType> {
        let there = self.hash(key)?.is_some_and(|hash| hash.get(field).is_some());
        if there {
            self.write(key, Action::FieldDeadline { field, at: deadline }, None);
        }
        Ok(there)
    }

    /// Removes up to `limit` fields of a hash that had ended at a time which is not after now. Returns how many went.
    pub(in crate::keyspace) fn hash_expire(&mut self, key: Key<'_>, at: Millis, limit: usize) -> usize {
        let hash = self.live(key).and_then(Entry::collection).and_then(HashValue::of);
        let ended: Vec<Box<[u8]>> =
            hash.into_iter().flat_map(|hash| hash.ended(at)).take(limit).map(Into::into).collect();
        for field in &ended {
            self.write(key, Action::FieldRemove { field }, None);
        }
        if !ended.is_empty() {
            self.announce_taken(EventClasses::HASH, "hexpired", key);
        }
        ended.len()
    }
}
