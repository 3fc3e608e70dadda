//! The input is a type byte and an encoded value; and, as it is, a whole payload.

#![no_main]

use libfuzzer_sys::fuzz_target;
use swytch::rdb::{RdbValue, Reader, decode_value, dump_payload, load_payload};

/// What a value may take in memory, so that many can be tried in a second.
const BUDGET: usize = 32 << 20;

fuzz_target!(|input: &[u8]| {
    let _ = load_payload(input);
    let mut reader = Reader::with_budget(input, BUDGET);
    let Ok(mut value) = reader.byte().and_then(|type_byte| decode_value(type_byte, &mut reader)) else { return };
    if let RdbValue::Stream(stream) = &mut value {
        // What is written says only when they were seen.
        let consumers = stream.groups.iter_mut().flat_map(|group| &mut group.consumers);
        consumers.for_each(|consumer| consumer.active_at = Some(consumer.seen_at));
    }
    assert_eq!(load_payload(&dump_payload(&value)), Ok(value));
});
