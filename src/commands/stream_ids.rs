//! Ids of streams among arguments and in replies.

use super::context::{Refusal, shown};
use crate::effects::StreamId;
use crate::keyspace::{StreamEntry, integer};
use crate::resp::Reply;

pub const INVALID_ID: Refusal = Refusal::Fixed("ERR Invalid stream ID specified as stream command argument");

/// Longer texts are no ids.
const MAX_LENGTH: usize = 127;

/// One of the two numbers. Besides plain ones Redis takes whatever C's `strtoull` takes: spaces and zeros in front, a
/// sign, whose minus wraps around.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(number) = integer::parse(text) {
        return u64::try_from(number).ok();
    }
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"\x0b").unwrap_or(text);
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0u64;
    for byte in digits {
        let digit = char::from(*byte).to_digit(10)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative { number.wrapping_neg() } else { number })
}

/// What an id was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Whole(StreamId),
    /// `ms`
    Milliseconds(u64),
    /// `ms-*`
    AnyOf(u64),
}

/// An id as it is written.
pub fn written(text: &[u8]) -> Result<Written, Refusal> {
    if text.len() > MAX_LENGTH {
        return Err(INVALID_ID);
    }
    // C's strings end at a zero byte.
    let text = shown(text);
    match text.iter().position(|byte| *byte == b'-') {
        None => number(text).map(Written::Milliseconds).ok_or(INVALID_ID),
        Some(at) => {
            let milliseconds = number(&text[..at]).ok_or(INVALID_ID)?;
            match &text[at + 1..] {
                b"*" => Ok(Written::AnyOf(milliseconds)),
                sequence => {
                    let sequence = number(sequence).ok_or(INVALID_ID)?;
                    Ok(Written::Whole(StreamId { milliseconds, sequence }))
                }
            }
        }
    }
}

/// An id; without a sequence number it has this one.
pub fn parse(text: &[u8], sequence: u64) -> Result<StreamId, Refusal> {
    match written(text)? {
        Written::Whole(id) => Ok(id),
        Written::Milliseconds(milliseconds) => Ok(StreamId { milliseconds, sequence }),
        Written::AnyOf(_) => Err(INVALID_ID),
    }
}

/// An id, or `-` for the lowest and `+` for the highest.
pub fn parse_bound(text: &[u8], sequence: u64) -> Result<StreamId, Refusal> {
    match shown(text) {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        text => parse(text, sequence),
    }
}

/// The lowest id of a range; with `(` in front that id itself is not meant.
pub fn parse_start(text: &[u8]) -> Result<StreamId, Refusal> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            parse(id, 0)?.next().ok_or(Refusal::Fixed("ERR invalid start ID for the interval"))
        }
        text => parse_bound(text, 0),
    }
}

/// The highest id of a range.
pub fn parse_end(text: &[u8]) -> Result<StreamId, Refusal> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            parse(id, u64::MAX)?.previous().ok_or(Refusal::Fixed("ERR invalid end ID for the interval"))
        }
        text => parse_bound(text, u64::MAX),
    }
}

/// Replies with an id.
pub fn reply_id(reply: &mut Reply, id: StreamId) {
    let mut text = [0; 41];
    let mut digits = itoa::Buffer::new();
    let first = digits.format(id.milliseconds).as_bytes();
    text[..first.len()].copy_from_slice(first);
    text[first.len()] = b'-';
    let start = first.len() + 1;
    let second = digits.format(id.sequence).as_bytes();
    text[start..start + second.len()].copy_from_slice(second);
    reply.bulk(&text[..start + second.len()]);
}

/// Replies with an entry: its id, and its fields with their values.
pub fn reply_entry(reply: &mut Reply, entry: StreamEntry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id);
    reply.array(entry.fields.len());
    entry.fields.for_each(|element| reply.bulk(&element));
}

/// Puts the header of an array or a map in front of what was written since, whose number was not known before.
pub fn open_at(reply: &mut Reply, start: usize, open: impl FnOnce(&mut Reply)) {
    let mut header = Reply::new(reply.protocol());
    open(&mut header);
    reply.bytes_mut().splice(start..start, header.bytes().iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let id = StreamId::new;
        for (text, expected) in [
            ("5", Some(id(5, 9))),
            ("5-7", Some(id(5, 7))),
            ("05-007", Some(id(5, 7))),
            ("+5- 7", Some(id(5, 7))),
            ("5--05", Some(id(5, u64::MAX - 4))),
            ("18446744073709551615-18446744073709551615", Some(StreamId::MAX)),
            ("5-7\0x", Some(id(5, 7))),
            ("5\0-7", Some(id(5, 9))),
            ("5--5", None),
            ("-5", None),
            ("5-", None),
            ("5-x", None),
            ("5-*", None),
            ("", None),
            ("-", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse(text.as_bytes(), 9).ok(), expected, "{text}");
        }
        assert_eq!(parse(&[b'0'; 127], 9).ok(), Some(id(0, 9)));
        assert_eq!(parse(&[b'0'; 128], 9).ok(), None);
        assert_eq!(written(b"7-*"), Ok(Written::AnyOf(7)));
        assert_eq!(parse_start(b"(5"), Ok(id(5, 1)));
        assert_eq!(parse_end(b"(5-0"), Ok(id(4, u64::MAX)));
        assert_eq!((parse_start(b"("), parse_end(b"(+")), (Err(INVALID_ID), Err(INVALID_ID)));
    }
}
