//! Operations: what an effect does to keys. An operation is a *result* ("remove this member"), never a
//! command ("pop one"), so that every node ends with the same data whatever it had before.
//!
//! Wire form: a stream of records, each a tag byte and its fields. A `TARGET` record names the database and key
//! that the following action records act on, so a command with many fields names its key once. What the actions on one
//! type look like is written in that type's file.

mod elements;
mod hash;
mod list;
mod prints;
mod ranges;
mod set;
mod sorted_set;
mod stream;
mod stream_ids;
mod string;

pub use elements::Elements;
pub use prints::{Prints, PrintsWriter};
pub use ranges::{Ranges, RangesWriter};
pub use stream_ids::{StreamClaim, StreamClaims, StreamId, StreamIds};
pub use string::{BitAddition, Overflow, Registers};

use super::{CodecError, Reader, Score, write_bytes, write_varint};

/// One step of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Removes every key that lies within what the effect had seen, of one database or of all. Keys of the
    /// system (`__swytch:`) stay.
    Flush {
        /// `None`: all databases.
        database: Option<u32>,
    },
    /// Acts on one key.
    Key {
        /// The database's number.
        database: u32,
        /// The key's name.
        key: &'a [u8],
        /// What happens to it.
        action: Action<'a>,
    },
}

/// What happens to one key. Numbers that are text (`increment`) are in Redis's own notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    // Any type.
    /// Observed-remove of all that the key holds.
    Remove,
    /// The key lives until then (milliseconds since the Unix epoch); `None`: for ever.
    Deadline { at: Option<u64> },

    // Strings.
    /// SET, with the life it starts.
    StringSet { value: &'a [u8], deadline: Option<u64> },
    /// INCR and its kin.
    StringAdd { increment: i64 },
    /// INCRBYFLOAT.
    StringAddFloat { increment: &'a [u8] },
    /// APPEND.
    StringAppend { bytes: &'a [u8] },
    /// SETRANGE.
    StringSetRange { offset: u64, bytes: &'a [u8] },
    /// SETBIT, and SET of BITFIELD: overwrites `width` bits (1 to 64) from the bit at `offset` on with the low bits of `value`.
    StringSetBits { offset: u64, width: u8, value: u64 },
    /// INCRBY of BITFIELD.
    StringAddBits(BitAddition),
    /// PFADD and PFMERGE: raises registers of a HyperLogLog to at least these values.
    StringRaiseRegisters(Registers<&'a [u8]>),

    // Hashes.
    /// HSET of one field, with the life it starts.
    FieldSet { field: &'a [u8], value: &'a [u8], deadline: Option<u64> },
    /// HINCRBY.
    FieldAdd { field: &'a [u8], increment: i64 },
    /// HINCRBYFLOAT.
    FieldAddFloat { field: &'a [u8], increment: &'a [u8] },
    /// Observed-remove of one field.
    FieldRemove { field: &'a [u8] },
    /// HEXPIRE and HPERSIST: the field lives until then; `None`: for ever.
    FieldDeadline { field: &'a [u8], at: Option<u64> },

    // Sets.
    /// SADD of one member.
    MemberAdd { member: &'a [u8] },
    /// Observed-remove of one member.
    MemberRemove { member: &'a [u8] },

    // Sorted sets.
    /// ZADD of one member.
    ScoreSet { member: &'a [u8], score: Score },
    /// ZINCRBY.
    ScoreAdd { member: &'a [u8], increment: Score },
    /// ZADD GT of one member: the score becomes at least this.
    ScoreMax { member: &'a [u8], score: Score },
    /// ZADD LT of one member: the score becomes at most this.
    ScoreMin { member: &'a [u8], score: Score },
    /// Observed-remove of one member.
    ScoreRemove { member: &'a [u8] },
    // Lists. Positions count from 0, in the list as the origin saw it right before the operation.
    /// LPUSH and RPUSH, the elements in the order in which they are pushed: at the left end they lie in the reverse one.
    ListPush { end: End, elements: Elements<'a> },
    /// LINSERT in front of the element of that number, counted from the left; behind the last if there is none.
    ListInsert { position: u64, element: &'a [u8] },
    /// LSET.
    ListSet { from: End, position: u64, element: &'a [u8] },
    /// Removes the elements that its origin saw there, which looked like that. `whole`: the positions count all that the origin knew,
    /// whatever else the effect reaches, which was made again.
    ListRemove { from: End, ranges: Ranges<'a>, prints: Prints<'a>, whole: bool },

    // Streams.
    /// XADD: an entry, field by value. Makes the stream.
    StreamAdd { id: StreamId, entry: Elements<'a> },
    /// XDEL: observed-remove of these entries.
    StreamRemove { ids: StreamIds<'a> },
    /// XTRIM: observed-remove of all entries below this.
    StreamTrim { below: StreamId },
    /// XSETID. Makes the stream. Without a number of added entries, or a highest id deleted, those stay.
    StreamSetId { last: StreamId, added: Option<u64>, max_deleted: Option<StreamId> },
    /// XGROUP CREATE. `late`: entries at or below `delivered` that are still to be delivered.
    GroupCreate { group: &'a [u8], delivered: StreamId, entries_read: Option<u64>, late: StreamIds<'a> },
    /// XGROUP SETID, in the place of the positions that its origin saw.
    GroupSetPosition { group: &'a [u8], delivered: StreamId, entries_read: Option<u64>, late: StreamIds<'a> },
    /// Observed-remove of a group.
    GroupDestroy { group: &'a [u8] },
    /// XREADGROUP of new entries: they are the consumer's now, and pending unless it wants them for good. Makes the consumer.
    GroupDeliver {
        group: &'a [u8],
        consumer: &'a [u8],
        ids: StreamIds<'a>,
        at: u64,
        pending: bool,
        entries_read: Option<u64>,
    },
    /// XCLAIM and its kin: pending entries become the consumer's, as told. Makes the consumer. `at`: when it got them, unless
    /// it only looks at its own again. `last`: what its origin saw up to there counts as delivered.
    GroupClaim {
        group: &'a [u8],
        consumer: &'a [u8],
        claims: StreamClaims<'a>,
        at: Option<u64>,
        last: Option<StreamId>,
    },
    /// XACK: observed-remove of pending entries.
    GroupAcknowledge { group: &'a [u8], ids: StreamIds<'a> },
    /// XGROUP CREATECONSUMER.
    ConsumerCreate { group: &'a [u8], consumer: &'a [u8], at: u64 },
    /// Observed-remove of a consumer with the deliveries and claims that made entries pending for it. Comes after a
    /// [`Action::GroupAcknowledge`] of what its origin saw pending for it.
    ConsumerRemove { group: &'a [u8], consumer: &'a [u8] },
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Left,
    Right,
}

/// The actions that belong together. What they do to a value is not the business of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// On a key of any type.
    Key,
    /// On a string.
    String,
    /// On a hash.
    Hash,
    /// On a set.
    Set,
    /// On a sorted set.
    SortedSet,
    /// On a list.
    List,
    /// On a stream.
    Stream,
}

impl Action<'_> {
    /// The family it belongs to.
    #[inline]
    pub fn family(&self) -> Family {
        match self {
            Action::Remove | Action::Deadline { .. } => Family::Key,

            Action::StringSet { .. }
            | Action::StringAdd { .. }
            | Action::StringAddFloat { .. }
            | Action::StringAppend { .. }
            | Action::StringSetRange { .. }
            | Action::StringSetBits { .. }
            | Action::StringAddBits(_)
            | Action::StringRaiseRegisters(_) => Family::String,

            Action::FieldSet { .. }
            | Action::FieldAdd { .. }
            | Action::FieldAddFloat { .. }
            | Action::FieldRemove { .. }
            | Action::FieldDeadline { .. } => Family::Hash,

            Action::MemberAdd { .. } | Action::MemberRemove { .. } => Family::Set,

            Action::ScoreSet { .. }
            | Action::ScoreAdd { .. }
            | Action::ScoreMax { .. }
            | Action::ScoreMin { .. }
            | Action::ScoreRemove { .. } => Family::SortedSet,
            Action::ListPush { .. }
            | Action::ListInsert { .. }
            | Action::ListSet { .. }
            | Action::ListRemove { .. } => Family::List,

            Action::StreamAdd { .. }
            | Action::StreamRemove { .. }
            | Action::StreamTrim { .. }
            | Action::StreamSetId { .. }
            | Action::GroupCreate { .. }
            | Action::GroupSetPosition { .. }
            | Action::GroupDestroy { .. }
            | Action::GroupDeliver { .. }
            | Action::GroupClaim { .. }
            | Action::GroupAcknowledge { .. }
            | Action::ConsumerCreate { .. }
            | Action::ConsumerRemove { .. } => Family::Stream,
        }
    }
}

/// The tags of what is not of one type. Each type's file has its own, between its `FIRST` and its `LAST`
/// (those of strings and of hashes came at two times):
///
/// | tags | of |
/// |---|---|
/// | 1–6 | this table |
/// | 7–12 | strings |
/// | 13–16 | hashes |
/// | 17–18 | sets |
/// | 19–21 | strings of bits, and HyperLogLogs |
/// | 22–24 | the lives of fields of hashes |
/// | 25–31 | free, for more of these |
/// | 32–36 | sorted sets, to which all up to 47 belong |
/// | 48–62 | lists, to which all up to 63 belong |
/// | 64–76 | streams, to which all up to 79 belong |
/// | from 80 | free: each further type takes sixteen |
///
/// A tag never changes its meaning.
mod tag {
    pub const TARGET: u8 = 1;
    pub const FLUSH_ALL: u8 = 2;
    pub const FLUSH_DATABASE: u8 = 3;
    pub const REMOVE: u8 = 4;
    pub const DEADLINE_NONE: u8 = 5;
    pub const DEADLINE_AT: u8 = 6;
}

/// Zigzag: small numbers of either sign become short varints.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Builds the operations of one effect. The buffer is reused from effect to effect.
#[derive(Debug, Default)]
pub struct OperationsWriter {
    bytes: Vec<u8>,
    target: Option<(u32, usize, usize)>,
}

impl OperationsWriter {
    /// Empties the buffer for the next effect, keeping its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.target = None;
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends one operation.
    pub fn push(&mut self, operation: Operation<'_>) {
        match operation {
            Operation::Flush { database: None } => self.bytes.push(tag::FLUSH_ALL),
            Operation::Flush { database: Some(database) } => {
                self.bytes.push(tag::FLUSH_DATABASE);
                write_varint(&mut self.bytes, u64::from(database));
            }
            Operation::Key { database, key, action } => {
                self.set_target(database, key);
                self.push_action(action);
            }
        }
    }

    fn set_target(&mut self, database: u32, key: &[u8]) {
        if let Some((current, start, end)) = self.target
            && current == database
            && &self.bytes[start..end] == key
        {
            return;
        }
        self.bytes.push(tag::TARGET);
        write_varint(&mut self.bytes, u64::from(database));
        write_bytes(&mut self.bytes, key);
        self.target = Some((database, self.bytes.len() - key.len(), self.bytes.len()));
    }

    fn push_action(&mut self, action: Action<'_>) {
        let out = &mut self.bytes;
        match action.family() {
            Family::Key => match action {
                Action::Remove => out.push(tag::REMOVE),
                Action::Deadline { at: None } => out.push(tag::DEADLINE_NONE),
                Action::Deadline { at: Some(at) } => {
                    out.push(tag::DEADLINE_AT);
                    write_varint(out, at);
                }
                _ => unreachable!("not an action on any key"),
            },
            Family::String => string::write(out, action),
            Family::Hash => hash::write(out, action),
            Family::Set => set::write(out, action),
            Family::SortedSet => sorted_set::write(out, action),
            Family::List => list::write(out, action),
            Family::Stream => stream::write(out, action),
        }
    }
}

/// Reads the operations of one effect in order. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    reader: Reader<'a>,
    target: Option<(u32, &'a [u8])>,
    failed: bool,
}

impl<'a> Operations<'a> {
    /// Over the bytes that [`OperationsWriter`] produced, here or at a peer.
    pub fn new(bytes: &'a [u8]) -> Self {
        Operations { reader: Reader::new(bytes), target: None, failed: false }
    }

    fn read(&mut self) -> Result<Operation<'a>, CodecError> {
        loop {
            let reader = &mut self.reader;
            let action = match reader.byte()? {
                tag::TARGET => {
                    let database = read_database(reader)?;
                    self.target = Some((database, reader.bytes()?));
                    continue;
                }
                tag::FLUSH_ALL => return Ok(Operation::Flush { database: None }),
                tag::FLUSH_DATABASE => return Ok(Operation::Flush { database: Some(read_database(reader)?) }),
                tag::REMOVE => Action::Remove,
                tag::DEADLINE_NONE => Action::Deadline { at: None },
                tag::DEADLINE_AT => Action::Deadline { at: Some(reader.varint()?) },
                tag @ (string::FIRST..=string::LAST | string::FIRST_OF_BITS..=string::LAST_OF_BITS) => {
                    string::read(tag, reader)?
                }
                tag @ (hash::FIRST..=hash::LAST | hash::FIRST_OF_LIVES..=hash::LAST_OF_LIVES) => {
                    hash::read(tag, reader)?
                }
                tag @ set::FIRST..=set::LAST => set::read(tag, reader)?,
                tag @ sorted_set::FIRST..=sorted_set::LAST => sorted_set::read(tag, reader)?,
                tag @ list::FIRST..=list::LAST => list::read(tag, reader)?,
                tag @ stream::FIRST..=stream::LAST => stream::read(tag, reader)?,
                unknown => return Err(CodecError::UnknownTag(unknown)),
            };
            let (database, key) = self.target.ok_or(CodecError::Invalid("an action without a target"))?;
            return Ok(Operation::Key { database, key, action });
        }
    }
}

fn read_database(reader: &mut Reader<'_>) -> Result<u32, CodecError> {
    u32::try_from(reader.varint()?).map_err(|_| CodecError::Invalid("a database number above 32 bits"))
}

impl<'a> Iterator for Operations<'a> {
    type Item = Result<Operation<'a>, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.remaining() == 0 {
            return None;
        }
        let operation = self.read();
        self.failed = operation.is_err();
        Some(operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each action has these bytes, and they are read as this action.
    pub fn check_wire_form(actions: &[(Action<'_>, &[u8])]) {
        for &(action, bytes) in actions {
            let mut writer = OperationsWriter::default();
            let operation = Operation::Key { database: 3, key: b"key", action };
            writer.push(operation);
            assert_eq!(writer.bytes(), [&[tag::TARGET, 3, 3, b'k', b'e', b'y'], bytes].concat(), "{action:?}");
            assert_eq!(Operations::new(writer.bytes()).collect::<Vec<_>>(), [Ok(operation)]);
        }
    }

    #[test]
    fn every_action_on_any_type_has_its_wire_form() {
        check_wire_form(&[
            (Action::Remove, &[4]),
            (Action::Deadline { at: None }, &[5]),
            (Action::Deadline { at: Some(300) }, &[6, 0xac, 2]),
        ]);
    }

    #[test]
    fn a_key_is_named_once() {
        let operation = |key, action| Operation::Key { database: 0, key, action };
        let all = [
            operation(b"k", Action::StringAppend { bytes: &[0; 300] }),
            operation(b"k", Action::FieldRemove { field: b"f" }),
            Operation::Flush { database: Some(2) },
            operation(b"k", Action::Remove),
            operation(b"", Action::MemberAdd { member: b"m" }),
            Operation::Flush { database: None },
            Operation::Key { database: 3, key: b"", action: Action::Remove },
        ];
        let mut writer = OperationsWriter::default();
        for operation in all {
            writer.push(operation);
        }
        let targets = [&[tag::TARGET, 0, 1, b'k'][..], &[tag::TARGET, 0, 0], &[tag::TARGET, 3, 0]];
        let actions = [3 + 300, 3, 2, 1, 3, 1, 1];
        assert_eq!(writer.bytes().len(), targets.concat().len() + actions.iter().sum::<usize>());
        let read: Result<Vec<_>, _> = Operations::new(writer.bytes()).collect();
        assert_eq!(read.as_deref(), Ok(&all[..]));
    }

    #[test]
    fn garbage_ends_in_one_error() {
        assert_eq!(Operations::new(&[99, 1, 2]).collect::<Vec<_>>(), [Err(CodecError::UnknownTag(99))]);
        assert_eq!(
            Operations::new(&[tag::REMOVE]).collect::<Vec<_>>(),
            [Err(CodecError::Invalid("an action without a target"))]
        );
    }
}
