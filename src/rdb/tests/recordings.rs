//! What a real server dumped is what it had.
//!
//! All with the configuration of a new server, except that: one string was dumped with `rdbcompression no`;
//! the list of compressed nodes had `list-max-listpack-size 3` and `list-compress-depth 1`; for hashes
//! `hash-max-listpack-entries` was 128, and 0 for the last one of Redis 8.0.

use super::super::{
    PendingEntry, RdbError, RdbValue, Stream, StreamConsumer, StreamEntry, StreamGroup, dump_payload, load_payload,
};
use super::recorded::RECORDED;
use super::*;

/// When XREADGROUP of the recorded groups came.
const READ_AT: u64 = 1_795_531_107_952;

fn expected(name: &str) -> RdbValue {
    const LETTERS: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-";
    let string = |text: &str| RdbValue::String(text.as_bytes().to_vec());
    match name {
        "string empty" => string(""),
        "string" => string("hello"),
        "string int8" => string("-128"),
        "string int16" => string("-129"),
        "string int32" => string("2147483647"),
        "string int64" => string("2147483648"),
        "string 63" => string(&LETTERS[..63]),
        "string 64" => string(LETTERS),
        "string of all bytes" => RdbValue::String((0..=255).collect()),
        "string run" => string(&"a".repeat(1000)),
        "string repeating" => string(&(0..300).map(|number| format!("{number},")).collect::<String>()),
        "string 16384 lzf" => {
            let mut value = vec![b'a'; 16_384];
            value[5] = b'b';
            RdbValue::String(value)
        }
        "list of integers and strings" => list_of_integers_and_strings(),
        "list of long strings" => list([63, 64, 4095, 4096].map(|length: usize| {
            let letter = char::from(b'a' + (length % 7) as u8);
            letter.to_string().repeat(length)
        })),
        "list with a plain node" => list(["head", &"p".repeat(10_000), "tail"]),
        "list of compressed nodes" => list((0..10).map(|number| format!("{number}-element-element-element-element"))),
        "set of 16 bit integers" => set([-32_768, 0, 32_767, 5]),
        "set of 32 bit integers" => set([-32_769, 0, i32::MAX]),
        "set of 64 bit integers" => set([2_147_483_648, -1, i64::MIN, i64::MAX]),
        "set of 512 integers" => set((0..1024).step_by(2)),
        "set of 513 integers" => set((0..1026).step_by(2)),
        "set of strings" | "redis 8.0 set listpack" => set(["a", "bc", "17", "", "-5x"]),
        "sorted set listpack" => sorted_set([
            ("a", 1.5),
            ("b", f64::NEG_INFINITY),
            ("c", f64::INFINITY),
            ("d", 3.0),
            ("e", -0.25),
            ("f", 1e300),
            ("17", 1e20),
            ("h", 0.1),
        ]),
        "sorted set of 128" => sorted_set((0..128).map(|number| (format!("m{number}"), f64::from(number) / 4.0 - 3.0))),
        "sorted set of 129" => sorted_set((0..129).map(|number| (format!("m{number}"), f64::from(number) / 4.0 - 3.0))),
        "sorted set with a long member" => {
            sorted_set([("x".repeat(65), 1.5), ("b".into(), f64::NEG_INFINITY), ("17".into(), f64::INFINITY)])
        }
        "hash of 128" => hash((0..128).map(|number| (format!("f{number}"), number * number))),
        "hash of 129" => hash((0..129).map(|number| (format!("f{number}"), number * number))),
        "hash with a value of 64" => hash([("f", "v".repeat(64)), ("g", String::new())]),
        "hash with a value of 65" => hash([("f", "v".repeat(65)), ("17", "-18".into())]),
        "stream" => RdbValue::Stream(Stream {
            entries: vec![
                entry(5, 1, &[("a", "1"), ("b", "two")]),
                entry(5, 2, &[("a", "3"), ("b", "4")]),
                entry(6, 0, &[("c", "x"), ("a", "y")]),
                entry(9_000_000_000_000, 7, &[("a", "q"), ("a", "r")]),
            ],
            last_id: id(9_000_000_000_000, 7),
            entries_added: 4,
            ..Stream::default()
        }),
        "stream with deletions" => RdbValue::Stream(Stream {
            entries: [2, 3, 5, 6]
                .map(|number| entry(number * 1000, number % 3, &[("f", &format!("v{number}"))]))
                .into(),
            last_id: id(7500, 0),
            max_deleted_id: id(7000, 1),
            entries_added: 9,
            ..Stream::default()
        }),
        "stream of several nodes" => RdbValue::Stream(Stream {
            entries: (31..=250).map(|number| entry(number, 0, &[("n", &number.to_string())])).collect(),
            last_id: id(250, 0),
            entries_added: 250,
            ..Stream::default()
        }),
        "stream without entries" => RdbValue::Stream(Stream {
            groups: vec![StreamGroup {
                name: b"g".to_vec(),
                last_id: id(0, 0),
                entries_read: None,
                pending: vec![],
                consumers: vec![],
            }],
            ..Stream::default()
        }),
        "stream without entries any more" => RdbValue::Stream(Stream {
            last_id: id(1, 1),
            max_deleted_id: id(1, 1),
            entries_added: 1,
            ..Stream::default()
        }),
        "stream with groups" => RdbValue::Stream(stream_with_groups()),
        "redis 8.0 hash with expiry of fields" | "redis 8.0 hash listpack with expiry of fields" => {
            const FIRST: u64 = 20_000_000_000_000;
            expiring_hash([("a", "1", None), ("b", "two", Some(FIRST + 5)), ("17", "", Some(FIRST))])
        }
        "redis 8.0 stream of the third form" => RdbValue::Stream(stream_with_idle_consumer()),
        other => panic!("nobody said what {other:?} is"),
    }
}

fn list_of_integers_and_strings() -> RdbValue {
    let mut items = vec![b"a".to_vec()];
    let mut integers = vec![0, 1, -1, 127, 128, -128, -4096, -4097, 4095, 4096];
    integers.extend([32_767, 32_768, -32_768, -32_769, 8_388_607, 8_388_608, -8_388_608, -8_388_609]);
    integers.extend([2_147_483_647, 2_147_483_648, -2_147_483_648, -2_147_483_649, i64::MAX, i64::MIN]);
    items.extend(bytes(integers));
    items.extend(bytes(["9223372036854775808", "-0", "01", ""]));
    items.push(vec![0, 0xff]);
    RdbValue::List(items)
}

fn entry(ms: u64, seq: u64, fields: &[(&str, &str)]) -> StreamEntry {
    let fields = fields.iter().map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec()));
    StreamEntry { id: id(ms, seq), fields: fields.collect() }
}

/// Five entries; `alice` read three of them, `bob` two; 2-0 was acknowledged, 5-0 claimed for `alice`, 3-0 deleted.
fn stream_with_groups() -> Stream {
    let pending = |ms, delivered_at, deliveries| PendingEntry { id: id(ms, 0), delivered_at, deliveries };
    let consumer = |name: &str, seen_at, pending: &[u64]| StreamConsumer {
        name: name.as_bytes().to_vec(),
        seen_at,
        active_at: Some(seen_at),
        pending: pending.iter().map(|&ms| id(ms, 0)).collect(),
    };
    let group = |name: &str, ms, entries_read| StreamGroup {
        name: name.as_bytes().to_vec(),
        last_id: id(ms, 0),
        entries_read,
        pending: vec![],
        consumers: vec![],
    };
    Stream {
        entries: [1, 2, 4, 5].map(|ms| entry(ms, 0, &[("f", "v")])).into(),
        last_id: id(5, 0),
        max_deleted_id: id(3, 0),
        entries_added: 5,
        groups: vec![
            group("17", 3, None),
            StreamGroup {
                pending: vec![
                    pending(1, READ_AT, 1),
                    pending(3, READ_AT, 1),
                    pending(4, READ_AT + 1, 1),
                    pending(5, 1_700_000_000_123, 300),
                ],
                consumers: vec![
                    consumer("alice", READ_AT + 1, &[1, 3, 5]),
                    consumer("bob", READ_AT + 1, &[4]),
                    consumer("idle", READ_AT, &[]),
                ],
                ..group("all", 5, Some(5))
            },
            group("rest", 2, Some(2)),
        ],
    }
}

/// `alice` got the one entry, and asked in vain later; `idle` did nothing.
fn stream_with_idle_consumer() -> Stream {
    const ACTIVE_AT: u64 = 1_795_533_635_882;
    let consumer = |name: &str, seen_at, active_at, pending| StreamConsumer {
        name: name.as_bytes().to_vec(),
        seen_at,
        active_at,
        pending,
    };
    Stream {
        entries: vec![entry(1, 0, &[("f", "v")])],
        last_id: id(1, 0),
        max_deleted_id: id(0, 0),
        entries_added: 1,
        groups: vec![StreamGroup {
            name: b"g".to_vec(),
            last_id: id(1, 0),
            entries_read: Some(1),
            pending: vec![PendingEntry { id: id(1, 0), delivered_at: ACTIVE_AT, deliveries: 1 }],
            consumers: vec![
                consumer("alice", ACTIVE_AT + 51, Some(ACTIVE_AT), vec![id(1, 0)]),
                consumer("idle", ACTIVE_AT, None, vec![]),
            ],
        }],
    }
}

#[test]
fn recorded_payloads_are_what_the_server_had() {
    for (name, _) in RECORDED {
        assert_eq!(load(&recorded(name)), expected(name), "{name}");
    }
}

#[test]
fn recorded_values_survive_being_written_and_read() {
    for (name, _) in RECORDED {
        let mut value = load(&recorded(name));
        let written = load(&dump_payload(&value));
        if let RdbValue::Stream(stream) = &mut value {
            // What is written says only when they were seen.
            let consumers = stream.groups.iter_mut().flat_map(|group| &mut group.consumers);
            consumers.for_each(|consumer| consumer.active_at = Some(consumer.seen_at));
        }
        assert_eq!(written, value, "{name}");
    }
}

#[test]
fn where_the_forms_are_the_same_the_bytes_are() {
    let strings =
        ["string empty", "string", "string int8", "string int16", "string int32", "string int64", "string 63"];
    let others = ["string 64", "string of all bytes", "stream without entries", "stream without entries any more"];
    for name in strings.into_iter().chain(others) {
        let value = load_payload(&recorded(name)).expect("well formed");
        assert_eq!(dump_payload(&value), recorded(name), "{name}");
    }
}

#[test]
fn the_footer_is_checked() {
    let payload = recorded("string");
    let end = payload.len();
    let mut no_checksum = payload.clone();
    no_checksum[end - 8..].fill(0);
    assert_eq!(load_payload(&no_checksum), Err(RdbError::Checksum));
    let mut other_value = payload.clone();
    other_value[3] ^= 1;
    assert_eq!(load_payload(&other_value), Err(RdbError::Checksum));
    for length in 0..10 {
        assert_eq!(load_payload(&payload[..length]), Err(RdbError::Checksum));
    }
    assert_eq!(load_payload(&handmade::payload_of_version(0, b"\x02hi", 12)), Ok(RdbValue::String(b"hi".to_vec())));
    assert_eq!(load_payload(&handmade::payload_of_version(0, b"\x02hi", 13)), Err(RdbError::Version(13)));
    assert_eq!(load_payload(&handmade::payload_of_version(7, b"\x02hi", 9)), Err(RdbError::UnknownType(7)));
    assert!(matches!(load_payload(&handmade::payload(0, b"\x02hi!")), Err(RdbError::Invalid(_))));
}
