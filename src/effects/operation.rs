//! Operations: what an effect does to keys. An operation is a *result* ("remove this member"), never a
//! command ("pop one"), so that every node ends with the same data whatever it had before.
//!
//! Wire form: a stream of records, each a tag byte and its fields. A `TARGET` record names the database and key
//! that the following action records act on, so a command with many fields names its key once.

use serde::{Deserialize, Serialize};

use super::{CodecError, Reader, write_bytes, write_varint};

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
    /// Observed-remove of all that the key holds.
    Remove,
    /// The key lives until then (milliseconds since the Unix epoch); `None`: for ever.
    Deadline { at: Option<u64> },
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
    /// HSET of one field.
    FieldSet { field: &'a [u8], value: &'a [u8] },
    /// HINCRBY.
    FieldAdd { field: &'a [u8], increment: i64 },
    /// HINCRBYFLOAT.
    FieldAddFloat { field: &'a [u8], increment: &'a [u8] },
    /// Observed-remove of one field.
    FieldRemove { field: &'a [u8] },
    /// SADD of one member.
    MemberAdd { member: &'a [u8] },
    /// Observed-remove of one member.
    MemberRemove { member: &'a [u8] },
}

/// What happens to a number in a bit field that does not fit its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// Only its low bits count.
    Wrap,
    /// It is the nearest number that fits.
    Saturate,
    /// The old number stays.
    Fail,
}

/// Adds to the integer of `width` bits (1 to 64) at the bit `offset` of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BitAddition {
    pub offset: u64,
    pub width: u8,
    pub signed: bool,
    pub overflow: Overflow,
    pub increment: i64,
}

/// Registers of a HyperLogLog, and what becomes of its representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers<B> {
    /// Three bytes each, in the order in which they are raised: position and value (`keyspace::hyperloglog` has the format).
    pub packed: B,
    /// The representation becomes the dense one, before anything is raised.
    pub dense: bool,
    /// The cached number of elements is not valid any more, whether something is raised or not.
    pub recount: bool,
}

mod tag {
    pub const TARGET: u8 = 1;
    pub const FLUSH_ALL: u8 = 2;
    pub const FLUSH_DATABASE: u8 = 3;
    pub const REMOVE: u8 = 4;
    pub const DEADLINE_NONE: u8 = 5;
    pub const DEADLINE_AT: u8 = 6;
    pub const STRING_SET: u8 = 7;
    pub const STRING_SET_UNTIL: u8 = 8;
    pub const STRING_ADD: u8 = 9;
    pub const STRING_ADD_FLOAT: u8 = 10;
    pub const STRING_APPEND: u8 = 11;
    pub const STRING_SET_RANGE: u8 = 12;
    pub const FIELD_SET: u8 = 13;
    pub const FIELD_ADD: u8 = 14;
    pub const FIELD_ADD_FLOAT: u8 = 15;
    pub const FIELD_REMOVE: u8 = 16;
    pub const MEMBER_ADD: u8 = 17;
    pub const MEMBER_REMOVE: u8 = 18;
    pub const STRING_SET_BITS: u8 = 30;
    pub const STRING_ADD_BITS: u8 = 31;
    pub const STRING_RAISE_REGISTERS: u8 = 32;
}

/// Zigzag: small numbers of either sign become short varints.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Overflow, and above it whether the number has a sign: one byte.
fn numeric_form(addition: &BitAddition) -> u8 {
    let overflow = match addition.overflow {
        Overflow::Wrap => 0,
        Overflow::Saturate => 1,
        Overflow::Fail => 2,
    };
    overflow | u8::from(addition.signed) << 2
}

fn read_width(reader: &mut Reader<'_>) -> Result<u8, CodecError> {
    match reader.byte()? {
        width @ 1..=64 => Ok(width),
        _ => Err(CodecError::Invalid("a bit field without or with too many bits")),
    }
}

fn read_bit_addition(reader: &mut Reader<'_>) -> Result<BitAddition, CodecError> {
    let (offset, width, form) = (reader.varint()?, read_width(reader)?, reader.byte()?);
    let overflow = match form & 3 {
        0 => Overflow::Wrap,
        1 => Overflow::Saturate,
        2 => Overflow::Fail,
        _ => return Err(CodecError::Invalid("an unknown way to overflow")),
    };
    if form > 7 {
        return Err(CodecError::Invalid("an unknown form of numbers"));
    }
    Ok(BitAddition { offset, width, signed: form & 4 != 0, overflow, increment: unzigzag(reader.varint()?) })
}

fn read_registers<'a>(reader: &mut Reader<'a>) -> Result<Registers<&'a [u8]>, CodecError> {
    let (form, packed) = (reader.byte()?, reader.bytes()?);
    if form > 3 || packed.len() % 3 != 0 {
        return Err(CodecError::Invalid("registers that no HyperLogLog has"));
    }
    Ok(Registers { packed, dense: form & 1 != 0, recount: form & 2 != 0 })
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
        match action {
            Action::Remove => out.push(tag::REMOVE),
            Action::Deadline { at: None } => out.push(tag::DEADLINE_NONE),
            Action::Deadline { at: Some(at) } => {
                out.push(tag::DEADLINE_AT);
                write_varint(out, at);
            }
            Action::StringSet { value, deadline: None } => {
                out.push(tag::STRING_SET);
                write_bytes(out, value);
            }
            Action::StringSet { value, deadline: Some(at) } => {
                out.push(tag::STRING_SET_UNTIL);
                write_varint(out, at);
                write_bytes(out, value);
            }
            Action::StringAdd { increment } => {
                out.push(tag::STRING_ADD);
                write_varint(out, zigzag(increment));
            }
            Action::StringAddFloat { increment } => {
                out.push(tag::STRING_ADD_FLOAT);
                write_bytes(out, increment);
            }
            Action::StringAppend { bytes } => {
                out.push(tag::STRING_APPEND);
                write_bytes(out, bytes);
            }
            Action::StringSetRange { offset, bytes } => {
                out.push(tag::STRING_SET_RANGE);
                write_varint(out, offset);
                write_bytes(out, bytes);
            }
            Action::StringSetBits { offset, width, value } => {
                out.push(tag::STRING_SET_BITS);
                write_varint(out, offset);
                out.push(width);
                write_varint(out, value);
            }
            Action::StringAddBits(addition) => {
                out.push(tag::STRING_ADD_BITS);
                write_varint(out, addition.offset);
                out.extend_from_slice(&[addition.width, numeric_form(&addition)]);
                write_varint(out, zigzag(addition.increment));
            }
            Action::StringRaiseRegisters(Registers { packed, dense, recount }) => {
                out.extend_from_slice(&[tag::STRING_RAISE_REGISTERS, u8::from(dense) | u8::from(recount) << 1]);
                write_bytes(out, packed);
            }
            Action::FieldSet { field, value } => {
                out.push(tag::FIELD_SET);
                write_bytes(out, field);
                write_bytes(out, value);
            }
            Action::FieldAdd { field, increment } => {
                out.push(tag::FIELD_ADD);
                write_bytes(out, field);
                write_varint(out, zigzag(increment));
            }
            Action::FieldAddFloat { field, increment } => {
                out.push(tag::FIELD_ADD_FLOAT);
                write_bytes(out, field);
                write_bytes(out, increment);
            }
            Action::FieldRemove { field } => {
                out.push(tag::FIELD_REMOVE);
                write_bytes(out, field);
            }
            Action::MemberAdd { member } => {
                out.push(tag::MEMBER_ADD);
                write_bytes(out, member);
            }
            Action::MemberRemove { member } => {
                out.push(tag::MEMBER_REMOVE);
                write_bytes(out, member);
            }
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
                tag::STRING_SET => Action::StringSet { value: reader.bytes()?, deadline: None },
                tag::STRING_SET_UNTIL => {
                    let deadline = Some(reader.varint()?);
                    Action::StringSet { value: reader.bytes()?, deadline }
                }
                tag::STRING_ADD => Action::StringAdd { increment: unzigzag(reader.varint()?) },
                tag::STRING_ADD_FLOAT => Action::StringAddFloat { increment: reader.bytes()? },
                tag::STRING_APPEND => Action::StringAppend { bytes: reader.bytes()? },
                tag::STRING_SET_RANGE => {
                    let offset = reader.varint()?;
                    Action::StringSetRange { offset, bytes: reader.bytes()? }
                }
                tag::STRING_SET_BITS => {
                    let (offset, width) = (reader.varint()?, read_width(reader)?);
                    Action::StringSetBits { offset, width, value: reader.varint()? }
                }
                tag::STRING_ADD_BITS => Action::StringAddBits(read_bit_addition(reader)?),
                tag::STRING_RAISE_REGISTERS => Action::StringRaiseRegisters(read_registers(reader)?),
                tag::FIELD_SET => {
                    let field = reader.bytes()?;
                    Action::FieldSet { field, value: reader.bytes()? }
                }
                tag::FIELD_ADD => {
                    let field = reader.bytes()?;
                    Action::FieldAdd { field, increment: unzigzag(reader.varint()?) }
                }
                tag::FIELD_ADD_FLOAT => {
                    let field = reader.bytes()?;
                    Action::FieldAddFloat { field, increment: reader.bytes()? }
                }
                tag::FIELD_REMOVE => Action::FieldRemove { field: reader.bytes()? },
                tag::MEMBER_ADD => Action::MemberAdd { member: reader.bytes()? },
                tag::MEMBER_REMOVE => Action::MemberRemove { member: reader.bytes()? },
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

    #[test]
    fn every_operation_round_trips() {
        let action = |action| Operation::Key { database: 3, key: b"key", action };
        let addition = |overflow, signed| {
            Action::StringAddBits(BitAddition { offset: 300, width: 1, signed, overflow, increment: -5 })
        };
        let all = [
            action(Action::Remove),
            action(Action::Deadline { at: None }),
            action(Action::Deadline { at: Some(77) }),
            Operation::Flush { database: None },
            action(Action::StringSet { value: b"v", deadline: None }),
            action(Action::StringSet { value: b"", deadline: Some(u64::MAX) }),
            action(Action::StringAdd { increment: i64::MIN }),
            action(Action::StringAddFloat { increment: b"0.5" }),
            action(Action::StringAppend { bytes: &[0; 300] }),
            action(Action::StringSetRange { offset: 9, bytes: b"xy" }),
            action(Action::StringSetBits { offset: u64::MAX, width: 64, value: u64::MAX }),
            action(addition(Overflow::Wrap, true)),
            action(addition(Overflow::Saturate, false)),
            action(addition(Overflow::Fail, true)),
            action(Action::StringRaiseRegisters(Registers { packed: b"123456", dense: true, recount: false })),
            action(Action::StringRaiseRegisters(Registers { packed: b"", dense: false, recount: true })),
            Operation::Flush { database: Some(2) },
            action(Action::FieldSet { field: b"f", value: b"v" }),
            action(Action::FieldAdd { field: b"f", increment: -1 }),
            action(Action::FieldAddFloat { field: b"f", increment: b"-1" }),
            action(Action::FieldRemove { field: b"f" }),
            Operation::Key { database: 0, key: b"", action: Action::MemberAdd { member: b"m" } },
            Operation::Key { database: 0, key: b"", action: Action::MemberRemove { member: b"m" } },
        ];
        let mut writer = OperationsWriter::default();
        for operation in all {
            writer.push(operation);
        }
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
