//! How many entries a stream had added up to an id: known exactly where nothing was deleted that could matter, as in
//! Redis.

use super::{Group, StreamValue};
use crate::effects::StreamId;

impl StreamValue {
    /// Was an entry with this id or a higher one deleted, so that counting on from there says nothing?
    fn has_gap_from(&self, id: StreamId) -> bool {
        !self.is_empty() && self.max_deleted_id != StreamId::MIN && id <= self.max_deleted_id
    }

    /// How many entries were added up to an id, where that can be told.
    pub fn entries_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.is_empty() && id <= self.last_id || id == self.last_id {
            return Some(self.entries_added);
        }
        let first = self.first_id();
        if id > self.last_id || self.max_deleted_id != StreamId::MIN && self.max_deleted_id >= first {
            return None;
        }
        let before = self.entries_added.saturating_sub(self.len() as u64);
        match id.cmp(&first) {
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before.saturating_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }

    /// How many entries a group has read when it reads on from `read` entries to the entry `id`.
    pub fn entries_read_after(&self, read: Option<u64>, id: StreamId) -> Option<u64> {
        match read {
            Some(read) if !self.has_gap_from(id) => read.checked_add(1),
            _ if self.entries_added > 0 => self.entries_up_to(id),
            read => read,
        }
    }

    /// How many entries a group has yet to read, where that can be told.
    pub fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_gap_from(group.last_delivered) => read,
            _ => self.entries_up_to(group.last_delivered)?,
        };
        // Clients can say that more were read than were added.
        Some((self.entries_added as i64).wrapping_sub(read as i64))
    }
}
