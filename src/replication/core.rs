//! The state of the core, and how an input finds the part that it concerns.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::archive::Archive;
use super::delivery::{Delivered, Delivery, MAX_ORIGINS};
use super::frame::Frame;
use super::joining::{Joining, Phase};
use super::legacy::Legacy;
use super::log::Log;
use super::membership::Membership;
use super::peers::{MAX_SEQ, Peer, Violation, check_member};
use super::reconciliation::Reconciliation;
use super::remains::Pasts;
use super::repair::Repair;
use super::stability::Stability;
use super::unmet::Unmet;
use super::{CoreOptions, Input, Now, Output};
use crate::effects::{Effect, Frontier, NodeId};
use crate::planted::{Bug, planted};

/// One node's part in replication. See the module for what surrounds it.
#[derive(Debug)]
pub struct Core {
    pub(super) options: CoreOptions,
    pub(super) delivery: Delivery,
    /// What was applied when the local effects were handed over last: every later own effect has seen it.
    pub(super) claimed: Frontier,
    pub(super) log: Log,
    pub(super) archive: Archive,
    pub(super) past: Pasts,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) repair: Repair,
    pub(super) stability: Stability,
    pub(super) membership: Membership,
    pub(super) unmet: Unmet,
    pub(super) joining: Joining,
    pub(super) legacy: Legacy,
    pub(super) reconciliation: Reconciliation,
    pub(super) counters: Counters,
}

/// What is counted that nothing else counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) effects_sent: u64,
    pub(super) effects_received: u64,
    pub(super) repairs: u64,
    pub(super) snapshots_sent: u64,
    pub(super) snapshots_received: u64,
    pub(super) reconciliations: u64,
    pub(super) handovers_sent: u64,
    pub(super) handovers_received: u64,
    pub(super) archives_lost: u64,
    pub(super) rebases: u64,
    pub(super) refused_peers: u64,
    pub(super) forced_out: u64,
    pub(super) forsaken: u64,
    pub(super) lost_effects: u64,
}

impl Core {
    /// A core that has applied nothing and knows nobody.
    pub fn new(options: CoreOptions, now: Now) -> Core {
        let now = now.monotonic;
        let mut delivery = Delivery::new(options.waiting_limit);
        delivery.hold(true);
        Core {
            delivery,
            claimed: Frontier::default(),
            log: Log::new(options.log_limit),
            archive: Archive::new(options.archive_limit),
            past: Pasts::default(),
            peers: BTreeMap::new(),
            repair: Repair::default(),
            stability: Stability::default(),
            membership: Membership::new(options.seed, now),
            unmet: Unmet::new(options.seed, now, options.joining),
            joining: Joining::new(now),
            legacy: Legacy::new(&options.legacy, options.absent.clone(), now + options.expiry),
            reconciliation: Reconciliation::default(),
            counters: Counters::default(),
            options,
        }
    }

    /// Handles one input and appends what is to be done to `out`.
    ///
    /// # Panics
    /// When the runtime breaks one of its promises (see the module above), never because of what a peer says.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        if self.joining.phase == Phase::GivenUp {
            return;
        }
        let now = now.monotonic;
        match input {
            Input::LocalEffects(effects) => {
                let own = self.options.node;
                assert!(effects.iter().all(|effect| effect.dot.node == own), "local effects are this node's own");
                self.local_effects(now, effects, out);
            }
            Input::MadeAgain(effects) => {
                self.local_effects(now, effects.clone(), out);
                self.spread(&effects, out);
            }
            Input::Connected { peer } => self.connected(now, peer, out),
            Input::Disconnected { peer } => self.disconnected(now, peer),
            Input::Received { peer, frame } => self.received(now, peer, frame, out),
            Input::Members(members) => {
                self.membership.set(members, now);
                self.include_members();
                self.check_caught_up(now, out);
            }
            Input::SnapshotReceived { peer, header, tail } => self.snapshot_received(now, peer, header, tail, out),
            Input::SnapshotFailed { peer } => {
                self.source_failed(now, peer);
                self.seek(now, out);
            }
            Input::HandoverReceived { peer, header, tail } => self.handover_received(now, peer, header, tail, out),
            Input::HandoverRefused { peer } => self.handover_refused(peer),
            Input::Metadata { bytes } => self.stability.metadata_bytes = bytes,
            Input::NobodyFound => self.nobody_found(now, out),
            Input::Named(addresses) => self.named(now, addresses),
            Input::Reached { address, peer } => self.reached(&address, peer),
            Input::Leave => self.leave(now, out),
            Input::Tick => self.tick(now, out),
        }
    }

    /// Everything applied here.
    pub fn frontier(&self) -> &Frontier {
        self.delivery.frontier()
    }

    /// Has this node begun to serve? Then a snapshot that comes in is imported beside what is here, and not in its place.
    pub fn has_served(&self) -> bool {
        matches!(self.joining.phase, Phase::Serving | Phase::Leaving | Phase::GivenUp)
    }

    /// Up to here metadata is gone, or may go at any time.
    pub fn folded(&self) -> &Frontier {
        self.stability.folded()
    }

    pub(super) fn peer_ids(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Time passes. Snapshots begin first, as that must follow the local effects directly; gossip comes last, as it tells of all
    /// that came before.
    fn tick(&mut self, now: u64, out: &mut Vec<Output>) {
        if !self.options.joining && self.joining.phase == Phase::Seeking {
            self.serve(now, out);
        }
        self.start_exports(out);
        self.start_handovers(out);
        self.tend_joining(now, out);
        self.consider_rebase(now, out);
        if self.joining.phase == Phase::GivenUp {
            return;
        }
        self.advance_floor(now, out);
        self.tend_legacy(now, out);
        self.tend_membership(now, out);
        self.tend_unmet(now, out);
        self.request_lacking(now, out);
        self.rewind_stalled(now);
        self.pump_all(now, out);
        self.repeat_hello(now, out);
        self.acknowledge_due(now, out);
        self.gossip(now, out);
        self.repeat_goodbye(now, out);
    }

    fn local_effects(&mut self, now: u64, effects: Vec<Effect>, out: &mut Vec<Output>) {
        let is_new = !effects.is_empty();
        for effect in effects {
            let seen = self.delivery.local(&effect);
            self.past.append(&effect, seen);
            self.log.append(effect.dot, effect.encoded().clone());
        }
        self.claimed.clone_from(self.delivery.frontier());
        if is_new {
            self.pump_all(now, out);
            self.enforce_log_limit(out);
        }
    }

    fn received(&mut self, now: u64, peer: NodeId, frame: Frame, out: &mut Vec<Output>) {
        // What was under way when the connection ended here counts for nothing.
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.heard_at = now;
        self.membership.heard(peer, now);
        let heard = match frame {
            Frame::Hello(hello) => self.received_hello(now, peer, *hello, out),
            gossip @ Frame::Gossip { .. } => self.received_gossip(now, peer, gossip, out),
            Frame::Introduce { nodes } => {
                let checked = nodes.iter().try_for_each(|(_, member)| check_member(member));
                checked.map(|()| self.membership.introduced(nodes, now))
            }
            Frame::Ack { seq } => self.received_ack(now, peer, seq, out),
            Frame::Effects(effects) => self.received_effects(now, peer, effects, out),
            Frame::Request { origin, after, upto } => self.received_request(peer, origin, (after, upto), out),
            Frame::SnapshotRequest { attempt } => {
                self.received_snapshot_request(peer, attempt);
                Ok(())
            }
            Frame::HandoverRequest { attempt, beyond } => self.received_handover_request(peer, attempt, beyond),
            Frame::Goodbye { last } => self.received_goodbye(now, peer, last),
        };
        if let Err(reason) = heard {
            self.refuse(now, peer, reason, out);
        }
    }

    fn received_effects(
        &mut self,
        now: u64,
        peer: NodeId,
        effects: Vec<Bytes>,
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        let expected = self.expected_from(peer);
        let mut answered = Vec::new();
        let mut is_peers_own = false;
        let mut delivered = Vec::new();
        let mut result = Ok(());
        for encoded in effects {
            let effect = match Effect::decode(encoded).map_err(|_| "a malformed effect") {
                Ok(effect) => effect,
                Err(reason) => {
                    result = Err(reason);
                    break;
                }
            };
            result = self.check_effect(&effect);
            if result.is_err() {
                break;
            }
            self.counters.effects_received += 1;
            is_peers_own |= effect.dot.node == peer;
            answered.extend(expected.contains(&effect.dot).then_some(effect.dot.node));
            if planted(Bug::SkipDeduplication) && self.delivery.frontier().includes(effect.dot) {
                let seen = self.delivery.seen_of(&effect);
                out.push(Output::Apply { effect: effect.clone(), seen });
            }
            self.delivery.arrived(effect, self.stability.folded(), &mut delivered);
        }
        self.apply(now, delivered, out);
        self.enforce_log_limit(out);
        if is_peers_own {
            self.acknowledge(now, peer, out);
        }
        for origin in answered {
            self.answered(now, origin, out);
        }
        self.check_caught_up(now, out);
        result
    }

    /// What no correct peer can send as an effect.
    pub(super) fn check_effect(&self, effect: &Effect) -> Result<(), Violation> {
        let own = self.options.node;
        let frontier = self.delivery.frontier();
        if effect.dot.node == own && !frontier.includes(effect.dot) {
            return Err("an effect under this node's name that it never made");
        }
        if effect.seen_changes.iter().any(|&(node, seq)| node == own && seq > frontier.get(own)) {
            return Err("an effect that saw what this node never made");
        }
        let absurd = |seq: u64| seq > MAX_SEQ;
        if absurd(effect.dot.seq) || effect.seen_changes.iter().any(|&(_, seq)| absurd(seq)) {
            return Err("an effect with an absurd seq");
        }
        if effect.seen_changes.len() > MAX_ORIGINS {
            return Err("an effect that saw absurdly many origins");
        }
        if frontier.len() >= MAX_ORIGINS && frontier.get(effect.dot.node) == 0 {
            return Err("an effect of one origin too many");
        }
        Ok(())
    }

    /// Hands over what delivery released.
    pub(super) fn apply(&mut self, now: u64, delivered: Vec<Delivered>, out: &mut Vec<Output>) {
        for (effect, seen) in delivered {
            self.past.append(&effect, &seen);
            self.log.append(effect.dot, effect.encoded().clone());
            self.membership.heard(effect.dot.node, now);
            out.push(Output::Apply { effect, seen });
        }
    }
}
