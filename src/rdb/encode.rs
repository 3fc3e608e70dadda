//! From a value to the forms that Redis 7.0 and later read.

use super::decode::LATEST_FIELD_EXPIRY;
use super::writer::{write_length, write_string};
use super::{HashField, RdbValue, stream, types};

/// The byte that says how [`encode_value`] writes this value.
pub fn type_byte(value: &RdbValue) -> u8 {
    match value {
        RdbValue::String(_) => types::STRING,
        RdbValue::List(_) => types::LIST,
        RdbValue::Set(_) => types::SET,
        RdbValue::SortedSet(_) => types::SORTED_SET_2,
        RdbValue::Hash(fields) if earliest_expiry(fields).is_some() => types::HASH_METADATA,
        RdbValue::Hash(_) => types::HASH,
        RdbValue::Stream(_) => types::STREAM_LISTPACKS_2,
    }
}

/// Appends a value, without its type byte.
///
/// # Panics
/// If a string or an entry of a stream is of 4 GiB or more, which no command can make.
pub fn encode_value(value: &RdbValue, out: &mut Vec<u8>) {
    match value {
        RdbValue::String(string) => write_string(out, string),
        RdbValue::List(elements) | RdbValue::Set(elements) => {
            write_length(out, elements.len() as u64);
            elements.iter().for_each(|element| write_string(out, element));
        }
        RdbValue::SortedSet(members) => {
            write_length(out, members.len() as u64);
            for (member, score) in members {
                write_string(out, member);
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        RdbValue::Hash(fields) => encode_hash(fields, out),
        RdbValue::Stream(stream) => stream::encode(stream, out),
    }
}

fn encode_hash(fields: &[HashField], out: &mut Vec<u8>) {
    let earliest = earliest_expiry(fields);
    if let Some(earliest) = earliest {
        out.extend_from_slice(&earliest.to_le_bytes());
    }
    write_length(out, fields.len() as u64);
    for field in fields {
        if let Some(earliest) = earliest {
            write_length(out, expiry(field).map_or(0, |at| at - earliest + 1));
        }
        write_string(out, &field.field);
        write_string(out, &field.value);
    }
}

fn earliest_expiry(fields: &[HashField]) -> Option<u64> {
    fields.iter().filter_map(expiry).min()
}

fn expiry(field: &HashField) -> Option<u64> {
    field.expires_at.map(field_expiry)
}

/// The time at which a field expires as it is written: Redis knows none beyond 2^48 milliseconds.
pub fn field_expiry(at: u64) -> u64 {
    at.min(LATEST_FIELD_EXPIRY)
}
