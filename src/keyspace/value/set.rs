//! A set: members in insertion order.

use indexmap::IndexSet;

use super::{ElementHasher, KEEP_ORDER_UP_TO, Limits};
use crate::keyspace::integer;

/// Distinct members. Iteration order is a function of the operations alone.
#[derive(Clone, Debug)]
pub struct SetValue {
    members: IndexSet<Box<[u8]>, ElementHasher>,
    payload: usize,
}

impl SetValue {
    /// An empty set.
    pub fn new(hasher: ElementHasher) -> Self {
        SetValue { members: IndexSet::with_hasher(hasher), payload: 0 }
    }

    /// How many members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// No member left: the key is to go.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Is it a member?
    pub fn contains(&self, member: &[u8]) -> bool {
        self.members.contains(member)
    }

    /// Adds a member; true when it is new.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        if self.members.contains(member) {
            return false;
        }
        self.payload += member.len();
        self.members.insert(member.into())
    }

    /// Removes a member; true when it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        let removed = if self.members.len() <= KEEP_ORDER_UP_TO {
            self.members.shift_take(member)
        } else {
            self.members.swap_take(member)
        };
        if let Some(member) = &removed {
            self.payload -= member.len();
        }
        removed.is_some()
    }

    /// The member at a position below `len()`: for random picks, and for scans from the end towards 0.
    pub fn at(&self, position: usize) -> Option<&[u8]> {
        self.members.get_index(position).map(|member| &**member)
    }

    /// All members.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.members.iter().map(|member| &**member)
    }

    /// The name that Redis has for a set like this.
    pub fn encoding(&self) -> &'static str {
        let limits = Limits::DEFAULT;
        if self.len() <= limits.set_integers && self.iter().all(|member| integer::parse(member).is_some()) {
            return "intset";
        }
        let small = self.len() <= limits.set_members && self.iter().all(|member| member.len() <= limits.set_bytes);
        if small { "listpack" } else { "hashtable" }
    }

    /// Bytes of memory, about: payload, allocation overhead and table.
    pub fn memory(&self) -> usize {
        self.payload + self.members.len() * 16 + self.members.capacity() * 42
    }
}
