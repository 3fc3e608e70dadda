//! Where an encoded value ends, for values that come from a source in pieces: they are copied into memory one at a time,
//! and decoded there.
//!
//! Only lengths are looked at. Whether what they enclose is well formed is for `decode` to say.

use super::reader::MAX_STRING_BYTES;
use super::{RdbError, types};

/// Where encoded values come from.
pub trait Source {
    /// Why there is no more.
    type Error: From<RdbError>;

    /// Appends the next `count` bytes. Memory must grow with what has arrived, not with what is asked for.
    ///
    /// # Errors
    /// The source has fewer, or fails.
    fn append(&mut self, count: usize, out: &mut Vec<u8>) -> Result<(), Self::Error>;
}

/// What stands where a string begins: a length of bytes, or a form of its own.
enum Head {
    Length(u64),
    Encoded(u8),
}

fn copy_head<S: Source>(source: &mut S, out: &mut Vec<u8>) -> Result<Head, S::Error> {
    let start = out.len();
    source.append(1, out)?;
    let first = out[start];
    let more = match first >> 6 {
        0 => 0,
        1 => 1,
        2 if first == 0x80 => 4,
        2 if first == 0x81 => 8,
        2 => return Err(RdbError::Invalid("a length in an unknown form").into()),
        _ => return Ok(Head::Encoded(first & 0x3f)),
    };
    source.append(more, out)?;
    let bytes = &out[start + 1..];
    let low = u64::from(first & 0x3f);
    Ok(Head::Length(match more {
        0 => low,
        1 => low << 8 | u64::from(bytes[0]),
        _ => bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)),
    }))
}

fn copy_length<S: Source>(source: &mut S, out: &mut Vec<u8>) -> Result<u64, S::Error> {
    match copy_head(source, out)? {
        Head::Length(length) => Ok(length),
        Head::Encoded(_) => Err(RdbError::Invalid("an encoded string where a length should be").into()),
    }
}

/// A length, or any other number that is written like one.
///
/// # Errors
/// What stands there is no length, or the source fails.
pub fn read_length<S: Source>(source: &mut S) -> Result<u64, S::Error> {
    copy_length(source, &mut Vec::new())
}

/// Copies a string as it is encoded.
///
/// # Errors
/// What stands there is no string, it is longer than any string may be, or the source fails.
pub fn copy_string<S: Source>(source: &mut S, out: &mut Vec<u8>) -> Result<(), S::Error> {
    let length = match copy_head(source, out)? {
        Head::Length(length) => length,
        Head::Encoded(0) => 1,
        Head::Encoded(1) => 2,
        Head::Encoded(2) => 4,
        Head::Encoded(3) => {
            let compressed = copy_length(source, out)?;
            copy_length(source, out)?;
            compressed
        }
        Head::Encoded(_) => return Err(RdbError::Invalid("a string in an unknown encoding").into()),
    };
    // A packed collection of Redis is one string, and may be larger than a client's string, though none is.
    let length = usize::try_from(length).ok().filter(|&length| length <= 2 * MAX_STRING_BYTES);
    source.append(length.ok_or(RdbError::TooLarge)?, out)
}

/// Copies the value of type `type_byte`, as it is encoded.
///
/// # Errors
/// An unknown type, lengths that make no sense, or the source fails.
pub fn copy_value<S: Source>(type_byte: u8, source: &mut S, out: &mut Vec<u8>) -> Result<(), S::Error> {
    match type_byte {
        types::STRING
        | types::HASH_ZIPMAP
        | types::LIST_ZIPLIST
        | types::SET_INTSET
        | types::SORTED_SET_ZIPLIST
        | types::HASH_ZIPLIST
        | types::HASH_LISTPACK
        | types::SORTED_SET_LISTPACK
        | types::SET_LISTPACK => copy_string(source, out),
        types::LIST | types::SET | types::LIST_QUICKLIST => each(source, out, copy_string),
        types::SORTED_SET => each(source, out, |source, out| {
            copy_string(source, out)?;
            copy_text_double(source, out)
        }),
        types::HASH => each(source, out, |source, out| {
            copy_string(source, out)?;
            copy_string(source, out)
        }),
        types::SORTED_SET_2 => each(source, out, |source, out| {
            copy_string(source, out)?;
            source.append(8, out)
        }),
        types::LIST_QUICKLIST_2 => each(source, out, |source, out| {
            copy_length(source, out)?;
            copy_string(source, out)
        }),
        types::HASH_METADATA => {
            source.append(8, out)?;
            each(source, out, |source, out| {
                copy_length(source, out)?;
                copy_string(source, out)?;
                copy_string(source, out)
            })
        }
        types::HASH_LISTPACK_EX => {
            source.append(8, out)?;
            copy_string(source, out)
        }
        types::STREAM_LISTPACKS | types::STREAM_LISTPACKS_2 | types::STREAM_LISTPACKS_3 => {
            copy_stream(type_byte, source, out)
        }
        unknown => Err(RdbError::UnknownType(unknown).into()),
    }
}

/// A count, and so many things.
fn each<S: Source>(
    source: &mut S,
    out: &mut Vec<u8>,
    copy: impl Fn(&mut S, &mut Vec<u8>) -> Result<(), S::Error>,
) -> Result<(), S::Error> {
    for _ in 0..copy_length(source, out)? {
        copy(source, out)?;
    }
    Ok(())
}

/// A byte for the length, or one that stands for what is no finite number.
fn copy_text_double<S: Source>(source: &mut S, out: &mut Vec<u8>) -> Result<(), S::Error> {
    source.append(1, out)?;
    match out.last() {
        Some(&length @ 0..=252) => source.append(usize::from(length), out),
        _ => Ok(()),
    }
}

/// An id of a stream, in the form of a string's bytes.
const ID_BYTES: usize = 16;

fn copy_stream<S: Source>(type_byte: u8, source: &mut S, out: &mut Vec<u8>) -> Result<(), S::Error> {
    let lengths = |count: usize, source: &mut S, out: &mut Vec<u8>| -> Result<(), S::Error> {
        (0..count).try_for_each(|_| copy_length(source, out).map(drop))
    };
    let has_counts = type_byte != types::STREAM_LISTPACKS;
    each(source, out, |source, out| {
        copy_string(source, out)?;
        copy_string(source, out)
    })?;
    // The number of entries and the last id; then the first id, the highest deleted one, and how many were added.
    lengths(3, source, out)?;
    lengths(if has_counts { 5 } else { 0 }, source, out)?;
    each(source, out, |source, out| {
        copy_string(source, out)?;
        lengths(if has_counts { 3 } else { 2 }, source, out)?;
        each(source, out, |source, out| {
            source.append(ID_BYTES + 8, out)?;
            copy_length(source, out).map(drop)
        })?;
        each(source, out, |source, out| {
            copy_string(source, out)?;
            source.append(if type_byte == types::STREAM_LISTPACKS_3 { 16 } else { 8 }, out)?;
            each(source, out, |source, out| source.append(ID_BYTES, out))
        })
    })
}
