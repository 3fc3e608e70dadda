//! A hash: fields and values in insertion order.

use indexmap::IndexMap;

use super::{ElementHasher, KEEP_ORDER_UP_TO, Limits};

/// Fields with values. Iteration order is a function of the operations alone.
#[derive(Clone, Debug)]
pub struct HashValue {
    fields: IndexMap<Box<[u8]>, Box<[u8]>, ElementHasher>,
    payload: usize,
}

impl HashValue {
    /// An empty hash.
    pub fn new(hasher: ElementHasher) -> Self {
        HashValue { fields: IndexMap::with_hasher(hasher), payload: 0 }
    }

    /// How many fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// No field left: the key is to go.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A field's value.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.fields.get(field).map(|value| &**value)
    }

    /// Sets a field; true when it is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        match self.fields.get_mut(field) {
            Some(current) => {
                self.payload = self.payload - current.len() + value.len();
                if current.len() == value.len() {
                    current.copy_from_slice(value);
                } else {
                    *current = value.into();
                }
                false
            }
            None => {
                self.payload += field.len() + value.len();
                self.fields.insert(field.into(), value.into());
                true
            }
        }
    }

    /// Removes a field; true when it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let removed = if self.fields.len() <= KEEP_ORDER_UP_TO {
            self.fields.shift_remove_entry(field)
        } else {
            self.fields.swap_remove_entry(field)
        };
        if let Some((field, value)) = &removed {
            self.payload -= field.len() + value.len();
        }
        removed.is_some()
    }

    /// The field at a position below `len()`. Positions are stable but for removals, which move the last field
    /// into the gap: a scan from the end towards 0 therefore misses nothing that stays.
    pub fn at(&self, position: usize) -> Option<(&[u8], &[u8])> {
        self.fields.get_index(position).map(|(field, value)| (&**field, &**value))
    }

    /// All fields with their values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(field, value)| (&**field, &**value))
    }

    /// The name that Redis has for a hash like this.
    pub fn encoding(&self) -> &'static str {
        let limits = Limits::DEFAULT;
        let fits = |element: &[u8]| element.len() <= limits.hash_bytes;
        let small = self.len() <= limits.hash_fields && self.iter().all(|(field, value)| fits(field) && fits(value));
        if small { "listpack" } else { "hashtable" }
    }

    /// Bytes of memory, about: payload, allocation overhead and table.
    pub fn memory(&self) -> usize {
        self.payload + self.fields.len() * 32 + self.fields.capacity() * 58
    }
}
