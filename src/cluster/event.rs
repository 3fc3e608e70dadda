//! Everything that reaches the loop from its tasks, through one bounded channel.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::snapshot::{Ending, Part};
use super::{Connection, TransportError};
use crate::effects::{Frontier, TracedEffect};
use crate::pubsub::Message;
use crate::replication::Frame;

/// Tells the links of one process apart; ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub u64);

/// What happened outside the loop.
pub(super) enum Event {
    /// On a connection. What it brought occupies a share of the peer's receive budget until the loop is done with it.
    Link { link: LinkId, event: LinkEvent, budget: Option<OwnedSemaphorePermit> },
    /// An attempt to connect ended.
    Dialed { address: SocketAddr, outcome: Result<Connection, TransportError> },
    /// A peer dialed this node, and was accepted or not.
    Accepted { outcome: Result<Connection, (SocketAddr, TransportError)> },
    /// The name to join was looked up, and whatever else may lead to peers.
    Resolved { found: Vec<SocketAddr> },
    /// The name that a member advertises was looked up.
    Located { found: Vec<SocketAddr> },
}

/// What happens on a link.
pub(super) enum LinkEvent {
    /// A frame for the core.
    Frame(Frame),
    /// Effects that are to come belong to traces.
    Traces(Vec<TracedEffect>),
    /// What clients of the peer have published.
    Messages(Vec<Message>),
    /// A step of a snapshot that the peer sends. Each snapshot of a link has a stream of its own, counted from 0.
    Snapshot { stream: u64, part: Part },
    /// The stream of a snapshot broke before its end.
    SnapshotBroken { stream: u64 },
    /// All shards of a snapshot that began at this frontier are exported: how does it end?
    SnapshotEnding { begin: Frontier, answer: oneshot::Sender<Option<Ending>> },
    /// The last byte of a snapshot has arrived at the peer.
    SnapshotSent { bytes: u64, elapsed: Duration },
    /// The peer sent what it must not.
    Violation(String),
    /// The connection is gone.
    Closed(String),
}
