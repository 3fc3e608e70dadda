//! What a trim removes. It always removes from the lowest id on.

use super::StreamValue;
use crate::effects::StreamId;

/// What is to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// So many entries.
    Length(usize),
    /// The entries from this id on.
    Id(StreamId),
}

/// What a trim is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub to: TrimTo,
    /// Only whole chunks go.
    pub approximate: bool,
    /// At most so many entries go.
    pub limit: Option<usize>,
}

impl StreamValue {
    /// The id below which all entries have to go, and how many they are. `None`: nothing goes.
    pub fn trim_point(&self, trim: &Trim) -> Option<(StreamId, usize)> {
        let (mut removed, mut chunks) = (0, self.chunks.iter().peekable());
        let mut highest = None;
        while let Some(chunk) = chunks.peek() {
            if let TrimTo::Length(length) = trim.to
                && self.length - removed <= length
            {
                break;
            }
            if trim.limit.is_some_and(|limit| removed + chunk.len() > limit) {
                break;
            }
            let goes = match trim.to {
                TrimTo::Length(length) => self.length - removed - chunk.len() >= length,
                TrimTo::Id(id) => chunk.highest() < id,
            };
            if !goes {
                break;
            }
            removed += chunk.len();
            highest = Some(chunk.highest());
            chunks.next();
        }
        // Of the first chunk that stays as a whole, a part may go.
        if !trim.approximate
            && let Some(chunk) = chunks.peek()
        {
            for entry in chunk.iter() {
                let goes = match trim.to {
                    TrimTo::Length(length) => self.length - removed > length,
                    TrimTo::Id(id) => entry.id < id,
                };
                if !goes {
                    break;
                }
                removed += 1;
                highest = Some(entry.id);
            }
        }
        // No entry has the highest id of all that cannot be followed by another.
        (removed > 0).then_some((highest?.next().unwrap_or(StreamId::MAX), removed))
    }
}
