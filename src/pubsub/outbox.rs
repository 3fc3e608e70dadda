//! What clients of this node published, on its way to the peers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::Message;

/// How much may wait for the cluster, in bytes.
const OUTBOX_BYTES: usize = 32 << 20;

/// How much is taken at once, in bytes.
const BATCH_BYTES: usize = 256 << 10;

/// What became of messages between nodes.
#[derive(Debug, Default)]
pub struct MessageCounters {
    /// Handed to the stream of a peer, once for each.
    pub sent: AtomicU64,
    /// Not sent to a peer, or to any, because too much was waiting.
    pub dropped: AtomicU64,
    /// Received from peers.
    pub received: AtomicU64,
}

/// A bounded queue from all threads to the cluster. Without a cluster nothing enters it.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    notify: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// What became of the messages.
    pub counters: MessageCounters,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Outbox").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl Outbox {
    /// From now on messages are collected; `notify` is called when there are some and there were none.
    pub fn open(&self, notify: Box<dyn Fn() + Send + Sync>) {
        assert!(self.notify.set(notify).is_ok(), "a node is in one cluster");
    }

    pub(super) fn push(&self, message: &Arc<Message>) {
        let Some(notify) = self.notify.get() else { return };
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.messages.is_empty();
        // An empty queue takes any message, so that the largest can pass at all.
        if !was_empty && waiting.bytes + message.memory() > OUTBOX_BYTES {
            self.counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.bytes += message.memory();
        waiting.messages.push_back(Arc::clone(message));
        drop(waiting);
        if was_empty {
            notify();
        }
    }

    /// Takes the oldest messages, as many as make a good frame.
    pub fn take(&self) -> Vec<Arc<Message>> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(message) = waiting.messages.pop_front()
        {
            bytes += message.memory();
            taken.push(message);
        }
        waiting.bytes -= bytes;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Arc<Message> {
        Arc::new(Message { sharded: false, channel: b"c"[..].into(), payload: vec![0; length].into() })
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let outbox = Outbox::default();
        outbox.push(&message(1));
        assert!(outbox.take().is_empty(), "nobody would take it");
        let notified = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&notified);
        outbox.open(Box::new(move || {
            counter.fetch_add(1, Relaxed);
        }));
        outbox.push(&message(OUTBOX_BYTES * 2));
        outbox.push(&message(1));
        assert_eq!((outbox.counters.dropped.load(Relaxed), notified.load(Relaxed)), (1, 1));
        assert_eq!(outbox.take().len(), 1);
        for length in [BATCH_BYTES, 1, 2] {
            outbox.push(&message(length));
        }
        assert_eq!(notified.load(Relaxed), 2);
        assert_eq!(outbox.take().len(), 1);
        assert_eq!(outbox.take().len(), 2);
        assert_eq!(outbox.waiting.lock().bytes, 0);
    }
}
