//! What a snapshot says besides the data, at both ends of the transfer.
//!
//! # The tail
//!
//! A snapshot is exported shard by shard while everybody writes on, so its shards are of different moments: none of them
//! lacks anything that was applied when the export began, each may hold more. Only when everything up to its end is applied
//! are they at one moment again. So that this depends on nobody, a snapshot brings it along: behind the last shard
//! comes its *tail*, all effects that the sender has applied since the beginning, out of its log and in the order in which it
//! applied them, which is a causal order. The receiver takes the snapshot over only as a whole, and applies the tail at once: it
//! never has less than the end, and a shard passes over what it has already. A transfer that breaks off counts for
//! nothing.
//!
//! The tail has to be in the log still. A newcomer counts as a participant, and the log is kept from the beginning of the snapshot on, unless the log
//! comes to be over its budget: then the newcomer is forced out, no tail is to be had, and the newcomer asks again. With
//! each snapshot it counts anew.
//!
//! # The history
//!
//! Before its tail comes the *history* of a snapshot: what the archive and the log of the sender have of what the snapshot begins with.
//! The receiver applies nothing of that; its own archive begins with it. So who has got what it has by a snapshot can
//! do for those who come back what its sender could, when the sender is gone: hand over to them what they lack, or make again
//! what they lack, should it have to give way to them. The sender's archive may be over its budget: then there is no history, and the archive begins where
//! the snapshot does.
//!
//! What waits at the receiver meanwhile is, as far as the snapshot has it, dropped, and applied after the tail otherwise.
//!
//! # What a peer may not say
//!
//! A tail has to lead from the beginning of the snapshot to its end, effect by effect: each is the next of its
//! origin, had seen nothing that is not there by then, and all that is folded. What does not is refused as a whole, before
//! any of it counts. A history consists of effects within the beginning, in an order that each origin can have made them in.
//!
//! # Bounds
//!
//! At most [`MAX_EXPORTS`] snapshots are sent at a time; further requests wait, one per peer. A tail takes no memory of its
//! own at the sender, but keeps what it sends of the log, and so does a history with the archive. Together they are at most
//! [`MAX_TAIL_BYTES`]; rather than that a history makes them more, there is none.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Output;
use super::archive::{Known, Reader};
use super::core::Core;
use super::delivery::{Delivered, Delivery, MAX_ORIGINS};
use super::joining::Phase;
use super::log;
use super::peers::{Violation, check_frontier};
use crate::effects::{Effect, Frontier, MAX_EFFECT_BYTES, NodeId};
use crate::planted::{Bug, planted};

/// Snapshots on their way at the same time.
const MAX_EXPORTS: usize = 4;

/// The largest tail of a snapshot, as [`tail_cost`] counts it: what a log may hold that has twice the largest effect.
pub const MAX_TAIL_BYTES: usize = 2 * (MAX_EFFECT_BYTES + log::OVERHEAD_BYTES);

/// What an encoded effect of a tail counts for: its bytes, and what it takes to keep it.
pub fn tail_cost(encoded: &Bytes) -> usize {
    log::cost(encoded)
}

/// Where a node is at the end of a snapshot, the effects of its tail, and where its history begins and what that is.
type Followed = (Delivery, Vec<Delivered>, (Frontier, Vec<Known>));

/// What a snapshot says before the data. The runtime carries it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// What the sender had applied when the export began. All of it is in the snapshot; parts of it may hold more.
    pub begin: Frontier,
    /// Up to here the sender has dropped metadata. It drops no more while the export lasts.
    pub folded: Frontier,
    /// For each origin, all that its latest effect within `begin` had seen.
    pub seen: Vec<(NodeId, Frontier)>,
    /// Whose effects may still come (see `stability`).
    pub participants: Vec<NodeId>,
    /// Who is not waited for, but may come back and make its effects anew.
    pub forced_out: Vec<NodeId>,
}

/// What a snapshot says behind the data. The runtime carries it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SnapshotTail {
    /// The encoded effects that the sender has applied since the export began, in this order.
    pub effects: Vec<Bytes>,
    /// What it had applied then. No part of the snapshot holds more.
    pub end: Frontier,
    /// What the sender keeps of what the snapshot begins with, if that can be had.
    pub history: Option<History>,
}

/// What somebody may still lack of what a snapshot begins with.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct History {
    /// Nobody lacks what is within this, or it is not to be had.
    pub begin: Frontier,
    /// The encoded effects beyond, as far as they matter: in a causal order, each listing what its origin had seen since the one before
    /// it here.
    pub effects: Vec<Bytes>,
}

impl Core {
    /// What a snapshot of this moment would say of itself. The runtime sends snapshots when it is told to; it asks for this
    /// when a node that has given up its identity is the only one left that has the data.
    pub fn snapshot_header(&self) -> SnapshotHeader {
        let participants = self.stability.participants().chain([self.options.node]);
        let seen = self.delivery.last_seen().iter();
        SnapshotHeader {
            begin: self.claimed.clone(),
            folded: self.stability.folded().clone(),
            seen: seen.map(|(&origin, seen)| (origin, seen.clone())).collect(),
            participants: participants.collect(),
            forced_out: self.stability.forced_out().collect(),
        }
    }

    /// The tail of a snapshot that began at `begin`, of which every part is exported. The runtime hands over all local effects
    /// first: then no part holds anything that is not applied here. None when it is not to be had, so that the
    /// snapshot is worth nothing.
    pub fn snapshot_tail(&self, begin: &Frontier) -> Option<SnapshotTail> {
        let is_alive = matches!(self.joining.phase, Phase::Serving | Phase::Leaving);
        if !is_alive || !self.stability.floor().within(begin) || !self.reconciliation.keeps(begin) {
            return None;
        }
        let effects = self.log.after(begin);
        let bytes = |effects: &[Bytes]| effects.iter().map(tail_cost).fold(0, usize::saturating_add);
        let room = MAX_TAIL_BYTES.checked_sub(bytes(&effects))?;
        let history = Some(self.history(begin)).filter(|history| bytes(&history.effects) <= room);
        Some(SnapshotTail { effects, end: self.delivery.frontier().clone(), history })
    }

    /// What is kept here of what is within `begin`, which is not before the log.
    fn history(&self, begin: &Frontier) -> History {
        let (mut effects, mut writer) = self.archive.written();
        let logged = self.past.complete(self.log.within(begin));
        effects.extend(logged.iter().map(|(effect, seen)| writer.write(effect, seen, effect.body())));
        History { begin: self.archive.floor().clone(), effects }
    }

    /// Keeps what came with a snapshot, as far as it was not here before. Where it begins only beyond what was applied here of an origin, there is a
    /// gap, and what is kept of that one begins behind it. To be called before the state of the snapshot is taken over.
    pub(super) fn keep_history(&mut self, (begin, history): (Frontier, Vec<Known>), out: &mut Vec<Output>) {
        let applied = self.delivery.frontier();
        let gaps = begin.iter().filter(|&(origin, seq)| applied.get(origin) < seq).collect();
        self.archive.raise_floor(&gaps);
        let is_news = |(effect, _): &Known| !self.delivery.frontier().includes(effect.dot);
        self.put_into_archive(history.into_iter().filter(is_news).collect(), out);
    }

    /// A peer asks for a snapshot.
    pub(super) fn received_snapshot_request(&mut self, peer: NodeId, attempt: u32) {
        if let Some(state) = self.peers.get_mut(&peer)
            && state.export.as_ref().is_none_or(|&(under_way, _)| under_way < attempt)
        {
            state.wants_snapshot = Some(attempt);
        }
    }

    /// Begins the snapshots that were asked for. Only right after all local effects were handed over: what each
    /// origin's latest effect had seen, and what the snapshot begins with, are then of the same moment.
    pub(super) fn start_exports(&mut self, out: &mut Vec<Output>) {
        if self.joining.phase != Phase::Serving || self.claimed != *self.delivery.frontier() {
            return;
        }
        if self.peers.values().all(|state| state.wants_snapshot.is_none()) {
            return;
        }
        let mut under_way = self.peers.values().filter(|state| state.export.is_some()).count();
        let mut receivers = Vec::new();
        for (&peer, state) in &mut self.peers {
            let Some(attempt) = state.wants_snapshot else { continue };
            let replaces = state.export.is_some();
            if !self.membership.is_member(peer) || (under_way >= MAX_EXPORTS && !replaces) {
                continue;
            }
            under_way += usize::from(!replaces);
            state.wants_snapshot = None;
            state.export = Some((attempt, self.claimed.clone()));
            self.stability.count_again(peer);
            receivers.push(peer);
        }
        let header = self.snapshot_header();
        self.counters.snapshots_sent += receivers.len() as u64;
        for peer in receivers {
            let mut header = header.clone();
            header.participants.retain(|&node| node != peer);
            out.push(Output::SendSnapshot { peer, header });
        }
    }

    /// The snapshot is here, and its parts are imported.
    pub(super) fn snapshot_received(
        &mut self,
        now: u64,
        peer: NodeId,
        header: SnapshotHeader,
        tail: SnapshotTail,
        out: &mut Vec<Output>,
    ) {
        if self.is_reconciling_with(peer) {
            return self.reconcile(now, peer, header, tail, out);
        }
        if !matches!(self.joining.phase, Phase::Transfer { source, .. } if source == peer) {
            return;
        }
        let (delivery, delivered, history) = match self.follow_snapshot(&header, tail) {
            Ok(followed) => followed,
            Err(reason) => return self.refuse(now, peer, reason, out),
        };
        if !self.delivery.frontier().is_empty() {
            self.give_up(now, "this node made effects while it was joining", out);
            return;
        }
        let SnapshotHeader { begin, folded, participants, forced_out, .. } = header;
        self.counters.snapshots_received += 1;
        self.joining.snapshot_taken();
        self.stability.adopt(&begin, &folded);
        self.keep_history(history, out);
        self.include_participants(&participants, &forced_out);
        self.delivery.adopt(delivery);
        // Whatever this node makes, it makes on top of what these outputs apply.
        self.claimed.clone_from(self.delivery.frontier());
        self.apply(now, delivered, out);
        out.push(Output::CatchUpComplete);
        self.release(now, out);
        self.enforce_log_limit(out);
        self.check_caught_up(now, out);
    }

    /// Whose effects may still come, as a snapshot says.
    pub(super) fn include_participants(&mut self, participants: &[NodeId], forced_out: &[NodeId]) {
        let own = self.options.node;
        participants.iter().filter(|&&node| node != own).for_each(|&node| self.stability.include(node));
        forced_out.iter().filter(|&&node| node != own).for_each(|&node| self.stability.include_forced_out(node));
    }

    /// Goes from the beginning of a snapshot to its end. Returns what is applied there, the effects on the way, and what is known
    /// of how it came to its beginning.
    pub(super) fn follow_snapshot(&self, header: &SnapshotHeader, tail: SnapshotTail) -> Result<Followed, Violation> {
        self.check_header(header)?;
        check_frontier(&tail.end)?;
        let history = match tail.history {
            Some(history) => self.read_history(header, history)?,
            None => (header.begin.clone(), Vec::new()),
        };
        let mut delivery = Delivery::at(&header.begin, header.seen.iter().cloned());
        let mut delivered = Vec::with_capacity(tail.effects.len());
        for encoded in tail.effects {
            let effect = Effect::decode(encoded).map_err(|_| "a malformed effect")?;
            self.check_effect(&effect)?;
            if delivery.frontier().includes(effect.dot) {
                return Err("a snapshot with an effect that it has already");
            }
            let dot = effect.dot;
            delivery.arrived(effect, &header.folded, &mut delivered);
            if !delivery.frontier().includes(dot) {
                return Err("a snapshot with an effect that cannot follow what it has");
            }
        }
        if *delivery.frontier() != tail.end {
            return Err("a snapshot that does not lead to its end");
        }
        Ok((delivery, delivered, history))
    }

    fn read_history(&self, header: &SnapshotHeader, history: History) -> Result<(Frontier, Vec<Known>), Violation> {
        let History { begin, effects } = history;
        check_frontier(&begin)?;
        if !begin.within(&header.begin) {
            return Err("a snapshot whose history begins after it");
        }
        let (mut reader, mut last) = (Reader::default(), Frontier::EMPTY);
        let mut known = Vec::with_capacity(effects.len());
        for encoded in effects {
            let effect = Effect::decode(encoded).map_err(|_| "a malformed effect")?;
            self.check_effect(&effect)?;
            let seen = reader.seen_of(&effect);
            if !header.begin.includes(effect.dot) || !seen.within(&header.begin) {
                return Err("a snapshot whose history has more than it begins with");
            }
            if last.includes(effect.dot) {
                return Err("a snapshot whose history has an effect twice");
            }
            last.raise(effect.dot.node, effect.dot.seq);
            known.push((effect, seen));
        }
        Ok((begin, known))
    }

    pub(super) fn check_header(&self, header: &SnapshotHeader) -> Result<(), Violation> {
        let SnapshotHeader { begin, folded, seen, participants, forced_out } = header;
        for frontier in [begin, folded].into_iter().chain(seen.iter().map(|(_, frontier)| frontier)) {
            check_frontier(frontier)?;
        }
        let out_of_bounds = |seen: &Frontier| !seen.within(begin) && !planted(Bug::IgnoreDependencies);
        if !folded.within(begin) || seen.iter().any(|(_, seen)| out_of_bounds(seen)) {
            return Err("a snapshot whose frontiers contradict each other");
        }
        let own = self.options.node;
        if begin.get(own) > self.delivery.frontier().get(own) {
            return Err("a snapshot with effects that this node never made");
        }
        if seen.len() > MAX_ORIGINS || participants.len().max(forced_out.len()) > MAX_ORIGINS {
            return Err("a snapshot with absurdly many origins");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::effect;
    use super::super::{CoreOptions, Frame, Hello, Input, Member, Now, Stage};
    use super::*;
    use crate::effects::Dot;

    const NOW: Now = Now { monotonic: 1_000, wall: 1_000 };
    const SENDER: NodeId = NodeId(2);

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    /// Of a node that has applied two effects of the node 2 and one of the node 3, which had seen one of these.
    fn header() -> SnapshotHeader {
        SnapshotHeader {
            begin: frontier(&[(2, 2), (3, 1)]),
            folded: frontier(&[(2, 1)]),
            seen: vec![(NodeId(2), frontier(&[(2, 1)])), (NodeId(3), frontier(&[(2, 1)]))],
            participants: vec![NodeId(2), NodeId(3)],
            forced_out: vec![],
        }
    }

    fn tail(effects: &[Effect], end: &[(u64, u64)]) -> SnapshotTail {
        let effects = effects.iter().map(|effect| effect.encoded().clone()).collect();
        SnapshotTail { effects, end: frontier(end), history: None }
    }

    /// What a node does that gets this snapshot; an effect of the node 3 waits there, which had seen the third of the node 2.
    fn receive(header: SnapshotHeader, tail: SnapshotTail) -> (Core, Vec<Output>) {
        let mut core = Core::new(CoreOptions::new(NodeId(1), Member::default()), NOW);
        let hello = Hello::of_serving(header.begin.clone(), frontier(&[(2, 1)]));
        let mut out = Vec::new();
        core.step(NOW, Input::Connected { peer: SENDER }, &mut out);
        core.step(NOW, Input::Received { peer: SENDER, frame: Frame::Hello(Box::new(hello)) }, &mut out);
        let waits = Frame::Effects(vec![effect(3, 2, &[(2, 3)]).encoded().clone()]);
        core.step(NOW, Input::Received { peer: SENDER, frame: waits }, &mut out);
        assert!(out.iter().any(|output| matches!(output, Output::Send { frame: Frame::SnapshotRequest { .. }, .. })));
        out.clear();
        core.step(NOW, Input::SnapshotReceived { peer: SENDER, header, tail }, &mut out);
        (core, out)
    }

    /// What is applied, and when it is said that everything is.
    fn applied(out: &[Output]) -> Vec<Option<Dot>> {
        let step = |output: &Output| match output {
            Output::Apply { effect, .. } => Some(Some(effect.dot)),
            Output::CatchUpComplete => Some(None),
            _ => None,
        };
        out.iter().filter_map(step).collect()
    }

    #[test]
    fn a_snapshot_is_taken_over_with_its_tail_and_what_waited_comes_after_that() {
        let effects = [effect(2, 3, &[(3, 1)]), effect(4, 1, &[(2, 3)])];
        let (core, out) = receive(header(), tail(&effects, &[(2, 3), (3, 1), (4, 1)]));
        let dot = |node, seq| Some(Dot { node: NodeId(node), seq });
        assert_eq!(applied(&out), [dot(2, 3), dot(4, 1), None, dot(3, 2)]);
        assert_eq!(*core.frontier(), frontier(&[(2, 3), (3, 2), (4, 1)]));
        let (_, out) = receive(header(), tail(&[], &[(2, 2), (3, 1)]));
        assert_eq!(applied(&out), [None], "nothing was written meanwhile");
    }

    /// A node that serves takes a snapshot and writes on. What it writes meanwhile everybody has at once.
    #[test]
    fn the_tail_stays_in_the_log_also_as_far_as_its_receiver_made_it() {
        let options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
        let mut core = Core::new(options, NOW);
        let at = |core: &mut Core, monotonic: u64, input: Input| {
            let mut out = Vec::new();
            core.step(Now { monotonic, wall: 0 }, input, &mut out);
            out
        };
        let peer = NodeId(2);
        let hello = Hello::of_serving(Frontier::EMPTY, Frontier::EMPTY);
        at(&mut core, 1_000, Input::Tick);
        at(&mut core, 1_000, Input::Connected { peer });
        at(&mut core, 1_000, Input::Received { peer, frame: Frame::Hello(Box::new(hello)) });
        at(&mut core, 1_000, Input::Members([(NodeId(1), Member::default()), (peer, Member::default())].into()));
        at(&mut core, 1_000, Input::Received { peer, frame: Frame::SnapshotRequest { attempt: 1 } });
        at(&mut core, 1_000, Input::LocalEffects(vec![effect(1, 1, &[])]));
        let out = at(&mut core, 1_000, Input::Tick);
        let begins = |output: &Output| match output {
            Output::SendSnapshot { header, .. } => Some(header.begin.clone()),
            _ => None,
        };
        let begin = out.iter().find_map(begins).expect("it is sent at once");
        let gossip = |frontier: Frontier| Frame::Gossip {
            frontier,
            floor: Frontier::EMPTY,
            archive: None,
            stage: Stage::Serving,
            stuck: false,
            departed: Vec::new(),
        };
        let tell = |core: &mut Core, now: u64, seq: u64, claim: Frontier| {
            let effects = Frame::Effects(vec![effect(2, seq, &[]).encoded().clone()]);
            for frame in [effects, gossip(claim)] {
                at(core, now, Input::Received { peer, frame });
            }
            at(core, now, Input::LocalEffects(Vec::new()));
            at(core, now, Input::Tick);
        };
        (1..=60).for_each(|seq| tell(&mut core, 1_000 * (seq + 1), seq, frontier(&[(2, seq)])));
        let tail = core.snapshot_tail(&begin).expect("it is in the log");
        assert_eq!(tail.effects.len(), 60);
        tell(&mut core, 70_000, 61, frontier(&[(1, 1), (2, 61)]));
        assert!(core.snapshot_tail(&begin).is_none(), "nobody needs it any more");
    }

    #[test]
    fn of_a_snapshot_whose_tail_cannot_be_nothing_counts() {
        let third = || effect(2, 3, &[(3, 1)]);
        let malformed = SnapshotTail { effects: vec![Bytes::from_static(b"effect")], ..tail(&[], &[(2, 2), (3, 1)]) };
        let unsorted: Frontier = postcard::from_bytes(&[2, 3, 1, 2, 2]).expect("the form of a frontier");
        let cannot_follow = "a snapshot with an effect that cannot follow what it has";
        let wrong_end = "a snapshot that does not lead to its end";
        let offences = [
            (malformed, "a malformed effect"),
            (tail(&[], &[(2, 3), (3, 1)]), wrong_end),
            (tail(&[], &[(2, 2)]), wrong_end),
            (tail(&[third()], &[(2, 2), (3, 1)]), wrong_end),
            (tail(&[third(), third()], &[(2, 3), (3, 1)]), "a snapshot with an effect that it has already"),
            (tail(&[effect(2, 4, &[])], &[(2, 4), (3, 1)]), cannot_follow),
            (tail(&[effect(4, 1, &[(2, 3)]), third()], &[(2, 3), (3, 1), (4, 1)]), cannot_follow),
            (tail(&[effect(4, 1, &[])], &[(2, 2), (3, 1), (4, 1)]), cannot_follow),
            (
                tail(&[effect(1, 1, &[(2, 2)])], &[(1, 1), (2, 2), (3, 1)]),
                "an effect under this node's name that it never made",
            ),
            (
                tail(&[effect(4, 1, &[(1, 1), (2, 2)])], &[(2, 2), (3, 1), (4, 1)]),
                "an effect that saw what this node never made",
            ),
            (tail(&[effect(2, u64::MAX, &[])], &[(2, 3), (3, 1)]), "an effect with an absurd seq"),
            (SnapshotTail { end: unsorted, ..SnapshotTail::default() }, "a frontier that is not in canonical form"),
            (tail(&[], &[(2, u64::MAX)]), "an absurd frontier"),
        ];
        for (tail, expected) in offences {
            let (core, out) = receive(header(), tail);
            let reasons = out.iter().filter_map(|output| match output {
                Output::Disconnect { reason, .. } => Some(*reason),
                _ => None,
            });
            assert_eq!(reasons.collect::<Vec<_>>(), [expected]);
            assert!(applied(&out).is_empty() && core.frontier().is_empty(), "{expected}");
        }
    }
}
