//! Ids of stream entries, one by one and in lists.
//!
//! Wire form of a list: the number of ids, then for each how many milliseconds it is after the one before (or after 0), and
//! its sequence number; in the same millisecond the distance of the sequence numbers instead. Ids ascend, so no distance is 0.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::effects::{CodecError, NodeId, Reader, write_varint};
use crate::planted::{Bug, planted};

/// The name of an entry, and its place in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// Milliseconds since the Unix epoch, as a rule.
    pub milliseconds: u64,
    /// Among the entries of one millisecond.
    pub sequence: u64,
}

/// So many bits of a sequence number that a node of a cluster chooses are its own; the bits above them count.
const TAG_BITS: u32 = 48;

impl StreamId {
    /// Below every entry.
    pub const MIN: StreamId = StreamId { milliseconds: 0, sequence: 0 };

    /// The highest there is.
    pub const MAX: StreamId = StreamId { milliseconds: u64::MAX, sequence: u64::MAX };

    /// An id.
    pub const fn new(milliseconds: u64, sequence: u64) -> StreamId {
        StreamId { milliseconds, sequence }
    }

    /// The id right after this one.
    pub fn next(self) -> Option<StreamId> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId::new(self.milliseconds.checked_add(1)?, 0)),
        }
    }

    /// The id right before this one.
    pub fn previous(self) -> Option<StreamId> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId::new(self.milliseconds.checked_sub(1)?, u64::MAX)),
        }
    }

    /// The lowest id of this millisecond above `last` that the writer may choose, if there is one. A node of a cluster
    /// chooses only ids that no other node does.
    pub fn in_millisecond(milliseconds: u64, last: StreamId, writer: Option<NodeId>) -> Option<StreamId> {
        if milliseconds < last.milliseconds {
            return None;
        }
        let same = milliseconds == last.milliseconds;
        let sequence = match writer {
            None if same => last.sequence.checked_add(1)?,
            None => 0,
            Some(node) => {
                let count = if same { (last.sequence >> TAG_BITS) + 1 } else { 0 };
                let tag = if planted(Bug::ReuseStreamIds) { 0 } else { tag(node) };
                (count < 1 << (u64::BITS - TAG_BITS)).then_some(count << TAG_BITS | tag)?
            }
        };
        Some(StreamId { milliseconds, sequence })
    }

    /// The id that the writer chooses for an entry at this time: above `last`, whatever the clock says.
    pub fn after(last: StreamId, now: u64, writer: Option<NodeId>) -> Option<StreamId> {
        let milliseconds = now.max(last.milliseconds);
        StreamId::in_millisecond(milliseconds, last, writer)
            .or_else(|| StreamId::in_millisecond(milliseconds.checked_add(1)?, last, writer))
    }
}

/// A node's own bits: well mixed, so that ids that are alike do not give tags that are; never 0, which with the time 0
/// would be no id.
fn tag(node: NodeId) -> u64 {
    let mixed = (node.0 ^ node.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (u64::BITS - TAG_BITS)).max(1)
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.milliseconds, self.sequence)
    }
}

pub(super) fn write_id(out: &mut Vec<u8>, id: StreamId) {
    write_varint(out, id.milliseconds);
    write_varint(out, id.sequence);
}

pub(super) fn read_id(reader: &mut Reader<'_>) -> Result<StreamId, CodecError> {
    Ok(StreamId::new(reader.varint()?, reader.varint()?))
}

fn write_distance(out: &mut Vec<u8>, last: StreamId, id: StreamId) {
    assert!(last < id, "ids ascend");
    let apart = id.milliseconds - last.milliseconds;
    write_varint(out, apart);
    write_varint(out, if apart == 0 { id.sequence - last.sequence } else { id.sequence });
}

fn read_distance(reader: &mut Reader<'_>, last: StreamId) -> Result<StreamId, CodecError> {
    let (apart, sequence) = (reader.varint()?, reader.varint()?);
    let next = match apart {
        0 => last.sequence.checked_add(sequence).map(|sequence| StreamId { sequence, ..last }),
        _ => last.milliseconds.checked_add(apart).map(|milliseconds| StreamId { milliseconds, sequence }),
    };
    next.filter(|next| last < *next).ok_or(CodecError::Invalid("ids of a stream that do not ascend"))
}

/// Ids in ascending order, none twice, none 0-0.
#[derive(Clone, Copy)]
pub struct StreamIds<'a>(Form<'a, StreamId>);

/// A pending entry that goes to a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamClaim {
    /// Which entry.
    pub id: StreamId,
    /// When it was delivered, in milliseconds since the Unix epoch.
    pub delivered_at: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Pending entries in ascending order of their ids, none twice.
#[derive(Clone, Copy)]
pub struct StreamClaims<'a>(Form<'a, StreamClaim>);

#[derive(Clone, Copy)]
enum Form<'a, T> {
    Slice(&'a [T]),
    /// So many in the wire form, which was checked.
    Encoded(usize, &'a [u8]),
}

trait Item: Copy {
    fn id(&self) -> StreamId;
    fn write(&self, out: &mut Vec<u8>, last: StreamId);
    fn read(reader: &mut Reader<'_>, last: StreamId) -> Result<Self, CodecError>;
}

impl Item for StreamId {
    fn id(&self) -> StreamId {
        *self
    }

    fn write(&self, out: &mut Vec<u8>, last: StreamId) {
        write_distance(out, last, *self);
    }

    fn read(reader: &mut Reader<'_>, last: StreamId) -> Result<StreamId, CodecError> {
        read_distance(reader, last)
    }
}

impl Item for StreamClaim {
    fn id(&self) -> StreamId {
        self.id
    }

    fn write(&self, out: &mut Vec<u8>, last: StreamId) {
        write_distance(out, last, self.id);
        write_varint(out, self.delivered_at);
        write_varint(out, self.deliveries);
    }

    fn read(reader: &mut Reader<'_>, last: StreamId) -> Result<StreamClaim, CodecError> {
        let id = read_distance(reader, last)?;
        Ok(StreamClaim { id, delivered_at: reader.varint()?, deliveries: reader.varint()? })
    }
}

impl<'a, T: Item> Form<'a, T> {
    fn of(items: &'a [T]) -> Form<'a, T> {
        assert!(items.first().is_none_or(|first| first.id() > StreamId::MIN), "0-0 is no entry");
        assert!(items.is_sorted_by(|one, next| one.id() < next.id()), "ids ascend");
        Form::Slice(items)
    }

    fn len(&self) -> usize {
        match self {
            Form::Slice(items) => items.len(),
            Form::Encoded(count, _) => *count,
        }
    }

    fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let (items, bytes) = match *self {
            Form::Slice(items) => (items, &[][..]),
            Form::Encoded(_, bytes) => (&[][..], bytes),
        };
        let (mut reader, mut last) = (Reader::new(bytes), StreamId::MIN);
        items.iter().copied().chain(std::iter::from_fn(move || {
            let item = T::read(&mut reader, last).ok()?;
            last = item.id();
            Some(item)
        }))
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.len() as u64);
        match self {
            Form::Slice(items) => {
                let mut last = StreamId::MIN;
                for item in *items {
                    item.write(out, last);
                    last = item.id();
                }
            }
            Form::Encoded(_, bytes) => out.extend_from_slice(bytes),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Form<'a, T>, CodecError> {
        let count = reader.varint()?;
        let mut whole = reader.clone();
        let mut last = StreamId::MIN;
        for _ in 0..count {
            last = T::read(reader, last)?.id();
        }
        let encoded = whole.take(whole.remaining() - reader.remaining())?;
        // So many lie in memory: the number fits.
        Ok(Form::Encoded(count as usize, encoded))
    }
}

/// What both kinds of lists can do.
macro_rules! list {
    ($list:ident, $item:ty) => {
        impl<'a> $list<'a> {
            /// These, which ascend.
            pub fn of(items: &'a [$item]) -> $list<'a> {
                $list(Form::of(items))
            }

            /// How many.
            pub fn len(&self) -> usize {
                self.0.len()
            }

            /// Is there none?
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// All of them.
            pub fn iter(&self) -> impl Iterator<Item = $item> + use<'a> {
                self.0.iter()
            }

            pub(super) fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            pub(super) fn read(reader: &mut Reader<'a>) -> Result<$list<'a>, CodecError> {
                Ok($list(Form::read(reader)?))
            }
        }

        impl PartialEq for $list<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.iter().eq(other.iter())
            }
        }

        impl Eq for $list<'_> {}

        impl fmt::Debug for $list<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_list().entries(self.iter()).finish()
            }
        }
    };
}

impl<'a> StreamIds<'a> {
    /// Where none would make no sense.
    pub(super) fn read_some(reader: &mut Reader<'a>) -> Result<StreamIds<'a>, CodecError> {
        let ids = StreamIds::read(reader)?;
        if ids.is_empty() { Err(CodecError::Invalid("no entry of a stream")) } else { Ok(ids) }
    }
}

list!(StreamIds, StreamId);
list!(StreamClaims, StreamClaim);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_by_itself_numbers_as_redis_does() {
        let last = StreamId::new(5, 7);
        assert_eq!(StreamId::after(last, 4, None), Some(StreamId::new(5, 8)));
        assert_eq!(StreamId::after(last, 6, None), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::after(StreamId::new(5, u64::MAX), 5, None), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::after(StreamId::MAX, 5, None), None);
        assert_eq!(StreamId::in_millisecond(4, last, None), None);
        assert_eq!(StreamId::in_millisecond(0, StreamId::MIN, None), Some(StreamId::new(0, 1)));
    }

    #[test]
    fn two_nodes_never_choose_the_same_id() {
        let (one, other) = (Some(NodeId(1)), Some(NodeId(2)));
        let mut chosen = std::collections::BTreeSet::new();
        for writer in [one, other] {
            let mut last = StreamId::new(5, 7);
            for _ in 0..1000 {
                let id = StreamId::after(last, 5, writer).expect("there is room");
                assert!(id > last && id.milliseconds == 5);
                assert!(chosen.insert(id));
                last = id;
            }
        }
        // What another node chose is passed by counting on.
        let theirs = StreamId::after(StreamId::MIN, 9, other).expect("there is room");
        let ours = StreamId::after(theirs, 9, one).expect("there is room");
        assert!(ours > theirs && ours.milliseconds == 9);
    }

    #[test]
    fn a_full_millisecond_carries_into_the_next() {
        let last = StreamId::new(5, u64::MAX - 3);
        let id = StreamId::after(last, 5, Some(NodeId(1))).expect("there is room");
        assert_eq!((id.milliseconds, id.sequence >> TAG_BITS), (6, 0));
        assert_eq!(StreamId::in_millisecond(5, last, Some(NodeId(1))), None);
        assert_eq!(StreamId::after(StreamId::MAX, 5, Some(NodeId(1))), None);
    }

    #[test]
    fn neighbours_cross_milliseconds() {
        assert_eq!(StreamId::new(5, u64::MAX).next(), Some(StreamId::new(6, 0)));
        assert_eq!(StreamId::new(6, 0).previous(), Some(StreamId::new(5, u64::MAX)));
        assert_eq!((StreamId::MAX.next(), StreamId::MIN.previous()), (None, None));
    }
}
