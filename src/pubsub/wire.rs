//! The form in which messages travel between nodes: a frame of its own kind, on a stream of its own.
//!
//! After the version and the kind of the frame come messages: a byte (1: of a shard channel), the channel and the payload, each
//! with a varint length. What is sent are slices of the messages, what is received slices of the frame.

use std::sync::Arc;

use bytes::Bytes;

use super::Message;
use crate::effects::{CodecError, Reader, write_varint};
use crate::replication::PROTOCOL_VERSION;

/// The longest frame, in bytes: room for one message of the size that a request can have.
pub const MAX_MESSAGES_FRAME_BYTES: usize = 600 << 20;
/// The most messages in one frame.
const MAX_MESSAGES: usize = 65_536;

/// Stands behind the version; control frames and effects have the others.
const KIND_MESSAGES: u8 = 2;

/// The frame, in pieces to be written one after the other. `None` when it would be too long.
pub fn encode_messages(messages: &[Arc<Message>]) -> Option<Vec<Bytes>> {
    let mut pieces = Vec::with_capacity(messages.len() * 4);
    let mut head = vec![PROTOCOL_VERSION, KIND_MESSAGES];
    for message in messages {
        head.push(u8::from(message.sharded));
        for part in [&message.channel, &message.payload] {
            write_varint(&mut head, part.len() as u64);
            pieces.push(Bytes::from(std::mem::take(&mut head)));
            pieces.push(part.clone());
        }
    }
    let length: usize = pieces.iter().map(Bytes::len).sum();
    (length <= MAX_MESSAGES_FRAME_BYTES && messages.len() <= MAX_MESSAGES).then_some(pieces)
}

/// Reads a frame.
///
/// # Errors
/// Another version or kind, and anything malformed.
pub fn decode_messages(bytes: &Bytes) -> Result<Vec<Message>, CodecError> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != PROTOCOL_VERSION {
        return Err(CodecError::Invalid("another version of the protocol"));
    }
    match reader.byte()? {
        KIND_MESSAGES => {}
        other => return Err(CodecError::UnknownTag(other)),
    }
    let mut messages = Vec::new();
    while reader.remaining() > 0 {
        if messages.len() == MAX_MESSAGES {
            return Err(CodecError::Invalid("too many messages in one frame"));
        }
        let sharded = match reader.byte()? {
            0 => false,
            1 => true,
            _ => return Err(CodecError::Invalid("a message of an unknown kind")),
        };
        let mut part = || -> Result<Bytes, CodecError> {
            let length = reader.bytes()?.len();
            let end = bytes.len() - reader.remaining();
            Ok(bytes.slice(end - length..end))
        };
        messages.push(Message { sharded, channel: part()?, payload: part()? });
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Message> {
        let message = |sharded, channel: &'static [u8], payload: Vec<u8>| Message {
            sharded,
            channel: channel.into(),
            payload: payload.into(),
        };
        vec![
            message(false, b"news", b"hello".to_vec()),
            message(true, b"", vec![]),
            message(false, b"\0\xff", vec![7; 300]),
        ]
    }

    fn encode(messages: Vec<Message>) -> Bytes {
        let messages: Vec<_> = messages.into_iter().map(Arc::new).collect();
        encode_messages(&messages).expect("it is short").concat().into()
    }

    #[test]
    fn messages_survive_the_wire() {
        assert_eq!(decode_messages(&encode(samples())), Ok(samples()));
    }

    #[test]
    fn what_is_malformed_is_an_error() {
        let good = encode(samples());
        let mut random = fastrand::Rng::with_seed(1);
        for length in 0..good.len() {
            let _ = decode_messages(&good.slice(..length));
        }
        for _ in 0..5_000 {
            let mut changed = good.to_vec();
            let at = random.usize(..changed.len());
            changed[at] = random.u8(..);
            let _ = decode_messages(&changed.into());
        }
        let malformed: [&[u8]; 6] = [
            b"",
            &[PROTOCOL_VERSION],
            &[PROTOCOL_VERSION + 1, KIND_MESSAGES],
            &[PROTOCOL_VERSION, KIND_MESSAGES, 2, 0, 0],
            &[PROTOCOL_VERSION, KIND_MESSAGES, 0, 5, 0],
            &[PROTOCOL_VERSION, 0],
        ];
        for frame in malformed {
            assert!(decode_messages(&Bytes::from_static(frame)).is_err(), "{frame:?}");
        }
    }
}
