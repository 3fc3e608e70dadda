//! Who must have applied an effect before anyone may forget about it.
//!
//! # Stable
//!
//! Forgetting has two parts: an effect may leave the log when nobody will ask for it, and its causality metadata may be
//! *folded* away when every effect that is still to come has seen it. Both hold for what is *stable*: applied by every
//! *participant*. (Causal stability, after Baquero, Almeida and Shoker 2014.)
//!
//! What is a participant *m* known to have, such that all its effects which are still to come here have seen it?
//! - What it claimed in gossip, once this node has applied all that the claim includes: *m* claims only
//!   what every later effect of its own has seen (the second promise of the runtime, in the module above). It may have made some of these under
//!   other names, again after a rebase, and those remove what they name: to one that is still to come the ones before it must not be folded.
//! - What its latest effect that is applied here had seen. This needs no connection: it also comes through others.
//!
//! The stable frontier is the meet of these over all participants, and of what this node claims itself.
//!
//! # Participants
//!
//! Everybody who may still make effects that have not seen everything: all who said hello, all members, and members whose
//! entries expired, for they may only be cut off. A newcomer that is catching up counts with what it says that it has,
//! which is nothing: nothing is forgotten meanwhile. A node stops to be a participant when
//! - it *retired*: it said goodbye and everything it made is applied here; or a later incarnation at the same address is
//!   there, nothing was heard of the old one for the time in which members expire, and nobody is known to have more of
//!   it than this node. Who retired is told to all, with its last seq. A word from it makes it a participant again.
//! - it is *forced out*: the log is over its budget. The disconnected go first, then the slowest. It can come back: either its
//!   frontier passes the floor by the help of another node, or it takes a snapshot (see `joining`, `reconciliation` and, of who has to make its
//!   effects anew, `rebase`). A newcomer counts again with each snapshot that is begun for it. That these remove what they had seen, and nothing else, takes metadata: for who is forced out
//!   the log is no longer kept, but metadata still is.
//! - it is *forsaken*: the metadata is over its budget. Of those forced out the one heard of longest ago goes. If it
//!   comes back all the same, what it had removed shows again.
//!
//! Nor is anything forgotten while DNS names an address where nobody was met (see `unmet`).
//!
//! What leaves the log while some node is forced out, or an address is unmet, goes to the archive as far as it still matters, until
//! those who may come back have it (see `archive`, `handover`).
//!
//! A node without any participant forgets nothing until its log is full: whom it meets then, it can merge with from
//! the log, even if both were written to. Over the budget it forgets what was applied first.
//!
//! # Floor and folded
//!
//! The *floor* is where the log begins; *folded* is up to where metadata is gone. They are the same but for three times.
//! After a snapshot the log begins at the snapshot, whereas only what the sender had folded is folded: effects of third
//! nodes, concurrent to what the snapshot holds, can still be merged. While a snapshot is being exported
//! nothing is folded, even if its receiver is forced out: all its parts are alike in this. And while some node is forced
//! out, only what it is known to have is folded. (It is known to have no more when it comes back under a new id. Its old
//! id retires when the new one says in the membership that it serves: it says so after it has made its effects anew.)
//!
//! # Bounds
//!
//! Participants whose entries expired: [`MAX_EXPIRED`], beyond which those heard of longest ago are dropped. Metadata of
//! keys that is kept for nodes forced out: [`super::CoreOptions::metadata_limit`].
//! Departed nodes told of: 256, for ten minutes. Retired nodes are remembered as long as the membership lists them.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Known;
use super::core::Core;
use super::frame::Stage;
use super::joining::Phase;
use super::peers::{MAX_DEPARTED, Violation};
use super::{Member, Output};
use crate::effects::{Frontier, NodeId};
use crate::planted::{Bug, planted};

/// The most participants that are neither members nor connected.
const MAX_EXPIRED: usize = 256;
/// For how long, in milliseconds, others are told that a node departed.
const DEPARTED_TOLD: u64 = 600_000;
/// After a node was forsaken, metadata may go: for so many milliseconds no other is.
const FORSAKE_PAUSE: u64 = 10_000;

/// The participants, and what is forgotten.
#[derive(Debug, Default)]
pub(super) struct Stability {
    participants: BTreeMap<NodeId, Participant>,
    /// Every participant has this, or was given up.
    stable: Frontier,
    floor: Frontier,
    folded: Frontier,
    /// What the planted bug has told to fold last.
    folded_too_early: Frontier,
    departed: BTreeMap<NodeId, Departed>,
    /// Retired nodes that the membership still lists.
    retired: BTreeSet<NodeId>,
    settle_until: u64,
    /// Bytes of the metadata of keys.
    pub(super) metadata_bytes: usize,
    forsaken_at: Option<u64>,
}

#[derive(Debug, Default)]
struct Participant {
    /// Its effects that are not applied here have seen this.
    known: Frontier,
    /// A claim that counts as soon as everything within it is applied here. The oldest such claim is kept, as under
    /// constant load the latest is always a little ahead.
    pending: Option<Frontier>,
    /// Its latest claim.
    latest: Frontier,
    forced_out: bool,
}

#[derive(Clone, Copy, Debug)]
struct Departed {
    last: u64,
    learned_at: u64,
}

impl Stability {
    /// Where the log begins.
    pub(super) fn floor(&self) -> &Frontier {
        &self.floor
    }

    /// Up to where metadata is gone.
    pub(super) fn folded(&self) -> &Frontier {
        &self.folded
    }

    /// The nodes that count.
    pub(super) fn participants(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.participants.iter().filter(|(_, participant)| !participant.forced_out).map(|(&node, _)| node)
    }

    /// The nodes that are not waited for, but whose return metadata is kept for.
    pub(super) fn forced_out(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.participants.iter().filter(|(_, participant)| participant.forced_out).map(|(&node, _)| node)
    }

    /// All nodes that may come back, those forced out included.
    pub(super) fn remembered(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.participants.keys().copied()
    }

    /// May this node come back?
    pub(super) fn remembers(&self, node: NodeId) -> bool {
        self.participants.contains_key(&node)
    }

    /// The latest claim of a participant.
    pub(super) fn claimed_by(&self, node: NodeId) -> Option<&Frontier> {
        self.participants.get(&node).map(|participant| &participant.latest)
    }

    /// The nodes that retired of late, with their last seqs.
    pub(super) fn departed(&self) -> Vec<(NodeId, u64)> {
        self.departed.iter().map(|(&node, departed)| (node, departed.last)).collect()
    }

    /// From now on this node counts. Its last claim is not known yet.
    pub(super) fn include(&mut self, node: NodeId) {
        if !self.retired.contains(&node) {
            self.participants.entry(node).or_default();
        }
    }

    /// Another node says that this one is forced out.
    pub(super) fn include_forced_out(&mut self, node: NodeId) {
        if !self.retired.contains(&node) {
            let forced_out = Participant { forced_out: true, ..Participant::default() };
            self.participants.entry(node).or_insert(forced_out);
        }
    }

    /// The log is kept for this node again, which begins anew.
    pub(super) fn count_again(&mut self, node: NodeId) {
        self.include(node);
        if let Some(participant) = self.participants.get_mut(&node) {
            participant.forced_out = false;
        }
    }

    /// Nothing is forgotten before this time.
    pub(super) fn settle(&mut self, until: u64) {
        self.settle_until = self.settle_until.max(until);
    }

    /// Starts from a snapshot.
    pub(super) fn adopt(&mut self, begin: &Frontier, folded: &Frontier) {
        self.floor = begin.clone();
        self.folded = folded.clone();
        self.stable = folded.clone();
    }

    /// Goes over to the state of a peer (see `reconciliation`). What was folded here before was folded of a state that is gone.
    pub(super) fn take_over(&mut self, folded: &Frontier) {
        self.folded = folded.clone();
        self.stable = folded.clone();
    }
}

impl Core {
    /// A peer said hello.
    pub(super) fn meet(
        &mut self,
        now: u64,
        peer: NodeId,
        member: Member,
        frontier: Frontier,
        participants: &[NodeId],
    ) -> Result<(), Violation> {
        let stability = &mut self.stability;
        stability.retired.remove(&peer);
        stability.departed.remove(&peer);
        if !stability.participants.contains_key(&peer) {
            stability.settle(now + self.options.settle);
        }
        stability.include(peer);
        if stability.participants.get(&peer).is_some_and(|participant| !participant.latest.within(&frontier)) {
            return Err("its frontier went back while it was away");
        }
        if self.joining.phase != Phase::Serving {
            for &node in participants.iter().filter(|&&node| node != self.options.node) {
                stability.include(node);
            }
        }
        self.membership.remember(peer, member);
        self.heard_frontier(peer, frontier);
        Ok(())
    }

    /// A participant claims this frontier.
    pub(super) fn heard_frontier(&mut self, node: NodeId, claim: Frontier) {
        let Some(participant) = self.stability.participants.get_mut(&node) else { return };
        participant.forced_out &= !self.stability.floor.within(&claim);
        participant.latest.join(&claim);
        if participant.pending.is_none() {
            participant.pending = Some(claim);
        }
        participant.settle_claims(self.delivery.frontier());
    }

    /// Nodes that others say have departed. Who is connected tells about itself.
    pub(super) fn learn_departed(&mut self, now: u64, departed: &[(NodeId, u64)]) {
        for &(node, last) in departed {
            if !self.peers.contains_key(&node) && self.stability.participants.contains_key(&node) {
                self.departs(now, node, last);
            }
        }
    }

    /// This node makes no effect after `last`.
    pub(super) fn departs(&mut self, now: u64, node: NodeId, last: u64) {
        let departed = &mut self.stability.departed;
        departed.entry(node).or_insert(Departed { last, learned_at: now });
        if departed.len() > MAX_DEPARTED {
            let oldest = departed.iter().min_by_key(|(_, departed)| departed.learned_at).map(|(&node, _)| node);
            departed.retain(|&node, _| Some(node) != oldest);
        }
    }

    /// A peer says goodbye.
    pub(super) fn received_goodbye(&mut self, now: u64, peer: NodeId, last: u64) -> Result<(), Violation> {
        if last < self.delivery.frontier().get(peer) || last > super::peers::MAX_SEQ {
            return Err("it leaves with fewer effects than it made");
        }
        if let Some(said) = self.peers.get_mut(&peer).and_then(|state| state.said.as_mut()) {
            said.stage = Stage::Leaving;
        }
        self.departs(now, peer, last);
        Ok(())
    }

    /// Lets go of participants that retired, and of what is stable then.
    pub(super) fn advance_floor(&mut self, now: u64, out: &mut Vec<Output>) {
        self.retire(now);
        self.bound_expired();
        self.bound_metadata(now, out);
        let frontier = self.delivery.frontier();
        for participant in self.stability.participants.values_mut() {
            participant.settle_claims(frontier);
        }
        if now >= self.stability.settle_until
            && !self.unmet.are_waited_for()
            && self.joining.phase == Phase::Serving
            && let Some(stable) = self.stable_frontier()
        {
            self.forget(&stable, out);
        }
        self.fold(out);
        self.enforce_log_limit(out);
    }

    /// Gives up participants until the log is within its budget, and then the oldest part of the log.
    pub(super) fn enforce_log_limit(&mut self, out: &mut Vec<Output>) {
        while self.log.size().1 > self.log.allowance() {
            let unmet = self.unmet.stop_logging();
            if !unmet.is_empty() {
                self.counters.forced_out += unmet.len() as u64;
                out.push(Output::Warn(format!(
                    "the log of effects is full: for nodes at {}, which DNS names and this node has never met, only what \
                     still matters is kept from now on",
                    unmet.join(", ")
                )));
            }
            if let Some(stable) = self.stable_frontier()
                && !stable.within(&self.stability.floor)
            {
                self.forget(&stable, out);
                continue;
            }
            let latest = |participant: &Participant| participant.latest.total();
            let counting = self.stability.participants.iter().filter(|(_, participant)| !participant.forced_out);
            let slowest = counting.min_by_key(|&(node, participant)| {
                (self.peers.contains_key(node), self.membership.is_member(*node), latest(participant), *node)
            });
            if let Some((&node, _)) = slowest {
                self.force_out(node);
                let warning = "the log of effects is full: node {} is not waited for any more and will need a snapshot";
                out.push(Output::Warn(warning.replace("{}", &node.to_string())));
                continue;
            }
            // Down to seven eighths, so that this is not done anew for each effect.
            let target = self.log.allowance() / 8 * 7;
            let cut = self.log.cut(&self.stability.floor, &self.claimed, target);
            if cut == self.stability.floor {
                // What is not claimed yet is kept until the next claim.
                break;
            }
            self.forget(&cut, out);
        }
        self.fold(out);
    }

    fn force_out(&mut self, node: NodeId) {
        self.counters.forced_out += 1;
        if let Some(participant) = self.stability.participants.get_mut(&node) {
            participant.forced_out = true;
        }
    }

    /// What every participant has, and no snapshot on its way needs; none when there is no participant.
    fn stable_frontier(&self) -> Option<Frontier> {
        let mut stable: Option<Frontier> = None;
        for (&node, participant) in &self.stability.participants {
            if participant.forced_out {
                continue;
            }
            let mut known = self.delivery.known_by(node);
            known.join(&participant.known);
            stable.get_or_insert_with(|| self.claimed.clone()).meet(&known);
        }
        // A snapshot on its way needs all that came since it began, also what its receiver, which may serve and make effects, has itself.
        let is_counted =
            |peer| self.stability.participants.get(peer).is_some_and(|participant| !participant.forced_out);
        for (_, state) in self.peers.iter().filter(|(peer, _)| is_counted(peer)) {
            if let (Some(stable), Some((_, begin))) = (&mut stable, &state.export) {
                stable.meet(begin);
            }
        }
        stable
    }

    fn forget(&mut self, stable: &Frontier, out: &mut Vec<Output>) {
        self.stability.stable.join(stable);
        assert!(stable.within(&self.claimed) || planted(Bug::IgnoreDependencies), "only what is applied is forgotten");
        self.begin_log_behind(stable, out);
    }

    /// From now on the log begins there, if it did not already. What somebody may still lack goes to the archive.
    pub(super) fn begin_log_behind(&mut self, floor: &Frontier, out: &mut Vec<Output>) {
        self.stability.floor.join(floor);
        let foldable = self.foldable();
        self.archive.raise_floor(&foldable);
        if !self.stability.floor.within(&foldable) {
            let leaving = self.log.within(&self.stability.floor);
            let leaving = self.past.complete(leaving);
            self.put_into_archive(leaving, out);
        }
        self.log.trim(&self.stability.floor);
        self.past.trim(&self.stability.floor);
    }

    /// Keeps effects for those who lack them, unless that is too much.
    pub(super) fn put_into_archive(&mut self, effects: Vec<Known>, out: &mut Vec<Output>) {
        if !self.archive.append(effects) {
            self.archive.raise_floor(&self.stability.floor);
            if self.options.archive_limit == 0 {
                return;
            }
            self.counters.archives_lost += 1;
            out.push(Output::Warn(
                "what is kept for nodes that are away is over its limit, and is dropped: should one come back that has kept \
                 as little of its own, effects may be lost"
                    .into(),
            ));
        }
    }

    /// What everybody has who may still make effects: those have seen it.
    fn foldable(&self) -> Frontier {
        if self.unmet.are_remembered() {
            return self.stability.folded.clone();
        }
        let mut foldable = self.stability.stable.clone();
        for (&node, participant) in &self.stability.participants {
            let mut known = self.delivery.known_by(node);
            known.join(&participant.known);
            foldable.meet(&known);
        }
        foldable
    }

    fn fold(&mut self, out: &mut Vec<Output>) {
        let stability = &mut self.stability;
        if planted(Bug::FoldTooEarly) {
            let frontier = self.delivery.frontier();
            if stability.folded_too_early != *frontier {
                stability.folded_too_early.clone_from(frontier);
                out.push(Output::Fold(frontier.clone()));
            }
            return;
        }
        let exporting = self.peers.values().any(|state| state.export.is_some());
        if stability.stable.within(&stability.folded) {
            return;
        }
        let foldable = self.foldable();
        self.archive.raise_floor(&foldable);
        if !exporting && !foldable.within(&self.stability.folded) {
            self.stability.folded.join(&foldable);
            out.push(Output::Fold(self.stability.folded.clone()));
        }
    }

    /// Forsakes nodes that are forced out while the metadata kept for their return is over its budget.
    fn bound_metadata(&mut self, now: u64, out: &mut Vec<Output>) {
        let stability = &self.stability;
        let paused = stability.forsaken_at.is_some_and(|at| now < at + FORSAKE_PAUSE);
        if stability.metadata_bytes <= self.options.metadata_limit || paused {
            return;
        }
        let oldest = stability.forced_out().min_by_key(|&node| (self.membership.heard_at(node), node));
        let Some(node) = oldest else {
            let unmet = self.unmet.give_up_unlogged();
            if !unmet.is_empty() {
                self.stability.forsaken_at = Some(now);
                self.counters.forsaken += unmet.len() as u64;
                out.push(Output::Warn(format!(
                    "the metadata kept for nodes at {}, which DNS names and this node has never met, is over its limit: \
                     should one come that was written to all the while, what is merged with it may be wrong",
                    unmet.join(", ")
                )));
            }
            return;
        };
        self.stability.participants.remove(&node);
        self.stability.forsaken_at = Some(now);
        self.counters.forsaken += 1;
        out.push(Output::Warn(format!(
            "the metadata kept for the return of node {node} is over its limit: should it come back, what it had \
             removed while it was away shows again"
        )));
    }

    fn retire(&mut self, now: u64) {
        let frontier = self.delivery.frontier();
        let gone = |node: &NodeId| {
            let stability = &self.stability;
            let left = stability.departed.get(node).is_some_and(|departed| frontier.get(*node) >= departed.last);
            let most = stability.participants.values().map(|participant| participant.latest.get(*node)).max();
            let complete = most.is_none_or(|most| most <= frontier.get(*node));
            let replaced = !self.peers.contains_key(node)
                && complete
                && self.membership.is_replaced(*node)
                && self.membership.silent_for(*node, now) >= self.options.expiry;
            left || replaced
        };
        let gone: Vec<NodeId> = self.stability.participants.keys().filter(|node| gone(node)).copied().collect();
        for node in gone {
            let last = self.delivery.frontier().get(node);
            self.departs(now, node, last);
            self.stability.participants.remove(&node);
            self.stability.retired.insert(node);
        }
        self.stability.retired.retain(|&node| self.membership.is_member(node));
        let departed = &mut self.stability.departed;
        departed.retain(|_, departed| now < departed.learned_at + DEPARTED_TOLD);
    }

    /// Drops the participants that are neither members nor connected and were heard of longest ago, if there are many.
    fn bound_expired(&mut self) {
        let expired = |node: &NodeId| !self.membership.is_member(*node) && !self.peers.contains_key(node);
        let mut expired: Vec<NodeId> = self.stability.remembered().filter(expired).collect();
        if expired.len() <= MAX_EXPIRED {
            return;
        }
        expired.sort_by_key(|&node| (self.membership.heard_at(node), node));
        for &node in &expired[..expired.len() - MAX_EXPIRED] {
            self.stability.participants.remove(&node);
        }
    }
}

impl Participant {
    /// Lets claims count of which everything is applied here.
    fn settle_claims(&mut self, applied: &Frontier) {
        while let Some(claim) = self.pending.take() {
            if !claim.within(applied) {
                self.pending = Some(claim);
                return;
            }
            self.known.join(&claim);
            self.pending = (!self.latest.within(&self.known)).then(|| self.latest.clone());
        }
    }
}
