//! The wire form of what happens to the fields of hashes.

use super::{Action, unzigzag, zigzag};
use crate::effects::{CodecError, Reader, write_bytes, write_varint};

pub const FIRST: u8 = SET;
pub const LAST: u8 = REMOVE;

const SET: u8 = 13;
const ADD: u8 = 14;
const ADD_FLOAT: u8 = 15;
const REMOVE: u8 = 16;

pub fn write(out: &mut Vec<u8>, action: Action<'_>) {
    match action {
        Action::FieldSet { field, value } => {
            out.push(SET);
            write_bytes(out, field);
            write_bytes(out, value);
        }
        Action::FieldAdd { field, increment } => {
            out.push(ADD);
            write_bytes(out, field);
            write_varint(out, zigzag(increment));
        }
        Action::FieldAddFloat { field, increment } => {
            out.push(ADD_FLOAT);
            write_bytes(out, field);
            write_bytes(out, increment);
        }
        Action::FieldRemove { field } => {
            out.push(REMOVE);
            write_bytes(out, field);
        }
        _ => unreachable!("not an action on a hash"),
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    let field = reader.bytes()?;
    Ok(match tag {
        SET => Action::FieldSet { field, value: reader.bytes()? },
        ADD => Action::FieldAdd { field, increment: unzigzag(reader.varint()?) },
        ADD_FLOAT => Action::FieldAddFloat { field, increment: reader.bytes()? },
        REMOVE => Action::FieldRemove { field },
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
            (Action::FieldSet { field: b"f", value: b"v" }, &[13, 1, b'f', 1, b'v']),
            (Action::FieldAdd { field: b"f", increment: -1 }, &[14, 1, b'f', 1]),
            (Action::FieldAddFloat { field: b"f", increment: b"-1" }, &[15, 1, b'f', 2, b'-', b'1']),
            (Action::FieldRemove { field: b"f" }, &[16, 1, b'f']),
        ]);
    }
}
