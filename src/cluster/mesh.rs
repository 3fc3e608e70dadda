//! The connections to all peers: dialing, accepting, and which of two connections to one peer stays.
//!
//! Knows nothing of replication; it tells the loop who came and who went, each once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet, spawn_local};

use super::dialer::{Dialer, Refusal};
use super::discovery::Peers;
use super::event::{Event, LinkId};
use super::peer::Link;
use super::{Connection, Transport, TransportError};
use crate::effects::NodeId;
use crate::keyspace::Millis;

/// A connection that stands for this long is no longer one of two that two peers dialed at the same time: who dials now
/// has lost it.
const SETTLED: Duration = Duration::from_secs(3);

/// For how long a connection over which nothing comes does not keep its peer from being dialed: longer than the pause between two
/// wishes for that.
const DOUBT: Duration = Duration::from_secs(3);

/// A connection that does not live this long counts as a failed attempt, so that the next one waits.
const SHORT_LIVED: Duration = Duration::from_secs(5);

/// For how many addresses it is remembered that a warning was given.
const MAX_WARNED: usize = 1024;

/// Who came and who went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Connected(NodeId),
    Disconnected(NodeId),
}

/// Who is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// A peer, which is connected.
    Peer(NodeId),
    /// This node itself, or one with another passphrase.
    Nowhere,
}

/// All connections of one identity.
pub(super) struct Mesh {
    node: NodeId,
    /// `None` once closed.
    transport: Option<Rc<Transport>>,
    links: BTreeMap<NodeId, Link>,
    peers: BTreeMap<LinkId, NodeId>,
    next_link: u64,
    dialer: Dialer,
    /// Addresses that turned out to lead back here.
    own: BTreeSet<SocketAddr>,
    warned: BTreeSet<SocketAddr>,
    refused: u64,
    events: mpsc::Sender<Event>,
    accepting: AbortHandle,
    dialing: JoinSet<()>,
}

impl Mesh {
    /// Begins to accept peers. Links are numbered from `first_link` on.
    pub fn start(transport: Transport, first_link: u64, events: mpsc::Sender<Event>) -> Mesh {
        let transport = Rc::new(transport);
        let accepting = spawn_local(accept(transport.clone(), events.clone())).abort_handle();
        Mesh {
            node: transport.node(),
            transport: Some(transport),
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            next_link: first_link,
            dialer: Dialer::default(),
            own: BTreeSet::new(),
            warned: BTreeSet::new(),
            refused: 0,
            events,
            accepting,
            dialing: JoinSet::new(),
        }
    }

    /// The address that is bound.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.transport.as_ref()?.local_address().ok()
    }

    /// Presents a new certificate from now on, if the current one is old.
    pub fn renew_certificate(&self) {
        let Some(transport) = &self.transport else { return };
        if transport.renewal_due() {
            match transport.renew() {
                Ok(()) => tracing::info!("certificate renewed"),
                Err(error) => {
                    tracing::error!(%error, "certificate not renewed; peers will refuse this node when it expires")
                }
            }
        }
    }

    /// Tells those who dial whether this node serves clients.
    pub fn declare(&self, serving: bool) {
        let Some(transport) = &self.transport else { return };
        if let Err(error) = transport.declare(serving) {
            tracing::error!(%error, serving, "certificate not renewed; a node with another passphrase will be misled");
        }
    }

    /// When the certificate that peers are shown expires; 0 once everything is closed.
    pub fn certificate_expires(&self) -> Millis {
        self.transport.as_ref().map_or(0, |transport| transport.certificate_expires())
    }

    /// The number of the next link.
    pub fn next_link(&self) -> u64 {
        self.next_link
    }

    /// How many peers were refused, or refused this node, over passphrase, version or clock.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The link to a peer.
    pub fn link(&mut self, peer: NodeId) -> Option<&mut Link> {
        self.links.get_mut(&peer)
    }

    /// All links.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Who is connected.
    pub fn connected(&self) -> impl Iterator<Item = NodeId> {
        self.links.keys().copied()
    }

    /// The peer of a link, unless the link is gone.
    pub fn peer(&self, link: LinkId) -> Option<NodeId> {
        self.peers.get(&link).copied()
    }

    /// What is known about the peers, for the search.
    pub fn outlook(&self) -> Peers {
        if !self.links.is_empty() {
            Peers::Connected
        } else if self.dialer.busy() {
            Peers::Dialing
        } else if self.dialer.any_refused_serving() {
            Peers::Strangers
        } else if self.dialer.any_refused_idle() {
            Peers::IdleStrangers
        } else {
            Peers::Silent
        }
    }

    /// Who is at `address`, as far as it is known without dialing it.
    pub fn lead(&self, address: SocketAddr) -> Option<Lead> {
        if let Some((&peer, _)) = self.links.iter().find(|(_, link)| link.remote_address() == address) {
            return Some(Lead::Peer(peer));
        }
        let is_known = self.own.contains(&address) || self.dialer.is_refused(address);
        is_known.then_some(Lead::Nowhere)
    }

    /// Wishes for a connection to whoever is at `address`.
    pub fn want(&mut self, address: SocketAddr, now: Duration) {
        let connected = self.links.values().any(|link| link.remote_address() == address && link.doubted_until <= now);
        if !connected && !self.own.contains(&address) {
            self.dialer.want(address, now);
        }
    }

    /// Nothing comes over the connection to this peer, if there is one: for a while its address may be dialed all the same.
    pub fn doubt(&mut self, peer: NodeId, now: Duration) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.doubted_until = now + DOUBT;
        }
    }

    /// Dials whoever is due.
    pub fn dial(&mut self, now: Duration) {
        while self.dialing.try_join_next().is_some() {}
        let Some(transport) = &self.transport else { return };
        for address in self.dialer.due(now) {
            tracing::debug!(%address, "dialing");
            let (transport, events) = (transport.clone(), self.events.clone());
            self.dialing.spawn_local(async move {
                let outcome = transport.connect(address).await;
                // The loop is gone only when the whole node stops.
                let _ = events.send(Event::Dialed { address, outcome }).await;
            });
        }
    }

    /// When the next attempt is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.dialer.next_due()
    }

    /// An attempt ended.
    pub fn dialed(
        &mut self,
        address: SocketAddr,
        outcome: Result<Connection, TransportError>,
        now: Duration,
        random: &mut fastrand::Rng,
    ) -> Vec<Change> {
        match outcome {
            Ok(connection) => {
                self.dialer.succeeded(address);
                self.established(connection, now)
            }
            Err(TransportError::Myself) => {
                self.dialer.succeeded(address);
                self.own.insert(address);
                Vec::new()
            }
            Err(error) => {
                if let Some(refusal) = refusal(&error) {
                    self.dialer.refused(address, refusal, now);
                    self.refuse(address, &error);
                } else {
                    tracing::debug!(%address, %error, "no connection");
                    self.dialer.failed(address, now, random);
                }
                Vec::new()
            }
        }
    }

    /// A peer dialed this node.
    pub fn accepted(
        &mut self,
        outcome: Result<Connection, (SocketAddr, TransportError)>,
        now: Duration,
    ) -> Vec<Change> {
        match outcome {
            Ok(connection) => return self.established(connection, now),
            Err((_, TransportError::Myself)) => {}
            Err((address, error)) if refusal(&error).is_some() => self.refuse(address, &error),
            Err((address, error)) => tracing::debug!(%address, %error, "no connection accepted"),
        }
        Vec::new()
    }

    fn refuse(&mut self, address: SocketAddr, error: &TransportError) {
        self.refused += 1;
        if self.warned.len() < MAX_WARNED && self.warned.insert(address) {
            tracing::warn!(%address, reason = %error, "peer refused; it is tried again now and then, without further warnings");
        }
    }

    /// Of two connections that two peers dialed at the same time, both keep the one that the smaller node id dialed. A
    /// newer one from the same dialer replaces the older one: the dialer has lost it.
    fn established(&mut self, connection: Connection, now: Duration) -> Vec<Change> {
        let peer = connection.peer();
        let mut changes = Vec::new();
        if let Some(current) = self.links.get(&peer) {
            let again = current.dialed() == connection.dialed() || now.saturating_sub(current.since) > SETTLED;
            let dialed_by_smaller = connection.dialed() == (self.node < peer);
            if !again && !dialed_by_smaller {
                connection.close("there is another connection");
                return changes;
            }
            self.remove(peer, "a newer connection replaces this one");
            changes.push(Change::Disconnected(peer));
        }
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let protocol = connection.protocol();
        tracing::info!(%peer, address = %connection.remote_address(), dialed = connection.dialed(), protocol, "peer connected");
        self.links.insert(peer, Link::start(id, now, connection, self.events.clone()));
        self.peers.insert(id, peer);
        changes.push(Change::Connected(peer));
        changes
    }

    /// A connection is to end, or has ended. False when there is none.
    pub fn lose(&mut self, peer: NodeId, reason: &str, now: Duration, random: &mut fastrand::Rng) -> bool {
        let Some(link) = self.remove(peer, reason) else { return false };
        tracing::info!(%peer, address = %link.remote_address(), reason, "peer lost");
        if now.saturating_sub(link.since) < SHORT_LIVED {
            self.dialer.failed(link.remote_address(), now, random);
        }
        true
    }

    fn remove(&mut self, peer: NodeId, reason: &str) -> Option<Link> {
        let link = self.links.remove(&peer)?;
        self.peers.remove(&link.id);
        link.close(reason);
        Some(link)
    }

    /// Closes everything, waits briefly until the peers know, and lets go of the socket.
    pub async fn close(&mut self, reason: &str) {
        for link in self.links.values() {
            link.close(reason);
        }
        self.links.clear();
        self.peers.clear();
        self.accepting.abort();
        self.dialing.shutdown().await;
        if let Some(transport) = self.transport.take() {
            transport.close(reason).await;
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(transport: Rc<Transport>, events: mpsc::Sender<Event>) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = handshakes.join_next() => {}
            incoming = transport.accept() => {
                let Some(incoming) = incoming else { return };
                let events = events.clone();
                handshakes.spawn_local(async move {
                    let outcome = incoming.establish().await;
                    // The loop is gone only when the whole node stops.
                    let _ = events.send(Event::Accepted { outcome }).await;
                });
            }
        }
    }
}

/// Is this a peer that answers, but with which there cannot be a connection unless an operator changes something?
fn refusal(error: &TransportError) -> Option<Refusal> {
    match error {
        TransportError::WrongPassphrase | TransportError::VersionMismatch | TransportError::ClocksApart => {
            Some(Refusal::Serving)
        }
        TransportError::WrongPassphraseIdle => Some(Refusal::Idle),
        _ => None,
    }
}
