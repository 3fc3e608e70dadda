//! How a key stands in an RDB file: the form in which a cut hands keys out.
//!
//! Large values are written in parts, so that the lock of a key is never held for long: a part of a string is so many
//! bytes, a part of a collection so many elements. A stream is one part: where its nodes end is not known from a position.

use super::convert::stream_to_rdb;
use super::format::opcode;
use crate::keyspace::{CutForm, CutKey, CutValue, HashValue, Millis, Value};
use crate::rdb::{RdbValue, encode_value, field_expiry, types, write_blob, write_length, write_string};

/// Elements of a collection in one part.
const PART_ELEMENTS: usize = if cfg!(test) { 7 } else { 512 };
/// Bytes of a string in one part.
const PART_BYTES: usize = if cfg!(test) { 100 } else { 256 << 10 };

/// What is written about the use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseHint {
    /// Nothing.
    None,
    /// For how many seconds it was not used.
    Idle,
    /// How often it is used.
    Frequency,
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub struct FileForm {
    /// What is written about the use of keys.
    pub hint: UseHint,
    /// The moment of the cut.
    pub now: Millis,
}

impl CutForm for FileForm {
    fn encode(&self, key: &CutKey<'_>, part: usize, out: &mut Vec<u8>) -> bool {
        if part == 0 {
            self.encode_head(key, out);
        }
        match key.value() {
            CutValue::Text(text) => encode_text(text, part, out),
            CutValue::Collection(value) => self.encode_collection(value, part, out),
        }
    }
}

impl FileForm {
    fn encode_head(&self, key: &CutKey<'_>, out: &mut Vec<u8>) {
        if let Some(deadline) = key.deadline() {
            out.push(opcode::DEADLINE_MILLISECONDS);
            out.extend_from_slice(&deadline.to_le_bytes());
        }
        match self.hint {
            UseHint::None => {}
            UseHint::Idle => {
                out.push(opcode::IDLE);
                write_length(out, key.idle(self.now) / 1000);
            }
            UseHint::Frequency => out.extend_from_slice(&[opcode::FREQUENCY, key.frequency(self.now)]),
        }
        out.push(match key.value() {
            CutValue::Text(_) | CutValue::Collection(Value::Text(_)) => types::STRING,
            CutValue::Collection(value) => match value {
                Value::Text(_) => types::STRING,
                Value::List(_) => types::LIST,
                Value::Set(_) => types::SET,
                Value::SortedSet(_) => types::SORTED_SET_2,
                Value::Hash(hash) if hash.earliest_deadline().is_some() => types::HASH_METADATA,
                Value::Hash(_) => types::HASH,
                Value::Stream(_) => types::STREAM_LISTPACKS_2,
            },
        });
        write_string(out, key.name());
    }

    fn encode_collection(&self, value: &Value, part: usize, out: &mut Vec<u8>) -> bool {
        let from = part * PART_ELEMENTS;
        match value {
            Value::Text(text) => encode_text(text, part, out),
            Value::List(list) => {
                write_count(list.len(), part, out);
                list.iter_from(from).take(PART_ELEMENTS).for_each(|element| write_string(out, &element));
                from + PART_ELEMENTS >= list.len()
            }
            Value::Set(set) => {
                write_count(set.len(), part, out);
                let to = set.len().min(from + PART_ELEMENTS);
                set.range(from..to).for_each(|member| write_string(out, &member));
                to == set.len()
            }
            Value::SortedSet(set) => {
                write_count(set.len(), part, out);
                for (member, score) in set.iter_from(from).take(PART_ELEMENTS) {
                    write_string(out, &member);
                    out.extend_from_slice(&score.to_le_bytes());
                }
                from + PART_ELEMENTS >= set.len()
            }
            Value::Hash(hash) => self.encode_hash(hash, part, out),
            Value::Stream(stream) => {
                encode_value(&RdbValue::Stream(stream_to_rdb(stream)), out);
                true
            }
        }
    }

    /// The fields whose time is not over. All parts count by the moment of the cut, so they fit together.
    fn encode_hash(&self, hash: &HashValue, part: usize, out: &mut Vec<u8>) -> bool {
        let view = hash.at_time(self.now);
        let earliest = hash.earliest_deadline().map(field_expiry);
        if part == 0 {
            if let Some(earliest) = earliest {
                out.extend_from_slice(&earliest.to_le_bytes());
            }
            write_length(out, view.len() as u64);
        }
        let from = part * PART_ELEMENTS;
        let to = view.positions().min(from + PART_ELEMENTS);
        for (field, value, expires_at) in view.range_with_deadlines(from..to) {
            if let Some(earliest) = earliest {
                write_length(out, expires_at.map_or(0, |at| field_expiry(at) - earliest + 1));
            }
            write_string(out, &field);
            write_string(out, &value);
        }
        to == view.positions()
    }
}

fn write_count(count: usize, part: usize, out: &mut Vec<u8>) {
    if part == 0 {
        write_length(out, count as u64);
    }
}

fn encode_text(text: &[u8], part: usize, out: &mut Vec<u8>) -> bool {
    if text.len() <= PART_BYTES {
        // A short text may be an integer.
        write_string(out, text);
        return true;
    }
    if part == 0 {
        write_length(out, text.len() as u64);
    }
    let from = part * PART_BYTES;
    let to = text.len().min(from + PART_BYTES);
    out.extend_from_slice(&text[from..to]);
    to == text.len()
}

/// Something about the file.
pub fn encode_about(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(opcode::ABOUT);
    write_blob(out, name.as_bytes());
    write_string(out, value.as_bytes());
}
