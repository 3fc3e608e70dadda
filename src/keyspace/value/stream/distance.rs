//! How many entries a stream had added up to an id: known exactly where nothing was deleted that could matter, as in
//! Redis.

use super::{Group, StreamValue};
use crate::effects::StreamId;

impl StreamValue {
    /// Was an entry with this id or a higher one deleted from among those that are there, so that counting on from there
    /// says nothing?
    fn has_gap_from(&self, id: StreamId) -> bool {
        let deleted = self.max_deleted_id;
        deleted != StreamId::MIN && id <= deleted && !self.is_empty() && self.first_id() <= deleted
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
        if !group.late().is_empty() {
            // They count among what was added, and lie below.
            return None;
        }
        let read = match group.entries_read {
            Some(read) if !self.has_gap_from(group.last_delivered) => read,
            _ => self.entries_up_to(group.last_delivered)?,
        };
        // Clients can say that more were read than were added.
        Some((self.entries_added as i64).wrapping_sub(read as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_group_is_what_redis_knows() {
        let mut stream = StreamValue::new();
        let id = |milliseconds| StreamId::new(milliseconds, 0);
        (1..=6).for_each(|number| {
            stream.add(id(number), [&b"f"[..], b"v"].into_iter());
        });
        let group = |delivered, read| Group::new(id(delivered), read);
        let lags = |stream: &StreamValue| {
            [group(2, Some(2)), group(2, None), group(6, None), group(0, None)].map(|group| stream.lag(&group))
        };
        assert_eq!(lags(&stream), [Some(4), None, Some(0), Some(6)]);
        // One in the middle is deleted: nobody can count over it.
        stream.remove(id(4));
        stream.max_deleted_id = id(4);
        assert_eq!(lags(&stream), [None, None, Some(0), None]);
        assert_eq!(stream.lag(&group(5, Some(5))), Some(1));
        assert_eq!(stream.entries_read_after(Some(4), id(5)), Some(5));
        assert_eq!(stream.entries_read_after(Some(3), id(4)), None);
        // It does not matter any more when all up to it are gone.
        stream.remove_below(id(5));
        assert_eq!(lags(&stream), [Some(4), Some(2), Some(0), Some(2)]);
    }
}
