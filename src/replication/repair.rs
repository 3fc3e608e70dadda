//! Anti-entropy: telling peers what is applied here, and pulling what did not come by itself.
//!
//! # The algorithm
//!
//! Every node tells every peer its frontier: at the next tick after it changed, and at least once a second even if it
//! did not. (Reconciliation by version vectors, as in Bayou: Petersen et al. 1997.) With more than eight peers it tells
//! each of them less often, so that it says the same number of times in all: what it says grows with the cluster already, and
//! nobody waits for it, as acknowledgements go their own way. From what peers say a node sees what
//! exists that it lacks. Usually that is on its way from its origin; so it is asked for only if nothing of that origin
//! was applied for [`GRACE`] milliseconds, or [`GAP_GRACE`] if a later effect of that origin is here already. The range asked for is the
//! first one that is neither applied nor waiting; any peer that has it in its log will do, the origin first, another at
//! each further attempt. One request per origin is outstanding, for [`REQUEST_TIMEOUT`] at most. Its answer is a single
//! frame; when that is here and something is still missing, the next request goes out at once, if the origin is not connected.
//!
//! When somebody says that it makes the effects of a node again that is gone, those that wait here and that nobody has applied are
//! dropped: they are about to come under another name, and would count twice.
//!
//! So lost frames, half-open links and pairs of nodes that only reach each other through a third heal in the same way,
//! and nothing needs to know which of these it was.
//!
//! # Bounds
//!
//! One request and one record per origin. Answers take at most [`ANSWER_BYTES`] each, and per peer
//! [`ANSWER_BYTES_PER_TICK`] between two ticks; beyond that requests are left unanswered, and are repeated.

use std::collections::{BTreeMap, BTreeSet};

use super::core::Core;
use super::delivery::Missing;
use super::frame::Frame;
use super::joining::Phase;
use super::peers::Violation;
use super::{Member, Output};
use crate::effects::{Dot, NodeId};
use crate::planted::{Bug, planted};

/// How long the direct path has for the next effect of an origin, in milliseconds.
const GRACE: u64 = 300;
/// The same, when a later effect shows that one was lost.
const GAP_GRACE: u64 = 100;
/// How long an answer may take, in milliseconds.
const REQUEST_TIMEOUT: u64 = 1_000;
/// At least so many milliseconds, on average, between two gossips to any peers that tell of nothing but effects.
const GOSSIP_SPACING: u64 = 6;
/// Bytes of effects in one answer, unless a single effect is larger.
const ANSWER_BYTES: usize = 1 << 20;
/// Bytes of effects that one peer is sent in answers between two ticks.
pub(super) const ANSWER_BYTES_PER_TICK: usize = 8 << 20;

/// What is lacking of each origin. An origin of which nothing lacks has no record.
#[derive(Debug, Default)]
pub(super) struct Repair {
    lacking: BTreeMap<NodeId, Lack>,
}

#[derive(Debug)]
struct Lack {
    /// What was applied when this was last looked at, and since when that has not changed.
    applied: u64,
    since: u64,
    outstanding: Option<Outstanding>,
    attempts: usize,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    peer: NodeId,
    after: u64,
    at: u64,
}

impl Core {
    /// Tells every peer what is applied here, as often as it has to be told.
    pub(super) fn gossip(&mut self, now: u64, out: &mut Vec<Output>) {
        let stuck = self.delivery.blocked().any(|dot| {
            let has = |state: &super::peers::Peer| state.said.as_ref().is_some_and(|said| said.frontier.includes(dot));
            self.peers.values().any(has)
        });
        let mut frontier = self.claimed.clone();
        if planted(Bug::ClaimTooHigh) {
            self.peers.values().filter_map(|state| state.said.as_ref()).for_each(|said| frontier.join(&said.frontier));
        }
        let frame = Frame::Gossip {
            frontier,
            floor: self.stability.floor().clone(),
            archive: self.archive_before_log(),
            stage: self.stage(),
            stuck,
            departed: self.stability.departed(),
        };
        let pause = self.options.tick_interval.max(GOSSIP_SPACING * self.peers.len() as u64);
        for (&peer, state) in self.peers.iter_mut().filter(|(_, state)| state.said.is_some()) {
            let due = state.told.as_ref().is_none_or(|(told, at)| {
                let pause = if tells_of_effects_only(told, &frame) { pause } else { self.options.tick_interval };
                let changed = *told != frame && now >= at + pause;
                changed || now >= at + self.options.gossip_interval
            });
            if due {
                state.told = Some((frame.clone(), now));
                out.push(Output::Send { peer, frame: frame.clone() });
            }
        }
    }

    /// Asks for what is lacking and did not come by itself.
    pub(super) fn request_lacking(&mut self, now: u64, out: &mut Vec<Output>) {
        for state in self.peers.values_mut() {
            state.answer_budget = ANSWER_BYTES_PER_TICK;
        }
        let frontier = self.delivery.frontier();
        let mut lacking: BTreeSet<NodeId> = self.delivery.waiting_origins().collect();
        for said in self.peers.values().filter_map(|state| state.said.as_ref()) {
            lacking.extend(said.frontier.iter().filter(|&(node, seq)| seq > frontier.get(node)).map(|(node, _)| node));
        }
        self.repair.lacking.retain(|origin, _| lacking.contains(origin));
        for origin in lacking {
            self.discard_given_up(origin);
            self.request(now, origin, false, out);
        }
    }

    /// Asks for what is lacking of one origin, if it is time to; `at_once`: if there is anything.
    fn request(&mut self, now: u64, origin: NodeId, at_once: bool, out: &mut Vec<Output>) {
        if planted(Bug::SkipRepair) || matches!(self.joining.phase, Phase::Seeking | Phase::Transfer { .. }) {
            return;
        }
        let applied = self.delivery.frontier().get(origin);
        let fresh = || Lack { applied, since: now, outstanding: None, attempts: 0 };
        let lack = self.repair.lacking.entry(origin).or_insert_with(fresh);
        if lack.applied != applied {
            (lack.applied, lack.since, lack.attempts) = (applied, now, 0);
        }
        let peers = || self.peers.iter().filter_map(|(&peer, state)| Some((peer, state.said.as_ref()?)));
        let exists = peers().map(|(_, said)| said.frontier.get(origin)).max().unwrap_or(0);
        if exists <= applied && now >= lack.since + self.options.expiry {
            // Nobody has what these wait for: their origin is gone with it, or comes back and sends them again.
            self.delivery.discard_waiting(origin);
            return;
        }
        let Some(Missing { after, upto, overtaken }) = self.delivery.missing(origin, exists) else { return };
        // What is needed next waits for other origins; more of this one is not urgent, and may not even fit.
        if self.delivery.has_head(origin) && self.delivery.crowded() {
            return;
        }
        if let Some(outstanding) = lack.outstanding {
            if now < outstanding.at + REQUEST_TIMEOUT {
                return;
            }
            lack.attempts += 1;
        }
        let grace = if overtaken { GAP_GRACE } else { GRACE };
        if !at_once && now < lack.since + grace {
            return;
        }
        let has = |said: &super::peers::Said| said.frontier.get(origin) > after && said.floor.get(origin) <= after;
        let mut candidates: Vec<_> = peers().filter(|(_, said)| has(said)).collect();
        candidates.sort_by_key(|&(peer, _)| (peer != origin, peer));
        lack.outstanding = None;
        if candidates.is_empty() {
            return;
        }
        let (peer, said) = candidates[lack.attempts % candidates.len()];
        let upto = upto.min(said.frontier.get(origin));
        lack.outstanding = Some(Outstanding { peer, after, at: now });
        self.counters.repairs += 1;
        out.push(Output::Send { peer, frame: Frame::Request { origin, after, upto } });
    }

    /// Drops what waits of an origin that is gone, if nobody has applied it and somebody says that it makes it again.
    fn discard_given_up(&mut self, origin: NodeId) {
        let takes_over = |member: &Member| member.former.contains(&origin) || member.has_legacy(origin) > 0;
        let said = || self.peers.values().filter_map(|state| state.said.as_ref());
        let is_given_up = !self.peers.contains_key(&origin)
            && (self.membership.members().values().any(takes_over) || said().any(|said| takes_over(&said.member)));
        if is_given_up {
            let exists = said().map(|said| said.frontier.get(origin)).max().unwrap_or(0);
            self.delivery.discard_beyond(origin, exists);
        }
    }

    /// The effects whose arrival from this peer answers a request.
    pub(super) fn expected_from(&self, peer: NodeId) -> Vec<Dot> {
        let outstanding = self.repair.lacking.iter().filter_map(|(&node, lack)| Some((node, lack.outstanding?)));
        let asked = outstanding.filter(|(_, outstanding)| outstanding.peer == peer);
        asked.map(|(node, outstanding)| Dot { node, seq: outstanding.after + 1 }).collect()
    }

    /// A request was answered: what else is missing of this origin is asked for at once, unless the origin itself is
    /// connected. It pushes on by itself then; all that was asked for meanwhile would come twice, and so on to the end.
    pub(super) fn answered(&mut self, now: u64, origin: NodeId, out: &mut Vec<Output>) {
        if let Some(lack) = self.repair.lacking.get_mut(&origin) {
            lack.outstanding = None;
        }
        if self.peers.get(&origin).is_none_or(|state| state.said.is_none()) {
            self.request(now, origin, true, out);
        }
    }

    /// A peer asks for a range.
    pub(super) fn received_request(
        &mut self,
        peer: NodeId,
        origin: NodeId,
        (after, upto): (u64, u64),
        out: &mut Vec<Output>,
    ) -> Result<(), Violation> {
        if after >= upto {
            return Err("it asks for an empty range");
        }
        let Some(state) = self.peers.get(&peer) else { return Ok(()) };
        if state.answer_budget == 0 {
            return Ok(());
        }
        let effects = self.log.range(origin, after, upto, ANSWER_BYTES);
        if effects.is_empty() {
            return Ok(());
        }
        let bytes: usize = effects.iter().map(bytes::Bytes::len).sum();
        let state = self.peers.get_mut(&peer).expect("it was there above");
        state.answer_budget = state.answer_budget.saturating_sub(bytes);
        self.counters.effects_sent += effects.len() as u64;
        out.push(Output::Send { peer, frame: Frame::Effects(effects) });
        Ok(())
    }
}

/// Is what is new in the later of two gossips only which effects are applied or forgotten? All else somebody may wait for.
fn tells_of_effects_only(told: &Frame, frame: &Frame) -> bool {
    let rest = |frame: &Frame| match frame {
        Frame::Gossip { stage, stuck, departed, .. } => Some((*stage, *stuck, departed.clone())),
        _ => None,
    };
    rest(told) == rest(frame)
}

#[cfg(test)]
mod tests {
    use super::super::harness::effect;
    use super::super::{CoreOptions, Input, Now};
    use super::*;
    use crate::effects::Frontier;
    use crate::replication::{Hello, Stage};

    /// A peer that serves connects, and says that it has applied this.
    fn meet(core: &mut Core, peer: NodeId, frontier: Frontier, outputs: &mut Vec<Output>) {
        let hello = Hello {
            member: Member::default(),
            frontier,
            floor: Frontier::EMPTY,
            archive: None,
            stage: Stage::Serving,
            departed: Vec::new(),
            participants: Vec::new(),
        };
        let now = Now { monotonic: 0, wall: 0 };
        core.step(now, Input::Connected { peer }, outputs);
        core.step(now, Input::Received { peer, frame: Frame::Hello(Box::new(hello)) }, outputs);
    }

    /// How many gossips a node with so many peers sends in two seconds in which it writes all the time.
    fn gossips(peers: u64) -> usize {
        let options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
        let mut core = Core::new(options, Now { monotonic: 0, wall: 0 });
        let mut outputs = Vec::new();
        for peer in (2..2 + peers).map(NodeId) {
            meet(&mut core, peer, Frontier::EMPTY, &mut outputs);
        }
        // The first ticks tell that it serves.
        for tick in 1..=100 {
            if tick == 60 {
                outputs.clear();
            }
            let now = Now { monotonic: 50 * tick, wall: 0 };
            core.step(now, Input::LocalEffects(vec![effect(1, tick, &[])]), &mut outputs);
            core.step(now, Input::Tick, &mut outputs);
        }
        let is_gossip = |output: &&Output| matches!(output, Output::Send { frame: Frame::Gossip { .. }, .. });
        outputs.iter().filter(is_gossip).count()
    }

    /// How many ranges of this origin are asked for until the first answer has come from node 2, which has all of it.
    fn requests(origin: u64) -> usize {
        let options = CoreOptions { joining: false, ..CoreOptions::new(NodeId(1), Member::default()) };
        let mut core = Core::new(options, Now { monotonic: 0, wall: 0 });
        let (peer, mut outputs) = (NodeId(2), Vec::new());
        meet(&mut core, peer, [(NodeId(origin), 9)].into_iter().collect(), &mut outputs);
        for monotonic in [50, 400] {
            core.step(Now { monotonic, wall: 0 }, Input::Tick, &mut outputs);
        }
        let answer = (1..4).map(|seq| effect(origin, seq, &[]).encoded().clone()).collect();
        let frame = Frame::Effects(answer);
        core.step(Now { monotonic: 410, wall: 0 }, Input::Received { peer, frame }, &mut outputs);
        let is_request = |output: &&Output| matches!(output, Output::Send { frame: Frame::Request { .. }, .. });
        outputs.iter().filter(is_request).count()
    }

    #[test]
    fn an_answer_leads_to_the_next_request_unless_the_origin_pushes_itself() {
        assert_eq!(requests(9), 2, "nobody else brings it");
        assert_eq!(requests(2), 1, "the rest is on its way");
    }

    #[test]
    fn gossip_does_not_come_more_often_the_more_peers_there_are() {
        assert_eq!([gossips(1), gossips(8)], [41, 8 * 41], "at each tick");
        for peers in [16, 64, 160] {
            assert!(gossips(peers) <= 2_050 / GOSSIP_SPACING as usize + 2 * peers as usize, "{peers} peers");
            assert!(gossips(peers) >= 2 * peers as usize, "each is told once a second");
        }
        assert!((800..=1_200).contains(&gossips(400)), "each is told once a second");
    }
}
