//! The wire form of what happens to strings.

use super::{Action, unzigzag, zigzag};
use crate::effects::{CodecError, Reader, write_bytes, write_varint};

pub const FIRST: u8 = SET;
pub const LAST: u8 = SET_RANGE;

const SET: u8 = 7;
const SET_UNTIL: u8 = 8;
const ADD: u8 = 9;
const ADD_FLOAT: u8 = 10;
const APPEND: u8 = 11;
const SET_RANGE: u8 = 12;

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
        unknown => return Err(CodecError::UnknownTag(unknown)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_wire_form;
    use super::*;

    #[test]
    fn every_action_has_its_wire_form() {
        check_wire_form(&[
            (Action::StringSet { value: b"v", deadline: None }, &[7, 1, b'v']),
            (Action::StringSet { value: b"", deadline: Some(300) }, &[8, 0xac, 2, 0]),
            (Action::StringAdd { increment: -2 }, &[9, 3]),
            (Action::StringAdd { increment: i64::MIN }, &[9, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            (Action::StringAddFloat { increment: b"0.5" }, &[10, 3, b'0', b'.', b'5']),
            (Action::StringAppend { bytes: b"xy" }, &[11, 2, b'x', b'y']),
            (Action::StringSetRange { offset: 9, bytes: b"xy" }, &[12, 9, 2, b'x', b'y']),
        ]);
    }
}
