//! Pushing own effects to every peer at once, and what acknowledgements, windows and loss mean for that.
//!
//! # The algorithm
//!
//! Per peer there is a *cursor*: own effects up to it were sent. It starts at what the peer says it has. New effects
//! are sent at once, in batches, as long as no more than [`WINDOW_BYTES`] are unacknowledged; the rest waits in the log
//! and follows as acknowledgements come. An acknowledgement is cumulative and means *applied*: it is the peer's word for
//! how far it has applied this node's effects, in a light [`Frame::Ack`] that answers every batch, and again in gossip.
//! (A sliding window with cumulative acknowledgements, as in TCP.)
//!
//! When nothing is acknowledged for a while although something is under way, the cursor goes back to what is
//! acknowledged, and what follows is sent again. The patience doubles each time: a receiver that waits for a third
//! node's effects, rather than for lost ones, is not flooded.
//!
//! A peer whose frontier is not at this node's floor is sent nothing: it cannot use it before it has a snapshot.
//!
//! Effects of other origins are not pushed: their origins do that. Where an origin has no connection of its own to a
//! peer, `repair` pulls.
//!
//! # Bounds
//!
//! Under way per peer: [`WINDOW_BYTES`], and one batch or effect more. There is no other queue: the log is the queue.

use bytes::Bytes;

use super::Output;
use super::core::Core;
use super::frame::{Frame, Stage};
use super::peers::Violation;
use crate::effects::{Effect, NodeId};
use crate::planted::{Bug, planted};

/// Bytes that may be under way to one peer without acknowledgement.
const WINDOW_BYTES: u64 = 4 << 20;
/// Bytes of effects in one frame, unless a single effect is larger.
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// The first patience with acknowledgements, in milliseconds, and the last.
const STALL: (u64, u64) = (1_000, 8_000);
/// At least this many milliseconds between two acknowledgements; in between they wait for the tick.
const ACK_INTERVAL: u64 = 5;

/// How far a peer is with this node's effects, and this node with answering for the peer's.
#[derive(Debug)]
pub(super) struct Push {
    cursor: u64,
    acknowledged: u64,
    /// Since when nothing was acknowledged although something was under way.
    waiting_since: u64,
    stall: u64,
    /// Since when the peer lacks something of this node.
    behind_since: Option<u64>,
    ack_due: bool,
    ack_at: Option<u64>,
}

impl Push {
    pub(super) fn new(now: u64) -> Self {
        Push {
            cursor: 0,
            acknowledged: 0,
            waiting_since: now,
            stall: STALL.0,
            behind_since: None,
            ack_due: false,
            ack_at: None,
        }
    }

    /// The peer has said where it is.
    pub(super) fn start(&mut self, acknowledged: u64, now: u64) {
        (self.cursor, self.acknowledged, self.waiting_since) = (acknowledged, acknowledged, now);
    }

    /// The last own effect that the peer has applied.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// For how long the peer has lacked something.
    pub(super) fn lag_millis(&self, now: u64) -> u64 {
        self.behind_since.map_or(0, |since| now.saturating_sub(since))
    }
}

impl Core {
    /// Sends effects in other names to all peers that can use them, the first ones at once. The rest, and what gets lost, they ask for.
    pub(super) fn spread(&self, effects: &[Effect], out: &mut Vec<Output>) {
        // A small part of what their logs may hold.
        let most = BATCH_BYTES.min(self.options.log_limit / 4);
        let mut bytes = 0;
        let first = effects.iter().take_while(|effect| {
            bytes += effect.encoded().len();
            bytes <= most
        });
        let batch: Vec<Bytes> = first.map(|effect| effect.encoded().clone()).collect();
        let peers = self.peers.iter().filter(|(_, state)| state.said.is_some() && !batch.is_empty());
        out.extend(peers.map(|(&peer, _)| Output::Send { peer, frame: Frame::Effects(batch.clone()) }));
    }

    /// Sends a peer what the window allows.
    pub(super) fn pump(&mut self, now: u64, peer: NodeId, out: &mut Vec<Output>) {
        let own = self.options.node;
        let last = self.delivery.frontier().get(own);
        let leaving = self.stage() == Stage::Leaving;
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let Some(said) = &state.said else { return };
        let push = &mut state.push;
        if push.acknowledged < last && push.behind_since.is_none() {
            push.behind_since = Some(now);
        }
        let floor = self.stability.floor();
        if push.cursor >= last
            || !(floor.within(&said.frontier) || floor.within(&joined(&said.frontier, &self.delivery.known_by(peer))))
        {
            return;
        }
        // What is below the floor it has, though its last word did not say so yet.
        push.cursor = push.cursor.max(floor.get(own));
        while push.cursor < last {
            // A node that leaves sends all it has before its last word.
            if !leaving && self.log.bytes_between(own, push.acknowledged, push.cursor) >= WINDOW_BYTES {
                return;
            }
            let batch = self.log.range(own, push.cursor, last, BATCH_BYTES);
            assert!(!batch.is_empty(), "own effects above the floor are in the log");
            if push.cursor <= push.acknowledged {
                push.waiting_since = now;
            }
            push.cursor += batch.len() as u64;
            if planted(Bug::AcknowledgeEarly) {
                push.acknowledged = push.cursor;
            }
            self.counters.effects_sent += batch.len() as u64;
            out.push(Output::Send { peer, frame: Frame::Effects(batch) });
        }
    }

    /// Sends every peer what its window allows.
    pub(super) fn pump_all(&mut self, now: u64, out: &mut Vec<Output>) {
        for peer in self.peer_ids() {
            self.pump(now, peer, out);
        }
    }

    /// Goes back to what is acknowledged where acknowledgements have stalled.
    pub(super) fn rewind_stalled(&mut self, now: u64) {
        if planted(Bug::SkipRepair) {
            return;
        }
        for push in self.peers.values_mut().map(|state| &mut state.push) {
            if push.cursor > push.acknowledged && now >= push.waiting_since + push.stall {
                push.cursor = push.acknowledged;
                push.waiting_since = now;
                push.stall = (push.stall * 2).min(STALL.1);
            }
        }
    }

    /// A peer acknowledges this node's effects up to `seq`.
    pub(super) fn received_ack(
        &mut self,
        now: u64,
        peer: NodeId,
        seq: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        let own = self.options.node;
        if seq > self.delivery.frontier().get(own) {
            return Err("it acknowledges effects that this node never made");
        }
        self.raise_acknowledged(now, peer, seq, out);
        Ok(())
    }

    /// A peer's gossip acknowledges, too.
    pub(super) fn acknowledged(&mut self, now: u64, peer: NodeId, out: &mut Vec<Output>) -> Result<(), Violation> {
        let said = self.peers.get(&peer).and_then(|state| state.said.as_ref());
        let seq = said.map_or(0, |said| said.frontier.get(self.options.node));
        self.received_ack(now, peer, seq, out)
    }

    fn raise_acknowledged(&mut self, now: u64, peer: NodeId, seq: u64, out: &mut Vec<Output>) {
        let last = self.delivery.frontier().get(self.options.node);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let push = &mut state.push;
        if seq > push.acknowledged {
            push.acknowledged = seq;
            push.cursor = push.cursor.max(seq);
            (push.waiting_since, push.stall) = (now, STALL.0);
            push.behind_since = (seq < last).then_some(now);
        }
        self.pump(now, peer, out);
    }

    /// Effects of this peer's own have arrived from it: it waits for an answer.
    pub(super) fn acknowledge(&mut self, now: u64, peer: NodeId, out: &mut Vec<Output>) {
        let seq = self.delivery.frontier().get(peer);
        let Some(push) = self.peers.get_mut(&peer).map(|state| &mut state.push) else { return };
        push.ack_due = push.ack_at.is_some_and(|at| now < at + ACK_INTERVAL);
        if !push.ack_due {
            push.ack_at = Some(now);
            out.push(Output::Send { peer, frame: Frame::Ack { seq } });
        }
    }

    /// Sends the acknowledgements that had to wait.
    pub(super) fn acknowledge_due(&mut self, now: u64, out: &mut Vec<Output>) {
        for peer in self.peer_ids() {
            if self.peers[&peer].push.ack_due {
                self.acknowledge(now, peer, out);
            }
        }
    }
}

fn joined(one: &crate::effects::Frontier, other: &crate::effects::Frontier) -> crate::effects::Frontier {
    let mut joined = one.clone();
    joined.join(other);
    joined
}
