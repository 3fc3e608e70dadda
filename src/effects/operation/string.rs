//! The wire form of what happens to strings.

use serde::{Deserialize, Serialize};

use super::{Action, unzigzag, zigzag};
use crate::effects::{CodecError, Reader, write_bytes, write_varint};

pub const FIRST: u8 = SET;
pub const LAST: u8 = SET_RANGE;
pub const FIRST_OF_BITS: u8 = SET_BITS;
pub const LAST_OF_BITS: u8 = RAISE_REGISTERS;

const SET: u8 = 7;
const SET_UNTIL: u8 = 8;
const ADD: u8 = 9;
const ADD_FLOAT: u8 = 10;
const APPEND: u8 = 11;
const SET_RANGE: u8 = 12;
const SET_BITS: u8 = 19;
const ADD_BITS: u8 = 20;
const RAISE_REGISTERS: u8 = 21;

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

pub fn write(out: &mut Vec<u8>, action: Action<'_>) {
    match action {
        Action::StringSet { value, deadline: None } => {
            out.push(SET);
            write_bytes(out, value);
        }
        Action::StringSet { value, deadline: Some(at) } => {
            out.push(SET_UNTIL);
            write_varint(out, at);
            write_bytes(out, value);
        }
        Action::StringAdd { increment } => {
            out.push(ADD);
            write_varint(out, zigzag(increment));
        }
        Action::StringAddFloat { increment } => {
            out.push(ADD_FLOAT);
            write_bytes(out, increment);
        }
        Action::StringAppend { bytes } => {
            out.push(APPEND);
            write_bytes(out, bytes);
        }
        Action::StringSetRange { offset, bytes } => {
            out.push(SET_RANGE);
            write_varint(out, offset);
            write_bytes(out, bytes);
        }
        Action::StringSetBits { offset, width, value } => {
            out.push(SET_BITS);
            write_varint(out, offset);
            out.push(width);
            write_varint(out, value);
        }
        Action::StringAddBits(addition) => {
            out.push(ADD_BITS);
            write_varint(out, addition.offset);
            out.extend_from_slice(&[addition.width, numeric_form(&addition)]);
            write_varint(out, zigzag(addition.increment));
        }
        Action::StringRaiseRegisters(Registers { packed, dense, recount }) => {
            out.extend_from_slice(&[RAISE_REGISTERS, u8::from(dense) | u8::from(recount) << 1]);
            write_bytes(out, packed);
        }
        _ => unreachable!("not an action on a string"),
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    Ok(match tag {
        SET => Action::StringSet { value: reader.bytes()?, deadline: None },
        SET_UNTIL => {
            let deadline = Some(reader.varint()?);
            Action::StringSet { value: reader.bytes()?, deadline }
        }
        ADD => Action::StringAdd { increment: unzigzag(reader.varint()?) },
        ADD_FLOAT => Action::StringAddFloat { increment: reader.bytes()? },
        APPEND => Action::StringAppend { bytes: reader.bytes()? },
        SET_RANGE => {
            let offset = reader.varint()?;
            Action::StringSetRange { offset, bytes: reader.bytes()? }
        }
        SET_BITS => {
            let (offset, width) = (reader.varint()?, read_width(reader)?);
            Action::StringSetBits { offset, width, value: reader.varint()? }
        }
        ADD_BITS => Action::StringAddBits(read_bit_addition(reader)?),
        RAISE_REGISTERS => Action::StringRaiseRegisters(read_registers(reader)?),
        unknown => return Err(CodecError::UnknownTag(unknown)),
    })
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

#[cfg(test)]
mod tests {
    use super::super::tests::check_wire_form;
    use super::*;

    #[test]
    fn every_action_has_its_wire_form() {
        let addition = |overflow, signed| {
            Action::StringAddBits(BitAddition { offset: 300, width: 1, signed, overflow, increment: -5 })
        };
        let raise = |packed, dense, recount| Action::StringRaiseRegisters(Registers { packed, dense, recount });
        check_wire_form(&[
            (Action::StringSet { value: b"v", deadline: None }, &[7, 1, b'v']),
            (Action::StringSet { value: b"", deadline: Some(300) }, &[8, 0xac, 2, 0]),
            (Action::StringAdd { increment: -2 }, &[9, 3]),
            (Action::StringAdd { increment: i64::MIN }, &[9, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            (Action::StringAddFloat { increment: b"0.5" }, &[10, 3, b'0', b'.', b'5']),
            (Action::StringAppend { bytes: b"xy" }, &[11, 2, b'x', b'y']),
            (Action::StringSetRange { offset: 9, bytes: b"xy" }, &[12, 9, 2, b'x', b'y']),
            (Action::StringSetBits { offset: 300, width: 64, value: 5 }, &[19, 0xac, 2, 64, 5]),
            (addition(Overflow::Wrap, true), &[20, 0xac, 2, 1, 4, 9]),
            (addition(Overflow::Saturate, false), &[20, 0xac, 2, 1, 1, 9]),
            (addition(Overflow::Fail, true), &[20, 0xac, 2, 1, 6, 9]),
            (raise(b"123", true, false), &[21, 1, 3, b'1', b'2', b'3']),
            (raise(b"", false, true), &[21, 2, 0]),
        ]);
    }

    #[test]
    fn fields_of_bits_and_registers_are_checked() {
        let garbage: [&[u8]; 5] = [
            &[SET_BITS, 0, 0, 1],
            &[SET_BITS, 0, 65, 1],
            &[ADD_BITS, 0, 8, 3, 0],
            &[ADD_BITS, 0, 8, 8, 0],
            &[RAISE_REGISTERS, 0, 2, 1, 1],
        ];
        for bytes in garbage {
            let result = read(bytes[0], &mut Reader::new(&bytes[1..]));
            assert!(matches!(result, Err(CodecError::Invalid(_))), "{bytes:?}: {result:?}");
        }
    }
}
