//! The frames that wait for one stream: bounded in bytes, never blocking the one who adds.
//!
//! Shared within one thread by the loop, which adds, and the stream's writer task, which takes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::Notify;

/// A frame in the pieces that its encoder made of it.
pub(super) type Pieces = Vec<Bytes>;

/// Bytes of memory that a frame takes in addition to its contents, about.
const FRAME_OVERHEAD: usize = 64;

/// A bounded queue with one producer and one consumer.
#[derive(Debug)]
pub(super) struct SendQueue {
    frames: RefCell<VecDeque<Pieces>>,
    bytes: Cell<usize>,
    limit: usize,
    finished: Cell<bool>,
    changed: Notify,
}

impl SendQueue {
    /// An empty queue that holds at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        SendQueue {
            frames: RefCell::default(),
            bytes: Cell::new(0),
            limit,
            finished: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Adds a frame; false when it does not fit. An empty queue takes any frame, so that the largest can pass at all.
    pub fn push(&self, frame: Pieces) -> bool {
        let cost = cost(&frame);
        if self.finished.get() || (self.bytes.get() > 0 && self.bytes.get().saturating_add(cost) > self.limit) {
            return false;
        }
        self.bytes.set(self.bytes.get().saturating_add(cost));
        self.frames.borrow_mut().push_back(frame);
        self.changed.notify_one();
        true
    }

    /// Takes the oldest frames, waiting for one: about as many bytes as `bytes`. `None` once the queue is finished and
    /// empty.
    ///
    /// Their bytes count until [`SendQueue::sent`] says that they are gone.
    pub async fn take(&self, bytes: usize) -> Option<Vec<Pieces>> {
        loop {
            let taken = self.take_waiting(bytes);
            if !taken.is_empty() {
                return Some(taken);
            }
            if self.finished.get() {
                return None;
            }
            self.changed.notified().await;
        }
    }

    fn take_waiting(&self, bytes: usize) -> Vec<Pieces> {
        let mut frames = self.frames.borrow_mut();
        let mut taken = Vec::new();
        let mut length = 0;
        while length < bytes
            && let Some(frame) = frames.pop_front()
        {
            length += cost(&frame);
            taken.push(frame);
        }
        taken
    }

    /// Frames that were taken and count for `cost` have left.
    pub fn sent(&self, cost: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(cost));
    }

    /// Nothing will be added any more; what waits is still sent.
    pub fn finish(&self) {
        self.finished.set(true);
        self.changed.notify_one();
    }
}

/// What a frame counts for: its bytes, and what it takes to keep it.
pub(super) fn cost(frame: &[Bytes]) -> usize {
    FRAME_OVERHEAD + frame.iter().map(Bytes::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Pieces {
        vec![Bytes::from(vec![0; length])]
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused_until_something_left() {
        let queue = SendQueue::new(200);
        assert!(queue.push(frame(1_000)), "an empty queue takes the largest frame");
        assert!(!queue.push(frame(1)));
        let taken = queue.take(1).await.expect("one is there");
        assert!(!queue.push(frame(1)), "taken is not sent");
        queue.sent(taken.iter().map(|frame| cost(frame)).sum());
        assert!(queue.push(frame(30)) && queue.push(frame(30)));
        assert!(!queue.push(frame(30)));
        let taken = queue.take(1).await.expect("one is there");
        assert_eq!(taken.len(), 1);
        queue.sent(cost(&taken[0]));
        assert!(queue.push(frame(10)));
        queue.finish();
        assert!(!queue.push(frame(0)));
        assert_eq!(queue.take(1_000).await.map(|frames| frames.len()), Some(2));
        assert_eq!(queue.take(1).await, None);
    }
}
