//! Payloads made by hand: the forms that no current server writes, from the documented layouts.

use super::super::listpack::ListpackWriter;
use super::super::writer::{write_blob, write_length};
use super::super::{
    PendingEntry, RdbError, RdbValue, Reader, Stream, StreamConsumer, StreamEntry, StreamGroup, decode_value, types,
};
use super::*;

/// A payload around a type byte and an encoded value.
pub(super) fn payload(type_byte: u8, value: &[u8]) -> Vec<u8> {
    payload_of_version(type_byte, value, 9)
}

pub(super) fn payload_of_version(type_byte: u8, value: &[u8], version: u16) -> Vec<u8> {
    let mut payload = vec![type_byte];
    payload.extend_from_slice(value);
    payload.extend_from_slice(&version.to_le_bytes());
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// The encoding and data of a ziplist's entry.
fn integer(encoding: u8, data: &[u8]) -> Vec<u8> {
    [&[encoding], data].concat()
}

fn short_string(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// A ziplist of entries, each given as its encoding and data.
fn ziplist(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    let (mut previous, mut tail) = (0, 10);
    for entry in entries {
        tail = 10 + body.len();
        if previous < 254 {
            body.push(previous as u8);
        } else {
            body.push(254);
            body.extend_from_slice(&(previous as u32).to_le_bytes());
        }
        body.extend_from_slice(entry);
        previous = 10 + body.len() - tail;
    }
    let mut ziplist = (body.len() as u32 + 11).to_le_bytes().to_vec();
    ziplist.extend_from_slice(&(tail as u32).to_le_bytes());
    ziplist.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    ziplist.extend_from_slice(&body);
    ziplist.push(0xff);
    ziplist
}

/// Entries in all encodings, and what they are.
fn ziplist_entries() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let long = |length: usize| vec![b'l'; length];
    let entries = vec![
        short_string(""),
        short_string("short"),
        [&[0x40, 64][..], &long(64)].concat(),
        [&[0x7f, 0xff][..], &long(16_383)].concat(),
        [&[0x80, 0, 0, 0x40, 0][..], &long(16_384)].concat(),
        integer(0xf1, &[]),
        integer(0xfd, &[]),
        integer(0xfe, &[0x80]),
        integer(0xc0, &[0, 0x80]),
        integer(0xf0, &[0xff, 0xff, 0x7f]),
        integer(0xf0, &[0, 0, 0x80]),
        integer(0xd0, &i32::MIN.to_le_bytes()),
        integer(0xe0, &i64::MAX.to_le_bytes()),
    ];
    let mut strings = vec![vec![], b"short".to_vec(), long(64), long(16_383), long(16_384)];
    strings.extend(bytes([0, 12, -128, -32_768, 8_388_607, -8_388_608, i64::from(i32::MIN), i64::MAX]));
    (entries, strings)
}

fn blob(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_blob(&mut out, bytes);
    out
}

fn listpack(elements: &[Result<i64, &str>]) -> Vec<u8> {
    let mut writer = ListpackWriter::new();
    for element in elements {
        match element {
            Ok(number) => writer.integer(*number),
            Err(string) => writer.string(string.as_bytes()),
        }
    }
    writer.finish()
}

fn intset(width: u32, integers: &[u8]) -> Vec<u8> {
    let count = integers.len() as u32 / width;
    [&width.to_le_bytes()[..], &count.to_le_bytes(), integers].concat()
}

/// Name, type byte, encoded value, value.
pub(super) fn samples() -> Vec<(&'static str, u8, Vec<u8>, RdbValue)> {
    let (entries, strings) = ziplist_entries();
    let mut ziplist_of_unknown_count = ziplist(&entries);
    ziplist_of_unknown_count[8..10].fill(0xff);
    let pairs = [short_string("a"), integer(0xf6, &[]), short_string("17"), short_string("2.5e1")];
    let zipmap = b"\x02\x01f\x02\x03vvxxx\x03gap\xfe\xff\0\0\0\0";
    let zipmap = [&zipmap[..], &[b'w'; 255], b"\xff"].concat();
    let packed = listpack(&[Err("x"), Ok(5)]);
    let scores = b"\x04\x01a\x031.5\x01b\xfe\x01c\xff\xc0\x07\x05-1e-3";
    let expiries = [&5000u64.to_le_bytes()[..], b"\x03\x01\x01a\x01x\x00\xc0\x07\x01y\x43\xe9\x01c\x00"].concat();
    let triples = listpack(&[Err("a"), Ok(1), Ok(5000), Err("c"), Err(""), Ok(6000), Ok(7), Err("y"), Ok(0)]);
    vec![
        ("linked list", types::LIST, b"\x03\x01a\xc0\x05\xc1\x00\x80".to_vec(), list(["a", "5", "-32768"])),
        ("list ziplist", types::LIST_ZIPLIST, blob(&ziplist(&entries)), RdbValue::List(strings.clone())),
        (
            "list ziplist of unknown count",
            types::LIST_ZIPLIST,
            blob(&ziplist_of_unknown_count),
            RdbValue::List(strings.clone()),
        ),
        (
            "quicklist",
            types::LIST_QUICKLIST,
            [&[3][..], &blob(&ziplist(&entries)), &blob(&ziplist(&[])), &blob(&ziplist(&pairs))].concat(),
            RdbValue::List([strings.clone(), bytes(["a", "5", "17", "2.5e1"])].concat()),
        ),
        (
            "quicklist of both kinds",
            types::LIST_QUICKLIST_2,
            [&[2, 2][..], &blob(&packed), b"\x01\x05plain"].concat(),
            list(["x", "5", "plain"]),
        ),
        ("intset", types::SET_INTSET, blob(&intset(2, &[0xfb, 0xff, 3, 0, 0xbc, 2])), set([-5, 3, 700])),
        ("set listpack", types::SET_LISTPACK, blob(&packed), set(["x", "5"])),
        (
            "sorted set",
            types::SORTED_SET,
            scores.to_vec(),
            sorted_set([("a", 1.5), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY), ("7", -0.001)]),
        ),
        (
            "sorted set ziplist",
            types::SORTED_SET_ZIPLIST,
            blob(&ziplist(&pairs)),
            sorted_set([("a", 5.0), ("17", 25.0)]),
        ),
        ("hash zipmap", types::HASH_ZIPMAP, blob(&zipmap), hash([("f", "vv"), ("gap", &"w".repeat(255))])),
        ("hash ziplist", types::HASH_ZIPLIST, blob(&ziplist(&pairs)), hash([("a", "5"), ("17", "2.5e1")])),
        (
            "hash with expiry of fields",
            types::HASH_METADATA,
            expiries,
            expiring_hash([("a", "x", Some(5000)), ("7", "y", None), ("c", "", Some(6000))]),
        ),
        (
            "hash listpack with expiry of fields",
            types::HASH_LISTPACK_EX,
            [&5000u64.to_le_bytes()[..], &blob(&triples)].concat(),
            expiring_hash([("a", "1", Some(5000)), ("c", "", Some(6000)), ("7", "y", None)]),
        ),
        ("stream of the first form", types::STREAM_LISTPACKS, stream(types::STREAM_LISTPACKS), stream_value(1)),
        ("stream of the second form", types::STREAM_LISTPACKS_2, stream(types::STREAM_LISTPACKS_2), stream_value(2)),
        ("stream of the third form", types::STREAM_LISTPACKS_3, stream(types::STREAM_LISTPACKS_3), stream_value(3)),
    ]
}

/// A node with a deleted entry, one with the master's fields, one with other fields and a lower seq.
fn stream_node() -> Vec<u8> {
    let id = [5u64.to_be_bytes(), 10u64.to_be_bytes()].concat();
    let master = [Ok(2), Ok(1), Ok(2), Err("f"), Err("g"), Ok(0)];
    let deleted = [Ok(3), Ok(0), Ok(0), Ok(1), Ok(2), Ok(5)];
    let same = [Ok(2), Ok(0), Ok(1), Err("x"), Ok(-7), Ok(5)];
    let others = [Ok(0), Ok(3), Ok(-10), Ok(1), Err("h"), Err("z"), Ok(6)];
    let elements = [&master[..], &deleted, &same, &others].concat();
    [blob(&id), blob(&listpack(&elements))].concat()
}

fn stream(type_byte: u8) -> Vec<u8> {
    let mut out = vec![1];
    out.extend_from_slice(&stream_node());
    out.push(2);
    let second = type_byte != types::STREAM_LISTPACKS;
    out.extend_from_slice(&[8, 0]);
    if second {
        out.extend_from_slice(&[5, 11, 5, 10, 4]);
    }
    let mut group = |name: &str, last: [u8; 2], read: u64| {
        out.extend_from_slice(&blob(name.as_bytes()));
        out.extend_from_slice(&last);
        if second {
            write_length(&mut out, read);
        }
        if name != "g" {
            out.extend_from_slice(&[0, 0]);
            return;
        }
        let [first, last] = [(5u64, 11u64), (8, 0)].map(|(ms, seq)| [ms.to_be_bytes(), seq.to_be_bytes()].concat());
        // Redis takes them in any order.
        out.push(2);
        out.extend_from_slice(&last);
        out.extend_from_slice(&1000u64.to_le_bytes());
        out.push(1);
        out.extend_from_slice(&first);
        out.extend_from_slice(&2000u64.to_le_bytes());
        out.push(3);
        out.push(2);
        for (consumer, seen, active, pending) in [("a", 7u64, 6i64, vec![last, first]), ("b", 9, -1, vec![])] {
            out.extend_from_slice(&blob(consumer.as_bytes()));
            out.extend_from_slice(&seen.to_le_bytes());
            if type_byte == types::STREAM_LISTPACKS_3 {
                out.extend_from_slice(&active.to_le_bytes());
            }
            out.push(pending.len() as u8);
            out.extend_from_slice(&pending.concat());
        }
    };
    let number_of_groups = 4;
    group("g", [8, 0], 3);
    group("h", [5, 11], u64::MAX);
    group("i", [0, 0], 0);
    group("j", [6, 0], u64::MAX);
    let head = 1 + stream_node().len() + 1 + 2 + if second { 5 } else { 0 };
    out.insert(head, number_of_groups);
    out
}

fn stream_value(form: u8) -> RdbValue {
    let entry = |id, fields: &[(&str, &str)]| StreamEntry {
        id,
        fields: fields.iter().map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec())).collect(),
    };
    let group = |name: &[u8], last_id, entries_read| StreamGroup {
        name: name.to_vec(),
        last_id,
        entries_read,
        pending: vec![],
        consumers: vec![],
    };
    let consumer = |name: &[u8], seen_at, active_at, pending| StreamConsumer {
        name: name.to_vec(),
        seen_at,
        active_at: if form == 3 { active_at } else { Some(seen_at) },
        pending,
    };
    RdbValue::Stream(Stream {
        entries: vec![entry(id(5, 11), &[("f", "x"), ("g", "-7")]), entry(id(8, 0), &[("h", "z")])],
        last_id: id(8, 0),
        max_deleted_id: if form == 1 { id(0, 0) } else { id(5, 10) },
        entries_added: if form == 1 { 2 } else { 4 },
        groups: vec![
            StreamGroup {
                pending: vec![
                    PendingEntry { id: id(5, 11), delivered_at: 2000, deliveries: 3 },
                    PendingEntry { id: id(8, 0), delivered_at: 1000, deliveries: 1 },
                ],
                consumers: vec![consumer(b"a", 7, Some(6), vec![id(5, 11), id(8, 0)]), consumer(b"b", 9, None, vec![])],
                ..group(b"g", id(8, 0), Some(if form == 1 { 2 } else { 3 }))
            },
            group(b"h", id(5, 11), (form == 1).then_some(1)),
            group(b"i", id(0, 0), Some(0)),
            group(b"j", id(6, 0), None),
        ],
    })
}

#[test]
fn the_forms_of_all_versions_are_read() {
    for (name, type_byte, value, expected) in samples() {
        assert_eq!(load(&payload(type_byte, &value)), expected, "{name}");
    }
}

/// A packed form within a compressed string: one literal run after another compresses nothing and is still LZF.
#[test]
fn packed_forms_can_be_compressed() {
    let (entries, strings) = ziplist_entries();
    let ziplist = ziplist(&entries);
    let mut compressed = Vec::new();
    for run in ziplist.chunks(32) {
        compressed.push(run.len() as u8 - 1);
        compressed.extend_from_slice(run);
    }
    let mut value = vec![0xc3];
    write_length(&mut value, compressed.len() as u64);
    write_length(&mut value, ziplist.len() as u64);
    value.extend_from_slice(&compressed);
    assert_eq!(load(&payload(types::LIST_ZIPLIST, &value)), RdbValue::List(strings));
}

#[test]
fn what_the_server_refuses_is_refused() {
    let empty_listpack = listpack(&[]);
    let twice = listpack(&[Err("a"), Ok(1), Err("a"), Ok(1)]);
    let members = |score: f64| [b"\x01\x01a", &score.to_le_bytes()[..]].concat();
    let same_member = [b"\x02\x01a", &1f64.to_le_bytes()[..], b"\x01a", &2f64.to_le_bytes()[..]].concat();
    let cases: Vec<(u8, Vec<u8>)> = vec![
        (types::LIST, vec![0]),
        (types::SET, vec![0]),
        (types::HASH, vec![0]),
        (types::SORTED_SET_2, vec![0]),
        (types::LIST_QUICKLIST, vec![0]),
        (types::LIST_QUICKLIST_2, [&[1, 2][..], &blob(&empty_listpack)].concat()),
        (types::LIST_QUICKLIST_2, b"\x01\x03\x05plain".to_vec()),
        (types::LIST_ZIPLIST, blob(&ziplist(&[]))),
        (types::HASH_ZIPMAP, blob(b"\x00\xff")),
        (types::HASH_ZIPMAP, blob(b"\x02\x01f\x01\x00v\xff")),
        (types::HASH_ZIPMAP, blob(b"\x02\x01f\x01\x00v\x01f\x01\x00w\xff")),
        (types::HASH_ZIPMAP, blob(b"\x01\x01f\xff")),
        (types::HASH_ZIPMAP, blob(b"\x01\x01f\x01\x00v\xff\xff")),
        (types::SET_INTSET, blob(&intset(2, &[]))),
        (types::SET_INTSET, blob(&intset(2, &[5, 0, 3, 0]))),
        (types::SET_INTSET, blob(&intset(2, &[5, 0, 5, 0]))),
        (types::SET_INTSET, blob(&intset(2, &[5, 0, 6]))),
        (types::SET_INTSET, blob(&intset(3, &[5, 0, 6]))),
        (types::SET, b"\x02\x01a\x01a".to_vec()),
        (types::SET_LISTPACK, blob(&twice)),
        (types::SORTED_SET_2, members(f64::NAN)),
        (types::SORTED_SET_2, same_member),
        (types::SORTED_SET, b"\x01\x01a\xfd".to_vec()),
        (types::SORTED_SET_LISTPACK, blob(&twice)),
        (types::SORTED_SET_LISTPACK, blob(&listpack(&[Err("a")]))),
        (types::SORTED_SET_LISTPACK, blob(&listpack(&[Err("a"), Err("nan")]))),
        (types::HASH, b"\x02\x01a\x01b\x01a\x01c".to_vec()),
        (types::HASH_LISTPACK, blob(&twice)),
        (types::HASH_LISTPACK, blob(&listpack(&[Err("a"), Ok(1), Err("b")]))),
        (types::HASH_LISTPACK_EX, [&[0; 8][..], &blob(&listpack(&[Err("a"), Ok(1), Err("5")]))].concat()),
        (types::HASH_LISTPACK_EX, [&[0; 8][..], &blob(&listpack(&[Err("a"), Ok(1), Ok(-1)]))].concat()),
        (types::HASH_LISTPACK_EX, [&[0; 8][..], &blob(&listpack(&[Err("a"), Ok(1), Ok(1 << 48)]))].concat()),
        (types::HASH_METADATA, [&[0xff; 8][..], b"\x01\x01\x01a\x01b"].concat()),
    ];
    for (type_byte, value) in cases {
        let mut reader = Reader::new(&value);
        let decoded = decode_value(type_byte, &mut reader);
        assert!(matches!(decoded, Err(RdbError::Invalid(_))), "{type_byte} {value:?} {decoded:?}");
    }
}

#[test]
fn streams_that_contradict_themselves_are_refused() {
    // Of the second form: where a byte is, another value, and what that says.
    let good = stream(types::STREAM_LISTPACKS_2);
    let node = stream_node().len();
    let groups = 1 + node + 1 + 2 + 5 + 1;
    let consumers = groups + 2 + 2 + 1 + 1 + 2 * (16 + 8 + 1);
    let cases = [
        (1 + node, 3, "three entries"),
        (1 + node + 1, 7, "a last id before the last entry"),
        (1, 15, "an id of 15 bytes"),
        (1 + 17 + 1 + 6, 3, "a node of three entries"),
        (1 + 17 + 1 + 8, 0, "a node without deleted entries"),
        (groups + 6 + 15, 1, "a pending entry that nobody owns"),
        (groups + 6 + 16 + 7, 0x80, "a time before 1970"),
        (consumers + 2, b'b', "two consumers of one name"),
    ];
    let decode = |value: &[u8]| decode_value(types::STREAM_LISTPACKS_2, &mut Reader::new(value));
    decode(&good).expect("well formed");
    for (at, value, what) in cases {
        let mut changed = good.clone();
        assert_ne!(changed[at], value, "{what}");
        changed[at] = value;
        assert!(decode(&changed).is_err(), "{what}");
    }
    let h = good.windows(2).rposition(|pair| pair == b"\x01h").expect("the group");
    let mut changed = good.clone();
    changed[h + 1] = b'g';
    assert_eq!(decode(&changed), Err(RdbError::Invalid("two consumer groups of one name")));
    let unordered = [
        [Ok(2), Ok(0), Ok(1), Err("f"), Ok(0)].as_slice(),
        &[Ok(2), Ok(0), Ok(5), Err("x"), Ok(4)],
        &[Ok(2), Ok(0), Ok(5), Err("x"), Ok(4)],
    ];
    let mut value = vec![1];
    value.extend_from_slice(&blob(&[0; 16]));
    value.extend_from_slice(&blob(&listpack(&unordered.concat())));
    assert_eq!(decode(&value), Err(RdbError::Invalid("stream entries that are not in order")));
}
