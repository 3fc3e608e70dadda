//! The ids of the entries of a stream.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of an entry of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// Usually milliseconds since the Unix epoch.
    pub milliseconds: u64,
    /// Tells entries of the same milliseconds apart.
    pub sequence: u64,
}

impl StreamId {
    /// The lowest id: no entry has it.
    pub const MIN: StreamId = StreamId { milliseconds: 0, sequence: 0 };
    /// The highest id.
    pub const MAX: StreamId = StreamId { milliseconds: u64::MAX, sequence: u64::MAX };

    /// An id of two numbers.
    pub const fn new(milliseconds: u64, sequence: u64) -> StreamId {
        StreamId { milliseconds, sequence }
    }

    /// The id right above.
    pub fn next(self) -> Option<StreamId> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId { milliseconds: self.milliseconds.checked_add(1)?, sequence: 0 }),
        }
    }

    /// The id right below.
    pub fn previous(self) -> Option<StreamId> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId { milliseconds: self.milliseconds.checked_sub(1)?, sequence: u64::MAX }),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.milliseconds, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_of_two_parts() {
        let id = StreamId::new(7, u64::MAX);
        assert_eq!(id.next(), Some(StreamId::new(8, 0)));
        assert_eq!(StreamId::new(8, 0).previous(), Some(id));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
        assert!(StreamId::new(7, 9) < StreamId::new(8, 0));
        assert_eq!(StreamId::new(7, 9).to_string(), "7-9");
    }
}
