//! Causal delivery: when an effect may be applied, and where it waits until then.
//!
//! # The algorithm
//!
//! An effect of origin *o* with seq *s* may be applied when *o*'s effect *s* - 1 is applied and everything else that *o*
//! had seen is, too. On the wire an effect lists only what its origin saw since its own previous effect; as that one is
//! applied before, its list was satisfied then. So the test is: frontier\[o\] = s - 1, and the listed changes lie within
//! the frontier. (Causal broadcast by vector clocks, after Birman, Schiper and Stephenson 1991, with differences in
//! place of whole vectors, after Singhal and Kshemkalyani 1992.)
//!
//! What cannot be applied yet waits. Each application may release others: the heads of all queues are tried in the
//! order of their origins until none moves, which makes the order a function of the input alone.
//!
//! An effect whose origin had not seen all that is *folded* here is never applied: to remove what it saw and nothing
//! else takes metadata that is gone. (Of an effect that was made again after a rebase, what counts is what it reaches.)
//! Its origin's queue is *blocked* from that effect on; `joining` decides who gives way. The folded frontier only grows,
//! so a blocked origin stays blocked.
//!
//! # Bounds
//!
//! Waiting effects take at most `limit` bytes. Over it, those farthest ahead of what is applied are dropped: they are
//! needed last, and `repair` brings them again. At most [`MAX_ORIGINS`] origins are known.

use std::collections::BTreeMap;

use crate::effects::{Dot, Effect, Frontier, NodeId};
use crate::planted::{Bug, planted};

/// The most incarnations that one cluster may have seen.
pub(super) const MAX_ORIGINS: usize = 16_384;
/// What a waiting effect costs besides its bytes.
const OVERHEAD_BYTES: usize = 192;

/// What is applied here, and what waits.
#[derive(Debug)]
pub(super) struct Delivery {
    frontier: Frontier,
    /// For each origin, all that its latest applied effect had seen, its own earlier effects included.
    last_seen: BTreeMap<NodeId, Frontier>,
    waiting: BTreeMap<NodeId, BTreeMap<u64, Effect>>,
    waiting_effects: usize,
    waiting_bytes: usize,
    limit: usize,
    /// While a snapshot is on its way, everything waits: the import would overwrite what is applied.
    held: bool,
    /// For each origin, the effect that can never be applied here.
    blocked: BTreeMap<NodeId, u64>,
    pub(super) duplicates: u64,
    pub(super) refused: u64,
    pub(super) dropped: u64,
}

/// An effect that is to be applied now, with all that its origin had seen.
pub(super) type Delivered = (Effect, Frontier);

/// Effects of one origin with seqs in (after, upto] that are neither applied nor waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) after: u64,
    pub(super) upto: u64,
    /// Is a later effect here?
    pub(super) overtaken: bool,
}

/// What an effect that had seen this reaches: all of it, unless it was made again after a rebase.
fn reach_of<'e>(effect: &'e Effect, seen: &'e Frontier) -> &'e Frontier {
    effect.acts_on.as_ref().filter(|reach| reach.stable).map_or(seen, |reach| &reach.frontier)
}

impl Delivery {
    pub(super) fn new(limit: usize) -> Self {
        Delivery {
            frontier: Frontier::default(),
            last_seen: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_effects: 0,
            waiting_bytes: 0,
            limit,
            held: false,
            blocked: BTreeMap::new(),
            duplicates: 0,
            refused: 0,
            dropped: 0,
        }
    }

    /// Everything applied.
    pub(super) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Effects that wait, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.waiting_effects, self.waiting_bytes)
    }

    /// Is more than half of the room for waiting effects taken?
    pub(super) fn crowded(&self) -> bool {
        self.waiting_bytes > self.limit / 2
    }

    /// Notes an effect of this node, which is applied already. Returns all that it had seen.
    pub(super) fn local(&mut self, effect: &Effect) -> &Frontier {
        assert_eq!(
            effect.dot.seq,
            self.frontier.get(effect.dot.node) + 1,
            "own effects come in order and without gaps"
        );
        let seen = self.seen_of(effect);
        self.advance(effect.dot, seen)
    }

    /// Takes an effect from a peer; appends to `delivered` what is to be applied in consequence, in this order.
    pub(super) fn arrived(&mut self, effect: Effect, folded: &Frontier, delivered: &mut Vec<Delivered>) {
        let Dot { node, seq } = effect.dot;
        if self.frontier.includes(effect.dot) {
            self.duplicates += 1;
            return;
        }
        if self.blocked.get(&node).is_some_and(|&from| seq >= from) {
            self.refused += 1;
            return;
        }
        if self.is_ready(&effect) {
            self.deliver(effect, folded, delivered);
            self.release(folded, delivered);
        } else {
            self.wait(effect);
        }
    }

    /// From now on everything waits (true), or what has waited may go (false; then call [`Self::release`]).
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Tries the heads of all queues until none moves.
    pub(super) fn release(&mut self, folded: &Frontier, delivered: &mut Vec<Delivered>) {
        loop {
            let ready = self.waiting.iter().find_map(|(&node, queue)| {
                let effect = queue.get(&(self.frontier.get(node) + 1))?;
                self.is_ready(effect).then_some(effect.dot)
            });
            let Some(effect) = ready.and_then(|dot| self.take(dot)) else { return };
            self.deliver(effect, folded, delivered);
        }
    }

    /// All that this origin is known to have applied, by its latest effect that is applied here: every later effect of
    /// it has seen at least that.
    pub(super) fn known_by(&self, origin: NodeId) -> Frontier {
        if planted(Bug::PresumeKnown) {
            return self.frontier.clone();
        }
        let mut known = self.last_seen.get(&origin).cloned().unwrap_or_default();
        known.raise(origin, self.frontier.get(origin));
        known
    }

    /// For each origin, all that its latest applied effect had seen.
    pub(super) fn last_seen(&self) -> &BTreeMap<NodeId, Frontier> {
        &self.last_seen
    }

    /// Origins of which effects wait.
    pub(super) fn waiting_origins(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.waiting.keys().copied()
    }

    /// Does the next effect of this origin wait already (for something else)?
    pub(super) fn has_head(&self, origin: NodeId) -> bool {
        self.waiting.get(&origin).is_some_and(|queue| queue.contains_key(&(self.frontier.get(origin) + 1)))
    }

    /// The first range of this origin's effects that is neither applied nor waiting, when `exists` is the last one that
    /// peers have told of.
    pub(super) fn missing(&self, origin: NodeId, exists: u64) -> Option<Missing> {
        if self.blocked.contains_key(&origin) {
            return None;
        }
        let mut after = self.frontier.get(origin);
        for &seq in self.waiting.get(&origin).into_iter().flat_map(BTreeMap::keys) {
            if seq > after + 1 {
                return Some(Missing { after, upto: seq - 1, overtaken: true });
            }
            after = seq;
        }
        (after < exists).then_some(Missing { after, upto: exists, overtaken: false })
    }

    /// The effects that can never be applied here: the first of each origin.
    pub(super) fn blocked(&self) -> impl Iterator<Item = Dot> + '_ {
        self.blocked.iter().map(|(&node, &seq)| Dot { node, seq })
    }

    /// What a snapshot begins with: this is applied, and for each origin its latest effect had seen that. Nothing may wait here.
    pub(super) fn at(begin: &Frontier, seen: impl IntoIterator<Item = (NodeId, Frontier)>) -> Self {
        Delivery { frontier: begin.clone(), last_seen: seen.into_iter().collect(), ..Delivery::new(0) }
    }

    /// Goes on to an effect, as if everything that it had seen were applied on the way. False when it may not be applied here.
    pub(super) fn skip_to(&mut self, effect: &Effect, seen: &Frontier, folded: &Frontier) -> bool {
        let may_apply = folded.within(reach_of(effect, seen));
        if may_apply {
            self.frontier.join(seen);
            self.advance(effect.dot, seen.clone());
        }
        may_apply
    }

    /// Goes on to a frontier, as if everything within it were applied on the way; for each origin, the latest effect within it had
    /// seen that.
    pub(super) fn skip_rest<'s>(&mut self, end: &Frontier, seen: impl IntoIterator<Item = (&'s NodeId, &'s Frontier)>) {
        for (origin, seen) in seen.into_iter().filter(|(origin, _)| end.get(**origin) >= self.frontier.get(**origin)) {
            self.last_seen.insert(*origin, seen.clone());
        }
        self.frontier.join(end);
    }

    /// Starts from a snapshot: has applied what `end` has. What waits here and is not there waits on.
    pub(super) fn adopt(&mut self, end: Delivery) {
        assert!(self.frontier.is_empty(), "only a node that has applied nothing adopts a snapshot");
        self.take_over(end);
    }

    /// Goes over to where another one is, which has applied all that this one has, and more. What waits here and is not there waits
    /// on. What was blocked may be possible there.
    pub(super) fn take_over(&mut self, other: Delivery) {
        (self.frontier, self.last_seen) = (other.frontier, other.last_seen);
        self.blocked.clear();
        for (node, seq) in self.frontier.iter() {
            let Some(queue) = self.waiting.get_mut(&node) else { continue };
            let rest = queue.split_off(&(seq + 1));
            let covered = std::mem::replace(queue, rest);
            self.waiting_effects -= covered.len();
            self.waiting_bytes -= covered.values().map(cost).sum::<usize>();
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
    }

    fn is_ready(&self, effect: &Effect) -> bool {
        let is_next = effect.dot.seq == self.frontier.get(effect.dot.node) + 1;
        let has_seen_no_more = || effect.seen_changes.iter().all(|&(node, seq)| seq <= self.frontier.get(node));
        !self.held && is_next && (planted(Bug::IgnoreDependencies) || has_seen_no_more())
    }

    /// All that the origin had seen before this effect; right only for the one that comes next.
    pub(super) fn seen_of(&self, effect: &Effect) -> Frontier {
        let mut seen = self.last_seen.get(&effect.dot.node).cloned().unwrap_or_default();
        for &(node, seq) in &effect.seen_changes {
            seen.raise(node, seq);
        }
        seen.set(effect.dot.node, effect.dot.seq - 1);
        seen
    }

    fn deliver(&mut self, effect: Effect, folded: &Frontier, delivered: &mut Vec<Delivered>) {
        let seen = self.seen_of(&effect);
        if !folded.within(reach_of(&effect, &seen)) {
            self.block(effect.dot);
            return;
        }
        self.advance(effect.dot, seen.clone());
        delivered.push((effect, seen));
    }

    fn block(&mut self, dot: Dot) {
        self.blocked.insert(dot.node, dot.seq);
        self.refused += 1 + self.remove_waiting(dot.node);
    }

    /// Drops what waits of this origin.
    pub(super) fn discard_waiting(&mut self, origin: NodeId) {
        self.dropped += self.remove_waiting(origin);
    }

    /// Drops what waits of this origin after this seq.
    pub(super) fn discard_beyond(&mut self, origin: NodeId, seq: u64) {
        let Some(queue) = self.waiting.get_mut(&origin) else { return };
        let beyond = queue.split_off(&(seq + 1));
        if queue.is_empty() {
            self.waiting.remove(&origin);
        }
        self.dropped += beyond.len() as u64;
        self.waiting_effects -= beyond.len();
        self.waiting_bytes -= beyond.values().map(cost).sum::<usize>();
    }

    fn remove_waiting(&mut self, origin: NodeId) -> u64 {
        let queue = self.waiting.remove(&origin).unwrap_or_default();
        self.waiting_effects -= queue.len();
        self.waiting_bytes -= queue.values().map(cost).sum::<usize>();
        queue.len() as u64
    }

    fn advance(&mut self, dot: Dot, seen: Frontier) -> &Frontier {
        self.frontier.set(dot.node, dot.seq);
        let last = self.last_seen.entry(dot.node).or_default();
        *last = seen;
        last
    }

    fn wait(&mut self, effect: Effect) {
        let Dot { node, seq } = effect.dot;
        let bytes = cost(&effect);
        let queue = self.waiting.entry(node).or_default();
        if queue.contains_key(&seq) {
            self.duplicates += 1;
            return;
        }
        queue.insert(seq, effect);
        self.waiting_effects += 1;
        self.waiting_bytes += bytes;
        while self.waiting_bytes > self.limit && !planted(Bug::IgnoreWaitingLimit) {
            let farthest = self.waiting.iter().filter_map(|(&node, queue)| {
                let (&seq, _) = queue.last_key_value()?;
                Some((seq - self.frontier.get(node), Dot { node, seq }))
            });
            let Some((_, dot)) = farthest.max() else { return };
            self.take(dot);
            self.dropped += 1;
        }
    }

    fn take(&mut self, dot: Dot) -> Option<Effect> {
        let queue = self.waiting.get_mut(&dot.node)?;
        let effect = queue.remove(&dot.seq)?;
        if queue.is_empty() {
            self.waiting.remove(&dot.node);
        }
        self.waiting_effects -= 1;
        self.waiting_bytes -= cost(&effect);
        Some(effect)
    }
}

fn cost(effect: &Effect) -> usize {
    effect.encoded().len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::harness::effect;
    use super::*;

    fn dots(delivered: &[Delivered]) -> Vec<(u64, u64)> {
        delivered.iter().map(|(effect, _)| (effect.dot.node.0, effect.dot.seq)).collect()
    }

    #[test]
    fn an_effect_waits_for_what_its_origin_had_seen() {
        let mut delivery = Delivery::new(1 << 20);
        let mut out = Vec::new();
        delivery.arrived(effect(3, 1, &[(2, 2)]), &Frontier::EMPTY, &mut out);
        delivery.arrived(effect(2, 2, &[]), &Frontier::EMPTY, &mut out);
        assert!(out.is_empty());
        assert_eq!(delivery.missing(NodeId(2), 2), Some(Missing { after: 0, upto: 1, overtaken: true }));
        delivery.arrived(effect(2, 1, &[(4, 1)]), &Frontier::EMPTY, &mut out);
        assert!(out.is_empty());
        assert_eq!(delivery.missing(NodeId(2), 5), Some(Missing { after: 2, upto: 5, overtaken: false }));
        delivery.arrived(effect(4, 1, &[]), &Frontier::EMPTY, &mut out);
        assert_eq!(dots(&out), [(4, 1), (2, 1), (2, 2), (3, 1)]);
        let seen: Frontier = [(NodeId(2), 2)].into_iter().collect();
        assert_eq!(out[3].1, seen);
        assert_eq!(delivery.waiting(), (0, 0));
        delivery.arrived(effect(2, 1, &[(4, 1)]), &Frontier::EMPTY, &mut out);
        assert_eq!((out.len(), delivery.duplicates), (4, 1));
    }

    #[test]
    fn over_the_limit_the_farthest_are_dropped() {
        let mut delivery = Delivery::new(10 * cost(&effect(2, 9, &[])));
        let mut out = Vec::new();
        for seq in (2..40).rev() {
            delivery.arrived(effect(2, seq, &[]), &Frontier::EMPTY, &mut out);
        }
        assert_eq!(delivery.waiting().0, 10);
        assert_eq!(delivery.dropped, 28);
        delivery.arrived(effect(2, 1, &[]), &Frontier::EMPTY, &mut out);
        assert_eq!(delivery.frontier().get(NodeId(2)), 11);
    }

    #[test]
    fn what_has_not_seen_all_that_is_folded_blocks_its_origin() {
        let mut delivery = Delivery::new(1 << 20);
        let mut out = Vec::new();
        delivery.arrived(effect(2, 1, &[]), &Frontier::EMPTY, &mut out);
        let folded = delivery.frontier().clone();
        delivery.arrived(effect(3, 2, &[]), &folded, &mut out);
        delivery.arrived(effect(3, 1, &[]), &folded, &mut out);
        delivery.arrived(effect(4, 1, &[(2, 1)]), &folded, &mut out);
        assert_eq!(dots(&out), [(2, 1), (4, 1)]);
        assert_eq!(delivery.refused, 2);
        assert_eq!(delivery.blocked().collect::<Vec<_>>(), [Dot { node: NodeId(3), seq: 1 }]);
        assert_eq!(delivery.missing(NodeId(3), 9), None);
    }
}
