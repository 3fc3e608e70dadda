//! Input that nobody should have written: it is refused, at no more cost than its size.

use super::super::listpack::ListpackWriter;
use super::super::writer::{write_blob, write_length};
use super::super::{RdbError, Reader, decode_value, types};
use super::recorded::RECORDED;
use super::*;

/// Every type byte, encoded value.
fn values() -> Vec<(u8, Vec<u8>)> {
    let recorded = RECORDED.iter().map(|(name, _)| {
        let payload = recorded(name);
        (payload[0], payload[1..payload.len() - 10].to_vec())
    });
    recorded.chain(handmade::samples().into_iter().map(|(_, type_byte, value, _)| (type_byte, value))).collect()
}

fn decode(type_byte: u8, value: &[u8]) -> Result<RdbValue, RdbError> {
    decode_value(type_byte, &mut Reader::with_budget(value, 1 << 24))
}

#[test]
fn no_truncation_panics_or_passes() {
    for (type_byte, value) in values() {
        for length in (0..value.len()).filter(|&length| length < 600 || length + 100 > value.len()) {
            assert!(decode(type_byte, &value[..length]).is_err(), "{type_byte}: {length} of {value:?}");
        }
        decode(type_byte, &value).expect("well formed");
    }
}

#[test]
fn no_changed_byte_panics() {
    let mut rng = fastrand::Rng::with_seed(3);
    for (type_byte, value) in values() {
        for at in 0..value.len().min(400) {
            for byte in [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xc3, 0xf0, 0xfe, 0xff, value[at] ^ 1, rng.u8(..)] {
                let mut changed = value.clone();
                changed[at] = byte;
                let _ = decode(type_byte, &changed);
            }
        }
        for _ in 0..200 {
            let mut changed = value.clone();
            for _ in 0..rng.usize(1..5) {
                let at = rng.usize(..changed.len());
                changed[at] = rng.u8(..);
            }
            let _ = decode(type_byte, &changed);
        }
    }
}

#[test]
fn noise_and_wrong_types_never_panic() {
    let mut rng = fastrand::Rng::with_seed(4);
    for (_, value) in values() {
        for type_byte in 0..=30 {
            let _ = decode(type_byte, &value);
        }
    }
    for _ in 0..50_000 {
        let noise: Vec<u8> = (0..rng.usize(..40)).map(|_| rng.u8(..)).collect();
        let _ = decode(rng.u8(..30), &noise);
        let _ = load_payload(&noise);
    }
}

#[test]
fn claims_beyond_the_input_are_refused_at_once() {
    for type_byte in [types::LIST, types::SET, types::HASH, types::SORTED_SET, types::SORTED_SET_2] {
        for claim in [5, 1 << 20, 1 << 40, u64::MAX] {
            let mut value = Vec::new();
            write_length(&mut value, claim);
            value.extend_from_slice(b"\x01a\x01");
            assert_eq!(decode(type_byte, &value), Err(RdbError::Truncated), "{type_byte} {claim}");
        }
    }
}

/// Lists of empty strings: a byte each in the input, far more in memory.
#[test]
fn small_elements_count_with_what_they_take() {
    let mut value = Vec::new();
    write_length(&mut value, 1 << 20);
    value.resize(value.len() + (1 << 20), 0);
    assert_eq!(decode_value(types::LIST, &mut Reader::with_budget(&value, 1 << 24)), Err(RdbError::TooLarge));
    assert!(decode_value(types::LIST, &mut Reader::with_budget(&value, 1 << 25)).is_ok());
}

/// Each of ten thousand entries repeats one long field name: 100 KiB of input, 500 MB of values.
#[test]
fn repeated_field_names_count_each_time() {
    let mut node = ListpackWriter::new();
    [10_000, 0, 1].into_iter().for_each(|number| node.integer(number));
    node.string(&[b'f'; 50_000]);
    node.integer(0);
    for seq in 0..10_000 {
        [2, 0, seq, 1, 4].into_iter().for_each(|number| node.integer(number));
    }
    let mut value = vec![1];
    write_blob(&mut value, &[0; 16]);
    write_blob(&mut value, &node.finish());
    write_length(&mut value, 10_000);
    value.extend_from_slice(&[0x40, 0xff, 0x67, 0x10, 0, 0, 0, 0, 0, 0]);
    assert_eq!(decode(types::STREAM_LISTPACKS_2, &value), Err(RdbError::TooLarge));
}

/// Nodes of a list that are compressed a hundredfold.
#[test]
fn what_is_decompressed_counts() {
    let mut value = Vec::new();
    write_length(&mut value, 1000);
    for _ in 0..1000 {
        // One element: `x` and its copies.
        let mut compressed = vec![0, b'x'];
        for _ in 0..100 {
            compressed.extend_from_slice(&[0xe0, 0xff, 0]);
        }
        value.extend_from_slice(&[1, 0xc3]);
        write_length(&mut value, compressed.len() as u64);
        write_length(&mut value, 26_401);
        value.extend_from_slice(&compressed);
    }
    assert_eq!(decode(types::LIST_QUICKLIST_2, &value), Err(RdbError::TooLarge));
    assert!(decode_value(types::LIST_QUICKLIST_2, &mut Reader::new(&value)).is_ok());
}
