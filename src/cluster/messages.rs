//! What clients publish, on its way between nodes: out to every connected peer, and in to the subscribers here.
//!
//! Messages go straight to each peer and are never passed on, so each arrives at most once; the order of one publisher is
//! that of one stream. A peer that does not keep up misses some.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::runtime::ClusterLoop;
use crate::pubsub::{Message, encode_messages};

impl ClusterLoop {
    /// Sends what was published here since the last turn.
    pub(super) fn send_messages(&mut self) {
        let outbox = &self.channels.outbox;
        loop {
            let messages = outbox.take();
            if messages.is_empty() {
                return;
            }
            let count = messages.len() as u64;
            let frame = encode_messages(&messages);
            for link in self.mesh.links() {
                let sent = frame.as_ref().is_some_and(|frame| link.send_messages(frame.clone()));
                let counter = if sent { &outbox.counters.sent } else { &outbox.counters.dropped };
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    /// Delivers what a peer's clients have published.
    pub(super) fn receive_messages(&self, messages: Vec<Message>) {
        self.channels.outbox.counters.received.fetch_add(messages.len() as u64, Relaxed);
        let now = self.clock.wall();
        for message in messages {
            self.channels.deliver(&Arc::new(message), now);
        }
    }
}
