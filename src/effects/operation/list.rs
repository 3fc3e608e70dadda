//! The wire form of what happens to the elements of lists.

use super::{Action, Elements, End, Ranges};
use crate::effects::{CodecError, Reader, write_bytes, write_varint};

pub const FIRST: u8 = PUSH_LEFT;
pub const LAST: u8 = TAKE_RIGHT;

const PUSH_LEFT: u8 = 48;
const PUSH_RIGHT: u8 = 49;
const INSERT: u8 = 50;
const SET_LEFT: u8 = 51;
const SET_RIGHT: u8 = 52;
const REMOVE_LEFT: u8 = 53;
const REMOVE_RIGHT: u8 = 54;
/// The elements at an end, and no others: what a pop removes.
const TAKE_LEFT: u8 = 55;
const TAKE_RIGHT: u8 = 56;

fn either(end: End, left: u8, right: u8) -> u8 {
    match end {
        End::Left => left,
        End::Right => right,
    }
}

pub fn write(out: &mut Vec<u8>, action: Action<'_>) {
    match action {
        Action::ListPush { end, elements } => {
            out.push(either(end, PUSH_LEFT, PUSH_RIGHT));
            elements.write(out);
        }
        Action::ListInsert { position, element } => {
            out.push(INSERT);
            write_varint(out, position);
            write_bytes(out, element);
        }
        Action::ListSet { from, position, element } => {
            out.push(either(from, SET_LEFT, SET_RIGHT));
            write_varint(out, position);
            write_bytes(out, element);
        }
        Action::ListRemove { from, ranges } => match ranges.at_the_end() {
            Some(count) => {
                out.push(either(from, TAKE_LEFT, TAKE_RIGHT));
                write_varint(out, count);
            }
            None => {
                out.push(either(from, REMOVE_LEFT, REMOVE_RIGHT));
                ranges.write(out);
            }
        },
        _ => unreachable!("not an action on a list"),
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    let end = match tag {
        PUSH_LEFT | SET_LEFT | REMOVE_LEFT | TAKE_LEFT => End::Left,
        _ => End::Right,
    };
    Ok(match tag {
        PUSH_LEFT | PUSH_RIGHT => Action::ListPush { end, elements: Elements::read(reader)? },
        INSERT => Action::ListInsert { position: reader.varint()?, element: reader.bytes()? },
        SET_LEFT | SET_RIGHT => Action::ListSet { from: end, position: reader.varint()?, element: reader.bytes()? },
        REMOVE_LEFT | REMOVE_RIGHT => Action::ListRemove { from: end, ranges: Ranges::read(reader)? },
        TAKE_LEFT | TAKE_RIGHT => Action::ListRemove { from: end, ranges: Ranges::read_at_the_end(reader)? },
        unknown => return Err(CodecError::UnknownTag(unknown)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_wire_form;
    use super::super::{Operations, RangesWriter};
    use super::*;

    #[test]
    fn every_action_has_its_wire_form() {
        let mut ranges = RangesWriter::default();
        [2, 3, 4, 300].into_iter().for_each(|position| ranges.push(position));
        let mut only = RangesWriter::default();
        only.push(1);
        let elements = Elements::parts(b"-abc", &[1..2, 2..4]);
        let (left, right) = (End::Left, End::Right);
        check_wire_form(&[
            (Action::ListPush { end: left, elements: Elements::one(b"e") }, &[48, 1, 1, b'e']),
            (Action::ListPush { end: right, elements }, &[49, 2, 1, b'a', 2, b'b', b'c']),
            (Action::ListInsert { position: 300, element: b"e" }, &[50, 0xac, 2, 1, b'e']),
            (Action::ListSet { from: left, position: 1, element: b"" }, &[51, 1, 0]),
            (Action::ListSet { from: right, position: 0, element: b"e" }, &[52, 0, 1, b'e']),
            (Action::ListRemove { from: left, ranges: ranges.ranges() }, &[53, 2, 2, 3, 0xa7, 2, 1]),
            (Action::ListRemove { from: right, ranges: only.ranges() }, &[54, 1, 1, 1]),
            (Action::ListRemove { from: left, ranges: Ranges::first(1) }, &[55, 1]),
            (Action::ListRemove { from: right, ranges: Ranges::first(300) }, &[56, 0xac, 2]),
        ]);
    }

    #[test]
    fn what_no_node_writes_is_refused() {
        let far = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        for action in [
            // No element, too few of them, and more than there could be.
            &[48, 0][..],
            &[49, 2, 1, b'a'],
            &[&[49][..], &far].concat(),
            // No range, an empty one, too few, and positions that no list has.
            &[53, 0],
            &[54, 1, 0, 0],
            &[53, 2, 0, 1],
            &[&[53, 1][..], &far, &[1]].concat(),
            &[&[53, 1, 1][..], &far].concat(),
            &[55, 0],
            &[&[56][..], &far].concat(),
        ] {
            let bytes = [&[1, 0, 0], action].concat();
            assert!(Operations::new(&bytes).any(|operation| operation.is_err()), "{action:?}");
        }
    }
}
