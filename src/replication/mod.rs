//! The replication core: what a node of a cluster does, as a state machine without I/O.
//!
//! [`Core::step`] takes one [`Input`] and the time, and appends what is to be done to a list of [`Output`]s. The runtime
//! (`cluster`) feeds it and carries the outputs out, in order.
//!
//! What each part is for, and where its algorithm is told in prose:
//!
//! | module | subject |
//! |---|---|
//! | `core` | the state, and how an input finds the part that it concerns |
//! | `delivery` | causal delivery: when an effect may be applied, and where it waits until then |
//! | `peers` | who is connected, what it said, and what no peer may say |
//! | `log` | the effects that somebody may still need, within a byte budget |
//! | `archive` | what has left the log and still matters to nodes that the log is not kept for |
//! | `push` | own effects to every peer at once; acknowledgements, windows, loss |
//! | `repair` | anti-entropy: gossip, and pulling what did not come by itself |
//! | `stability` | who must have applied an effect before anyone may forget about it, and the floor |
//! | `unmet` | whom DNS names and nobody has met: other clusters that began apart |
//! | `membership` | who belongs to the cluster, who is alive, whom to connect to |
//! | `joining` | from start to serving, by logs or by snapshot; the end |
//! | `snapshot` | what is sent with the data, and how it is taken over |
//! | `handover` | all that a peer lacks at once, from archive and log |
//! | `reconciliation` | a node that serves takes over a peer's state, and goes on as what it is |
//! | `rebase` | when an identity has to be given up, and by whom |
//! | `parting` | the last moments of an identity that is given up |
//! | `remains` | what is kept for the next identity, to be made again |
//! | `legacy` | who makes effects of a node again that is gone, when all who have them give up their identities |
//! | `frame` | what peers say to each other, and its wire form |
//! | `report`, `delay` | what operators and `WAIT` see |
//!
//! Architecture invariant: the core reads no clock, opens no socket, spawns nothing, draws no randomness (it is handed
//! a seed), iterates no randomly seeded map, and knows neither keys and values nor RESP. Every queue has a bound,
//! documented where it is held. Nothing a peer sends can make it panic.
//!
//! # What the runtime promises
//!
//! 1. Outputs are carried out in order, and those of one step before the next step.
//! 2. Before each [`Input::Tick`] it collects the committed local effects and hands them over as
//!    [`Input::LocalEffects`], even when there are none. What the core *claims* to have applied is its frontier at that
//!    moment: every local effect that comes later has then seen all of it, and stability (see `stability`) rests on that.
//! 3. When an applied effect (own or not) changed `__swytch:members`, [`Input::Members`] is the next input.
//! 4. A snapshot that comes while this node serves is imported beside the data. From before the local effects are handed over
//!    that were committed until then, and [`Input::SnapshotReceived`] follows, until [`Output::TakeOver`] is done, nothing is
//!    committed here. Likewise with [`Input::HandoverReceived`] and [`Output::ApplyTogether`].
//! 5. One connection per peer at a time: [`Input::Connected`], frames, [`Input::Disconnected`], and again. Frames of one
//!    [`Stream`] arrive in the order in which they were sent.

mod archive;
mod core;
mod delay;
mod delivery;
#[cfg(test)]
mod fake_keyspace;
mod frame;
mod handover;
#[cfg(test)]
mod harness;
mod joining;
mod legacy;
mod log;
mod membership;
mod parting;
mod peers;
mod push;
mod rebase;
mod reconciliation;
mod remains;
mod repair;
mod report;
#[cfg(test)]
mod scenarios;
mod snapshot;
mod stability;
mod unmet;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::effects::{Effect, Frontier, NodeId};
use crate::keyspace::Millis;

pub use self::core::Core;
pub use delay::DelayHistogram;
pub use frame::{Frame, Hello, MAX_CONTROL_FRAME_BYTES, MAX_EFFECTS_FRAME_BYTES, PROTOCOL_VERSION, Stage, Stream};
pub use rebase::is_covered;
pub use remains::{Absent, Again, Holder, Remains};
pub use report::{ClusterReport, MemberReport};
pub use snapshot::{History, MAX_TAIL_BYTES, SnapshotHeader, SnapshotTail, tail_cost};

/// The time at which an input is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since some fixed moment; never goes back. Everything the core decides by time, it decides by this.
    pub monotonic: u64,
    /// Milliseconds since the Unix epoch; may jump.
    pub wall: Millis,
}

/// How a core is set up. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// This incarnation.
    pub node: NodeId,
    /// This node's own entry for `__swytch:members`, told to peers at the first word.
    pub member: Member,
    /// Which effects of own identities that ended and of other nodes this one could make again: [`Remains::legacy`] of the identity before.
    pub legacy: Vec<Stretch>,
    /// Who is known to have what would have to be made again: [`Remains::holders`] of the identity before.
    pub holders: Vec<Holder>,
    /// Who of those may only be cut off: [`Remains::absent`] of the identity before.
    pub absent: BTreeMap<NodeId, Absent>,
    /// Starts by finding a cluster to join (true), or serves at once.
    pub joining: bool,
    /// Seed for the jitter of connection attempts.
    pub seed: u64,
    /// Budget for the encoded effects kept for peers.
    pub log_limit: usize,
    /// Budget for what has left the log and is kept for nodes that may come back (see `archive`).
    pub archive_limit: usize,
    /// Budget for effects that arrived before what they depend on.
    pub waiting_limit: usize,
    /// Budget for the metadata of keys that is kept for nodes which may come back.
    pub metadata_limit: usize,
    /// At least this long between two gossips to one peer. The runtime's ticks should come about this often.
    pub tick_interval: u64,
    /// At most this long between two gossips to one peer.
    pub gossip_interval: u64,
    /// A member writes its entry anew this often.
    pub heartbeat_interval: u64,
    /// A member of which nothing was heard for this long is removed.
    pub expiry: u64,
    /// A peer of which nothing came for this long over its connection is dialed anew: after a cut, a new connection may work
    /// long before the old one tries again. More than twice the pause between two gossips.
    pub silence: u64,
    /// How long a node that serves bears with a state that only a rebase can end, in the hope of another peer.
    pub rebase_grace: u64,
    /// After it began to serve, and after each new peer, a node waits this long before it forgets anything: nodes that
    /// start together, without a cluster to admit them, get to know each other first.
    pub settle: u64,
}

impl CoreOptions {
    /// The settings of a real node.
    pub fn new(node: NodeId, member: Member) -> Self {
        CoreOptions {
            node,
            member,
            legacy: Vec::new(),
            holders: Vec::new(),
            absent: BTreeMap::new(),
            joining: true,
            seed: node.0,
            log_limit: 128 << 20,
            archive_limit: 128 << 20,
            waiting_limit: 32 << 20,
            metadata_limit: 128 << 20,
            tick_interval: 50,
            gossip_interval: 1_000,
            heartbeat_interval: 10_000,
            expiry: 30_000,
            silence: 2_500,
            rebase_grace: 5_000,
            settle: 5_000,
        }
    }
}

/// One entry of `__swytch:members`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// The node's name, for people.
    pub name: String,
    /// Where its peers reach it: host and port.
    pub address: String,
    /// Where clients reach it.
    pub client_port: u16,
    /// The version of its software.
    pub version: String,
    /// When this incarnation began, by its own wall clock. A rebase begins a new one, later than the one before.
    pub started: Millis,
    /// Written by itself, when it serves: whatever it makes anew of a former identity comes before.
    pub serving: bool,
    /// Identities that it gave up, whose effects it makes anew where they are lacking (see `legacy`); the latest last, at most
    /// [`MAX_FORMER`]. As long as it joins, it takes its snapshot from who has most of them, and waits for those that
    /// others have: nothing is made anew that exists.
    pub former: Vec<NodeId>,
    /// Effects of other nodes: of a node that serves, those that it made anew as far as they were lacking; of one
    /// that joins, those that it may have to (see `legacy`). At most [`MAX_FORMER`].
    pub legacy: Vec<Stretch>,
    /// Of identities that it gave up, up to which seq it had no effects in its log any more: these it could not make anew. At most
    /// [`MAX_FORMER`].
    pub forgotten: Vec<(NodeId, u64)>,
}

/// So many identities given up are told of, and so many others whose effects are made anew.
pub const MAX_FORMER: usize = 16;

/// Effects of one node, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Whose.
    pub origin: NodeId,
    /// Those after this seq.
    pub after: u64,
    /// Those up to this seq.
    pub upto: u64,
}

impl Stretch {
    /// How many they are.
    fn count(&self) -> u64 {
        self.upto.saturating_sub(self.after)
    }

    /// Takes in what another one has of the same node, and what lies between them.
    fn join(&mut self, other: Stretch) {
        (self.after, self.upto) = (self.after.min(other.after), self.upto.max(other.upto));
    }
}

impl Member {
    /// It gave up this identity.
    pub fn was(&mut self, former: NodeId) {
        self.former.push(former);
        let old = self.former.len().saturating_sub(MAX_FORMER);
        self.former.drain(..old);
    }

    /// It gave up this identity, and makes anew what came after this seq.
    pub(crate) fn makes_after(&self, former: NodeId) -> Option<u64> {
        let forgotten = || self.forgotten.iter().find(|(node, _)| *node == former).map_or(0, |&(_, upto)| upto);
        self.former.contains(&former).then(forgotten)
    }

    /// It makes these effects of another node anew.
    fn made_again(&mut self, mut made: Stretch) {
        let origin = made.origin;
        self.stretches(origin).for_each(|earlier| made.join(earlier));
        self.legacy.retain(|earlier| earlier.origin != origin);
        self.legacy.push(made);
        let old = self.legacy.len().saturating_sub(MAX_FORMER);
        self.legacy.drain(..old);
    }

    /// Up to which seq it has effects of this other node to make anew, or has made them.
    pub(crate) fn has_legacy(&self, node: NodeId) -> u64 {
        self.stretches(node).map(|made| made.upto).max().unwrap_or(0)
    }

    /// Which effects of this other node it has to make anew, or has made.
    pub(crate) fn stretches(&self, node: NodeId) -> impl Iterator<Item = Stretch> {
        self.legacy.iter().copied().filter(move |stretch| stretch.origin == node)
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Effects of this node, committed and applied, in order of seq and without gaps. Possibly none: see the promises
    /// of the runtime.
    LocalEffects(Vec<Effect>),
    /// What [`Output::Serving`] or [`Output::MakeAgain`] asked for is made again, and applied: under names that nobody else uses, each in
    /// order of seq and without gaps.
    MadeAgain(Vec<Effect>),
    /// An authenticated connection stands.
    Connected {
        /// Who is at the other end, as its certificate proves.
        peer: NodeId,
    },
    /// The connection is gone, whoever ended it.
    Disconnected {
        /// Who was at the other end.
        peer: NodeId,
    },
    /// A peer said something.
    Received {
        /// Who.
        peer: NodeId,
        /// What.
        frame: Frame,
    },
    /// All of `__swytch:members`, after each change of it.
    Members(BTreeMap<NodeId, Member>),
    /// A snapshot asked for by [`Output::Send`] of [`Frame::SnapshotRequest`] is here as a whole, and its parts are imported.
    /// Should this node serve, it counts only if an [`Output::TakeOver`] follows.
    SnapshotReceived {
        /// Who sent it.
        peer: NodeId,
        /// As the sender's [`Output::SendSnapshot`] had it.
        header: SnapshotHeader,
        /// As the sender's [`Core::snapshot_tail`] had it, at most [`MAX_TAIL_BYTES`].
        tail: SnapshotTail,
    },
    /// The snapshot will not come from this peer. What was imported of it counts for nothing: the keyspace is empty, unless this
    /// node serves.
    SnapshotFailed {
        /// Who did not send it.
        peer: NodeId,
    },
    /// What was asked for by [`Output::Send`] of [`Frame::HandoverRequest`] is here as a whole. It counts only if an
    /// [`Output::ApplyTogether`] follows.
    HandoverReceived {
        /// Who sent it.
        peer: NodeId,
        /// As the sender's [`Output::HandOver`] had it.
        header: SnapshotHeader,
        /// The effects, as there, at most [`MAX_TAIL_BYTES`]; it ends where the header begins.
        tail: SnapshotTail,
    },
    /// The peer does not have what it was asked to hand over.
    HandoverRefused {
        /// Who.
        peer: NodeId,
    },
    /// How large the metadata of keys is, in bytes. Comes now and then.
    Metadata {
        /// The bytes.
        bytes: usize,
    },
    /// Discovery ended and found no other node that can be reached.
    NobodyFound,
    /// The name of the cluster was looked up: these are the addresses behind it, this node's own left out. Not after a lookup
    /// that failed.
    Named(Vec<String>),
    /// It is known who is at an address that was to be dialed.
    Reached {
        /// As in [`Output::Dial`].
        address: String,
        /// A peer that is connected; none: this node itself, or nobody of this cluster.
        peer: Option<NodeId>,
    },
    /// This node stops, gracefully. Its own entry was removed from the membership by a local effect before this.
    Leave,
    /// Time passes. Comes every [`CoreOptions::tick_interval`] or so, after [`Input::LocalEffects`].
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Say this to a connected peer.
    Send {
        /// To whom.
        peer: NodeId,
        /// What.
        frame: Frame,
    },
    /// Apply an effect of another node. Exactly once per effect, in causal order.
    Apply {
        /// The effect.
        effect: Effect,
        /// All that its origin had seen, its own earlier effects included.
        seen: Frontier,
    },
    /// The snapshot that was just received takes the place of all that is here: apply its tail to it, then what it lacks, and then
    /// show it, all at once. A fold that is under way was one of the state that goes.
    TakeOver {
        /// Each effect with all that its origin had seen.
        tail: Vec<(Effect, Frontier)>,
        /// What only this node has, its own effects among them. There are gaps between them.
        beyond: Vec<(Effect, Frontier)>,
        /// All of this is applied then.
        frontier: Frontier,
    },
    /// Apply these effects, in this order, and show nothing of them before all are applied.
    ApplyTogether {
        /// Each with all that its origin had seen. There are gaps between them.
        effects: Vec<(Effect, Frontier)>,
        /// All of this is applied then.
        frontier: Frontier,
    },
    /// Metadata within this frontier may be dropped: no effect will be applied any more that has not seen all of it.
    Fold(Frontier),
    /// Export the keyspace to this peer, under this header, and then what [`Core::snapshot_tail`] says. Replaces an export to it
    /// that is still under way.
    SendSnapshot {
        /// To whom.
        peer: NodeId,
        /// Goes with the data.
        header: SnapshotHeader,
    },
    /// Send a peer what it has asked to be handed over: the header, and then the effects as the tail of a snapshot that has no data.
    HandOver {
        /// To whom.
        peer: NodeId,
        /// Goes with it. Everything within what it begins with is handed over, as far as the peer lacks it.
        header: SnapshotHeader,
        /// None: it is not to be had any more. Tell the peer.
        effects: Option<Vec<Bytes>>,
    },
    /// All that any part of the imported snapshot may contain is applied: its filters are not needed any more.
    CatchUpComplete,
    /// This node may serve clients from now on, when it has made again what [`Remains::take`] says.
    Serving {
        /// Of its own former identities, and of nodes that are gone.
        again: Vec<Again>,
    },
    /// The same, later, for one node that is gone.
    MakeAgain(Again),
    /// The effects of this node that were kept to be made again are made again by another: forgo them.
    Forgo(NodeId),
    /// Write this node's own entry to `__swytch:members`, as an ordinary effect.
    Heartbeat(Member),
    /// Write the entry of a node that joins, as an ordinary effect. Its snapshot follows when the entry is there, so
    /// that every node that could forget something which the newcomer lacks, knows of it first (see `joining`).
    Admit {
        /// Whose entry.
        node: NodeId,
        /// The entry.
        member: Member,
    },
    /// Remove the entry of a node that is dead, as an ordinary effect.
    RemoveMember(NodeId),
    /// Try to connect, even if there is a connection: nothing has come over that for long. Repeated as long as it is wished for.
    Connect {
        /// To whom.
        node: NodeId,
        /// Where it is.
        address: String,
    },
    /// End the connection to this peer.
    Disconnect {
        /// Whose.
        peer: NodeId,
        /// Why, for the log and for the peer.
        reason: &'static str,
    },
    /// Try to connect to whoever is there. Repeated until [`Input::Reached`].
    Dial {
        /// One of [`Input::Named`].
        address: String,
    },
    /// Look the name of the cluster up, for [`Input::Named`].
    LookUp,
    /// No peer is left: ask DNS again.
    Discover,
    /// This identity is about to be given up: let clients wait, and begin no effect any more for them.
    Part,
    /// It is not given up after all: serve again.
    Stay,
    /// This identity has to be given up: empty the keyspace, make a new core with a fresh node id that joins and knows of
    /// [`Remains::legacy`], connect anew, and at [`Output::Serving`] issue those effects of [`Core::remains`] again that are
    /// lacking by then. Should the new identity have to be given up before that, the same effects wait for the next.
    /// This core does nothing any more.
    Rebase {
        /// Why, for the log.
        reason: &'static str,
    },
    /// An operator should know this.
    Warn(String),
}
