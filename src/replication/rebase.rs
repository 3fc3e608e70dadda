//! When an identity has to be given up, by whom, and what is kept for the next one.
//!
//! A node that serves can be in a state that no effect can end: a peer's log begins after its frontier and no other
//! peer bridges the gap; or a peer has an effect that cannot be applied here, because its origin had not seen what
//! is folded here. If the peer can hand over all that is lacking here, that ends it (see `handover`). Else one of the two takes the other's
//! snapshot, and if it can, goes on as what it is (see `reconciliation`). All that is told below of what gets lost or is made anew does not concern
//! these two. Else, as it has effects of its own by which others
//! know it, it comes as a new node, and makes those of its effects anew that the snapshot lacks: a *rebase*.
//!
//! If only one of the two is in that state, it is that one. If both are, it is the one that has forgotten nothing of what
//! the other lacks; else the one that has less that the other lacks; else the one with the lower id. Both know what
//! this is decided by from gossip. All nodes on one side of a split have about the same, so they give way alike, whether they
//! were there all the time or have just taken a snapshot; and the one that gives way takes its snapshot from nobody who has to
//! give way to another. What is forgotten is what is neither in the log nor in the archive. (Where each side of a split forgot what the other lacks, because its archive
//! was full, or because the sides never knew of each other, something is lost: what the side that gives way has dropped. It is counted, and the operator
//! is told.) A state that passes within [`super::CoreOptions::rebase_grace`] is borne.
//!
//! The other can usually apply what it lacks under the names that it has, as metadata is kept for longer than the log. So the one
//! that gives way first hands over what nobody would make anew: effects of nodes that are not there. It waits with giving way as
//! long as the winning side comes to have more of those that were here when the state was noticed. (That ends: it is a fixed set of
//! effects.) Nor does it give way while a peer that serves takes over its state: that peer then has all. What is lacking then, its own and that of the others of its side, one node of its side makes anew
//! (see `legacy`). Nobody gives way to a peer that has fallen silent.
//!
//! For a while after, its data may lack what its clients saw before: effects of others that have to give up their identity as
//! well. The next identity takes part in everything but lets clients wait until it [`is_covered`].
//!
//! A node that has not begun to serve gives way to anybody, but only when there is no peer left
//! that it can join as it is; and not if those that it was joining are gone and it has something from them that nobody else has: then it
//! serves with that, and who gives way is decided as between all who serve.
//!
//! What is kept for the next identity is told in `remains`, and who makes what anew in `legacy`.

use std::collections::BTreeMap;

use super::core::Core;
use super::joining::Phase;
use super::peers::Said;
use super::{Member, Output};
use crate::effects::{Frontier, NodeId};

/// Peers gossip each second. One of which nothing was heard for so many milliseconds may be dead, its connection yet to end.
pub(super) const SILENCE: u64 = 2_000;

/// Is everything of `seen` applied here, under its own name or made anew by who gave that name up, or took it over?
pub fn is_covered(seen: &Frontier, applied: &Frontier, members: &BTreeMap<NodeId, Member>) -> bool {
    let is_made_anew = |node: NodeId, seq: u64| {
        let made_by = |member: &Member| member.former.contains(&node) || member.has_legacy(node) >= seq;
        members.values().any(|member| member.serving && made_by(member))
    };
    seen.iter().all(|(node, seq)| applied.get(node) >= seq || is_made_anew(node, seq))
}

/// What decides who gives way.
#[derive(Clone, Copy, Debug)]
struct Standing<'a> {
    node: NodeId,
    frontier: &'a Frontier,
    /// Where what it has kept begins.
    archive: &'a Frontier,
}

impl<'a> Standing<'a> {
    fn of(node: NodeId, said: &'a Said) -> Standing<'a> {
        Standing { node, frontier: &said.frontier, archive: &said.archive }
    }

    /// Of two that cannot have what the other has: is it this one that gives way?
    fn gives_way_to(&self, other: &Standing<'_>) -> bool {
        let beyond = |one: &Frontier, another: &Frontier| -> u64 {
            one.iter().map(|(node, seq)| seq.saturating_sub(another.get(node))).sum()
        };
        match (beyond(self.archive, other.frontier), beyond(other.archive, self.frontier)) {
            (0, 1..) => true,
            (1.., 0) => false,
            _ => {
                (beyond(self.frontier, other.frontier), self.node) < (beyond(other.frontier, self.frontier), other.node)
            }
        }
    }
}

/// A state that only a rebase can end, from when it was noticed.
#[derive(Debug)]
pub(super) struct Hopeless {
    /// What was applied here then of nodes that were not there.
    legacy: Frontier,
    /// How many effects of that none of those has that this node gives way to.
    lacking: u64,
    /// When it began, or when that was last found to have become less.
    waited_since: u64,
}

impl Hopeless {
    fn new(now: u64, legacy: Frontier) -> Self {
        Hopeless { legacy, lacking: u64::MAX, waited_since: now }
    }

    /// Looks how much of it the winners have by now.
    fn look<'a>(&mut self, now: u64, winners: impl Iterator<Item = &'a Frontier>) {
        let mut taken_over = Frontier::EMPTY;
        winners.for_each(|frontier| taken_over.join(frontier));
        let lacking = self.legacy.iter().map(|(node, seq)| seq.saturating_sub(taken_over.get(node))).sum();
        if lacking < self.lacking {
            self.lacking = lacking;
            self.waited_since = now;
        }
    }
}

impl Core {
    /// Gives up this identity when nothing else helps, and has not for a while.
    pub(super) fn consider_rebase(&mut self, now: u64, out: &mut Vec<Output>) {
        if self.reconciliation.is_under_way() {
            return;
        }
        let Some((reason, winner)) = self.reason_to_rebase(now) else {
            self.joining.hopeless = None;
            self.stay(out);
            return;
        };
        let is_gone = |&(node, _): &(NodeId, u64)| node != self.options.node && !self.peers.contains_key(&node);
        let legacy = || self.delivery.frontier().iter().filter(is_gone).collect();
        let mut hopeless = self.joining.hopeless.take().unwrap_or_else(|| Hopeless::new(now, legacy()));
        let winners = self.serving_peers().filter(|(peer, _)| winner.is_some() && !self.is_on_losing_side(*peer));
        hopeless.look(now, winners.map(|(_, said)| &said.frontier));
        if now < hopeless.waited_since + self.options.rebase_grace {
            self.joining.hopeless = Some(hopeless);
        } else if let Some(source) = winner.filter(|&winner| self.can_keep_identity(winner)) {
            self.joining.hopeless = Some(hopeless);
            self.stay(out);
            self.begin_reconciliation(now, source, out);
        } else if self.joining.phase == Phase::Serving
            && (self.is_being_taken_over(now, &hopeless) || !self.may_part(now, out))
        {
            self.joining.hopeless = Some(hopeless);
        } else if self.joining.phase != Phase::Serving && self.is_last_heir() {
            self.serve_as_heir(now, out);
        } else {
            self.count_loss(winner, out);
            self.give_up(now, reason, out);
        }
    }

    /// Is something here that no peer has?
    fn is_last_heir(&self) -> bool {
        let mut held = Frontier::EMPTY;
        self.peers.values().filter_map(|state| state.said.as_ref()).for_each(|said| held.join(&said.frontier));
        !self.delivery.frontier().within(&held)
    }

    /// Is a peer that serves about to go on from the state of this node? Then nothing of that gets lost, whoever gives way to whom. It is given as
    /// long as a member takes to expire.
    fn is_being_taken_over(&self, now: u64, hopeless: &Hopeless) -> bool {
        let takes_over = |peer: NodeId| self.peers.get(&peer).is_some_and(|state| state.export.is_some());
        let is_in_time = now < hopeless.waited_since + self.options.rebase_grace + self.options.expiry;
        is_in_time && self.serving_peers().any(|(peer, _)| takes_over(peer))
    }

    /// May this node get what it lacks from a peer and stay what it is?
    fn can_keep_identity(&self, peer: NodeId) -> bool {
        let said = self.peers.get(&peer).and_then(|state| state.said.as_ref());
        said.is_some_and(|said| self.can_ask_for_handover(peer, said) || self.can_reconcile_with(said))
    }

    /// Own effects that neither the log still has nor the one that this node gives way to.
    fn count_loss(&mut self, winner: Option<NodeId>, out: &mut Vec<Output>) {
        let own = self.options.node;
        let said = winner.and_then(|winner| self.peers.get(&winner)).and_then(|state| state.said.as_ref());
        let lost = said.map_or(0, |said| self.archive.floor().get(own).saturating_sub(said.frontier.get(own)));
        if lost > 0 {
            self.counters.lost_effects += lost;
            out.push(Output::Warn(format!(
                "{lost} writes of this node are lost unless another node still has them: while the cluster was split, \
                 both sides forgot what the other lacks"
            )));
        }
    }

    /// Why this identity has to be given up, and to which peer it gives way, if to one.
    fn reason_to_rebase(&self, now: u64) -> Option<(&'static str, Option<NodeId>)> {
        match self.joining.phase {
            Phase::Serving | Phase::Following { .. } | Phase::CatchingUp => {}
            Phase::Seeking if !self.delivery.frontier().is_empty() => {}
            _ => return None,
        }
        let hopeless = |said: &Said| {
            if self.is_out_of_reach(said) {
                Some("a peer's log begins after what is applied here")
            } else if self.delivery.blocked().any(|dot| said.frontier.includes(dot)) {
                Some("a peer has effects that cannot be merged here any more")
            } else {
                None
            }
        };
        if self.joining.phase == Phase::Serving {
            // Nobody gives way to the dead.
            let is_heard = |peer: NodeId| self.membership.silent_for(peer, now) < SILENCE;
            let heard = self.serving_peers().filter(|(peer, _)| is_heard(*peer));
            let winners = heard.filter_map(|(peer, said)| {
                let reason = hopeless(said).filter(|_| self.gives_way_to(peer, said))?;
                Some((self.can_keep_identity(peer), reason, peer))
            });
            // Rather one under whom this node stays what it is; of several the first.
            let (_, reason, winner) = winners.min_by_key(|&(reconciles, _, peer)| (!reconciles, peer))?;
            return Some((reason, Some(winner)));
        }
        // A node that joins only needs some cluster to join; what it cannot be part of, too, is for later.
        let mut reasons = self.serving_peers().map(|(_, said)| hopeless(said));
        let reason = reasons.next().flatten().filter(|_| reasons.all(|reason| reason.is_some()))?;
        Some((reason, None))
    }

    /// This node is in need of the peer's snapshot. Is it, of the two, the one that takes it?
    fn gives_way_to(&self, peer: NodeId, said: &Said) -> bool {
        let floor = self.stability.floor();
        let bridges = |(other, bridge): (NodeId, &Said)| {
            other != peer && bridge.floor.within(&said.frontier) && floor.within(&bridge.frontier)
        };
        let peer_out_of_reach = !floor.within(&said.frontier) && !self.serving_peers().any(bridges);
        if !peer_out_of_reach && !said.stuck {
            return true;
        }
        let (frontier, archive) = (self.delivery.frontier(), self.archive.floor());
        Standing { node: self.options.node, frontier, archive }.gives_way_to(&Standing::of(peer, said))
    }

    /// Has this peer to give way to another one that serves?
    pub(super) fn is_on_losing_side(&self, peer: NodeId) -> bool {
        let all = || self.serving_peers().map(|(node, said)| (said, Standing::of(node, said)));
        let Some((said, own)) = all().find(|(_, standing)| standing.node == peer) else { return false };
        all().any(|(other_said, other)| {
            let is_reached = other_said.floor.within(own.frontier);
            !is_reached && (said.floor.within(other.frontier) || own.gives_way_to(&other))
        })
    }

    /// Ends this identity.
    pub(super) fn give_up(&mut self, now: u64, reason: &'static str, out: &mut Vec<Output>) {
        self.joining.phase = Phase::GivenUp;
        self.joining.given_up_at = now;
        self.counters.rebases += 1;
        out.push(Output::Rebase { reason });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CoreOptions, Frame, Hello, Input, Now, SnapshotHeader, SnapshotTail};
    use super::*;

    const SOURCE: NodeId = NodeId(2);
    const STRANGER: NodeId = NodeId(3);

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    fn at(core: &mut Core, monotonic: u64, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        core.step(Now { monotonic, wall: 0 }, input, &mut out);
        out
    }

    fn meet(core: &mut Core, now: u64, peer: NodeId, frontier: Frontier) {
        let hello = Hello::of_serving(frontier.clone(), frontier);
        at(core, now, Input::Connected { peer });
        at(core, now, Input::Received { peer, frame: Frame::Hello(Box::new(hello)) });
    }

    /// A node has got a snapshot of one that then dies, and meets another cluster, which has that. Does it serve, and does it give up its
    /// identity?
    fn bereaved(has: &[(u64, u64)]) -> (bool, bool) {
        let mut core = Core::new(CoreOptions::new(NodeId(1), Member::default()), Now { monotonic: 0, wall: 0 });
        meet(&mut core, 0, SOURCE, frontier(&[(2, 5)]));
        at(&mut core, 0, Input::Tick);
        let header = SnapshotHeader { begin: frontier(&[(2, 5)]), folded: frontier(&[(2, 5)]), ..Default::default() };
        let tail = SnapshotTail { end: frontier(&[(2, 5)]), ..Default::default() };
        at(&mut core, 0, Input::SnapshotReceived { peer: SOURCE, header, tail });
        assert_eq!(*core.frontier(), frontier(&[(2, 5)]));
        at(&mut core, 0, Input::Disconnected { peer: SOURCE });
        meet(&mut core, 0, STRANGER, frontier(has));
        let mut outputs = Vec::new();
        for now in (0..8_000).step_by(500) {
            outputs.extend(at(&mut core, now, Input::Tick));
        }
        let serves = outputs.iter().any(|output| matches!(output, Output::Serving { .. }));
        (serves, outputs.iter().any(|output| matches!(output, Output::Rebase { .. })))
    }

    #[test]
    fn who_alone_has_what_a_cluster_had_serves_with_it() {
        assert_eq!(bereaved(&[(2, 4), (3, 9)]), (true, false));
        assert_eq!(bereaved(&[(2, 5), (3, 9)]), (false, true));
    }
}
