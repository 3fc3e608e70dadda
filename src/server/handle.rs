//! How others reach a connection that waits: they leave a request with its handle, which wakes it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Waker};

use parking_lot::Mutex;

use crate::commands::Wake;

/// The process ends: answer what is in flight, then close.
const STOP: u8 = 1;
/// The client was silent for too long: close.
const EXPIRE: u8 = 1 << 1;
/// The client is silent: give the memory of its buffers back.
const TRIM: u8 = 1 << 2;

/// A connection's buffers are trimmed after so many seconds of silence.
const TRIM_AFTER: u64 = 2;

/// One connection, as its thread's housekeeping sees it.
#[derive(Debug, Default)]
pub struct Handle {
    /// The thread that it lives on.
    thread: AtomicUsize,
    requests: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// The second, counted by the housekeeping, in which the connection last began to wait for its client.
    active_at: AtomicU64,
    /// It waits for its client, with nothing in flight.
    waiting: AtomicBool,
    /// What a blocking command waits for may be there.
    woken: AtomicBool,
    /// It listens to channels: it is not silent for too long, as nothing is expected of it.
    listening: AtomicBool,
    /// Its buffers are larger than what a silent connection keeps.
    oversized: AtomicBool,
}

/// What a waiting connection is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Close,
    Trim,
}

impl Handle {
    /// From now on it lives on this thread.
    pub(super) fn settle(&self, thread: usize) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// Does it live on this thread?
    pub(super) fn lives_on(&self, thread: usize) -> bool {
        self.thread.load(Ordering::Relaxed) == thread
    }

    /// The process ends.
    pub(super) fn stop(&self) {
        self.ask(STOP);
    }

    /// Is the process to end? What is in flight is still to be answered.
    pub(super) fn stopping(&self) -> bool {
        self.requests.load(Ordering::Acquire) & STOP != 0
    }

    /// Looks at a connection once a second: is it silent for too long? `timeout` in seconds, 0 for none.
    pub(super) fn inspect(&self, second: u64, timeout: u64) {
        let silent_for = second.saturating_sub(self.active_at.load(Ordering::Relaxed));
        if !self.waiting.load(Ordering::Relaxed) {
            return;
        }
        if timeout > 0 && silent_for > timeout && !self.listening.load(Ordering::Relaxed) {
            self.ask(EXPIRE);
        } else if silent_for >= TRIM_AFTER && self.oversized.swap(false, Ordering::Relaxed) {
            self.ask(TRIM);
        }
    }

    /// The connection begins to wait for its client.
    pub(super) fn begin_waiting(&self, second: u64, oversized: bool, listening: bool) {
        self.listening.store(listening, Ordering::Relaxed);
        self.active_at.store(second, Ordering::Relaxed);
        self.oversized.store(oversized, Ordering::Relaxed);
        self.waiting.store(true, Ordering::Relaxed);
    }

    /// The client has sent something.
    pub(super) fn end_waiting(&self) {
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// Was it woken since the last call?
    pub(super) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::AcqRel)
    }

    /// What a connection that waits for its client should do.
    pub(super) fn asked(&self) -> Asked {
        let requests = self.requests.load(Ordering::Acquire);
        if requests == 0 {
            return Asked::Nothing;
        }
        if requests & (STOP | EXPIRE) != 0 {
            return Asked::Close;
        }
        self.requests.fetch_and(!TRIM, Ordering::AcqRel);
        Asked::Trim
    }

    /// From now on, whoever asks for something wakes this task. `known` is what the connection remembers of the last call.
    pub(super) fn wake_me(&self, context: &Context<'_>, known: &mut Option<Waker>) {
        if !known.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *self.waker.lock() = Some(context.waker().clone());
            *known = Some(context.waker().clone());
        }
    }

    fn ask(&self, request: u8) {
        self.requests.fetch_or(request, Ordering::AcqRel);
        self.wake_task();
    }

    fn wake_task(&self) {
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Wake for Handle {
    /// What a blocking command waits for may be there.
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        self.wake_task();
    }
}
