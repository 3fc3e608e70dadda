//! The wire form of what happens to the fields of hashes.

use super::{Action, unzigzag, zigzag};
use crate::effects::{CodecError, Reader, write_bytes, write_varint};

pub const FIRST: u8 = SET;
pub const LAST: u8 = REMOVE;
pub const FIRST_OF_LIVES: u8 = SET_UNTIL;
pub const LAST_OF_LIVES: u8 = DEADLINE_AT;

const SET: u8 = 13;
const ADD: u8 = 14;
const ADD_FLOAT: u8 = 15;
const REMOVE: u8 = 16;
const SET_UNTIL: u8 = 22;
const DEADLINE_NONE: u8 = 23;
const DEADLINE_AT: u8 = 24;

pub fn write(out: &mut Vec<u8>, action: Action<'_>) {
    match action {
        Action::FieldSet { field, value, deadline } => {
            out.push(if deadline.is_some() { SET_UNTIL } else { SET });
            write_bytes(out, field);
            if let Some(deadline) = deadline {
                write_varint(out, deadline);
            }
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
        Action::FieldDeadline { field, at } => {
            out.push(if at.is_some() { DEADLINE_AT } else { DEADLINE_NONE });
            write_bytes(out, field);
            if let Some(at) = at {
                write_varint(out, at);
            }
        }
        _ => unreachable!("not an action on a hash"),
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    let field = reader.bytes()?;
    Ok(match tag {
        SET => Action::FieldSet { field, value: reader.bytes()?, deadline: None },
        SET_UNTIL => {
            let deadline = Some(reader.varint()?);
            Action::FieldSet { field, value: reader.bytes()?, deadline }
        }
        DEADLINE_NONE => Action::FieldDeadline { field, at: None },
        DEADLINE_AT => Action::FieldDeadline { field, at: Some(reader.varint()?) },
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
            (Action::FieldSet { field: b"f", value: b"v", deadline: None }, &[13, 1, b'f', 1, b'v']),
            (Action::FieldSet { field: b"f", value: b"v", deadline: Some(300) }, &[22, 1, b'f', 0xac, 2, 1, b'v']),
            (Action::FieldDeadline { field: b"f", at: None }, &[23, 1, b'f']),
            (Action::FieldDeadline { field: b"f", at: Some(300) }, &[24, 1, b'f', 0xac, 2]),
            (Action::FieldAdd { field: b"f", increment: -1 }, &[14, 1, b'f', 1]),
            (Action::FieldAddFloat { field: b"f", increment: b"-1" }, &[15, 1, b'f', 2, b'-', b'1']),
            (Action::FieldRemove { field: b"f" }, &[16, 1, b'f']),
        ]);
    }
}
