//! The wire form of what happens to the elements of lists.

use super::{Action, Elements, End, Prints, Ranges};
use crate::effects::{CodecError, Reader, write_bytes, write_varint};

pub const FIRST: u8 = PUSH_LEFT;
pub const LAST: u8 = REMOVE_RIGHT_WHOLE;

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
/// The same with what the elements looked like.
const REMOVE_LEFT_KNOWN: u8 = 57;
const REMOVE_RIGHT_KNOWN: u8 = 58;
const TAKE_LEFT_KNOWN: u8 = 59;
const TAKE_RIGHT_KNOWN: u8 = 60;
/// The same where positions count all that the origin knew.
const REMOVE_LEFT_WHOLE: u8 = 61;
const REMOVE_RIGHT_WHOLE: u8 = 62;

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
        Action::ListRemove { from, ranges, prints, whole } => {
            match ranges.at_the_end().filter(|_| !whole) {
                Some(count) if prints.is_empty() => {
                    out.push(either(from, TAKE_LEFT, TAKE_RIGHT));
                    write_varint(out, count);
                }
                Some(count) => {
                    out.push(either(from, TAKE_LEFT_KNOWN, TAKE_RIGHT_KNOWN));
                    write_varint(out, count);
                }
                None => {
                    out.push(match (whole, prints.is_empty()) {
                        (true, _) => either(from, REMOVE_LEFT_WHOLE, REMOVE_RIGHT_WHOLE),
                        (false, true) => either(from, REMOVE_LEFT, REMOVE_RIGHT),
                        (false, false) => either(from, REMOVE_LEFT_KNOWN, REMOVE_RIGHT_KNOWN),
                    });
                    ranges.write(out);
                }
            }
            prints.write(out);
        }
        _ => unreachable!("not an action on a list"),
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    let end = match tag {
        PUSH_LEFT | SET_LEFT | REMOVE_LEFT | TAKE_LEFT => End::Left,
        REMOVE_LEFT_KNOWN | TAKE_LEFT_KNOWN | REMOVE_LEFT_WHOLE => End::Left,
        _ => End::Right,
    };
    Ok(match tag {
        PUSH_LEFT | PUSH_RIGHT => Action::ListPush { end, elements: Elements::read(reader)? },
        INSERT => Action::ListInsert { position: reader.varint()?, element: reader.bytes()? },
        SET_LEFT | SET_RIGHT => Action::ListSet { from: end, position: reader.varint()?, element: reader.bytes()? },
        REMOVE_LEFT..=REMOVE_RIGHT_WHOLE => {
            let ranges = match tag {
                TAKE_LEFT | TAKE_RIGHT | TAKE_LEFT_KNOWN | TAKE_RIGHT_KNOWN => Ranges::read_at_the_end(reader)?,
                _ => Ranges::read(reader)?,
            };
            let prints = match tag {
                REMOVE_LEFT..=TAKE_RIGHT => Prints::NONE,
                _ => Prints::read(reader, ranges.positions())?,
            };
            Action::ListRemove { from: end, ranges, prints, whole: tag >= REMOVE_LEFT_WHOLE }
        }
        unknown => return Err(CodecError::UnknownTag(unknown)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_wire_form;
    use super::super::{Operations, PrintsWriter, RangesWriter};
    use super::*;

    #[test]
    fn every_action_has_its_wire_form() {
        let mut ranges = RangesWriter::default();
        [2, 3, 4, 300].into_iter().for_each(|position| ranges.push(position));
        let mut writer = RangesWriter::default();
        writer.push(1);
        let only = writer.ranges();
        let elements = Elements::parts(b"-abc", &[1..2, 2..4]);
        let (mut one, mut two) = (PrintsWriter::default(), PrintsWriter::default());
        one.push(0x0403_0201);
        [0x0403_0201, 5].into_iter().for_each(|print| two.push(print));
        let (left, right) = (End::Left, End::Right);
        let removal = |from, ranges, prints, whole| Action::ListRemove { from, ranges, prints, whole };
        check_wire_form(&[
            (Action::ListPush { end: left, elements: Elements::one(b"e") }, &[48, 1, 1, b'e']),
            (Action::ListPush { end: right, elements }, &[49, 2, 1, b'a', 2, b'b', b'c']),
            (Action::ListInsert { position: 300, element: b"e" }, &[50, 0xac, 2, 1, b'e']),
            (Action::ListSet { from: left, position: 1, element: b"" }, &[51, 1, 0]),
            (Action::ListSet { from: right, position: 0, element: b"e" }, &[52, 0, 1, b'e']),
            (removal(left, ranges.ranges(), Prints::NONE, false), &[53, 2, 2, 3, 0xa7, 2, 1]),
            (removal(right, only, Prints::NONE, false), &[54, 1, 1, 1]),
            (removal(left, Ranges::first(1), Prints::NONE, false), &[55, 1]),
            (removal(right, Ranges::first(300), Prints::NONE, false), &[56, 0xac, 2]),
            (removal(left, only, one.prints(), false), &[57, 1, 1, 1, 1, 2, 3, 4]),
            (removal(right, only, one.prints(), false), &[58, 1, 1, 1, 1, 2, 3, 4]),
            (removal(left, Ranges::first(1), one.prints(), false), &[59, 1, 1, 2, 3, 4]),
            (removal(right, Ranges::first(2), two.prints(), false), &[60, 2, 1, 2, 3, 4, 5, 0, 0, 0]),
            (removal(left, Ranges::first(1), one.prints(), true), &[61, 1, 0, 1, 1, 2, 3, 4]),
            (removal(right, only, one.prints(), true), &[62, 1, 1, 1, 1, 2, 3, 4]),
        ]);
        assert_eq!(Prints::of(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
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
            // Too little is said of what they looked like, or too much.
            &[57, 1, 1, 1, 1, 2, 3],
            &[&[60, 17][..], &[0; 68]].concat(),
            &[61, 1, 0, 1],
            &[&[56][..], &far].concat(),
        ] {
            let bytes = [&[1, 0, 0], action].concat();
            assert!(Operations::new(&bytes).any(|operation| operation.is_err()), "{action:?}");
        }
    }
}
