//! Who belongs to the cluster, who is alive, and whom to connect to.
//!
//! Membership is data: the hash `__swytch:members`, written with ordinary effects. This module is told what it contains
//! and asks for changes of it; it does not know how it is stored.
//!
//! - A node that serves writes its own entry every [`super::CoreOptions::heartbeat_interval`], and at once when it is missing.
//! - A member of which nothing was heard for [`super::CoreOptions::expiry`] is dead, by *this node's monotonic clock*: no entry
//!   carries a time that is compared, so no clock that is wrong expires a healthy member. To hear of a node is to
//!   receive a frame from it, to apply an effect of it, which comes through others, too, or to see it admitted (it may have to be a member for
//!   some moments before others can have effects of it). The live member with the
//!   lowest id removes the entry; if two do, that does no harm, and if it was wrong, the node writes its entry again.
//! - Every node connects to every member, and goes on trying with those whose entries expired: after a long
//!   partition neither side has the other in its membership any more, and yet they must find each other. It tries about each second,
//!   so that a cut heals soon after its end; less often only with who was silent for more than ten minutes (then
//!   finding out costs a small part of what the cut has cost), and when so many are missing that it would try more than
//!   fifty times a second.
//! - A peer that falls silent is dialed as well, beside its connection, and before that is given up.
//! - Peers introduce to each other whom they are connected to. So a newcomer knows everybody before it serves, and two
//!   clusters that grew apart, of which neither would ask DNS as neither is alone, find each other through whoever
//!   joins one of them.
//! - A node without any connection asks for discovery, and goes on asking.
//!
//! # Bounds
//!
//! One record for each member, participant and peer, and for a minute for each node introduced, if there are fewer than
//! [`MAX_MEMBERS`]. Members beyond [`MAX_MEMBERS`] are ignored.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::core::Core;
use super::frame::{Frame, Stage};
use super::joining::Phase;
use super::{Member, Output};
use crate::effects::NodeId;
use crate::planted::{Bug, planted};

/// The most members that are heeded.
const MAX_MEMBERS: usize = 1_024;
/// Between two attempts to connect to one node: at least, and at most; milliseconds.
const DIAL: (u64, u64) = (1_000, 60_000);
/// In between, that pause is this part of the time for which nothing was heard of the node.
const DIAL_PART: u64 = 600;
/// Between two attempts to connect to any nodes, on average, at least; milliseconds.
const DIAL_ANY: u64 = 20;
/// Between two discoveries: at first, and at most; milliseconds.
const DISCOVER: (u64, u64) = (5_000, 30_000);
/// How long a node that had peers is without any before it asks for discovery, in milliseconds.
const LONELY: u64 = 3_000;
/// For how long a node that was introduced is dialled, in milliseconds.
const INTRODUCED: u64 = 60_000;
/// The same wish for a change of an entry is uttered at most this often, in milliseconds.
const WISH_INTERVAL: u64 = 1_000;

/// The members, and what was heard of whom.
#[derive(Debug)]
pub(super) struct Membership {
    members: BTreeMap<NodeId, Member>,
    acquaintances: BTreeMap<NodeId, Acquaintance>,
    heartbeat_at: Option<u64>,
    lonely_since: Option<u64>,
    discover_at: u64,
    discover_pause: u64,
    rng: Rng,
}

#[derive(Debug)]
struct Acquaintance {
    member: Member,
    /// It has said itself who it is.
    met: bool,
    heard_at: u64,
    dial_at: u64,
    removal_at: Option<u64>,
    introduced_until: u64,
}

impl Membership {
    pub(super) fn new(seed: u64, now: u64) -> Self {
        Membership {
            members: BTreeMap::new(),
            acquaintances: BTreeMap::new(),
            heartbeat_at: None,
            lonely_since: None,
            discover_at: now,
            discover_pause: DISCOVER.0,
            rng: Rng::with_seed(seed),
        }
    }

    /// The members as they are now.
    pub(super) fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Is there an entry for this node?
    pub(super) fn is_member(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// Is somebody at this address who was met, or is a member?
    pub(super) fn knows(&self, address: &str) -> bool {
        let mut acquaintances = self.acquaintances.iter().filter(|(_, known)| known.member.address == address);
        acquaintances.any(|(node, known)| known.met || self.members.contains_key(node))
    }

    /// What is known of a node, member or not.
    pub(super) fn describe(&self, node: NodeId) -> Option<&Member> {
        self.acquaintances.get(&node).map(|acquaintance| &acquaintance.member)
    }

    /// The members have changed.
    pub(super) fn set(&mut self, members: BTreeMap<NodeId, Member>, now: u64) {
        let former = std::mem::replace(&mut self.members, members.into_iter().take(MAX_MEMBERS).collect());
        for (&node, member) in &self.members {
            let acquaintance = self.acquaintances.entry(node).or_insert_with(|| Acquaintance::new(now));
            acquaintance.member.clone_from(member);
            if !former.contains_key(&node) {
                acquaintance.heard_at = now;
            }
        }
    }

    /// What a node says of itself.
    pub(super) fn remember(&mut self, node: NodeId, member: Member) {
        if let Some(acquaintance) = self.acquaintances.get_mut(&node) {
            acquaintance.member = member;
            acquaintance.met = true;
        }
    }

    /// A peer is connected to these.
    pub(super) fn introduced(&mut self, nodes: Vec<(NodeId, Member)>, now: u64) {
        for (node, member) in nodes {
            if self.acquaintances.len() >= MAX_MEMBERS {
                return;
            }
            let acquaintance = self.acquaintances.entry(node).or_insert_with(|| Acquaintance::new(now));
            acquaintance.introduced_until = now + INTRODUCED;
            if acquaintance.member.address.is_empty() {
                acquaintance.member = member;
            }
        }
    }

    /// Something came from this node, directly or not.
    pub(super) fn heard(&mut self, node: NodeId, now: u64) {
        if let Some(acquaintance) = self.acquaintances.get_mut(&node) {
            acquaintance.heard_at = now;
        }
    }

    /// When something came from this node last; 0 if never.
    pub(super) fn heard_at(&self, node: NodeId) -> u64 {
        self.acquaintances.get(&node).map_or(0, |acquaintance| acquaintance.heard_at)
    }

    /// For how long nothing came from this node.
    pub(super) fn silent_for(&self, node: NodeId, now: u64) -> u64 {
        now.saturating_sub(self.heard_at(node))
    }

    /// Does a later incarnation at the address of this one serve, or the one that took over its effects?
    pub(super) fn is_replaced(&self, node: NodeId) -> bool {
        let former = self.describe(node).filter(|former| !former.address.is_empty());
        let is_restart = |other: &Member| {
            former.is_some_and(|former| other.address == former.address && other.started > former.started)
        };
        self.members.values().any(|other| other.serving && (other.former.contains(&node) || is_restart(other)))
    }

    /// A connection stands.
    pub(super) fn connected(&mut self, node: NodeId, now: u64) {
        let acquaintance = self.acquaintances.entry(node).or_insert_with(|| Acquaintance::new(now));
        acquaintance.heard_at = now;
        self.discover_pause = DISCOVER.0;
    }

    /// A connection is gone.
    pub(super) fn disconnected(&mut self, node: NodeId, now: u64) {
        if let Some(acquaintance) = self.acquaintances.get_mut(&node) {
            // Both sides notice at about the same time, and one connection is enough.
            acquaintance.dial_at = now + self.rng.u64(0..DIAL.0);
        }
    }

    /// The next heartbeat is due now.
    pub(super) fn beat_at_once(&mut self) {
        self.heartbeat_at = None;
    }
}

impl Acquaintance {
    fn new(now: u64) -> Self {
        Acquaintance {
            member: Member::default(),
            met: false,
            heard_at: now,
            dial_at: now,
            removal_at: None,
            introduced_until: 0,
        }
    }
}

impl Core {
    /// Introduces a new peer to the others, and them to it.
    pub(super) fn introduce(&mut self, newcomer: NodeId, out: &mut Vec<Output>) {
        let said = self.peers.iter().filter_map(|(&peer, state)| Some((peer, state.said.as_ref()?.member.clone())));
        let (of_newcomer, others): (Vec<_>, Vec<_>) = said.partition(|&(peer, _)| peer == newcomer);
        if others.is_empty() {
            return;
        }
        for &(peer, _) in &others {
            out.push(Output::Send { peer, frame: Frame::Introduce { nodes: of_newcomer.clone() } });
        }
        out.push(Output::Send { peer: newcomer, frame: Frame::Introduce { nodes: others } });
    }

    /// What time asks for: heartbeats, removals, connections, discovery.
    pub(super) fn tend_membership(&mut self, now: u64, out: &mut Vec<Output>) {
        let keep = |node: &NodeId| {
            self.membership.is_member(*node) || self.peers.contains_key(node) || self.stability.remembers(*node)
        };
        let acquaintances = self.membership.acquaintances.iter();
        let forgotten = acquaintances.filter(|(node, known)| now >= known.introduced_until && !keep(node));
        for node in forgotten.map(|(&node, _)| node).collect::<Vec<_>>() {
            self.membership.acquaintances.remove(&node);
        }
        if matches!(self.joining.phase, Phase::Leaving | Phase::GivenUp) {
            return;
        }
        if self.joining.phase == Phase::Serving && !self.is_parting() {
            self.beat(now, out);
            self.admit(now, out);
            self.remove_dead(now, out);
        }
        self.dial(now, out);
        self.discover(now, out);
    }

    fn beat(&mut self, now: u64, out: &mut Vec<Output>) {
        let missing = !self.membership.is_member(self.options.node);
        let interval = if missing { WISH_INTERVAL } else { self.options.heartbeat_interval };
        if self.membership.heartbeat_at.is_none_or(|at| now >= at + interval) {
            self.membership.heartbeat_at = Some(now);
            out.push(Output::Heartbeat(Member { serving: true, ..self.options.member.clone() }));
        }
    }

    /// Writes the entries of peers that join, or serve and are in need of a snapshot.
    fn admit(&mut self, now: u64, out: &mut Vec<Output>) {
        for (&node, state) in &mut self.peers {
            let Some(said) = &state.said else { continue };
            let joins = matches!(said.stage, Stage::Seeking | Stage::CatchingUp);
            let due = state.admitted_at.is_none_or(|at| now >= at + WISH_INTERVAL);
            let is_in_need = said.serves() && (state.wants_snapshot.is_some() || state.wants_handover.is_some());
            if (joins || is_in_need) && due && !self.membership.is_member(node) {
                state.admitted_at = Some(now);
                out.push(Output::Admit { node, member: Member { serving: is_in_need, ..said.member.clone() } });
            }
        }
    }

    fn remove_dead(&mut self, now: u64, out: &mut Vec<Output>) {
        let own = self.options.node;
        let alive = |node: NodeId| {
            node == own || self.peers.contains_key(&node) || self.membership.silent_for(node, now) < self.options.expiry
        };
        let (alive, dead): (Vec<NodeId>, Vec<NodeId>) = self.membership.members.keys().partition(|&&node| alive(node));
        if alive.iter().any(|&node| node < own) || planted(Bug::KeepDeadMembers) {
            return;
        }
        for node in dead {
            let Some(acquaintance) = self.membership.acquaintances.get_mut(&node) else { continue };
            if acquaintance.removal_at.is_none_or(|at| now >= at + WISH_INTERVAL) {
                acquaintance.removal_at = Some(now);
                out.push(Output::RemoveMember(node));
            }
        }
    }

    fn dial(&mut self, now: u64, out: &mut Vec<Output>) {
        let Membership { acquaintances, rng, .. } = &mut self.membership;
        let is_missing = |node: &NodeId, acquaintance: &Acquaintance| {
            let is_heard = self.peers.get(node).is_some_and(|peer| now < peer.heard_at + self.options.silence);
            *node != self.options.node && !is_heard && !acquaintance.member.address.is_empty()
        };
        let missing = acquaintances.iter().filter(|(node, acquaintance)| is_missing(node, acquaintance)).count();
        for (&node, acquaintance) in acquaintances {
            if !is_missing(&node, acquaintance) || now < acquaintance.dial_at {
                continue;
            }
            let pause = dial_pause(now.saturating_sub(acquaintance.heard_at), missing as u64);
            // Between four and six fifths of the pause, so that nodes do not march in step.
            acquaintance.dial_at = now + pause * 4 / 5 + rng.u64(0..=pause * 2 / 5);
            out.push(Output::Connect { node, address: acquaintance.member.address.clone() });
        }
    }

    fn discover(&mut self, now: u64, out: &mut Vec<Output>) {
        if !self.peers.is_empty() {
            self.membership.lonely_since = None;
            return;
        }
        let since = *self.membership.lonely_since.get_or_insert(now);
        let patience = if self.joining.phase == Phase::Seeking { 0 } else { LONELY };
        let membership = &mut self.membership;
        if now >= since + patience && now >= membership.discover_at {
            membership.discover_at = now + membership.discover_pause;
            membership.discover_pause = (membership.discover_pause * 2).min(DISCOVER.1);
            out.push(Output::Discover);
        }
    }
}

/// How long to wait before the next attempt to connect to a node that was silent for so long, when so many are missing.
fn dial_pause(silent: u64, missing: u64) -> u64 {
    (silent / DIAL_PART).clamp(DIAL.0, DIAL.1).max(missing * DIAL_ANY)
}

#[cfg(test)]
mod tests {
    use super::super::{CoreOptions, Hello, Input, Now};
    use super::*;
    use crate::effects::Frontier;

    #[test]
    fn a_peer_that_falls_silent_is_dialed_beside_its_connection() {
        let options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
        let mut core = Core::new(options, Now { monotonic: 0, wall: 0 });
        let peer = NodeId(2);
        let mut at = |monotonic: u64, input: Input| {
            let mut outputs = Vec::new();
            core.step(Now { monotonic, wall: 0 }, input, &mut outputs);
            outputs.iter().filter(|output| matches!(output, Output::Connect { .. })).count()
        };
        let member = Member { address: "there:1".into(), ..Member::default() };
        let (frontier, floor, stage) = (Frontier::EMPTY, Frontier::EMPTY, Stage::Serving);
        let hello =
            Hello { member, frontier, floor, archive: None, stage, departed: Vec::new(), participants: Vec::new() };
        at(0, Input::Connected { peer });
        at(0, Input::Received { peer, frame: Frame::Hello(Box::new(hello)) });
        let mut dialed = |from: u64, to: u64| (from..to).step_by(50).map(|now| at(now, Input::Tick)).sum::<usize>();
        assert_eq!(dialed(50, 2_500), 0);
        let attempts = dialed(2_500, 10_000);
        assert!((6..=10).contains(&attempts), "about one each second, not {attempts}");
        at(10_000, Input::Received { peer, frame: Frame::Ack { seq: 0 } });
        assert_eq!((10_000..12_500).step_by(50).map(|now| at(now, Input::Tick)).sum::<usize>(), 0, "it is heard again");
    }

    #[test]
    fn who_is_admitted_by_another_stays_a_member_for_a_while() {
        let options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
        let mut core = Core::new(options, Now { monotonic: 0, wall: 0 });
        let (own, peer) = (NodeId(1), NodeId(2));
        let mut at = |monotonic: u64, input: Input| {
            let mut outputs = Vec::new();
            core.step(Now { monotonic, wall: 0 }, input, &mut outputs);
            outputs.iter().any(|output| matches!(output, Output::RemoveMember(node) if *node == peer))
        };
        let hello = Hello::of_serving(Frontier::EMPTY, Frontier::EMPTY);
        at(0, Input::Connected { peer });
        at(0, Input::Received { peer, frame: Frame::Hello(Box::new(hello)) });
        at(0, Input::Disconnected { peer });
        let members = |nodes: &[NodeId]| Input::Members(nodes.iter().map(|&node| (node, Member::default())).collect());
        at(0, members(&[own]));
        at(40_000, members(&[own, peer]));
        assert!(!(40_000..69_000).step_by(500).any(|now| at(now, Input::Tick)));
        assert!((70_000..72_000).step_by(500).any(|now| at(now, Input::Tick)), "nothing was heard of it");
    }

    #[test]
    fn who_is_missing_is_dialed_each_second_and_after_long_less_often() {
        let (minute, hour) = (60_000, 3_600_000);
        assert_eq!([0, minute, 10 * minute].map(|silent| dial_pause(silent, 1)), [1_000; 3]);
        assert_eq!(dial_pause(hour, 1), 6_000);
        assert_eq!([10 * hour, 100 * hour].map(|silent| dial_pause(silent, 1)), [60_000; 2]);
    }

    #[test]
    fn many_who_are_missing_are_not_dialed_more_often_in_all() {
        for missing in [1, 50, 51, 1_000] {
            assert!(missing * 1_000 <= 50 * dial_pause(0, missing), "{missing}");
        }
    }
}
