//! A node that serves takes over a peer's state, and goes on as what it is.
//!
//! A node that serves can be in a state that no effect can end (see `rebase`, which also tells which of two nodes it is that
//! has to do something about it), and the peer may not be able to hand over what is lacking (see `handover`). If its own archive and log have all that the peer
//! lacks, it need not give up its identity: what it would be, had
//! it been with the peer all the time, is the peer's state and on top of it all effects that the peer had not applied. So it asks
//! for the peer's snapshot while it goes on serving, and when that is there, it applies to it what its own archive and log have beyond, whoever
//! made it, in the order in which it was applied here. Then the one state takes the place of the other at once
//! ([`super::Output::TakeOver`]).
//!
//! # Why that is exact
//!
//! What a set of effects makes does not depend on the order in which they are applied, as long as it is a causal one and each
//! has seen what is folded where it is applied. Both are checked here, with the same rules by which effects are delivered: the snapshot
//! with its tail is the peer at one moment, the log goes on from there without a gap, and each effect has seen all that the peer has
//! folded, or the whole is dropped. So all names, stamps and pasts stay what they are, and the result is what every other node
//! has that gets the same effects in the usual way: the peer, for one, from this node's log. No effect exists under two names, nobody
//! has to agree with anybody on who does this, and a group does it node by node. (What an archive leaves out makes no difference as soon as all of it is applied: see `archive`.)
//!
//! What was folded here before, was so of a state that is gone. It does no harm that less is folded now: what this node has told
//! others, that its later effects have seen what it had applied, stays true.
//!
//! # What changes besides
//!
//! The log keeps what it has beyond the beginning of the snapshot; its floor is there from now on. Who lacks what comes before finds this
//! node's log out of reach, as it had found the peer's, and does the same. (Without an archive, which would have what comes before, the
//! log keeps of each origin what it has without a gap.) A snapshot that this node was sending meanwhile is worth
//! nothing: whoever asked for it asks again.
//!
//! # When it is not possible
//!
//! This node has forgotten effects that the peer lacks (both archives were over their budgets), or has effects which had not seen all
//! that the peer has folded (that never knew of it, or has forsaken it). The first is known beforehand, the second from the snapshot:
//! then the peer is remembered, and `rebase` is what is left.
//!
//! # Bounds
//!
//! One at a time. The data is there twice while the snapshot comes in. As long as the effects are applied on top of it, nobody writes:
//! they are at most the log and the tail of a snapshot.

use std::collections::BTreeSet;

use super::Output;
use super::archive::Known;
use super::core::Core;
use super::delivery::Delivery;
use super::frame::Frame;
use super::joining::{Phase, REPEAT_INTERVAL};
use super::peers::Said;
use super::snapshot::{SnapshotHeader, SnapshotTail};
use crate::effects::{Frontier, NodeId};

/// Whose state this node is about to take over.
#[derive(Debug, Default)]
pub(super) struct Reconciliation {
    under_way: Option<UnderWay>,
    /// Peers whose state cannot be gone on from here; of those connected. While there is one, no other is tried: they are mostly of
    /// one cluster.
    in_vain: BTreeSet<NodeId>,
    /// Peers that cannot hand over what this node lacks, or not so that it can be applied here; of those connected.
    handovers_in_vain: BTreeSet<NodeId>,
    /// What was applied when a state was taken over last. A snapshot of this node that began before has parts of both states.
    since: Frontier,
}

#[derive(Debug)]
struct UnderWay {
    source: NodeId,
    attempt: u32,
    /// What was asked for: all beyond this, or a snapshot.
    beyond: Option<Frontier>,
    asked_at: u64,
}

impl UnderWay {
    fn request(&self) -> Output {
        let attempt = self.attempt;
        let frame = match self.beyond.clone() {
            Some(beyond) => Frame::HandoverRequest { attempt, beyond },
            None => Frame::SnapshotRequest { attempt },
        };
        Output::Send { peer: self.source, frame }
    }
}

impl Reconciliation {
    /// Is a snapshot or a handover on its way, or asked for?
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Is a snapshot that began at `begin` of one state, which is still here?
    pub(super) fn keeps(&self, begin: &Frontier) -> bool {
        self.since.within(begin)
    }

    /// Was this peer asked for a handover?
    pub(super) fn waits_for_handover_of(&self, peer: NodeId) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| under_way.source == peer && under_way.beyond.is_some())
    }

    /// What came from this peer is of no use.
    pub(super) fn handover_in_vain(&mut self, peer: NodeId) {
        self.under_way = None;
        self.handovers_in_vain.insert(peer);
    }

    /// Everything is here, and this is applied now.
    pub(super) fn is_over(&mut self, frontier: &Frontier) {
        self.under_way = None;
        self.since.clone_from(frontier);
    }
}

impl Core {
    /// May this node take over what a peer has, as far as it can tell by now?
    pub(super) fn can_reconcile_with(&self, said: &Said) -> bool {
        let is_here = self.archive.floor().within(&said.frontier);
        self.joining.phase == Phase::Serving && is_here && self.reconciliation.in_vain.is_empty()
    }

    /// Can this peer hand over all that this node lacks, as far as it has said?
    pub(super) fn can_ask_for_handover(&self, peer: NodeId, said: &Said) -> bool {
        let is_blocked = self.delivery.blocked().any(|dot| said.frontier.includes(dot));
        let may_ask = self.joining.phase == Phase::Serving && !self.reconciliation.handovers_in_vain.contains(&peer);
        may_ask && !is_blocked && said.archive.within(self.delivery.frontier())
    }

    /// Asks a peer for all that this node lacks, if it may have it as a whole, or else for its snapshot.
    pub(super) fn begin_reconciliation(&mut self, now: u64, source: NodeId, out: &mut Vec<Output>) {
        self.joining.attempts += 1;
        let said = self.peers.get(&source).and_then(|state| state.said.as_ref());
        let hands_over = said.is_some_and(|said| self.can_ask_for_handover(source, said));
        let beyond = hands_over.then(|| self.delivery.frontier().clone());
        let under_way = UnderWay { source, attempt: self.joining.attempts, beyond, asked_at: now };
        out.push(under_way.request());
        self.reconciliation.under_way = Some(under_way);
    }

    /// Repeats the request, which may have been lost.
    pub(super) fn tend_reconciliation(&mut self, now: u64, out: &mut Vec<Output>) {
        let Core { reconciliation, peers, .. } = self;
        reconciliation.in_vain.retain(|peer| peers.contains_key(peer));
        reconciliation.handovers_in_vain.retain(|peer| peers.contains_key(peer));
        if let Some(under_way) = &mut reconciliation.under_way
            && now >= under_way.asked_at + REPEAT_INTERVAL
        {
            under_way.asked_at = now;
            out.push(under_way.request());
        }
    }

    /// This peer will not send what it was asked for.
    pub(super) fn reconciliation_failed(&mut self, peer: NodeId) {
        if self.reconciliation.under_way.as_ref().is_some_and(|under_way| under_way.source == peer) {
            self.reconciliation.under_way = None;
            self.joining.hopeless = None;
        }
    }

    /// This peer cannot hand over what it was asked for.
    pub(super) fn handover_refused(&mut self, peer: NodeId) {
        if self.reconciliation.waits_for_handover_of(peer) {
            self.reconciliation.handover_in_vain(peer);
        }
    }

    /// Is it this peer's state that this node is about to take over?
    pub(super) fn is_reconciling_with(&self, peer: NodeId) -> bool {
        let under_way = self.reconciliation.under_way.as_ref();
        under_way.is_some_and(|under_way| under_way.source == peer && under_way.beyond.is_none())
    }

    /// The peer's snapshot is here.
    pub(super) fn reconcile(
        &mut self,
        now: u64,
        peer: NodeId,
        header: SnapshotHeader,
        tail: SnapshotTail,
        out: &mut Vec<Output>,
    ) {
        if self.joining.phase != Phase::Serving {
            return;
        }
        let (mut delivery, tail, history) = match self.follow_snapshot(&header, tail) {
            Ok(followed) => followed,
            Err(reason) => return self.refuse(now, peer, reason, out),
        };
        self.reconciliation.under_way = None;
        let Some(beyond) = self.go_beyond(&mut delivery, &header.folded) else {
            self.reconciliation.in_vain.insert(peer);
            return;
        };
        self.joining.hopeless = None;
        if delivery.frontier() == self.delivery.frontier() {
            // What was lacking has come in another way.
            return;
        }
        self.counters.snapshots_received += 1;
        self.counters.reconciliations += 1;
        self.include_participants(&header.participants, &header.forced_out);
        self.begin_log_where_that_began(&header.begin, out);
        self.keep_history(history, out);
        self.stability.take_over(&header.folded);
        for (effect, seen) in tail.iter().filter(|(effect, _)| !self.delivery.frontier().includes(effect.dot)) {
            self.past.append(effect, seen);
            self.log.append(effect.dot, effect.encoded().clone());
            self.membership.heard(effect.dot.node, now);
        }
        self.delivery.take_over(delivery);
        // All effects of this node are among these, and the next one has seen them all.
        self.claimed.clone_from(self.delivery.frontier());
        self.reconciliation.is_over(self.delivery.frontier());
        out.push(Output::TakeOver { tail, beyond, frontier: self.delivery.frontier().clone() });
        self.release(now, out);
        self.enforce_log_limit(out);
    }

    /// Lets the log begin where a state began that takes the place of this node's. What it has of what came before goes to the archive; without one,
    /// it stays where it is, as far as there is no gap: it may be all that is left of this node's own writes.
    pub(super) fn begin_log_where_that_began(&mut self, begin: &Frontier, out: &mut Vec<Output>) {
        if self.options.archive_limit > 0 {
            return self.begin_log_behind(begin, out);
        }
        let applied = self.delivery.frontier();
        let lacking = begin.iter().filter(|&(origin, seq)| applied.get(origin) < seq).collect();
        self.begin_log_behind(&lacking, out);
    }

    /// Goes on from the state of a peer to everything that is applied here, as far as it matters. Returns what is to be applied on the
    /// way. None when some of that is not to be had here any more, or had not seen what is folded there.
    fn go_beyond(&self, delivery: &mut Delivery, folded: &Frontier) -> Option<Vec<Known>> {
        let beyond = self.known_beyond(delivery.frontier())?;
        if !beyond.iter().all(|(effect, seen)| delivery.skip_to(effect, seen, folded)) {
            return None;
        }
        delivery.skip_rest(self.delivery.frontier(), self.delivery.last_seen());
        Some(beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::effect;
    use super::super::{CoreOptions, Hello, Input, Member, Now};
    use super::*;
    use crate::effects::Dot;

    const PEER: NodeId = NodeId(2);

    fn frontier(entries: &[(u64, u64)]) -> Frontier {
        entries.iter().map(|&(node, seq)| (NodeId(node), seq)).collect()
    }

    fn at(core: &mut Core, monotonic: u64, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        core.step(Now { monotonic, wall: 0 }, input, &mut out);
        out
    }

    /// Lets some seconds pass in which the peer is heard.
    fn wait(core: &mut Core, from: u64, to: u64) -> Vec<Output> {
        let step = |now: u64| {
            let heard = Input::Received { peer: PEER, frame: Frame::Ack { seq: 1 } };
            let inputs = [heard, Input::LocalEffects(Vec::new()), Input::Tick];
            inputs.into_iter().flat_map(|input| at(core, now, input)).collect::<Vec<_>>()
        };
        (from..to).step_by(500).flat_map(step).collect()
    }

    /// A node that serves and has made two effects meets a peer that has one of them, and has forgotten what the node lacks.
    fn meet() -> Core {
        meet_with(|_| ())
    }

    fn meet_with(tune: fn(&mut CoreOptions)) -> Core {
        let mut options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
        tune(&mut options);
        let mut core = Core::new(options, Now { monotonic: 0, wall: 0 });
        at(&mut core, 0, Input::Tick);
        at(&mut core, 0, Input::LocalEffects(vec![effect(1, 1, &[]), effect(1, 2, &[])]));
        at(&mut core, 0, Input::Connected { peer: PEER });
        let hello = Hello::of_serving(frontier(&[(1, 1), (2, 5)]), frontier(&[(2, 5)]));
        at(&mut core, 0, Input::Received { peer: PEER, frame: Frame::Hello(Box::new(hello)) });
        core
    }

    /// The peer's snapshot, of which so much is folded, and an effect that it applied meanwhile.
    fn snapshot(folded: Frontier) -> Input {
        let header = SnapshotHeader {
            begin: frontier(&[(1, 1), (2, 5)]),
            folded,
            seen: vec![(NodeId(1), Frontier::EMPTY), (PEER, frontier(&[(1, 1), (2, 4)]))],
            participants: vec![PEER],
            forced_out: Vec::new(),
        };
        let effects = vec![effect(2, 6, &[]).encoded().clone()];
        let tail = SnapshotTail { effects, end: frontier(&[(1, 1), (2, 6)]), history: None };
        Input::SnapshotReceived { peer: PEER, header, tail }
    }

    fn asks(outputs: &[Output]) -> bool {
        outputs.iter().any(|output| matches!(output, Output::Send { frame: Frame::SnapshotRequest { .. }, .. }))
    }

    fn gives_up(outputs: &[Output]) -> bool {
        outputs.iter().any(|output| matches!(output, Output::Rebase { .. }))
    }

    #[test]
    fn a_state_is_taken_over_with_what_the_own_log_has_beyond() {
        let mut core = meet();
        assert!(!asks(&wait(&mut core, 0, 4_000)), "it may pass");
        let outputs = wait(&mut core, 4_000, 8_000);
        assert!(asks(&outputs) && !gives_up(&outputs) && core.has_served());
        let outputs = at(&mut core, 8_000, snapshot(Frontier::EMPTY));
        let taken_over = outputs.iter().find_map(|output| match output {
            Output::TakeOver { tail, beyond, frontier } => {
                assert_eq!(frontier, core.frontier());
                Some(tail.iter().chain(beyond).map(|(effect, _)| effect.dot).collect::<Vec<_>>())
            }
            _ => None,
        });
        let dot = |node, seq| Dot { node: NodeId(node), seq };
        assert_eq!(taken_over, Some(vec![dot(2, 6), dot(1, 2)]));
        assert_eq!(*core.frontier(), frontier(&[(1, 2), (2, 6)]));
        // What it was sending itself was of a state that is gone.
        assert!(core.snapshot_tail(&frontier(&[(1, 2), (2, 5)])).is_none());
        assert!(core.snapshot_tail(&frontier(&[(1, 2), (2, 6)])).is_some());
        at(&mut core, 8_000, Input::LocalEffects(vec![effect(1, 3, &[(2, 6)])]));
        let outputs = wait(&mut core, 8_500, 16_000);
        assert!(!asks(&outputs) && !gives_up(&outputs), "it lacks nothing");
    }

    #[test]
    fn own_writes_stay_in_reach_also_without_an_archive() {
        let kept = |tune| {
            let mut core = meet_with(tune);
            wait(&mut core, 0, 8_000);
            at(&mut core, 8_000, snapshot(Frontier::EMPTY));
            assert_eq!(*core.frontier(), frontier(&[(1, 2), (2, 6)]));
            // A third node has neither the first effect of this one, nor any way to get it from the peer.
            let known = core.known_beyond(&frontier(&[(2, 6)])).unwrap_or_default();
            (core.stability.floor().clone(), known.iter().map(|(effect, _)| effect.dot.seq).collect::<Vec<_>>())
        };
        assert_eq!(kept(|options| options.archive_limit = 0), (frontier(&[(2, 5)]), vec![1, 2]));
        assert_eq!(kept(|_| ()), (frontier(&[(1, 1), (2, 5)]), vec![1, 2]), "the first is in the archive");
    }

    #[test]
    fn who_cannot_go_on_from_a_state_gives_up_its_identity() {
        let mut core = meet();
        assert!(asks(&wait(&mut core, 0, 8_000)));
        let outputs = at(&mut core, 8_000, snapshot(frontier(&[(2, 3)])));
        assert!(!outputs.iter().any(|output| matches!(output, Output::TakeOver { .. })));
        assert_eq!(*core.frontier(), frontier(&[(1, 2)]), "nothing has changed");
        let outputs = wait(&mut core, 8_000, 10_000);
        assert!(gives_up(&outputs) && !asks(&outputs));
    }

    #[test]
    fn who_is_being_taken_over_keeps_its_identity_meanwhile() {
        let mut core = meet();
        assert!(asks(&wait(&mut core, 0, 8_000)));
        let beat = [(PEER, Member { serving: true, ..Member::default() })].into_iter().collect();
        at(&mut core, 8_000, Input::Members(beat));
        at(&mut core, 8_000, Input::Received { peer: PEER, frame: Frame::SnapshotRequest { attempt: 1 } });
        let outputs = at(&mut core, 8_000, snapshot(frontier(&[(2, 3)])));
        assert!(!outputs.iter().any(|output| matches!(output, Output::TakeOver { .. })), "it cannot go on from that");
        assert!(!gives_up(&wait(&mut core, 8_000, 30_000)));
        assert!(gives_up(&wait(&mut core, 30_000, 60_000)), "not for ever");
    }

    #[test]
    fn a_snapshot_that_does_not_come_is_asked_for_again() {
        let mut core = meet();
        assert!(asks(&wait(&mut core, 0, 8_000)));
        at(&mut core, 8_000, Input::SnapshotFailed { peer: PEER });
        assert!(at(&mut core, 8_000, snapshot(Frontier::EMPTY)).is_empty(), "nobody waits for it any more");
        let outputs = wait(&mut core, 8_500, 15_000);
        assert!(asks(&outputs) && !gives_up(&outputs));
    }
}
