//! Reads and writes of sets.

use super::{Key, Transaction};
use crate::effects::Action;
use crate::keyspace::{SetValue, WrongType};

impl Transaction<'_> {
    /// A set.
    pub fn set(&mut self, key: Key<'_>) -> Result<Option<&SetValue>, WrongType> {
        self.collection(key)
    }

    /// Adds a member to a set. True when it is new. In a cluster also a member that is there is added again: that is
    /// what lets it survive a concurrent removal.
    pub fn set_add(&mut self, key: Key<'_>, member: &[u8]) -> Result<bool, WrongType> {
        let found = self.collection_at(key)?.map(|(at, set): (_, &SetValue)| (at, !set.contains(member)));
        let (at, is_new) = found.unzip();
        let is_new = is_new.unwrap_or(true);
        if is_new || self.keyspace.origin.is_some() {
            self.prepare(key, at.is_some());
            self.write_at(key, at, Action::MemberAdd { member }, None);
        }
        Ok(is_new)
    }

    /// Removes a member. True when it was there. A set without members goes.
    pub fn set_remove(&mut self, key: Key<'_>, member: &[u8]) -> Result<bool, WrongType> {
        let Some((at, set)) = self.collection_at::<SetValue>(key)? else { return Ok(false) };
        let (there, last) = (set.contains(member), set.len() == 1);
        if there {
            self.write_at(key, Some(at), if last { Action::Remove } else { Action::MemberRemove { member } }, None);
        }
        Ok(there)
    }
}
