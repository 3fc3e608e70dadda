//! Reads and writes of strings.

use super::{Key, Life, Transaction, WriteError};
use crate::effects::Action;
use crate::keyspace::long_double::FloatError;
use crate::keyspace::{WrongType, integer, long_double};

impl Transaction<'_> {
    /// A string's bytes.
    pub fn string(&mut self, key: Key<'_>) -> Result<Option<&[u8]>, WrongType> {
        match self.used(key) {
            None => Ok(None),
            Some(entry) => entry.text().map(Some).ok_or(WrongType),
        }
    }

    /// Sets a string, whatever the key held before.
    pub fn string_set(&mut self, key: Key<'_>, value: &[u8], life: Life) {
        let deadline = match life {
            Life::Forever => None,
            Life::Until(deadline) => Some(deadline),
            Life::Keep => self.deadline(key).flatten(),
        };
        self.write(key, Action::StringSet { value, deadline }, None);
    }

    /// Adds to an integer; an absent key counts as 0.
    pub fn string_add(&mut self, key: Key<'_>, increment: i64) -> Result<i64, WriteError> {
        let current = match self.string(key)? {
            Some(text) => Some(integer::parse(text).ok_or(WriteError::NotAnInteger)?),
            None => None,
        };
        let sum = current.unwrap_or(0).checked_add(increment).ok_or(WriteError::Overflow)?;
        self.prepare(key, current.is_some());
        let mut digits = itoa::Buffer::new();
        self.write(key, Action::StringAdd { increment }, Some(digits.format(sum).as_bytes()));
        Ok(sum)
    }

    /// Adds to a number; an absent key counts as 0. Returns the new text.
    pub fn string_add_float(&mut self, key: Key<'_>, increment: &[u8]) -> Result<Vec<u8>, WriteError> {
        let current = self.string(key)?;
        let is_live = current.is_some();
        let sum = long_double::add(current.unwrap_or(b"0"), increment).map_err(|error| match error {
            FloatError::CurrentNotAFloat | FloatError::IncrementNotAFloat => WriteError::NotAFloat,
            FloatError::NotFinite => WriteError::NotFinite,
        })?;
        self.prepare(key, is_live);
        self.write(key, Action::StringAddFloat { increment }, Some(&sum));
        Ok(sum)
    }

    /// Appends to a string. Returns the new length. The caller has checked the size limit.
    pub fn string_append(&mut self, key: Key<'_>, bytes: &[u8]) -> Result<usize, WrongType> {
        let length = self.string(key)?.map(<[u8]>::len);
        self.prepare(key, length.is_some());
        let length = length.unwrap_or(0) + bytes.len();
        self.write(key, Action::StringAppend { bytes }, None);
        Ok(length)
    }

    /// Overwrites part of a string, padding with zero bytes. Returns the new length. The caller has checked the size
    /// limit, and that `bytes` is not empty.
    pub fn string_set_range(&mut self, key: Key<'_>, offset: usize, bytes: &[u8]) -> Result<usize, WrongType> {
        let length = self.string(key)?.map(<[u8]>::len);
        self.prepare(key, length.is_some());
        let length = length.unwrap_or(0).max(offset + bytes.len());
        self.write(key, Action::StringSetRange { offset: offset as u64, bytes }, None);
        Ok(length)
    }
}
