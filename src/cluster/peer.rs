//! One connection to one peer: its queues, and the tasks that read and write its streams.
//!
//! The tasks know nothing of replication: they turn frames into events for the loop and queues into frames on streams.
//! All of them end with the link.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, spawn_local};

use super::event::{Event, LinkEvent, LinkId};
use super::send_queue::{Pieces, SendQueue, cost};
use super::snapshot::{self, Assembler, Ending};
use super::traces::{decode_traces, is_traces};
use super::{Clock, Connection, FrameReader, StreamKind, TransportError};
use crate::keyspace::Keyspace;
use crate::pubsub::{MAX_MESSAGES_FRAME_BYTES, decode_messages};
use crate::replication::{Frame, MAX_CONTROL_FRAME_BYTES, MAX_EFFECTS_FRAME_BYTES, SnapshotHeader, Stream};

/// What stands before the body of a frame, in bytes: version and kind.
const FRAME_HEAD: usize = 2;

/// How much may wait for a peer's control stream, in bytes. A peer that does not keep up with that is lost.
const CONTROL_QUEUE_BYTES: usize = 4 << 20;

/// How much may wait for a peer's effect stream, in bytes. What does not fit is dropped, and repaired later.
const EFFECTS_QUEUE_BYTES: usize = 32 << 20;

/// How much may wait for a peer's stream of messages, in bytes. What does not fit is dropped for good.
const MESSAGES_QUEUE_BYTES: usize = 32 << 20;

/// How much is handed to a stream at once, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// How much of what a peer sent may wait for the loop, in bytes. Beyond that the peer's streams wait.
const RECEIVED_BYTES: usize = 32 << 20;

/// One connection to one peer, seen from the loop. Dropping it ends its tasks and closes it.
pub(super) struct Link {
    pub id: LinkId,
    /// When it was established, by the monotonic clock.
    pub since: Duration,
    /// Until then it may be replaced by another, though it was not closed.
    pub doubted_until: Duration,
    connection: Connection,
    control: Rc<SendQueue>,
    effects: Rc<SendQueue>,
    messages: Rc<SendQueue>,
    writers: [AbortHandle; 3],
    readers: [AbortHandle; 2],
    snapshot: Option<AbortHandle>,
    events: mpsc::Sender<Event>,
}

impl Link {
    /// Starts to read from and write to a connection.
    pub fn start(id: LinkId, since: Duration, connection: Connection, events: mpsc::Sender<Event>) -> Link {
        let control = Rc::new(SendQueue::new(CONTROL_QUEUE_BYTES));
        let effects = Rc::new(SendQueue::new(EFFECTS_QUEUE_BYTES));
        let messages = Rc::new(SendQueue::new(MESSAGES_QUEUE_BYTES));
        let reading = Reading {
            link: id,
            connection: connection.clone(),
            events: events.clone(),
            budget: Arc::new(Semaphore::new(RECEIVED_BYTES)),
        };
        let watching = reading.clone();
        let writers = [
            spawn_local(write_queue(connection.clone(), StreamKind::Control, control.clone())).abort_handle(),
            spawn_local(write_queue(connection.clone(), StreamKind::Effects, effects.clone())).abort_handle(),
            spawn_local(write_queue(connection.clone(), StreamKind::Messages, messages.clone())).abort_handle(),
        ];
        let readers = [
            spawn_local(async move { reading.accept_streams().await }).abort_handle(),
            spawn_local(async move {
                let reason = watching.connection.closed().await;
                watching.report(LinkEvent::Closed(reason), None).await;
            })
            .abort_handle(),
        ];
        Link {
            id,
            since,
            doubted_until: Duration::ZERO,
            connection,
            control,
            effects,
            messages,
            writers,
            readers,
            snapshot: None,
            events,
        }
    }

    /// Did this node begin the connection?
    pub fn dialed(&self) -> bool {
        self.connection.dialed()
    }

    /// The address that the peer's packets come from.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Queues a frame. False when it was dropped because its queue is full.
    pub fn send(&self, frame: &Frame) -> bool {
        match frame.stream() {
            Stream::Control => self.control.push(frame.encode()),
            Stream::Effects => self.effects.push(frame.encode()),
        }
    }

    /// Queues a frame that says which effects behind it belong to traces. Dropped when the queue is full.
    pub fn send_traces(&self, frame: Bytes) {
        self.effects.push(vec![frame]);
    }

    /// Queues a frame of messages. False when it was dropped because too many are waiting.
    pub fn send_messages(&self, frame: Pieces) -> bool {
        self.messages.push(frame)
    }

    /// Sends a snapshot, instead of one that may still be under way.
    pub fn send_snapshot(&mut self, keyspace: Arc<Keyspace>, clock: Arc<dyn Clock>, header: SnapshotHeader) {
        let (connection, events, link) = (self.connection.clone(), self.events.clone(), self.id);
        let task = spawn_local(async move {
            let started = clock.monotonic();
            let ending = async || {
                let (answer, answered) = oneshot::channel();
                let event = LinkEvent::SnapshotEnding { begin: header.begin.clone(), answer };
                // Without an answer the link or the whole node is about to end.
                events.send(Event::Link { link, event, budget: None }).await.ok()?;
                answered.await.ok()?
            };
            match snapshot::send(&connection, &keyspace, &header, ending).await {
                Ok(bytes) => {
                    let event = LinkEvent::SnapshotSent { bytes, elapsed: clock.monotonic() - started };
                    // The loop is gone only when the whole node stops.
                    let _ = events.send(Event::Link { link, event, budget: None }).await;
                }
                // The receiver notices by itself: its stream broke, too.
                Err(error) => tracing::debug!(peer = %connection.peer(), %error, "snapshot not sent"),
            }
        });
        if let Some(previous) = self.snapshot.replace(task.abort_handle()) {
            previous.abort();
        }
    }

    /// Begins to hand over what the peer lacks, in the place of a snapshot that is under way.
    pub fn hand_over(&mut self, header: SnapshotHeader, ending: Option<Ending>) {
        let connection = self.connection.clone();
        let task = spawn_local(async move {
            // The receiver notices by itself when its stream breaks.
            match snapshot::hand_over(&connection, &header, ending).await {
                Ok(bytes) => tracing::info!(peer = %connection.peer(), bytes, "handed over what a peer lacked"),
                Err(error) => tracing::debug!(peer = %connection.peer(), %error, "handover not sent"),
            }
        });
        if let Some(previous) = self.snapshot.replace(task.abort_handle()) {
            previous.abort();
        }
    }

    /// Closes the connection and tells the peer why.
    pub fn close(&self, reason: &str) {
        self.connection.close(reason);
    }

    /// Ends the streams to the peer as soon as all that is queued was sent.
    pub fn finish(&self) {
        self.control.finish();
        self.effects.finish();
        self.messages.finish();
    }

    /// Has the peer received everything, after [`Link::finish`]?
    pub fn is_finished(&self) -> bool {
        self.writers.iter().all(AbortHandle::is_finished)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.close("going away");
        for task in self.writers.iter().chain(&self.readers).chain(&self.snapshot) {
            task.abort();
        }
    }
}

/// Sends what is queued, for as long as the stream holds. The loop learns of a broken connection elsewhere.
async fn write_queue(connection: Connection, kind: StreamKind, queue: Rc<SendQueue>) {
    let written = async {
        // Opened when there is something to say: most nodes never publish.
        let mut opened = None;
        while let Some(frames) = queue.take(WRITE_BYTES).await {
            let writer = match &mut opened {
                Some(writer) => writer,
                none => none.insert(connection.open(kind).await?),
            };
            writer.write_all(frames.iter().map(Vec::as_slice)).await?;
            queue.sent(frames.iter().map(|frame| cost(frame)).sum());
        }
        match opened {
            Some(writer) => writer.finish().await,
            None => Ok(()),
        }
    };
    if let Err(error) = written.await {
        // A stream that the peer gave up cannot be replaced within the connection, but a new connection can do that.
        connection.close("a stream broke");
        tracing::debug!(peer = %connection.peer(), ?kind, %error, "stream ended");
    }
}

/// What the tasks that read have in common.
#[derive(Clone)]
struct Reading {
    link: LinkId,
    connection: Connection,
    events: mpsc::Sender<Event>,
    budget: Arc<Semaphore>,
}

impl Reading {
    /// Takes the streams that the peer opens: one for control, one for effects, one for messages, and snapshots one after
    /// the other.
    async fn accept_streams(self) {
        let mut streams = JoinSet::new();
        let mut seen = [false; 3];
        let mut snapshots = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = self.connection.accept() => accepted,
                Some(_) = streams.join_next() => continue,
            };
            let (kind, reader) = match accepted {
                Ok(accepted) => accepted,
                Err(TransportError::UnknownStream(kind)) => {
                    return self
                        .report(LinkEvent::Violation(format!("a stream of the unknown kind {kind}")), None)
                        .await;
                }
                Err(_) => return,
            };
            let index = match kind {
                StreamKind::Control => 0,
                StreamKind::Effects => 1,
                StreamKind::Messages => 2,
                StreamKind::Snapshot => {
                    streams.spawn_local(self.clone().read_snapshot(snapshots, reader));
                    snapshots += 1;
                    continue;
                }
            };
            if std::mem::replace(&mut seen[index], true) {
                return self.report(LinkEvent::Violation(format!("a second {kind:?} stream")), None).await;
            }
            streams.spawn_local(self.clone().read_frames(kind, reader));
        }
    }

    async fn read_frames(self, kind: StreamKind, mut reader: FrameReader) {
        let limit = match kind {
            StreamKind::Control => MAX_CONTROL_FRAME_BYTES + FRAME_HEAD,
            StreamKind::Effects | StreamKind::Snapshot => MAX_EFFECTS_FRAME_BYTES,
            StreamKind::Messages => MAX_MESSAGES_FRAME_BYTES,
        };
        loop {
            let bytes = match reader.read(limit).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return,
                Err(error @ TransportError::FrameTooLong { .. }) => {
                    return self.report(LinkEvent::Violation(error.to_string()), None).await;
                }
                Err(_) => return,
            };
            let length = bytes.len();
            let decoded = match kind {
                StreamKind::Messages => decode_messages(&bytes).map(LinkEvent::Messages),
                StreamKind::Effects if is_traces(&bytes) => decode_traces(&bytes).map(LinkEvent::Traces),
                _ => Frame::decode(bytes).map(LinkEvent::Frame),
            };
            let event = match decoded {
                Ok(event) => event,
                Err(error) => LinkEvent::Violation(format!("a {kind:?} frame of {length} bytes: {error}")),
            };
            let budget = self.reserve(length).await;
            self.report(event, budget).await;
        }
    }

    async fn read_snapshot(self, stream: u64, mut reader: FrameReader) {
        let mut assembler = Assembler::new(Keyspace::SHARDS);
        loop {
            let event = match reader.read(snapshot::MAX_FRAME_BYTES).await {
                Ok(Some(bytes)) => match assembler.take(&bytes) {
                    Ok(None) => continue,
                    Ok(Some(part)) => {
                        let budget = self.reserve(part.length()).await;
                        self.report(LinkEvent::Snapshot { stream, part }, budget).await;
                        continue;
                    }
                    Err(error) => LinkEvent::Violation(error.to_string()),
                },
                Ok(None) if assembler.is_complete() => return,
                Ok(None) => LinkEvent::SnapshotBroken { stream },
                Err(error @ TransportError::FrameTooLong { .. }) => LinkEvent::Violation(error.to_string()),
                Err(_) => LinkEvent::SnapshotBroken { stream },
            };
            return self.report(event, None).await;
        }
    }

    /// Waits until the loop has worked off enough of what this peer sent before. What is larger than the whole budget
    /// passes alone.
    async fn reserve(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(RECEIVED_BYTES)).expect("the budget is far below 4 GiB");
        // The semaphore is never closed.
        self.budget.clone().acquire_many_owned(bytes).await.ok()
    }

    async fn report(&self, event: LinkEvent, budget: Option<OwnedSemaphorePermit>) {
        // The loop is gone only when the whole node stops.
        let _ = self.events.send(Event::Link { link: self.link, event, budget }).await;
    }
}
