//! From start to serving, by logs or by snapshot; and the end.
//!
//! # Joining
//!
//! A node starts with nothing and *seeks*. Until it serves it makes no effects.
//! - It finds a peer that serves. If every peer's log reaches back far enough for it, directly or through another, it
//!   *follows*: it gets all effects like anybody who was away for a while, and has caught up when it has what that
//!   peer had when it began.
//! - Otherwise it asks for a snapshot: *transfer*. One at a time, of the peer with the lowest id of those whose log is too
//!   short (rather of one that has not to give way to another; after a rebase of the one that has most of this node's former
//!   effects); if that fails, of the next. What arrives meanwhile waits. When all of the snapshot is there, the node is where
//!   its sender was at the end of it (see `snapshot`), and *catches up*: what came after that is pushed and pulled as usual.
//! - It finds only peers that seek as well, or nobody. Then there is no cluster, and it begins one: with those, after a
//!   short while in which a connection to an older cluster may still come about, or alone.
//!
//! # Admission
//!
//! A newcomer may make its first effect only once nobody will forget anything that it has not seen. Its sponsor knows
//! of it; but the others, who may not have met it, wait for the sponsor only, and the sponsor moves on. So admission
//! is an effect itself: before it sends a snapshot the sponsor writes the newcomer's entry to the membership, and the
//! snapshot begins after that. Whoever has seen the sponsor's later claims, from which alone it could conclude that
//! something the newcomer lacks is stable, has also applied the entry, and counts the newcomer as a participant. And
//! the newcomer serves only when it has applied its own admission.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::Output;
use super::core::Core;
use super::frame::{Frame, Stage};
use super::peers::{Peer, Said};
use super::rebase::Hopeless;
use crate::effects::{Frontier, NodeId};

/// A request for a snapshot is repeated after this many milliseconds, as is a goodbye.
pub(super) const REPEAT_INTERVAL: u64 = 1_000;
/// Nodes that all seek begin a cluster when none has met another for this many milliseconds.
const MEETING: u64 = 500;

/// Where this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Looks for a cluster.
    Seeking,
    /// Waits for a snapshot.
    Transfer { source: NodeId, attempt: u32, asked_at: u64 },
    /// Gets all effects from the logs; has caught up at the target.
    Following { source: NodeId, target: Frontier },
    /// Has a snapshot, and may not serve yet.
    CatchingUp,
    /// Serves clients.
    Serving,
    /// Is about to stop.
    Leaving,
    /// Does nothing any more.
    GivenUp,
}

/// The way to serving, and away from it.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) phase: Phase,
    pub(super) attempts: u32,
    /// Sources that failed since the last success; of those connected.
    failed: BTreeSet<NodeId>,
    /// When a peer was met last.
    met_at: u64,
    /// Since when a node that joins has had no peer that serves.
    unserved_since: Option<u64>,
    /// Since when nothing lacks but effects of identities given up.
    complete_since: Option<u64>,
    /// Since when it is known which of these have to be made again.
    decided_since: Option<u64>,
    /// What calls for a rebase.
    pub(super) hopeless: Option<Hopeless>,
    /// Since when this node is about to give up its identity (see `parting`).
    pub(super) parting_since: Option<u64>,
    goodbye_at: u64,
    pub(super) given_up_at: u64,
}

impl Joining {
    pub(super) fn new(now: u64) -> Self {
        Joining {
            phase: Phase::Seeking,
            attempts: 0,
            failed: BTreeSet::new(),
            met_at: now,
            unserved_since: None,
            complete_since: None,
            decided_since: None,
            hopeless: None,
            parting_since: None,
            goodbye_at: now,
            given_up_at: now,
        }
    }

    /// A peer said its first word.
    pub(super) fn met(&mut self, now: u64) {
        self.met_at = now;
    }

    /// A snapshot was taken over.
    pub(super) fn snapshot_taken(&mut self) {
        self.failed.clear();
        self.phase = Phase::CatchingUp;
    }
}

impl Core {
    /// What peers are told of where this node is.
    pub(super) fn stage(&self) -> Stage {
        match self.joining.phase {
            Phase::Seeking => Stage::Seeking,
            Phase::Transfer { .. } | Phase::Following { .. } | Phase::CatchingUp => Stage::CatchingUp,
            Phase::Serving if self.is_parting() => Stage::Parting,
            Phase::Serving => Stage::Serving,
            Phase::Leaving | Phase::GivenUp => Stage::Leaving,
        }
    }

    /// The peers that can be asked for what the cluster has.
    pub(super) fn serving_peers(&self) -> impl Iterator<Item = (NodeId, &Said)> {
        let said = self.peers.iter().filter_map(|(&peer, state)| Some((peer, state.said.as_ref()?)));
        said.filter(|(_, said)| said.serves())
    }

    /// Does this peer's log begin after what is applied here, and no other peer bridges the gap?
    pub(super) fn is_out_of_reach(&self, peer: &Said) -> bool {
        let frontier = self.delivery.frontier();
        let bridges = |other: &Said| other.floor.within(frontier) && peer.floor.within(&other.frontier);
        !self.serving_peers().any(|(_, other)| bridges(other)) && !peer.floor.within(frontier)
    }

    /// Takes the next step from seeking, if there is one.
    pub(super) fn seek(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.joining.phase != Phase::Seeking {
            return;
        }
        let first = self.serving_peers().next().map(|(peer, said)| (peer, said.frontier.clone()));
        // Who rebases looks around first: a peer of the side that it has just left may be the first to answer. (Itself it
        // meets only when nobody else is there: see `cluster::inheritance`.)
        let former = &self.options.member.former;
        let looks_around = !former.is_empty() && now < self.joining.met_at + MEETING;
        if let Some((source, target)) = first.filter(|(peer, _)| !looks_around || former.contains(peer)) {
            let too_short = self.serving_peers().filter(|(_, said)| self.is_out_of_reach(said));
            let too_short: BTreeSet<NodeId> = too_short.map(|(peer, _)| peer).collect();
            if too_short.is_empty() {
                self.joining.phase = Phase::Following { source, target };
                self.release(now, out);
                self.check_caught_up(now, out);
            } else if self.delivery.frontier().is_empty() {
                self.ask_for_snapshot(now, &too_short, out);
            }
            return;
        }
        if self.serving_peers().next().is_some() {
            return;
        }
        let all_seek = |state: &Peer| state.said.as_ref().is_some_and(|said| said.stage == Stage::Seeking);
        let met = !self.peers.is_empty() && now >= self.joining.met_at + MEETING;
        if met && self.peers.values().all(all_seek) {
            self.serve(now, out);
        }
    }

    fn ask_for_snapshot(&mut self, now: u64, sources: &BTreeSet<NodeId>, out: &mut Vec<Output>) {
        if sources.is_subset(&self.joining.failed) {
            self.joining.failed.clear();
        }
        let former_effects = |source: &NodeId| {
            let said = self.peers.get(source).and_then(|state| state.said.as_ref());
            said.map_or(0, |said| self.to_be_made_again().map(|node| said.frontier.get(node)).sum::<u64>())
        };
        let fresh = sources.difference(&self.joining.failed);
        let order = |source: &&NodeId| (self.is_on_losing_side(**source), Reverse(former_effects(source)), **source);
        let Some(&source) = fresh.min_by_key(order) else { return };
        self.joining.attempts += 1;
        let attempt = self.joining.attempts;
        self.joining.phase = Phase::Transfer { source, attempt, asked_at: now };
        out.push(Output::Send { peer: source, frame: Frame::SnapshotRequest { attempt } });
    }

    /// This peer will not send what it was asked for.
    pub(super) fn source_failed(&mut self, now: u64, peer: NodeId) {
        match &self.joining.phase {
            Phase::Transfer { source, .. } if *source == peer => {
                self.joining.phase = Phase::Seeking;
                self.joining.failed.insert(peer);
            }
            Phase::Following { source, .. } if *source == peer && !self.peers.contains_key(&peer) => {
                self.joining.phase = Phase::Seeking;
                self.delivery.hold(true);
            }
            _ => {}
        }
        self.reconciliation_failed(peer);
        self.joining.met_at = now;
    }

    /// Applies what was held back.
    pub(super) fn release(&mut self, now: u64, out: &mut Vec<Output>) {
        self.delivery.hold(false);
        let mut delivered = Vec::new();
        self.delivery.release(self.stability.folded(), &mut delivered);
        self.apply(now, delivered, out);
    }

    /// Serves when everything is there.
    pub(super) fn check_caught_up(&mut self, now: u64, out: &mut Vec<Output>) {
        let complete = match &self.joining.phase {
            Phase::Following { target, .. } => target.within(self.delivery.frontier()),
            Phase::CatchingUp => true,
            _ => return,
        };
        if !complete || !self.membership.is_member(self.options.node) {
            return;
        }
        let since = *self.joining.complete_since.get_or_insert(now);
        if !self.has_decided(now, since) {
            return;
        }
        let since = *self.joining.decided_since.get_or_insert(now);
        // Who is about to give way once more waits for that: what is not to be had here would be made again although others have it.
        let is_over = self.joining.hopeless.is_none() && now >= since + self.options.rebase_grace;
        if self.has_former_effects() || is_over {
            self.serve(now, out);
        }
    }

    /// The nodes whose effects this one may have to make again.
    fn to_be_made_again(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.options.member.former.iter().copied().chain(self.legacy.pending())
    }

    /// Is everything here that peers have of the nodes whose effects this one may have to make again?
    fn has_former_effects(&self) -> bool {
        let frontier = self.delivery.frontier();
        let has_all = |said: &Said| self.to_be_made_again().all(|node| said.frontier.get(node) <= frontier.get(node));
        self.serving_peers().all(|(_, said)| has_all(said))
    }

    /// Begins to serve clients.
    pub(super) fn serve(&mut self, now: u64, out: &mut Vec<Output>) {
        self.joining.phase = Phase::Serving;
        let again = self.begin_making_again(now, out);
        out.push(Output::Serving { again });
        self.release(now, out);
        self.include_members();
        self.stability.settle(now + self.options.settle);
        self.membership.beat_at_once();
    }

    /// Every member is a participant. (A node that catches up sees members come and go that are long gone by now.)
    pub(super) fn include_members(&mut self) {
        if self.joining.phase == Phase::Serving {
            for &node in self.membership.members().keys().filter(|&&node| node != self.options.node) {
                self.stability.include(node);
            }
        }
    }

    /// Discovery found nobody: then this node begins a cluster of its own.
    pub(super) fn nobody_found(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.joining.phase == Phase::Seeking && self.peers.is_empty() {
            self.serve(now, out);
        }
    }

    /// What time asks for on the way to serving.
    pub(super) fn tend_joining(&mut self, now: u64, out: &mut Vec<Output>) {
        if let Phase::Transfer { source, attempt, asked_at } = &mut self.joining.phase
            && now >= *asked_at + REPEAT_INTERVAL
        {
            *asked_at = now;
            out.push(Output::Send { peer: *source, frame: Frame::SnapshotRequest { attempt: *attempt } });
        }
        self.joining.failed.retain(|peer| self.peers.contains_key(peer));
        self.tend_reconciliation(now, out);
        self.seek(now, out);
        self.check_caught_up(now, out);
        self.serve_unserved(now, out);
    }

    /// Serves with what is here when those who had the rest do not come back.
    fn serve_unserved(&mut self, now: u64, out: &mut Vec<Output>) {
        let is_joining = match self.joining.phase {
            Phase::Following { .. } | Phase::CatchingUp => true,
            Phase::Seeking => !self.delivery.frontier().is_empty(),
            _ => false,
        };
        if !is_joining || self.serving_peers().next().is_some() {
            self.joining.unserved_since = None;
            return;
        }
        let since = *self.joining.unserved_since.get_or_insert(now);
        if now >= since + self.options.rebase_grace {
            self.serve_as_heir(now, out);
        }
    }

    /// Serves with what the nodes had that this one was joining.
    pub(super) fn serve_as_heir(&mut self, now: u64, out: &mut Vec<Output>) {
        out.push(Output::Warn("the nodes that this one was joining are gone: it serves with what it has".into()));
        self.serve(now, out);
    }

    /// This node stops: everything goes out, then the last word.
    pub(super) fn leave(&mut self, now: u64, out: &mut Vec<Output>) {
        self.joining.phase = Phase::Leaving;
        self.pump_all(now, out);
        self.say_goodbye(now, out);
    }

    /// Repeats the last word, which may have been lost.
    pub(super) fn repeat_goodbye(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.joining.phase == Phase::Leaving && now >= self.joining.goodbye_at + REPEAT_INTERVAL {
            self.say_goodbye(now, out);
        }
    }

    fn say_goodbye(&mut self, now: u64, out: &mut Vec<Output>) {
        self.joining.goodbye_at = now;
        let last = self.delivery.frontier().get(self.options.node);
        out.extend(self.peers.keys().map(|&peer| Output::Send { peer, frame: Frame::Goodbye { last } }));
    }
}
