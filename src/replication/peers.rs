//! Who is connected, what it said last, and what no peer may say.
//!
//! A peer is trusted to be a node of this cluster (it proved that it knows the passphrase), not to be free of bugs. What
//! it says is checked here before anything acts on it. What no correct peer can say ends the connection: it is counted,
//! the operator is told, and nothing else suffers.
//!
//! One thing that looks wrong is not: a frontier older than one heard before. It may have been overtaken, and is passed
//! over. Only a frontier that is neither older nor newer cannot be, as a node's frontiers form a chain.
//!
//! # Bounds
//!
//! At most [`MAX_PEERS`] connections. Per peer: a few frontiers of at most `MAX_ORIGINS` entries.

use super::core::Core;
use super::delivery::MAX_ORIGINS;
use super::frame::{Frame, Hello, Stage};
use super::{MAX_FORMER, Member, Output};
use crate::effects::{Frontier, NodeId};

/// The most peers that may be connected.
pub(super) const MAX_PEERS: usize = 1_024;
/// The most effects that one incarnation can make: one and a half years at ten millions a second. Sums of such numbers
/// over all origins do not overflow.
pub(super) const MAX_SEQ: u64 = 1 << 49;
/// The most departed nodes that are told of.
pub(super) const MAX_DEPARTED: usize = 256;
/// Who has said nothing for this many milliseconds since it connected is disconnected: others may wait to know what it is.
const HELLO_PATIENCE: u64 = 10_000;
/// A first word that found no answer is repeated after this many milliseconds.
const HELLO_INTERVAL: u64 = 1_000;

/// A connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// What it said last; none before its first word.
    pub(super) said: Option<Said>,
    connected_at: u64,
    /// When a frame came from it last.
    pub(super) heard_at: u64,
    hello_at: u64,
    /// The gossip that it was told last, and when.
    pub(super) told: Option<(Frame, u64)>,
    pub(super) push: super::push::Push,
    /// Bytes that may still be sent in answer to its requests before the next tick.
    pub(super) answer_budget: usize,
    /// The attempt under which it asked for a snapshot that was not begun yet.
    pub(super) wants_snapshot: Option<u32>,
    /// The attempt and the beginning of the snapshot on its way to it.
    pub(super) export: Option<(u32, Frontier)>,
    /// The attempt under which it asked for a handover that it has not got yet, and beyond what.
    pub(super) wants_handover: Option<(u32, Frontier)>,
    /// The latest attempt that was answered with one.
    pub(super) handed_over: u32,
    /// When its entry was last asked to be written.
    pub(super) admitted_at: Option<u64>,
}

/// What a peer said of itself.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) member: Member,
    pub(super) frontier: Frontier,
    pub(super) floor: Frontier,
    /// Where its archive begins.
    pub(super) archive: Frontier,
    pub(super) stage: Stage,
    pub(super) stuck: bool,
}

impl Said {
    /// May it be asked for what a cluster has?
    pub(super) fn serves(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Parting)
    }
}

/// A breach of the protocol.
pub(super) type Violation = &'static str;

impl Core {
    /// A connection stands: the first word goes out.
    pub(super) fn connected(&mut self, now: u64, peer: NodeId, out: &mut Vec<Output>) {
        if peer == self.options.node || self.peers.len() >= MAX_PEERS {
            out.push(Output::Disconnect { peer, reason: "too many peers, or a connection to itself" });
            return;
        }
        let state = Peer {
            said: None,
            connected_at: now,
            heard_at: now,
            hello_at: now,
            told: None,
            push: super::push::Push::new(now),
            answer_budget: super::repair::ANSWER_BYTES_PER_TICK,
            wants_snapshot: None,
            export: None,
            wants_handover: None,
            handed_over: 0,
            admitted_at: None,
        };
        self.peers.insert(peer, state);
        self.membership.connected(peer, now);
        out.push(Output::Send { peer, frame: self.hello() });
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, now: u64, peer: NodeId) {
        if self.peers.remove(&peer).is_some() {
            self.membership.disconnected(peer, now);
            self.source_failed(now, peer);
        }
    }

    /// Ends a connection because of what came over it.
    pub(super) fn refuse(&mut self, now: u64, peer: NodeId, reason: Violation, out: &mut Vec<Output>) {
        self.counters.refused_peers += 1;
        self.disconnected(now, peer);
        out.push(Output::Warn(format!("peer {peer} broke the protocol: {reason}; disconnected")));
        out.push(Output::Disconnect { peer, reason });
    }

    /// Repeats the first word to peers that have not answered it: it may have been lost. Gives up on those that never do.
    pub(super) fn repeat_hello(&mut self, now: u64, out: &mut Vec<Output>) {
        let mute = |state: &Peer| state.said.is_none() && now >= state.connected_at + HELLO_PATIENCE;
        let mute: Vec<NodeId> = self.peers.iter().filter(|(_, state)| mute(state)).map(|(&peer, _)| peer).collect();
        for peer in mute {
            self.refuse(now, peer, "it never said who it is", out);
        }
        let hello = self.hello();
        for (&peer, state) in &mut self.peers {
            if state.said.is_none() && now >= state.hello_at + HELLO_INTERVAL {
                state.hello_at = now;
                out.push(Output::Send { peer, frame: hello.clone() });
            }
        }
    }

    fn hello(&self) -> Frame {
        Frame::Hello(Box::new(Hello {
            member: self.introduction(),
            frontier: self.claimed.clone(),
            floor: self.stability.floor().clone(),
            archive: self.archive_before_log(),
            stage: self.stage(),
            departed: self.stability.departed(),
            participants: self.stability.participants().collect(),
        }))
    }

    /// The first word of a peer.
    pub(super) fn received_hello(
        &mut self,
        now: u64,
        peer: NodeId,
        hello: Hello,
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        self.check_claims(&hello.frontier, &hello.floor, hello.archive.as_ref(), &hello.departed)?;
        if hello.participants.len() > MAX_ORIGINS {
            return Err("absurdly many participants");
        }
        check_member(&hello.member)?;
        let Some(state) = self.peers.get_mut(&peer) else { return Ok(()) };
        if state.said.is_some() {
            // It repeats itself because our first word has not reached it.
            if now >= state.hello_at + HELLO_INTERVAL {
                state.hello_at = now;
                let frame = self.hello();
                out.push(Output::Send { peer, frame });
            }
            return Ok(());
        }
        let Hello { member, frontier, floor, archive, stage, departed, participants } = hello;
        let archive = archive.unwrap_or_else(|| floor.clone());
        state.push.start(frontier.get(self.options.node), now);
        state.said =
            Some(Said { member: member.clone(), frontier: frontier.clone(), floor, archive, stage, stuck: false });
        self.joining.met(now);
        self.meet(now, peer, member, frontier, &participants)?;
        self.learn_departed(now, &departed);
        self.introduce(peer, out);
        self.seek(now, out);
        self.pump(now, peer, out);
        Ok(())
    }

    /// A peer says what it has.
    pub(super) fn received_gossip(
        &mut self,
        now: u64,
        peer: NodeId,
        frame: Frame,
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        let Frame::Gossip { frontier, floor, archive, stage, stuck, departed } = frame else { return Ok(()) };
        self.check_claims(&frontier, &floor, archive.as_ref(), &departed)?;
        let Some(state) = self.peers.get_mut(&peer) else { return Ok(()) };
        // Gossip that overtook the first word says nothing that will not be said again.
        let Some(said) = state.said.as_mut() else { return Ok(()) };
        if frontier != said.frontier && frontier.within(&said.frontier) {
            return Ok(());
        }
        if !said.frontier.within(&frontier) {
            return Err("its frontier went back");
        }
        said.frontier.clone_from(&frontier);
        said.archive.join(archive.as_ref().unwrap_or(&floor));
        said.floor.join(&floor);
        (said.stage, said.stuck) = (stage, stuck);
        if state.export.as_ref().is_some_and(|(_, begin)| begin.within(&frontier)) {
            state.export = None;
        }
        self.heard_frontier(peer, frontier);
        self.learn_departed(now, &departed);
        self.acknowledged(now, peer, out)?;
        self.seek(now, out);
        Ok(())
    }

    /// What no correct peer can claim.
    fn check_claims(
        &self,
        frontier: &Frontier,
        floor: &Frontier,
        archive: Option<&Frontier>,
        departed: &[(NodeId, u64)],
    ) -> Result<(), Violation> {
        check_frontier(frontier)?;
        check_frontier(floor)?;
        archive.map_or(Ok(()), check_frontier)?;
        if !floor.within(frontier) || archive.is_some_and(|archive| !archive.within(floor)) {
            return Err("its floor is beyond its frontier");
        }
        let own = self.options.node;
        if frontier.get(own) > self.delivery.frontier().get(own) {
            return Err("it claims effects that this node never made");
        }
        if departed.len() > MAX_DEPARTED || departed.iter().any(|&(_, last)| last > MAX_SEQ) {
            return Err("an absurd list of departed nodes");
        }
        Ok(())
    }
}

/// What no correct node says of itself or of another.
pub(super) fn check_member(member: &Member) -> Result<(), Violation> {
    let absurd = member.legacy.iter().any(|made| made.after.max(made.upto) > MAX_SEQ)
        || member.forgotten.iter().any(|&(_, upto)| upto > MAX_SEQ);
    if absurd || member.former.len().max(member.legacy.len()).max(member.forgotten.len()) > MAX_FORMER {
        return Err("an absurd list of identities that were given up");
    }
    Ok(())
}

/// What no correct node can send as a frontier.
pub(super) fn check_frontier(frontier: &Frontier) -> Result<(), Violation> {
    if !frontier.is_canonical() {
        return Err("a frontier that is not in canonical form");
    }
    if frontier.len() > MAX_ORIGINS || frontier.iter().any(|(_, seq)| seq > MAX_SEQ) {
        return Err("an absurd frontier");
    }
    Ok(())
}
