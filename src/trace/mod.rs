//! Spans of sampled commands, for a collector that speaks OTLP: what a client's write did, here and at each peer.
//!
//! A [`Tracer`] decides which commands are sampled and keeps their spans until the exporter's thread has sent them (`exporter`, over
//! HTTP by `endpoint`, in the form of `otlp`). It never waits: what the collector does not take in time is dropped and counted.
//! Whoever makes a span knows what it means; here it is a name, two times and some attributes, and never a key or a value.
//!
//! Must not know commands, effects other than by their place in a trace, peers or sockets of clients.

mod endpoint;
mod exporter;
mod otlp;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use crate::effects::TraceContext;

pub use endpoint::{Endpoint, EndpointError};
pub use exporter::{Resource, start_exporter};

/// So many spans wait for the collector; the newest of more are dropped.
pub const MAX_WAITING: usize = 4096;
/// So many go to the collector at once.
const BATCH: usize = 512;

/// What a span is to its parent, by OTLP's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum SpanKind {
    /// Work within a node.
    Internal = 1,
    /// A client's request.
    Server = 2,
    /// Something that others will work on.
    Producer = 4,
    /// The work on something that another has sent.
    Consumer = 5,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// One span that has ended. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What was done.
    pub name: &'static str,
    /// What it is to its parent.
    pub kind: SpanKind,
    /// Its own place.
    pub context: TraceContext,
    /// The span that caused it.
    pub parent: Option<u64>,
    /// When it began.
    pub begun: u64,
    /// When it ended.
    pub ended: u64,
    /// It ended with an error.
    pub failed: bool,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, Value)>,
}

/// Decides what is sampled, and keeps spans for the exporter. Shared by all threads of a node.
#[derive(Debug)]
pub struct Tracer {
    /// A command is sampled when a random number is at most this.
    threshold: u64,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    exported: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Span>,
    /// No more spans will come, and the exporter makes one last attempt.
    closing: bool,
    /// The exporter has ended.
    closed: bool,
}

impl Tracer {
    /// `ratio`: the share of commands that are sampled, from 0 (exclusive) to 1.
    pub fn new(ratio: f64) -> Tracer {
        Tracer {
            // A float becomes the nearest number there is: 1 and above the largest.
            threshold: (ratio * u64::MAX as f64) as u64,
            waiting: Mutex::default(),
            changed: Condvar::new(),
            exported: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// The root of a new trace, if this one is sampled.
    pub fn sample(&self, random: &mut fastrand::Rng) -> Option<TraceContext> {
        (random.u64(..) <= self.threshold).then(|| TraceContext { trace: random.u128(1..), span: random.u64(1..) })
    }

    /// Another span in the trace of `parent`.
    pub fn child(&self, parent: TraceContext, random: &mut fastrand::Rng) -> TraceContext {
        TraceContext { trace: parent.trace, span: random.u64(1..) }
    }

    /// The time, for spans.
    pub fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes a span that has ended. Never waits for the collector.
    pub fn finish(&self, span: Span) {
        let mut waiting = self.waiting.lock();
        if waiting.spans.len() >= MAX_WAITING || waiting.closing {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.spans.push_back(span);
        if waiting.spans.len() == BATCH {
            self.changed.notify_all();
        }
    }

    /// How many spans the collector has taken.
    pub fn exported(&self) -> u64 {
        self.exported.load(Relaxed)
    }

    /// How many were dropped because it did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Ends the exporter: what waits is offered to the collector once more. Returns when that is done, or `patience` is over.
    pub fn close(&self, patience: Duration) {
        let mut waiting = self.waiting.lock();
        waiting.closing = true;
        self.changed.notify_all();
        self.changed.wait_while_for(&mut waiting, |waiting| !waiting.closed, patience);
    }

    /// The oldest spans, as soon as there are enough for a batch or `interval` is over. `None`: no more will come.
    fn take(&self, interval: Duration) -> Option<Vec<Span>> {
        let mut waiting = self.waiting.lock();
        self.changed.wait_while_for(&mut waiting, |waiting| waiting.spans.len() < BATCH && !waiting.closing, interval);
        let count = waiting.spans.len().min(BATCH);
        if count == 0 && waiting.closing {
            return None;
        }
        Some(waiting.spans.drain(..count).collect())
    }

    /// Lets time pass before the next attempt; less of it when there will be only one more.
    fn pause(&self, time: Duration) {
        let mut waiting = self.waiting.lock();
        self.changed.wait_while_for(&mut waiting, |waiting| !waiting.closing, time);
    }

    fn is_closing(&self) -> bool {
        self.waiting.lock().closing
    }

    /// These could not be sent and will be offered again, as far as there is room.
    fn put_back(&self, spans: Vec<Span>) {
        let mut waiting = self.waiting.lock();
        let room = MAX_WAITING.saturating_sub(waiting.spans.len());
        let surplus = spans.len().saturating_sub(room);
        self.dropped.fetch_add(surplus as u64, Relaxed);
        // The oldest go, as they would have if they had waited.
        for span in spans.into_iter().skip(surplus).rev() {
            waiting.spans.push_front(span);
        }
    }

    fn drop_spans(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Relaxed);
    }

    fn count_exported(&self, count: usize) {
        self.exported.fetch_add(count as u64, Relaxed);
    }

    fn ended(&self) {
        let mut waiting = self.waiting.lock();
        self.drop_spans(waiting.spans.len());
        waiting.spans.clear();
        waiting.closed = true;
        drop(waiting);
        self.changed.notify_all();
    }
}
