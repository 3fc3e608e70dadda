//! The wire form of what happens to the members of sets.

use super::Action;
use crate::effects::{CodecError, Reader, write_bytes};

pub const FIRST: u8 = ADD;
pub const LAST: u8 = REMOVE;

const ADD: u8 = 17;
const REMOVE: u8 = 18;

pub fn write(out: &mut Vec<u8>, action: Action<'_>) {
    match action {
        Action::MemberAdd { member } => {
            out.push(ADD);
            write_bytes(out, member);
        }
        Action::MemberRemove { member } => {
            out.push(REMOVE);
            write_bytes(out, member);
        }
        _ => unreachable!("not an action on a set"),
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    let member = reader.bytes()?;
    Ok(match tag {
        ADD => Action::MemberAdd { member },
        REMOVE => Action::MemberRemove { member },
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
            (Action::MemberAdd { member: b"m" }, &[17, 1, b'm']),
            (Action::MemberRemove { member: b"" }, &[18, 0]),
        ]);
    }
}
