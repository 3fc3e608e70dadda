//! Publish and subscribe: who listens to what, and how messages reach them.
//!
//! [`Channels`] is shared by all threads of a node. A message is put into the mailbox of each [`Subscriber`] that listens to its
//! channel, or with a pattern that fits it, and the subscriber's connection is woken, on whatever thread it lives. What
//! clients of this node publish also goes into the [`Outbox`], from which the cluster takes it to all connected peers.
//!
//! Messages are no data: no effect carries them, nothing keeps them. Each reaches a subscriber at most once, and those
//! of one publisher in their order.
//!
//! Reading order: `channels`, `subscriber`, `outbox`, `wire` (the form between peers).
//!
//! # Bounds
//!
//! A mailbox by the limits of `client-output-buffer-limit` for the class `pubsub`: whoever is over them is disconnected. The outbox
//! in bytes: what does not fit is dropped and counted.
//!
//! Architecture invariant: knows no socket, no request and no peer, and reads no clock.

mod channels;
mod outbox;
mod subscriber;
mod wire;

use bytes::Bytes;

pub use channels::{Channels, Topic};
pub use outbox::{MessageCounters, Outbox};
pub use subscriber::{Delivery, OutputLimit, Subscriber};
pub use wire::{MAX_MESSAGES_FRAME_BYTES, decode_messages, encode_messages};

/// Something that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// By SPUBLISH: it reaches those who listen to shard channels.
    pub sharded: bool,
    /// Where.
    pub channel: Bytes,
    /// What.
    pub payload: Bytes,
}

impl Message {
    /// Bytes of memory that it takes, about.
    pub fn memory(&self) -> usize {
        size_of::<Message>() + self.channel.len() + self.payload.len()
    }
}
