//! The wire form of what happens to streams, their groups and their consumers.

use super::stream_ids::{read_id, write_id};
use super::{Action, Elements, StreamClaims, StreamId, StreamIds};
use crate::effects::{CodecError, Reader, write_bytes, write_varint};

pub const FIRST: u8 = ADD;
pub const LAST: u8 = CONSUMER_REMOVE;

const ADD: u8 = 64;
const REMOVE: u8 = 65;
const TRIM: u8 = 66;
const SET_ID: u8 = 67;
const GROUP_CREATE: u8 = 68;
const GROUP_SET_POSITION: u8 = 69;
const GROUP_DESTROY: u8 = 70;
const DELIVER: u8 = 71;
/// Without making the entries pending.
const DELIVER_FOR_GOOD: u8 = 72;
const CLAIM: u8 = 73;
const ACKNOWLEDGE: u8 = 74;
const CONSUMER_CREATE: u8 = 75;
const CONSUMER_REMOVE: u8 = 76;

pub fn write(out: &mut Vec<u8>, action: Action<'_>) {
    match action {
        Action::StreamAdd { id, entry } => {
            out.push(ADD);
            write_id(out, id);
            entry.write(out);
        }
        Action::StreamRemove { ids } => {
            out.push(REMOVE);
            ids.write(out);
        }
        Action::StreamTrim { below } => {
            out.push(TRIM);
            write_id(out, below);
        }
        Action::StreamSetId { last, added, max_deleted } => {
            out.push(SET_ID);
            write_id(out, last);
            write_number(out, added);
            write_optional_id(out, max_deleted);
        }
        Action::GroupCreate { group, delivered, entries_read, late }
        | Action::GroupSetPosition { group, delivered, entries_read, late } => {
            let create = matches!(action, Action::GroupCreate { .. });
            out.push(if create { GROUP_CREATE } else { GROUP_SET_POSITION });
            write_bytes(out, group);
            write_id(out, delivered);
            write_number(out, entries_read);
            late.write(out);
        }
        Action::GroupDestroy { group } => {
            out.push(GROUP_DESTROY);
            write_bytes(out, group);
        }
        Action::GroupDeliver { group, consumer, ids, at, pending, entries_read } => {
            out.push(if pending { DELIVER } else { DELIVER_FOR_GOOD });
            write_bytes(out, group);
            write_bytes(out, consumer);
            ids.write(out);
            write_varint(out, at);
            write_number(out, entries_read);
        }
        Action::GroupClaim { group, consumer, claims, at, last } => {
            out.push(CLAIM);
            write_bytes(out, group);
            write_bytes(out, consumer);
            claims.write(out);
            write_number(out, at);
            write_optional_id(out, last);
        }
        Action::GroupAcknowledge { group, ids } => {
            out.push(ACKNOWLEDGE);
            write_bytes(out, group);
            ids.write(out);
        }
        Action::ConsumerCreate { group, consumer, at } => {
            out.push(CONSUMER_CREATE);
            write_bytes(out, group);
            write_bytes(out, consumer);
            write_varint(out, at);
        }
        Action::ConsumerRemove { group, consumer } => {
            out.push(CONSUMER_REMOVE);
            write_bytes(out, group);
            write_bytes(out, consumer);
        }
        _ => unreachable!("not an action on a stream"),
    }
}

pub fn read<'a>(tag: u8, reader: &mut Reader<'a>) -> Result<Action<'a>, CodecError> {
    Ok(match tag {
        ADD => {
            let (id, entry) = (read_id(reader)?, Elements::read(reader)?);
            if id == StreamId::MIN || entry.len() % 2 == 1 {
                return Err(CodecError::Invalid("an entry that no stream has"));
            }
            Action::StreamAdd { id, entry }
        }
        REMOVE => Action::StreamRemove { ids: StreamIds::read_some(reader)? },
        TRIM => Action::StreamTrim { below: read_id(reader)? },
        SET_ID => Action::StreamSetId {
            last: read_id(reader)?,
            added: read_number(reader)?,
            max_deleted: read_optional_id(reader)?,
        },
        GROUP_CREATE | GROUP_SET_POSITION => {
            let (group, delivered) = (reader.bytes()?, read_id(reader)?);
            let (entries_read, late) = (read_number(reader)?, StreamIds::read(reader)?);
            if late.iter().any(|id| id > delivered) {
                return Err(CodecError::Invalid("an entry that is late before its time"));
            }
            match tag {
                GROUP_CREATE => Action::GroupCreate { group, delivered, entries_read, late },
                _ => Action::GroupSetPosition { group, delivered, entries_read, late },
            }
        }
        GROUP_DESTROY => Action::GroupDestroy { group: reader.bytes()? },
        DELIVER | DELIVER_FOR_GOOD => Action::GroupDeliver {
            group: reader.bytes()?,
            consumer: reader.bytes()?,
            ids: StreamIds::read_some(reader)?,
            at: reader.varint()?,
            pending: tag == DELIVER,
            entries_read: read_number(reader)?,
        },
        CLAIM => Action::GroupClaim {
            group: reader.bytes()?,
            consumer: reader.bytes()?,
            claims: StreamClaims::read(reader)?,
            at: read_number(reader)?,
            last: read_optional_id(reader)?,
        },
        ACKNOWLEDGE => Action::GroupAcknowledge { group: reader.bytes()?, ids: StreamIds::read_some(reader)? },
        CONSUMER_CREATE => {
            Action::ConsumerCreate { group: reader.bytes()?, consumer: reader.bytes()?, at: reader.varint()? }
        }
        CONSUMER_REMOVE => Action::ConsumerRemove { group: reader.bytes()?, consumer: reader.bytes()? },
        unknown => return Err(CodecError::UnknownTag(unknown)),
    })
}

fn write_number(out: &mut Vec<u8>, number: Option<u64>) {
    out.push(u8::from(number.is_some()));
    if let Some(number) = number {
        write_varint(out, number);
    }
}

fn read_number(reader: &mut Reader<'_>) -> Result<Option<u64>, CodecError> {
    Ok(if is_there(reader)? { Some(reader.varint()?) } else { None })
}

fn write_optional_id(out: &mut Vec<u8>, id: Option<StreamId>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        write_id(out, id);
    }
}

fn read_optional_id(reader: &mut Reader<'_>) -> Result<Option<StreamId>, CodecError> {
    Ok(if is_there(reader)? { Some(read_id(reader)?) } else { None })
}

fn is_there(reader: &mut Reader<'_>) -> Result<bool, CodecError> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        unknown => Err(CodecError::UnknownTag(unknown)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_wire_form;
    use super::super::{Operations, StreamClaim};
    use super::*;

    #[test]
    fn every_action_has_its_wire_form() {
        let id = StreamId::new;
        let ids = [id(0, 3), id(5, 300), id(5, 301), id(7, 0)];
        let ids = StreamIds::of(&ids);
        let encoded = [4, 0, 3, 5, 0xac, 2, 0, 1, 2, 0];
        let claims = [StreamClaim { id: id(5, 1), delivered_at: 300, deliveries: 2 }];
        let claims = StreamClaims::of(&claims);
        let none = StreamIds::of(&[]);
        let (group, consumer) = (&b"g"[..], &b"c"[..]);
        let entry = Elements::parts(b"fv", &[0..1, 1..2]);
        let deliver =
            |pending, entries_read| Action::GroupDeliver { group, consumer, ids, at: 9, pending, entries_read };
        check_wire_form(&[
            (Action::StreamAdd { id: id(300, 1), entry }, &[64, 0xac, 2, 1, 2, 1, b'f', 1, b'v']),
            (Action::StreamRemove { ids }, &[&[65][..], &encoded].concat()),
            (Action::StreamTrim { below: id(2, 0) }, &[66, 2, 0]),
            (Action::StreamSetId { last: id(2, 1), added: None, max_deleted: None }, &[67, 2, 1, 0, 0]),
            (
                Action::StreamSetId { last: id(2, 1), added: Some(7), max_deleted: Some(id(1, 1)) },
                &[67, 2, 1, 1, 7, 1, 1, 1],
            ),
            (
                Action::GroupCreate { group, delivered: id(2, 1), entries_read: None, late: none },
                &[68, 1, b'g', 2, 1, 0, 0],
            ),
            (
                Action::GroupSetPosition { group, delivered: id(8, 1), entries_read: Some(3), late: ids },
                &[&[69, 1, b'g', 8, 1, 1, 3][..], &encoded].concat(),
            ),
            (Action::GroupDestroy { group }, &[70, 1, b'g']),
            (deliver(true, None), &[&[71, 1, b'g', 1, b'c'][..], &encoded, &[9, 0]].concat()),
            (deliver(false, Some(2)), &[&[72, 1, b'g', 1, b'c'][..], &encoded, &[9, 1, 2]].concat()),
            (
                Action::GroupClaim { group, consumer, claims, at: None, last: None },
                &[73, 1, b'g', 1, b'c', 1, 5, 1, 0xac, 2, 2, 0, 0],
            ),
            (
                Action::GroupClaim { group, consumer, claims, at: Some(7), last: Some(id(5, 1)) },
                &[73, 1, b'g', 1, b'c', 1, 5, 1, 0xac, 2, 2, 1, 7, 1, 5, 1],
            ),
            (Action::GroupAcknowledge { group, ids }, &[&[74, 1, b'g'][..], &encoded].concat()),
            (Action::ConsumerCreate { group, consumer, at: 9 }, &[75, 1, b'g', 1, b'c', 9]),
            (Action::ConsumerRemove { group, consumer }, &[76, 1, b'g', 1, b'c']),
        ]);
    }

    #[test]
    fn what_no_node_writes_is_refused() {
        let far = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        for action in [
            // 0-0, no field, a field without a value, and more fields than there could be.
            &[64, 0, 0, 2, 1, b'f', 1, b'v'][..],
            &[64, 1, 0, 0],
            &[64, 1, 0, 1, 1, b'f'],
            &[&[64, 1, 0][..], &far].concat(),
            // No id, 0-0, one id twice, more than there could be, and beyond the last there can be.
            &[65, 0],
            &[65, 1, 0, 0],
            &[65, 2, 1, 1, 0, 0],
            &[&[65][..], &far].concat(),
            &[&[65, 2, 1, 5, 0][..], &far].concat(),
            &[&[65, 2, 1, 5][..], &far, &[0]].concat(),
            // Late above the position, a flag that is none, nothing delivered, and too few claims.
            &[68, 1, b'g', 2, 1, 0, 1, 2, 2],
            &[67, 2, 1, 2, 0],
            &[71, 1, b'g', 1, b'c', 0, 9, 0],
            &[73, 1, b'g', 1, b'c', 2, 5, 1, 9, 2, 0, 0],
        ] {
            let bytes = [&[1, 0, 0], action].concat();
            assert!(Operations::new(&bytes).any(|operation| operation.is_err()), "{action:?}");
        }
    }
}
