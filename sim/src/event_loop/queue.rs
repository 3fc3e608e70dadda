//! What is to happen, in the order in which it will.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use swytch::effects::{Frontier, NodeId};
use swytch::replication::{Frame, SnapshotHeader};

/// One run of a node, from start to crash; a rebase does not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub slot: usize,
    pub number: u64,
}

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The scenario's fault of this number.
    Fault(usize),
    /// The end of faults and clients.
    Heal,
    /// Promises that hold over all nodes are looked at.
    Inspect,
    /// A node's loop has a turn by time.
    Tick(Run),
    /// Clients of a node do something.
    Client(Run),
    /// A node's loop has a turn because something was committed.
    Collect(Run),
    /// A node's search for peers goes on.
    Search(Run, u64),
    /// The addresses of a lookup, none when it failed.
    Resolved(Run, u64, Vec<usize>),
    /// A lookup that worked named these.
    Named(Run, Vec<usize>),
    /// A connection attempt comes to its end.
    Dialed { from: Run, to: usize },
    /// Something arrives at one end of a connection.
    Arrival { connection: u64, end: usize, sent: Sent },
    /// One end of a connection may have heard nothing for too long.
    Idle { connection: u64, end: usize },
    /// One end of a connection learns that the other is gone.
    Closed { connection: u64, end: usize },
    /// The next shards of a snapshot are exported.
    Export { connection: u64, end: usize, header: Box<SnapshotHeader>, next: usize },
}

/// What travels over a connection.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Frame(Frame),
    Header(Box<SnapshotHeader>),
    Handover(Box<SnapshotHeader>),
    Shards(Vec<Vec<u8>>),
    History(Vec<Bytes>),
    Tail(Vec<Bytes>),
    Trailer { end: Frontier, time: u64, history: Option<Frontier>, overflowed: bool },
    Abandoned,
}

/// Something that was sent over a connection: on which stream, as which part of it, what.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub stream: usize,
    pub number: u64,
    pub what: Parcel,
}

/// The queue. What happens at the same moment happens in the order in which it was put in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
}

impl Queue {
    pub fn push(&mut self, at: u64, event: Event) {
        self.heap.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    pub fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse((at, number)) = self.heap.pop()?;
        Some((at, self.events.remove(&number)?))
    }
}

/// Both ends of a connection, one of which is meant by 0 and the other by 1.
#[derive(Debug)]
pub(super) struct Connection {
    pub ends: [End; 2],
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    pub run: Run,
    pub node: NodeId,
    /// Does the node count on this connection?
    pub open: bool,
    /// When the latest of what was sent to this end arrives, on each stream.
    pub last_arrival: [u64; 3],
    /// What got as far as a cut.
    pub held: Vec<Sent>,
    /// How many parcels were sent to this end, and how many of a snapshot arrived in order; what arrived before its turn.
    pub sent: [u64; 3],
    pub taken: u64,
    pub early: BTreeMap<u64, Parcel>,
    /// Since when nothing gets here.
    pub silent_since: Option<u64>,
}
