//! Reads and writes of hashes.

use super::{Key, Transaction, WriteError};
use crate::effects::Action;
use crate::keyspace::long_double::FloatError;
use crate::keyspace::{HashValue, WrongType, integer, long_double};

impl Transaction<'_> {
    /// A hash.
    pub fn hash(&mut self, key: Key<'_>) -> Result<Option<&HashValue>, WrongType> {
        self.collection(key)
    }

    /// Sets a field of a hash. True when it is new.
    pub fn hash_set(&mut self, key: Key<'_>, field: &[u8], value: &[u8]) -> Result<bool, WrongType> {
        let is_new = self.hash(key)?.is_none_or(|hash| hash.get(field).is_none());
        self.prepare(key);
        self.write(key, Action::FieldSet { field, value }, None);
        Ok(is_new)
    }

    /// Adds to an integer field; an absent one counts as 0.
    pub fn hash_add(&mut self, key: Key<'_>, field: &[u8], increment: i64) -> Result<i64, WriteError> {
        let current = match self.hash(key)?.and_then(|hash| hash.get(field)) {
            Some(text) => integer::parse(&text).ok_or(WriteError::HashValueNotAnInteger)?,
            None => 0,
        };
        let sum = current.checked_add(increment).ok_or(WriteError::Overflow)?;
        self.prepare(key);
        let mut digits = itoa::Buffer::new();
        self.write(key, Action::FieldAdd { field, increment }, Some(digits.format(sum).as_bytes()));
        Ok(sum)
    }

    /// Adds to a number field; an absent one counts as 0. Returns the new text.
    pub fn hash_add_float(&mut self, key: Key<'_>, field: &[u8], increment: &[u8]) -> Result<Vec<u8>, WriteError> {
        let current = self.hash(key)?.and_then(|hash| hash.get(field));
        let sum = long_double::add(current.as_deref().unwrap_or(b"0"), increment).map_err(|error| match error {
            FloatError::CurrentNotAFloat => WriteError::HashValueNotAFloat,
            FloatError::IncrementNotAFloat => WriteError::NotAFloat,
            FloatError::NotFinite => WriteError::NotFinite,
        })?;
        self.prepare(key);
        self.write(key, Action::FieldAddFloat { field, increment }, Some(&sum));
        Ok(sum)
    }

    /// Removes a field. True when it was there. A hash without fields goes.
    pub fn hash_remove(&mut self, key: Key<'_>, field: &[u8]) -> Result<bool, WrongType> {
        let Some(hash) = self.hash(key)? else { return Ok(false) };
        let (there, last) = (hash.get(field).is_some(), hash.len() == 1);
        if there {
            // The last element takes the key with it, and with the key its TTL.
            self.write(key, if last { Action::Remove } else { Action::FieldRemove { field } }, None);
        }
        Ok(there)
    }
}
